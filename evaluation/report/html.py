"""The report as one self-contained HTML page: no file, font or script from anywhere else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from evaluation.protocol import REFERENCE
from evaluation.report.cells import Results, arrow, best, machine_line, number, reasons, shown_columns
from evaluation.report.charts import bar, line_chart

Clips = Sequence[Mapping[str, str]]
COLOURS = 8
SIGNATURE = "signature"
LEAST_SPAN = {SIGNATURE: 0.2}
"""Value axes span at least this much (0.05 for distances), so that an unmoved face looks unmoved."""
HIDDEN_CLIP_COLUMNS = frozenset({"width", "height", "sha256", "reference_frames", "frames"})
UNREMARKABLE = {"framing": {"shared"}, "length_difference_s": {"0.0"}, "frames_without_face": {"0"}}
"""Columns that are shown only if a clip has another value."""
CLIP_LABELS = {"compared_frames": "frames", "length_difference_s": "length ± s", "frames_without_face": "no face"}
TEXT_COLUMNS = frozenset({"system", "clip", "emotion", "framing", "failure"})


def page(results: Results, clips: Clips, previews: Mapping[tuple[str, str], bytes] | None = None) -> str:
    """The whole page from the contents of ``results.json`` and the rows of ``per_clip.csv``."""
    names = [system for system in results["systems"] if system != REFERENCE]
    colours = {REFERENCE: 0} | {system: 1 + i % (COLOURS - 1) for i, system in enumerate(names)}
    sections = (_results(results), _levels(results, colours), _units(results, colours), _clips(results, clips), _failures(results))
    template = Template(files("evaluation").joinpath("assets", "report.html").read_text(encoding="utf-8"))
    title = f"Evaluation of {names[0]}" if len(names) == 1 else f"Evaluation of {len(names)} systems"
    return template.substitute(
        title=escape(title), summary=_summary(results), body="\n".join(filter(None, sections)), footer=_footer(results)
    )


def tag(name: str, inside: str, **attributes: str | bool) -> str:
    """An element; ``inside`` is HTML already, attribute values are escaped. ``class_`` is class, ``data_v`` is data-v."""
    parts = [name]
    for key, value in attributes.items():
        key = key.rstrip("_").replace("_", "-")
        if value is True:
            parts.append(key)
        elif value is not False and value != "":
            parts.append(f'{key}="{escape(str(value), quote=True)}"')
    return f"<{' '.join(parts)}>{inside}</{name}>"


def _section(title: str, lead: str, *content: str, id_: str = "") -> str:
    return tag("section", tag("h2", escape(title)) + tag("p", escape(lead), class_="soft") + "".join(content), id_=id_)


def _scrolling_table(head: Iterable[str], rows: Iterable[str], tall: bool = False, **attributes: str) -> str:
    table = tag("thead", tag("tr", "".join(head))) + tag("tbody", "".join(rows))
    return tag("div", tag("table", table, **attributes), class_="scroll tall" if tall else "scroll")


def _text(value: object, name: str = "td", style: str = "text") -> str:
    return tag(name, escape(str(value)), class_=style)


def _summary(results: Results) -> str:
    counts = ", ".join(f"{escape(system)} {count}" for system, count in results["clips"].items())
    failures = len(results["failures"])
    end = tag("a", f"{failures} listed as not scored", href="#failures") + "." if failures else "Everything was scored."
    return f"Protocol {escape(results['protocol'])}. Clips scored: {counts}. {end}"


def _results(results: Results) -> str:
    columns = shown_columns(results)
    head = [_text("system", "th")]
    for column in columns:
        unit = tag("span", escape(column["unit"]) or "&nbsp;", class_="unit")
        head.append(tag("th", escape(column["label"]) + arrow(column) + unit, title=column["about"]))
    bold = {c["name"]: best(results, c) for c in columns}
    rows = []
    for system, cells in results["systems"].items():
        shown = "".join(_cell(cells[c["name"]], c["decimals"], system in bold[c["name"]]) for c in columns)
        rows.append(tag("tr", _text(system) + shown, class_="reference" if system == REFERENCE else ""))
    lead = "Mean over clips; below it the 95 % interval and the number of clips (level response: over emotions). Arrows point to better"
    lead += "; the best system of a column is in bold." if any(bold.values()) else "."
    return _section("Results", lead, _scrolling_table(head, rows, id="results"), _missing(results), _meaning(results["columns"]))


def _missing(results: Results) -> str:
    shown = ""
    for title, lines in (("What a dash or ∞ stands for:", reasons(results)), ("Of the clips:", results["notes"])):
        if lines:
            shown += tag("p", title, class_="soft") + tag("ul", "".join(tag("li", escape(line)) for line in lines), class_="soft")
    return shown


def _meaning(columns: Sequence[Mapping[str, Any]]) -> str:
    rows = ""
    for column in columns:
        judge = f"; judge: {column['judge']}" if column["judge"] else ""
        rows += tag("dt", escape(column["label"]) + arrow(column)) + tag("dd", escape(column["about"] + judge))
    return tag("details", tag("summary", "What the columns mean", class_="soft") + tag("dl", rows))


def _cell(cell: Mapping[str, Any], decimals: int, bold: bool) -> str:
    text = number(cell, decimals)
    if cell["mean"] is None:
        return tag("td", text, class_="none", title=cell["reason"])
    between = f"[{cell['ci95'][0]:.{decimals}f}, {cell['ci95'][1]:.{decimals}f}]" if cell["ci95"] else "no interval"
    return tag("td", (tag("b", text) if bold else text) + tag("small", between) + tag("small", f"n = {cell['n']}"))


def _levels(results: Results, colours: Mapping[str, int]) -> str:
    found = {system: d["level_response"] for system, d in results["details"].items() if d.get("level_response")}
    if not found:
        return ""
    emotions = list(dict.fromkeys(emotion for curves in found.values() for emotion in curves))
    features = results["features"]
    panels = [_panel(found, emotion, feature, about, colours) for feature, about in features.items() for emotion in emotions]
    options = "".join(tag("option", escape(about), value=feature) for feature, about in features.items())
    choice = tag("label", "Feature " + tag("select", options, id="feature"))
    legend = "".join(tag("li", tag("span", "<i></i>", class_=f"key c{colours[s]}") + escape(s)) for s in found)
    controls = tag("div", choice + tag("ul", legend, class_="legend"), class_="controls")
    lead = "How the face follows the requested level, for each emotion. An even response is a straight line: ρ and R² near 1 in size, "
    return _section(
        "Level response", lead + "half of the range reached at level 8.", controls, tag("div", "".join(panels), class_="panels")
    )


def _panel(found: Mapping[str, Any], emotion: str, feature: str, about: str, colours: Mapping[str, int]) -> str:
    mine = {system: curves[emotion][feature] for system, curves in found.items() if emotion in curves}
    lines = {system: _averaged(curve) for system, curve in mine.items()}
    chart = line_chart(f"{emotion}: {about} over levels", lines, colours, LEAST_SPAN.get(feature, 0.05))
    notes = []
    for system, curve in mine.items():
        shown = {k: "–" if curve[k] is None else f"{curve[k]:.2f}" for k in ("rho", "r2", "half")}
        name = f"{system}: " if len(mine) > 1 else ""
        notes.append(escape(f"{name}ρ {shown['rho']}, R² {shown['r2']}, range {curve['range']:+.3f}, at 8: {shown['half']}"))
    inside = tag("h3", escape(emotion)) + chart + tag("small", "<br>".join(notes))
    return tag("div", inside, class_="panel", data_feature=feature, hidden=feature != SIGNATURE)


def _averaged(curve: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    """One point a level: the mean of its clips."""
    by_level: dict[float, list[float]] = {}
    for level, value in zip(curve["levels"], curve["values"], strict=True):
        by_level.setdefault(level, []).append(value)
    return sorted(by_level), [sum(by_level[level]) / len(by_level[level]) for level in sorted(by_level)]


def _units(results: Results, colours: Mapping[str, int]) -> str:
    found = {system: d["au_error"] for system, d in results["details"].items() if d.get("au_error")}
    if not found:
        return ""
    top = max(max(errors.values()) for errors in found.values())
    rows = []
    for unit in next(iter(found.values())):
        cells = "".join(tag("td", f"{e[unit]:.3f}{bar(e[unit], top, colours[s])}", class_="text") for s, e in found.items())
        rows.append(tag("tr", _text(unit) + cells))
    lead = "Mean absolute difference from the reference at equal timestamps, for each action unit; intensities run from 0 to 1."
    return _section("Action unit error", lead, _scrolling_table([_text(name, "th") for name in ("unit", *found)], rows))


def _clips(results: Results, clips: Clips) -> str:
    if not clips:
        return ""
    columns = {c["name"]: c for c in results["columns"]}
    names = [n for n in clips[0] if n not in HIDDEN_CLIP_COLUMNS and {row[n] for row in clips} - {""} - UNREMARKABLE.get(n, set())]
    head = []
    for n in names:
        label = columns[n]["label"] + arrow(columns[n]) if n in columns else CLIP_LABELS.get(n, n.replace("_", " "))
        head.append(tag("th", tag("button", escape(label)), class_="text" if n in TEXT_COLUMNS else ""))
    rows = [tag("tr", "".join(_clip_cell(n, row[n], columns.get(n)) for n in names)) for row in clips]
    box = '<input type="search" data-filters="clips" placeholder="any text">'
    search = tag("div", tag("label", f"Show clips with {box}"), class_="controls")
    table = _scrolling_table(head, rows, tall=True, id="clips", class_="sortable")
    return _section("Clips", "A click on a heading sorts; a second one turns the order.", search, table)


def _clip_cell(name: str, value: str, column: Mapping[str, Any] | None) -> str:
    """One cell; ``data-v`` is what the page sorts by."""
    if column is None:
        style = "text wrap" if name == "failure" else "text" if name in TEXT_COLUMNS else ""
        return tag("td", escape(value), class_=style, data_v=value)
    if not value:
        return tag("td", "")
    # JavaScript reads 1e999 as infinity and nothing that Python prints for it.
    return tag("td", "∞", data_v="1e999") if value == "inf" else tag("td", f"{float(value):.{column['decimals']}f}", data_v=value)


def _failures(results: Results) -> str:
    if not results["failures"]:
        return ""
    rows = []
    for failure in results["failures"]:
        cells = _text(failure["system"]) + _text(failure["clip"]) + _text(failure["metric"] or "all")
        rows.append(tag("tr", cells + _text(failure["reason"], style="text wrap")))
    head = [_text(name, "th") for name in ("system", "clip", "metric", "reason")]
    return _section("Not scored", "These play no part in the numbers above.", _scrolling_table(head, rows, tall=True), id_="failures")


def _footer(results: Results) -> str:
    settings = results["settings"]
    crop = f"one {settings['crop']} × {settings['crop']} crop a clip, from the reference, the same for both"
    rows = {
        "protocol": f"{results['protocol']}: {settings['fps']:g} frames/s by timestamp; {crop}; frames compared at equal timestamps",
        "interval": settings["interval"],
        "commit": results["commit"] or "not run from a checkout",
        "machine": machine_line(results),
        "software": ", ".join(f"{name} {version}" for name, version in results["environment"]["packages"].items() if version),
    }
    shown = "".join(tag("dt", name) + tag("dd", escape(str(value))) for name, value in rows.items())
    for judge in results["judges"]:
        digest = tag("code", f"sha256 {escape(str(judge['sha256']))}")
        shown += tag("dt", "judge") + tag("dd", f"{escape(judge['name'])}: {escape(judge['about'])}<br>{digest}")
    return tag("dl", shown)
