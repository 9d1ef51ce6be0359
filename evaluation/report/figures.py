"""What a table cannot show: curves over levels, confusion matrices, histograms, bars by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from evaluation.report.cells import Results, is_control
from evaluation.report.charts import bar, bar_chart, line_chart
from evaluation.report.markup import scrolling_table, section, tag, text_cell

Clips = Sequence[Mapping[str, str]]
Colours = Mapping[str, int]
SIGNATURE = "signature"
LEAST_SPAN = {SIGNATURE: 0.2}
"""Value axes span at least this much (0.05 for distances), so that an unmoved face looks unmoved."""


def levels_section(results: Results, colours: Colours) -> str:
    """The level response of each emotion, for every system that has one."""
    found = {
        system: d["level_response"]
        for system, d in results["details"].items()
        if d.get("level_response")
    }
    if not found:
        return ""
    emotions = list(dict.fromkeys(emotion for curves in found.values() for emotion in curves))
    features = results["features"]
    panels = [
        _panel(found, emotion, feature, about, colours)
        for feature, about in features.items()
        for emotion in emotions
    ]
    options = "".join(
        tag("option", escape(about), value=feature) for feature, about in features.items()
    )
    choice = tag("label", "Feature " + tag("select", options, id="feature"))
    legend = "".join(
        tag("li", tag("span", "<i></i>", class_=f"key c{colours[s]}") + escape(s)) for s in found
    )
    controls = tag("div", choice + tag("ul", legend, class_="legend"), class_="controls")
    lead = "How the face follows the requested level, for each emotion. An even response is a straight line: ρ and R² near 1 in size, "
    panels_div = tag("div", "".join(panels), class_="panels")
    return section(
        "Level response",
        lead + "half of the range reached at level 8.",
        controls,
        panels_div,
        id_="levels",
    )


def _panel(
    found: Mapping[str, Any], emotion: str, feature: str, about: str, colours: Colours
) -> str:
    mine = {
        system: curves[emotion][feature] for system, curves in found.items() if emotion in curves
    }
    lines = {system: _averaged(curve) for system, curve in mine.items()}
    chart = line_chart(
        f"{emotion}: {about} over levels", lines, colours, LEAST_SPAN.get(feature, 0.05)
    )
    notes = []
    for system, curve in mine.items():
        shown = {k: "–" if curve[k] is None else f"{curve[k]:.2f}" for k in ("rho", "r2", "half")}
        name = f"{system}: " if len(mine) > 1 else ""
        notes.append(
            escape(
                f"{name}ρ {shown['rho']}, R² {shown['r2']}, range {curve['range']:+.3f}, at 8: {shown['half']}"
            )
        )
    inside = tag("h3", escape(emotion)) + chart + tag("small", "<br>".join(notes))
    return tag("div", inside, class_="panel", data_feature=feature, hidden=feature != SIGNATURE)


def _averaged(curve: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    """One point a level: the mean of its clips."""
    by_level: dict[float, list[float]] = {}
    for level, value in zip(curve["levels"], curve["values"], strict=True):
        by_level.setdefault(level, []).append(value)
    return sorted(by_level), [
        sum(by_level[level]) / len(by_level[level]) for level in sorted(by_level)
    ]


def histogram_section(results: Results, clips: Clips, colours: Colours) -> str:
    """How the clips' values of a column spread, for columns that ask for it; the controls beside, which say where it must peak."""
    parts = []
    for column in results["columns"]:
        if not column["histogram"]:
            continue
        values = {
            s: [
                float(r[column["name"]])
                for r in clips
                if r["system"] == s and r.get(column["name"])
            ]
            for s in results["systems"]
        }
        counts = {system: Counter(map(round, mine)) for system, mine in values.items() if mine}
        if counts:
            parts.append(_histogram(results, column, counts, colours))
    return "".join(parts)


def _histogram(
    results: Results,
    column: Mapping[str, Any],
    counts: Mapping[str, Counter[int]],
    colours: Colours,
) -> str:
    low, high = min(min(c) for c in counts.values()), max(max(c) for c in counts.values())
    bins = list(range(low, high + 1))
    panels = ""
    for system, mine in counts.items():
        chart = bar_chart(
            f"{column['label']} of {system}",
            bins,
            [mine[b] for b in bins],
            colours.get(system, 0),
            column["unit"],
        )
        panels += tag(
            "div",
            tag("h3", escape(system)) + chart,
            class_="panel" + (" faint" if is_control(results, system) else ""),
        )
    return section(
        column["label"],
        f"Clips at each value ({column['unit']}): {column['about']}.",
        tag("div", panels, class_="panels"),
    )


def details_sections(results: Results, colours: Colours) -> str:
    """What the metrics over sets want drawn."""
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    for system, details in results["details"].items():
        for entry in details.values():
            for name, value in entry.items() if isinstance(entry, Mapping) else ():
                if isinstance(value, Mapping) and value.get("kind") in DRAWERS:
                    found.setdefault(name, {})[system] = value
    return "".join(
        DRAWERS[next(iter(mine.values()))["kind"]](name, mine, colours)
        for name, mine in found.items()
    )


def _confusions(name: str, found: Mapping[str, Mapping[str, Any]], colours: Colours) -> str:
    panels = "".join(
        tag("div", tag("h3", escape(system)) + _matrix(d, colours.get(system, 0)), class_="panel")
        for system, d in found.items()
    )
    lead = (
        next(iter(found.values())).get("about")
        or "Rows: wanted; columns: seen by the judge; shares of the row in per cent."
    )
    return section(_titled(name), lead, tag("div", panels, class_="panels wide"))


def _matrix(details: Mapping[str, Any], colour: int) -> str:
    labels = details["labels"]
    head = [
        text_cell("", "th"),
        *(tag("th", tag("span", escape(label), class_="turned"), scope="col") for label in labels),
    ]
    rows = []
    for label, counts in zip(labels, details["counts"], strict=True):
        total = sum(counts)
        if not total:
            continue
        cells = ""
        for other, count in zip(labels, counts, strict=True):
            share = count / total
            said = f"{label} seen as {other}: {count} of {total}"
            cells += tag(
                "td",
                f"{100 * share:.0f}" if count else "",
                class_="heat",
                style=f"--share:{share:.3f}",
                title=said,
            )
        rows.append(tag("tr", tag("th", escape(label), class_="text", scope="row") + cells))
    table = tag("thead", tag("tr", "".join(head))) + tag("tbody", "".join(rows))
    return tag("div", tag("table", table, class_=f"matrix c{colour}"), class_="scroll bare")


def _histograms(name: str, found: Mapping[str, Mapping[str, Any]], colours: Colours) -> str:
    panels = ""
    for system, d in found.items():
        chart = bar_chart(
            f"{name} of {system}", d["bins"], d["counts"], colours.get(system, 0), d.get("unit", "")
        )
        panels += tag("div", tag("h3", escape(system)) + chart, class_="panel")
    return section(
        _titled(name),
        next(iter(found.values())).get("about", ""),
        tag("div", panels, class_="panels"),
    )


def _bars(name: str, found: Mapping[str, Mapping[str, Any]], colours: Colours) -> str:
    values = {system: d["values"] for system, d in found.items()}
    return bars_section(_titled(name), next(iter(found.values())).get("about", ""), values, colours)


DRAWERS = {"confusion": _confusions, "histogram": _histograms, "bars": _bars}


def bars_section(
    title: str, lead: str, found: Mapping[str, Mapping[str, float]], colours: Colours
) -> str:
    """Numbers by name beside each other, one column a system."""
    if not found:
        return ""
    found = {
        system: {name: v for name, v in values.items() if v is not None}
        for system, values in found.items()
    }
    top = max((abs(v) for values in found.values() for v in values.values()), default=0.0)
    names = list(dict.fromkeys(name for values in found.values() for name in values))
    rows = []
    for name in names:
        cells = ""
        for system, values in found.items():
            shown = (
                f"{values[name]:.3f}{bar(abs(values[name]), top, colours.get(system, 0))}"
                if name in values
                else "–"
            )
            cells += tag("td", shown, class_="text")
        rows.append(tag("tr", text_cell(name) + cells))
    return section(
        title,
        lead,
        scrolling_table([text_cell(name, "th") for name in ("", *found)], rows, class_="compact"),
    )


def units_section(results: Results, colours: Colours) -> str:
    """The action units' errors by unit."""
    found = {
        system: d["au_error"]
        for system, d in results["details"].items()
        if d.get("au_error") and not is_control(results, system)
    }
    lead = "Mean absolute difference from the reference at equal timestamps, for each action unit; intensities run from 0 to 1."
    return bars_section("Action unit error", lead, found, colours)


def _titled(name: str) -> str:
    return name.replace("_", " ").capitalize()
