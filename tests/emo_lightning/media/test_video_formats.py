"""Every output format decodes to what was written."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from emo_lightning.core.errors import UserError
from emo_lightning.media.video_formats import check_format, open_writer

FRAMES, SIZE = 12, (96, 64)


def frame(number: int, channels: int) -> np.ndarray:
    """A smooth gradient that moves, with a soft transparent border."""
    x, y = np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1]))
    planes = [(x * 2 + 4 * number) % 190, y * 3, 255 - x - y, np.minimum(255, 8 * x)]
    return np.stack(planes[:channels], axis=-1).astype(np.uint8)


def written(path: Path, channels: int = 3) -> Path:
    tone = 0.1 * np.sin(0.05 * np.arange(48_000 * FRAMES // 25))
    audio = iter(np.array_split(np.stack([tone, tone], axis=1).astype(np.float32), 3))
    with open_writer(path, SIZE, 25, audio) as writer:
        for number in range(FRAMES):
            writer.write(frame(number, channels))
    return path


@pytest.mark.parametrize(
    ("name", "codec", "audio", "error"),
    [
        ("a.mp4", "h264", "aac", 6.0),
        ("a.webm", "vp9", "opus", 6.0),
        ("a.mov", "prores", "pcm_s16le", 1.0),
        ("a.gif", "gif", None, 9.0),
    ],
)
def test_frames_and_audio_come_back(name, codec, audio, error, tmp_path):
    channels = 4 if name == "a.mov" else 3
    with av.open(str(written(tmp_path / name, channels))) as container:
        video, sounds = container.streams.video[0], container.streams.audio
        assert video.codec_context.name == codec and video.average_rate == 25
        assert [sound.codec_context.name for sound in sounds] == ([audio] if audio else [])
        decoded = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    assert len(decoded) == FRAMES
    visible = frame(5, 4)[..., 3:] > 128 if channels == 4 else True
    difference = np.abs(decoded[5].astype(float) - frame(5, 3))
    assert (difference * visible).mean() < error


def test_mov_keeps_alpha(tmp_path):
    with av.open(str(written(tmp_path / "a.mov", 4))) as container:
        decoded = [f.to_ndarray(format="rgba") for f in container.decode(video=0)]
    assert np.abs(decoded[5][..., 3].astype(int) - frame(5, 4)[..., 3]).mean() < 2.0


def test_a_folder_of_png_frames(tmp_path):
    files = sorted(written(tmp_path / "frames").iterdir())
    assert [path.name for path in files] == [f"{k:06d}.png" for k in range(1, FRAMES + 1)]
    assert np.array_equal(np.array(Image.open(files[5])), frame(5, 3))


def test_gif_takes_only_rates_that_it_can_express():
    check_format(Path("a.gif"), 50)
    check_format(Path("a.mp4"), 60)
    with pytest.raises(UserError, match="cannot have 30 frames/s"):
        check_format(Path("a.gif"), 30)
