"""``emo train`` as a user meets it: one line and exit code 2 for data that cannot do, and no end
for a sample that is spoilt."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from datamodules.shards.index import read_index
from datamodules.shards.reader import read_samples
from datamodules.shards.schema import Sample, SampleMeta
from datamodules.shards.writer import ShardWriter
from emo_lightning.cli import main
from emo_lightning.face.coefficients import BFM, Coefficients
from emo_lightning.training.config import load_config
from emo_lightning.training.train import train

TRAIN = (
    "import sys; from emo_lightning.cli import main; "
    "sys.exit(main(['train', *sys.argv[1:]]) or 3 * ('wandb' in sys.modules))"
)
QUICK = ["size=debug", "trainer.max_steps=4", "trainer.val_every=2", "wandb.mode=disabled"]
Members = dict[str, bytes]


def rewritten(
    shards: Path,
    out: Path,
    change: Callable[[str, Members], list[tuple[str, bytes]]],
    split: str = "train",
) -> Path:
    """A copy of a set whose light archives of a split were made anew of what ``change`` makes of
    each sample; the index follows."""
    shutil.copytree(shards, out)
    record = json.loads((out / "index.json").read_text())
    for entry in record["shards"]:
        if (entry["set"], entry["split"]) == ("light", split):
            path = out / entry["name"]
            with open(shards / entry["name"], "rb") as stream:
                samples = [
                    (key, members)
                    for key, members in read_samples(stream)
                    if isinstance(members, dict)
                ]
            with tarfile.open(path, "w") as tar:
                for name, data in (
                    member for key, members in samples for member in change(key, members)
                ):
                    info = tarfile.TarInfo(name)
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
            entry |= {
                "bytes": path.stat().st_size,
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            }
    (out / "index.json").write_text(json.dumps(record))
    return out


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=array.dtype == object)
    return file.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def spoilt(key: str, members: Members) -> list[tuple[str, bytes]]:
    """The first six of eight training samples, each bad in its own way, and things around them
    that have no business there.

    The first archive is left without one good sample.
    """
    number, blocks = (
        int(key.rpartition("-")[2]),
        dict(np.load(io.BytesIO(members["coeffs.npz"]), allow_pickle=False)),
    )
    bad: dict[int, Members] = {
        0: {"au.npy": pickle.dumps([1, 2, 3])},
        1: {"au.npy": npy(np.zeros((3, 4), np.float32))},
        2: {"coeffs.npz": npz(**{**blocks, "exp": np.full_like(blocks["exp"], np.nan)})},
        3: {"coeffs.npz": npz(**{**blocks, "exp": np.array([{}], dtype=object)})},
        4: {"flac": b"fLaC" + bytes(100)},
    }
    rows = [(f"{key}.{name}", data) for name, data in {**members, **bad.get(number, {})}.items()]
    if number == 5:
        rows = [(f"../{name}", data) for name, data in rows]
    return (
        [*rows, (f"{key}.evil.pkl", pickle.dumps(print)), ("../../../evil.json", b"{}")]
        if number
        else rows
    )


def with_a_huge_header(folder: Path) -> None:
    """End the second archive with a member that says it has 3 GB."""
    record = json.loads((folder / "index.json").read_text())
    entry = [
        entry for entry in record["shards"] if (entry["set"], entry["split"]) == ("light", "train")
    ][1]
    header = tarfile.TarInfo("made-99.json")
    header.size = 3 << 30
    path = folder / entry["name"]
    with tarfile.open(path) as tar:
        end = max(member.offset_data + -(-member.size // 512) * 512 for member in tar)
    path.write_bytes(path.read_bytes()[:end] + header.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 16))
    entry |= {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    (folder / "index.json").write_text(json.dumps(record))


def test_a_run_outlives_every_kind_of_spoilt_sample_and_counts_them(
    repository: Path, shards: Path, tmp_path: Path
) -> None:
    data = rewritten(shards, tmp_path / "set", spoilt)
    with_a_huge_header(data)
    words = [
        "experiments/stage1.yaml",
        *QUICK,
        f"data={data}",
        f"out={tmp_path}/run",
        "loader.workers=2",
    ]
    done = subprocess.run(
        [sys.executable, "-c", TRAIN, *words],
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, (
        f"3 would say that wandb was imported though disabled: {done.stderr}"
    )
    counted = json.loads((tmp_path / "run" / "run.json").read_text())["skipped"]
    reasons = {
        "bad_array",
        "wrong_shape",
        "not_finite",
        "pickled",
        "bad_sound",
        "bad_key",
        "missing_member",
        "bad_archive",
        "member_too_large",
    }
    assert set(counted) == reasons
    assert [
        line
        for line in done.stdout.splitlines()
        if line.startswith("samples skipped so far: ") and "pickled" in line
    ]
    rows = [row.split(",") for row in (tmp_path / "run" / "metrics.csv").read_text().splitlines()]
    last = {name: float(value) for _, name, value in rows[1:] if name.startswith("data/skipped")}
    assert last == {f"data/skipped/{reason}": count for reason, count in counted.items()} | {
        "data/skipped": sum(counted.values())
    }
    assert (
        not list(tmp_path.rglob("evil*")) and (tmp_path / "run" / "decoupler.safetensors").is_file()
    )


def test_counts_of_both_ranks_are_added(repository: Path, shards: Path, tmp_path: Path) -> None:
    def spoil(key: str, members: Members) -> list[tuple[str, bytes]]:
        bad = {"json": b"{"} if int(key[-1]) % 4 else {}
        return [(f"{key}.{name}", data) for name, data in {**members, **bad}.items()]

    data = rewritten(shards, tmp_path / "set", spoil)
    words = [
        "experiments/stage1.yaml",
        *QUICK,
        f"data={data}",
        f"out={tmp_path}/run",
        "trainer.devices=2",
        "trainer.accelerator=cpu",
    ]
    command = [sys.executable, "-m", "emo_lightning.cli", "train", *words]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    # Decoded clips stay in memory, so that alone a rank would count each of the six bad samples
    # once.
    counted = json.loads((tmp_path / "run" / "run.json").read_text())["skipped"]
    assert set(counted) == {"bad_json"} and 6 < counted["bad_json"] <= 12
    assert done.stdout.count(f"samples skipped so far: {counted['bad_json']} bad_json\n") == 1


def empty(shards: Path, out: Path) -> Path:
    """A set that has validation alone."""
    out.mkdir()
    record = json.loads((shards / "index.json").read_text())
    record["shards"] = [entry for entry in record["shards"] if entry["split"] == "val"]
    record["splits"].pop("train")
    for entry in record["shards"]:
        shutil.copy(shards / entry["name"], out)
    (out / "index.json").write_text(json.dumps(record))
    return out


def of_layout(out: Path, number: int = 4) -> Path:
    """A set in the coefficients of the other face model."""
    with ShardWriter(out, video=False) as writer:
        for n in range(number):
            meta = SampleMeta("made", f"s{n}", 40, BFM.to_dict(), "train" if n else "val")
            blocks = {name: np.zeros((40, width), np.float32) for name, width in BFM.widths}
            aus, points = np.zeros((40, 17), np.float32), np.zeros((40, 478, 3), np.float32)
            writer.add(
                Sample(
                    f"made-{n}",
                    meta,
                    np.zeros(40 * 640, np.float32),
                    Coefficients(BFM, blocks),
                    aus,
                    points,
                )
            )
        writer.finish()
    return out


def test_data_that_cannot_do_is_one_line_and_exit_code_2(
    repository: Path, shards: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    decoupler = train(
        load_config(
            repository / "experiments" / "stage1.yaml",
            [*QUICK, f"data={shards}", f"out={tmp_path}/1"],
        )
    )
    cut = rewritten(
        shards,
        tmp_path / "cut",
        lambda key, members: [(f"{key}.{name}", data) for name, data in members.items()],
    )
    first = read_index(cut).of("light", "train")[0]
    (cut / first.name).write_bytes((cut / first.name).read_bytes()[:-512])
    capfd.readouterr()
    few, refused = (
        "readers for 2 train shards; accepted: at most",
        "is not accepted; accepted: 0 or more",
    )
    for stage, words, said in (
        (
            1,
            [f"data={shards}", "loader.workers=3"],
            f"loader.workers '3' makes 3 {few} 2 on 1 rank,",
        ),
        (
            1,
            [f"data={shards}", "loader.workers=2", "trainer.devices=2"],
            f"makes 4 {few} 1 on 2 ranks,",
        ),
        (
            1,
            [f"data={shards}", "loader.workers=9", "loader.share_shards=true"],
            "makes 9 readers for 8 train samples; accepted: at most 8",
        ),
        (1, [f"data={shards}", "loader.workers=-1"], f"loader.workers '-1' {refused}"),
        (
            1,
            [f"data={shards}", "trainer.devices=5"],
            "devices '5' are too many processes; accepted: at most 4, one for each val sample",
        ),
        (2, [f"data={of_layout(tmp_path / 'bfm')}", f"decoupler={decoupler}"], "bfm2009"),
        (
            1,
            ["data=ftp://host/set"],
            "protocol that is not known (ftp); accepted: a folder, https://, s3://, gs:// or pipe:",
        ),
        (
            1,
            [f"data={empty(shards, tmp_path / 'empty')}"],
            "has nothing to train on; accepted: light shards with a train split",
        ),
        (
            3,
            [f"data={of_layout(tmp_path / 'light')}"],
            "has nothing to train on; accepted: video shards with a train split",
        ),
        (1, [f"data={tmp_path}/none"], "does not exist"),
        (1, [f"data={cut}"], "where the index says"),
        (1, [f"data=pipe:cat {shards}/{{}} | cat"], "no shell runs it"),
        (
            1,
            ["trainer.checkpoint_minutes=-1", f"data={shards}"],
            f"trainer.checkpoint_minutes '-1.0' {refused}",
        ),
    ):
        argv = [
            "train",
            str(repository / "experiments" / f"stage{stage}.yaml"),
            *QUICK,
            f"out={tmp_path}/run",
            *words,
        ]
        assert main(argv) == 2, words
        out, err = capfd.readouterr()
        lines = [line for line in err.splitlines() if not line.startswith("INFO")]
        assert (
            out == "" and len(lines) == 1 and lines[0].startswith("emo: ") and said in lines[0]
        ), (words, lines)
