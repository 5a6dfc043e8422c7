"""Two one-sided tests: the same decision as their interval, published p-value, asymmetric margins."""

import math

import numpy as np
import pytest

from stats.bland_altman import bland_altman
from stats.equivalence import limits_within, tost_paired

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


def test_refusals() -> None:
    with pytest.raises(ValueError, match="lower < upper"):
        tost_paired([1.0, 2.0, 3.0], lower=1, upper=-1)
    with pytest.raises(ValueError, match="at least 3"):
        tost_paired([1.0, 2.0], lower=-1, upper=1)
    with pytest.raises(ValueError, match="not finite"):
        tost_paired([1.0, 2.0, math.inf], lower=-1, upper=1)
    with pytest.raises(ValueError, match="alpha"):
        tost_paired([1.0, 2.0, 3.0], lower=-1, upper=1, alpha=0.5)
