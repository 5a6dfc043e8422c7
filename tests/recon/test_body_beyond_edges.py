"""A body that goes on beyond the left and right edge of the image: maps and SENSE hold there too."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from recon.baselines import fully_sampled, sense, zero_filled
from recon.coils import calibrated_maps
from recon.fourier import fft2c, ifft2c
from recon.map_edges import continued_to_edges
from recon.metrics import official_scores
from recon.sampling import undersampling_mask

NY, NX, N_COILS, SNR = 96, 80, 8, 40


@dataclass(frozen=True)
class CutBody:
    """K-space (frames, slices, coils, ky, kx) and where the body is (y, x)."""

    kspace: NDArray[np.complex64]
    body: NDArray[np.bool_]


@pytest.fixture(scope="module")
def cut_body() -> CutBody:
    """A striped band along x with a beating heart, cut at both edges; coils around it, strongest at different edges."""
    y, x = np.meshgrid(np.linspace(-1, 1, NY), np.linspace(-1, 1, NX), indexing="ij")
    band = np.abs(y) < 0.75 + 0.06 * np.sin(3 * x)
    image = np.stack(
        [
            band * (0.5 + 0.3 * x + 0.4 * (np.sin(23 * y + 4 * x) > 0.3)) + ((x - 0.1) ** 2 + y**2 < radius**2)
            for radius in (0.3, 0.22)
        ]
    )
    angle = 2 * np.pi * (np.arange(N_COILS)[:, None, None] + 0.3) / N_COILS
    distance = (x - 1.3 * np.cos(angle)) ** 2 + (y - 1.3 * np.sin(angle)) ** 2
    maps = np.exp(-0.8 * distance + 1j * (angle + 0.7 * x * np.sin(angle) + 0.6 * y * np.cos(angle)))
    maps /= np.linalg.norm(maps, axis=0)
    coil_images = image[:, None, None] * np.exp(0.4j * x) * maps
    noise = np.random.default_rng(5).standard_normal((2, *coil_images.shape)) * 0.5 / SNR
    return CutBody(fft2c(coil_images + noise[0] + 1j * noise[1]).astype(np.complex64), band)


def mask_of(pattern: str, acceleration: int) -> NDArray[np.bool_]:
    return undersampling_mask(pattern, nx=NX, ny=NY, n_frames=2, acceleration=acceleration, n_calibration=20, seed=3)


def psnr(reference: NDArray[np.floating], image: NDArray[np.floating]) -> float:
    error = np.mean((reference - image) ** 2)
    return float(10 * np.log10(reference.max() ** 2 / error))


@pytest.mark.parametrize(("pattern", "acceleration"), [("Uniform", 8), ("ktRadial", 24)])
def test_coils_combine_to_the_root_sum_of_squares_up_to_the_edges(
    cut_body: CutBody, pattern: str, acceleration: int
) -> None:
    maps = calibrated_maps(torch.from_numpy(cut_body.kspace), mask_of(pattern, acceleration)).maps.numpy()
    coil_images = ifft2c(cut_body.kspace)
    combined = np.abs((maps.conj() * coil_images).sum(2))
    reference = np.linalg.norm(coil_images, axis=2)
    edges = cut_body.body & ((np.arange(NX) < 10) | (np.arange(NX) >= NX - 10))
    assert psnr(reference[..., cut_body.body], combined[..., cut_body.body]) > 45
    assert psnr(reference[..., edges], combined[..., edges]) > 40


def test_fully_sampled_sense_is_the_root_sum_of_squares(cut_body: CutBody) -> None:
    everything = np.ones((2, NY, NX), np.bool_)
    image, reference = np.abs(sense(cut_body.kspace, everything)), fully_sampled(cut_body.kspace)
    assert psnr(reference[..., cut_body.body], image[..., cut_body.body]) > 45


@pytest.mark.parametrize(
    ("pattern", "acceleration", "gain_db"),
    [("Uniform", 4, 2.5), ("Uniform", 8, 1), ("ktGaussian", 16, 0.3), ("ktRadial", 24, 1.5)],
)
def test_sense_beats_zero_filled(cut_body: CutBody, pattern: str, acceleration: int, gain_db: float) -> None:
    mask, reference = mask_of(pattern, acceleration), fully_sampled(cut_body.kspace)
    plain = official_scores(reference, zero_filled(cut_body.kspace, mask))
    better = official_scores(reference, sense(cut_body.kspace, mask))
    assert better["psnr"] > plain["psnr"] + gain_db
    assert better["ssim"] > plain["ssim"]


def test_polynomial_maps_are_continued_exactly_and_the_inside_is_kept() -> None:
    y, x = torch.meshgrid(torch.linspace(-1, 1, 40), torch.linspace(-1, 1, 60), indexing="ij")
    truth = torch.stack([torch.cos(0.4 * x + 0.2 * y) + 0j, torch.sin(0.4 * x + 0.2 * y) * 1j])
    spoiled = truth.clone()
    spoiled[..., :3] = spoiled[..., -3:] = 2**-0.5
    ones = torch.ones(40, 60)
    mended = continued_to_edges(spoiled, ones, signal=ones, cell_px=6.0)
    torch.testing.assert_close(mended, truth, rtol=0, atol=1e-3)
    torch.testing.assert_close(mended[..., 9:-9], truth[..., 9:-9], rtol=0, atol=1e-6)
    without_support = continued_to_edges(spoiled, 0 * ones, signal=ones, cell_px=6.0)
    torch.testing.assert_close(without_support, spoiled)
