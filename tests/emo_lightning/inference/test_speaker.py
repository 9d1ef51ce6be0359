"""The Python API: any kind of portrait and audio in, frames, coefficients and a file out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from skimage import data

from emo_lightning import Speaker
from emo_lightning.core.errors import UserError
from emo_lightning.inference.generate import GenerateOptions, generate
from emo_lightning.inference.speaker import SpeechOptions, as_track
from emo_lightning.motion.emotion_track import EmotionTrack

PICTURE = data.astronaut()
SMALL = SpeechOptions(size=64, seed=3)


def voice(seconds: float, rate: int = 16_000) -> np.ndarray:
    """Buzz with the loudness of syllables."""
    time = np.arange(round(seconds * rate)) / rate
    buzz = sum(np.sin(2 * np.pi * 120 * k * time) / k for k in range(1, 20))
    return (0.15 * buzz * np.sin(2 * np.pi * 2 * time) ** 2).astype(np.float32)


@pytest.fixture(scope="module")
def speaker() -> Speaker:
    return Speaker.load(device="cpu", audio_encoder="mel")


def test_the_package_imports_without_torch() -> None:
    code = "import sys, emo_lightning; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(ImportError, match="Listener"):
        exec("from emo_lightning import Listener")


def test_every_kind_of_portrait_is_the_same_portrait(speaker: Speaker, tmp_path: Path) -> None:
    path = tmp_path / "face.png"
    Image.fromarray(PICTURE).save(path)
    portraits = (
        path,
        str(path),
        PICTURE,
        PICTURE.astype(np.float32) / 255.0,
        torch.from_numpy(PICTURE).permute(2, 0, 1),
        Image.fromarray(PICTURE),
    )
    prepared = [speaker.prepare(portrait, size=64) for portrait in portraits]
    for other in prepared[1:]:
        np.testing.assert_array_equal(other.face.image, prepared[0].face.image)
    assert prepared[0] is prepared[1] and prepared[2] is prepared[5], "prepared once"
    full = speaker.prepare(PICTURE, view="full", size=256)
    assert full.size == (256, 256) and full.placement is not None


def test_every_kind_of_audio_gives_the_same_motion(speaker: Speaker, tmp_path: Path) -> None:
    wave = voice(0.6)
    soundfile.write(tmp_path / "voice.wav", wave, 16_000, subtype="FLOAT")
    exact = (tmp_path / "voice.wav", wave, torch.from_numpy(wave), wave[:, None].repeat(2, 1))
    videos = [speaker.speak(PICTURE, audio, "happy", 12, options=SMALL) for audio in exact]
    for video in videos[1:]:
        np.testing.assert_allclose(
            video.coefficients.joined(), videos[0].coefficients.joined(), atol=1e-4
        )
    other = speaker.speak(PICTURE, voice(0.6, 44_100), options=SMALL, sample_rate=44_100)
    integers = (wave * 32767).astype(np.int16)
    assert len(other) == len(speaker.speak(PICTURE, integers, options=SMALL)) == 15


def test_a_video_has_frames_coefficients_timings_and_a_file(
    speaker: Speaker, tmp_path: Path
) -> None:
    video = speaker.speak(PICTURE, voice(0.8), emotion="happy", level=12, options=SMALL)
    frames = np.stack(list(video.frames))
    assert frames.shape == (20, 64, 64, 3) and frames.dtype == np.uint8
    np.testing.assert_array_equal(frames, np.stack(list(video)))
    assert len(video) == 20 and video.coefficients["exp"].shape[0] == 20
    assert {"portrait", "audio", "coefficients", "render", "total"} <= set(video.timings)
    assert video.audio_encoder == "mel"
    path = video.save(tmp_path / "out.mp4")
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == 20 and container.streams.audio
    with pytest.raises(UserError, match=r"ends in \.mp4"):
        video.save(tmp_path / "out.avi")
    assert [p.name for p in tmp_path.iterdir()] == ["out.mp4"]


def test_the_documented_example_runs(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(PICTURE).save(tmp_path / "me.jpg")
    soundfile.write(tmp_path / "hello.wav", voice(0.4), 16_000)
    monkeypatch.chdir(tmp_path)
    text = (repository / "docs" / "howto" / "python-api.md").read_text(encoding="utf-8")
    exec(text.split("```python\n")[1].split("```")[0], {})
    assert (tmp_path / "hello.mp4").is_file()


def test_it_gives_what_the_command_line_gives(speaker: Speaker, tmp_path: Path) -> None:
    Image.fromarray(PICTURE).save(tmp_path / "face.png")
    soundfile.write(tmp_path / "voice.wav", voice(0.6), 16_000)
    paths = (tmp_path / "face.png", tmp_path / "voice.wav")
    track = [(0, "sad", 5), {"time": 0.3, "emotion": "happy", "level": 9}]
    video = speaker.speak(*paths, track=track, options=SMALL)
    options = GenerateOptions(size=64, seed=3, audio_encoder="mel", device="cpu")
    written = generate(*paths, tmp_path / "out.mp4", as_track(track), options)
    with np.load(written.coefficients, allow_pickle=False) as stored:
        for block in stored:
            np.testing.assert_array_equal(stored[block], video.coefficients[block])


def test_a_track_may_be_a_list() -> None:
    track = as_track([(0, "sad", 5), (2, "happy", 9)])
    assert track == EmotionTrack.parse({"keys": [(0, "sad", 5), (2, "happy", 9)]})
    assert as_track(track) is track
    with pytest.raises(UserError, match="track key 1 time"):
        as_track([(0, "sad", 5), (0, "happy", 9)])


@pytest.mark.parametrize(
    ("portrait", "audio", "message"),
    [
        (np.zeros((64, 64)), voice(0.5), "portrait .* is not a picture"),
        (np.full((128, 128, 3), 90, np.uint8), voice(0.5), "the given picture"),
        (PICTURE, np.full(8000, np.nan, np.float32), "audio .* is not audio"),
        (PICTURE, np.zeros(8000, np.float32), "is silent"),
        (PICTURE, Path("missing.wav"), "missing.wav"),
    ],
)
def test_wrong_inputs_are_named(
    speaker: Speaker, portrait: object, audio: object, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        speaker.speak(portrait, audio, options=SMALL)


def test_half_precision_hardly_changes_a_learned_frame(tmp_path: Path) -> None:
    """Flow and warp stay float32; convolutions in bfloat16 change a pixel by a level or two."""
    frames = []
    for precision in ("float32", "bfloat16"):
        speaker = Speaker.load("cpu", "keypoint", "mel", precision=precision)
        options = SpeechOptions(size=64, view="crop")
        video = speaker.speak(PICTURE, voice(0.3), "happy", 12, options=options)
        frames.append(np.stack(list(video.frames)).astype(int))
    assert np.abs(frames[0] - frames[1]).max() <= 3
