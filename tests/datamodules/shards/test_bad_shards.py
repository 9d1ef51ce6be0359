"""Damaged and hostile shard sets: each defect has its reason and costs itself alone."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from datamodules.shards.index import INDEX
from datamodules.shards.reader import iter_samples
from datamodules.shards.schema import encode
from datamodules.shards.verify import verify
from datamodules.shards.writer import ShardWriter
from emo_lightning.core.provenance import sha256_of

GIGABYTE = 1 << 30
SHARD = "light-train-000000.tar"


class Harm:
    """What unpickling would do."""

    def __reduce__(self):
        return Path.touch, (Path("harmed"),)


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def npz(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **dict.fromkeys(("id", "exp", "tex", "angle", "trans"), array))
    return buffer.getvalue()


def wav(wave: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, 16000, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


HARM = np.array([Harm()], object)
TROUBLES = {
    "a name that leads out": (
        lambda m: {f"../../{name}": data for name, data in m.items()},
        "bad_key",
    ),
    "an absolute name": (lambda m: {f"/tmp/{name}": data for name, data in m.items()}, "bad_key"),
    "an npz of objects": (lambda m: m | {"clip-001.coeffs.npz": npz(HARM)}, "pickled"),
    "an npy of objects": (lambda m: m | {"clip-001.au.npy": npy(HARM)}, "pickled"),
    "a pickle as an npy": (lambda m: m | {"clip-001.au.npy": pickle.dumps(Harm())}, "bad_array"),
    "another length": (
        lambda m: m | {"clip-001.au.npy": npy(np.zeros((19, 17), np.float32))},
        "wrong_shape",
    ),
    "another width": (
        lambda m: m | {"clip-001.landmarks.npy": npy(np.zeros((20, 478, 2), np.float16))},
        "wrong_shape",
    ),
    "not a number": (
        lambda m: m | {"clip-001.au.npy": npy(np.full((20, 17), np.nan, np.float32))},
        "not_finite",
    ),
    "without end": (
        lambda m: m | {"clip-001.landmarks.npy": npy(np.full((20, 478, 3), np.inf, np.float16))},
        "not_finite",
    ),
    "audio that is not a number": (
        lambda m: (
            {name: data for name, data in m.items() if not name.endswith("flac")}
            | {"clip-001.wav": wav(np.full(20 * 640, np.nan, np.float32))}
        ),
        "not_finite",
    ),
}


@pytest.fixture
def spoil(tmp_path, make_sample, monkeypatch):
    """Writes a set of two good samples with anything between them, by default a third good one."""
    monkeypatch.chdir(tmp_path)
    samples = [make_sample(number, 20, video=False) for number in range(3)]
    with ShardWriter(tmp_path / "set", video=False) as writer:
        for sample in samples:
            writer.add(sample)
        writer.finish()
    rows = [
        {f"{sample.key}.{name}": data for name, data in encode(sample).items()}
        for sample in samples
    ]

    def write(change=lambda members: members, vast: str = "") -> Path:
        with open(tmp_path / "set" / SHARD, "wb") as file:
            for name, data in [*rows[0].items(), *change(rows[1]).items()]:
                put(file, name, data)
            if vast:
                put(file, vast, b"", 3 * GIGABYTE)
            for name, data in rows[2].items():
                put(file, name, data)
            file.write(bytes(1024))
        return tmp_path / "set"

    return write


def put(file, name: str, data: bytes, hole: int = 0) -> None:
    """Append a tar member; a hole has that many bytes and takes no room on the disk."""
    info = tarfile.TarInfo(name)
    info.size = hole or len(data)
    file.write(info.tobuf(tarfile.GNU_FORMAT) + data)
    file.seek(hole, io.SEEK_CUR)
    file.write(bytes(-info.size % 512))


def agree(folder: Path) -> None:
    """Let the index say what the archive's bytes are."""
    record = json.loads((folder / INDEX).read_text())
    record["shards"][0] |= {
        "bytes": (folder / SHARD).stat().st_size,
        "sha256": sha256_of(folder / SHARD),
    }
    (folder / INDEX).write_text(json.dumps(record))


def read(folder: Path) -> tuple[list[str], Counter[str]]:
    failures: Counter[str] = Counter()
    keys = [
        sample.key
        for sample in iter_samples(
            folder, parts={"wave", "au", "coefficients", "landmarks"}, failures=failures
        )
    ]
    return keys, failures


@pytest.mark.parametrize("trouble", TROUBLES)
def test_each_trouble_has_its_reason_and_costs_itself_alone(spoil, tmp_path, trouble):
    change, reason = TROUBLES[trouble]
    folder = spoil(change)
    keys, failures = read(folder)
    assert keys == ["clip-000", "clip-002"] and set(failures) == {reason}
    agree(folder)
    assert {finding.reason for finding in verify(folder).findings} - {"wrong_count"} == {reason}
    assert [path.name for path in tmp_path.iterdir()] == ["set"] and not Path("harmed").exists()


def test_a_pickle_beside_the_members_is_never_opened(spoil, tmp_path):
    folder = spoil(
        lambda m: m | {"clip-001.pkl": pickle.dumps(Harm()), "clip-001.pyd": pickle.dumps(Harm())}
    )
    assert read(folder) == (["clip-000", "clip-001", "clip-002"], Counter())
    agree(folder)
    assert verify(folder).findings == [] and not (tmp_path / "harmed").exists()


def test_a_member_of_three_gigabytes_is_passed_over(spoil):
    folder = spoil(vast="vast.au.npy")
    assert (folder / SHARD).stat().st_size > 3 * GIGABYTE
    assert read(folder) == (["clip-000", "clip-001", "clip-002"], Counter(member_too_large=1))
