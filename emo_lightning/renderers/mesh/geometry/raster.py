"""Numba kernels: a moved mesh to a dense backward flow, and helpers that the other kernels share.

Serial on purpose: thread pools cost more than they save at these sizes, and far more on a busy
machine.
"""

from __future__ import annotations

import numpy as np
from numba import njit

_SLACK = 1e-3
"""Pixels by which spans overlap, so that rounding leaves no crack between neighbours."""


@njit(cache=True, inline="always")
def step(low: float, high: float, x: float) -> float:
    """0 below ``low``, 1 above ``high``, a cubic between; for use inside kernels."""
    t = min(max((x - low) / (high - low), 0.0), 1.0)
    return t * t * (3.0 - 2.0 * t)


@njit(cache=True, inline="always")
def bilinear(picture: np.ndarray, j: int, i: int, b: float, a: float, c: int) -> float:
    """Channel ``c`` of a picture at row ``j + b`` and column ``i + a``."""
    value = (picture[j, i, c] * (1 - a) + picture[j, i + 1, c] * a) * (1 - b)
    value += (picture[j + 1, i, c] * (1 - a) + picture[j + 1, i + 1, c] * a) * b
    return value


@njit(cache=True, fastmath=False)
def rasterise(
    triangles: np.ndarray, target: np.ndarray, depth: np.ndarray, source: np.ndarray,
    flow: np.ndarray, buffer: np.ndarray,
) -> None:  # fmt: skip
    """Write where each pixel of the frame comes from in the portrait, with a z-buffer.

    Args:
        triangles: ``(F, 3)`` int32.
        target: ``(V, 2)`` float32, pixel positions in the frame (pixel i covers [i, i + 1)).
        depth: ``(V,)`` float32, grows away from the viewer.
        source: ``(V, 2)`` float32, pixel positions in the portrait.
        flow: ``(2, H, W)`` float32, written where a triangle is nearest; for ``cv2.remap``.
        buffer: ``(H, W)`` float32, nearest depth so far, updated.
    """
    height, width = buffer.shape
    for f in range(triangles.shape[0]):
        a, b, c = triangles[f, 0], triangles[f, 1], triangles[f, 2]
        ax, ay, bx, by = target[a, 0], target[a, 1], target[b, 0], target[b, 1]
        cx, cy = target[c, 0], target[c, 1]
        area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        if abs(area) < 1e-6:
            continue
        top, bottom = min(ay, by, cy), max(ay, by, cy)
        first = max(0, int(np.ceil(top - 0.5 - _SLACK)))
        last = min(height - 1, int(np.floor(bottom - 0.5 + _SLACK)))
        if first > last or max(ax, bx, cx) < 0 or min(ax, bx, cx) > width:
            continue
        inverse = 1.0 / area
        # Barycentric weights of b and c are affine in the pixel: value = origin + x * dx + y * dy.
        wb_dx, wb_dy = (cy - ay) * inverse, -(cx - ax) * inverse
        wc_dx, wc_dy = -(by - ay) * inverse, (bx - ax) * inverse
        sx_b, sx_c = source[b, 0] - source[a, 0], source[c, 0] - source[a, 0]
        sy_b, sy_c = source[b, 1] - source[a, 1], source[c, 1] - source[a, 1]
        z_b, z_c = depth[b] - depth[a], depth[c] - depth[a]
        sx_dx, sx_dy = sx_b * wb_dx + sx_c * wc_dx, sx_b * wb_dy + sx_c * wc_dy
        sy_dx, sy_dy = sy_b * wb_dx + sy_c * wc_dx, sy_b * wb_dy + sy_c * wc_dy
        z_dx, z_dy = z_b * wb_dx + z_c * wc_dx, z_b * wb_dy + z_c * wc_dy
        for row in range(first, last + 1):
            y = min(max(row + 0.5, top), bottom)
            left, right = 1e30, -1e30
            for edge in range(3):
                if edge == 0:
                    px, py, qx, qy = ax, ay, bx, by
                elif edge == 1:
                    px, py, qx, qy = bx, by, cx, cy
                else:
                    px, py, qx, qy = cx, cy, ax, ay
                if (py <= y <= qy) or (qy <= y <= py):
                    if py == qy:
                        left, right = min(left, px, qx), max(right, px, qx)
                    else:
                        x = px + (y - py) * (qx - px) / (qy - py)
                        left, right = min(left, x), max(right, x)
            start = max(0, int(np.ceil(left - 0.5 - _SLACK)))
            stop = min(width - 1, int(np.floor(right - 0.5 + _SLACK)))
            if start > stop:
                continue
            x, y = start + 0.5 - ax, row + 0.5 - ay
            z = depth[a] + x * z_dx + y * z_dy
            u = source[a, 0] + x * sx_dx + y * sx_dy - 0.5
            v = source[a, 1] + x * sy_dx + y * sy_dy - 0.5
            for column in range(start, stop + 1):
                if z < buffer[row, column]:
                    buffer[row, column] = z
                    flow[0, row, column] = u
                    flow[1, row, column] = v
                z += z_dx
                u += sx_dx
                v += sy_dx


@njit(cache=True)
def smooth_tears(frame: np.ndarray, flow: np.ndarray, jump: float) -> None:
    """Blur the frame in place where neighbours come from places more than ``jump`` pixels apart.

    Along a cheek or jaw that hides what is behind, edges would be jagged and flicker.
    """
    height, width = frame.shape[0], frame.shape[1]
    apart = np.zeros((height, width), np.uint8)
    for row in range(height - 1):
        for column in range(width - 1):
            x, y = flow[0, row, column], flow[1, row, column]
            right = abs(flow[0, row, column + 1] - x - 1.0) + abs(flow[1, row, column + 1] - y)
            if right > jump:
                apart[row, column], apart[row, column + 1] = 1, 1
            below = abs(flow[0, row + 1, column] - x) + abs(flow[1, row + 1, column] - y - 1.0)
            if below > jump:
                apart[row, column], apart[row + 1, column] = 1, 1
    count = 0
    for row in range(1, height - 1):
        for column in range(1, width - 1):
            count += apart[row, column]
    found = np.empty((count, 2), np.int32)
    count = 0
    for row in range(1, height - 1):
        for column in range(1, width - 1):
            if apart[row, column]:
                found[count, 0], found[count, 1] = row, column
                count += 1
    blurred = np.empty((count, 3), np.uint8)
    for k in range(count):
        row, column = found[k, 0], found[k, 1]
        for c in range(3):
            total = 0
            for i in range(-1, 2):
                for j in range(-1, 2):
                    total += (2 - abs(i)) * (2 - abs(j)) * int(frame[row + i, column + j, c])
            blurred[k, c] = np.uint8((total + 8) // 16)
    for k in range(count):
        for c in range(3):
            frame[found[k, 0], found[k, 1], c] = blurred[k, c]
