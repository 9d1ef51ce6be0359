"""``python -m evaluation.report DIR``: write the reports of a folder again."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from evaluation.report import write


def main(arguments: Sequence[str]) -> int:
    """Write the reports of one folder again."""
    if len(arguments) != 1 or not (Path(arguments[0]) / "results.json").is_file():
        usage = "usage: python -m evaluation.report DIR   (with results.json and per_clip.csv)"
        print(usage, file=sys.stderr)
        return 2
    write(Path(arguments[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
