"""The learned renderer: stage 3's network behind the renderer interface.

A frame's coefficients fill the network's whole window, so a frame depends on nothing but itself and pieces equal the
whole; training shows the network such windows too.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from emo_lightning.checkpoints import SHIPPED, load_renderer, read_network
from emo_lightning.coefficients import Coefficients
from emo_lightning.models.face_renderer import Source
from emo_lightning.models.mapping import WINDOW
from emo_lightning.renderers.base import register

if TYPE_CHECKING:
    from emo_lightning.portrait import Portrait


@register("keypoint")
class KeypointRenderer:
    """Frames of the portrait's own size from the trained network.

    Args:
        folder: holds ``renderer.safetensors``; the shipped weights by default.

    Raises:
        UserError: there is no such file, or it cannot be read.
    """

    name = "keypoint"

    def __init__(self, folder: str | Path | None = None) -> None:
        place = SHIPPED if folder is None else Path(folder)
        network = read_network(place / "renderer.safetensors", "renderer", "--checkpoint-dir")
        self.network, self.layout = load_renderer(network, "--checkpoint-dir"), network.layout

    @torch.no_grad()
    def prepare(self, portrait: Portrait) -> Source:
        """Encode the portrait.

        Raises:
            MismatchError: its coefficients have another layout than the network was trained with.
        """
        self.layout.check_same(portrait.coefficients.layout, "the trained renderer", "the portrait's coefficients")
        image = torch.from_numpy(portrait.image.astype(np.float32) / 255.0).permute(2, 0, 1)[None]
        return self.network.prepare(image, _windows(portrait.coefficients))

    def render(self, source: Source, coefficients: Coefficients) -> Iterator[np.ndarray]:
        """Yield one ``(S, S, 3)`` uint8 RGB frame for each frame of coefficients."""
        # One frame at a time: a batch rounds differently, and then pieces would not equal the whole.
        for window in _windows(coefficients):
            with torch.no_grad():
                image = self.network.render(source, window[None]).image[0].permute(1, 2, 0)
            yield (image.clamp(0.0, 1.0) * 255.0).round().byte().numpy()


def _windows(coefficients: Coefficients) -> Tensor:
    """Each frame repeated over a window, ``(T, 27, C)``."""
    return torch.from_numpy(coefficients.joined())[:, None].expand(-1, WINDOW, -1)
