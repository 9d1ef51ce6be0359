"""A run broken off in the middle of an epoch goes on with the very samples that come next: none twice, none skipped."""

from __future__ import annotations

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

from datamodules.loading.datamodule import AudioShards, VideoShards
from emo_lightning.core.errors import UserError
from emo_lightning.training.run_dir import AtomicCheckpointIO

BATCHES, EPOCHS = 7, 2
OPTIONS = {"batch_size": 3, "workers": 2, "window": 16, "seed": 5, "epoch_batches": BATCHES}


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
@pytest.mark.filterwarnings("ignore:samples left out")
def test_an_epoch_goes_on_at_any_batch(spoilt_set, kind, options, workers):
    options = {"batch_size": 3, "epoch_batches": 5, "workers": workers, **options}
    loader = ready(kind, spoilt_set, **options).train_dataloader()
    straight = {}
    for epoch in (2, 3):
        loader.set_epoch(epoch)
        straight[epoch] = [contents(batch) for batch in loader]
    for stop in (1, 2, 5):
        loader.set_epoch(2)
        batches = iter(loader)
        for _ in range(stop):
            next(batches)
        state = loader.state_dict()
        assert (state["epoch"], state["batch"]) == (2, stop)
        batches.close()
        resumed = ready(kind, spoilt_set, **options).train_dataloader()
        resumed.load_state_dict(state)
        resumed.set_epoch(2)
        assert [contents(batch) for batch in resumed] == straight[2][stop:]
        resumed.set_epoch(3)
        assert [contents(batch) for batch in resumed] == straight[3]


def test_a_place_is_plain_and_says_when_it_means_another(shard_set, tmp_path):
    state = ready(AudioShards, shard_set, batch_size=3).train_dataloader().state_dict()
    torch.save(state, tmp_path / "state.pt")
    assert torch.load(tmp_path / "state.pt", weights_only=True) == state
    with pytest.warns(UserWarning, match="another seed, batch size"):
        ready(AudioShards, shard_set, batch_size=4, seed=1).train_dataloader().load_state_dict(
            state
        )


class Diary(lightning.LightningModule):
    """Writes down each batch: step, epoch, keys and first frames."""

    def __init__(self, out: Path, pause: float) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.out, self.pause = out, pause

    def training_step(self, batch, index):
        row = [
            self.global_step,
            self.current_epoch,
            batch["key"],
            batch["exp"][:, 0, 0].int().tolist(),
        ]
        with open(self.out / f"rank{self.global_rank}.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        time.sleep(self.pause)
        return self.weight.sum() * batch["mel"].mean()

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
    """Train to the end, with a checkpoint after each ``every`` steps."""
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=devices,
        strategy="ddp_fork" if devices > 1 else "auto",
        max_epochs=EPOCHS,
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
        limit_val_batches=0,
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
    loader, rows = data.train_dataloader(), []
    for epoch in range(EPOCHS):
        loader.set_epoch(epoch)
        rows += [
            [len(rows) + i, epoch, b["key"], b["exp"][:, 0, 0].int().tolist()]
            for i, b in enumerate(loader)
        ]
    return rows


def written(out: Path, rank: int) -> list[list]:
    path = out / f"rank{rank}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_every_checkpoint_resumes_exactly(shard_set, tmp_path):
    first = tmp_path / "first"
    first.mkdir()
    train(shard_set, first, 1, 1, workers=0, epoch_batches=3)
    straight = expected(shard_set, 0, 1, workers=0, epoch_batches=3)
    assert written(first, 0) == straight
    for step in range(1, 6):
        out = tmp_path / str(step)
        out.mkdir()
        train(shard_set, out, 1, 100, first / f"step={step}.ckpt", workers=0, epoch_batches=3)
        assert written(out, 0) == straight[step:], step


def start(
    action: Callable[..., None], out: Path, *arguments: object, **options: object
) -> BaseProcess:
    """Run in a process, and group of processes, of its own, so that nothing of it outlives a kill."""

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


def test_two_processes_killed_within_an_epoch_resume_exactly(shard_set, tmp_path):
    out = tmp_path / "first"
    process = start(train, out, shard_set, out, 2, 2, pause=0.1)
    deadline = time.monotonic() + 120
    while len(written(out, 0)) < BATCHES + 4:
        assert process.is_alive() and time.monotonic() < deadline, (out / "log").read_text()
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.join()
    step = max(int(path.stem.partition("=")[2]) for path in out.glob("step=*.ckpt"))
    assert BATCHES < step < 2 * BATCHES
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
    """Join a gloo group of two, read two epochs with two workers, and write down clip and first frame of every window."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{out}/meet", rank=rank, world_size=2
    )
    loader = ready(
        AudioShards, shards, batch_size=1, workers=2, window=16, seed=seed, epoch_batches=8
    ).train_dataloader()
    rows = []
    for epoch in range(2):
        loader.set_epoch(epoch)
        rows.append([[batch["key"][0], int(batch["exp"][0, 0, 0])] for batch in loader])
    (out / f"rank{rank}.json").write_text(json.dumps(rows))
    torch.distributed.destroy_process_group()


def readers_of(shards: Path, out: Path, seed: int) -> dict[tuple[int, int, int], list[list]]:
    """(epoch, rank, worker) -> what that reader drew, in two processes with two workers each; a loader asks its workers in turn."""
    out.mkdir()
    started = [
        multiprocessing.get_context("fork").Process(
            target=read_as_rank, args=(shards, out, rank, seed)
        )
        for rank in range(2)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(60)
    assert [process.exitcode for process in started] == [0, 0]
    rows = [json.loads((out / f"rank{rank}.json").read_text()) for rank in range(2)]
    return {
        (epoch, rank, worker): rows[rank][epoch][worker::2]
        for epoch in range(2)
        for rank in range(2)
        for worker in range(2)
    }


def test_no_two_readers_of_two_ranks_draw_alike(shard_set, tmp_path):
    drawn = readers_of(shard_set, tmp_path / "first", 5)
    for epoch in range(2):
        readers = {place: rows for place, rows in drawn.items() if place[0] == epoch}
        # Four windows of each, of the five at least that one lap gives it: no clip comes to two readers, and each has its own frames.
        clips = {place: {key for key, _ in rows} for place, rows in readers.items()}
        assert sum(map(len, clips.values())) == len(set().union(*clips.values())) and all(
            len(rows) == 4 for rows in readers.values()
        )
    frames = [tuple(frame for _, frame in rows) for rows in drawn.values()]
    assert len(set(frames)) == len(frames) == 8
    assert readers_of(shard_set, tmp_path / "again", 5) == drawn


@pytest.mark.parametrize(
    ("world", "options"), [(2, {"workers": 4, "share_shards": True}), (8, {}), (8, {"workers": 1})]
)
def test_more_readers_than_archives_share_them_and_it_is_said(shard_set, world, options):
    seen = []
    for rank in range(world):
        data = ready(AudioShards, shard_set, batch_size=1, epoch_batches=8 // world, **options)
        data._place = lambda rank=rank: (rank, world)
        with pytest.warns(UserWarning, match="6 train archives for 8 readers"):
            loader = data.train_dataloader()
        seen += [batch["key"][0] for batch in loader]
    assert len(seen) == len(set(seen)) == 8


def test_workers_that_do_not_fit_are_refused_and_the_most_named(shard_set):
    for world, workers, options, most in (
        (
            1,
            7,
            {},
            "makes 7 readers for 6 train archives; accepted: at most 6 on 1 rank, or smaller archives, or loader.share_shards",
        ),
        (2, 4, {}, "makes 8 readers for 6 train archives; accepted: at most 3 on 2 ranks"),
        (8, 2, {}, "makes 16 readers for 6 train archives; accepted: at most 1 on 8 ranks"),
        (
            2,
            7,
            {"share_shards": True},
            "makes 14 readers for 12 train samples; accepted: at most 6 on 2 ranks$",
        ),
    ):
        data = ready(AudioShards, shard_set, workers=workers, **options)
        with pytest.raises(UserError, match=f"loader.workers '{workers}' {most}"):
            data._train_workers(world)
        data.workers = None
        assert data._train_workers(world) == 0
    assert ready(AudioShards, shard_set, workers=6).check_ranks(1) is None
    with pytest.raises(
        UserError,
        match=r"trainer\.devices '5' are too many processes; accepted: at most 4, one for each val sample",
    ):
        ready(AudioShards, shard_set).check_ranks(5)


def test_workers_left_to_choose_fit_the_archives_on_a_gpu_and_stay_out_of_a_cpus_way(shard_set):
    chosen = {}
    for kind in (AudioShards, VideoShards):
        data = ready(kind, shard_set)
        assert data._train_workers(1) == 0
        data._accelerated = lambda: True
        chosen[kind] = [data._train_workers(world) for world in (1, 2, 4, 8)]
    assert chosen == {AudioShards: [4, 3, 1, 0], VideoShards: [6, 3, 1, 0]}
