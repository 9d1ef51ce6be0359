"""The emotion judge: classifies a clip's face into the eight emotions by its blendshapes.

A multinomial logistic regression on what the blendshapes do over the clip (:func:`features`),
trained on simulated people alone (:mod:`tools.judge_training.emotion`), times a small power of
hand-written rules (:func:`rule_probabilities`): the units that define each emotion, as blendshapes.
No real or generated video was trained on, so no system has an advantage.

Its accuracy on real clips is modest (about half of eight emotions): it uses points alone, no
wrinkles, and one clip does not separate a person with high brows from raised brows. Compare a
system's accuracy with that on its reference clips.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files

import numpy as np

from emo_lightning.motion.emotions import EMOTIONS
from evaluation.judges.base import JudgeInfo
from evaluation.judges.blendshapes import NAMES

WEIGHTS = "emotion.npz"
NAME = "emotion-blend"
UNUSED = ("_neutral", "cheek", "jawForward", "jawLeft", "jawRight", "noseSneer", "eyeLook")
"""Beginnings of blendshapes that the network keeps at zero, and of the gaze."""
QUANTILES = (0.2, 0.5, 0.8)
"""Over a clip: what stays while the mouth speaks, what is usual, what comes and goes."""


def _pairs() -> tuple[list[int], list[int], list[int]]:
    """Columns in the middle, and of both sides."""
    wanted = [name for name in NAMES if not name.startswith(UNUSED)]
    left = [name for name in wanted if name.endswith("Left")]
    middle = [NAMES.index(name) for name in wanted if not name.endswith(("Left", "Right"))]
    return (
        middle,
        [NAMES.index(name) for name in left],
        [NAMES.index(name[:-4] + "Right") for name in left],
    )


MIDDLE, LEFT, RIGHT = _pairs()


def features(shapes: np.ndarray) -> np.ndarray:
    """What a clip's blendshapes do: the same for a face and its mirror image.

    Args:
        shapes: ``(T, 52)``, 0..1, T at least 1; frames without a face, nan, are left out.

    Returns:
        ``(F,)`` float64: quantiles over time of the square roots (which spread the low values
        apart), of shapes in the middle and of the mean of both sides, and the median difference of
        the sides.

    Raises:
        ValueError: another shape, or no frame with a face.
    """
    if shapes.ndim != 2 or shapes.shape[1] != len(NAMES):
        raise ValueError(f"shapes have shape {shapes.shape}, expected (T, {len(NAMES)})")
    seen = np.sqrt(np.clip(shapes[np.isfinite(shapes).all(axis=1)].astype(np.float64), 0.0, 1.0))
    if not len(seen):
        raise ValueError("no frame of the clip shows a face")
    over_time = np.quantile(seen, QUANTILES, axis=0)
    both = (over_time[:, LEFT] + over_time[:, RIGHT]) / 2
    return np.concatenate(
        [
            over_time[:, MIDDLE].ravel(),
            both.ravel(),
            np.abs(over_time[1, LEFT] - over_time[1, RIGHT]),
        ]
    )


def _weights() -> dict[str, np.ndarray]:
    """The arrays of the shipped file."""
    file = files("evaluation").joinpath("assets", WEIGHTS)
    with file.open("rb") as handle, np.load(handle, allow_pickle=False) as arrays:
        return dict(arrays)


class EmotionJudge:
    """The trained judge; see the module.

    Args:
        weights: ``mean``, ``scale`` ``(F,)``, ``weight`` ``(8, F)``, ``bias`` ``(8,)``.
    """

    def __init__(self, weights: Mapping[str, np.ndarray]) -> None:
        self._mean, self._scale, self._weight, self._bias = (
            weights[name] for name in ("mean", "scale", "weight", "bias")
        )

    @staticmethod
    @lru_cache(maxsize=1)
    def load() -> EmotionJudge:
        """The judge that ships with the package."""
        return EmotionJudge(_weights())

    def probabilities(self, shapes: np.ndarray) -> np.ndarray:
        """``(8,)`` in the order of ``EMOTIONS`` for one clip's ``(T, 52)`` blendshapes; ValueError
        as :func:`features`."""
        joined = (
            self.classify(features(shapes)[None])[0] * rule_probabilities(shapes) ** RULES_POWER
        )
        return joined / joined.sum()

    def classify(self, rows: np.ndarray) -> np.ndarray:
        """``(N, 8)`` probabilities of clips' features ``(N, F)``, by the regression alone."""
        scores = (rows - self._mean) / self._scale @ self._weight.T + self._bias
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)


@lru_cache(maxsize=1)
def describe() -> JudgeInfo:
    """Who this judge is, without opening it."""
    data = files("evaluation").joinpath("assets", WEIGHTS).read_bytes()
    about = "emotion from blendshapes of the landmarks; trained on simulated faces"
    return JudgeInfo(NAME, hashlib.sha256(data).hexdigest(), about)


@lru_cache(maxsize=1)
def provenance() -> dict[str, object]:
    """What the shipped weights were trained on, with which seed, and what they reached on simulated
    people held out."""
    return dict(json.loads(str(_weights()["provenance"])))


_RULES = {
    "angry": "browDown 1 eyeSquint .3 mouthPress .3 browInnerUp -.5 mouthSmile -.3",
    "contempt": "mouthDimple- 1 mouthSmile- 1 mouthPress- .5",
    "disgusted": "mouthUpperUp .8 browDown .3 eyeSquint .3 mouthSmile -.8",
    "fear": "browInnerUp .5 eyeWide .7 mouthStretch .8 browOuterUp -.1",
    "happy": "mouthSmile 1.2 eyeSquint .1",
    "sad": "browInnerUp .6 browOuterUp -.4 mouthFrown 1 mouthShrugLower .4 eyeSquint .2 "
    "mouthSmile -.3",
    "surprised": "browInnerUp .4 browOuterUp .5 eyeWide .5 jawOpen .5",
}
RULES: Mapping[str, Mapping[str, float]] = {
    emotion: dict(zip(words[::2], map(float, words[1::2]), strict=True))
    for emotion, words in ((name, text.split()) for name, text in _RULES.items())
}
"""Blendshapes that stand for each emotion's action units (``-``: the difference of the sides);
weights are ours, never fitted."""
RESTING, SHARPNESS = 0.35, 8.0
"""The score of a neutral face, and how decided the rules are."""
RULES_POWER = 0.25
"""Weight of the rules beside the regression."""


def rule_probabilities(shapes: np.ndarray) -> np.ndarray:
    """``(8,)`` by :data:`RULES`, from the clip's median blendshapes."""
    median = dict(zip(NAMES, np.nanmedian(shapes, axis=0), strict=True))

    def value(name: str) -> float:
        if name.endswith("-"):
            return abs(float(median[name[:-1] + "Left"] - median[name[:-1] + "Right"]))
        if name in median:
            return float(median[name])
        return float(median[name + "Left"] + median[name + "Right"]) / 2

    scores = [RESTING] + [
        sum(w * value(n) for n, w in RULES[emotion].items()) for emotion in EMOTIONS[1:]
    ]
    powers = np.exp(SHARPNESS * (np.array(scores) - max(scores)))
    return powers / powers.sum()
