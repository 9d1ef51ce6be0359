"""CSIM and the face embedding judge."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from skimage.data import astronaut

from emo_lightning.core import assets
from emo_lightning.core.errors import UserError
from emo_lightning.media.video_reader import iter_frames
from evaluation.judges.face_embedding import (
    TEMPLATE,
    FaceEmbeddingJudge,
    align,
    describe,
    five_points,
    similarity,
)
from evaluation.judges.landmarks import LandmarkJudge
from evaluation.metrics.csim import csim


@pytest.fixture(scope="module")
def tracker() -> LandmarkJudge:
    return LandmarkJudge()


@pytest.fixture(scope="module")
def judge() -> FaceEmbeddingJudge:
    return FaceEmbeddingJudge("sface")


def test_cosines_are_torchs() -> None:
    a, b = torch.randn(2, 6, 128, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        csim(a, b).float(), torch.nn.functional.cosine_similarity(a, b), rtol=0, atol=1e-6
    )
    assert csim(3 * a, a).tolist() == pytest.approx([1.0] * 6)
    with pytest.raises(ValueError, match="reference holds an embedding that is zero"):
        csim(a, torch.zeros(6, 128))


def test_a_turned_scaled_and_moved_face_comes_back_to_the_template() -> None:
    turn = 0.4
    rotation = 1.7 * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    matrix = similarity(TEMPLATE @ rotation.T + [40.0, -9.0], TEMPLATE)
    assert np.allclose(
        TEMPLATE @ rotation.T @ matrix[:, :2].T + matrix[:, :2] @ [40.0, -9.0] + matrix[:, 2],
        TEMPLATE,
    )


def test_the_same_face_stays_itself_when_the_picture_turns(
    tracker: LandmarkJudge, judge: FaceEmbeddingJudge
) -> None:
    picture = astronaut()[:300, 75:375].copy()
    turned = cv2.warpAffine(picture, cv2.getRotationMatrix2D((150, 150), 20, 0.8), (300, 300))
    points = []
    for image in (picture, turned):
        tracker.start()
        points.append(tracker.place(image))
    found = judge.embed_faces(
        np.stack([picture, turned, picture]),
        np.stack([*points, np.full((478, 3), np.nan, np.float32)]),
    )
    assert np.isnan(found[2]).all(), "no face, no embedding"
    assert float(csim(torch.from_numpy(found[:1]), torch.from_numpy(found[1:2]))) > 0.8
    eyes = five_points(points[0])
    assert abs(eyes[0, 1] - eyes[1, 1]) < 20 and eyes[0, 0] < eyes[2, 0] < eyes[1, 0]
    assert align(picture, points[0]).shape == (112, 112, 3)


def test_other_people_are_far(
    shared_data: Path, tracker: LandmarkJudge, judge: FaceEmbeddingJudge
) -> None:
    clips = (
        sorted((shared_data / "MEAD").rglob("*.mp4"))
        + sorted((shared_data / "grid_s1").glob("*.mp4"))[:1]
    )
    found = []
    for clip in clips:
        tracker.start()
        frames = [
            frame[::2, ::2].copy() if frame.shape[0] > 700 else frame
            for frame in islice(iter_frames(clip, fps=25.0), 0, 21, 20)
        ]
        found.append(
            judge.embed_faces(
                np.stack(frames), np.stack([tracker.place(frame) for frame in frames])
            )
        )
    within = [float(csim(torch.from_numpy(e[:1]), torch.from_numpy(e[1:]))) for e in found]
    across = [
        float(csim(torch.from_numpy(a[:1]), torch.from_numpy(b[:1])))
        for i, a in enumerate(found)
        for b in found[:i]
    ]
    assert min(within) > 0.8 and max(across) < 0.4


def test_an_arcface_file_that_is_no_network_is_refused(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv(assets.ENVIRONMENT, str(tmp_path))
    describe.cache_clear()
    with pytest.raises(UserError, match=r"arcface\.onnx in a folder"):
        describe("arcface")
    (tmp_path / "arcface.onnx").write_bytes(b"not a network")
    with pytest.raises(UserError, match="ONNX network"):
        FaceEmbeddingJudge("arcface")
    describe.cache_clear()
