"""The mask families equal the published generator element by element."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recon.sampling import PATTERNS, effective_acceleration, undersampling_mask

REFERENCES = [
    "uniform2d_400x200_acs16_R8",
    "uniform_256x255x12_acs20_R16",
    "ktUniform_64x246x12_acs16_R8",
    "ktGaussian_64x246x12_acs16_R8_seed10",
    "ktGaussian_48x131x9_acs20_R24_seed1000",
    "ktRadial_151x133x5_acs20_R16",
    "ktRadial_128x96x6_acs16_R8",
]


def lines(pattern: str, **options: Any) -> list[str]:
    """The ky lines of each frame as text, sampled ones as 1."""
    mask = undersampling_mask(pattern, nx=3, **options)
    assert (mask == mask[..., :1]).all()
    return ["".join(str(int(v)) for v in frame) for frame in mask[..., 0]]


@pytest.mark.parametrize("name", REFERENCES)
def test_equals_the_published_generator(shared_data: Path, name: str) -> None:
    found = re.fullmatch(r"([A-Za-z]+)(?:2d)?_(\d+)x(\d+)(?:x(\d+))?_acs(\d+)_R(\d+)(?:_seed(\d+))?", name)
    assert found is not None
    pattern, nx, ny, n_frames, n_calibration, acceleration, seed = found.groups()
    ours = undersampling_mask(
        "Uniform" if pattern == "uniform" else pattern,
        nx=int(nx),
        ny=int(ny),
        n_frames=int(n_frames or 1),
        acceleration=int(acceleration),
        n_calibration=int(n_calibration),
        seed=None if seed is None else int(seed),
    )
    with np.load(shared_data / "reference" / "undersampling_masks.npz") as stored:
        reference = np.atleast_3d(stored[name]).T
        ties = stored[name + "__ties"].T if name + "__ties" in stored else np.zeros_like(reference)
    np.testing.assert_array_equal(ours & ~ties, reference & ~ties)


def test_uniform_starts_at_line_zero_in_every_frame() -> None:
    assert lines("Uniform", ny=10, n_frames=2, acceleration=4, n_calibration=2) == ["1000110010"] * 2


def test_kt_uniform_shifts_by_a_line_a_frame() -> None:
    expected = ["100100", "010010", "001001", "100100"]
    assert lines("ktUniform", ny=6, n_frames=4, acceleration=3, n_calibration=0) == expected


def test_kt_uniform_slips_with_odd_frames_only_when_asked_to() -> None:
    options = {"ny": 4, "n_frames": 3, "acceleration": 2, "n_calibration": 0}
    assert lines("ktUniform", **options) == ["1010", "0101", "1010"]
    # 1-based indices 1 3 6 8 9 11 become -1 1 4 6 7 9; what is not positive becomes 1
    assert lines("ktUniform", **options, matlab_compatible=True) == ["1001", "0110", "1000"]
    even = {**options, "n_frames": 2}
    assert lines("ktUniform", **even, matlab_compatible=True) == lines("ktUniform", **even)


def test_kt_gaussian_draws_the_asked_number_of_different_lines() -> None:
    mask = undersampling_mask("ktGaussian", nx=4, ny=131, n_frames=9, acceleration=4, n_calibration=0, seed=7)
    assert mask[..., 0].sum(axis=1).tolist() == [33] * 9
    assert len({frame.tobytes() for frame in mask}) == 9


def test_kt_gaussian_at_factor_one_samples_everything() -> None:
    assert undersampling_mask("ktGaussian", nx=2, ny=16, n_frames=2, acceleration=1, n_calibration=0, seed=1).all()


def test_kt_gaussian_prefers_the_center() -> None:
    mask = undersampling_mask("ktGaussian", nx=1, ny=120, n_frames=200, acceleration=8, n_calibration=0, seed=3)
    rate = mask[..., 0].mean(axis=0)
    assert rate[50:70].mean() > 2 * rate[:20].mean()


def test_radial_holds_the_diameter_and_the_square() -> None:
    mask = undersampling_mask("ktRadial", nx=9, ny=9, n_frames=1, acceleration=100, n_calibration=3)[0]
    assert mask[:, 4].all()  # the spoke at 0 degrees lies along the second axis of the stored file, ky
    assert mask[3:6, 3:6].all()
    assert not mask[0, 0]


def test_radial_stays_inside_the_grid_when_it_is_oblong() -> None:
    for nx, ny in [(40, 64), (64, 40), (41, 63)]:
        mask = undersampling_mask("ktRadial", nx=nx, ny=ny, n_frames=3, acceleration=24, n_calibration=8)
        assert mask.shape == (3, ny, nx)
        assert 3 < effective_acceleration(mask) < 24


@pytest.mark.parametrize("pattern", PATTERNS)
def test_more_acceleration_samples_less(pattern: str) -> None:
    options: dict[str, Any] = {"nx": 64, "ny": 96, "n_frames": 4, "n_calibration": 8, "seed": 5}
    factors = [effective_acceleration(undersampling_mask(pattern, acceleration=r, **options)) for r in (2, 4, 8, 16)]
    assert factors == sorted(factors)
    assert len(set(factors)) == 4


def test_effective_acceleration_counts_the_calibration() -> None:
    # specs of the challenge: 400 x 200 with 16 lines at 4x, 8x, 10x is 3.23, 5.13, 5.71
    for nominal, expected in [(4, 3.23), (8, 5.13), (10, 5.71)]:
        mask = undersampling_mask("Uniform", nx=400, ny=200, n_frames=1, acceleration=nominal, n_calibration=16)
        assert effective_acceleration(mask) == pytest.approx(expected, abs=0.005)
    with pytest.raises(ValueError, match="at least one sampled point"):
        effective_acceleration(np.zeros((1, 4, 4), np.bool_))


def test_global_random_state_is_untouched() -> None:
    before = np.random.get_state(legacy=False)  # noqa: NPY002
    first = undersampling_mask("ktGaussian", nx=4, ny=64, n_frames=3, acceleration=4, seed=11)
    undersampling_mask("ktGaussian", nx=4, ny=64, n_frames=3, acceleration=4)
    after = np.random.get_state(legacy=False)  # noqa: NPY002
    np.testing.assert_array_equal(before["state"]["key"], after["state"]["key"])  # type: ignore[index]
    assert before["state"]["pos"] == after["state"]["pos"]  # type: ignore[index]
    again = undersampling_mask("ktGaussian", nx=4, ny=64, n_frames=3, acceleration=4, seed=11)
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pattern": "spiral"}, "one of the patterns Uniform, ktUniform, ktGaussian, ktRadial"),
        ({"acceleration": 0.5}, "acceleration of at least 1"),
        ({"acceleration": float("nan")}, "acceleration of at least 1"),
        ({"acceleration": 2.5}, "whole-number acceleration"),
        ({"n_frames": 0}, "at least 1"),
        ({"n_calibration": 40}, "0 to 32 calibration lines"),
        ({"pattern": "ktRadial", "n_calibration": 20}, "0 to 16 calibration lines"),
        ({"pattern": "ktRadial", "n_calibration": 8, "acceleration": 301}, "at most 300"),
    ],
)
def test_impossible_requests_are_refused(changes: dict[str, Any], message: str) -> None:
    options: dict[str, Any] = {"pattern": "Uniform", "nx": 16, "ny": 32, "n_frames": 1, "acceleration": 4}
    options.update(changes)
    with pytest.raises(ValueError, match=message):
        undersampling_mask(options.pop("pattern"), **options)
