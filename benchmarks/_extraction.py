"""Preprocessing: frames/s of one core by part of the work, and of two workers against one."""

from __future__ import annotations

import shutil
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from skimage.data import astronaut

from datamodules.preprocessing.extraction import Extraction, Extractor
from datamodules.preprocessing.pipeline import preprocess
from datamodules.sources import Clip, open_source
from emo_lightning.core import assets
from emo_lightning.core.constants import FPS
from emo_lightning.face.landmarks import Face, LandmarkBackend, native_stderr_closed
from emo_lightning.media.video_reader import write_video

FRAMES = 125
SIZES = ((256, 256), (512, 512), (1920, 1080))
PARTS = (
    "probe",
    "sound",
    "decode",
    "detect",
    "landmarks",
    "crop",
    "fit",
    "texture",
    "quality",
    "encode",
)
CLOCKS: tuple[tuple[str, Callable[[], float]], ...] = (
    ("wall", time.perf_counter),
    ("CPU", time.process_time),
)


def parts(folder: Path, videos: Sequence[Path] = ()) -> None:
    """Milliseconds a frame of each part in one process, on the wall and of processor time.

    The library finds and follows landmarks in one call, so ``detect`` is an estimate: its detector alone on the same
    pictures; ``landmarks`` is the rest of the call.
    """
    extractor = Extractor("benchmark")
    kept = extractor.landmarker = Kept(extractor.landmarker)
    for width, height in SIZES:
        write_video(folder / f"{width}x{height}.mp4", moving(width, height), noise())
    extractor.extract(Clip("warm", folder / "256x256.mp4", "s"))
    print(
        "preprocessing, one process; ms a frame (detect: the detector alone on the same pictures, landmarks: the rest)"
    )
    print(
        f"{'input':>16} {'clock':>5} {'frames/s':>8} {'Mbit/s':>6}  "
        + " ".join(f"{part:>9}" for part in PARTS)
    )
    for path in [folder / f"{width}x{height}.mp4" for width, height in SIZES] + list(videos):
        for name, clock in CLOCKS:
            kept.pictures.clear()
            extractor.clock = clock
            begin = clock()
            result = extractor.extract(Clip("clip", path, "s"))
            seconds = clock() - begin
            if not result.samples:
                print(
                    f"{path.stem[-16:]:>16} {', '.join(failure.reason for failure in result.failures)}"
                )
                break
            cost = by_part(result, detector_seconds(kept.pictures, clock))
            rate = path.stat().st_size * 8 / 1e6 / (result.frames / FPS)
            row = " ".join(f"{1000 * cost[part]:9.2f}" for part in PARTS)
            print(
                f"{path.stem[-16:]:>16} {name:>5} {result.frames / seconds:8.1f} {rate:6.2f}  {row}",
                flush=True,
            )
    kept.close()


class Kept:
    """A landmark back-end that keeps some of the pictures it is shown."""

    LIMIT = 60

    def __init__(self, backend: LandmarkBackend) -> None:
        self.name, self._backend = backend.name, backend
        self.pictures: list[np.ndarray] = []

    def detect(self, image: np.ndarray) -> list[Face]:
        if len(self.pictures) < self.LIMIT:
            self.pictures.append(image)
        return self._backend.detect(image)

    def close(self) -> None:
        self._backend.close()


def by_part(result: Extraction, detect: float) -> dict[str, float]:
    """Seconds a frame of each part."""
    cost = {part: result.seconds[part] / result.frames for part in PARTS}
    return cost | {"detect": detect, "landmarks": cost["landmarks"] - detect}


def detector_seconds(pictures: Sequence[np.ndarray], clock: Callable[[], float]) -> float:
    """Seconds that the landmarker's own face detector takes for a picture."""
    import mediapipe
    from mediapipe.tasks.python import vision
    from mediapipe.tasks.python.core.base_options import BaseOptions

    with zipfile.ZipFile(assets.locate("face_landmarker")) as bundle:
        options = vision.FaceDetectorOptions(
            base_options=BaseOptions(model_asset_buffer=bundle.read("face_detector.tflite"))
        )
    images = [
        mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(picture))
        for picture in pictures
    ]
    with native_stderr_closed(), vision.FaceDetector.create_from_options(options) as detector:
        detector.detect(images[0])
        begin = clock()
        for image in images:
            detector.detect(image)
        return (clock() - begin) / len(images)


def scaling(folder: Path, videos: int) -> None:
    """Frames/s of the whole command with one worker and with two; what starting takes is told apart.

    Starting is the time of the same command for as many clips as it has workers, of ten frames each.
    """
    short, long = folder / "short", folder / "long"
    short.mkdir()
    long.mkdir()
    write_video(short / "0.mp4", moving(256, 256)[:10], noise()[:6400])
    shutil.copy(short / "0.mp4", short / "1.mp4")
    for number in range(videos):
        shutil.copy(folder / "1920x1080.mp4", long / f"{number}.mp4")
    frames = videos * FRAMES
    print(
        f"\n{'workers':>8}  {'frames/s':>8}  {'after start':>11}  {'start, s':>8}   ({videos} videos of 1920x1080, {frames} frames)"
    )
    rates = []
    for workers in (1, 2):
        start = _timed(short, folder / f"short-{workers}", workers)
        seconds = _timed(long, folder / f"long-{workers}", workers)
        rates.append((frames / seconds, frames / max(seconds - start, 1e-9)))
        print(f"{workers:8d}  {rates[-1][0]:8.1f}  {rates[-1][1]:11.1f}  {start:8.2f}", flush=True)
    print(f"{'2 : 1':>8}  {rates[1][0] / rates[0][0]:8.2f}  {rates[1][1] / rates[0][1]:11.2f}")


def _timed(root: Path, out: Path, workers: int) -> float:
    begin = time.perf_counter()
    preprocess(open_source("folder", root), out, workers=workers)
    return time.perf_counter() - begin


def noise() -> np.ndarray:
    return 0.1 * np.random.default_rng(0).standard_normal(FRAMES * 640).astype(np.float32)


def moving(width: int, height: int) -> list[np.ndarray]:
    """A photograph of a person that drifts and nods, filling the frame's height."""
    picture, zoom, frames = astronaut()[:400, 30:430], height / 400, []
    for t in range(FRAMES):
        turn = cv2.getRotationMatrix2D((200, 260), 4 * np.sin(t / 11), 1.0 + 0.04 * np.sin(t / 17))
        turn = zoom * turn + np.array(
            [[0, 0, (width - height) / 2 + 0.05 * height * np.sin(t / 9)], [0, 0, 0.0]]
        )
        frame = cv2.warpAffine(
            picture, turn, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
        )
        frames.append(frame)
    return frames
