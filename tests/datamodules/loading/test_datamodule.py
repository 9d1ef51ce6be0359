"""Batches: shapes, alignment, a reproducible order, and bad samples that are counted."""

from __future__ import annotations

import itertools
import shutil
from collections import Counter
from collections.abc import Iterator

import lightning
import numpy as np
import pytest
import torch

from datamodules.loading.datamodule import AudioShards, VideoShards
from datamodules.loading.sampler import (
    ClipReader,
    FailureTable,
    ShardFile,
    Share,
    Visit,
    split_by_reader,
)
from datamodules.shards.index import read_index
from datamodules.shards.reader import iter_samples
from datamodules.shards.remote import open_set
from datamodules.shards.writer import ShardWriter
from emo_lightning.core.errors import MismatchError, UserError
from emo_lightning.face.coefficients import BUILTIN
from emo_lightning.media.loudness import levelled
from emo_lightning.media.spectrogram import log_mel


def ready(kind, folder, **options):
    data = kind(str(folder), **options)
    data.setup()
    return data


def identity(batch) -> list[tuple]:
    """(key, first frame) of each window, or (key, source, driving) of each pair."""
    if "exp" in batch:
        return [
            (key, int(frame))
            for key, frame in zip(batch["key"], batch["exp"][:, 0, 0], strict=True)
        ]
    at = BUILTIN.slice("exp").start
    sides = [batch[name][:, 13, at].int().tolist() for name in ("source_coeffs", "driving_coeffs")]
    return list(zip(batch["key"], *sides, strict=True))


def stream(data, count: int, first: int = 0) -> list[list[tuple]]:
    """Batches ``first .. first + count - 1`` of the training stream."""
    loader = data.train_dataloader()
    loader.load_state_dict({"batch": first, "facts": loader.state_dict()["facts"]})
    return [identity(batch) for batch in itertools.islice(loader, count)]


def test_audio_batches_are_as_promised(shard_set):
    data = ready(AudioShards, shard_set, batch_size=4, window=32)
    batch = next(iter(data.train_dataloader()))
    shapes = {
        name: (tuple(value.shape), value.dtype) for name, value in batch.items() if name != "key"
    }
    f, i = torch.float32, torch.int64
    assert shapes == {
        "mel": ((4, 128, 80), f),
        "au": ((4, 32, 17), f),
        "id": ((4, 32, 40), f),
        "exp": ((4, 32, 28), f),
        "tex": ((4, 32, 24), f),
        "angle": ((4, 32, 3), f),
        "trans": ((4, 32, 3), f),
        "source": ((4, 98), f),
        "mask": ((4, 32), torch.bool),
        "phone": ((4, 32), i),
        "emotion": ((4,), i),
        "intensity": ((4,), i),
        "speaker": ((4,), i),
        "level": ((4,), f),
    }
    samples = {sample.key: sample for sample in iter_samples(shard_set, "train")}
    for row, (key, start) in enumerate(identity(batch)):
        sample = samples[key]
        np.testing.assert_array_equal(
            batch["mel"][row], log_mel(levelled(sample.wave))[4 * start : 4 * start + 128]
        )
        np.testing.assert_array_equal(batch["au"][row], sample.au[start : start + 32])
        np.testing.assert_array_equal(
            batch["tex"][row], sample.coefficients["tex"][start : start + 32]
        )
        frame = int(batch["source"][row, BUILTIN.slice("exp")][0])
        np.testing.assert_array_equal(batch["source"][row], sample.coefficients.joined()[frame])
        labelled = sample.meta.emotion == "happy"
        assert (int(batch["emotion"][row]), int(batch["intensity"][row])) == (
            (5, 2) if labelled else (0, -1)
        )
        assert batch["level"][row] == 8 if labelled else batch["level"][row].isnan()
        assert data.speakers[int(batch["speaker"][row])] == sample.meta.speaker


def test_clips_shorter_than_a_window_are_masked(shard_set):
    batch = next(iter(ready(AudioShards, shard_set, batch_size=4, window=100).train_dataloader()))
    frames = {sample.key: sample.meta.frames for sample in iter_samples(shard_set, "train")}
    for row, key in enumerate(batch["key"]):
        n = frames[key]
        assert batch["mask"][row].sum() == n and batch["mask"][row, :n].all()
        assert (batch["exp"][row, n:, 0] == n - 1).all()
        assert (batch["mel"][row, 4 * n :] == np.float32(np.log(1e-5))).all()


def test_video_batches_are_as_promised(shard_set):
    batch = next(iter(ready(VideoShards, shard_set, batch_size=3, size=16).train_dataloader()))
    assert batch["source_image"].shape == batch["driving_image"].shape == (3, 3, 16, 16)
    assert batch["source_image"].dtype == batch["driving_image"].dtype == torch.uint8
    assert batch["source_coeffs"].shape == batch["driving_coeffs"].shape == (3, 27, 98)
    frames = {sample.key: sample for sample in iter_samples(shard_set, "train")}
    for row, (key, source, driving) in enumerate(identity(batch)):
        assert source != driving
        # The test's pictures are a grey of twice the frame's number.
        assert batch["source_image"][row].double().mean() == pytest.approx(2 * source, abs=2)
        assert batch["driving_image"][row].double().mean() == pytest.approx(2 * driving, abs=2)
        last = frames[key].meta.frames - 1
        expected = np.clip(np.arange(driving - 13, driving + 14), 0, last)
        np.testing.assert_array_equal(
            batch["driving_coeffs"][row, :, BUILTIN.slice("exp")][:, 0], expected
        )


@pytest.mark.parametrize("kind", [AudioShards, VideoShards])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_is_a_function_of_seed_and_number(shard_set, kind, workers, monkeypatch):
    # Rounds of few batches, so that the stream runs through several.
    monkeypatch.setattr("datamodules.loading.datamodule.MIN_ROUND", 1)
    options = {"batch_size": 3, "workers": workers}
    data = ready(kind, shard_set, **options)
    seen = stream(data, 24)
    assert len({tuple(batch) for batch in seen}) == 24
    for first in (1, 14):
        assert stream(ready(kind, shard_set, **options), 24 - first, first) == seen[first:]
    assert stream(ready(kind, shard_set, **options, seed=1), 24) != seen
    assert stream(ready(kind, shard_set, **options, cache_mb=0), 24) == seen


def test_one_iteration_goes_on_where_the_last_one_ended(shard_set):
    data = ready(AudioShards, shard_set, batch_size=3, epoch_batches=4)
    loader = data.train_dataloader()
    parts = [[identity(batch) for batch in loader] for _ in range(2)]
    assert [len(part) for part in parts] == [4, 4] and len(loader) == 4
    endless = ready(AudioShards, shard_set, batch_size=3)
    assert parts[0] + parts[1] == stream(endless, 8)
    with pytest.raises(TypeError, match="endless"):
        len(endless.train_dataloader())


def test_a_lap_takes_every_clip_about_as_often_as_it_has_windows(shard_set):
    data = ready(AudioShards, shard_set, batch_size=4, window=20)
    frames = sum(40 + n for n in range(12))
    batches = stream(data, 3 * round(frames / 20 / 4))
    counts = Counter(key for batch in batches for key, _ in batch)
    assert len(counts) == 12 and max(counts.values()) <= 12


def first_lap(files: list[ShardFile], share: Share) -> Iterator[str]:
    """Keys of a reader's first lap in an order of our own."""
    reader = ClipReader(files, ("au",), BUILTIN, lambda sample: sample.key, True, FailureTable())
    visits = [Visit(shard, position, 0) for position, shard in enumerate([3, 1, 0, 2, 5, 4])]
    yield from reader.clips(split_by_reader(visits, share, len(files)), 0)


@pytest.mark.parametrize(("world", "workers"), [(1, 1), (2, 1), (3, 2), (4, 2)])
def test_readers_share_a_lap_without_overlap(shard_set, world, workers):
    index = read_index(shard_set)
    source = open_set(shard_set)
    files = [ShardFile(source, shard) for shard in index.of("light", "train")]
    seen = []
    for rank in range(world):
        for worker in range(workers):
            share = Share(rank, world, worker, workers)
            seen.append(list(first_lap(files, share)))
            assert seen[-1] == list(first_lap(files, share))
    assert sorted(key for keys in seen for key in keys) == [f"clip-{n:03d}" for n in range(12)]
    assert all(seen)


def test_ranks_draw_different_windows_and_as_many(shard_set):
    per_rank = []
    for rank in range(2):
        data = ready(AudioShards, shard_set, batch_size=2)
        data._place = lambda rank=rank: (rank, 2)
        per_rank.append(stream(data, 4))
    assert [len(batches) for batches in per_rank] == [4, 4]
    keys = [{key for batch in batches for key, _ in batch} for batches in per_rank]
    starts = [[start for batch in batches for _, start in batch] for batches in per_rank]
    assert keys[0] != keys[1] and starts[0] != starts[1]
    assert Share.current(1, 2) == Share(1, 2, 0, 1)


def test_validation_is_the_same_every_time_and_covers_all(shard_set):
    data = ready(AudioShards, shard_set, batch_size=4, window=32)
    first = [identity(batch) for batch in data.val_dataloader()]
    assert first == [identity(batch) for batch in data.val_dataloader()]
    covered = Counter(key for batch in first for key, _ in batch)
    assert covered == {f"clip-{n:03d}": -(-(40 + n) // 32) for n in range(12, 16)}
    video = ready(VideoShards, shard_set, size=16)
    assert sum(len(batch["key"]) for batch in video.val_dataloader()) == 8
    assert data.test_dataloader() == []


@pytest.fixture
def broken_set(shard_set, tmp_path):
    """A copy in which one record is spoilt, and one mp4, without changing any size."""
    shutil.copytree(shard_set, tmp_path / "set")
    for name, old, new in (
        ("light-train-000001.tar", b'"source":"test"', b'"source":123456'),
        ("light-train-000002.tar", b'"fps":25.0', b'"fps":24.0'),
    ):
        path = tmp_path / "set" / name
        data = path.read_bytes()
        assert data.count(old)
        path.write_bytes(data.replace(old, new, 1))
    path = tmp_path / "set" / "video-train-000000.tar"
    data = bytearray(path.read_bytes())
    at = data.index(b"moov")
    data[at : at + 4] = b"xxxx"
    path.write_bytes(data)
    return tmp_path / "set"


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_samples_are_counted_and_left_out(broken_set, workers):
    data = ready(AudioShards, broken_set, batch_size=4, workers=workers, epoch_batches=12)
    with pytest.warns(UserWarning, match="bad_meta"):
        keys = {key for batch in data.train_dataloader() for key, _ in identity(batch)}
    assert "clip-004" not in keys and len(keys) >= 8
    assert set(data.failures()) == {"bad_meta"}
    video = ready(VideoShards, broken_set, batch_size=4, size=16, epoch_batches=12)
    with pytest.warns(UserWarning, match="bad_video"):
        keys = {key for batch in video.train_dataloader() for key, *_ in identity(batch)}
    assert "clip-000" not in keys and "clip-001" in keys


def test_start_up_refuses_what_cannot_work(shard_set, tmp_path, make_sample):
    with pytest.raises(UserError, match="does not exist"):
        ready(AudioShards, tmp_path / "none")
    with pytest.raises(MismatchError, match="bfm2009"):
        ready(AudioShards, shard_set, layout="bfm2009")
    for wrong in (
        {"batch_size": 0},
        {"window": 0},
        {"workers": -1},
        {"layout": "none"},
        {"epoch_batches": -1},
    ):
        with pytest.raises(UserError):
            ready(AudioShards, shard_set, **wrong)
    with pytest.raises(UserError, match="odd"):
        ready(VideoShards, shard_set, context=26)
    copy = tmp_path / "copy"
    shutil.copytree(shard_set, copy)
    with open(copy / "light-train-000003.tar", "ab") as file:
        file.write(b"\0")
    with pytest.raises(UserError, match=r"light-train-000003.*where the index says"):
        ready(AudioShards, copy)
    (copy / "light-train-000003.tar").unlink()
    with pytest.raises(UserError, match="is missing"):
        ready(AudioShards, copy)
    writer = ShardWriter(tmp_path / "light", video=False)
    writer.add(make_sample(0, 20, video=False))
    writer.finish()
    with pytest.raises(UserError, match="nothing to train on"):
        ready(VideoShards, tmp_path / "light")
    with pytest.warns(UserWarning, match="no validation split"):
        alone = ready(AudioShards, tmp_path / "light", workers=1)
    assert alone.val_dataloader() == []
    alone.train_dataloader()
    alone._place = lambda: (0, 2)
    with pytest.raises(UserError, match="too many processes"):
        alone.train_dataloader()


def test_a_set_of_bad_samples_alone_is_an_error_not_a_hang(tmp_path, make_sample):
    writer = ShardWriter(tmp_path / "set")
    writer.add(make_sample(0, 20))
    writer.finish()
    path = tmp_path / "set" / "light-train-000000.tar"
    path.write_bytes(path.read_bytes().replace(b'"fps":25.0', b'"fps":24.0'))
    with pytest.raises(UserError, match=r"gave no sample \(bad_meta"), pytest.warns(UserWarning):
        stream(ready(AudioShards, tmp_path / "set", epoch_batches=1), 1)


class Watcher(lightning.LightningModule):
    """Remembers what it was given."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen, self.validated = [], 0

    def training_step(self, batch, index):
        self.seen.append((self.current_epoch, identity(batch)))
        return self.weight.sum() * batch["mel"].mean()

    def validation_step(self, batch, index):
        self.validated += 1

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def test_lightning_resumes_an_epoch_where_it_would_have_been(shard_set, tmp_path):
    def fit(epochs, checkpoint=None):
        watcher = Watcher()
        trainer = lightning.Trainer(
            accelerator="cpu",
            max_epochs=epochs,
            default_root_dir=tmp_path,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        trainer.fit(
            watcher,
            AudioShards(str(shard_set), batch_size=4, epoch_batches=3),
            ckpt_path=checkpoint,
        )
        trainer.save_checkpoint(tmp_path / f"{epochs}.ckpt")
        return watcher

    straight = fit(3)
    assert [number for number, _ in straight.seen] == [
        0,
        0,
        0,
        1,
        1,
        1,
        2,
        2,
        2,
    ] and straight.validated > 0
    fit(2)
    resumed = fit(3, tmp_path / "2.ckpt")
    assert resumed.seen == straight.seen[6:]
