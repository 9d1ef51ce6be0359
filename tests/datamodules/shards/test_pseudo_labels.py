"""Pseudo-labels: audio-only clips get the coefficients that networks predict, others are skipped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from datamodules.shards.pseudo_labels import add_pseudo_labels
from datamodules.shards.reader import iter_samples
from datamodules.shards.schema import Sample, SampleMeta
from datamodules.shards.verify import verify
from datamodules.shards.writer import ShardWriter
from emo_lightning.commands.shards import mean_predictor
from emo_lightning.core.errors import UserError
from emo_lightning.face.coefficients import BUILTIN, Coefficients
from emo_lightning.inference.weights import load_audio_to_motion


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """A set of two clips of 1 s that have audio alone."""
    rng = np.random.default_rng(0)
    with ShardWriter(tmp_path / "audio", video=False) as writer:
        for level, name in ((0.1, "a"), (0.3, "b")):
            meta = SampleMeta("folder", name, 25, BUILTIN.to_dict())
            wave = level * rng.uniform(-1.0, 1.0, 16000)
            writer.add(Sample(name, meta, wave.astype(np.float32)))
        writer.finish()
    return tmp_path / "audio"


def test_audio_gets_predicted_coefficients(recordings: Path, tmp_path: Path) -> None:
    def predict(wave: np.ndarray, frames: int) -> Coefficients:
        joined = np.zeros((frames, BUILTIN.size), np.float32)
        joined[:, BUILTIN.slice("exp")] = np.abs(wave).max()
        return Coefficients.from_joined(BUILTIN, joined)

    index = add_pseudo_labels(recordings, tmp_path / "out", predict, {"network": "peak"})
    assert index.samples == 2 and index.provenance["pseudo_labels"]["network"] == "peak"
    assert verify(tmp_path / "out").findings == []
    for sample in iter_samples(tmp_path / "out", None, ("wave", "coefficients", "au")):
        assert sample.meta.emotion == "neutral" and sample.meta.extra["labels"] == "predicted"
        assert sample.coefficients["exp"].min() == pytest.approx(np.abs(sample.wave).max())


def test_clips_with_coefficients_are_skipped(shard_set: Path, tmp_path: Path) -> None:
    def predict(wave: np.ndarray, frames: int) -> Coefficients:
        raise AssertionError("no clip lacks coefficients")

    with pytest.raises(UserError, match="usable clip"):
        add_pseudo_labels(shard_set, tmp_path / "out", predict, {})


def test_the_mean_of_several_networks_is_predicted() -> None:
    wave = (0.1 * np.sin(np.arange(16000) * 0.05)).astype(np.float32)
    one, other = load_audio_to_motion(), load_audio_to_motion()
    other.motion_model.expnet.amplitude.data *= 0.5
    alone = [mean_predictor([network])(wave, 25).joined() for network in (one, other)]
    assert not np.allclose(alone[0], alone[1])
    both = mean_predictor([one, other])(wave, 25).joined()
    np.testing.assert_allclose(both, (alone[0] + alone[1]) / 2, atol=1e-6)
