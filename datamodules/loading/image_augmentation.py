"""Changes of colour, sharpness, size and side that make a few faces stand for many: the same for portrait, drawn and true frame."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from emo_lightning.face.coefficients import EXP_NAMES

MIRROR = np.array(
    [
        EXP_NAMES.index(
            f"{n[:-2]}_R" if n.endswith("_L") else f"{n[:-2]}_L" if n.endswith("_R") else n
        )
        for n in EXP_NAMES
    ]
)
"""Where each expression unit of a mirrored face is found."""


@dataclass(frozen=True)
class ImageAugmentation:
    """One draw of changes.

    Attributes:
        mirrored: left and right change places.
        zoom: of the work picture.
        gain, gamma: ``(3,)`` each, of red, green and blue.
        mix: ``(3, 3)`` of the colours, rows that sum to 1.
        contrast: around the middle grey.
        blur: standard deviation in pixels.
        noise: standard deviation in 0..1, and the seed of its draw.
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
    def draw(generator: np.random.Generator) -> ImageAugmentation:
        """Light skin to dark, warm light to cold, sharp pictures to soft ones."""
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
        """The row of a batch, changed; see :class:`datamodules.loading.refiner_datamodule.RefinedShards`."""
        row = dict(row)
        row["still"] = np.concatenate([self._coloured(row["still"][:3]), row["still"][3:]])
        frame, target = (self._coloured(row[name]) for name in ("frame", "target"))
        if self.noise[0]:
            grain = (
                np.random.default_rng(self.noise[1])
                .normal(0.0, self.noise[0], frame.shape)
                .astype(np.float32)
            )
            frame, target = (np.clip(image + grain, 0.0, 1.0) for image in (frame, target))
        row["frame"], row["target"] = frame, target
        return _mirrored(row) if self.mirrored else row

    def _coloured(self, image: np.ndarray) -> np.ndarray:
        image = np.clip(
            image * self.gain[:, None, None].astype(np.float32), 0.0, 1.0
        ) ** self.gamma[:, None, None].astype(np.float32)
        image = np.tensordot(self.mix.astype(np.float32), image, axes=1)
        image = np.clip(0.5 + self.contrast * (image - 0.5), 0.0, 1.0).astype(np.float32)
        return (
            np.stack([cv2.GaussianBlur(plane, (0, 0), self.blur) for plane in image])
            if self.blur
            else image
        )


def _mirrored(row: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Left and right exchanged in pictures, places, shifts, expressions and turns (yaw and roll)."""
    still, moving, flow = (
        row["still"][..., ::-1].copy(),
        row["moving"][..., ::-1].copy(),
        row["flow"][:, ::-1].copy(),
    )
    still[3], moving[4], flow[..., 0] = -still[3], -moving[4], -flow[..., 0]
    exp, own, turn = np.split(row["condition"], [len(MIRROR), 2 * len(MIRROR)])
    condition = np.concatenate([exp[MIRROR], own[MIRROR], turn * np.array([1, -1, -1], np.float32)])
    pictures = {name: row[name][..., ::-1] for name in ("frame", "target")}
    return {
        **row,
        **pictures,
        "still": still,
        "moving": moving,
        "flow": flow,
        "condition": condition,
    }
