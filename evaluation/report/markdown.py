"""The report as Markdown, for a pull request or a paper's appendix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from evaluation.report.cells import (
    Results,
    arrow,
    best,
    families,
    flags,
    grouped_failures,
    is_control,
    machine_line,
    number,
    reasons,
    shown_columns,
)


def markdown(results: Results) -> str:
    """The report for a pull request or a paper's appendix."""
    parts = [f"# Evaluation ({results['protocol']})", "", *_tables(results)]
    parts += [*_reasons(results), *_levels(results)]
    if results["failures"]:
        parts += ["## Not scored", "", "| system | clips | metrics | reason |", "|---|---|---|---|"]
        parts += [
            "| " + " | ".join(map(_md, row.values())) + " |" for row in grouped_failures(results)
        ]
        parts.append("")
    parts += [
        "## Protocol and judges",
        "",
        f"Protocol `{results['protocol']}`, commit `{results['commit']}`.",
    ]
    parts += [f"Brackets: {results['settings']['interval']}.", ""]
    parts += [
        f"- {judge['name']}: {judge['about']}; sha256 `{judge['sha256'] or 'none'}`"
        for judge in results["judges"]
    ]
    parts.append(f"- {machine_line(results)}")
    return "\n".join(parts) + "\n"


def _md(text: object) -> str:
    """Text inside a Markdown table cell."""
    return escape(str(text), quote=False).replace("|", "\\|").replace("\n", " ")


def _cell(cell: Mapping[str, Any], decimals: int, bold: bool) -> str:
    text = number(cell, decimals)
    text = f"**{text}**" if bold else text
    if cell.get("flag"):
        text += "†"
    if cell["ci95"]:
        text += f" [{cell['ci95'][0]:.{decimals}f}, {cell['ci95'][1]:.{decimals}f}]"
    return text + (f" (n={cell['n']})" if cell["n"] else "")


def _tables(results: Results) -> list[str]:
    parts = []
    for heading, columns in families(results, shown_columns(results)):
        parts += [f"## {heading}", "", _table(results, columns), ""]
    return parts or ["No metric has a value.", ""]


def _table(results: Results, columns: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        "| system | "
        + " | ".join(
            f"{c['label']}{' (' + c['unit'] + ')' if c['unit'] else ''}{arrow(c)}" for c in columns
        )
        + " |"
    ]
    lines.append("|---|" + "---:|" * len(columns))
    bold = {c["name"]: best(results, c) for c in columns}
    for system, cells in results["systems"].items():
        if is_control(results, system) and all(number(cells[c["name"]], 1) == "–" for c in columns):
            continue
        shown = (_cell(cells[c["name"]], c["decimals"], system in bold[c["name"]]) for c in columns)
        lines.append(f"| {_md(system)} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def _reasons(results: Results) -> list[str]:
    lines: list[str] = []
    said = {
        "† To be read with care:": flags(results),
        "What a dash, ∞ or an absent column stands for:": reasons(results),
        "Of the clips:": results["notes"],
    }
    for title, found in said.items():
        if found:
            lines += [title, "", *(f"- {_md(line)}" for line in found), ""]
    return lines


def _levels(results: Results) -> list[str]:
    rows: list[str] = []
    for system, details in results["details"].items():
        for emotion, curves in details.get("level_response", {}).items():
            own = curves["signature"]
            shown = (
                "–" if own[name] is None else f"{own[name]:.3f}"
                for name in ("rho", "r2", "range", "half")
            )
            rows.append(
                f"| {_md(system)} | {emotion} | "
                + " | ".join(shown)
                + f" | {len(set(own['levels']))} |"
            )
    if not rows:
        return []
    head = [
        "| system | emotion | ρ | R² | range | share at 8 | levels |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    return ["## Level response by emotion, on its own action units", "", *head, *rows, ""]
