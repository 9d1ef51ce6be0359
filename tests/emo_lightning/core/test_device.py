"""Devices by name, with an error that says what is there; one context for all networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from emo_lightning.core.device import InferenceContext, resolve_device
from emo_lightning.core.errors import UserError


def test_auto_is_cuda_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == torch.device("cpu") == resolve_device(" CPU ")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert resolve_device("auto") == resolve_device("cuda") == torch.device("cuda:0")
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(UserError, match=r"cuda:2.*accepted: cpu, cuda:0, cuda:1"):
        resolve_device("cuda:2")


@pytest.mark.parametrize("text", ["gpu", "cuda:", "cpu:0", "cuda:x", "", "auto:1"])
def test_other_names_are_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"--device .* is not a device; accepted: auto, cpu"):
        resolve_device(text)


def test_a_device_that_is_not_there_is_the_users_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.version, "hip", None)
    with pytest.raises(UserError, match="CUDA build"):
        resolve_device("cuda")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UserError, match="not on this machine"):
        resolve_device("mps")


def test_a_context_prepares_networks_and_sets_the_precision() -> None:
    context = InferenceContext.create("cpu", "bfloat16", channels_last=True)
    network = context.prepare(torch.nn.Conv2d(4, 4, 3), images=True)
    assert not network.training and not network.weight.requires_grad
    assert network.weight.is_contiguous(memory_format=torch.channels_last)
    with context.inference():
        out = network(context.tensor(np.zeros((1, 4, 8, 8), np.float32)))
    assert out.dtype == torch.bfloat16 and not out.requires_grad
    expected = {"device": "cpu", "precision": "bfloat16", "compiled": False}
    assert context.describe() == expected
    with pytest.raises(UserError, match="float32, bfloat16, float16"):
        InferenceContext.create("cpu", "int4")
