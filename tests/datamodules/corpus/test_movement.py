"""Lips, feelings and heads: closures close, levels are ordered, motion is human."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("espeakng_loader")

from datamodules.corpus.emotion_acting import ActingStyle, acted_emotion, combine
from datamodules.corpus.motion import MotionStyle, drift, head_motion
from datamodules.corpus.prosody import prosody_for
from datamodules.corpus.speech import Prosody, Speech, Voice, synthesise
from datamodules.corpus.visemes import ArticulationStyle, articulate, viseme_of
from emo_lightning.core.constants import frames_for
from emo_lightning.face.builtin import BuiltinFaceModel
from emo_lightning.face.coefficients import BUILTIN, EXP_NAMES, Coefficients
from emo_lightning.motion.emotions import EMOTIONS, SIGNATURE_UNITS

VOICE = Voice("espeak", "en-us+m3")
FEELINGS = [e for e in EMOTIONS if e != "neutral"]


def lips(exp: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gap of the inner lips and width of the mouth, in outer eye-corner distances."""
    zeros = {
        block: np.zeros((len(exp), BUILTIN.width(block)), np.float32) for block in BUILTIN.blocks
    }
    vertices = BuiltinFaceModel.load().vertices(Coefficients(BUILTIN, {**zeros, "exp": exp}))
    return vertices[:, 14, 1] - vertices[:, 13, 1], vertices[:, 291, 0] - vertices[:, 61, 0]


def spoken(symbols: str, seconds: float = 0.12) -> Speech:
    """A made-up utterance of one-letter phones between silences, loud throughout."""
    phones = [("", 0.0, 0.4)]
    for symbol in symbols:
        phones.append((symbol, phones[-1][2], phones[-1][2] + seconds))
    phones.append(("", phones[-1][2], phones[-1][2] + 0.4))
    wave = (
        np.random.default_rng(0).standard_normal(int(phones[-1][2] * 16000)).astype(np.float32)
        * 0.1
    )
    wave[:6400] = wave[-6400:] = 0.0
    return Speech(wave, phones)


def exp_of(speech: Speech) -> np.ndarray:
    frames = frames_for(len(speech.wave))
    return combine(
        articulate(speech, frames), np.zeros((frames, 28), np.float32), np.zeros(28, np.float32)
    )


@pytest.mark.parametrize("emotion", EMOTIONS)
@pytest.mark.parametrize("rate", [0.8, 1.0, 1.3])
def test_lips_touch_on_every_p_b_and_m(emotion: str, rate: float) -> None:
    level = None if emotion == "neutral" else 15
    speech = synthesise(
        "Maybe Bob put a number of purple maps above my piano.", VOICE, Prosody(rate=rate)
    )
    frames = frames_for(len(speech.wave))
    feeling = acted_emotion(emotion, level, frames, ActingStyle.plain(), np.random.default_rng(0))
    gap, _ = lips(
        combine(articulate(speech, frames, effort_db=8.0), feeling, np.zeros(28, np.float32))
    )
    closures = [(a, b) for p, a, b in speech.phones if viseme_of(p) == "m"]
    assert len(closures) >= 10
    touched = [
        gap[max(int((a - 0.06) * 25), 0) : int(b * 25) + 1].min() < 0.01 for a, b in closures
    ]
    assert np.mean(touched) >= 0.95


def test_vowels_differ_as_mouths_do() -> None:
    gaps, widths = {}, {}
    for vowel in ("ɑ", "æ", "i", "u", "ə"):
        speech = spoken(f"t{vowel}t", 0.16)
        gap, width = lips(exp_of(speech))
        middle = int((0.4 + 0.24 - 0.035) * 25)
        gaps[vowel], widths[vowel] = gap[middle], width[middle]
    assert gaps["ɑ"] > gaps["ə"] > gaps["u"] and gaps["æ"] > gaps["i"] > gaps["u"]
    assert widths["i"] > widths["ə"] > widths["u"] + 0.04


def test_rounding_is_anticipated_and_lips_lead_the_sound() -> None:
    pucker = exp_of(spoken("tttu"))[:, EXP_NAMES.index("pucker")]
    before = int((0.4 + 3 * 0.12) * 25) - 1
    assert pucker[before] > 0.15 * pucker.max()
    gap, _ = lips(exp_of(spoken("ɑɑɑ")))
    assert gap[int(0.4 * 25) - 1] > 0.02


def test_teeth_meet_the_lip_on_f() -> None:
    exp = exp_of(spoken("ɑfɑ"))
    frame = int((0.4 + 0.18) * 25)
    assert exp[frame, EXP_NAMES.index("tuck")] > 0.7
    assert exp[frame, EXP_NAMES.index("AU26")] < 0.3 * exp[:, EXP_NAMES.index("AU26")].max()


def test_silence_is_a_still_closed_mouth() -> None:
    speech = Speech(np.zeros(32000, np.float32), [("", 0.0, 2.0)])
    gap, _ = lips(exp_of(speech))
    assert np.abs(gap).max() < 0.01 and np.abs(np.diff(gap)).max() < 1e-4


def test_louder_and_livelier_people_open_wider() -> None:
    speech = synthesise("We found the long path after all.", VOICE)
    frames = frames_for(len(speech.wave))
    said = [
        articulate(speech, frames, ArticulationStyle(opening=gain), db)
        for gain, db in ((1.0, 0.0), (1.0, 8.0), (1.3, 0.0))
    ]
    opening = [movement.exp[:, EXP_NAMES.index("AU26")].sum() for movement in said]
    assert opening[0] < opening[1] and opening[0] < opening[2]


@pytest.mark.parametrize("emotion", FEELINGS)
def test_fifteen_levels_are_even_steps_in_the_signature_units(emotion: str) -> None:
    style = ActingStyle.sample(np.random.default_rng(4))
    rows = [
        i
        for i, n in enumerate(EXP_NAMES)
        if any(n == u or n in (f"{u}_L", f"{u}_R") for u in SIGNATURE_UNITS[emotion])
    ]
    speech = synthesise(
        "We might move the table over to the window.", VOICE, prosody_for(emotion, 8)
    )
    frames = frames_for(len(speech.wave))
    said = articulate(speech, frames)
    felt = [
        acted_emotion(emotion, level, frames, style, np.random.default_rng(1))
        for level in range(1, 16)
    ]
    shown = [combine(said, feeling, style.resting)[:, rows].mean() for feeling in felt]
    steps = np.diff(shown)
    assert (steps > 0).all()
    assert abs(shown[7] - (shown[0] + shown[14]) / 2) < 0.08 * (shown[14] - shown[0])


def test_contempt_is_one_sided_and_neutral_is_nothing() -> None:
    feeling = acted_emotion(
        "contempt", 15, 50, ActingStyle.sample(np.random.default_rng(0)), np.random.default_rng(0)
    )
    assert (
        feeling[:, EXP_NAMES.index("AU14_L")].mean() > 0.5
        and feeling[:, EXP_NAMES.index("AU14_R")].max() == 0.0
    )
    assert not acted_emotion(
        "neutral", None, 50, ActingStyle.plain(), np.random.default_rng(0)
    ).any()


def test_brows_move_with_the_stresses_of_what_is_said() -> None:
    brows, frown = EXP_NAMES.index("AU1_L"), EXP_NAMES.index("AU4")
    for emotion, level, unit in (
        ("neutral", None, brows),
        ("happy", 8, brows),
        ("angry", 8, frown),
    ):
        still, said = (
            acted_emotion(emotion, level, 75, ActingStyle.plain(), np.random.default_rng(0), s)
            for s in ([], [1.5])
        )
        raised = said[:, unit] - still[:, unit]
        assert abs(int(raised.argmax()) - 36) <= 1 and 0.04 < raised.max() < 0.25
        assert np.abs(raised[:20]).max() < 0.005
        assert np.allclose(said[:, EXP_NAMES.index("AU12_L")], still[:, EXP_NAMES.index("AU12_L")])


def test_people_differ_in_how_they_show_the_same() -> None:
    faces = [
        acted_emotion(
            "happy", 10, 50, ActingStyle.sample(np.random.default_rng(s)), np.random.default_rng(0)
        ).mean(0)
        for s in range(4)
    ]
    assert min(np.abs(a - b).max() for i, a in enumerate(faces) for b in faces[:i]) > 0.01


def test_head_motion_is_slow_bounded_and_follows_the_feeling() -> None:
    noise = drift(np.random.default_rng(0), 20000, 6)
    power = (np.abs(np.fft.rfft(noise, axis=0)) ** 2).mean(axis=1)
    frequency = np.fft.rfftfreq(20000, 1 / 25)
    assert power[frequency > 4].sum() < 0.01 * power.sum()
    slow, fast = (power[(frequency >= low) & (frequency < 1.25 * low)].mean() for low in (0.4, 2.0))
    assert 1.7 < np.log(slow / fast) / np.log(5.0) < 2.3, "falls with the square of frequency"
    assert np.allclose(noise.std(axis=0), 1.0, atol=0.1)

    def yaw(emotion: str) -> float:
        moves = [
            head_motion(emotion, 15, 200, [], MotionStyle(), np.random.default_rng(seed))
            for seed in range(12)
        ]
        return float(np.mean([motion.angle[:, 1].std() for motion in moves]))

    assert yaw("angry") > 1.4 * yaw("sad")
    assert (
        np.degrees(
            np.abs(
                head_motion("angry", 15, 500, [1.0], MotionStyle(), np.random.default_rng(0)).angle
            )
        ).max()
        < 20
    )


def test_turns_shift_the_face_as_on_a_neck() -> None:
    motion = head_motion("neutral", None, 3000, [], MotionStyle(), np.random.default_rng(1))
    for shift, turn in ((0, 1), (0, 2), (1, 0)):
        assert np.corrcoef(motion.trans[:, shift], motion.angle[:, turn])[0, 1] > 0.3


def test_stressed_syllables_nod_the_head() -> None:
    style = MotionStyle(nods=1.0)
    still, beat = (
        head_motion("neutral", None, 100, s, style, np.random.default_rng(5)).angle[:, 0]
        for s in ([], [2.0])
    )
    difference = beat - still
    assert abs(int(difference.argmax()) - 51) <= 2 and np.degrees(difference.max()) > 0.8
