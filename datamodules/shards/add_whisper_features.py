"""Features of Whisper's encoder beside the audio of a finished shard set.

Training then uses them as an audio front end or as a distillation target without running Whisper at
every step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.shards.derive import Progress, derive_set
from datamodules.shards.index import ShardIndex
from datamodules.shards.reader import Members
from datamodules.shards.schema import SampleMeta, decode, encode_array

Encoder = Callable[[np.ndarray], np.ndarray]
"""Audio ``(N,)`` at 16 kHz to features ``(2T, 384)``, 50 a second."""
RECORD = "whisper"
"""Entry of the index' provenance that describes the features."""


def add_whisper_features(
    data: str | Path,
    out: str | Path,
    encoder: Encoder,
    about: Mapping[str, Any],
    progress: Progress | None = None,
) -> ShardIndex:
    """Write a copy of a shard set with the member ``whisper.npy`` in every sample that has audio.

    Args:
        data: a finished set.
        out: a new or empty folder.
        encoder: computes the features.
        about: description of the encoder, for the index.
        progress: called with (shards done, shards in all).

    Returns:
        The new index, with ``about`` in ``provenance["whisper"]``.

    Raises:
        UserError: a folder that cannot be used, or no good sample at all.
    """

    def with_features(key: str, meta: SampleMeta, members: Members) -> tuple[SampleMeta, Members]:
        if not {"flac", "wav"} & set(members):
            return meta, members
        wave = decode(key, members, {"wave"}).wave
        assert wave is not None
        return meta, {**members, **encode_array("whisper", encoder(wave), meta)}

    network = about.get("network", "a larger network")
    note = f"Every clip with audio has features of {network}; provenance.whisper describes them."
    return derive_set(Path(data), Path(out), with_features, {RECORD: about}, note, progress)
