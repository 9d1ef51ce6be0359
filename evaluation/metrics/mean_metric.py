"""The state that most metrics share: a running mean over values, as two sums that any number of ranks can add up."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric


class MeanMetric(Metric):
    """Mean of every value seen; a subclass turns its arguments into values and calls :meth:`add`.

    Args:
        shape: shape of one value; a scalar by default.
    """

    is_differentiable = False
    full_state_update = False

    total: Tensor
    count: Tensor

    def __init__(self, shape: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def add(self, values: Tensor) -> None:
        """Add values ``(N, *shape)``."""
        self.total += values.sum(dim=0, dtype=torch.float64).to(self.total.device)
        self.count += len(values)

    def compute(self) -> Tensor:
        """The mean; nan before the first value."""
        return self.total / self.count
