"""Coil maps: calibration region, agreement with the true sensitivities, invariances."""

import numpy as np
import pytest
import torch

from cohort.records import MeasurementFailed
from recon.coils import calibrated_maps, calibration_size, espirit_maps
from recon.fourier import center_crop, fft2c
from recon.sampling import undersampling_mask


def projection(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """|<a, b>| over the coils, pixel by pixel."""
    return np.abs((a.conj() * b).sum(axis=1))


@pytest.mark.parametrize(
    ("pattern", "expected"), [("Uniform", (20, 48)), ("ktGaussian", (20, 48)), ("ktRadial", (20, 20))]
)
def test_calibration_region_is_read_from_the_mask(pattern: str, expected: tuple[int, int]) -> None:
    # the wide spacing keeps the pattern itself from enlarging the block
    mask = undersampling_mask(pattern, nx=48, ny=64, n_frames=6, acceleration=30, n_calibration=20, seed=1)
    size = calibration_size(mask)
    assert size[0] >= expected[0]
    assert size[0] <= expected[0] + 2
    assert size[1] == expected[1] or pattern == "ktRadial"


def test_calibration_region_needs_every_frame() -> None:
    mask = np.ones((2, 16, 8), np.bool_)
    assert calibration_size(mask) == (16, 8)
    mask[1, 4] = False  # line 4 of 0..15 leaves 5..10, counted around the center 8
    assert calibration_size(mask) == (7, 8)
    mask[1, 8] = False
    assert calibration_size(mask) == (0, 0)


def test_maps_are_the_true_ones_up_to_phase(coil_phantom) -> None:  # type: ignore[no-untyped-def]
    kspace = torch.from_numpy(coil_phantom.kspace)
    found = espirit_maps(center_crop(kspace, (24, 24)), shape=(64, 48))
    maps, support = found.maps.numpy(), found.support.numpy()
    assert maps.shape == coil_phantom.maps.shape
    np.testing.assert_allclose(np.linalg.norm(maps, axis=1), 1, atol=1e-5)
    body = np.abs(coil_phantom.image).min(axis=0) > 0
    assert projection(coil_phantom.maps, maps)[body].min() > 0.995
    assert support[body].min() > 0.9
    assert support.max() < 1.01


def test_maps_follow_a_permutation_of_the_coils(coil_phantom) -> None:  # type: ignore[no-untyped-def]
    order = [3, 1, 5, 0, 2, 4]
    kspace = torch.from_numpy(coil_phantom.kspace)
    calibration = center_crop(kspace, (20, 20))
    straight = espirit_maps(calibration, shape=(64, 48)).maps
    permuted = espirit_maps(calibration[:, :, order], shape=(64, 48)).maps
    # up to one phase a slice, which the virtual coil leaves free
    phase = (straight[:, order].conj() * permuted).sum((1, 2, 3), keepdim=True)
    body = np.abs(coil_phantom.image).min(axis=0)[:, None] > 0
    difference = permuted * torch.exp(-1j * phase.angle()) - straight[:, order]
    assert float((difference.abs() * torch.from_numpy(body)).max()) < 5e-3


@pytest.mark.parametrize("seed", [2, 92, 130])
def test_two_coils_that_little_calibration_cannot_tell_apart_follow_their_permutation(seed: int) -> None:
    """Both eigenvalues of a pixel are near 1: what begins the iteration decides, so it must not be a coil's number."""
    rng = np.random.default_rng(seed)
    y, x = np.linspace(-1, 1, 34)[:, None], np.linspace(-1, 1, 22)
    image = ((x - 0.1) ** 2 + (y + 0.2) ** 2 < 0.5) * np.exp(0.5j * (x + y))
    maps = np.stack([np.exp(-((x - side) ** 2) - y**2 + 1j * x * side) for side in (1, -1)])
    kspace = fft2c(image * maps) + 0.01 * (rng.standard_normal((2, 34, 22)) + 1j * rng.standard_normal((2, 34, 22)))
    mask = undersampling_mask("ktRadial", nx=22, ny=34, n_frames=1, acceleration=4, n_calibration=12, seed=2)
    here, there = (
        calibrated_maps(torch.from_numpy(k.astype(np.complex64))[None, None], mask).maps.numpy()
        for k in (kspace, kspace[::-1].copy())
    )
    np.testing.assert_allclose(projection(there[:, ::-1], here), 1, atol=1e-3)


def test_maps_do_not_depend_on_the_scale(coil_phantom) -> None:  # type: ignore[no-untyped-def]
    calibration = center_crop(torch.from_numpy(coil_phantom.kspace), (20, 20))
    one, other = (espirit_maps(calibration * factor, shape=(64, 48)) for factor in (1.0, 2.0**-40))
    torch.testing.assert_close(one.maps, other.maps, rtol=0, atol=1e-3)


def test_too_few_calibration_lines_are_refused(coil_phantom) -> None:  # type: ignore[no-untyped-def]
    kspace = torch.from_numpy(coil_phantom.kspace)
    mask = undersampling_mask("Uniform", nx=48, ny=64, n_frames=2, acceleration=4, n_calibration=4)
    with pytest.raises(MeasurementFailed, match=r"at least 6 x 6 .* got 4 x 48; use a mask with more calibration"):
        calibrated_maps(kspace, mask)


def test_a_slice_without_signal_is_refused() -> None:
    with pytest.raises(MeasurementFailed, match="expected signal in the calibration region"):
        espirit_maps(torch.zeros(1, 1, 4, 12, 12, dtype=torch.complex64), shape=(16, 16))
