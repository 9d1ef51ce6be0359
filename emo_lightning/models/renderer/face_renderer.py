"""Stage 3's network: a source image and windows of coefficients to a frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emo_lightning.face.coefficients import Layout
from emo_lightning.models.renderer.dense_motion import DenseMotion, Flow
from emo_lightning.models.renderer.generator import AppearanceEncoder, Generator, Retoucher
from emo_lightning.models.renderer.keypoint_detector import (
    KeypointDetector,
    pose_points,
    unpose_points,
)
from emo_lightning.models.renderer.mapping_net import MappingNet, Motion
from emo_lightning.models.renderer.mesh_keypoints import MeshKeypoints


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
    mesh_keypoints: int = 0
    """Dense keypoints attached to face model vertices, besides those detected in the image; 0 for none, as published."""
    flow_resolution: int = 64
    """Side of the grid that the mesh keypoints' flow is computed on."""
    output_scale: int = 1
    """Output size over ``image_size``, 1 or 2; 2 needs mesh keypoints. The rest of the network sees ``image_size``."""


class Source(NamedTuple):
    """What a portrait contributes to every frame: image (B, 3, S, S), volume, keypoints in the image, canonical ones,
    motion, the image at the network's size, and with a sheet its anchors in the image (B, A, 3)."""

    image: Tensor
    volume: Tensor
    keypoints: Tensor
    canonical: Tensor
    motion: Motion
    small: Tensor
    anchors: Tensor | None = None


class Rendering(NamedTuple):
    """``image`` (B, 3, S, S) in 0..1, ``keypoints`` (B, K, 3) of the driving frame, its ``motion`` and the ``flow``;
    with a sheet ``anchors`` (B, A, 3), where it is, and the ``paint`` (B, 4, S, S) on it."""

    image: Tensor
    keypoints: Tensor
    motion: Motion
    flow: Flow
    anchors: Tensor | None = None
    paint: Tensor | None = None


class FaceRenderer(nn.Module):
    """MappingNet, keypoints, dense motion, appearance encoder and generator.

    Args:
        config: sizes.
        layout: coefficient layout that MappingNet reads.
    """

    def __init__(self, config: RendererConfig, layout: Layout) -> None:
        super().__init__()
        if config.image_size % (4 * 2**config.levels):
            raise ValueError(
                f"image_size {config.image_size} is not divisible by {4 * 2**config.levels}"
            )
        self.config, self.layout = config, layout
        c = config
        self.mapping = MappingNet(layout, c.keypoints, c.mapping_width, c.bins)
        self.detector = KeypointDetector(c.keypoints, c.depth, c.width, c.levels, c.max_width)
        self.appearance = AppearanceEncoder(
            c.width, c.max_width, c.channels, c.depth, c.volume_blocks
        )
        self.dense_motion = DenseMotion(
            c.keypoints, c.channels, c.depth, c.width, c.levels, c.max_width, c.mesh_keypoints > 0
        )
        sizes = (c.width, c.max_width, c.channels, c.depth, c.image_blocks)
        self.generator = (
            Retoucher(*sizes, c.mapping_width, c.output_scale)
            if c.mesh_keypoints
            else Generator(*sizes, c.skip)
        )
        self.sheet = MeshKeypoints(c.mesh_keypoints, layout) if c.mesh_keypoints else None

    @property
    def output_size(self) -> int:
        """Side of the images that it is trained on and paints."""
        return self.config.image_size * self.config.output_scale

    def forward(self, image: Tensor, source: Tensor, driving: Tensor) -> tuple[Source, Rendering]:
        """Render the driving frame from the source image; both coefficient windows are ``(B, 27, layout.size)``."""
        prepared = self.prepare(image, source)
        return prepared, self.render(prepared, driving)

    def prepare(self, image: Tensor, source: Tensor) -> Source:
        """Everything about the source that no driving frame changes; the image may be larger than ``image_size``."""
        motion, small = self.mapping(source), self.at_own_size(image)
        keypoints = self.detector(small)
        anchors = None if self.sheet is None else self.sheet.points(middle(source), motion)
        return Source(
            image,
            self.appearance(small),
            keypoints,
            unpose_points(keypoints, motion),
            motion,
            small,
            anchors,
        )

    def at_own_size(self, image: Tensor) -> Tensor:
        """The image ``(B, 3, S, S)`` with ``image_size`` pixels a side."""
        size = self.config.image_size
        return (
            image
            if image.shape[-1] == size
            else F.interpolate(image, size=(size, size), mode="bilinear", antialias=True)
        )

    def render(self, source: Source, driving: Tensor) -> Rendering:
        """A frame for the middle of each window ``driving`` (B, 27, layout.size); the source may be one for all of them."""
        motion = self.mapping(driving)
        keypoints = pose_points(source.canonical, motion)
        motions = (source.motion, motion)
        if self.sheet is None or source.anchors is None:
            flow = self.dense_motion(source.volume, source.keypoints, keypoints, motions)
            return Rendering(
                self.generator(source.volume, flow, source.image), keypoints, motion, flow
            )
        anchors = self.sheet.points(middle(driving), motion)
        sheet = self.sheet.lay(
            source.anchors, anchors, middle(driving), motion, self.config.flow_resolution
        )
        flow = self.dense_motion(source.volume, source.keypoints, keypoints, motions, sheet)
        code = torch.cat([source.motion.code.expand_as(motion.code), motion.code], dim=1)
        image, paint = self.generator(
            source.volume, flow, sheet, (source.image, source.small), code
        )
        return Rendering(image, keypoints, motion, flow, anchors, paint)


def middle(window: Tensor) -> Tensor:
    """The coefficients ``(B, C)`` that a window ``(B, 27, C)`` is about."""
    return window[:, window.shape[1] // 2]
