"""Two one-sided tests: the same decision as their interval, published p-value, asymmetric margins."""

import math

import numpy as np
import pytest
import scipy.stats as scipy_stats

from stats.bland_altman import bland_altman
from stats.equivalence import limits_within, non_inferiority, tost_limits, tost_paired

# Bland and Altman 1986, Lancet i:307-310: Wright - mini Wright meter, first readings (L/min)
PEFR = [-18, -35, -4, 6, -24, -43, 49, 62, -8, -12, -15, 30, 7, 1, -81, 73, -24]


def test_decision_is_that_of_the_interval(rng: np.random.Generator) -> None:
    for _ in range(200):
        d = rng.normal(rng.uniform(-2, 2), 1.0, size=int(rng.integers(3, 15)))
        test = tost_paired(d, lower=-1.5, upper=1.0)
        assert test.equivalent == (test.interval.low > -1.5 and test.interval.high < 1.0)
        assert test.interval.level == pytest.approx(0.90)


def test_published_data() -> None:
    # pingouin.tost(wright, mini, bound=30, paired=True) and our closed form agree: p = 0.0045549
    test = tost_paired(PEFR, lower=-30, upper=30)
    assert test.p == pytest.approx(0.00455490, abs=1e-8)
    assert test.p == test.p_lower > test.p_upper
    assert test.equivalent


def test_agrees_with_statsmodels_for_asymmetric_margins() -> None:
    weightstats = pytest.importorskip("statsmodels.stats.weightstats")
    p, low, high = weightstats.DescrStatsW(np.array(PEFR, dtype=float)).ttost_mean(-40, 12)
    test = tost_paired(PEFR, lower=-40, upper=12)
    assert (test.p, test.p_lower, test.p_upper) == pytest.approx((p, low[1], high[1]))
    assert not test.equivalent


def test_no_spread_is_decided_by_the_mean() -> None:
    assert tost_paired([1.0, 1.0, 1.0], lower=-2, upper=2).p == 0.0
    outside = tost_paired([3.0, 3.0, 3.0], lower=-2, upper=2)
    assert (outside.p, outside.p_lower, outside.p_upper, outside.equivalent) == (1.0, 0.0, 1.0, False)


def test_limits_within_uses_the_outer_confidence_limits() -> None:
    result = bland_altman(np.zeros(17), PEFR)
    assert result.lower_limit.estimate > -100 > result.lower_limit.low
    assert not limits_within(result, lower=-100, upper=200)
    assert limits_within(result, lower=-125, upper=120)


def test_limits_are_decided_by_their_exact_intervals(rng: np.random.Generator) -> None:
    for _ in range(200):
        d = rng.normal(rng.uniform(-1, 1), 1.0, size=int(rng.integers(3, 40)))
        test = tost_limits(d, lower=-3.5, upper=3.0, alpha=0.025)
        assert test.equivalent == (test.lower_limit.low > -3.5 and test.upper_limit.high < 3.0)
        assert test.equivalent == limits_within(bland_altman(np.zeros(d.size), d), lower=-3.5, upper=3.0)
        mirrored = tost_limits(-d, lower=-3.0, upper=3.5, alpha=0.025)
        assert (mirrored.p_lower, mirrored.p_upper) == pytest.approx((test.p_upper, test.p_lower), abs=1e-12)


@pytest.mark.parametrize("n", [3, 8, 30, 200])
def test_limits_agree_with_the_noncentral_t_distribution(n: int, rng: np.random.Generator) -> None:
    d = rng.normal(0.3, 1.0, size=n)
    test = tost_limits(d, lower=-2.8, upper=2.4, coverage=0.9)
    mean, error, z = d.mean(), d.std(ddof=1) / math.sqrt(n), scipy_stats.norm.ppf(0.95)
    expected = [scipy_stats.nct.sf(t / error, n - 1, z * math.sqrt(n)) for t in (mean + 2.8, 2.4 - mean)]
    assert (test.p_lower, test.p_upper) == pytest.approx(expected, abs=1e-10)
    assert test.p == max(test.p_lower, test.p_upper)


@pytest.mark.slow
def test_limits_on_a_margin_are_let_through_at_alpha(rng: np.random.Generator) -> None:
    draws, n, z = 4000, 12, 1.959964
    passed = sum(tost_limits(d, lower=-z, upper=50.0).equivalent for d in rng.standard_normal((draws, n)))
    assert passed / draws == pytest.approx(0.05, abs=4 * math.sqrt(0.05 * 0.95 / draws))


def test_non_inferiority_is_the_one_sided_t_test() -> None:
    # oracle: scipy's one-sample t test, one-sided, against the margin
    for worse, popmean, alternative in (("lower", -25.0, "greater"), ("higher", 25.0, "less")):
        test = non_inferiority(PEFR, margin=25.0, worse=worse)  # type: ignore[arg-type]
        oracle = scipy_stats.ttest_1samp(PEFR, popmean, alternative=alternative)
        assert test.p == pytest.approx(oracle.pvalue)
        interval = oracle.confidence_interval(0.975)
        assert test.bound == pytest.approx(interval.low if worse == "lower" else interval.high)
        assert test.non_inferior == (test.bound > -25.0 if worse == "lower" else test.bound < 25.0)
    assert non_inferiority(PEFR, margin=25.0).alpha == 0.025


def test_no_spread_is_decided_by_the_mean_for_limits_and_non_inferiority() -> None:
    same = [1.0, 1.0, 1.0]
    assert tost_limits(same, lower=-2, upper=2).p == 0.0
    assert tost_limits(same, lower=-2, upper=1).p_upper == 1.0
    assert non_inferiority(same, margin=2.0, worse="higher").non_inferior
    assert not non_inferiority(same, margin=1.0, worse="higher").non_inferior


def test_refusals() -> None:
    with pytest.raises(ValueError, match="lower < upper"):
        tost_paired([1.0, 2.0, 3.0], lower=1, upper=-1)
    with pytest.raises(ValueError, match="at least 3"):
        tost_paired([1.0, 2.0], lower=-1, upper=1)
    with pytest.raises(ValueError, match="not finite"):
        tost_paired([1.0, 2.0, math.inf], lower=-1, upper=1)
    with pytest.raises(ValueError, match="alpha"):
        tost_paired([1.0, 2.0, 3.0], lower=-1, upper=1, alpha=0.5)
    with pytest.raises(ValueError, match="lower < upper"):
        tost_limits([1.0, 2.0, 3.0], lower=1, upper=-1)
    with pytest.raises(ValueError, match="coverage must lie between 0 and 1"):
        tost_limits([1.0, 2.0, 3.0], lower=-1, upper=1, coverage=95)
    with pytest.raises(ValueError, match="margin must be finite and above 0"):
        non_inferiority([1.0, 2.0, 3.0], margin=-3.0)
    with pytest.raises(ValueError, match="worse must be"):
        non_inferiority([1.0, 2.0, 3.0], margin=3.0, worse="less")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 3"):
        non_inferiority([1.0, 2.0], margin=3.0)
