"""The built-in linear face model: MediaPipe's 468 vertices, 28 named expression directions, 40 identity directions.

Model space: unit = distance of the outer eye corners of the mean face (IOD), origin at the nasion (vertex 168), x to the
image's right, y down, z into the scene. Camera: scaled orthographic; ``trans`` is (tx, ty, log s) in crop units, so that
``p = s * R @ v + (tx, ty, 0)``. :mod:`emo_lightning.face.build_builtin` says where the numbers come from.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from importlib.resources import files

import numpy as np

from emo_lightning.coefficients import BUILTIN, Coefficients, Layout
from emo_lightning.face.fit import Problem, solve
from emo_lightning.face.landmarks import LANDMARKS_68
from emo_lightning.face.model import FitResult
from emo_lightning.face.pose import angles, rotation

VERTICES = 468
RIGID = {33: 8, 133: 8, 362: 8, 263: 8, 168: 6, 6: 6, 197: 4, 195: 3, 5: 2, 4: 2, 127: 1, 356: 1, 234: 1, 454: 1, 10: 1, 151: 1, 9: 1}
"""Vertices that sit on bone, and how much the pose trusts each; all others count 0.02."""
LIPS = (
    0, 13, 14, 17, 37, 39, 40, 61, 78, 80, 81, 82, 84, 87, 88, 91, 95, 146, 178, 181, 185, 191, 267, 269, 270, 291, 308, 310,
    311, 312, 314, 317, 318, 321, 324, 375, 402, 405, 409, 415,
)  # fmt: skip
EYELIDS = (
    7, 33, 133, 144, 145, 153, 154, 155, 157, 158, 159, 160, 161, 163, 173, 246,
    249, 263, 362, 373, 374, 380, 381, 382, 384, 385, 386, 387, 388, 390, 398, 466,
)  # fmt: skip
BROWS = (46, 52, 53, 55, 63, 65, 66, 70, 105, 107, 276, 282, 283, 285, 293, 295, 296, 300, 334, 336)


class BuiltinFaceModel:
    """See the module; made by :meth:`load`.

    Attributes:
        mean: ``(468, 3)``; triangles: ``(898, 3)``; exp_basis: ``(28, 468, 3)``; id_basis: ``(40, 468, 3)``, unit variance.
        landmarks_68: vertices that stand for the iBUG 68 points.
    """

    layout: Layout = BUILTIN
    landmarks_68 = LANDMARKS_68

    def __init__(self, mean: np.ndarray, triangles: np.ndarray, exp_basis: np.ndarray, id_basis: np.ndarray) -> None:
        self.mean, self.triangles, self.exp_basis, self.id_basis = mean, triangles, exp_basis, id_basis

    @staticmethod
    @lru_cache(maxsize=1)
    def load() -> BuiltinFaceModel:
        """The model that ships with the package."""
        with files("emo_lightning.face").joinpath("assets/builtin.npz").open("rb") as stream:
            arrays = np.load(stream, allow_pickle=False)
            parts = [arrays[name].astype(np.float32) for name in ("mean", "exp_basis", "id_basis")]
            return BuiltinFaceModel(parts[0], arrays["triangles"].astype(np.int32), parts[1], parts[2])

    def vertices(self, coefficients: Coefficients) -> np.ndarray:
        """Shape before pose, ``(T, 468, 3)`` in model space."""
        self.layout.check_same(coefficients.layout, "the built-in face model", "the coefficients")
        flat = coefficients["id"] @ self.id_basis.reshape(len(self.id_basis), -1) + coefficients["exp"] @ self.exp_basis.reshape(
            len(self.exp_basis), -1
        )
        return self.mean + flat.reshape(-1, VERTICES, 3)

    def project(self, coefficients: Coefficients) -> np.ndarray:
        """Posed shape, ``(T, 468, 3)`` in crop units."""
        trans = coefficients["trans"]
        turned = np.einsum("tij,tvj->tvi", rotation(coefficients["angle"]), self.vertices(coefficients))
        posed = turned * np.exp(trans[:, 2])[:, None, None]
        posed[..., :2] += trans[:, None, :2]
        return posed.astype(np.float32)

    def fit(self, points: np.ndarray, identity: np.ndarray | None = None) -> FitResult:
        """Coefficients from landmarks; texture is left at zero (see :mod:`emo_lightning.face.texture`).

        Args:
            points: ``(T, 478|468, 3)`` MediaPipe landmarks, or ``(T, 68, 2|3)`` iBUG landmarks, in crop units.
            identity: ``(40,)`` to keep fixed; estimated once for the clip when None.

        Raises:
            ValueError: another number of landmarks, or values that are not finite.
        """
        points = np.asarray(points)
        if points.ndim != 3 or not np.isfinite(points).all():
            raise ValueError(f"landmarks must be finite and (T, N, 3), not {points.shape}")
        if points.shape[1] in (468, 478):
            found = solve(self._dense, points[:, :VERTICES], identity)
        elif points.shape[1] == 68:
            found = solve(self._sparse, points[..., :2], identity)
        else:
            raise ValueError(f"{points.shape[1]} landmarks given; accepted: 478, 468 or 68")
        trans = np.concatenate([found.shift[:, :2], np.log(found.scale)[:, None]], 1)
        values = {
            "id": np.repeat(found.identity[None], len(points), 0),
            "exp": found.exp,
            "tex": np.zeros((len(points), self.layout.width("tex"))),
            "angle": angles(found.turn),
            "trans": trans,
        }
        return FitResult(Coefficients(self.layout, values), found.residual.astype(np.float32))

    @cached_property
    def _dense(self) -> Problem:
        weights, rigid = np.ones(VERTICES), np.full(VERTICES, 0.02)
        weights[list(LIPS)], weights[list(EYELIDS)], weights[list(BROWS)] = 6.0, 4.0, 2.0
        rigid[list(RIGID)] = list(RIGID.values())
        return Problem(self.mean, self.exp_basis, self.id_basis, weights, rigid)

    @cached_property
    def _sparse(self) -> Problem:
        rows, dense = self.landmarks_68, self._dense
        rigid = np.full(68, 0.05)
        rigid[[36, 39, 42, 45]], rigid[27:31] = 8.0, 4.0
        return Problem(self.mean[rows], self.exp_basis[:, rows], self.id_basis[:, rows], dense.weights[rows], rigid)
