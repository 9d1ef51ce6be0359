"""Emotion accuracy: how often a judge finds the requested emotion in a clip, and what it finds
instead.

Acc_emo as in EAMM (Ji et al., 2022) and EAT (Gan et al., 2023). Published numbers differ by
classifier more than by system, so the score means something beside the same judge's score on real
clips alone. Our own judge reads landmarks; the networks of others read single frames and are used
when the user has their weights. Where they agree with ours on one system and differ on another,
watch the clips.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from emo_lightning.motion.emotions import EMOTIONS
from evaluation.judges import emonet, emotiefflib, emotion, faceapi
from evaluation.judges.base import JudgeInfo
from evaluation.judges.blendshapes import blendshapes
from evaluation.judges.emotion import EmotionJudge
from evaluation.judges.face_crops import ExpressionJudge, clip_probabilities, frame_probabilities
from evaluation.judges.landmark_track import Track
from evaluation.records import MetricColumn, SetResult
from evaluation.suite.base import (
    HEAD,
    ClipSet,
    EvaluatedClip,
    Features,
    FrameExtractor,
    FrameFunction,
    SetMetric,
    TrackExtractor,
    View,
)

EXTRACTOR, PROBABILITIES = "emotion", "probabilities"
UNLABELLED = -1
EVERY = 5
"""Networks process five frames a second; a clip's answer is the mean of their probabilities."""
CLOSE = View(size=448)
"""Twice the protocol's pixels, for networks that need a face of more than a hundred."""


def accuracy(
    clips: ClipSet, column: str, kept: str, judge: str, classes: Sequence[str] = EMOTIONS
) -> SetResult:
    """Accuracy over clips whose emotion is known, the confusion, and the number of unlabelled
    clips.

    Args:
        clips: one system's, with probabilities of the eight emotions kept in their records.
        column: where the score stands.
        kept: the probabilities' name there.
        judge: who gave them.
        classes: what the judge can find; clips with another requested emotion are skipped, and
            counted.
    """
    judged = [record for record in clips.records if kept in record.features]
    labels = [EMOTIONS.index(r.emotion) if r.emotion in classes else UNLABELLED for r in judged]
    unlabelled = sum(record.emotion not in EMOTIONS for record in judged)
    foreign = labels.count(UNLABELLED) - unlabelled
    found = torch.tensor([int(np.argmax(r.features[kept])) for r in judged], dtype=torch.int64)
    wanted = torch.tensor(labels, dtype=torch.int64)
    right = (found == wanted)[wanted != UNLABELLED].to(torch.float64).tolist()
    if not right:
        reason = f"no clip has an emotion that {judge} knows" if foreign else "no clip has a label"
        return SetResult(reasons={column: reason})
    # Importing torchmetrics takes seconds, and scoring a clip does not need it.
    from torchmetrics.functional.classification import multiclass_confusion_matrix

    counts = multiclass_confusion_matrix(found, wanted, len(EMOTIONS), ignore_index=UNLABELLED)
    about = f"rows: requested, columns: found by {judge}; {len(right)} clips"
    about += f", {unlabelled} more have no emotion label"
    about += f", {foreign} more one that {judge} does not know" if foreign else ""
    # The report joins details of one name.
    title = "confusion" if judge == emotion.NAME else f"confusion by {judge}"
    matrix = {"kind": "confusion", "labels": list(EMOTIONS), "counts": counts.tolist()}
    return SetResult({column: right}, details={title: {**matrix, "about": about}})


def _open(device: torch.device) -> Callable[[Track], Features]:
    del device
    judge = EmotionJudge.load()
    return lambda track: {PROBABILITIES: judge.probabilities(blendshapes(track.points))}


def _keep(clip: EvaluatedClip) -> dict[str, list[float]]:
    return {PROBABILITIES: clip.features(EXTRACTOR)[PROBABILITIES].tolist()}


@dataclass(frozen=True)
class ExternalJudge:
    """Another project's emotion network.

    Attributes:
        name, label: in column names, and as shown.
        describe, open: its description (cheap), and its weights loaded.
        classes: the emotions that it knows.
        view: its input.
    """

    name: str
    label: str
    describe: Callable[[], JudgeInfo]
    open: Callable[[torch.device], ExpressionJudge]
    classes: Sequence[str]
    view: View = CLOSE

    @property
    def column(self) -> str:
        return f"acc_emo_{self.name}"

    @property
    def extractor(self) -> FrameExtractor:
        name, function = f"emotion_{self.name}", self.open_function
        return FrameExtractor(name, self.describe, function, view=self.view, every=EVERY)

    def open_function(self, device: torch.device) -> FrameFunction:
        """Probabilities ``(B, 8)`` of frames, by the network on this device."""
        judge = self.open(device)
        return lambda crops, points: {PROBABILITIES: frame_probabilities(judge, crops, points)}

    def keep(self, clip: EvaluatedClip) -> dict[str, list[float]]:
        """The clip's probabilities, unless none of its frames shows a face."""
        name = f"emotion_{self.name}"
        mean = clip_probabilities(clip.features(name)[PROBABILITIES])
        return {} if mean is None else {name: mean.tolist()}

    @property
    def entry(self) -> SetMetric:
        known = len(self.classes)
        of = "of eight" if known == len(EMOTIONS) else f"of {known}; others are skipped"
        kept = f"emotion_{self.name}"
        score = partial(
            accuracy, column=self.column, kept=kept, judge=self.label, classes=self.classes
        )
        column = _column(self.column, self.label, None, of)
        return SetMetric((column,), score, needs=(kept,), keep=self.keep)


EXTERNAL_JUDGES = (
    ExternalJudge(
        faceapi.NAME, "face-api.js", faceapi.describe, faceapi.FaceApiJudge, faceapi.CLASSES, HEAD
    ),
    ExternalJudge(
        emotiefflib.NAME,
        "EmotiEffLib",
        emotiefflib.describe,
        emotiefflib.EmotiEffJudge,
        emotiefflib.CLASSES,
    ),
    ExternalJudge(emonet.NAME, "EmoNet", emonet.describe, emonet.EmoNetJudge, emonet.CLASSES),
)


def _column(name: str, label: str, judge: str | None, of: str) -> MetricColumn:
    about = f"share of clips in which the judge finds the requested emotion, {of}"
    return MetricColumn(name, f"Acc emo ({label})", about, True, "emotion", judge=judge, high=1.0)


ORDER = 50
EXTRACTORS = (
    TrackExtractor(EXTRACTOR, emotion.describe, _open),
    *(judge.extractor for judge in EXTERNAL_JUDGES),
)
ENTRIES = {
    "acc_emo": SetMetric(
        (_column("acc_emo", emotion.NAME, emotion.NAME, "of eight"),),
        partial(accuracy, column="acc_emo", kept=PROBABILITIES, judge=emotion.NAME),
        needs=(EXTRACTOR,),
        keep=_keep,
    ),
    **{judge.column: judge.entry for judge in EXTERNAL_JUDGES},
}
