"""Reader of Whisper's encoder: CTranslate2's ``model.bin``, as a package ships it, or OpenAI's
``.pt``.

Only the encoder's tensors are read, by name, and their shapes and types are checked. Nothing in a
file can run code, and no stated size is trusted before it is compared with the bytes that exist.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from emo_lightning.core import assets
from emo_lightning.core.errors import UserError
from emo_lightning.models.decoupler.whisper import TINY, WhisperEncoder, WhisperSize

ASSETS = ("whisper_tiny_en", "whisper_tiny_en_openai")
"""Registered files with the same weights; the first that exists is used."""
ACCEPTED = "Whisper tiny or tiny.en: CTranslate2's model.bin or OpenAI's tiny.en.pt"
MODULES = {
    "conv1": ("conv1", ("conv1",)),
    "conv2": ("conv2", ("conv2",)),
    "norm": ("layer_norm", ("ln_post",)),
    "attention_norm": ("self_attention/layer_norm", ("attn_ln",)),
    "query_key_value": ("self_attention/linear_0", ("attn.query", "attn.key", "attn.value")),
    "attention_out": ("self_attention/linear_1", ("attn.out",)),
    "mlp_norm": ("ffn/layer_norm", ("mlp_ln",)),
    "up": ("ffn/linear_0", ("mlp.0",)),
    "down": ("ffn/linear_1", ("mlp.2",)),
}
"""Our modules and what CTranslate2 and OpenAI call them."""
FORMAT, MAX_ARRAYS, MAX_RANK = 6, 4096, 8
DTYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}


class BadModel(ValueError):
    """A file that does not hold the expected model."""


@lru_cache(maxsize=2)
def load_whisper(path: str | Path | None = None) -> WhisperEncoder:
    """Whisper's tiny encoder, frozen, from a file or from the registered asset.

    Raises:
        UserError: the asset is absent, or the file is not Whisper's.
    """
    path = registered_whisper() if path is None else Path(path)
    try:
        state = read_encoder(path)
    except (BadModel, OSError) as error:
        raise UserError("whisper", path, ACCEPTED, f"cannot be read ({error})") from None
    encoder = WhisperEncoder(TINY)
    encoder.load_state_dict(state, strict=True)
    return encoder.requires_grad_(False).eval()


def registered_whisper() -> Path:
    """First registered file that exists; the UserError without one names the ways to get it."""
    return find_whisper() or assets.locate(ASSETS[0])


def find_whisper() -> Path | None:
    """First registered file that exists, None without one.

    Raises:
        UserError: a file of that name has another content.
    """
    name = next((name for name in ASSETS if assets.find(name) is not None), None)
    return None if name is None else assets.locate(name)


def read_encoder(path: str | Path, size: WhisperSize = TINY) -> dict[str, Tensor]:
    """Weights of :class:`WhisperEncoder`, float32.

    Raises:
        BadModel: another kind of file, a damaged one, or other sizes.
    """
    path = Path(path)
    with torch.device("meta"):
        expected = WhisperEncoder(size).state_dict()
    read = {".bin": _read_ctranslate2, ".pt": _read_openai}.get(path.suffix)
    if read is None:
        raise BadModel(f"{path.suffix or 'no ending'} is no kind of file that is known")
    state = read(path, list(expected))
    for name, value in expected.items():
        if name not in state:
            raise BadModel(f"lacks the encoder's {name}")
        if state[name].shape != value.shape:
            raise BadModel(f"{name} is {tuple(state[name].shape)}, expected {tuple(value.shape)}")
        if not bool(torch.isfinite(state[name]).all()):
            raise BadModel(f"{name} is not finite")
    return state


def _read_openai(path: Path, names: list[str]) -> dict[str, Tensor]:
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)["model_state_dict"]
        state: dict[str, Tensor] = {}
        for name in names:
            *block, module, part = name.split(".")
            prefix = ".".join(["encoder", *block])
            parts = [tensors.get(f"{prefix}.{each}.{part}") for each in MODULES[module][1]]
            if len(parts) == 3 and part == "bias" and parts[1] is None and parts[0] is not None:
                parts[1] = torch.zeros_like(parts[0])  # the key projection has no bias
            if all(each is not None for each in parts):
                state[name] = torch.cat([each.float() for each in parts])
        return state
    except Exception as error:  # torch's reader raises many kinds, one for what is no plain weight
        raise BadModel(f"is not OpenAI's file ({type(error).__name__})") from None


def _read_ctranslate2(path: Path, names: list[str]) -> dict[str, Tensor]:
    stored = {}
    for name in names:
        *block, module, part = name.split(".")
        if module.endswith("norm"):
            part = {"weight": "gamma", "bias": "beta"}[part]
        layer = f"layer_{block[1]}/" if block else ""
        stored[f"encoder/{layer}{MODULES[module][0]}/{part}"] = name
    arrays = read_arrays(path, stored.__contains__)
    for name, array in arrays.items():
        if array.dtype not in (np.float32, np.float16):
            raise BadModel(f"{name} is {array.dtype}; quantised files are not read")
    return {
        stored[name]: torch.from_numpy(array.astype(np.float32)) for name, array in arrays.items()
    }


def read_arrays(path: str | Path, wanted: Callable[[str], bool]) -> dict[str, np.ndarray]:
    """Arrays of a CTranslate2 file of format 6 by name.

    Args:
        path: the file.
        wanted: predicate on names; other arrays are skipped.

    Raises:
        BadModel: any inconsistency.
    """
    with open(path, "rb") as file:
        try:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:
            raise BadModel("is empty") from None
        with data:
            return _parse(_Cursor(data), wanted)


class _Cursor:
    """Sequential reader that never passes the end."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.at = data, 0

    def skip(self, count: int) -> slice:
        start, size = self.at, len(self.data)
        if count > size - start:
            raise BadModel(f"ends at byte {size}, where {count} more than {start} are stated")
        self.at += count
        return slice(start, self.at)

    def numbers(self, form: str) -> tuple[int, ...]:
        return struct.unpack(f"<{form}", self.data[self.skip(struct.calcsize(f"<{form}"))])

    def text(self) -> str:
        try:
            return self.data[self.skip(self.numbers("H")[0])].rstrip(b"\0").decode("ascii")
        except UnicodeDecodeError:
            raise BadModel("has a name that is not text") from None


def _parse(cursor: _Cursor, wanted: Callable[[str], bool]) -> dict[str, np.ndarray]:
    if cursor.numbers("I") != (FORMAT,):
        raise BadModel(f"is not a CTranslate2 file of format {FORMAT}")
    spec, _, (count,) = cursor.text(), cursor.numbers("I"), cursor.numbers("I")
    if spec != "WhisperSpec":
        raise BadModel(f"holds a {spec[:40]!r}, not Whisper")
    if count > MAX_ARRAYS:
        raise BadModel(f"states {count} arrays")
    found: dict[str, np.ndarray] = {}
    for _ in range(count):
        name, (rank,) = cursor.text(), cursor.numbers("B")
        if rank > MAX_RANK or name in found:
            raise BadModel(f"has {name[:60]} twice, or in {rank} dimensions")
        shape, (kind, size) = cursor.numbers(f"{rank}I"), cursor.numbers("BI")
        place = cursor.skip(size)
        if wanted(name):
            dtype = np.dtype(DTYPES.get(kind, np.uint8))
            if kind not in DTYPES or math.prod(shape) * dtype.itemsize != size:
                raise BadModel(f"{name[:60]}: stated size and bytes differ")
            found[name] = np.frombuffer(cursor.data[place], dtype).reshape(shape)
    for _ in range(min(cursor.numbers("I")[0], MAX_ARRAYS)):
        cursor.text(), cursor.text()  # aliases
    if cursor.at != len(cursor.data):
        raise BadModel("continues after its end")
    return found
