"""How fast what is heard and what is asked for show: the controller's window against a voice that
changes, and the emotion track.

    python -m research.responsiveness [--data SHARDS] [--windows 3,5,9,17,25] [--steps N]
    [--checkpoint-dir D] [--ravdess SHARDS]
        [--part window|track|voice]

*Window.* The decoupler is trained with each window (frames of 40 ms, centred), alike in all else.
Two clips of the same held-out speaker and sentence, one neutral, one emotional, are cut together in
mid-sentence, both ways round; what the network says of the cut clip is compared, frame by frame,
with what it says of either clip whole: 0 is the old voice, 1 the new one. ``AU(P)`` is read along
the new emotion's prototype, LOW along the difference of both emotions' means on train. Delays are
to the centre of a frame from the cut. Beside it, what the window buys: error of AU(P) low and
emotion told from LOW by a linear probe, on held-out speakers and sentences.
 The default is a small corpus and a short training (about 4 minutes of one core): windows are
compared, not what long training reaches.

*Track.* See the table's heading; weights as shipped, or of ``--checkpoint-dir``.

*Voice.* What ``emo generate --level-from-voice`` goes by, on the embedded corpus and, with
``--ravdess`` (``emo preprocess --source ravdess``), on real voices.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks._shared import interval, mean_cell, one_thread, small_corpus, train_stage
from emo_lightning.core.constants import SAMPLES_PER_FRAME
from emo_lightning.face.coefficients import AU_NAMES
from emo_lightning.media.loudness import SpeechLevel, levelled
from emo_lightning.media.spectrogram import log_mel
from emo_lightning.motion.emotions import EMOTIONS, NEUTRAL, PROTOTYPES
from research import _follow, _voice
from research._probes import Problem, probe

CLIPS, STEPS, TRACKS = 192, 250, 24
FRAME_MS = 40.0
SPAN = 22
"""Frames before and after a cut that are looked at."""
CUTS = (0.4, 0.5, 0.6)
"""Places of the cuts, of the shorter clip's length."""
LEAST_LEVEL = 6


@dataclass(frozen=True)
class Clip:
    """A clip: its labels, sound ``(N,)`` and true action units ``(T, 17)``."""

    split: str
    speaker: str
    sentence: str
    emotion: int
    level: float
    wave: np.ndarray
    au: np.ndarray


@dataclass(frozen=True)
class Splice:
    """A cut clip and its two wholes as mel rows ``(4T, 80)``, cut before ``frame``; they sound at
    one gain.
    """

    cut: np.ndarray
    old: np.ndarray
    new: np.ndarray
    frame: int
    old_emotion: int
    new_emotion: int


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    shape = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m research.responsiveness", description=__doc__, formatter_class=shape
    )
    parser.add_argument(
        "--data", type=Path, help=f"shards of the embedded corpus; {CLIPS} clips are made without"
    )
    parser.add_argument(
        "--windows", default="3,5,9,17,25", help="odd numbers of frames (default: %(default)s)"
    )
    parser.add_argument(
        "--steps",
        type=int,
        default=STEPS,
        help="training steps for each window (default: %(default)s)",
    )
    parser.add_argument(
        "--checkpoint-dir",
        type=Path,
        help="weights that follow the track; those shipped by default",
    )
    parser.add_argument(
        "--ravdess",
        type=Path,
        help="shards of real voices at two intensities, for the table of voices",
    )
    parser.add_argument("--part", choices=("window", "track", "voice"), help="all by default")
    args = parser.parse_args(arguments)
    parts = (args.part,) if args.part else ("track", "voice", "window")
    with one_thread(), tempfile.TemporaryDirectory() as folder:
        if "track" in parts:
            from emo_lightning.inference.weights import load_audio_to_motion

            _follow.tables(load_audio_to_motion(args.checkpoint_dir), TRACKS)
        if set(parts) == {"track"}:
            return
        data = args.data or small_corpus(Path(folder) / "corpus", CLIPS)
        if "voice" in parts:
            _voice.table(
                [("embedded corpus", data), *([("RAVDESS", args.ravdess)] if args.ravdess else [])]
            )
        if "window" in parts:
            window_table(
                data, Path(folder), [int(word) for word in args.windows.split(",")], args.steps
            )


def window_table(data: Path, folder: Path, windows: Sequence[int], steps: int) -> None:
    """Train with each window and print one row."""
    clips = list(read(data))
    splices = list(cut_together([clip for clip in clips if clip.split != "train"]))
    tested = sum(clip.split != "train" for clip in clips)
    print(
        f"\nWindow: {steps} steps each, seed 0; {len(splices)} cuts, {tested} held-out clips; mean "
        "[95 % interval over cuts or clips]\n"
    )
    heads = (
        "AU(P) 50 %, ms",
        "90 %, ms",
        "rise 10-90, ms",
        "LOW 50 %, ms",
        "90 %, ms",
        "AU(P) low error",
        "correlation",
        "emotion, LOW",
    )
    print(
        "| window, ms | sound needed after a frame, ms | "
        + " | ".join(heads)
        + " | s |\n"
        + "|---:" * (len(heads) + 3)
        + "|"
    )
    for window in windows:
        begin = time.perf_counter()
        net = train_window(data, folder / f"window{window}", window, steps)
        units, low = responses(net, splices, low_means(net, clips))
        cells = [
            *delays(units, (0.5, 0.9)),
            rise(units),
            *delays(low, (0.5, 0.9)),
            *accuracy(net, clips),
        ]
        after = FRAME_MS * net.controller.reach.future
        print(
            f"| {FRAME_MS * window:.0f} | {after:.0f} | {' | '.join(cells)} | "
            f"{time.perf_counter() - begin:.0f} |",
            flush=True,
        )


def train_window(data: Path, out: Path, window: int, steps: int) -> Any:
    """A decoupler whose controller has this window, the present frame in the middle."""
    from emo_lightning.models.checkpoint_io import load_decoupler, read_network

    sizes = [
        f"model.window={window}",
        f"model.look_ahead={window // 2}",
        "loader.frames=80",
        "loader.batch_size=12",
    ]
    # So short a training goes to what is looked at.
    sizes += ["loss.au=20", "loss.contrast=0.1"]
    pace = [
        f"trainer.max_steps={steps}",
        f"trainer.val_every={steps}",
        "trainer.val_batches=1",
        "optim.warmup_steps=30",
    ]
    path = train_stage(1, out, [f"data={data}", *sizes, *pace])
    return load_decoupler(read_network(path, "decoupler", "--windows"))


def read(data: Path) -> Iterator[Clip]:
    """Every clip of the corpus."""
    from datamodules.shards.reader import iter_samples

    for sample in iter_samples(data, None, ("wave", "au")):
        meta = sample.meta
        emotion, level = EMOTIONS.index(meta.emotion), meta.level or 0.0
        yield Clip(meta.split, meta.speaker, meta.sentence, emotion, level, sample.wave, sample.au)


def cut_together(clips: Sequence[Clip]) -> Iterator[Splice]:
    """A neutral and an emotional clip of one speaker and sentence, both ways round, at
    :data:`CUTS`.
    """
    for calm in (clip for clip in clips if clip.emotion == NEUTRAL):
        for moved in clips:
            if (moved.speaker, moved.sentence) != (
                calm.speaker,
                calm.sentence,
            ) or moved.level < LEAST_LEVEL:
                continue
            for place in CUTS:
                yield _splice(calm, moved, place)
                yield _splice(moved, calm, place)


def _splice(old: Clip, new: Clip, place: float) -> Splice:
    samples = min(len(old.wave), len(new.wave)) // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME
    frame = round(place * samples / SAMPLES_PER_FRAME)
    at = frame * SAMPLES_PER_FRAME
    cut = np.concatenate([old.wave[:at], new.wave[at:samples]])
    level = SpeechLevel()
    level.add(cut)
    gain = np.float32(level.gain())
    cut_rows, old_rows, new_rows = (
        log_mel(gain * wave) for wave in (cut, old.wave[:samples], new.wave[:samples])
    )
    return Splice(cut_rows, old_rows, new_rows, frame, old.emotion, new.emotion)


@torch.inference_mode()
def look(net: Any, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AU(P) low ``(T, 17)`` and LOW ``(T, width)`` of mel rows."""
    out = net(torch.from_numpy(rows)[None])
    return out.au_low[0].double().numpy(), out.low[0].double().numpy()


def responses(
    net: Any, splices: Sequence[Splice], means: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Of each cut, how far the network has gone at each frame around it: ``(N, 2 SPAN, 2)``,
    products to be divided once pooled.
    """
    units, lows = [], []
    for splice in splices:
        seen = [look(net, rows) for rows in (splice.cut, splice.old, splice.new)]
        sign = unit_direction(splice.new_emotion) - unit_direction(splice.old_emotion)
        for kind, way, out in (
            (0, sign, units),
            (1, means[splice.new_emotion] - means[splice.old_emotion], lows),
        ):
            cut, old, new = (values[kind] @ way for values in seen)
            products = np.stack([(cut - old) * (new - old), (new - old) ** 2], axis=-1)
            frames = np.clip(np.arange(-SPAN, SPAN) + splice.frame, 0, len(products) - 1)
            out.append(products[frames] / np.square(way).sum())
    return np.stack(units), np.stack(lows)


def unit_direction(emotion: int) -> np.ndarray:
    """The emotion's action units ``(17,)``, as its prototype has them; a one-sided unit counts by
    its stronger side.
    """
    sides = {
        name: [w for unit, w in PROTOTYPES[EMOTIONS[emotion]].items() if unit.split("_")[0] == name]
        for name in AU_NAMES
    }
    return np.array([max(found, default=0.0) for found in sides.values()])


def low_means(net: Any, clips: Sequence[Clip]) -> np.ndarray:
    """Mean LOW of each emotion over train ``(8, width)``."""
    rows: dict[int, list[np.ndarray]] = {}
    for clip in clips:
        if clip.split == "train" and (clip.emotion == NEUTRAL or clip.level >= LEAST_LEVEL):
            rows.setdefault(clip.emotion, []).append(
                look(net, log_mel(levelled(clip.wave)))[1].mean(axis=0)
            )
    return np.stack([np.mean(rows[emotion], axis=0) for emotion in range(len(EMOTIONS))])


def reach(products: np.ndarray, level: float) -> float:
    """Milliseconds from the cut to the frame at which the pooled response has gone this far,
    between two frames.
    """
    share = products[..., 0].sum(axis=0) / products[..., 1].sum(axis=0)
    share = np.maximum.accumulate(share)
    at = max(int(np.argmax(share >= level)), 1)
    part = (level - share[at - 1]) / max(share[at] - share[at - 1], 1e-9)
    return FRAME_MS * (at - 1 + part - SPAN + 0.5)


def delays(products: np.ndarray, levels: Sequence[float]) -> list[str]:
    """Cells of the delays to each share of the change."""
    return [
        _cell(interval(products, lambda rows, level=level: reach(rows, level))) for level in levels
    ]


def rise(products: np.ndarray) -> str:
    """Cell of the time from 10 % to 90 %."""
    return _cell(interval(products, lambda rows: reach(rows, 0.9) - reach(rows, 0.1)))


def _cell(found: tuple[float, float, float]) -> str:
    return f"{found[0]:.0f} [{found[1]:.0f}, {found[2]:.0f}]"


def accuracy(net: Any, clips: Sequence[Clip]) -> list[str]:
    """Cells of AU(P) low's error and correlation over held-out clips, and of emotion told from
    frames of LOW.
    """
    errors, alike, rows, owners = [], [], [], []
    for number, clip in enumerate(clips):
        units, low = look(net, log_mel(levelled(clip.wave)))
        frames = min(len(units), len(clip.au))
        if clip.split != "train":
            errors.append(np.abs(units[:frames] - clip.au[:frames]).mean())
            alike.append(np.corrcoef(units[:frames].ravel(), clip.au[:frames].ravel())[0, 1])
        chosen = np.arange(10, len(low) - 10, 4)
        rows.append(low[chosen].astype(np.float32))
        owners.append(np.full(len(chosen), number))
    owner, train = np.concatenate(owners), np.array([clip.split == "train" for clip in clips])
    labels, speakers = (
        np.array([c.emotion for c in clips]),
        np.unique([c.speaker for c in clips], return_inverse=True)[1],
    )
    problem = Problem(
        np.concatenate(rows), labels[owner], owner, speakers[owner], train[owner], ~train[owner]
    )
    return [mean_cell(errors, 4), mean_cell(alike, 3), str(probe(problem, "logistic", (0,)))]


if __name__ == "__main__":
    main()
