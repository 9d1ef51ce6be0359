"""One page: what was found, and the held-out mouth as it was filmed, as the shipped read-out has it and as the refitted one."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

import numpy as np

from emo_lightning.calibration.dataset import Rows
from emo_lightning.calibration.features import Readout
from emo_lightning.calibration.lips import NAMES
from emo_lightning.calibration.refit import Fit
from emo_lightning.core.constants import FPS

COLOURS = {"filmed": "#222", "shipped": "#d98a1f", "refitted": "#1f6fd9"}
MOST_BLOCKS = 8
WIDTH, HEIGHT, EDGE = 920, 150, 34
STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:960px;margin:2em auto;padding:0 1em;color:#222;background:#fff}"
    "table{border-collapse:collapse;margin:1em 0}td,th{padding:.25em .9em;border-bottom:1px solid #ddd;text-align:right}"
    "td:first-child,th:first-child{text-align:left}svg{display:block;margin:.4em 0 1em}.key span{margin-right:1.6em;font-weight:600}"
)


def write_page(
    report: Mapping[str, Any], shipped: Readout | None, fit: Fit | None, held: Rows | None
) -> str:
    """The page as HTML that loads nothing."""
    parts = [
        f"<h1>Calibration: {html.escape(str(report['result']))}</h1>",
        _words(report),
        _videos(report),
    ]
    if "held_out" in report:
        parts.append(_table(report["held_out"]))
    if shipped is not None and fit is not None and held is not None:
        key = "".join(
            f'<span style="color:{colour}">{name}</span>' for name, colour in COLOURS.items()
        )
        parts += [
            "<h2>The mouth on the held-out part</h2>",
            f'<p class="key">{key}</p>',
            *_curves(shipped, fit, held),
        ]
    body = "\n".join(parts)
    head = f'<meta charset="utf-8"><title>Calibration</title><style>{STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n{body}\n</body></html>\n'


def _words(report: Mapping[str, Any]) -> str:
    reasons = html.escape("; ".join(report["reasons"]))
    if report["result"] == "kept":
        return f"<p>The weights were kept as they were: {reasons}.</p>"
    words = f"<p>Fitted: {report['what']}. It is no worse than before on the part that neither was fitted to.</p>"
    return words + (f"<p>Not more, because of {reasons}.</p>" if reasons else "")


def _videos(report: Mapping[str, Any]) -> str:
    rows = []
    for number, video in enumerate(report["videos"], start=1):
        offset = video["offset"]
        late = (
            f"{offset['lag']:+d} frames ({offset['milliseconds']:+d} ms)"
            if offset["found"]
            else "lips do not follow the sound"
        )
        left = html.escape("; ".join(video["left_out"])) or "nothing"
        used = f"{video['face_that_speaks']:.1f} of {video['seconds']:.1f} s"
        rows.append(f"<tr><td>{number}</td><td>{used}</td><td>{late}</td><td>{left}</td></tr>")
    head = "<tr><th>video</th><th>a face that speaks</th><th>picture late by</th><th>left out</th></tr>"
    return f"<table>{head}{''.join(rows)}</table>"


def _table(held: Mapping[str, Any]) -> str:
    lines = [
        "<tr><th>held-out part</th><th>shipped</th><th>refitted</th><th>difference, 95 %</th></tr>"
    ]
    labels = {
        "r": "correlation",
        "amplitude": "movement, of the real",
        "error": "error, of the real movement",
    }
    for measure, label in labels.items():
        for k, name in enumerate(NAMES):
            old, new = held["shipped"][measure][k], held["refitted"][measure][k]
            low, high = held["difference_ci95"][measure][k]
            lines.append(
                f"<tr><td>{label}, {name}</td><td>{old:.2f}</td><td>{new:.2f}</td><td>{low:+.2f} to {high:+.2f}</td></tr>"
            )
    for what, label in (("kept", "filmed closures kept"), ("wrong", "closed where filmed open")):
        old, new = held["shipped"]["closings"][what], held["refitted"]["closings"][what]
        if old is not None and new is not None:
            lines.append(
                f"<tr><td>{label}</td><td>{100 * old:.0f} %</td><td>{100 * new:.0f} %</td><td></td></tr>"
            )
    return f"<table>{''.join(lines)}</table>"


def _curves(shipped: Readout, fit: Fit, held: Rows) -> list[str]:
    courses = {
        "filmed": held.lips,
        "shipped": held.said_lips(shipped),
        "refitted": held.said_lips(fit.readout),
    }
    out = []
    for k, name in enumerate(NAMES):
        low, high = (
            np.percentile(np.concatenate([c[:, k] for c in courses.values()]), q) for q in (0, 100)
        )
        for number, block in enumerate(np.unique(held.frames.block)[:MOST_BLOCKS]):
            mine = held.frames.block == block
            if number == 0:
                out.append(f"<h3>{name}, in outer eye-corner distances</h3>")
            out.append(
                _plot(
                    held.frames.frame[mine] / FPS,
                    {c: v[mine, k] for c, v in courses.items()},
                    (float(low), float(high)),
                )
            )
    return out


def _plot(
    seconds: np.ndarray, courses: Mapping[str, np.ndarray], limits: tuple[float, float]
) -> str:
    low, high = limits
    x = EDGE + (WIDTH - EDGE - 6) * (seconds - seconds[0]) / max(seconds[-1] - seconds[0], 1e-6)
    lines = []
    for name, values in courses.items():
        y = HEIGHT - 18 - (HEIGHT - 26) * (values - low) / max(high - low, 1e-9)
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
        lines.append(
            f'<polyline points="{path}" fill="none" stroke="{COLOURS[name]}" stroke-width="1.6"/>'
        )
    marks = [(EDGE - 4, HEIGHT - 18, f"{low:.2f}", "end"), (EDGE - 4, 14, f"{high:.2f}", "end"),
             (EDGE, HEIGHT - 3, f"{seconds[0]:.1f} s", "start"), (WIDTH - 6, HEIGHT - 3, f"{seconds[-1]:.1f} s", "end")]  # fmt: skip
    text = "".join(
        f'<text x="{a}" y="{b}" font-size="11" fill="#666" text-anchor="{side}">{word}</text>'
        for a, b, word, side in marks
    )
    frame = f'<path d="M{EDGE} 4V{HEIGHT - 16}H{WIDTH - 6}" fill="none" stroke="#bbb"/>'
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}">{frame}{"".join(lines)}{text}</svg>'
