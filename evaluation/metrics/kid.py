"""KID: squared maximum mean discrepancy between the features of two sets of pictures, with a cubic kernel.

M. Bińkowski, D. Sutherland, M. Arbel, A. Gretton, "Demystifying MMD GANs", ICLR 2018: ``k(x, y) = (x'y / D + 1)^3``, the
unbiased estimate, on average 0 for two sets from one source whatever their size, and so sometimes below 0. Large sets are
scored as in the paper, by the mean over random subsets. Agrees with ``torchmetrics.image.kid.poly_mmd`` to 1e-9 on the same features.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

FEATURES = 2048
SUBSETS, SUBSET_SIZE = 100, 1000
BLOCK = 1024


def kernel(x: Tensor, y: Tensor) -> Tensor:
    """``(x'y / D + 1)^3`` of all pairs; ``(N, D)``, ``(M, D)`` -> ``(N, M)`` float64."""
    return (x.to(torch.float64) @ y.to(torch.float64).T / x.shape[1] + 1) ** 3


def mmd(generated: Tensor, reference: Tensor) -> Tensor:
    """Unbiased squared MMD of two whole sets.

    Args:
        generated: ``(N, D)``, N at least 2.
        reference: ``(M, D)``, M at least 2.

    Returns:
        Scalar float64.

    Raises:
        ValueError: shapes that do not fit, or fewer than two pictures on a side.
    """
    _check(generated, reference)
    n, m = len(generated), len(reference)
    inside = [
        (k.sum() - k.trace()) / (len(k) * (len(k) - 1))
        for k in (kernel(generated, generated), kernel(reference, reference))
    ]
    return inside[0] + inside[1] - 2 * kernel(generated, reference).sum() / (n * m)


def kid(
    generated: Tensor,
    reference: Tensor,
    subsets: int = SUBSETS,
    subset_size: int = SUBSET_SIZE,
    seed: int = 0,
) -> Tensor:
    """KID of two sets: the whole sets where both fit into one subset, else the mean over random subsets without replacement.

    Args:
        generated: ``(N, D)``, N at least 2.
        reference: ``(M, D)``, M at least 2.
        subsets: number of subsets.
        subset_size: pictures of each side in a subset (all of a side that has fewer).
        seed: of the subsets.

    Returns:
        Scalar float64.

    Raises:
        ValueError: shapes that do not fit, or fewer than two pictures on a side.
    """
    _check(generated, reference)
    if max(len(generated), len(reference)) <= subset_size:
        return mmd(generated, reference)
    generator = np.random.default_rng(seed)

    def part(features: Tensor) -> Tensor:
        chosen = generator.permutation(len(features))[:subset_size]
        return features[torch.from_numpy(chosen).to(features.device)]

    return torch.stack([mmd(part(generated), part(reference)) for _ in range(subsets)]).mean()


def _check(generated: Tensor, reference: Tensor) -> None:
    if generated.ndim != 2 or reference.ndim != 2 or generated.shape[1] != reference.shape[1]:
        raise ValueError(
            f"generated has shape {tuple(generated.shape)}, reference {tuple(reference.shape)}, expected (N, D) and (M, D)"
        )
    if min(len(generated), len(reference)) < 2:
        raise ValueError(
            f"{len(generated)} generated and {len(reference)} reference pictures; at least 2 on each side are needed"
        )


class ClipKernel:
    """Kernel sums between clips, from which the KID of any draw of clips follows at once.

    Args:
        generated: features ``(N, D)``.
        reference: features ``(M, D)``.
        sizes: pictures of each clip, in order, on the two sides; they add up to N and M.
    """

    def __init__(
        self, generated: Tensor, reference: Tensor, sizes: tuple[list[int], list[int]]
    ) -> None:
        sides = generated, reference
        self._sizes = [np.array(s, np.float64) for s in sizes]
        self._inside = [
            _by_clip(side, side, counts, counts) for side, counts in zip(sides, sizes, strict=True)
        ]
        self._self = [_own(side, counts) for side, counts in zip(sides, sizes, strict=True)]
        self._across = _by_clip(generated, reference, *sizes)

    def mmd(self, drawn_generated: np.ndarray, drawn_reference: np.ndarray) -> float:
        """Unbiased squared MMD when each clip counts as often as it was drawn."""
        drawn = [drawn_generated.astype(np.float64), drawn_reference.astype(np.float64)]
        total = [float(d @ size) for d, size in zip(drawn, self._sizes, strict=True)]
        inside = [
            float(d @ block @ d - d @ own) / (n * (n - 1))
            for d, block, own, n in zip(drawn, self._inside, self._self, total, strict=True)
        ]
        return (
            inside[0]
            + inside[1]
            - 2 * float(drawn[0] @ self._across @ drawn[1]) / (total[0] * total[1])
        )


def _by_clip(x: Tensor, y: Tensor, sizes_x: list[int], sizes_y: list[int]) -> np.ndarray:
    """Kernel sums ``(clips of x, clips of y)``, a block of rows at a time, so that memory does not grow with N times M."""
    rows = []
    for block in x.split(BLOCK):
        columns = torch.split(kernel(block, y), sizes_y, dim=1)
        rows.append(torch.stack([part.sum(dim=1) for part in columns], dim=1))
    return torch.stack([part.sum(dim=0) for part in torch.cat(rows).split(sizes_x)]).cpu().numpy()


def _own(x: Tensor, sizes: list[int]) -> np.ndarray:
    """Kernel of each picture with itself, summed over each clip."""
    values = (x.to(torch.float64).square().sum(dim=1) / x.shape[1] + 1) ** 3
    return torch.stack([part.sum() for part in values.split(sizes)]).cpu().numpy()


class KID(Metric):
    """KID of everything seen, on any number of ranks, some of which may have seen nothing.

    Args:
        features: D.
        subsets, subset_size, seed: as in :func:`kid`.
    """

    higher_is_better = False
    is_differentiable = False
    full_state_update = False

    generated: list[Tensor]
    reference: list[Tensor]

    def __init__(
        self,
        features: int = FEATURES,
        subsets: int = SUBSETS,
        subset_size: int = SUBSET_SIZE,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.features, self.subsets, self.subset_size, self.seed = (
            features,
            subsets,
            subset_size,
            seed,
        )
        self.add_state("generated", [], dist_reduce_fx="cat")
        self.add_state("reference", [], dist_reduce_fx="cat")
        self.reset()

    def reset(self) -> None:
        """Forget everything; what is left are no pictures in the shape of pictures, so that ranks without any still agree on it."""
        super().reset()
        for side in (self.generated, self.reference):
            side.append(torch.zeros(0, self.features, device=self.device))

    def update(self, features: Tensor, real: bool) -> None:
        """Add features ``(N, D)`` of the reference (``real``) or of the generated pictures.

        Raises:
            ValueError: another shape.
        """
        if features.ndim != 2 or features.shape[1] != self.features:
            raise ValueError(
                f"features have shape {tuple(features.shape)}, expected (N, {self.features})"
            )
        (self.reference if real else self.generated).append(features.detach())

    def compute(self) -> Tensor:
        """The distance; nan with fewer than two pictures on a side."""
        sides = [
            torch.cat(x) if isinstance(x, list) else x for x in (self.generated, self.reference)
        ]
        if min(map(len, sides)) < 2:
            return torch.full((), float("nan"), dtype=torch.float64)
        return kid(*sides, self.subsets, self.subset_size, self.seed)
