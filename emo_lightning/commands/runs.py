"""Local training runs: list them, show one, compare several.

emo runs [DIR]                     table: stage, step, best metric, state, commit, what differs
emo runs show RUN                  settings and last metrics of one
emo runs compare A B ... --out X.html     curves of several on one page
"""

from __future__ import annotations

import argparse
import base64
import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emo_lightning.core.errors import UserError

SUMMARY = "list, show or compare training runs"
RUN_FILE, METRICS_FILE = "run.json", "metrics.csv"
NOT_COMPARED = ("out", "resume", "wandb.name", "wandb.group", "wandb.tags")
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Runs compared</title>
<style>
body {font: 15px system-ui; margin: 2em auto; max-width: 70em; color: #222}
table {border-collapse: collapse; margin: 1em 0}
td, th {border: 1px solid #ccc; padding: .25em .6em; text-align: left}
img {width: 100%}
</style>
<h1>Runs compared</h1>
{% macro rows_of(head, rows) %}<table>
<tr>{% for cell in head %}<th>{{ cell }}</th>{% endfor %}</tr>
{% for row in rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</table>{% endmacro %}
{{ rows_of(columns, rows) }}
{% if settings %}<h2>Settings that differ</h2>{{ rows_of(names, settings) }}{% endif %}
<h2>Curves</h2>
<img alt="curves of the runs' metrics" src="data:image/png;base64,{{ curves }}"></html>
"""


@dataclass(frozen=True)
class TrainingRun:
    """A run's folder, its record, and its metrics as name -> [(step, value)]."""

    folder: Path
    record: Mapping[str, Any]
    metrics: Mapping[str, list[tuple[int, float]]]

    @property
    def config(self) -> dict[str, Any]:
        """Dotted settings."""
        return dict(_leaves(self.record["config"]))

    @property
    def step(self) -> int:
        """Optimiser steps made, as far as they are logged."""
        return 1 + max((rows[-1][0] for rows in self.metrics.values() if rows), default=-1)

    def best(self) -> str:
        """The monitored metric at its best, with the step."""
        name = self.record.get("monitor", "val/loss")
        rows = self.metrics.get(name)
        if not rows:
            return "-"
        step, value = min(rows, key=lambda row: row[1])
        return f"{name} {value:.4g} @ {step + 1}"

    def summary(self) -> list[str]:
        """Cells of the table: stage, step, best metric, state, commit."""
        record, total = self.record, self.config.get("trainer.max_steps", "?")
        commit = str(record.get("provenance", {}).get("commit") or "-")[:9]
        state = str(record.get("state", "-"))
        return [str(record.get("stage", "?")), f"{self.step}/{total}", self.best(), state, commit]


COLUMNS = ("stage", "step", "best", "state", "commit")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the command's arguments."""
    parser.add_argument(
        "words", nargs="*", metavar="[show|compare] PATH", help="default: the runs under runs/"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("compare.html"), metavar="X.html", help="with compare"
    )


def run(args: argparse.Namespace) -> None:
    """Print the table or the run, or write the page."""
    action, *paths = args.words or ["list"]
    if action == "show" and len(paths) == 1:
        print(show(read_run(Path(paths[0]))))
    elif action == "compare" and len(paths) > 1:
        runs = [read_run(Path(path)) for path in paths]
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(compare(runs), encoding="utf-8")
        print(f"wrote {args.out}")
    elif action in ("show", "compare"):
        accepted = "emo runs show RUN, or emo runs compare A B"
        raise UserError("runs", " ".join(args.words), accepted, "has too few or too many runs")
    else:
        print(table(find_runs(Path(args.words[0] if args.words else "runs"))))


def find_runs(root: Path) -> list[TrainingRun]:
    """Every run under a folder; UserError where there is none."""
    found = (
        [read_run(path.parent) for path in sorted(root.rglob(RUN_FILE))] if root.is_dir() else []
    )
    if not found:
        raise UserError("runs", root, "a folder that holds runs of emo train", "holds no run")
    return found


def read_run(folder: Path) -> TrainingRun:
    """One run's record and metrics; UserError where the folder is no run's."""
    try:
        record = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
        record["config"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        problem = f"has no readable {RUN_FILE} ({type(error).__name__})"
        raise UserError("run", folder, "the folder of a run", problem) from None
    metrics: dict[str, list[tuple[int, float]]] = {}
    path = folder / METRICS_FILE
    if path.is_file():
        with open(path, newline="", encoding="utf-8") as file:
            for row in list(csv.reader(file))[1:]:
                if len(row) == 3:
                    metrics.setdefault(row[1], []).append((int(row[0]), float(row[2])))
    return TrainingRun(folder, record, metrics)


def differences(runs: Sequence[TrainingRun]) -> list[tuple[str, list[str]]]:
    """Keys whose values are not the same in all runs, with each run's value."""
    configs = [run.config for run in runs]
    keys = sorted({key for config in configs for key in config if key not in NOT_COMPARED})
    rows = [(key, [str(config.get(key, "-")) for config in configs]) for key in keys]
    return [(key, values) for key, values in rows if len(set(values)) > 1]


def table(runs: Sequence[TrainingRun]) -> str:
    """A line per run, with what differs among the runs of its stage."""
    lines = []
    for each in runs:
        stage = each.record.get("product")
        peers = [run for run in runs if run.record.get("product") == stage]
        own = [f"{key}={values[peers.index(each)]}" for key, values in differences(peers)]
        lines.append([str(each.folder), *each.summary(), " ".join(own)])
    head = ["run", *COLUMNS, "differs"]
    widths = [max(len(line[i]) for line in [head, *lines]) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in [head, *lines]
    )


def show(run: TrainingRun) -> str:
    """Summary, settings and last metrics of a run."""
    lines = [str(run.folder)]
    lines += [f"  {name}: {cell}" for name, cell in zip(COLUMNS, run.summary(), strict=True)]
    lines += ["settings:", *(f"  {key}={value}" for key, value in run.config.items())]
    last = sorted((name, rows[-1]) for name, rows in run.metrics.items())
    lines += ["metrics (last):", *(f"  {n} {value:.5g} @ {step + 1}" for n, (step, value) in last)]
    return "\n".join(lines)


def compare(runs: Sequence[TrainingRun]) -> str:
    """A page with the runs' summaries, differing settings and curves."""
    import jinja2

    names = [run.folder.name for run in runs]
    page = jinja2.Environment(autoescape=True).from_string(PAGE)
    return page.render(
        columns=["run", *COLUMNS],
        names=["key", *names],
        rows=[[name, *run.summary()] for name, run in zip(names, runs, strict=True)],
        settings=[[key, *values] for key, values in differences(runs)],
        curves=base64.b64encode(draw_curves(runs)).decode(),
    )


def draw_curves(runs: Sequence[TrainingRun]) -> bytes:
    """PNG of every metric that a run validated, and of the training loss, one panel each."""
    from matplotlib.figure import Figure

    found = {name for run in runs for name in run.metrics}
    names = ["train/loss", *sorted(name for name in found if name.startswith("val/"))]
    names = [name for name in names if name in found]
    columns = 3
    figure = Figure(figsize=(15, 3.2 * max(1, -(-len(names) // columns))), layout="constrained")
    for place, name in enumerate(names, start=1):
        axes = figure.add_subplot(-(-len(names) // columns), columns, place)
        for run in runs:
            rows = run.metrics.get(name, [])
            axes.plot([s for s, _ in rows], [v for _, v in rows], label=run.folder.name)
        axes.set_title(name, fontsize=10)
        axes.grid(alpha=0.3)
    if names:
        figure.axes[0].legend(fontsize=8)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=90)
    return file.getvalue()


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
