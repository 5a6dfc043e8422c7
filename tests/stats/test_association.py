"""Pearson's correlation against published values, scipy and the definition."""

import math

import numpy as np
import pytest
import scipy.stats as scipy_stats
from hypothesis import given, settings
from hypothesis import strategies as st

from stats.association import pearson

# Bland and Altman 1986, Lancet i:307-310: peak flow, first readings by two meters
WRIGHT = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
MINI = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=4, max_size=30), st.floats(-5, 5))
def test_laws(pairs: list[tuple[int, int]], shift: float) -> None:
    x, y = np.array(pairs, dtype=float).T
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        with pytest.raises(ValueError, match="does not vary"):
            pearson(x, y)
        return
    result = pearson(x, y)
    assert -1.0 <= result.low <= result.estimate <= result.high <= 1.0
    assert pearson(y, x).estimate == pytest.approx(result.estimate)
    assert pearson(2 * x + shift, y).estimate == pytest.approx(result.estimate, abs=1e-9)
    assert pearson(-x, y).high == pytest.approx(-result.low)


def test_peak_flow_and_scipy() -> None:
    result = pearson(WRIGHT, MINI)
    assert result.estimate == pytest.approx(0.94, abs=0.005)  # Bland and Altman 1986
    theirs = scipy_stats.pearsonr(WRIGHT, MINI)
    assert result.estimate == pytest.approx(theirs.statistic)
    assert (result.low, result.high) == pytest.approx(tuple(theirs.confidence_interval(0.95)))
    assert (result.n, "not agreement" in result.method) == (17, True)


def test_twice_the_truth_correlates_perfectly() -> None:
    result = pearson(np.arange(6.0), 2 * np.arange(6.0) + 1e6)
    assert (result.estimate, result.low, result.high) == (1.0, 1.0, 1.0)
    assert pearson([1, 2, 3, 4], [4, 3, 2, 1]).estimate == -1.0


def test_refusals() -> None:
    with pytest.raises(ValueError, match="at least 4"):
        pearson([1, 2, 3], [1, 2, 3])
    with pytest.raises(ValueError, match="y does not vary"):
        pearson([1, 2, 3, 4], [2, 2, 2, 2])
    with pytest.raises(ValueError, match="not finite"):
        pearson([1, 2, 3, math.nan], [1, 2, 3, 4])
