"""Image quality and identity: PSNR, SSIM, LPIPS, ST-LPIPS, sharpness (CPBD) and CSIM."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from emo_lightning.losses.perceptual_backbones import LPIPS_NETS
from evaluation.judges import face_embedding
from evaluation.judges.base import JudgeInfo
from evaluation.judges.face_embedding import DlibFaceJudge, FaceEmbeddingJudge
from evaluation.judges.image_networks import (
    describe_lpips,
    describe_st_lpips,
    open_lpips,
    open_st_lpips,
)
from evaluation.metrics.cpbd import cpbd, grey
from evaluation.metrics.csim import csim
from evaluation.metrics.psnr import CAP, from_squared_error, squared_error
from evaluation.metrics.ssim import ssim
from evaluation.protocol import NotScored
from evaluation.records import MetricColumn, Scores
from evaluation.suite.base import (
    ClipMetric,
    EvaluatedClip,
    FrameExtractor,
    FrameFunction,
    FrameMetric,
)

EVERY = 5
"""Networks process five frames a second."""
SPARSE = "every 5th frame"
SLOW_EVERY = 10
"""ST-LPIPS's small strides cost more than all other networks of the suite together."""


def _psnr(mean_squared_error: float) -> float:
    return float(from_squared_error(torch.tensor(mean_squared_error)))


def _sharpness(device: torch.device) -> FrameFunction:
    del device

    def extract(crops: np.ndarray, points: np.ndarray) -> dict[str, np.ndarray]:
        del points
        frames = torch.from_numpy(np.ascontiguousarray(crops.transpose(0, 3, 1, 2)))
        return {"cpbd": np.array([cpbd(image) for image in grey(frames)])}

    return extract


def _face_embedding(network: str, device: torch.device) -> FrameFunction:
    del device
    judge = DlibFaceJudge() if network == "dlib" else FaceEmbeddingJudge(network)
    return lambda crops, points: {"embedding": judge.embed_faces(crops, points)}


def _cpbd(clip: EvaluatedClip, reference: EvaluatedClip | None) -> Scores:
    del reference
    values = clip.features("sharpness")["cpbd"]
    if np.isnan(values).all():
        raise NotScored("no frame has an edge")
    return Scores({"cpbd": float(np.nanmean(values))})


def _csim(
    column: str, extractor: str, clip: EvaluatedClip, reference: EvaluatedClip | None
) -> Scores:
    if reference is None:
        raise NotScored("no reference")
    sides = [c.features(extractor)["embedding"] for c in (clip, reference)]
    shared = min(map(len, sides))
    both = np.isfinite(sides[0][:shared, 0]) & np.isfinite(sides[1][:shared, 0])
    if not both.any():
        raise NotScored("no moment shows a face in both clips")
    faces = (torch.from_numpy(side[:shared][both]) for side in sides)
    return Scores({column: float(csim(*faces).mean())})


def _lpips(net: str, name: str, label: str) -> FrameMetric:
    column = MetricColumn(name, label, f"LPIPS 0.1 on {LPIPS_NETS[net]}, {SPARSE}", False)
    judge = partial(describe_lpips, net)
    return FrameMetric(
        column, lambda device: open_lpips(net, device).distance, judge=judge, every=EVERY
    )


def _identity(network: str, label: str, remark: str = "") -> ClipMetric:
    name = "csim" if network == "sface" else f"csim_{network}"
    about = f"cosine similarity of face embeddings, {SPARSE}{remark}"
    column = MetricColumn(name, label, about, True, "identity", low=-1.0, high=1.0)
    extractor = f"face_{network}"
    return ClipMetric((column,), partial(_csim, name, extractor), needs=(extractor,))


ORDER = 10
EXTRACTORS = (
    FrameExtractor(
        "sharpness", lambda: JudgeInfo("cpbd", None, "arithmetic on edges"), _sharpness, every=EVERY
    ),
    *(
        FrameExtractor(
            f"face_{network}",
            partial(face_embedding.describe, network),
            partial(_face_embedding, network),
            every=EVERY,
        )
        for network in ("sface", "arcface", "dlib")
    ),
)
PSNR = MetricColumn(
    "psnr",
    "PSNR",
    f"pooled over the clip's frames, at most {CAP:.1f} dB (8-bit rounding)",
    True,
    unit="dB",
    decimals=2,
    high=CAP,
)
SSIM = MetricColumn(
    "ssim", "SSIM", "Gaussian window 11, sigma 1.5, mean over frames", True, low=-1.0, high=1.0
)
ST_LPIPS = MetricColumn(
    "st_lpips", "ST-LPIPS", f"shift-tolerant LPIPS, every {SLOW_EVERY}th frame", False
)
CPBD = MetricColumn(
    "cpbd", "CPBD", f"share of edges without visible blur, {SPARSE}", True, high=1.0
)
ENTRIES = {
    "psnr": FrameMetric(PSNR, lambda device: squared_error, _psnr),
    "ssim": FrameMetric(SSIM, lambda device: ssim),
    "lpips": _lpips("alex", "lpips", "LPIPS"),
    "lpips_vgg": _lpips("vgg", "lpips_vgg", "LPIPS (VGG)"),
    "lpips_squeeze": _lpips("squeeze", "lpips_squeeze", "LPIPS (SqueezeNet)"),
    "st_lpips": FrameMetric(
        ST_LPIPS,
        lambda device: open_st_lpips(device).distance,
        judge=describe_st_lpips,
        every=SLOW_EVERY,
    ),
    "cpbd": ClipMetric((CPBD,), _cpbd, needs=("sharpness",), needs_reference=False),
    "csim": _identity("sface", "CSIM (SFace)"),
    "csim_arcface": _identity("arcface", "CSIM (ArcFace)"),
    "csim_dlib": _identity("dlib", "CSIM (dlib)", "; two people reach about .85"),
}
