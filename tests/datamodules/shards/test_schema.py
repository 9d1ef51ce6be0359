"""Samples survive encoding; whatever is not a sample is refused by reason."""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile

import numpy as np
import pytest
import soundfile

from datamodules.shards.schema import (
    MAX_FRAMES,
    PARTS,
    REASONS,
    SampleError,
    SampleMeta,
    decode,
    encode,
    safe_key,
)
from emo_lightning.face.coefficients import BFM, BUILTIN


@pytest.fixture
def sample(make_sample):
    return make_sample(
        1,
        sentence="a sentence",
        emotion="sad",
        intensity=3,
        level=13.5,
        tools={"av": "1"},
        extra={"ö": [1, None]},
    )


@pytest.fixture
def members(sample):
    return encode(sample)


def npy(array: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def test_round_trip(sample, members):
    back = decode(sample.key, members)
    assert back.meta == sample.meta
    np.testing.assert_array_equal(back.coefficients.joined(), sample.coefficients.joined())
    np.testing.assert_array_equal(back.au, sample.au)
    np.testing.assert_array_equal(back.landmarks, sample.landmarks)
    np.testing.assert_allclose(back.wave, sample.wave, atol=0.6 / 32768)
    assert back.video == sample.video
    assert encode(back) == members == encode(sample)


def test_only_what_is_asked_for_is_needed(sample, members):
    part = decode(
        sample.key, {name: members[name] for name in ("json", "coeffs.npz")}, {"coefficients"}
    )
    assert part.wave is None and part.video is None and len(part.coefficients) == 60
    assert decode(sample.key, members | {"exe": b"\0"}, set()).meta == sample.meta
    assert set(PARTS) == {"wave", "coefficients", "au", "landmarks", "video"}


def test_blendshapes_are_there_or_not(sample, members):
    assert decode("clip-001", members, {"au", "blendshapes"}).blendshapes is None
    sample.blendshapes = np.linspace(0, 1, 60 * 52, dtype=np.float32).reshape(60, 52)
    stored = encode(sample)
    np.testing.assert_allclose(
        decode("clip-001", stored, {"blendshapes"}).blendshapes, sample.blendshapes, atol=1e-3
    )
    assert decode("clip-001", stored, {"au"}).blendshapes is None
    with pytest.raises(SampleError, match="wrong_shape"):
        decode(
            "clip-001", stored | {"blend.npy": npy(np.zeros((60, 51), np.float16))}, {"blendshapes"}
        )


def test_wav_is_read_as_well(sample, members):
    buffer = io.BytesIO()
    soundfile.write(buffer, sample.wave, 16000, format="WAV", subtype="FLOAT")
    plain = {name: data for name, data in members.items() if name != "flac"} | {
        "wav": buffer.getvalue()
    }
    np.testing.assert_array_equal(decode(sample.key, plain).wave, sample.wave)


def with_json(members, **changes):
    return members | {"json": json.dumps({**json.loads(members["json"]), **changes}).encode()}


def npz(members, **changes):
    buffer = io.BytesIO()
    arrays = dict(np.load(io.BytesIO(members["coeffs.npz"]))) | changes
    np.savez(buffer, **{name: array for name, array in arrays.items() if array is not None})
    return members | {"coeffs.npz": buffer.getvalue()}


def sound(rate, channels, samples):
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros((samples, channels)), rate, format="FLAC")
    return buffer.getvalue()


def bomb(size):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("id.npy", bytes(size))
    return buffer.getvalue()


HOSTILE = {
    "no record": (lambda m: {k: v for k, v in m.items() if k != "json"}, "missing_member"),
    "no sound": (lambda m: {k: v for k, v in m.items() if k != "flac"}, "missing_member"),
    "text for record": (lambda m: m | {"json": b"hello"}, "bad_json"),
    "list for record": (lambda m: m | {"json": b"[1]"}, "bad_json"),
    "deep record": (lambda m: m | {"json": b"[" * 100_000}, "bad_json"),
    "unknown emotion": (lambda m: with_json(m, emotion="bored"), "bad_meta"),
    "level 16": (lambda m: with_json(m, level=16), "bad_meta"),
    "level nan": (lambda m: m | {"json": m["json"].replace(b"13.5", b"NaN")}, "bad_meta"),
    "frames text": (lambda m: with_json(m, frames="60"), "bad_meta"),
    "frames many": (lambda m: with_json(m, frames=MAX_FRAMES + 1), "bad_meta"),
    "split unknown": (lambda m: with_json(m, split="all"), "bad_meta"),
    "no speaker": (lambda m: with_json(m, speaker=""), "bad_meta"),
    "layout nonsense": (lambda m: with_json(m, layout={"name": 1}), "bad_meta"),
    "wrong frames": (lambda m: with_json(m, frames=59), "wrong_shape"),
    "object array": (
        lambda m: m | {"au.npy": npy(np.array([{}, {}], object), allow_pickle=True)},
        "pickled",
    ),
    "object in npz": (lambda m: npz(m, exp=np.array([None] * 60, object)), "pickled"),
    "bare pickle": (lambda m: m | {"au.npy": b"\x80\x04]\x94."}, "bad_array"),
    "double": (lambda m: m | {"au.npy": npy(np.zeros((60, 17)))}, "wrong_dtype"),
    "au short": (lambda m: m | {"au.npy": npy(np.zeros((60, 16), np.float32))}, "wrong_shape"),
    "nan": (lambda m: m | {"au.npy": npy(np.full((60, 17), np.nan, np.float32))}, "not_finite"),
    "nan coefficient": (lambda m: npz(m, tex=np.full((60, 24), np.inf, np.float32)), "not_finite"),
    "block missing": (lambda m: npz(m, tex=None), "missing_member"),
    "block wide": (lambda m: npz(m, tex=np.zeros((60, 25), np.float32)), "wrong_shape"),
    "odd landmarks": (
        lambda m: m | {"landmarks.npy": npy(np.zeros((60, 99, 3), np.float16))},
        "wrong_shape",
    ),
    "cut npy": (lambda m: m | {"au.npy": m["au.npy"][:-5]}, "bad_array"),
    "vast npy": (
        lambda m: (
            m
            | {
                "landmarks.npy": npy(np.zeros((60, 478, 3), np.float16)).replace(
                    b"(60, 478, 3)", b"(60, 9e9, 3)"
                )
            }
        ),
        "bad_array",
    ),
    "cut npz": (lambda m: m | {"coeffs.npz": m["coeffs.npz"][:200]}, "bad_array"),
    "zip bomb": (lambda m: m | {"coeffs.npz": bomb(100 << 20)}, "member_too_large"),
    "big member": (lambda m: m | {"au.npy": bytes(2 << 20)}, "member_too_large"),
    "8 kHz": (lambda m: m | {"flac": sound(8000, 1, 19200)}, "bad_sound"),
    "stereo": (lambda m: m | {"flac": sound(16000, 2, 38400)}, "bad_sound"),
    "long sound": (lambda m: m | {"flac": sound(16000, 1, 16000 * 12)}, "bad_sound"),
    "short sound": (lambda m: m | {"flac": sound(16000, 1, 16000)}, "length_mismatch"),
    "no flac": (lambda m: m | {"flac": b"fLaC" + bytes(100)}, "bad_sound"),
    "no mp4": (lambda m: m | {"mp4": b"RIFF" + bytes(100)}, "bad_video"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_members_are_refused_by_reason(members, name):
    change, reason = HOSTILE[name]
    with pytest.raises(SampleError) as caught:
        decode("clip-001", change(members))
    assert caught.value.reason == reason, caught.value


@pytest.mark.parametrize("key", ["", "../etc", "a/b", "a.b", "a b", "x" * 100, "ü"])
def test_keys_that_are_not_plain_are_refused(members, key):
    with pytest.raises(SampleError, match="bad_key"):
        decode(key, members)


def test_another_layout_is_refused(members):
    with pytest.raises(SampleError, match="wrong_layout"):
        decode("clip-001", members, layout=BFM)
    assert decode("clip-001", members, layout=BUILTIN).coefficients.layout == BUILTIN


def test_what_does_not_fit_is_not_written(sample):
    for change in (
        {"wave": sample.wave[:-800]},
        {"au": sample.au[:-1]},
        {"landmarks": sample.landmarks[..., :2]},
        {"coefficients": sample.coefficients.frames(slice(0, 5))},
        {"key": "a/b"},
    ):
        with pytest.raises(SampleError):
            encode(dataclasses.replace(sample, **change))


def test_later_fields_are_passed_over_and_reasons_are_closed(sample):
    record = json.loads(sample.meta.to_json()) | {"field_of_next_year": 1}
    assert SampleMeta.from_json(json.dumps(record).encode()) == sample.meta
    with pytest.raises(AssertionError):
        SampleError("no such reason", "")
    assert len(set(REASONS)) == len(REASONS)


def test_safe_keys_are_plain_and_differ():
    names = ["a/b.mp4", "a-b.mp4", "../../etc/passwd", "ü.mp4", "ö.mp4", "x" * 300, "x" * 301, ""]
    keys = [safe_key(name) for name in names]
    assert len(set(keys)) == len(keys)
    assert all(
        key.replace("-", "").replace("_", "").isalnum() and key.isascii() and len(key) < 78
        for key in keys
    )
