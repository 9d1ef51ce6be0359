"""Sphinx configuration: ``make docs`` builds docs/_build/html with warnings as errors."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from emo_lightning import __version__  # noqa: E402

project = "EmoSpeaker on PyTorch Lightning"
author = "the maintainers"
copyright = "the maintainers; Apache-2.0"
release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "EmoSpeaker"
html_static_path: list[str] = []
autodoc_inherit_docstrings = False
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
nitpicky = False


def command_line(app: object) -> None:
    """Write the help text of every command into one page, from the parser itself."""
    from emo_lightning.cli import build_parser

    parser = build_parser()
    commands = next(a for a in parser._actions if hasattr(a, "choices") and a.choices)
    parts = ["# Command line", "", "Exit codes: 0 success, 1 a bug, 2 a mistake in the input."]
    for name, command in commands.choices.items():
        parts += ["", f"## emo {name}", "", "```text", command.format_help().rstrip(), "```"]
    (Path(__file__).parent / "command-line.md").write_text(
        "\n".join(parts) + "\n", encoding="utf-8"
    )


def setup(app: object) -> None:
    """Generate the command-line page before the sources are read."""
    app.connect("builder-inited", command_line)
