"""Total deviation index and coverage probability: their equations, the test they invert, coverage by simulation."""

import math

import numpy as np
import pytest
import scipy.stats as scipy_stats
from scipy.optimize import brentq

from stats.agreement_test import exact_agreement
from stats.total_deviation import coverage_probability, tdi


def test_bound_and_exact_test_decide_the_same(rng: np.random.Generator) -> None:
    for _ in range(60):
        d = rng.normal(rng.uniform(-2, 2), 1.0, size=int(rng.integers(3, 80)))
        bound = tdi(d, coverage=0.9).upper
        assert exact_agreement(d, limit=bound * 1.0001, coverage=0.9).shown
        assert not exact_agreement(d, limit=bound * 0.9999, coverage=0.9).shown
        # a limit at the bound of one is a share at the bound of the other
        assert coverage_probability(d, limit=bound).lower == pytest.approx(0.9, abs=1e-9)


def test_estimate_solves_its_equation(rng: np.random.Generator) -> None:
    for shift in (0.0, 0.5, 3.0, 12.0):
        d = rng.normal(shift, 1.0, size=40)
        m, s = float(d.mean()), float(d.std(ddof=1))
        k = brentq(lambda v, m=m, s=s: np.diff(scipy_stats.norm.cdf([-v, v], m, s))[0] - 0.95, 0.0, 60.0)
        result = tdi(d)
        assert result.estimate == pytest.approx(k, rel=1e-8)
        assert coverage_probability(d, limit=result.estimate).estimate == pytest.approx(0.95, abs=1e-8)
        assert result.estimate < result.upper


def test_without_bias_it_is_the_limit_of_agreement() -> None:
    d = np.array([-2.0, -1.0, 1.0, 2.0])
    assert tdi(d).estimate == pytest.approx(1.959964 * d.std(ddof=1))


def test_a_large_bias_leaves_one_tail() -> None:
    d = 1e4 + np.array([-1.0, 0.0, 1.0, 0.5, -0.5])
    assert tdi(d).estimate == pytest.approx(1e4 + 1.644854 * d.std(ddof=1), rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("mean", [0.0, 1.5])
def test_bound_misses_at_most_as_often_as_it_says(mean: float, rng: np.random.Generator) -> None:
    draws, n = 4000, 20
    truth = math.sqrt(float(scipy_stats.ncx2.ppf(0.95, 1, mean**2)))
    misses = np.mean([tdi(d).upper < truth for d in rng.normal(mean, 1.0, size=(draws, n))])
    assert misses < 0.05 + 3 * math.sqrt(0.05 * 0.95 / draws)
    if mean == 0.0:
        assert misses > 0.05 - 4 * math.sqrt(0.05 * 0.95 / draws)


def test_no_spread() -> None:
    flat = tdi([-2.0, -2.0, -2.0])
    assert (flat.estimate, flat.upper) == (2.0, 2.0)
    assert coverage_probability([1.0, 1.0, 1.0], limit=1.5).lower == 1.0
    assert coverage_probability([1.0, 1.0, 1.0], limit=1.0).estimate == 0.0


def test_a_mean_outside_shows_no_share() -> None:
    result = coverage_probability([4.0, 5.0, 6.0], limit=2.0)
    assert (result.lower, result.estimate < 0.01) == (0.0, True)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="at least 3"):
        tdi([1.0, 2.0])
    with pytest.raises(ValueError, match="not finite"):
        tdi([1.0, 2.0, math.nan])
    with pytest.raises(ValueError, match=r"must be above 0\.5"):
        tdi([1.0, 2.0, 3.0], confidence=0.4)
    with pytest.raises(ValueError, match="coverage must lie"):
        tdi([1.0, 2.0, 3.0], coverage=1.5)
    with pytest.raises(ValueError, match="limit must be finite and above 0"):
        coverage_probability([1.0, 2.0, 3.0], limit=math.inf)
