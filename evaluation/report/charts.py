"""Inline SVG charts by matplotlib; colours come from the page's style sheet, so that dark mode
works."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from html import escape

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

Curve = tuple[Sequence[float], Sequence[float]]
SIZE = (3.3, 2.2)
"""Inches."""
SOFT, LINE = "#010101", "#020202"
"""Placeholders that become variables of the style sheet."""
SETTINGS = {"svg.fonttype": "none", "svg.hashsalt": "report", "font.size": 8}


def _colour(number: int) -> str:
    return f"#0303{number:02x}"


def _axes() -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE)
    axes = figure.add_axes((0.14, 0.2, 0.83, 0.74))
    axes.spines[:].set_visible(False)
    axes.tick_params(colors=SOFT, length=0)
    axes.grid(axis="y", color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def _svg(figure: Figure, title: str, values: str) -> Markup:
    """The figure as an SVG element; ``values`` is its tooltip."""
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    text = re.sub(r"<metadata>.*?</metadata>", "", file.getvalue(), flags=re.DOTALL)
    text = text[text.index("<svg") :]
    names = {SOFT: "--soft", LINE: "--line"} | {_colour(n): f"--c{n}" for n in range(8)}
    for placeholder, name in names.items():
        text = text.replace(placeholder, f"var({name})")
    start = f'<svg role="img" aria-label="{escape(title)}"'
    text = re.sub(r'^<svg width="\S+" height="\S+"|^<svg', start, text, count=1)
    return Markup(text.replace(">", f"><title>{escape(values)}</title>", 1))


def line_chart(
    title: str, curves: Mapping[str, Curve], colours: Mapping[str, int], least_span: float
) -> Markup:
    """Lines over levels 1..15.

    Args:
        title: for screen readers.
        curves: name -> levels (rising) and values.
        colours: name -> number of its colour.
        least_span: the value axis covers at least this, so that noise does not fill the chart.
    """
    with matplotlib.rc_context(SETTINGS):
        figure, axes = _axes()
        for name, (levels, values) in curves.items():
            axes.plot(
                levels, values, "o-", color=_colour(colours[name]), linewidth=1.4, markersize=3
            )
        axes.set_xlim(0.5, 15.5)
        axes.set_xticks([1, 5, 8, 11, 15])
        axes.set_xlabel("level", color=SOFT)
        axes.yaxis.set_major_locator(MaxNLocator(4))
        low, high = axes.get_ylim()
        if high - low < least_span:
            middle = (low + high) / 2
            axes.set_ylim(middle - least_span / 2, middle + least_span / 2)
        points = [
            f"{name}, level {level:g}: {value:.3f}"
            for name, curve in curves.items()
            for level, value in zip(*curve, strict=True)
        ]
        return _svg(figure, title, "\n".join(points))


def bar_chart(
    title: str, bins: Sequence[object], counts: Sequence[float], colour: int, unit: str
) -> Markup:
    """Upright bars, one a bin."""
    with matplotlib.rc_context(SETTINGS):
        figure, axes = _axes()
        names = [str(name) for name in bins]
        axes.bar(range(len(names)), counts, 0.84, color=_colour(colour))
        every = max(1, -(-len(names) // 9))
        # Labels are counted from the bin called 0 where there is one, so that it is always named.
        first = next((i for i, name in enumerate(names) if name == "0"), 0) % every
        ticks = range(first, len(names), every)
        axes.set_xticks(ticks, [names[i] for i in ticks])
        axes.set_xlabel(unit, color=SOFT)
        axes.set_ylim(0, max([*counts, 1]) * 1.05)
        axes.yaxis.set_major_locator(MaxNLocator(4))
        points = (f"{n} {unit}: {c:g}" for n, c in zip(names, counts, strict=True))
        return _svg(figure, title, "\n".join(points))
