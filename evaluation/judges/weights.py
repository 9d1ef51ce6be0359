"""Reading weights that others made: tensors alone, nothing in a file is ever run."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
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
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # What torch raises on a file that is no archive of tensors has no common class.
        raise UserError(
            argument,
            path,
            "a state dict of tensors",
            f"cannot be read ({str(error).splitlines()[0][:120]})",
        ) from None
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise UserError(argument, path, "a state dict of tensors", "holds something else")
    return state


def read_storages(path: Path, shapes: Sequence[Sequence[int]]) -> list[Tensor]:
    """The float32 tensors of a TorchScript archive, in the order in which they were saved.

    ``torch.jit.load`` would run the program in the archive. The numbers lie beside it as plain little-endian files ``data/0``,
    ``data/1``, ..., which need no program and no unpickling; only the shapes must be known.

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
        if len(block) != 4 * int(np.prod(shape)):
            raise ValueError(
                f"{path.name} holds a tensor of {len(block)} bytes, expected {tuple(shape)} in float32"
            )
    return [
        torch.from_numpy(np.frombuffer(b, "<f4").reshape(s).copy())
        for b, s in zip(blocks, shapes, strict=True)
    ]
