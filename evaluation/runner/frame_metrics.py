"""Frame metrics along one clip: each generated crop beside the reference's crop of the same moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from evaluation.protocol import NotScored
from evaluation.suite.base import FrameMetric

BLOCK = 16
"""Frames gathered before they are scored, each metric in batches of its own size; no score depends on either."""
Function = Callable[[Tensor, Tensor], Tensor]


class PairScores:
    """Values of frame metrics over pairs of crops.

    Args:
        metrics: name -> metric and what it opened to.
        reference: the reference's crops ``(S, S, 3)`` uint8 in order; frames past its end are not compared.
        device: where the metrics run.
    """

    def __init__(
        self,
        metrics: Mapping[str, tuple[FrameMetric, Function]],
        reference: Iterator[np.ndarray],
        device: torch.device,
    ) -> None:
        self._metrics, self._reference, self._device = metrics, reference, device
        self._pending: list[tuple[np.ndarray, np.ndarray]] = []
        self._found: dict[str, list[Tensor]] = {name: [] for name in metrics}
        self._done = 0

    def add(self, generated: np.ndarray) -> None:
        """The next crop of the generated clip."""
        beside = next(self._reference, None)
        if beside is not None:
            self._pending.append((generated, beside))
            if len(self._pending) == BLOCK:
                self._flush()

    def _flush(self) -> None:
        stacks = (np.stack(side).transpose(0, 3, 1, 2) for side in zip(*self._pending, strict=True))
        generated, reference = (
            torch.from_numpy(np.ascontiguousarray(s)).to(self._device) for s in stacks
        )
        for name, (metric, function) in self._metrics.items():
            size = metric.batch if self._device.type == "cpu" else BLOCK
            seen = slice(-self._done % metric.every, None, metric.every)
            for a, b in zip(generated[seen].split(size), reference[seen].split(size), strict=True):
                if len(a):
                    with torch.inference_mode():
                        self._found[name].append(function(a, b).double().cpu())
        self._done += len(self._pending)
        self._pending.clear()

    def values(self) -> dict[str, np.ndarray]:
        """Metric -> ``(T,)`` float64, one value a frame compared; NotScored when no pair was seen."""
        if self._pending:
            self._flush()
        if not all(self._found.values()):
            raise NotScored("the clip and its reference share no moment")
        return {name: torch.cat(blocks).numpy() for name, blocks in self._found.items()}
