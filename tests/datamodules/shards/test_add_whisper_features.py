"""Whisper features: a valid copy, batches with their frames, damage refused."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest

from datamodules.loading.datamodule import AudioShards
from datamodules.shards.add_whisper_features import add_whisper_features
from datamodules.shards.index import INDEX, read_index
from datamodules.shards.reader import iter_samples
from datamodules.shards.schema import SampleError, decode, encode
from datamodules.shards.verify import verify
from emo_lightning.core.constants import frames_for
from emo_lightning.core.errors import UserError


def teacher(wave: np.ndarray) -> np.ndarray:
    """Features that say when they are: channel 0 counts in steps of 1/50 s."""
    features = np.full((2 * frames_for(len(wave)), 384), float(np.abs(wave).max()))
    features[:, 0] = np.arange(len(features))
    return features


@pytest.fixture(scope="module")
def taught(shard_set, tmp_path_factory):
    out = tmp_path_factory.mktemp("taught") / "set"
    add_whisper_features(shard_set, out, teacher, {"network": "a counter"})
    return out


def test_the_copy_is_a_sound_set_with_features(shard_set, taught):
    assert verify(taught).findings == []
    parts = ("wave", "au", "coefficients", "whisper")
    for before, after in zip(
        iter_samples(shard_set, parts=parts), iter_samples(taught, parts=parts), strict=True
    ):
        assert before.key == after.key and before.meta == after.meta and before.whisper is None
        np.testing.assert_array_equal(before.wave, after.wave)
        np.testing.assert_array_equal(before.coefficients.joined(), after.coefficients.joined())
        assert after.whisper.dtype == np.float16
        np.testing.assert_array_equal(after.whisper, teacher(after.wave).astype(np.float16))
    record = json.loads((taught / INDEX).read_text())["provenance"]["whisper"]
    assert record["network"] == "a counter" and len(record["index_sha256"]) == 64
    assert read_index(taught).samples == read_index(shard_set).samples


def test_batches_bring_the_features_of_their_own_frames(taught, shard_set):
    data = AudioShards(
        str(taught), window=32, batch_size=4, workers=0, teacher=True, epoch_batches=3
    )
    data.setup()
    clips = {
        sample.key: sample
        for sample in iter_samples(taught, parts=("wave", "au", "coefficients", "whisper"))
    }
    for batch in data.train_dataloader():
        assert (
            batch["whisper"].shape == (4, 64, 384)
            and str(batch["whisper"].dtype) == "torch.float32"
        )
        for row, key in enumerate(batch["key"]):
            start = int(batch["whisper"][row, 0, 0]) // 2
            count = int(batch["mask"][row].sum())
            np.testing.assert_array_equal(
                batch["au"][row, :count], clips[key].au[start : start + count]
            )
            counts = np.minimum(2 * start + np.arange(64), 2 * clips[key].meta.frames - 1)
            np.testing.assert_array_equal(batch["whisper"][row, :, 0], counts)
    plain = AudioShards(str(taught), window=32, batch_size=4, workers=0, epoch_batches=1)
    plain.setup()
    assert all("whisper" not in batch for batch in plain.train_dataloader())
    without = AudioShards(str(shard_set), window=32, workers=0, teacher=True)
    with pytest.raises(UserError, match="emo shards add-whisper"):
        without.setup()


def test_damaged_features_are_refused(make_sample):
    sample = make_sample(0, 20)
    for bad, reason in (
        (np.zeros((39, 384)), "wrong_shape"),
        (np.zeros((40, 383)), "wrong_shape"),
        (np.full((40, 384), np.nan), "not_finite"),
        (np.full((40, 384), 1e6), "not_finite"),  # beyond 16 bits
    ):
        sample.whisper = bad
        with np.errstate(over="ignore"), pytest.raises(SampleError, match=reason):
            encode(sample)
    sample.whisper = np.zeros((40, 384))
    members = encode(sample)
    assert decode(sample.key, members, ("whisper",)).whisper.shape == (40, 384)
    with pytest.raises(SampleError, match="stated size"):
        decode(sample.key, members | {"whisper.npy": members["whisper.npy"][:-2]}, ("whisper",))
    wide = np.lib.format.header_data_from_array_1_0(np.zeros((40, 384), np.float32))
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, wide)
    with pytest.raises(SampleError, match="wrong_dtype"):
        decode(sample.key, members | {"whisper.npy": buffer.getvalue()}, ("whisper",))
