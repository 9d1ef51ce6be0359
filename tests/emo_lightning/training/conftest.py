"""A tiny set of shards with every member real: sound, coefficients that follow it, and video."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from datamodules.shards.schema import Sample, SampleMeta
from datamodules.shards.writer import ShardWriter
from emo_lightning.face.coefficients import BUILTIN, Coefficients, read_aus
from emo_lightning.media.video_writer import encode_mp4_bytes
from emo_lightning.motion.emotions import EMOTIONS, prototype_exp

SPLITS = ("train",) * 8 + ("val",) * 4


def clip(number: int, frames: int = 80, size: int = 32) -> Sample:
    """A tone whose loudness opens the mouth, with an emotion's face on top and a picture that
    moves with the head."""
    rng = np.random.default_rng(number)
    time = np.arange(frames) / 25.0
    opening = 0.5 - 0.5 * np.cos(2 * np.pi * 2.0 * time + rng.uniform(0, 6))
    emotion = EMOTIONS[number % 8]
    level = float(rng.uniform(1, 15))
    exp = np.tile(prototype_exp(emotion, BUILTIN.exp_names) * level / 15, (frames, 1))
    exp[:, BUILTIN.exp_names.index("AU26")] += 0.6 * opening
    angle = 0.1 * np.sin(2 * np.pi * 0.5 * time[:, None] + rng.uniform(0, 6, 3))
    trans = np.tile([0.0, 0.0, -0.5], (frames, 1))
    identity = np.tile(rng.standard_normal(40), (frames, 1))
    blocks = {
        "id": identity,
        "exp": exp,
        "tex": np.zeros((frames, 24)),
        "angle": angle,
        "trans": trans,
    }
    coefficients = Coefficients(
        BUILTIN, {name: value.astype(np.float32) for name, value in blocks.items()}
    )
    wave = np.repeat(opening, 640) * 0.3 * np.sin(2 * np.pi * 220 * np.arange(frames * 640) / 16000)
    grid = np.linspace(0, 255, size)
    pictures = [
        np.stack([np.roll(np.tile(grid, (size, 1)), int(20 * a), 1)] * 3, -1).astype(np.uint8)
        for a in angle[:, 1]
    ]
    split = SPLITS[number]
    labels = {"emotion": emotion, "level": None if emotion == "neutral" else level}
    meta = SampleMeta("made", f"{split}{number}", frames, BUILTIN.to_dict(), split, **labels)
    landmarks = np.zeros((frames, 478, 3), np.float32)
    video = encode_mp4_bytes(pictures)
    return Sample(
        f"made-{number:02d}",
        meta,
        wave.astype(np.float32),
        coefficients,
        read_aus(coefficients["exp"]),
        landmarks,
        video,
    )


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve clips: eight to train on, four to validate."""
    out = tmp_path_factory.mktemp("shards") / "set"
    with ShardWriter(out, samples_per_shard=4) as writer:
        for number in range(len(SPLITS)):
            writer.add(clip(number))
        writer.finish()
    return out


@pytest.fixture(scope="session")
def portrait() -> Coefficients:
    """One frame's coefficients."""
    coefficients = clip(9).coefficients
    assert coefficients is not None
    return coefficients.frames(slice(0, 1))
