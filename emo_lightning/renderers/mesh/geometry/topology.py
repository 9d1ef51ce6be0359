"""Vertex indices of the MediaPipe face topology: lips, lids, brows and the face's outline.

"Left" and "right" here are the image's, not the subject's. Upper and lower rows run from the
image's left to its right and share their two corner vertices.
"""

from __future__ import annotations

import numpy as np

VERTICES = 468
NASION = 168
OUTER_EYE_CORNERS = (33, 263)
CHIN, FOREHEAD = 152, 10

OVAL = np.array(
    [10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
     152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109]
)  # fmt: skip
"""The face's outline, clockwise in the image from the middle of the forehead."""

LIP_INNER_UPPER = np.array([78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308])
LIP_INNER_LOWER = np.array([78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308])
LIP_INNER = np.concatenate([LIP_INNER_UPPER, LIP_INNER_LOWER])
LIP_OUTER_UPPER = np.array([61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291])
LIP_OUTER_LOWER = np.array([61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291])

LIP_ROWS = (
    (LIP_OUTER_UPPER, np.array([76, 184, 74, 73, 72, 11, 302, 303, 304, 408, 306]),
     np.array([62, 183, 42, 41, 38, 12, 268, 271, 272, 407, 292]), LIP_INNER_UPPER),
    (LIP_OUTER_LOWER, np.array([76, 77, 90, 180, 85, 16, 315, 404, 320, 307, 306]),
     np.array([62, 96, 89, 179, 86, 15, 316, 403, 319, 325, 292]), LIP_INNER_LOWER),
)  # fmt: skip
"""Rows of the upper and the lower lip from its border to its inner edge."""

EYES = (
    (np.array([33, 246, 161, 160, 159, 158, 157, 173, 133]),
     np.array([33, 7, 163, 144, 145, 153, 154, 155, 133])),
    (np.array([362, 398, 384, 385, 386, 387, 388, 466, 263]),
     np.array([362, 382, 381, 380, 374, 373, 390, 249, 263])),
)  # fmt: skip
"""Upper and lower lid margin of the eye on the image's left, then of the other."""

LID_ROWS = (
    (np.array([130, 247, 30, 29, 27, 28, 56, 190, 243]),
     np.array([130, 25, 110, 24, 23, 22, 26, 112, 243])),
    (np.array([463, 414, 286, 258, 257, 259, 260, 467, 359]),
     np.array([463, 341, 256, 252, 253, 254, 339, 255, 359])),
)  # fmt: skip
"""The next ring of vertices around each eye, in the same order: crease above, fold below."""

BROWS = (np.array([46, 53, 52, 65, 55]), np.array([285, 295, 282, 283, 276]))
"""The lower edge of each brow, in the order of :data:`EYES`, left to right."""
UNDER_BROWS = (np.array([225, 224, 223, 222, 221]), np.array([441, 442, 443, 444, 445]))
"""The next row below each brow, in the same order."""

IRIS_CENTRES = (468, 473)
"""Iris landmarks beyond the mesh, in the order of :data:`EYES`."""


def hole_triangles(upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """Triangles ``(F, 3)`` of the hole between two rows that share their end vertices."""
    quads = []
    for i in range(len(upper) - 1):
        a, b, c, d = upper[i], upper[i + 1], lower[i], lower[i + 1]
        if a != c:
            quads.append((a, c, d if b != d else b))
        if b != d:
            quads.append((a, d, b))
    return np.array(quads, np.int32)
