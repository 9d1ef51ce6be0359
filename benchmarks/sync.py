"""How far the lip-sync judge can be trusted: on clips as they are, with moved sound, with other
sound, with a picture that stays.

    python -m benchmarks sync --data DIR [DIR ...] [--seconds 5] [--weights FILE]
 DIR is a shard set (its test split is used) or a folder of talking videos, whose sound is their own
or lies beside them as NAME.wav. Clips are cut into pieces. Real files carry lags of their own, so
besides "offset within a frame of 0" the table says how many pieces are within a frame of their
file's median. Moving the sound by 5 frames must move the offset by exactly 5; with other sound, or
with the first face held, confidence must fall. AUC: the chance that a matched piece has more
confidence (less distance) than a mismatched one. Intervals are 95 %, from resampling whole files.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

VIDEOS = (".mp4", ".mov", ".avi", ".mkv", ".webm")
SHIFT, OTHERS, RESAMPLES = 5, 3, 1000
ALIKE = 0.9
"""Correlation of two spectrograms above which they are the same recording, which cannot serve as
other sound.
"""


@dataclass
class Piece:
    """A cut of a file: landmarks ``(T, 478, 3)`` (nan: no face) and sound ``(640 T,)``."""

    group: str
    file: str
    points: np.ndarray
    wave: np.ndarray


@dataclass
class Verdict:
    """What the judge said of one piece: offsets with sound 5 frames late and early, (C, D) with
    other sound and a still face.
    """

    file: str
    offset: int
    moved: tuple[int, int]
    confidence: float
    distance: float
    other: list[tuple[float, float]]
    still: tuple[float, float]


def main(arguments: Sequence[str] = ()) -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(
        prog="benchmarks sync",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--data", type=Path, nargs="+", help="shard sets or folders of talking video"
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="length of a piece (5)")
    parser.add_argument("--weights", type=Path, help="other weights than the shipped ones")
    args = parser.parse_args(arguments)
    if args.data is None:
        print("skipped: --data names no talking video")
        return
    import torch

    from evaluation.judges.lip_sync import WEIGHTS, LipSyncJudge

    torch.set_num_threads(1)
    judge = LipSyncJudge(args.weights or WEIGHTS)
    pieces = [
        piece for folder in args.data for clip in read(folder) for piece in cut(clip, args.seconds)
    ]
    verdicts = judged(pieces, judge)
    table(pieces, verdicts, args.seconds)


def read(folder: Path) -> Iterator[Piece]:
    """Whole clips of a shard set's test split, or of a folder's videos."""
    from datamodules.shards.reader import iter_samples

    if (folder / "index.json").is_file():
        for sample in iter_samples(folder, "test", ("wave", "landmarks")):
            points, wave = sample.landmarks.astype(np.float32), sample.wave
            yield Piece(
                folder.name,
                sample.key,
                points,
                np.resize(np.pad(wave, (0, 640)), 640 * len(points)),
            )
        return
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in VIDEOS)
    for path in files:
        clip = watch(folder.name, path)
        if clip is not None:
            yield clip


def watch(group: str, path: Path) -> Piece | None:
    """One video's landmarks and sound; None, with a line that says so, where one of them is
    missing.
    """
    from evaluation.judges.landmarks import LandmarkJudge
    from evaluation.protocol import NotScored
    from evaluation.runner.clip_reader import fit, whole_audio

    beside = [
        p
        for p in (path.with_suffix(".wav"), path.parent.parent / "wav" / f"{path.stem}.wav")
        if p.is_file()
    ]
    judge = LandmarkJudge()
    try:
        points = np.stack([judge.place(frame) for frame in frames_of(path)])
        wave = load(beside[0]) if beside else whole_audio(path)
    except NotScored as error:
        print(f"left out: {error}")
        return None
    finally:
        judge.close()
    return Piece(group, str(path), points, fit(wave, len(points)))


def frames_of(path: Path) -> Iterator[np.ndarray]:
    """Frames at 25 a second."""
    from evaluation.runner.clip_reader import ClipFrames

    yield from ClipFrames(path).frames()


def load(path: Path) -> np.ndarray:
    """A recording at 16 kHz mono."""
    from emo_lightning.media.audio_reader import load_audio

    return load_audio(path)


def cut(clip: Piece, seconds: float) -> Iterator[Piece]:
    """Equal pieces of about ``seconds``."""
    count = max(1, round(len(clip.points) / (25 * seconds)))
    edges = np.linspace(0, len(clip.points), count + 1).astype(int)
    for begin, end in pairwise(edges):
        yield Piece(
            clip.group, clip.file, clip.points[begin:end], clip.wave[640 * begin : 640 * end]
        )


def judged(pieces: Sequence[Piece], judge: object) -> list[Verdict | None]:
    """The judge's word on every piece; None where it has none (too short, no face)."""
    import torch

    from emo_lightning.media.spectrogram import log_mel
    from evaluation.metrics.lip_sync import overlap_distances, sync_score
    from evaluation.runner.clip_reader import delayed

    def score(lips: np.ndarray, voice: np.ndarray):  # noqa: ANN202
        count = min(len(lips), len(voice))
        return sync_score(
            overlap_distances(torch.from_numpy(lips[:count]), torch.from_numpy(voice[:count]))
        )

    draw, mels = np.random.default_rng(0), [log_mel(piece.wave) for piece in pieces]
    lips, voices = (
        [attempt(judge.lips, p.points) for p in pieces],
        [attempt(judge.voice, p.wave) for p in pieces],
    )
    verdicts: list[Verdict | None] = []
    for n, piece in enumerate(pieces):
        if lips[n] is None or voices[n] is None or np.isfinite(lips[n][:, 0]).sum() < 24:
            verdicts.append(None)
            continue
        seen = np.flatnonzero(np.isfinite(piece.points[:, 0, 0]))[0]
        still = judge.lips(np.repeat(piece.points[seen : seen + 1], len(piece.points), axis=0))
        moved = tuple(
            score(lips[n], judge.voice(delayed(piece.wave, by))).offset for by in (SHIFT, -SHIFT)
        )
        strangers = [
            m
            for m in draw.permutation(len(pieces))
            if voices[m] is not None and stranger(pieces, mels, n, m)
        ][:OTHERS]
        others = [score(lips[n], voices[m]) for m in strangers]
        own = score(lips[n], voices[n])
        found = [(other.confidence, other.distance) for other in others]
        held = score(still, voices[n])
        verdicts.append(
            Verdict(
                piece.file,
                own.offset,
                moved,
                own.confidence,
                own.distance,
                found,
                (held.confidence, held.distance),
            )
        )
    return verdicts


def attempt(look: Callable[[np.ndarray], np.ndarray], values: np.ndarray) -> np.ndarray | None:
    """A judge's answer, None where it refuses."""
    try:
        return look(values)
    except ValueError:
        return None


def stranger(pieces: Sequence[Piece], mels: Sequence[np.ndarray], n: int, m: int) -> bool:
    """Whether piece ``m`` is of another file, long enough, and not the same recording."""
    rows = min(len(mels[n]), len(mels[m]))
    if pieces[n].file == pieces[m].file or rows < 0.8 * len(mels[n]):
        return False
    return bool(np.corrcoef(mels[n][:rows].ravel(), mels[m][:rows].ravel())[0, 1] < ALIKE)


def table(pieces: Sequence[Piece], verdicts: Sequence[Verdict | None], seconds: float) -> None:
    """Print it."""
    print(f"pieces of about {seconds:g} s; C and D are LSE-C and LSE-D of emo-sync-1\n")
    print(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}")
    for group in dict.fromkeys(piece.group for piece in pieces):
        mine = [v for p, v in zip(pieces, verdicts, strict=True) if p.group == group]
        found = [v for v in mine if v is not None]
        if not found:
            print(f"| {group} | 0 | 0 | {len(mine)} |" + " |" * len(MEASURES))
            continue
        files = {
            name: [v for v in found if v.file == name]
            for name in dict.fromkeys(v.file for v in found)
        }
        cells = [interval(files, measure) for measure in MEASURES]
        print(
            f"| {group} | {len(files)} | {len(found)} | {len(mine) - len(found)} | "
            f"{' | '.join(cells)} |",
            flush=True,
        )


def interval(files: dict[str, list[Verdict]], measure: Callable[[list[Verdict]], float]) -> str:
    """A measure with its interval over files."""
    names, draw = list(files), np.random.default_rng(0)
    value = measure([v for name in names for v in files[name]])
    if np.isnan(value):
        return "-"
    if len(names) < 3:
        return f"{value:.2f}"
    tries = [
        measure([v for k in draw.integers(len(names), size=len(names)) for v in files[names[k]]])
        for _ in range(RESAMPLES)
    ]
    low, high = np.nanpercentile(tries, [2.5, 97.5])
    return f"{value:.2f} ({low:.2f}-{high:.2f})"


def near_file(verdicts: list[Verdict]) -> float:
    """Share within a frame of their file's median offset, over files of two pieces and more."""
    files: dict[str, list[int]] = {}
    for verdict in verdicts:
        files.setdefault(verdict.file, []).append(verdict.offset)
    close = [
        abs(o - np.median(offsets)) <= 1
        for offsets in files.values()
        if len(offsets) > 1
        for o in offsets
    ]
    return float(np.mean(close)) if close else float("nan")


def moved(tolerance: int) -> Callable[[list[Verdict]], float]:
    """Share of moved sounds whose offset moved by 5 frames, late sound down and early sound up."""

    def share(verdicts: list[Verdict]) -> float:
        missed = [
            abs(at - v.offset - by)
            for v in verdicts
            for at, by in zip(v.moved, (-SHIFT, SHIFT), strict=True)
        ]
        return float(np.mean(np.array(missed) <= tolerance))

    return share


def auc(right: list[float], wrong: list[float]) -> float:
    """Chance that one of ``right`` is above one of ``wrong``."""
    if not wrong:
        return float("nan")
    difference = np.subtract.outer(right, wrong)
    return float((difference > 0).mean() + (difference == 0).mean() / 2)


MEASURES: tuple[Callable[[list[Verdict]], float], ...] = (
    lambda vs: float(np.mean([abs(v.offset) <= 1 for v in vs])),
    near_file,
    moved(0),
    moved(1),
    lambda vs: float(np.mean([v.confidence for v in vs])),
    lambda vs: float(np.mean([c for v in vs for c, _ in v.other] or [np.nan])),
    lambda vs: float(np.mean([v.still[0] for v in vs])),
    lambda vs: float(np.mean([v.confidence > c for v in vs for c, _ in v.other] or [np.nan])),
    lambda vs: float(np.mean([v.confidence > v.still[0] for v in vs])),
    lambda vs: float(np.mean([v.distance < v.still[1] for v in vs])),
    lambda vs: auc([v.confidence for v in vs], [c for v in vs for c, _ in v.other]),
    lambda vs: auc([-v.distance for v in vs], [-d for v in vs for _, d in v.other]),
)
HEAD = (
    f"data|files|pieces|not judged|offset ±1 of 0|±1 of its file|moved by {SHIFT} exactly"
    f"|moved by {SHIFT} ±1|C|C, other audio|C, still|C falls: other|C falls: still|D rises: still"
    "|AUC of C|AUC of D"
).split("|")


if __name__ == "__main__":
    main()
