"""The grid of videos, emotion by emotion, with one slider over the levels; the videos lie in the page itself."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from emo_lightning.motion.emotions import EMOTIONS, LEVEL_MAX, LEVEL_MIN
from evaluation.report.cells import Results
from evaluation.report.markup import section, tag

Preview = Mapping[str, Any]
START_LEVEL = 8


def videos_section(results: Results, previews: Sequence[Preview]) -> str:
    """One row a system, one column an emotion, at the level that the slider says (or the nearest that there is).

    Args:
        previews: ``system``, ``clip``, ``emotion``, ``level`` (None for neutral), ``type`` and base64 ``data`` of each.
    """
    if not previews:
        return ""
    systems = [s for s in results["systems"] if any(p["system"] == s for p in previews)]
    emotions = [e for e in EMOTIONS if any(p["emotion"] == e for p in previews)]
    head = tag("th", "") + "".join(tag("th", escape(emotion), scope="col") for emotion in emotions)
    rows = ""
    for system in systems:
        cells = "".join(_cell(system, emotion, previews) for emotion in emotions)
        rows += tag("tr", tag("th", escape(system), scope="row", class_="text") + cells)
    table = tag(
        "table",
        tag("thead", tag("tr", head)) + tag("tbody", rows),
        class_="films",
        id="films",
        style=f"--films:{len(emotions)}",
    )
    ends = {
        "min": f"{LEVEL_MIN:g}",
        "max": f"{LEVEL_MAX:g}",
        "step": "1",
        "value": str(START_LEVEL),
    }
    slider = tag(
        "input", "", type="range", id="level", list="level-marks", aria_label="level", **ends
    ).removesuffix("</input>")
    output = tag("output", str(START_LEVEL), id="level-said", for_="level")
    controls = tag(
        "div", tag("label", "Level", for_="level") + slider + output, class_="controls slider"
    )
    posters = any(p["type"].startswith("image/") for p in previews)
    lead = "The protocol's crop of each clip, silent, reduced, its first seconds. Where a level has no clip the nearest one is shown."
    lead += (
        " There are too many clips for all videos to fit into this page, so first frames stand for them."
        if posters
        else ""
    )
    data = tag("script", _json(previews), type="application/json", id="film-data")
    return section(
        "Videos by emotion and level",
        lead,
        controls,
        tag("div", table, class_="scroll bare", tabindex="0"),
        data,
        id_="videos",
    )


def _cell(system: str, emotion: str, previews: Sequence[Preview]) -> str:
    if not any(p["system"] == system and p["emotion"] == emotion for p in previews):
        return tag("td", tag("span", "–", class_="soft"), class_="empty")
    return tag(
        "td",
        tag("div", "", class_="film") + tag("small", ""),
        data_system=system,
        data_emotion=emotion,
    )


def _json(previews: Sequence[Preview]) -> str:
    """Data inside a script element, in which no text can end it."""
    return json.dumps(list(previews)).replace("<", "\\u003c")
