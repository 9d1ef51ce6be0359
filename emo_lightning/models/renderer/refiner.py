"""Refiner: a small U-Net that adds a masked residual to frames of the geometric renderer. Ours.

It works on cells of 2 x 2 pixels. Inputs of the portrait (image, position of each cell on a face,
learned features) are computed once and warped by the geometric renderer's flow; inputs of the frame
are masks of mouth, eyes and lids, and the flow's strain. The frame's and the portrait's expression
modulate the features (FiLM, Perez et al., 2018).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emo_lightning.face.coefficients import Layout
from emo_lightning.models.renderer.dense_motion import sample

CELL = 2
"""Pixels of a cell's side."""
STILL = 6
"""Planes of a portrait: red, green, blue, x and y on the mean face, face share of the cell."""
FACE = 5
"""Index of the face share among them."""
MOVING = 6
"""Planes of a frame: inner mouth, eyes, upper lids, stretch, and shift in x and y."""
STRIDE = 8
"""Divisor of an image's sides, pixels."""
LIGHT, MOST_GAIN = 0.5, 4.0
"""Mean brightness to which each portrait's face is scaled, and the largest gain: residuals are then
proportional to the light on the face and to the skin's brightness."""
MASK_LOGIT = -2.0
"""Logit of the mask before training."""


@dataclass
class RefinerConfig:
    """Sizes of the refiner."""

    width: int = 32
    """Channels at the finest level; twice and three times as many at the next two."""
    blocks: int = 2
    """Residual blocks at each of the two coarse levels of the encoder."""
    features: int = 16
    """Learned planes of a portrait."""
    code: int = 64
    """Width of the layer between coefficients and FiLM."""
    inner_mouth: bool = True
    """Refine the inner mouth too. Teeth and tongue are not determined by the inputs, so a pixel
    loss gives their mean, a blur: use a perceptual loss, and few steps where faces are few."""
    full_resolution: bool = True
    """Residual at the resolution of pixels; at that of cells it shades but keeps all detail."""


class Prepared(NamedTuple):
    """Portrait's inputs to all frames: planes ``(B, 6 + features, h, w)`` of cells, summary ``(B,
    features)``, and the gain ``(B, 1, 1, 1)`` to the brightness LIGHT."""

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
        layout: of the conditioning coefficients.
    """

    def __init__(self, config: RefinerConfig, layout: Layout) -> None:
        super().__init__()
        self.config = config
        one, two, three = (config.width * n for n in (1, 2, 3))
        self.encoder = nn.Sequential(
            nn.Conv2d(STILL, 32, 3, stride=2, padding=1),
            nn.LeakyReLU(0.1),
            FilmBlock(32, 0),
            nn.Conv2d(32, config.features, 3, padding=1),
        )
        condition = condition_size(layout) + config.features
        self.code = nn.Sequential(nn.Linear(condition, config.code), nn.LeakyReLU(0.1))
        self.stem = nn.Conv2d(3 * CELL**2 + STILL + config.features + MOVING, one, 3, padding=1)
        self.fine = FilmBlock(one, config.code)
        self.down = nn.Conv2d(one, two, 3, stride=2, padding=1)
        self.middle = nn.ModuleList(FilmBlock(two, config.code) for _ in range(config.blocks))
        self.downer = nn.Conv2d(two, three, 3, stride=2, padding=1)
        self.coarse = nn.ModuleList(FilmBlock(three, config.code) for _ in range(config.blocks))
        self.upper, self.up = nn.Conv2d(three, two, 1), nn.Conv2d(two, one, 1)
        self.middle_again, self.fine_again = (
            FilmBlock(two, config.code),
            FilmBlock(one, config.code),
        )
        parts = CELL**2 if config.full_resolution else 1
        self.out = nn.Conv2d(one, 4 * parts, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        with torch.no_grad():
            self.out.bias.zero_()[3 * parts :] = MASK_LOGIT

    def prepare(self, still: Tensor) -> Prepared:
        """Encode portraits from their planes ``(B, 6, h, w)``; h and w even."""
        face = still[:, FACE:]
        light = (still[:, :3].mean(dim=1, keepdim=True) * face).sum(dim=(1, 2, 3))
        light = light / face.sum(dim=(1, 2, 3)).clamp_min(1.0)
        gain = (LIGHT / light.clamp_min(LIGHT / MOST_GAIN))[:, None, None, None]
        still = torch.cat([still[:, :3] * gain, still[:, 3:]], dim=1)
        encoded, face = self.encoder(still), F.avg_pool2d(face, 2)
        summary = (encoded * face).sum(dim=(2, 3)) / face.sum(dim=(2, 3)).clamp_min(1.0)
        return Prepared(torch.cat([still, _double(encoded)], dim=1), summary, gain)

    def forward(
        self, frame: Tensor, prepared: Prepared, flow: Tensor, moving: Tensor, condition: Tensor
    ) -> Repair:
        """Refine frames, or parts of them.

        Args:
            frame: ``(B, 3, H, W)`` in 0..1 from the geometric renderer; H and W multiples of 8.
            prepared: of the portraits, or of the one portrait of all frames.
            flow: ``(B, H / 2, W / 2, 2)`` position in the portrait of each cell, -1..1.
            moving: ``(B, 6, H / 2, W / 2)``.
            condition: ``(B, condition_size(layout))``.
        """
        planes, summary, gain = (part.expand(len(frame), *part.shape[1:]) for part in prepared)
        warped = sample(planes, flow)
        code = self.code(torch.cat([condition, summary], dim=1))
        x = torch.cat([F.pixel_unshuffle(frame * gain, CELL), warped, moving], dim=1)
        fine = self.fine(F.leaky_relu(self.stem(x), 0.1), code)
        middle = F.leaky_relu(self.down(fine), 0.1)
        for block in self.middle:
            middle = block(middle, code)
        coarse = F.leaky_relu(self.downer(middle), 0.1)
        for block in self.coarse:
            coarse = block(coarse, code)
        middle = self.middle_again(middle + _double(self.upper(coarse)), code)
        fine = self.fine_again(fine + _double(self.up(middle)), code)
        out = self.out(F.leaky_relu(fine, 0.1)).float()
        out = F.pixel_shuffle(out, CELL) if self.config.full_resolution else _double(out)
        allowed = warped[:, FACE : FACE + 1]
        if not self.config.inner_mouth:
            allowed = allowed * (1.0 - F.max_pool2d(moving[:, :1], 3, stride=1, padding=1))
        residual, mask = out[:, :3] / gain, torch.sigmoid(out[:, 3:]) * _double(allowed)
        return Repair(frame + mask * residual, mask, residual)


class FilmBlock(nn.Module):
    """Residual block of two convolutions; a code of ``(B, code)`` scales and shifts between
    them."""

    def __init__(self, channels: int, code: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        self.modulation = nn.Linear(code, 2 * channels) if code else None
        if self.modulation is not None:
            nn.init.zeros_(self.modulation.weight)
            nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, code: Tensor | None = None) -> Tensor:
        inner = self.first(F.leaky_relu(x, 0.1))
        if self.modulation is not None:
            scale, shift = self.modulation(code)[..., None, None].chunk(2, dim=1)
            inner = inner * (1.0 + scale) + shift
        return x + self.second(F.leaky_relu(inner, 0.1))


def condition_size(layout: Layout) -> int:
    """Size of a frame's condition: its expression, the portrait's, and the rotation between
    them."""
    return 2 * layout.width("exp") + 3


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
