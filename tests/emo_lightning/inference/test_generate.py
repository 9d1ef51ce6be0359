"""From files to files: picture, sound and emotion in; a video in sync, its coefficients and its description out."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from skimage import data

from emo_lightning import cli
from emo_lightning.core.errors import UserError
from emo_lightning.core.provenance import sha256_of
from emo_lightning.face.coefficients import BUILTIN, Coefficients
from emo_lightning.inference.generate import GenerateOptions, generate
from emo_lightning.inference.motion_controls import MotionControls
from emo_lightning.inference.speaker import mel_blocks
from emo_lightning.inference.weights import load_audio_to_motion
from emo_lightning.media.audio_reader import load_audio
from emo_lightning.models.checkpoint_io import export
from emo_lightning.models.decoupler.decoupler import AudioDecoupler, DecouplerConfig
from emo_lightning.models.motion.emotion_matrix import prototype_table
from emo_lightning.models.motion.motion_model import MotionModel, MotionModelConfig
from emo_lightning.models.renderer.face_renderer import FaceRenderer, RendererConfig
from emo_lightning.motion.emotion_track import EmotionTrack

RATE = 16_000
HAPPY = EmotionTrack.constant("happy", 12)


def voice(seconds: float, rate: int = RATE) -> np.ndarray:
    """A buzz whose loudness comes and goes four times a second, as in speech."""
    time = np.arange(round(seconds * rate)) / rate
    buzz = sum(np.sin(2 * np.pi * 120 * k * time) / k for k in range(1, 20))
    return (0.15 * buzz * np.sin(2 * np.pi * 2 * time) ** 2).astype(np.float32)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """Small untrained networks, as the first two stages export them."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    sizes = DecouplerConfig(front_width=16, width=16, content=8, mid_blocks=1, high_blocks=1)
    meta = {"layout": BUILTIN.to_dict(), "model": asdict(sizes)}
    mark = export(
        folder / "decoupler.safetensors",
        AudioDecoupler(sizes),
        {"product": "decoupler", "stage": 1, **meta},
    )
    heads = MotionModelConfig(exp_width=16, exp_blocks=1, emo_width=16, pose_width=16)
    meta = {"layout": BUILTIN.to_dict(), "model": asdict(heads), "content": 8, "predecessor": mark}
    export(
        folder / "heads.safetensors",
        MotionModel(heads, BUILTIN, 8, prototype_table(BUILTIN)),
        {"product": "heads", "stage": 2, **meta},
    )
    return folder


@pytest.fixture
def face(tmp_path) -> Path:
    """A photograph."""
    path = tmp_path / "face.png"
    Image.fromarray(data.astronaut()).save(path)
    return path


@pytest.fixture
def speech(tmp_path) -> Path:
    """1.5 s of a voice-like sound."""
    path = tmp_path / "voice.wav"
    soundfile.write(path, voice(1.5), RATE)
    return path


def frames_of(path: Path) -> np.ndarray:
    """All frames of a video, ``(T, H, W, 3)``."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_a_video_its_coefficients_and_its_description(face, speech, weights, tmp_path):
    out = tmp_path / "out.mp4"
    result = generate(
        face,
        speech,
        out,
        HAPPY,
        GenerateOptions(view="crop", size=128, seed=3, checkpoint_dir=weights),
    )
    assert (result.video, result.frames, result.fps) == (out, 38, 25.0)
    with av.open(str(out)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, audio.codec_context.name, video.average_rate) == (
            "h264",
            "aac",
            25,
        )
        assert (video.width, video.height, video.frames) == (128, 128, 38)
        assert abs(float(audio.duration * audio.time_base) - 38 / 25) < 0.04
    with np.load(result.coefficients, allow_pickle=False) as stored:
        assert {name: stored[name].shape for name in stored} == {
            name: (38, width) for name, width in BUILTIN.widths
        }
        assert np.abs(np.diff(stored["angle"], axis=0)).max() > 0
    about = json.loads(result.sidecar.read_text())
    assert (about["frames"], about["fps"], about["coefficients"]["file"]) == (38, 25.0, "out.npz")
    assert about["emotion_track"]["keys"] == [{"time": 0.0, "emotion": "happy", "level": 12.0}]
    assert about["weights"]["heads.safetensors"] == sha256_of(weights / "heads.safetensors")
    assert about["inputs"] == {"portrait": sha256_of(face), "audio": sha256_of(speech)}
    assert {"portrait", "audio", "render", "encode", "total"} <= set(about["seconds"])
    assert about["provenance"]["arguments"]["seed"] == 3
    assert str(tmp_path) not in result.sidecar.read_text()
    assert {path.name for path in tmp_path.iterdir()} == {
        "face.png",
        "voice.wav",
        "out.mp4",
        "out.npz",
        "out.json",
    }


def test_the_head_moves_in_the_whole_picture(speech, weights, tmp_path):
    photograph = data.astronaut()[:, :400]
    Image.fromarray(photograph).save(tmp_path / "tall.png")
    result = generate(
        tmp_path / "tall.png",
        speech,
        tmp_path / "out.mp4",
        HAPPY,
        GenerateOptions(size=320, checkpoint_dir=weights, view="full"),
    )
    film = frames_of(result.video).astype(float)
    assert film.shape == (38, 320, 250, 3)
    moves = film.std(axis=0).mean(axis=2)
    # The mean, since what the encoder does to single pixels of a still background reaches a few grey levels.
    assert moves[-60:].mean() < 0.5, "knees stay where they are"
    assert moves.max() > 10.0
    about = json.loads(result.sidecar.read_text())
    assert (about["view"], about["width"], about["height"]) == ("full", 250, 320)
    with pytest.raises(UserError, match="--view"):
        generate(
            tmp_path / "tall.png",
            speech,
            tmp_path / "out.mp4",
            HAPPY,
            GenerateOptions(checkpoint_dir=weights, view="poster"),
        )


def test_learned_renderer_draws_every_frame_though_it_looks_ahead(
    face, speech, weights, tmp_path
) -> None:
    sizes = RendererConfig(
        image_size=32,
        keypoints=5,
        depth=2,
        channels=4,
        width=8,
        max_width=16,
        levels=2,
        mapping_width=16,
    )
    meta = {
        "layout": BUILTIN.to_dict(),
        "model": asdict(sizes),
        "product": "renderer",
        "stage": 3,
        "predecessor": None,
    }
    folder = shutil.copytree(weights, tmp_path / "weights")
    export(folder / "renderer.safetensors", FaceRenderer(sizes, BUILTIN), meta)
    result = generate(
        face,
        speech,
        tmp_path / "out.mp4",
        HAPPY,
        GenerateOptions(view="crop", renderer="keypoint", size=64, checkpoint_dir=folder),
    )
    assert result.frames == 38 and frames_of(result.video).shape == (38, 64, 64, 3)
    assert result.seconds["render"] > 0 and result.seconds["coefficients"] > 0
    assert "renderer.safetensors" in json.loads(result.sidecar.read_text())["weights"]


def test_the_sound_is_the_recording_in_its_place(face, weights, tmp_path):
    wave = np.random.default_rng(5).standard_normal(20_000).astype(np.float32) * voice(1.25)
    soundfile.write(tmp_path / "noise.wav", wave, RATE)
    generate(
        face,
        tmp_path / "noise.wav",
        tmp_path / "out.mp4",
        HAPPY,
        GenerateOptions(view="crop", size=128, checkpoint_dir=weights),
    )
    heard = load_audio(tmp_path / "out.mp4")
    assert abs(len(heard) - len(wave)) <= 640
    short = min(len(heard), len(wave))
    match = np.fft.irfft(np.fft.rfft(heard[:short]) * np.conj(np.fft.rfft(wave[:short])))
    lag = int(np.argmax(match))
    assert min(lag, short - lag) <= 16, "more than a millisecond off"


def test_sound_is_read_as_it_is_needed(weights, tmp_path):
    soundfile.write(tmp_path / "long.wav", voice(40.0), RATE)
    talker, heard = load_audio_to_motion(weights), 0

    def counted():
        nonlocal heard
        for rows in mel_blocks(tmp_path / "long.wav"):
            heard += len(rows)
            yield rows

    still = Coefficients(
        BUILTIN, {block: np.zeros((1, width), np.float32) for block, width in BUILTIN.widths}
    )
    made = 0
    for chunk in talker.generate(counted(), still, HAPPY, total_frames=1000):
        made += len(chunk)
        assert heard / 4 - made <= 25 * (talker.latency + 2)
    assert made == heard / 4 == 1000


def test_a_quiet_recording_moves_the_lips_as_much(face, weights, tmp_path):
    said = []
    for name, factor in (("loud", 1.0), ("quiet", 0.05)):
        soundfile.write(tmp_path / f"{name}.wav", factor * voice(1.0), RATE, subtype="FLOAT")
        result = generate(
            face,
            tmp_path / f"{name}.wav",
            tmp_path / f"{name}.mp4",
            HAPPY,
            GenerateOptions(view="crop", size=128, checkpoint_dir=weights),
        )
        with np.load(result.coefficients, allow_pickle=False) as stored:
            said.append(stored["exp"])
    assert np.abs(said[0] - said[1]).mean() < 0.02 * np.ptp(said[0])


def test_the_same_seed_gives_the_same_frames(face, speech, weights, tmp_path):
    made = [
        generate(
            face,
            speech,
            tmp_path / f"{i}.mp4",
            HAPPY,
            GenerateOptions(view="crop", size=128, seed=seed, checkpoint_dir=weights),
        )
        for i, seed in enumerate((7, 7, 8))
    ]
    first, again, other = (frames_of(result.video) for result in made)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first.astype(int) - other).mean() > 0.1


def test_without_head_motion_the_head_stays(face, speech, weights, tmp_path):
    result = generate(
        face,
        speech,
        tmp_path / "out.mp4",
        HAPPY,
        GenerateOptions(
            view="crop", size=128, controls=MotionControls(head_motion=0), checkpoint_dir=weights
        ),
    )
    with np.load(result.coefficients, allow_pickle=False) as stored:
        assert np.ptp(stored["angle"], axis=0).max() == 0
        assert np.ptp(stored["trans"], axis=0).max() == 0
        assert np.ptp(stored["exp"], axis=0).max() > 0


@pytest.mark.parametrize(
    ("name", "rate", "channels", "options"),
    [
        ("a.wav", 8000, 2, {}),
        ("a.flac", 44_100, 2, {}),
        ("a.ogg", 48_000, 1, {}),
        ("a.mp3", 22_050, 1, {}),
        ("a.wav", 96_000, 6, {"subtype": "PCM_24"}),
    ],
)
def test_any_recording(name, rate, channels, options, face, weights, tmp_path):
    path = tmp_path / name
    soundfile.write(path, np.repeat(voice(0.8, rate)[:, None], channels, axis=1), rate, **options)
    result = generate(
        face,
        path,
        tmp_path / "out.mp4",
        HAPPY,
        GenerateOptions(view="crop", size=128, checkpoint_dir=weights),
    )
    assert abs(result.frames - 20) <= (2 if name.endswith("mp3") else 0)


def test_the_command_line_makes_the_same(face, speech, weights, tmp_path, capsys):
    track = tmp_path / "track.yaml"
    track.write_text(
        "onset: 0.4\nkeys:\n- {time: 0, emotion: neutral}\n- {time: 0.7, emotion: sad, level: 9.5}\n"
    )
    words = [
        "generate",
        "--portrait",
        str(face),
        "--audio",
        str(speech),
        "--size",
        "128",
        "--view",
        "crop",
        "--checkpoint-dir",
        str(weights),
    ]
    assert (
        cli.main([*words, "--emotion-track", str(track), "--out", str(tmp_path / "cli.mp4")]) == 0
    )
    out, err = capsys.readouterr()
    assert "generate: 38 of 38, 100 %" in err
    assert out.startswith("wrote ") and out.count("\n") == 1 and "38 frames, 1.52 s" in out
    about = json.loads((tmp_path / "cli.json").read_text())
    assert about["emotion_track"] == {
        "onset": 0.4,
        "keys": [
            {"time": 0.0, "emotion": "neutral", "level": None},
            {"time": 0.7, "emotion": "sad", "level": 9.5},
        ],
    }
    result = generate(
        face,
        speech,
        tmp_path / "api.mp4",
        EmotionTrack.load(track),
        GenerateOptions(view="crop", size=128, checkpoint_dir=weights),
    )
    np.testing.assert_array_equal(frames_of(tmp_path / "cli.mp4"), frames_of(result.video))


def test_interruption_leaves_nothing(face, weights, tmp_path):
    soundfile.write(tmp_path / "long.wav", voice(60.0), RATE)
    out = tmp_path / "out"
    out.mkdir()
    words = [
        "generate",
        "--portrait",
        str(face),
        "--audio",
        str(tmp_path / "long.wav"),
        "--out",
        str(out / "o.mp4"),
    ]
    command = [sys.executable, "-m", "emo_lightning.cli", *words, "--checkpoint-dir", str(weights)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr.readline().startswith("generate: ")
    assert list(out.iterdir())
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and err.endswith("emo: interrupted\n")
    assert not list(out.iterdir())


def test_weights_that_do_not_belong_together(face, speech, weights, tmp_path, capsys):
    other = tmp_path / "other"
    other.mkdir()
    (other / "heads.safetensors").write_bytes((weights / "heads.safetensors").read_bytes())
    sizes = DecouplerConfig(front_width=16, width=16, content=8, mid_blocks=1, high_blocks=1)
    meta = {"product": "decoupler", "stage": 1, "layout": BUILTIN.to_dict(), "model": asdict(sizes)}
    export(other / "decoupler.safetensors", AudioDecoupler(sizes), meta)
    words = [
        "generate",
        "--portrait",
        str(face),
        "--audio",
        str(speech),
        "--out",
        str(tmp_path / "o.mp4"),
        "--checkpoint-dir",
        str(other),
    ]
    assert cli.main(words) == 2
    assert "does not belong to this decoupler" in capsys.readouterr().err
    assert not (tmp_path / "o.mp4").exists()
