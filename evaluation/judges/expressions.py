"""What the emotion judges that look at single frames share: classes by our names, faces at the
landmarks, one answer a clip."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from emo_lightning.face.landmarks import to_68
from emo_lightning.motion.emotions import EMOTIONS

Cutter = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""A picture ``(H, W, 3)`` uint8 RGB and the face's 68 points in it -> the face as the network wants
it, uint8 RGB."""


class ExpressionJudge(Protocol):
    """A network that names the emotion in a picture of a face."""

    classes: Sequence[str]

    def cut(self, picture: np.ndarray, points: np.ndarray) -> np.ndarray:
        """See :data:`Cutter`."""

    def probabilities(self, faces: np.ndarray) -> np.ndarray:
        """``(B, len(classes))`` for faces ``(B, S, S, 3)``."""


def softmax(scores: np.ndarray) -> np.ndarray:
    """Over the last axis."""
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def frame_probabilities(
    judge: ExpressionJudge, images: np.ndarray, points: np.ndarray
) -> np.ndarray:
    """Probabilities ``(B, 8)`` float32 in the order of ``EMOTIONS``, 0 for a class that the judge
    does not have.

    Args:
        judge: whom to ask.
        images: ``(B, H, W, 3)`` uint8 RGB.
        points: ``(B, 478, 2 or more)`` in their pixels; nan where there is no face, whose row is
            nan.
    """
    found = np.full((len(images), len(EMOTIONS)), np.nan, np.float32)
    seen = np.flatnonzero(np.isfinite(points[:, 0, 0]))
    if len(seen):
        answers = judge.probabilities(
            np.stack([judge.cut(images[i], to_68(points[i])) for i in seen])
        )
        found[seen] = 0.0
        found[np.ix_(seen, [EMOTIONS.index(name) for name in judge.classes])] = answers
    return found


def clip_probabilities(rows: np.ndarray) -> np.ndarray | None:
    """A clip's answer ``(8,)``: the mean over its frames ``(B, 8)`` with a face; None if there is
    none."""
    seen = rows[np.isfinite(rows[:, 0])]
    return seen.mean(axis=0, dtype=np.float64) if len(seen) else None
