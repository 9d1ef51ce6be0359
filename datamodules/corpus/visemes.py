"""Articulation: phones with times to speech movements of the built-in face.

Every phone has a target opening and lip shape, each with its own dominance that rises before and
falls after the phone, and the face follows the dominance-weighted mean (Cohen & Massaro, *Modeling
coarticulation in synthetic visual speech*, 1993). Bilabial closures (p, b, m) and the labiodental
contact (f, v) are not averaged away: they gate the result.

Opening and width of the lips in each class of phones (:data:`LIPS`) were fitted on tracked video of
five speakers of the GRID corpus (Cooke, Barker, Cunningham & Shao, *J. Acoust. Soc. Am.* 120(5),
2006; CC BY 4.0) by ``python -m tools.fit_visemes SHARDS ... --strength 300``, with a prior: opening
follows vowel height (first formant), width vowel frontness and rounding (second formant); lips that
round also close, lips that spread also part. Their composition of units (:data:`VISEMES`) is ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from datamodules.corpus.speech import Speech
from emo_lightning.core.constants import FPS, SAMPLE_RATE
from emo_lightning.face.coefficients import EXP_NAMES

RATE = 200
"""Steps a second of the movements before averaging over frames."""
OPENING_UNITS = ("AU25", "AU26", "AU16")
SHAPE_UNITS = ("AU20", "AU12_L", "AU12_R", "AU10", "pucker", "funnel", "AU17")
UNITS = (*OPENING_UNITS, *SHAPE_UNITS)
OPENING_BY = np.array([0.080, 0.276, 0.086, 0.0, 0.0, 0.0, 0.079, 0.0, 0.129, 0.0])
WIDTH_BY = np.array([0.0, 0.045, 0.0, 0.139, 0.092, 0.092, 0.004, -0.109, -0.080, 0.014])
"""Contribution of each of :data:`UNITS` to inner lip gap and mouth width, in IOD."""
SPREAD_TO_SMILE = 0.25


@dataclass(frozen=True)
class Viseme:
    """Units of the lips' shape in one class of phones, and their dominances.

    ``jaw`` is AU26, ``part`` AU25, ``lower`` AU16, ``spread`` AU20 (and a little AU12), ``upper``
    AU10, ``chin`` AU17. ``hold_open`` and ``hold_shape`` are the dominances of opening and lip
    shape, from 0 (follows the neighbours) to 1.
    """

    jaw: float = 0.0
    part: float = 0.0
    lower: float = 0.0
    spread: float = 0.0
    upper: float = 0.0
    pucker: float = 0.0
    funnel: float = 0.0
    chin: float = 0.0
    hold_open: float = 0.7
    hold_shape: float = 0.5

    def targets(self) -> np.ndarray:
        """In the order of :data:`UNITS`."""
        smile = SPREAD_TO_SMILE * self.spread
        opening = (self.part, self.jaw, self.lower)
        shape = (self.spread, smile, smile, self.upper, self.pucker, self.funnel, self.chin)
        return np.array(opening + shape)


VISEMES: Mapping[str, Viseme] = {
    name: Viseme(*values)
    for name, *values in (
        # jaw, part, lower, spread, upper, pucker, funnel, chin, hold_open, hold_shape
        ("rest", 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.55, 0.35),
        ("a", 0.6, 0.41, 0.0, 0.06, 0.0, 0.0, 0.0, 0.0, 1.0, 0.5),
        ("ae", 0.52, 0.42, 0.12, 0.21, 0.05, 0.0, 0.0, 0.0, 1.0, 0.6),
        ("uh", 0.37, 0.34, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.9, 0.4),
        ("e", 0.37, 0.39, 0.12, 0.24, 0.0, 0.0, 0.0, 0.0, 0.9, 0.6),
        ("ey", 0.28, 0.38, 0.12, 0.33, 0.0, 0.0, 0.0, 0.0, 0.9, 0.7),
        ("i", 0.17, 0.35, 0.09, 0.21, 0.0, 0.0, 0.0, 0.0, 0.8, 0.55),
        ("ee", 0.11, 0.34, 0.14, 0.42, 0.0, 0.0, 0.0, 0.0, 0.85, 0.8),
        ("schwa", 0.2, 0.29, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.45, 0.2),
        ("er", 0.15, 0.31, 0.0, 0.0, 0.0, 0.26, 0.17, 0.0, 0.8, 0.7),
        ("aw", 0.45, 0.31, 0.0, 0.0, 0.0, 0.31, 0.1, 0.0, 1.0, 0.8),
        ("o", 0.3, 0.24, 0.0, 0.0, 0.0, 0.58, 0.07, 0.0, 0.9, 0.95),
        ("oo", 0.19, 0.24, 0.0, 0.0, 0.0, 0.54, 0.05, 0.0, 0.8, 0.85),
        ("u", 0.09, 0.2, 0.0, 0.0, 0.0, 0.9, 0.0, 0.0, 0.85, 1.0),
        ("w", 0.05, 0.14, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.9, 1.0),
        ("r", 0.11, 0.29, 0.0, 0.0, 0.0, 0.36, 0.19, 0.0, 0.6, 0.75),
        ("sh", 0.06, 0.33, 0.12, 0.0, 0.08, 0.43, 0.26, 0.0, 0.85, 0.9),
        ("s", 0.06, 0.33, 0.16, 0.18, 0.0, 0.0, 0.0, 0.0, 0.85, 0.4),
        ("t", 0.1, 0.3, 0.09, 0.09, 0.0, 0.0, 0.0, 0.0, 0.65, 0.2),
        ("l", 0.22, 0.31, 0.0, 0.06, 0.0, 0.0, 0.0, 0.0, 0.6, 0.2),
        ("th", 0.15, 0.34, 0.09, 0.06, 0.0, 0.0, 0.0, 0.0, 0.75, 0.35),
        ("k", 0.19, 0.29, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.4, 0.08),
        ("y", 0.1, 0.33, 0.0, 0.33, 0.0, 0.0, 0.0, 0.0, 0.6, 0.6),
        ("h", 0.2, 0.31, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.12, 0.04),
        ("f", 0.08, 0.2, 0.0, 0.0, 0.16, 0.0, 0.0, 0.0, 0.9, 0.35),
        ("m", 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.06, 0.9, 0.15),
    )
}
ROUNDED_CLOSES, OPEN_NARROWS = 0.5, 0.25
"""Share of the width added to the opening, and of the opening taken from the width."""
LIPS: Mapping[str, tuple[float, float]] = {
    "rest": (0.000, 0.000), "a": (0.225, 0.005), "ae": (0.155, -0.009), "uh": (0.142, -0.025),
    "e": (0.181, 0.035), "ey": (0.180, 0.052), "i": (0.101, 0.000), "ee": (0.128, 0.045),
    "schwa": (0.078, -0.010), "er": (0.057, -0.088), "aw": (0.153, -0.080), "o": (0.078, -0.116),
    "oo": (0.027, -0.081), "u": (0.008, -0.081), "w": (0.008, -0.164), "r": (0.016, -0.089),
    "sh": (0.045, -0.133), "s": (0.101, 0.041), "t": (0.047, 0.000), "l": (0.081, -0.014),
    "th": (0.079, 0.000), "k": (0.080, -0.012), "y": (0.082, 0.082), "h": (0.076, -0.016),
    "f": (0.040, -0.008), "m": (0.000, 0.000),
}  # fmt: skip
"""Opening and width of each class beyond those at rest, in IOD; see the module."""
CLASSES: Mapping[str, str] = {
    "a": "ɑ ɐ̃ a ʌː aː ɒː ɑ̃", "ae": "æ", "uh": "ʌ ɐ ɜ̃", "e": "ɛ e", "ey": "eː", "i": "ɪ ɨ ᵻ y",
    "ee": "i iː", "schwa": "ə ᵊ", "er": "ɚ ɜ ɝ", "aw": "ɔ ɒ", "o": "o oː", "oo": "ʊ", "u": "u ʉ",
    "w": "w ʍ", "r": "ɹ r ɻ", "sh": "ʃ ʒ ʧ ʤ", "s": "s z", "t": "t d n ɾ ʔ n̩", "l": "l ɫ",
    "th": "θ ð", "k": "k ɡ g ŋ x q c ɲ", "y": "j", "h": "h ɦ", "f": "f v ʋ", "m": "p b m",
}  # fmt: skip
DIPHTHONGS: Mapping[str, tuple[str, str]] = {
    "eɪ": ("eː", "ɪ"), "A": ("eː", "ɪ"), "aɪ": ("a", "ɪ"), "I": ("a", "ɪ"), "ɔɪ": ("ɔ", "ɪ"),
    "Y": ("ɔ", "ɪ"), "aʊ": ("a", "ʊ"), "W": ("a", "ʊ"), "oʊ": ("o", "ʊ"), "O": ("o", "ʊ"),
    "əʊ": ("ə", "ʊ"), "Q": ("ə", "ʊ"), "ɪɹ": ("ɪ", "ɹ"), "ɛɹ": ("ɛ", "ɹ"), "ɑːɹ": ("ɑ", "ɹ"),
    "ɔːɹ": ("ɔ", "ɹ"), "oːɹ": ("ɔ", "ɹ"), "ʊɹ": ("ʊ", "ɹ"), "iə": ("ɪ", "ə"), "ɪə": ("ɪ", "ə"),
    "eə": ("ɛ", "ə"), "ʊə": ("ʊ", "ə"), "tʃ": ("t", "ʃ"), "dʒ": ("d", "ʒ"), "aɪə": ("a", "ə"),
    "aʊə": ("a", "ə"), "əl": ("ə", "l"), "aɪɚ": ("a", "ɚ"), "ɪɚ": ("ɪ", "ɚ"),
}  # fmt: skip
"""Two-part phones: the first part takes 55 % of the time."""
VISEME_OF: Mapping[str, str] = {
    phone: name for name, phones in CLASSES.items() for phone in phones.split()
}
BILABIAL, LABIODENTAL = ("p", "b", "m"), ("f", "v")
ROUNDED_LEAD, OTHER_LEAD, TRAIL = 0.085, 0.055, 0.050
"""Seconds in which a dominance falls to 1/e before a phone (rounding begins first) and after it."""


@dataclass(frozen=True)
class ArticulationStyle:
    """One person's gains of opening, spreading and rounding, and the lips' lead over audio in s."""

    opening: float = 1.0
    spreading: float = 1.0
    rounding: float = 1.0
    lead: float = 0.035

    @staticmethod
    def sample(rng: np.random.Generator) -> ArticulationStyle:
        gains = np.exp(np.clip(rng.normal(0.0, (0.2, 0.15, 0.12)), -0.35, 0.35))
        return ArticulationStyle(*(float(g) for g in gains), lead=float(rng.uniform(0.025, 0.045)))


@dataclass(frozen=True)
class Articulation:
    """``exp (T, 28)`` of speech; ``closure``, ``contact (T,)``: lips, or lip and teeth, touch."""

    exp: np.ndarray
    closure: np.ndarray
    contact: np.ndarray = field(repr=False)


def prior(viseme: Viseme) -> tuple[float, float]:
    """Opening and width by the units' sizes, corrected for rounding, spreading and opening."""
    opening, width = float(viseme.targets() @ OPENING_BY), float(viseme.targets() @ WIDTH_BY)
    return opening + ROUNDED_CLOSES * width, width - OPEN_NARROWS * opening


def reach(viseme: Viseme, opening: float, width: float) -> np.ndarray:
    """The viseme's units ``(len(UNITS),)``, with jaw, spread and pucker set for this lip shape."""
    targets = viseme.targets()
    jaw, spread, pucker = (UNITS.index(name) for name in ("AU26", "AU20", "pucker"))
    smile = slice(UNITS.index("AU12_L"), UNITS.index("AU10"))
    targets[jaw] = 0.0
    apart = float(targets @ OPENING_BY)
    if apart > opening:
        targets[OPENING_BY > 0.0] *= max(opening, 0.0) / apart
    targets[jaw] = max(opening - apart, 0.0) / OPENING_BY[jaw]
    targets[spread] = targets[pucker] = targets[smile] = 0.0
    missing = width - float(targets @ WIDTH_BY)
    if missing < 0.0:
        targets[pucker] = min(missing / WIDTH_BY[pucker], 1.0)
    else:
        targets[spread] = missing / (WIDTH_BY[spread] + SPREAD_TO_SMILE * WIDTH_BY[smile].sum())
        targets[smile] = SPREAD_TO_SMILE * targets[spread]
    return targets


TARGETS: Mapping[str, np.ndarray] = {
    name: reach(viseme, *LIPS[name]) for name, viseme in VISEMES.items()
}
"""Target :data:`UNITS` of each class."""


def viseme_of(phone: str) -> str:
    """The viseme class of an IPA phone, stress and unknown marks aside; ``rest`` for silence."""
    plain = phone.strip("ˈˌ ")
    for candidate in (plain, plain.rstrip("ːʰʲ̩̃"), plain[:1]):
        if candidate in VISEME_OF:
            return VISEME_OF[candidate]
    return "schwa" if plain else "rest"


def articulate(
    speech: Speech,
    frames: int,
    style: ArticulationStyle = ArticulationStyle(),
    effort_db: float = 0.0,
) -> Articulation:
    """Speech movements of phones.

    Args:
        speech: sound with its phones.
        frames: T, of 40 ms.
        effort_db: level over this person's neutral; 8 dB open the mouth a quarter wider.

    Returns:
        A frame covers its 40 ms, and a closure inside it, however short, is kept.
    """
    steps = frames * RATE // FPS
    times = (np.arange(steps) + 0.5) / RATE
    closure, contact = gates(speech, times)
    curves = _blend(times + style.lead, segments(speech.phones))
    loud = loudness(speech.wave, steps)
    curves[:, : len(OPENING_UNITS)] *= (loud * style.opening * 10.0 ** (effort_db / 80.0))[:, None]
    curves[:, UNITS.index("AU20") : UNITS.index("AU10")] *= style.spreading
    curves[:, UNITS.index("pucker") : UNITS.index("AU17")] *= style.rounding
    per = RATE // FPS
    mean = curves.reshape(frames, per, -1).mean(axis=1)
    closure, contact = _strongest(closure, per), _strongest(contact, per)
    exp = np.zeros((frames, len(EXP_NAMES)), np.float32)
    exp[:, [EXP_NAMES.index(unit) for unit in UNITS]] = mean
    exp[:, EXP_NAMES.index("tuck")] = 0.9 * contact
    exp[:, EXP_NAMES.index("press")] = 0.25 * closure
    for unit in OPENING_UNITS:
        exp[:, EXP_NAMES.index(unit)] *= (1.0 - closure) * (1.0 - 0.75 * contact)
    for unit in ("funnel", "AU10"):
        exp[:, EXP_NAMES.index(unit)] *= 1.0 - closure
    return Articulation(
        np.clip(exp, 0.0, 1.0), closure.astype(np.float32), contact.astype(np.float32)
    )


def stressed_times(speech: Speech) -> list[float]:
    """Middles of the vowels with primary stress, in seconds."""
    return [(start + end) / 2 for symbol, start, end in speech.phones if symbol.startswith("ˈ")]


def segments(phones: list[tuple[str, float, float]]) -> list[tuple[str, float, float, float]]:
    """(viseme class, start, end, stress gain) with diphthongs cut in two."""
    parts_of_all = []
    for symbol, start, end in phones:
        plain = symbol.strip("ˈˌ ")
        gain = 1.08 if symbol.startswith("ˈ") else 0.92
        parts = DIPHTHONGS.get(plain, (plain,))
        middle = start + 0.55 * (end - start)
        bounds = [(start, end)] if len(parts) == 1 else [(start, middle), (middle, end)]
        parts_of_all += [
            (viseme_of(part), a, b, gain) for part, (a, b) in zip(parts, bounds, strict=True)
        ]
    return parts_of_all


def dominance(viseme: Viseme, start: float, end: float, times: np.ndarray) -> np.ndarray:
    """A phone's dominance at ``times``, 0..1, with a plateau over its middle."""
    quarter = min(0.25 * (end - start), 0.05)
    before, after = (
        np.maximum(start + quarter - times, 0.0),
        np.maximum(times - (end - quarter), 0.0),
    )
    lead = ROUNDED_LEAD if viseme.pucker > 0.3 else OTHER_LEAD
    return np.exp(-before / lead - after / TRAIL)


def gates(speech: Speech, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Contact of the lips, and of lip and teeth, 0..1 at ``times``."""
    closure = _gate(times, _contacts(speech, BILABIAL), 0.045, 0.040)
    return closure, _gate(times, _contacts(speech, LABIODENTAL), 0.050, 0.045)


def _blend(times: np.ndarray, parts: list[tuple[str, float, float, float]]) -> np.ndarray:
    """Dominance-weighted mean of targets, ``(steps, len(UNITS))``."""
    total = np.zeros((len(times), len(UNITS)))
    weight = np.full((len(times), len(UNITS)), 1e-6)
    split = len(OPENING_UNITS)
    for name, start, end, gain in parts:
        viseme, targets = VISEMES[name], TARGETS[name].copy()
        targets[:split] *= gain
        held = dominance(viseme, start, end, times)
        for part, hold in (
            (slice(0, split), viseme.hold_open),
            (slice(split, None), viseme.hold_shape),
        ):
            share = (hold * held)[:, None]
            total[:, part] += share * targets[part]
            weight[:, part] += share
    return total / weight


def _contacts(speech: Speech, phones: tuple[str, ...]) -> list[tuple[float, float]]:
    """When the lips touch: until a stop's burst, with which its label begins after silence."""
    spans = []
    for before, (symbol, start, end) in zip(
        [("", 0.0, 0.0), *speech.phones], speech.phones, strict=False
    ):
        plain = symbol.strip("ˈˌ ː")
        if plain not in phones:
            continue
        if plain in ("p", "b"):
            burst = _burst(speech.wave, start, end)
            begin = start if before[0] else min(start, burst - 0.06)
            spans.append((max(begin, 0.0), max(burst, begin + 0.03)))
        else:
            spans.append((start, max(end - 0.01, start + 0.03)))
    return spans


def _burst(wave: np.ndarray, start: float, end: float) -> float:
    """When high-frequency energy first jumps in a stop; two thirds through it otherwise."""
    step = SAMPLE_RATE // 200
    first, last = int(start * 200), max(int(end * 200), int(start * 200) + 1)
    piece = np.diff(wave[first * step : last * step + step], prepend=0.0)
    if len(piece) < 2 * step:
        return start + 0.66 * (end - start)
    energy = (piece[: len(piece) // step * step].reshape(-1, step) ** 2).mean(axis=1)
    loud = np.flatnonzero(energy > max(0.15 * float(energy.max()), 1e-9))
    return (
        float(np.clip((first + loud[0]) / 200, start + 0.005, end))
        if len(loud)
        else start + 0.66 * (end - start)
    )


def _gate(
    times: np.ndarray, spans: list[tuple[float, float]], attack: float, release: float
) -> np.ndarray:
    """1 within the spans, smooth ramps outside them."""
    gate = np.zeros(len(times))
    for start, end in spans:
        ramp = 1.0 - np.maximum(np.maximum((start - times) / attack, (times - end) / release), 0.0)
        ramp = np.clip(ramp, 0.0, 1.0)
        gate = np.maximum(gate, ramp * ramp * (3.0 - 2.0 * ramp))
    return gate


def _strongest(gate: np.ndarray, per: int) -> np.ndarray:
    """A frame's gate: the maximum within its 40 ms if that is full, else the mean."""
    blocks = gate.reshape(-1, per)
    strongest = blocks.max(axis=1)
    return np.where(strongest > 0.98, strongest, blocks.mean(axis=1))


def loudness(wave: np.ndarray, steps: int) -> np.ndarray:
    """Opening gain 0.5..1.3 by loudness relative to the clip's loud parts, smoothed over 100 ms."""
    step = SAMPLE_RATE // RATE
    padded = (
        np.pad(wave, (0, max(steps * step - len(wave), 0)))[: steps * step]
        .reshape(steps, step)
        .astype(np.float64)
    )
    window = np.hanning(23)[1:-1]
    power = np.convolve((padded**2).mean(axis=1), window / window.sum(), "same")
    reference = np.percentile(power, 85) + 1e-9
    return np.clip((power / reference) ** 0.12, 0.5, 1.3)
