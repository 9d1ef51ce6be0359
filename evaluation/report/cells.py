"""What one cell of the results table says; shared by the HTML, the Markdown and the terminal's table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evaluation.protocol import REFERENCE

Results = Mapping[str, Any]


def arrow(column: Mapping[str, Any]) -> str:
    """↑ where higher is better, ↓ where lower is, nothing where neither is."""
    return {True: " ↑", False: " ↓", None: ""}[column["higher_is_better"]]


def number(cell: Mapping[str, Any], decimals: int) -> str:
    """A cell's mean, ``∞``, or a dash for what could not be computed."""
    if cell.get("infinite"):
        return "∞"
    return "–" if cell["mean"] is None else f"{cell['mean']:.{decimals}f}"


def best(results: Results, column: Mapping[str, Any]) -> set[str]:
    """The systems to print in bold in a column: the best of at least two, as printed; the reference does not compete."""
    if column["higher_is_better"] is None:
        return set()
    shown: dict[str, float] = {}
    for system, cells in results["systems"].items():
        cell = cells[column["name"]]
        if system != REFERENCE and (cell["mean"] is not None or cell.get("infinite")):
            shown[system] = float("inf") if cell.get("infinite") else float(number(cell, column["decimals"]))
    if len(shown) < 2:
        return set()
    top = max(shown.values()) if column["higher_is_better"] else min(shown.values())
    return {system for system, value in shown.items() if value == top}


def reasons(results: Results) -> list[str]:
    """Why cells of the table have no number, one line for each reason."""
    found: dict[tuple[str, str], list[str]] = {}
    for column in results["columns"]:
        for system, cells in results["systems"].items():
            if cells[column["name"]]["mean"] is None:
                found.setdefault((system, cells[column["name"]]["reason"]), []).append(column["label"])
    return [f"{system}, {', '.join(labels)}: {reason}" for (system, reason), labels in found.items()]


def machine_line(results: Results) -> str:
    """Where the numbers were computed, and how long it took."""
    machine = results["environment"]
    processes = "1 process" if machine["processes"] == 1 else f"{machine['processes']} processes"
    computer = f"{machine['platform']}, {machine['cpus']} CPUs, {machine['device']}, Python {machine['python']}"
    return f"{computer}; {processes}, {machine['seconds']} s"


def text_table(results: Results) -> str:
    """The results as aligned plain text for a terminal."""
    columns = results["columns"]
    table = [["system", *(column["label"] + arrow(column) for column in columns)]]
    for system, cells in results["systems"].items():
        table.append([system, *(number(cells[column["name"]], column["decimals"]) for column in columns)])
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    lines = []
    for row in table:
        name, *numbers = (word.rjust(width) for word, width in zip(row, widths, strict=True))
        lines.append("  ".join([name.strip().ljust(widths[0]), *numbers]))
    return "\n".join(lines)
