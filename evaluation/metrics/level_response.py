"""Level response: does a feature of the face follow the emotion level that was asked for?

Four numbers for one emotion and one feature over levels: Spearman's rank correlation (order), the R^2 of a straight
line (evenness), the range (value at the highest level minus value at the lowest) and the share of that range reached at
the middle of the scale (0.5 is even; near 1, all happens in the lower half). A system that ignores the level has a
correlation near 0 and no range; one that jumps has a high correlation but a low R^2 and a share away from 0.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchmetrics import Metric

MIN_LEVELS = 3
MIDDLE = 8.0
"""The middle of levels 1..15."""


@dataclass(frozen=True)
class LevelResponse:
    """The response of one feature; ``nan`` where the values do not define a number (a feature that never moves)."""

    rho: float
    r2: float
    range: float
    half: float


def ranks(values: Tensor) -> Tensor:
    """Ranks 1..N of ``(N,)`` values, ties sharing their mean rank."""
    less = (values[None, :] < values[:, None]).sum(dim=1)
    equal = (values[None, :] == values[:, None]).sum(dim=1)
    return less.to(torch.float64) + (equal.to(torch.float64) + 1) / 2


def pearson(x: Tensor, y: Tensor) -> Tensor:
    """Pearson's correlation of two ``(N,)`` vectors; nan when either is constant."""
    x, y = x - x.mean(), y - y.mean()
    # Rounding must not make a perfect correlation imperfect, or better than perfect.
    return ((x @ y) / (x.square().sum() * y.square().sum()).sqrt()).clamp(-1.0, 1.0)


def _at(levels: Tensor, values: Tensor, level: float) -> float:
    """The value at a level, on straight lines between measured levels, which rise."""
    above = int(torch.searchsorted(levels, torch.tensor(level, dtype=levels.dtype)))
    if float(levels[above]) == level:
        return float(values[above])
    share = (level - levels[above - 1]) / (levels[above] - levels[above - 1])
    return float(values[above - 1] + share * (values[above] - values[above - 1]))


def by_level(levels: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Distinct levels, rising, and the mean of the values at each: several clips of one level count once."""
    distinct, place = torch.unique(levels, sorted=True, return_inverse=True)
    total = torch.zeros(len(distinct), dtype=torch.float64).index_add_(0, place, values)
    return distinct, total / torch.bincount(place, minlength=len(distinct))


def level_response(
    levels: Tensor | Sequence[float], values: Tensor | Sequence[float]
) -> LevelResponse:
    """The response of one feature to the level.

    Args:
        levels: ``(N,)`` requested levels, in any order; values at equal levels are averaged first.
        values: ``(N,)`` the feature, one value a clip.

    Returns:
        rho in -1..1, r2 in 0..1, range in the feature's unit, half as a share of the range (nan when the middle level
        lies outside the levels given, or when the feature does not move).

    Raises:
        ValueError: lengths that differ, values that are not finite, fewer than three distinct levels.
    """
    x, y = (
        torch.as_tensor(levels, dtype=torch.float64).cpu(),
        torch.as_tensor(values, dtype=torch.float64).cpu(),
    )
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(
            f"levels have shape {tuple(x.shape)}, values {tuple(y.shape)}; expected two of shape (N,)"
        )
    if not bool(torch.isfinite(x).all() and torch.isfinite(y).all()):
        raise ValueError("levels and values must be finite numbers")
    x, y = by_level(x, y)
    if len(x) < MIN_LEVELS:
        raise ValueError(f"{len(x)} distinct levels given, at least {MIN_LEVELS} are needed")
    reach = float(y[-1] - y[0])
    inside = float(x[0]) < MIDDLE < float(x[-1])
    half = (_at(x, y, MIDDLE) - float(y[0])) / reach if inside and reach != 0 else float("nan")
    return LevelResponse(float(pearson(ranks(x), ranks(y))), float(pearson(x, y) ** 2), reach, half)


class LevelResponseMetric(Metric):
    """Level response of each emotion, over clips seen on any rank.

    Sums and counts are kept for every (emotion, level) cell, so states of several ranks add up.

    Args:
        emotions: number of emotions.
        levels: the levels that clips may have.
    """

    higher_is_better = True
    is_differentiable = False
    full_state_update = False

    total: Tensor
    count: Tensor

    def __init__(self, emotions: int = 8, levels: Sequence[float] = tuple(range(1, 16))) -> None:
        super().__init__()
        self.levels = tuple(float(level) for level in levels)
        self.add_state(
            "total",
            torch.zeros(emotions, len(self.levels), dtype=torch.float64),
            dist_reduce_fx="sum",
        )
        self.add_state(
            "count",
            torch.zeros(emotions, len(self.levels), dtype=torch.float64),
            dist_reduce_fx="sum",
        )

    def update(self, emotion: int, level: float, value: float) -> None:
        """Add one clip: its emotion's index, its level and the feature's value.

        Raises:
            ValueError: an emotion out of range or a level that is not one of ``levels``.
        """
        if not 0 <= emotion < len(self.total):
            raise ValueError(f"emotion is {emotion}, expected 0..{len(self.total) - 1}")
        if float(level) not in self.levels:
            raise ValueError(f"level is {level}, expected one of {self.levels}")
        cell = emotion, self.levels.index(float(level))
        self.total[cell] += value
        self.count[cell] += 1

    def compute(self) -> Tensor:
        """``(emotions, 4)``: rho, r2, range, half; nan for an emotion with fewer than three levels."""
        rows = torch.full((len(self.total), 4), float("nan"), dtype=torch.float64)
        for row, total, count in zip(rows, self.total.cpu(), self.count.cpu(), strict=True):
            seen = count > 0
            if int(seen.sum()) >= MIN_LEVELS:
                found = level_response(
                    torch.tensor(self.levels, dtype=torch.float64)[seen], (total / count)[seen]
                )
                row.copy_(
                    torch.tensor(
                        [found.rho, found.r2, found.range, found.half], dtype=torch.float64
                    )
                )
        return rows
