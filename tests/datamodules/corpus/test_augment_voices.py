"""Voice augmentation: pitch and formants move as asked, timing and labels stay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from datamodules.corpus.augment_voices import augment_voices, median_pitch, shift_voice, stretch
from datamodules.shards.reader import iter_samples
from datamodules.shards.verify import verify
from emo_lightning.core.constants import SAMPLE_RATE

PARTS = ("wave", "coefficients", "au", "landmarks")


def vowel(pitch: float, formant: float, seconds: float = 1.5) -> np.ndarray:
    """A vowel with one formant, silent in its last third."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    wave = np.zeros(len(time))
    for k in range(1, int(7000 / pitch)):
        gain = np.exp(-(((pitch * k - formant) / 300.0) ** 2))
        wave += gain * np.sin(2 * np.pi * pitch * k * time)
    return (0.2 * wave * (time < 2 / 3 * seconds)).astype(np.float32)


def centroid(wave: np.ndarray) -> float:
    """Spectral centroid, Hz."""
    power = np.abs(np.fft.rfft(wave)) ** 2
    return float((np.fft.rfftfreq(len(wave), 1 / SAMPLE_RATE) * power).sum() / power.sum())


@pytest.mark.parametrize(("pitch", "formants"), [(1.6, 1.15), (0.7, 0.9), (1.0, 1.2)])
def test_pitch_and_formants_move_separately(pitch: float, formants: float) -> None:
    wave = vowel(130.0, 1500.0)
    made = shift_voice(wave, pitch, formants)
    assert len(made) == len(wave) and np.isfinite(made).all()
    assert median_pitch(wave) == pytest.approx(130.0, rel=0.02)
    assert median_pitch(made) == pytest.approx(130.0 * pitch, rel=0.05)
    assert centroid(made) / centroid(wave) == pytest.approx(formants, rel=0.05)
    assert np.abs(made[-SAMPLE_RATE // 3 :]).max() < 0.05 * np.abs(made).max()


def test_stretching_keeps_the_pitch() -> None:
    made = stretch(vowel(150.0, 1000.0).astype(np.float64), 2 * SAMPLE_RATE)
    assert len(made) == 2 * SAMPLE_RATE
    assert median_pitch(made) == pytest.approx(150.0, rel=0.03)


def test_copies_keep_the_labels_and_change_the_audio(shard_set: Path, tmp_path: Path) -> None:
    index = augment_voices(shard_set, tmp_path / "voices", 2, seed=3)
    before = {sample.key: sample for sample in iter_samples(shard_set, "train", PARTS)}
    made = list(iter_samples(tmp_path / "voices", None, PARTS))
    assert index.samples == len(made) == 2 * len(before)
    assert verify(tmp_path / "voices").findings == []
    assert index.provenance["augmented_voices"]["copies"] == 2
    for sample in made:
        source = before[sample.key.removesuffix("_v00").removesuffix("_v01")]
        assert sample.meta.split == "train" and sample.meta.speaker == source.meta.speaker
        assert set(sample.meta.extra["voice"]) == {"pitch", "formants"}
        np.testing.assert_array_equal(sample.coefficients.joined(), source.coefficients.joined())
        assert len(sample.wave) == len(source.wave)
        assert not np.array_equal(sample.wave, source.wave)
    augment_voices(shard_set, tmp_path / "again", 2, seed=3)
    again = iter_samples(tmp_path / "again", None, PARTS)
    for first, second in zip(made, again, strict=True):
        np.testing.assert_array_equal(first.wave, second.wave)
