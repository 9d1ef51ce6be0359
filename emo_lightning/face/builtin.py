"""The built-in linear face model: MediaPipe's 468 vertices, 28 expressions, 40 identity directions.

Model space: unit = distance of the outer eye corners of the mean face (IOD), origin at the nasion
(vertex 168), x to the image's right, y down, z into the scene. Camera: scaled orthographic;
``trans`` is (tx, ty, log s) in crop units, so that ``p = s * R @ v + (tx, ty, 0)``.
:mod:`tools.face_model` builds it.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter1d

from emo_lightning.face.coefficients import AU_NAMES, BUILTIN, EXP_NAMES, Coefficients, Layout
from emo_lightning.face.fit import Prior, Problem, solve
from emo_lightning.face.landmarks import LANDMARKS_68
from emo_lightning.face.model import FitResult
from emo_lightning.face.pose import angles, rotation
from emo_lightning.face.regions import BROWS, EYELIDS, LIPS, VERTICES

ASSET = Path(__file__).parent / "assets" / "builtin.npz"
RIGID = {
    33: 8, 133: 8, 362: 8, 263: 8, 168: 6, 6: 6, 197: 4, 195: 3, 5: 2, 4: 2, 127: 1, 356: 1, 234: 1,
    454: 1, 10: 1, 151: 1, 9: 1,
}  # fmt: skip
"""Vertices on bone, and their weight for the pose; all others have 0.02."""

WELL_SEEN = tuple(name for name in AU_NAMES if name not in ("AU17", "AU23"))
PRIOR = Prior(
    id_ridge=3e-6,
    exp_ridge=5e-6,
    sparsity=np.where([name.split("_")[0] in WELL_SEEN for name in EXP_NAMES], 2e-5, 5e-5),
    low=0.0,
    high=1.2,
)
"""Tuned on people at rest; speech shapes, and units that others imitate, cost more."""


def rigid_weights() -> np.ndarray:
    """``(468,)`` weight of each vertex for the pose."""
    weights = np.full(VERTICES, 0.02)
    weights[list(RIGID)] = list(RIGID.values())
    return weights


class BuiltinFaceModel:
    """See the module; made by :meth:`load`.

    Attributes:
        mean: ``(468, 3)``; triangles: ``(852, 3)``, holes at eyes and mouth.
        exp_basis: ``(28, 468, 3)``; id_basis: ``(40, 468, 3)``, unit variance.
        landmarks_68: vertices that stand for the iBUG 68 points.
    """

    layout: Layout = BUILTIN
    landmarks_68 = LANDMARKS_68

    def __init__(
        self, mean: np.ndarray, triangles: np.ndarray, exp_basis: np.ndarray, id_basis: np.ndarray
    ) -> None:
        self.mean, self.triangles = mean, triangles
        self.exp_basis, self.id_basis = exp_basis, id_basis

    @staticmethod
    @lru_cache(maxsize=1)
    def load() -> BuiltinFaceModel:
        """The model that ships with the package."""
        with np.load(ASSET, allow_pickle=False) as arrays:
            parts = [arrays[name].astype(np.float32) for name in ("mean", "exp_basis", "id_basis")]
            return BuiltinFaceModel(
                parts[0], arrays["triangles"].astype(np.int32), parts[1], parts[2]
            )

    def vertices(self, coefficients: Coefficients) -> np.ndarray:
        """Shape before pose, ``(T, 468, 3)`` in model space."""
        self.layout.check_same(coefficients.layout, "the built-in face model", "the coefficients")
        flat = coefficients["id"] @ self.id_basis.reshape(len(self.id_basis), -1) + coefficients[
            "exp"
        ] @ self.exp_basis.reshape(len(self.exp_basis), -1)
        return self.mean + flat.reshape(-1, VERTICES, 3)

    def project(self, coefficients: Coefficients) -> np.ndarray:
        """Posed shape, ``(T, 468, 3)`` in crop units."""
        trans = coefficients["trans"]
        turned = np.einsum(
            "tij,tvj->tvi", rotation(coefficients["angle"]), self.vertices(coefficients)
        )
        posed = turned * np.exp(trans[:, 2])[:, None, None]
        posed[..., :2] += trans[:, None, :2]
        return posed.astype(np.float32)

    def fit(
        self, points: np.ndarray, identity: np.ndarray | None = None, smooth: float = 0.0
    ) -> FitResult:
        """Coefficients from landmarks; texture is zero (see :mod:`emo_lightning.face.texture`).

        Args:
            points: ``(T, 478|468, 3)`` MediaPipe or ``(T, 68, 2|3)`` iBUG landmarks in crop units;
            of
                the 68 only x and y are used.
            identity: ``(40,)`` to keep fixed; estimated once for the clip when None.
            smooth: standard deviation in frames of a Gaussian over time on expression and pose; 0
                for none.

        Raises:
            ValueError: another number of landmarks, or values that are not finite.
        """
        points = np.asarray(points)
        if points.ndim != 3 or not len(points) or not np.isfinite(points).all():
            raise ValueError(f"landmarks must be finite and (T, N, 3), not {points.shape}")
        if points.shape[1] in (468, 478):
            problem, points = self._dense, points[:, :VERTICES]
        elif points.shape[1] == 68:
            problem, points = self._sparse, points[..., :2]
        else:
            raise ValueError(f"{points.shape[1]} landmarks given; accepted: 478, 468 or 68")
        found = solve(problem, points, identity)
        moving = np.concatenate(
            [found.exp, angles(found.turn), found.shift[:, :2], np.log(found.scale)[:, None]], 1
        )
        if smooth > 0:
            moving = gaussian_filter1d(moving, smooth, axis=0, mode="nearest")
        exp, angle, trans = np.split(moving, [len(self.exp_basis), len(self.exp_basis) + 3], 1)
        texture = np.zeros((len(points), self.layout.width("tex")))
        values = {
            "id": np.repeat(found.identity[None], len(points), 0),
            "exp": exp,
            "tex": texture,
            "angle": angle,
            "trans": trans,
        }
        coefficients = Coefficients(self.layout, values)
        model = self.project(coefficients)
        placed = model[:, self.landmarks_68] if points.shape[1] == 68 else model
        distance = np.linalg.norm(placed[..., :2] - points[..., :2], axis=-1).mean(-1)
        return FitResult(coefficients, (distance / np.exp(trans[:, 2])).astype(np.float32))

    def lookalike(self, spread: float = 0.1) -> np.ndarray:
        """The most likely identity that resembles an expression, ``(40, 28)``: ``lookalike @ exp``.

        Regularised least squares over all vertices; ``spread`` (IOD, over the whole face) is the
        error that one standard deviation of identity is worth.
        """
        own, wanted = (
            basis.reshape(len(basis), -1).astype(np.float64)
            for basis in (self.id_basis, self.exp_basis)
        )
        return np.linalg.solve(own @ own.T + spread**2 * np.eye(len(own)), own @ wanted.T).astype(
            np.float32
        )

    @cached_property
    def _dense(self) -> Problem:
        weights = np.ones(VERTICES)
        weights[LIPS], weights[EYELIDS], weights[BROWS] = 6.0, 4.0, 2.0
        return Problem(self.mean, self.exp_basis, self.id_basis, weights, rigid_weights(), PRIOR)

    @cached_property
    def _sparse(self) -> Problem:
        rows, dense = self.landmarks_68, self._dense
        rigid = np.full(68, 0.05)
        rigid[[36, 39, 42, 45]], rigid[27:31] = 8.0, 4.0
        return Problem(
            self.mean[rows],
            self.exp_basis[:, rows],
            self.id_basis[:, rows],
            dense.weights[rows],
            rigid,
            PRIOR,
            depth=False,
        )
