"""Invariance and symmetry, the same numbers as scipy, and what is refused."""

import numpy as np
import pytest
import scipy.stats as scipy_stats

from stats.correlation import pearson


def test_scale_and_shift_change_nothing(rng: np.random.Generator) -> None:
    x = rng.normal(0, 1, 30)
    y = x + rng.normal(0, 0.5, 30)
    here, there = pearson(x, y), pearson(3 * y + 5, x)
    assert there.estimate == pytest.approx(here.estimate)
    assert pearson(-x, y).estimate == pytest.approx(-here.estimate)
    assert (pearson(-x, y).low, pearson(-x, y).high) == pytest.approx((-here.high, -here.low))


def test_as_scipy(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(2, 25))
    witness = scipy_stats.pearsonr(x, y)
    ours = pearson(x, y, confidence=0.9)
    low, high = witness.confidence_interval(0.9)
    assert (ours.estimate, ours.low, ours.high) == pytest.approx((witness.statistic, low, high))


def test_a_straight_line_is_1_whatever_its_slope() -> None:
    x = np.arange(5.0)
    assert pearson(x, 2 * x + 7).estimate == pytest.approx(1.0)
    assert pearson(x, -x).high == pytest.approx(-1.0)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([1, 2, 3], [1, 2, 3], "at least 4"),
        ([1] * 4, [1, 2, 3, 4], "do not vary"),
        ([1, 2, 3, np.nan], [1] * 4, "finite"),
    ],
)
def test_refusals(x: list[float], y: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pearson(x, y)
