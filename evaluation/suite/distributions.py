"""All frames of a system against all frames of its references: FID and KID of pictures and of faces, E-FID of expressions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from evaluation.judges import action_units, inception, landmarks
from evaluation.judges.base import JudgeInfo
from evaluation.judges.inception import InceptionJudge
from evaluation.judges.landmark_track import Track
from evaluation.metrics.bootstrap import standard_error
from evaluation.metrics.e_fid import ENOUGH as ENOUGH_EXPRESSIONS
from evaluation.metrics.e_fid import e_fid
from evaluation.metrics.fid import ENOUGH, fid
from evaluation.metrics.kid import ClipKernel, kid
from evaluation.records import Column, Estimate, SetResult
from evaluation.suite.base import (
    ClipSet,
    Features,
    FrameExtractor,
    FrameFunction,
    SetMetric,
    TrackExtractor,
)
from evaluation.suite.perception import EVERY, SPARSE

LIMIT = 10_000
"""Most pictures a side, so that memory does not grow with the number of clips; of more, evenly spaced ones are taken."""
DRAWS = ((512, 200), (2048, 50), (LIMIT, 20))
"""(up to so many pictures, draws of the bootstrap): each costs about the cube of the pictures."""


@dataclass(frozen=True)
class Pictures:
    """One side: features ``(N, D)``, the clips they come from in order, and how many each clip has; ``seen`` before any limit."""

    features: Tensor
    clips: list[str]
    sizes: list[int]
    seen: int

    def counted(self, drawn: np.ndarray) -> Tensor:
        """How often each picture counts when its clip was drawn so often: ``(N,)``."""
        return torch.from_numpy(np.repeat(drawn, self.sizes).astype(np.float64))


def gather(clips: ClipSet, extractor: str, array: str, by_reference: bool) -> Pictures | None:
    """A set's rows without those of frames that show no face; None where there are fewer than two.

    Args:
        clips: one system's clips.
        extractor, array: where the rows are.
        by_reference: call the clips by their reference's names, so that partners on the two sides are called alike.
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
        step = -(-seen // LIMIT)
        found = [rows[::step] for rows in found]
    if sum(map(len, found)) < 2:
        return None
    return Pictures(
        torch.from_numpy(np.concatenate(found)), names, [len(rows) for rows in found], seen
    )


def _compare(
    clips: ClipSet,
    extractor: str,
    array: str,
    columns: dict[str, Callable[[Pictures, Pictures], Estimate]],
) -> SetResult:
    """Estimates over the two sides, or why there are none."""
    if clips.reference is None:
        return SetResult(reasons=dict.fromkeys(columns, "compares with the reference"))
    sides = gather(clips, extractor, array, True), gather(clips.reference, extractor, array, False)
    if sides[0] is None or sides[1] is None:
        return SetResult(
            reasons=dict.fromkeys(columns, "fewer than two frames on a side could be looked at")
        )
    return SetResult(estimates={name: estimate(*sides) for name, estimate in columns.items()})


def _draws(a: Pictures, b: Pictures) -> int:
    most = max(len(a.features), len(b.features))
    return next((draws for size, draws in DRAWS if most <= size), DRAWS[-1][1])


def _estimate(
    value: float, std: float | None, a: Pictures, b: Pictures, enough: int, unit: str
) -> Estimate:
    few = min(len(a.features), len(b.features))
    flags = [f"{few:,} {unit}, fewer than {enough:,}"] if few < enough else []
    flags += [
        f"{len(side.features):,} of {side.seen:,} {unit} taken"
        for side in (a, b)
        if len(side.features) < side.seen
    ]
    interval = (value - 1.96 * std, value + 1.96 * std) if std is not None else None
    return Estimate(value, len(a.features), unit, std, interval, "; ".join(flags) or None)


def _frechet(
    distance: Callable[..., Tensor], enough: int, unit: str
) -> Callable[[Pictures, Pictures], Estimate]:
    def estimate(a: Pictures, b: Pictures) -> Estimate:
        def drawn(generated: np.ndarray, reference: np.ndarray) -> float:
            return float(
                distance(a.features, b.features, (a.counted(generated), b.counted(reference)))
            )

        std = standard_error(drawn, (a.clips, b.clips), _draws(a, b))
        return _estimate(float(distance(a.features, b.features)), std, a, b, enough, unit)

    return estimate


def _kid(a: Pictures, b: Pictures) -> Estimate:
    sums = ClipKernel(a.features, b.features, (a.sizes, b.sizes))
    std = standard_error(sums.mmd, (a.clips, b.clips))
    return _estimate(float(kid(a.features, b.features)), std, a, b, 0, "images")


def _pictures(clips: ClipSet) -> SetResult:
    return _compare(
        clips, "inception", "pool3", {"fid": _frechet(fid, ENOUGH, "images"), "kid": _kid}
    )


def _faces(clips: ClipSet) -> SetResult:
    return _compare(
        clips,
        "face_sface",
        "embedding",
        {"fid_face": _frechet(fid, ENOUGH, "images"), "kid_face": _kid},
    )


def _expressions(clips: ClipSet) -> SetResult:
    return _compare(
        clips, "expression", "exp", {"e_fid": _frechet(e_fid, ENOUGH_EXPRESSIONS, "frames")}
    )


def _open_inception(device: torch.device) -> FrameFunction:
    judge = InceptionJudge(device)

    def look(crops: np.ndarray, points: np.ndarray) -> Features:
        del points
        frames = torch.from_numpy(np.ascontiguousarray(crops.transpose(0, 3, 1, 2)))
        return {"pool3": judge.features(frames).cpu().numpy()}

    return look


def _open_expression(device: torch.device) -> Callable[[Track], Features]:
    del device
    return lambda track: {"exp": track.expression}


def _expression_judge() -> JudgeInfo:
    return action_units.describe(landmarks.describe())


def _column(name: str, label: str, decimals: int, about: str, low: float | None = 0.0) -> Column:
    return Column(name, label, "", False, None, decimals, about, low, family="distribution")


ORDER = 20
EXTRACTORS = (
    FrameExtractor("inception", inception.describe, _open_inception, batch=4, every=EVERY),
    TrackExtractor("expression", _expression_judge, _open_expression),
)
ENTRIES = {
    "fid": SetMetric(
        (
            _column("fid", "FID", 2, f"pytorch-fid's network and formula on crops, {SPARSE}"),
            _column("kid", "KID", 4, f"unbiased, cubic kernel, subsets of 1000, {SPARSE}", None),
        ),
        _pictures,
        needs=("inception",),
        needs_reference=True,
        still=True,
        about="±: 1.96 bootstrap standard errors over clips. FID is biased upwards, the more the fewer images there are; KID is not.",
    ),
    "fid_face": SetMetric(
        (
            _column("fid_face", "FID (SFace)", 2, f"the same formula on face embeddings, {SPARSE}"),
            _column(
                "kid_face", "KID (SFace)", 4, f"the same kernel on face embeddings, {SPARSE}", None
            ),
        ),
        _faces,
        needs=("face_sface",),
        needs_reference=True,
        still=True,
    ),
    "e_fid": SetMetric(
        (
            _column(
                "e_fid",
                "E-FID",
                3,
                "Fréchet distance of the built-in model's 28 expression coefficients, every frame",
            ),
        ),
        _expressions,
        needs=("expression",),
        needs_reference=True,
        still=True,
    ),
}
