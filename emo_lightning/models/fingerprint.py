"""What identifies a set of weights, whatever file they are in, and where a checkpoint says what it is."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from torch import Tensor

META_KEY = "emo_lightning"
"""Entry of a checkpoint, and of a safetensors file's metadata, with the stage, sizes, layout and predecessor."""


def fingerprint(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, shapes and values as float32, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().float().contiguous()
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()
