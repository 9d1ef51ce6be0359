"""A run that was broken off goes on with the very samples that come next, on every rank."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from datamodules.loading import windows
from datamodules.loading.datamodule import AudioShards, VideoShards
from emo_lightning.core.errors import UserError
from emo_lightning.training.run_dir import AtomicCheckpointIO

STEPS, VALIDATE = 14, 4
OPTIONS = {"batch_size": 3, "workers": 2, "window": 16, "seed": 5}


def ready(kind, folder, **options):
    data = kind(str(folder), **options)
    data.setup()
    return data


def contents(batch) -> list:
    """Everything of a batch that a step could tell apart."""
    return [
        value if name == "key" else value.double().nan_to_num(-9).sum().item()
        for name, value in sorted(batch.items())
    ]


@pytest.fixture
def spoilt_set(shard_set, tmp_path):
    """A copy with an mp4 that cannot be decoded, which no reader knows before it draws from it."""
    out = tmp_path / "spoilt"
    out.mkdir()
    for path in shard_set.iterdir():
        (out / path.name).write_bytes(path.read_bytes())
    path = out / "video-train-000000.tar"
    content = bytearray(path.read_bytes())
    at = content.index(b"moov")
    content[at : at + 4] = b"xxxx"
    path.write_bytes(content)
    return out


@pytest.mark.parametrize(
    ("kind", "options"), [(AudioShards, {"window": 16}), (VideoShards, {"size": 16})]
)
@pytest.mark.parametrize("workers", [0, 2])
def test_the_stream_goes_on_at_any_batch(spoilt_set, kind, options, workers, monkeypatch):
    monkeypatch.setattr("datamodules.loading.datamodule.MIN_ROUND", 1)
    options = {"batch_size": 3, "workers": workers, **options}
    loader = ready(kind, spoilt_set, **options).train_dataloader()
    straight = [contents(batch) for batch in itertools.islice(loader, 18)]
    for stop in (1, 11):
        loader = ready(kind, spoilt_set, **options).train_dataloader()
        for _ in itertools.islice(loader, stop):
            pass
        state = loader.state_dict()
        assert state["batch"] == stop
        resumed = ready(kind, spoilt_set, **options).train_dataloader()
        resumed.load_state_dict(state)
        rest = itertools.islice(resumed, 18 - stop)
        assert [contents(batch) for batch in rest] == straight[stop:]


def test_what_is_skipped_on_resume_is_not_decoded(spoilt_set, monkeypatch):
    decoded = []
    real = windows.decode_mp4_bytes
    monkeypatch.setattr(
        windows, "decode_mp4_bytes", lambda *given: decoded.append(1) or real(*given)
    )
    loader = ready(VideoShards, spoilt_set, batch_size=3, size=16).train_dataloader()
    loader.load_state_dict({"batch": 40, "facts": loader.state_dict()["facts"]})
    next(iter(loader))
    assert 3 <= len(decoded) < 9


def test_a_place_is_plain_and_says_when_it_means_another(shard_set, tmp_path):
    state = ready(AudioShards, shard_set, batch_size=3).train_dataloader().state_dict()
    torch.save(state, tmp_path / "state.pt")
    assert torch.load(tmp_path / "state.pt", weights_only=True) == state
    with pytest.warns(UserWarning, match="another seed, batch size"):
        ready(AudioShards, shard_set, batch_size=4, seed=1).train_dataloader().load_state_dict(
            state
        )


class Diary(lightning.LightningModule):
    """Writes down each batch: step, keys and first frames."""

    def __init__(self, out: Path, pause: float) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.out, self.pause = out, pause

    def training_step(self, batch, index):
        row = [self.global_step, batch["key"], batch["exp"][:, 0, 0].int().tolist()]
        with open(self.out / f"rank{self.global_rank}.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        time.sleep(self.pause)
        return self.weight.sum() * batch["mel"].mean()

    def validation_step(self, batch, index):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def train(
    shards: Path,
    out: Path,
    devices: int,
    every: int,
    checkpoint: Path | None = None,
    pause: float = 0.0,
    **options,
) -> None:
    """Train to the end, with validations between and a checkpoint after each ``every`` steps."""
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=devices,
        strategy="ddp_fork" if devices > 1 else "auto",
        max_steps=options.pop("max_steps", STEPS),
        val_check_interval=VALIDATE,
        check_val_every_n_epoch=None,
        default_root_dir=out,
        logger=False,
        callbacks=[
            ModelCheckpoint(
                dirpath=out, filename="{step}", every_n_train_steps=every, save_top_k=-1
            )
        ],
        plugins=[AtomicCheckpointIO()],
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=1,
        use_distributed_sampler=False,
    )
    data = AudioShards(str(shards), **{**OPTIONS, **options})
    trainer.fit(
        Diary(out, pause),
        data,
        ckpt_path=None if checkpoint is None else str(checkpoint),
        weights_only=True,
    )


def expected(shard_set: Path, rank: int, world: int, **options) -> list[list]:
    """What a rank that is never stopped would write down."""
    data = ready(AudioShards, shard_set, **{**OPTIONS, **options})
    data._place = lambda: (rank, world)
    batches = enumerate(itertools.islice(data.train_dataloader(), STEPS))
    return [[step, b["key"], b["exp"][:, 0, 0].int().tolist()] for step, b in batches]


def written(out: Path, rank: int) -> list[list]:
    path = out / f"rank{rank}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_every_checkpoint_resumes_exactly(shard_set, tmp_path):
    first = tmp_path / "first"
    first.mkdir()
    train(shard_set, first, 1, 1, workers=0, max_steps=6)
    straight = expected(shard_set, 0, 1, workers=0)
    assert written(first, 0) == straight[:6]
    # Before and after a validation, and within a round.
    for step in (1, 3, 4, 5):
        out = tmp_path / str(step)
        out.mkdir()
        train(shard_set, out, 1, 100, first / f"step={step}.ckpt", workers=0, max_steps=6)
        assert written(out, 0) == straight[step:6], step


def start(
    action: Callable[..., None], out: Path, *arguments: object, **options: object
) -> BaseProcess:
    """Run in a process group of its own, so that nothing of it outlives a kill."""

    def work() -> None:
        os.setsid()
        log = os.open(out / "log", os.O_WRONLY | os.O_CREAT)
        os.dup2(log, 1)
        os.dup2(log, 2)
        action(*arguments, **options)

    out.mkdir()
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    return process


def test_two_processes_killed_between_validations_resume_exactly(shard_set, tmp_path):
    out = tmp_path / "first"
    process = start(train, out, shard_set, out, 2, 2, pause=0.1)
    deadline = time.monotonic() + 120
    while len(written(out, 0)) < STEPS - 3:
        assert process.is_alive() and time.monotonic() < deadline, (out / "log").read_text()
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.join()
    step = max(int(path.stem.partition("=")[2]) for path in out.glob("step=*.ckpt"))
    assert VALIDATE < step < STEPS
    again = tmp_path / "second"
    process = start(train, again, shard_set, again, 2, 100, out / f"step={step}.ckpt")
    process.join(120)
    assert process.exitcode == 0, (again / "log").read_text()
    assert "not resumable" not in (again / "log").read_text()
    for rank in range(2):
        straight, before, after = (
            expected(shard_set, rank, 2),
            written(out, rank),
            written(again, rank),
        )
        assert before == straight[: len(before)] and len(before) >= step
        assert after == straight[step:]


def read_as_rank(shards: Path, out: Path, rank: int, seed: int) -> None:
    """Join a gloo group of two, read with two workers, write down clip and first frame of all."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{out}/meet", rank=rank, world_size=2
    )
    loader = ready(
        AudioShards, shards, batch_size=1, workers=2, window=16, seed=seed
    ).train_dataloader()
    batches = itertools.islice(loader, 8)
    rows = [[batch["key"][0], int(batch["exp"][0, 0, 0])] for batch in batches]
    (out / f"rank{rank}.json").write_text(json.dumps(rows))
    torch.distributed.destroy_process_group()


def readers_of(shards: Path, out: Path, seed: int) -> dict[tuple[int, int], list[list]]:
    """(rank, worker) -> its windows, from two processes with two workers each, asked in turn."""
    out.mkdir()
    context = multiprocessing.get_context("fork")
    started = [
        context.Process(target=read_as_rank, args=(shards, out, rank, seed)) for rank in range(2)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(60)
    assert [process.exitcode for process in started] == [0, 0]
    rows = [json.loads((out / f"rank{rank}.json").read_text()) for rank in range(2)]
    return {(rank, worker): rows[rank][worker::2] for rank in range(2) for worker in range(2)}


def test_no_two_readers_of_two_ranks_draw_alike(shard_set, tmp_path):
    drawn = readers_of(shard_set, tmp_path / "first", 5)
    frames = [tuple(frame for _, frame in rows) for rows in drawn.values()]
    assert len(set(frames)) == 4 and all(len(rows) == 4 for rows in drawn.values())
    assert readers_of(shard_set, tmp_path / "again", 5) == drawn


class GlobalDraws(AudioShards):
    """Rows with a number from torch's global generator, as a library's augmentation draws it."""

    def row(self, item):
        return super().row(item) | {"draw": torch.rand(1).numpy()}


def test_global_generators_differ_between_ranks_and_workers(shard_set):
    drawn = []
    for rank in range(2):
        lightning.seed_everything(3, verbose=False)
        data = ready(GlobalDraws, shard_set, batch_size=1, workers=2)
        data._place = lambda rank=rank: (rank, 2)
        batches = itertools.islice(data.train_dataloader(), 4)
        drawn += [float(batch["draw"]) for batch in batches]
    assert len(set(drawn)) == 8


@pytest.mark.parametrize(
    ("world", "options"), [(2, {"workers": 4, "share_shards": True}), (8, {}), (8, {"workers": 1})]
)
def test_more_readers_than_archives_share_them_and_it_is_said(shard_set, world, options):
    for rank in range(world):
        data = ready(AudioShards, shard_set, batch_size=1, **options)
        data._place = lambda rank=rank: (rank, world)
        with pytest.warns(UserWarning, match=r"6 train shards for 8 readers.*keeps 1/8"):
            loader = data.train_dataloader()
        assert next(iter(loader))["key"]


def test_workers_that_do_not_fit_are_refused_and_the_most_named(shard_set):
    for world, workers, options, most in (
        (
            1,
            7,
            {},
            "makes 7 readers for 6 train shards; accepted: at most 6 on 1 rank, or smaller shards, "
            "or loader.share_shards",
        ),
        (2, 4, {}, "makes 8 readers for 6 train shards; accepted: at most 3 on 2 ranks"),
        (8, 2, {}, "makes 16 readers for 6 train shards; accepted: at most 1 on 8 ranks"),
        (
            2,
            7,
            {"share_shards": True},
            "makes 14 readers for 12 train samples; accepted: at most 6 on 2 ranks$",
        ),
    ):
        data = ready(AudioShards, shard_set, workers=workers, **options)
        with pytest.raises(UserError, match=f"loader.workers '{workers}' {most}"):
            data.train_workers(world)
        data.workers = None
        assert data.train_workers(world) == 0
    assert ready(AudioShards, shard_set, workers=6).check_ranks(1) is None
    with pytest.raises(
        UserError,
        match=r"trainer\.devices '5' are too many processes; accepted: at most 4, one for each val",
    ):
        ready(AudioShards, shard_set).check_ranks(5)


def test_workers_left_to_choose_fit_the_archives_on_a_gpu_and_stay_out_of_a_cpus_way(shard_set):
    chosen = {}
    for kind in (AudioShards, VideoShards):
        data = ready(kind, shard_set)
        assert data.train_workers(1) == 0
        data._device = lambda: "cuda"
        chosen[kind] = [data.train_workers(world) for world in (1, 2, 4, 8)]
    assert chosen == {AudioShards: [4, 3, 1, 0], VideoShards: [6, 3, 1, 0]}
