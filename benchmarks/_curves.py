"""The curves of a training run: every part of the loss over the steps, as ``metrics.csv`` holds them."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from pathlib import Path

import numpy as np

from emo_lightning.core.errors import UserError

COLUMNS = 4
Series = dict[str, dict[str, list[tuple[int, float]]]]


def draw_curves(run: Path, out: Path) -> list[str]:
    """Draw a panel for each thing that was logged, training thin and smoothed, validation with dots; returns their names.

    Raises:
        UserError: the run has no metrics.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    series = read_series(run / "metrics.csv")
    rows = math.ceil(len(series) / COLUMNS)
    figure = Figure(figsize=(4.2 * COLUMNS, 2.7 * rows))
    figure.subplots_adjust(0.04, 0.05, 0.99, 0.92, wspace=0.2, hspace=0.35)
    FigureCanvasAgg(figure)
    for place, (name, parts) in enumerate(series.items(), start=1):
        panel = figure.add_subplot(rows, COLUMNS, place, title=name)
        if "train" in parts:
            steps, values = np.array(parts["train"]).T
            panel.plot(steps, values, color="tab:blue", alpha=0.25, linewidth=0.8)
            panel.plot(steps, smoothed(values), color="tab:blue", label="train")
        if "val" in parts:
            steps, values = np.array(parts["val"]).T
            panel.plot(steps, values, "o-", color="tab:orange", markersize=3, label="val")
        panel.grid(alpha=0.3)
        panel.legend(fontsize=7)
        panel.tick_params(labelsize=7)
    figure.suptitle(f"{run.name}: loss before its weights, by step")
    figure.savefig(out, dpi=90)
    return list(series)


def read_series(path: Path) -> Series:
    """Name -> train or val -> (step, value), the loss first."""
    if not path.is_file():
        raise UserError(
            "--curves", path.parent, "a run's folder, with metrics.csv", "holds no metrics.csv"
        )
    found: Series = defaultdict(lambda: defaultdict(list))
    with path.open(newline="", encoding="utf-8") as file:
        for step, name, value in list(csv.reader(file))[1:]:
            part, _, what = name.partition("/")
            if part in ("train", "val"):
                found[what][part].append((int(step), float(value)))
    if not found:
        raise UserError(
            "--curves",
            path.parent,
            "a run's folder, with values of train or val in metrics.csv",
            "holds none yet",
        )
    return {
        name: dict(found[name]) for name in sorted(found, key=lambda name: (name != "loss", name))
    }


def smoothed(values: np.ndarray) -> np.ndarray:
    """Mean over a fifteenth of the curve around each value, less at the ends."""
    half = max(1, len(values) // 30)
    return np.array([values[max(0, i - half) : i + half + 1].mean() for i in range(len(values))])
