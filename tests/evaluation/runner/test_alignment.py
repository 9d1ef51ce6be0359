"""A clip whose picture was cut anew: how far its face lies off is reported, and ``--align face``
takes it out."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from emo_lightning.core.errors import UserError
from emo_lightning.face.crop import CropBox
from emo_lightning.media.video_reader import iter_frames
from emo_lightning.media.video_writer import write_video
from evaluation.judges.landmark_track import Judges, Track, place_beside
from evaluation.runner.run import evaluate

ZOOM, SIDE = 1.2, 256
METRICS = ["psnr", "ssim", "f_lmd", "placement"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, make_clip) -> Path:
    """A reference, itself, and itself cut anew: larger, and moved by 9 and -6 pixels; also into a
    picture of another shape."""
    root = tmp_path_factory.mktemp("cut")
    reference = make_clip(root / "reference" / "a.mp4", size=(SIDE, SIDE), frames=6)
    make_clip(root / "same" / "a.mp4", size=(SIDE, SIDE), frames=6)
    frames = list(iter_frames(reference))
    for name, size, middle in (("cut", (SIDE, SIDE), SIDE / 2), ("wide", (320, SIDE), 160)):
        matrix = np.float32(
            [[ZOOM, 0, 9 + middle - ZOOM * SIDE / 2], [0, ZOOM, -6 + (1 - ZOOM) * SIDE / 2]]
        )
        moved = [
            cv2.warpAffine(f, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
            for f in frames
        ]
        (root / name).mkdir()
        write_video(root / name / "a.mp4", moved, crf=4)
    return root


def scores(folders: Path, out: Path, systems: tuple[str, ...], **options: str) -> dict:
    found = evaluate(
        {name: folders / name for name in systems},
        folders / "reference",
        out,
        metrics=METRICS,
        **options,
    )
    return {
        name: {metric: cell["mean"] for metric, cell in found["systems"][name].items()}
        for name in systems
    }


def test_the_shift_and_the_zoom_are_reported(folders: Path, tmp_path: Path) -> None:
    found = scores(folders, tmp_path, ("same", "cut"))
    assert found["same"]["face_zoom"] == pytest.approx(1.0, abs=0.005)
    assert found["same"]["face_shift"] < 0.01
    assert found["cut"]["face_zoom"] == pytest.approx(ZOOM, rel=0.02)
    assert found["cut"]["face_shift"] > 0.1
    assert found["cut"]["ssim"] < 0.7 < found["same"]["ssim"] == pytest.approx(1.0)
    assert json.loads((tmp_path / "results.json").read_text())["protocol"] == "emo-eval-2"


def test_aligned_clips_show_the_same_face_in_the_same_place(folders: Path, tmp_path: Path) -> None:
    plain = scores(folders, tmp_path / "plain", ("cut",))["cut"]
    found = scores(folders, tmp_path / "aligned", ("same", "cut", "wide"), align="face")
    for name in ("cut", "wide"):
        assert found[name]["psnr"] > plain["psnr"] + 6
        assert found[name]["ssim"] > plain["ssim"] + 0.2
        assert found[name]["f_lmd"] < 0.1 * plain["f_lmd"]
    assert found["cut"]["face_zoom"] == pytest.approx(ZOOM, rel=0.02)
    record = json.loads((tmp_path / "aligned" / "results.json").read_text())
    assert record["protocol"] == "emo-eval-2+align-face"
    assert record["settings"]["align"] == "face"
    with (tmp_path / "aligned" / "per_clip.csv").open(encoding="utf-8") as file:
        assert {
            row["framing"] for row in csv.DictReader(file) if row["system"] in ("cut", "wide")
        } == {"aligned by face"}


def test_another_choice_is_refused(folders: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--align 'nose' is not accepted; accepted: face"):
        scores(folders, tmp_path, ("cut",), align="nose")


def test_a_square_is_found_again() -> None:
    """A moved and scaled face gives the moved and scaled square, whatever frames lack a face."""
    rng = np.random.default_rng(3)
    theirs = rng.uniform(50, 200, (4, 478, 3)).astype(np.float32)
    mine = (theirs - np.float32([20, -10, 0])) / 1.5
    theirs[0], mine[1] = np.nan, np.nan
    reference = Track(theirs, (256, 256), CropBox(130.0, 120.0, 90.0), Judges())
    box = place_beside(mine, reference).box(reference.box)
    assert (box.cx, box.cy, box.half) == pytest.approx(
        ((130 - 20) / 1.5, (120 + 10) / 1.5, 60.0), abs=1e-3
    )
