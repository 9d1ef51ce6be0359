"""``emo calibrate``: refit the readout to a person's video, unless it is worse on held-out video.

The result is a folder of weights for ``--checkpoint-dir``. It holds the fit, figures, and curves of
the held-out mouth; no picture, no audio, no name.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from emo_lightning.calibration import dataset, style
from emo_lightning.calibration.av_offset import AudioVideoOffset, estimate_offsets
from emo_lightning.calibration.dataset import CalibrationFrames, Readout
from emo_lightning.calibration.lips import LipClosures, LipScore, difference_intervals, lip_closures
from emo_lightning.calibration.page import render_page
from emo_lightning.calibration.recording import ARGUMENT, Recording, track_videos
from emo_lightning.calibration.refit import RefitResult, refit
from emo_lightning.core.atomic_files import publish, staging
from emo_lightning.core.constants import FPS
from emo_lightning.core.device import InferenceContext
from emo_lightning.core.errors import UserError
from emo_lightning.core.provenance import provenance, sha256_of
from emo_lightning.face.coefficients import BUILTIN
from emo_lightning.inference.audio_to_motion import AudioToMotion
from emo_lightning.inference.weights import load_audio_to_motion, weight_files
from emo_lightning.models.checkpoint_io import export, read_network

MIN_SECONDS = 20.0
"""Video of a speaking face below which nothing can be both fitted and evaluated."""
PORTRAITS = 3
"""Faces of the person that stand for the portrait in the fit."""
FULL, STYLE_ONLY = SCOPES = ("lips and style", "style only")
"""Refits to try, in this order: readout and style, or style and amplitude of the mouth."""
HEADS = "heads.safetensors"
REPORT, PAGE = "calibration.json", "calibration.html"
MAX_SCORE_LOSS = 0.01
"""Correlations and errors less than this apart are equal."""
MAX_CLOSURE_LOSS = 0.15
"""Tracked closures are few, so a small loss may be chance."""


@dataclass(frozen=True)
class CalibrationOptions:
    """Settings of a fit.

    Attributes:
        seed: of the faces that stand for the portrait, and of random comparisons.
        toward_shipped: False regularises towards zero weights (an ablation).
        offsets: False ignores the audio-video offset (an ablation).
        max_frames: frames to fit on, from the start; all by default.
    """

    seed: int = 0
    toward_shipped: bool = True
    offsets: bool = True
    max_frames: int | None = None


@dataclass(frozen=True)
class Acceptance:
    """Shipped against refitted readout on held-out video; accepted without ``reasons``."""

    reasons: tuple[str, ...]
    old: LipScore
    new: LipScore
    intervals: dict[str, list]
    old_closures: LipClosures
    new_closures: LipClosures


@dataclass(frozen=True)
class CalibrationOutcome:
    """Result of a fit, before anything is written.

    Attributes:
        scope: the accepted refit, one of :data:`SCOPES`; None when none was.
        reasons: why none was accepted, or why not the first.
        offsets: of each file.
        seconds: of video to fit and to evaluate.
        shipped: the readout before; None, like what follows, when there was nothing to fit.
        fit: the last refit tried.
        acceptance: its comparison with the shipped readout.
        held_out: the held-out frames.
    """

    scope: str | None
    reasons: tuple[str, ...]
    offsets: list[AudioVideoOffset]
    seconds: dict[str, float] = field(default_factory=dict)
    shipped: Readout | None = None
    fit: RefitResult | None = None
    acceptance: Acceptance | None = None
    held_out: CalibrationFrames | None = None

    @property
    def accepted(self) -> bool:
        """Whether a refit is no worse than the shipped readout."""
        return self.scope is not None


def calibrate(
    videos: Sequence[str | Path],
    out: str | Path,
    checkpoint_dir: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
) -> dict[str, Any]:
    """Refit the readout to a person.

    Args:
        videos: of one person who speaks; a few minutes in all.
        out: a new or empty folder; it appears complete at the end.
        checkpoint_dir: weights to start from; those shipped by default.
        seed: see :class:`CalibrationOptions`.
        device: of the networks, see :func:`emo_lightning.core.device.resolve_device`.

    Returns:
        The report, as stored in :data:`REPORT`.

    Raises:
        UserError: an unusable input, too little video, or a folder that cannot be written.
    """
    begin = time.perf_counter()
    paths, out = [Path(video) for video in videos], _check_out(Path(out))
    folder = None if checkpoint_dir is None else Path(checkpoint_dir)
    if folder is not None and not folder.is_dir():
        accepted = "a folder of trained weights"
        raise UserError("--checkpoint-dir", folder, accepted, "is not a folder")
    talker = load_audio_to_motion(folder, inference=InferenceContext.create(device))
    if talker.layout != BUILTIN:
        problem = f"has coefficients of {talker.layout.name}"
        accepted = "weights for the built-in face model"
        raise UserError("--checkpoint-dir", folder, accepted, problem)
    with staging(out.parent, "--out") as stage:
        recordings = track_videos(paths)
        tracked = time.perf_counter()
        check_length(recordings)
        outcome = fit_and_evaluate(talker, recordings, CalibrationOptions(seed=seed))
        report = _report(recordings, outcome, folder)
        made = stage / out.name
        made.mkdir()
        for file in weight_files(folder):
            shutil.copyfile(file, made / file.name)
        if outcome.accepted:
            report["head_motion"] = style.head_motion_gain(recordings, talker)
            report["blinks_per_minute"] = style.plausible_blink_rate(recordings)
            _write_heads(made / HEADS, talker, outcome, report)
        report["seconds_to_track"] = round(tracked - begin, 2)
        report["seconds_in_all"] = round(time.perf_counter() - begin, 2)
        (made / REPORT).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        page = render_page(report, outcome.shipped, outcome.fit, outcome.held_out)
        (made / PAGE).write_text(page, encoding="utf-8")
        publish(stage, out.parent, [out.name])
    return report


def check_length(recordings: Sequence[Recording]) -> None:
    """Raise UserError, saying what was found, for less than :data:`MIN_SECONDS` of usable video."""

    def seconds(part: str) -> float:
        return sum(_seconds(getattr(recording, part)) for recording in recordings)

    if seconds("usable") < MIN_SECONDS:
        total = _seconds(np.concatenate([r.segment > -2 for r in recordings]))
        face = _seconds(np.concatenate([r.segment >= 0 for r in recordings]))
        found = (
            f"shows a face that speaks for {seconds('usable'):.1f} s ({total:.1f} s of video,"
            f" a face in {face:.1f} s, speech in {seconds('speaking'):.1f} s)"
        )
        names = ", ".join(recording.name for recording in recordings)
        accepted = f"at least {MIN_SECONDS:g} s of one person who speaks, better a few minutes"
        raise UserError(ARGUMENT, names, accepted, found)


def fit_and_evaluate(
    talker: AudioToMotion,
    recordings: Sequence[Recording],
    options: CalibrationOptions = CalibrationOptions(),
) -> CalibrationOutcome:
    """Fit on most of the video and evaluate on the rest; changes and writes nothing."""
    shipped = Readout.of(talker.motion_model)
    faces = style.sample_portraits(recordings, PORTRAITS, options.seed)
    speech = [dataset.extract_features(talker, recording, faces) for recording in recordings]
    offsets = estimate_offsets(recordings, speech, shipped, options.seed)
    used = [k for k, offset in enumerate(offsets) if offset.found]
    if sum(_seconds(recordings[k].usable) for k in used) < MIN_SECONDS:
        reason = "the lips do not follow the audio in enough of the video to fit anything"
        return CalibrationOutcome(None, (reason,), offsets)
    videos, lags = [recordings[k] for k in used], [offsets[k].lag for k in used]
    if not options.offsets:
        lags = [0 for _ in used]
    frames = dataset.build_frames(
        videos, [speech[k] for k in used], lags, dataset.index_frames(videos)
    )
    margin = (talker.decoupler.reach + talker.motion_model.reach).total
    held_out = dataset.held_out_frames(frames.index)
    training = dataset.training_frames(frames.index, held_out, margin)
    if options.max_frames is not None:
        training &= np.cumsum(training) <= options.max_frames
    parts = {"fit": training, "held_out": held_out, "margins": ~training & ~held_out}
    seconds = {part: _seconds(rows) for part, rows in parts.items()}
    held, silence, refused = frames[held_out], dataset.silence_features(talker, faces), []
    for scope in SCOPES:
        fit = refit(
            frames[training],
            silence,
            shipped,
            talker.layout.exp_names,
            margin,
            options.toward_shipped,
            style_only=scope == STYLE_ONLY,
        )
        acceptance = compare_held_out(held, shipped, fit.readout)
        if not acceptance.reasons:
            break
        refused += [f"{scope}: {reason}" for reason in acceptance.reasons]
    scope = None if acceptance.reasons else scope
    reasons = tuple(refused)
    return CalibrationOutcome(scope, reasons, offsets, seconds, shipped, fit, acceptance, held)


def compare_held_out(held: CalibrationFrames, old: Readout, new: Readout) -> Acceptance:
    """Accept the new readout if correlation, error and lip closures are no worse than the old."""
    before, after = held.score_sums(old), held.score_sums(new)
    a, b = before.score(), after.score()
    old_closures, new_closures = (
        lip_closures(held.predicted_lips(one)[:, 0], held.lips[:, 0], held.index.block)
        for one in (old, new)
    )
    reasons = []
    if b.r.mean() < a.r.mean() - MAX_SCORE_LOSS:
        figures = f"correlation {b.r.mean():.3f}, shipped {a.r.mean():.3f}"
        reasons.append(f"it followed the held-out lips less ({figures})")
    if b.error.mean() > a.error.mean() + MAX_SCORE_LOSS:
        figures = f"{b.error.mean():.2f} of the real movement, shipped {a.error.mean():.2f}"
        reasons.append(f"it erred more on the held-out part ({figures})")
    if new_closures.net < old_closures.net - MAX_CLOSURE_LOSS:
        figures = f"{new_closures.net:.2f}, shipped {old_closures.net:.2f}"
        reasons.append(f"it closed the lips less well ({figures})")
    intervals = difference_intervals(before, after)
    return Acceptance(tuple(reasons), a, b, intervals, old_closures, new_closures)


def _check_out(out: Path) -> Path:
    out = out.absolute()
    accepted = "a new or empty folder, in a folder that exists"
    if not out.parent.is_dir():
        raise UserError("--out", out, accepted, "has a folder that does not exist")
    if out.exists() and not out.is_dir():
        raise UserError("--out", out, accepted, "is a file")
    if out.is_dir() and any(out.iterdir()):
        raise UserError("--out", out, accepted, "is not empty")
    return out


def _write_heads(
    path: Path, talker: AudioToMotion, outcome: CalibrationOutcome, report: dict[str, Any]
) -> None:
    """Write the heads with the new readout and a record of what they were made from."""
    before = read_network(path, "heads", "--checkpoint-dir")
    outcome.fit.readout.put_into(talker.motion_model)
    if report["head_motion"] is not None:
        style.scale_head_motion(talker.motion_model.posenet, report["head_motion"]["gain"])
    meta = {name: v for name, v in before.meta.items() if name not in ("format", "fingerprint")}
    if report["blinks_per_minute"] is not None:
        meta["model"] = {**meta["model"], "blinks_per_minute": report["blinks_per_minute"]}
    hashes = [video["sha256"] for video in report["videos"]]
    meta["calibrated"] = {"heads": before.fingerprint, "videos": hashes}
    path.unlink()
    export(path, talker.motion_model, meta)


def _report(
    recordings: Sequence[Recording], outcome: CalibrationOutcome, folder: Path | None
) -> dict[str, Any]:
    videos = []
    for recording, offset in zip(recordings, outcome.offsets, strict=True):
        milliseconds = round(1000 * offset.lag / FPS)
        videos.append(
            {
                "sha256": recording.sha256,
                "seconds": _seconds(recording.segment > -2),
                "usable_seconds": _seconds(recording.usable),
                "offset": asdict(offset) | {"milliseconds": milliseconds, "found": offset.found},
                "skipped": list(recording.notes),
            }
        )
    report: dict[str, Any] = {
        "result": "calibrated" if outcome.accepted else "unchanged",
        "scope": outcome.scope,
        "reasons": list(outcome.reasons),
        "videos": videos,
        "seconds": outcome.seconds,
        "style": {
            "expression": style.mean_expression(recordings),
            "blinks_per_minute": round(style.blinks_per_minute(recordings), 1),
        },
        "weights_before": {file.name: sha256_of(file) for file in weight_files(folder)},
        "provenance": provenance({}),
    }
    fit, acceptance = outcome.fit, outcome.acceptance
    if fit is not None and acceptance is not None:
        groups = {g: {"strength": s, "share": share} for g, (s, share) in fit.groups.items()}
        scores = {"shipped": fit.shipped.to_dict(), "refitted": fit.cross_validated.to_dict()}
        report["fit"] = {
            "groups": groups,
            "amplitude": asdict(fit.amplitude),
            "habits": fit.habits,
            "cross_validation": scores,
        }
        old, new = acceptance.old.to_dict(), acceptance.new.to_dict()
        report["held_out"] = {
            "shipped": {**old, "closures": asdict(acceptance.old_closures)},
            "refitted": {**new, "closures": asdict(acceptance.new_closures)},
            "difference_ci95": acceptance.intervals,
        }
    return report


def _seconds(frames: np.ndarray) -> float:
    return round(float(frames.sum() / FPS), 2)
