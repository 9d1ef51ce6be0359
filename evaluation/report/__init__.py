"""``report.html`` and ``report.md`` from ``results.json`` and ``per_clip.csv`` alone.

``python -m evaluation.report DIR`` writes them again. Nothing here computes a score, and nothing imports torch: whatever
the report shows stands in those two files.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

from evaluation.report.cells import text_table
from evaluation.report.html import page
from evaluation.report.markdown import markdown

__all__ = ["markdown", "page", "text_table", "write"]


def write(folder: Path) -> None:
    """Write both reports into the folder that holds ``results.json`` and ``per_clip.csv``."""
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    with (folder / "per_clip.csv").open(encoding="utf-8", newline="") as handle:
        clips = list(csv.DictReader(handle))
    (folder / "report.html").write_text(page(results, clips), encoding="utf-8")
    (folder / "report.md").write_text(markdown(results), encoding="utf-8")
