"""The training sample: its record and arrays, and how they become archive members and back.

A sample is one clip of at most 10 s: 25 video frames/s and 16 kHz mono audio. Its members:

========================  ======================================================================
``KEY.json``              :class:`SampleMeta`
``KEY.flac`` or ``.wav``  16 kHz mono, ``frames_for(N)`` equals the number of frames
``KEY.coeffs.npz``        one float32 array ``(T, n)`` for each block of the layout
``KEY.au.npy``            float32 ``(T, 17)``, order of
                          :data:`emo_lightning.face.coefficients.AU_NAMES`, 0..1
``KEY.landmarks.npy``     float16 ``(T, P, 3)`` in crop units, P = 478, 468 or 68
``KEY.blend.npy``         float16 ``(T, 52)`` MediaPipe blendshapes, 0..1, where available
``KEY.whisper.npy``       float16 ``(2T, 384)``, features of Whisper's encoder, see
                          :mod:`datamodules.shards.add_whisper_features`
``KEY.mp4``               the square crop, in video shards alone
========================  ======================================================================

A clip without video has only its record and audio, and a video without audio lacks that; the record
of the former names the layout that coefficients would have, so that one set has one layout.

A sample that breaks these rules is refused with a reason code. Nothing is unpickled, no array is
allocated before its stated size was compared with the bytes there are, NaN and infinity are refused
in every part, and unknown members are ignored.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
import zipfile
import zlib
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
import soundfile

from emo_lightning.core.constants import SAMPLE_RATE, frames_for
from emo_lightning.face.coefficients import AU_NAMES, Coefficients, Layout
from emo_lightning.motion.emotions import EMOTIONS, LEVEL_MAX, LEVEL_MIN

MAX_SECONDS = 10.0
MAX_FRAMES = 250
SPLITS = ("train", "val", "test")
PARTS = ("wave", "coefficients", "au", "landmarks", "video")
EXTRAS = ("blendshapes", "whisper")
"""Parts that a sample may lack even when they are asked for."""
LANDMARK_COUNTS = (478, 468, 68)
_ARRAYS = {
    "au": ("au.npy", np.float32, 1, (len(AU_NAMES),)),
    "landmarks": ("landmarks.npy", np.float16, 1, (None, 3)),
    "blendshapes": ("blend.npy", np.float16, 1, (52,)),
    "whisper": ("whisper.npy", np.float16, 2, (384,)),
}
"""Part -> member, stored dtype, rows a frame, shape of a row."""
MEMBERS_OF = {
    "wave": ("flac", "wav"),
    "coefficients": ("coeffs.npz",),
    "video": ("mp4",),
    **{part: (member,) for part, (member, *_) in _ARRAYS.items()},
}
"""Part of a sample -> the members that can hold it."""
_MIB = {"coeffs.npz": 16, "flac": 4, "wav": 4, "landmarks.npy": 4, "mp4": 64}
MEMBER_LIMITS: Mapping[str, int] = {
    member: _MIB.get(member, 1) << 20
    for member in ("json", *(name for members in MEMBERS_OF.values() for name in members))
}
"""Known members and the most bytes each may have."""
REASONS = tuple(
    "bad_key missing_member duplicate_member member_too_large bad_json bad_meta wrong_layout "
    "pickled bad_array wrong_dtype wrong_shape not_finite bad_sound bad_video length_mismatch "
    "bad_archive".split()
)
"""Why a sample or an archive can be refused."""

# With the longest extension within the 100 bytes of a plain tar name.
_KEY = re.compile(r"[A-Za-z0-9_-]{1,84}")
# numpy's own reader runs every header through Python's parser.
_NPY_HEADER = re.compile(
    rb"\x93NUMPY(?:\x01\x00..|[\x02\x03]\x00....)\{'descr': '([<>|][fiubO][0-9]{0,2})', "
    rb"'fortran_order': (True|False), 'shape': \(([0-9, ]{0,60})\), \} *\n",
    re.DOTALL,
)


class SampleError(Exception):
    """An unusable sample: ``reason`` is one of :data:`REASONS`, ``detail`` a few words on it."""

    def __init__(self, reason: str, detail: str) -> None:
        assert reason in REASONS, reason
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


@dataclass(frozen=True)
class SampleMeta:
    """Record of a clip; None where a field is unknown.

    Attributes:
        source: the corpus.
        speaker: one person, unique within the source.
        sentence: its words, or its number in the corpus.
        emotion: one of the eight names.
        intensity: as annotated, 1..3.
        level: fine level, 1..15.
        split: train, val or test.
        fps: video frames a second.
        layout: ``Layout.to_dict()`` of the coefficients.
        frames: T.
        tools: name -> version of what made the sample.
        origin_sha256: of the file the clip was cut from.
        extra: whatever else a source wants to keep, as JSON.
    """

    source: str
    speaker: str
    frames: int
    layout: dict[str, Any]
    split: str = "train"
    sentence: str | None = None
    emotion: str | None = None
    intensity: int | None = None
    level: float | None = None
    fps: float = 25.0
    tools: dict[str, str] = field(default_factory=dict)
    origin_sha256: str = ""
    extra: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        frames, level = self.frames, self.level
        whole = isinstance(frames, int) and not isinstance(frames, bool)
        in_range = level is None or (_is_number(level) and LEVEL_MIN <= level <= LEVEL_MAX)
        allowed = {
            "split": (self.split in SPLITS, f"none of {SPLITS}"),
            "emotion": (self.emotion in (None, *EMOTIONS), f"none of {EMOTIONS}"),
            "intensity": (self.intensity in (None, 1, 2, 3), "none of 1, 2, 3"),
            "level": (in_range, "not within 1..15"),
            "frames": (whole and 1 <= frames <= MAX_FRAMES, f"not within 1..{MAX_FRAMES}"),
            "fps": (_is_number(self.fps) and self.fps == 25.0, "not 25"),
        }
        for name in ("source", "speaker", "split"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value:
                raise SampleError("bad_meta", f"{name} {value!r} is not a name")
        for name, (good, problem) in allowed.items():
            if not good:
                raise SampleError("bad_meta", f"{name} {getattr(self, name)!r} is {problem}")
        if not all(isinstance(part, dict) for part in (self.tools, self.extra, self.layout)):
            raise SampleError("bad_meta", "tools, extra and layout must be objects")

    def to_json(self) -> bytes:
        """Sorted keys, so equal records are equal bytes."""
        style: dict[str, Any] = {"sort_keys": True, "ensure_ascii": False, "allow_nan": False}
        return json.dumps(asdict(self), separators=(",", ":"), **style).encode()

    @staticmethod
    def from_json(data: bytes) -> SampleMeta:
        """The inverse; SampleError ``bad_json`` or ``bad_meta``. Unknown fields are ignored."""
        try:
            record = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise SampleError("bad_json", str(error)) from None
        if not isinstance(record, dict):
            raise SampleError("bad_json", "not an object")
        known = {f.name for f in fields(SampleMeta)}
        try:
            return SampleMeta(**{name: value for name, value in record.items() if name in known})
        except TypeError as error:
            raise SampleError("bad_meta", str(error)) from None


@dataclass
class Sample:
    """One clip in memory; a part that was not asked for is None.

    Attributes:
        wave: ``(N,)`` float32, 16 kHz.
        coefficients: T frames.
        au: ``(T, 17)`` float32.
        landmarks: ``(T, P, 3)`` crop units.
        video: the crop as mp4 bytes.
        blendshapes: ``(T, 52)`` float32.
        whisper: ``(2T, 384)`` float16.
    """

    key: str
    meta: SampleMeta
    wave: np.ndarray | None = None
    coefficients: Coefficients | None = None
    au: np.ndarray | None = None
    landmarks: np.ndarray | None = None
    video: bytes | None = None
    blendshapes: np.ndarray | None = None
    whisper: np.ndarray | None = None


def safe_key(text: str) -> str:
    """A readable, harmless sample key from any text; different texts give different keys."""
    slug = re.sub(r"[^A-Za-z0-9_]+", "-", text).strip("-")[-64:] or "clip"
    return f"{slug}-{hashlib.sha256(text.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"


def check_key(key: str) -> str:
    """The key; SampleError ``bad_key`` unless it is letters, digits, ``_`` and ``-`` alone."""
    if not _KEY.fullmatch(key):
        raise SampleError("bad_key", f"{key[:80]!r}")
    return key


def encode(sample: Sample) -> dict[str, bytes]:
    """Archive members by extension; equal samples give equal bytes, parts that are None no member.

    Raises:
        SampleError: a part does not keep to the schema.
    """
    check_key(sample.key)
    validate(sample)
    members, buffer = {"json": sample.meta.to_json()}, io.BytesIO()
    if sample.wave is not None:
        pcm = np.clip(np.rint(sample.wave * 32768.0), -32768, 32767).astype(np.int16)
        soundfile.write(buffer, pcm, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
        members["flac"] = buffer.getvalue()
    if sample.coefficients is not None:
        buffer = io.BytesIO()
        blocks = {name: np.asarray(a, np.float32) for name, a in sample.coefficients.items()}
        np.savez_compressed(buffer, **blocks)
        members["coeffs.npz"] = buffer.getvalue()
    for part in _ARRAYS:
        if (array := getattr(sample, part)) is not None:
            members |= encode_array(part, array, sample.meta)
    return members if sample.video is None else members | {"mp4": sample.video}


def encode_array(part: str, array: np.ndarray, meta: SampleMeta) -> dict[str, bytes]:
    """Member of an array part; SampleError unless it is finite and has the part's shape."""
    member, dtype, *_ = _ARRAYS[part]
    stored, buffer = np.ascontiguousarray(array.astype(dtype)), io.BytesIO()
    _check_array(part, stored, _shape(part, meta.frames))
    np.lib.format.write_array(buffer, stored, allow_pickle=False)
    return {member: buffer.getvalue()}


def decode(
    key: str,
    members: Mapping[str, bytes],
    parts: Collection[str] = PARTS,
    layout: Layout | None = None,
) -> Sample:
    """Sample from its members.

    Args:
        key: its name in the archive.
        members: extension -> bytes; unknown extensions are ignored.
        parts: those wanted of :data:`PARTS`, which must be there, and of :data:`EXTRAS`.
        layout: the layout expected; by default the record's own.

    Raises:
        SampleError: see :data:`REASONS`.
    """
    check_key(key)
    for name, data in members.items():
        if name in MEMBER_LIMITS and len(data) > MEMBER_LIMITS[name]:
            raise SampleError("member_too_large", f"{name} has {len(data)} bytes")

    def member(name: str) -> bytes:
        if name not in members:
            raise SampleError("missing_member", name)
        return members[name]

    sample = Sample(key, SampleMeta.from_json(member("json")))
    if "coefficients" in parts:
        sample.coefficients = _decode_coefficients(member("coeffs.npz"), sample.meta, layout)
    for part, (name, dtype, *_) in _ARRAYS.items():
        if part in parts and (part not in EXTRAS or name in members):
            array = _decode_npy(member(name), part, dtype, _shape(part, sample.meta.frames))
            # Whisper's features are the only large ones, and become float32 a window at a time.
            setattr(sample, part, array if part == "whisper" else array.astype(np.float32))
    if "wave" in parts:
        sample.wave = _decode_audio(members["flac"] if "flac" in members else member("wav"))
    if "video" in parts:
        sample.video = member("mp4")
    validate(sample)
    return sample


def validate(sample: Sample) -> None:
    """Check that a sample's parts agree with its record; SampleError unless they do."""
    frames, coefficients, wave = sample.meta.frames, sample.coefficients, sample.wave
    if coefficients is not None:
        if coefficients.layout.to_dict() != _layout(sample.meta).to_dict():
            raise SampleError("wrong_layout", f"coefficients are {coefficients.layout.describe()}")
        if len(coefficients) != frames:
            problem = f"{len(coefficients)} coefficient frames, {frames} stated"
            raise SampleError("length_mismatch", problem)
    for part in _ARRAYS:
        if (array := getattr(sample, part)) is not None:
            _check_array(part, array, _shape(part, frames))
    if sample.landmarks is not None and sample.landmarks.shape[1] not in LANDMARK_COUNTS:
        problem = f"{sample.landmarks.shape[1]} landmarks, none of {LANDMARK_COUNTS}"
        raise SampleError("wrong_shape", problem)
    if wave is not None:
        _check_array("wave", wave, (None,))
        if frames_for(len(wave)) != frames:
            raise SampleError("length_mismatch", f"{len(wave)} audio samples for {frames} frames")
    if sample.video is not None and sample.video[4:8] != b"ftyp":
        raise SampleError("bad_video", "not an mp4")


def _shape(part: str, frames: int) -> tuple[int | None, ...]:
    _, _, rows, row = _ARRAYS[part]
    return (rows * frames, *row)


def _layout(meta: SampleMeta) -> Layout:
    try:
        return Layout.from_dict(meta.layout)
    except (KeyError, TypeError, ValueError) as error:
        raise SampleError("bad_meta", f"layout cannot be read: {error}") from None


def _decode_coefficients(data: bytes, meta: SampleMeta, expected: Layout | None) -> Coefficients:
    layout, values, limit = _layout(meta), {}, MEMBER_LIMITS["coeffs.npz"]
    if expected is not None and layout != expected:
        raise SampleError("wrong_layout", f"{layout.describe()}, expected {expected.describe()}")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for block in layout.blocks:
                size = archive.getinfo(f"{block}.npy").file_size
                if size > limit:
                    raise SampleError("member_too_large", f"{block} unpacks to {size} bytes")
                with archive.open(f"{block}.npy") as file:
                    raw = file.read(limit)
                shape = (meta.frames, layout.width(block))
                values[block] = _decode_npy(raw, block, np.float32, shape)
    except KeyError as error:
        raise SampleError("missing_member", f"coeffs.npz: {error}") from None
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError) as error:
        raise SampleError("bad_array", f"coeffs.npz: {error}") from None
    return Coefficients(layout, values)


def _decode_npy(data: bytes, name: str, dtype: type, shape: tuple[int | None, ...]) -> np.ndarray:
    """Array whose header agrees with ``dtype``, ``shape`` and the bytes that follow it."""
    found = _NPY_HEADER.match(data)
    if found is None:
        raise SampleError("bad_array", f"{name}: not an npy header as numpy writes it")
    fortran, sizes = found[2] == b"True", found[3].split(b",")
    try:
        kind, stated = np.dtype(found[1].decode()), tuple(int(n) for n in sizes if n.strip())
    except (TypeError, ValueError) as error:
        raise SampleError("bad_array", f"{name}: {error}") from None
    if kind.hasobject:
        raise SampleError("pickled", name)
    if kind != np.dtype(dtype):
        raise SampleError("wrong_dtype", f"{name} is {kind}, expected {np.dtype(dtype)}")
    _check_shape(name, stated, shape)
    if fortran or len(data) - found.end() != math.prod(stated) * kind.itemsize:
        raise SampleError("bad_array", f"{name}: stated size and bytes differ")
    array = np.frombuffer(data, kind, offset=found.end()).reshape(stated).copy()
    _check_array(name, array, shape)
    return array


def _check_shape(name: str, shape: tuple[int, ...], expected: tuple[int | None, ...]) -> None:
    pairs = zip(shape, expected, strict=False)
    if len(shape) != len(expected) or any(e not in (None, s) for s, e in pairs):
        wanted = tuple("P" if e is None else e for e in expected)
        raise SampleError("wrong_shape", f"{name} is {shape}, expected {wanted}")


def _check_array(name: str, array: np.ndarray, shape: tuple[int | None, ...]) -> None:
    _check_shape(name, array.shape, shape)
    if not np.isfinite(array).all():
        raise SampleError("not_finite", name)


def _decode_audio(data: bytes) -> np.ndarray:
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            if (file.samplerate, file.channels) != (SAMPLE_RATE, 1):
                raise SampleError("bad_sound", f"{file.samplerate} Hz, {file.channels} channels")
            if file.frames > (MAX_SECONDS + 1) * SAMPLE_RATE:
                raise SampleError("bad_sound", f"{file.frames} samples are over {MAX_SECONDS:g} s")
            return file.read(dtype="float32")
    except (soundfile.LibsndfileError, RuntimeError, ValueError) as error:
        raise SampleError("bad_sound", str(error)) from None


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
