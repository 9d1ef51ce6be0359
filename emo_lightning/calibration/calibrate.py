"""``emo calibrate``: a person's own film refits what lips do to a sound, or leaves it as it is when that is no better.

The result is a folder of weights for ``--checkpoint-dir``. Of the film it holds the fit, figures, and the page's curves of
the held-out mouth; no picture, no sound, no name.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from emo_lightning.calibration import style
from emo_lightning.calibration.acceptance import Verdict, judge
from emo_lightning.calibration.dataset import Rows, rows_of
from emo_lightning.calibration.features import Heard, Readout, hear, hear_silence
from emo_lightning.calibration.offset import Offset, measure
from emo_lightning.calibration.recording import ARGUMENT, Recording, watch
from emo_lightning.calibration.refit import Fit, refit
from emo_lightning.calibration.report import write_page
from emo_lightning.calibration.splits import apart_from, held_out, in_blocks
from emo_lightning.core.atomic_files import staging
from emo_lightning.core.constants import FPS
from emo_lightning.core.errors import UserError
from emo_lightning.core.provenance import provenance, sha256_of
from emo_lightning.face.coefficients import BUILTIN
from emo_lightning.inference.audio_to_motion import AudioToMotion
from emo_lightning.inference.weights import load_audio_to_motion, weight_files
from emo_lightning.models.checkpoint_io import export, read_network

LEAST_SECONDS = 20.0
"""Film of a face that speaks, below which nothing can be both fitted and judged."""
PORTRAITS = 3
"""Faces of the person that stand for the portrait in the fit."""
WHOLE, STYLE = WHATS = ("lips and style", "style alone")
"""What is tried, in this order: the read-out and the style, or the style and how far the mouth moves."""
HEADS = "heads.safetensors"
REPORT, PAGE = "calibration.json", "calibration.html"


@dataclass(frozen=True)
class Options:
    """What the benchmark turns off, or cuts short, to see what it is worth."""

    pull: bool = True
    offsets: bool = True
    seed: int = 0
    most: int | None = None
    """Frames to fit on, from the start; all by default."""


@dataclass(frozen=True)
class Outcome:
    """What came of a film, before anything is written.

    Attributes:
        what: was accepted, one of :data:`WHATS`; None when nothing was.
        reasons: why not, or why not the first of them.
        offsets: each file's.
        seconds: of film to fit and to judge.
        fit: None where it did not come to that; so with the others.
        held: the held-out rows.
    """

    what: str | None
    reasons: tuple[str, ...]
    offsets: list[Offset]
    seconds: dict[str, float] = field(default_factory=dict)
    shipped: Readout | None = None
    fit: Fit | None = None
    verdict: Verdict | None = None
    held: Rows | None = None

    @property
    def accepted(self) -> bool:
        """Whether something was found that is no worse than the shipped read-out."""
        return self.what is not None


@dataclass(frozen=True)
class CalibrateResult:
    """What :func:`calibrate` wrote: the folder, whether the shipped read-out was kept, why, and the report as stored."""

    out: Path
    kept: bool
    reasons: tuple[str, ...]
    report: dict[str, Any]


def calibrate(
    videos: Sequence[str | Path],
    out: str | Path,
    checkpoint_dir: str | Path | None = None,
    seed: int = 0,
) -> CalibrateResult:
    """Refit the read-out to a person.

    Args:
        videos: of one person who speaks; a few minutes in all.
        out: a new or empty folder; it appears whole at the end.
        checkpoint_dir: weights to start from; those shipped by default.
        seed: draws the faces that stand for the portrait, and chance to compare with.

    Raises:
        UserError: an input that cannot be used, too little film, a folder that cannot be written.
    """
    begin = time.perf_counter()
    paths, out = [Path(video) for video in videos], _check_out(Path(out))
    folder = None if checkpoint_dir is None else Path(checkpoint_dir)
    if folder is not None and not folder.is_dir():
        raise UserError(
            "--checkpoint-dir", folder, "a folder of trained weights", "is not a folder"
        )
    talker = load_audio_to_motion(folder)
    if talker.layout != BUILTIN:
        raise UserError(
            "--checkpoint-dir",
            folder,
            "weights for the built-in face model",
            f"has coefficients of {talker.layout.name}",
        )
    with staging(out.parent, "--out") as stage:
        recordings = watch(paths)
        watched = time.perf_counter()
        check_length(recordings)
        outcome = consider(talker, recordings, Options(seed=seed))
        report = _report(recordings, outcome, folder)
        made = stage / "calibrated"
        made.mkdir()
        for file in weight_files(folder):
            shutil.copyfile(file, made / file.name)
        if outcome.accepted:
            report["head_motion"] = style.head_motion(recordings, talker)
            report["blinks_per_minute"] = style.believed_blinks(recordings)
            _put_heads(made / HEADS, talker, outcome, report)
        report["seconds_to_track"] = round(watched - begin, 2)
        report["seconds_in_all"] = round(time.perf_counter() - begin, 2)
        (made / REPORT).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        (made / PAGE).write_text(
            write_page(report, outcome.shipped, outcome.fit, outcome.held), encoding="utf-8"
        )
        os.replace(made, out)
    return CalibrateResult(out, not outcome.accepted, outcome.reasons, report)


def check_length(recordings: Sequence[Recording]) -> None:
    """Raise UserError, saying what was found, for less film of a face that speaks than :data:`LEAST_SECONDS`."""
    useful, film, face, speech = (_seconds(np.concatenate([part(r) for r in recordings])) for part in (
        lambda r: r.useful, lambda r: r.run > -2, lambda r: r.run >= 0, lambda r: r.spoken,
    ))  # fmt: skip
    if useful < LEAST_SECONDS:
        found = f"shows a face that speaks for {useful:.1f} s ({film:.1f} s of film, a face in {face:.1f} s, speech in {speech:.1f} s)"
        names = ", ".join(recording.name for recording in recordings)
        raise UserError(
            ARGUMENT,
            names,
            f"at least {LEAST_SECONDS:g} s of one person who speaks, better a few minutes",
            found,
        )


def consider(
    talker: AudioToMotion, recordings: Sequence[Recording], options: Options = Options()
) -> Outcome:
    """Fit on most of the film and judge on the rest; nothing is changed and nothing written."""
    shipped = Readout.of(talker.motion_model)
    faces = style.portraits(recordings, PORTRAITS, options.seed)
    heard: list[Heard] = [hear(talker, recording, faces) for recording in recordings]
    offsets = measure(recordings, heard, shipped, options.seed)
    follow = [offset.found for offset in offsets]
    kept = [k for k, found in enumerate(follow) if found]
    if sum(_seconds(recordings[k].useful) for k in kept) < LEAST_SECONDS:
        return Outcome(
            None,
            (
                "the lips do not follow the sound in enough of the film for anything to be learned from it",
            ),
            offsets,
        )
    films, sounds = [recordings[k] for k in kept], [heard[k] for k in kept]
    lags = [offsets[k].lag if options.offsets else 0 for k in kept]
    rows = rows_of(films, sounds, lags, in_blocks(films))
    gap = (talker.decoupler.reach + talker.motion_model.reach).total
    judging = held_out(rows.frames)
    fitting = apart_from(rows.frames, judging, gap)
    if options.most is not None:
        fitting &= np.cumsum(fitting) <= options.most
    held, silence, refused = rows[judging], hear_silence(talker, faces), []
    seconds = {
        "fit": _seconds(fitting),
        "held_out": _seconds(judging),
        "gaps": _seconds(~fitting & ~judging),
    }
    for what in WHATS:
        fit = refit(
            rows[fitting],
            silence,
            shipped,
            talker.layout.exp_names,
            gap,
            options.pull,
            style_alone=what == STYLE,
        )
        verdict = judge(held, shipped, fit.readout)
        if verdict.accepted:
            return Outcome(what, tuple(refused), offsets, seconds, shipped, fit, verdict, held)
        refused += [f"{what}: {reason}" for reason in verdict.reasons]
    return Outcome(None, tuple(refused), offsets, seconds, shipped, fit, verdict, held)


def _check_out(out: Path) -> Path:
    accepted = "a new or empty folder, in a folder that exists"
    if not out.parent.is_dir():
        raise UserError("--out", out, accepted, "has a folder that does not exist")
    if out.exists() and not out.is_dir():
        raise UserError("--out", out, accepted, "is a file")
    if out.is_dir() and any(out.iterdir()):
        raise UserError("--out", out, accepted, "is not empty")
    return out


def _put_heads(path: Path, talker: AudioToMotion, outcome: Outcome, report: dict[str, Any]) -> None:
    """Write the heads with the new read-out, and say in them what they were made from."""
    before = read_network(path, "heads", "--checkpoint-dir")
    outcome.fit.readout.put_into(talker.motion_model)
    if report["head_motion"] is not None:
        style.move_heads(talker.motion_model.posenet, report["head_motion"]["gain"])
    meta = {
        name: value for name, value in before.meta.items() if name not in ("format", "fingerprint")
    }
    if report["blinks_per_minute"] is not None:
        meta["model"] = {**meta["model"], "blinks_per_minute": report["blinks_per_minute"]}
    calibrated = {
        "heads": before.fingerprint,
        "videos": [video["sha256"] for video in report["videos"]],
    }
    path.unlink()
    export(path, talker.motion_model, {**meta, "calibrated": calibrated})


def _report(
    recordings: Sequence[Recording], outcome: Outcome, folder: Path | None
) -> dict[str, Any]:
    videos = [
        {
            "sha256": recording.sha256,
            "seconds": _seconds(recording.run > -2),
            "face_that_speaks": _seconds(recording.useful),
            "offset": {
                **asdict(offset),
                "milliseconds": round(1000 * offset.lag / FPS),
                "found": offset.found,
            },
            "left_out": list(recording.notes),
        }
        for recording, offset in zip(recordings, outcome.offsets, strict=True)
    ]
    fit, verdict = outcome.fit, outcome.verdict
    report: dict[str, Any] = {
        "result": "calibrated" if outcome.accepted else "kept",
        "what": outcome.what,
        "reasons": list(outcome.reasons),
        "videos": videos,
        "seconds": outcome.seconds,
        "style": {
            "expression": style.expression(recordings),
            "blinks_per_minute": round(style.blinks_per_minute(recordings), 1),
        },
        "weights_before": {file.name: sha256_of(file) for file in weight_files(folder)},
        "provenance": provenance({}),
    }
    if fit is not None and verdict is not None:
        report["fit"] = {
            "pulls": {
                group: {"strength": strength, "share": share}
                for group, (strength, share) in fit.pulls.items()
            },
            "movement": asdict(fit.movement),
            "habits": fit.habits,
            "inside": {"shipped": fit.shipped.to_dict(), "refitted": fit.expected.to_dict()},
        }
        report["held_out"] = {
            "shipped": {**verdict.old.to_dict(), "closings": asdict(verdict.old_closings)},
            "refitted": {**verdict.new.to_dict(), "closings": asdict(verdict.new_closings)},
            "difference_ci95": verdict.intervals,
        }
    return report


def _seconds(frames: np.ndarray) -> float:
    return round(float(frames.sum() / FPS), 2)
