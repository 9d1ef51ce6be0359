"""From coefficients to the portrait's own vertices in motion.

The portrait's landmarks carry its identity exactly; coefficients only say by how much they move:
the difference between the frame's expression and the portrait's own. Where a linear sum would part
lips that touch in the driver, press them through each other, or close eyes of another size by too
much or too little, the gap itself is transferred.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from emo_lightning.face.builtin import RIGID, BuiltinFaceModel
from emo_lightning.face.coefficients import EXP_NAMES, Coefficients
from emo_lightning.renderers.mesh.geometry import topology
from emo_lightning.renderers.mesh.geometry.coordinates import Pose, smoothstep
from emo_lightning.renderers.mesh.geometry.expression_basis import (
    photographic_basis,
    shown_intensities,
)

INNER = slice(1, -1)
"""Rows of lids and lips without their corners."""
TOUCH, PARTED = 0.012, 0.04
"""IOD of the driver's widest gap below which lips touch, and above which it is transferred."""
LIP_REACH = 0.09
"""IOD over which the flesh of a lip follows its inner edge."""
SHUT, AJAR = 0.28, 0.7
"""Shares of the mean face's eye opening: as tracked on closed lids, and where it is right."""
THIN, CLOSE = 0.4, 0.5
"""Least share of its own height to which a lip is pressed, and of its rows' distances."""
OWN_LID_FLOOR = 0.35
"""Least eye opening of a portrait's own fit, as a share of the mean face's."""
SMILE = [EXP_NAMES.index("AU12_R"), EXP_NAMES.index("AU12_L")]
NO_SMILE = [EXP_NAMES.index(name) for name in ("AU1_L", "AU4", "AU9", "AU10", "AU15", "AU20")]
"""Units of emotions that contradict a smile."""
SMILE_LIFT, MOST_SMILE = 0.09, 0.05
"""IOD by which AU12 lifts a mouth's corner, and the most that is taken for a portrait's smile."""


def unposed(
    points: np.ndarray, coefficients: Coefficients, model: BuiltinFaceModel
) -> tuple[np.ndarray, Pose]:
    """The portrait's points upright in model space, and its pose.

    A tracker's depth has its own origin; it is moved to the model's, so that heads turn about the
    neck.

    Args:
        points: ``(468, 3)`` crop units.
        coefficients: the portrait's own, one frame.
        model: gives the depth's origin.
    """
    pose = Pose.of(coefficients, 0)
    bones, weights = list(RIGID), np.array(list(RIGID.values()), np.float64)
    fitted = model.project(coefficients)[0, bones, 2]
    points = points.astype(np.float64).copy()
    points[:, 2] -= np.average(points[bones, 2] - fitted, weights=weights)
    return pose.undo(points), pose


class Retarget:
    """Moves one portrait's vertices; see the module.

    Args:
        rest, cleared: from
            :func:`emo_lightning.renderers.mesh.geometry.landmark_refinement.snap_lips`.
        exp: ``(E,)`` the portrait's own expression.
        model: its directions and mean.
        identity: ``(I,)`` the portrait's own, zeros without.
        rigid: ``(468,)`` share of the expression's motion that vertices below glasses do not take.
    """

    def __init__(
        self, rest: np.ndarray, cleared: np.ndarray, exp: np.ndarray, model: BuiltinFaceModel,
        identity: np.ndarray | None = None, rigid: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        self.rest, self.cleared, self.exp = rest, cleared, exp.astype(np.float64)
        self.own, self.rigid = shown_intensities(self.exp), rigid
        self.identity_basis = model.id_basis.reshape(len(model.id_basis), -1)
        self.identity = np.zeros(len(model.id_basis), np.float32) if identity is None else identity
        self.basis = photographic_basis(model).reshape(len(exp), -1)
        self.mean = model.mean.astype(np.float64)
        self.spread = _lip_spread(self.mean)
        self.own_gap = _gap(rest, topology.LIP_INNER_UPPER, topology.LIP_INNER_LOWER)
        self.own_lids = [_gap(rest, *eye) for eye in topology.EYES]
        lip_rows = [np.stack([row[INNER] for row in rows]) for rows in topology.LIP_ROWS]
        self.lip_rows = [(rows, rest[rows, 1].astype(np.float64)) for rows in lip_rows]
        own = self.mean + self._delta(self.own)
        self.hidden_smile = np.zeros(len(exp))
        corners, lips = self.neutral[[61, 291], 1], self.neutral[[13, 14], 1].mean()
        lift = np.clip((lips - corners) - (self.mean[13, 1] - self.mean[61, 1]), 0.0, MOST_SMILE)
        self.hidden_smile[SMILE] = lift / SMILE_LIFT
        self.fit_gap = _gap(own, topology.LIP_INNER_UPPER, topology.LIP_INNER_LOWER)
        self.mean_lids = [_gap(self.mean, *eye) for eye in topology.EYES]
        fitted = zip([_gap(own, *eye) for eye in topology.EYES], self.mean_lids, strict=True)
        self.fit_lids = [_visible_opening(*gaps) for gaps in fitted]

    @property
    def neutral(self) -> np.ndarray:
        """The portrait's shape with its own expression taken off, ``(468, 3)``."""
        return self.rest - self._delta(self.own)

    def vertices(self, exp: np.ndarray, identity: np.ndarray | None = None) -> np.ndarray:
        """The portrait's shape with an absolute expression, ``(468, 3)`` model space.

        Args:
            exp: ``(E,)``.
            identity: ``(I,)``; the shape moves by its difference from the portrait's own, while
                lips and lids meet as the expression says.
        """
        exp = exp.astype(np.float64)
        shown = shown_intensities(exp)
        moved = self.rest + self._delta(shown - self.own - self._contradicted_smile(exp))
        if identity is not None and not np.array_equal(identity, self.identity):
            change = (identity - self.identity).astype(np.float64)
            moved += (change @ self.identity_basis).reshape(-1, 3)
        driver = self.mean + self._delta(shown)
        self._transfer_lip_gap(moved, driver)
        self._transfer_lid_gap(moved, driver)
        for rows, own in self.lip_rows:
            _order_lip_rows(moved, rows, own)
        if self.rigid is not None:
            moved -= self.rigid[:, None] * (moved - self.rest)
        return moved

    def _delta(self, exp: np.ndarray) -> np.ndarray:
        return (exp @ self.basis).reshape(-1, 3)

    def _contradicted_smile(self, exp: np.ndarray) -> np.ndarray:
        """The smile ``(E,)`` in the portrait's shape, as far as the expression contradicts it."""
        asked = float(np.max((exp - self.exp)[NO_SMILE]))
        return self.hidden_smile * smoothstep(0.0, 0.6, asked)

    def _transfer_lip_gap(self, moved: np.ndarray, driver: np.ndarray) -> None:
        upper, lower = topology.LIP_INNER_UPPER, topology.LIP_INNER_LOWER
        gap = _gap(driver, upper, lower)
        parted = min(PARTED, float(self.fit_gap.max()))
        share = smoothstep(min(TOUCH, parted - 0.01), parted, float(gap.max()))
        tracked = self.own_gap - self.cleared
        wanted = np.maximum(tracked + gap - self.fit_gap, 0.0) * share
        wanted += self.cleared * np.minimum(wanted / np.maximum(tracked, 1e-6), 1.0)
        excess = _gap(moved, upper, lower) - wanted
        moved[:, 1] += self.spread @ excess

    def _transfer_lid_gap(self, moved: np.ndarray, driver: np.ndarray) -> None:
        rows = zip(topology.EYES, topology.LID_ROWS, strict=True)
        gaps = zip(self.own_lids, self.fit_lids, self.mean_lids, strict=True)
        for ((upper, lower), (crease, fold)), (own, fitted, mean) in zip(rows, gaps, strict=True):
            base = np.maximum(fitted, OWN_LID_FLOOR * mean)
            ratio = 1.0 + (_visible_opening(_gap(driver, upper, lower), mean) - fitted) / base
            excess = _gap(moved, upper, lower) - own * np.clip(ratio, 0.0, 1.6)
            # Each lid takes the share that it has in the expression: cheeks raise the lower one.
            fall, rise = (np.abs(moved[r, 1] - self.rest[r, 1]).sum() for r in (upper, lower))
            share = (fall + 1e-6) / (fall + rise + 1e-6)
            moved[upper[INNER], 1] += share * excess
            moved[crease[INNER], 1] += 0.3 * share * excess
            moved[lower[INNER], 1] -= (1.0 - share) * excess
            moved[fold[INNER], 1] -= 0.3 * (1.0 - share) * excess


def _gap(vertices: np.ndarray, upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """Vertical opening between two rows without their corners; negative where they cross."""
    return (vertices[lower[INNER], 1] - vertices[upper[INNER], 1]).astype(np.float64)


def _visible_opening(gap: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """An eye's opening in the picture, from a tracked one and that of the mean face."""
    share = gap / mean
    return np.where(share >= AJAR, gap, np.maximum(share - SHUT, 0.0) * AJAR / (AJAR - SHUT) * mean)


@njit(cache=True)
def _order_lip_rows(moved: np.ndarray, rows: np.ndarray, own: np.ndarray) -> None:
    """Keep a lip's rows ``(4, 9)`` in order, in place, where its border moves faster than the rest.

    Folded over each other they would fray the border. ``own`` are their heights in the portrait,
    from border to inner edge.
    """
    for k in range(rows.shape[1]):
        height = own[3, k] - own[0, k]
        if abs(height) < 1e-4:
            continue
        sign = 1.0 if height > 0 else -1.0
        border, edge = moved[rows[0, k], 1], moved[rows[3, k], 1]
        border -= sign * max(THIN * abs(height) - sign * (edge - border), 0.0)
        now = edge - border
        before, before_own = 0.0, 0.0
        for j in (1, 2):
            share = (moved[rows[j, k], 1] - border) / now
            share_own = (own[j, k] - own[0, k]) / height
            high = max(1.0 - CLOSE * (1.0 - share_own), share_own)
            low = min(before + min(CLOSE * (share_own - before_own), share_own - before_own), high)
            before, before_own = min(max(share, low), high), share_own
            moved[rows[j, k], 1] = border + before * now
        moved[rows[0, k], 1] = border


def _lip_spread(mean: np.ndarray) -> np.ndarray:
    """Motion down ``(468, 9)`` of each vertex for a unit gap closed at each inner lip pair."""
    spread = np.zeros((topology.VERTICES, len(topology.LIP_INNER_UPPER) - 2))
    seam = mean[topology.LIP_INNER_UPPER[INNER]]
    offset = mean[:, None, :2] - seam[None, :, :2]
    near = np.exp(-np.square(offset[..., 0] / 0.05)) + 1e-12
    near /= near.sum(axis=1, keepdims=True)
    fade = np.exp(-np.square(np.linalg.norm(offset, axis=2).min(axis=1) / LIP_REACH))
    side = np.where(offset[..., 1].mean(axis=1) < 0, 0.45, -0.55)
    spread[:] = near * (fade * side * (fade > 0.01))[:, None]
    for rows, amount in ((topology.LIP_INNER_UPPER, 0.45), (topology.LIP_INNER_LOWER, -0.55)):
        spread[rows] = 0.0
        spread[rows[INNER], np.arange(spread.shape[1])] = amount
    return spread
