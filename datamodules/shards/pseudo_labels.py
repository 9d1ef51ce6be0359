"""Pseudo-labels: coefficients predicted by trained networks for recordings without video.

A weaker network learns from the predictions of stronger ones on many voices (distillation).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.shards.derive import Progress, copy_set
from datamodules.shards.index import ShardIndex
from datamodules.shards.reader import Members
from datamodules.shards.schema import Sample, SampleMeta, decode, encode
from emo_lightning.face.builtin import BuiltinFaceModel
from emo_lightning.face.coefficients import Coefficients, read_aus

Predictor = Callable[[np.ndarray, int], Coefficients]
"""Audio ``(N,)`` at 16 kHz and a number of frames to as many frames of a neutral, speaking face."""
PROVENANCE = "pseudo_labels"
"""Entry of the index' provenance that names the networks."""


def add_pseudo_labels(
    data: str | Path,
    out: str | Path,
    predictor: Predictor,
    about: Mapping[str, Any],
    progress: Progress | None = None,
) -> ShardIndex:
    """Write a set's clips that have audio alone, with predicted coefficients.

    Action units and landmarks are those of the predicted face.

    Args:
        data: a finished set.
        out: a new or empty folder.
        predictor: predicts the coefficients.
        about: description of the networks, for the index.
        progress: called with (shards done, shards in all).

    Raises:
        UserError: a folder that cannot be used, or no clip with audio alone.
    """

    def labelled(
        key: str, meta: SampleMeta, members: Members
    ) -> Iterator[tuple[str, SampleMeta, Members]]:
        if "coeffs.npz" in members or not {"flac", "wav"} & set(members):
            return
        wave = decode(key, members, {"wave"}).wave
        assert wave is not None
        made = predictor(wave, meta.frames)
        extra = {**meta.extra, "labels": "predicted"}
        meta = replace(meta, emotion="neutral", layout=made.layout.to_dict(), extra=extra)
        landmarks = BuiltinFaceModel.load().project(made)
        sample = Sample(key, meta, None, made, read_aus(made["exp"]), landmarks)
        yield key, meta, {**members, **encode(sample)}

    note = f"Coefficients are predicted, none is tracked; see provenance.{PROVENANCE}."
    return copy_set(Path(data), Path(out), labelled, {PROVENANCE: about}, note, progress)
