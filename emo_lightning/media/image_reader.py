"""Reading of any image file to an upright 8-bit sRGB array, within limits of size and memory."""

from __future__ import annotations

import contextlib
import importlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

from emo_lightning.core.errors import UserError
from emo_lightning.media.container import LFS_PROBLEM, is_lfs_pointer

MAX_PIXELS = 200_000_000
"""More is refused from the header alone, before anything is decoded."""
WORK_SIDE = 4096
"""A longer image is reduced by a whole factor until its longer side is at most this."""
MIN_SIDE = 64
BACKGROUND = (200, 200, 200)
"""Composited under a transparent image."""
FORMATS = "a JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF, HEIC or JPEG 2000 picture"
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

_EXIF_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def load_picture(path: str | Path, argument: str = "--portrait") -> np.ndarray:
    """Decode an image to upright sRGB.

    EXIF orientation and ICC profiles are applied, transparency is composited over grey, and 16-bit,
    grey and CMYK images are converted.

    Args:
        path: an image in any format that Pillow reads, or HEIC; of an animation the first frame.
        argument: what the user calls the file, for messages.

    Returns:
        ``(H, W, 3)`` uint8; the longer side is at most WORK_SIDE pixels, reduced by averaging.

    Raises:
        UserError: no such file, not an image, damaged, fewer than MIN_SIDE pixels on a side, or
            more than MAX_PIXELS pixels.
    """
    path = Path(path)
    if not path.is_file():
        problem = "is a folder" if path.is_dir() else "does not exist"
        raise UserError(argument, path, FORMATS, problem)
    if is_lfs_pointer(path):
        raise UserError(argument, path, FORMATS, LFS_PROBLEM)
    try:
        with _own_pixel_limit(), _open(path, argument) as image:
            _check_size(image.size, path, argument)
            return _decode(image)
    except UserError:
        raise
    except PermissionError:
        problem = "cannot be read (permission denied)"
        raise UserError(argument, path, "a file that you may read", problem) from None
    except Image.UnidentifiedImageError:
        raise UserError(argument, path, FORMATS, "is not a picture") from None
    except Image.DecompressionBombError:
        raise _too_large(path, argument) from None
    except Exception as error:  # each format's decoder has its own exceptions for damaged data
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


def _open(path: Path, argument: str) -> Image.Image:
    with open(path, "rb") as file:
        head = file.read(12)
    if head[4:8] != b"ftyp" or head[8:] not in HEIC_BRANDS:
        return Image.open(path)
    try:
        library = importlib.import_module("pillow_heif")
    except ImportError:
        accepted = "pip install pillow-heif first, or a JPEG or PNG copy of it"
        raise UserError(argument, path, accepted, "is a HEIC picture") from None
    picture = library.open_heif(path)
    _check_size(picture.size, path, argument)
    return picture.to_pillow()


def _check_size(size: tuple[int, int], path: Path, argument: str) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise _too_large(path, argument)
    if min(width, height) < MIN_SIDE:
        accepted = f"at least {MIN_SIDE} x {MIN_SIDE} pixels"
        raise UserError(argument, path, accepted, f"is too small ({width} x {height})")


def _too_large(path: Path, argument: str) -> UserError:
    accepted = f"at most {MAX_PIXELS // 1_000_000} million pixels"
    return UserError(argument, path, accepted, "is too large")


def _decode(image: Image.Image) -> np.ndarray:
    try:
        orientation = int(image.getexif().get(_EXIF_ORIENTATION, 1))
    except Exception:  # damaged EXIF does not concern the pixels, which may be fine
        orientation = 1
    # A JPEG decoder can skip what will be averaged away anyway, for an eighth of the memory.
    image.draft(None, (WORK_SIDE, WORK_SIDE))
    image.load()
    rgb = _to_rgb(image)
    if orientation in _UPRIGHT:
        rgb = rgb.transpose(_UPRIGHT[orientation])
    return np.ascontiguousarray(rgb)


def _to_rgb(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    factor = -(-max(image.size) // WORK_SIDE)
    if image.mode.startswith("I") or image.mode == "F":
        image = Image.fromarray(_deep_grey_to_8bit(np.asarray(image)))
    if image.mode in ("P", "1", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA" if image.mode != "1" else "L")
    if factor > 1:
        image = image.reduce(factor)
    alpha = image.getchannel("A") if image.mode in ("RGBA", "LA") else None
    if alpha is not None:
        image = image.convert(image.mode.removesuffix("A"))
    image = _to_srgb(image, profile).convert("RGB")
    if alpha is not None:
        image = Image.composite(image, Image.new("RGB", image.size, BACKGROUND), alpha)
    return image


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert from an embedded ICC profile; a damaged one, or of other channels, is ignored."""
    if not profile or image.mode not in ("RGB", "CMYK", "L"):
        return image
    with contextlib.suppress(ImageCms.PyCMSError, OSError, ValueError):
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        target = ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
        return image if converted is None else converted
    return image


def _deep_grey_to_8bit(grey: np.ndarray) -> np.ndarray:
    """Grey ``(H, W)`` of 16 or 32 bits or float to uint8; white is 65535 or 1.0, or the maximum."""
    white = 1.0 if grey.dtype.kind == "f" else 65535.0
    grey = np.nan_to_num(grey.astype(np.float32), posinf=0.0, neginf=0.0)
    scale = 255.0 / max(white, float(grey.max(initial=0.0)))
    return np.clip(grey * scale, 0, 255).astype(np.uint8)
