"""BFM-2009 in Deep3DFaceRecon's layout, from the user's own ``BFM_model_front.mat``.

Coefficients keep Deep3D's numbers (Deng et al., *CVPRW* 2019): 257 = id 80, exp 64, tex 80,
angle 3, gamma 27, trans 3. A vertex is ``v = R (mean + I id + E exp) + trans`` with
``R = Rz Ry Rx``, x right, y up, z towards the camera; the camera is at z = 10 and projects to
``112 + 1015 v / (10 - v_z)`` in a 224 x 224 picture. So pitch and yaw have the built-in model's
signs, roll the opposite. Crop units take that picture as [-1, 1].
"""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path

import numpy as np
import scipy.io

from emo_lightning.core.atomic_files import move_into_place
from emo_lightning.core.errors import UserError
from emo_lightning.face.coefficients import BFM, Coefficients, Layout
from emo_lightning.face.fit import Prior, Problem, solve
from emo_lightning.face.landmarks import to_68
from emo_lightning.face.model import FitResult
from emo_lightning.face.pose import angles, rotation

FOCAL, CENTRE, DISTANCE = 1015.0, 112.0, 10.0
FLIP = np.array([1.0, -1.0, -1.0])
"""Deep3D's axes to the image's: y down, z away."""
COEFFICIENT_KEYS = ("coeff", "full_3dmm_coeff")
"""What coefficient files call the ``(T, 257)`` array."""
MODEL_KEYS = {"meanshape": None, "idBase": 80, "exBase": 64, "tri": None, "keypoints": 68}
PRIOR = Prior(id_ridge=2e-5, exp_ridge=2e-5)
ROUNDS = 3


class BFMFaceModel:
    """The user's BFM-2009; made by :meth:`load`.

    Attributes:
        mean: ``(V, 3)`` about its own centre, in Deep3D's axes.
        triangles: ``(F, 3)``; landmarks_68: ``(68,)``.
        id_basis: ``(80, V, 3)``; exp_basis: ``(64, V, 3)``.
    """

    layout: Layout = BFM

    def __init__(
        self,
        mean: np.ndarray,
        triangles: np.ndarray,
        id_basis: np.ndarray,
        exp_basis: np.ndarray,
        landmarks_68: np.ndarray,
    ) -> None:
        self.mean, self.triangles, self.landmarks_68 = mean, triangles, landmarks_68
        self.id_basis, self.exp_basis = id_basis, exp_basis

    @staticmethod
    def load(path: str | Path, argument: str = "--face-model") -> BFMFaceModel:
        """Read ``BFM_model_front.mat``.

        Raises:
            UserError: not a MATLAB file, or not this one.
        """
        accepted = f"BFM_model_front.mat of Deep3DFaceRecon, with {', '.join(MODEL_KEYS)}"
        data = _read_mat(path, tuple(MODEL_KEYS), argument, accepted)
        missing = [key for key in MODEL_KEYS if key not in data]
        if missing:
            raise UserError(argument, path, accepted, f"lacks {', '.join(missing)}")
        mean = data["meanshape"].astype(np.float32).reshape(-1, 3)
        bases = [data[key].astype(np.float32) for key in ("idBase", "exBase")]
        for key, base in zip(("idBase", "exBase"), bases, strict=True):
            if base.shape != (mean.size, MODEL_KEYS[key]):
                raise UserError(
                    argument,
                    path,
                    f"{key} of shape {(mean.size, MODEL_KEYS[key])}",
                    f"has {key} of shape {base.shape}",
                )
        triangles, marks = (
            data["tri"].astype(np.int64).reshape(-1, 3) - 1,
            data["keypoints"].astype(np.int64).ravel() - 1,
        )
        if (
            len(marks) != 68
            or min(triangles.min(), marks.min()) < 0
            or max(triangles.max(), marks.max()) >= len(mean)
        ):
            raise UserError(
                argument, path, accepted, "has keypoints or triangles that name no vertex"
            )
        id_basis, exp_basis = (
            np.ascontiguousarray(base.T).reshape(-1, *mean.shape) for base in bases
        )
        return BFMFaceModel(
            mean - mean.mean(0),
            triangles.astype(np.int32),
            id_basis,
            exp_basis,
            marks.astype(np.int32),
        )

    def vertices(self, coefficients: Coefficients) -> np.ndarray:
        """Shape before pose, ``(T, V, 3)`` in Deep3D's unit and axes."""
        self.layout.check_same(coefficients.layout, "the BFM face model", "the coefficients")
        flat = coefficients["id"] @ self.id_basis.reshape(80, -1) + coefficients[
            "exp"
        ] @ self.exp_basis.reshape(64, -1)
        return self.mean + flat.reshape(len(coefficients), -1, 3)

    def project(self, coefficients: Coefficients) -> np.ndarray:
        """``(T, V, 3)`` in crop units: x right, y down, z away from the camera, 0 at the centre."""
        turned = self.vertices(coefficients) @ np.swapaxes(
            _deep3d_rotation(coefficients["angle"]), 1, 2
        )
        trans = coefficients["trans"][:, None]
        placed = turned + trans
        depth = DISTANCE - placed[..., 2:]
        plane = FOCAL / CENTRE * placed[..., :2] * FLIP[:2] / depth
        away = -FOCAL / CENTRE * turned[..., 2:] / (DISTANCE - trans[..., 2:])
        return np.concatenate([plane, away], -1).astype(np.float32)

    def fit(self, points: np.ndarray, identity: np.ndarray | None = None) -> FitResult:
        """Identity, expression and pose from landmarks; texture and light stay zero.

        Perspective is corrected with the depths of the last round, which leaves the scaled
        orthographic problem of :mod:`emo_lightning.face.fit`.

        Args:
            points: ``(T, 68|468|478, 2|3)`` in crop units; only x and y of the 68 are used.
            identity: ``(80,)`` to keep fixed; estimated once for the clip when None.

        Raises:
            ValueError: another number of landmarks, or values that are not finite.
        """
        points = np.asarray(points, np.float64)
        if (
            points.ndim != 3
            or points.shape[1] not in (68, 468, 478)
            or not len(points)
            or not np.isfinite(points).all()
        ):
            raise ValueError(
                f"landmarks must be finite and (T, 68|468|478, 2|3), not {points.shape}"
            )
        plane = to_68(points)[..., :2]
        corrected, coefficients = plane, None
        for _ in range(ROUNDS):
            found = solve(self._problem, corrected, identity)
            coefficients = self._coefficients(
                found.identity,
                found.exp,
                found.turn,
                found.shift / found.scale[:, None],
                found.scale,
            )
            corrected = plane * self._relative_depth(coefficients)[..., None]
        distance = np.linalg.norm(
            self.project(coefficients)[:, self.landmarks_68, :2] - plane, axis=-1
        ).mean(-1)
        unit = np.linalg.norm(np.subtract(*self._problem.mean[[36, 45]]))
        return FitResult(coefficients, (distance / (found.scale * unit)).astype(np.float32))

    def _coefficients(
        self,
        identity: np.ndarray,
        exp: np.ndarray,
        turn: np.ndarray,
        shift: np.ndarray,
        scale: np.ndarray,
    ) -> Coefficients:
        """From image axes and scaled orthography to Deep3D's camera."""
        count = len(exp)
        trans = shift * FLIP
        trans[:, 2] = DISTANCE - FOCAL / CENTRE / scale
        values = {
            "id": np.repeat(identity[None], count, 0),
            "exp": exp,
            "tex": np.zeros((count, 80)),
            "angle": angles(turn) * [1.0, 1.0, -1.0],
            "gamma": np.zeros((count, 27)),
            "trans": trans,
        }
        return Coefficients(self.layout, values)

    def _relative_depth(self, coefficients: Coefficients) -> np.ndarray:
        """``(T, 68)`` distance of each landmark from the camera over that of the model's centre."""
        marks = self.vertices(coefficients)[:, self.landmarks_68]
        towards = np.einsum("tj,tnj->tn", _deep3d_rotation(coefficients["angle"])[:, 2], marks)
        return 1.0 - towards / (DISTANCE - coefficients["trans"][:, 2:])

    @cached_property
    def _problem(self) -> Problem:
        rows = self.landmarks_68
        weights, rigid = np.ones(68), np.full(68, 0.05)
        weights[48:68], weights[36:48] = 4.0, 3.0
        rigid[[36, 39, 42, 45]], rigid[27:36], rigid[0:17] = 8.0, 4.0, 0.3
        mean, exp, identity = (
            array[..., rows, :] * FLIP for array in (self.mean, self.exp_basis, self.id_basis)
        )
        return Problem(mean, exp, identity, weights, rigid, PRIOR, depth=False)


def read_deep3d_mat(path: str | Path, argument: str = "--coefficients") -> Coefficients:
    """Coefficients that Deep3DFaceRecon (or a project that uses it) wrote.

    Args:
        path: a ``.mat`` with ``coeff`` or ``full_3dmm_coeff``, ``(T, 257)``.
        argument: what the user calls the file.

    Raises:
        UserError: not a MATLAB file, no such array, another width or type, values not finite.
    """
    accepted = (
        f"a MATLAB file with {' or '.join(COEFFICIENT_KEYS)}, numbers of shape (T, {BFM.size})"
    )
    data = _read_mat(path, COEFFICIENT_KEYS, argument, accepted)
    if not data:
        raise UserError(argument, path, accepted, "holds no such array")
    array = next(data[key] for key in COEFFICIENT_KEYS if key in data)
    if array.ndim != 2 or array.shape[1] != BFM.size or not len(array):
        raise UserError(argument, path, accepted, f"holds an array of shape {array.shape}")
    if not np.isfinite(array).all():
        raise UserError(argument, path, accepted, "holds values that are not finite")
    return Coefficients.from_joined(BFM, array.astype(np.float32))


def write_deep3d_mat(path: str | Path, coefficients: Coefficients) -> None:
    """Write BFM coefficients as ``coeff (T, 257)``; the file appears whole."""
    BFM.check_same(coefficients.layout, "a Deep3D file", "the coefficients")
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            scipy.io.savemat(file, {COEFFICIENT_KEYS[0]: coefficients.joined()})
        move_into_place(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _read_mat(
    path: str | Path, names: tuple[str, ...], argument: str, accepted: str
) -> dict[str, np.ndarray]:
    """The named numeric arrays of a MATLAB file; cells and objects are refused before reading."""
    try:
        with Path(path).open("rb") as file:
            kinds = {name: kind for name, _, kind in scipy.io.whosmat(file) if name in names}
            odd = [
                name
                for name, kind in kinds.items()
                if kind in ("cell", "struct", "object", "opaque", "function", "char", "unknown")
            ]
            if odd:
                raise UserError(
                    argument, path, accepted, f"has {', '.join(odd)} that is no numeric array"
                )
            file.seek(0)
            data = scipy.io.loadmat(file, variable_names=list(kinds))
    except OSError as error:
        raise UserError(
            argument, path, accepted, f"cannot be read ({error.strerror or error})"
        ) from None
    except NotImplementedError:
        raise UserError(
            argument, path, accepted, "is of MATLAB's version 7.3, an HDF5 file: save it with -v7"
        ) from None
    except UserError:
        raise
    except Exception as error:  # a damaged file makes scipy raise whatever its parser met
        raise UserError(
            argument, path, accepted, f"is not a MATLAB file ({type(error).__name__})"
        ) from None
    return {name: np.asarray(data[name]) for name in kinds if name in data}


def _deep3d_rotation(angle: np.ndarray) -> np.ndarray:
    """Deep3D's ``Rz Ry Rx`` in its own axes (y up, z to the camera), ``(T, 3, 3)``."""
    ours = rotation(angle * np.array([1.0, 1.0, -1.0]))
    return ours * FLIP[:, None] * FLIP[None]
