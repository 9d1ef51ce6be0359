"""The 52 blendshapes of a face from its landmarks: the network inside the landmark judge's file,
run by itself.

MediaPipe's landmarker ends in a small MLP-Mixer that turns 146 of its landmarks, in the picture
plane, into 52 intensities. Run here on points alone it serves stored tracks and simulated faces, on
which a judge can be trained without recordings. On tracked frames the results are the landmarker's
own to 1e-2 (its half-precision arithmetic), which a test checks.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from flatbuffers import encode, packer
from flatbuffers.number_types import Int8Flags, Int32Flags, Uint8Flags, Uint32Flags
from flatbuffers.table import Table

from emo_lightning.core import assets

NAMES: tuple[str, ...] = tuple(
    """
_neutral browDownLeft browDownRight browInnerUp browOuterUpLeft browOuterUpRight cheekPuff
cheekSquintLeft cheekSquintRight eyeBlinkLeft eyeBlinkRight eyeLookDownLeft eyeLookDownRight
eyeLookInLeft eyeLookInRight eyeLookOutLeft eyeLookOutRight eyeLookUpLeft eyeLookUpRight
eyeSquintLeft eyeSquintRight eyeWideLeft eyeWideRight jawForward jawLeft jawOpen jawRight mouthClose
mouthDimpleLeft mouthDimpleRight mouthFrownLeft mouthFrownRight mouthFunnel mouthLeft
mouthLowerDownLeft mouthLowerDownRight mouthPressLeft mouthPressRight mouthPucker mouthRight
mouthRollLower mouthRollUpper mouthShrugLower mouthShrugUpper mouthSmileLeft mouthSmileRight
mouthStretchLeft mouthStretchRight mouthUpperUpLeft mouthUpperUpRight noseSneerLeft noseSneerRight
""".split()
)
LANDMARKS = np.array(
    """
0 1 4 5 6 7 8 10 13 14 17 21 33 37 39 40 46 52 53 54 55 58 61 63 65 66 67 70 78 80 81 82 84 87 88 91
93 95 103 105 107 109 127 132 133 136 144 145 146 148 149 150 152 153 154 155 157 158 159 160 161
162 163 168 172 173 176 178 181 185 191 195 197 234 246 249 251 263 267 269 270 276 282 283 284 285
288 291 293 295 296 297 300 308 310 311 312 314 317 318 321 323 324 332 334 336 338 356 361 362 365
373 374 375 377 378 379 380 381 382 384 385 386 387 388 389 390 397 398 400 402 405 409 415 454 466
468 469 470 471 472 473 474 475 476 477
""".split(),
    np.int64,
)
"""The points that the network looks at, in its order."""
MEMBER = "face_blendshapes.tflite"
BLOCKS = 4
_CONV, _MUL, _CONCAT, _DEQUANTIZE = 3, 18, 2, 6
BATCH = 256


@dataclass(frozen=True)
class BlendshapeMixer:
    """An MLP-Mixer (Tolstikhin et al., 2021): ``layers`` are (weights, bias) in order of use,
    ``scales`` those of its layer norms."""

    token: np.ndarray
    layers: list[tuple[np.ndarray, np.ndarray]]
    scales: list[np.ndarray]
    gain: float

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """``(B, 146, 2)`` points in any unit with square axes to ``(B, 52)``."""
        x = points - points.mean(axis=1, keepdims=True)
        x = (
            x
            / np.sqrt(np.square(x).sum(axis=2, keepdims=True)).mean(axis=1, keepdims=True)
            * self.gain
        )
        layers, scales = iter(self.layers), iter(self.scales)
        x = _dense(x.transpose(0, 2, 1), *next(layers)).transpose(0, 2, 1)
        x = _dense(x, *next(layers))
        x = np.concatenate([np.broadcast_to(self.token, (len(x), 1, x.shape[2])), x], axis=1)
        for _ in range(BLOCKS):
            mixed = _norm(x, next(scales)).transpose(0, 2, 1)
            mixed = _dense(np.maximum(_dense(mixed, *next(layers)), 0.0), *next(layers))
            x = x + mixed.transpose(0, 2, 1)
            mixed = _norm(x, next(scales))
            x = x + _dense(np.maximum(_dense(mixed, *next(layers)), 0.0), *next(layers))
        return 1.0 / (1.0 + np.exp(-_dense(x[:, 0], *next(layers))))


def blendshapes(points: np.ndarray) -> np.ndarray:
    """Blendshapes of each frame.

    Args:
        points: ``(T, 478, 2 or more)`` landmarks with irises, in pixels or another unit with square
            axes; nan where none.

    Returns:
        ``(T, 52)`` float32, 0..1, in the order of :data:`NAMES`; nan where the points are.

    Raises:
        ValueError: another shape.
        emo_lightning.core.errors.UserError: the landmarker's file is missing.
    """
    if points.ndim != 3 or points.shape[1] != 478 or points.shape[2] < 2:
        raise ValueError(f"points have shape {points.shape}, expected (T, 478, 2 or more)")
    network, chosen = load(), np.asarray(points[:, LANDMARKS, :2], np.float32)
    parts = [network(chosen[i : i + BATCH]) for i in range(0, len(chosen), BATCH)]
    return (
        np.concatenate(parts).astype(np.float32) if parts else np.zeros((0, len(NAMES)), np.float32)
    )


@lru_cache(maxsize=1)
def load() -> BlendshapeMixer:
    """The network in the registered landmarker file, whose hash is checked on the way."""
    with zipfile.ZipFile(assets.locate("face_landmarker")) as archive:
        return _read(archive.read(MEMBER))


def _dense(x: np.ndarray, weights: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return x @ weights.T + bias


def _norm(x: np.ndarray, scale: np.ndarray) -> np.ndarray:
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + 1e-6) * scale


class _Table(Table):
    """A FlatBuffer table with fields by number, as TensorFlow Lite's schema orders them."""

    def number(self, field: int, kind: type) -> int:
        """A scalar, 0 by default."""
        at = self.Offset(4 + 2 * field)
        return int(self.Get(kind, self.Pos + at)) if at else 0

    def array(self, field: int, kind: type) -> np.ndarray:
        """A vector of scalars, empty by default."""
        at = self.Offset(4 + 2 * field)
        return self.GetVectorAsNumpy(kind, at) if at else np.zeros(0)

    def tables(self, field: int) -> list[_Table]:
        """A vector of tables."""
        at = self.Offset(4 + 2 * field)
        places = (self.Vector(at) + 4 * i for i in range(self.VectorLen(at) if at else 0))
        return [_Table(self.Bytes, self.Indirect(place)) for place in places]


def _read(data: bytes) -> BlendshapeMixer:
    """The network's weights out of its model file: half-precision constants, in the order in which
    operators use them."""
    model = _Table(bytearray(data), encode.Get(packer.uoffset, data, 0))
    codes = [max(c.number(0, Int8Flags), c.number(3, Int32Flags)) for c in model.tables(1)]
    graph, buffers = model.tables(2)[0], model.tables(4)
    tensors = graph.tables(0)
    operators = [
        (codes[op.number(0, Uint32Flags)], op.array(1, Int32Flags), op.array(2, Int32Flags))
        for op in graph.tables(3)
    ]
    source = {int(out[0]): int(given[0]) for code, given, out in operators if code == _DEQUANTIZE}

    def constant(tensor: int) -> np.ndarray | None:
        if tensor not in source:
            return None
        stored = tensors[source[tensor]]
        values = buffers[stored.number(2, Uint32Flags)].array(0, Uint8Flags).view("<f2")
        return values.astype(np.float32).reshape(stored.array(0, Int32Flags))

    layers, factors, token = [], [], np.zeros(0)
    for code, inputs, _ in operators:
        values = [constant(int(i)) for i in inputs]
        if code == _CONV and values[1] is not None and values[2] is not None:
            layers.append((values[1][:, 0, 0], values[2]))
        elif code == _MUL:
            factors += [v for v in values if v is not None]
        elif code == _CONCAT:
            token = next(v for v in values if v is not None).reshape(1, 1, -1)
    scales = [factor for factor in factors if factor.ndim == 1]
    gain = float(next(factor for factor in factors if factor.ndim == 0))
    return BlendshapeMixer(token, layers, scales, gain)
