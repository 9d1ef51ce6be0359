"""A small network that repairs what the geometric renderer draws: a residual, and a mask that says where it counts.

It works on cells of 2 x 2 pixels. What it knows of the portrait (its picture, where on a face each cell lies, learned
features) is computed once and carried along by the geometric renderer's flow; what the frame adds are masks of mouth, eyes
and lids, and how the flow stretches. The frame's and the portrait's expression scale and shift its features (FiLM, Perez et
al., 2018). Ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emo_lightning.face.coefficients import Layout

CELL = 2
"""Pixels of a cell's side."""
STILL = 6
"""Planes of a portrait: red, green, blue, the place on the mean face in x and y, and how much of a cell is face."""
FACE = 5
"""The last of them."""
MOVING = 6
"""Planes of a frame: mouth's inside, eyes, upper lids, stretch, and shift in x and y."""
STRIDE = 8
"""Pixels that a picture's sides must be a multiple of."""
LIGHT, MOST_GAIN = 0.5, 4.0
"""Mean brightness to which each portrait's face is brought before the network sees it, and by how much at most: what it adds is then
in proportion to the light on the face, and to the skin's."""
RESERVE = -2.0
"""Logit of the mask before training."""


@dataclass
class RefinerConfig:
    """Sizes of the refiner."""

    width: int = 32
    """Channels at the finest level; twice and three times as many at the next two."""
    blocks: int = 2
    """Residual blocks at each of the two coarse levels, on the way down."""
    features: int = 16
    """Learned planes of a portrait."""
    code: int = 64
    """Width of the layer between coefficients and FiLM."""
    inner_mouth: bool = True
    """Whether the mouth's inside may change too. What teeth and tongue do cannot be told from the rest, so a loss on pixels alone
    makes their mean of them, which is a blur: it takes features of a trained network, and few steps where faces are few."""
    full_resolution: bool = True
    """Whether the residual has the pixels' resolution. On cells it can shade and colour but take no detail away."""


class Prepared(NamedTuple):
    """What a portrait contributes to all frames: planes ``(B, 6 + features, h, w)`` of cells, a summary ``(B, features)``, and the
    gain ``(B, 1, 1, 1)`` that brings it to LIGHT."""

    planes: Tensor
    summary: Tensor
    gain: Tensor


class Repair(NamedTuple):
    """``image = frame + mask * residual``: ``(B, 3, H, W)``, ``(B, 1, H, W)``, ``(B, 3, H, W)``."""

    image: Tensor
    mask: Tensor
    residual: Tensor


class Refiner(nn.Module):
    """Portrait encoder and a U-Net of three levels.

    Args:
        config: sizes.
        layout: of the coefficients that condition it.
    """

    def __init__(self, config: RefinerConfig, layout: Layout) -> None:
        super().__init__()
        self.config = config
        one, two, three = (config.width * n for n in (1, 2, 3))
        self.encoder = nn.Sequential(
            nn.Conv2d(STILL, 32, 3, stride=2, padding=1),
            nn.LeakyReLU(0.1),
            _Block(32, 0),
            nn.Conv2d(32, config.features, 3, padding=1),
        )
        self.code = nn.Sequential(
            nn.Linear(condition_size(layout) + config.features, config.code), nn.LeakyReLU(0.1)
        )
        self.stem = nn.Conv2d(3 * CELL**2 + STILL + config.features + MOVING, one, 3, padding=1)
        self.fine = _Block(one, config.code)
        self.down = nn.Conv2d(one, two, 3, stride=2, padding=1)
        self.middle = nn.ModuleList(_Block(two, config.code) for _ in range(config.blocks))
        self.downer = nn.Conv2d(two, three, 3, stride=2, padding=1)
        self.coarse = nn.ModuleList(_Block(three, config.code) for _ in range(config.blocks))
        self.upper, self.up = nn.Conv2d(three, two, 1), nn.Conv2d(two, one, 1)
        self.middle_again, self.fine_again = _Block(two, config.code), _Block(one, config.code)
        parts = CELL**2 if config.full_resolution else 1
        self.out = nn.Conv2d(one, 4 * parts, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        with torch.no_grad():
            self.out.bias.copy_(torch.cat([torch.zeros(3 * parts), torch.full((parts,), RESERVE)]))

    def prepare(self, still: Tensor) -> Prepared:
        """Encode portraits from their planes ``(B, 6, h, w)``; h and w even."""
        face = still[:, FACE:]
        light = (still[:, :3].mean(dim=1, keepdim=True) * face).sum(dim=(1, 2, 3)) / face.sum(
            dim=(1, 2, 3)
        ).clamp_min(1.0)
        gain = (LIGHT / light.clamp_min(LIGHT / MOST_GAIN))[:, None, None, None]
        still = torch.cat([still[:, :3] * gain, still[:, 3:]], dim=1)
        found, face = self.encoder(still), F.avg_pool2d(face, 2)
        summary = (found * face).sum(dim=(2, 3)) / face.sum(dim=(2, 3)).clamp_min(1.0)
        features = F.interpolate(found, scale_factor=2.0, mode="bilinear", align_corners=False)
        return Prepared(torch.cat([still, features], dim=1), summary, gain)

    def forward(
        self, frame: Tensor, prepared: Prepared, flow: Tensor, moving: Tensor, condition: Tensor
    ) -> Repair:
        """Repair frames, or any part of them.

        Args:
            frame: ``(B, 3, H, W)`` in 0..1 as drawn; H and W multiples of 8.
            prepared: of the portraits, or of the one portrait of all frames.
            flow: ``(B, H / 2, W / 2, 2)`` where in the portrait each cell comes from, in -1..1 of its sides.
            moving: ``(B, 6, H / 2, W / 2)``.
            condition: ``(B, condition_size(layout))``.
        """
        planes, summary, gain = (part.expand(len(frame), *part.shape[1:]) for part in prepared)
        carried = F.grid_sample(
            planes, flow, mode="bilinear", padding_mode="border", align_corners=False
        )
        code = self.code(torch.cat([condition, summary], dim=1))
        x = torch.cat([F.pixel_unshuffle(frame * gain, CELL), carried, moving], dim=1)
        fine = self.fine(F.leaky_relu(self.stem(x), 0.1), code)
        middle = F.leaky_relu(self.down(fine), 0.1)
        for block in self.middle:
            middle = block(middle, code)
        coarse = F.leaky_relu(self.downer(middle), 0.1)
        for block in self.coarse:
            coarse = block(coarse, code)
        middle = self.middle_again(middle + _grow(self.upper(coarse)), code)
        fine = self.fine_again(fine + _grow(self.up(middle)), code)
        drawn = self.out(F.leaky_relu(fine, 0.1))
        drawn = F.pixel_shuffle(drawn, CELL) if self.config.full_resolution else _grow(drawn)
        may = carried[:, FACE : FACE + 1]
        if not self.config.inner_mouth:
            may = may * (1.0 - F.max_pool2d(moving[:, :1], 3, stride=1, padding=1))
        residual, mask = drawn[:, :3] / gain, torch.sigmoid(drawn[:, 3:]) * _grow(may)
        return Repair(frame + mask * residual, mask, residual)


class _Block(nn.Module):
    """Two convolutions beside the identity; a code of ``(B, code)`` scales and shifts what lies between them."""

    def __init__(self, channels: int, code: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        self.film = nn.Linear(code, 2 * channels) if code else None
        if self.film is not None:
            nn.init.zeros_(self.film.weight)
            nn.init.zeros_(self.film.bias)

    def forward(self, x: Tensor, code: Tensor | None = None) -> Tensor:
        inner = self.first(F.leaky_relu(x, 0.1))
        if self.film is not None:
            scale, shift = self.film(code)[..., None, None].chunk(2, dim=1)
            inner = inner * (1.0 + scale) + shift
        return x + self.second(F.leaky_relu(inner, 0.1))


def condition_size(layout: Layout) -> int:
    """Numbers that condition a frame: its expression, the portrait's, and the turn between them."""
    return 2 * layout.width("exp") + 3


def _grow(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
