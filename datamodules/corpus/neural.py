"""hibari-tts (Apache-2.0): a small neural voice whose pitch curve and formants are modified.

Its ONNX graph computes the phoneme durations but does not return them. Protobuf merges concatenated
messages, so appending a graph with one more output is enough to get them, without ONNX tools.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from emo_lightning.core.errors import UserError

DURATION_TENSOR = "/Cast_32_output_0"
FRAME = 0.025
"""Seconds in one unit of the duration predictor (two spectral frames of 12.5 ms)."""
LABEL_DELAY = 0.05
"""Predicted phonemes come this much later than they sound, by energy and closures."""
LOUDEST_VOICING = 40.0
"""Hz; under it the model means unvoiced."""


def _varint(number: int) -> bytes:
    out = b""
    while True:
        number, low = number >> 7, number & 127
        out += bytes([low | (128 if number else 0)])
        if not number:
            return out


def with_output(model: bytes, tensor: str) -> bytes:
    """An ONNX model that also returns ``tensor`` (ModelProto field 7: graph; 12: outputs)."""
    name = tensor.encode()
    value = b"\x0a" + _varint(len(name)) + name
    graph = b"\x62" + _varint(len(value)) + value
    return model + b"\x3a" + _varint(len(graph)) + graph


@lru_cache(maxsize=1)
def _voice() -> tuple[Any, Any]:
    """The text front end and the session; one thread, so that results are reproducible."""
    try:
        import onnxruntime
        from hibari import Hibari
    except ImportError:
        raise UserError(
            "emo corpus", "hibari-tts", "pip install 'emo-lightning[corpus]'", "is not installed"
        ) from None
    front = Hibari()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    with open(front.model_path, "rb") as file:
        model = with_output(file.read(), DURATION_TENSOR)
    front.sess = None
    return front, onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def bend_pitch(f0: np.ndarray, semitones: float, span: float, rise: float) -> np.ndarray:
    """Shift a pitch curve, stretch it about its log mean and raise its end, where voiced."""
    voiced = f0 > LOUDEST_VOICING
    if not voiced.any():
        return f0
    log = np.log2(np.maximum(f0, 1.0))
    mean = float(log[voiced].mean())
    last = int(np.flatnonzero(voiced)[-1]) + 1
    ramp = np.clip((np.arange(len(f0)) - last + 40) / 40.0, 0.0, 1.0)
    bent = np.exp2(mean + (log - mean) * span + semitones / 12.0 + ramp**2 * rise / 12.0)
    return np.where(voiced, np.clip(bent, 55.0, 600.0), f0).astype(np.float32)


def warp_formants(spectrum: np.ndarray, factor: float) -> np.ndarray:
    """Stretch ``(bins, F)`` along frequency; factor 1.1 is a shorter vocal tract."""
    bins = len(spectrum)
    at = np.arange(bins) / factor
    low = np.clip(at.astype(int), 0, bins - 2)
    share = np.clip(at - low, 0.0, 1.0)[:, None].astype(np.float32)
    return spectrum[low] * (1.0 - share) + spectrum[low + 1] * share


def stretch(part: np.ndarray, pace: float, smooth: bool = True) -> np.ndarray:
    """Resample ``(..., F)`` in time, by the nearest frame for phases (``smooth`` off)."""
    frames = part.shape[-1]
    at = np.minimum(np.arange(max(1, round(frames / pace))) * pace, frames - 1)
    if not smooth:
        return part[..., np.rint(at).astype(int)]
    low = np.minimum(at.astype(int), frames - 2)
    share = (at - low).astype(np.float32)
    return part[..., low] * (1.0 - share) + part[..., low + 1] * share


def speak(
    text: str, pace: float, semitones: float, span: float, rise: float, formants: float, seed: int
) -> tuple[np.ndarray, int, list[tuple[str, float, float]]]:
    """Synthesise ``text``.

    Args:
        pace: 1 is the voice's own; all phonemes scale alike.
        semitones, span, rise: see :func:`bend_pitch`.
        formants: see :func:`warp_formants`.
        seed: of the noise in unvoiced sounds.

    Returns:
        float32 wave, its sample rate, and ``[(ipa, start, end)]`` in seconds; ``""`` is a pause.
    """
    front, session = _voice()
    from hibari import dsp

    rng, waves, phones, offset = np.random.default_rng(seed), [], [], 0.0
    for phonemes in front.phonemize(text):
        ids = front.ids(phonemes)
        feeds = {"ids": np.asarray([ids], np.int64), "speed": np.ones(1, np.float32)}
        outputs = session.run(None, feeds)
        lh, theta, ln, lr, phi, f0 = (o[0] for o in outputs[:6])
        if formants != 1.0:
            lh, theta, ln, lr = (warp_formants(part, formants) for part in (lh, theta, ln, lr))
        lh, ln, lr = (stretch(part, pace) for part in (lh, ln, lr))
        theta, phi = (stretch(part, pace, smooth=False) for part in (theta, phi))
        f0 = bend_pitch(stretch(f0, pace, smooth=False), semitones, span, rise)
        waves.append(dsp.synth(lh, theta, ln, lr, phi, f0, rng))
        symbols = ["", *[c for c in phonemes if c in front.vocab], ""]
        phones += _spans(
            symbols, np.asarray(outputs[6]).ravel() * FRAME / pace, offset, LABEL_DELAY / pace
        )
        offset += len(waves[-1]) / dsp.SR
    return np.concatenate(waves), dsp.SR, phones


def _spans(
    symbols: list[str], durations: np.ndarray, offset: float, delay: float
) -> list[tuple[str, float, float]]:
    """Durations to spans, less the label delay; stress and length marks join their vowel."""
    ends = offset + np.cumsum(durations)
    starts = np.maximum(np.concatenate([[offset], ends[:-1]]) - delay, offset)
    ends = np.maximum(ends - delay, offset)
    ends[-1] += delay
    spans: list[tuple[str, float, float]] = []
    stress, pending = "", None
    for symbol, start, end in zip(symbols, starts, ends, strict=True):
        if symbol in "ˈˌ" and symbol:
            stress, pending = symbol, float(start)
        elif symbol in "ː̃ʰʲ" and symbol and spans:
            spans[-1] = (spans[-1][0] + symbol, spans[-1][1], float(end))
        else:
            name = symbol if symbol.isalpha() else ""
            begin = float(start) if pending is None else pending
            if end > begin:
                spans.append((stress + name, begin, float(end)))
            stress, pending = "", None
    return spans
