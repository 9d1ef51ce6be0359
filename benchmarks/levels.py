"""How a face follows levels 1..15, feature by feature: our own on portraits made to speak, or any system's on its videos.

    python -m benchmarks levels [--portraits FILE|DIR ...] [--audio FILE ...] [--reference FILE.json] [--checkpoint-dir D] [--sheet DIR]
    python -m benchmarks levels --videos DIR [--emotions angry,happy,sad] [--reference FILE.json --set NAME]

The first form speaks, draws and tracks each portrait at every emotion and level (without --portraits the demo's photograph; frames
are tracked as drawn, before encoding; about a minute and a half of one core each). ``signature`` is the sum of the distances that show
the emotion's signature units, signed; ``own_units`` their mean intensity as the fit reads it. Judges of emotion look at levels 8 and
15 of every recording. With a reference (a file as below, all of its sets) ranges are also given as multiples of its largest. --sheet
draws emotions by levels 1, 4, 8, 12, 15, each with lips closed and open.

DIR holds fifteen videos for each of the emotions, one emotion after the other by name (as those that EmoSpeaker published), or a
``manifest.csv`` with columns generated, emotion and level. The reference is JSON, ``{set: {emotion: {feature: {rho, range, r2,
half}}}}``. Ranges are in outer eye-corner distances, ``own_units`` in intensity; ``half`` is the share of the range reached at level 8.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scipy.stats import spearmanr

from emo_lightning.core.errors import UserError


def main(arguments: Sequence[str] = ()) -> None:
    """Print the table, and how it agrees with what is known."""
    parser = argparse.ArgumentParser(
        prog="benchmarks levels",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--videos", type=Path, help="a folder of videos; without it portraits are made to speak"
    )
    parser.add_argument(
        "--portraits", type=Path, nargs="+", default=[], help="pictures, or folders of them"
    )
    parser.add_argument(
        "--audio",
        type=Path,
        nargs="+",
        default=[],
        help="recordings; the first drives the levels (default: our sample)",
    )
    parser.add_argument(
        "--checkpoint-dir", type=Path, help="trained weights; those shipped by default"
    )
    parser.add_argument(
        "--seconds", type=float, default=2.4, help="of each recording (default: %(default)s)"
    )
    parser.add_argument(
        "--size", type=int, default=256, help="side of the drawn frames (default: %(default)s)"
    )
    parser.add_argument(
        "--sheet",
        type=Path,
        metavar="DIR",
        help="only draw contact sheets, one a portrait, into this folder",
    )
    parser.add_argument(
        "--emotions",
        default="angry,happy,sad",
        help="in the order of the videos' names (default: %(default)s)",
    )
    parser.add_argument("--reference", type=Path, help="known figures, JSON")
    parser.add_argument("--set", default="hdtf", help="which set of them (default: %(default)s)")
    parser.add_argument(
        "--every",
        type=int,
        default=0,
        help="look at every so many frames (default: all of videos, every third of ours)",
    )
    args = parser.parse_args(arguments)
    if args.videos is None:
        from benchmarks import _level_tables

        _level_tables.run(args)
        return
    from evaluation.suite import known_levels

    known = _read(args.reference, args.set) if args.reference else {}
    videos = known_levels.find(args.videos, args.emotions.split(","))
    rows = list(known_levels.compare(known_levels.responses(videos, max(args.every, 1)), known))
    print(
        "\n| emotion | feature | rho | known | range | known | R² | known | half | known | |\n|---|---|"
        + "---:|" * 8
        + "---|"
    )
    for row in rows:
        numbers = [
            _pair(row.found, row.known, name, places)
            for name, places in (("rho", 2), ("range", 4), ("r2", 2), ("half", 2))
        ]
        verdict = "" if not row.clear else "agrees" if row.agrees else "differs"
        print(f"| {row.emotion} | {row.feature} | {' | '.join(numbers)} | {verdict} |")
    both = [row for row in rows if row.known is not None]
    clear = [row for row in both if row.clear]
    if len(both) > 2:
        order = {
            n: spearmanr(
                [getattr(r.found, n) for r in both], [r.known[n] for r in both if r.known]
            ).statistic
            for n in ("rho", "range")
        }
        print(
            f"\n{sum(r.agrees for r in clear)} of {len(clear)} clear responses agree within {dict(known_levels.TOLERANCE)};",
            end=" ",
        )
        print(
            f"order over all {len(both)}: Spearman {order['rho']:.2f} of rho, {order['range']:.2f} of range."
        )


def _read(path: Path, name: str) -> Mapping[str, Any]:
    try:
        sets = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            "--reference", path, "JSON figures", f"cannot be read ({str(error).splitlines()[0]})"
        ) from None
    if name not in sets:
        raise UserError("--set", name, ", ".join(sets), "is not in the reference")
    return sets[name]


def _pair(found: Any, known: Mapping[str, float] | None, name: str, places: int) -> str:
    beside = "" if known is None else f"{known[name]:+.{places}f}"
    return f"{getattr(found, name):+.{places}f} | {beside}"


if __name__ == "__main__":
    main()
