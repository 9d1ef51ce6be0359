"""Coefficients from landmarks, alternating between pose and a convex problem for the shape.

Given the pose, the landmarks are rotated upright and the shape minimises

    mean_t sum_n w_n |mean_n + I_n id + E_n exp_t - y_tn|^2 / N
        + a |id|^2 + mean_t (b |exp_t|^2 + c sum exp_t)

over one ``id`` for the clip and ``low <= exp_t <= high``. Expression intensities have a sign and
few are active at once, hence bounds and the last term, which separates a resting face of another
shape from an expression. The two blocks are solved in turns in the space of normal equations, where
a frame costs a few dozen numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from emo_lightning.face.pose import weak_perspective, weighted_umeyama

DEPTH_WEIGHT = 0.25
"""Weight of a landmark's z against x and y: trackers estimate depth poorly."""
ROUNDS = 4
TURNS = 12
"""Alternations between identity and expression in a round."""
IDENTITY_FRAMES = 96
"""Most frames, evenly over the clip, from which identity is estimated."""
OUTLIER = 0.04
"""Scale (IOD) of Geman & McClure's robust weight of a vertex for the pose."""


@dataclass(frozen=True)
class Prior:
    """Prior of the coefficients; costs are for distances in IOD.

    Attributes:
        id_ridge: a above.
        exp_ridge: b.
        sparsity: c, for all expression directions or ``(E,)``.
        low, high: bounds on expression coefficients; infinite for signed ones.
    """

    id_ridge: float
    exp_ridge: float
    sparsity: float | np.ndarray = 0.0
    low: float = -np.inf
    high: float = np.inf


@dataclass(frozen=True)
class Problem:
    """The linear model restricted to the vertices that the landmarks cover.

    Attributes:
        mean: ``(N, 3)``.
        exp: ``(E, N, 3)``.
        identity: ``(I, N, 3)``.
        weights: ``(N,)`` weight of each landmark for shape.
        rigid: ``(N,)`` weight of each landmark for pose: bone, not soft tissue.
        prior: see there.
        depth: whether the landmarks' z is known.
    """

    mean: np.ndarray
    exp: np.ndarray
    identity: np.ndarray
    weights: np.ndarray
    rigid: np.ndarray
    prior: Prior
    depth: bool = True

    @cached_property
    def basis(self) -> np.ndarray:
        """Identity, then expression directions, ``(I + E, 3 N)``."""
        joined = np.concatenate([self.identity, self.exp]).astype(np.float64)
        return joined.reshape(len(joined), -1)

    @cached_property
    def probe(self) -> np.ndarray:
        """``(3 N, I + E)``: turns residuals into the right-hand side of the normal equations."""
        axis = np.array([1.0, 1.0, DEPTH_WEIGHT**2 if self.depth else 0.0])
        trust = (self.weights[:, None] * axis).ravel() / len(self.mean)
        return (self.basis * trust).T

    @cached_property
    def gram(self) -> np.ndarray:
        """Normal matrix of all directions, without priors."""
        return self.basis @ self.probe


@dataclass(frozen=True)
class Solution:
    """``scale (T,)``, ``turn (T, 3, 3)``, ``shift (T, 3)``, ``exp (T, E)``, ``identity (I,)``."""

    scale: np.ndarray
    turn: np.ndarray
    shift: np.ndarray
    exp: np.ndarray
    identity: np.ndarray


def solve(problem: Problem, points: np.ndarray, identity: np.ndarray | None = None) -> Solution:
    """Fit a clip.

    Args:
        problem: the model at the landmarks.
        points: ``(T, N, 3)``, or ``(T, N, 2)`` where depth is unknown, in crop units.
        identity: ``(I,)`` to keep; estimated from the clip when None.
    """
    points = np.asarray(points, np.float64)
    count = len(points)
    if identity is None:
        chosen = np.unique(
            np.linspace(0, count - 1, min(count, IDENTITY_FRAMES)).round().astype(int)
        )
        identity = _alternate(problem, points[chosen], None).identity
    return _alternate(problem, points, np.asarray(identity, np.float64))


def _alternate(problem: Problem, points: np.ndarray, given: np.ndarray | None) -> Solution:
    """Alternate pose and shape; identity is estimated too unless ``given``."""
    identity = np.zeros(len(problem.identity)) if given is None else given
    exp = np.zeros((len(points), len(problem.exp)))
    rigid = np.broadcast_to(problem.rigid, points.shape[:2])
    for _ in range(ROUNDS):
        shape = _shape(problem, identity, exp)
        scale, turn, shift = _pose(shape, points, rigid)
        upright = _upright(points, scale, turn, shift, shape)
        target = (upright - problem.mean).reshape(len(points), -1) @ problem.probe
        if given is None:
            identity, exp = _identity_and_expression(problem, target, identity, exp)
        else:
            exp = _expression(problem, target, identity, exp, TURNS)
        rigid = problem.rigid * _robust_weights(upright, shape)
    scale, turn, shift = _pose(_shape(problem, identity, exp), points, rigid)
    return Solution(scale, turn, shift, exp, identity)


def _shape(problem: Problem, identity: np.ndarray, exp: np.ndarray) -> np.ndarray:
    split = len(identity)
    flat = exp @ problem.basis[split:] + identity @ problem.basis[:split]
    return problem.mean + flat.reshape(len(exp), -1, 3)


def _pose(
    shape: np.ndarray, points: np.ndarray, rigid: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return (
        weak_perspective(shape, points, rigid)
        if points.shape[-1] == 2
        else weighted_umeyama(shape, points, rigid)
    )


def _upright(
    points: np.ndarray, scale: np.ndarray, turn: np.ndarray, shift: np.ndarray, shape: np.ndarray
) -> np.ndarray:
    """Landmarks in model space; an unknown depth is taken from the model."""
    if points.shape[-1] == 2:
        depth = (scale[:, None] * (shape @ turn[:, 2, :, None])[..., 0])[..., None]
        points = np.concatenate([points, depth], -1)
    return (points - shift[:, None]) @ turn / scale[:, None, None]


def _robust_weights(upright: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """``(T, N)``: 1 for vertices that agree with the model, less for distant ones."""
    distance = ((upright - shape)[..., :2] ** 2).sum(-1)
    return 1.0 / (1.0 + distance / OUTLIER**2) ** 2


def _identity_and_expression(
    problem: Problem, target: np.ndarray, identity: np.ndarray, exp: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Minimise the shape problem of a clip for one pose, block by block."""
    split = len(identity)
    solver = np.linalg.inv(problem.gram[:split, :split] + problem.prior.id_ridge * np.eye(split))
    for _ in range(TURNS):
        identity = solver @ (target[:, :split].mean(0) - problem.gram[:split, split:] @ exp.mean(0))
        exp = _expression(problem, target, identity, exp, 3)
    return identity, exp


def _expression(
    problem: Problem, target: np.ndarray, identity: np.ndarray, start: np.ndarray, sweeps: int
) -> np.ndarray:
    """Sparse ridge regression ``(T, E)``: exact without bounds, else by coordinate descent."""
    split, prior = len(identity), problem.prior
    matrix = problem.gram[split:, split:] + prior.exp_ridge * np.eye(len(problem.exp))
    goal = (
        target[:, split:]
        - identity @ problem.gram[:split, split:]
        - np.broadcast_to(prior.sparsity, len(matrix)) / 2
    )
    if np.isinf([prior.low, prior.high]).all():
        return np.linalg.solve(matrix, goal.T).T
    rest, x = (goal - start @ matrix).T.copy(), start.T.copy()
    for _ in range(sweeps):
        for k in range(len(matrix)):
            new = np.minimum(np.maximum(x[k] + rest[k] / matrix[k, k], prior.low), prior.high)
            rest -= np.multiply.outer(matrix[k], new - x[k])
            x[k] = new
    return x.T
