"""What Deep3D and OpenFace wrote is taken by time, and only where it belongs to the clip."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import scipy.io
from skimage.data import astronaut

from datamodules.preprocessing.face_tracking import ClipError
from datamodules.preprocessing.imported_features import (
    OPENFACE_COLUMNS,
    ImportingSource,
    read_coefficients,
    read_openface,
)
from datamodules.preprocessing.pipeline import Settings, preprocess
from datamodules.shards.reader import iter_samples
from datamodules.sources import Clip, Rejected, open_source
from emo_lightning.core.errors import UserError
from emo_lightning.face.coefficients import AU_NAMES, BFM
from emo_lightning.media.video_reader import VideoInfo
from emo_lightning.media.video_writer import write_video


def info(frames: int, fps: float) -> VideoInfo:
    return VideoInfo(256, 256, fps, frames, frames / fps, 0.0, 0, "h264", False)


def mat(path, rows: int):
    """Row t holds t in every place."""
    scipy.io.savemat(
        path, {"coeff": np.repeat(np.arange(rows, dtype=np.float32)[:, None], BFM.size, 1)}
    )
    return path


def table(path, rows: int, fps: float = 25.0, lost=(), **changes):
    """Row t has AU intensities 5 t / rows, in OpenFace's spelling with spaces."""
    lines = [
        "frame, timestamp, confidence, success, "
        + ", ".join(changes.get("columns", OPENFACE_COLUMNS))
    ]
    for t in range(rows):
        value = "nan" if t == changes.get("nan") else f"{5 * t / rows:.4f}"
        units = ", ".join(["0.0" if t in lost else value] * 17)
        lines.append(f"{t + 1}, {t / fps:.4f}, 0.9, {0 if t in lost else 1}, {units}")
    path.write_text("\n".join(lines) + "\n")
    return path


def reason(call, *arguments) -> str:
    with pytest.raises(ClipError) as caught:
        call(*arguments)
    return caught.value.reason


def test_coefficients_follow_the_video_s_own_rate(tmp_path):
    at_30 = read_coefficients(mat(tmp_path / "a.mat", 60), info(60, 30.0), 50)
    assert at_30.layout == BFM and len(at_30) == 50
    np.testing.assert_array_equal(at_30["angle"][:, 0], np.round(np.arange(50) * 1.2))
    # Two rows fewer than frames are forgiven, ten are not.
    assert read_coefficients(mat(tmp_path / "b.mat", 98), info(100, 25.0), 100)["exp"][-1, 0] == 97
    assert (
        reason(read_coefficients, mat(tmp_path / "c.mat", 90), info(100, 25.0), 100)
        == "import_differs"
    )
    (tmp_path / "d.mat").write_bytes(b"not a matrix" * 100)
    assert reason(read_coefficients, tmp_path / "d.mat", info(100, 25.0), 100) == "bad_import"
    scipy.io.savemat(tmp_path / "e.mat", {"coeff": np.zeros((100, 256))})
    assert reason(read_coefficients, tmp_path / "e.mat", info(100, 25.0), 100) == "bad_import"


def test_openface_intensities_are_scaled_bridged_and_taken_by_time(tmp_path):
    units = read_openface(table(tmp_path / "a.csv", 60, 30.0, lost=(30, 31)), 50)
    assert units.shape == (50, len(AU_NAMES)) and units.dtype == np.float32
    np.testing.assert_allclose(units[:, 0], np.arange(50) / 50, atol=1e-3)
    assert reason(read_openface, table(tmp_path / "b.csv", 40), 50) == "import_differs"
    assert reason(read_openface, table(tmp_path / "c.csv", 50, nan=7), 50) == "bad_import"
    assert (
        reason(read_openface, table(tmp_path / "d.csv", 50, columns=OPENFACE_COLUMNS[1:]), 50)
        == "bad_import"
    )
    assert reason(read_openface, table(tmp_path / "e.csv", 50, lost=range(50)), 50) == "bad_import"
    (tmp_path / "f.csv").write_bytes(b"\xff\xfe\x00")
    assert reason(read_openface, tmp_path / "f.csv", 50) == "bad_import"


def test_a_real_openface_table_is_read(shared_data):
    path = shared_data / "openface_csv" / "OpenFace_Test.csv"
    rows = np.genfromtxt(path, delimiter=",", names=True, deletechars="")
    times = rows["timestamp"]
    units = read_openface(path, round((times[-1] - times[0] + np.diff(times).mean()) * 25))
    assert 0 < units.max() <= 1 and units.shape[1] == 17


def test_clips_and_imports_find_each_other_by_stem(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "mats").mkdir()
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / "in" / name).write_bytes(b"x")
    for name in ("a", "c"):
        mat(tmp_path / "mats" / f"{name}.mat", 10)
    source = ImportingSource(open_source("folder", tmp_path / "in"), coefficients=tmp_path / "mats")
    items = {item.name: item for item in source.clips()}
    assert (
        isinstance(items["a.mp4"], Clip)
        and items["a.mp4"].coefficients == tmp_path / "mats" / "a.mat"
    )
    assert {name: item.reason for name, item in items.items() if isinstance(item, Rejected)} == {
        "b.mp4": "no_import",
        "c.mat": "no_video",
    }
    assert source.notes == ["coefficients were imported from Deep3D files, not fitted here"]
    with pytest.raises(UserError, match="--aus"):
        ImportingSource(open_source("folder", tmp_path / "in"), aus=tmp_path / "none")
    (tmp_path / "mats" / "more").mkdir()
    mat(tmp_path / "mats" / "more" / "a.mat", 10)
    with pytest.raises(UserError, match="has the name of"):
        ImportingSource(open_source("folder", tmp_path / "in"), coefficients=tmp_path / "mats")


def test_mute_videos_with_imports_become_samples_of_their_own_set(tmp_path):
    picture = cv2.resize(astronaut()[:400, 30:430], (160, 160), interpolation=cv2.INTER_AREA)
    for folder in ("in", "mats", "csvs"):
        (tmp_path / folder).mkdir()
    for name, frames in (("W009_front_happy_level3_001", 20), ("W011_front_sad_level2_010", 24)):
        write_video(tmp_path / "in" / f"{name}.mp4", [picture] * frames)
        mat(tmp_path / "mats" / f"{name}.mat", frames)
        table(tmp_path / "csvs" / f"{name}.csv", frames)
    mat(tmp_path / "mats" / "W011_front_sad_level2_010.mat", 100)
    source = ImportingSource(
        open_source("mead", tmp_path / "in"), tmp_path / "mats", tmp_path / "csvs"
    )
    report = preprocess(source, tmp_path / "set", settings=Settings(size=64, keep_silent=True))
    assert [(failure.clip, failure.reason) for failure in report.failures] == [
        ("W011_front_sad_level2_010.mp4", "import_differs")
    ]
    assert {shard.set for shard in report.index.shards} == {"mute"} and report.index.layout == BFM
    assert len(report.index.of("video", report.index.speakers["W009"]["split"])) == 1
    (sample,) = iter_samples(tmp_path / "set", parts={"coefficients", "au", "landmarks", "video"})
    assert (sample.meta.emotion, sample.meta.intensity, sample.wave) == ("happy", 3, None)
    np.testing.assert_array_equal(sample.coefficients["exp"][:, 5], np.arange(20))
    np.testing.assert_allclose(sample.au[:, 3], np.arange(20) / 20, atol=1e-3)
    assert list(iter_samples(tmp_path / "set", parts={"wave"})) == []
