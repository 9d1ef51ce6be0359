"""Network of stage 3: a source image and windows of coefficients to frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emo_lightning.face.coefficients import Layout
from emo_lightning.models.renderer.dense_motion import DenseMotion, Flow
from emo_lightning.models.renderer.generator import AppearanceEncoder, Generator, MeshGenerator
from emo_lightning.models.renderer.keypoint_detector import (
    KeypointDetector,
    pose_points,
    unpose_points,
)
from emo_lightning.models.renderer.mapping_net import KeypointMotion, MappingNet
from emo_lightning.models.renderer.mesh_keypoints import MeshKeypoints


@dataclass
class RendererConfig:
    """Sizes of the renderer. The defaults are for a CPU and ours; the paper's size follows
    face-vid2vid and PIRender."""

    image_size: int = 128
    """Side of the images, pixels; divisible by 4 times 2 ** ``levels``."""
    keypoints: int = 10
    """Keypoints detected in the image."""
    depth: int = 4
    """Slices of the feature volume."""
    channels: int = 8
    """Channels of the feature volume."""
    width: int = 16
    """Channels of the first layers."""
    max_width: int = 128
    """Most channels of a layer."""
    levels: int = 3
    """Levels of the hourglasses."""
    volume_blocks: int = 1
    """Residual blocks of the appearance encoder."""
    image_blocks: int = 2
    """Residual blocks of the generator."""
    mapping_width: int = 128
    """Channels of MappingNet."""
    bins: int = 0
    """66 classes an angle as published, or 0: correct the pose of the coefficients."""
    skip: bool = True
    """Mix in the warped source image."""
    mesh_keypoints: int = 0
    """Dense keypoints attached to face model vertices, besides those detected in the image; 0 for
    none, as published."""
    flow_resolution: int = 64
    """Side of the grid that the mesh keypoints' flow is computed on."""
    output_scale: int = 1
    """Output size over ``image_size``, 1 or 2; 2 needs mesh keypoints. The rest of the network sees
    ``image_size``."""


class EncodedSource(NamedTuple):
    """Encoded portrait: image (B, 3, S, S), feature volume, keypoints in the image, canonical ones,
    motion, image at the network's size, and mesh keypoints in the image (B, A, 3) if any."""

    image: Tensor
    volume: Tensor
    keypoints: Tensor
    canonical: Tensor
    motion: KeypointMotion
    small: Tensor
    mesh_points: Tensor | None = None


class Rendering(NamedTuple):
    """``image`` (B, 3, S, S) in 0..1, driving ``keypoints`` (B, K, 3), ``motion`` and ``flow``;
    with mesh keypoints their positions ``mesh_points`` (B, A, 3) and the ``paint`` (B, 4, S, S)."""

    image: Tensor
    keypoints: Tensor
    motion: KeypointMotion
    flow: Flow
    mesh_points: Tensor | None = None
    paint: Tensor | None = None


class FaceRenderer(nn.Module):
    """MappingNet, keypoint detector, dense motion, appearance encoder and generator.

    Args:
        config: sizes.
        layout: coefficient layout of MappingNet's input.

    Raises:
        ValueError: an image size that the levels do not divide.
    """

    def __init__(self, config: RendererConfig, layout: Layout) -> None:
        super().__init__()
        c, divisor = config, 4 * 2**config.levels
        if c.image_size % divisor:
            raise ValueError(f"image_size {c.image_size} is not divisible by {divisor}")
        self.config, self.layout = config, layout
        self.mapping = MappingNet(layout, c.keypoints, c.mapping_width, c.bins)
        self.detector = KeypointDetector(c.keypoints, c.depth, c.width, c.levels, c.max_width)
        self.appearance = AppearanceEncoder(
            c.width, c.max_width, c.channels, c.depth, c.volume_blocks
        )
        self.dense_motion = DenseMotion(
            c.keypoints, c.channels, c.depth, c.width, c.levels, c.max_width, c.mesh_keypoints > 0
        )
        sizes = (c.width, c.max_width, c.channels, c.depth, c.image_blocks)
        if c.mesh_keypoints:
            self.generator = MeshGenerator(*sizes, c.mapping_width, c.output_scale)
            self.mesh = MeshKeypoints(c.mesh_keypoints, layout)
        else:
            self.generator, self.mesh = Generator(*sizes, c.skip), None

    @property
    def output_size(self) -> int:
        """Side of the output in training, pixels."""
        return self.config.image_size * self.config.output_scale

    def forward(
        self, image: Tensor, source: Tensor, driving: Tensor
    ) -> tuple[EncodedSource, Rendering]:
        """Render the driving frame from the source image.

        Args:
            image: ``(B, 3, S, S)`` in 0..1.
            source, driving: ``(B, 27, layout.size)`` coefficient windows.
        """
        prepared = self.prepare(image, source)
        return prepared, self.render(prepared, driving)

    def prepare(self, image: Tensor, source: Tensor) -> EncodedSource:
        """Encode the source once for all frames; the image may be larger than ``image_size``."""
        motion, small = self.mapping(source), self.at_own_size(image)
        keypoints, volume = self.detector(small), self.appearance(small)
        canonical = unpose_points(keypoints, motion)
        points = None if self.mesh is None else self.mesh.posed_points(middle(source), motion)
        return EncodedSource(image, volume, keypoints, canonical, motion, small, points)

    def at_own_size(self, image: Tensor) -> Tensor:
        """The image ``(B, 3, S, S)`` with ``image_size`` pixels a side."""
        size = self.config.image_size
        if image.shape[-1] == size:
            return image
        return F.interpolate(image, size=(size, size), mode="bilinear", antialias=True)

    def render(self, source: EncodedSource, driving: Tensor) -> Rendering:
        """Frames for the middles of the windows ``driving`` (B, 27, layout.size); B or 1
        sources."""
        motion = self.mapping(driving)
        keypoints = pose_points(source.canonical, motion)
        points = (source.keypoints, keypoints, (source.motion, motion))
        if self.mesh is None or source.mesh_points is None:
            flow = self.dense_motion(source.volume, *points)
            image = self.generator(source.volume, flow, source.image)
            return Rendering(image, keypoints, motion, flow)
        frame = middle(driving)
        mesh_points = self.mesh.posed_points(frame, motion)
        cells = self.config.flow_resolution
        mesh = self.mesh.splat(source.mesh_points, mesh_points, frame, motion, cells)
        flow = self.dense_motion(source.volume, *points, mesh)
        code = torch.cat([source.motion.code.expand_as(motion.code), motion.code], dim=1)
        images = (source.image, source.small)
        image, paint = self.generator(source.volume, flow, mesh, images, code)
        return Rendering(image, keypoints, motion, flow, mesh_points, paint)


def middle(window: Tensor) -> Tensor:
    """Coefficients ``(B, C)`` of the middle frame of a window ``(B, 27, C)``."""
    return window[:, window.shape[1] // 2]
