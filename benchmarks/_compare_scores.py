"""Scores of drawn frames by the evaluation's own metrics and judges: beside the truth, or beside
who drove them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from emo_lightning.core.constants import FPS
from emo_lightning.core.errors import UserError
from emo_lightning.face.builtin import LIPS
from emo_lightning.face.crop import CropBox
from emo_lightning.motion.emotions import EMOTIONS
from emo_lightning.renderers.mesh.geometry.topology import OVAL, VERTICES
from evaluation.judges import emotion, face_embedding
from evaluation.judges.base import JudgeInfo
from evaluation.judges.blendshapes import blendshapes
from evaluation.judges.emotion import EmotionJudge
from evaluation.judges.face_embedding import FaceEmbeddingJudge
from evaluation.judges.geometry import FEATURES
from evaluation.judges.image_networks import (
    describe_lpips,
    describe_st_lpips,
    open_lpips,
    open_st_lpips,
)
from evaluation.judges.landmark_track import Judges, Track, judge_infos
from evaluation.metrics.csim import csim
from evaluation.metrics.jitter import jitter
from evaluation.metrics.landmark_distance import landmark_distance
from evaluation.metrics.psnr import from_squared_error, squared_error
from evaluation.metrics.ssim import ssim
from evaluation.suite.motion import head_angles

LIPS_MARGIN = 0.06
"""Crop units around the lips' landmarks that count as lips."""
NETWORKS_EVERY, SHIFTS_EVERY = 5, 10
"""As in the evaluation: embeddings and LPIPS of every 5th frame, ST-LPIPS of every 10th."""
LEAST_SEEN = 3
"""Frames with both faces below which nothing is said of how one follows the other."""
LEAST_CHANGE = 1e-4
"""Spread below which a track stands still and correlates with nothing."""
Scores = dict[str, float]
Distance = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Column:
    """One score: heading, unit and whether more is better (None: to be near the truth's)."""

    label: str
    unit: str
    better: bool | None
    places: int = 2


SELF: Mapping[str, Column] = {
    "psnr": Column("PSNR, whole", "dB", True),
    "psnr_face": Column("PSNR, face", "dB", True),
    "psnr_lips": Column("PSNR, lips", "dB", True),
    "ssim": Column("SSIM, whole", "", True, 3),
    "ssim_face": Column("SSIM, face", "", True, 3),
    "ssim_lips": Column("SSIM, lips", "", True, 3),
    "lpips": Column("LPIPS (AlexNet)", "", False, 3),
    "st_lpips": Column("ST-LPIPS", "", False, 3),
    "face_error": Column("face landmarks off", "% IOD", False),
    "lip_error": Column("lip landmarks off", "% IOD", False),
    "lip_open": Column("lip opening follows, r", "", True),
    "eye_open": Column("eye opening follows, r", "", True),
    "csim": Column("identity, CSIM (SFace)", "", True, 3),
    "jitter": Column("jitter, landmarks", "IOD/s²", None),
    "flicker": Column("jitter, pixels", "grey levels", None),
}
CROSS: Mapping[str, Column] = {
    "csim": Column("identity, CSIM (SFace)", "", True, 3),
    "units": Column("action units follow, r", "", True),
    "lip_open": Column("lip opening follows, r", "", True),
    "lip_gain": Column("lip opening, of the driver's", "", None),
    "eye_open": Column("eye opening follows, r", "", True),
    "emotion": Column("emotion seen as the driver's", "share", True),
    "turn": Column("head turn off", "°", False),
    "jitter": Column("jitter, landmarks", "IOD/s²", None),
    "flicker": Column("jitter, pixels", "grey levels", None),
}


@dataclass
class TrackedVideo:
    """Frames ``(T, S, S, 3)`` uint8 of one clip, and what the landmark judge saw in them."""

    frames: np.ndarray
    track: Track
    known: dict[str, np.ndarray] = field(default_factory=dict)
    """What was found once and is asked again for every row."""

    @property
    def seen(self) -> np.ndarray:
        return self.track.seen


class Judging:
    """The judges, each opened once; ``missing`` says of a score why it cannot be had here."""

    def __init__(self) -> None:
        self._judges, self._emotions = Judges(), EmotionJudge.load()
        self.missing: dict[str, str] = {}
        self.infos: list[JudgeInfo] = [*judge_infos(), emotion.describe()]
        self._faces = self._open(
            "csim", lambda: face_embedding.describe("sface"), lambda: FaceEmbeddingJudge("sface")
        )
        shifts = self._open("st_lpips", describe_st_lpips, open_st_lpips)
        patches = self._open(
            "lpips",
            lambda: describe_lpips("alex"),
            lambda: open_lpips("alex"),
        )
        self._distances = {"lpips": (patches, NETWORKS_EVERY), "st_lpips": (shifts, SHIFTS_EVERY)}

    def _open(
        self, score: str, describe: Callable[[], JudgeInfo], make: Callable[[], object]
    ) -> object | None:
        try:
            self.infos.append(describe())
            return make()
        except (UserError, OSError) as error:
            self.missing[score] = str(error)
            return None

    def close(self) -> None:
        self._judges.close()

    def watch(self, frames: np.ndarray) -> TrackedVideo:
        """Find the face in every frame."""
        half = frames.shape[1] / 2
        self._judges.landmarks.start()
        points = np.stack([self._judges.landmarks.place(frame) for frame in frames])
        return TrackedVideo(
            frames,
            Track(
                points, (frames.shape[2], frames.shape[1]), CropBox(half, half, half), self._judges
            ),
        )

    def embeddings(self, video: TrackedVideo) -> np.ndarray | None:
        """Who is seen in every 5th frame, ``(n, E)``, nan without a face."""
        if self._faces is not None and "faces" not in video.known:
            video.known["faces"] = self._faces.embed_faces(
                video.frames[::NETWORKS_EVERY], video.track.points[::NETWORKS_EVERY]
            )
        return video.known.get("faces")

    def beside_truth(self, drawn: TrackedVideo, truth: TrackedVideo) -> Scores:
        """Scores of :data:`SELF`; what cannot be said is nan."""
        found = {
            **pictures(drawn, truth),
            **landmarks(drawn, truth),
            **openings(drawn, truth),
            **steadiness(drawn),
        }
        return {
            **found,
            **self._distance(drawn, truth),
            "csim": _similarity(self.embeddings(drawn), self.embeddings(truth)),
        }

    def beside_driver(
        self, drawn: TrackedVideo, driver: TrackedVideo, portrait: TrackedVideo
    ) -> Scores:
        """Scores of :data:`CROSS`: it should look like the portrait and move like the driver."""
        mine, own = self.embeddings(drawn), self.embeddings(portrait)
        found = {
            "csim": _similarity(
                mine, None if own is None or mine is None else np.repeat(own[:1], len(mine), axis=0)
            )
        }
        found |= {**following(drawn, driver), **openings(drawn, driver), **steadiness(drawn)}
        return {**found, "emotion": float(self._label(drawn) == self._label(driver))}

    def _label(self, video: TrackedVideo) -> str | None:
        if not video.seen.any():
            return None
        return EMOTIONS[
            int(np.argmax(self._emotions.probabilities(blendshapes(video.track.points))))
        ]

    def _distance(self, drawn: TrackedVideo, truth: TrackedVideo) -> Scores:
        found = {}
        for name, (judge, every) in self._distances.items():
            if judge is not None:
                pairs = (
                    tuple(_batch(video.frames[t : t + 1]) for video in (drawn, truth))
                    for t in range(0, len(truth.frames), every)
                )
                found[name] = float(torch.cat([judge.distance(*pair) for pair in pairs]).mean())
        return found


def pictures(drawn: TrackedVideo, truth: TrackedVideo) -> Scores:
    """PSNR (of the pooled squared error) and SSIM of the whole square, and of face and lips where
    they truly are.
    """
    errors: dict[str, list[float]] = {part: [] for part in ("", "_face", "_lips")}
    likeness: dict[str, list[float]] = {part: [] for part in errors}
    for t in np.flatnonzero(truth.seen):
        for part, box in regions(truth, t).items():
            a, b = (_batch(video.frames[t : t + 1][:, box[0], box[1]]) for video in (drawn, truth))
            errors[part].append(float(squared_error(a, b)))
            likeness[part].append(float(ssim(a, b)))
    psnr = {
        f"psnr{part}": float(from_squared_error(torch.tensor(np.mean(found))))
        for part, found in errors.items()
    }
    return {**psnr, **{f"ssim{part}": float(np.mean(found)) for part, found in likeness.items()}}


def regions(truth: TrackedVideo, frame: int) -> dict[str, tuple[slice, slice]]:
    """Rows and columns of the whole, the face's oval's box and the lips' box in one frame."""
    size = truth.frames.shape[1]
    found = {"": (slice(0, size), slice(0, size))}
    for part, rows, margin in (("_face", list(OVAL), 0.0), ("_lips", list(LIPS), LIPS_MARGIN)):
        points = truth.track.in_crop[frame, rows, :2]
        low, high = (
            ((v + 1) * size / 2).astype(int)
            for v in (points.min(axis=0) - margin, points.max(axis=0) + margin)
        )
        (left, top), (right, bottom) = np.clip(low, 0, size - 11), np.clip(high, 11, size)
        found[part] = (slice(top, max(bottom, top + 11)), slice(left, max(right, left + 11)))
    return found


def landmarks(drawn: TrackedVideo, truth: TrackedVideo) -> Scores:
    """How far landmarks lie from the truth's, in percent of its eye-corner distance: all 468, and
    the lips'.
    """
    both = drawn.seen & truth.seen
    if not both.any():
        return {"face_error": np.nan, "lip_error": np.nan}
    unit = torch.tensor(truth.track.interocular)
    found = {}
    for name, rows in (("face_error", list(range(VERTICES))), ("lip_error", list(LIPS))):
        sides = (
            torch.from_numpy(video.track.in_crop[both][:, rows, :2]) for video in (drawn, truth)
        )
        found[name] = 100.0 * float(landmark_distance(*sides, unit).mean())
    return found


def steadiness(video: TrackedVideo) -> Scores:
    """Mean second difference in time: of the 68 landmarks, and of the pixels."""
    inner = np.diff(video.frames.astype(np.int16), 2, axis=0)
    found = {"flicker": float(np.abs(inner).mean()), "jitter": np.nan}
    if video.seen.all():
        found["jitter"] = float(
            jitter(
                torch.from_numpy(video.track.points_68), torch.tensor(video.track.interocular), FPS
            ).mean()
        )
    return found


def following(drawn: TrackedVideo, driver: TrackedVideo) -> Scores:
    """How the drawn face moves beside the driver's: all action units together, and the head's turn
    since the beginning.
    """
    both = drawn.seen & driver.seen
    if both.sum() < LEAST_SEEN:
        return {"units": np.nan, "turn": np.nan}
    units = [video.track.units[both] for video in (drawn, driver)]
    mine, theirs = (_turned(video)[both[video.seen]] for video in (drawn, driver))
    return {"units": correlation(*units), "turn": float(np.degrees(np.abs(mine - theirs)).mean())}


def openings(drawn: TrackedVideo, driver: TrackedVideo) -> Scores:
    """Correlation of lip and eye opening with the driver's, and the slope of the lips'."""
    both = drawn.seen & driver.seen
    if both.sum() < LEAST_SEEN:
        return {"lip_open": np.nan, "lip_gain": np.nan, "eye_open": np.nan}
    columns = [list(FEATURES).index(name) for name in ("lip_open", "eye_open")]
    mine, theirs = (video.track.geometry[both][:, columns] for video in (drawn, driver))
    lips, eyes = (correlation(mine[:, i], theirs[:, i]) for i in range(2))
    gain = lips * float(mine[:, 0].std() / theirs[:, 0].std()) if np.isfinite(lips) else np.nan
    return {"lip_open": lips, "lip_gain": gain, "eye_open": eyes}


def _turned(video: TrackedVideo) -> np.ndarray:
    """Head angles ``(N, 3)`` since the first of the N frames with a face."""
    angles = head_angles(video.track)
    return angles - angles[0]


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's r of two tracks ``(T,)`` or ``(T, U)``, each column about its own mean; nan where
    one stands still.
    """
    a, b = (track.astype(np.float64) - track.mean(axis=0) for track in (a, b))
    spread = np.sqrt(np.square(a).mean() * np.square(b).mean())
    return float((a * b).mean() / spread) if min(a.std(), b.std()) > LEAST_CHANGE else np.nan


def _similarity(mine: np.ndarray | None, theirs: np.ndarray | None) -> float:
    """Mean cosine of the frames in which both show a face."""
    if mine is None or theirs is None:
        return np.nan
    both = np.isfinite(mine[:, 0]) & np.isfinite(theirs[:, 0])
    return (
        float(csim(torch.from_numpy(mine[both]), torch.from_numpy(theirs[both])).mean())
        if both.any()
        else np.nan
    )


def _batch(frames: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2)))
