"""IPA symbols of the speech synthesisers to the 39 phones of the CMU dictionary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

SILENCE = 0
PHONES: Mapping[str, str] = {
    "AA": "ɑ ɒ aː a:", "AE": "æ a", "AH": "ʌ ə ɐ ᵊ", "AO": "ɔ", "AW": "aʊ W ʌʉ", "AY": "aɪ I",
    "B": "b", "CH": "tʃ ʧ", "D": "d", "DH": "ð", "EH": "ɛ e eə", "ER": "ɚ ɜ ɝ əɹ", "EY": "eɪ eː A",
    "F": "f", "G": "ɡ g", "HH": "h ɦ", "IH": "ɪ ᵻ ɨ y", "IY": "i", "JH": "dʒ ʤ", "K": "k x q c",
    "L": "l ɫ", "M": "m", "N": "n", "NG": "ŋ ɲ", "OW": "oʊ əʊ o O Q", "OY": "ɔɪ Y", "P": "p",
    "R": "ɹ r ɻ", "S": "s", "SH": "ʃ", "T": "t ɾ T ʔ", "TH": "θ", "UH": "ʊ", "UW": "u ʉ",
    "V": "v ʋ", "W": "w ʍ", "Y": "j", "Z": "z", "ZH": "ʒ",
}  # fmt: skip
"""Phone -> symbols that it begins with; the longest match wins, the rest is ignored."""
NAMES: tuple[str, ...] = ("", *PHONES)
_PLACES = {
    symbol: NAMES.index(name) for name, symbols in PHONES.items() for symbol in symbols.split()
}
_LONGEST = max(map(len, _PLACES))


def phone_class(symbol: str) -> int:
    """Place in :data:`NAMES` of an IPA symbol, stress marks allowed; else :data:`SILENCE`."""
    plain = symbol.strip("ˈˌ")
    return next(
        (_PLACES[plain[:size]] for size in range(_LONGEST, 0, -1) if plain[:size] in _PLACES),
        SILENCE,
    )


def frame_phones(phones: Sequence[Sequence], frames: int, fps: float = 25.0) -> np.ndarray:
    """``(frames,)`` int64: the class of the phone at each frame's middle.

    Args:
        phones: (symbol, start, end) in seconds, in order, as in a sample's ``extra["phones"]``.
    """
    middles = (np.arange(frames) + 0.5) / fps
    ends = np.array([float(phone[2]) for phone in phones])
    classes = np.array([phone_class(str(phone[0])) for phone in phones], np.int64)
    return classes[np.minimum(np.searchsorted(ends, middles, side="right"), len(classes) - 1)]
