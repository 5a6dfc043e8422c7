"""Shieh's exact test of agreement: published power, its size everywhere on the hypothesis, the equal interval."""

import math

import numpy as np
import pytest
import scipy.stats as scipy_stats
from scipy.optimize import brentq

from stats.agreement_test import critical_value, exact_agreement, exact_agreement_power

# Shieh 2020, doi 10.1080/19466315.2019.1677495, the example with 15 subjects: differences with mean 0.011 and SD 0.044,
# limit 0.1, at least 80 % inside. Power 0.8315 and critical value 6.39 are quoted with their page in SimplyAgree,
# tests/testthat/test_agree_power_functions.R; 14 subjects are enough for a power of 0.8 (table 5 of the paper, ibid.)
SHIEH = {"mean": 0.011, "sd": 0.044, "limit": 0.1, "coverage": 0.8}


def test_decision_is_that_of_the_interval(rng: np.random.Generator) -> None:
    decisions = set()
    for _ in range(200):
        d = rng.normal(rng.uniform(-1, 1), 1.0, size=int(rng.integers(3, 60)))
        test = exact_agreement(d, limit=3.0)
        assert test.shown == (test.low > -3.0 and test.high < 3.0) == (test.p < 0.05)
        assert exact_agreement(-d, limit=3.0).p == pytest.approx(test.p, abs=1e-14)
        assert exact_agreement(d * 7, limit=21.0).p == pytest.approx(test.p, abs=1e-12)
        decisions.add(test.shown)
    assert decisions == {True, False}


@pytest.mark.parametrize(
    ("n", "coverage", "size"), [(8, 0.8, 0.05), (15, 0.95, 0.05), (80, 0.95, 0.05), (5, 0.8, 0.058), (4, 0.95, 0.0642)]
)
def test_largest_size_over_all_populations_with_just_that_share_inside(n: int, coverage: float, size: float) -> None:
    z = float(scipy_stats.norm.ppf(0.5 + coverage / 2))
    assert exact_agreement_power(n, mean=0.0, sd=1 / z, limit=1.0, coverage=coverage) == pytest.approx(0.05, abs=1e-10)
    powers = []
    for sd in np.linspace(0.02, 0.999, 50) / z:
        mean = brentq(lambda m, sd=sd: _inside(m, sd) - coverage, 0.0, 1.0)
        powers.append(exact_agreement_power(n, mean=mean, sd=sd, limit=1.0, coverage=coverage))
    assert max(powers) <= size + 1e-9
    assert max(powers) > size - 0.002  # what the docstring says of few subjects is not said for nothing


def test_both_ends_may_not_hold_where_the_test_agrees() -> None:
    # 90 % lie under the upper limit and all over the lower one: 90 % inside, more than 80 %, so the test may agree
    z = float(scipy_stats.norm.ppf(0.9))
    power = exact_agreement_power(15, mean=1 - 0.05 * z, sd=0.05, limit=1.0, coverage=0.8)
    assert power == pytest.approx(float(scipy_stats.nct.sf(critical_value(15, coverage=0.8), 14, z * math.sqrt(15))))
    assert power > 0.2


@pytest.mark.slow
def test_simulated_size_and_power(rng: np.random.Generator) -> None:
    draws, n = 4000, 15
    for mean, sd in ((0.0, 0.1 / 1.2815516), (0.011, 0.044)):
        expected = exact_agreement_power(n, mean=mean, sd=sd, limit=0.1, coverage=0.8)
        samples = rng.normal(mean, sd, size=(draws, n))
        shown = sum(exact_agreement(d, limit=0.1, coverage=0.8).shown for d in samples) / draws
        assert shown == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / draws))


def test_published_power_and_critical_value() -> None:
    assert critical_value(15, coverage=0.8) == pytest.approx(6.39, abs=0.005)
    assert exact_agreement_power(15, **SHIEH) == pytest.approx(0.8315, abs=5e-5)


def test_published_sample_size() -> None:
    assert exact_agreement_power(13, **SHIEH) < 0.8 <= exact_agreement_power(14, **SHIEH)


def test_no_spread_is_decided_by_the_mean() -> None:
    inside = exact_agreement([1.0, 1.0, 1.0], limit=2.0)
    assert (inside.p, inside.shown, inside.low, inside.high) == (0.0, True, 1.0, 1.0)
    on_it = exact_agreement([-2.0, -2.0, -2.0], limit=2.0)
    assert (on_it.p, on_it.shown) == (1.0, False)


def test_a_mean_outside_the_limit_shows_nothing() -> None:
    test = exact_agreement([4.0, 5.0, 6.0, 5.0], limit=2.0)
    assert test.p == pytest.approx(1.0, abs=1e-6)
    assert not test.shown


def test_refusals() -> None:
    with pytest.raises(ValueError, match="at least 3"):
        exact_agreement([1.0, 2.0], limit=3.0)
    with pytest.raises(ValueError, match="not finite"):
        exact_agreement([1.0, 2.0, math.nan], limit=3.0)
    with pytest.raises(ValueError, match="limit must be finite and above 0"):
        exact_agreement([1.0, 2.0, 3.0], limit=-3.0)
    with pytest.raises(ValueError, match="coverage must lie between 0 and 1"):
        exact_agreement([1.0, 2.0, 3.0], limit=3.0, coverage=95)
    with pytest.raises(ValueError, match=r"alpha must be below 0\.5"):
        exact_agreement([1.0, 2.0, 3.0], limit=3.0, alpha=0.6)
    with pytest.raises(ValueError, match="sd above 0"):
        exact_agreement_power(20, mean=0.0, sd=0.0, limit=3.0)
    with pytest.raises(ValueError, match="at least 3 differences"):
        critical_value(2)


def _inside(mean: float, sd: float) -> float:
    return float(scipy_stats.norm.cdf((1 - mean) / sd) - scipy_stats.norm.cdf((-1 - mean) / sd))
