"""Speed of the geometric renderer by part, and how well it re-enacts real videos.

``python -m benchmarks renderer [FOLDER|VIDEO ...] [--frames 50]``. Without videos only speed and steadiness are measured, on
scikit-image's astronaut: a still track must give one frame again and again, a smooth one no frame that stands out. With
them, the first frame of each is animated by the coefficients of the others and compared with the true frames: PSNR and SSIM
of face and lips, landmark error of face and lips in percent of the distance between
the outer eye corners. Rows: the still portrait, head pose alone, the mesh, and the landmarks themselves, which no
coefficients can beat.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import skimage.data
from skimage.metrics import structural_similarity

from emo_lightning.face.builtin import LIPS, BuiltinFaceModel
from emo_lightning.face.coefficients import EXP_NAMES, Coefficients
from emo_lightning.face.crop import crop_box, crop_image, to_crop
from emo_lightning.face.landmarks import LandmarkBackend, open_landmarker
from emo_lightning.face.portrait import Portrait, make_portrait
from emo_lightning.media.video_reader import iter_frames
from emo_lightning.renderers.base import create
from emo_lightning.renderers.mesh.eyes import eyelids
from emo_lightning.renderers.mesh.geometry import topology
from emo_lightning.renderers.mesh.geometry.coordinates import Pose, pixels
from emo_lightning.renderers.mesh.geometry.raster import soften
from emo_lightning.renderers.mesh.mouth import mouth
from emo_lightning.renderers.mesh.renderer import HIDDEN, MeshRenderer, Source, draw, remap

SIZE = 256
STEP = 4
SUFFIXES = {".mp4", ".mov", ".avi", ".mkv", ".webm"}


def main(arguments: Sequence[str] = ()) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks renderer", description=__doc__.splitlines()[0]
    )
    parser.add_argument("videos", nargs="*", type=Path, help="folders or files")
    parser.add_argument(
        "--frames", type=int, default=50, help="frames of each video, every fourth is taken"
    )
    options = parser.parse_args(list(arguments))
    cv2.setNumThreads(1)
    landmarker = open_landmarker(max_faces=1)
    speed(landmarker)
    files = [
        f
        for v in options.videos
        for f in (sorted(v.rglob("*")) if v.is_dir() else [v])
        if f.suffix.lower() in SUFFIXES
    ]
    for path in files:
        reenact(path, options.frames, landmarker)
    landmarker.close()


def speed(landmarker: LandmarkBackend) -> None:
    """Milliseconds a frame by part, best of several, at 256 and 512."""
    picture, renderer = skimage.data.astronaut(), create("mesh")
    assert isinstance(renderer, MeshRenderer)
    points = landmarker.detect(picture)[0].points
    box = crop_box(points)
    print(f"{'part, ms':>14}" + "".join(f"{size:>9}" for size in (256, 512)))
    table, steady = {}, {}
    for size in (256, 512):
        portrait = make_portrait(
            crop_image(picture, box, size), to_crop(points, box), renderer.model
        )
        table[size] = _parts(renderer, portrait)
        steady[size] = steadiness(renderer, portrait)
    for part in table[256]:
        print(f"{part:>14}" + "".join(f"{table[size][part]:>9.2f}" for size in table))
    print("\nsteadiness, grey levels")
    for name in steady[256]:
        print(f"{name:>34}" + "".join(f"{steady[size][name]:>9.3f}" for size in steady))


def _parts(renderer: MeshRenderer, portrait: Portrait) -> dict[str, float]:
    source = renderer.prepare(portrait)
    moving = portrait.coefficients.replace(
        angle=portrait.coefficients["angle"] + np.array([0.05, 0.12, 0.03], np.float32)
    )
    exp = np.zeros(len(EXP_NAMES), np.float32)
    exp[[EXP_NAMES.index(n) for n in ("AU26", "AU12_L", "AU45_L", "AU45_R")]] = 0.5, 0.5, 0.6, 0.6
    moving, pose = moving.replace(exp=exp), Pose.of(moving, 0)
    vertices = source.retarget.vertices(exp)
    flow = source.warp.flow(vertices, pose)
    frame = remap(source.image, flow)
    jobs: dict[str, Callable[[], object]] = {
        "prepare": lambda: renderer.prepare(portrait),
        "vertices": lambda: source.retarget.vertices(exp),
        "flow": lambda: source.warp.flow(vertices, pose),
        "resample": lambda: remap(source.image, flow),
        "folds": lambda: source.wrinkles.lay(source.image, exp),
        "wall": lambda: source.layers.compose(frame, flow) if source.layers is not None else None,
        "edges": lambda: soften(frame, flow, HIDDEN * portrait.size),
        "mouth": lambda: mouth.draw(
            frame, source.image, source.mouth, vertices, pose, source.pose, 1.0
        ),
        "lids": lambda: eyelids.draw(frame, source.lids, source.retarget.rest, vertices, pose),
        "whole frame": lambda: next(renderer.render(source, moving)),
    }
    return {name: _best(job, 5 if name == "prepare" else 25) for name, job in jobs.items()}


def steadiness(renderer: MeshRenderer, portrait: Portrait) -> dict[str, float]:
    """How much a still track changes, and how evenly a smooth one of all units and the head's pose does."""
    source, count = renderer.prepare(portrait), 75
    time_ = np.arange(count)[:, None] / 25.0
    rates = np.linspace(0.3, 0.9, len(EXP_NAMES))
    exp = 0.3 * (1.0 + np.sin(2 * np.pi * rates * time_ + 7.0 * rates))
    turn = np.radians([4.0, 6.0, 3.0]) * np.sin(2 * np.pi * np.array([0.3, 0.23, 0.4]) * time_)
    own = portrait.coefficients
    moving = own.frames(np.zeros(count, int)).replace(
        exp=exp.astype(np.float32), angle=(own["angle"] + turn).astype(np.float32)
    )
    frames = np.stack(list(renderer.render(source, moving))).astype(np.float32)
    still = np.stack(list(renderer.render(source, moving.frames(np.full(4, count // 2))))).astype(
        np.float32
    )
    change = np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2, 3))
    jolt = np.abs(np.diff(frames, 2, axis=0)).mean(axis=(1, 2, 3))
    return {
        "still: largest change": float(np.ptp(still, axis=0).max()),
        "smooth: mean change": float(change.mean()),
        "smooth: largest frame's / mean": float(change.max() / change.mean()),
        "smooth: mean second difference": float(jolt.mean()),
        "smooth: largest second / mean": float(jolt.max() / jolt.mean()),
    }


def _best(job: Callable[[], object], times: int) -> float:
    best = np.inf
    for _ in range(times):
        start = time.perf_counter()
        job()
        best = min(best, time.perf_counter() - start)
    return 1e3 * best


def reenact(path: Path, limit: int, landmarker: LandmarkBackend) -> None:
    """Print the four rows for one video."""
    pairs = [
        (f, d[0].points)
        for f in islice(iter_frames(path), 0, limit * STEP, STEP)
        if (d := landmarker.detect(f))
    ]
    box = crop_box(np.stack([p for _, p in pairs]))
    images = [crop_image(frame, box, SIZE) for frame, _ in pairs]
    points = np.stack([to_crop(p, box) for _, p in pairs])
    model, renderer = BuiltinFaceModel.load(), create("mesh")
    assert isinstance(renderer, MeshRenderer)
    fitted = model.fit(points).coefficients
    portrait = Portrait(images[0], points[0], fitted.frames(slice(0, 1)))
    source = renderer.prepare(portrait)
    still = [images[0]] * len(images)
    posed = list(renderer.render(source, fitted.replace(exp=fitted["exp"][0])))
    rows = {"still": still, "pose only": posed, "mesh": list(renderer.render(source, fitted))}
    rows["landmarks"] = [
        landmark_frame(source, points[t], fitted, t, model) for t in range(len(points))
    ]
    print(
        f"\n{path.name}: {len(images)} frames\n{'':>10}   face PSNR/SSIM  lips PSNR/SSIM  crop PSNR  face %  lips %"
    )
    for name, frames in rows.items():
        scores = np.nanmean(
            [
                score(f, i, p, landmarker)
                for f, i, p in zip(frames[1:], images[1:], points[1:], strict=True)
            ],
            axis=0,
        )
        face, face_ssim, lips, lips_ssim, whole, face_error, lips_error = scores
        print(
            f"{name:>10}  {face:9.2f}/{face_ssim:.3f}  {lips:8.2f}/{lips_ssim:.3f}  {whole:9.2f}{face_error:8.2f}{lips_error:8.2f}"
        )


def landmark_frame(
    source: Source, points: np.ndarray, fitted: Coefficients, frame: int, model: BuiltinFaceModel
) -> np.ndarray:
    """The portrait moved by tracked landmarks in place of coefficients."""
    pose = Pose.of(fitted, frame)
    depth = points[: topology.VERTICES].astype(np.float64).copy()
    depth[:, 2] -= (
        depth[:, 2] - model.project(fitted.frames(slice(frame, frame + 1)))[0, :, 2]
    ).mean()
    return draw(source, pose.undo(depth), pose, fitted["exp"][frame])


def score(
    frame: np.ndarray, truth: np.ndarray, points: np.ndarray, landmarker: LandmarkBackend
) -> tuple[float, ...]:
    """PSNR and SSIM of face and lips, PSNR of the whole, landmark error in % of the eye corners' distance."""
    face, lips = (
        _box(points[rows], margin) for rows, margin in ((topology.OVAL, 0.0), (list(LIPS), 0.06))
    )
    _, map_ = structural_similarity(frame, truth, channel_axis=2, full=True, data_range=255)
    values = [v for b in (face, lips) for v in (_psnr(frame[b], truth[b]), float(map_[b].mean()))]
    found = landmarker.detect(frame)
    if not found:
        return (*values, _psnr(frame, truth), np.nan, np.nan)
    true = pixels(points[: topology.VERTICES], SIZE)
    unit = np.linalg.norm(np.subtract(*true[list(topology.OUTER_EYE_CORNERS)]))
    error = 100.0 * np.linalg.norm(found[0].points[: topology.VERTICES, :2] - true, axis=1) / unit
    return (*values, _psnr(frame, truth), float(error.mean()), float(error[list(LIPS)].mean()))


def _box(points: np.ndarray, margin: float) -> tuple[slice, slice]:
    low, high = points[:, :2].min(axis=0) - margin, points[:, :2].max(axis=0) + margin
    (x0, y0), (x1, y1) = (np.clip(((v + 1) * SIZE / 2).astype(int), 0, SIZE) for v in (low, high))
    return slice(y0, y1), slice(x0, x1)


def _psnr(a: np.ndarray, b: np.ndarray) -> float:
    error = np.mean(np.square(a.astype(np.float64) - b))
    return float(10 * np.log10(255.0**2 / max(error, 1e-6)))


if __name__ == "__main__":
    main()
