"""Part of THEval: lip, eyebrow and head motion dynamics, silent lips, and its score over these four
of eight parts."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib.resources import files

import numpy as np
import torch

from emo_lightning.core.constants import FPS, SAMPLE_RATE
from evaluation.judges.base import JudgeInfo
from evaluation.judges.landmark_track import Track
from evaluation.metrics import theval
from evaluation.protocol import NotScored, Unavailable
from evaluation.records import MetricColumn, Scores, SetEstimate, SetResult
from evaluation.suite.base import AudioExtractor, ClipMetric, ClipSet, EvaluatedClip, SetMetric
from evaluation.suite.motion import TRACKER, head_angles

SPEECH = "speech"
PARTS = {
    "theval_lips": "lip dynamics",
    "theval_brows": "eyebrow dynamics",
    "theval_head": "head motion dynamics",
    "theval_silent_lips": "silent lip stability",
}
WHOLE = 8
"""Measures of the published benchmark."""
SILERO = "silero-vad"


@lru_cache(maxsize=1)
def _describe_speech() -> JudgeInfo:
    if importlib.util.find_spec("silero_vad") is None:
        raise Unavailable("the package silero-vad is not installed (pip install silero-vad)")
    model = files("silero_vad").joinpath("data", "silero_vad.onnx").read_bytes()
    about = "Silero voice activity detection, speech segments"
    return JudgeInfo(SILERO, hashlib.sha256(model).hexdigest(), about)


def _open_speech(device: torch.device) -> Callable[[np.ndarray], Mapping[str, np.ndarray]]:
    del device
    threads = torch.get_num_threads()
    package = importlib.import_module("silero_vad")
    # Importing the package sets the process to one thread.
    torch.set_num_threads(threads)
    model = package.load_silero_vad(onnx=True)

    def segments(wave: np.ndarray) -> Mapping[str, np.ndarray]:
        audio = torch.from_numpy(wave)
        found = package.get_speech_timestamps(audio, model, sampling_rate=SAMPLE_RATE)
        rows = [[s["start"] / SAMPLE_RATE, s["end"] / SAMPLE_RATE] for s in found]
        return {SPEECH: np.array(rows, np.float64).reshape(-1, 2)}

    return segments


def _in_square(track: Track) -> np.ndarray:
    """Points ``(T, 478, 2)`` in pixels of the frame resized to 256 x 256."""
    return track.points[..., :2] * (theval.SIDE / np.array(track.size, np.float64))


def _motion(clip: EvaluatedClip, reference: EvaluatedClip | None) -> Scores:
    del reference
    track = clip.track
    if track.seen.sum() < 3:
        raise NotScored("fewer than three frames show a face")
    square = _in_square(track)[track.seen]
    centres = (square.min(axis=1) + square.max(axis=1)) / 2
    angles = np.degrees(np.unwrap(head_angles(track), axis=0))
    values = (
        theval.lip_dynamics(square),
        theval.eyebrow_dynamics(track.points),
        theval.head_motion_dynamics(angles, centres),
    )
    return Scores(dict(zip(PARTS, values, strict=False)))


def _silence(clip: EvaluatedClip, reference: EvaluatedClip | None) -> Scores:
    del reference
    silent = theval.silent_frames(clip.features(SPEECH)[SPEECH], len(clip.track), FPS)
    openings = theval.lip_openings(_in_square(clip.track)[silent])
    if len(openings) < 2:
        raise NotScored(f"no silence of {theval.LEAST_SILENCE:g} s shows a face")
    stability = theval.silent_lip_stability(openings)
    return Scores({"theval_silent_lips": stability, "silent_lip_gap": float(openings.mean())})


def _keep(clip: EvaluatedClip) -> dict[str, list[float]]:
    """The clip's measures, nan where there is none."""
    values: dict[str, float] = {}
    for measure in (_motion, _silence):
        try:
            values |= measure(clip, None).values
        except NotScored:
            continue
    return {"theval": [values.get(name, float("nan")) for name in PARTS]}


def part_scores(clips: ClipSet) -> SetResult:
    """The mean score of the measures that both sides have, and each measure's score as bars."""
    sides = [
        np.array([r.features["theval"] for r in side.records if "theval" in r.features])
        for side in (clips, clips.reference)
        if side is not None
    ]
    if len(sides) < 2 or not all(map(len, sides)):
        raise NotScored("compares with the reference")
    found: dict[str, float] = {}
    for at, name in enumerate(PARTS.values()):
        columns = [side[np.isfinite(side[:, at]), at] for side in sides]
        try:
            if all(map(len, columns)):
                found[name] = theval.score(*(float(column.mean()) for column in columns))
        except ValueError:
            continue
    if not found:
        raise NotScored("no measure has a value on both sides")
    absent = [name for name in PARTS.values() if name not in found]
    flag = f"without {', '.join(absent)}" if absent else None
    about = f"{len(found)} of {WHOLE} parts; 1 is the ground truth"
    bars = {"kind": "bars", "values": found, "about": about}
    mean = SetEstimate(float(np.mean(list(found.values()))), len(sides[0]), flag=flag)
    return SetResult(estimates={"theval_part": mean}, details={"THEval, part": bars})


def _column(name: str, label: str, decimals: int, about: str, unit: str = "") -> MetricColumn:
    about = f"{about}; to be near the reference's"
    return MetricColumn(name, label, about, None, "theval", unit, decimals, TRACKER)


LIPS = "deviation over time of all lip point distances, frame at 256 px"
BROWS = "mean change a frame of brow to eye over the eyes' distance"
HEAD = "spread and unevenness of rotation and place; pose by landmarks, not FaceXFormer"
SILENT = "median deviation of the lip gap in silences of 0.3 s and more, over the eye distance"
GAP = "mean lip gap in the same silences; not part of THEval's score"
SCORE = (
    f"mean of 1 - |x - GT| / |GT| over {len(PARTS)} of {WHOLE} measures; not THEval's final score"
)
ORDER = 65
EXTRACTORS = (AudioExtractor(SPEECH, _describe_speech, _open_speech),)
ENTRIES = {
    "theval": ClipMetric(
        (
            _column("theval_lips", "Lip dynamics", 2, LIPS, "px"),
            _column("theval_brows", "Eyebrow dynamics", 4, BROWS),
            _column("theval_head", "Head dynamics", 2, HEAD),
        ),
        _motion,
        needs_reference=False,
    ),
    "theval_silence": ClipMetric(
        (
            _column("theval_silent_lips", "Silent lips", 4, SILENT),
            _column("silent_lip_gap", "Silent lip gap", 3, GAP),
        ),
        _silence,
        needs=(SPEECH,),
        needs_reference=False,
    ),
    "theval_part": SetMetric(
        (MetricColumn("theval_part", "THEval, part", SCORE, True, "theval", low=None, high=1.0),),
        part_scores,
        keep=_keep,
        needs_reference=True,
        still=True,
    ),
}
