"""The action-unit judge: the built-in face model fitted to the landmark judge's points."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from importlib.resources import files

import numpy as np

from emo_lightning.coefficients import AU_NAMES, EXP_NAMES, read_aus
from emo_lightning.emotions import SIGNATURE_UNITS
from emo_lightning.face.builtin import BuiltinFaceModel
from evaluation.judges.base import JudgeInfo

UNITS = AU_NAMES


@lru_cache(maxsize=4)
def describe(tracker: JudgeInfo) -> JudgeInfo:
    """Who this judge is, without opening it; the hash is that of the face model's file."""
    weights = files("emo_lightning.face").joinpath("assets", "builtin.npz").read_bytes()
    about = f"built-in linear face model fitted to {tracker.name}; intensity 0..1 (1 is FACS grade E)"
    return JudgeInfo(f"builtin-fit on {tracker.name}", hashlib.sha256(weights).hexdigest(), about)


class ActionUnitJudge:
    """Seventeen AU intensities and the 28 named expression coefficients under them, one identity a clip."""

    def __init__(self, tracker: JudgeInfo) -> None:
        self._model = BuiltinFaceModel.load()
        self.info = describe(tracker)

    def expression(self, points: np.ndarray) -> np.ndarray:
        """Expression coefficients ``(T, 28)`` of one clip's points ``(T, 478, 3)`` in crop units."""
        return self._model.fit(points).coefficients["exp"]

    def units(self, expression: np.ndarray) -> np.ndarray:
        """AU intensities ``(T, 17)`` in the order of :data:`UNITS`."""
        return read_aus(expression)


def signature(expression: np.ndarray, emotion: str) -> float | None:
    """How strongly a mean expression ``(28,)`` shows an emotion's own units: their mean intensity; None for neutral."""
    wanted = SIGNATURE_UNITS.get(emotion)
    if wanted is None:
        return None
    values = []
    for unit in wanted:
        sides = [i for i, name in enumerate(EXP_NAMES) if name == unit or name in (f"{unit}_L", f"{unit}_R")]
        values.append(float(np.mean(expression[sides])))
    return float(np.mean(values))
