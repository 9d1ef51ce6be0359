"""Synthetic speech with known phoneme times, and its vocal expression.

:func:`synthesise` speaks a sentence with a :class:`Voice` and a :class:`Prosody`; changes after
synthesis (spectrum, roughness, breath, tremor, gain) keep the phoneme times to within a
millisecond.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import soxr

from datamodules.corpus import espeak, neural
from emo_lightning.core.constants import SAMPLE_RATE

NEUTRAL_LEVEL_DB = -25.0
"""Level of neutral speech (RMS of its loud half), leaving an angry voice its 10 dB of headroom."""
TREMOR_HZ, WAVER_HZ, ROUGH_HZ = 7.0, 6.0, 70.0
PEAK = 0.97
STOPS = "pbtdkgɡʔʧʤ"
CLOSURE_DB = 32.0
"""Below the loudest 5 ms by this much, the lips are closed."""


@dataclass(frozen=True)
class Voice:
    """A speaking voice.

    Attributes:
        engine: ``espeak`` or ``hibari``.
        name: the engine's own voice name.
        semitones: shift of the pitch.
        formants: factor on formant frequencies (hibari only; espeak's variants have their own).
        rate: factor on the pace.
    """

    engine: str
    name: str
    semitones: float = 0.0
    formants: float = 1.0
    rate: float = 1.0


@dataclass(frozen=True)
class Prosody:
    """Vocal expression, relative to the voice's neutral manner.

    Attributes:
        semitones: of the mean pitch.
        span: factor on the pitch range.
        rise: semitones at the end.
        rate: factor on the pace.
        gain_db: level.
        tilt_db: per octave above 500 Hz.
        breath: share of aspiration noise, 0..1.
        tremor: pitch deviation of a 7 Hz shake, as a fraction.
        waver: depth of loudness modulation at 6 Hz, 0..1.
        rough: depth of a harsh voice's fast, uneven modulation, 0..1.
        ring_db: of the third formant's region, raised by a smile, lowered by a low larynx.
        nasal_db: of the nasal resonance, with its zero above.
        swell_db: from the sentence's start to its end.
    """

    semitones: float = 0.0
    span: float = 1.0
    rise: float = 0.0
    rate: float = 1.0
    gain_db: float = 0.0
    tilt_db: float = 0.0
    breath: float = 0.0
    tremor: float = 0.0
    waver: float = 0.0
    rough: float = 0.0
    ring_db: float = 0.0
    nasal_db: float = 0.0
    swell_db: float = 0.0


@dataclass(frozen=True)
class Speech:
    """``wave (N,)`` at 16 kHz; ``phones``: (IPA, start, end) in seconds; ``""`` is silence."""

    wave: np.ndarray
    phones: list[tuple[str, float, float]]

    @property
    def seconds(self) -> float:
        return len(self.wave) / SAMPLE_RATE


def synthesise(
    text: str,
    voice: Voice,
    prosody: Prosody = Prosody(),
    seed: int = 0,
    lead: float = 0.2,
    tail: float = 0.3,
) -> Speech:
    """Speak ``text``; the same arguments give the same bytes.

    Args:
        seed: of the noise.
        lead, tail: seconds of silence before and after.

    Raises:
        UserError: the synthesiser's package is not installed.
        ValueError: unknown engine or voice.
    """
    wave, rate, phones = _run_engine(text, voice, prosody, seed)
    wave = soxr.resample(wave, rate, SAMPLE_RATE).astype(np.float32)
    phones = _fit_to_sound(wave, phones)
    wave, phones = _trim(wave, phones)
    rng = np.random.default_rng([seed, 1])
    wave = _normalise(wave)
    wave = colour(wave, prosody.tilt_db, prosody.ring_db, prosody.nasal_db)
    wave = roughen(wave, prosody.rough, rng)
    wave = breathe(wave, prosody.breath, rng)
    wave = shake(wave, prosody.tremor, rng)
    wave = waver(wave, prosody.waver, prosody.swell_db, rng)
    wave = wave * np.float32(10.0 ** (prosody.gain_db / 20.0))
    wave = np.concatenate(
        [
            np.zeros(round(lead * SAMPLE_RATE), np.float32),
            wave,
            np.zeros(round(tail * SAMPLE_RATE), np.float32),
        ]
    )
    end = len(wave) / SAMPLE_RATE
    lead = round(lead * SAMPLE_RATE) / SAMPLE_RATE
    phones = [("", 0.0, lead + phones[0][1]), *((s, a + lead, b + lead) for s, a, b in phones)]
    if phones[-1][2] < end:
        phones.append(("", phones[-1][2], end))
    return Speech(_limit(wave), _merge_pauses(phones))


def _run_engine(
    text: str, voice: Voice, prosody: Prosody, seed: int
) -> tuple[np.ndarray, int, list[tuple[str, float, float]]]:
    semitones, rate = voice.semitones + prosody.semitones, voice.rate * prosody.rate
    if voice.engine == "hibari":
        return neural.speak(
            text,
            float(np.clip(rate, 0.5, 2.0)),
            semitones,
            prosody.span,
            prosody.rise,
            voice.formants,
            seed,
        )
    if voice.engine == "espeak":
        # espeak has no free contour: a clear rise is asked for by its question melody.
        asked = text.rstrip(".!?") + "?" if prosody.rise > 2.0 else text
        pitch = int(np.clip(round(50 + 50 * semitones / 12.0), 0, 99))
        return espeak.speak(
            asked,
            voice.name,
            int(np.clip(round(165 * rate), 80, 400)),
            pitch,
            int(np.clip(round(50 * prosody.span), 0, 100)),
        )
    raise ValueError(f"unknown speech engine {voice.engine!r}: espeak or hibari")


def _fit_to_sound(
    wave: np.ndarray, phones: list[tuple[str, float, float]]
) -> list[tuple[str, float, float]]:
    """Begin stops with their silent closure, and end phones before a pause with the sound.

    espeak labels a voiceless stop at its burst and leaves the closure to the phone before; hibari
    extends a sentence's last phone through the silence. Both show in the energy.
    """
    step = SAMPLE_RATE // 200
    frames = wave[: len(wave) // step * step].reshape(-1, step).astype(np.float64)
    quiet = 10.0 * np.log10((frames**2).mean(axis=1) + 1e-12)
    quiet = quiet < quiet.max() - CLOSURE_DB
    fitted = [list(phone) for phone in phones]
    for before, phone, after in zip([None, *fitted], fitted, [*fitted[1:], None], strict=False):
        if before is not None and before[0] and phone[0].strip("ˈˌ")[:1] in STOPS:
            earliest = max(phone[1] - 0.1, before[1] + 0.4 * (before[2] - before[1]))
            frame = round(phone[1] * 200)
            while frame / 200 > earliest and frame - 1 < len(quiet) and quiet[frame - 1]:
                frame -= 1
            before[2] = phone[1] = min(phone[1], max(frame / 200, earliest))
        if phone[0] and (after is None or not after[0]):
            last, first = min(round(phone[2] * 200), len(quiet)), round(phone[1] * 200) + 8
            while last > first and quiet[last - 1]:
                last -= 1
            phone[2] = min(phone[2], last / 200 + 0.01)
            if after is not None:
                after[1] = phone[2]
    return [(symbol, start, end) for symbol, start, end in fitted]


def _trim(
    wave: np.ndarray, phones: list[tuple[str, float, float]]
) -> tuple[np.ndarray, list[tuple[str, float, float]]]:
    """Cut silence except 30 ms before the first phoneme and 80 ms after the last."""
    sounding = [(a, b) for symbol, a, b in phones if symbol]
    begin = max(sounding[0][0] - 0.03, 0.0)
    end = min(sounding[-1][1] + 0.08, len(wave) / SAMPLE_RATE)
    first, last = round(begin * SAMPLE_RATE), round(end * SAMPLE_RATE)
    kept = [
        (s, max(a - begin, 0.0), min(b, end) - begin) for s, a, b in phones if b > begin and a < end
    ]
    return wave[first:last], kept


def _merge_pauses(phones: list[tuple[str, float, float]]) -> list[tuple[str, float, float]]:
    """Neighbouring silences become one."""
    merged: list[tuple[str, float, float]] = []
    for symbol, start, end in phones:
        if merged and not symbol and not merged[-1][0]:
            merged[-1] = ("", merged[-1][1], end)
        elif end > start:
            merged.append((symbol, start, end))
    return merged


def _normalise(wave: np.ndarray) -> np.ndarray:
    """Scale so that the louder half of 20 ms frames has the neutral level."""
    frames = wave[: len(wave) // 320 * 320].reshape(-1, 320)
    power = np.sort((frames.astype(np.float64) ** 2).mean(axis=1))[len(frames) // 2 :].mean()
    return (wave * (10.0 ** (NEUTRAL_LEVEL_DB / 20.0) / np.sqrt(power + 1e-12))).astype(np.float32)


def _limit(wave: np.ndarray) -> np.ndarray:
    """Soft limiter: peaks above 0.7 are compressed to below 0.97."""
    knee = 0.7
    over = np.maximum(np.abs(wave) - knee, 0.0)
    bent = knee + (PEAK - knee) * np.tanh(over / (PEAK - knee))
    return np.where(over > 0, np.sign(wave) * bent, wave).astype(np.float32)


def colour(
    wave: np.ndarray, tilt_db: float, ring_db: float = 0.0, nasal_db: float = 0.0
) -> np.ndarray:
    """Zero-phase equaliser of the voice quality; the total power is kept.

    Args:
        tilt_db: lean per octave above 500 Hz, up to 12 dB in all.
        ring_db: of a band an octave wide around 3 kHz.
        nasal_db: of the nasal resonance at 280 Hz; the nasal zero at 1 kHz takes as much away.
    """
    if tilt_db == ring_db == nasal_db == 0.0:
        return wave
    spectrum = np.fft.rfft(wave.astype(np.float64))
    octaves = np.log2(np.maximum(np.fft.rfftfreq(len(wave), 1.0 / SAMPLE_RATE), 20.0))
    gain_db = np.clip(tilt_db * np.maximum(octaves - np.log2(500.0), 0.0), -12.0, 12.0)
    for db, centre, width in (
        (ring_db, 3000.0, 0.5),
        (nasal_db, 280.0, 0.5),
        (-nasal_db, 1000.0, 0.4),
    ):
        gain_db += db * np.exp(-0.5 * ((octaves - np.log2(centre)) / width) ** 2)
    changed = np.fft.irfft(spectrum * 10.0 ** (gain_db / 20.0), len(wave))
    return _same_power(changed, wave)


def roughen(wave: np.ndarray, depth: float, rng: np.random.Generator) -> np.ndarray:
    """Modulate the loudness at about 70 Hz, unevenly, as a harsh voice does."""
    if depth <= 0.0:
        return wave
    steps = len(wave) // 160 + 2
    pace = np.interp(
        np.arange(len(wave)),
        160 * np.arange(steps),
        ROUGH_HZ * (1.0 + 0.15 * rng.standard_normal(steps)),
    )
    beat = np.cos(2.0 * np.pi * np.cumsum(pace) / SAMPLE_RATE)
    depth = min(depth, 1.0)
    return (wave * (1.0 + depth * beat) / np.sqrt(1.0 + 0.5 * depth**2)).astype(np.float32)


def waver(wave: np.ndarray, depth: float, swell_db: float, rng: np.random.Generator) -> np.ndarray:
    """Modulate the loudness at about 6 Hz, with a ramp of ``swell_db``; the power is kept."""
    if depth <= 0.0 and swell_db == 0.0:
        return wave
    time = np.arange(len(wave)) / SAMPLE_RATE
    phase = (
        2.0 * np.pi * WAVER_HZ * time
        + np.sin(2.0 * np.pi * 0.9 * time + rng.uniform(0, 6.28))
        + rng.uniform(0, 6.28)
    )
    gain = 1.0 + min(max(depth, 0.0), 0.9) * np.sin(phase)
    gain = gain * 10.0 ** (swell_db * (time / max(time[-1], 1e-3) - 0.5) / 20.0)
    changed = wave * gain
    return _same_power(changed, wave)


def breathe(wave: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Mix in noise above 1.5 kHz that follows the voice's loudness; the power is kept."""
    if share <= 0.0:
        return wave
    noise = rng.standard_normal(len(wave))
    spectrum = np.fft.rfft(noise)
    frequency = np.fft.rfftfreq(len(wave), 1.0 / SAMPLE_RATE)
    noise = np.fft.irfft(spectrum * np.clip((frequency - 1000.0) / 1000.0, 0.0, 1.0), len(wave))
    window = np.hanning(801)
    envelope = np.sqrt(
        np.maximum(np.convolve(wave.astype(np.float64) ** 2, window / window.sum(), "same"), 0.0)
    )
    mixed = (1.0 - 0.4 * share) * wave + 0.45 * share * envelope * noise
    return _same_power(mixed, wave)


def shake(wave: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    """Modulate the pitch by ``deviation`` at about 7 Hz, by a delay of under a millisecond."""
    if deviation <= 0.0:
        return wave
    time = np.arange(len(wave)) / SAMPLE_RATE
    phase = (
        2.0 * np.pi * TREMOR_HZ * time
        + 1.5 * np.sin(2.0 * np.pi * 1.3 * time + rng.uniform(0, 6.28))
        + rng.uniform(0, 6.28)
    )
    delay = deviation / (2.0 * np.pi * TREMOR_HZ) * np.sin(phase)
    return np.interp(time - delay, time, wave).astype(np.float32)


def _same_power(changed: np.ndarray, wave: np.ndarray) -> np.ndarray:
    gain = np.sqrt((wave**2).mean() / max((changed**2).mean(), 1e-12))
    return (changed * gain).astype(np.float32)
