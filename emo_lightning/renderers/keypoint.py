"""The learned renderer: stage 3's network behind the renderer interface.

The portrait is encoded once, and a frame is drawn from the window of coefficients around it, as in training.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from emo_lightning.face.coefficients import Coefficients
from emo_lightning.models.checkpoint_io import SHIPPED, load_renderer, read_network
from emo_lightning.models.renderer.face_renderer import EncodedSource
from emo_lightning.models.renderer.mapping_net import WINDOW, still_window
from emo_lightning.renderers.base import register

if TYPE_CHECKING:
    from emo_lightning.face.portrait import Portrait


@register("keypoint")
class KeypointRenderer:
    """Frames of the portrait's own size from the trained network; those asked for at once are drawn as one batch.

    Args:
        folder: holds ``renderer.safetensors``; the shipped weights by default.

    Raises:
        UserError: there is no such file, or it cannot be read.
    """

    name = "keypoint"
    context = (WINDOW // 2, WINDOW // 2)

    def __init__(self, folder: str | Path | None = None) -> None:
        place = SHIPPED if folder is None else Path(folder)
        self.files = (place / "renderer.safetensors",)
        network = read_network(self.files[0], "renderer", "--checkpoint-dir")
        self.network, self.layout = load_renderer(network, "--checkpoint-dir"), network.layout

    @torch.no_grad()
    def prepare(self, portrait: Portrait) -> EncodedSource:
        """Encode the portrait.

        Raises:
            MismatchError: its coefficients have another layout than the network was trained with.
        """
        self.layout.check_same(
            portrait.coefficients.layout, "the trained renderer", "the portrait's coefficients"
        )
        image = torch.from_numpy(portrait.image.astype(np.float32) / 255.0).permute(2, 0, 1)[None]
        return self.network.prepare(
            image, still_window(torch.from_numpy(portrait.coefficients.joined()))
        )

    def render(self, source: EncodedSource, coefficients: Coefficients) -> Iterator[np.ndarray]:
        """Yield one ``(S, S, 3)`` uint8 RGB frame for each frame of coefficients but the context, 13 at either end.

        Raises:
            MismatchError: the coefficients have another layout than the network was trained with.
            ValueError: there are no more frames than the context has.
        """
        self.layout.check_same(coefficients.layout, "the trained renderer", "the coefficients")
        if len(coefficients) < WINDOW:
            raise ValueError(
                f"{len(coefficients)} frames, expected at least {WINDOW}: renderers.base.stream adds the context"
            )
        windows = torch.from_numpy(coefficients.joined()).unfold(0, WINDOW, 1).transpose(1, 2)
        with torch.no_grad():
            images = self.network.render(source, windows).image
            frames = (
                (images.clamp(0.0, 1.0) * 255.0)
                .round()
                .byte()
                .permute(0, 2, 3, 1)
                .contiguous()
                .numpy()
            )
        yield from frames
