"""Whisper's encoder from a file: CTranslate2's ``model.bin``, OpenAI's ``.pt`` or Hugging Face's safetensors.

The encoder's weights alone are read, by name, with every shape and type held to what the network needs. Nothing in a
file can run code, and no stated size is believed before it was compared with the bytes there are.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from emo_lightning.core import assets
from emo_lightning.core.errors import UserError
from emo_lightning.models.decoupler.whisper import TINY, WhisperEncoder, WhisperSize

ASSETS = ("whisper_tiny_en", "whisper_tiny_en_openai")
"""The same weights in two files; the first that is found is read."""
ACCEPTED = "Whisper tiny or tiny.en: CTranslate2's model.bin, OpenAI's tiny.en.pt, or Hugging Face's model.safetensors"
_VERSION = 6
_MAX_VARIABLES, _MAX_RANK = 4096, 8
_DTYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
_FLOATS = (np.dtype(np.float32), np.dtype(np.float16))


class BadModel(ValueError):
    """A file that is not the model it should be."""


@lru_cache(maxsize=2)
def load_whisper(path: str | Path | None = None) -> WhisperEncoder:
    """Whisper's tiny encoder, frozen, from a file or from the registered asset.

    Raises:
        UserError: the asset is absent, or the file is not Whisper's.
    """
    place = registered_whisper() if path is None else Path(path)
    try:
        state = read_encoder(place)
    except (BadModel, OSError) as error:
        raise UserError("whisper", place, ACCEPTED, f"cannot be read ({error})") from None
    encoder = WhisperEncoder(TINY)
    encoder.load_state_dict(state, strict=True)
    return encoder.requires_grad_(False).eval()


def registered_whisper() -> Path:
    """The first registered file that is there; UserError says how to get one."""
    return find_whisper() or assets.locate(ASSETS[0])


def find_whisper() -> Path | None:
    """The first registered file that is there, None without one.

    Raises:
        UserError: a file of that name has another content.
    """
    name = next((name for name in ASSETS if assets.find(name) is not None), None)
    return None if name is None else assets.locate(name)


def read_encoder(path: str | Path, size: WhisperSize = TINY) -> dict[str, Tensor]:
    """The weights of :class:`WhisperEncoder`, float32; the kind of file goes by its name's end.

    Raises:
        BadModel: another kind of file, a damaged one, or other sizes.
    """
    path = Path(path)
    read = {".bin": _read_ctranslate2, ".pt": _read_openai, ".safetensors": _read_hugging_face}.get(
        path.suffix
    )
    if read is None:
        raise BadModel(f"{path.suffix or 'no ending'} is no kind of file that is known")
    return _held_to(size, read(path, size))


def read_variables(path: str | Path, wanted: Callable[[str], bool]) -> dict[str, np.ndarray]:
    """Arrays of a CTranslate2 file, format 6, by name.

    Args:
        path: the file.
        wanted: says of a name whether its array is read.

    Raises:
        BadModel: anything that does not add up.
    """
    with open(path, "rb") as file:
        try:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:
            raise BadModel("is empty") from None
        with data:
            return _variables(_Bytes(data), wanted)


class _Bytes:
    """Reads forwards through a file and never beyond its end."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data, self._at = data, 0

    def take(self, count: int) -> bytes:
        piece = self._data[self._at : self.skip(count)]
        return piece

    def skip(self, count: int) -> int:
        if count > len(self._data) - self._at:
            raise BadModel(
                f"ends at byte {len(self._data)}, where {count} more than {self._at} are stated"
            )
        self._at += count
        return self._at

    def numbers(self, form: str) -> tuple[int, ...]:
        return struct.unpack(f"<{form}", self.take(struct.calcsize(f"<{form}")))

    def text(self) -> str:
        (length,) = self.numbers("H")
        try:
            return self.take(length).rstrip(b"\0").decode("ascii")
        except UnicodeDecodeError:
            raise BadModel("has a name that is not text") from None

    @property
    def ended(self) -> bool:
        return self._at == len(self._data)


def _variables(data: _Bytes, wanted: Callable[[str], bool]) -> dict[str, np.ndarray]:
    (version,) = data.numbers("I")
    if version != _VERSION:
        raise BadModel(f"is not a CTranslate2 file of format {_VERSION}")
    spec, _ = data.text(), data.numbers("I")
    if spec != "WhisperSpec":
        raise BadModel(f"holds a {spec[:40]!r}, not Whisper")
    (count,) = data.numbers("I")
    if count > _MAX_VARIABLES:
        raise BadModel(f"states {count} arrays")
    found: dict[str, np.ndarray] = {}
    for _ in range(count):
        name, array = _variable(data, wanted)
        if name in found:
            raise BadModel(f"has {name[:60]} twice")
        if array is not None:
            found[name] = array
    (aliases,) = data.numbers("I")
    for _ in range(min(aliases, _MAX_VARIABLES)):
        data.text(), data.text()
    if not data.ended:
        raise BadModel("goes on after its end")
    return found


def _variable(data: _Bytes, wanted: Callable[[str], bool]) -> tuple[str, np.ndarray | None]:
    name = data.text()
    (rank,) = data.numbers("B")
    if rank > _MAX_RANK:
        raise BadModel(f"{name[:60]} has {rank} dimensions")
    shape = data.numbers(f"{rank}I")
    kind, size = data.numbers("BI")
    if not wanted(name):
        data.skip(size)
        return name, None
    if kind not in _DTYPES or math.prod(shape) * np.dtype(_DTYPES[kind]).itemsize != size:
        raise BadModel(f"{name[:60]}: stated size and bytes differ")
    return name, np.frombuffer(data.take(size), _DTYPES[kind]).reshape(shape)


def _read_ctranslate2(path: Path, size: WhisperSize) -> dict[str, Tensor]:
    names = {
        f"conv{i}.{part}": f"encoder/conv{i}/{part}" for i in (1, 2) for part in ("weight", "bias")
    }
    names |= _norm("norm", "encoder/layer_norm")
    for i in range(size.layers):
        ours, theirs = f"blocks.{i}", f"encoder/layer_{i}"
        names |= _norm(f"{ours}.attention_norm", f"{theirs}/self_attention/layer_norm")
        names |= _norm(f"{ours}.mlp_norm", f"{theirs}/ffn/layer_norm")
        pairs = {
            "query_key_value": "self_attention/linear_0",
            "attention_out": "self_attention/linear_1",
        }
        pairs |= {"up": "ffn/linear_0", "down": "ffn/linear_1"}
        names |= {
            f"{ours}.{a}.{part}": f"{theirs}/{b}/{part}"
            for a, b in pairs.items()
            for part in ("weight", "bias")
        }
    arrays = read_variables(path, set(names.values()).__contains__)
    bad = [name for name, array in arrays.items() if array.dtype not in _FLOATS]
    if bad:
        raise BadModel(f"{bad[0]} is {arrays[bad[0]].dtype}; quantised files are not read")
    return {
        ours: torch.from_numpy(arrays[theirs].astype(np.float32))
        for ours, theirs in names.items()
        if theirs in arrays
    }


def _norm(ours: str, theirs: str) -> dict[str, str]:
    return {f"{ours}.weight": f"{theirs}/gamma", f"{ours}.bias": f"{theirs}/beta"}


def _read_openai(path: Path, size: WhisperSize) -> dict[str, Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)["model_state_dict"]
        state = {
            str(name).removeprefix("encoder."): value
            for name, value in state.items()
            if str(name).startswith("encoder.")
        }
    except (
        Exception
    ) as error:  # torch's reader raises many kinds, one of them for what is more than plain weights
        raise BadModel(f"is not OpenAI's file ({type(error).__name__})") from None
    parts = {
        "attention_norm": "attn_ln",
        "mlp_norm": "mlp_ln",
        "attention_out": "attn.out",
        "up": "mlp.0",
        "down": "mlp.2",
    }
    return _joined(
        state, size, "blocks", parts, ("attn.query", "attn.key", "attn.value"), "ln_post"
    )


def _read_hugging_face(path: Path, size: WhisperSize) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            names = [
                name for name in file.keys() if name.startswith(("model.encoder.", "encoder."))
            ]
            state = {name.split("encoder.", 1)[1]: file.get_tensor(name) for name in names}
    except (SafetensorError, RuntimeError, ValueError) as error:
        raise BadModel(f"is not a safetensors file ({error})") from None
    parts = {"attention_norm": "self_attn_layer_norm", "mlp_norm": "final_layer_norm"}
    parts |= {"attention_out": "self_attn.out_proj", "up": "fc1", "down": "fc2"}
    return _joined(
        state,
        size,
        "layers",
        parts,
        ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        "layer_norm",
    )


def _joined(
    state: Mapping[str, Tensor],
    size: WhisperSize,
    blocks: str,
    parts: Mapping[str, str],
    attention: tuple[str, str, str],
    norm: str,
) -> dict[str, Tensor]:
    """Weights under our names; query, key and value, which has no bias for the key, become one."""
    names = {f"conv{i}.{part}": f"conv{i}.{part}" for i in (1, 2) for part in ("weight", "bias")}
    names |= {f"norm.{part}": f"{norm}.{part}" for part in ("weight", "bias")}
    for i in range(size.layers):
        names |= {
            f"blocks.{i}.{a}.{part}": f"{blocks}.{i}.{b}.{part}"
            for a, b in parts.items()
            for part in ("weight", "bias")
        }
    out = {ours: state[theirs].float() for ours, theirs in names.items() if theirs in state}
    for i in range(size.layers):
        place = [f"{blocks}.{i}.{name}" for name in attention]
        if all(f"{name}.weight" in state for name in place):
            biases = [state.get(f"{name}.bias", torch.zeros(size.width)).float() for name in place]
            out[f"blocks.{i}.query_key_value.weight"] = torch.cat(
                [state[f"{name}.weight"].float() for name in place]
            )
            out[f"blocks.{i}.query_key_value.bias"] = torch.cat(biases)
    return out


def _held_to(size: WhisperSize, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same weights; BadModel unless they are those that the network has, of its shapes, and finite."""
    with torch.device("meta"):
        needed = WhisperEncoder(size).state_dict()
    for name, value in needed.items():
        if name not in state:
            raise BadModel(f"lacks the encoder's {name}")
        if state[name].shape != value.shape:
            raise BadModel(f"{name} is {tuple(state[name].shape)}, expected {tuple(value.shape)}")
        if not bool(torch.isfinite(state[name]).all()):
            raise BadModel(f"{name} is not finite")
    return state
