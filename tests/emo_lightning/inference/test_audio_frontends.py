"""Whisper's encoder: safe readers, the published network's numbers, exact in a stream."""

from __future__ import annotations

import struct
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emo_lightning.core import assets
from emo_lightning.core.errors import UserError
from emo_lightning.inference.audio_frontends import open_frontend, whisper_teacher
from emo_lightning.inference.whisper_checkpoint import (
    MODULES,
    BadModel,
    load_whisper,
    read_arrays,
    read_encoder,
)
from emo_lightning.media.spectrogram import MEL_KINDS, log_mel
from emo_lightning.models.decoupler.audio_frontend import CONTEXT, SEGMENT, WhisperFrontend
from emo_lightning.models.decoupler.whisper import WhisperEncoder, WhisperSize, sinusoids

SMALL = WhisperSize(bands=80, width=16, heads=2, layers=2)


@pytest.fixture(scope="module")
def encoder():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return WhisperEncoder(SMALL).eval()


@pytest.fixture(scope="module")
def full():
    """An encoder of the real one's sizes with weights of its own."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return WhisperEncoder().eval()


def text(value: str) -> bytes:
    return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"


def variable(name: str, array: np.ndarray, kind: int = 4) -> bytes:
    raw = array.tobytes()
    return (
        text(name)
        + struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)
        + struct.pack("<BI", kind, len(raw))
        + raw
    )


def ctranslate2(encoder: WhisperEncoder) -> dict[str, np.ndarray]:
    """The encoder's weights as CTranslate2 names them, 16 bits."""
    named = {}
    blocks = {
        "attention_norm": "self_attention/layer_norm",
        "mlp_norm": "ffn/layer_norm",
        "query_key_value": "self_attention/linear_0",
    }
    blocks |= {
        "attention_out": "self_attention/linear_1",
        "up": "ffn/linear_0",
        "down": "ffn/linear_1",
    }
    for name, value in encoder.state_dict().items():
        words = name.split(".")
        part = words[-1]
        if "norm" in words[-2]:
            part = {"weight": "gamma", "bias": "beta"}[part]
        if words[0] == "blocks":
            place = f"encoder/layer_{words[1]}/{blocks[words[2]]}"
        else:
            place = f"encoder/{ {'norm': 'layer_norm'}.get(words[0], words[0]) }"
        named[f"{place}/{part}"] = value.numpy().astype(np.float16)
    return named


def binary(
    arrays: dict[str, np.ndarray],
    count: int | None = None,
    version: int = 6,
    spec: str = "WhisperSpec",
) -> bytes:
    head = (
        struct.pack("<I", version)
        + text(spec)
        + struct.pack("<II", 3, len(arrays) if count is None else count)
    )
    kinds = {np.dtype(np.float16): 4, np.dtype(np.float32): 0, np.dtype(np.int8): 1}
    return (
        head
        + b"".join(variable(name, array, kinds[array.dtype]) for name, array in arrays.items())
        + struct.pack("<I", 0)
    )


@pytest.fixture
def model_bin(encoder, tmp_path):
    path = tmp_path / "model.bin"
    path.write_bytes(binary({"decoder/big": np.zeros(7, np.float32), **ctranslate2(encoder)}))
    return path


def openai(encoder: WhisperEncoder) -> dict[str, Tensor]:
    """The encoder's weights as OpenAI names them, 16 bits; the key projection has no bias."""
    named: dict[str, Tensor] = {"decoder.x": torch.zeros(3)}
    for name, value in encoder.state_dict().items():
        *block, module, part = name.split(".")
        names = MODULES[module][1]
        for piece, each in zip(value.half().chunk(len(names)), names, strict=True):
            if (each, part) != ("attn.key", "bias"):
                named[".".join(["encoder", *block, each, part])] = piece.clone()
    return named


def test_both_kinds_of_file_give_the_same_weights(encoder, model_bin, tmp_path):
    torch.save({"dims": {}, "model_state_dict": openai(encoder)}, tmp_path / "tiny.pt")
    packaged, downloaded = (read_encoder(path, SMALL) for path in (model_bin, tmp_path / "tiny.pt"))
    for name, value in encoder.state_dict().items():
        expected = value.half().float()
        assert torch.equal(packaged[name], expected), name
        if name.endswith("query_key_value.bias"):
            expected[SMALL.width : 2 * SMALL.width] = 0.0
        assert torch.equal(downloaded[name], expected), name


ONE_ARRAY = (
    struct.pack("<I", 6)
    + text("WhisperSpec")
    + struct.pack("<II", 3, 1)
    + text("encoder/conv1/bias")
)


@pytest.mark.parametrize("keep", [0, 3, 20, 100, 5000, -1])
def test_a_file_cut_short_is_refused(model_bin, keep):
    whole = model_bin.read_bytes()
    model_bin.write_bytes(whole[:keep])
    with pytest.raises(BadModel):
        read_encoder(model_bin, SMALL)


@pytest.mark.parametrize(
    "content",
    [
        binary({}, version=5),
        binary({}, spec="TransformerSpec"),
        binary({}, count=2**32 - 1),
        binary({}) + b"more",
        binary({"a": np.zeros(2, np.float16)}, count=1)[:-12] + struct.pack("<BI", 4, 2**32 - 1),
        ONE_ARRAY + struct.pack("<B", 255),
        ONE_ARRAY + struct.pack("<B8IBI", 8, *[2**32 - 1] * 8, 4, 8) + bytes(8),
        b"\x80\x04cos\nsystem\n",
    ],
)  # fmt: skip
def test_a_hostile_file_is_refused_and_takes_no_memory(tmp_path, content):
    path = tmp_path / "model.bin"
    path.write_bytes(content)
    with pytest.raises(BadModel):
        read_arrays(path, lambda name: True)


def test_weights_of_another_shape_kind_or_missing_are_refused(encoder, tmp_path):
    path = tmp_path / "model.bin"
    good = ctranslate2(encoder)
    for change in (
        {"encoder/conv1/bias": np.zeros(17, np.float16)},
        {"encoder/conv1/bias": np.zeros(16, np.int8)},
        {"encoder/conv1/bias": np.full(16, np.nan, np.float16)},
    ):
        path.write_bytes(binary(good | change))
        with pytest.raises(BadModel, match="conv1"):
            read_encoder(path, SMALL)
    path.write_bytes(
        binary(
            {
                name: array
                for name, array in good.items()
                if name != "encoder/layer_1/ffn/linear_0/weight"
            }
        )
    )
    with pytest.raises(BadModel, match=r"lacks the encoder's blocks\.1\.up\.weight"):
        read_encoder(path, SMALL)
    with pytest.raises(BadModel, match="no kind of file"):
        read_encoder(tmp_path / "model.onnx", SMALL)


def test_a_file_that_is_not_whisper_is_the_users_mistake(tmp_path):
    class Runs:
        def __reduce__(self):
            return print, ("run",)

    torch.save({"model_state_dict": Runs()}, tmp_path / "tiny.pt")
    with pytest.raises(UserError, match="whisper"):
        load_whisper(tmp_path / "tiny.pt")


def reference(encoder: WhisperEncoder, rows: Tensor) -> Tensor:
    """The published encoder put together from PyTorch's own layers."""
    size = encoder.size
    x = F.gelu(F.conv1d(rows.transpose(1, 2), encoder.conv1.weight, encoder.conv1.bias, padding=1))
    x = F.gelu(
        F.conv1d(x, encoder.conv2.weight, encoder.conv2.bias, stride=2, padding=1)
    ).transpose(1, 2)
    x = x + sinusoids(1500, size.width)[: x.shape[1]]
    for block in encoder.blocks:
        attention = nn.MultiheadAttention(size.width, size.heads, batch_first=True).eval()
        attention.in_proj_weight, attention.in_proj_bias = (
            block.query_key_value.weight,
            block.query_key_value.bias,
        )
        attention.out_proj.weight, attention.out_proj.bias = (
            block.attention_out.weight,
            block.attention_out.bias,
        )
        normed = F.layer_norm(
            x, (size.width,), block.attention_norm.weight, block.attention_norm.bias
        )
        x = x + attention(normed, normed, normed)[0]
        normed = F.layer_norm(x, (size.width,), block.mlp_norm.weight, block.mlp_norm.bias)
        x = x + F.linear(
            F.gelu(F.linear(normed, block.up.weight, block.up.bias)),
            block.down.weight,
            block.down.bias,
        )
    return F.layer_norm(x, (size.width,), encoder.norm.weight, encoder.norm.bias)


@torch.no_grad()
def test_the_encoder_is_the_published_one(encoder):
    rows = torch.from_numpy(
        np.random.default_rng(0).standard_normal((2, 60, 80)).astype(np.float32)
    )
    torch.testing.assert_close(encoder(rows), reference(encoder, rows), atol=1e-5, rtol=1e-5)
    assert encoder(rows).shape == (2, 30, 16)
    for wrong in (0, 61, 3002):
        with pytest.raises(ValueError, match="rows"):
            encoder(torch.zeros(1, wrong, 80))


def test_a_stream_gives_the_features_of_the_whole_recording(full):
    frontend = WhisperFrontend(full, MEL_KINDS["whisper"].quiet)
    rng = np.random.default_rng(2)
    for frames in (1, SEGMENT, 3 * SEGMENT + 7):
        rows = rng.standard_normal((4 * frames, 80)).astype(np.float32)
        whole = frontend.features(rows)
        assert whole.shape == (2 * frames, 384) and whole.dtype == np.float32
        cuts = np.sort(rng.integers(0, len(rows), 5))
        np.testing.assert_array_equal(
            np.concatenate(list(frontend.transform(np.split(rows, cuts)))), whole
        )
    late = rows.copy()
    late[4 * (SEGMENT + CONTEXT.future) :] += 1.0
    np.testing.assert_array_equal(frontend.features(late)[: 2 * SEGMENT], whole[: 2 * SEGMENT])
    assert not np.array_equal(frontend.features(late), whole)


def test_absent_weights_are_an_error_with_a_remedy(monkeypatch, tmp_path):
    gone = [
        replace(asset, packages=()) if asset.name.startswith("whisper") else asset
        for asset in assets.ASSETS
    ]
    monkeypatch.setattr(assets, "ASSETS", tuple(gone))
    monkeypatch.setenv(assets.ENVIRONMENT, str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    load_whisper.cache_clear()
    with pytest.raises(UserError, match="whisper_tiny_en"):
        open_frontend("whisper")
    with pytest.raises(UserError, match="mel, whisper"):
        open_frontend("hubert")


def test_the_real_encoder_separates_speech_from_silence_at_any_loudness():
    """Whisper itself, where its package is installed."""
    try:
        teacher, about = whisper_teacher()
    except UserError:
        pytest.skip("Whisper's weights are not installed")
    time = np.arange(32000) / 16000
    buzz = np.sign(np.sin(2 * np.pi * 120 * time)) * (np.sin(2 * np.pi * 2 * time) > 0)
    wave = (0.05 * buzz).astype(np.float32)
    features = teacher(wave)
    assert features.shape == (100, 384) and np.isfinite(features).all() and about["blocks"] == 2
    # All recordings are brought to one level.
    np.testing.assert_allclose(teacher(0.25 * wave), features, atol=0.05)
    # The first component follows sound and silence, twice a second.
    centred = features - features.mean(0)
    first = np.linalg.svd(centred, full_matrices=False)[0][:, 0]
    on = np.sin(2 * np.pi * 2 * (np.arange(100) + 0.5) / 50) > 0
    assert abs(np.corrcoef(first, on)[0, 1]) > 0.6
    assert log_mel(wave, "whisper").shape == (200, 80)
