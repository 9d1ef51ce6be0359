"""What the refinement adds to the geometric renderer: the same clips by both, on people who were
held out, and what it costs.
 ``python -m research.refined [--data SHARDS] [--split test] [--weights DIR ...] [--sheet
FILE.png]``. Without ``--data`` only the speed is measured, on scikit-image's astronaut; without
``--weights`` by the shipped weights, or where there are none by an untrained network. Scores are
those of the comparison of renderers (:mod:`benchmarks.compare`), with the eyes' beside the lips';
perceptual distances are of face and lips alone. Flicker is the mean second difference in time of
the face's pixels, over the true video's. The sheet shows portrait, truth, geometry, and for each
set of weights its frame and its mask.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import skimage.data
import torch

from benchmarks._compare_clips import Clip, read_clips
from benchmarks._compare_scores import Distance, Judging, TrackedVideo, landmarks, regions
from emo_lightning.core.errors import UserError
from emo_lightning.face.builtin import BuiltinFaceModel
from emo_lightning.face.coefficients import BUILTIN, EXP_NAMES, Coefficients
from emo_lightning.face.crop import crop_box, crop_image, to_crop
from emo_lightning.face.landmarks import open_landmarker
from emo_lightning.face.portrait import Portrait, make_portrait
from emo_lightning.models.checkpoint_io import SHIPPED, export
from emo_lightning.models.renderer.refiner import Refiner, RefinerConfig
from emo_lightning.renderers.mesh.geometry import topology
from emo_lightning.renderers.mesh.geometry.coordinates import Pose
from emo_lightning.renderers.refined.conditioning import frame_inputs
from emo_lightning.renderers.refined.renderer import FILE, RefinedRenderer
from emo_lightning.renderers.registry import create
from evaluation.judges.image_networks import open_lpips, open_st_lpips
from evaluation.metrics.psnr import from_squared_error, squared_error
from evaluation.metrics.ssim import ssim

SIZES, FRAMES = (256, 512), 20
EYES_MARGIN = 0.06
"""Crop units around the lids' landmarks that count as eyes."""
PERCEIVED = {"face": 160, "lips": 64}
"""Pixels to which a region is brought for the perceptual distances."""
EDGE, WIDE, TALL = 6, 290, 320
"""Pixels: around the face on the sheet, and of each picture on it."""
SHOWN = 3
"""Frames of each clip on the sheet: those whose eyes, mouth and brows differ most from the
portrait's.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m research.refined", description=__doc__.splitlines()[0]
    )
    folders = "shard sets with video, joined by commas"
    parser.add_argument(
        "--data", type=lambda text: [Path(part) for part in text.split(",")], help=folders
    )
    parser.add_argument("--split", default="test", help="splits, joined by commas (default test)")
    parser.add_argument(
        "--weights",
        type=Path,
        nargs="*",
        default=[],
        help="folders with refiner.safetensors; a row each",
    )
    parser.add_argument(
        "--frames", type=int, default=100, help="of each clip at most (default 100)"
    )
    parser.add_argument("--clips", type=int, default=2, help="of each person at most (default 2)")
    parser.add_argument("--sheet", type=Path, help="picture to write")
    parser.add_argument(
        "--no-speed", dest="speed", action="store_false", help="leave the speed out"
    )
    given = parser.parse_args(list(arguments))
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        places = given.weights or [
            SHIPPED if (SHIPPED / FILE).is_file() else untrained(Path(folder))
        ]
        if given.data:
            torch.set_num_threads(1)
            quality(
                read_clips(given.data, given.split.split(","), given.frames, given.clips),
                places,
                given.contact_sheet,
            )
        if given.speed:
            speed(places[0])


def untrained(folder: Path) -> Path:
    """A folder with a network as it is before training."""
    config = RefinerConfig()
    export(
        folder / FILE,
        Refiner(config, BUILTIN),
        {"stage": 3, "product": "refiner", "model": vars(config), "layout": BUILTIN.to_dict()},
    )
    return folder


def quality(clips: Sequence[Clip], places: Sequence[Path], sheet: Path | None) -> None:
    """Scores of geometry and of each set of weights, a mean over clips."""
    renderers = {str(place.name): RefinedRenderer(place) for place in places}
    judging, distances = Judging(), judges()
    scores: dict[str, list[dict[str, float]]] = {name: [] for name in ("mesh", *renderers)}
    strips = []
    for clip in clips:
        frames = clip.frames(clip.side)
        portrait, truth = clip.portrait(frames), judging.watch(frames[1:])
        drawn, masks = (
            {
                "mesh": list(
                    create("mesh").render(create("mesh").prepare(portrait), clip.coefficients)
                )
            },
            {},
        )
        for name, renderer in renderers.items():
            drawn[name], masks[name] = refined(renderer, portrait, clip.coefficients)
        for name, made in drawn.items():
            video = judging.watch(np.stack(made[1:]))
            scores[name].append(compare(video, truth, distances) | landmarks(video, truth))
        for t in striking(clip):
            row = [frames[0], frames[t], drawn["mesh"][t]]
            for name in renderers:
                row += [
                    drawn[name][t],
                    np.repeat((255 * masks[name][t])[..., None], 3, axis=2).astype(np.uint8),
                ]
            strips.append(np.concatenate([close(picture, truth, t - 1) for picture in row], axis=1))
        print(
            clip.key,
            {name: round(found[-1]["psnr face"], 2) for name, found in scores.items()},
            flush=True,
        )
    judging.close()
    table(scores)
    if sheet is not None:
        cv2.imwrite(str(sheet), np.concatenate(strips)[..., ::-1])


def close(picture: np.ndarray, truth: TrackedVideo, frame: int) -> np.ndarray:
    """The face alone, as large as the sheet shows it."""
    rows, columns = regions(truth, frame)["_face"]
    wide = cv2.copyMakeBorder(picture, *(EDGE,) * 4, cv2.BORDER_REPLICATE)
    part = wide[rows.start : rows.stop + 2 * EDGE, columns.start : columns.stop + 2 * EDGE]
    width = min(WIDE, round(TALL / part.shape[0] * part.shape[1]))
    part = cv2.resize(part, (width, TALL), interpolation=cv2.INTER_CUBIC)
    return cv2.copyMakeBorder(part, 0, 0, 0, WIDE - part.shape[1], cv2.BORDER_CONSTANT)


def judges() -> dict[str, Distance]:
    """Perceptual distances whose weights are here."""
    found: dict[str, Distance] = {}
    for name, make in (
        ("ST-LPIPS", open_st_lpips),
        ("LPIPS", lambda: open_lpips("alex")),
    ):
        with contextlib.suppress(UserError):
            found[name] = make().distance
    return found


def refined(
    renderer: RefinedRenderer, portrait: Portrait, moving: Coefficients
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Frames and masks."""
    source, frames, masks = renderer.prepare(portrait), [], []
    for t in range(len(moving)):
        exp = moving["exp"][t]
        shape = source.mesh.retarget.vertices(exp, moving["id"][t])
        frame, mask = renderer.refine(
            source, frame_inputs(source.mesh, source.side, shape, Pose.of(moving, t), exp)
        )
        frames.append(frame)
        masks.append(mask)
    return frames, masks


def compare(
    video: TrackedVideo, truth: TrackedVideo, distances: dict[str, Distance]
) -> dict[str, float]:
    """PSNR and SSIM of face, lips and eyes, perceptual distances of face and lips, flicker of the
    face.
    """
    found: dict[str, list[float]] = {}
    for t in np.flatnonzero(truth.seen):
        boxes = {part.removeprefix("_"): box for part, box in regions(truth, t).items() if part} | {
            "eyes": eyes(truth, t)
        }
        for part, (rows, columns) in boxes.items():
            a, b = (batch(one.frames[t, rows, columns]) for one in (video, truth))
            found.setdefault(f"error {part}", []).append(float(squared_error(a, b)))
            found.setdefault(f"ssim {part}", []).append(float(ssim(a, b)))
            if part in PERCEIVED and t % 5 == 0:
                pair = [
                    batch(cv2.resize(one.frames[t, rows, columns], (PERCEIVED[part],) * 2))
                    for one in (video, truth)
                ]
                for name, judge in distances.items():
                    found.setdefault(f"{name} {part}", []).append(float(judge(*pair)))
    means = {name: float(np.mean(values)) for name, values in found.items()}
    psnr = {
        name.replace("error", "psnr"): float(from_squared_error(torch.tensor(v)))
        for name, v in means.items()
        if name[:5] == "error"
    }
    rows, columns = regions(truth, int(np.flatnonzero(truth.seen)[0]))["_face"]
    shakes = [
        np.abs(np.diff(one.frames[:, rows, columns].astype(np.float32), 2, axis=0)).mean()
        for one in (video, truth)
    ]
    return (
        psnr
        | {name: v for name, v in means.items() if name[:5] != "error"}
        | {"flicker": float(shakes[0] / shakes[1])}
    )


def eyes(truth: TrackedVideo, frame: int) -> tuple[slice, slice]:
    """Rows and columns of both eyes with their lids."""
    rows = np.concatenate([np.concatenate(pair) for pair in (*topology.EYES, *topology.LID_ROWS)])
    points, size = truth.track.in_crop[frame, rows, :2], truth.frames.shape[1]
    ends = (points.min(axis=0) - EYES_MARGIN, points.max(axis=0) + EYES_MARGIN)
    low, high = (np.clip((v + 1) * size / 2, 0, size).astype(int) for v in ends)
    return slice(low[1], max(high[1], low[1] + 11)), slice(low[0], max(high[0], low[0] + 11))


def striking(clip: Clip) -> list[int]:
    """Frames far from the portrait and from each other in eyes, mouth and brows."""
    exp = clip.coefficients["exp"]
    chosen = [0]
    for _ in range(SHOWN):
        chosen.append(
            int(np.abs(exp[:, None] - exp[None, chosen]).sum(axis=2).min(axis=1).argmax())
        )
    return chosen[1:]


def batch(image: np.ndarray) -> torch.Tensor:
    """``(1, 3, H, W)`` uint8."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None]


def table(scores: dict[str, list[dict[str, float]]]) -> None:
    """Means over clips, and after the first row in how many clips each is better than the first."""
    columns = [name for name in next(iter(scores.values()))[0] if not name.startswith("csim")]
    print("\n| | " + " | ".join(columns) + " |\n|---|" + "---|" * len(columns))
    first = next(iter(scores.values()))
    for name, found in scores.items():
        cells = []
        for column in columns:
            up = 1 if column[:4] in ("psnr", "ssim") else -1
            better = sum(
                up * (a[column] - b[column]) > 0 for a, b in zip(found, first, strict=True)
            )
            mean = np.nanmean([each[column] for each in found])
            cells.append(
                f"{mean:.2f}"
                if column[:4] == "psnr" or "error" in column or column == "flicker"
                else f"{mean:.4f}"
            )
            cells[-1] += "" if found is first else f" ({better}/{len(found)})"
        print(f"| {name} | " + " | ".join(cells) + " |")


def speed(place: Path) -> None:
    """Milliseconds a frame by size, the median of several, and the peak of memory; both renderers
    keep to one thread.
    """
    print(
        "\n| ms a frame | "
        + " | ".join(f"{size} px" for size in SIZES)
        + " |\n|---|"
        + "---|" * len(SIZES)
    )
    picture, landmarker = skimage.data.astronaut(), open_landmarker(max_faces=1)
    points = landmarker.detect(picture)[0].points
    landmarker.close()
    box = crop_box(points)
    renderers = {"mesh": create("mesh"), "refined": create("refined", place)}
    cells: dict[str, list[str]] = {name: [] for name in renderers}
    for size in SIZES:
        portrait = make_portrait(
            crop_image(picture, box, size), to_crop(points, box), BuiltinFaceModel.load()
        )
        moving = talk(portrait.coefficients)
        for name, renderer in renderers.items():
            cells[name].append(f"{clock(renderer, portrait, moving):.1f}")
    for name, row in cells.items():
        print(f"| {name} | " + " | ".join(row) + " |")
    print(
        f"\npeak memory of this process "
        f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB"
    )


def talk(own: Coefficients) -> Coefficients:
    """A head that turns, speaks and blinks."""
    time_ = np.arange(FRAMES)[:, None] / 25.0
    exp = np.repeat(own["exp"], FRAMES, axis=0)
    for unit, rate in (
        ("AU26", 3.0),
        ("AU12_L", 0.5),
        ("AU12_R", 0.5),
        ("AU45_L", 1.0),
        ("AU45_R", 1.0),
    ):
        exp[:, EXP_NAMES.index(unit)] += 0.3 * (1.0 - np.cos(2 * np.pi * rate * time_[:, 0]))
    turn = 0.08 * np.sin(2 * np.pi * np.array([0.3, 0.5, 0.2]) * time_)
    return own.frames(np.zeros(FRAMES, int)).replace(
        exp=exp, angle=(own["angle"] + turn).astype(np.float32)
    )


def clock(renderer: object, portrait: Portrait, moving: Coefficients) -> float:
    """Median milliseconds a frame."""
    source = renderer.prepare(portrait)
    next(iter(renderer.render(source, moving)))
    spent = []
    for t in range(len(moving)):
        start = time.perf_counter()
        next(iter(renderer.render(source, moving.frames(slice(t, t + 1)))))
        spent.append(time.perf_counter() - start)
    return 1e3 * float(np.median(spent))


if __name__ == "__main__":
    main()
