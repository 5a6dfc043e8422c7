"""Does the simulated scanner sample the Fourier integral of its object, with the coils and the noise it claims?"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.fft
from numpy.typing import NDArray

from cohort.synthetic import acquisition
from cohort.synthetic.acquisition import (
    Receiver,
    acquire,
    coil_sensitivities,
    fourier_matrix,
    interpolate_object,
    noise_mixing,
    smooth_phase,
)
from recon.fourier import ifft2c, remove_readout_oversampling

QUIET = Receiver(n_coils=4, snr=float("inf"), readout_oversampling=1)
Array = NDArray[Any]


@pytest.fixture
def no_coils(monkeypatch: pytest.MonkeyPatch) -> None:
    """One coil that sees everything equally, and an object without phase."""

    def ones(shape: tuple[int, int], spacing: Any, offsets: Array, *, receiver: Receiver, rng: Any) -> Array:
        del spacing, rng
        return np.ones((len(offsets), receiver.n_coils, *shape), dtype=np.complex64)

    monkeypatch.setattr(acquisition, "coil_sensitivities", ones)
    monkeypatch.setattr(acquisition, "smooth_phase", lambda shape, size, *, rng: np.ones(shape, dtype=np.complex64))


def scan(
    images: Array, *, spacing: tuple[float, float], matrix: tuple[int, int], fov: tuple[float, float], **options: Any
) -> Array:
    """k-space of (y, x) or (frames, slices, y, x) without noise, one coil, unless asked otherwise."""
    given: dict[str, Any] = {
        "receiver": replace(QUIET, n_coils=1),
        "signal_level": 1.0,
        "rng": np.random.default_rng(1),
    }
    object_4d = images.reshape((1,) * (4 - images.ndim) + images.shape)
    return acquire(object_4d, fine_spacing_mm=spacing, matrix=matrix, fov_mm=fov, **(given | options))


def centers_mm(n: int, fov_mm: float) -> Array:
    """Where the centers of n pixels lie, from the center of the field of view."""
    return (np.arange(n) + 0.5 - n / 2) * fov_mm / n


# --- closed forms: the image is the object without its frequencies beyond the acquired ones


@pytest.mark.usefixtures("no_coils")
@pytest.mark.parametrize("matrix", [(16, 24), (15, 25)])
def test_constant_object_keeps_its_value(matrix: tuple[int, int]) -> None:
    fov = (120.0, 160.0)
    kspace = scan(np.full((60, 80), 3.0), spacing=(2.0, 2.0), matrix=matrix, fov=fov)
    np.testing.assert_allclose(ifft2c(kspace)[0, 0, 0], 3.0, atol=2e-5)


@pytest.mark.usefixtures("no_coils")
@pytest.mark.parametrize("matrix", [(32, 40), (31, 41), (32, 41)])
@pytest.mark.parametrize("oversampling", [1, 2])
def test_gaussian_is_sampled_at_the_pixel_centers(matrix: tuple[int, int], oversampling: int) -> None:
    """Anything but the right centers, for odd and even sizes, oversampled or not, would shift it."""
    fov, spacing, sd, middle = (160.0, 200.0), (1.6, 2.0), 13.0, (12.0, -17.0)
    y, x = (np.exp(-((centers_mm(100, f) - m) ** 2) / (2 * sd**2)) for f, m in zip(fov, middle, strict=True))
    receiver = replace(QUIET, n_coils=1, readout_oversampling=oversampling)
    kspace = scan(np.outer(y, x), spacing=spacing, matrix=matrix, fov=fov, receiver=receiver)
    assert kspace.shape == (1, 1, 1, matrix[0], matrix[1] * oversampling)
    image = ifft2c(remove_readout_oversampling(kspace, oversampling))[0, 0, 0]
    y, x = (np.exp(-((centers_mm(n, f) - m) ** 2) / (2 * sd**2)) for n, f, m in zip(matrix, fov, middle, strict=True))
    np.testing.assert_allclose(image, np.outer(y, x), atol=3e-5)


@pytest.mark.usefixtures("no_coils")
def test_point_becomes_the_dirichlet_kernel() -> None:
    """One fine pixel of area a gives a / (acquired pixel) sin(pi u) / (n sin(pi u / n)) along each axis."""
    n, fov = 16, 64.0
    point = np.zeros((64, 64))
    point[37, 22] = 1.0
    image = ifft2c(scan(point, spacing=(1.0, 1.0), matrix=(n, n), fov=(fov, fov)))[0, 0, 0]

    def kernel(position: int) -> Array:
        u = (centers_mm(n, fov) - centers_mm(64, fov)[position]) / 4.0
        return np.exp(-1j * np.pi * u / n) * np.sin(np.pi * u) / (n * np.sin(np.pi * u / n))

    np.testing.assert_allclose(image, np.outer(kernel(37), kernel(22)) / 16, atol=1e-6)


@pytest.mark.usefixtures("no_coils")
def test_equals_the_cropped_fast_transform_where_the_grids_agree(rng: np.random.Generator) -> None:
    """A fine grid three times finer with odd sizes: the same centers, so low-pass is cropping the spectrum."""
    fine = rng.standard_normal((45, 63))
    kspace = scan(fine, spacing=(2.0, 2.0), matrix=(15, 21), fov=(90.0, 126.0))[0, 0, 0]
    spectrum = scipy.fft.fftshift(scipy.fft.fft2(scipy.fft.ifftshift(fine), norm="ortho"))
    np.testing.assert_allclose(kspace, spectrum[15:30, 21:42] / 3, atol=1e-5)


@pytest.mark.usefixtures("no_coils")
def test_oversampling_keeps_what_lies_outside_out_of_the_image() -> None:
    # 80 mm wide object, field of view 48 mm: something at 34 mm right of the center folds without oversampling
    wide = np.zeros((48, 80))
    wide[:, 70:76] = np.hanning(8)[1:-1]
    options: dict[str, Any] = {"spacing": (1.0, 1.0), "matrix": (24, 24), "fov": (48.0, 48.0)}
    folded = ifft2c(scan(wide, **options))
    kspace = scan(wide, **options, receiver=replace(QUIET, n_coils=1, readout_oversampling=2))
    kept = ifft2c(remove_readout_oversampling(kspace, 2))
    assert np.abs(folded).max() > 0.8
    assert np.abs(kept).max() < 0.1


@pytest.mark.usefixtures("no_coils")
def test_acquisition_is_linear(rng: np.random.Generator) -> None:
    first, second = rng.standard_normal((2, 2, 3, 30, 36))
    options: dict[str, Any] = {"spacing": (1.0, 1.0), "matrix": (16, 18), "fov": (30.0, 36.0)}
    both = scan(2 * first - 1j * second, **options)
    assert both.shape == (2, 3, 1, 16, 18)
    np.testing.assert_allclose(both, 2 * scan(first, **options) - 1j * scan(second, **options), atol=1e-5)


# --- coils and phase


def test_normalized_coils_combine_to_the_object() -> None:
    y, x = (np.exp(-(centers_mm(120, 240.0) ** 2) / (2 * 40.0**2)) for _ in range(2))
    receiver = replace(QUIET, n_coils=6, prescan_normalized=True)
    kspace = scan(np.outer(y, x), spacing=(2.0, 2.0), matrix=(48, 48), fov=(240.0, 240.0), receiver=receiver)
    combined = np.linalg.norm(ifft2c(kspace), axis=2)[0, 0]
    expected = np.outer(*(np.exp(-(centers_mm(48, 240.0) ** 2) / (2 * 40.0**2)) for _ in range(2)))
    np.testing.assert_allclose(combined, expected, atol=0.01)


@pytest.mark.parametrize("normalized", [False, True])
def test_sensitivities_have_unit_norm_at_the_center_or_everywhere(normalized: bool, rng: np.random.Generator) -> None:
    receiver = replace(QUIET, n_coils=8, prescan_normalized=normalized)
    maps = coil_sensitivities((80, 60), (4.0, 4.0), np.array([-20.0, 0.0, 20.0]), receiver=receiver, rng=rng)
    assert maps.shape == (3, 8, 80, 60)
    assert maps.dtype == np.complex64
    norm = np.linalg.norm(maps, axis=1)
    assert norm[:, 38:42, 28:32].mean() == pytest.approx(1, abs=0.05)
    if normalized:
        np.testing.assert_allclose(norm[:, 8:-8, 6:-6], 1, atol=0.02)  # fields bend most beside the coils
    else:
        assert norm.max() > 1.5  # brighter near the coils
    assert not np.allclose(maps[0], maps[2], atol=0.01)  # slices see the coils differently
    # smooth: neighboring pixels differ little
    assert np.abs(np.diff(maps[..., 8:-8, 6:-6], axis=-1)).max() < 0.2 * norm.max()


def test_phase_is_a_smooth_phase(rng: np.random.Generator) -> None:
    phase = smooth_phase((60, 50), 1.0, rng=rng)
    np.testing.assert_allclose(np.abs(phase), 1, rtol=1e-5)
    assert np.abs(np.diff(phase, axis=0)).max() < 0.3
    constant = smooth_phase((60, 50), 0.0, rng=rng)
    np.testing.assert_allclose(constant, constant[0, 0], rtol=1e-6)


# --- noise


@pytest.mark.parametrize("correlation", [0.0, 0.2, 0.9])
def test_noise_has_the_stated_level_and_correlation(correlation: float, rng: np.random.Generator) -> None:
    receiver = Receiver(n_coils=3, snr=25.0, readout_oversampling=2, noise_correlation=correlation)
    zeros = np.zeros((4, 2, 100, 100), dtype=np.float32)
    kspace = scan(
        zeros, spacing=(1.0, 1.0), matrix=(60, 50), fov=(100.0, 100.0), receiver=receiver, signal_level=50.0, rng=rng
    )
    expected_sd = 50.0 / 25.0
    for sample in (kspace, ifft2c(remove_readout_oversampling(kspace, 2))):  # the same in image and k-space
        for part in (sample.real, sample.imag):
            np.testing.assert_allclose(part.std(axis=(0, 1, 3, 4)), expected_sd, rtol=0.03)
        assert np.abs(sample.mean()) < 0.05
    flat = np.moveaxis(kspace, 2, 0).reshape(3, -1)
    coupling = np.abs(np.corrcoef(flat))[~np.eye(3, dtype=bool)]
    assert (coupling < 0.02).all() if correlation == 0 else (coupling.max() > 0.05)


def test_noise_differs_between_frames_and_coils_share_it_as_mixed(rng: np.random.Generator) -> None:
    zeros = np.zeros((2, 1, 60, 60), dtype=np.float32)
    kspace = scan(
        zeros, spacing=(1.0, 1.0), matrix=(40, 40), fov=(60.0, 60.0), receiver=replace(QUIET, snr=10.0), rng=rng
    )
    assert abs(np.corrcoef(kspace[0].ravel(), kspace[1].ravel())[0, 1]) < 0.05


@pytest.mark.parametrize("correlation", [0.0, 0.3, 1.0])
def test_mixing_keeps_unit_variance(correlation: float, rng: np.random.Generator) -> None:
    mixing = noise_mixing(6, correlation, rng=rng)
    covariance = mixing @ mixing.conj().T
    np.testing.assert_allclose(np.diag(covariance).real, 1, rtol=1e-5)
    if correlation == 0:
        np.testing.assert_allclose(covariance, np.eye(6), atol=1e-6)


# --- randomness, refinement, refusals


def test_seed_repeats_and_global_state_is_untouched() -> None:
    fine = np.ones((1, 2, 40, 40), dtype=np.float32)
    before = np.random.get_state()[1].copy()  # type: ignore[index] # noqa: NPY002
    first, again, other = (
        scan(
            fine,
            spacing=(1.0, 1.0),
            matrix=(20, 20),
            fov=(40.0, 40.0),
            receiver=Receiver(n_coils=3),
            rng=np.random.default_rng(seed),
        )
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # type: ignore[index] # noqa: NPY002


def test_progress_and_the_object_are_respected() -> None:
    fine = np.ones((2, 3, 30, 30), dtype=np.float32)
    fine.flags.writeable = False
    calls: list[int] = []
    options: dict[str, Any] = {"spacing": (1.0, 1.0), "matrix": (16, 16), "fov": (30.0, 30.0)}
    scan(fine, **options, progress=lambda: calls.append(1))
    assert len(calls) == 3


def test_too_coarse_grids_and_wrong_axes_are_refused() -> None:
    fine = np.ones((24, 40))
    with pytest.raises(ValueError, match=r"must be at least 1\.3 times finer"):
        scan(fine, spacing=(2.0, 2.0), matrix=(16, 40), fov=(48.0, 80.0))
    with pytest.raises(ValueError, match=r"frames, slices, y, x"):
        scan(np.ones((1, 1, 1, 8, 8)), spacing=(1.0, 1.0), matrix=(4, 4), fov=(8.0, 8.0))


def test_interpolation_keeps_positions_and_values() -> None:
    def gaussian(n: int) -> Array:
        return np.exp(-((centers_mm(n, 100.0) - 8) ** 2) / (2 * 12.0**2))

    coarse = np.outer(gaussian(50), gaussian(40))[None].astype(np.float32)
    fine = interpolate_object(coarse, 1.55)
    assert fine.shape == (1, 78, 62)
    np.testing.assert_allclose(fine[0], np.outer(gaussian(78), gaussian(62)), atol=2e-3)
    np.testing.assert_allclose(interpolate_object(np.full((2, 3, 9, 7), 5, np.int16), 2.0), 5, rtol=1e-5)
    np.testing.assert_array_equal(interpolate_object(coarse, 0.8), coarse)
    edge = np.zeros((20, 20))
    edge[:, 10:] = 1
    assert interpolate_object(edge, 3.0).min() == 0  # no negative signal beside an edge


def test_fourier_matrix_of_critical_sampling_is_unitary() -> None:
    matrix = fourier_matrix(30, 2.0, 30, 60.0)
    np.testing.assert_allclose(matrix @ matrix.conj().T, np.eye(30), atol=1e-5)
