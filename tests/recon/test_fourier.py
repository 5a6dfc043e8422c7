"""The Fourier convention: unitary, centered, and the same in numpy and torch."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recon.fourier import center_crop, center_pad, center_slice, fft2c, ifft2c, remove_readout_oversampling


def random_complex(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


@settings(max_examples=25, deadline=None)
@given(ny=st.integers(1, 12), nx=st.integers(1, 12), seed=st.integers(0, 100))
def test_transform_is_unitary_and_the_same_in_torch(ny: int, nx: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    image, kspace = random_complex(rng, 2, ny, nx), random_complex(rng, 2, ny, nx)
    assert np.vdot(kspace, fft2c(image)) == pytest.approx(np.vdot(ifft2c(kspace), image), rel=1e-4, abs=1e-4)
    np.testing.assert_allclose(ifft2c(fft2c(image)), image, atol=1e-5)
    np.testing.assert_allclose(fft2c(torch.from_numpy(image)).numpy(), fft2c(image), atol=1e-5)
    np.testing.assert_allclose(ifft2c(torch.from_numpy(image)).numpy(), ifft2c(image), atol=1e-5)


@pytest.mark.parametrize("shape", [(6, 8), (5, 7), (6, 7)])
def test_center_of_kspace_is_the_mean(shape: tuple[int, int]) -> None:
    kspace = fft2c(np.ones(shape, np.complex64))
    expected = np.zeros(shape)
    expected[shape[0] // 2, shape[1] // 2] = np.sqrt(shape[0] * shape[1])
    np.testing.assert_allclose(kspace, expected, atol=1e-5)


def test_point_in_the_center_has_flat_kspace() -> None:
    image = np.zeros((6, 5), np.complex64)
    image[3, 2] = 1
    np.testing.assert_allclose(fft2c(image), np.full((6, 5), 1 / np.sqrt(30)), atol=1e-6)


def test_precision_is_kept() -> None:
    assert fft2c(np.ones((4, 4), np.complex64)).dtype == np.complex64
    assert fft2c(np.ones((4, 4), np.complex128)).dtype == np.complex128


@pytest.mark.parametrize(("n_readout", "factor"), [(16, 2), (18, 2), (15, 3), (14, 1)])
def test_readout_oversampling_is_cropped_in_image_space(rng: np.random.Generator, n_readout: int, factor: int) -> None:
    kspace = random_complex(rng, 3, 2, 4, n_readout)
    kept = n_readout // factor
    cropped = remove_readout_oversampling(kspace, factor)
    assert cropped.shape == (3, 2, 4, kept)
    assert cropped.dtype == np.complex64
    np.testing.assert_allclose(ifft2c(cropped), center_crop(ifft2c(kspace), (4, kept)), atol=1e-5)


def test_readout_oversampling_must_divide_the_readout() -> None:
    with pytest.raises(ValueError, match="got 15 samples and factor 2"):
        remove_readout_oversampling(np.zeros((2, 15), np.complex64), 2)


@pytest.mark.parametrize(
    ("length", "block", "start"), [(8, 4, 2), (7, 4, 1), (8, 3, 3), (7, 3, 2), (5, 5, 0), (5, 0, 2)]
)
def test_center_slice_keeps_the_centers_together(length: int, block: int, start: int) -> None:
    assert center_slice(length, block) == slice(start, start + block)


def test_crop_undoes_pad_in_numpy_and_torch(rng: np.random.Generator) -> None:
    small = random_complex(rng, 2, 5, 6)
    big = center_pad(small, (9, 8))
    assert np.abs(big).sum() == pytest.approx(np.abs(small).sum())
    np.testing.assert_array_equal(center_crop(big, (5, 6)), small)
    np.testing.assert_array_equal(center_pad(torch.from_numpy(small), (9, 8)).numpy(), big)


def test_padding_kspace_interpolates_the_image() -> None:
    image = ifft2c(center_pad(fft2c(np.ones((4, 4), np.complex64)), (8, 8)))
    np.testing.assert_allclose(image, np.full((8, 8), 0.5), atol=1e-6)  # same energy on four times the pixels


def test_crop_refuses_to_enlarge() -> None:
    with pytest.raises(ValueError, match="at most 4"):
        center_crop(np.zeros((4, 4)), (6, 4))
