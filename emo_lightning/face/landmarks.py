"""Face landmarks in one image: two back ends behind one interface.

``mediapipe`` (default) finds 478 points and 52 blendshapes, ``face-alignment`` 68 points. Both
treat each image alone, so the same image always has the same points.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import pickle
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from emo_lightning.core import assets
from emo_lightning.core.errors import UserError

# fmt: off
LANDMARKS_68: np.ndarray = np.array([
    162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389,
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300,
    168, 197, 5, 4, 75, 97, 2, 326, 305,
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181,
    78, 82, 13, 312, 308, 317, 14, 87,
])
"""Vertices of the MediaPipe topology that stand for the 68 points of iBUG 300-W, in its order."""
# fmt: on

BACKENDS = ("mediapipe", "face-alignment")
LONG_SIDE = 1024
"""Larger images are shrunk to this for detection; the network's input is 256 x 256."""
SHORT_SIDE = 256
"""Smaller images are enlarged to this: the detector misses faces of a few dozen pixels."""


@dataclass
class Face:
    """One face.

    Attributes:
        points: ``(478, 3)`` or ``(68, 3)`` float32 pixels: x right, y down, z into the scene in
            the unit of x; z = 0 throughout from a back end without depth.
        blendshapes: ``(52,)`` float32 0..1, or None.
        box: ``(4,)`` left, top, right, bottom of the points.
    """

    points: np.ndarray
    blendshapes: np.ndarray | None
    box: np.ndarray

    def moved(self, x: float, y: float, scale: float = 1.0) -> Face:
        """The face scaled, then shifted by (x, y) pixels."""
        points = np.float32(scale) * self.points + np.float32([x, y, 0])
        box = np.float32(scale) * self.box + np.float32([x, y, x, y])
        return Face(points, self.blendshapes, box)


class LandmarkBackend(Protocol):
    """A face and landmark detector."""

    name: str

    def detect(self, image: np.ndarray) -> list[Face]:
        """Faces in an ``(H, W, 3)`` uint8 RGB image, largest first; empty when there is none."""

    def close(self) -> None:
        """Free the networks; using the back end afterwards is an error."""


def open_landmarker(
    name: str = "mediapipe", max_faces: int = 2, model: str | Path | None = None
) -> LandmarkBackend:
    """Start a landmark back end.

    Args:
        name: ``mediapipe`` or ``face-alignment``.
        max_faces: most faces to return.
        model: file or folder of the network's weights; by default the registered asset of
            MediaPipe, and face-alignment's own download.

    Raises:
        UserError: unknown name, package missing or weights not available.
    """
    if name == "mediapipe":
        return MediaPipeLandmarker(max_faces, model)
    if name == "face-alignment":
        return FaceAlignmentLandmarker(max_faces, model)
    raise UserError("--landmarks", name, ", ".join(BACKENDS), "is not a landmark back end")


def to_68(points: np.ndarray) -> np.ndarray:
    """The 68 of ``(..., 478|468|68, D)`` points, ``(..., 68, D)``."""
    return points if points.shape[-2] == 68 else points[..., LANDMARKS_68, :]


class MediaPipeLandmarker:
    """MediaPipe's face landmarker, tasks API, still-image mode."""

    name = "mediapipe"

    def __init__(self, max_faces: int = 2, model: str | Path | None = None) -> None:
        path = assets.locate("face_landmarker", model)
        _ignore_profiling_signals()
        self._max_faces = max_faces
        with native_stderr_closed():
            import mediapipe
            from mediapipe.tasks.python import vision
            from mediapipe.tasks.python.core.base_options import BaseOptions

            self._mediapipe = mediapipe
            options = vision.FaceLandmarkerOptions(
                base_options=BaseOptions(model_asset_path=str(path)),
                num_faces=max_faces,
                output_face_blendshapes=True,
            )
            self._landmarker = vision.FaceLandmarker.create_from_options(options)
            self._results = _result_reader(self._landmarker)
            # The graph prints the rest of its start-up notes on its first image.
            self._run(np.zeros((SHORT_SIDE, SHORT_SIDE, 3), np.uint8))
        # Runs before the interpreter unloads modules, when the library's own __del__ would raise.
        self._finalizer = weakref.finalize(self, _close, self._landmarker)

    def detect(self, image: np.ndarray) -> list[Face]:
        """See :class:`LandmarkBackend`; ValueError for anything but ``(H, W, 3)`` uint8."""
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"expected (H, W, 3) uint8, got {image.shape} {image.dtype}")
        picture, scale = _working_size(image)
        for (left, top, right, bottom), border in _attempts(picture):
            part = picture[top:bottom, left:right]
            if border:
                sides = (border, border, border, border)
                part = cv2.copyMakeBorder(part, *sides, cv2.BORDER_REPLICATE)
            corner = np.array([left - border, top - border, 0.0])
            faces = [
                _make_face((points + corner) / scale, shapes) for points, shapes in self._run(part)
            ]
            # A repeated border can look like a second face.
            faces = [face for face in faces if _centre_inside(face, image.shape)]
            if faces:
                return sorted(faces, key=lambda face: -_area(face))[: self._max_faces]
        return []

    def close(self) -> None:
        self._finalizer()

    def _run(self, image: np.ndarray) -> Results:
        """Points in pixels of ``image``, and blendshapes, of each face."""
        height, width = image.shape[:2]
        picture = self._mediapipe.Image(
            image_format=self._mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(image)
        )
        unit = np.array([width, height, width], np.float64)
        results = self._results(self._landmarker, picture)
        return [(points * unit, shapes) for points, shapes in results]


Results = list[tuple[np.ndarray, np.ndarray]]
"""Each face's points ``(478, 3)`` in 0..1 of the image, float64, and blendshapes ``(52,)``."""


def _result_reader(landmarker: Any) -> Callable[[Any, Any], Results]:
    """The faster of the two readers below, where this version of the library allows it."""
    try:
        module = importlib.import_module("mediapipe.tasks.python.vision.face_landmarker")
    except ImportError:
        return _results
    if not hasattr(module, "MpFaceLandmarkerResultC"):
        return _results
    known = all(hasattr(landmarker, name) for name in ("_lib", "_handle"))
    return _native_results if known else _results


def _results(landmarker: Any, picture: Any) -> Results:
    """The faces in one of the library's images."""
    result = landmarker.detect(picture)
    return [
        (
            np.array([(p.x, p.y, p.z) for p in landmarks]),
            np.array([s.score for s in shapes], np.float32),
        )
        for landmarks, shapes in zip(result.face_landmarks, result.face_blendshapes, strict=True)
    ]


def _native_results(landmarker: Any, picture: Any) -> Results:
    """As :func:`_results`, copied from the library's memory in one piece: a tenth of the time."""
    from mediapipe.tasks.python.vision.face_landmarker import MpFaceLandmarkerResultC

    result = MpFaceLandmarkerResultC()
    landmarker._lib.MpFaceLandmarkerDetectImage(
        landmarker._handle, picture._image_ptr, None, ctypes.byref(result)
    )
    try:
        out = []
        for number in range(result.face_landmarks_count):
            landmarks, shapes = result.face_landmarks[number], result.face_blendshapes[number]
            rows = _rows(landmarks.landmarks, landmarks.landmarks_count)
            points = np.stack([rows["x"], rows["y"], rows["z"]], axis=1).astype(np.float64)
            scores = _rows(shapes.categories, shapes.categories_count)["score"]
            out.append((points, scores.astype(np.float32)))
        return out
    finally:
        landmarker._lib.MpFaceLandmarkerCloseResult(ctypes.byref(result))


def _rows(first: Any, count: int) -> np.ndarray:
    """``count`` native structures from a pointer on, as an array over the library's memory."""
    kind = first._type_
    fields = {
        name: (np.dtype(of), getattr(kind, name).offset)
        for name, of in kind._fields_
        if of in (ctypes.c_float, ctypes.c_int)
    }
    layout = np.dtype(
        {
            "names": list(fields),
            "formats": [of for of, _ in fields.values()],
            "offsets": [at for _, at in fields.values()],
            "itemsize": ctypes.sizeof(kind),
        }
    )
    memory = ctypes.cast(first, ctypes.POINTER(ctypes.c_char * (count * layout.itemsize))).contents
    return np.frombuffer(memory, layout, count)


def _close(landmarker: Any) -> None:
    """Close the library's object; at interpreter exit its worker thread is gone already."""
    try:
        landmarker.close()
    except RuntimeError:
        landmarker._handle = None


class FaceAlignmentLandmarker:
    """The network of ``face-alignment`` (Bulat & Tzimiropoulos, *ICCV* 2017): 68 points in 2D.

    Faces are found by MediaPipe, so the library's own detector and its weights are not needed.

    Args:
        max_faces: most faces to return.
        model: the library's ``2DFAN4-*.pth.tar``, or a TorchScript network ``(B, 3, 256, 256)`` in
            0..1 -> heat maps ``(B, 68, 64, 64)``; the library downloads its own when None.

    Raises:
        UserError: the package is missing, or the weights are not available.
    """

    name = "face-alignment"

    def __init__(self, max_faces: int = 2, model: str | Path | None = None) -> None:
        try:
            library = importlib.import_module("face_alignment")
        except ImportError:
            accepted = "mediapipe, or pip install face-alignment"
            raise UserError("--landmarks", self.name, accepted, "is not installed") from None
        model = model or assets.find("face_alignment_2dfan4")
        try:
            self._network: Any = _face_alignment_network(library, model)
        except (OSError, RuntimeError, ValueError, KeyError, EOFError, pickle.PickleError) as error:
            if model is None:
                accepted = "a network on first use, or --landmark-model FILE"
                problem = f"cannot download its weights ({error})"
                raise UserError("--landmarks", self.name, accepted, problem) from None
            problem = f"cannot be loaded ({str(error).splitlines()[0][:200]})"
            accepted = "face-alignment's 2DFAN4 weights, or a TorchScript network of heat maps"
            raise UserError("--landmark-model", model, accepted, problem) from None
        self._detector = MediaPipeLandmarker(max_faces)

    def detect(self, image: np.ndarray) -> list[Face]:
        """See :class:`LandmarkBackend`."""
        boxes = [[*map(float, face.box), 1.0] for face in self._detector.detect(image)]
        found = self._network.get_landmarks_from_image(image, boxes) if boxes else []
        return [_make_face(np.pad(points, ((0, 0), (0, 1))), None) for points in found]

    def close(self) -> None:
        self._network = None
        self._detector.close()


def _face_alignment_network(library: Any, model: str | Path | None) -> Any:
    """The library's object with the weights of a file, without its own face detector."""
    torch = library.api.torch

    class FromFile(library.FaceAlignment):
        """Loads the network from ``model`` where the library would download it."""

        def _load_native(self, name: str, size: int, device: str, dtype: Any) -> Any:
            if model is None:
                return super()._load_native(name, size, device, dtype)
            try:
                network = torch.jit.load(str(model), map_location=device)
            except RuntimeError:
                network = library.api.FAN(size)
                network.load_state_dict(torch.load(model, device, weights_only=True))
            return network.to(device, dtype=dtype).eval()

    kind = library.LandmarksType.TWO_D
    # "folder" is the detector without weights; boxes are always passed.
    return FromFile(kind, device="cpu", flip_input=False, face_detector="folder", compile=False)


def _make_face(points: np.ndarray, shapes: np.ndarray | None) -> Face:
    points = points.astype(np.float32)
    return Face(points, shapes, np.concatenate([points[:, :2].min(0), points[:, :2].max(0)]))


def _area(face: Face) -> float:
    return float(np.prod(face.box[2:] - face.box[:2]))


def _centre_inside(face: Face, shape: tuple[int, ...]) -> bool:
    x, y = face.points[:, :2].mean(0)
    return bool(0 <= x <= shape[1] and 0 <= y <= shape[0])


def _working_size(image: np.ndarray) -> tuple[np.ndarray, float]:
    """The image at a size that suits the detector, and its scale."""
    height, width = image.shape[:2]
    scale = 1.0
    if max(height, width) > LONG_SIDE:
        scale = LONG_SIDE / max(height, width)
    elif min(height, width) < SHORT_SIDE:
        scale = min(SHORT_SIDE / min(height, width), 8.0)
    if scale == 1.0:
        return image, 1.0
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return cv2.resize(image, size, interpolation=how), scale


def _attempts(image: np.ndarray) -> Iterator[tuple[tuple[int, int, int, int], int]]:
    """Windows (left, top, right, bottom) and borders to try in turn.

    The detector misses a face that fills the image, so the second attempt adds a border; and one
    that is small in it, so the last ones take the middle and overlapping quarters.
    """
    height, width = image.shape[:2]
    yield (0, 0, width, height), 0
    yield (0, 0, width, height), max(height, width) // 2
    w, h = width * 5 // 9, height * 5 // 9
    for x, y in ((0.5, 0.5), (0, 0), (1, 0), (0, 1), (1, 1)):
        left, top = int(x * (width - w)), int(y * (height - h))
        yield (left, top, left + w, top + h), 0


_stderr_lock = threading.Lock()


def _ignore_profiling_signals() -> None:
    """Keep MediaPipe's profiling timers from ending the process.

    Its library starts timers that send SIGPROF, and a handler that Python does not know. Code that
    saves and restores Python's handlers, as Lightning's trainer does, would restore the default,
    which ends the process.
    """
    if hasattr(signal, "SIGPROF") and threading.current_thread() is threading.main_thread():
        if signal.getsignal(signal.SIGPROF) in (signal.SIG_DFL, None):
            signal.signal(signal.SIGPROF, signal.SIG_IGN)


@contextlib.contextmanager
def native_stderr_closed() -> Iterator[None]:
    """Discard native code's output to stderr: start-up notes that no option turns off."""
    with _stderr_lock:
        sys.stderr.flush()
        saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            os.close(null)
