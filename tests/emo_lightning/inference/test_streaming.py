"""Live coefficients: those of the whole recording, within the stated latency."""

from __future__ import annotations

import numpy as np
import pytest

from emo_lightning.face.coefficients import BUILTIN, Coefficients
from emo_lightning.inference.audio_to_motion import AudioToMotion
from emo_lightning.inference.streaming import TalkingStream
from emo_lightning.inference.weights import load_audio_to_motion
from emo_lightning.media.loudness import RunningGain
from emo_lightning.media.spectrogram import log_mel
from emo_lightning.motion.emotion_track import EmotionKey, EmotionTrack

TRACK = EmotionTrack((EmotionKey(0.0, 5, 9.0), EmotionKey(1.0, 6, 14.0)))
SOURCE = Coefficients(
    BUILTIN, {block: np.zeros((1, width), np.float32) for block, width in BUILTIN.widths}
)


@pytest.fixture(scope="module")
def talker() -> AudioToMotion:
    return load_audio_to_motion()


def sound(seconds: float = 3.21, level: float = 0.1) -> np.ndarray:
    time = np.arange(int(16_000 * seconds)) / 16_000
    loud = np.maximum(np.sin(2 * np.pi * 2.1 * time), 0.0) + 0.01
    return (level * loud * np.random.default_rng(0).standard_normal(len(time))).astype(np.float32)


def cut(wave: np.ndarray, size: int) -> list[np.ndarray]:
    return [wave[at : at + size] for at in range(0, len(wave), size)]


def joined(pieces: object) -> np.ndarray:
    return np.concatenate([piece.joined() for piece in pieces])


def talked(networks: AudioToMotion, wave: np.ndarray, size: int, **options: float) -> np.ndarray:
    """Coefficients of a recording that arrives in pieces of ``size`` samples."""
    stream = TalkingStream(networks, SOURCE, TRACK, **options)
    return joined([*(stream.add(piece) for piece in cut(wave, size)), stream.flush()])


@pytest.mark.parametrize("size", [160, 641, 16_000, 100_000])
def test_pieces_of_any_size_give_what_the_whole_recording_gives(
    talker: AudioToMotion, size: int
) -> None:
    wave = sound()
    whole = joined(talker.generate([log_mel(wave)], SOURCE, TRACK, seed=3))
    assert np.array_equal(talked(talker, wave, size, seed=3, gain=1.0), whole)


def test_frames_come_out_within_the_stated_latency(talker: AudioToMotion) -> None:
    stream, received, waited = TalkingStream(talker, SOURCE, TRACK), 0, []
    for piece in cut(sound(), 80):
        before, received = stream.frames_done, received + len(piece)
        if len(stream.add(piece)):
            waited.append(received / 16_000 - (before + 1) / 25)
    assert max(waited) <= stream.latency + 0.006 and stream.latency < 1.0


def test_the_level_followed_live_does_not_depend_on_the_pieces(talker: AudioToMotion) -> None:
    wave = sound(level=0.01)
    first, second = (talked(talker, wave, size) for size in (333, 7000))
    assert np.array_equal(first, second)


def test_a_quiet_speaker_is_raised_and_mere_noise_is_not() -> None:
    speech, noise = RunningGain(), RunningGain()
    raised = speech.apply(sound(12.0, 0.005))
    assert np.abs(raised[-16_000:]).mean() > 5 * np.abs(sound(12.0, 0.005)[-16_000:]).mean()
    hiss = (0.001 * np.random.default_rng(1).standard_normal(16_000 * 6)).astype(np.float32)
    assert np.allclose(noise.apply(hiss), hiss)


def test_no_audio_is_one_frame_or_none(talker: AudioToMotion) -> None:
    assert len(TalkingStream(talker, SOURCE, TRACK).add(np.zeros(0, np.float32))) == 0
    assert len(talked(talker, np.zeros(100, np.float32), 100)) == 1
