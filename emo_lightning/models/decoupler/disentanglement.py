"""Optional disentanglement layers on the content features: causal norm, LEACE, binarisation.

Each is ours and bounded in time, so content streams. Shapes: B batch, T frames, C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emo_lightning.models.layers.precision import float32_on
from emo_lightning.models.layers.temporal import ReceptiveField, trim


class CausalNorm(nn.Module):
    """Causal instance norm over a window of past frames, ``(B, T + past, C) -> (B, T, C)``.

    Speaker, room and mood are constant over a second, speech is not. Instance norm removes a whole
    recording's statistics (Chou, Yeh & Lee, *One-shot voice conversion by separating speaker and
    content representations with instance normalization*, Interspeech 2019); a causal window
    streams. A learned gate weighs frames; a learned mean and deviation, worth :data:`PRIOR_FRAMES`
    frames, stand in until enough frames were seen.
    """

    PRIOR_FRAMES = 3.0

    def __init__(self, width: int, frames: int) -> None:
        super().__init__()
        self.reach = ReceptiveField(frames, 0)
        self.gate = nn.Linear(width, 1)
        self.mean = nn.Parameter(torch.zeros(width))
        self.log_spread = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        past, prior = self.reach.past, self.PRIOR_FRAMES
        weight = torch.sigmoid(self.gate(x)).float()
        x = x.float()
        # Sums over one window at a time: differences of running sums depend on a stream's start.
        terms = torch.cat([weight, weight * x, weight * x.square()], dim=-1).transpose(1, 2)
        sums = F.avg_pool1d(terms, past + 1, stride=1).transpose(1, 2) * (past + 1)
        width = x.shape[-1]
        total, first, second = sums.split([1, width, width], dim=-1)
        mean = (prior * self.mean + first) / (prior + total)
        prior_power = self.log_spread.mul(2).exp() + self.mean.square()
        power = (prior * prior_power + second) / (prior + total)
        return (trim(x, self.reach) - mean) * (power - mean.square()).clamp_min(1e-3).rsqrt()


class Leace(nn.Module):
    """LEACE: least-squares erasure of the subspace from which a label is linearly decodable.

    Belrose et al., *LEACE: Perfect linear concept erasure in closed form*, NeurIPS 2023: with x's
    covariance S and its cross-covariance R with the one-hot label, x loses
    ``S^1/2 U U^T S^-1/2 (x - mean)``, where U spans the columns of ``S^-1/2 R``. Training updates
    the running moments; in inference the projection is fixed. Moments and projection are float32.
    """

    moments: Tensor
    updates: Tensor
    mean: Tensor
    projection: Tensor

    DECAY = 0.97

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.width, self.classes = width, classes
        joint = width + classes + 1
        self.register_buffer("moments", torch.zeros(joint, joint))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("projection", torch.zeros(width, width))

    def forward(self, x: Tensor) -> Tensor:
        with float32_on(x):
            x = x.float()
            return x - (x - self.mean) @ self.projection.T

    @torch.no_grad()
    def batch_moments(self, x: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        """Sums of products over the frames of a mask, a square matrix; processes add up theirs.

        Args:
            x: ``(..., C)``.
            labels: ``(...,)`` int64.
            mask: ``(...,)`` bool.
        """
        with float32_on(x):
            one_hot = F.one_hot(labels, self.classes)
            rows = torch.cat([x.float(), one_hot, torch.ones_like(one_hot[..., :1])], dim=-1)
            rows = (rows * mask[..., None]).flatten(0, -2)
            return rows.T @ rows

    @torch.no_grad()
    def add_moments(self, sums: Tensor) -> None:
        """Update the running moments with a batch's sums; an empty mask changes nothing."""
        count = sums[-1, -1]
        decayed = self.DECAY * self.moments + sums / count.clamp_min(1.0)
        self.moments.copy_(torch.where(count > 0, decayed, self.moments))
        self.updates += count > 0

    @torch.no_grad()
    def solve(self) -> None:
        """Compute the projection from the moments; without moments nothing is erased."""
        total = self.moments[-1, -1]
        moments = (self.moments / total.clamp_min(1e-12)).double()
        width, mean = self.width, moments[-1]
        covariance = moments - torch.outer(mean, mean)
        values, vectors = torch.linalg.eigh(covariance[:width, :width])
        root = torch.maximum(values, 1e-3 * values.mean()).clamp_min(1e-12).sqrt()
        whiten, colour = (vectors / root) @ vectors.T, (vectors * root) @ vectors.T
        directions = torch.linalg.svd(whiten @ covariance[:width, width:-1], full_matrices=False)[0]
        # One-hot labels sum to one, so they span one dimension less than there are classes.
        axes = directions[:, : self.classes - 1]
        self.mean.copy_(mean[:width])
        self.projection.copy_(colour @ axes @ axes.T @ whiten * (total > 0))


def binarize(x: Tensor) -> Tensor:
    """Sign, +1 or -1, with the gradient of tanh (straight-through estimator, Bengio et al., 2013).

    Magnitudes, by which a breathy or harsh voice is recognisable, are lost.
    """
    soft = torch.tanh(x)
    return soft + (torch.where(x >= 0, 1.0, -1.0) - soft).detach()
