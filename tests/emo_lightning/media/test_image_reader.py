"""Any picture file becomes upright RGB; what cannot is refused in one line."""

from __future__ import annotations

import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from emo_lightning.core.errors import UserError
from emo_lightning.media.image_reader import BACKGROUND, MAX_PIXELS, WORK_SIDE, load_picture

QUADRANTS = np.zeros((80, 120, 3), np.uint8)
QUADRANTS[:40, :60], QUADRANTS[:40, 60:] = (200, 30, 30), (30, 200, 30)
QUADRANTS[40:, :60], QUADRANTS[40:, 60:] = (30, 30, 200), (180, 180, 60)


def save(folder: Path, name: str, image: Image.Image, **options: object) -> Path:
    """Write a picture and return where it is."""
    path = folder / name
    image.save(path, **options)
    return path


def off_by(picture: np.ndarray, truth: np.ndarray) -> float:
    """Mean difference in grey levels; a picture of another shape fails."""
    assert picture.shape == truth.shape
    assert picture.dtype == np.uint8
    return float(np.abs(picture.astype(int) - truth).mean())


@pytest.mark.parametrize(
    "name", ["a.png", "a.jpg", "a.webp", "a.bmp", "a.tiff", "a.gif", "a.avif", "a.jp2"]
)
def test_formats(tmp_path, name):
    assert off_by(load_picture(save(tmp_path, name, Image.fromarray(QUADRANTS))), QUADRANTS) < 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(tmp_path, orientation):
    # The camera's own steps, in reverse: what has to be stored so that this orientation shows the quadrants upright.
    stored = {
        1: QUADRANTS,
        2: QUADRANTS[:, ::-1],
        3: QUADRANTS[::-1, ::-1],
        4: QUADRANTS[::-1],
        5: QUADRANTS.transpose(1, 0, 2),
        6: np.rot90(QUADRANTS, 1),
        7: QUADRANTS[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(QUADRANTS, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(
        tmp_path, "turned.jpg", Image.fromarray(np.ascontiguousarray(stored)), exif=exif, quality=95
    )
    assert off_by(load_picture(path), QUADRANTS) < 4


def test_transparency_lies_on_grey(tmp_path):
    rgba = np.dstack([QUADRANTS, np.full(QUADRANTS.shape[:2], 255, np.uint8)])
    rgba[:40, :, 3] = 0
    picture = load_picture(save(tmp_path, "a.png", Image.fromarray(rgba)))
    assert (picture[:40] == BACKGROUND).all()
    assert off_by(picture[40:], QUADRANTS[40:]) == 0
    palette = Image.fromarray(QUADRANTS).quantize(8)
    picture = load_picture(save(tmp_path, "p.png", palette, transparency=palette.getpixel((0, 0))))
    assert (picture[:40, :60] == BACKGROUND).all()
    assert off_by(picture[40:], QUADRANTS[40:]) < 2


def test_grey_deep_and_cmyk(tmp_path):
    grey = np.tile(np.linspace(0, 255, 128, dtype=np.uint8), (96, 1))
    truth = np.repeat(grey[..., None], 3, axis=2)
    assert off_by(load_picture(save(tmp_path, "g.png", Image.fromarray(grey))), truth) == 0
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    assert off_by(load_picture(save(tmp_path, "g16.png", deep)), truth) < 1
    assert (
        off_by(
            load_picture(save(tmp_path, "f.tiff", Image.fromarray(grey.astype(np.float32) / 255))),
            truth,
        )
        < 1
    )
    assert (
        off_by(
            load_picture(
                save(tmp_path, "c.jpg", Image.fromarray(QUADRANTS).convert("CMYK"), quality=95)
            ),
            QUADRANTS,
        )
        < 5
    )


@pytest.mark.parametrize("name", ["big.jpg", "big.png"])
def test_108_million_pixels_are_reduced(tmp_path, name):
    big = Image.new("RGB", (12000, 9000), (90, 120, 150))
    big.paste((200, 40, 40), (0, 0, 6000, 4500))
    picture = load_picture(
        save(tmp_path, name, big, **({"compress_level": 1} if name.endswith("png") else {}))
    )
    height, width = picture.shape[:2]
    assert WORK_SIDE / 3 < width <= WORK_SIDE
    assert abs(width / height - 4 / 3) < 0.01
    assert abs(picture[height // 4, width // 4].astype(int) - (200, 40, 40)).max() < 4
    assert abs(picture[-1, -1].astype(int) - (90, 120, 150)).max() < 4


def png(width: int, height: int) -> bytes:
    """A black and white PNG of any size whose data break off after the first rows."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(4096))),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks
    )


def test_a_bomb_is_refused_from_its_header(tmp_path):
    (tmp_path / "bomb.png").write_bytes(png(30_000, 30_000))
    with pytest.raises(UserError, match=f"too large.*{MAX_PIXELS // 1_000_000} million"):
        load_picture(tmp_path / "bomb.png")
    (tmp_path / "cut.png").write_bytes(png(300, 300))
    with pytest.raises(UserError, match="is damaged"):
        load_picture(tmp_path / "cut.png")


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.mkdir(), "is a folder"),
        (lambda path: path.write_bytes(b""), "is not a picture"),
        (lambda path: path.write_bytes(b"not a picture at all" * 50), "is not a picture"),
        (
            lambda path: path.write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(300)),
            "is not a picture|is damaged",
        ),
        (lambda path: Image.new("RGB", (40, 40)).save(path, "PNG"), r"too small \(40 x 40\)"),
    ],
)
def test_refusals_name_the_argument(tmp_path, make, problem):
    path = tmp_path / "portrait.png"
    make(path)
    with pytest.raises(UserError, match=f"--portrait .*({problem}).*; accepted: "):
        load_picture(path)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp"])
def test_half_a_file_is_damaged(tmp_path, name):
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    path = save(tmp_path, name, Image.fromarray(noise))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match=r"is damaged|is not a picture"):
        load_picture(path)


def test_icc_profiles_are_converted_to_srgb(tmp_path):
    """A picture whose profile swaps red and green looks right only when the profile is applied."""
    swapped = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    tags = {bytes(swapped[132 + 12 * i : 136 + 12 * i]): 132 + 12 * i for i in range(swapped[131])}
    red, green = tags[b"rXYZ"] + 4, tags[b"gXYZ"] + 4
    swapped[red : red + 4], swapped[green : green + 4] = (
        swapped[green : green + 4],
        swapped[red : red + 4],
    )
    picture = Image.fromarray(np.full((80, 80, 3), (200, 40, 40), np.uint8))
    picture.save(tmp_path / "a.png", icc_profile=bytes(swapped))
    picture.save(tmp_path / "b.jpg", icc_profile=bytes(swapped), quality=95, subsampling=0)
    picture.putalpha(255)
    picture.save(tmp_path / "c.png", icc_profile=bytes(swapped))
    for name in ("a.png", "b.jpg", "c.png"):
        np.testing.assert_allclose(load_picture(tmp_path / name)[40, 40], (40, 200, 40), atol=6)
    picture.convert("RGB").save(tmp_path / "d.png", icc_profile=b"no profile")
    np.testing.assert_array_equal(load_picture(tmp_path / "d.png")[40, 40], (200, 40, 40))


def test_heic_is_read_or_named(tmp_path, monkeypatch):
    pillow_heif = pytest.importorskip("pillow_heif")
    picture = np.tile(np.arange(96, dtype=np.uint8)[None, :, None], (72, 1, 3))
    pillow_heif.from_pillow(Image.fromarray(picture)).save(tmp_path / "a.heic", quality=100)
    read = load_picture(tmp_path / "a.heic")
    assert read.shape == picture.shape and np.abs(read.astype(int) - picture).mean() < 2
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(UserError, match="is a HEIC picture; accepted: pip install pillow-heif"):
        load_picture(tmp_path / "a.heic")


def test_git_lfs_pointers_are_named(tmp_path):
    (tmp_path / "a.png").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(UserError, match="is a Git LFS pointer; run git lfs pull"):
        load_picture(tmp_path / "a.png")
