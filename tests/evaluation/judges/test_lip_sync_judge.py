"""The shipped lip-sync judge: what it must and must not react to, how it is trained, and its place
in the suite."""

from __future__ import annotations

import shutil
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from datamodules.corpus.build import build_corpus
from datamodules.shards.reader import iter_samples
from datamodules.shards.schema import Sample
from emo_lightning.core.errors import UserError
from emo_lightning.face.pose import rotation
from emo_lightning.media.audio_reader import load_audio
from emo_lightning.media.video_reader import iter_frames
from evaluation.judges import syncnet
from evaluation.judges.landmarks import LandmarkJudge
from evaluation.judges.lip_sync import LipSyncJudge, nearest
from evaluation.metrics.lip_sync import SyncScore, overlap_distances, sync_score
from evaluation.protocol import NotScored
from evaluation.runner.clip_reader import delayed
from evaluation.suite import sync
from tools.judge_training import lip_sync as training
from tools.judge_training.lip_sync_clips import FRAMES, change, mirrored, read_clips


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four short synthetic clips of three speakers, without frames."""
    pytest.importorskip("espeakng_loader")
    folder = tmp_path_factory.mktemp("corpus")
    build_corpus(folder, clips=4, seed=7, video=False)
    return folder


@pytest.fixture(scope="module")
def clips(corpus: Path) -> list[Sample]:
    return list(iter_samples(corpus, None, ("wave", "landmarks")))


@pytest.fixture(scope="module")
def judge() -> LipSyncJudge:
    return LipSyncJudge()


def whole(sample: Sample) -> np.ndarray:
    """Its sound, as long as its pictures."""
    return np.pad(sample.wave, (0, 640))[: 640 * len(sample.landmarks)]


def score(judge: LipSyncJudge, points: np.ndarray, wave: np.ndarray) -> SyncScore:
    lips, voice = torch.from_numpy(judge.lips(points)), torch.from_numpy(judge.voice(wave))
    count = min(len(lips), len(voice))
    return sync_score(overlap_distances(lips[:count], voice[:count]))


def test_moved_sound_moves_the_offset(judge: LipSyncJudge, clips: list[Sample]) -> None:
    """Late sound counts down, early sound up, a frame for a frame; values at offset 0 get worse,
    LSE hardly."""
    for sample in clips:
        points, wave = sample.landmarks.astype(np.float32), whole(sample)
        own = score(judge, points, wave)
        assert abs(own.offset) <= 1
        for late in (-5, 5):
            found = score(judge, points, delayed(wave, late))
            assert abs(found.offset - (own.offset - late)) <= 1
            assert (
                found.confidence_at_0 < own.confidence_at_0
                and found.distance_at_0 > own.distance_at_0
            )


def test_confidence_falls_with_other_sound_and_with_a_still_face(
    judge: LipSyncJudge, clips: list[Sample]
) -> None:
    own, other, still = [], [], []
    for n, sample in enumerate(clips):
        points = sample.landmarks.astype(np.float32)
        own.append(score(judge, points, whole(sample)).confidence)
        other.append(
            score(judge, points, np.resize(whole(clips[n - 1]), 640 * len(points))).confidence
        )
        still.append(
            score(judge, np.repeat(points[:1], len(points), axis=0), whole(sample)).confidence
        )
    assert np.mean(own) > 1.5 * np.mean(other) and np.mean(own) > 4 * np.mean(still)
    assert all(a > b for a, b in zip(own, still, strict=True))


def test_a_real_speaker_never_trained_on(judge: LipSyncJudge, shared_data: Path) -> None:
    """Some seconds of a speech: the lag is the same in both halves and moves with the sound."""
    path = shared_data / "talk" / "WDA_AlexandriaOcasioCortez_000.mp4"
    tracker = LandmarkJudge()
    points = np.stack([tracker.place(frame) for frame in islice(iter_frames(path, threads=1), 140)])
    tracker.close()
    wave = load_audio(path)[: 640 * len(points)]
    half = len(points) // 2
    first, second = (
        score(judge, points[:half], wave[: 640 * half]),
        score(judge, points[half:], wave[640 * half :]),
    )
    assert abs(first.offset - second.offset) <= 1
    assert score(judge, points[:half], delayed(wave[: 640 * half], 5)).offset == first.offset - 5
    assert (
        score(judge, points[:half], wave[640 * half : 2 * 640 * half]).confidence < first.confidence
    )


def test_head_movement_and_framing_do_not_count(judge: LipSyncJudge, clips: list[Sample]) -> None:
    """The same mouth on a head that turns and moves, in another unit, gives the same embeddings."""
    points = clips[0].landmarks.astype(np.float64)
    time = np.arange(len(points)) / 10
    turn = rotation(
        np.stack([0.1 * np.sin(time), 0.3 * np.cos(time), 0.2 * np.sin(2 * time)], axis=1)
    )
    moved = 240 * np.einsum("tij,tvj->tvi", turn, points) + 300 + 10 * np.sin(time)[:, None, None]
    assert np.abs(judge.lips(moved) - judge.lips(points)).max() < 1e-3


def test_frames_without_a_face(judge: LipSyncJudge, clips: list[Sample]) -> None:
    """A window counts while three of its five frames show a face."""
    points = clips[0].landmarks.astype(np.float32)
    points[10:13] = np.nan
    lost = ~np.isfinite(judge.lips(points)[:, 0])
    assert np.flatnonzero(lost).tolist() == [8, 9, 10]
    assert nearest(np.array([False, True, False, False, True])).tolist() == [1, 1, 1, 4, 4]
    points[:] = np.nan
    with pytest.raises(ValueError, match="0 with a face"):
        judge.lips(points)
    with pytest.raises(ValueError, match="4 frames"):
        judge.lips(clips[0].landmarks[:4].astype(np.float32))
    with pytest.raises(ValueError, match="at least 3200"):
        judge.voice(np.zeros(2000, np.float32))


def test_changes_repeat_by_their_generator(corpus: Path) -> None:
    """The same generator changes a clip alike, the next draw otherwise; mirrored twice, a mouth is
    itself."""
    clip = max(read_clips(corpus), key=lambda c: len(c.shape))
    rng = np.random.default_rng(0)
    shape, mel = change(clip, rng)
    assert shape.shape == (FRAMES, 45, 3) and mel.shape == (4 * FRAMES, 80)
    again = change(clip, np.random.default_rng(0))
    assert np.array_equal(shape, again[0]) and np.array_equal(mel, again[1])
    assert not np.array_equal(shape, change(clip, rng)[0])
    assert np.array_equal(mirrored()[mirrored()], np.arange(45))


def test_training_repeats(corpus: Path, tmp_path: Path) -> None:
    """Same seed, same file; the file is a judge."""
    sets = [read_clips(corpus)]
    for name in ("a", "b"):
        training.train(sets, 2, 0, tmp_path / name, {"judge": "test"}, batch=3)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert LipSyncJudge(tmp_path / "a").voice(np.zeros(6400, np.float32)).shape == (6, 64)
    with pytest.raises(UserError, match="--steps"):
        training.main(["--data", str(corpus), "--out", str(tmp_path / "c"), "--steps", "0"])


def test_suite_scores_by_columns(judge: LipSyncJudge, clips: list[Sample]) -> None:
    """The entry reads both extractors; a clip that is too short says so."""
    entry, device = sync.ENTRIES["sync"], torch.device("cpu")
    extractors = {e.name: e.open(device) for e in sync.EXTRACTORS if e.name in entry.needs}
    track = SimpleNamespace(points=clips[0].landmarks.astype(np.float32))
    found = {
        "sync_lips": extractors["sync_lips"](track),
        "sync_voice": extractors["sync_voice"](whole(clips[0])),
    }
    scores = entry.score(SimpleNamespace(features=found.__getitem__), None)
    expected = score(judge, track.points, whole(clips[0]))
    assert scores.values["sync_offset"] == expected.offset and scores.values[
        "sync_lse_c"
    ] == pytest.approx(expected.confidence)
    assert set(scores.values) == {column.name for column in entry.columns}
    short = {
        name: {key: rows[:10] for key, rows in arrays.items()} for name, arrays in found.items()
    }
    with pytest.raises(NotScored, match="at least 12"):
        entry.score(SimpleNamespace(features=short.__getitem__), None)


def test_syncnet_entry_needs_its_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without weights the reason is given; with a user's file its hash is recorded and windows are
    embedded."""
    monkeypatch.setenv("EMO_ASSETS", str(tmp_path))
    lips, voice = (next(e for e in sync.EXTRACTORS if e.name == name) for name in sync.SYNCNET)
    with pytest.raises(UserError, match=r"syncnet_v2\.model"):
        lips.judge()
    torch.manual_seed(0)
    torch.save(syncnet.SyncNet().state_dict(), tmp_path / "syncnet_v2.model")
    assert lips.judge().name == "syncnet_v2" and len(lips.judge().sha256) == 64
    crops = np.random.default_rng(0).integers(
        0, 255, (6, sync.SYNCNET_VIEW.size, sync.SYNCNET_VIEW.size, 3), np.uint8
    )
    points = np.random.default_rng(1).uniform(100, 250, (6, 478, 3)).astype(np.float32)
    rows = lips.open(torch.device("cpu"))(crops, points)["lips"]
    assert rows.shape == (2, 1024) and np.isfinite(rows).all()
    heard = voice.open(torch.device("cpu"))(np.random.default_rng(2).uniform(-1, 1, 8 * 640))[
        "voice"
    ]
    assert heard.shape == (3, 1024)
    shutil.rmtree(tmp_path)
