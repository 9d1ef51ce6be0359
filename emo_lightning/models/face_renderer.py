"""Stage 3's network: a source image and windows of coefficients to a frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from emo_lightning.coefficients import Layout
from emo_lightning.models.dense_motion import DenseMotion, Flow
from emo_lightning.models.generator import AppearanceEncoder, Generator
from emo_lightning.models.keypoints import KeypointDetector, pose_points, unpose_points
from emo_lightning.models.mapping import MappingNet, Motion


@dataclass
class RendererConfig:
    """Sizes of the renderer. The defaults are for a CPU and ours; the paper's size follows face-vid2vid and PIRender."""

    image_size: int = 128
    """Side of the images, pixels; divisible by 4 times 2 ** ``levels``."""
    keypoints: int = 10
    depth: int = 4
    """Slices of the feature volume."""
    channels: int = 8
    """Channels of the feature volume."""
    width: int = 16
    max_width: int = 128
    levels: int = 3
    """Times that the hourglasses halve their input."""
    volume_blocks: int = 1
    image_blocks: int = 2
    mapping_width: int = 128
    bins: int = 0
    """66 classes an angle as published, or 0: correct the pose of the coefficients."""
    skip: bool = True
    """Mix in the warped source image."""


class Source(NamedTuple):
    """What a portrait contributes to every frame: image (B, 3, S, S), volume, keypoints in the image, canonical ones, motion."""

    image: Tensor
    volume: Tensor
    keypoints: Tensor
    canonical: Tensor
    motion: Motion


class Rendering(NamedTuple):
    """``image`` (B, 3, S, S) in 0..1, ``keypoints`` (B, K, 3) of the driving frame, its ``motion`` and the ``flow``."""

    image: Tensor
    keypoints: Tensor
    motion: Motion
    flow: Flow


class FaceRenderer(nn.Module):
    """MappingNet, keypoints, dense motion, appearance encoder and generator.

    Args:
        config: sizes.
        layout: coefficient layout that MappingNet reads.
    """

    def __init__(self, config: RendererConfig, layout: Layout) -> None:
        super().__init__()
        if config.image_size % (4 * 2**config.levels):
            raise ValueError(f"image_size {config.image_size} is not divisible by {4 * 2**config.levels}")
        self.config, self.layout = config, layout
        c = config
        self.mapping = MappingNet(layout, c.keypoints, c.mapping_width, c.bins)
        self.detector = KeypointDetector(c.keypoints, c.depth, c.width, c.levels, c.max_width)
        self.appearance = AppearanceEncoder(c.width, c.max_width, c.channels, c.depth, c.volume_blocks)
        self.dense_motion = DenseMotion(c.keypoints, c.channels, c.depth, c.width, c.levels, c.max_width)
        self.generator = Generator(c.width, c.max_width, c.channels, c.depth, c.image_blocks, c.skip)

    def forward(self, image: Tensor, source: Tensor, driving: Tensor) -> tuple[Source, Rendering]:
        """Render the driving frame from the source image; both coefficient windows are ``(B, 27, layout.size)``."""
        prepared = self.prepare(image, source)
        return prepared, self.render(prepared, driving)

    def prepare(self, image: Tensor, source: Tensor) -> Source:
        """Everything about the source that no driving frame changes; the image may be larger than ``image_size``."""
        motion, size = self.mapping(source), self.config.image_size
        small = image if image.shape[-1] == size else F.interpolate(image, size=(size, size), mode="bilinear", antialias=True)
        keypoints = self.detector(small)
        return Source(image, self.appearance(small), keypoints, unpose_points(keypoints, motion), motion)

    def render(self, source: Source, driving: Tensor) -> Rendering:
        """A frame for the middle of each window ``driving`` (B, 27, layout.size); the source may be one for all of them."""
        motion = self.mapping(driving)
        keypoints = pose_points(source.canonical, motion)
        flow = self.dense_motion(source.volume, source.keypoints, keypoints, (source.motion, motion))
        return Rendering(self.generator(source.volume, flow, source.image), keypoints, motion, flow)
