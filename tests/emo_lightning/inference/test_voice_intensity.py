"""Voice intensity: relative to the recording's mean, streaming, and bounded by the band."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from emo_lightning.face.coefficients import BUILTIN, Coefficients
from emo_lightning.inference.audio_to_motion import AudioToMotion
from emo_lightning.inference.voice_intensity import VoiceIntensity, shifted_levels
from emo_lightning.media.loudness import levelled
from emo_lightning.media.spectrogram import log_mel
from emo_lightning.models.decoupler.decoupler import AudioDecoupler, DecouplerConfig
from emo_lightning.models.motion.emotion_matrix import prototype_table
from emo_lightning.models.motion.motion_model import MotionModel, MotionModelConfig
from emo_lightning.motion.emotion_track import EmotionKey, EmotionTrack


def voice(seconds: float, shout: tuple[float, float]) -> np.ndarray:
    """A syllabic buzz at 16 kHz that is 8 dB louder and brighter between two times."""
    time = np.arange(round(seconds * 16_000)) / 16_000
    raised = (time >= shout[0]) & (time < shout[1])
    plain = sum(np.sin(2 * np.pi * 130 * k * time) / k**1.5 for k in range(1, 30))
    bright = sum(np.sin(2 * np.pi * 130 * k * time) / k for k in range(1, 30))
    gate = 0.3 + 0.7 * np.sin(2 * np.pi * 2 * time) ** 2
    return (0.05 * np.where(raised, 2.5 * bright, plain) * gate).astype(np.float32)


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return log_mel(levelled(voice(16.0, (8.0, 10.0))))


def test_a_raised_voice_stands_out_and_what_is_usual_does_not(rows: np.ndarray) -> None:
    strength = VoiceIntensity().add(rows)
    assert strength.shape == (400,) and np.abs(strength).max() <= 1.0
    assert strength[220:250].min() > 0.5
    assert abs(strength[:190].mean()) < 0.15 and abs(strength[300:].mean()) < 0.4
    assert np.abs(np.diff(strength)).max() < 0.12 and np.abs(np.diff(strength, n=2)).max() < 0.05


def test_a_pause_goes_back_to_the_middle_and_silence_stays_there(rows: np.ndarray) -> None:
    silence = np.full((200, 80), np.log(1e-5), np.float32)
    assert np.abs(VoiceIntensity().add(silence)).max() == 0.0
    assert np.abs(VoiceIntensity().add(np.concatenate([rows[:1000], silence]))[-10:]).max() < 0.05


def test_pieces_give_the_whole(rows: np.ndarray) -> None:
    one = VoiceIntensity()
    pieces = [one.add(part) for part in np.split(rows, [4, 12, 400, 404, 1200])]
    np.testing.assert_array_equal(np.concatenate(pieces), VoiceIntensity().add(rows))


@pytest.mark.parametrize("band", [0.5, 2.0, 5.0])
def test_levels_stay_within_the_band_and_the_scale(band: float) -> None:
    asked = torch.tensor([1.0, 2.5, 8.0, 14.0, 15.0])
    levels = shifted_levels(asked, np.linspace(-1, 1, 101), band)
    assert levels.shape == (101, 5)
    assert (levels - asked).abs().max() <= band + 1e-6
    assert levels.min() >= 1.0 and levels.max() <= 15.0
    assert (levels.diff(dim=0) >= 0).all()
    np.testing.assert_allclose(levels[[0, 50, 100], 2], [8 - band, 8, 8 + band], atol=1e-5)


@pytest.fixture(scope="module")
def talker() -> AudioToMotion:
    torch.manual_seed(0)
    sizes = DecouplerConfig(front_width=16, width=16, content=8, mid_blocks=1, high_blocks=1)
    heads = MotionModel(
        MotionModelConfig(exp_width=16, exp_blocks=1, emo_width=16, pose_width=16),
        BUILTIN,
        8,
        prototype_table(BUILTIN),
    )
    return AudioToMotion(AudioDecoupler(sizes), heads)


def made(
    talker: AudioToMotion, rows: np.ndarray, track: EmotionTrack, band: float, cuts: int = 1
) -> np.ndarray:
    portrait = Coefficients(
        BUILTIN, {block: np.zeros((1, width), np.float32) for block, width in BUILTIN.widths}
    )
    pieces = talker.generate(np.array_split(rows, cuts), portrait, track, level_from_voice=band)
    return np.concatenate([piece["exp"] for piece in pieces])


def test_a_face_follows_the_voice_and_sound_in_pieces_makes_the_same(
    talker: AudioToMotion, rows: np.ndarray
) -> None:
    happy, unit = EmotionTrack.constant("happy", 8.0), BUILTIN.exp_names.index("AU6")
    still, moving = (made(talker, rows, happy, band)[:, unit] for band in (0.0, 4.0))
    weaker, stronger = (
        made(talker, rows, EmotionTrack.constant("happy", level), 0.0)[:, unit]
        for level in (4.0, 12.0)
    )
    change = moving - still
    assert change[215:245].min() > 0.3 * (stronger - still)[215:245].max()
    assert (moving <= stronger + 1e-5).all() and (moving >= weaker - 1e-5).all()
    whole = made(talker, rows, happy, 4.0)
    for cuts in (7, 50):
        np.testing.assert_array_equal(made(talker, rows, happy, 4.0, cuts), whole)


def test_neutral_is_left_alone(talker: AudioToMotion, rows: np.ndarray) -> None:
    neutral = EmotionTrack.constant("neutral", 1.0)
    np.testing.assert_allclose(
        made(talker, rows, neutral, 5.0), made(talker, rows, neutral, 0.0), atol=1e-6
    )
    track = EmotionTrack((EmotionKey(0.0, 0, 1.0), EmotionKey(14.0, 5, 9.0)))
    np.testing.assert_allclose(
        made(talker, rows, track, 5.0)[:330], made(talker, rows, track, 0.0)[:330], atol=1e-6
    )
