"""Head motion, beat alignment, blinks and EAT's landmark distances, on motions whose answers are
known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d
from scipy.signal import argrelextrema

from emo_lightning.face.builtin import BuiltinFaceModel
from emo_lightning.face.coefficients import BUILTIN, Coefficients
from emo_lightning.face.crop import CropBox
from evaluation.judges.landmark_track import Judges, Track
from evaluation.metrics.beat_alignment import beat_alignment, motion_beats
from evaluation.metrics.blink_rate import blinks, eye_aspect_ratio
from evaluation.metrics.eat_landmark_distance import (
    NAMES,
    eat_landmark_distances,
)
from evaluation.metrics.head_motion import head_motion
from evaluation.suite.motion import head_angles


def test_head_motion_is_the_spread_in_degrees() -> None:
    angles = torch.deg2rad(torch.tensor([[0.0, 10.0, 5.0], [2.0, 10.0, -5.0], [4.0, 10.0, 0.0]]))
    assert head_motion(angles).tolist() == pytest.approx([2.0, 0.0, 5.0], abs=1e-5)
    with pytest.raises(ValueError, match="T at least 2"):
        head_motion(torch.zeros(1, 3))


def test_head_angles_follow_a_turning_face_and_not_its_expression() -> None:
    """The change of each angle comes back from the points of the face model, in its sense and
    within a degree, while the face speaks."""
    model, frames = BuiltinFaceModel.load(), 9
    wanted = np.zeros((frames, 3), np.float32)
    for axis in range(3):
        wanted[1 + axis * 2, axis], wanted[2 + axis * 2, axis] = np.radians(8.0), np.radians(-12.0)
    values = {b: np.zeros((frames, BUILTIN.width(b)), np.float32) for b in BUILTIN.blocks}
    values["exp"][:] = np.random.default_rng(0).uniform(0, 0.3, values["exp"].shape)
    points = model.project(Coefficients(BUILTIN, {**values, "angle": wanted}))
    track = Track(points * 100 + 100, (200, 200), CropBox(100, 100, 100), Judges())
    found = head_angles(track)
    np.testing.assert_allclose(found - found[0], wanted, atol=np.radians(1.6))


def reference_score(music: np.ndarray, motion: np.ndarray) -> float:
    """The published definition in plain loops."""
    return float(np.mean([math.exp(-min((m - a) ** 2 for m in motion) / 2 / 9) for a in music]))


@pytest.mark.parametrize("seed", range(3))
def test_beat_alignment_agrees_with_the_published_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    angles = np.radians(np.cumsum(gaussian_filter1d(rng.normal(0, 1, (120, 3)), 4, axis=0), axis=0))
    speed = gaussian_filter1d(
        np.linalg.norm(np.degrees(np.diff(angles, axis=0)), axis=1), 25 * 5 / 60
    )
    beats = motion_beats(torch.from_numpy(angles))
    np.testing.assert_array_equal(beats.numpy(), argrelextrema(speed, np.less)[0] + 0.5)
    music = np.sort(rng.uniform(0, 120, 9))
    assert float(beat_alignment(beats, torch.from_numpy(music))) == pytest.approx(
        reference_score(music, beats.numpy()), abs=1e-12
    )


def test_beats_on_time_score_one_late_ones_less_and_a_still_head_none() -> None:
    time = torch.arange(200) / 25.0
    nod = torch.stack(
        [torch.deg2rad(5 * torch.sin(2 * math.pi * time)), *torch.zeros(2, 200)], dim=1
    )
    beats = motion_beats(nod)
    assert torch.allclose(beats.diff(), torch.tensor(12.5, dtype=torch.float64), atol=1.01)
    scores = [float(beat_alignment(beats, beats + late)) for late in (0.0, 2.0, 5.0)]
    assert scores[0] == pytest.approx(1.0) and scores[0] > scores[1] > scores[2]
    still = motion_beats(torch.zeros(50, 3))
    assert not len(still) and float(beat_alignment(still, beats)) == 0.0
    with pytest.raises(ValueError, match="audio"):
        beat_alignment(beats, torch.zeros(0))


def lids(frames: int, at: list[int], half: int, base: float = 0.3) -> torch.Tensor:
    """An open eye that closes and opens along straight lines, ``half`` frames each way."""
    closed = torch.zeros(frames)
    for middle in at:
        closed = torch.maximum(
            closed, (1 - (torch.arange(frames) - middle).abs() / half).clamp(min=0)
        )
    return base * (1 - closed)


def test_blinks_are_counted_and_timed_whatever_the_eye() -> None:
    for base in (0.1, 0.35):
        found = blinks(lids(250, [40, 130, 220], 4, base))
        assert found.per_minute == pytest.approx(18.0)
        assert found.durations.tolist() == pytest.approx([2 * 4 * 0.8 / 25] * 3)
        assert found.starts.tolist() == pytest.approx([(m - 3.2) / 25 for m in (40, 130, 220)])


def test_closed_eyes_squints_and_cut_blinks_are_none_and_gaps_do_not_count() -> None:
    closed = lids(250, [100], 4)
    closed[150:190] = 0.02
    assert len(blinks(closed).starts) == 1
    assert not len(blinks(0.8 * lids(250, [], 4) + 0.06 * torch.sin(torch.arange(250) / 9)).starts)
    assert not len(blinks(lids(250, [0, 249], 4)).starts)
    gap = lids(250, [100], 4)
    gap[200:] = float("nan")
    assert blinks(gap).per_minute == pytest.approx(7.5)
    with pytest.raises(ValueError, match="three numbers"):
        blinks(torch.full((9,), float("nan")))


def test_the_aspect_ratio_is_aperture_over_width() -> None:
    eye = torch.tensor([[0.0, 0.0], [1.0, -0.5], [2.0, -0.5], [3.0, 0.0], [2.0, 0.5], [1.0, 0.5]])
    assert eye_aspect_ratio(torch.cat([eye, 2 * eye + 7])[None]).tolist() == pytest.approx([1 / 3])


def eat_by_hand(made: np.ndarray, true: np.ndarray) -> list[float]:
    """The published evaluation's sums, frame by frame and point by point."""
    mouth, face, velocity, count = 0.0, 0.0, 0.0, len(made)
    for t in range(count):
        for rows, name in ((slice(48, 68), "mouth"), (slice(0, 68), "face")):
            a, b = (
                made[t, rows] - made[t, rows].mean(axis=0),
                true[t, rows] - true[t, rows].mean(axis=0),
            )
            total = sum(math.dist(p, q) for p, q in zip(a, b, strict=True))
            mouth, face = (mouth + total, face) if name == "mouth" else (mouth, face + total)
        if t:
            steps = made[t, 48:] - made[t - 1, 48:], true[t, 48:] - true[t - 1, 48:]
            velocity += sum(math.dist(p, q) for p, q in zip(*steps, strict=True))
    return [
        mouth / (count * 20),
        face / (count * 68),
        velocity / (count * 20),
        velocity / (count * 68),
    ]


def test_eats_distances_are_those_of_its_own_sums() -> None:
    rng = np.random.default_rng(0)
    made, true = rng.uniform(0, 256, (2, 5, 68, 2))
    found = eat_landmark_distances(torch.from_numpy(made), torch.from_numpy(true))
    assert [getattr(found, name) for name in NAMES] == pytest.approx(
        eat_by_hand(made, true), abs=1e-9
    )
    with pytest.raises(ValueError, match="68"):
        eat_landmark_distances(torch.zeros(2, 20, 2), torch.zeros(2, 20, 2))
