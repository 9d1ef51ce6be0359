"""Response of the face to levels 1 to 15, feature by feature, on portraits animated by us.

    python -m benchmarks levels [--portraits FILE|DIR ...] [--audio FILE ...]
        [--reference FILE.json] [--checkpoint-dir D] [--contact-sheets DIR]
        [--blind DIR [--level 15]]

Each portrait (without --portraits the demo's photograph) speaks at every emotion and level; its
frames are tracked before encoding, about a minute and a half of one core each. ``signature`` is the
signed sum of the distances that show the emotion's signature units, ``own_units`` the mean
intensity of those units by the fit, ``half`` the share of the range reached at level 8. Ranges are
in outer eye-corner distances. Emotion classifiers judge levels 8 and 15 of every recording.

A reference, ``{set: {emotion: {feature: {rho, range, r2, half}}}}``, adds ranges as multiples of
its largest. --contact-sheets writes emotions by levels 1, 4, 8, 12 and 15 instead, each with closed
and open lips. --blind writes shuffled strips of three frames without labels; once the emotions seen
are filled into its labels.csv (anything in ``unnatural`` marks a strip), the same command scores
them.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from benchmarks._blind import print_score, write_strips
from benchmarks._level_videos import (
    LEVELS,
    SIGNATURE_FEATURES,
    Booth,
    Seen,
    Speaker,
    moments,
    pictures,
    recording,
    responses,
    signature_names,
    without_blinks,
)
from benchmarks._shared import external_judges, wilson
from emo_lightning.commands.demo import sample_speech, write_astronaut
from emo_lightning.core.errors import UserError
from emo_lightning.inference.weights import load_audio_to_motion
from emo_lightning.motion.emotions import EMOTIONS, NEUTRAL
from evaluation.metrics.level_response import LevelResponse
from evaluation.report.contact_sheet import captioned
from evaluation.suite.emotion import EXTERNAL_JUDGES

JUDGED = (8, 15)
SHOWN_LEVELS = (1, 4, 8, 12, 15)
SHOWN_SIZE, BLIND_SIZE, CELL = 512, 384, 208
Known = Mapping[str, Mapping[str, float]]
"""Emotion -> feature -> the largest range that the reference has of it."""


def run(args: argparse.Namespace) -> None:
    """Print the tables of :mod:`benchmarks.levels` for portraits, or draw its contact sheets."""
    with tempfile.TemporaryDirectory() as folder:
        portraits = pictures(args.portraits) if args.portraits else [write_astronaut(Path(folder))]
        waves = [recording(path, args.seconds) for path in args.audio or [sample_speech()]]
        talker = load_audio_to_motion(args.checkpoint_dir)
        if args.contact_sheets or args.blind:
            longer = recording((args.audio or [sample_speech()])[0], 2 * args.seconds)
            if args.blind:
                size = max(args.size, BLIND_SIZE)
                write_strips(Booth(talker), portraits, longer, args.blind, size, args.level)
            else:
                contact_sheets(Booth(talker), portraits, longer, args.contact_sheets)
            return
        booth = Booth(talker, others=external_judges())
        seen, judged = watch(booth, portraits, waves, args.size)
    print(
        f"\n{len(portraits)} portraits, {len(waves)} recordings of {args.seconds:g} s, every "
        f"{booth.every}. frame looked at\n"
    )
    response_table(seen, ranges(args.reference) if args.reference else {})
    sides_table(seen)
    for level in JUDGED:
        judge_tables(
            [s for s in judged if s.level == level or s.emotion == EMOTIONS[NEUTRAL]], level
        )


def watch(
    booth: Booth, portraits: Sequence[Path], waves: Sequence[np.ndarray], size: int
) -> tuple[list[Seen], list[Seen]]:
    """Features at all levels for the first recording; answers of the judges for all."""
    seen, judged = [], []
    for path in portraits:
        speaker = booth.seat(path, size)
        for number, wave in enumerate(waves):
            for emotion in EMOTIONS:
                levels = (1,) if emotion == EMOTIONS[NEUTRAL] else LEVELS if number == 0 else JUDGED
                for level in levels:
                    found = booth.look(
                        speaker,
                        wave,
                        emotion,
                        level,
                        level in JUDGED or emotion == EMOTIONS[NEUTRAL],
                    )
                    seen += [found] if number == 0 else []
                    judged += [found] if found.answers else []
        print(f"{path.name}: seen", flush=True)
    return seen, judged


def ranges(path: Path) -> Known:
    """The largest range of each feature over a reference's sets."""
    try:
        sets = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            "--reference", path, "JSON figures", f"cannot be read ({str(error).splitlines()[0]})"
        ) from None
    most: dict[str, dict[str, float]] = {}
    for emotions in sets.values():
        for emotion, features in emotions.items():
            for name, numbers in features.items():
                best = most.setdefault(emotion, {})
                best[name] = max(best.get(name, 0.0), abs(numbers["range"]))
    return most


def response_table(seen: Sequence[Seen], known: Known) -> None:
    """Order, evenness and range: the mean over portraits, and the least and most of them."""
    portraits = list(dict.fromkeys(s.portrait for s in seen))
    print(
        "| emotion | feature | n | Spearman (least) | share at level 8 | range | R² | by the "
        "reference's range |"
    )
    print("|---|---|" + "---:|" * 6)
    for emotion in EMOTIONS[1:]:
        each = [responses(seen, emotion, portrait) for portrait in portraits]
        distances = list(SIGNATURE_FEATURES[emotion])
        for name in ("signature", *distances, *signature_names(emotion)):
            line = _line([row[name] for row in each], SIGNATURE_FEATURES[emotion].get(name, 1))
            beside = known.get(emotion, {})
            if name == "signature" and beside:
                of = sum(beside.get(distance, 0.0) for distance in distances)
            else:
                of = beside.get(name, 0.0)
            ratio = np.mean([abs(row[name].range) for row in each]) / of if of else float("nan")
            print(
                f"| {emotion} | {name} | {len(each)} | {line} | {f'{ratio:.1f}' if of else ''} |",
                flush=True,
            )


def _line(found: Sequence[LevelResponse], sign: int) -> str:
    rho, half, reach, r2 = (
        np.array([getattr(f, name) for f in found]) for name in ("rho", "half", "range", "r2")
    )
    rho, reach = sign * rho, sign * reach
    spread = f"{half.mean():.2f} ({half.min():.2f}-{half.max():.2f})"
    return (
        f"{rho.mean():.3f} ({rho.min():.3f}) | {spread} | {reach.mean():.3f} "
        f"({reach.min():.3f}-{reach.max():.3f}) | {r2.mean():.2f}"
    )


def sides_table(seen: Sequence[Seen]) -> None:
    """Rise of each mouth corner in contempt, from level 1 to 15."""
    print(
        "\nContempt, rise of the mouth corners from level 1 to 15 (outer eye-corner distances):\n"
    )
    print("| portrait | left | right | AU12 left | right |\n|---|" + "---:|" * 4)
    for portrait in dict.fromkeys(s.portrait for s in seen):
        found = responses(seen, "contempt", portrait)
        rises = " | ".join(
            f"{found[name].range:+.3f}"
            for name in ("corner_left", "corner_right", "AU12_L", "AU12_R")
        )
        print(f"| {portrait} | {rises} |")


def judge_tables(judged: Sequence[Seen], level: float) -> None:
    """How often each judge names the emotion asked for; clips of an emotion that it does not know
    are left out.
    """
    for judge in judged[0].answers if judged else ():
        known = {o.label: o.classes for o in EXTERNAL_JUDGES}.get(judge, EMOTIONS)
        asked = [s for s in judged if s.emotion in known and np.isfinite(s.answers[judge]).all()]
        order = [np.argsort(-s.answers[judge]) for s in asked]
        wanted = [EMOTIONS.index(s.emotion) for s in asked]
        right, second = (
            sum(w in o[:k] for w, o in zip(wanted, order, strict=True)) for k in (1, 2)
        )
        low, high = wilson(right, len(asked))
        share = f"{right / len(asked):.2f}, 95 % {low:.2f}-{high:.2f}"
        print(f"\nlevel {level:g}, {judge}: right in {right} of {len(asked)} ({share});", end=" ")
        print(f"among two guesses {second}\n")
        print("| asked for | " + " | ".join(EMOTIONS) + " |\n|---|" + "---:|" * len(EMOTIONS))
        for emotion in sorted(set(wanted)):
            counts = np.bincount(
                [o[0] for o, w in zip(order, wanted, strict=True) if w == emotion],
                minlength=len(EMOTIONS),
            )
            print(
                f"| {EMOTIONS[emotion]} | " + " | ".join(str(c) if c else "" for c in counts) + " |"
            )


def contact_sheets(booth: Booth, portraits: Sequence[Path], wave: np.ndarray, out: Path) -> None:
    """A PNG for each portrait: emotions down, levels across, lips closed and open; the face alone,
    without blinks.
    """
    out.mkdir(parents=True, exist_ok=True)
    for path in portraits:
        speaker = booth.seat(path, SHOWN_SIZE)
        when = list(moments(booth, speaker, wave))
        rows = []
        for emotion in EMOTIONS:
            row = []
            for level in SHOWN_LEVELS:
                spoken = without_blinks(booth.speak(speaker, wave, emotion, level).frames(when))
                frames = [_face(speaker, frame) for frame in booth.draw(speaker, spoken)]
                row.append(
                    captioned(
                        np.hstack(frames),
                        emotion if emotion == EMOTIONS[NEUTRAL] else f"{emotion} {level}",
                    )
                )
            rows.append(np.hstack(row))
        cv2.imwrite(str(out / f"{path.stem}.png"), np.vstack(rows)[:, :, ::-1])
        print(f"wrote {out / f'{path.stem}.png'}", flush=True)


def _face(speaker: Speaker, frame: np.ndarray) -> np.ndarray:
    """The square around the face as a cell of the contact sheet."""
    points = (speaker.portrait.points[:, :2] + 1.0) / 2.0 * len(frame)
    low, high = points.min(axis=0), points.max(axis=0)
    side = min(1.25 * float((high - low).max()), float(len(frame)))
    corner = np.clip((low + high - side) / 2.0, 0.0, len(frame) - side).round().astype(int)
    x, y = corner
    return cv2.resize(
        frame[y : y + int(side), x : x + int(side)], (CELL, CELL), interpolation=cv2.INTER_AREA
    )


def main(arguments: Sequence[str] = ()) -> None:
    """Print the table, and how it agrees with what is known."""
    parser = argparse.ArgumentParser(
        prog="benchmarks levels",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
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
        "--contact-sheets",
        type=Path,
        metavar="DIR",
        help="only draw contact sheets, one a portrait, into this folder",
    )
    parser.add_argument("--blind", type=Path, metavar="DIR", help="strips to label, or their score")
    parser.add_argument(
        "--level", type=float, default=15.0, help="of the strips (default: %(default)s)"
    )
    parser.add_argument("--reference", type=Path, help="known figures, JSON")
    args = parser.parse_args(arguments)
    if args.blind is None or not print_score(args.blind):
        run(args)


if __name__ == "__main__":
    main()
