"""Voice augmentation: copies of a shard set's training clips with shifted pitch and formants.

Audio-visual corpora have few speakers. The labels of a copy are those of its clip, and timing is
kept to within 10 ms. Pitch is shifted by resampling and WSOLA (Verhelst & Roelands, ICASSP 1993);
the spectral envelope, by cepstral smoothing, is warped separately. A random equaliser and, for some
copies, noise follow.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import soxr

from datamodules.corpus.speech import colour
from datamodules.shards.derive import Progress, copy_set
from datamodules.shards.index import ShardIndex
from datamodules.shards.reader import Members
from datamodules.shards.schema import Sample, SampleMeta, decode, encode
from emo_lightning.core.constants import SAMPLE_RATE

PROVENANCE = "augmented_voices"
"""Entry of the index' provenance."""
SIZE, HOP = 512, 128
"""Samples of an STFT frame, and between two."""
LIFTER = 28
"""Cepstral coefficients of an envelope: finer than formants, coarser than harmonics to 400 Hz."""
FRAME, SEARCH = 640, 160
"""Samples of a WSOLA frame, and its search range to either side."""
MAX_GAIN = 3.5
"""Largest change of the envelope, natural log units."""
PITCHES = (90.0, 260.0)
"""Range of median pitch, Hz, sampled uniformly on a log scale."""
FORMANT_SHARE, FORMANT_STD = 0.27, 0.07
"""Octaves of formant shift for an octave of pitch shift, and its standard deviation, octaves."""
EQUALISER_DB = 2.0
"""Standard deviation of the equaliser's bands."""
NOISE_SHARE, NOISE_DB = 0.35, (12.0, 35.0)
"""Share of copies with noise, and the range of its level below speech."""
DEFAULT_PITCH = 150.0
"""Hz, where nothing is voiced."""
REPLACED = {"json", "flac", "wav", "whisper.npy", "mp4"}
"""Members that a copy does not share with its clip."""


def augment_voices(
    data: str | Path, out: str | Path, copies: int, seed: int = 0, progress: Progress | None = None
) -> ShardIndex:
    """Write augmented copies of a set's training clips, without video and without the originals.

    Args:
        data: a finished set.
        out: a new or empty folder.
        copies: of every clip of the train split that has audio.
        seed: of the voices; a copy depends on it, its clip's key and its number alone.
        progress: called with (shards done, shards in all).

    Raises:
        UserError: a folder that cannot be used, or no training clip with audio.
    """

    def voices(
        key: str, meta: SampleMeta, members: Members
    ) -> Iterator[tuple[str, SampleMeta, Members]]:
        if meta.split != "train" or not {"flac", "wav"} & set(members):
            return
        wave = decode(key, members, {"wave"}).wave
        assert wave is not None
        shared = {name: value for name, value in members.items() if name not in REPLACED}
        for copy in range(copies):
            rng = np.random.default_rng([seed, copy, *key.encode()])
            made, factors = random_voice(wave, rng)
            record = replace(meta, extra={**meta.extra, "voice": factors})
            sample = Sample(f"{key[:76]}_v{copy:02d}", record, made)
            yield sample.key, record, {**shared, **encode(sample)}

    about = {PROVENANCE: {"copies": copies, "seed": seed}}
    note = f"Voices are augmented; provenance.{PROVENANCE} describes how."
    return copy_set(Path(data), Path(out), voices, about, note, progress, video=False)


def random_voice(wave: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, float]]:
    """Audio ``(N,)`` in a random other voice, and the factors of its pitch and formants."""
    pitch = float(np.exp(rng.uniform(*np.log(PITCHES)))) / median_pitch(wave)
    octaves = FORMANT_SHARE * np.log2(pitch) + FORMANT_STD * rng.standard_normal()
    formants = float(2.0**octaves)
    made = shift_voice(wave, pitch, formants)
    made = colour(made, *(EQUALISER_DB * float(rng.standard_normal()) for _ in range(3)))
    if rng.random() < NOISE_SHARE:
        below = rng.uniform(*NOISE_DB)
        spectrum = np.fft.rfft(rng.standard_normal(len(made)))
        spectrum /= np.maximum(np.arange(len(spectrum)), 1.0) ** rng.uniform(0.0, 0.6)
        noise = np.fft.irfft(spectrum, len(made))
        made = made + noise * float(speech_rms(made) / noise.std() * 10.0 ** (-below / 20.0))
    made = made * min(1.0, 0.99 / max(float(np.abs(made).max()), 1e-9))
    return made.astype(np.float32), {"pitch": round(pitch, 3), "formants": round(formants, 3)}


def speech_rms(wave: np.ndarray) -> float:
    """Root mean square of the louder half of the samples."""
    power = np.square(wave, dtype=np.float64)
    return float(np.sqrt(power[power >= np.median(power)].mean()))


def median_pitch(wave: np.ndarray) -> float:
    """Median pitch, Hz, by autocorrelation of voiced 40 ms frames, or :data:`DEFAULT_PITCH`."""
    size, step = 640, 320
    count = (len(wave) - size) // step
    if count < 1:
        return DEFAULT_PITCH
    window = np.hanning(size)
    frames = np.lib.stride_tricks.sliding_window_view(wave, size)[::step][:count].astype(np.float64)
    frames = (frames - frames.mean(axis=1, keepdims=True)) * window
    power = np.abs(np.fft.rfft(frames, 2 * size)) ** 2
    own = np.fft.irfft(np.abs(np.fft.rfft(window, 2 * size)) ** 2)[:size]
    correlation = np.fft.irfft(power)[:, :size] / np.maximum(own / own[0], 1e-3)
    energy = correlation[:, 0]
    lags = np.arange(SAMPLE_RATE // 400, SAMPLE_RATE // 65)
    # Two periods correlate as well as one: shorter lags are preferred.
    best = lags[(correlation[:, lags] * (1.0 - 0.2 * lags / (lags[-1] + 1))).argmax(axis=1)]
    strength = correlation[np.arange(count), best] / np.maximum(energy, 1e-9)
    voiced = (strength > 0.6) & (energy > 0.1 * np.quantile(energy, 0.9))
    return float(np.median(SAMPLE_RATE / best[voiced])) if voiced.sum() >= 5 else DEFAULT_PITCH


def shift_voice(wave: np.ndarray, pitch: float, formants: float) -> np.ndarray:
    """Audio of the same length with pitch and formants times these factors."""
    original = wave.astype(np.float64)
    moved = original
    if pitch != 1.0:
        moved = stretch(soxr.resample(original, SAMPLE_RATE * pitch, SAMPLE_RATE), len(wave))
    floor = 1e-3 * speech_rms(wave) * np.random.default_rng(0).standard_normal(len(wave))
    before, after = _stft(original), _stft(moved + floor)
    last = before.shape[1] - 1
    places = np.minimum(np.arange(last + 1) / formants, last)
    low = np.floor(places).astype(int).clip(0, last - 1)
    share, envelope = places - low, _envelope(before)
    wanted = envelope[:, low] * (1.0 - share) + envelope[:, low + 1] * share
    gain = np.exp(np.clip(wanted - _envelope(after), -MAX_GAIN, MAX_GAIN))
    return _inverse_stft(after * gain, len(wave)).astype(np.float32)


def stretch(wave: np.ndarray, length: int) -> np.ndarray:
    """Audio stretched to ``length`` samples at its own pitch (WSOLA)."""
    half = FRAME // 2
    padded = np.concatenate([np.zeros(FRAME), wave, np.zeros(3 * FRAME)])
    out, window = np.zeros(length + 2 * FRAME), np.hanning(FRAME + 1)[:-1]
    rate, place = len(wave) / length, FRAME
    for start in range(0, length + half, half):
        ideal = FRAME + round(start * rate) - half
        natural = padded[place + half : place + half + FRAME]
        first = max(ideal - SEARCH, 0)
        region = padded[first : first + 2 * SEARCH + FRAME]
        if start and len(region) == 2 * SEARCH + FRAME and len(natural) == FRAME:
            sums = np.concatenate([[0.0], np.cumsum(region * region)])
            norm = np.sqrt(sums[FRAME:] - sums[: len(sums) - FRAME] + 1e-9)
            place = first + int((np.correlate(region, natural, "valid") / norm).argmax())
        else:
            place = max(min(ideal, len(padded) - FRAME), 0)
        out[start : start + FRAME] += window * padded[place : place + FRAME]
    return out[half : half + length]


def _stft(wave: np.ndarray) -> np.ndarray:
    padded = np.pad(wave, (SIZE, SIZE + HOP))
    frames = np.lib.stride_tricks.sliding_window_view(padded, SIZE)[::HOP]
    return np.fft.rfft(frames * np.hanning(SIZE + 1)[:-1])


def _envelope(spectra: np.ndarray) -> np.ndarray:
    """Smoothed natural log magnitude."""
    cepstra = np.fft.irfft(np.log(np.abs(spectra) + 1e-5))
    cepstra[:, LIFTER : SIZE - LIFTER + 1] = 0.0
    return np.fft.rfft(cepstra).real


def _inverse_stft(spectra: np.ndarray, length: int) -> np.ndarray:
    window = np.hanning(SIZE + 1)[:-1]
    out, total = np.zeros(length + 3 * SIZE), np.zeros(length + 3 * SIZE)
    for number, frame in enumerate(np.fft.irfft(spectra) * window):
        start = number * HOP
        if start + SIZE > len(out):
            break
        out[start : start + SIZE] += frame
        total[start : start + SIZE] += window**2
    return (out / np.maximum(total, 1e-3))[SIZE : SIZE + length]
