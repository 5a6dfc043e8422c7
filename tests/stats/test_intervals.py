"""Means, proportions, and the one sentence that bad input gets."""

import numpy as np
import pytest

from stats.intervals import finite_vector, mean_interval, paired_vectors, proportion


def test_mean_interval_is_students() -> None:
    # Student 1908 (Biometrika 6:1-25): extra sleep, ten differences, mean 1.58, s 1.230 (n - 1); t(9) = 2.262
    sleep = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]
    interval = mean_interval(sleep)
    assert interval.estimate == pytest.approx(1.58)
    # R: t.test(extra ~ group, data = sleep, paired = TRUE) prints 0.7001142 2.4598858
    assert (interval.low, interval.high) == pytest.approx((0.7001142, 2.4598858), abs=1e-7)
    assert (interval.n, interval.level) == (10, 0.95)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (0, 10, 0.0, 0.3084971),  # closed form 1 - 0.025**(1/10)
        (10, 10, 0.6915029, 1.0),
        (9, 10, 0.5549839, 0.9974714),  # R: binom.test(9, 10)
    ],
)
def test_clopper_pearson(successes: int, n: int, low: float, high: float) -> None:
    interval = proportion(successes, n)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=1e-6)


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="reference: 1 of 3 values are not finite"):
        finite_vector([1.0, np.nan, 2.0], name="reference", at_least=3)
    with pytest.raises(ValueError, match="at least 3 values are needed, got 2"):
        finite_vector([1.0, 2.0], name="x", at_least=3)
    with pytest.raises(ValueError, match="expected a vector"):
        finite_vector([[1.0, 2.0]], name="x", at_least=1)
    with pytest.raises(ValueError, match="3 x but 4 y values"):
        paired_vectors(range(3), range(4), names=("x", "y"), at_least=3)
    with pytest.raises(ValueError, match="confidence must lie between 0 and 1"):
        mean_interval([1.0, 2.0], confidence=95)
    with pytest.raises(ValueError, match="got 3 of 2"):
        proportion(3, 2)
