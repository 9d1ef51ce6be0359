"""The emotion that a face shows against the one asked for: accuracy by our judge, with its confusions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from emo_lightning.motion.emotions import EMOTIONS
from evaluation.judges import emotion
from evaluation.judges.blendshapes import blendshapes
from evaluation.judges.emotion import EmotionJudge
from evaluation.judges.landmark_track import Track
from evaluation.metrics.emotion_accuracy import UNLABELLED, confusion_matrix
from evaluation.records import Column, SetResult
from evaluation.suite.base import Clip, ClipSet, Features, SetMetric, TrackExtractor

EXTRACTOR, PROBABILITIES = "emotion", "probabilities"
ABOUT = "emotion that the judge sees in each clip against the one asked for; to be read beside its accuracy on the reference"


def _open(device: torch.device) -> Callable[[Track], Features]:
    """Probabilities of the eight emotions ``(8,)``."""
    del device
    judge = EmotionJudge.load()
    return lambda track: {PROBABILITIES: judge.probabilities(blendshapes(track.points))}


def _keep(clip: Clip) -> dict[str, list[float]]:
    return {PROBABILITIES: clip.features(EXTRACTOR)[PROBABILITIES].tolist()}


def accuracy(
    clips: ClipSet, column: str, kept: str, judge: str, classes: Sequence[str] = EMOTIONS
) -> SetResult:
    """Accuracy over clips whose emotion is known, the confusion, and how many clips say nothing.

    Args:
        clips: one system's, with probabilities of the eight emotions kept in their records.
        column: where the score stands.
        kept: what the probabilities are called there.
        judge: who gave them.
        classes: what the judge can see; clips of which another emotion was asked for are left out, and counted.
    """
    judged = [record for record in clips.records if kept in record.features]
    unlabelled = sum(record.emotion not in EMOTIONS for record in judged)
    foreign = sum(record.emotion in EMOTIONS and record.emotion not in classes for record in judged)
    seen = torch.tensor(
        [int(np.argmax(record.features[kept])) for record in judged], dtype=torch.int64
    )
    wanted = torch.tensor(
        [EMOTIONS.index(r.emotion) if r.emotion in classes else UNLABELLED for r in judged],
        dtype=torch.int64,
    )
    confusion = confusion_matrix(seen, wanted, len(EMOTIONS))
    # The report draws details of one name together.
    title = "confusion" if judge == emotion.NAME else f"confusion by {judge}"
    right = (seen == wanted)[wanted != UNLABELLED].to(torch.float64).tolist()
    about = f"rows: asked for, columns: seen by {judge}; {len(right)} clips, {unlabelled} more have no emotion label"
    if foreign:
        about += f", {foreign} more one that {judge} does not know"
    details = {
        title: {
            "kind": "confusion",
            "labels": list(EMOTIONS),
            "counts": confusion.tolist(),
            "about": about,
        }
    }
    reasons = (
        {}
        if right
        else {
            column: f"no clip says an emotion that {judge} knows"
            if foreign
            else "no clip says its emotion"
        }
    )
    return SetResult({column: right}, reasons, details if right else {})


def _score(clips: ClipSet) -> SetResult:
    return accuracy(clips, "acc_emo", PROBABILITIES, emotion.NAME)


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
