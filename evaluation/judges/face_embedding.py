"""Face embedding judges of identity: SFace from a package, the user's own ArcFace network, or
dlib's.

SFace and ArcFace take a face of 112 x 112 pixels, aligned by five points (eyes, nose, mouth
corners) with InsightFace's template. dlib (D. King, 2017; ``pip install --no-deps dlib-bin
face_recognition_models``) aligns the face itself by 68 points, which here are MediaPipe's. Its
embeddings were trained for distances, so their cosines lie close together: a CSIM by dlib has a
scale of its own.
"""

from __future__ import annotations

import importlib
import importlib.util
from functools import lru_cache

import cv2
import numpy as np

from emo_lightning.core import assets
from emo_lightning.core.errors import UserError
from emo_lightning.core.provenance import sha256_of
from emo_lightning.face.landmarks import to_68
from evaluation.judges.base import JudgeInfo
from evaluation.protocol import Unavailable

SIDE = 112
_TEMPLATE = (
    38.2946,
    51.6963,
    73.5318,
    51.5014,
    56.0252,
    71.7366,
    41.5493,
    92.3655,
    70.7299,
    92.2041,
)
TEMPLATE = np.array(_TEMPLATE).reshape(5, 2)
"""Left and right eye in the picture, tip of the nose, left and right corner of the mouth, in pixels
of the aligned face."""
EYES = ((33, 133, 159, 145), (263, 362, 386, 374))
NOSE, CORNERS = 4, (61, 291)
NETWORKS = {
    "sface": "SFace, 128 numbers (OpenCV Zoo, 8-bit weights)",
    "arcface": "the user's ArcFace network",
    "dlib": "dlib's face embedding, 128 numbers, aligned by 68 landmarks",
}
ASSETS = {"dlib": "dlib_face"}
"""Asset names that differ from the network's."""
DLIB_SIZE, DLIB_SIDE, DLIB_PADDING = 128, 150, 0.25


def five_points(points: np.ndarray) -> np.ndarray:
    """The template's points from the 478; ``(478, 2 or more)`` -> ``(5, 2)``. The eyes are the
    middle of their corners and lids."""
    eyes = [points[list(eye), :2].mean(axis=0) for eye in EYES]
    return np.stack([*eyes, points[NOSE, :2], *(points[i, :2] for i in CORNERS)]).astype(np.float64)


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The rotation, scale and shift ``(2, 3)`` that moves points ``(P, 2)`` nearest to others (S.
    Umeyama, PAMI 13(4), 1991).

    In the plane, with complex numbers, it is a straight line's least squares.
    """
    a, b = (points[:, 0] + 1j * points[:, 1] for points in (source, target))
    factor = np.vdot(a - a.mean(), b - b.mean()) / np.vdot(a - a.mean(), a - a.mean())
    shift = b.mean() - factor * a.mean()
    return np.array(
        [[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]]
    )


def align(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The face ``(112, 112, 3)`` of a picture ``(H, W, 3)`` with points ``(478, 2 or more)`` in its
    pixels."""
    # OpenCV counts from the middle of a pixel, the points from its corner; the template was made in
    # OpenCV's way.
    matrix = similarity(five_points(points) - 0.5, TEMPLATE)
    return cv2.warpAffine(
        image, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
    )


@lru_cache(maxsize=3)
def describe(network: str) -> JudgeInfo:
    """Name and weights of ``sface``, ``arcface`` or ``dlib``, without opening them.

    Raises:
        Unavailable: the package dlib is not installed.
        UserError: its weights are absent.
    """
    if network == "dlib" and importlib.util.find_spec("dlib") is None:
        install = "pip install --no-deps dlib-bin face_recognition_models==0.3.0"
        raise Unavailable(f"the package dlib is not installed ({install})")
    path = assets.locate(ASSETS.get(network, network))
    return JudgeInfo(network, sha256_of(path), NETWORKS[network])


class FaceEmbeddingJudge:
    """Embeddings of faces.

    Args:
        network: sface or arcface.

    Raises:
        UserError: its weights are nowhere, or are no network of faces of 112 x 112.
    """

    def __init__(self, network: str) -> None:
        self.info = describe(network)
        path = assets.locate(network)
        try:
            # OpenCV 5's newer engine refuses SFace's 8-bit weights, which the file also names as
            # inputs.
            self._net = cv2.dnn.readNetFromONNX(str(path), cv2.dnn.ENGINE_CLASSIC)
            self._centre, self._scale = (0.0, 1.0) if network == "sface" else (127.5, 1 / 127.5)
            self.size = self.embed(np.zeros((1, SIDE, SIDE, 3), np.uint8)).shape[1]
        except (cv2.error, IndexError) as error:
            why = str(error).strip().splitlines()[0][:120]
            accepted = "an ONNX network of faces of 112 x 112"
            raise UserError(f"asset {network}", path, accepted, f"cannot be used ({why})") from None

    def embed(self, faces: np.ndarray) -> np.ndarray:
        """Embeddings ``(B, E)`` float32 of aligned faces ``(B, 112, 112, 3)`` uint8 RGB."""
        blob = cv2.dnn.blobFromImages(
            list(faces), self._scale, (SIDE, SIDE), (self._centre,) * 3, swapRB=False, crop=False
        )
        self._net.setInput(blob)
        return self._net.forward().reshape(len(faces), -1).astype(np.float32)

    def embed_faces(self, images: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Embeddings ``(B, E)`` of the faces at ``points`` (B, 478, 3) in pictures ``(B, H, W, 3)``
        uint8 RGB; nan where there is none."""
        found = np.full((len(images), self.size), np.nan, np.float32)
        seen = np.isfinite(points[:, 0, 0])
        if seen.any():
            pairs = zip(images[seen], points[seen], strict=True)
            found[seen] = self.embed(np.stack([align(image, face) for image, face in pairs]))
        return found


class DlibFaceJudge:
    """Embeddings of faces by dlib; raises as :func:`describe`."""

    def __init__(self) -> None:
        self.info = describe("dlib")
        self._dlib = importlib.import_module("dlib")
        self._net = self._dlib.face_recognition_model_v1(str(assets.locate(ASSETS["dlib"])))

    def embed_faces(self, images: np.ndarray, points: np.ndarray) -> np.ndarray:
        """As :meth:`FaceEmbeddingJudge.embed_faces`, ``(B, 128)``."""
        found = np.full((len(images), DLIB_SIZE), np.nan, np.float32)
        for i in np.flatnonzero(np.isfinite(points[:, 0, 0])):
            found[i] = self._net.compute_face_descriptor(self._chip(images[i], to_68(points[i])))
        return found

    def _chip(self, picture: np.ndarray, points: np.ndarray) -> np.ndarray:
        """The face ``(150, 150, 3)`` as dlib cuts it."""
        # dlib counts whole pixels from their middle.
        places = [self._dlib.point(int(x), int(y)) for x, y in np.rint(points[:, :2] - 0.5)]
        low, high = np.floor(points[:, :2].min(axis=0)), np.ceil(points[:, :2].max(axis=0))
        box = self._dlib.rectangle(*(int(v) for v in (*low, *high)))
        shape = self._dlib.full_object_detection(box, places)
        return self._dlib.get_face_chip(
            np.ascontiguousarray(picture), shape, DLIB_SIDE, DLIB_PADDING
        )
