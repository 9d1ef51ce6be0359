"""Frames with an alpha channel: the person without the background.

A frame is rendered over black and over white; the difference is the background's share of each
pixel.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from emo_lightning.core.errors import UserError
from emo_lightning.face.coefficients import Coefficients
from emo_lightning.inference.speaker import PreparedPortrait, Speaker


def render_with_alpha(
    speaker: Speaker, prepared: PreparedPortrait, chunks: Iterable[Coefficients]
) -> Iterator[np.ndarray]:
    """Yield frames ``(S, S, 4)`` uint8 RGBA, colours not multiplied by alpha.

    Raises:
        UserError: a full view, a renderer without layers, or a portrait whose person could not be
            separated from the background.
    """
    layers = getattr(prepared.source, "layers", None)
    if prepared.placement is not None or layers is None:
        problem = "has alpha, but the person could not be separated from the background"
        accepted = "--view crop and --renderer mesh with a plain background, or another format"
        raise UserError("--out", "video.mov", accepted, problem)
    flat = (np.full_like(layers.background, value) for value in (0, 255))
    sources = [
        replace(prepared.source, layers=replace(layers, background=colour)) for colour in flat
    ]
    return _frames(speaker, [replace(prepared, source=source) for source in sources], chunks)


def _frames(
    speaker: Speaker, pair: list[PreparedPortrait], chunks: Iterable[Coefficients]
) -> Iterator[np.ndarray]:
    for chunk in chunks:
        black, white = (speaker.render(prepared, [chunk]) for prepared in pair)
        for dark, light in zip(black, white, strict=True):
            behind = (light.astype(np.int16) - dark).max(axis=2, keepdims=True)
            alpha = np.clip(255 - behind, 0, 255)
            colours = dark * (255.0 / np.maximum(alpha, 1))
            rgba = np.concatenate([np.rint(colours.clip(0, 255)), alpha], axis=2)
            yield rgba.astype(np.uint8)
