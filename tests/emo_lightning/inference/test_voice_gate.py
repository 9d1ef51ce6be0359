"""Noise and tones keep the mouth shut, speech passes, however the rows arrive."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import emo_lightning
from emo_lightning.core.errors import UserError
from emo_lightning.face.builtin import BuiltinFaceModel
from emo_lightning.face.coefficients import BUILTIN, Coefficients
from emo_lightning.inference.audio_to_motion import AudioToMotion
from emo_lightning.inference.voice_gate import VoiceGate
from emo_lightning.inference.weights import SHIPPED_WEIGHTS, load_audio_to_motion
from emo_lightning.media.audio_reader import load_audio
from emo_lightning.media.loudness import levelled
from emo_lightning.media.spectrogram import MEL_KINDS, log_mel
from emo_lightning.motion.emotion_track import EmotionTrack

SPEECH = Path(emo_lightning.__file__).parent / "samples" / "speech.flac"
SOURCE = Coefficients(
    BUILTIN, {block: np.zeros((1, width), np.float32) for block, width in BUILTIN.widths}
)
INNER_LIPS = [(13, 14), (82, 87), (312, 317), (81, 178), (311, 402), (80, 88), (310, 318)]
SOUNDS = ("white", "pink", "hum", "tone", "chord")


def sound(name: str, seconds: float = 3.0) -> np.ndarray:
    """Sound without a voice."""
    count = round(16_000 * seconds)
    time, noise = np.arange(count) / 16_000, np.random.default_rng(0).standard_normal(count)
    spectrum = np.fft.rfft(noise)
    pink = np.fft.irfft(spectrum / np.sqrt(np.arange(1, len(spectrum) + 1)), count)
    sounds = {
        "white": 0.1 * noise,
        "pink": 0.1 * pink / pink.std(),
        "hum": 0.2 * np.sin(2 * np.pi * 50 * time) + 0.05 * np.sin(2 * np.pi * 150 * time),
        "tone": 0.2 * np.sin(2 * np.pi * 1000 * time),
        "chord": 0.1 * sum(np.sin(2 * np.pi * f * time) for f in (220, 554, 880)),
    }
    return sounds[name].astype(np.float32)


def gates(wave: np.ndarray, kind: str) -> np.ndarray:
    gate = VoiceGate(kind)
    return np.concatenate([gate.add(log_mel(levelled(wave), kind)), gate.flush()])


@pytest.mark.parametrize("kind", MEL_KINDS)
@pytest.mark.parametrize("name", SOUNDS)
def test_sound_without_a_voice_closes_the_gate(name: str, kind: str) -> None:
    steady, silence = sound(name), np.zeros(16_000, np.float32)
    assert gates(steady, kind).max() == 0.0
    assert gates(np.concatenate([silence, steady, silence]), kind).max() == 0.0, "onset"
    assert gates(0.003 * steady, kind).max() == 0.0, "faint"


@pytest.mark.parametrize("kind", MEL_KINDS)
def test_speech_opens_the_gate_from_its_onset_on(kind: str) -> None:
    speech = levelled(load_audio(SPEECH))
    wave = np.concatenate([np.zeros(16_000, np.float32), speech])
    found = gates(wave, kind)
    power = np.square(np.pad(wave, (0, 640))[: len(found) * 640]).reshape(-1, 640).mean(axis=1)
    loud = np.flatnonzero(power > 10 ** (-35 / 10))
    assert (found[loud] == 1.0).mean() > 0.97 and found[loud[0]] > 0.7
    assert found[:18].max() == 0.0


def test_rows_in_pieces_give_the_gates_of_the_whole() -> None:
    rows = log_mel(load_audio(SPEECH)[:48_000])
    gate, whole = VoiceGate("mel"), gates_of(rows)
    pieces = [gate.add(piece) for piece in np.split(rows, [1, 3, 7, 50, 51, 200])]
    np.testing.assert_array_equal(np.concatenate([*pieces, gate.flush()]), whole)
    assert len(whole) == len(rows) // 4


def gates_of(rows: np.ndarray) -> np.ndarray:
    gate = VoiceGate("mel")
    return np.concatenate([gate.add(rows), gate.flush()])


@pytest.fixture(scope="module", params=["mel", "whisper"])
def networks(request: pytest.FixtureRequest) -> AudioToMotion:
    try:
        return load_audio_to_motion(SHIPPED_WEIGHTS[request.param])
    except UserError:
        pytest.skip("Whisper's weights are not installed")


def lip_gap(networks: AudioToMotion, wave: np.ndarray) -> np.ndarray:
    """Inner-lip gap over the distance of the outer eye corners, per frame."""
    rows = log_mel(levelled(wave), networks.mel_kind)
    track = EmotionTrack.constant("neutral", 1.0)
    blocks = networks.generate([rows], SOURCE, track, head_motion=False)
    values = np.concatenate([block.joined() for block in blocks])
    points = BuiltinFaceModel.load().vertices(Coefficients.from_joined(BUILTIN, values))
    gap = np.mean([np.abs(points[:, a, 1] - points[:, b, 1]) for a, b in INNER_LIPS], axis=0)
    return gap / np.linalg.norm(points[:, 33] - points[:, 263], axis=1)


@pytest.mark.parametrize("name", [*SOUNDS, "silence"])
def test_the_mouth_stays_shut_without_a_voice(networks: AudioToMotion, name: str) -> None:
    wave = np.zeros(32_000, np.float32) if name == "silence" else sound(name, 2.0)
    assert lip_gap(networks, wave).max() < 0.03


def test_the_mouth_shuts_in_pauses_and_opens_in_speech(networks: AudioToMotion) -> None:
    speech = load_audio(SPEECH)[:48_000]
    faint = 0.001 * sound("pink", 1.0)
    gap = lip_gap(networks, np.concatenate([speech, faint, speech]))
    first = len(speech) // 640
    assert gap[first + 12 : first + 24].max() < 0.03
    assert np.quantile(gap[:first], 0.9) > 0.05 < np.quantile(gap[first + 26 :], 0.9)
    networks.voice_gate = False
    without = lip_gap(networks, speech)
    networks.voice_gate = True
    np.testing.assert_allclose(lip_gap(networks, speech).std(), without.std(), rtol=0.15)
