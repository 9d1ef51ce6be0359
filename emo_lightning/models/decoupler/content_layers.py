"""What content goes through on its way out, so that it says what is said and not how: settling, erasure, bits.

Each is ours, optional, and bounded in time, so content streams. Shapes: B batch, T frames, C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emo_lightning.models.layers.temporal import Reach, trim


class CausalNorm(nn.Module):
    """Takes out of each channel the mean and the spread that it had over the last frames, ``(B, T + past, C) -> (B, T, C)``.

    What stays the same over a second is who speaks, into what and in which mood; what is said changes faster. Instance
    normalisation does so over a whole recording (Chou, Yeh & Lee, *One-shot voice conversion by separating speaker and content
    representations with instance normalization*, Interspeech 2019); looking back alone, this one streams. A learned gate says
    which frames count, and a learned mean and spread stand in, with the weight of :data:`PRIOR_FRAMES`, until enough did.
    """

    PRIOR_FRAMES = 3.0

    def __init__(self, width: int, frames: int) -> None:
        super().__init__()
        self.reach = Reach(frames, 0)
        self.gate = nn.Linear(width, 1)
        self.mean = nn.Parameter(torch.zeros(width))
        self.log_spread = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        past, prior = self.reach.past, self.PRIOR_FRAMES
        weight = torch.sigmoid(self.gate(x))
        # Sums over one window at a time, not differences of running sums: those would depend on where a stream began.
        kernel = torch.cat([weight, weight * x, weight * x.square()], dim=-1).transpose(1, 2)
        sums = F.avg_pool1d(kernel, past + 1, stride=1).transpose(1, 2) * (past + 1)
        width = x.shape[-1]
        total, first, second = sums.split([1, width, width], dim=-1)
        mean = (prior * self.mean + first) / (prior + total)
        power = (prior * (self.log_spread.mul(2).exp() + self.mean.square()) + second) / (
            prior + total
        )
        return (trim(x, self.reach) - mean) * (power - mean.square()).clamp_min(1e-3).rsqrt()


class Leace(nn.Module):
    """Takes out of content the subspace from which a label can be read linearly, and no more.

    Least-squares concept erasure (Belrose et al., *LEACE: Perfect linear concept erasure in closed form*, NeurIPS 2023): with
    x's covariance S and its cross-covariance R with the one-hot label, x loses ``S^½ U Uᵀ S^-½ (x - mean)``, where U spans
    the columns of ``S^-½ R``. The moments are running ones, fed by training; in use the map is fixed.
    """

    moments: Tensor
    updates: Tensor
    mean: Tensor
    taken: Tensor

    DECAY = 0.97

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.width, self.classes = width, classes
        joint = width + classes + 1
        self.register_buffer("moments", torch.zeros(joint, joint))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("taken", torch.zeros(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return x - (x - self.mean) @ self.taken.T

    @torch.no_grad()
    def update(self, x: Tensor, labels: Tensor, every: int = 5) -> None:
        """Take rows ``(N, C)`` with their labels ``(N,)`` into the moments, and work the map out anew each ``every`` calls."""
        if not len(x):
            return
        rows = torch.cat(
            [x, F.one_hot(labels, self.classes).to(x.dtype), x.new_ones(len(x), 1)], dim=1
        )
        self.moments.mul_(self.DECAY).add_(rows.T @ rows / len(x))
        self.updates += 1
        if int(self.updates) % every == 0:
            self.solve()

    @torch.no_grad()
    def solve(self) -> None:
        """The map from the moments."""
        moments = (self.moments / self.moments[-1, -1]).double()
        width, mean = self.width, moments[-1]
        covariance = moments - torch.outer(mean, mean)
        values, vectors = torch.linalg.eigh(covariance[:width, :width])
        root = values.clamp_min(1e-3 * float(values.mean())).sqrt()
        whiten, colour = (vectors / root) @ vectors.T, (vectors * root) @ vectors.T
        # One-hot labels sum to one, so they span a dimension less than there are classes.
        axes = torch.linalg.svd(whiten @ covariance[:width, width:-1], full_matrices=False)[0][
            :, : self.classes - 1
        ]
        self.mean.copy_(mean[:width])
        self.taken.copy_(colour @ axes @ axes.T @ whiten)


def bits(x: Tensor) -> Tensor:
    """The sign, +1 or -1, with the gradient of the hyperbolic tangent (Bengio et al., *Estimating or propagating gradients through
    stochastic neurons*, 2013): how sure a channel is, which a breathy or harsh voice betrays itself by, is lost."""
    soft = torch.tanh(x)
    return soft + (torch.where(x >= 0, 1.0, -1.0) - soft).detach()
