"""What calibrating to a person's own video gives, by how much video there is; with the pull and the
offset taken away.

    python -m research.calibrate [--videos DIR] [--seconds 20 40 60] [--checkpoint-dir D]
 DIR holds videos with sound, or with a recording NAME.wav beside them or in ../wav. Each file is
one person; files of the same name up to a digit or underscore's number (clip_1, clip_2) and GRID's
short clips of one folder are one person's video. Every fourth block of about 5 s is held out, the
same for every amount of video, and each amount is taken from the start of what is left. Without
--videos a person is made up: corpus speech with an opening of 1.5, a third more spread and a smile,
80 s. Correlation is the mean of opening's and width's; movement is opening's, over the real;
intervals are 95 %, from resampling pieces of 1.5 s of the held-out video.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

VIDEOS = (".mp4", ".mov", ".avi", ".mkv", ".webm")
VARIANTS = {
    "as shipped": {},
    "no pull to the shipped weights": {"toward_shipped": False},
    "no offset correction": {"offsets": False},
}
LEAST_FILM, MOST_FILES = 24.0, 60


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(
        prog="python -m research.calibrate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--videos", type=Path, nargs="+", help="folders of talking video")
    parser.add_argument(
        "--seconds",
        type=float,
        nargs="+",
        default=[20.0, 40.0, 60.0],
        help="video to fit on (20 40 60, and all)",
    )
    parser.add_argument(
        "--checkpoint-dir", type=Path, help="trained weights; those shipped by default"
    )
    args = parser.parse_args(arguments)
    import torch

    from emo_lightning.inference.weights import load_audio_to_motion

    torch.set_num_threads(1)
    talker = load_audio_to_motion(args.checkpoint_dir)
    people = made_up() if args.videos is None else real(args.videos)
    print(
        "| person | variant | video to fit, s | result | r before | r after | difference, 95 % | "
        "movement | error | closures kept | s |"
    )
    print("|---" * 11 + "|")
    for name, recordings in people:
        for variant, changes in VARIANTS.items():
            for seconds in (*args.seconds, None) if not changes else (None,):
                line = trial(talker, recordings, changes, seconds)
                if line is not None:
                    print(f"| {name} | {variant} | {line} |", flush=True)


def trial(
    talker: object, recordings: Sequence[object], changes: Mapping[str, bool], seconds: float | None
) -> str | None:
    """One row, or None where there is less video than that."""
    from emo_lightning.calibration.calibrate import CalibrationOptions, fit_and_evaluate
    from emo_lightning.core.constants import FPS

    begin = time.perf_counter()
    limit = None if seconds is None else round(seconds * FPS)
    outcome = fit_and_evaluate(talker, recordings, CalibrationOptions(**changes, max_frames=limit))
    acceptance = outcome.acceptance
    if acceptance is None:
        return (
            f"{0:.0f} | kept: {outcome.reasons[0]} |"
            + " |" * 6
            + f" {time.perf_counter() - begin:.0f}"
        )
    if limit is not None and outcome.seconds["fit"] < 0.98 * seconds:
        return None
    low, high = acceptance.intervals["mean_r"]
    old, new = acceptance.old, acceptance.new
    cells = [
        f"{outcome.seconds['fit']:.0f}", outcome.scope or "kept", f"{old.r.mean():.3f}", f"{new.r.mean():.3f}", f"{low:+.3f} to {high:+.3f}",
        f"{old.amplitude[0]:.2f} → {new.amplitude[0]:.2f}", f"{old.error.mean():.2f} → {new.error.mean():.2f}",
        f"{share(acceptance.old_closures.kept)} → {share(acceptance.new_closures.kept)}", f"{time.perf_counter() - begin:.0f}",
    ]  # fmt: skip
    return " | ".join(cells)


def share(value: float | None) -> str:
    """In per cent."""
    return "-" if value is None else f"{100 * value:.0f} %"


def real(folders: Sequence[Path]) -> Iterator[tuple[str, list[object]]]:
    """Each person's recordings, tracked once."""
    from emo_lightning.calibration.recording import track_videos
    from emo_lightning.core.errors import UserError

    for folder in folders:
        people: dict[str, list[Path]] = {}
        for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in VIDEOS):
            people.setdefault(person(path), []).append(path)
        for name, paths in people.items():
            places = {
                path: (path.with_suffix(".wav"), path.parent.parent / "wav" / f"{path.stem}.wav")
                for path in paths
            }
            beside = {
                path: next(filter(Path.is_file, there))
                for path, there in places.items()
                if any(map(Path.is_file, there))
            }
            begin = time.perf_counter()
            try:
                recordings = track_videos(paths[:MOST_FILES], beside)
            except UserError as error:
                print(f"left out: {error}")
                continue
            video = sum(float(r.usable.sum()) for r in recordings) / 25
            if video < LEAST_FILM:
                print(f"left out: {name} has {video:.0f} s")
                continue
            print(f"tracked {name}: {video:.0f} s of video in {time.perf_counter() - begin:.0f} s")
            yield name, recordings


def person(path: Path) -> str:
    """Who is in a file, by its name: GRID's clips are named by six letters and digits of what is
    said.
    """
    if re.fullmatch(r"[a-z]{4}[a-z0-9][a-z]|[a-z]{4}\d[a-z]", path.stem):
        return path.parent.name
    return re.sub(r"(_?clip)?_?\d+$", "", path.stem) or path.stem


def made_up() -> Iterator[tuple[str, list[object]]]:
    """A person of whom everything is known."""
    from datamodules.corpus.sentences import HELD_OUT
    from datamodules.corpus.speech import Voice, synthesise
    from datamodules.corpus.visemes import ArticulationStyle, articulate
    from emo_lightning.calibration.lips import lips_of_shape
    from emo_lightning.calibration.recording import Recording, speech_frames
    from emo_lightning.face.coefficients import BUILTIN, EXP_NAMES, Coefficients
    from emo_lightning.media.loudness import levelled

    waves, exps = [], []
    for text in HELD_OUT[:30]:
        speech = synthesise(text, Voice("espeak", "en-us"))
        frames = len(speech.wave) // 640
        waves.append(speech.wave[: 640 * frames])
        exps.append(articulate(speech, frames, ArticulationStyle(opening=1.5, spreading=1.3)).exp)
    exp = np.concatenate(exps)
    exp[:, [EXP_NAMES.index(unit) for unit in ("AU12_L", "AU12_R")]] += 0.3
    exp = np.roll(exp + 0.01 * np.random.default_rng(0).standard_normal(exp.shape), 3, axis=0).clip(
        0.0, 1.2
    )
    coefficients = Coefficients(
        BUILTIN,
        {
            **{block: np.zeros((len(exp), BUILTIN.width(block))) for block in BUILTIN.blocks},
            "exp": exp,
        },
    )
    wave = levelled(np.concatenate(waves))
    spoken = speech_frames(wave, len(exp))
    yield (
        "made up",
        [
            Recording(
                "made up",
                "",
                wave,
                spoken,
                np.zeros(len(exp), int),
                coefficients,
                lips_of_shape(coefficients),
            )
        ],
    )


if __name__ == "__main__":
    main()
