"""GRAPPA, compressed sensing, low rank plus sparse: laws, closed forms, and what is refused."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cohort.records import MeasurementFailed
from recon.baselines import fully_sampled, sense, zero_filled
from recon.compressed_sensing import compressed_sensing
from recon.fourier import fft2c, ifft2c
from recon.grappa import grappa, lattice_of
from recon.low_rank_sparse import low_rank_sparse, shrunk_singular_values
from recon.metrics import official_scores
from recon.sampling import undersampling_mask

METHODS: list[Callable[..., NDArray[Any]]] = [sense, grappa, compressed_sensing, low_rank_sparse]
QUICK: dict[Any, dict[str, Any]] = {
    sense: {},
    grappa: {},
    compressed_sensing: {"max_iterations": 10},
    low_rank_sparse: {"max_iterations": 10},
}
each_method = pytest.mark.parametrize("method", METHODS)


def series(ny: int, nx: int, *, seed: int = 0, n_coils: int = 4) -> tuple[NDArray[np.complex64], NDArray[np.bool_]]:
    """Two frames of a changing disk in smooth coils with noise, every second line and ten calibration lines."""
    rng = np.random.default_rng(seed)
    y, x = np.meshgrid(np.linspace(-1, 1, ny), np.linspace(-1, 1, nx), indexing="ij")
    disks = np.stack([x**2 + y**2 < r for r in (0.4, 0.5)])[:, None, None]
    angle = 2 * np.pi * np.arange(n_coils)[:, None, None] / n_coils
    maps = np.exp(-((x - np.cos(angle)) ** 2) - (y - np.sin(angle)) ** 2 + 1j * angle)
    noise = rng.standard_normal((2, 2, 1, n_coils, ny, nx))
    kspace = fft2c(disks * maps + 0.02 * (noise[0] + 1j * noise[1])).astype(np.complex64)
    return kspace, undersampling_mask("ktUniform", nx=nx, ny=ny, n_frames=2, acceleration=2, n_calibration=10)


def close(found: NDArray[Any], expected: NDArray[Any], part: float) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=part * float(np.abs(expected).max()))


# --- laws


@each_method
@settings(max_examples=6, deadline=None)
@given(ny=st.integers(16, 25), nx=st.integers(12, 21), exponent=st.integers(-35, 35), seed=st.integers(0, 99))
def test_scale_of_the_data_is_the_scale_of_the_image(method: Any, ny: int, nx: int, exponent: int, seed: int) -> None:
    kspace, mask = series(ny, nx, seed=seed)
    image = method(kspace, mask, **QUICK[method])
    scale = np.float32(2.0**exponent)
    close(method(kspace * scale, mask, **QUICK[method]) / scale, image, 1e-5)
    close(method(kspace * np.float32(3), mask, **QUICK[method]) / 3, image, 2e-3)
    assert image.shape == (2, 1, ny, nx)
    assert image.dtype == (np.float32 if method is grappa else np.complex64)


@each_method
@settings(max_examples=6, deadline=None)
@given(ny=st.integers(16, 25), nx=st.integers(12, 21), seed=st.integers(0, 99))
def test_order_and_phase_of_the_coils_do_not_change_the_magnitude(method: Any, ny: int, nx: int, seed: int) -> None:
    kspace, mask = series(ny, nx, seed=seed)
    order = np.random.default_rng(seed).permutation(4)
    phase = np.exp(1j * np.arange(4)).astype(np.complex64)[:, None, None]
    image = np.abs(method(kspace, mask, **QUICK[method]))
    close(np.abs(method((kspace * phase)[:, :, order], mask, **QUICK[method])), image, 0.02)


@each_method
def test_global_random_state_and_input_stay(method: Any) -> None:
    kspace, mask = series(20, 17)
    before, state, torch_state = kspace.copy(), np.random.get_state()[1].copy(), torch.random.get_rng_state()  # noqa: NPY002
    first = method(kspace, mask, **QUICK[method])
    np.testing.assert_array_equal(method(kspace, mask, **QUICK[method]), first)
    np.testing.assert_array_equal(kspace, before)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    assert torch.equal(torch.random.get_rng_state(), torch_state)


@settings(max_examples=8, deadline=None)
@given(ny=st.integers(10, 19), nx=st.integers(9, 18), seed=st.integers(0, 99), lines=st.booleans())
def test_unpenalized_sense_keeps_the_sampled_points(ny: int, nx: int, seed: int, lines: bool) -> None:
    rng = np.random.default_rng(seed)
    maps = rng.standard_normal((2, 1, 3, ny, nx)) + 2
    maps = maps[0] + 1j * maps[1]
    maps = (maps / np.linalg.norm(maps, axis=1, keepdims=True)).astype(np.complex64)
    truth = (rng.standard_normal((2, 1, ny, nx)) + 1j).astype(np.complex64)
    mask = (
        np.broadcast_to(rng.random((2, ny, 1 if lines else nx)) < 0.6, (2, ny, nx))
        | (np.arange(ny) == ny // 2)[:, None]
    )
    kspace = fft2c(maps * truth[:, :, None])
    image = sense(kspace, mask, maps=maps, regularization=0.0, prior="flat", max_iterations=300, tolerance=1e-5)
    misfit = (fft2c(maps * image[:, :, None]) - kspace) * mask[:, None, None]
    assert np.linalg.norm(misfit) < 1e-2 * np.linalg.norm(kspace)


# --- closed forms


def test_grappa_is_exact_for_coils_that_are_harmonics() -> None:
    """A coil exp(2 pi i m y / n) shifts k-space by m lines, so another coil has measured each missing line."""
    ny, nx, n_coils = 48, 32, 3
    rng = np.random.default_rng(4)
    kspace_of_object = np.zeros((ny, nx), complex)
    inside = kspace_of_object[6:-6, 4:-4]
    inside += rng.standard_normal(inside.shape) + 1j * rng.standard_normal(inside.shape)
    harmonics = np.exp(2j * np.pi * np.arange(n_coils)[:, None, None] * np.arange(ny)[:, None] / ny)
    kspace = fft2c(harmonics * ifft2c(kspace_of_object))[None, None].astype(np.complex64)
    mask = undersampling_mask("Uniform", nx=nx, ny=ny, n_frames=1, acceleration=3, n_calibration=16)
    reference = fully_sampled(kspace)
    assert official_scores(reference, grappa(kspace, mask, regularization=1e-9))["psnr"] > 60
    assert official_scores(reference, zero_filled(kspace, mask))["psnr"] < 40


@pytest.mark.parametrize("shift", range(4))
def test_lattice_is_found_wherever_it_starts(shift: int) -> None:
    mask = np.zeros((22, 5), np.bool_)
    mask[shift::4] = mask[7:15] = True
    assert lattice_of(mask).spacing == 4
    assert lattice_of(mask).first == shift
    assert lattice_of(np.ones((22, 5), np.bool_)).spacing == 1


def test_acquired_lines_of_grappa_are_kept_and_everything_sampled_is_the_reference() -> None:
    kspace, mask = series(21, 16)
    np.testing.assert_allclose(grappa(kspace, np.ones_like(mask)), fully_sampled(kspace), atol=1e-6)


def test_singular_values_are_shrunk(rng: np.random.Generator) -> None:
    matrix = rng.standard_normal((5, 30)) + 1j * rng.standard_normal((5, 30))
    u, s, vh = np.linalg.svd(matrix, full_matrices=False)
    expected = (u * np.maximum(s - 4, 0)) @ vh
    found = shrunk_singular_values(torch.from_numpy(matrix.reshape(5, 6, 5)), torch.tensor(4.0))
    np.testing.assert_allclose(found.numpy().reshape(5, 30), expected, atol=1e-10)


def test_low_rank_sparse_is_the_limit_of_the_published_iteration(coil_phantom: Any) -> None:
    """Otazo's steps written out in numpy, to their limit."""
    kspace, maps = coil_phantom.kspace[:, :1], coil_phantom.maps[:1]
    mask = undersampling_mask("ktUniform", nx=48, ny=64, n_frames=2, acceleration=3, n_calibration=12)
    found = low_rank_sparse(kspace, mask, maps=maps, low_rank=0.05, sparse=0.03, max_iterations=400, tolerance=1e-7)

    def normal(image: NDArray[Any]) -> NDArray[Any]:
        return (maps.conj() * ifft2c(fft2c(maps * image[:, :, None]) * mask[:, None, None])).sum(2)

    aliased = (maps.conj() * ifft2c(kspace * mask[:, None, None])).sum(2)
    rank_weight = 0.05 * np.linalg.svd(aliased.reshape(2, -1), compute_uv=False)[0]
    sparse_weight = 0.03 * np.abs(np.fft.fft(aliased, axis=0, norm="ortho")).max()
    low, sparse = aliased.copy(), np.zeros_like(aliased)
    for _ in range(400):
        step = 0.5 * (normal(low + sparse) - aliased)
        u, s, vh = np.linalg.svd((low - step).reshape(2, -1), full_matrices=False)
        low = ((u * np.maximum(s - 0.5 * rank_weight, 0)) @ vh).reshape(aliased.shape)
        spectrum = np.fft.fft(sparse - step, axis=0, norm="ortho")
        size = np.abs(spectrum)
        spectrum *= np.maximum(size - 0.5 * sparse_weight, 0) / np.maximum(size, 1e-30)
        sparse = np.fft.ifft(spectrum, axis=0, norm="ortho")
    reference = fully_sampled(kspace)
    theirs, ours = (official_scores(reference, np.abs(image))["psnr"] for image in (low + sparse, found))
    assert abs(theirs - ours) < 0.1


@pytest.mark.parametrize("method", [compressed_sensing, low_rank_sparse])
def test_without_penalty_everything_sampled_is_the_truth(coil_phantom: Any, method: Any) -> None:
    weights = (
        {"regularization": 0.0, "penalty": 0.0} if method is compressed_sensing else {"low_rank": 0.0, "sparse": 0.0}
    )
    everything = np.ones((2, 64, 48), np.bool_)
    image = method(coil_phantom.kspace, everything, maps=coil_phantom.maps, **weights)
    np.testing.assert_allclose(image, coil_phantom.image, atol=1e-4)


# --- contract


def test_what_a_method_cannot_do_is_said(coil_phantom: Any) -> None:
    kspace = coil_phantom.kspace
    options: dict[str, Any] = {"nx": 48, "ny": 64, "n_frames": 2, "seed": 1}
    gaussian = undersampling_mask("ktGaussian", acceleration=4, n_calibration=16, **options)
    radial = undersampling_mask("ktRadial", acceleration=8, n_calibration=16, **options)
    narrow = undersampling_mask("Uniform", acceleration=8, n_calibration=6, **options)
    with pytest.raises(MeasurementFailed, match="irregular lines; use sense or compressed_sensing"):
        grappa(kspace, gaussian)
    with pytest.raises(MeasurementFailed, match="samples parts of lines; use sense"):
        grappa(kspace, radial)
    with pytest.raises(MeasurementFailed, match="at least 9 calibration lines"):
        grappa(kspace, narrow)
    with pytest.raises(ValueError, match="expected calibration lines"):
        grappa(kspace, narrow, calibration=kspace[:, :, :3])
    with pytest.raises(MeasurementFailed, match="at least two frames for low rank plus sparse"):
        low_rank_sparse(kspace[:1], gaussian[:1])
    with pytest.raises(ValueError, match="expected a prior of signal, flat"):
        sense(kspace, gaussian, prior="none")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="soft threshold from 0 to below 1, got 1"):
        sense(kspace, gaussian, soft_threshold=1)


def test_soft_maps_quiet_the_air_and_keep_the_body(coil_phantom: Any, rng: np.random.Generator) -> None:
    noise = rng.standard_normal((2, *coil_phantom.kspace.shape))
    kspace = (coil_phantom.kspace + 0.02 * (noise[0] + 1j * noise[1])).astype(np.complex64)
    mask = undersampling_mask("Uniform", nx=48, ny=64, n_frames=2, acceleration=2, n_calibration=20)
    hard, soft = (np.abs(sense(kspace, mask, soft_threshold=t)) for t in (None, 0.7))
    air, body = np.abs(coil_phantom.image) == 0, np.abs(coil_phantom.image) > 1
    assert soft[air].mean() < hard[air].mean()
    assert soft[body].mean() == pytest.approx(hard[body].mean(), rel=0.05)
