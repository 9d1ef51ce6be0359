"""What one cell of the results table says; shared by the HTML, the Markdown, the LaTeX and the terminal's table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.protocol import REFERENCE

Results = Mapping[str, Any]
Cell = Mapping[str, Any]


def arrow(column: Mapping[str, Any]) -> str:
    """↑ where higher is better, ↓ where lower is, nothing where neither is."""
    return {True: " ↑", False: " ↓", None: ""}[column["higher_is_better"]]


def heading(column: Mapping[str, Any]) -> tuple[str, str]:
    """A column's label without what stands in brackets at its end, and a second line: that, and the unit."""
    label, _, judge = column["label"].partition(" (")
    return label, " · ".join(filter(None, (judge.removesuffix(")"), column["unit"])))


def number(cell: Cell, decimals: int) -> str:
    """A cell's mean, ``∞``, or a dash for what could not be computed."""
    if cell.get("infinite"):
        return "∞"
    # Adding zero turns a rounded -0 into 0.
    return "–" if cell["mean"] is None else f"{round(cell['mean'], decimals) + 0.0:.{decimals}f}"


def gap(cell: Cell, truth: Cell | None, decimals: int) -> str:
    """How far a score lies from the ground truth's, with its sign; nothing where either is absent."""
    if truth is None or truth["mean"] is None or cell["mean"] is None:
        return ""
    return f"Δ {cell['mean'] - truth['mean']:+.{decimals}f}".replace("-", "−")


def is_control(results: Results, system: str) -> bool:
    """Whether a row is made of the references to see that the metrics can be believed."""
    return results["rows"][system]["kind"] == "control"


def best(results: Results, column: Mapping[str, Any]) -> set[str]:
    """The systems to print in bold in a column: the best of at least two, as printed.

    Where neither side is better that is the one nearest to the ground truth. The reference and its controls do not compete.
    """
    shown: dict[str, float] = {}
    for system, cells in results["systems"].items():
        cell = cells[column["name"]]
        if results["rows"][system]["kind"] == "system" and (
            cell["mean"] is not None or cell.get("infinite")
        ):
            shown[system] = (
                float("inf") if cell.get("infinite") else float(number(cell, column["decimals"]))
            )
    if column["higher_is_better"] is None:
        truth = results["systems"].get(REFERENCE, {}).get(column["name"])
        if truth is None or truth["mean"] is None:
            return set()
        wanted = float(number(truth, column["decimals"]))
        shown = {system: -abs(value - wanted) for system, value in shown.items()}
    if len(shown) < 2:
        return set()
    top = min(shown.values()) if column["higher_is_better"] is False else max(shown.values())
    return {system for system, value in shown.items() if value == top}


def shown_columns(results: Results) -> list[Mapping[str, Any]]:
    """The columns in which at least one row has a value; :func:`reasons` says why the others are not there."""
    return [
        c
        for c in results["columns"]
        if any(number(cells[c["name"]], 1) != "–" for cells in results["systems"].values())
    ]


def families(
    results: Results, columns: Sequence[Mapping[str, Any]]
) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """Columns by family in the report's order: heading and columns, empty families left out."""
    found = [
        (heading, [c for c in columns if c["family"] == name])
        for name, heading in results["families"].items()
    ]
    return [(heading, mine) for heading, mine in found if mine]


def reasons(results: Results) -> list[str]:
    """Why cells of the table have no number, one line for each reason; what a control says nothing of is left out."""
    found: dict[str, dict[str, list[str]]] = {}
    for system, cells in results["systems"].items():
        for column in results["columns"]:
            cell = cells[column["name"]]
            if cell["mean"] is None and not is_control(results, system):
                found.setdefault(cell["reason"], {}).setdefault(system, []).append(column["label"])
    everyone = [system for system in results["systems"] if not is_control(results, system)]
    lines = []
    for reason, systems in found.items():
        for labels in dict.fromkeys(", ".join(labels) for labels in systems.values()):
            mine = [system for system, its in systems.items() if ", ".join(its) == labels]
            names = "" if mine == everyone else f" ({', '.join(mine)})"
            lines.append(f"{labels}{names}: {reason}")
    return lines


def flags(results: Results) -> list[str]:
    """What a reader must know before trusting a number, one line for each column and flag."""
    found: dict[tuple[str, str], list[str]] = {}
    for system, cells in results["systems"].items():
        for column in results["columns"]:
            flag = cells[column["name"]].get("flag")
            if flag:
                found.setdefault((column["label"], flag), []).append(system)
    return [f"{label} ({', '.join(systems)}): {flag}" for (label, flag), systems in found.items()]


def grouped_failures(results: Results) -> list[dict[str, str]]:
    """What was not scored, clips and metrics that share a reason in one line: ``system``, ``clips``, ``metrics``, ``reason``."""
    labels = {column["name"]: column["label"] for column in results["columns"]}
    metrics: dict[tuple[str, str, str], list[str]] = {}
    for failure in results["failures"]:
        where = failure["system"], failure["clip"], failure["reason"]
        metrics.setdefault(where, []).append(
            labels.get(failure["metric"], failure["metric"]) or "all"
        )
    clips: dict[tuple[str, str, str], list[str]] = {}
    for (system, clip, reason), mine in metrics.items():
        clips.setdefault((system, ", ".join(mine), reason), []).append(clip)
    return [
        {"system": system, "clips": _some(names), "metrics": mine, "reason": reason}
        for (system, mine, reason), names in clips.items()
    ]


def _some(names: Sequence[str], most: int = 8) -> str:
    """Names, or how many and the first of them."""
    return (
        ", ".join(names)
        if len(names) <= most
        else f"{len(names)} clips: {', '.join(names[:most])}, ..."
    )


def machine_line(results: Results) -> str:
    """Where the numbers were computed, and how long it took."""
    machine = results["environment"]
    processes = "1 process" if machine["processes"] == 1 else f"{machine['processes']} processes"
    computer = f"{machine['platform']}, {machine['cpus']} CPUs, {machine['device']}, Python {machine['python']}"
    return f"{computer}; {processes}, {machine['seconds']} s"


def text_table(results: Results) -> str:
    """The results as aligned plain text for a terminal, one block a family."""
    return "\n\n".join(
        f"{heading}\n{_block(results, columns)}"
        for heading, columns in families(results, shown_columns(results))
    )


def _block(results: Results, columns: Sequence[Mapping[str, Any]]) -> str:
    table = [["", *(column["label"] + arrow(column) for column in columns)]]
    for system, cells in results["systems"].items():
        numbers = [number(cells[column["name"]], column["decimals"]) for column in columns]
        if not is_control(results, system) or set(numbers) != {"–"}:
            table.append([system, *numbers])
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    lines = []
    for row in table:
        name, *numbers = (word.rjust(width) for word, width in zip(row, widths, strict=True))
        lines.append("  ".join([name.strip().ljust(widths[0]), *numbers]))
    return "\n".join(lines)
