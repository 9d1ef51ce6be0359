"""Argument checks that the metrics share; every message names the argument and the value given."""

from __future__ import annotations

from torch import Tensor


def same_shape(generated: Tensor, reference: Tensor, dims: int, layout: str) -> None:
    """ValueError unless both have one shape of ``dims`` dimensions, none empty; ``layout`` names
    them."""
    shape = tuple(generated.shape)
    if generated.ndim != dims:
        raise ValueError(f"generated has shape {shape}, expected {layout}")
    if generated.shape != reference.shape:
        other = tuple(reference.shape)
        raise ValueError(f"generated has shape {shape}, reference {other}; they must agree")
    if generated.numel() == 0:
        raise ValueError(f"generated has shape {shape}: there is nothing to score")


def two_sets(generated: Tensor, reference: Tensor) -> None:
    """ValueError unless the two are ``(N, D)`` and ``(M, D)`` with at least two rows each."""
    a, b = tuple(generated.shape), tuple(reference.shape)
    if len(a) != 2 or len(b) != 2 or a[1] != b[1]:
        raise ValueError(f"generated has shape {a}, reference {b}, expected (N, D) and (M, D)")
    if min(a[0], b[0]) < 2:
        message = (
            f"{a[0]} generated and {b[0]} reference images; at least 2 on each side are needed"
        )
        raise ValueError(message)
