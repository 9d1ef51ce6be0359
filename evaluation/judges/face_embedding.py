"""Face embedding judges: who is this? SFace from a package, or the user's own ArcFace network.

Both look at a face of 112 x 112 pixels, turned, scaled and moved so that five points (eyes, nose,
corners of the mouth) lie where the networks were trained to see them (InsightFace's template).
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from emo_lightning.core import assets
from emo_lightning.core.errors import UserError
from emo_lightning.core.provenance import sha256_of
from evaluation.judges.base import JudgeInfo

SIDE = 112
TEMPLATE = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ]
)
"""Left and right eye in the picture, tip of the nose, left and right corner of the mouth, in pixels
of the aligned face."""
EYES = ((33, 133, 159, 145), (263, 362, 386, 374))
NOSE, CORNERS = 4, (61, 291)
NETWORKS = {
    "sface": "SFace, 128 numbers (OpenCV Zoo, 8-bit weights)",
    "arcface": "the user's ArcFace network",
}


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


@lru_cache(maxsize=2)
def describe(network: str) -> JudgeInfo:
    """Who this judge is, without opening it.

    Raises:
        UserError: its weights are nowhere.
    """
    return JudgeInfo(network, sha256_of(assets.locate(network)), NETWORKS[network])


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
            raise UserError(
                f"asset {network}",
                path,
                "an ONNX network of faces of 112 x 112",
                f"cannot be used ({why})",
            ) from None

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
