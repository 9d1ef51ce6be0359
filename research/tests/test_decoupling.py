"""The decoupling benchmark: probes find what is there, and nothing where there is nothing."""

from __future__ import annotations

import numpy as np
import pytest

from research._features import Clip, ask, frame_rows, phone_problem, questions, spoken
from research._probes import KINDS, Problem, difference, probe, recall, resampled, tally
from research.decoupling import LEVELS, READINGS, goal_table, real_goal_table

CLASSES, SPEAKERS, PER = 4, 6, 24


def problem(planted: float) -> Problem:
    """Clips of six speakers, four of them to fit; the label moves one direction by ``planted`` standard deviations."""
    rng = np.random.default_rng(3)
    speakers = np.repeat(np.arange(SPEAKERS), PER)
    labels = np.tile(np.arange(CLASSES), SPEAKERS * PER // CLASSES)
    features = (
        rng.standard_normal((len(labels), 12)) + rng.standard_normal((SPEAKERS, 12))[speakers] * 0.3
    )
    features[:, :CLASSES] += planted * np.eye(CLASSES)[labels]
    train = speakers < 4
    return Problem(
        features.astype(np.float32), labels, np.arange(len(labels)), speakers, train, ~train
    )


@pytest.mark.parametrize("kind", KINDS)
def test_planted_information_is_found(kind: str) -> None:
    score = probe(problem(5.0), kind, (0, 1))
    assert (
        score.accuracy > 0.9
        and score.low > 0.8
        and score.chance == 1 / CLASSES
        and score.clips == 2 * PER
    )


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_found_in_noise(kind: str) -> None:
    score = probe(problem(0.0), kind, (0, 1))
    assert score.low < score.chance < score.high


def test_a_feature_that_never_moves_and_huge_values_do_no_harm() -> None:
    given = problem(5.0)
    features = np.concatenate(
        [given.features, np.full((len(given.labels), 1), 7.0)], axis=1
    ).astype(np.float32)
    features[given.test, -1] = 1e6
    changed = Problem(features, given.labels, given.clips, given.groups, given.train, given.test)
    assert probe(changed, "logistic", (0,)).accuracy > 0.9


def test_recall_weighs_classes_alike_and_the_interval_resamples_clips() -> None:
    labels = np.array([0] * 9 + [1])
    assert recall(np.array([True] * 9 + [False]), labels) == 0.5
    hits, labels = np.tile([True, False], 50), np.tile([0, 1, 1, 0], 25)
    right, total = tally(hits, labels, np.arange(100))
    assert total.sum() == 100 and right.sum() == 50 and recall(hits, labels) == 0.5
    many = np.percentile(resampled(right, total), (2.5, 97.5))
    # Clips of twenty rows, half of which are right in every clip: rows would scatter where clips do not.
    few = np.percentile(resampled(*tally(hits, labels, np.repeat(np.arange(5), 20))), (2.5, 97.5))
    assert many[0] < 0.5 < many[1] and few[1] - few[0] < 1e-9


def test_a_difference_of_two_probes_is_paired_over_clips() -> None:
    strong, weak = (probe(problem(planted), "logistic", (0,)) for planted in (5.0, 0.0))
    value, low, high = difference(strong, weak)
    assert low < value < high and value == strong.accuracy - weak.accuracy and low > 0.4
    assert difference(weak, weak) == (0.0, 0.0, 0.0)


def test_figures_stand_beside_their_goals_and_nothing_is_called_reached(
    capsys: pytest.CaptureFixture[str],
) -> None:
    planted, empty = (probe(problem(strength), "logistic", (0,)) for strength in (5.0, 0.0))
    names = {f"{level}, net": empty if level == "content" else planted for level in LEVELS} | {
        "mel + MFCC": planted
    }
    keys = [(name, reading, kind) for name in names for reading in READINGS for kind in KINDS]
    scores = {(name, reading, "emotion", kind): names[name] for name, reading, kind in keys}
    scores |= {(name, "frame", "phone", kind): planted for name, _, kind in keys}
    goal_table(scores, ["net"])
    real_goal_table(scores, ["net"])
    lines = capsys.readouterr().out.splitlines()
    frame, clip = (
        next(line for line in lines if line.startswith(f"| net | {reading} |"))
        for reading in READINGS
    )
    assert (
        f" {100 * (empty.accuracy - empty.chance):.1f} [" in frame
        and f" {100 * planted.accuracy:.1f} [" in frame
    )
    assert frame.endswith("0.0 [0.0, 0.0] (low) |") and clip.endswith("|  |")
    real = next(line for line in reversed(lines) if line.startswith("| net | frame |"))
    assert f" {100 * (planted.accuracy - empty.accuracy):.1f} [" in real
    assert not any(word in "".join(lines).lower() for word in ("pass", "reached"))


def test_speech_is_found_by_loudness() -> None:
    wave = np.zeros(6400, np.float32)
    wave[1280:3840] = 0.1
    assert spoken(wave, 10).tolist() == [False] * 2 + [True] * 4 + [False] * 4


def test_questions_keep_speakers_and_sentences_apart() -> None:
    rng, clips = np.random.default_rng(0), []
    for number in range(96):
        split = ("train", "train", "train", "val", "test", "train")[number % 6]
        phones = rng.integers(0, 40, 50)
        features = {
            "low": rng.standard_normal((50, 6)).astype(np.float32),
            "mel": np.repeat(phones[:, None], 3, 1).astype(np.float32),
        }
        intensity = 0 if number % 8 == 0 else 1 + number // 8 % 3
        clip = Clip(
            split,
            f"s{number % 6}",
            f"{split} {number // 6}",
            number % 8,
            intensity,
            np.arange(50) > 4,
            phones,
            features,
        )
        clips.append(clip)
    asked = {question.name: question for question in questions(clips)}
    sentences = np.array([clip.sentence for clip in clips])
    for question in asked.values():
        assert (
            not (question.train & question.test).any()
            and question.train.any()
            and question.test.any()
        )
        assert (question.labels[question.train | question.test] >= 0).all()
        assert not set(sentences[question.train]) & set(sentences[question.test])
    assert {clips[i].split for i in np.flatnonzero(asked["speaker"].test)} == {"train"}
    assert {clips[i].intensity for i in np.flatnonzero(asked["emotion, intensity 2"].test)} == {
        0,
        2,
    }
    made = ask(clips, "low", asked["emotion"], "clip")
    assert made.features.shape == (96, 12)
    rows, owners, places = frame_rows(clips, "mel", [3] * 96)
    assert rows.shape == (288, 27) and (places > 4).all() and (np.bincount(owners) == 3).all()
    spelled = phone_problem(clips, "mel")
    assert (spelled.features[:, 12] - 1 == spelled.labels).all()
