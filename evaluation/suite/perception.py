"""What a viewer would see: learned distances from the reference, sharpness, and whether it is still the same person."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from evaluation.judges import dlib_face, face_embedding, lpips_net, st_lpips_net
from evaluation.judges.base import JudgeInfo
from evaluation.judges.dlib_face import DlibFaceJudge
from evaluation.judges.face_embedding import FaceEmbeddingJudge
from evaluation.judges.lpips_net import LpipsJudge
from evaluation.judges.st_lpips_net import STLpipsJudge
from evaluation.metrics.cpbd import cpbd, grey
from evaluation.metrics.csim import csim
from evaluation.protocol import NotScored
from evaluation.records import Column, Scores
from evaluation.suite.base import Clip, ClipMetric, FrameExtractor, FrameFunction, FrameMetric

EVERY = 5
"""Networks look at five frames a second."""
SPARSE = "every 5th frame"
SLOW_EVERY = 10
"""ST-LPIPS's small strides cost more than all other networks of the suite together."""


def _sharpness(device: torch.device) -> FrameFunction:
    del device

    def look(crops: np.ndarray, points: np.ndarray) -> dict[str, np.ndarray]:
        del points
        frames = torch.from_numpy(np.ascontiguousarray(crops.transpose(0, 3, 1, 2)))
        return {"cpbd": np.array([cpbd(image) for image in grey(frames)])}

    return look


def _faces(network: str, device: torch.device) -> FrameFunction:
    del device
    judge = FaceEmbeddingJudge(network)
    return lambda crops, points: {"embedding": judge.look(crops, points)}


def _dlib(device: torch.device) -> FrameFunction:
    del device
    judge = DlibFaceJudge()
    return lambda crops, points: {"embedding": judge.look(crops, points)}


def _cpbd(clip: Clip, reference: Clip | None) -> Scores:
    del reference
    values = clip.features("sharpness")["cpbd"]
    if np.isnan(values).all():
        raise NotScored("no frame has an edge")
    return Scores({"cpbd": float(np.nanmean(values))})


def _csim(column: str, extractor: str, clip: Clip, reference: Clip | None) -> Scores:
    if reference is None:
        raise NotScored("no reference")
    sides = [c.features(extractor)["embedding"] for c in (clip, reference)]
    shared = min(map(len, sides))
    both = np.isfinite(sides[0][:shared, 0]) & np.isfinite(sides[1][:shared, 0])
    if not both.any():
        raise NotScored("no moment shows a face in both clips")
    return Scores(
        {column: float(csim(*(torch.from_numpy(side[:shared][both]) for side in sides)).mean())}
    )


def _distance(net: str, name: str, label: str) -> FrameMetric:
    column = Column(
        name, label, "", False, None, 3, f"LPIPS 0.1 on {lpips_net.TRUNKS[net]}, {SPARSE}", 0.0
    )
    return FrameMetric(
        column,
        lambda device: LpipsJudge(net, device).distance,
        judge=partial(lpips_net.describe, net),
        every=EVERY,
    )


def _identity(network: str, label: str, remark: str = "") -> ClipMetric:
    name = "csim" if network == "sface" else f"csim_{network}"
    about = f"cosine similarity of face embeddings, {SPARSE}{remark}"
    column = Column(name, label, "", True, None, 3, about, -1.0, 1.0, "identity")
    return ClipMetric(
        (column,), partial(_csim, name, f"face_{network}"), needs=(f"face_{network}",)
    )


ORDER = 15
EXTRACTORS = (
    FrameExtractor(
        "sharpness", lambda: JudgeInfo("cpbd", None, "arithmetic on edges"), _sharpness, every=EVERY
    ),
    FrameExtractor(
        "face_sface",
        partial(face_embedding.describe, "sface"),
        partial(_faces, "sface"),
        every=EVERY,
    ),
    FrameExtractor(
        "face_arcface",
        partial(face_embedding.describe, "arcface"),
        partial(_faces, "arcface"),
        every=EVERY,
    ),
    FrameExtractor("face_dlib", dlib_face.describe, _dlib, every=EVERY),
)
ENTRIES = {
    "lpips": _distance("alex", "lpips", "LPIPS"),
    "lpips_vgg": _distance("vgg", "lpips_vgg", "LPIPS (VGG)"),
    "lpips_squeeze": _distance("squeeze", "lpips_squeeze", "LPIPS (SqueezeNet)"),
    "st_lpips": FrameMetric(
        Column(
            "st_lpips",
            "ST-LPIPS",
            "",
            False,
            None,
            3,
            f"shift-tolerant LPIPS on its own AlexNet, every {SLOW_EVERY}th frame",
            0.0,
        ),
        lambda device: STLpipsJudge(device).distance,
        judge=st_lpips_net.describe,
        every=SLOW_EVERY,
    ),
    "cpbd": ClipMetric(
        (
            Column(
                "cpbd",
                "CPBD",
                "",
                True,
                None,
                3,
                f"share of edges without visible blur, {SPARSE}",
                0.0,
                1.0,
            ),
        ),
        _cpbd,
        needs=("sharpness",),
        needs_reference=False,
    ),
    "csim": _identity("sface", "CSIM (SFace)"),
    "csim_arcface": _identity("arcface", "CSIM (ArcFace)"),
    "csim_dlib": _identity("dlib", "CSIM (dlib)", "; two people reach about .85"),
}
