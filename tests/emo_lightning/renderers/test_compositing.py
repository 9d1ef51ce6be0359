"""A head that the frame's top cuts off goes on above it as far as a round head does."""

from __future__ import annotations

import numpy as np
import pytest

from emo_lightning.renderers.mesh.background.compositing import ABOVE, separate_layers

SIZE = 200


@pytest.mark.parametrize(("lowered", "low", "high"), [(70, 0, 2), (55, 2, 9), (20, 20, 60)])
def test_the_top_of_a_cut_head_is_as_high_as_its_width_says(
    lowered: int, low: int, high: int
) -> None:
    """A disc of 60 pixels whose centre lies so far below the top."""
    row, column = np.mgrid[:SIZE, :SIZE] + 0.5
    alpha = (np.hypot(column - SIZE / 2, row - lowered) < 60).astype(np.float32)
    image = np.where(alpha[..., None] > 0, 30, 200).astype(np.uint8) * np.ones(3, np.uint8)
    layers = separate_layers(image, alpha)
    above = layers.visible[: round(ABOVE * SIZE), :, 3] > 127
    height = int(above.any(axis=1).sum())
    assert low <= height <= high
    assert np.abs(layers.background.astype(int) - 200).max() < 12, (
        "nothing of the head stays behind"
    )
