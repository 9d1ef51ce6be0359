"""The report as one self-contained HTML page: no file, font or script from anywhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from evaluation.protocol import REFERENCE
from evaluation.report.cells import Results, arrow, grouped_failures, is_control, machine_line
from evaluation.report.figures import (
    details_sections,
    histogram_section,
    levels_section,
    units_section,
)
from evaluation.report.markup import scrolling_table, section, tag, text_cell
from evaluation.report.tables import results_section
from evaluation.report.videos import videos_section

Clips = Sequence[Mapping[str, str]]
COLOURS = 8
HIDDEN_CLIP_COLUMNS = frozenset({"width", "height", "sha256", "reference_frames", "frames"})
UNREMARKABLE = {"framing": {"shared"}, "length_difference_s": {"0.0"}, "frames_without_face": {"0"}}
"""Columns that are shown only if a clip has another value."""
CLIP_LABELS = {
    "compared_frames": "frames",
    "length_difference_s": "length ± s",
    "frames_without_face": "no face",
}
TEXT_COLUMNS = frozenset({"system", "clip", "emotion", "framing", "failure"})
NAVIGATION = {
    "results": "Results",
    "videos": "Videos",
    "levels": "Level response",
    "clips-section": "Clips",
    "failures": "Not scored",
    "method": "Method",
}


def page(results: Results, clips: Clips, previews: Sequence[Mapping[str, Any]] = ()) -> str:
    """The whole page from the contents of ``results.json``, the rows of ``per_clip.csv`` and the clips' previews."""
    names = [system for system in results["systems"] if results["rows"][system]["kind"] == "system"]
    colours = {REFERENCE: 0} | {system: 1 + i % (COLOURS - 1) for i, system in enumerate(names)}
    body = "\n".join(
        filter(
            None,
            (
                results_section(results),
                videos_section(results, previews),
                levels_section(results, colours),
                details_sections(results, colours),
                histogram_section(results, clips, colours),
                units_section(results, colours),
                _clips(results, clips),
                _failures(results),
            ),
        )
    )
    title = (
        f"Evaluation of {names[0]}" if len(names) == 1 else f"Evaluation of {len(names)} systems"
    )
    template = Template(_asset("report.html"))
    return template.substitute(
        title=escape(title),
        summary=_summary(results),
        navigation=_navigation(body),
        body=body,
        footer=_footer(results),
        style=_asset("report.css"),
        script=_asset("report.js"),
    )


def _asset(name: str) -> str:
    return files("evaluation").joinpath("assets", name).read_text(encoding="utf-8")


def _navigation(body: str) -> str:
    links = (
        tag("a", label, href=f"#{id_}")
        for id_, label in NAVIGATION.items()
        if f'id="{id_}"' in body or id_ == "method"
    )
    return tag("nav", "".join(links), aria_label="sections")


def _summary(results: Results) -> str:
    counts = ", ".join(
        f"{escape(s)} {count}"
        for s, count in results["clips"].items()
        if not is_control(results, s)
    )
    whole = sum(failure["metric"] is None for failure in results["failures"])
    single = len(results["failures"]) - whole
    said = [
        f"{whole} clips could not be scored" if whole else "",
        f"{single} single scores are missing" if single else "",
    ]
    end = (
        tag("a", " and ".join(filter(None, said)), href="#failures") + "."
        if whole or single
        else "Everything was scored."
    )
    lost = results.get("unscored")
    warning = (
        tag("strong", f" A process died: {lost} clips are missing, and --resume scores them.")
        if lost
        else ""
    )
    return f"Protocol {escape(results['protocol'])}. Clips scored: {counts}. {end}{warning}"


def _clips(results: Results, clips: Clips) -> str:
    """Every clip with its scores, the controls' left to ``per_clip.csv``."""
    clips = [
        row
        for row in clips
        if row["system"] not in results["rows"] or not is_control(results, row["system"])
    ]
    if not clips:
        return ""
    columns = {c["name"]: c for c in results["columns"]}
    names = [
        n
        for n in clips[0]
        if n not in HIDDEN_CLIP_COLUMNS
        and {row[n] for row in clips} - {""} - UNREMARKABLE.get(n, set())
    ]
    head = []
    for n in names:
        label = (
            columns[n]["label"] + arrow(columns[n])
            if n in columns
            else CLIP_LABELS.get(n, n.replace("_", " "))
        )
        head.append(
            tag(
                "th",
                tag("button", escape(label)),
                class_="text" if n in TEXT_COLUMNS else "",
                scope="col",
            )
        )
    rows = [
        tag("tr", "".join(_clip_cell(n, row[n], columns.get(n)) for n in names)) for row in clips
    ]
    box = '<input type="search" data-filters="clips" placeholder="any text">'
    search = tag("div", tag("label", f"Show clips with {box}"), class_="controls")
    table = scrolling_table(head, rows, tall=True, id="clips", class_="sortable")
    return section(
        "Clips",
        "A click on a heading sorts; a second one turns the order.",
        search,
        table,
        id_="clips-section",
    )


def _clip_cell(name: str, value: str, column: Mapping[str, Any] | None) -> str:
    """One cell; ``data-v`` is what the page sorts by."""
    if column is None:
        style = "text wrap" if name == "failure" else "text" if name in TEXT_COLUMNS else ""
        return tag("td", escape(value), class_=style, data_v=value)
    if not value:
        return tag("td", "")
    # JavaScript reads 1e999 as infinity and nothing that Python prints for it.
    return (
        tag("td", "∞", data_v="1e999")
        if value == "inf"
        else tag("td", f"{float(value):.{column['decimals']}f}", data_v=value)
    )


def _failures(results: Results) -> str:
    if not results["failures"]:
        return ""
    rows = []
    for failure in grouped_failures(results):
        cells = (
            text_cell(failure["system"])
            + text_cell(failure["clips"], style="text wrap")
            + text_cell(failure["metrics"], style="text wrap")
        )
        rows.append(tag("tr", cells + text_cell(failure["reason"], style="text wrap")))
    head = [text_cell(name, "th") for name in ("system", "clips", "metrics", "reason")]
    return section(
        "Not scored",
        "These play no part in the numbers above.",
        scrolling_table(head, rows, tall=True),
        id_="failures",
    )


def _footer(results: Results) -> str:
    settings = results["settings"]
    moved = f"for the other moved and scaled once by the {settings.get('align')}"
    same = moved if settings.get("align") else "the same for both"
    crop = f"one {settings['crop']} × {settings['crop']} crop a clip, from the reference, {same}"
    rows = {
        "protocol": f"{results['protocol']}: {settings['fps']:g} frames/s by timestamp; {crop}; frames compared at equal timestamps",
        "interval": settings["interval"],
        "commit": results["commit"] or "not run from a checkout",
        "machine": machine_line(results),
        "software": ", ".join(
            f"{name} {version}"
            for name, version in results["environment"]["packages"].items()
            if version
        ),
    }
    shown = "".join(tag("dt", name) + tag("dd", escape(str(value))) for name, value in rows.items())
    for judge in results["judges"]:
        digest = (
            tag("code", f"sha256 {escape(judge['sha256'])}") if judge["sha256"] else "no weights"
        )
        shown += tag("dt", "judge") + tag(
            "dd", f"{escape(judge['name'])}: {escape(judge['about'])}<br>{digest}"
        )
    return tag("dl", shown) + _inputs(results)


def _inputs(results: Results) -> str:
    """The manifest: every file that was looked at."""
    rows = []
    for entry in results["inputs"]:
        cells = (
            text_cell(entry["system"])
            + text_cell(entry["clip"])
            + text_cell(entry["reference"] or "")
        )
        rows.append(
            tag(
                "tr",
                cells
                + tag("td", tag("code", escape(entry["sha256"] or "not readable")), class_="text"),
            )
        )
    head = [text_cell(name, "th") for name in ("system", "clip", "reference", "sha256")]
    return tag(
        "details",
        tag("summary", f"Manifest: {len(rows)} files", class_="soft")
        + scrolling_table(head, rows, tall=True),
    )
