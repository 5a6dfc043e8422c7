"""A mean over readers and cases: its interval in cases that can be solved, and how often it covers."""

import numpy as np
import pytest
import scipy.stats as scipy_stats

from stats.intervals import mean_interval
from stats.readers_and_cases import crossed_mean


def test_readers_who_agree_leave_the_interval_of_the_cases(rng: np.random.Generator) -> None:
    cases = rng.normal(size=9)
    found = crossed_mean(np.tile(cases, (3, 1)))
    expected = mean_interval(cases)
    assert (found.estimate, found.low, found.high) == pytest.approx((expected.estimate, expected.low, expected.high))
    assert found.n == 9


def test_cases_that_are_all_alike_leave_the_interval_of_the_readers(rng: np.random.Generator) -> None:
    readers = rng.normal(size=4)
    found = crossed_mean(np.tile(readers[:, None], (1, 30)))
    expected = mean_interval(readers)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_formula_of_hillis_by_hand() -> None:
    # 2 readers x 3 cases: reader means 2 and 4, case means 2, 3, 4, grand mean 3, residuals +-0.5, 0
    values = np.array([[1.5, 2.0, 2.5], [2.5, 4.0, 5.5]])
    ms_readers, ms_cases, ms_left = 3 * 2 / 1, 2 * 2 / 2, (4 * 0.25) / 2
    total = ms_readers + ms_cases - ms_left
    freedom = min(total**2 / ms_readers**2, 2)
    half = scipy_stats.t.ppf(0.975, freedom) * np.sqrt(total / 6)
    found = crossed_mean(values)
    assert (found.estimate, found.low, found.high) == pytest.approx((3, 3 - half, 3 + half))


def test_no_variance_gives_no_width() -> None:
    found = crossed_mean(np.full((2, 5), -0.25))
    assert (found.low, found.high) == (-0.25, -0.25)


@pytest.mark.parametrize(("between_readers", "between_cases"), [(0.0, 0.5), (0.3, 0.5), (0.3, 0.0)])
def test_the_mean_of_all_readers_and_cases_is_covered(
    rng: np.random.Generator, between_readers: float, between_cases: float
) -> None:
    covered, runs = 0, 1000
    for _ in range(runs):
        table = (
            rng.normal(0, between_readers, (4, 1)) + rng.normal(0, between_cases, (1, 15)) + rng.normal(0, 0.5, (4, 15))
        )
        found = crossed_mean(table)
        covered += found.low <= 0 <= found.high
    assert covered / runs > 0.93  # nominal 0.95, Monte-Carlo error 0.007


@pytest.mark.parametrize("values", [np.ones(4), np.ones((1, 4)), np.ones((3, 1)), np.ones((0, 0))])
def test_other_shapes_are_refused(values: np.ndarray) -> None:
    with pytest.raises(ValueError, match="2 or more of each"):
        crossed_mean(values)


def test_missing_values_are_refused() -> None:
    with pytest.raises(ValueError, match="1 values are not finite"):
        crossed_mean([[1.0, np.nan], [1.0, 2.0]])
