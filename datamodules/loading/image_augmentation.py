"""Image augmentation of the refiner's data: colour, contrast, blur, noise, zoom, horizontal flip.

Portrait, rendered and true frame are changed alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from emo_lightning.face.coefficients import EXP_NAMES

_SIDES = {"_L": "_R", "_R": "_L"}
MIRROR = np.array(
    [EXP_NAMES.index(n[:-2] + _SIDES[n[-2:]] if n[-2:] in _SIDES else n) for n in EXP_NAMES]
)
"""Place of each expression unit in a mirrored face."""


@dataclass(frozen=True)
class ImageAugmentation:
    """One random augmentation.

    Attributes:
        mirrored: flipped horizontally.
        zoom: of the work picture.
        gain, gamma: ``(3,)`` each, of red, green and blue.
        mix: ``(3, 3)`` of the colours, rows that sum to 1.
        contrast: around the middle grey.
        blur: standard deviation in pixels.
        noise: standard deviation in 0..1, and its seed.
    """

    mirrored: bool
    zoom: float
    gain: np.ndarray
    gamma: np.ndarray
    mix: np.ndarray
    contrast: float
    blur: float
    noise: tuple[float, int]

    @staticmethod
    def random(generator: np.random.Generator) -> ImageAugmentation:
        """Skin from light to dark, light from warm to cold, pictures from sharp to soft."""
        light = np.exp(generator.normal(0.0, 0.2)) * np.exp(generator.normal(0.0, 0.1, 3))
        gamma = np.exp(generator.normal(0.0, 0.35)) * np.exp(generator.normal(0.0, 0.08, 3))
        saturation = float(np.exp(generator.normal(0.0, 0.35)))
        grey = np.full((3, 3), 1.0 / 3.0)
        mix = saturation * np.eye(3) + (1.0 - saturation) * grey
        contrast = float(np.exp(generator.normal(0.0, 0.15)))
        blur = float(generator.uniform(0.4, 1.1)) if generator.random() < 0.2 else 0.0
        noise = float(generator.uniform(0.005, 0.03)) if generator.random() < 0.2 else 0.0
        zoom = float(np.exp(generator.uniform(np.log(0.75), np.log(1.2))))
        seed = int(generator.integers(2**31))
        return ImageAugmentation(
            bool(generator.random() < 0.5), zoom, light, gamma, mix, contrast, blur, (noise, seed)
        )

    def __call__(self, row: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """A changed row of :class:`datamodules.loading.refiner_datamodule.RefinedShards`."""
        row = dict(row)
        row["still"] = np.concatenate([self._coloured(row["still"][:3]), row["still"][3:]])
        frame, target = (
            self._coloured(row[name] / np.float32(255.0)) for name in ("frame", "target")
        )
        if self.noise[0]:
            grain = np.random.default_rng(self.noise[1]).normal(0.0, self.noise[0], frame.shape)
            frame, target = (np.clip(image + grain, 0.0, 1.0) for image in (frame, target))
        row["frame"], row["target"] = (
            np.rint(255.0 * image).astype(np.uint8) for image in (frame, target)
        )
        return _mirrored(row) if self.mirrored else row

    def _coloured(self, image: np.ndarray) -> np.ndarray:
        gain, gamma = (a[:, None, None].astype(np.float32) for a in (self.gain, self.gamma))
        image = np.clip(image * gain, 0.0, 1.0) ** gamma
        image = np.tensordot(self.mix.astype(np.float32), image, axes=1)
        image = np.clip(0.5 + self.contrast * (image - 0.5), 0.0, 1.0).astype(np.float32)
        if self.blur:
            image = np.stack([cv2.GaussianBlur(plane, (0, 0), self.blur) for plane in image])
        return image


def _mirrored(row: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Left and right exchanged in pictures, places, flow, expressions, yaw and roll."""
    flipped = {name: row[name][..., ::-1].copy() for name in ("still", "moving", "frame", "target")}
    flow = row["flow"][:, ::-1].copy()
    flipped["still"][3] *= -1
    flipped["moving"][4] *= -1
    flow[..., 0] *= -1
    exp, own, turn = np.split(row["condition"], [len(MIRROR), 2 * len(MIRROR)])
    condition = np.concatenate([exp[MIRROR], own[MIRROR], turn * np.array([1, -1, -1], np.float32)])
    return {**row, **flipped, "flow": flow, "condition": condition}
