"""The results, one table a family of metrics, and what stands behind their columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from evaluation.protocol import REFERENCE
from evaluation.report.cells import (
    Results,
    arrow,
    best,
    families,
    flags,
    gap,
    heading,
    is_control,
    number,
    reasons,
    shown_columns,
)
from evaluation.report.markup import bulleted, row_name, scrolling_table, section, tag, text_cell

FLAG = "†"


def results_section(results: Results) -> str:
    """Every family's table, then what dashes and marks stand for and what the columns mean."""
    shown = shown_columns(results)
    bold = {c["name"]: best(results, c) for c in shown}
    tables = [
        tag("h3", escape(title), class_="family") + _table(results, columns, bold)
        for title, columns in families(results, shown)
    ]
    if not tables:
        tables = [tag("p", "No metric has a value.", class_="soft")]
    lead = "Mean, its 95 % interval, the difference Δ from the ground truth, and how many clips (or what else is said) it rests on. "
    lead += "Arrows point to better"
    lead += (
        "; the best system of a column is in bold, or the nearest to the ground truth where neither side is better."
        if any(bold.values())
        else "."
    )
    controls = ""
    if any(is_control(results, system) for system in results["systems"]):
        said = "Controls are made of the ground truth, to see that a metric can be believed: "
        said += "; ".join(
            row["about"] for row in results["rows"].values() if row["kind"] == "control"
        )
        controls = tag("p", escape(said + "."), class_="soft")
    marks = bulleted(f"{FLAG} To be read with care:", flags(results))
    dashes = bulleted("What a dash, ∞ or an absent column stands for:", reasons(results))
    notes = bulleted("Of the clips:", results["notes"])
    return section(
        "Results",
        lead,
        *tables,
        controls,
        marks,
        dashes,
        notes,
        _meaning(results["columns"]),
        id_="results",
    )


def _table(
    results: Results, columns: Sequence[Mapping[str, Any]], bold: Mapping[str, set[str]]
) -> str:
    head = [text_cell("", "th")]
    for column in columns:
        label, below = heading(column)
        unit = tag("span", escape(below) or "&nbsp;", class_="unit")
        head.append(
            tag("th", escape(label) + arrow(column) + unit, title=column["about"], scope="col")
        )
    rows = []
    for system, cells in results["systems"].items():
        row = results["rows"][system]
        if row["kind"] == "control" and all(number(cells[c["name"]], 1) == "–" for c in columns):
            continue
        truth = None if system == REFERENCE else results["systems"].get(REFERENCE)
        shown = "".join(
            _cell(c, cells[c["name"]], truth and truth[c["name"]], system in bold[c["name"]])
            for c in columns
        )
        rows.append(
            tag("tr", row_name(system, row["kind"], row["about"]) + shown, class_=row["kind"])
        )
    return scrolling_table(head, rows, class_="results")


def _cell(
    column: Mapping[str, Any], cell: Mapping[str, Any], truth: Mapping[str, Any] | None, bold: bool
) -> str:
    decimals = column["decimals"]
    text = _minus(number(cell, decimals)) + (FLAG if cell.get("flag") else "")
    if cell["mean"] is None:
        return tag("td", text, class_="none", title=cell["reason"])
    between = (
        _minus(f"[{cell['ci95'][0]:.{decimals}f}, {cell['ci95'][1]:.{decimals}f}]")
        if cell["ci95"]
        else "no interval"
    )
    away = gap(cell, truth, decimals)
    count = f"n {cell['n']}{' ' + cell['unit'] if cell.get('unit', 'clips') != 'clips' else ''}"
    below = tag("small", between) + tag("small", escape(" · ".join(filter(None, (away, count)))))
    return tag("td", (tag("b", text) if bold else text) + below, title=cell.get("flag") or "")


def _minus(text: str) -> str:
    """The sign as it is printed."""
    return text.replace("-", "−")


def _meaning(columns: Sequence[Mapping[str, Any]]) -> str:
    rows = ""
    for column in columns:
        judge = f"; judge: {column['judge']}" if column["judge"] else ""
        rows += tag("dt", escape(column["label"]) + arrow(column)) + tag(
            "dd", escape(column["about"] + judge)
        )
    return tag("details", tag("summary", "What the columns mean", class_="soft") + tag("dl", rows))
