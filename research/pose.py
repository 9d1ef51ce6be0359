"""Head motion and blinks: PoseNet's against held-out heads, per emotion, and against its ablations.

    python -m research.pose [--data SHARDS] [--real SHARDS ...] [--checkpoint-dir D] [--steps 500]
    [--clips 160] [--minutes 10]
 Without --data an embedded corpus of 240 clips is made in a cache folder; heads of its held-out
speakers are the measure, PoseNet moves to the same sounds at the same emotion and level. --real
adds shards of real heads (``emo preprocess``), which nothing was fitted to. The ablations are
PoseNet trained anew for --steps steps each: whole, without condition, without the spectrum loss;
and the whole one cut into faded windows of 48 frames without their means, as motion is often
joined. --steps 0 leaves them out.
--write trains alone: for heads whose ExpNet learned from people who were told to keep still.
 spread: mean standard deviation of pitch, yaw and roll in a clip, degrees. range: degrees. speed:
degrees a second. gap: distance in dB of the power below 7 Hz in four bands. beats: beat alignment.
nods: correlation of the pitch's speed with loudness. Mean ± 95 %. Takes about five minutes of one
core.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from research import _motion

CACHE = Path("runs/benchmarks/pose-corpus")
LEAD = 75
"""Frames of the same sound before a clip's, so that the motion is under way."""
QUIET = -9.5
"""Mean log mel of a frame without speech."""
HEADER = "| n | spread ° | range ° | speed °/s | gap dB | beats | nods |"


@dataclass
class Group:
    """Clips of one emotion: real or simulated angles, and the sound."""

    angles: list[np.ndarray] = field(default_factory=list)
    waves: list[np.ndarray | None] = field(default_factory=list)
    levels: list[float] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m research.pose",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--data", type=Path, help="shards of the embedded corpus; made where there are none"
    )
    parser.add_argument("--real", type=Path, nargs="*", default=(), help="shards of real heads")
    parser.add_argument(
        "--checkpoint-dir", type=Path, help="trained weights; those shipped by default"
    )
    parser.add_argument(
        "--write",
        type=Path,
        help="only train PoseNet anew on --data for --steps, and write all networks to this folder",
    )
    parser.add_argument(
        "--init",
        type=Path,
        metavar="DIR",
        help="with --write: start from the PoseNet of this folder's motion model",
    )
    parser.add_argument("--steps", type=int, default=500, help="training steps of each ablation")
    parser.add_argument("--clips", type=int, default=160, help="most clips that are compared")
    parser.add_argument(
        "--minutes", type=float, default=10.0, help="length of the motion that is watched for drift"
    )
    args = parser.parse_args(arguments)
    from emo_lightning.inference.weights import load_audio_to_motion
    from research._posenet import write_posenet

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if args.write is not None:
            data = args.data or _corpus()
            write_posenet(data, args.checkpoint_dir, args.steps, args.write, args.init)
            return
        data, talker = args.data or _corpus(), load_audio_to_motion(args.checkpoint_dir)
        held = read(data, ("val", "test"), args.clips)
        per_emotion(talker, held)
        for folder in args.real:
            real(talker, folder, args.clips)
        if args.steps:
            ablations(talker, data, args, held)
        drift(talker, args.minutes)
        blinks(talker, held, args.minutes)
    finally:
        torch.set_num_threads(threads)


def per_emotion(talker: object, held: dict[str, Group]) -> None:
    """The corpus' held-out heads and PoseNet's, an emotion a line."""
    print(f"\n| held-out heads of the corpus {HEADER}\n" + "|---" * 8 + "|")
    ours: dict[str, list[np.ndarray]] = {}
    for emotion, group in held.items():
        ours[emotion] = list(moved(talker, emotion, group))
        print(row(f"{emotion}, held out", group.angles, group.waves, None))
        print(row(f"{emotion}, PoseNet", ours[emotion], group.waves, group.angles), flush=True)
    everyone = joined(held)
    print(row("**all, held out**", everyone.angles, everyone.waves, None))
    print(
        row(
            "**all, PoseNet**",
            [a for angles in ours.values() for a in angles],
            everyone.waves,
            everyone.angles,
        )
    )


def real(talker: object, folder: Path, clips: int) -> None:
    """Real heads, and PoseNet's on their sound."""
    if not folder.is_dir():
        print(f"\nskipped: no shards in {folder}")
        return
    groups = read(folder, None, clips)
    print(f"\n| real: {folder.name} {HEADER}\n" + "|---" * 8 + "|")
    for emotion, group in groups.items():
        print(row(f"{emotion}, real", group.angles, group.waves, None))
        print(
            row(
                f"{emotion}, PoseNet",
                list(moved(talker, emotion, group)),
                group.waves,
                group.angles,
            ),
            flush=True,
        )


def ablations(talker: object, data: Path, args: argparse.Namespace, held: dict[str, Group]) -> None:
    """PoseNet trained for a short time, whole and without each part."""
    from emo_lightning.training.motion import Stage2Loss
    from research._posenet import trained_posenet

    everyone = joined(held)
    print(f"\n| {args.steps} steps {HEADER[:-1]} emotions: order of speed |\n" + "|---" * 9 + "|")
    variants = {
        "whole": {},
        "no condition": {"condition": False},
        "no spectrum loss": {"loss": replace(Stage2Loss(), spectrum=0.0)},
    }
    for name, options in variants.items():
        net = trained_posenet(data, args.checkpoint_dir, args.steps, **options)
        made = {emotion: list(moved(net, emotion, group)) for emotion, group in held.items()}
        _ablation(name, made, held, everyone)
        if name == "whole":
            _ablation(
                "whole, in faded windows",
                {e: [faded(a) for a in angles] for e, angles in made.items()},
                held,
                everyone,
            )


def _ablation(
    name: str, made: dict[str, list[np.ndarray]], held: dict[str, Group], everyone: Group
) -> None:
    """A line, with Spearman's correlation over the emotions of the held-out heads' spread with the
    made ones'.
    """
    from scipy.stats import spearmanr

    sides = (made.values(), [group.angles for group in held.values()])
    speeds = [
        [np.mean([_motion.describe(a, None)[2] for a in angles]) for angles in side]
        for side in sides
    ]
    order = float(spearmanr(*speeds).statistic) if len(held) > 2 else float("nan")
    print(
        f"{row(name, [a for angles in made.values() for a in angles], everyone.waves, everyone.angles)} {order:.2f} |",
        flush=True,
    )


def row(
    name: str,
    angles: Sequence[np.ndarray],
    waves: Sequence[np.ndarray | None],
    theirs: Sequence[np.ndarray] | None,
) -> str:
    """A line of the table."""
    numbers = np.array([_motion.describe(a, w) for a, w in zip(angles, waves, strict=True)])
    gap = (
        "" if theirs is None else _motion.gap_interval(_motion.bands(angles), _motion.bands(theirs))
    )
    cells = [_motion.interval(numbers[:, k]) for k in range(numbers.shape[1])]
    return f"| {name} | {len(angles)} | " + " | ".join([*cells[:3], gap, *cells[3:]]) + " |"


def moved(talker: object, emotion: str, group: Group) -> Iterator[np.ndarray]:
    """PoseNet's angles for each clip of a group, of the same length, after a lead-in."""
    from emo_lightning.media.loudness import levelled
    from emo_lightning.media.spectrogram import log_mel
    from emo_lightning.motion.emotion_track import EmotionTrack

    for seed, (angle, wave, level) in enumerate(
        zip(group.angles, group.waves, group.levels, strict=True)
    ):
        frames = len(angle)
        sound = np.zeros(frames * 640, np.float32) if wave is None else levelled(wave)
        mel = np.resize(log_mel(sound), (4 * frames, 80))
        lead = np.tile(mel, (-(-LEAD // frames), 1))[-4 * LEAD :]
        track = EmotionTrack.constant(emotion if emotion != "unknown" else "neutral", level)
        pieces = talker.generate([lead, mel], _portrait(), track, seed)
        yield np.concatenate([p["angle"] for p in pieces])[LEAD:].astype(np.float64)


def drift(talker: object, minutes: float) -> None:
    """Mean pose of every minute, and whether seeds differ and repeat."""
    from emo_lightning.motion.emotion_track import EmotionTrack

    rows = [_speech(minutes)]
    track, runs = EmotionTrack.constant("happy", 10), []
    for seed in (0, 0, 1):
        runs.append(
            np.degrees(
                np.concatenate(
                    [p["angle"] for p in talker.generate(rows, _portrait(), track, seed)]
                )
            )
        )
    minute = [part.mean(0) for part in np.array_split(runs[0], max(round(minutes), 1))]
    half = len(runs[0]) // 2
    slope = np.polyfit(np.arange(len(runs[0])) / 1500.0, runs[0], 1)[0]
    print(f"\n| {minutes:g} minutes of happy, level 10 | pitch | yaw | roll |\n|---|---|---|---|")
    for name, numbers in (
        ("mean, °", runs[0].mean(0)), ("largest distance of a minute's mean from it, °", np.abs(np.array(minute) - runs[0].mean(0)).max(0)),
        ("slope, ° a minute", slope), ("spread in the first half, °", runs[0][:half].std(0)),
        ("spread in the second half, °", runs[0][half:].std(0)), ("largest, °", np.abs(runs[0]).max(0)),
        ("same seed again: largest difference, °", np.abs(runs[0] - runs[1]).max(0)),
        ("other seed: correlation", [np.corrcoef(runs[0][:, k], runs[2][:, k])[0, 1] for k in range(3)]),
    ):  # fmt: skip
        print(f"| {name} | " + " | ".join(f"{v:.3g}" for v in numbers) + " |")


def blinks(talker: object, held: dict[str, Group], minutes: float) -> None:
    """Rate, duration and gaps of blinks by emotion, and how many begin in pauses; aperture is what
    the lids leave open.
    """
    from emo_lightning.face.coefficients import EXP_NAMES
    from emo_lightning.motion.blinking import BLINKS_PER_MINUTE, EMOTION_RATE
    from emo_lightning.motion.emotion_track import EmotionTrack
    from evaluation.metrics.blink_rate import blinks as found_in

    lid, mel = EXP_NAMES.index("AU45_L"), _speech(minutes)
    still = (
        np.convolve(mel.reshape(-1, 4, 80).mean((1, 2)) < QUIET, np.ones(5)) >= 5
    )  # five quiet frames, and the half second after them
    quiet = np.convolve(still, np.ones(12))[: len(mel) // 4] > 0
    print(f"\n| {minutes:g} minutes | blinks a minute | asked for | duration, s | gaps, s: median, 10 %, 90 %"
          f" | in pauses ({quiet.mean():.0%} of time) |")  # fmt: skip
    print("|---" * 6 + "|")
    for emotion in held:
        name = emotion if emotion in EMOTION_RATE else "neutral"
        pieces = talker.generate([mel], _portrait(), EmotionTrack.constant(name, 10), 1)
        closed = np.concatenate([p["exp"][:, lid] for p in pieces])
        found = found_in(torch.from_numpy(1.0 - closed.astype(np.float64)))
        starts = found.starts.numpy()
        low, middle, high = np.quantile(np.diff(starts), (0.1, 0.5, 0.9))
        inside = quiet[np.minimum((starts * 25).astype(int), len(quiet) - 1)].mean()
        half = 1.96 * np.sqrt(len(starts)) / minutes
        print(f"| {name} | {found.per_minute:.1f} ± {half:.1f} | {BLINKS_PER_MINUTE * EMOTION_RATE[name]:.1f} "
              f"| {float(found.durations.mean()):.2f} | {middle:.1f}, {low:.1f}, {high:.1f} | {inside:.0%} |", flush=True)  # fmt: skip


def faded(angle: np.ndarray, window: int = 48) -> np.ndarray:
    """Motion as windows without their mean, faded along a sine and added: what joining windows so
    leaves of it.
    """
    hop, out = window // 2, np.zeros((len(angle) + 2 * window, 3))
    padded = np.pad(
        angle, ((window, window), (0, 0)), mode="reflect" if len(angle) > window else "edge"
    )
    fade = np.sin(np.pi * (np.arange(window) + 0.5) / window)[:, None]
    for start in range(0, len(padded) - window + 1, hop):
        cut = padded[start : start + window]
        out[start : start + window] += (cut - cut.mean(0)) * fade
    return out[window : window + len(angle)]


def read(folder: Path, splits: Sequence[str] | None, clips: int) -> dict[str, Group]:
    """Clips by emotion, of two seconds at least."""
    from datamodules.shards.reader import iter_samples
    from emo_lightning.motion.emotions import ANNOTATED_LEVELS

    groups: dict[str, Group] = {}
    samples = [
        s
        for split in splits or (None,)
        for s in iter_samples(folder, split, ("wave", "coefficients"))
    ]
    for sample in samples[:: max(1, len(samples) // clips)]:
        if len(sample.coefficients) < 50:
            continue
        group = groups.setdefault(sample.meta.emotion or "unknown", Group())
        group.angles.append(sample.coefficients["angle"].astype(np.float64))
        group.waves.append(sample.wave)
        group.levels.append(
            float(sample.meta.level or ANNOTATED_LEVELS.get(sample.meta.intensity or 0, 8.0))
        )
    return dict(sorted(groups.items()))


def joined(groups: dict[str, Group]) -> Group:
    """All emotions together."""
    everyone = Group()
    for group in groups.values():
        everyone.angles += group.angles
        everyone.waves += group.waves
        everyone.levels += group.levels
    return everyone


def _speech(minutes: float) -> np.ndarray:
    """Log mel rows of the sample recording that comes with the package, over and over with a pause
    of a second.
    """
    from importlib.resources import as_file, files

    from emo_lightning.media.audio_reader import load_audio
    from emo_lightning.media.loudness import levelled
    from emo_lightning.media.spectrogram import log_mel

    with as_file(files("emo_lightning") / "samples" / "speech.flac") as path:
        wave = levelled(load_audio(path))
    mel = log_mel(np.concatenate([wave, np.zeros(16_000, np.float32)]))
    return np.resize(mel, (round(minutes * 6000), 80))


def _portrait() -> object:
    from benchmarks._shared import neutral_face

    return neutral_face()


def _corpus() -> Path:
    """A small embedded corpus, made once."""
    if not (CACHE / "index.json").is_file():
        from datamodules.corpus.build import build_corpus

        CACHE.parent.mkdir(parents=True, exist_ok=True)
        build_corpus(CACHE, 240, 0, video=False)
    return CACHE


if __name__ == "__main__":
    main()
