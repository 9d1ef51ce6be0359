"""What one training sample is, and how it becomes archive members and back without trusting them.

A sample is one clip of at most 10 s: 25 video frames and 16,000 sound samples a second. Its members:

========================  =====================================================================================
``KEY.json``              :class:`SampleMeta`
``KEY.flac`` or ``.wav``  16 kHz mono, ``frames_for(N)`` equals the number of frames
``KEY.coeffs.npz``        one float32 array ``(T, n)`` for each block of the layout
``KEY.au.npy``            float32 ``(T, 17)``, order of :data:`emo_lightning.face.coefficients.AU_NAMES`, 0..1
``KEY.landmarks.npy``     float16 ``(T, P, 3)`` in crop units, P = 478, 468 or 68
``KEY.blend.npy``         float16 ``(T, 52)`` MediaPipe blendshapes, 0..1, where the back-end has them
``KEY.whisper.npy``       float16 ``(2T, 384)``, features of Whisper's encoder, where :mod:`datamodules.shards.add_whisper_features` put them
``KEY.mp4``               the square crop, in video shards alone
========================  =====================================================================================

A clip without pictures has only its record and sound, and a video without sound lacks that; the record of the former names
the layout that coefficients would have, so that one set has one layout.

Everything that does not keep to this is refused with a reason code; nothing is unpickled, no array is made before
its stated size was compared with the bytes there are, and unknown members are left alone.
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
"""Parts that a sample may lack; asking for one is no condition."""
BLENDSHAPES = 52
WHISPER_WIDTH, WHISPER_PER_FRAME = 384, 2
MEMBER_LIMITS: Mapping[str, int] = {
    "json": 1 << 20,
    "flac": 4 << 20,
    "wav": 4 << 20,
    "coeffs.npz": 16 << 20,
    "au.npy": 1 << 20,
    "landmarks.npy": 4 << 20,
    "blend.npy": 1 << 20,
    "whisper.npy": 1 << 20,
    "mp4": 64 << 20,
}
"""Members we know and the bytes each may have."""

REASONS = (
    "bad_key",
    "missing_member",
    "duplicate_member",
    "member_too_large",
    "bad_json",
    "bad_meta",
    "wrong_layout",
    "pickled",
    "bad_array",
    "wrong_dtype",
    "wrong_shape",
    "not_finite",
    "bad_sound",
    "bad_video",
    "length_mismatch",
    "bad_archive",
)
"""Why a sample or an archive can be refused."""

_KEY = re.compile(
    r"[A-Za-z0-9_-]{1,84}"
)  # with the longest extension within the 100 bytes that a plain tar name has


class SampleError(Exception):
    """A sample that cannot be used: ``reason`` is one of :data:`REASONS`, ``detail`` a few words for a person."""

    def __init__(self, reason: str, detail: str) -> None:
        assert reason in REASONS, reason
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


@dataclass(frozen=True)
class SampleMeta:
    """What is known of a clip; None where it is not.

    Attributes:
        source: the corpus.
        speaker: one person, unique within the source.
        sentence: what is said, or its number in the corpus.
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
        for name in ("source", "speaker", "split"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name):
                raise SampleError("bad_meta", f"{name} {getattr(self, name)!r} is not a name")
        if self.split not in SPLITS:
            raise SampleError("bad_meta", f"split {self.split!r} is none of {SPLITS}")
        if self.emotion is not None and self.emotion not in EMOTIONS:
            raise SampleError("bad_meta", f"emotion {self.emotion!r} is none of {EMOTIONS}")
        if self.intensity is not None and self.intensity not in (1, 2, 3):
            raise SampleError("bad_meta", f"intensity {self.intensity!r} is none of 1, 2, 3")
        if self.level is not None and not (
            _is_number(self.level) and LEVEL_MIN <= self.level <= LEVEL_MAX
        ):
            raise SampleError("bad_meta", f"level {self.level!r} is not within 1..15")
        if (
            isinstance(self.frames, bool)
            or not isinstance(self.frames, int)
            or not 1 <= self.frames <= MAX_FRAMES
        ):
            raise SampleError("bad_meta", f"frames {self.frames!r} is not within 1..{MAX_FRAMES}")
        if not _is_number(self.fps) or self.fps != 25.0:
            raise SampleError("bad_meta", f"fps {self.fps!r} is not 25")
        if (
            not isinstance(self.tools, dict)
            or not isinstance(self.extra, dict)
            or not isinstance(self.layout, dict)
        ):
            raise SampleError("bad_meta", "tools, extra and layout must be objects")

    def to_json(self) -> bytes:
        """Sorted keys, so equal records are equal bytes."""
        return json.dumps(
            asdict(self), sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":")
        ).encode()

    @staticmethod
    def from_json(data: bytes) -> SampleMeta:
        """The inverse; SampleError ``bad_json`` or ``bad_meta``. Fields of later versions are passed over."""
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
    """A member name from any text (a relative path, say): readable, harmless, and different for different texts."""
    slug = re.sub(r"[^A-Za-z0-9_]+", "-", text).strip("-")[-64:] or "clip"
    return f"{slug}-{hashlib.sha256(text.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"


def check_key(key: str) -> str:
    """Return the key; SampleError ``bad_key`` unless it is letters, digits, ``_`` and ``-`` alone."""
    if not _KEY.fullmatch(key):
        raise SampleError("bad_key", f"{key[:80]!r}")
    return key


def encode(sample: Sample) -> dict[str, bytes]:
    """Archive members by extension; the same sample gives the same bytes. Parts that are None are left out.

    Raises:
        SampleError: what is there does not keep to the schema.
    """
    check_key(sample.key)
    validate(sample)
    members = {"json": sample.meta.to_json()}
    if sample.wave is not None:
        buffer = io.BytesIO()
        pcm = np.clip(np.rint(sample.wave * 32768.0), -32768, 32767).astype(np.int16)
        soundfile.write(buffer, pcm, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
        members["flac"] = buffer.getvalue()
    if sample.coefficients is not None:
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            **{name: np.asarray(value, np.float32) for name, value in sample.coefficients.items()},
        )
        members["coeffs.npz"] = buffer.getvalue()
    if sample.au is not None:
        members["au.npy"] = _npy(sample.au.astype(np.float32))
    if sample.landmarks is not None:
        members["landmarks.npy"] = _npy(sample.landmarks.astype(np.float16))
    if sample.blendshapes is not None:
        members["blend.npy"] = _npy(sample.blendshapes.astype(np.float16))
    if sample.whisper is not None:
        members |= encode_teacher(sample.whisper, sample.meta)
    if sample.video is not None:
        members["mp4"] = sample.video
    return members


def encode_teacher(features: np.ndarray, meta: SampleMeta) -> dict[str, bytes]:
    """The member that holds a clip's features of Whisper's encoder; SampleError when they are not ``(2T, 384)`` and finite."""
    stored = features.astype(np.float16)
    _check_teacher(stored, meta.frames)
    return {"whisper.npy": _npy(stored)}


def _check_teacher(features: np.ndarray, frames: int) -> None:
    _check_shape("whisper", features.shape, (WHISPER_PER_FRAME * frames, WHISPER_WIDTH))
    if not np.isfinite(features).all():
        raise SampleError("not_finite", "whisper")


def decode(
    key: str,
    members: Mapping[str, bytes],
    parts: Collection[str] = PARTS,
    layout: Layout | None = None,
) -> Sample:
    """A sample from its members.

    Args:
        key: its name in the archive.
        members: extension -> bytes; unknown extensions are not looked at.
        parts: which of :data:`PARTS` are wanted, each of which must be there, and of :data:`EXTRAS`.
        layout: the layout expected; by default the record's own.

    Raises:
        SampleError: see :data:`REASONS`.
    """
    check_key(key)
    for name, data in members.items():
        if name in MEMBER_LIMITS and len(data) > MEMBER_LIMITS[name]:
            raise SampleError("member_too_large", f"{name} has {len(data)} bytes")
    meta = SampleMeta.from_json(_member(members, "json"))
    sample = Sample(key, meta)
    if "coefficients" in parts:
        sample.coefficients = _read_coefficients(_member(members, "coeffs.npz"), meta, layout)
    if "au" in parts:
        sample.au = _read_npy(
            _member(members, "au.npy"), "au", np.float32, (meta.frames, len(AU_NAMES))
        )
    if "landmarks" in parts:
        sample.landmarks = _read_npy(
            _member(members, "landmarks.npy"), "landmarks", np.float16, (meta.frames, None, 3)
        ).astype(np.float32)
    if "blendshapes" in parts and "blend.npy" in members:
        sample.blendshapes = _read_npy(
            members["blend.npy"], "blend", np.float16, (meta.frames, BLENDSHAPES)
        ).astype(np.float32)
    if "whisper" in parts and "whisper.npy" in members:
        shape = (WHISPER_PER_FRAME * meta.frames, WHISPER_WIDTH)
        sample.whisper = _read_npy(members["whisper.npy"], "whisper", np.float16, shape)
    if "wave" in parts:
        sample.wave = _read_sound(members["flac"] if "flac" in members else _member(members, "wav"))
    if "video" in parts:
        sample.video = _member(members, "mp4")
    validate(sample)
    return sample


def validate(sample: Sample) -> None:
    """Check that a sample's parts agree with its record; SampleError says what does not."""
    frames = sample.meta.frames
    if sample.coefficients is not None:
        if sample.coefficients.layout.to_dict() != _layout(sample.meta).to_dict():
            raise SampleError(
                "wrong_layout", f"coefficients are {sample.coefficients.layout.describe()}"
            )
        if len(sample.coefficients) != frames:
            raise SampleError(
                "length_mismatch", f"{len(sample.coefficients)} coefficient frames, {frames} stated"
            )
    arrays = (
        ("au", sample.au, (frames, len(AU_NAMES))),
        ("landmarks", sample.landmarks, (frames, None, 3)),
        ("blend", sample.blendshapes, (frames, BLENDSHAPES)),
    )
    for name, array, shape in arrays:
        if array is not None:
            _check_shape(name, array.shape, shape)
            if not np.isfinite(array).all():
                raise SampleError("not_finite", name)
    if sample.whisper is not None:
        _check_teacher(sample.whisper, frames)
    if sample.landmarks is not None and sample.landmarks.shape[1] not in (478, 468, 68):
        raise SampleError(
            "wrong_shape", f"{sample.landmarks.shape[1]} landmarks, expected 478, 468 or 68"
        )
    if sample.wave is not None:
        if sample.wave.ndim != 1 or not np.isfinite(sample.wave).all():
            raise SampleError("bad_sound", "not one finite channel")
        if frames_for(len(sample.wave)) != frames:
            raise SampleError(
                "length_mismatch", f"{len(sample.wave)} sound samples for {frames} frames"
            )
    if sample.video is not None and sample.video[4:8] != b"ftyp":
        raise SampleError("bad_video", "not an mp4")


def _member(members: Mapping[str, bytes], name: str) -> bytes:
    if name not in members:
        raise SampleError("missing_member", name)
    return members[name]


def _layout(meta: SampleMeta) -> Layout:
    try:
        return Layout.from_dict(meta.layout)
    except (KeyError, TypeError, ValueError) as error:
        raise SampleError("bad_meta", f"layout cannot be read: {error}") from None


def _read_coefficients(data: bytes, meta: SampleMeta, expected: Layout | None) -> Coefficients:
    layout = _layout(meta)
    if expected is not None and layout != expected:
        raise SampleError("wrong_layout", f"{layout.describe()}, expected {expected.describe()}")
    values = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for block in layout.blocks:
                info = archive.getinfo(f"{block}.npy")
                if info.file_size > MEMBER_LIMITS["coeffs.npz"]:
                    raise SampleError(
                        "member_too_large", f"{block} unpacks to {info.file_size} bytes"
                    )
                with archive.open(info) as file:
                    raw = file.read(MEMBER_LIMITS["coeffs.npz"])
                values[block] = _read_npy(
                    raw, block, np.float32, (meta.frames, layout.width(block))
                )
    except KeyError as error:
        raise SampleError("missing_member", f"coeffs.npz: {error}") from None
    except (
        zipfile.BadZipFile,
        zlib.error,
        OSError,
        EOFError,
        NotImplementedError,
        RuntimeError,
    ) as error:
        raise SampleError("bad_array", f"coeffs.npz: {error}") from None
    return Coefficients(layout, values)


def _read_npy(data: bytes, name: str, dtype: type, shape: tuple[int | None, ...]) -> np.ndarray:
    """An array whose header was checked against the bytes that follow before anything is made of it."""
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        reader = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        stated, fortran, kind = reader(file)
    except (ValueError, TypeError, SyntaxError, EOFError) as error:
        raise SampleError("bad_array", f"{name}: {error}") from None
    if kind.hasobject:
        raise SampleError("pickled", name)
    if kind != np.dtype(dtype):
        raise SampleError("wrong_dtype", f"{name} is {kind}, expected {np.dtype(dtype)}")
    _check_shape(name, stated, shape)
    if fortran or len(data) - file.tell() != math.prod(stated) * kind.itemsize:
        raise SampleError("bad_array", f"{name}: stated size and bytes differ")
    array = np.frombuffer(data, kind, offset=file.tell()).reshape(stated).copy()
    if not np.isfinite(array).all():
        raise SampleError("not_finite", name)
    return array


def _check_shape(name: str, shape: tuple[int, ...], expected: tuple[int | None, ...]) -> None:
    if len(shape) != len(expected) or any(
        e is not None and s != e for s, e in zip(shape, expected, strict=False)
    ):
        raise SampleError(
            "wrong_shape",
            f"{name} is {shape}, expected {tuple('P' if e is None else e for e in expected)}",
        )


def _read_sound(data: bytes) -> np.ndarray:
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            if (file.samplerate, file.channels) != (SAMPLE_RATE, 1):
                raise SampleError("bad_sound", f"{file.samplerate} Hz, {file.channels} channels")
            if file.frames > (MAX_SECONDS + 1) * SAMPLE_RATE:
                raise SampleError(
                    "bad_sound", f"{file.frames} samples are more than {MAX_SECONDS:g} s"
                )
            return file.read(dtype="float32")
    except (soundfile.LibsndfileError, RuntimeError, ValueError) as error:
        raise SampleError("bad_sound", str(error)) from None


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
