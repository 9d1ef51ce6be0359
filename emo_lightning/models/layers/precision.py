"""Numerical precision: computations that stay in float32 under autocast."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def float32_on(like: Tensor) -> AbstractContextManager:
    """Context without autocast on the device of ``like``.

    For geometry and covariances: in bfloat16 a position in -1..1 is off by up to a pixel of 256.
    """
    kind = like.device.type
    if not torch.amp.is_autocast_available(kind):
        return nullcontext()
    return torch.autocast(kind, enabled=False)
