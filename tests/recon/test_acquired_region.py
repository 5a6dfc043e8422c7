"""Is the measured part of k-space found, and its center, whatever the object's place, phase and noise?"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cohort.records import MeasurementFailed
from recon.acquired_region import CENTERED_LINES, Survey, center_of, centered_layout, survey
from recon.fourier import fft2c, ifft2c

Kspace = NDArray[np.complex64]


def body(ny: int, nx: int, *, n_coils: int = 3, seed: int = 0, phase: float = 0.0, place: float = 0.0) -> Kspace:
    """Two frames of ellipses off the middle in smooth coils; `phase` in cycles of a linear phase along y."""
    rng = np.random.default_rng(seed)
    y, x = np.linspace(-1, 1, ny)[:, None], np.linspace(-1, 1, nx)
    angles = 2 * np.pi * np.arange(n_coils)[:, None, None] / n_coils
    maps = np.exp(-((x - np.cos(angles)) ** 2) - (y - np.sin(angles)) ** 2 + 1j * (angles + 0.4 * x * y))
    image = np.zeros((2, 1, 1, ny, nx), np.complex128)
    for frame in range(2):
        a, b, r = rng.uniform(-0.2, 0.2), rng.uniform(-0.2, 0.2) + place, 0.3 + 0.05 * frame
        image[frame] = ((x / 0.9) ** 2 + ((y - place) / 0.7) ** 2 < 1) + 1.0 * ((x - a) ** 2 + (y - b) ** 2 < r**2)
    image = image * np.exp(2j * np.pi * phase * (np.arange(ny) - ny // 2) / ny)[:, None]
    return fft2c((image * maps).astype(np.complex64))


def noisy(kspace: Kspace, level: float, seed: int = 1) -> Kspace:
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal(kspace.shape) + 1j * rng.standard_normal(kspace.shape)
    return (kspace + level * noise).astype(np.complex64)


def ky_energy(kspace: Kspace) -> NDArray[np.float64]:
    return (np.abs(kspace).astype(np.float64) ** 2).sum((2, 4))


# ---- laws


@settings(max_examples=60, deadline=None)
@given(
    ny=st.integers(72, 260),
    nx=st.integers(24, 65),
    cut=st.integers(0, 18),
    first=st.booleans(),
    phase=st.floats(-0.5, 0.5),
    place=st.floats(-0.3, 0.3),
    level=st.sampled_from([0.0, 0.01, 0.1]),
)
def test_the_center_is_found(ny: int, nx: int, cut: int, first: bool, phase: float, place: float, level: float) -> None:
    """To a quarter of a line, though lines are missing on one side, the object is off the middle and has a phase."""
    kspace = noisy(body(ny, nx, phase=phase, place=place), level)
    part = kspace[..., cut:, :] if first else kspace[..., : ny - cut, :]
    truth = ny // 2 + phase - (cut if first else 0)
    found = center_of(ky_energy(part))
    assert found is not None
    assert abs(found - truth) < 0.25


@settings(max_examples=200, deadline=None)
@given(n=st.integers(1, 600), data=st.data(), multiple=st.sampled_from([1, 2, 3, 4]))
def test_layout_puts_the_center_in_the_middle(n: int, data: st.DataObject, multiple: int) -> None:
    center = data.draw(st.integers(0, n - 1))
    start, length = centered_layout(n, center, multiple=multiple)
    assert start >= 0
    assert start + n <= length
    assert start + center == length // 2
    assert length % multiple == 0
    shorter = [m for m in range(n, length) if m % multiple == 0]
    assert not any(m // 2 - center >= 0 and m // 2 - center + n <= m for m in shorter), "a shorter one would do"


@settings(max_examples=20, deadline=None)
@given(ny=st.integers(30, 70), nx=st.integers(30, 70), exponent=st.integers(-12, 10))
def test_scale_is_of_no_matter(ny: int, nx: int, exponent: int) -> None:
    kspace = noisy(body(ny, nx), 0.02)
    scaled = survey((kspace * 10.0**exponent).astype(np.complex64))
    assert scaled.ky.center == pytest.approx(survey(kspace).ky.center, abs=0.01)
    assert scaled.full


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (3, 5), (11, 13)])
def test_small_matrices_are_taken_as_centered(size: tuple[int, int]) -> None:
    region = survey(noisy(np.zeros((1, 1, 2, *size), np.complex64), 1.0))
    assert region.full
    assert region.ky.center is None or size[0] > 11


# ---- closed form


@pytest.mark.parametrize("ny", [100, 101])
@pytest.mark.parametrize("nx", [64, 65])
def test_full_and_centered_is_left_alone(ny: int, nx: int) -> None:
    kspace = noisy(body(ny, nx, phase=0.4), 0.02)
    region = survey(kspace)
    assert region.full
    assert region.pad(kspace) is kspace
    assert region.acquired().all()
    assert region.acquired().shape == (ny, nx)
    assert region.note() == ""
    assert region.record()["stored_matrix"] == region.record()["padded_matrix"] == [ny, nx]


@pytest.mark.parametrize("ny", [100, 101, 204, 246])
@pytest.mark.parametrize("cut", [6, 11, 18])
@pytest.mark.parametrize("first", [True, False])
def test_cut_lines_come_back_as_zeros(ny: int, cut: int, first: bool) -> None:
    kspace = noisy(body(ny, 48), 0.02)
    part = kspace[..., cut:, :] if first else kspace[..., : ny - cut, :]
    region = survey(part)
    padded = region.pad(part)
    n = padded.shape[-2]
    start = n // 2 - ny // 2
    overlap = slice(max(0, -start), min(ny, n - start))  # lines of the original within the padded matrix
    expected = kspace[..., overlap, :].copy()
    lines = np.arange(ny)[overlap]
    expected[..., (lines < cut) if first else (lines >= ny - cut), :] = 0
    np.testing.assert_array_equal(padded[..., overlap.start + start : overlap.stop + start, :], expected)
    assert abs(n - ny) <= 2
    assert region.acquired().sum() == (ny - cut) * 48
    assert f"padded to {n}" in region.note()


@pytest.mark.parametrize("oversampling", [1, 2, 3])
def test_asymmetric_echo_of_an_oversampled_readout(oversampling: int) -> None:
    nx = 120
    kspace = noisy(body(64, nx), 0.02)
    kspace[..., :24] = 0
    region = survey(kspace, oversampling=oversampling)
    assert not region.kx.padded
    readout = region.acquired(oversampling)[32]
    assert readout.sum() == (nx - 24) // oversampling
    assert not readout[: 24 // oversampling].any()
    cut = survey(kspace[..., 24:], oversampling=oversampling)
    assert cut.kx.length == nx
    np.testing.assert_array_equal(cut.acquired(oversampling), region.acquired(oversampling))


def test_zero_filling_on_both_sides_is_marked() -> None:
    kspace = noisy(body(64, 40), 0.02)
    kspace[..., :7, :] = 0
    kspace[..., -5:, :] = 0
    region = survey(kspace)
    assert not region.full
    assert not region.ky.padded
    np.testing.assert_array_equal(np.flatnonzero(region.ky.acquired), np.arange(7, 59))
    assert region.record()["acquired_first"] == [7, 0]
    assert region.record()["acquired_last"] == [58, 39]
    assert region.note() == "12 of 64 ky never measured"


def test_the_padded_image_is_the_zero_filled_one() -> None:
    kspace = noisy(body(100, 40), 0.0)
    zeroed = kspace.copy()
    zeroed[..., :12, :] = 0
    part = kspace[..., 12:, :]
    np.testing.assert_array_equal(ifft2c(survey(part).pad(part)), ifft2c(zeroed))


# ---- what misleads


def test_a_spike_does_not_move_the_center() -> None:
    kspace = np.repeat(noisy(body(100, 40), 0.02), 3, axis=0)
    kspace[2, 0, 1, 80, 5] = 1000 * np.abs(kspace).max()
    assert abs(survey(kspace).ky.center or 0) == pytest.approx(50, abs=0.3)


def test_a_nulled_frame_does_not_move_the_center() -> None:
    """In inversion recovery one frame may hold hardly more than noise."""
    kspace = np.concatenate([noisy(body(100, 40, seed=s), 0.02) for s in range(2)])
    kspace[1] = noisy(np.zeros_like(kspace[1]), 0.02)
    region = survey(kspace)
    assert region.full
    assert region.ky.center == pytest.approx(50, abs=0.3)


def test_noise_has_no_center_and_is_taken_as_it_is() -> None:
    region = survey(noisy(np.zeros((2, 2, 3, 50, 60), np.complex64), 1.0))
    assert region.ky.center is None
    assert region.full
    assert region.record()["center"] == [None, None]


def test_offsets_within_the_tolerance_are_none() -> None:
    kspace = noisy(body(100, 40), 0.02)
    region = survey(kspace[..., 3:, :])  # the center is at 47 of 97: one line and a half, rounded
    assert abs((region.ky.center or 0) - 48) <= CENTERED_LINES
    assert not region.ky.padded


# ---- what is refused


@pytest.mark.parametrize("every", [2, 4])
def test_undersampled_scans(every: int) -> None:
    kspace = noisy(body(64, 40), 0.02)
    kspace[..., 1::every, :] = 0
    with pytest.raises(MeasurementFailed, match=r"lacks \d+ of 6\d ky between those measured, the first at ky 1"):
        survey(kspace)
    shifted = noisy(body(64, 40), 0.02)
    shifted[0, ..., 1::2, :] = 0
    shifted[1, ..., 0::2, :] = 0  # together the frames have all lines
    with pytest.raises(MeasurementFailed, match="fully sampled"):
        survey(shifted)


def test_an_empty_slice() -> None:
    kspace = np.repeat(noisy(body(64, 40), 0.02), 2, axis=1)
    kspace[1, 1] = 0
    with pytest.raises(MeasurementFailed, match=r"all-zero k-space in frame 1, slice 1 \(1 in all\)"):
        survey(kspace)


def test_a_center_at_the_edge() -> None:
    kspace = np.roll(noisy(body(64, 40), 0.02), 31, axis=-2)
    with pytest.raises(MeasurementFailed, match="middle part of ky, got the energy at"):
        survey(kspace)


# ---- contract


def test_slice_by_slice_is_the_same() -> None:
    kspace = np.concatenate([noisy(body(64, 40, seed=s), 0.02) for s in range(3)], axis=1)[..., 8:, :]
    gathered = Survey()
    for z in range(3):
        gathered.add(kspace[:, z : z + 1])
    assert gathered.region().record() == survey(kspace).record()
