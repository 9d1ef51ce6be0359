"""Portraits made to speak at levels, and what a tracker and judges see of it: what ``benchmarks
levels --generate`` measures.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from emo_lightning.core.constants import FPS, frames_for
from emo_lightning.core.errors import UserError
from emo_lightning.face.builtin import BuiltinFaceModel
from emo_lightning.face.coefficients import EXP_NAMES, Coefficients
from emo_lightning.face.crop import crop_box, crop_image, to_crop
from emo_lightning.face.portrait import Portrait, load_portrait
from emo_lightning.media.audio_reader import load_audio
from emo_lightning.media.loudness import levelled
from emo_lightning.media.spectrogram import log_mel
from emo_lightning.motion.emotion_track import EmotionTrack
from emo_lightning.motion.emotions import EMOTIONS, NEUTRAL, SIGNATURE_UNITS
from emo_lightning.renderers.base import stream
from emo_lightning.renderers.registry import create
from evaluation.judges.action_units import with_shapes
from evaluation.judges.blendshapes import blendshapes
from evaluation.judges.emotion import EmotionJudge
from evaluation.judges.geometry import FEATURES, interocular, measure
from evaluation.judges.landmark_track import check_faces, own_box
from evaluation.judges.landmarks import LandmarkJudge
from evaluation.metrics.level_response import LevelResponse, level_response

LEVELS = tuple(range(1, 16))
SIGNATURE_FEATURES: Mapping[str, Mapping[str, int]] = {
    "angry": {"brow_in": -1, "brow_out": -1},
    "contempt": {"corner_left": 1, "corner_width": 1},
    "disgusted": {"nose_lip": -1, "brow_in": -1},
    "fear": {"brow_in": 1, "corner_width": 1},
    "happy": {"corner_width": 1, "corner_height": 1},
    "sad": {"brow_in": 1, "corner_height": -1},
    "surprised": {"brow_in": 1, "brow_out": 1, "lip_open": 1},
}
"""The distances by which points show each emotion's signature units, and which way they go: what
the fit of single units makes of AU4, AU6, AU9, AU14 and AU23 is weak. ``corner_left`` is the height
of the subject's left mouth corner against the nose's root."""
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
SIDES = {"right": 61, "left": 291}
"""The mouth corners on the subject's own sides."""
LIDS = ("AU45_L", "AU45_R")
JUDGE_EVERY = 3
"""Others' judges look at so many of the frames that the tracker sees."""


@dataclass(frozen=True)
class Seen:
    """A clip as seen: features by name, and each judge's probabilities ``(8,)``."""

    portrait: str
    emotion: str
    level: float
    features: dict[str, float]
    answers: dict[str, np.ndarray]


@dataclass
class Speaker:
    """A portrait, ready to be drawn."""

    name: str
    portrait: Portrait
    source: Any


@dataclass
class Booth:
    """What is opened once: the talker, the renderer, the tracker and the judges.

    Args:
        talker: drives the faces.
        every: look at every so many frames; only these are drawn.
        others: others' judges of emotion, see :mod:`evaluation.suite.emotion`.
    """

    talker: Any
    every: int = 3
    others: Sequence[Any] = ()
    renderer: Any = field(default_factory=lambda: create("mesh"))
    tracker: LandmarkJudge = field(default_factory=LandmarkJudge)

    def __post_init__(self) -> None:
        import torch

        self.judges = {
            outsider.label: (outsider.open(torch.device("cpu")), outsider.view.size)
            for outsider in self.others
        }

    def seat(self, path: Path, size: int) -> Speaker:
        """Read a portrait and get it ready."""
        portrait = load_portrait(path, size, "--portraits")
        return Speaker(path.stem, portrait, self.renderer.prepare(portrait))

    def speak(
        self,
        speaker: Speaker,
        wave: np.ndarray,
        emotion: str,
        level: float,
        head_motion: bool = False,
    ) -> Coefficients:
        """What the talker makes of a recording for the portrait."""
        track = EmotionTrack.constant(emotion, level)
        mel, source = [log_mel(levelled(wave))], speaker.portrait.coefficients
        pieces = self.talker.generate(
            mel, source, track, head_motion=head_motion, total_frames=frames_for(len(wave))
        )
        return Coefficients.from_joined(
            self.talker.layout, np.concatenate([piece.joined() for piece in pieces])
        )

    def draw(self, speaker: Speaker, coefficients: Coefficients) -> Iterator[np.ndarray]:
        """The frames."""
        return stream(self.renderer, speaker.source, [coefficients])

    def look(
        self, speaker: Speaker, wave: np.ndarray, emotion: str, level: float, judged: bool
    ) -> Seen:
        """Let the portrait speak, and track the frames that are looked at."""
        spoken = self.speak(speaker, wave, emotion, level)
        frames = list(self.draw(speaker, spoken.frames(slice(0, None, self.every))))
        self.tracker.start()
        points = np.stack([self.tracker.place(frame) for frame in frames])
        check_faces(points, f"{speaker.name}, {emotion} {level:g}")
        seen = np.isfinite(points[:, 0, 0])
        features = dict(zip(FEATURES, measure(points[seen]).mean(axis=0).tolist(), strict=True))
        expression = units(points[seen], speaker.portrait.coefficients["id"][0]).mean(axis=0)
        features |= dict(zip(EXP_NAMES, expression.tolist(), strict=True)) | corner_rise(
            points[seen]
        )
        answers = {}
        if judged:
            answers["emotion-blend"] = EmotionJudge.load().probabilities(blendshapes(points))
            kept = [(frames[i], points[i]) for i in np.flatnonzero(seen)[::JUDGE_EVERY]]
            answers |= {
                name: _ask(judge, kept, size) for name, (judge, size) in self.judges.items()
            }
        return Seen(speaker.name, emotion, level, features, answers)


def units(points: np.ndarray, identity: np.ndarray) -> np.ndarray:
    """Expression coefficients ``(T, 28)`` of one clip's points ``(T, 478, 3)`` in pixels, on the
    portrait's identity ``(40,)``.

    An identity fitted to the clip itself would take up whatever the face shows throughout, which is
    the emotion.
    """
    placed = to_crop(points, own_box(points))
    return with_shapes(
        BuiltinFaceModel.load().fit(placed, identity=identity).coefficients["exp"],
        blendshapes(placed),
    )


def corner_rise(points: np.ndarray) -> dict[str, float]:
    """Mean height of each mouth corner against the nose's root, along the face's axis, in outer
    eye-corner distances.
    """
    p = points[..., :2].astype(np.float64)
    axis = p[:, 10] - p[:, 152]
    axis /= np.linalg.norm(axis, axis=-1, keepdims=True)
    nose = p[:, 168]
    return {
        f"corner_{side}": float((((p[:, i] - nose) * axis).sum(-1) / interocular(p)).mean())
        for side, i in SIDES.items()
    }


def _ask(judge: Any, kept: Sequence[tuple[np.ndarray, np.ndarray]], size: int) -> np.ndarray:
    from evaluation.judges.face_crops import clip_probabilities, frame_probabilities

    rows = []
    for frame, points in kept:
        box = crop_box(points)
        rows.append(
            frame_probabilities(
                judge,
                crop_image(frame, box, size)[None],
                ((to_crop(points, box) + 1) / 2 * size)[None],
            )
        )
    mean = clip_probabilities(np.concatenate(rows))
    return np.full(len(EMOTIONS), np.nan) if mean is None else mean


def pictures(places: Iterable[Path]) -> list[Path]:
    """Pictures named, and those in the folders named."""
    found = []
    for place in places:
        if place.is_dir():
            found += sorted(path for path in place.iterdir() if path.suffix.lower() in PICTURES)
        else:
            found.append(place)
    if not found:
        raise UserError(
            "--portraits",
            ", ".join(map(str, places)),
            f"pictures ({', '.join(PICTURES)}) or folders of them",
            "holds none",
        )
    return found


def recording(path: Path, seconds: float) -> np.ndarray:
    """The first seconds of a recording's speech, 16 kHz."""
    wave = load_audio(path, "--audio")
    loud = np.flatnonzero(np.abs(wave) > 0.1 * np.abs(wave).max())
    start = max(int(loud[0]) - 1600, 0) if len(loud) else 0
    return wave[start : start + int(seconds * 16000)]


def responses(seen: Sequence[Seen], emotion: str, portrait: str) -> dict[str, LevelResponse]:
    """Each feature's response on one portrait, and ``signature``: the sum of the signed signature
    features.
    """
    own = [s for s in seen if s.emotion == emotion and s.portrait == portrait]
    levels = [s.level for s in own]
    signs = SIGNATURE_FEATURES[emotion]
    rows = {name: [s.features[name] for s in own] for name in own[0].features}
    rows["signature"] = [sum(sign * s.features[name] for name, sign in signs.items()) for s in own]
    return {name: level_response(levels, values) for name, values in rows.items()}


def signature_names(emotion: str) -> list[str]:
    """Names under which an emotion's signature units are in :attr:`Seen.features`."""
    return [
        name
        for unit in SIGNATURE_UNITS[emotion]
        for name in EXP_NAMES
        if name == unit or name in (f"{unit}_L", f"{unit}_R")
    ]


def without_blinks(spoken: Coefficients) -> Coefficients:
    """The same with open lids, for single frames to look at."""
    exp = spoken["exp"].copy()
    exp[:, [i for i, name in enumerate(EXP_NAMES) if name in LIDS]] = 0.0
    return spoken.replace(exp=exp)


def moments(booth: Booth, speaker: Speaker, wave: np.ndarray) -> tuple[int, int]:
    """Frames of the recording at which the neutral face's lips are closed and at their widest, away
    from both ends.
    """
    spoken = without_blinks(booth.speak(speaker, wave, EMOTIONS[NEUTRAL], 1))
    points = BuiltinFaceModel.load().vertices(spoken)
    gap = points[:, 14, 1] - points[:, 13, 1]
    margin = int(0.3 * FPS)
    inner = gap[margin:-margin]
    opened = int(inner.argmax())
    # The closure nearest to the widest moment, so that the voice is in the middle of a sentence in
    # both.
    closed = np.flatnonzero(inner <= np.quantile(inner, 0.1))
    return margin + int(closed[np.abs(closed - opened).argmin()]), margin + opened
