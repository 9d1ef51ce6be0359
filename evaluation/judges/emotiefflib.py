"""EmotiEffLib's emotion network (A. Savchenko, HSEmotion): eight emotions of AffectNet, an
EfficientNet-B0 by OpenCV.

The weights are not shipped: put ``enet_b0_8_best_vgaf.onnx``, or another of that project's networks
with eight classes and a face of 224 x 224 under this name, into the folder that ``EMO_ASSETS``
names.

Input as there: RGB over 255, ImageNet's mean and deviation, the face's box stretched to a square.
There MTCNN finds the box; here it is derived from the 68 landmarks.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch

from emo_lightning.core import assets
from emo_lightning.core.errors import UserError
from evaluation.judges.base import JudgeInfo, file_info
from evaluation.judges.face_crops import cut, grow, outline, softmax

NAME = "emotiefflib"
SIDE = 224
CLASSES = ("angry", "contempt", "disgusted", "fear", "happy", "neutral", "sad", "surprised")
"""The network's order, by our names."""
MEAN, DEVIATION = np.float32((0.485, 0.456, 0.406)), np.float32((0.229, 0.224, 0.225))
WIDTH, HEIGHT, RISE = 0.98, 1.3, 0.14
"""MTCNN's box over that of the 68 landmarks, and its centre's height above theirs in heights of
theirs."""


def describe() -> JudgeInfo:
    """Name and weights, without opening them; UserError where they are absent."""
    about = "the user's EmotiEffLib network, eight emotions, box by landmarks"
    return file_info(NAME, assets.locate(NAME), about)


class EmotiEffJudge:
    """Emotions of faces by EmotiEffLib's network; OpenCV runs it on the CPU.

    Raises:
        UserError: its weights are absent, or are no network of eight classes for faces of 224 x
        224.
    """

    classes = CLASSES

    def __init__(self, device: torch.device | None = None) -> None:
        del device
        path = assets.locate(NAME)
        try:
            self._net = cv2.dnn.readNetFromONNX(str(path))
            found = self._scores(np.zeros((1, SIDE, SIDE, 3), np.uint8)).shape
            problem = "" if found == (1, len(CLASSES)) else f"gives {found[1:]} numbers a face"
        except cv2.error as error:
            problem = f"cannot be used ({str(error).strip().splitlines()[0][:120]})"
        if problem:
            accepted = "an ONNX network of eight classes for faces of 224 x 224"
            raise UserError(f"asset {NAME}", path, accepted, problem)

    def cut(self, picture: np.ndarray, points: np.ndarray) -> np.ndarray:
        """The face ``(224, 224, 3)`` in an image with 68 points."""
        return cut(picture, grow(outline(points), WIDTH, HEIGHT, RISE), SIDE, SIDE)

    def probabilities(self, faces: np.ndarray) -> np.ndarray:
        """``(B, 8)`` in the order of :data:`CLASSES` for faces ``(B, 224, 224, 3)`` uint8 RGB."""
        # One by one: a file may fix the batch size at one, and no answer may depend on the others.
        return softmax(np.concatenate([self._scores(face[None]) for face in faces]))

    def _scores(self, faces: np.ndarray) -> np.ndarray:
        scaled = (faces.astype(np.float32) / 255 - MEAN) / DEVIATION
        self._net.setInput(scaled.transpose(0, 3, 1, 2))
        return self._net.forward().copy()
