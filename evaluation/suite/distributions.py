"""All frames of a system against all frames of its references: FID and KID of images and of faces,
E-FID."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from evaluation.judges import action_units, landmarks
from evaluation.judges.base import JudgeInfo
from evaluation.judges.image_networks import InceptionJudge, describe_inception
from evaluation.judges.landmark_track import Track
from evaluation.metrics.bootstrap import standard_error
from evaluation.metrics.fid import ENOUGH, fid
from evaluation.metrics.kid import ClipKernel, kid
from evaluation.records import MetricColumn, SetEstimate, SetResult
from evaluation.suite.base import (
    ClipSet,
    Features,
    FrameExtractor,
    FrameFunction,
    SetMetric,
    TrackExtractor,
)
from evaluation.suite.image_quality import EVERY, SPARSE

LIMIT = 10_000
"""Most images a side, so that memory does not grow with the number of clips; of more, evenly spaced
ones are taken."""
DRAWS = ((512, 200), (2048, 50), (LIMIT, 20))
"""(up to so many images, resamplings of the bootstrap): each costs about the cube of the images."""
ENOUGH_EXPRESSIONS = 280
"""Frames a side below which the 28 x 28 covariances of expressions are poorly known: ten for each
coefficient."""


@dataclass(frozen=True)
class FeatureRows:
    """One side of a comparison.

    Attributes:
        features: ``(N, D)``.
        clips: names of the clips they come from, in order.
        sizes: rows of each clip.
        seen: rows before any limit.
    """

    features: Tensor
    clips: list[str]
    sizes: list[int]
    seen: int

    def counted(self, drawn: np.ndarray) -> Tensor:
        """How often each row counts when its clip was drawn so often: ``(N,)``."""
        return torch.from_numpy(np.repeat(drawn, self.sizes).astype(np.float64))


def gather(clips: ClipSet, extractor: str, array: str, by_reference: bool) -> FeatureRows | None:
    """A set's rows without those of frames that show no face; None where there are fewer than two.

    Args:
        clips: one system's clips.
        extractor, array: where the rows are.
        by_reference: name the clips by their references, so that partners share a name.
    """
    found: list[np.ndarray] = []
    names: list[str] = []
    for record, features in clips.features(extractor):
        rows = np.asarray(features[array], np.float32)
        rows = rows[np.isfinite(rows).all(axis=1)]
        if len(rows):
            found.append(rows)
            names.append((record.reference if by_reference else None) or record.clip)
    seen = sum(map(len, found))
    if seen > LIMIT:
        found = [rows[:: -(-seen // LIMIT)] for rows in found]
    if sum(map(len, found)) < 2:
        return None
    features = torch.from_numpy(np.concatenate(found))
    return FeatureRows(features, names, [len(rows) for rows in found], seen)


Compare = Callable[[FeatureRows, FeatureRows], SetEstimate]


def _compare(clips: ClipSet, extractor: str, array: str, columns: dict[str, Compare]) -> SetResult:
    """Estimates over the two sides, or why there are none."""
    reason = "compares with the reference"
    if clips.reference is not None:
        reason = "fewer than two frames on a side have features"
        a = gather(clips, extractor, array, True)
        b = gather(clips.reference, extractor, array, False)
        if a is not None and b is not None:
            return SetResult(estimates={name: compare(a, b) for name, compare in columns.items()})
    return SetResult(reasons=dict.fromkeys(columns, reason))


def _estimate(
    value: float, std: float | None, a: FeatureRows, b: FeatureRows, enough: int, unit: str
) -> SetEstimate:
    few = min(len(a.features), len(b.features))
    flags = [f"{few:,} {unit}, fewer than {enough:,}"] if few < enough else []
    flags += [
        f"{len(side.features):,} of {side.seen:,} {unit} taken"
        for side in (a, b)
        if len(side.features) < side.seen
    ]
    interval = (value - 1.96 * std, value + 1.96 * std) if std is not None else None
    return SetEstimate(value, len(a.features), unit, std, interval, "; ".join(flags) or None)


def _frechet(enough: int, unit: str, a: FeatureRows, b: FeatureRows) -> SetEstimate:
    def resampled(generated: np.ndarray, reference: np.ndarray) -> float:
        return float(fid(a.features, b.features, (a.counted(generated), b.counted(reference))))

    most = max(len(a.features), len(b.features))
    draws = next((draws for size, draws in DRAWS if most <= size), DRAWS[-1][1])
    std = standard_error(resampled, (a.clips, b.clips), draws)
    return _estimate(float(fid(a.features, b.features)), std, a, b, enough, unit)


def _kid(a: FeatureRows, b: FeatureRows) -> SetEstimate:
    sums = ClipKernel(a.features, b.features, (a.sizes, b.sizes))
    std = standard_error(sums.mmd, (a.clips, b.clips))
    return _estimate(kid(a.features, b.features), std, a, b, 0, "images")


def _open_inception(device: torch.device) -> FrameFunction:
    judge = InceptionJudge(device)

    def extract(crops: np.ndarray, points: np.ndarray) -> Features:
        del points
        frames = torch.from_numpy(np.ascontiguousarray(crops.transpose(0, 3, 1, 2)))
        return {"pool3": judge.features(frames).cpu().numpy()}

    return extract


def _open_expression(device: torch.device) -> Callable[[Track], Features]:
    del device
    return lambda track: {"exp": track.expression}


def _expression_judge() -> JudgeInfo:
    return action_units.describe(landmarks.describe())


def _entry(extractor: str, array: str, *columns: tuple[MetricColumn, Compare]) -> SetMetric:
    compare = {column.name: function for column, function in columns}
    return SetMetric(
        tuple(column for column, _ in columns),
        partial(_compare, extractor=extractor, array=array, columns=compare),
        needs=(extractor,),
        needs_reference=True,
        still=True,
    )


def _column(
    name: str, label: str, decimals: int, about: str, low: float | None = 0.0
) -> MetricColumn:
    return MetricColumn(name, label, about, False, "distribution", decimals=decimals, low=low)


IMAGES = partial(_frechet, ENOUGH, "images")
KERNEL = f"unbiased, cubic kernel, subsets of 1000, {SPARSE}"
E_FID = "Fréchet distance of the built-in model's 28 expression coefficients, every frame"
ORDER = 20
EXTRACTORS = (
    FrameExtractor("inception", describe_inception, _open_inception, batch=4, every=EVERY),
    TrackExtractor("expression", _expression_judge, _open_expression),
)
ENTRIES = {
    "fid": _entry(
        "inception",
        "pool3",
        (_column("fid", "FID", 2, f"pytorch-fid's network and formula on crops, {SPARSE}"), IMAGES),
        (_column("kid", "KID", 4, KERNEL, None), _kid),
    ),
    "fid_face": _entry(
        "face_sface",
        "embedding",
        (_column("fid_face", "FID (SFace)", 2, f"FID of face embeddings, {SPARSE}"), IMAGES),
        (_column("kid_face", "KID (SFace)", 4, f"KID of face embeddings, {SPARSE}", None), _kid),
    ),
    "e_fid": _entry(
        "expression",
        "exp",
        (_column("e_fid", "E-FID", 3, E_FID), partial(_frechet, ENOUGH_EXPRESSIONS, "frames")),
    ),
}
