"""Speech: repeatable, phones where the sound is, feeling that grows with the level."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("espeakng_loader")
pytest.importorskip("hibari")

from datamodules.corpus.prosody import FULL, prosody_for
from datamodules.corpus.sentences import HELD_OUT, SENTENCES, TRAIN
from datamodules.corpus.speakers import VOICES
from datamodules.corpus.speech import (
    Prosody,
    Speech,
    Voice,
    colour,
    roughen,
    shake,
    synthesise,
    waver,
)
from datamodules.corpus.visemes import VISEME_OF, viseme_of
from emo_lightning.core.constants import SAMPLE_RATE

HIBARI, ESPEAK = Voice("hibari", "heart"), Voice("espeak", "en-us+f2")
TEXT = "Bob found a purple map above the old piano."


def energy(wave: np.ndarray, start: float, end: float) -> float:
    piece = wave[
        int(start * SAMPLE_RATE) : max(int(end * SAMPLE_RATE), int(start * SAMPLE_RATE) + 1)
    ]
    return 10 * np.log10(float((piece.astype(np.float64) ** 2).mean()) + 1e-10)


@pytest.mark.parametrize("voice", [HIBARI, ESPEAK], ids=["hibari", "espeak"])
def test_same_arguments_same_bytes_whatever_was_said_before(voice: Voice) -> None:
    first = synthesise(TEXT, voice, seed=3)
    synthesise("Something else entirely.", voice, Prosody(semitones=4, rate=1.2), seed=9)
    again = synthesise(TEXT, voice, seed=3)
    assert first.wave.tobytes() == again.wave.tobytes()
    assert first.phones == again.phones


@pytest.mark.parametrize(
    "voice", [v for v, _ in VOICES], ids=[f"{v.engine}-{v.name}-{v.semitones}" for v, _ in VOICES]
)
def test_every_voice_speaks_and_its_phones_cover_the_clip(voice: Voice) -> None:
    speech = synthesise(TEXT, voice)
    assert (
        speech.wave.dtype == np.float32
        and 1.5 < speech.seconds < 6
        and np.abs(speech.wave).max() <= 1.0
    )
    assert speech.phones[0][1] == 0.0 and speech.phones[-1][2] == pytest.approx(
        speech.seconds, abs=1e-6
    )
    for before, after in zip(speech.phones, speech.phones[1:], strict=False):
        assert before[2] == pytest.approx(after[1], abs=1e-6) and before[2] > before[1]
    assert sum(viseme_of(p) == "m" for p, _, _ in speech.phones) >= 5


@pytest.mark.parametrize("voice", [HIBARI, ESPEAK], ids=["hibari", "espeak"])
def test_sound_is_where_the_phones_say(voice: Voice) -> None:
    speech = synthesise(TEXT, voice, lead=0.3, tail=0.4)
    spoken = [(a, b) for p, a, b in speech.phones if p]
    loud = np.flatnonzero(np.abs(speech.wave) > 0.02) / SAMPLE_RATE
    assert abs(loud[0] - spoken[0][0]) < 0.08
    assert -0.02 < spoken[-1][1] - loud[-1] < 0.12
    vowels = [energy(speech.wave, a, b) for p, a, b in speech.phones if p.startswith("ˈ")]
    stops = [energy(speech.wave, a, (a + b) / 2) for p, a, b in speech.phones if p == "p"]
    assert len(stops) >= 3 and np.median(stops) < np.median(vowels) - 15


def test_one_sentence_at_two_paces_is_aligned_by_scaling_time() -> None:
    slow, fast = (synthesise(TEXT, HIBARI, Prosody(rate=rate)) for rate in (0.8, 1.2))
    a, b = ([(p, s) for p, s, _ in speech.phones if p] for speech in (slow, fast))
    assert [p for p, _ in a] == [p for p, _ in b]
    times = np.array([[s for _, s in a], [s for _, s in b]])
    slope, shift = np.polyfit(times[1], times[0], 1)
    assert slope == pytest.approx(1.5, abs=0.05)
    assert np.abs(times[0] - slope * times[1] - shift).max() < 0.06


def test_needs_no_program_on_the_path() -> None:
    code = "from datamodules.corpus.speech import *; print(synthesise('Hello.', Voice('espeak', 'en-us+m3')).seconds)"
    environment = {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert float(done.stdout) > 0.5


@pytest.mark.parametrize("emotion", [e for e in FULL if e != "neutral"])
def test_the_level_orders_how_a_feeling_sounds(emotion: str) -> None:
    loud, bright, length = [], [], []
    for level in (1, 8, 15):
        prosody = prosody_for(emotion, level)
        speech = synthesise(
            "We might move the table over to the window.", ESPEAK, prosody, lead=0.0, tail=0.0
        )
        loud.append(energy(speech.wave, 0, speech.seconds))
        length.append(-speech.seconds)
        bright.append(prosody.semitones)
    full = FULL[emotion]
    for values, direction in (
        (loud, full.gain_db),
        (length, np.log(full.rate)),
        (bright, full.semitones),
    ):
        if abs(direction) > 0.07:
            steps = np.diff(values) * np.sign(direction)
            assert (steps > -0.25).all() and steps.sum() > 0, (emotion, values)


def test_anger_is_louder_and_brighter_than_sadness() -> None:
    def voice_of(emotion: str) -> Speech:
        return synthesise(TEXT, ESPEAK, prosody_for(emotion, 15))

    def centroid(wave: np.ndarray) -> float:
        power = np.abs(np.fft.rfft(wave)) ** 2
        return float((power * np.fft.rfftfreq(len(wave), 1 / SAMPLE_RATE)).sum() / power.sum())

    angry, sad = voice_of("angry"), voice_of("sad")
    assert energy(angry.wave, 0, angry.seconds) > energy(sad.wave, 0, sad.seconds) + 10
    assert centroid(angry.wave) > 1.2 * centroid(sad.wave)
    assert sad.seconds > 1.2 * angry.seconds


def test_effects_keep_time_and_power() -> None:
    wave = np.random.default_rng(0).standard_normal(16000).astype(np.float32) * 0.1
    rng = np.random.default_rng(2)
    for changed in (
        colour(wave, 3.0, 6.0, -5.0),
        roughen(wave, 0.8, rng),
        waver(wave, 0.5, -6.0, rng),
    ):
        assert changed.shape == wave.shape and changed.std() == pytest.approx(
            float(wave.std()), rel=0.02
        )
    click = np.zeros(16000, np.float32)
    click[8000] = 1.0
    assert abs(int(np.abs(shake(click, 0.04, np.random.default_rng(1))).argmax()) - 8000) <= 16


def test_each_effect_does_what_it_says() -> None:
    wave = np.random.default_rng(0).standard_normal(32000).astype(np.float32) * 0.1
    rng = np.random.default_rng(2)

    def band(wave: np.ndarray, low: float, high: float) -> float:
        frequency = np.fft.rfftfreq(len(wave), 1 / SAMPLE_RATE)
        return float(
            10
            * np.log10(
                (np.abs(np.fft.rfft(wave)) ** 2)[(frequency > low) & (frequency < high)].mean()
            )
        )

    ringing, nasal = colour(wave, 0.0, ring_db=10.0), colour(wave, 0.0, nasal_db=10.0)
    assert band(ringing, 2700, 3300) - band(ringing, 300, 800) == pytest.approx(10, abs=1.5)
    assert band(nasal, 250, 310) - band(nasal, 950, 1050) == pytest.approx(20, abs=2.5)
    swelling = waver(wave, 0.0, 9.0, rng)
    assert 20 * np.log10(swelling[-3200:].std() / swelling[:3200].std()) == pytest.approx(
        9 * 0.9, abs=1
    )
    tone = np.sin(2 * np.pi * 1000 * np.arange(32000) / SAMPLE_RATE).astype(np.float32)
    assert band(roughen(tone, 0.8, rng), 1040, 1100) > band(tone, 1040, 1100) + 20


def test_feelings_differ_in_voice_at_the_weakest_level_and_grow() -> None:
    weak, strong = prosody_for("happy", 1), prosody_for("happy", 15)
    assert 0.2 * strong.ring_db < weak.ring_db < prosody_for("happy", 8).ring_db < strong.ring_db
    assert prosody_for("neutral", None) == Prosody()
    assert len({str(prosody) for prosody in FULL.values()}) == len(FULL)


def test_unknown_engine_and_voice_are_named() -> None:
    with pytest.raises(ValueError, match="engine 'festival'"):
        synthesise("Hello.", Voice("festival", "kal"))
    with pytest.raises(ValueError, match="no voice 'xx-none'"):
        synthesise("Hello.", Voice("espeak", "xx-none"))


def test_sentences_are_distinct_and_cover_every_viseme() -> None:
    assert len(set(SENTENCES)) == len(SENTENCES) >= 190
    assert not set(TRAIN) & set(HELD_OUT) and len(HELD_OUT) >= 30
    heard = {viseme_of(p) for text in HELD_OUT[:20] for p, _, _ in synthesise(text, ESPEAK).phones}
    assert set(VISEME_OF.values()) <= heard | {"a", "o", "oo", "er", "aw", "ey"}
