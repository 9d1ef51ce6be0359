"""Contents of one cell of the results table, shared by the HTML, Markdown, LaTeX and terminal
tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.protocol import REFERENCE

Results = Mapping[str, Any]
Cell = Mapping[str, Any]
Column = Mapping[str, Any]
FLAG = "†"
MOST_NAMES = 8


def arrow(column: Column) -> str:
    """↑ where higher is better, ↓ where lower is, nothing where neither is."""
    return {True: " ↑", False: " ↓", None: ""}[column["higher_is_better"]]


def split_label(column: Column) -> tuple[str, str]:
    """A column's label without its bracketed end, and a second line: that, and the unit."""
    label, _, judge = column["label"].partition(" (")
    return label, " · ".join(filter(None, (judge.removesuffix(")"), column["unit"])))


def number(cell: Cell, decimals: int) -> str:
    """A cell's mean, or a dash for what could not be computed."""
    # Adding zero turns a rounded -0 into 0.
    return "–" if cell["mean"] is None else f"{round(cell['mean'], decimals) + 0.0:.{decimals}f}"


def printed(cell: Cell, decimals: int, minus: str = "−", flag: str = FLAG) -> str:
    """A cell's mean as the reports print it, with a mark for a flag."""
    return number(cell, decimals).replace("-", minus) + (flag if cell.get("flag") else "")


def interval(cell: Cell, decimals: int, minus: str = "−") -> str:
    """A cell's interval in brackets; empty without one."""
    if not cell["ci95"]:
        return ""
    low, high = cell["ci95"]
    return f"[{low:.{decimals}f}, {high:.{decimals}f}]".replace("-", minus)


def gap(cell: Cell, truth: Cell | None, decimals: int) -> str:
    """Difference from the ground truth's score, with its sign; empty where either is absent."""
    if truth is None or truth["mean"] is None or cell["mean"] is None:
        return ""
    return f"Δ {cell['mean'] - truth['mean']:+.{decimals}f}".replace("-", "−")


def below_cell(results: Results, system: str, column: Column) -> str:
    """The second line of a cell: the difference from the ground truth, and the number of clips."""
    cell, truth = results["systems"][system][column["name"]], None
    if system != REFERENCE and REFERENCE in results["systems"]:
        truth = results["systems"][REFERENCE][column["name"]]
    unit = cell.get("unit", "clips")
    count = f"n {cell['n']}{'' if unit == 'clips' else f' {unit}'}"
    return " · ".join(filter(None, (gap(cell, truth, column["decimals"]), count)))


def is_control(results: Results, system: str) -> bool:
    """Whether a row is made of the references to check the metrics."""
    return results["rows"][system]["kind"] == "control"


def best(results: Results, column: Column) -> set[str]:
    """The systems to print in bold in a column: the best of at least two, as printed.

    Where neither side is better that is the one nearest to the ground truth. References and
    controls do not compete, and no system is best where they were scored on different clips.
    """
    decimals = column["decimals"]
    cells = {
        system: cells[column["name"]]
        for system, cells in results["systems"].items()
        if results["rows"][system]["kind"] == "system" and cells[column["name"]]["mean"] is not None
    }
    if len(cells) < 2 or any(cell.get("own_clips") for cell in cells.values()):
        return set()
    shown = {system: float(number(cell, decimals)) for system, cell in cells.items()}
    if column["higher_is_better"] is None:
        truth = results["systems"].get(REFERENCE, {}).get(column["name"])
        if truth is None or truth["mean"] is None:
            return set()
        wanted = float(number(truth, decimals))
        shown = {system: -abs(value - wanted) for system, value in shown.items()}
    top = min(shown.values()) if column["higher_is_better"] is False else max(shown.values())
    return {system for system, value in shown.items() if value == top}


def shown_columns(results: Results) -> list[Column]:
    """The columns in which at least one row has a value; :func:`reasons` explains the others."""
    rows = results["systems"].values()
    return [
        c for c in results["columns"] if any(row[c["name"]]["mean"] is not None for row in rows)
    ]


def families(results: Results) -> list[tuple[str, list[Column]]]:
    """Shown columns by family in the report's order: heading and columns, empty families
    skipped."""
    columns = shown_columns(results)
    found = [
        (heading, [c for c in columns if c["family"] == name])
        for name, heading in results["families"].items()
    ]
    return [(heading, mine) for heading, mine in found if mine]


def rows_of(results: Results, columns: Sequence[Column]) -> list[str]:
    """The rows of a table: all but the controls that have no value in it."""
    return [
        system
        for system, cells in results["systems"].items()
        if not is_control(results, system)
        or any(cells[c["name"]]["mean"] is not None for c in columns)
    ]


def reasons(results: Results) -> list[str]:
    """Why cells of the table have no number, one line for each reason; controls are skipped."""
    found: dict[str, dict[str, list[str]]] = {}
    everyone = [system for system in results["systems"] if not is_control(results, system)]
    for system in everyone:
        for column in results["columns"]:
            cell = results["systems"][system][column["name"]]
            if cell["mean"] is None:
                found.setdefault(cell["reason"], {}).setdefault(system, []).append(column["label"])
    lines = []
    for reason, systems in found.items():
        joined = {system: ", ".join(labels) for system, labels in systems.items()}
        for labels in dict.fromkeys(joined.values()):
            mine = [system for system, its in joined.items() if its == labels]
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
    """Failures by shared reason: ``system``, ``clips``, ``metrics``, ``reason`` of each."""
    labels = {column["name"]: column["label"] for column in results["columns"]}
    metrics: dict[tuple[str, str, str], list[str]] = {}
    for failure in results["failures"]:
        where = failure["system"], failure["clip"], failure["reason"]
        name = labels.get(failure["metric"], failure["metric"]) or "all"
        metrics.setdefault(where, []).append(name)
    clips: dict[tuple[str, str, str], list[str]] = {}
    for (system, clip, reason), mine in metrics.items():
        clips.setdefault((system, ", ".join(mine), reason), []).append(clip)
    return [
        {"system": system, "clips": _some(names), "metrics": mine, "reason": reason}
        for (system, mine, reason), names in clips.items()
    ]


def _some(names: Sequence[str]) -> str:
    """Names, or their number and the first of them."""
    first = ", ".join(names[:MOST_NAMES])
    return first if len(names) <= MOST_NAMES else f"{len(names)} clips: {first}, ..."


def machine_line(results: Results) -> str:
    """Where the numbers were computed, and how long it took."""
    m = results["environment"]
    processes = "1 process" if m["processes"] == 1 else f"{m['processes']} processes"
    computer = f"{m['platform']}, {m['cpus']} CPUs, {m['device']}, Python {m['python']}"
    return f"{computer}; {processes}, {m['seconds']} s"


def text_table(results: Results) -> str:
    """The results as aligned plain text for a terminal, one block a family; n is the number of
    clips."""
    blocks = []
    for heading, columns in families(results):
        table = [["", "n", *(column["label"] + arrow(column) for column in columns)]]
        for system in rows_of(results, columns):
            cells = [results["systems"][system][column["name"]] for column in columns]
            counts = [c["n"] for c in cells if c["n"] and c.get("unit", "clips") == "clips"]
            low, high = min(counts, default=0), max(counts, default=0)
            n = f"{low}" if low == high else f"{low}-{high}"
            decimals = (column["decimals"] for column in columns)
            table.append([system, n, *map(number, cells, decimals)])
        widths = [max(map(len, words)) for words in zip(*table, strict=True)]
        lines = [
            "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])
            for row in table
        ]
        blocks.append("\n".join([heading, *lines]))
    return "\n\n".join(blocks)
