"""Emotion accuracy: how often a judge sees the emotion that was asked for, over clips, and what it sees instead.

Acc_emo as in EAMM (Ji et al., 2022) and EAT (Gan et al., 2023): a classifier names the emotion of each clip; the score is the
share of clips whose name is the one wanted. Published numbers differ by classifier more than by system, so the score means
something beside the same judge's share on real clips alone. Clips whose emotion nobody stated are left out and counted.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

UNLABELLED = -1
"""The label of a clip whose emotion is not known."""


def confusion_matrix(seen: Tensor, wanted: Tensor, classes: int = 8) -> Tensor:
    """Counts of clips by wanted (rows) and seen (columns) emotion.

    Args:
        seen: ``(N,)`` integer, the judge's answer for each clip, 0..classes - 1.
        wanted: ``(N,)`` integer, the emotion asked for, :data:`UNLABELLED` where there is none.

    Returns:
        ``(classes, classes)`` int64; its sum is the number of labelled clips.

    Raises:
        ValueError: shapes that differ or are not ``(N,)``, numbers that are no integers or out of range.
    """
    if seen.ndim != 1 or seen.shape != wanted.shape:
        raise ValueError(
            f"seen has shape {tuple(seen.shape)}, wanted {tuple(wanted.shape)}; expected two of shape (N,)"
        )
    for name, labels, lowest in (("seen", seen, 0), ("wanted", wanted, UNLABELLED)):
        if labels.is_floating_point() or labels.is_complex():
            raise ValueError(f"{name} holds {labels.dtype}, expected integers")
        if labels.numel() and not lowest <= int(labels.min()) <= int(labels.max()) < classes:
            raise ValueError(
                f"{name} holds {int(labels.min())}..{int(labels.max())}, expected {lowest}..{classes - 1}"
            )
    known = wanted != UNLABELLED
    cells = wanted[known].long() * classes + seen[known].long()
    return torch.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def accuracy(confusion: Tensor) -> Tensor:
    """Share of clips on the diagonal of a confusion matrix, float64 scalar; nan without any clip."""
    return confusion.diagonal().sum().to(torch.float64) / confusion.sum()


class EmotionAccuracy(Metric):
    """Confusion over every clip seen; ``compute`` is the accuracy, ``confusion`` the counts behind it."""

    higher_is_better = True
    is_differentiable = False
    full_state_update = False

    confusion: Tensor
    unlabelled: Tensor

    def __init__(self, classes: int = 8) -> None:
        super().__init__()
        self.classes = classes
        self.add_state(
            "confusion", torch.zeros(classes, classes, dtype=torch.int64), dist_reduce_fx="sum"
        )
        self.add_state("unlabelled", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, seen: Tensor, wanted: Tensor) -> None:
        """Add clips ``(N,)``; see :func:`confusion_matrix`."""
        self.confusion += confusion_matrix(seen, wanted, self.classes)
        self.unlabelled += (wanted == UNLABELLED).sum()

    def compute(self) -> Tensor:
        """The accuracy over labelled clips; nan without any."""
        return accuracy(self.confusion)
