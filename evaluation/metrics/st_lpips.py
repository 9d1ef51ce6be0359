"""ST-LPIPS: shift-tolerant learned perceptual image patch similarity.

A. Ghildyal, F. Liu, "Shift-tolerant perceptual similarity metric", ECCV 2022: LPIPS on an AlexNet with small strides and
blurred downsampling, network and heads trained together, so that a shift by a pixel costs little. Its form is that of
LPIPS, its numbers are smaller and do not compare with LPIPS. Agrees with ``stlpips_pytorch.stlpips.LPIPS(net="alex",
variant="shift_tolerant")`` to 1e-5 of the value. The network itself is :mod:`evaluation.judges.st_lpips_net`.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from evaluation.metrics.lpips import LPIPS, lpips


def st_lpips(
    generated: Sequence[Tensor], reference: Sequence[Tensor], heads: Sequence[Tensor]
) -> Tensor:
    """ST-LPIPS of each pair of pictures from their feature maps; arguments and errors as :func:`evaluation.metrics.lpips.lpips`."""
    return lpips(generated, reference, heads)


class STLPIPS(LPIPS):
    """Mean ST-LPIPS over every pair of frames seen; ``network`` and ``heads`` are those of the shift-tolerant AlexNet."""
