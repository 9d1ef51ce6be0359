"""The results table for a paper: plain LaTeX, no package needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evaluation.report.cells import Results, best, families, number, shown_columns

SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "ρ": r"$\rho$",
    "²": r"$^2$",
    "±": r"$\pm$",
    "–": "--",
    "∞": r"$\infty$",
    "<": r"$<$",
    ">": r"$>$",
    "|": r"$|$",
}
ARROWS = {True: r" $\uparrow$", False: r" $\downarrow$", None: ""}


def latex(results: Results) -> str:
    """One ``tabular`` for each family of metrics, best in bold, intervals left to the caption's reader in ``report.md``."""
    bold = {column["name"]: best(results, column) for column in results["columns"]}
    parts = [
        f"% Protocol {results['protocol']}, commit {results['commit']}; means, 95% intervals in report.md"
    ]
    for heading, columns in families(results, shown_columns(results)):
        parts += [f"% {heading}", *_tabular(results, columns, bold), ""]
    return "\n".join(parts)


def _tabular(
    results: Results, columns: list[Mapping[str, Any]], bold: Mapping[str, set[str]]
) -> list[str]:
    lines = [rf"\begin{{tabular}}{{l{'r' * len(columns)}}}", r"\hline"]
    lines.append(
        " & ".join(["", *(tex(c["label"]) + ARROWS[c["higher_is_better"]] for c in columns)])
        + r" \\ \hline"
    )
    for system, cells in results["systems"].items():
        shown = []
        for column in columns:
            text = tex(number(cells[column["name"]], column["decimals"]))
            shown.append(rf"\textbf{{{text}}}" if system in bold[column["name"]] else text)
        lines.append(" & ".join([tex(system), *shown]) + r" \\")
    return [*lines, r"\hline", r"\end{tabular}"]


def tex(text: str) -> str:
    """Text in which nothing is a command."""
    return "".join(SPECIAL.get(letter, letter) for letter in text)
