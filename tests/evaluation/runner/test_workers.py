"""Several processes find what one finds: started here, by torchrun, by SLURM; with too few clips,
and with one that is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from emo_lightning.core.errors import UserError
from evaluation.runner import distributed, workers
from evaluation.runner.run import evaluate
from evaluation.runner.workers import PARTS

METRICS = ["ssim", "jitter"]
CLIPS = 5


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, make_clip) -> Path:
    """Five pairs of small clips."""
    root = tmp_path_factory.mktemp("many")
    for i in range(CLIPS):
        make_clip(root / "reference" / f"{i}.mp4", frames=4 + i, size=(128, 128), seed=i)
        make_clip(root / "ours" / f"{i}.mp4", frames=4 + i, size=(128, 128), seed=i, blur=1.0 + i)
    return root


@pytest.fixture(scope="module")
def alone(scene: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What one process finds."""
    return evaluate(
        {"ours": scene / "ours"},
        scene / "reference",
        tmp_path_factory.mktemp("alone"),
        metrics=METRICS,
    )


def strip(results: dict) -> dict:
    """What must not depend on when and by how many processes the scores were found."""
    return {name: results[name] for name in ("systems", "failures", "details", "clips", "inputs")}


def command(scene: Path, out: Path, *more: str) -> list[str]:
    """The words of ``emo eval`` after the interpreter's own."""
    folders = [
        "--systems",
        f"ours={scene / 'ours'}",
        "--reference",
        str(scene / "reference"),
        "--out",
        str(out),
    ]
    return ["-m", "emo_lightning.cli", "eval", *folders, "--metrics", ",".join(METRICS), *more]


def read(out: Path) -> dict:
    return json.loads((out / "results.json").read_text(encoding="utf-8"))


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", **more}


def test_three_processes_and_two_clips_find_the_same_as_one(
    scene: Path, tmp_path: Path, make_clip
) -> None:
    """One of the three has nothing to do."""
    for name in ("0.mp4", "3.mp4"):
        (tmp_path / "ours").mkdir(exist_ok=True)
        (tmp_path / "ours" / name).symlink_to(scene / "ours" / name)
    found = [
        evaluate(
            {"ours": tmp_path / "ours"},
            scene / "reference",
            tmp_path / str(n),
            devices=n,
            metrics=METRICS,
        )
        for n in (1, 3)
    ]
    assert strip(found[0]) == strip(found[1]) and found[1]["environment"]["processes"] == 3
    assert (tmp_path / "1" / "per_clip.csv").read_text() == (
        tmp_path / "3" / "per_clip.csv"
    ).read_text()


def test_torchrun_shares_the_clips(
    scene: Path, alone: dict, tmp_path: Path, repository: Path
) -> None:
    launcher = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
    ]
    done = subprocess.run(
        [*launcher, *command(scene, tmp_path / "o")],
        cwd=repository,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = read(tmp_path / "o")
    assert strip(found) == strip(alone) and found["environment"]["processes"] == 2
    assert done.stdout.count("scores missing") == 1, "only the first process reports"
    assert not (tmp_path / "o" / PARTS).exists()


def kill_when_it_has_scored(folder: Path, rank: int) -> Iterator[int]:
    """Wait for the first clip of a process, then kill it; yields its number."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        for path in folder.glob(f"*-rank-{rank}-of-*.jsonl"):
            if workers.count_records(path):
                process = json.loads(path.read_text().splitlines()[0])["process"]
                os.kill(process, signal.SIGKILL)
                yield process
                return
        time.sleep(0.002)


def test_a_killed_process_costs_only_its_own_clips_and_resume_scores_them(
    scene: Path, alone: dict, tmp_path: Path
) -> None:
    killed: list[int] = []
    killer = threading.Thread(
        target=lambda: killed.extend(kill_when_it_has_scored(tmp_path / PARTS, 1))
    )
    killer.start()
    broken = evaluate(
        {"ours": scene / "ours"}, scene / "reference", tmp_path, devices=2, metrics=METRICS
    )
    killer.join()
    lost = [
        f
        for f in broken["failures"]
        if "process 1 ended with code -9" in f["reason"] and "--resume" in f["reason"]
    ]
    assert killed and len(lost) == broken["unscored"] > 0
    assert broken["clips"]["ours"] + sum(f["system"] == "ours" for f in lost) == CLIPS
    assert "process died" in (tmp_path / "report.html").read_text(encoding="utf-8")
    whole = evaluate(
        {"ours": scene / "ours"}, scene / "reference", tmp_path, metrics=METRICS, resume=True
    )
    assert (
        strip(whole) == strip(alone) and whole["unscored"] == 0 and not (tmp_path / PARTS).exists()
    )


def test_under_slurm_a_silent_process_is_noticed_and_the_report_written(
    scene: Path, tmp_path: Path, repository: Path
) -> None:
    words = [sys.executable, *command(scene, tmp_path, "--worker-timeout", "5")]
    ranks = [
        subprocess.Popen(
            words,
            cwd=repository,
            env=environment(SLURM_PROCID=str(rank), SLURM_NTASKS="2"),
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    assert list(kill_when_it_has_scored(tmp_path / PARTS, 1)) == [ranks[1].pid]
    said = ranks[0].communicate(timeout=120)[0]
    ranks[1].communicate()
    assert ranks[0].returncode == 1 and "--resume" in said
    found = read(tmp_path)
    assert (
        any("process 1 gave no heartbeat" in f["reason"] for f in found["failures"])
        and found["clips"]["ours"] >= 3
    )
    assert list((tmp_path / PARTS).glob("*.jsonl")), "what was scored is kept"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, None),
        ({"RANK": "0", "WORLD_SIZE": "1"}, None),
        ({"RANK": "2", "WORLD_SIZE": "3"}, distributed.Rank(2, 3, "torchrun")),
        ({"SLURM_PROCID": "1", "SLURM_NTASKS": "4"}, distributed.Rank(1, 4, "SLURM")),
    ],
)
def test_the_place_comes_from_the_launcher(
    variables: dict[str, str], expected: distributed.Rank | None
) -> None:
    assert distributed.launched_rank(variables) == expected


def test_a_place_that_cannot_be_is_refused() -> None:
    with pytest.raises(UserError, match="WORLD_SIZE 2"):
        distributed.launched_rank({"RANK": "2", "WORLD_SIZE": "2"})
