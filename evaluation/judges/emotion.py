"""The emotion judge: classifies a clip's face into the eight emotions by its blendshapes.

A multinomial logistic regression on what the blendshapes do over the clip (:func:`features`),
trained on simulated people alone (:mod:`tools.judge_training.emotion`), times a small power of
hand-written rules (:func:`rule_probabilities`): the units that define each emotion, as blendshapes.
No real or generated video was trained on, so no system has an advantage.

How good it is: modest. On 19 clips of five MEAD actors (eight emotions, chance .125) it names the
emotion in 9 (.47, 95 % .27 to .68); the wanted one is among its two best guesses in 16. The rules
alone reach 8, with a worse likelihood. On eleven clips of people acting fury, joy, grief and
surprise it is right in 6 (.55, .28 to .79), on nine clips of calm speeches and interviews it sees
neutral in 4, on eleven of GRID in all. It sees points alone, no wrinkles, and one clip does not
separate a person with high brows from raised brows: fear, contempt and half of the joy of two
actresses with high brows count as surprise, anger and disgust as each other. The ridge and the
power of the rules were chosen looking at these clips, which flatters it a little. Read a system's
accuracy beside that on its reference clips, never alone; ``python -m benchmarks emotion --videos
DIR`` prints the table for other videos.
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
LEFT_OUT = (
    "_neutral",
    "cheekPuff",
    "cheekSquint",
    "jawForward",
    "jawLeft",
    "jawRight",
    "noseSneer",
    "eyeLook",
)
"""Blendshapes (by how they start) that the network never gives off zero, and the gaze, which says
nothing here."""
QUANTILES = (0.2, 0.5, 0.8)
"""Over a clip: what stays while the mouth speaks, what is usual, what comes and goes."""


def _pairs() -> tuple[list[int], list[int], list[int]]:
    """Columns in the middle, and of both sides."""
    wanted = [name for name in NAMES if not name.startswith(LEFT_OUT)]
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
        with (
            files("evaluation").joinpath("assets", WEIGHTS).open("rb") as file,
            np.load(file, allow_pickle=False) as arrays,
        ):
            return EmotionJudge(
                {name: arrays[name] for name in ("mean", "scale", "weight", "bias")}
            )

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
    return JudgeInfo(
        NAME,
        hashlib.sha256(data).hexdigest(),
        "emotion from blendshapes of the landmarks; trained on simulated faces",
    )


@lru_cache(maxsize=1)
def provenance() -> dict[str, object]:
    """What the shipped weights were trained on, with which seed, and what they reached on simulated
    people held out."""
    with (
        files("evaluation").joinpath("assets", WEIGHTS).open("rb") as file,
        np.load(file, allow_pickle=False) as arrays,
    ):
        return dict(json.loads(str(arrays["provenance"])))


RULES: Mapping[str, Mapping[str, float]] = {
    "angry": {
        "browDown": 1.0,
        "eyeSquint": 0.3,
        "mouthPress": 0.3,
        "browInnerUp": -0.5,
        "mouthSmile": -0.3,
    },
    "contempt": {"mouthDimple-": 1.0, "mouthSmile-": 1.0, "mouthPress-": 0.5},
    "disgusted": {"mouthUpperUp": 0.8, "browDown": 0.3, "eyeSquint": 0.3, "mouthSmile": -0.8},
    "fear": {"browInnerUp": 0.5, "eyeWide": 0.7, "mouthStretch": 0.8, "browOuterUp": -0.1},
    "happy": {"mouthSmile": 1.2, "eyeSquint": 0.1},
    "sad": {
        "browInnerUp": 0.6,
        "browOuterUp": -0.4,
        "mouthFrown": 1.0,
        "mouthShrugLower": 0.4,
        "eyeSquint": 0.2,
        "mouthSmile": -0.3,
    },
    "surprised": {"browInnerUp": 0.4, "browOuterUp": 0.5, "eyeWide": 0.5, "jawOpen": 0.5},
}
"""Blendshapes that stand for each emotion's action units (``-``: the difference of the sides);
weights are ours, never fitted."""
RESTING, SHARPNESS = 0.35, 8.0
"""The score of a neutral face, and how decided the rules are."""
RULES_POWER = 0.25
"""How much the rules say: with them the log-likelihood a clip is -1.32 instead of -1.43 on MEAD,
-1.29 instead of -1.40 on calm talk."""


def rule_probabilities(shapes: np.ndarray) -> np.ndarray:
    """``(8,)`` by :data:`RULES`, from the clip's median blendshapes."""
    median = dict(zip(NAMES, np.nanmedian(shapes, axis=0), strict=True))

    def value(name: str) -> float:
        if name.endswith("-"):
            return abs(float(median[name[:-1] + "Left"] - median[name[:-1] + "Right"]))
        return (
            float(median[name])
            if name in median
            else float(median[name + "Left"] + median[name + "Right"]) / 2
        )

    scores = [RESTING] + [
        sum(w * value(n) for n, w in RULES[emotion].items()) for emotion in EMOTIONS[1:]
    ]
    powers = np.exp(SHARPNESS * (np.array(scores) - max(scores)))
    return powers / powers.sum()
