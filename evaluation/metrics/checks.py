"""Argument checks that the metrics share; every message names the argument and the value given."""

from __future__ import annotations

from torch import Tensor


def same_shape(generated: Tensor, reference: Tensor, dims: int, layout: str) -> None:
    """Raise ValueError unless both have one shape of ``dims`` dimensions with no empty one; ``layout`` names them."""
    if generated.ndim != dims:
        raise ValueError(f"generated has shape {tuple(generated.shape)}, expected {layout}")
    if generated.shape != reference.shape:
        raise ValueError(
            f"generated has shape {tuple(generated.shape)}, reference {tuple(reference.shape)}; they must agree"
        )
    if generated.numel() == 0:
        raise ValueError(f"generated has shape {tuple(generated.shape)}: there is nothing to score")
