"""Coefficients from landmarks: pose and shape by turns, each a small weighted least-squares problem.

Expression coefficients are intensities, so they are found within bounds; identity is one vector for the whole clip.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emo_lightning.face.pose import weak_perspective, weighted_umeyama

DEPTH_WEIGHT = 0.25
"""Trust in a landmark's z against its x and y: trackers guess depth."""
EXP_BOUND = 1.2
EXP_RIDGE, ID_RIDGE = 0.0006, 0.004
"""Prior precision per coefficient, relative to the mean squared landmark error per vertex in IOD; chosen on portraits."""
ROUNDS = 4
SWEEPS = 25


@dataclass(frozen=True)
class Problem:
    """The linear model restricted to the vertices that the landmarks cover.

    Attributes:
        mean: ``(N, 3)``.
        exp: ``(E, N, 3)``.
        identity: ``(I, N, 3)``.
        weights: ``(N,)`` trust in each landmark for shape.
        rigid: ``(N,)`` trust in each landmark for pose: bone, not flesh.
    """

    mean: np.ndarray
    exp: np.ndarray
    identity: np.ndarray
    weights: np.ndarray
    rigid: np.ndarray


@dataclass(frozen=True)
class Solution:
    """``scale (T,)``, ``turn (T, 3, 3)``, ``shift (T, 3)``, ``exp (T, E)``, ``identity (I,)``, ``residual (T,)`` in IOD."""

    scale: np.ndarray
    turn: np.ndarray
    shift: np.ndarray
    exp: np.ndarray
    identity: np.ndarray
    residual: np.ndarray


def solve(problem: Problem, points: np.ndarray, identity: np.ndarray | None = None) -> Solution:
    """Fit a clip.

    Args:
        problem: the model at the landmarks.
        points: ``(T, N, 3)``, or ``(T, N, 2)`` where depth is unknown, in crop units.
        identity: fixed identity; estimated from the clip when None.
    """
    points = np.asarray(points, np.float64)
    flat = points.shape[-1] == 2
    axis = np.array([1.0, 1.0, 0.0 if flat else DEPTH_WEIGHT])
    exp = np.zeros((len(points), len(problem.exp)))
    given = identity is not None
    identity = np.asarray(identity, np.float64) if given else np.zeros(len(problem.identity))
    directions = problem.exp * np.sqrt(problem.weights)[None, :, None] * axis
    gram = np.einsum("anc,bnc->ab", directions, directions) / len(problem.mean)
    for _ in range(ROUNDS):
        shape = problem.mean + np.tensordot(identity, problem.identity, 1) + np.tensordot(exp, problem.exp, 1)
        scale, turn, shift = _pose(shape, points, problem.rigid)
        upright = _unpose(points, scale, turn, shift, shape)
        if not given:
            identity = _identity(problem, upright, exp, axis)
        rest = (upright - problem.mean - np.tensordot(identity, problem.identity, 1)) * np.sqrt(problem.weights)[:, None] * axis
        exp = _bounded(gram, np.einsum("enc,tnc->te", directions, rest) / len(problem.mean), exp)
    shape = problem.mean + np.tensordot(identity, problem.identity, 1) + np.tensordot(exp, problem.exp, 1)
    posed = scale[:, None, None] * np.einsum("tij,tnj->tni", turn, shape) + shift[:, None]
    residual = np.linalg.norm(posed[..., :2] - points[..., :2], axis=-1).mean(-1) / scale
    return Solution(scale, turn, shift, exp, identity, residual)


def _pose(shape: np.ndarray, points: np.ndarray, rigid: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return weak_perspective(shape, points, rigid) if points.shape[-1] == 2 else weighted_umeyama(shape, points, rigid)


def _unpose(points: np.ndarray, scale: np.ndarray, turn: np.ndarray, shift: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """Landmarks in model space; where depth is unknown the model's own is taken."""
    if points.shape[-1] == 2:
        depth = (scale[:, None] * np.einsum("tj,tnj->tn", turn[:, 2], shape))[..., None]
        points = np.concatenate([points, depth], -1)
    return np.einsum("tji,tnj->tni", turn, points - shift[:, None]) / scale[:, None, None]


def _identity(problem: Problem, upright: np.ndarray, exp: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """Ridge estimate from the clip's mean shape less its mean expression."""
    root = np.sqrt(problem.weights)[:, None] * axis
    rest = ((upright - np.tensordot(exp, problem.exp, 1)).mean(0) - problem.mean) * root
    basis = (problem.identity * root).reshape(len(problem.identity), -1)
    normal = basis @ basis.T / len(problem.mean)
    return np.linalg.solve(normal + ID_RIDGE * np.eye(len(basis)) * np.trace(normal) / len(basis), basis @ rest.ravel() / len(problem.mean))


def _bounded(gram: np.ndarray, target: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Ridge least squares within [0, EXP_BOUND] by coordinate descent, all frames at once."""
    matrix = gram + EXP_RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram)) * 20
    x = np.clip(start, 0.0, EXP_BOUND)
    for _ in range(SWEEPS):
        for k in range(len(matrix)):
            step = (target[:, k] - x @ matrix[k]) / matrix[k, k]
            x[:, k] = np.clip(x[:, k] + step, 0.0, EXP_BOUND)
    return x
