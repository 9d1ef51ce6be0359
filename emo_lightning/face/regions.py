"""Parts of the MediaPipe face topology by vertex number.

Right and left are the subject's own; rows run from the image's left. Upper and lower rows of one
opening have equal length and share their two corner vertices.
"""

from __future__ import annotations

import numpy as np

VERTICES = 468
NASION, CHIN, FOREHEAD = 168, 152, 10
EYE_CORNERS = (33, 263)
"""Outer corners; their distance in the mean face is the unit of model space (IOD)."""

LIP_INNER = (
    np.array([78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308]),
    np.array([78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308]),
)
LIP_MIDDLE = (
    np.array([62, 183, 42, 41, 38, 12, 268, 271, 272, 407, 292]),
    np.array([62, 96, 89, 179, 86, 15, 316, 403, 319, 325, 292]),
)
LIP_RED = (
    np.array([76, 184, 74, 73, 72, 11, 302, 303, 304, 408, 306]),
    np.array([76, 77, 90, 180, 85, 16, 315, 404, 320, 307, 306]),
)
LIP_OUTER = (
    np.array([61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291]),
    np.array([61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291]),
)
LIP_ROWS = (LIP_INNER, LIP_MIDDLE, LIP_RED, LIP_OUTER)
"""(upper, lower) rows from the seam outwards."""

EYE_RIGHT = (
    np.array([33, 246, 161, 160, 159, 158, 157, 173, 133]),
    np.array([33, 7, 163, 144, 145, 153, 154, 155, 133]),
)
EYE_LEFT = (
    np.array([362, 398, 384, 385, 386, 387, 388, 466, 263]),
    np.array([362, 382, 381, 380, 374, 373, 390, 249, 263]),
)
LIDS_RIGHT = (
    np.array([130, 247, 30, 29, 27, 28, 56, 190, 243]),
    np.array([130, 25, 110, 24, 23, 22, 26, 112, 243]),
)
LIDS_LEFT = (
    np.array([463, 414, 286, 258, 257, 259, 260, 467, 359]),
    np.array([463, 341, 256, 252, 253, 254, 339, 255, 359]),
)
"""The next rows around each eye: crease above, fold below."""

BROW_RIGHT = (np.array([70, 63, 105, 66, 107]), np.array([46, 53, 52, 65, 55]))
BROW_LEFT = (np.array([336, 296, 334, 293, 300]), np.array([285, 295, 282, 283, 276]))

LIPS = np.unique(np.concatenate([*LIP_INNER, *LIP_OUTER]))
EYELIDS = np.unique(np.concatenate([*EYE_RIGHT, *EYE_LEFT]))
BROWS = np.unique(np.concatenate([*BROW_RIGHT, *BROW_LEFT]))
