"""The picture of many videos: a frame at each moment, and none in the middle of a blink."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from emo_lightning.face.coefficients import EXP_NAMES
from emo_lightning.media.video_writer import write_video
from evaluation.report.contact_sheet import BAR, contact_sheet

SIZE, FRAMES = 64, 20


def film(folder: Path, shut: slice) -> None:
    """Twenty grey frames, each brighter than the one before; the lids are shut in some."""
    write_video(
        folder / "happy-08.mp4",
        [np.full((SIZE, SIZE, 3), 20 + 10 * k, np.uint8) for k in range(FRAMES)],
        None,
        25,
    )
    exp = np.zeros((FRAMES, len(EXP_NAMES)), np.float32)
    exp[shut, EXP_NAMES.index("AU45_L")] = 1.0
    np.savez(folder / "happy-08.npz", exp=exp)


def shown(folder: Path) -> float:
    """Grey of the frame that stands for the video's middle."""
    sheet = cv2.imread(str(contact_sheet(folder, folder / "sheet.png", (8,), (0.5,))))
    row = 5 * (SIZE + BAR) + BAR
    return float(sheet[row + 8 : row + SIZE - 8, 8 : SIZE - 8].mean())


def test_the_frame_at_the_moment_is_shown(tmp_path: Path) -> None:
    film(tmp_path, slice(0, 0))
    assert abs(shown(tmp_path) - 120) < 4


def test_a_blink_is_stepped_over(tmp_path: Path) -> None:
    film(tmp_path, slice(8, 12))
    assert min(abs(shown(tmp_path) - 90), abs(shown(tmp_path) - 140)) < 4


def test_a_face_that_never_sees_is_shown_all_the_same(tmp_path: Path) -> None:
    film(tmp_path, slice(0, FRAMES))
    assert abs(shown(tmp_path) - 120) < 4
