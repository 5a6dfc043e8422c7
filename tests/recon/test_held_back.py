"""Are the points that are kept back measured ones, outside the calibration, a tenth, and drawn from the generator alone?"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohort.records import MeasurementFailed
from recon.held_back import calibration_points, held_back_points, outer_groups
from recon.sampling import PATTERNS, undersampling_mask


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(PATTERNS),
    st.integers(40, 90),
    st.integers(40, 90),
    st.integers(2, 12),
    st.integers(0, 20),
    st.integers(0, 99),
)
def test_held_points_are_measured_outer_ones_and_some_stay(
    pattern: str, nx: int, ny: int, acceleration: int, n_calibration: int, seed: int
) -> None:
    mask = undersampling_mask(
        pattern, nx=nx, ny=ny, n_frames=3, acceleration=acceleration, n_calibration=n_calibration, seed=1
    )
    try:
        held = held_back_points(mask, rng=np.random.default_rng(seed), n_calibration=n_calibration)
    except MeasurementFailed:
        return
    center = calibration_points(mask, n_calibration=n_calibration)
    assert held.any()
    assert not (held & ~mask).any()
    assert not (held & center).any()
    outer = (mask & ~center).sum(axis=(1, 2))
    assert (held.sum(axis=(1, 2)) <= 0.5 * outer + 1).all()


def test_a_tenth_of_whole_lines() -> None:
    mask = undersampling_mask("ktUniform", nx=30, ny=128, n_frames=4, acceleration=2, n_calibration=24)
    held = held_back_points(mask, rng=np.random.default_rng(0), n_calibration=24)
    assert (held == held[..., :1]).all()
    outer = (mask & ~calibration_points(mask, n_calibration=24))[..., 0].sum(axis=1)
    np.testing.assert_array_equal(held[..., 0].sum(axis=1), np.round(0.1 * outer))
    assert not (held[0] == held[2]).all(), "each frame draws its own"


def test_sectors_of_radial_masks_hold_a_spoke_each() -> None:
    mask = undersampling_mask("ktRadial", nx=96, ny=80, n_frames=2, acceleration=8, n_calibration=20)
    outer = mask[0] & ~calibration_points(mask, n_calibration=20)
    groups = outer_groups(outer)
    counts = np.bincount(groups[outer])
    assert groups[~outer].max() == -1
    assert counts.max() - counts.min() <= 1
    assert abs(counts.mean() - 96) < 96 / 2
    held = held_back_points(mask, rng=np.random.default_rng(0), n_calibration=20)
    assert 0.05 < held[0].sum() / outer.sum() < 0.15


def test_fully_sampled_center_is_kept_even_if_it_is_wider_than_said() -> None:
    mask = np.zeros((1, 40, 16), np.bool_)
    mask[:, 12:28] = mask[:, ::5] = True
    held = held_back_points(mask, rng=np.random.default_rng(0), n_calibration=4, fraction=0.5)
    assert not held[:, 12:28].any()


def test_same_state_same_points_and_the_global_state_untouched() -> None:
    mask = undersampling_mask("Uniform", nx=32, ny=64, n_frames=2, acceleration=3, n_calibration=12)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first, second = (held_back_points(mask, rng=np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_too_few_lines_are_one_clear_error() -> None:
    mask = np.zeros((2, 32, 8), np.bool_)
    mask[:, 10:22] = True
    mask[:, 0] = True
    with pytest.raises(MeasurementFailed, match=r"at least 2 measured lines .* got at most 1"):
        held_back_points(mask, rng=np.random.default_rng(0))
    mask[1, 31] = True
    held = held_back_points(mask, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(held[..., 0].sum(axis=1), [0, 1])


def test_wrong_input_is_named() -> None:
    with pytest.raises(ValueError, match="bool mask"):
        held_back_points(np.ones((1, 8, 8)), rng=np.random.default_rng(0))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="fraction"):
        held_back_points(np.ones((1, 8, 8), np.bool_), rng=np.random.default_rng(0), fraction=0.9)
