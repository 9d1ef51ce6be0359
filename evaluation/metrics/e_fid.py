"""E-FID: Fréchet distance between the expressions of generated and real frames.

L. Tian et al., "EMO: Emote Portrait Alive", ECCV 2024, which reads the expression with a face reconstruction network and
takes the Fréchet distance of its coefficients (Hallo, 2024, likewise). Here the expression is the built-in face model's:
28 named coefficients, action units and speech shapes, on a scale where 1 is FACS grade E. The formula is FID's; the numbers
compare with other E-FIDs on these coefficients, and with those on Deep3D's only in order. With 28 numbers a few hundred frames are enough.
"""

from __future__ import annotations

from torch import Tensor

from evaluation.metrics.fid import FID, fid

COEFFICIENTS = 28
ENOUGH = 280
"""Frames a side below which the 28 x 28 covariances are poorly known: ten for each coefficient."""


def e_fid(
    generated: Tensor, reference: Tensor, weights: tuple[Tensor, Tensor] | None = None
) -> Tensor:
    """Fréchet distance of two sets of expression coefficients.

    Args:
        generated: ``(N, 28)``, or of another face model; N at least 2.
        reference: ``(M, 28)``, M at least 2.
        weights: how often each frame counts; once each by default.

    Returns:
        Scalar float64, coefficients squared, at least 0.

    Raises:
        ValueError: as :func:`evaluation.metrics.fid.fid`.
    """
    return fid(generated, reference, weights)


class EFID(FID):
    """E-FID of everything seen."""

    def __init__(self, coefficients: int = COEFFICIENTS) -> None:
        super().__init__(coefficients)
