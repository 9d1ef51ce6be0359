"""The emotion that a face shows against the one asked for: accuracy by our judge, with its confusions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from emo_lightning.emotions import EMOTIONS
from evaluation.judges import emotion
from evaluation.judges.blendshapes import blendshapes
from evaluation.judges.emotion import EmotionJudge
from evaluation.metrics.emotion_accuracy import UNLABELLED, confusion_matrix
from evaluation.records import Column, SetResult
from evaluation.suite.base import Clip, ClipSet, Features, SetMetric, TrackExtractor
from evaluation.tracks import Track

EXTRACTOR, PROBABILITIES = "emotion", "probabilities"
ABOUT = "emotion that the judge sees in each clip against the one asked for; to be read beside its accuracy on the reference"


def _open(device: torch.device) -> Callable[[Track], Features]:
    """Probabilities of the eight emotions ``(8,)``."""
    del device
    judge = EmotionJudge.load()
    return lambda track: {PROBABILITIES: judge.probabilities(blendshapes(track.points))}


def _keep(clip: Clip) -> dict[str, list[float]]:
    return {PROBABILITIES: clip.features(EXTRACTOR)[PROBABILITIES].tolist()}


def _score(clips: ClipSet) -> SetResult:
    """Accuracy over clips whose emotion is known, the confusion, and how many had none."""
    judged = [record for record in clips.records if PROBABILITIES in record.features]
    seen = torch.tensor([int(np.argmax(record.features[PROBABILITIES])) for record in judged], dtype=torch.int64)
    wanted = torch.tensor([EMOTIONS.index(r.emotion) if r.emotion in EMOTIONS else UNLABELLED for r in judged], dtype=torch.int64)
    confusion = confusion_matrix(seen, wanted, len(EMOTIONS))
    known = wanted != UNLABELLED
    right = (seen == wanted)[known].to(torch.float64).tolist()
    unlabelled = int((~known).sum())
    about = f"rows: asked for, columns: seen by {emotion.NAME}; {len(right)} clips, {unlabelled} more have no emotion label"
    details = {"confusion": {"kind": "confusion", "labels": list(EMOTIONS), "counts": confusion.tolist(), "about": about}}
    reasons = {} if right else {"acc_emo": "no clip says its emotion"}
    return SetResult({"acc_emo": right}, reasons, details if right else {})


ORDER = 50
EXTRACTORS = (TrackExtractor(EXTRACTOR, emotion.describe, _open),)
ENTRIES = {
    "acc_emo": SetMetric(
        (
            Column(
                "acc_emo", f"Acc emo ({emotion.NAME})", "", True, emotion.NAME, 3,
                "share of clips in which the judge sees the emotion asked for, of eight", 0.0, 1.0, "emotion",
            ),
        ),
        _score, needs=(EXTRACTOR,), keep=_keep, about=ABOUT,
    )
}  # fmt: skip
