"""Quantile limits: ranks from tables, scipy's test as witness, coverage by simulation, ties, small samples."""

import math

import numpy as np
import pytest
import scipy.stats as scipy_stats
from hypothesis import given, settings
from hypothesis import strategies as st

from stats.nonparametric_limits import quantile_limits, share_within


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-5, 5), min_size=3, max_size=60))
def test_monotone_maps_move_the_intervals_with_them(values: list[int]) -> None:
    d = np.array(values, dtype=float)
    plain, mapped = quantile_limits(d), quantile_limits(2 * d + 1)
    for one, other in ((plain.median, mapped.median), (plain.lower_limit, mapped.lower_limit)):
        assert (other.low, other.high) == (2 * one.low + 1, 2 * one.high + 1)
        assert one.low <= one.estimate <= one.high
    mirrored = quantile_limits(-d)
    assert (mirrored.upper_limit.low, mirrored.upper_limit.high) == (-plain.lower_limit.high, -plain.lower_limit.low)


@pytest.mark.slow
def test_intervals_cover_at_least_as_often_as_they_say(rng: np.random.Generator) -> None:
    draws, n = 1500, 160
    truth = {"median": math.log(2.0), "lower_limit": -math.log(0.975), "upper_limit": -math.log(0.025)}
    hits = dict.fromkeys(truth, 0)
    for sample in rng.exponential(size=(draws, n)):
        result = quantile_limits(sample)
        for name, value in truth.items():
            interval = getattr(result, name)
            hits[name] += interval.low <= value <= interval.high
    assert min(hits.values()) / draws > 0.95 - 3 * math.sqrt(0.95 * 0.05 / draws)


@pytest.mark.parametrize(
    ("n", "ranks"),
    # ranks of the 95 % interval of a median: standard table, e.g. Altman et al., Statistics with Confidence, 2nd ed.
    [(6, (1, 6)), (10, (2, 9)), (20, (6, 15)), (50, (18, 33)), (100, (40, 61))],
)
def test_ranks_of_the_median(n: int, ranks: tuple[int, int]) -> None:
    median = quantile_limits(np.arange(1.0, n + 1)).median
    assert (median.low, median.high) == ranks


def test_ranks_of_a_reference_limit() -> None:
    # 120 subjects, 90 % interval of the 2.5 % quantile: ranks 1 and 7 (CLSI EP28-A3c, table of ranks)
    lower = quantile_limits(np.arange(1.0, 121.0), confidence=0.90).lower_limit
    assert (lower.low, lower.high) == (1.0, 7.0)


@pytest.mark.parametrize("n", [25, 160, 400])
def test_agrees_with_scipy(n: int, rng: np.random.Generator) -> None:
    d = rng.normal(size=n)
    result = quantile_limits(d)
    for q, interval in ((0.025, result.lower_limit), (0.5, result.median), (0.975, result.upper_limit)):
        oracle = scipy_stats.quantile_test(d, q=0.0, p=q).confidence_interval(0.95)
        expected = [edge if math.isfinite(edge) else None for edge in (oracle.low, oracle.high)]
        assert [edge if math.isfinite(edge) else None for edge in (interval.low, interval.high)] == expected


def test_few_subjects_leave_the_outer_end_open() -> None:
    assert quantile_limits(np.arange(145.0)).lower_limit.low == -math.inf
    assert quantile_limits(np.arange(146.0)).lower_limit.low == 0.0
    few = quantile_limits([1.0, 2.0, 3.0])
    assert (few.lower_limit.estimate, few.upper_limit.estimate, few.upper_limit.high) == (1.0, 3.0, math.inf)


def test_ties_and_no_spread() -> None:
    flat = quantile_limits(np.full(200, 2.0))
    for interval in (flat.median, flat.lower_limit, flat.upper_limit):
        assert (interval.estimate, interval.low, interval.high) == (2.0, 2.0, 2.0)


def test_share_within_is_strict_and_clopper_pearson() -> None:
    share = share_within([-3.0, -2.9, 0.0, 1.0, 3.0], limit=3.0)
    assert (share.estimate, share.n) == (0.6, 5)
    oracle = scipy_stats.binomtest(3, 5).proportion_ci(method="exact")
    assert (share.low, share.high) == pytest.approx((oracle.low, oracle.high))


def test_refusals() -> None:
    with pytest.raises(ValueError, match="at least 3"):
        quantile_limits([1.0, 2.0])
    with pytest.raises(ValueError, match="not finite"):
        quantile_limits([1.0, 2.0, math.nan])
    with pytest.raises(ValueError, match="coverage must lie"):
        quantile_limits([1.0, 2.0, 3.0], coverage=0.0)
    with pytest.raises(ValueError, match="limit must be finite and above 0"):
        share_within([1.0], limit=0.0)
    with pytest.raises(ValueError, match="at least 1"):
        share_within([], limit=1.0)
