"""Every wrong input ends in one line that names the argument and what would be accepted, exit code 2, and nothing written."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import soundfile
from skimage import data

from emo_lightning import cli

RATE = 16_000


def voice(seconds: float, rate: int = RATE) -> np.ndarray:
    """A buzz whose loudness comes and goes four times a second, as in speech."""
    time = np.arange(round(seconds * rate)) / rate
    buzz = sum(np.sin(2 * np.pi * 120 * k * time) / k for k in range(1, 20))
    return (0.15 * buzz * np.sin(2 * np.pi * 2 * time) ** 2).astype(np.float32)


@pytest.fixture
def good(tmp_path: Path) -> dict[str, Path]:
    """Arguments that would work, each file in a folder of its own; a test exchanges one of them."""
    inputs, out = tmp_path / "in", tmp_path / "out"
    inputs.mkdir()
    out.mkdir()
    save(inputs / "face.png", data.astronaut())
    soundfile.write(inputs / "voice.wav", voice(1.0), RATE)
    return {
        "--portrait": inputs / "face.png",
        "--audio": inputs / "voice.wav",
        "--out": out / "video.mp4",
    }


def save(path: Path, rgb: np.ndarray) -> Path:
    """Write a picture."""
    assert cv2.imwrite(str(path), cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2BGR))
    return path


def refused(arguments: dict[str, object], capfd: pytest.CaptureFixture[str], folder: Path) -> str:
    """Run ``emo generate``, check the manners of its refusal, and return the line."""
    before = {path for path in folder.rglob("*")}
    code = cli.main(["generate", *(str(word) for pair in arguments.items() for word in pair)])
    out, err = capfd.readouterr()
    assert code == 2
    assert out == ""
    assert err.startswith("emo: ") and err.count("\n") == 1 and "; accepted: " in err, err
    assert {path for path in folder.rglob("*")} == before
    return err


def blur(size: int) -> np.ndarray:
    """Clouds of colour without a face."""
    noise = np.random.default_rng(1).integers(0, 255, (8, 8, 3), np.uint8)
    return cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC)


FACE = data.astronaut()
PICTURES = {
    "no face": (lambda: blur(400), "no face"),
    "two faces": (lambda: np.hstack([FACE[:300, 100:400], FACE[:300, 400:100:-1]]), "2 faces"),
    "a smaller second face": (
        lambda: np.hstack([FACE, np.pad(cv2.resize(FACE, (360, 360)), ((152, 0), (0, 0), (0, 0)))]),
        "2 faces",
    ),
    "a profile": (
        lambda: np.repeat(cv2.resize(data.camera(), (1024, 1024))[..., None], 3, axis=2),
        "turned",
    ),
    "40 x 40": (
        lambda: cv2.resize(FACE[:256, 100:356], (40, 40), interpolation=cv2.INTER_AREA),
        "too small",
    ),
    "a face of 40 pixels": (
        lambda: cv2.resize(FACE, (200, 200), interpolation=cv2.INTER_AREA),
        "too small",
    ),
    "cut at the chin": (lambda: FACE[:150], "cut off at the bottom edge"),
    "cut at the side": (lambda: FACE[:, 212:], "cut off at the left edge"),
}


@pytest.mark.parametrize("name", PICTURES)
def test_pictures(name, good, tmp_path, capfd):
    make, words = PICTURES[name]
    save(good["--portrait"], make())
    line = refused(good, capfd, tmp_path)
    assert line.startswith("emo: --portrait '") and any(
        word in line for word in words.split("|")
    ), line


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "does not exist"),
        (b"", "is not a picture"),
        (b"\x89PNG\r\n\x1a\n" + bytes(500), "damaged"),
        (b"hello", "is not a picture"),
    ],
)
def test_picture_files(content, words, good, tmp_path, capfd):
    good["--portrait"].unlink()
    if content is not None:
        good["--portrait"].write_bytes(content)
    line = refused(good, capfd, tmp_path)
    assert line.startswith("emo: --portrait '") and (words in line or "is not a picture" in line), (
        line
    )


SOUNDS = {
    "silent": (lambda path: soundfile.write(path, np.zeros(RATE), RATE), "silent"),
    "0.1 s": (
        lambda path: soundfile.write(path, voice(0.1), RATE),
        "0.10 s long; accepted: a recording of at least 0.2 s",
    ),
    "no samples": (lambda path: soundfile.write(path, np.zeros(0), RATE), "accepted: a recording"),
    "zero bytes": (lambda path: path.write_bytes(b""), "is empty"),
    "text": (lambda path: path.write_text("this is not a recording\n" * 40), "cannot be decoded"),
    "a picture": (
        lambda path: save(path.with_suffix(".png"), FACE).rename(path),
        "accepted: a recording",
    ),
    "missing": (lambda path: path.unlink(), "does not exist"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "is not a file"),
}


@pytest.mark.parametrize("name", SOUNDS)
def test_sounds(name, good, tmp_path, capfd):
    make, words = SOUNDS[name]
    make(good["--audio"])
    line = refused(good, capfd, tmp_path)
    assert line.startswith("emo: --audio '") and words in line, line


@pytest.mark.parametrize(
    ("extra", "start"),
    [
        (
            {"--emotion": "jealous", "--level": "3"},
            "emo: --emotion 'jealous' is not an emotion",
        ),
        (
            {"--emotion": "happy", "--level": "0"},
            "emo: --level '0' is out of range; accepted: a number from 1 to 15",
        ),
        (
            {"--emotion": "happy", "--level": "16"},
            "emo: --level '16' is out of range; accepted: a number from 1 to 15",
        ),
        ({"--emotion": "happy", "--level": "nan"}, "emo: --level 'nan' is out of range"),
        (
            {"--emotion": "happy", "--level": "high"},
            "emo: --level 'high' is not a number; accepted: a number from 1 to 15",
        ),
        ({"--level": "8"}, "emo: --level '8' has no emotion; accepted: an --emotion"),
        (
            {"--level-from-voice": "5.5"},
            "emo: --level-from-voice '5.5' is out of range; accepted: a number of levels from 0 (off) to 5",
        ),
        ({"--level-from-voice": "-1"}, "emo: --level-from-voice '-1' is out of range"),
        ({"--level-from-voice": "loud"}, "emo: --level-from-voice 'loud' is not a number"),
        ({"--renderer": "oil"}, "emo: --renderer 'oil' is not a renderer; accepted: "),
        (
            {"--size": "64"},
            "emo: --size '64' is out of range; accepted: a whole number from 128 to 1024",
        ),
        (
            {"--size": "257"},
            "emo: --size '257' is not accepted; accepted: a whole number from 128 to 1024, a multiple of 16",
        ),
        ({"--seed": "-1"}, "emo: --seed '-1' is out of range; accepted: a whole number"),
        ({"--emotion-track": "absent.yaml"}, "emo: --emotion-track 'absent.yaml' cannot be read"),
        ({"--checkpoint-dir": "absent"}, "emo: --checkpoint-dir 'absent' "),
        ({"--audio-encoder": "left"}, "emo: --audio-encoder 'left' "),
        (
            {"--audio-encoder": "whisper", "--checkpoint-dir": "."},
            "emo: --audio-encoder 'whisper' does not go with --checkpoint-dir",
        ),
    ],
)
def test_settings(extra, start, good, tmp_path, capfd):
    assert refused({**good, **extra}, capfd, tmp_path).startswith(start)


def test_a_track_excludes_an_emotion(good, tmp_path, capfd):
    track = tmp_path / "track.yaml"
    track.write_text("- {time: 0, emotion: sad, level: 4}\n")
    line = refused({**good, "--emotion-track": track, "--emotion": "happy"}, capfd, tmp_path)
    assert line.startswith("emo: --emotion 'happy' does not go with --emotion-track")
    track.write_text("- {time: 0, emotion: sad, level: 40}\n")
    assert refused({**good, "--emotion-track": track}, capfd, tmp_path).startswith(
        "emo: --emotion-track key 0 level '40' is out of range"
    )


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("absent/video.mp4", "a folder that does not exist"),
        ("out/video.avi", "does not end in .mp4"),
        ("in", "is a folder that is not empty"),
        ("in/voice.wav/video.mp4", "a folder that is a file"),
        ("folder.mp4", "is a folder"),
    ],
)
def test_outputs(out, words, good, tmp_path, capfd):
    (tmp_path / "folder.mp4").mkdir()
    line = refused({**good, "--out": tmp_path / out}, capfd, tmp_path)
    assert line.startswith("emo: --out '") and words in line, line


def test_a_folder_that_cannot_be_written(good, tmp_path, capfd):
    # The kernel's own folder refuses new files even to root, who may write anywhere else.
    folder = Path("/proc") if os.geteuid() == 0 else tmp_path / "locked"
    if folder != Path("/proc"):
        folder.mkdir(mode=0o555)
    line = refused({**good, "--out": folder / "video.mp4"}, capfd, tmp_path)
    assert line.startswith("emo: --out '") and "cannot be written" in line, line


def test_an_input_is_not_overwritten(good, tmp_path, capfd):
    clip = tmp_path / "in" / "clip.mp4"
    good["--audio"].rename(clip)
    line = refused({**good, "--audio": clip, "--out": clip}, capfd, tmp_path)
    assert line.startswith("emo: --out '") and "is an input" in line


@pytest.mark.parametrize("kind", ["json", "npz", "mp4"])
def test_a_users_file_is_not_overwritten(kind, good, tmp_path, capfd):
    mine = good["--out"].with_suffix(f".{kind}")
    mine.write_text('{"text": "a transcript of mine"}')
    line = refused(good, capfd, tmp_path)
    assert line.startswith("emo: --out '") and "was not made by this program" in line
    assert mine.read_text() == '{"text": "a transcript of mine"}'


def test_an_emotion_track_in_json_is_not_overwritten(good, tmp_path, capfd):
    track = good["--out"].with_suffix(".json")
    track.write_text('[{"time": 0, "emotion": "happy", "level": 9}]')
    line = refused({**good, "--emotion-track": track}, capfd, tmp_path)
    assert "is an input" in line and "happy" in track.read_text()
