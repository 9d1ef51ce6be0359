"""Log-mel spectrograms: four frames a video frame, streams equal wholes, librosa agrees."""

from __future__ import annotations

import librosa
import numpy as np
import pytest

from emo_lightning.core.constants import frames_for
from emo_lightning.media.spectrogram import MEL_KINDS, N_FFT, WHISPER_PEAK, MelStream, log_mel


@pytest.mark.parametrize("kind", MEL_KINDS)
@pytest.mark.parametrize("samples", [1, 319, 320, 959, 960, 2220, 16000, 40321])
def test_four_rows_for_each_video_frame(samples, kind):
    rows = log_mel(np.ones(samples, np.float32), kind)
    assert rows.shape == (4 * frames_for(samples), 80) and rows.dtype == np.float32
    assert frames_for(samples) == max(1, int(samples / 640 + 0.5))


@pytest.mark.parametrize("kind", MEL_KINDS)
def test_a_stream_is_bit_for_bit_the_whole(kind):
    rng = np.random.default_rng(1)
    wave = (0.1 * rng.standard_normal(30011)).astype(np.float32)
    stream, rows, at = MelStream(kind), [], 0
    while at < len(wave):
        step = int(rng.integers(1, 2500))
        rows.append(stream.add(wave[at : at + step]))
        at += step
    rows.append(stream.flush())
    np.testing.assert_array_equal(np.concatenate(rows), log_mel(wave, kind))


@pytest.mark.parametrize("kind", MEL_KINDS)
def test_rows_are_centred_where_they_should_be(kind):
    for frame in (0, 3, 40):
        wave = np.zeros(16000, np.float32)
        wave[160 * frame + 80] = 1.0
        loudness = log_mel(wave, kind).sum(1)
        assert loudness.argmax() == frame


def test_rows_agree_with_librosa():
    rng = np.random.default_rng(2)
    wave = (0.1 * rng.standard_normal(16000)).astype(np.float32)
    padded = np.pad(wave, (MEL_KINDS["mel"].lead, N_FFT))
    mel = librosa.feature.melspectrogram(
        y=padded,
        sr=16000,
        n_fft=800,
        hop_length=160,
        win_length=800,
        center=False,
        power=1.0,
        n_mels=80,
        fmin=55,
        fmax=7600,
    )
    np.testing.assert_allclose(log_mel(wave), np.log(np.maximum(mel, 1e-5)).T[:100], atol=2e-3)


def test_whisper_rows_are_whispers_own_but_for_the_peak():
    """Against the published recipe: log10 of slaney energies, cut 80 dB below the peak, (x + 4) / 4."""
    wave = (0.1 * np.random.default_rng(4).standard_normal(16000)).astype(np.float32)
    rows = log_mel(wave, "whisper")
    padded = np.pad(wave, (MEL_KINDS["whisper"].lead, 400))
    energy = np.abs(librosa.stft(padded, n_fft=400, hop_length=160, center=False)) ** 2
    bands = np.log10(
        np.maximum(librosa.filters.mel(sr=16000, n_fft=400, n_mels=80) @ energy, 1e-10)
    )
    expected = (np.maximum(bands, WHISPER_PEAK - 8.0) + 4.0) / 4.0
    np.testing.assert_allclose(rows, expected.T[:100], atol=2e-4)
    assert MEL_KINDS["whisper"].quiet == pytest.approx(
        log_mel(np.zeros(16000, np.float32), "whisper").max()
    )
