"""Mouth opening and width, and how well predicted lips follow tracked ones.

Opening is the gap of the inner lips (vertices 13, 14), width the distance of the mouth corners (61,
291), in the upright head, in outer eye-corner distances. Correlation and amplitude are of movement
within blocks, so that a tracker's slow drift does not count; the error is of the values themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from emo_lightning.face.builtin import BuiltinFaceModel
from emo_lightning.face.coefficients import Coefficients
from emo_lightning.face.pose import rotation

NAMES = ("opening", "width")
VERTICES = [13, 14, 61, 291]
"""Upper and lower inner lip, right and left mouth corner."""
RESAMPLES = 2000
CLOSED = 0.03
"""Predicted opening below which the lips count as closed."""
TOUCHING, APART = 0.02, 0.08
"""Tracked openings below which lips touch, and above which they are surely apart."""
CLOSURE_TOLERANCE = 2
"""Frames either side in which the predicted lips may close."""
MIN_CLOSURES = 5


def lips_of_points(points: np.ndarray, coefficients: Coefficients) -> np.ndarray:
    """``(T, 2)`` of tracked landmarks ``(T, N, 3)``, made upright and scaled by the fitted pose."""
    corners = points[:, VERTICES].astype(np.float64)
    upright = np.einsum("tji,tnj->tni", rotation(coefficients["angle"]), corners)
    return _opening_and_width(upright / np.exp(coefficients["trans"][:, 2])[:, None, None])


def lips_of_shape(coefficients: Coefficients) -> np.ndarray:
    """``(T, 2)`` of the built-in model's shape."""
    return lips_of_expression(coefficients["id"], coefficients["exp"])


def lips_of_expression(identity: np.ndarray, exp: np.ndarray) -> np.ndarray:
    """``(T, 2)`` of expressions ``(T, 28)`` on an identity ``(1 or T, 40)``."""
    mean, id_basis, exp_basis = _lip_model()
    points = mean + np.atleast_2d(identity) @ id_basis + exp @ exp_basis
    return _opening_and_width(points.reshape(len(exp), -1, 3))


@lru_cache(maxsize=1)
def _lip_model() -> list[np.ndarray]:
    """The face model at the lips: mean ``(1, 12)``, identity ``(40, 12)``, exp ``(28, 12)``."""
    model = BuiltinFaceModel.load()
    parts = (model.mean[None], model.id_basis, model.exp_basis)
    return [part[:, VERTICES].reshape(len(part), -1).astype(np.float64) for part in parts]


def _opening_and_width(points: np.ndarray) -> np.ndarray:
    upper, lower, right, left = np.moveaxis(points, 1, 0)
    return np.stack([lower[:, 1] - upper[:, 1], np.linalg.norm(left - right, axis=-1)], axis=1)


@dataclass(frozen=True)
class LipScore:
    """Opening and width, ``(2,)`` each.

    Attributes:
        r: correlation of predicted and tracked lips.
        amplitude: predicted spread over the tracked one.
        error: RMS error over the tracked spread.
        frames: number of frames.
    """

    r: np.ndarray
    amplitude: np.ndarray
    error: np.ndarray
    frames: int

    def to_dict(self) -> dict[str, object]:
        """Plain values, rounded."""
        names = ("r", "amplitude", "error")
        values = {name: [round(float(v), 4) for v in getattr(self, name)] for name in names}
        return {**values, "frames": self.frames}


@dataclass(frozen=True)
class ScoreSums:
    """Sums over the frames of each piece, ``(pieces, 2)`` each; any set of pieces has a score."""

    predicted: np.ndarray
    tracked: np.ndarray
    product: np.ndarray
    squared_error: np.ndarray
    count: np.ndarray

    @staticmethod
    def of(
        predicted: np.ndarray,
        tracked: np.ndarray,
        block: np.ndarray,
        piece: np.ndarray | None = None,
    ) -> ScoreSums:
        """Sums of lips ``(n, 2)``, centred in their ``block`` (n,), over each ``piece`` (n,)."""
        _, at = np.unique(block, return_inverse=True)
        size = np.bincount(at)[:, None]
        x, y = (v - (_sum_by(v, at) / size)[at] for v in (predicted, tracked))
        if piece is not None:
            _, at = np.unique(piece, return_inverse=True)
        parts = (x * x, y * y, x * y, (predicted - tracked) ** 2)
        return ScoreSums(*(_sum_by(part, at) for part in parts), np.bincount(at))

    def score(self, pieces: np.ndarray | slice = slice(None)) -> LipScore:
        """Score over some pieces, by number; all by default."""
        xx, yy = (np.maximum(part[pieces].sum(0), 1e-12) for part in (self.predicted, self.tracked))
        r = self.product[pieces].sum(0) / np.sqrt(xx * yy)
        error = np.sqrt(self.squared_error[pieces].sum(0) / yy)
        return LipScore(r, np.sqrt(xx / yy), error, int(self.count[pieces].sum()))


def difference_intervals(old: ScoreSums, new: ScoreSums, seed: int = 0) -> dict[str, list]:
    """95 % bootstrap intervals of new less old: ``{"r": [[low, high] of opening, of width], ...,
    "mean_r": [low, high]}``."""
    rng, pieces = np.random.default_rng(seed), len(old.count)
    samples: dict[str, list[np.ndarray]] = {"r": [], "amplitude": [], "error": []}
    for _ in range(RESAMPLES):
        drawn = rng.integers(pieces, size=pieces)
        a, b = old.score(drawn), new.score(drawn)
        for name, values in samples.items():
            values.append(getattr(b, name) - getattr(a, name))
    ends = {name: np.percentile(values, [2.5, 97.5], axis=0) for name, values in samples.items()}
    ends["mean_r"] = np.percentile(np.mean(samples["r"], axis=1), [2.5, 97.5])
    return {name: np.round(values.T, 4).tolist() for name, values in ends.items()}


@dataclass(frozen=True)
class LipClosures:
    """Share of tracked closures where the predicted lips close too, and of open frames where they
    are wrongly closed; None with too few frames."""

    kept: float | None
    wrong: float | None

    @property
    def net(self) -> float:
        """Kept less wrong closures; 0 with too few frames."""
        return 0.0 if self.kept is None else self.kept - (self.wrong or 0.0)


def lip_closures(predicted: np.ndarray, tracked: np.ndarray, block: np.ndarray) -> LipClosures:
    """Closures from openings ``(n,)`` and the block of every frame."""
    near = predicted.copy()
    for shift in range(1, CLOSURE_TOLERANCE + 1):
        same = block[shift:] == block[:-shift]
        near[:-shift] = np.where(same, np.minimum(near[:-shift], predicted[shift:]), near[:-shift])
        near[shift:] = np.where(same, np.minimum(near[shift:], predicted[:-shift]), near[shift:])
    cases = (near[tracked < TOUCHING] < CLOSED, predicted[tracked > APART] < CLOSED)
    return LipClosures(*(float(c.mean()) if len(c) >= MIN_CLOSURES else None for c in cases))


def _sum_by(values: np.ndarray, at: np.ndarray) -> np.ndarray:
    return np.stack([np.bincount(at, column) for column in values.T], axis=1)
