"""espeak-ng from the ``espeakng-loader`` wheel through ctypes: audio with exact phoneme times.

The wheel holds the library and its data; the data path is passed explicitly. espeak keeps state
between utterances (wave phase, random noise, pitch flutter), so the library is loaded afresh for
every utterance, which makes the result a function of the arguments alone.
"""

from __future__ import annotations

import ctypes
import sys
import threading

import numpy as np

from emo_lightning.core.errors import UserError

SYNCHRONOUS, PHONEME_EVENTS, PHONEMES_IN_IPA = 2, 1, 2
EVENT_END, EVENT_PHONEME = 0, 7
RATE, PITCH, RANGE = 1, 3, 4
CHARS_UTF8 = 1
_LOCK = threading.Lock()


class _EventId(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    ]


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


def _open_library() -> tuple[ctypes.CDLL, int]:
    """A library in its initial state and its sample rate."""
    try:
        import espeakng_loader
    except ImportError:
        raise UserError(
            "emo corpus",
            "espeakng-loader",
            "pip install 'emo-lightning[corpus]'",
            "is not installed",
        ) from None
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    library.espeak_SetVoiceByName.argtypes = [ctypes.c_char_p]
    library.espeak_ng_SetRandSeed.argtypes = [ctypes.c_long]
    rate = library.espeak_Initialize(
        SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), PHONEME_EVENTS | PHONEMES_IN_IPA
    )
    if rate <= 0:
        raise RuntimeError("espeak-ng did not initialise with the data of espeakng-loader")
    library.espeak_ng_SetRandSeed(1)
    return library, int(rate)


def _close_library(library: ctypes.CDLL) -> None:
    library.espeak_Terminate()
    if sys.platform != "win32":
        import _ctypes

        _ctypes.dlclose(library._handle)


def speak(
    text: str, voice: str, rate: int, pitch: int, span: int
) -> tuple[np.ndarray, int, list[tuple[str, float, float]]]:
    """Synthesise ``text``.

    Args:
        voice: espeak's name with variant, such as ``en-us+f2``.
        rate: words a minute, 80..450.
        pitch: 0..99; 50 is the voice's own, 50 steps are an octave.
        span: pitch range, 0..100.

    Returns:
        float32 wave, its sample rate, and ``[(ipa, start, end)]`` in seconds; ``""`` is a pause.
    """
    waves: list[np.ndarray] = []
    events: list[tuple[str, int]] = []

    def collect(wave: ctypes._Pointer, count: int, event: ctypes._Pointer) -> int:
        if wave and count > 0:
            waves.append(np.ctypeslib.as_array(wave, (count,)).copy())
        index = 0
        while event[index].type != EVENT_END:
            if event[index].type == EVENT_PHONEME:
                symbol = bytes(event[index].id.string).split(b"\0")[0].decode("utf-8", "ignore")
                events.append((symbol, event[index].sample))
            index += 1
        return 0

    with _LOCK:
        library, sample_rate = _open_library()
        try:
            callback = _Callback(collect)
            library.espeak_SetSynthCallback(callback)
            if library.espeak_SetVoiceByName(voice.encode()) != 0:
                raise ValueError(f"espeak-ng has no voice {voice!r}")
            for parameter, value in ((RATE, rate), (PITCH, pitch), (RANGE, span)):
                library.espeak_SetParameter(parameter, int(value), 0)
            data = text.encode()
            library.espeak_Synth(
                data, ctypes.c_size_t(len(data) + 1), 0, 1, 0, CHARS_UTF8, None, None
            )
            library.espeak_Synchronize()
        finally:
            _close_library(library)
    wave = np.concatenate(waves).astype(np.float32) / 32768.0
    return wave, sample_rate, _spans(events, len(wave), sample_rate)


def _spans(
    events: list[tuple[str, int]], length: int, sample_rate: int
) -> list[tuple[str, float, float]]:
    """Each phoneme lasts until the next one starts."""
    starts = [min(sample, length) for _, sample in events] + [length]
    return [
        (symbol, starts[i] / sample_rate, starts[i + 1] / sample_rate)
        for i, (symbol, _) in enumerate(events)
        if starts[i + 1] > starts[i]
    ]
