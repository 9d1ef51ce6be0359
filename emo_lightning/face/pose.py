"""Rotations, Euler angles, and the least-squares similarity between two point sets.

Axes: x to the image's right, y down, z into the scene. Angles are (pitch, yaw, roll) in radians and
``R = Rz(roll) @ Ry(yaw) @ Rx(pitch)``. Positive pitch nods down (the nose moves down in the image),
positive yaw turns the face to the image's right (the nose moves right), positive roll tilts it
clockwise in the image.
"""

from __future__ import annotations

import numpy as np


def rotation(angle: np.ndarray) -> np.ndarray:
    """Rotation matrices ``(..., 3, 3)`` of (pitch, yaw, roll) ``(..., 3)`` in radians."""
    angle = np.asarray(angle)
    (sp, sy, sr), (cp, cy, cr) = (np.moveaxis(f(angle), -1, 0) for f in (np.sin, np.cos))
    rows = [
        [cr * cy, -cr * sy * sp - sr * cp, -cr * sy * cp + sr * sp],
        [sr * cy, -sr * sy * sp + cr * cp, -sr * sy * cp - cr * sp],
        [sy, cy * sp, cy * cp],
    ]
    return np.stack([np.stack(row, -1) for row in rows], -2)


def angles(matrix: np.ndarray) -> np.ndarray:
    """(pitch, yaw, roll) of rotations ``(..., 3, 3)``, for |yaw| below 90 degrees."""
    matrix = np.asarray(matrix)
    pitch = np.arctan2(matrix[..., 2, 1], matrix[..., 2, 2])
    yaw = np.arcsin(np.clip(matrix[..., 2, 0], -1.0, 1.0))
    roll = np.arctan2(matrix[..., 1, 0], matrix[..., 0, 0])
    return np.stack([pitch, yaw, roll], -1)


def weighted_umeyama(
    source: np.ndarray, target: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weighted least-squares similarity from ``source`` to ``target`` (Umeyama, *PAMI* 1991).

    Args:
        source: ``(..., V, 3)`` or ``(V, 3)``.
        target: ``(..., V, 3)``.
        weights: ``(V,)`` or ``(..., V)``, non-negative.

    Returns:
        scale ``(...)``, rotation ``(..., 3, 3)``, translation ``(..., 3)``, such that
        ``target ~ s * R @ source + t``.
    """
    share = (weights / weights.sum(-1, keepdims=True))[..., None]
    mean_s, mean_t = (
        (source * share).sum(-2, keepdims=True),
        (target * share).sum(-2, keepdims=True),
    )
    from_mean, to_mean = source - mean_s, target - mean_t
    covariance = np.swapaxes(to_mean, -1, -2) @ (from_mean * share)
    u, d, vt = np.linalg.svd(covariance)
    sign = np.ones_like(d)
    sign[..., 2] = np.sign(np.linalg.det(u) * np.linalg.det(vt))
    turn = (u * sign[..., None, :]) @ vt
    scale = (d * sign).sum(-1) / (from_mean**2 * share).sum((-1, -2))
    shift = mean_t[..., 0, :] - scale[..., None] * (turn @ np.swapaxes(mean_s, -1, -2))[..., 0]
    return scale, turn, shift


def weak_perspective(
    source: np.ndarray, target: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Like :func:`weighted_umeyama` for a scaled orthographic projection (x and y of the target).

    The nearest orthonormal pair to the two rows of the affine least-squares camera is the initial
    rotation; a few Gauss-Newton steps on rotation, scale and shift refine it.

    Args:
        source: ``(T, V, 3)`` or ``(V, 3)``.
        target: ``(T, V, 2)``.
        weights: ``(V,)`` or ``(T, V)``.

    Returns:
        scale ``(T,)``, rotation ``(T, 3, 3)``, translation ``(T, 3)`` with z shift 0.
    """
    source = np.broadcast_to(source, (*target.shape[:-1], 3))
    weights = np.broadcast_to(weights, target.shape[:-1])
    share = (weights / weights.sum(-1, keepdims=True))[..., None]
    mean_s, mean_t = (
        (source * share).sum(-2, keepdims=True),
        (target * share).sum(-2, keepdims=True),
    )
    from_mean, to_mean = source - mean_s, target - mean_t
    gram = np.swapaxes(from_mean, -1, -2) @ (from_mean * share)
    affine = np.swapaxes(to_mean, -1, -2) @ (from_mean * share) @ np.linalg.inv(gram)
    u, d, vt = np.linalg.svd(affine, full_matrices=False)
    pair, scale = u @ vt, d.mean(-1)
    turn = np.concatenate([pair, np.cross(pair[:, 0], pair[:, 1])[:, None]], 1)
    for _ in range(4):
        turn, scale = _refine(from_mean, to_mean, share, turn, scale)
    shift = np.zeros((len(target), 3))
    shift[:, :2] = mean_t[:, 0] - scale[:, None] * (turn @ np.swapaxes(mean_s, -1, -2))[:, :2, 0]
    return scale, turn, shift


def _refine(
    source: np.ndarray, target: np.ndarray, share: np.ndarray, turn: np.ndarray, scale: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """One Gauss-Newton step on (rotation vector, scale) of centred points."""
    turned = np.einsum("tij,tvj->tvi", turn, source) * scale[:, None, None]
    x, y, z = np.moveaxis(turned, -1, 0)
    zero = np.zeros_like(x)
    rows_x, rows_y = np.stack([zero, z, -y, x], -1), np.stack([-z, zero, x, y], -1)
    jacobian = np.concatenate([rows_x, rows_y], 1)
    error = np.concatenate([target[..., 0] - x, target[..., 1] - y], 1)
    weighted = jacobian * np.concatenate([share, share], 1)
    normal = np.swapaxes(weighted, 1, 2) @ jacobian
    ridge = 1e-6 * np.trace(normal, axis1=1, axis2=2)[:, None, None] * np.eye(4)
    step = np.linalg.solve(normal + ridge, np.einsum("tni,tn->ti", weighted, error)[..., None])[
        ..., 0
    ]
    return _exponential(step[:, :3]) @ turn, scale * np.exp(step[:, 3])


def _exponential(vector: np.ndarray) -> np.ndarray:
    """Rotation matrices ``(T, 3, 3)`` of rotation vectors ``(T, 3)`` (Rodrigues)."""
    theta = np.linalg.norm(vector, axis=1)[:, None, None] + 1e-12
    x, y, z = vector.T
    zero = np.zeros_like(x)
    cross = np.stack(
        [np.stack([zero, -z, y], -1), np.stack([z, zero, -x], -1), np.stack([-y, x, zero], -1)], -2
    )
    return (
        np.eye(3) + np.sin(theta) / theta * cross + (1 - np.cos(theta)) / theta**2 * cross @ cross
    )
