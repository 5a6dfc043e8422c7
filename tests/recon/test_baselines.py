"""Zero-filled and SENSE images: exact where they must be, better than nothing where they should be."""

from typing import Any

import numpy as np
import pytest

from cohort.records import MeasurementFailed
from recon.baselines import fully_sampled, sense, zero_filled
from recon.metrics import official_scores
from recon.sampling import undersampling_mask


def everything(kspace: np.ndarray) -> np.ndarray:
    return np.ones((kspace.shape[0], *kspace.shape[-2:]), np.bool_)


def accelerated(kspace: np.ndarray, pattern: str, acceleration: int) -> np.ndarray:
    n_frames, _, _, ny, nx = kspace.shape
    return undersampling_mask(
        pattern, nx=nx, ny=ny, n_frames=n_frames, acceleration=acceleration, n_calibration=16, seed=2
    )


def test_fully_sampled_images_are_the_truth(coil_phantom: Any) -> None:
    kspace, truth = coil_phantom.kspace, coil_phantom.image
    np.testing.assert_allclose(fully_sampled(kspace), np.abs(truth), atol=1e-5)
    np.testing.assert_array_equal(zero_filled(kspace, everything(kspace)), fully_sampled(kspace))
    given = sense(kspace, everything(kspace), maps=coil_phantom.maps, regularization=0.0, max_iterations=5)
    np.testing.assert_allclose(given, truth, atol=1e-5)
    own = sense(kspace, everything(kspace), regularization=0.0, max_iterations=5)
    np.testing.assert_allclose(np.abs(own), np.abs(truth), atol=0.01)
    assert official_scores(np.abs(truth), own)["psnr"] > 50


@pytest.mark.parametrize(
    ("pattern", "acceleration"), [("Uniform", 4), ("ktUniform", 4), ("ktGaussian", 4), ("ktRadial", 16)]
)
def test_sense_beats_zero_filled(coil_phantom: Any, rng: np.random.Generator, pattern: str, acceleration: int) -> None:
    noise = rng.standard_normal((2, *coil_phantom.kspace.shape))
    kspace = (coil_phantom.kspace + 0.004 * (noise[0] + 1j * noise[1])).astype(np.complex64)
    mask = accelerated(kspace, pattern, acceleration)
    reference = fully_sampled(kspace)
    plain = official_scores(reference, zero_filled(kspace, mask))
    better = official_scores(reference, sense(kspace, mask))
    # irregular lines of so small an image leave little to gain
    assert better["psnr"] > plain["psnr"] + (0.2 if pattern == "ktGaussian" else 0.5)
    assert better["ssim"] > plain["ssim"]


def test_sense_recovers_the_truth_from_noise_free_data_with_true_maps(coil_phantom: Any) -> None:
    mask = accelerated(coil_phantom.kspace, "Uniform", 2)
    image = sense(
        coil_phantom.kspace, mask, maps=coil_phantom.maps, regularization=0.0, max_iterations=200, tolerance=1e-6
    )
    np.testing.assert_allclose(image, coil_phantom.image, atol=2e-3)


@pytest.mark.parametrize("method", [zero_filled, sense])
def test_scale_of_the_data_is_the_scale_of_the_image(coil_phantom: Any, method: Any) -> None:
    mask = accelerated(coil_phantom.kspace, "Uniform", 3)
    image = method(coil_phantom.kspace, mask)
    np.testing.assert_allclose(method(coil_phantom.kspace * np.float32(2.0**-30), mask) * 2.0**30, image, atol=1e-4)


@pytest.mark.parametrize("method", [zero_filled, sense])
def test_order_of_the_coils_does_not_matter(coil_phantom: Any, method: Any) -> None:
    mask = accelerated(coil_phantom.kspace, "Uniform", 3)
    swapped = coil_phantom.kspace[:, :, [4, 2, 0, 5, 1, 3]]
    np.testing.assert_allclose(np.abs(method(swapped, mask)), np.abs(method(coil_phantom.kspace, mask)), atol=5e-3)


@pytest.mark.parametrize("method", [zero_filled, sense])
def test_one_mask_may_be_broadcast_to_all_frames(coil_phantom: Any, method: Any) -> None:
    mask = accelerated(coil_phantom.kspace[:1], "Uniform", 3)
    shared = np.broadcast_to(mask, (2, 64, 48))  # not writable
    frozen = coil_phantom.kspace.copy()
    frozen.setflags(write=False)
    np.testing.assert_array_equal(method(frozen, shared), method(coil_phantom.kspace, shared.copy()))


@pytest.mark.parametrize("method", [zero_filled, sense])
def test_points_outside_the_mask_are_not_read(coil_phantom: Any, method: Any) -> None:
    mask = accelerated(coil_phantom.kspace, "ktRadial", 16)
    spoiled = np.where(mask[:, None, None], coil_phantom.kspace, np.complex64(9))
    np.testing.assert_array_equal(method(spoiled, mask), method(coil_phantom.kspace, mask))


def test_frames_and_slices_are_independent(coil_phantom: Any) -> None:
    mask = accelerated(coil_phantom.kspace, "ktUniform", 3)
    together = sense(coil_phantom.kspace, mask, maps=coil_phantom.maps)
    alone = sense(coil_phantom.kspace[1:, 1:], mask[1:], maps=coil_phantom.maps[1:])
    np.testing.assert_allclose(together[1:, 1:], alone, atol=1e-5)


@pytest.mark.parametrize("method", [zero_filled, sense])
def test_what_cannot_be_reconstructed_is_refused(coil_phantom: Any, method: Any) -> None:
    kspace, mask = coil_phantom.kspace, everything(coil_phantom.kspace)
    with pytest.raises(ValueError, match=r"of shape \(2, 64, 48\), got bool \(1, 64, 48\)"):
        method(kspace, mask[:1])
    with pytest.raises(ValueError, match="expected a bool mask"):
        method(kspace, mask.astype(np.float32))
    with pytest.raises(ValueError, match="got 4 axes"):
        method(kspace[0], mask)
    empty, broken = kspace.copy(), kspace.copy()
    empty[1, 0] = 0
    broken[0, 0, 0, 3, 3] = np.nan
    with pytest.raises(MeasurementFailed, match="all-zero k-space in frame 1, slice 0"):
        method(empty, mask)
    with pytest.raises(MeasurementFailed, match="finite k-space"):
        method(broken, mask)


def test_sense_needs_calibration_or_maps(coil_phantom: Any) -> None:
    mask = undersampling_mask("Uniform", nx=48, ny=64, n_frames=2, acceleration=4, n_calibration=0)
    with pytest.raises(MeasurementFailed, match="calibrate the coils, got 1 x 48"):
        sense(coil_phantom.kspace, mask)
    assert np.isfinite(sense(coil_phantom.kspace, mask, maps=coil_phantom.maps)).all()
    with pytest.raises(ValueError, match="expected maps"):
        sense(coil_phantom.kspace, mask, maps=coil_phantom.maps[:1])
