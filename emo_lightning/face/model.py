"""The interface of face models: a mean, a layout, projection and the fit from landmarks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from emo_lightning.face.coefficients import Coefficients, Layout


@dataclass(frozen=True)
class FitResult:
    """Coefficients of a clip, and the error of the fit.

    Attributes:
        coefficients: one row a frame; identity is shared by the clip.
        residual: ``(T,)`` mean distance of landmarks and model in the image plane, in IOD.
    """

    coefficients: Coefficients
    residual: np.ndarray


class FaceModel(Protocol):
    """A linear face model: vertices are a mean plus identity and expression directions."""

    layout: Layout
    mean: np.ndarray
    triangles: np.ndarray
    landmarks_68: np.ndarray

    def vertices(self, coefficients: Coefficients) -> np.ndarray:
        """``(T, V, 3)`` in model space, before pose."""
        ...

    def project(self, coefficients: Coefficients) -> np.ndarray:
        """``(T, V, 3)`` in crop units, after pose."""
        ...

    def fit(self, points: np.ndarray, identity: np.ndarray | None = None) -> FitResult:
        """Coefficients from ``(T, 478|468, 3)`` or ``(T, 68, 2|3)`` landmarks in crop units."""
        ...
