"""Emotion as others' networks see it in single frames, each beside ours, when the user has its weights.

They look at pictures where ours looks at landmarks, and were trained on photographs of people; where they agree with ours about one
system and differ about another, look at the clips.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from emo_lightning.motion.emotions import EMOTIONS
from evaluation.judges import emonet, emotiefflib, faceapi
from evaluation.judges.base import JudgeInfo
from evaluation.judges.expressions import ExpressionJudge, look, over_clip
from evaluation.records import Column
from evaluation.suite.base import HEAD, Clip, FrameExtractor, FrameFunction, SetMetric, View
from evaluation.suite.emotion import ABOUT, accuracy

EVERY = 5
"""Networks look at five frames a second; a clip's answer is the mean of their probabilities."""
PROBABILITIES = "probabilities"
CLOSE = View(size=448)
"""Twice the protocol's pixels, for networks that want a face of more than a hundred."""


@dataclass(frozen=True)
class Outsider:
    """One such judge: name, what its column is called, how it is described and opened, which emotions it knows, what it looks at."""

    name: str
    label: str
    describe: Callable[[], JudgeInfo]
    open: Callable[[torch.device], ExpressionJudge]
    classes: Sequence[str]
    view: View

    @property
    def column(self) -> str:
        return f"acc_emo_{self.name}"

    @property
    def extractor(self) -> str:
        return f"emotion_{self.name}"


OUTSIDERS = (
    Outsider(
        faceapi.NAME, "face-api.js", faceapi.describe, faceapi.FaceApiJudge, faceapi.CLASSES, HEAD
    ),
    Outsider(
        emotiefflib.NAME,
        "EmotiEffLib",
        emotiefflib.describe,
        emotiefflib.EmotiEffJudge,
        emotiefflib.CLASSES,
        CLOSE,
    ),
    Outsider(emonet.NAME, "EmoNet", emonet.describe, emonet.EmoNetJudge, emonet.CLASSES, CLOSE),
)


def _open(outsider: Outsider, device: torch.device) -> FrameFunction:
    judge = outsider.open(device)
    return lambda crops, points: {PROBABILITIES: look(judge, crops, points)}


def _keep(outsider: Outsider, clip: Clip) -> dict[str, list[float]]:
    """The clip's probabilities, unless no frame looked at shows a face."""
    mean: np.ndarray | None = over_clip(clip.features(outsider.extractor)[PROBABILITIES])
    return {} if mean is None else {outsider.extractor: mean.tolist()}


def _extractor(outsider: Outsider) -> FrameExtractor:
    return FrameExtractor(
        outsider.extractor,
        outsider.describe,
        partial(_open, outsider),
        view=outsider.view,
        every=EVERY,
    )


def _entry(outsider: Outsider) -> SetMetric:
    known = (
        "of eight"
        if len(outsider.classes) == len(EMOTIONS)
        else f"of {len(outsider.classes)}; clips asked for another are left out"
    )
    about = f"share of clips in which the judge sees the emotion asked for, {known}"
    column = Column(
        outsider.column,
        f"Acc emo ({outsider.label})",
        "",
        True,
        None,
        3,
        about,
        0.0,
        1.0,
        "emotion",
    )
    score = partial(
        accuracy,
        column=outsider.column,
        kept=outsider.extractor,
        judge=outsider.label,
        classes=outsider.classes,
    )
    return SetMetric(
        (column,), score, needs=(outsider.extractor,), keep=partial(_keep, outsider), about=ABOUT
    )


ORDER = 51
EXTRACTORS = tuple(map(_extractor, OUTSIDERS))
ENTRIES = {outsider.column: _entry(outsider) for outsider in OUTSIDERS}
