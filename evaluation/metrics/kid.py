"""KID: squared maximum mean discrepancy between the features of two image sets, with a cubic
kernel.

M. Bińkowski, D. Sutherland, M. Arbel, A. Gretton, "Demystifying MMD GANs", ICLR 2018: ``k(x, y) =
(x'y / D + 1)^3``, the unbiased estimate, on average 0 for two sets from one source whatever their
size, and so sometimes below 0. Large sets are scored as in the paper, by the mean over random
subsets (``torchmetrics``' ``poly_mmd``, which needs subsets of one size).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from evaluation.metrics.checks import two_sets

SUBSETS, SUBSET_SIZE = 100, 1000
BLOCK = 1024
"""Rows of the kernel matrix at a time, so that memory does not grow with N times M."""


def kid(
    generated: Tensor,
    reference: Tensor,
    subsets: int = SUBSETS,
    subset_size: int = SUBSET_SIZE,
    seed: int = 0,
) -> float:
    """KID: of the whole sets where both fit into one subset, else the mean over random subsets.

    Args:
        generated: ``(N, D)``, N at least 2.
        reference: ``(M, D)``, M at least 2.
        subsets: number of subsets, drawn without replacement.
        subset_size: images of each side in a subset (fewer where a side has fewer).
        seed: of the subsets.

    Raises:
        ValueError: shapes that do not fit, or fewer than two images on a side.
    """
    two_sets(generated, reference)
    if max(len(generated), len(reference)) <= subset_size:
        sizes = [len(generated)], [len(reference)]
        return ClipKernel(generated, reference, sizes).mmd(np.ones(1), np.ones(1))
    # Importing torchmetrics takes seconds, which small sets do without.
    from torchmetrics.image.kid import poly_mmd

    generator = np.random.default_rng(seed)
    size = min(subset_size, len(generated), len(reference))

    def subset(features: Tensor) -> Tensor:
        chosen = torch.from_numpy(generator.permutation(len(features))[:size])
        return features[chosen.to(features.device)].to(torch.float64)

    found = [poly_mmd(subset(generated), subset(reference)) for _ in range(subsets)]
    return float(torch.stack(found).mean())


class ClipKernel:
    """Kernel sums between clips, from which the KID of any resampling of clips follows at once.

    Args:
        generated: features ``(N, D)``.
        reference: features ``(M, D)``.
        sizes: images of each clip, in order, on the two sides; they add up to N and M.
    """

    def __init__(
        self, generated: Tensor, reference: Tensor, sizes: tuple[list[int], list[int]]
    ) -> None:
        sides = list(zip((generated, reference), sizes, strict=True))
        self._sizes = [np.array(s, np.float64) for s in sizes]
        self._inside = [_by_clip(side, side, counts, counts) for side, counts in sides]
        self._self = [_diagonal(side, counts) for side, counts in sides]
        self._across = _by_clip(generated, reference, *sizes)

    def mmd(self, drawn_generated: np.ndarray, drawn_reference: np.ndarray) -> float:
        """Unbiased squared MMD when each clip counts as often as it was drawn."""
        drawn = [drawn_generated.astype(np.float64), drawn_reference.astype(np.float64)]
        n, m = (float(d @ size) for d, size in zip(drawn, self._sizes, strict=True))
        inside = [
            float(d @ block @ d - d @ own) / (count * (count - 1))
            for d, block, own, count in zip(drawn, self._inside, self._self, (n, m), strict=True)
        ]
        return sum(inside) - 2 * float(drawn[0] @ self._across @ drawn[1]) / (n * m)


def _by_clip(x: Tensor, y: Tensor, sizes_x: list[int], sizes_y: list[int]) -> np.ndarray:
    """Kernel sums ``(clips of x, clips of y)``."""
    x, y, rows = x.to(torch.float64), y.to(torch.float64), []
    for block in x.split(BLOCK):
        kernel = (block @ y.T / x.shape[1] + 1) ** 3
        rows.append(torch.stack([part.sum(dim=1) for part in kernel.split(sizes_y, dim=1)], dim=1))
    return torch.stack([part.sum(dim=0) for part in torch.cat(rows).split(sizes_x)]).cpu().numpy()


def _diagonal(x: Tensor, sizes: list[int]) -> np.ndarray:
    """Kernel of each image with itself, summed over each clip."""
    values = (x.to(torch.float64).square().sum(dim=1) / x.shape[1] + 1) ** 3
    return torch.stack([part.sum() for part in values.split(sizes)]).cpu().numpy()
