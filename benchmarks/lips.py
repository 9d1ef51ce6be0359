"""Lip sync on recordings with tracked lips: correlation, lag, amplitude, closures.

    python -m benchmarks lips [--data SHARDS ...] [--compare NAME=WEIGHTS ...]
        [--portrait FILE] [--split val] [--per-clip]

SHARDS is what ``emo preprocess`` wrote from talking video; without any, held-out people and
sentences of an embedded corpus stand in (two minutes to make). A file may carry an offset of its
own, so each clip is scored at its best lag within 6 frames, and again at lag 0. Opening is the gap
of the inner lips (vertices 13, 14), width the distance of the mouth corners (61, 291), both upright
in outer eye-corner distances; amplitude is the ratio of our standard deviation to the tracked one.
Intervals are 95 %, over resampled clips. Noise, silence and languages: ``research.lip_robustness``.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from emo_lightning.core.errors import UserError
from emo_lightning.inference.audio_to_motion import AudioToMotion

SHIPPED = "shipped"
CORPUS_CLIPS = 96
RENDERED_CLIPS = 12
"""Clips of a set that are rendered and looked at again."""


def main(arguments: Sequence[str] = ()) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        prog="benchmarks lips",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--data",
        type=Path,
        action="append",
        default=[],
        help="shards of real talking video; may be given again",
    )
    add("--checkpoint-dir", type=Path, help="trained weights; those shipped by default")
    add(
        "--compare",
        action="append",
        default=[],
        metavar="NAME=WEIGHTS",
        help="further weights, such as an ablation's; may be given again",
    )
    add("--split", choices=("train", "val", "test"), help="all by default")
    add("--clips", type=int, default=60, help="at most so many of a set (default: %(default)s)")
    add(
        "--portrait",
        type=Path,
        help="a portrait; closures are then also measured on the tracked rendered face",
    )
    add("--per-clip", action="store_true", help="one line a clip as well")
    args = parser.parse_args(arguments)
    from benchmarks._shared import one_thread, small_corpus
    from emo_lightning.inference.weights import load_audio_to_motion

    systems = {
        SHIPPED if args.checkpoint_dir is None else args.checkpoint_dir.name: load_audio_to_motion(
            args.checkpoint_dir
        )
    }
    systems |= {name: load_audio_to_motion(where) for name, where in map(_named, args.compare)}
    with one_thread(), tempfile.TemporaryDirectory() as folder:
        sets = [(where, args.split) for where in args.data]
        if not sets:
            print("no --data: an embedded corpus' held-out people stand in for real video")
            sets = [(small_corpus(Path(folder) / "corpus", CORPUS_CLIPS), "test")]
        report(systems, sets, args)


def report(
    systems: dict[str, AudioToMotion], sets: list[tuple[Path, str | None]], args: argparse.Namespace
) -> None:
    """All tables, a set after the other."""
    from benchmarks import _lips

    print(
        "\n| set | weights | n | opening r | width r | lag (median) | at lag 0 | opening's "
        "amplitude | width's | p, b, m closed |"
    )
    print("|---|---|---:|---|---|---:|---|---|---|---|")
    clips = {}
    for where, split in sets:
        clips[where.name] = _lips.read(where, split, args.clips)
        if not clips[where.name]:
            print(f"| {where.name} | skipped: no clip of {_lips.LEAST_FRAMES} frames |")
            continue
        for name, talker in systems.items():
            print(_row(where.name, name, talker, clips[where.name], args.per_clip), flush=True)
    known = {name: of for name, of in clips.items() if of}
    if not known:
        return
    if args.portrait is None:
        print("\nclosures on the rendered face: skipped: --portrait names no picture")
    else:
        rendered_table(systems, known, args.portrait)


def _row(place: str, name: str, talker: AudioToMotion, clips: list, per_clip: bool) -> str:
    """One system on one set."""
    from benchmarks import _lips
    from benchmarks._shared import mean_cell

    lips = [_lips.made_lips(talker, clip) for clip in clips]
    scores = [_lips.following(ours, clip.lips) for ours, clip in zip(lips, clips, strict=True)]
    if per_clip:
        for clip, s in zip(clips, scores, strict=True):
            named = {"r": s.best, "at 0": s.zero, "amplitude": s.amplitude}
            cells = [f"{name} {v[0]:.2f}/{v[1]:.2f}" for name, v in named.items()]
            print(f"  {clip.key[:44]:<44} {len(clip.lips):>4} lag {s.lag:>2} {' '.join(cells)}")
    closed = [
        _lips.closures(ours[:, 0], _lips.at_rest(clip.source), clip.phones)
        for ours, clip in zip(lips, clips, strict=True)
    ]
    best, zero, amplitude = (
        np.array([getattr(s, part) for s in scores]) for part in ("best", "zero", "amplitude")
    )
    cells = [
        mean_cell(best[:, 0]),
        mean_cell(best[:, 1]),
        f"{np.median([s.lag for s in scores]):g}",
    ]
    cells += [
        f"{np.nanmean(zero[:, 0]):.2f} / {np.nanmean(zero[:, 1]):.2f}",
        median_cell(amplitude[:, 0]),
        median_cell(amplitude[:, 1]),
    ]
    return f"| {place} | {name} | {len(clips)} | {' | '.join(cells)} | {share_cell(closed)} |"


def rendered_table(systems: dict[str, AudioToMotion], sets: dict[str, list], picture: Path) -> None:
    """Closures on landmarks found anew in pictures."""
    from benchmarks import _lips
    from emo_lightning.face.portrait import load_portrait

    portrait = load_portrait(picture, 256)
    print("\n| set | weights | p, b, m closed on the rendered face |\n|---|---|---|")
    for place, clips in sets.items():
        spoken = [clip for clip in clips if clip.phones][:RENDERED_CLIPS]
        for name, talker in systems.items() if spoken else ():
            print(
                f"| {place} | {name} | "
                f"{share_cell([_lips.retracked(talker, [clip], portrait) for clip in spoken])} |",
                flush=True,
            )


def median_cell(values: np.ndarray) -> str:
    """Median and its 95 % interval."""
    from benchmarks._shared import interval

    return "{:.2f} [{:.2f}, {:.2f}]".format(
        *interval(values, lambda rows: float(np.nanmedian(rows)))
    )


def share_cell(clips: Sequence[Sequence[bool]]) -> str:
    """Share of closures over all clips that have any, with an interval over clips."""
    from benchmarks._shared import interval

    counts = np.array([(sum(c), len(c)) for c in clips if c], np.float64)
    if not len(counts):
        return "phones unknown"
    share, low, high = interval(counts, lambda rows: float(rows[:, 0].sum() / rows[:, 1].sum()))
    return f"{share:.0%} [{low:.0%}, {high:.0%}] of {int(counts[:, 1].sum())}"


def _named(text: str) -> tuple[str, Path]:
    name, equals, where = text.partition("=")
    if not (name and equals and where):
        raise UserError("--compare", text, "NAME=WEIGHTS", "has no name and folder")
    return name, Path(where)


if __name__ == "__main__":
    main()
