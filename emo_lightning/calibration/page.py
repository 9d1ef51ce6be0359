"""The calibration page: what was found, and the held-out mouth as tracked, shipped and refitted."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader
from matplotlib.figure import Figure

from emo_lightning.calibration.dataset import CalibrationFrames, Readout
from emo_lightning.calibration.lips import NAMES
from emo_lightning.calibration.refit import RefitResult
from emo_lightning.core.constants import FPS

COLOURS = {"tracked": "#222", "shipped": "#d98a1f", "refitted": "#1f6fd9"}
MAX_BLOCKS = 8
SCORES = {
    "r": "correlation",
    "amplitude": "movement, of the real",
    "error": "error, of the real movement",
}
CLOSURES = {"kept": "tracked closures kept", "wrong": "closed where the tracked lips are open"}


def render_page(
    report: Mapping[str, Any],
    shipped: Readout | None,
    fit: RefitResult | None,
    held_out: CalibrationFrames | None,
) -> str:
    """The page as HTML that loads nothing else."""
    chart = ""
    if shipped is not None and fit is not None and held_out is not None:
        predicted = {"shipped": shipped, "refitted": fit.readout}
        lips = {name: held_out.predicted_lips(readout) for name, readout in predicted.items()}
        chart = _chart({"tracked": held_out.lips, **lips}, held_out)
    templates = Environment(loader=PackageLoader("emo_lightning.calibration"), autoescape=True)
    return templates.get_template("calibration.html.j2").render(
        report=report, scores=SCORES, closures=CLOSURES, names=NAMES, colours=COLOURS, chart=chart
    )


def _chart(lips: Mapping[str, np.ndarray], held_out: CalibrationFrames) -> str:
    """SVG of lips ``(n, 2)`` over time: a row a held-out block, opening left, width right."""
    blocks = np.unique(held_out.index.block)[:MAX_BLOCKS]
    figure = Figure(figsize=(11, 1.5 * len(blocks) + 0.4), layout="constrained")
    axes = figure.subplots(len(blocks), len(NAMES), squeeze=False, sharey="col")
    for row, block in zip(axes, blocks, strict=True):
        rows = held_out.index.block == block
        seconds = held_out.index.frame[rows] / FPS
        for k, axis in enumerate(row):
            for name, values in lips.items():
                axis.plot(seconds, values[rows, k], color=COLOURS[name], linewidth=1.2)
    for k, name in enumerate(NAMES):
        axes[0, k].set_title(f"{name}, in outer eye-corner distances")
        axes[-1, k].set_xlabel("seconds")
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()[out.getvalue().index("<svg") :]
