"""Samples and small shard sets that tests write themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from datamodules.shards.schema import Sample, SampleMeta
from datamodules.shards.writer import ShardWriter
from emo_lightning.face.coefficients import BUILTIN, Coefficients
from emo_lightning.media.video_writer import encode_mp4_bytes


def sample_of(
    number: int,
    frames: int = 60,
    speaker: str = "s0",
    split: str = "train",
    video: bool = True,
    **labels,
) -> Sample:
    """A sample whose every frame can be told: exp[0] is the frame's number, the picture's grey is twice that."""
    rng = np.random.default_rng(number)
    values = {
        block: rng.standard_normal((frames, width)).astype(np.float32)
        for block, width in BUILTIN.widths
    }
    values["exp"][:, 0] = np.arange(frames)
    values["exp"][:, 1] = number
    meta = SampleMeta("test", speaker, frames, BUILTIN.to_dict(), split, **labels)
    pictures = [np.full((32, 32, 3), 2 * t, np.uint8) for t in range(frames)]
    return Sample(
        f"clip-{number:03d}",
        meta,
        (0.1 * rng.standard_normal(frames * 640)).astype(np.float32),
        Coefficients(BUILTIN, values),
        rng.random((frames, 17)).astype(np.float32),
        rng.standard_normal((frames, 478, 3)).astype(np.float16).astype(np.float32),
        encode_mp4_bytes(pictures) if video else None,
    )


@pytest.fixture
def make_sample() -> Callable[..., Sample]:
    return sample_of


@pytest.fixture(scope="session")
def shard_set(tmp_path_factory) -> Path:
    """Twelve clips of four speakers in train, four clips of a fifth in val; two clips a shard."""
    out = tmp_path_factory.mktemp("sets") / "set"
    with ShardWriter(out, samples_per_shard=2) as writer:
        for number in range(16):
            train = number < 12
            labels = {"emotion": "happy", "level": 8.0, "intensity": 2} if number % 2 else {}
            speaker = f"s{number % 4}" if train else "s9"
            writer.add(
                sample_of(number, 40 + number, speaker, "train" if train else "val", **labels)
            )
        writer.finish()
    return out
