"""Limits of agreement against published numbers, tables of tolerance factors and known laws."""

import math

import numpy as np
import pytest
import scipy.stats as scipy_stats

from stats.bland_altman import bland_altman, repeated

# Bland and Altman 1986, Lancet i:307-310: peak expiratory flow (L/min), 17 subjects, two readings of each meter
WRIGHT_1 = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
WRIGHT_2 = [490, 397, 512, 401, 470, 611, 415, 431, 638, 429, 420, 633, 275, 492, 165, 372, 421]
MINI_1 = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]
MINI_2 = [525, 415, 508, 444, 500, 625, 460, 390, 642, 432, 420, 605, 227, 467, 268, 370, 443]
TWO_SD = 2 * float(scipy_stats.norm.cdf(2.0)) - 1  # the paper uses 2, not 1.96

# Zou 2013, doi 10.1177/0962280211402548: cardiac output (L/min) of 4 subjects by two methods; the two values that the
# paper leaves out for unpaired replicates are the fifth of subject 1 and the fourth of subject 2
ZOU_SUBJECT = [1] * 5 + [2] * 4 + [3] * 6 + [4] * 5
ZOU_X = [7.83, 7.42, 7.89, 7.12, 7.88, 6.16, 7.26, 6.71, 6.54, 4.75, 5.24, 4.86, 4.78, 6.05, 5.42]
ZOU_X += [4.21, 3.61, 3.72, 3.87, 3.92]
ZOU_Y = [6.57, 5.62, 6.90, 6.57, 6.35, 4.06, 4.29, 4.26, 4.09, 4.71, 5.50, 5.08, 5.02, 6.01, 5.67]
ZOU_Y += [4.14, 4.20, 4.61, 4.68, 5.04]


def test_swapping_the_methods_mirrors_everything() -> None:
    one, other = bland_altman(MINI_1, WRIGHT_1), bland_altman(WRIGHT_1, MINI_1)
    assert one.bias.estimate == pytest.approx(-other.bias.estimate)
    assert one.lower_limit.low == pytest.approx(-other.upper_limit.high)
    assert one.lower_limit.high == pytest.approx(-other.upper_limit.low)
    assert one.sd == other.sd


@pytest.mark.slow
def test_exact_limits_miss_as_often_as_they_say(rng: np.random.Generator) -> None:
    n, draws = 10, 2000
    misses = {"exact": 0, "approximate": 0}
    for sample in rng.standard_normal((draws, n)):
        for kind in misses:
            upper = bland_altman(np.zeros(n), sample, interval=kind).upper_limit  # type: ignore[arg-type]
            misses[kind] += upper.high < 1.959964
    assert misses["exact"] / draws == pytest.approx(0.025, abs=4 * math.sqrt(0.025 * 0.975 / draws))
    assert misses["approximate"] / draws > 0.05  # the usual interval is far too narrow on the outside


def test_published_bias_and_limits_of_1986() -> None:
    result = bland_altman(MINI_1, WRIGHT_1, interval="approximate_1986", coverage=TWO_SD)
    assert result.bias.estimate == pytest.approx(-2.1, abs=0.05)
    assert result.sd.estimate == pytest.approx(38.8, abs=0.05)
    assert (result.bias.low, result.bias.high) == pytest.approx((-22.0, 17.8), abs=0.06)
    # the paper rounds bias and SD before it goes on, hence the tolerances
    assert (result.lower_limit.estimate, result.upper_limit.estimate) == pytest.approx((-79.7, 75.5), abs=0.1)
    assert (result.lower_limit.low, result.lower_limit.high) == pytest.approx((-114.3, -45.1), abs=0.15)
    assert (result.upper_limit.low, result.upper_limit.high) == pytest.approx((40.9, 110.1), abs=0.2)


@pytest.mark.parametrize(
    ("interval", "lower", "upper"),
    [
        # recomputed from the same data in other code; 118 and 109 (rounded) also stand in SimplyAgree's tests
        ("approximate", (-112.851553, -43.340258), (39.104964, 108.616259)),
        ("mover", (-121.823579, -51.344872), (47.109578, 117.588284)),
        ("exact", (-124.160798, -53.094931), (48.859637, 119.925504)),
    ],
)
def test_intervals_of_the_limits(interval: str, lower: tuple[float, float], upper: tuple[float, float]) -> None:
    result = bland_altman(MINI_1, WRIGHT_1, interval=interval)  # type: ignore[arg-type]
    assert (result.lower_limit.estimate, result.upper_limit.estimate) == pytest.approx((-78.095905, 73.860611))
    assert (result.lower_limit.low, result.lower_limit.high) == pytest.approx(lower, abs=1e-5)
    assert (result.upper_limit.low, result.upper_limit.high) == pytest.approx(upper, abs=1e-5)


@pytest.mark.parametrize(
    ("n", "inner", "outer"),
    # exact factors for one 95 % limit with 95 % confidence (Carkeet 2015, doi 10.1097/OPX.0000000000000513)
    [(5, 0.923165, 5.974920), (20, 1.356484, 3.014003), (50, 1.550699, 2.535470), (200, 1.740857, 2.219064)],
)
def test_exact_factors(n: int, inner: float, outer: float, rng: np.random.Generator) -> None:
    difference = rng.standard_normal(n)
    difference = (difference - difference.mean()) / difference.std(ddof=1)
    upper = bland_altman(np.zeros(n), difference).upper_limit
    assert (upper.low, upper.high) == pytest.approx((inner, outer), abs=1e-5)


@pytest.mark.parametrize(("n", "factor"), [(10, 2.911), (20, 2.396), (30, 2.220), (50, 2.065), (100, 1.927)])
def test_one_sided_tolerance_factors(n: int, factor: float, rng: np.random.Generator) -> None:
    # standard tables of the one-sided factor for 95 % of the population with 95 % confidence: the outer end of the
    # limit that leaves 5 % on one side (coverage 90 %), at 90 % two-sided confidence
    difference = rng.standard_normal(n)
    difference = (difference - difference.mean()) / difference.std(ddof=1)
    upper = bland_altman(np.zeros(n), difference, confidence=0.90, coverage=0.90).upper_limit
    assert upper.high == pytest.approx(factor, abs=0.001)


@pytest.mark.parametrize(
    ("n", "inner", "outer"),
    # two-sided tolerance factors at 2.5 and 97.5 % confidence, the limits as a pair (Carkeet 2015)
    [(5, 1.239730, 6.156901), (20, 1.517477, 2.944475), (200, 1.788889, 2.179374)],
)
def test_factors_of_the_pair(n: int, inner: float, outer: float, rng: np.random.Generator) -> None:
    difference = rng.standard_normal(n)
    difference = (difference - difference.mean()) / difference.std(ddof=1)
    result = bland_altman(np.zeros(n), difference, interval="tolerance")
    assert (result.upper_limit.low, result.upper_limit.high) == pytest.approx((inner, outer), abs=1e-5)
    assert (result.lower_limit.high, result.lower_limit.low) == pytest.approx((-inner, -outer), abs=1e-5)


def test_published_limits_with_constant_truth() -> None:
    # Bland and Altman 1986: SD of a single reading of each meter, corrected for averaging two, is 37.7 L/min
    subject = [*range(17), *range(17)]
    result = repeated(MINI_1 + MINI_2, WRIGHT_1 + WRIGHT_2, subject, truth="constant")
    assert result.sd.estimate == pytest.approx(37.7, abs=0.05)
    assert result.n == 17


def test_zou_example_with_constant_truth() -> None:
    # limits and MOVER intervals as in SimplyAgree tests/testthat/test-agree_reps.R, "examples from Zou"
    y = np.array(ZOU_Y)
    y[[4, 8]] = np.nan
    result = repeated(y, ZOU_X, ZOU_SUBJECT, truth="constant")
    assert (result.lower_limit.estimate, result.upper_limit.estimate) == pytest.approx((-2.23, 3.66), abs=0.005)
    assert (result.lower_limit.low, result.lower_limit.high) == pytest.approx((-9.76, -0.48), abs=0.01)
    assert (result.upper_limit.low, result.upper_limit.high) == pytest.approx((1.91, 11.20), abs=0.01)


def test_zou_example_with_varying_truth() -> None:
    # SimplyAgree tests/testthat/test-agree_nest.R, "examples from Zou"
    result = repeated(ZOU_Y, ZOU_X, ZOU_SUBJECT, truth="varying")
    assert result.bias.estimate == pytest.approx(0.7255, abs=0.001)
    assert (result.lower_limit.estimate, result.upper_limit.estimate) == pytest.approx((-2.14, 3.59), abs=0.005)
    assert (result.lower_limit.low, result.lower_limit.high) == pytest.approx((-9.83, -0.33), abs=0.01)
    assert (result.upper_limit.low, result.upper_limit.high) == pytest.approx((1.77, 11.27), abs=0.01)


def test_no_spread_gives_limits_without_width() -> None:
    result = bland_altman([1.0, 2.0, 3.0, 4.0], [3.0, 4.0, 5.0, 6.0])
    for interval in (result.bias, result.lower_limit, result.upper_limit):
        assert (interval.estimate, interval.low, interval.high) == (2.0, 2.0, 2.0)


def test_large_samples_stay_finite(rng: np.random.Generator) -> None:
    upper = bland_altman(np.zeros(50_000), rng.standard_normal(50_000)).upper_limit
    assert upper.low < upper.estimate < upper.high < upper.estimate + 0.05


def test_refusals() -> None:
    with pytest.raises(ValueError, match="at least 3 values are needed, got 2"):
        bland_altman([1.0, 2.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="test: 1 of 3 values are not finite"):
        bland_altman([1.0, 2.0, 3.0], [1.0, math.nan, 3.0])
    with pytest.raises(ValueError, match="interval must be exact, mover"):
        bland_altman([1.0, 2.0, 3.0], [1.0, 2.5, 3.0], interval="z")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no subject has replicates"):
        repeated([1, 2, 3], [1, 2, 3], [1, 2, 3], truth="constant")
    with pytest.raises(ValueError, match="at least 3 subjects"):
        repeated([1, 2, 3], [1, 2, 3], [1, 1, 2], truth="varying")
    with pytest.raises(ValueError, match="subject 2 has no reference reading"):
        repeated([1, 2, math.nan, 3, 4], [1, 2, 3, 3, 4], [1, 1, 2, 3, 3], truth="constant")
    with pytest.raises(ValueError, match="truth must be 'constant' or 'varying'"):
        repeated([1, 2, 3], [1, 2, 3], [1, 2, 3], truth="unknown")  # type: ignore[arg-type]
