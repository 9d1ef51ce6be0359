"""HTML from plain text: everything that is not markup on purpose is escaped here."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape


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


def section(title: str, lead: str, *content: str, id_: str = "") -> str:
    """A titled part of the page; ``lead`` is plain text."""
    return tag(
        "section",
        tag("h2", escape(title)) + tag("p", escape(lead), class_="soft") + "".join(content),
        id_=id_,
    )


def scrolling_table(
    head: Iterable[str], rows: Iterable[str], tall: bool = False, **attributes: str
) -> str:
    """A table that scrolls by itself where the page is too narrow, or with ``tall`` too short."""
    table = tag("thead", tag("tr", "".join(head))) + tag("tbody", "".join(rows))
    return tag(
        "div",
        tag("table", table, **attributes),
        class_="scroll tall" if tall else "scroll",
        tabindex="0",
    )


def text_cell(value: object, name: str = "td", style: str = "text") -> str:
    """A cell of plain text."""
    return tag(name, escape(str(value)), class_=style)


def row_name(system: str, kind: str, about: str) -> str:
    """A row's heading: what it is called, and a word for the rows that no system made."""
    shown = system.removeprefix("control: ")
    mark = {"reference": "ground truth", "control": "control"}.get(kind, "")
    return tag(
        "th",
        escape(shown) + (tag("span", mark, class_="badge") if mark else ""),
        class_="text",
        title=about,
        scope="row",
    )


def bulleted(title: str, lines: Iterable[str]) -> str:
    """A short list under a line of text; nothing for no lines."""
    items = "".join(tag("li", escape(line)) for line in lines)
    return tag("p", escape(title), class_="soft") + tag("ul", items, class_="soft") if items else ""
