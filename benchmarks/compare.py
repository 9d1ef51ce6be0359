"""Renderers side by side on held-out people: self-reenactment and cross-identity.

    python -m benchmarks compare                    (an embedded corpus; minutes on one core)
    python -m benchmarks compare --data SHARDS[,SHARDS] --split test [--portraits DIR] --out DIR

Self-reenactment: frame 0 of each clip is the portrait, moved by the coefficients of the other
frames. Rows are the still portrait, the mesh with head motion alone, every renderer
(``--renderers`` chooses; module:Class is your own), and the ceiling: the mesh moved by the tracked
landmarks themselves. Cross-identity: clips move the portraits of other people, or those of
``--portraits``.

All rows get the same portrait, coefficients, size and square; none but the ceiling sees anything of
the target frames, and frame 0 is not scored. Identity and texture are fitted once per clip. Each
renderer runs as a stream whose edges repeat the first and last frame. Landmarks of rendered and
real frames come from the same tracker. The embedded corpus is rendered by the mesh renderer, so its
rows flatter the mesh: use real clips (--data).
"""

from __future__ import annotations

import argparse
import traceback
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from benchmarks._compare_clips import (
    Clip,
    Target,
    in_turn,
    own_targets,
    pairs,
    read_clips,
    read_portraits,
    resized,
    transfer,
)
from benchmarks._compare_report import Drawn, Part, Report, Strip, moments, mouth_of
from benchmarks._compare_rows import Row, rows
from benchmarks._compare_scores import Judging, TrackedVideo, steadiness
from emo_lightning.core.errors import UserError
from emo_lightning.core.progress import track
from emo_lightning.face.coefficients import Coefficients
from emo_lightning.face.portrait import Portrait
from emo_lightning.renderers import registry

CACHE = Path("runs/benchmarks/compare-corpus")
OUT = Path("runs/benchmarks/compare")
CORPUS_CLIPS, CORPUS_PEOPLE, CORPUS_SEED, CORPUS_SIZE, CORPUS_FRAMES = 8, 4, 6, 256, 60
"""The corpus made without --data. Its seed is not the one of ``emo corpus``, so nobody in it was
ever trained on.
"""
ALL = "train,val,test"
TRUTH = "truth"
SHOWN = 5
"""Clips, of different people first, on a contact sheet."""


def main(arguments: Sequence[str] = ()) -> None:
    """Print the tables, and write them with the contact sheets."""
    given = parse(arguments)
    cv2.setNumThreads(given.threads)
    torch.set_num_threads(given.threads)
    clips, notes = choose_clips(given)
    size = given.size or clips[0].side
    folders = weights(given.checkpoint_dir)
    listed = rows(given.renderers or registry.names(), folders)
    targets = read_portraits(given.portraits, size) if given.portraits else own_targets(clips, size)
    crossed = pairs(targets, clips, given.pairs)
    if given.pairs and not crossed:
        notes.append(
            "Cross-identity was skipped: all clips show one person, and --portraits is not given."
        )
    judging = Judging()
    try:
        own = reenact(clips, listed, judging, size)
        cross = drive(crossed, listed, judging, size)
    finally:
        judging.close()
    report = Report(own, cross, listed, judging, notes, size, vars(given) | {"out": None})
    print("\n".join(report.lines()))
    report.write(given.out)
    print(f"\ntables and contact sheets: {given.out}")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The arguments."""
    shape = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks compare", description=__doc__, formatter_class=shape
    )
    add = parser.add_argument
    add(
        "--data",
        type=lambda text: [Path(part) for part in text.split(",")],
        help="shard sets with video, joined by commas",
    )
    add("--split", default="test", help="splits of --data, joined by commas (default test)")
    add("--frames", type=int, default=125, help="of each clip at most (default 125)")
    add("--clips", type=int, default=3, help="of each person at most (default 3)")
    add(
        "--portraits",
        type=Path,
        help="folder of pictures that the clips move; by default each other's first frames",
    )
    add(
        "--pairs",
        type=int,
        default=8,
        help="portraits moved by somebody else's clip (default 8; 0 leaves that out)",
    )
    add(
        "--renderers",
        nargs="+",
        metavar="R",
        help=f"names or module:Class (default {' '.join(registry.names())})",
    )
    add(
        "--checkpoint-dir",
        nargs="+",
        default=[],
        metavar="NAME=DIR",
        help="weights of a renderer; several of one are several rows",
    )
    add("--size", type=int, help="side of the frames in pixels (default that of the clips)")
    add("--threads", type=int, default=1, help="threads of every renderer (default 1)")
    files = "compare.md, compare.json and the contact sheets self.png and cross.png"
    add("--out", type=Path, default=OUT, metavar="DIR", help=f"folder for {files} (default {OUT})")
    given = parser.parse_args(list(arguments))
    for name, least in (("frames", 25), ("clips", 1), ("pairs", 0), ("threads", 1)):
        if getattr(given, name) < least:
            raise UserError(f"--{name}", getattr(given, name), f"{least} or more")
    for name in given.renderers or ():
        registry.find(name)
    return given


def choose_clips(given: argparse.Namespace) -> tuple[list[Clip], list[str]]:
    """The clips, and what a reader of the tables must know of them."""
    if given.data is not None:
        return read_clips(given.data, given.split.split(","), given.frames, given.clips), []
    if not (CACHE / "index.json").exists():
        from datamodules.corpus.build import build_corpus

        CACHE.parent.mkdir(parents=True, exist_ok=True)
        build_corpus(CACHE, CORPUS_CLIPS, CORPUS_SEED, CORPUS_SIZE, speakers=CORPUS_PEOPLE)
    note = (
        "The clips are painted heads, animated by the mesh renderer: rows that use the mesh are "
        "flattered. Real clips are the measure."
    )
    return read_clips([CACHE], ALL.split(","), min(given.frames, CORPUS_FRAMES), given.clips), [
        note
    ]


def weights(given: Sequence[str]) -> dict[str, list[Path]]:
    """``NAME=DIR`` words as folders by name."""
    found: dict[str, list[Path]] = {}
    for word in given:
        name, equals, folder = word.partition("=")
        if not equals:
            raise UserError(
                "--checkpoint-dir", word, "NAME=DIR, a renderer and the folder of its weights"
            )
        found.setdefault(name, []).append(Path(folder))
    return found


def reenact(clips: Sequence[Clip], listed: Sequence[Row], judging: Judging, size: int) -> Part:
    """Each clip's first frame moved by its own coefficients."""
    part = Part({row.name: Drawn([], row.reason) for row in listed})
    shown = in_turn([clip.person for clip in clips])[:SHOWN]
    for number, clip in enumerate(track(clips, "self-reenactment", len(clips), "clips")):
        frames = clip.frames(size)
        truth, portrait, source = (
            judging.watch(frames[1:]),
            clip.portrait(frames),
            judging.watch(frames[:1]),
        )
        strips = {t: Strip() for t in moments(truth)} if number in shown else {}
        for t, strip in strips.items():
            strip.add("source", frames[0], mouth_of(source, 0))
            strip.add(TRUTH, truth.frames[t], mouth_of(truth, t))
        for row in listed:
            video = draw(
                row, part.drawn[row.name], portrait, clip.coefficients, clip.points, judging
            )
            part.drawn[row.name].scores.append(
                None if video is None else judging.beside_truth(video, truth)
            )
            for t, strip in strips.items():
                if video is not None:
                    strip.add(row.name, video.frames[t], mouth_of(truth, t))
        part.names.append(clip.key)
        part.people.append(clip.person)
        part.strips += strips.values()
        part.truth.append(steadiness(truth))
    return part


def drive(
    crossed: Sequence[tuple[Target, Clip]], listed: Sequence[Row], judging: Judging, size: int
) -> Part:
    """Portraits moved by somebody else's coefficients."""
    able = [row for row in listed if row.crosses]
    part = Part(
        {row.name: Drawn([], row.reason) for row in able}, "portraits, each moved by another's clip"
    )
    shown = in_turn([target.name for target, _ in crossed])[:SHOWN]
    for number, (target, clip) in enumerate(
        track(crossed, "cross-identity", len(crossed), "pairs")
    ):
        driver, portrait = judging.watch(clip.frames(size)[1:]), target.portrait
        own, at = judging.watch(portrait.image[None]), moments(driver)[0]
        strip = Strip()
        strip.add("portrait", portrait.image, mouth_of(own, 0))
        strip.add("driver", driver.frames[at], mouth_of(driver, at))
        for row in able:
            video = draw(
                row,
                part.drawn[row.name],
                portrait,
                transfer(portrait, clip.coefficients),
                clip.points,
                judging,
            )
            part.drawn[row.name].scores.append(
                None if video is None else judging.beside_driver(video, driver, own)
            )
            if video is not None:
                strip.add(row.name, video.frames[at], mouth_of(video, at))
        part.names.append(f"{target.name} by {clip.key}")
        part.people.append(target.name)
        part.strips += [strip] if number in shown else []
        part.truth.append(steadiness(driver))
    return part


def draw(
    row: Row,
    into: Drawn,
    portrait: Portrait,
    coefficients: Coefficients,
    points: np.ndarray,
    judging: Judging,
) -> TrackedVideo | None:
    """All frames but the first, looked at; None where the row cannot draw them, for the reason put
    down.
    """
    if row.draw is None:
        return None
    try:
        frames = list(row.draw(portrait, coefficients, points))
    except UserError as error:
        into.reason = str(error)
        return None
    except Exception as error:
        # Somebody's renderer: one that fails must not cost the others their numbers.
        traceback.print_exc()
        into.reason = f"unexpected {type(error).__name__}: {error}"
        return None
    if len(frames) != len(coefficients):
        into.reason = f"gave {len(frames)} frames for {len(coefficients)}"
        return None
    return judging.watch(resized(frames[1:], portrait.size))
