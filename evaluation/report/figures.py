"""Data of the page's figures: curves over levels, confusion matrices, histograms, bars, the clips'
table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.report.cells import Results, arrow, is_control
from evaluation.report.charts import bar_chart, line_chart

Clips = Sequence[Mapping[str, str]]
Colours = Mapping[str, int]
SIGNATURE = "signature"
LEAST_SPAN = {SIGNATURE: 0.2}
"""Value axes span at least this much (0.05 for distances), so that an unmoved face is a flat
line."""
CONFUSION = "Rows: requested; columns: found by the judge; shares of the row in per cent."
UNIT_ERROR = (
    "Mean absolute difference from the reference at equal timestamps, for each action unit; "
    "intensities run from 0 to 1."
)
HIDDEN_COLUMNS = frozenset({"width", "height", "sha256", "reference_frames", "frames"})
UNREMARKABLE = {"framing": {"shared"}, "length_difference_s": {"0.0"}, "frames_without_face": {"0"}}
"""Columns that are shown only if a clip has another value."""
CLIP_LABELS = {
    "compared_frames": "frames",
    "length_difference_s": "length ± s",
    "frames_without_face": "no face",
}
TEXT_COLUMNS = frozenset({"system", "clip", "emotion", "framing", "failure"})


def level_response(results: Results, colours: Colours | None) -> dict[str, Any] | None:
    """The level response of each emotion, for every system that has one; charts only with colours.

    Returns:
        ``systems``, ``panels`` of the page, and the rows of a ``table``; None without a response.
    """
    details = results["details"].items()
    found = {system: d["level_response"] for system, d in details if d.get("level_response")}
    if not found:
        return None
    table = []
    for system, emotions in found.items():
        for emotion, curves in emotions.items():
            own = curves[SIGNATURE]
            numbers = (
                "–" if own[n] is None else f"{own[n]:.3f}" for n in ("rho", "r2", "range", "half")
            )
            table.append([system, emotion, *numbers, len(set(own["levels"]))])
    panels = []
    if colours is not None:
        emotions = dict.fromkeys(emotion for curves in found.values() for emotion in curves)
        for feature, about in results["features"].items():
            panels += [_level_panel(found, e, feature, about, colours) for e in emotions]
    return {"systems": list(found), "panels": panels, "table": table}


def _level_panel(
    found: Mapping[str, Any], emotion: str, feature: str, about: str, colours: Colours
) -> dict[str, Any]:
    mine = {s: curves[emotion][feature] for s, curves in found.items() if emotion in curves}
    lines = {system: _averaged(curve) for system, curve in mine.items()}
    title, span = f"{emotion}: {about} over levels", LEAST_SPAN.get(feature, 0.05)
    notes = []
    for system, curve in mine.items():
        shown = {k: "–" if curve[k] is None else f"{curve[k]:.2f}" for k in ("rho", "r2", "half")}
        name = f"{system}: " if len(mine) > 1 else ""
        response = f"ρ {shown['rho']}, R² {shown['r2']}, range {curve['range']:+.3f}"
        notes.append(f"{name}{response}, at 8: {shown['half']}")
    return {
        "title": emotion,
        "svg": line_chart(title, lines, colours, span),
        "notes": notes,
        "feature": feature,
        "hidden": feature != SIGNATURE,
    }


def _averaged(curve: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    """One point a level: the mean of its clips."""
    by_level: dict[float, list[float]] = {}
    for level, value in zip(curve["levels"], curve["values"], strict=True):
        by_level.setdefault(level, []).append(value)
    levels = sorted(by_level)
    return levels, [sum(by_level[level]) / len(by_level[level]) for level in levels]


def figures(results: Results, clips: Clips, colours: Colours) -> list[dict[str, Any]]:
    """Details of the metrics over sets, histograms of columns that ask for them, action unit
    errors."""
    grouped: dict[str, dict[str, Mapping[str, Any]]] = {}
    for system, details in results["details"].items():
        for entry in details.values():
            for name, value in entry.items() if isinstance(entry, Mapping) else ():
                if isinstance(value, Mapping) and value.get("kind") in DETAILS:
                    grouped.setdefault(name, {})[system] = value
    found = []
    for name, mine in grouped.items():
        first = next(iter(mine.values()))
        title = name.replace("_", " ").capitalize()
        found.append(DETAILS[first["kind"]](title, first.get("about", ""), mine, colours))
    found += _column_histograms(results, clips, colours)
    errors = {
        system: d["au_error"]
        for system, d in results["details"].items()
        if d.get("au_error") and not is_control(results, system)
    }
    return found + ([_bars("Action unit error", UNIT_ERROR, errors)] if errors else [])


def _confusions(
    title: str, about: str, found: Mapping[str, Mapping[str, Any]], colours: Colours
) -> dict[str, Any]:
    panels = [
        {"title": system, "matrix": d, "colour": colours.get(system, 0)}
        for system, d in found.items()
    ]
    return {"title": title, "lead": about or CONFUSION, "panels": panels, "style": "wide"}


def _histograms(
    title: str, about: str, found: Mapping[str, Mapping[str, Any]], colours: Colours
) -> dict[str, Any]:
    panels = []
    for system, d in found.items():
        name, colour = f"{title} of {system}", colours.get(system, 0)
        chart = bar_chart(name, d["bins"], d["counts"], colour, d.get("unit", ""))
        panels.append({"title": system, "svg": chart, "style": d.get("style")})
    return {"title": title, "lead": about, "panels": panels}


def _bars(title: str, about: str, found: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """Numbers by name beside each other, one column a system."""
    values = {s: {n: v for n, v in mine.items() if v is not None} for s, mine in found.items()}
    names = list(dict.fromkeys(name for mine in values.values() for name in mine))
    top = max((abs(v) for mine in values.values() for v in mine.values()), default=0.0) or 1.0
    return {"title": title, "lead": about, "bars": values, "names": names, "top": top}


DETAILS = {
    "confusion": _confusions,
    "histogram": _histograms,
    "bars": lambda title, about, found, _: _bars(
        title, about, {system: d["values"] for system, d in found.items()}
    ),
}


def _column_histograms(results: Results, clips: Clips, colours: Colours) -> list[dict[str, Any]]:
    """The clips' values of columns that ask for it; the controls beside show where it must peak."""
    found = []
    for column in results["columns"] if clips else ():
        if not column["histogram"] or column["name"] not in clips[0]:
            continue
        counts: dict[str, Counter[int]] = {}
        for row in clips:
            value = row[column["name"]]
            if value and row["system"] in results["rows"]:
                counts.setdefault(row["system"], Counter())[round(float(value))] += 1
        values = [value for mine in counts.values() for value in mine]
        if not values:
            continue
        bins = list(range(min(values), max(values) + 1))
        details = {
            system: {
                "bins": bins,
                "counts": [counts[system][b] for b in bins],
                "unit": column["unit"],
                "style": "faint" if is_control(results, system) else "",
            }
            for system in results["systems"]
            if system in counts
        }
        about = f"Clips at each value ({column['unit']}): {column['about']}."
        found.append(_histograms(column["label"], about, details, colours))
    return found


def clip_table(results: Results, clips: Clips) -> dict[str, Any]:
    """Every clip with its scores: ``columns`` and ``rows``; the controls' are in ``per_clip.csv``
    alone."""
    controls = {system for system in results["rows"] if is_control(results, system)}
    rows = [row for row in clips if row["system"] not in controls]
    known = {c["name"]: c for c in results["columns"]}
    columns = []
    for name in rows[0] if rows else ():
        values = {row[name] for row in rows} - {""} - UNREMARKABLE.get(name, set())
        if name in HIDDEN_COLUMNS or not values:
            continue
        column = known.get(name)
        label = CLIP_LABELS.get(name, name.replace("_", " "))
        style = "text" if name in TEXT_COLUMNS else ""
        columns.append(
            {
                "name": name,
                "label": column["label"] + arrow(column) if column else label,
                "style": style,
                "cell": "text wrap" if name == "failure" else style,
                "decimals": column["decimals"] if column else None,
            }
        )
    return {"columns": columns, "rows": rows}
