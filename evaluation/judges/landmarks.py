"""The landmark judge: where the face is in each frame."""

from __future__ import annotations

import numpy as np

from emo_lightning.core import assets
from emo_lightning.face.detection import FaceConfirmer
from emo_lightning.face.landmarks import open_landmarker
from evaluation.judges.base import JudgeInfo

POINTS = 478


def describe() -> JudgeInfo:
    """Who this judge is, without opening it."""
    digest = assets.get("face_landmarker").sha256
    return JudgeInfo(
        "mediapipe-478", digest, "MediaPipe face landmarker, 478 points, still-image mode"
    )


class LandmarkJudge:
    """MediaPipe's 478 points of each frame; among several faces, the one nearest to the frame
    before. A face that does not continue the frame before is confirmed."""

    def __init__(self) -> None:
        self.info = describe()
        self._landmarker = open_landmarker("mediapipe", max_faces=2)
        self._confirmer = FaceConfirmer(self._landmarker)
        self._centre: np.ndarray | None = None

    def start(self) -> None:
        """Forget the clip before."""
        self._centre = None

    def place(self, frame: np.ndarray) -> np.ndarray:
        """Points of the next frame ``(H, W, 3)`` uint8 RGB: ``(478, 3)`` float32 pixels, all nan
        without a face."""
        faces = self._landmarker.detect(frame)
        if self._centre is None:
            faces = self._confirmer.confirm(frame, faces)
        if not faces:
            return np.full((POINTS, 3), np.nan, np.float32)
        centres = [face.points[:, :2].mean(axis=0) for face in faces]
        nearest = (
            0
            if self._centre is None
            else int(np.argmin([np.linalg.norm(c - self._centre) for c in centres]))
        )
        self._centre = centres[nearest]
        return faces[nearest].points.astype(np.float32)

    def close(self) -> None:
        """Free the network."""
        self._landmarker.close()
