"""The metrics against their reference implementations, on frames that are nearly equal, unlike, and
equal."""

from __future__ import annotations

import math

import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torchmetrics.functional.image import peak_signal_noise_ratio as tm_psnr
from torchmetrics.functional.image import structural_similarity_index_measure as tm_ssim

from evaluation.metrics.au_error import au_error
from evaluation.metrics.jitter import jitter
from evaluation.metrics.landmark_distance import landmark_distance, mouth_distance
from evaluation.metrics.psnr import CAP, from_squared_error, squared_error
from evaluation.metrics.ssim import ssim


def psnr(generated: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """PSNR of a whole clip."""
    return from_squared_error(squared_error(generated, reference).mean())


def frames(seed: int, noise: float, count: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Smooth coloured frames and the same with noise, uint8 ``(count, 3, 48, 64)``."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 6, 8, generator=generator)
    clean = torch.nn.functional.interpolate(coarse, size=(48, 64), mode="bicubic").clamp(0, 1) * 255
    noisy = (clean + noise * torch.randn(clean.shape, generator=generator)).clamp(0, 255)
    return noisy.round().to(torch.uint8), clean.round().to(torch.uint8)


@pytest.mark.parametrize("noise", [1.0, 12.0, 90.0])
def test_psnr_agrees_with_skimage_and_torchmetrics(noise: float) -> None:
    generated, reference = frames(1, noise)
    value = float(psnr(generated, reference))
    expected = peak_signal_noise_ratio(reference.numpy(), generated.numpy(), data_range=255)
    assert value == pytest.approx(expected, abs=1e-5)
    assert value == pytest.approx(
        float(tm_psnr(generated.double(), reference.double(), data_range=255.0)), abs=1e-5
    )


@pytest.mark.parametrize("noise", [1.0, 12.0, 90.0])
def test_ssim_agrees_with_skimage_and_torchmetrics(noise: float) -> None:
    generated, reference = frames(2, noise)
    values = ssim(generated, reference)
    for value, a, b in zip(values, generated, reference, strict=True):
        options = {
            "gaussian_weights": True,
            "sigma": 1.5,
            "use_sample_covariance": False,
            "data_range": 255,
            "channel_axis": 0,
        }
        assert float(value) == pytest.approx(
            structural_similarity(b.numpy(), a.numpy(), **options), abs=1e-5
        )
    _, windows = tm_ssim(
        generated.double(),
        reference.double(),
        data_range=255.0,
        reduction="none",
        return_full_image=True,
    )
    whole = (
        windows[..., 5:-5, 5:-5].flatten(1).mean(dim=1)
    )  # torchmetrics also counts windows over a mirrored border
    assert torch.allclose(values, whole, atol=1e-5)


def test_equal_frames_are_perfect() -> None:
    _, reference = frames(3, 0.0)
    assert float(psnr(reference, reference)) == pytest.approx(CAP) == pytest.approx(58.92, abs=0.01)
    assert ssim(reference, reference).tolist() == [1.0] * 3


def test_psnr_pools_the_error_and_not_the_decibels() -> None:
    """One perfect frame must not make a clip perfect."""
    reference = torch.zeros(2, 3, 16, 16, dtype=torch.uint8)
    generated = reference.clone()
    generated[0] = 10
    assert float(psnr(generated, reference)) == pytest.approx(10 * math.log10(255**2 / 50))


def test_landmark_distances_are_in_interocular_units_and_the_mouth_ignores_the_heads_place() -> (
    None
):
    points = torch.rand(4, 20, 2, generator=torch.Generator().manual_seed(0))
    moved = points + torch.tensor([0.3, 0.4])
    assert landmark_distance(moved, points, torch.tensor(2.0)).tolist() == pytest.approx(
        [0.25] * 4, abs=1e-6
    )
    assert mouth_distance(moved, points, torch.tensor(2.0)).tolist() == pytest.approx(
        [0.0] * 4, abs=1e-6
    )
    wider = points.clone()
    wider[:, :10, 0] -= 0.1
    wider[:, 10:, 0] += 0.1
    assert mouth_distance(wider, points, torch.tensor(0.5)).tolist() == pytest.approx(
        [0.2] * 4, abs=1e-6
    )


def test_jitter_sees_trembling_and_not_even_motion() -> None:
    time = torch.arange(10.0)[:, None, None]
    even = time * torch.tensor([0.5, -0.2]) + torch.rand(
        1, 5, 2, generator=torch.Generator().manual_seed(0)
    )
    assert float(jitter(even, torch.tensor(1.0)).max()) == pytest.approx(0.0, abs=1e-3)
    trembling = even + 0.01 * (-1.0) ** time
    assert jitter(trembling, torch.tensor(2.0), fps=10.0).tolist() == pytest.approx(
        [0.04 * math.sqrt(2) / 2 * 100] * 8, rel=1e-4
    )


def test_au_error_is_kept_for_each_unit() -> None:
    reference = torch.zeros(5, 17)
    generated = reference.clone()
    generated[:, 3] = 0.5
    generated[:2, 6] = -0.1
    errors = au_error(generated, reference)
    assert (
        errors[3] == pytest.approx(0.5)
        and errors[6] == pytest.approx(0.04)
        and errors.sum() == pytest.approx(0.54)
    )


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda: psnr(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 9)),
            r"\(1, 3, 8, 8\), reference \(1, 3, 8, 9\)",
        ),
        (lambda: ssim(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8)), "at least 11 x 11"),
        (lambda: psnr(torch.zeros(0, 3, 8, 8), torch.zeros(0, 3, 8, 8)), "nothing to score"),
        (
            lambda: landmark_distance(
                torch.zeros(1, 2, 2), torch.zeros(1, 2, 2), torch.tensor(0.0)
            ),
            "above 0",
        ),
        (lambda: jitter(torch.zeros(2, 5, 2), torch.tensor(1.0)), "T at least 3"),
    ],
)
def test_wrong_arguments_are_named(call, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call()
