"""The emotion that a face shows against the one asked for: accuracy by our judge, with its confusions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from emo_lightning.emotions import EMOTIONS
from evaluation.judges import emotion, landmarks
from evaluation.judges.base import JudgeInfo
from evaluation.judges.blendshapes import blendshapes
from evaluation.judges.emotion import EmotionJudge
from evaluation.metrics.emotion_accuracy import UNLABELLED, confusion_matrix
from evaluation.protocol import NotScored
from evaluation.records import Column, SetResult
from evaluation.suite.base import Clip, ClipSet, Features, SetMetric, TrackExtractor
from evaluation.tracks import Track

BLENDSHAPES, PROBABILITIES = "blendshapes", "emotion"
ABOUT = "emotion that the judge sees in each clip against the one asked for; to be read beside its accuracy on the reference"


def _describe_blendshapes() -> JudgeInfo:
    tracker = landmarks.describe()
    return JudgeInfo(f"blendshapes on {tracker.name}", tracker.sha256, "MediaPipe's own 52 blendshapes, from its landmarks")


def _open_blendshapes(device: torch.device) -> Callable[[Track], Features]:
    del device
    return lambda track: {BLENDSHAPES: blendshapes(track.points)}


def _keep(clip: Clip) -> dict[str, list[float]]:
    """The judge's probabilities of the eight emotions."""
    try:
        return {PROBABILITIES: EmotionJudge.load().probabilities(clip.features(BLENDSHAPES)[BLENDSHAPES]).tolist()}
    except ValueError as error:
        raise NotScored(str(error)) from None


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
EXTRACTORS = (TrackExtractor(BLENDSHAPES, _describe_blendshapes, _open_blendshapes),)
ENTRIES = {
    "acc_emo": SetMetric(
        (
            Column(
                "acc_emo", f"Acc emo ({emotion.NAME})", "", True, emotion.NAME, 3,
                "share of clips in which the judge sees the emotion asked for, of eight", 0.0, 1.0, "emotion",
            ),
        ),
        _score, needs=(BLENDSHAPES,), keep=_keep, about=ABOUT,
    )
}  # fmt: skip
