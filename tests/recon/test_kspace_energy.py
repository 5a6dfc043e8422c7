"""Is noise read from the edges of k-space, and energy from its rings?"""

import numpy as np
import pytest

from recon.kspace_energy import noise_variance, radial_energy, relative_radius
from recon.sampling import undersampling_mask


def noise(rng: np.random.Generator, shape: tuple[int, ...], sd: float = 1.0) -> np.ndarray:
    """Complex white noise of variance sd^2."""
    return (sd * (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / np.sqrt(2)).astype(np.complex64)


def test_radius_is_one_where_an_axis_ends() -> None:
    radius = relative_radius(8, 6)
    assert radius[4, 3] == 0
    assert radius[0, 3] == radius[4, 0] == 1
    assert radius[0, 0] == pytest.approx(np.sqrt(2))


@pytest.mark.parametrize("pattern", ["Uniform", "ktRadial"])
def test_noise_of_each_coil_is_found_beside_a_strong_center(rng: np.random.Generator, pattern: str) -> None:
    kspace = noise(rng, (4, 2, 96, 80)) * np.array([1.0, 3.0], np.float32)[:, None, None]
    kspace[:, :, 40:56, 30:50] += 1000
    mask = undersampling_mask(pattern, nx=80, ny=96, n_frames=4, acceleration=4, n_calibration=20)
    np.testing.assert_allclose(noise_variance(kspace, mask), [1, 9], rtol=0.15)


def test_zeros_of_the_scanner_do_not_count_as_silence(rng: np.random.Generator) -> None:
    kspace = noise(rng, (2, 1, 64, 64), sd=2.0)
    kspace[:, :, relative_radius(64, 64) > 1] = 0
    assert noise_variance(kspace, np.ones((2, 64, 64), np.bool_))[0] == pytest.approx(4, rel=0.2)
    assert np.isnan(noise_variance(np.zeros_like(kspace), np.ones((2, 64, 64), np.bool_)))[0]


def test_white_noise_has_the_rings_areas(rng: np.random.Generator) -> None:
    kspace = noise(rng, (8, 4, 64, 64))
    rings = radial_energy(kspace, np.ones((8, 64, 64), np.bool_), n_bins=4)
    np.testing.assert_allclose(rings, np.array([1, 3, 5, 7]) / 16, rtol=0.1)


def test_undersampling_hardly_changes_the_rings(rng: np.random.Generator) -> None:
    fall = np.exp(-6 * relative_radius(96, 96)).astype(np.float32)
    kspace = noise(rng, (6, 4, 96, 96)) * fall
    full = radial_energy(kspace, np.ones((6, 96, 96), np.bool_), n_bins=8)
    for pattern in ("Uniform", "ktRadial"):
        mask = undersampling_mask(pattern, nx=96, ny=96, n_frames=6, acceleration=6, n_calibration=16)
        spoiled = np.where(mask[:, None], kspace, np.complex64(1e6))
        found = radial_energy(spoiled, mask, n_bins=8)
        assert found.sum() == pytest.approx(1)
        np.testing.assert_allclose(found, full, atol=0.03)
