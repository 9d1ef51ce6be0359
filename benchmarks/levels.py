"""How a system's face follows levels 1..15, feature by feature, beside figures known of it.

    python -m benchmarks levels --videos DIR [--emotions angry,happy,sad] [--reference FILE.json --set NAME]

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

from emo_lightning.errors import UserError


def main(arguments: Sequence[str] = ()) -> None:
    """Print the table, and how it agrees with what is known."""
    parser = argparse.ArgumentParser(prog="benchmarks levels", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, help="a folder of videos; without it there is nothing to measure")
    parser.add_argument("--emotions", default="angry,happy,sad", help="in the order of the videos' names (default: %(default)s)")
    parser.add_argument("--reference", type=Path, help="known figures, JSON")
    parser.add_argument("--set", default="hdtf", help="which set of them (default: %(default)s)")
    parser.add_argument("--every", type=int, default=1, help="look at every so many frames (default: all)")
    args = parser.parse_args(arguments)
    if args.videos is None:
        print("skipped: --videos names no folder of videos at levels 1 to 15")
        return
    from evaluation import levels

    known = _read(args.reference, args.set) if args.reference else {}
    videos = levels.find(args.videos, args.emotions.split(","))
    rows = list(levels.compare(levels.responses(videos, max(args.every, 1)), known))
    print("\n| emotion | feature | rho | known | range | known | R² | known | half | known | |\n|---|---|" + "---:|" * 8 + "---|")
    for row in rows:
        numbers = [_pair(row.found, row.known, name, places) for name, places in (("rho", 2), ("range", 4), ("r2", 2), ("half", 2))]
        verdict = "" if not row.clear else "agrees" if row.agrees else "differs"
        print(f"| {row.emotion} | {row.feature} | {' | '.join(numbers)} | {verdict} |")
    both = [row for row in rows if row.known is not None]
    clear = [row for row in both if row.clear]
    if len(both) > 2:
        order = {
            n: spearmanr([getattr(r.found, n) for r in both], [r.known[n] for r in both if r.known]).statistic for n in ("rho", "range")
        }
        print(f"\n{sum(r.agrees for r in clear)} of {len(clear)} clear responses agree within {dict(levels.TOLERANCE)};", end=" ")
        print(f"order over all {len(both)}: Spearman {order['rho']:.2f} of rho, {order['range']:.2f} of range.")


def _read(path: Path, name: str) -> Mapping[str, Any]:
    try:
        sets = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError("--reference", path, "JSON figures", f"cannot be read ({str(error).splitlines()[0]})") from None
    if name not in sets:
        raise UserError("--set", name, ", ".join(sets), "is not in the reference")
    return sets[name]


def _pair(found: Any, known: Mapping[str, float] | None, name: str, places: int) -> str:
    beside = "" if known is None else f"{known[name]:+.{places}f}"
    return f"{getattr(found, name):+.{places}f} | {beside}"


if __name__ == "__main__":
    main()
