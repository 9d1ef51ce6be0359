"""``report.html``, ``report.md`` and ``table.tex`` from ``results.json``, ``per_clip.csv`` and ``previews.json``.

``python -m evaluation.report DIR`` writes them again. Nothing here computes a score, and nothing imports torch: whatever
the report shows stands in those files.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

from evaluation.report.cells import text_table
from evaluation.report.html import page
from evaluation.report.latex import latex
from evaluation.report.markdown import markdown

__all__ = ["latex", "markdown", "page", "text_table", "write"]


def write(folder: Path) -> None:
    """Write the reports into the folder that holds ``results.json``, ``per_clip.csv`` and, for the videos, ``previews.json``."""
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    with (folder / "per_clip.csv").open(encoding="utf-8", newline="") as handle:
        clips = list(csv.DictReader(handle))
    film = folder / "previews.json"
    previews = json.loads(film.read_text(encoding="utf-8")) if film.is_file() else []
    (folder / "report.html").write_text(page(results, clips, previews), encoding="utf-8")
    (folder / "report.md").write_text(markdown(results), encoding="utf-8")
    (folder / "table.tex").write_text(latex(results), encoding="utf-8")
