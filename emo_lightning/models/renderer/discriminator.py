"""Multi-scale patch discriminator (Wang et al., *pix2pixHD*, 2018), as face-vid2vid uses it."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from emo_lightning.models.layers.convolution import downsample, norm


class PatchDiscriminator(nn.Module):
    """One scale: ``(B, 3, S, S)`` to the features of each layer, the last one the score map."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        widths = [3] + [min(width * 2**i, 8 * width) for i in range(layers)]
        blocks: list[nn.Module] = []
        for i, (n_in, n_out) in enumerate(pairwise(widths)):
            convolution = nn.Conv2d(n_in, n_out, 4, stride=2, padding=1)
            normalisation = [norm(n_out)] if i else []
            blocks.append(nn.Sequential(convolution, *normalisation, nn.LeakyReLU(0.2)))
        self.blocks = nn.ModuleList([*blocks, nn.Conv2d(widths[-1], 1, 3, padding=1)])

    def forward(self, image: Tensor) -> list[Tensor]:
        features = []
        for block in self.blocks:
            image = block(image)
            features.append(image)
        return features


class MultiScaleDiscriminator(nn.Module):
    """Patch discriminators at full size, half size and so on."""

    def __init__(self, width: int = 32, layers: int = 3, scales: int = 2) -> None:
        super().__init__()
        self.scales = nn.ModuleList(PatchDiscriminator(width, layers) for _ in range(scales))

    def forward(self, image: Tensor) -> list[list[Tensor]]:
        """Features of every layer at every scale."""
        out = []
        for i, net in enumerate(self.scales):
            image = downsample(image) if i else image
            out.append(net(image))
        return out
