"""LPIPS: learned perceptual image patch similarity.

R. Zhang, P. Isola, A. Efros, E. Shechtman, O. Wang, CVPR 2018, version 0.1 of the authors' ``lpips`` package: features of
an ImageNet network after each of its stages, weighted by the authors' linear heads. Agrees with ``lpips.LPIPS`` on the same
weights to 1e-5 of the value, for all three networks. The network itself is :mod:`evaluation.judges.lpips_net`.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from evaluation.metrics.perceptual_distance import FeatureMaps, PerceptualDistance, feature_distance

LAYERS: dict[str, tuple[int, ...]] = {
    "alex": (64, 192, 384, 256, 256),
    "vgg": (64, 128, 256, 512, 512),
    "squeeze": (64, 128, 256, 384, 384, 512, 512),
}
"""Networks that have heads, with the channels of their layers."""


def lpips(
    generated: Sequence[Tensor], reference: Sequence[Tensor], heads: Sequence[Tensor]
) -> Tensor:
    """LPIPS of each pair of pictures from their feature maps.

    Args:
        generated: one map ``(B, C, h, w)`` a layer.
        reference: the same shapes.
        heads: the authors' weights, ``(C,)`` a layer, none negative.

    Returns:
        ``(B,)`` float64, 0 for equal pictures.

    Raises:
        ValueError: shapes that do not fit each other, or a negative weight.
    """
    if any(bool((head < 0).any()) for head in heads):
        raise ValueError("heads hold a negative weight: these are not LPIPS heads")
    return feature_distance(generated, reference, heads)


class LPIPS(PerceptualDistance):
    """Mean LPIPS over every pair of frames seen.

    Args:
        network: from frames ``(B, 3, H, W)`` uint8 to the feature maps of one of :data:`LAYERS`.
        heads: that network's weights, ``(C,)`` a layer.

    Raises:
        ValueError: heads that no network of :data:`LAYERS` has.
    """

    def __init__(self, network: FeatureMaps, heads: Sequence[Tensor]) -> None:
        channels = tuple(len(head) for head in heads)
        if channels not in LAYERS.values():
            raise ValueError(
                f"heads have {channels} channels, expected those of {', '.join(LAYERS)}"
            )
        super().__init__(network, heads)
