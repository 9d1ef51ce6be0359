"""Any picture file to an upright 8-bit RGB array, within stated limits of size and memory."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from emo_lightning.core.errors import UserError

MAX_PIXELS = 200_000_000
"""More is refused from the header alone, before anything is decoded."""
WORK_SIDE = 4096
"""A longer picture is reduced by a whole factor until its longer side is at most this."""
MIN_SIDE = 64
BACKDROP = (200, 200, 200)
"""What shows through where a picture is transparent."""
FORMATS = "a JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF or JPEG 2000 picture"

_EXIF_ORIENTATION = 0x0112
_UPRIGHT = {
    2: (Image.Transpose.FLIP_LEFT_RIGHT,), 3: (Image.Transpose.ROTATE_180,), 4: (Image.Transpose.FLIP_TOP_BOTTOM,),
    5: (Image.Transpose.TRANSPOSE,), 6: (Image.Transpose.ROTATE_270,), 7: (Image.Transpose.TRANSVERSE,), 8: (Image.Transpose.ROTATE_90,),
}  # fmt: skip


def load_picture(path: str | Path, argument: str = "--portrait") -> np.ndarray:
    """Decode a picture: upright by its EXIF orientation, transparency laid on grey, 16-bit, grey and CMYK brought to RGB.

    Args:
        path: a picture in any format that Pillow reads; of an animation the first frame.
        argument: what the user calls the file, for messages.

    Returns:
        ``(H, W, 3)`` uint8 RGB; its longer side is at most :data:`WORK_SIDE` pixels, reduced by averaging.

    Raises:
        UserError: no such file, not a picture, damaged, fewer than :data:`MIN_SIDE` pixels on a side, or more than
            :data:`MAX_PIXELS` pixels.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(
            argument, path, FORMATS, "is a folder" if path.is_dir() else "does not exist"
        )
    try:
        with _own_pixel_limit(), Image.open(path) as image:
            _check_size(image.size, path, argument)
            return _decode(image)
    except UserError:
        raise
    except PermissionError:
        raise UserError(
            argument, path, "a file that you may read", "cannot be read (permission denied)"
        ) from None
    except Image.UnidentifiedImageError:
        raise UserError(argument, path, FORMATS, "is not a picture") from None
    except Image.DecompressionBombError:
        raise _too_large(path, argument) from None
    except Exception as error:  # each format's decoder has exceptions of its own for damaged data
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(argument, path, FORMATS, f"is damaged ({reason})") from None


@contextlib.contextmanager
def _own_pixel_limit() -> Iterator[None]:
    """Let Pillow open what we accept: its own limit is lower than ours and first only warns."""
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _check_size(size: tuple[int, int], path: Path, argument: str) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise _too_large(path, argument)
    if min(width, height) < MIN_SIDE:
        raise UserError(
            argument,
            path,
            f"at least {MIN_SIDE} x {MIN_SIDE} pixels",
            f"is too small ({width} x {height})",
        )


def _too_large(path: Path, argument: str) -> UserError:
    return UserError(
        argument, path, f"at most {MAX_PIXELS // 1_000_000} million pixels", "is too large"
    )


def _decode(image: Image.Image) -> np.ndarray:
    orientation = _orientation(image)
    # A JPEG decoder can leave out what will be averaged away anyway: 108 million pixels then take an eighth of the memory.
    image.draft(None, (WORK_SIDE, WORK_SIDE))
    image.load()
    array = _to_rgb(image)
    for step in _UPRIGHT.get(orientation, ()):
        array = np.asarray(Image.fromarray(array).transpose(step))
    return np.ascontiguousarray(array)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_EXIF_ORIENTATION, 1))
    except Exception:  # damaged EXIF says nothing about the pixels, which may be fine
        return 1


def _to_rgb(image: Image.Image) -> np.ndarray:
    factor = -(-max(image.size) // WORK_SIDE)
    if image.mode.startswith("I") or image.mode == "F":
        image = Image.fromarray(_deep_grey_to_8bit(np.asarray(image)))
    if image.mode in ("P", "1", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA" if image.mode != "1" else "L")
    if factor > 1:
        image = image.reduce(factor)
    if image.mode in ("RGBA", "LA"):
        picture = image.convert("RGBA")
        backdrop = Image.new("RGBA", picture.size, (*BACKDROP, 255))
        image = Image.alpha_composite(backdrop, picture)
    return np.asarray(image.convert("RGB"))


def _deep_grey_to_8bit(grey: np.ndarray) -> np.ndarray:
    """Grey of 16 or 32 bits or float ``(H, W)`` -> uint8; white is 65535, for float 1, or the picture's own peak if that is higher."""
    white = 1.0 if grey.dtype.kind == "f" else 65535.0
    grey = np.nan_to_num(grey.astype(np.float32), posinf=0.0, neginf=0.0)
    return np.clip(grey * (255.0 / max(white, float(grey.max(initial=0.0)))), 0, 255).astype(
        np.uint8
    )
