"""``report.html``, ``report.md`` and ``table.tex`` from ``results.json``, ``per_clip.csv`` and
``previews.json``.

``python -m evaluation.report DIR`` writes them again. The templates lie in ``templates/``; each
escapes for its own language. Nothing here computes a score, and nothing imports torch.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from emo_lightning.motion.emotions import EMOTIONS, LEVEL_MAX, LEVEL_MIN
from evaluation.protocol import REFERENCE
from evaluation.report import cells
from evaluation.report.cells import Results, best, families, text_table
from evaluation.report.figures import Clips, clip_table, figures, level_response

__all__ = ["latex", "markdown", "page", "text_table", "write"]

COLOURS = 8
TEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "ρ": r"$\rho$",
    "²": r"$^2$",
    "±": r"$\pm$",
    "°": r"$^\circ$",
    "–": "--",
    **{letter: rf"\{letter}" for letter in "&%$#_{}"},
    **{letter: f"${letter}$" for letter in "<>|"},
}
TEX_ARROWS = {True: r" $\uparrow$", False: r" $\downarrow$", None: ""}
VIDEO_LEAD = (
    "The protocol's crop of each clip, silent, reduced, its first seconds. Where a level has no "
    "clip the nearest one is shown."
)
POSTER_LEAD = " All videos would not fit into this page, so first frames stand for them."
LEAD = (
    "Mean, its 95 % interval, the difference Δ from the ground truth, and the number of clips (or "
    "other units). Arrows point to better"
)
BOLD_LEAD = (
    "; the best system of a column, on the clips that all systems have, is in bold, or the nearest "
    "to the ground truth where neither side is better"
)


def _environment(finalize: Callable[[object], object] | None, **options: Any) -> Environment:
    """Templates whose every value is escaped by ``finalize``, or for HTML without one."""
    made = Environment(
        loader=PackageLoader("evaluation.report"),
        autoescape=finalize is None,
        finalize=finalize,
        trim_blocks=finalize is not None,
        **options,
    )
    helpers = (cells.arrow, cells.split_label, cells.number, cells.printed, cells.interval)
    helpers += (cells.below_cell, cells.is_control, cells.rows_of, cells.reasons, cells.flags)
    helpers += (cells.grouped_failures, cells.machine_line)
    made.globals |= {helper.__name__: helper for helper in helpers}
    return made


def _markdown_text(value: object) -> object:
    """Text inside a Markdown table cell."""
    return escape(str(value), quote=False).replace("|", "\\|").replace("\n", " ")


def _tex_text(value: object) -> object:
    """Text in which nothing is a LaTeX command."""
    if isinstance(value, Markup):
        return value
    return "".join(TEX.get(letter, letter) for letter in str(value))


def _tables(results: Results) -> dict[str, Any]:
    """What every report shows: the results, their families of columns, and the best of each
    column."""
    bold = {column["name"]: best(results, column) for column in results["columns"]}
    return {"r": results, "tables": families(results), "bold": bold}


def page(results: Results, clips: Clips, previews: Sequence[Mapping[str, Any]] = ()) -> str:
    """One self-contained HTML page: no file, font or script from anywhere else.

    Args:
        results: the contents of ``results.json``.
        clips: the rows of ``per_clip.csv``.
        previews: ``system``, ``clip``, ``emotion``, ``level``, ``type`` and base64 ``data`` of
            each.
    """
    names = [system for system, row in results["rows"].items() if row["kind"] == "system"]
    colours = {REFERENCE: 0} | {system: 1 + i % (COLOURS - 1) for i, system in enumerate(names)}
    tables = _tables(results)
    whole = sum(failure["metric"] is None for failure in results["failures"])
    single = len(results["failures"]) - whole
    counts = {"clips could not be scored": whole, "single scores are missing": single}
    shown = {(p["system"], p["emotion"]) for p in previews}
    environment = _environment(None)
    loader = environment.loader
    style, script = (loader.get_source(environment, f"report.{kind}")[0] for kind in ("css", "js"))
    posters = any(p["type"].startswith("image/") for p in previews)
    return environment.get_template("report.html").render(
        **tables,
        title=f"Evaluation of {names[0] if len(names) == 1 else f'{len(names)} systems'}",
        style=Markup(style),
        script=Markup(script),
        failed=" and ".join(f"{count} {what}" for what, count in counts.items() if count),
        lead=LEAD + (BOLD_LEAD if any(tables["bold"].values()) else "") + ".",
        controls=[row["about"] for row in results["rows"].values() if row["kind"] == "control"],
        colours=colours,
        levels=level_response(results, colours),
        figures=figures(results, clips, colours),
        clips=clip_table(results, clips),
        shown_value=_shown_value,
        previews=list(previews),
        level_range=(f"{LEVEL_MIN:g}", f"{LEVEL_MAX:g}"),
        video_lead=VIDEO_LEAD + (POSTER_LEAD if posters else ""),
        video_systems=[s for s in results["systems"] if any(s == system for system, _ in shown)],
        video_emotions=[e for e in EMOTIONS if any(e == emotion for _, emotion in shown)],
        video_cells=shown,
    )


def _shown_value(value: str, decimals: int | None) -> str:
    """A value of ``per_clip.csv`` with a column's decimals."""
    return f"{float(value):.{decimals}f}" if value and decimals is not None else value


def markdown(results: Results) -> str:
    """The report for a pull request or a paper's appendix."""
    remarks = (
        ("† To be read with care:", cells.flags(results)),
        ("What a dash or an absent column stands for:", cells.reasons(results)),
        ("Of the clips:", results["notes"]),
    )
    template = _environment(_markdown_text, keep_trailing_newline=True).get_template("report.md")
    levels = level_response(results, None)
    return template.render(**_tables(results), remarks=remarks, levels=levels)


def latex(results: Results) -> str:
    """The results table for a paper, one ``tabular`` a family, best in bold; no package needed."""
    delimiters = {"block_start_string": "<%", "block_end_string": "%>"}
    delimiters |= {"variable_start_string": "<<", "variable_end_string": ">>"}
    delimiters |= {"comment_start_string": "<#", "comment_end_string": "#>"}
    template = _environment(_tex_text, **delimiters).get_template("table.tex")
    arrows = {better: Markup(text) for better, text in TEX_ARROWS.items()}
    return template.render(**_tables(results), arrows=arrows)


def write(folder: Path) -> None:
    """Write the reports into the folder of ``results.json``, ``per_clip.csv`` and
    ``previews.json``."""
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    with (folder / "per_clip.csv").open(encoding="utf-8", newline="") as handle:
        clips = list(csv.DictReader(handle))
    file = folder / "previews.json"
    previews = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    texts = {
        "report.html": page(results, clips, previews),
        "report.md": markdown(results),
        "table.tex": latex(results),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
