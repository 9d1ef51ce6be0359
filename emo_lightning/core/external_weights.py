"""Weight files that others made: only tensors are decoded, nothing in a file is ever run."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from emo_lightning.core.errors import UserError


def read_state_dict(path: Path, argument: str) -> dict[str, Tensor]:
    """A state dict from a ``.pth`` file, on the CPU.

    Args:
        path: the file.
        argument: what the user calls it.

    Raises:
        UserError: the file holds anything other than named tensors.
    """
    wanted = "a state dict of tensors"
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # What torch raises on a file that is no archive of tensors has no common class.
        why = str(error).splitlines()[0][:120]
        raise UserError(argument, path, wanted, f"cannot be read ({why})") from None
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise UserError(argument, path, wanted, "holds something else")
    return state


def read_storages(path: Path, shapes: Sequence[Sequence[int]]) -> list[Tensor]:
    """The float32 tensors of a TorchScript archive, in the order in which they were saved.

    ``torch.jit.load`` would run the program in the archive. The numbers lie beside it as plain
    little-endian files ``data/0``, ``data/1``, ..., for which only the shapes must be known.

    Raises:
        ValueError: not such an archive, or other sizes.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [n for n in archive.namelist() if re.fullmatch(r"[^/]+/data/\d+", n)]
            names.sort(key=lambda name: int(name.rsplit("/", 1)[1]))
            blocks = [archive.read(name) for name in names]
    except zipfile.BadZipFile:
        raise ValueError(f"{path.name} is not a TorchScript archive") from None
    if len(blocks) != len(shapes):
        raise ValueError(f"{path.name} holds {len(blocks)} tensors, expected {len(shapes)}")
    for block, shape in zip(blocks, shapes, strict=True):
        if len(block) != 4 * prod(shape):
            found = f"{path.name} holds a tensor of {len(block)} bytes"
            raise ValueError(f"{found}, expected {tuple(shape)} in float32")
    pairs = zip(blocks, shapes, strict=True)
    return [torch.from_numpy(np.frombuffer(b, "<f4").reshape(s).copy()) for b, s in pairs]
