"""Paired t and signed-rank tests against published data, counting, and scipy."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats as scipy_stats
from hypothesis import given, settings
from hypothesis import strategies as st

from stats.paired_tests import paired_t, wilcoxon

# Hollander and Wolfe 1999, example 3.1: depression scale before and after the first session, 9 patients
BEFORE = np.array([1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30])
AFTER = np.array([0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29])
# Student 1908, doi 10.1093/biomet/6.1.1: extra sleep by two drugs, 10 patients
SLEEP = np.array([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]) - np.array(
    [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-4, 4), min_size=3, max_size=11), st.floats(0.5, 3))
def test_laws(values: list[int], scale: float) -> None:
    d = np.array(values, dtype=float)
    for test in (paired_t, wilcoxon):
        plain, mirrored, scaled = test(d), test(-d), test(d * scale)
        assert 0.0 <= plain.p <= 1.0
        assert plain.p == pytest.approx(mirrored.p)
        assert plain.p == pytest.approx(scaled.p)
        assert mirrored.estimate.estimate == pytest.approx(-plain.estimate.estimate)
        assert mirrored.estimate.low == pytest.approx(-plain.estimate.high)
        assert plain.estimate.low <= plain.estimate.estimate <= plain.estimate.high
        assert (plain.n, plain.n_zero) == (d.size, int((d == 0).sum()))
        assert "sensitivity only" in plain.role


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-4, 4), min_size=3, max_size=9))
def test_exact_p_by_counting_all_signs(values: list[int]) -> None:
    d = np.array([v for v in values if v], dtype=float)
    if d.size == 0:
        assert (wilcoxon(values).p, wilcoxon(values).estimate.estimate) == (1.0, 0.0)
        return
    ranks = scipy_stats.rankdata(np.abs(d))
    observed = ranks[d > 0].sum()
    sums = np.array([ranks[np.array(signs)].sum() for signs in itertools.product([True, False], repeat=d.size)])
    expected = min(1.0, 2 * min(np.mean(sums <= observed + 1e-9), np.mean(sums >= observed - 1e-9)))
    result = wilcoxon(values)
    assert (result.statistic, result.p) == pytest.approx((observed, expected))


def test_depression_data() -> None:
    # Hollander and Wolfe: V = 40, one-sided p .0195, estimate .46, interval (.010, .786) of confidence .961
    result = wilcoxon(BEFORE - AFTER)
    assert (result.statistic, result.p, result.method) == (
        40.0,
        pytest.approx(2 * 0.01953125),
        "Wilcoxon signed rank, exact",
    )
    assert result.estimate.estimate == pytest.approx(0.46)
    assert (result.estimate.low, result.estimate.high) == pytest.approx((0.010, 0.786))
    assert wilcoxon(BEFORE - AFTER, confidence=0.9609).estimate.low == pytest.approx(0.010)
    assert wilcoxon(BEFORE - AFTER, confidence=0.961).estimate.low < 0.0


def test_sleep_data() -> None:
    # R, t.test(extra ~ group, paired = TRUE): t = -4.0621, p = .002833, -2.4598858 to -0.7001142
    result = paired_t(SLEEP)
    assert (result.statistic, result.p) == pytest.approx((-4.0621, 0.002833), abs=6e-5)
    assert (result.estimate.low, result.estimate.high) == pytest.approx((-2.4598858, -0.7001142), abs=1e-7)
    assert result.n_zero == 1


def test_agrees_with_scipy(rng: np.random.Generator) -> None:
    for n in (5, 20, 50):
        d = rng.normal(0.3, 1, size=n)
        theirs = scipy_stats.wilcoxon(d, method="exact")
        mine = wilcoxon(d)
        assert mine.p == pytest.approx(theirs.pvalue)
        assert min(mine.statistic, n * (n + 1) / 2 - mine.statistic) == pytest.approx(theirs.statistic)
    tied = np.round(rng.normal(0.3, 1, size=90), 1)
    theirs = scipy_stats.wilcoxon(tied, method="asymptotic", correction=True, zero_method="wilcox")
    assert wilcoxon(tied).p == pytest.approx(theirs.pvalue)
    assert wilcoxon(tied).method == "Wilcoxon signed rank, normal"
    assert paired_t(tied).p == pytest.approx(scipy_stats.ttest_1samp(tied, 0.0).pvalue)


def test_exact_and_normal_meet(rng: np.random.Generator) -> None:
    d = rng.normal(0.2, 1, size=51)
    exact, normal = wilcoxon(d[:50]), wilcoxon(d)
    assert normal.p == pytest.approx(scipy_stats.wilcoxon(d, method="exact").pvalue, abs=0.003)
    width = exact.estimate.high - exact.estimate.low
    assert normal.estimate.high - normal.estimate.low == pytest.approx(width, rel=0.15)


def test_interval_and_test_decide_alike_without_ties(rng: np.random.Generator) -> None:
    for _ in range(200):
        d = rng.normal(0.5, 1, size=12)
        result = wilcoxon(d)
        assert (result.p <= 0.05) == (result.estimate.low > 0 or result.estimate.high < 0)


def test_too_few_for_an_interval() -> None:
    # five differences: the smallest two-sided p is 2 / 32
    result = wilcoxon([1.0, 2.0, 3.0, 4.0, 5.0])
    assert result.p == pytest.approx(2 / 32)
    assert (result.estimate.low, result.estimate.high) == (-math.inf, math.inf)
    assert "too few" in result.estimate.method
    six = wilcoxon([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    assert (six.estimate.low, six.estimate.high) == (1.0, 6.0)


def test_no_variance() -> None:
    assert (paired_t([0.0] * 4).p, wilcoxon([0.0] * 4).p) == (1.0, 1.0)
    assert (paired_t([2.0] * 4).p, paired_t([2.0] * 4).statistic) == (0.0, math.inf)
    assert wilcoxon([2.0] * 4).p == pytest.approx(2 / 16)


def test_refusals() -> None:
    for test in (paired_t, wilcoxon):
        with pytest.raises(ValueError, match="at least 3"):
            test([1.0, 2.0])
        with pytest.raises(ValueError, match="not finite"):
            test([1.0, 2.0, math.nan])
        with pytest.raises(ValueError, match="confidence must lie"):
            test([1.0, 2.0, 3.0], confidence=1.0)
    with pytest.raises(ValueError, match="too many means of two"):
        wilcoxon(np.zeros(7000))
