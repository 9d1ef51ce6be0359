"""The emotion judge and its metric: counts that add up, features that a mirror leaves alone,
answers on simulated and real faces."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from emo_lightning.media.video_reader import iter_frames
from emo_lightning.motion.emotions import EMOTIONS
from evaluation.judges import emotion
from evaluation.judges.blendshapes import NAMES, blendshapes
from evaluation.judges.emotion import EmotionJudge, features, rule_probabilities
from evaluation.judges.landmarks import LandmarkJudge
from tools.judge_training import emotion as training
from tools.judge_training.simulation import simulate

MIRRORED = [
    NAMES.index(n.replace("Left", "*").replace("Right", "Left").replace("*", "Right"))
    for n in NAMES
]


def test_a_mirrored_face_has_the_same_features_and_frames_without_a_face_do_not_count() -> None:
    shapes = np.random.default_rng(1).uniform(0, 1, (7, len(NAMES))).astype(np.float32)
    gap = np.insert(shapes, 3, np.nan, axis=0)
    np.testing.assert_allclose(features(shapes[:, MIRRORED]), features(shapes))
    np.testing.assert_array_equal(features(gap), features(shapes))
    with pytest.raises(ValueError, match="no frame"):
        features(np.full((2, len(NAMES)), np.nan))


@pytest.fixture(scope="module")
def simulated() -> tuple[np.ndarray, np.ndarray]:
    """Blendshapes ``(64, 4, 52)`` of people whom the shipped judge has not seen, and their
    emotions."""
    clips = simulate(64, 4, np.random.default_rng(99))
    return blendshapes(clips.points.reshape(-1, 478, 3)).reshape(64, 4, -1), clips.emotion


def test_the_shipped_judge_sees_simulated_people_well_above_chance(
    simulated: tuple[np.ndarray, np.ndarray],
) -> None:
    shapes, wanted = simulated
    found = np.array([EmotionJudge.load().probabilities(clip) for clip in shapes])
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-6)
    assert (found.argmax(axis=1) == wanted).mean() > 0.3
    assert emotion.provenance()["data"] == "simulated faces"


def test_training_repeats_itself_and_learns(simulated: tuple[np.ndarray, np.ndarray]) -> None:
    shapes, wanted = simulated
    rows = np.stack([features(clip) for clip in shapes])[:, ::5]
    first, second = (training.fit(rows, wanted, ridge=0.01) for _ in range(2))
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name])
    assert (EmotionJudge(first).classify(rows).argmax(axis=1) == wanted).mean() > 0.6


def test_the_training_command_writes_weights_that_load(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    training.main(["--clips", "40", "--out", str(tmp_path / "judge.npz")])
    with np.load(io.BytesIO((tmp_path / "judge.npz").read_bytes()), allow_pickle=False) as arrays:
        judge = EmotionJudge({name: arrays[name] for name in ("mean", "scale", "weight", "bias")})
    assert judge.probabilities(np.full((1, len(NAMES)), 0.1)).shape == (8,)
    assert "simulated_accuracy" in capsys.readouterr().out and [
        p.name for p in tmp_path.iterdir()
    ] == ["judge.npz"]


def test_rules_know_a_broad_smile_and_a_frown() -> None:
    face = np.zeros((3, len(NAMES)))
    smile, frown = face.copy(), face.copy()
    smile[:, [NAMES.index("mouthSmileLeft"), NAMES.index("mouthSmileRight")]] = 0.9
    frown[:, [NAMES.index("browDownLeft"), NAMES.index("browDownRight")]] = 0.9
    answers = [
        EMOTIONS[int(rule_probabilities(shapes).argmax())] for shapes in (face, smile, frown)
    ]
    assert answers == ["neutral", "happy", "angry"]


def test_blendshapes_from_points_are_the_landmarkers_own(repository: Path) -> None:
    """The network that we run on points alone gives what MediaPipe gives with the picture, and a
    crop or its size changes nothing."""
    from skimage.data import astronaut

    judge = LandmarkJudge()
    face = judge._landmarker.detect(np.ascontiguousarray(astronaut()))[0]
    judge.close()
    found = blendshapes(face.points[None])
    np.testing.assert_allclose(found[0], face.blendshapes, atol=1e-3)
    np.testing.assert_allclose(blendshapes(face.points[None] * 0.01 - 3.0), found, atol=1e-3)
    gap = np.concatenate([face.points[None], np.full((1, 478, 3), np.nan, np.float32)])
    assert np.isnan(blendshapes(gap)[1]).all()
    with pytest.raises(ValueError, match="expected"):
        blendshapes(np.zeros((1, 68, 2)))


def test_real_actors_are_told_apart_above_chance(shared_data: Path) -> None:
    """Four clips at full intensity, every eighth frame; chance would leave the wanted emotion below
    the median of eight half the time."""
    tracker, ranks = LandmarkJudge(), []
    for wanted in ("sad", "surprised", "happy", "disgusted"):
        path = shared_data / "mead_coeffs" / "video" / f"W009_front_{wanted}_level3_001.mp4"
        tracker.start()
        points = np.stack(
            [
                tracker.place(frame)
                for i, frame in enumerate(iter_frames(path, fps=25.0))
                if i % 8 == 0
            ]
        )
        order = np.argsort(-EmotionJudge.load().probabilities(blendshapes(points)))
        ranks.append(int(np.flatnonzero(order == EMOTIONS.index(wanted))[0]))
    tracker.close()
    assert sorted(ranks)[2] <= 1, ranks


def test_the_suite_counts_what_the_judge_sees_against_what_was_asked_for() -> None:
    """Labelled clips make accuracy and confusion; others are counted; no label at all is a reason
    and no number."""
    from evaluation.records import Record
    from evaluation.suite.emotion import ENTRIES, PROBABILITIES

    class Clips:
        def __init__(self, labels: list[str | None]) -> None:
            seen = [np.eye(8)[EMOTIONS.index("happy")].tolist()] * len(labels)
            rows = zip(labels, seen, strict=True)
            self.records = [
                Record("s", str(i), emotion, features={PROBABILITIES: p})
                for i, (emotion, p) in enumerate(rows)
            ]
            self.reference = None

    score = ENTRIES["acc_emo"].score
    found = score(Clips(["happy", "sad", "happy", None]))
    assert found.samples["acc_emo"] == [1.0, 0.0, 1.0]
    assert found.details["confusion"]["counts"][EMOTIONS.index("sad")][EMOTIONS.index("happy")] == 1
    assert "1 more" in found.details["confusion"]["about"]
    assert not score(Clips([None])).samples and score(Clips([None])).reasons
