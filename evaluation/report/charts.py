"""Small inline SVG charts for the report, from plain numbers; colours come from the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 250, 170
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 12, 30
Curve = tuple[Sequence[float], Sequence[float]]


def ticks(low: float, high: float, wanted: int = 4) -> list[float]:
    """Round numbers that cover ``low..high``, which must differ."""
    raw = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, last + 1)]


def line_chart(
    title: str, curves: Mapping[str, Curve], colours: Mapping[str, int], least_span: float
) -> str:
    """Lines over levels 1..15.

    Args:
        title: said to screen readers.
        curves: name -> levels (rising) and values.
        colours: name -> number of its colour.
        least_span: the value axis covers at least this, so that noise does not fill the picture.
    """
    values = [v for _, ys in curves.values() for v in ys]
    low, high = min(values), max(values)
    if high - low < least_span:
        middle = (low + high) / 2
        low, high = middle - least_span / 2, middle + least_span / 2
    marks = ticks(low, high)
    low, high = marks[0], marks[-1]

    def x(level: float) -> float:
        return LEFT + (level - 1) / 14 * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title, quote=True)}">'
    ]
    for mark in marks:
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(mark):.1f}" y2="{y(mark):.1f}"/>'
        )
        parts.append(
            f'<text class="tick" x="{LEFT - 5}" y="{y(mark) + 3.5:.1f}" text-anchor="end">{_short(mark, marks)}</text>'
        )
    for level in (1, 5, 8, 11, 15):
        parts.append(
            f'<text class="tick" x="{x(level):.1f}" y="{HEIGHT - BOTTOM + 14}" text-anchor="middle">{level}</text>'
        )
    parts.append(
        f'<text class="tick" x="{x(8):.1f}" y="{HEIGHT - 3}" text-anchor="middle">level</text>'
    )
    for name, (levels, ys) in curves.items():
        points = [(x(level), y(value)) for level, value in zip(levels, ys, strict=True)]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        colour = f"c{colours[name]}"
        parts.append(f'<polyline class="curve {colour}" points="{path}"/>')
        for (a, b), level, value in zip(points, levels, ys, strict=True):
            tip = f"{escape(name)}, level {level:g}: {value:.3f}"
            parts.append(
                f'<circle class="dot {colour}" cx="{a:.1f}" cy="{b:.1f}" r="2.2"><title>{tip}</title></circle>'
            )
    return "".join(parts) + "</svg>"


def _short(value: float, marks: Sequence[float]) -> str:
    """A tick's number with as many decimals as the step between ticks needs."""
    step = marks[1] - marks[0]
    decimals = next((d for d in range(6) if abs(round(step, d) - step) < 1e-9 * step), 6)
    return f"{value:.{decimals}f}"


def bar(value: float, top: float, colour: int) -> str:
    """A horizontal bar for a table cell, ``value`` of ``top``."""
    width = 100 * value / top if top > 0 else 0.0
    return f'<span class="bar"><span class="c{colour}" style="width:{width:.1f}%"></span></span>'


def bar_chart(
    title: str, bins: Sequence[object], counts: Sequence[float], colour: int, unit: str
) -> str:
    """Upright bars, one a bin."""
    top = max([*counts, 1])
    marks = ticks(0, top)
    width = (WIDTH - LEFT - RIGHT) / len(bins)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - value / marks[-1] * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title, quote=True)}">'
    ]
    for mark in marks:
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(mark):.1f}" y2="{y(mark):.1f}"/>'
        )
        parts.append(
            f'<text class="tick" x="{LEFT - 5}" y="{y(mark) + 3.5:.1f}" text-anchor="end">{_short(mark, marks)}</text>'
        )
    every = max(1, math.ceil(len(bins) / 9))
    # Labels are counted from the bin called 0 where there is one, so that it is always named.
    first = next((i for i, name in enumerate(bins) if str(name) == "0"), 0) % every
    for i, (name, count) in enumerate(zip(bins, counts, strict=True)):
        left, tip = LEFT + i * width, f"{escape(str(name))} {escape(unit)}: {count:g}"
        size = f'x="{left + 0.08 * width:.1f}" width="{0.84 * width:.1f}" y="{y(count):.1f}" height="{HEIGHT - BOTTOM - y(count):.1f}"'
        parts.append(f'<rect class="dot c{colour}" {size} rx="1"><title>{tip}</title></rect>')
        if i % every == first:
            middle = left + width / 2
            parts.append(
                f'<text class="tick" x="{middle:.1f}" y="{HEIGHT - BOTTOM + 14}" text-anchor="middle">{escape(str(name))}</text>'
            )
    parts.append(
        f'<text class="tick" x="{(LEFT + WIDTH - RIGHT) / 2:.1f}" y="{HEIGHT - 3}" text-anchor="middle">{escape(unit)}</text>'
    )
    return "".join(parts) + "</svg>"
