"""Emotion tracks: the shares of their keys, how fast and smoothly they change, and their file."""

from __future__ import annotations

import json

import numpy as np
import pytest

from emo_lightning.core.errors import UserError
from emo_lightning.motion.emotion_track import EmotionKey, EmotionTrack
from emo_lightning.motion.emotions import EMOTIONS, emotion_index
from emo_lightning.motion.transitions import OFFSETS, ONSETS, LinearRamp, SmoothStep

ROWS = (
    (0, "neutral", 1),
    (3, "happy", 12),
    (6.5, "surprised", 10),
    (10, "sad", 13),
    (13.5, "angry", 9),
    (17, "neutral", 1),
)
FIVE = EmotionTrack(
    tuple(EmotionKey(time, emotion_index(name), level) for time, name, level in ROWS)
)
CROWDED = EmotionTrack(tuple(EmotionKey(0.1 * k, 1 + k % 7, 8.0) for k in range(12)))


def load(tmp_path, text):
    """The track in a file of this text."""
    path = tmp_path / "track.yaml"
    path.write_text(text)
    return EmotionTrack.load(path)


def time_of(track, key, share):
    """When the key's share first reaches this much."""
    times = np.arange(0, 20, 1e-3)
    return times[np.argmax(track.weights(times)[:, key] >= share)]


@pytest.mark.parametrize(
    "track",
    [FIVE, CROWDED, EmotionTrack(FIVE.keys, onset=0.4), EmotionTrack(CROWDED.keys, 2.0, 0.5)],
)
def test_shares_sum_to_one_and_jump_in_neither_value_nor_velocity(track):
    step = 1e-4
    weights = track.weights(np.arange(0, 20, step)).astype(np.float64)
    np.testing.assert_allclose(weights.sum(1), 1.0, atol=1e-6)
    assert weights.min() >= 0.0
    velocity = np.diff(weights, axis=0) / step
    assert (
        np.abs(velocity).max() < 9.0
    )  # the fastest onset there is at its steepest has 6.3 shares a second
    assert (
        np.abs(np.diff(velocity, axis=0)).max() < 0.05
    )  # a corner would make it jump by some shares a second


def test_five_changes_in_twenty_seconds_are_each_half_done_at_their_time_and_whole_in_between():
    for key, (before, after) in enumerate(zip(FIVE.keys, FIVE.keys[1:], strict=False), start=1):
        assert FIVE.weights(np.array([after.time]))[0, key] == pytest.approx(0.5, abs=1e-6)
        middle = 0.5 * (before.time + after.time)
        assert FIVE.weights(np.array([middle]))[0, key - 1] == 1.0
        assert FIVE.weights(np.array([after.time + 1.5]))[0, key] == 1.0


def test_surprise_comes_fastest_and_sadness_slowest_and_all_leave_slower_than_they_come():
    shown = EMOTIONS[1:]
    assert min(shown, key=ONSETS.get) == "surprised" and max(shown, key=ONSETS.get) == "sad"
    assert all(OFFSETS[name] > ONSETS[name] for name in shown)

    def seconds(*names):
        track = EmotionTrack(
            tuple(EmotionKey(5.0 * k, emotion_index(name), 8.0) for k, name in enumerate(names))
        )
        return time_of(track, 1, 0.999) - time_of(track, 1, 0.001)

    assert seconds("neutral", "surprised") < seconds("neutral", "happy") < seconds("neutral", "sad")
    assert seconds("happy", "neutral") > 1.5 * seconds("neutral", "happy")
    # Where one replaces another, its onset counts, but a slow emotion does not vanish in a jump.
    assert (
        seconds("angry", "surprised")
        < 0.3
        < seconds("sad", "surprised")
        < 0.5
        < seconds("angry", "sad")
    )


def test_the_shares_depend_on_the_moment_alone():
    times = np.arange(500) / 25
    pieces = [FIVE.weights(part) for part in np.array_split(times, 37)]
    np.testing.assert_array_equal(np.concatenate(pieces), FIVE.weights(times))


def test_a_linear_change_grows_steadily_from_the_key_before_it():
    track = EmotionTrack((EmotionKey(0, 1, 3.0), EmotionKey(10, 1, 13.0, ease="linear")))
    share = track.weights(np.array([0.0, 2.5, 5.0, 7.5, 10.0, 11.0]))[:, 1]
    np.testing.assert_allclose(share, [0, 0.25, 0.5, 0.75, 1, 1], atol=0.02)
    x = np.linspace(-12, 1, 130_001)
    assert (
        np.abs(np.diff(LinearRamp(10.0)(x), n=2)).max() < 1e-4 * 1e-4 / (9.5 * 0.5) * 1.01
    )  # the acceleration of its rounded ends


def test_times_of_the_file_replace_those_of_the_emotion(tmp_path):
    keys = (
        "keys: [{time: 0, emotion: neutral}, {time: 4, emotion: sad, level: 9},"
        " {time: 8, emotion: neutral}]"
    )
    alone = load(tmp_path, f"onset: 0.4\n{keys}")
    for key in (1, 2):  # as one time for coming and leaving alike
        start = 4.0 * key
        assert alone.weights(np.array([start - 0.2, start + 0.2]))[:, key] == pytest.approx(
            [0, 1], abs=1e-6
        )
        assert alone.weights(np.array([start - 0.15, start + 0.15]))[0, key] > 0
    both = load(tmp_path, f"onset: 0.4\noffset: 2\n{keys}")
    assert time_of(both, 2, 0.999) - time_of(both, 2, 0.001) > 1.5
    own = load(
        tmp_path, keys.removeprefix("keys: ").replace("level: 9", "level: 9, onset: 0.2, offset: 3")
    )
    assert time_of(own, 1, 0.9999) < 4.11 and time_of(own, 2, 0.9999) > 9.0
    jump = load(tmp_path, f"onset: 0\n{keys}")
    np.testing.assert_array_equal(jump.weights(np.array([3.999, 4.0]))[:, 1], [0, 1])


def test_the_sidecar_reads_back_as_a_track(tmp_path):
    track = EmotionTrack(
        (*FIVE.keys, EmotionKey(19, 1, 14.0, offset=2.0, ease="linear")), onset=0.4, offset=0.8
    )
    assert load(tmp_path, json.dumps(track.to_json())) == track


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("onset: -1\nkeys: [{time: 0, emotion: neutral}]", "--emotion-track onset '-1'"),
        ("offset: .inf\nkeys: [{time: 0, emotion: neutral}]", "--emotion-track offset 'inf'"),
        ("fade: 1\nkeys: [{time: 0, emotion: neutral}]", "has unknown fields ['fade']"),
        ("keys: []", "holds no keys"),
        (
            "- {time: 0, emotion: neutral}\n- {time: 1, emotion: sad, level: 4, onset: soon}",
            "key 1 onset 'soon'",
        ),
        (
            "- {time: 0, emotion: neutral}\n- {time: 1, emotion: sad, level: 4, offset: true}",
            "key 1 offset 'True'",
        ),
        (
            "- {time: 0, emotion: neutral}\n- {time: 1, emotion: sad, level: 4, ease: bouncy}",
            "key 1 ease 'bouncy'",
        ),
        (
            "- {time: 0, emotion: sad, level: 3, ease: linear}",
            "key 0 ease 'linear' is on the first key",
        ),
        (
            "- {time: 0, emotion: neutral}\n"
            "- {time: 1, emotion: sad, level: 4, ease: linear, onset: 1}",
            "key 1 onset '1'",
        ),
        (
            "- {time: 0, emotion: neutral}\n- {time: null, emotion: sad, level: 4}",
            "key 1 time 'None'",
        ),
        ("- {time: 0, emotion: neutral}\n- {time: 0, emotion: sad, level: 4}", "key 1 time '0.0'"),
        ("- {time: 0, emotion: neutral}\n- {time: 1, emotion: sad}", "has no level"),
        ("- {time: 0, emotion: neutral}\n- {time: 1, emotion: sad, level: 4, curve: 2}", "key 1"),
        ("- {time: 1, emotion: neutral}", "the first key starts the video"),
    ],
)
def test_a_wrong_file_is_said_to_be_so(tmp_path, text, said):
    with pytest.raises(UserError) as caught:
        load(tmp_path, text)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_level_rises_at_the_pace_of_coming_and_falls_at_that_of_leaving():
    track = EmotionTrack((EmotionKey(0, 5, 3.0), EmotionKey(5, 5, 13.0), EmotionKey(10, 5, 3.0)))
    rise, fall = (time_of(track, key, 0.99) - time_of(track, key, 0.01) for key in (1, 2))
    assert rise < ONSETS["happy"] < fall < OFFSETS["happy"]


def test_a_crossover_is_done_within_its_length_and_half_done_in_the_middle():
    np.testing.assert_array_equal(SmoothStep(0.8)(np.array([-0.4, 0.0, 0.4])), [0.0, 0.5, 1.0])
