"""``emo preprocess``: the sources by name, and when it fails."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from datamodules.shards.reader import iter_samples
from emo_lightning.cli import main
from emo_lightning.face.landmarks import open_landmarker, to_68
from emo_lightning.media.video_writer import write_video
from tests.datamodules.preprocessing.test_pipeline import nodding, voice
from tests.emo_lightning.face.test_landmarks import fan_cells, save_heat_maps


@pytest.fixture
def recordings(tmp_path):
    """Two good recordings of RAVDESS, two empty ones, and one that is not named as the corpus does."""
    root = tmp_path / "in"
    root.mkdir()
    wave = 0.2 * np.random.default_rng(0).standard_normal(16000)
    for actor in (1, 2, 3, 4):
        path = root / f"03-01-03-01-02-01-{actor:02d}.wav"
        soundfile.write(path, wave, 16000) if actor < 3 else path.write_bytes(b"")
    soundfile.write(root / "take one.wav", wave, 16000)
    return root


def preprocess(root, out, *more) -> int:
    return main(
        ["preprocess", "--source", "ravdess", "--root", str(root), "--out", str(out), *more]
    )


def test_what_failed_is_told_and_the_run_succeeds(recordings, tmp_path, capsys):
    assert preprocess(recordings, tmp_path / "set") == 0
    said, warned = capsys.readouterr()
    assert "2 samples" in said and "2 failed: empty" in said and "1 failed: naming" in said
    failures = tmp_path / "set" / "failures.jsonl"
    assert warned.endswith(f"emo: 3 of 5 clips have no sample; see {failures}\n")
    assert preprocess(recordings, tmp_path / "set", "--resume", "--max-failures", "0.5") == 2


def test_more_failures_than_allowed_are_a_failure_with_the_shards_written(
    recordings, tmp_path, capsys
):
    assert preprocess(recordings, tmp_path / "a", "--max-failures", "0.6") == 0
    assert preprocess(recordings, tmp_path / "b", "--max-failures", "0.5") == 2
    assert "3 of 5" in capsys.readouterr().err and (tmp_path / "b" / "index.json").exists()


def test_face_alignment_landmarks_end_to_end(tmp_path, capsys):
    """The library itself, with a small network of its interface, from video to shards."""
    root, frames = tmp_path / "in", nodding(12, 160)
    root.mkdir()
    write_video(root / "anna.mp4", frames, voice(12))
    mediapipe = open_landmarker()
    (face,) = mediapipe.detect(frames[0])
    mediapipe.close()
    save_heat_maps(tmp_path / "net.pt", fan_cells(face))
    argv = ["preprocess", "--source", "folder", "--root", str(root), "--out"]
    more = ["--landmarks", "face-alignment", "--landmark-model", str(tmp_path / "net.pt")]
    assert main([*argv, str(tmp_path / "a"), *more]) == 0
    assert main([*argv, str(tmp_path / "b")]) == 0
    (sparse,), (dense,) = (
        [sample for sample in iter_samples(out)] for out in (tmp_path / "a", tmp_path / "b")
    )
    assert sparse.meta.tools["landmarks"] == "face-alignment"
    assert sparse.landmarks.shape == (12, 68, 3) and sparse.blendshapes is None
    iod = np.linalg.norm(np.subtract(*to_68(dense.landmarks)[0, [36, 45], :2]))
    # The two squares differ: the 68 points end at the brows.
    a, b = (
        x[0, 17:, :2] - x[0, 17:, :2].mean(0) for x in (sparse.landmarks, to_68(dense.landmarks))
    )
    a *= np.linalg.norm(b) / np.linalg.norm(a)
    assert np.abs(a - b).mean() < 0.03 * iod
    assert sparse.coefficients.layout == dense.coefficients.layout and len(sparse.au) == 12


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--source", "lrs3"), "folder, mead, cremad, ravdess, hdtf, grid"),
        (("--views", "front"), "does not apply to ravdess"),
        (("--max-failures", "2"), "a share from 0 to 1"),
        (("--clip-timeout", "0"), "1 or more"),
        (("--coefficients", "nowhere"), "is no folder"),
        (("--engine", "dask"), "is not an engine"),
        (("--landmarks", "dlib"), "mediapipe, face-alignment"),
        (("--workers", "300"), "1 to 256"),
        (("--ray-address", "auto"), "of no use to the local engine"),
    ],
)
def test_mistakes_are_one_line(recordings, tmp_path, capsys, more, said):
    assert preprocess(recordings, tmp_path / "set", *more) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and not (tmp_path / "set").exists()
