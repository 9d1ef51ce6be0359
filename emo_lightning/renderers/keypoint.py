"""The learned renderer: stage 3's network behind the renderer interface.

The portrait is encoded once, and a frame is generated from the window of coefficients around it, as
in training.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from emo_lightning.core.device import InferenceContext
from emo_lightning.face.coefficients import Coefficients
from emo_lightning.models.checkpoint_io import SHIPPED, load_renderer, read_network
from emo_lightning.models.renderer.face_renderer import EncodedSource
from emo_lightning.models.renderer.mapping_net import WINDOW, still_window
from emo_lightning.renderers.registry import register

if TYPE_CHECKING:
    from emo_lightning.face.portrait import Portrait


@register("keypoint")
class KeypointRenderer:
    """Frames of the portrait's own size from the trained network, in batches.

    Args:
        folder: holds ``renderer.safetensors``; the shipped weights by default.
        inference: device and precision; float32 on the CPU by default.

    Raises:
        UserError: there is no such file, or it cannot be read.
    """

    name = "keypoint"
    context = (WINDOW // 2, WINDOW // 2)

    def __init__(
        self, folder: str | Path | None = None, inference: InferenceContext | None = None
    ) -> None:
        place = SHIPPED if folder is None else Path(folder)
        self.files = (place / "renderer.safetensors",)
        network = read_network(self.files[0], "renderer", "--checkpoint-dir")
        self.inference = inference or InferenceContext.create("cpu")
        module = load_renderer(network, "--checkpoint-dir")
        self.network, self.layout = self.inference.prepare(module, images=True), network.layout

    def prepare(self, portrait: Portrait) -> EncodedSource:
        """Encode the portrait.

        Raises:
            MismatchError: its coefficients have another layout than the network was trained with.
        """
        own = portrait.coefficients
        self.layout.check_same(own.layout, "the trained renderer", "the portrait's coefficients")
        image = self.inference.tensor(portrait.image).permute(2, 0, 1)[None].float() / 255.0
        with self.inference.inference():
            return self.network.prepare(image, still_window(self.inference.tensor(own.joined())))

    def _frames(self, source: EncodedSource, windows: torch.Tensor) -> np.ndarray:
        with self.inference.inference():
            images = self.network.render(source, windows).image.float().clamp(0.0, 1.0) * 255.0
            return images.round().byte().permute(0, 2, 3, 1).contiguous().cpu().numpy()

    def render(self, source: EncodedSource, coefficients: Coefficients) -> Iterator[np.ndarray]:
        """Yield one ``(S, S, 3)`` uint8 RGB frame for each frame but the context, 13 at either end.

        Raises:
            MismatchError: the coefficients have another layout than the network was trained with.
            ValueError: there are no more frames than the context has.
        """
        self.layout.check_same(coefficients.layout, "the trained renderer", "the coefficients")
        if len(coefficients) < WINDOW:
            need = f"expected at least {WINDOW}: renderers.base.stream adds the context"
            raise ValueError(f"{len(coefficients)} frames, {need}")
        windows = self.inference.tensor(coefficients.joined()).unfold(0, WINDOW, 1).transpose(1, 2)
        yield from self._frames(source, windows)
