"""Deming and Passing-Bablok: symmetry laws, published fits, ties and refusals."""

import math

import numpy as np
import pytest
import scipy.stats as scipy_stats

from stats.regression import deming, passing_bablok

# NCSS documentation, chapter 303 (Deming regression), example with 10 pairs
NCSS_X = [7, 8.3, 10.5, 9, 5.1, 8.2, 10.2, 10.3, 7.1, 5.9]
NCSS_Y = [7.9, 8.2, 9.6, 9, 6.5, 7.3, 10.2, 10.6, 6.3, 5.2]
# methcomp tests (MIT), checked there against R mcr 1.2, mcreg(method.reg = "PaBa", method.ci = "analytical")
COUNT = list(range(1, 21))
NOISY = [1.03, 2.05, 2.79, 3.67, 5.00, 5.82, 7.16, 7.69, 8.53, 10.38]
NOISY += [11.11, 12.17, 13.47, 13.83, 15.15, 16.12, 16.94, 18.09, 19.13, 19.54]
# NCSS documentation, Passing-Bablok data set of 30 pairs as in SimplyAgree tests/testthat/test-pb_reg.R
PB_X = [69.3, 27.1, 61.3, 50.8, 34.4, 92.3, 57.5, 45.5, 33.3, 60.9, 56.3, 49.9, 89.7, 28.9, 96.3]
PB_X += [76.6, 83.2, 79.4, 51.7, 32.5, 14.2, 99.1, 76.8, 95.4, 84.1, 48.8, 80.4, 84.5, 61.4, 26.9]
PB_Y = [69.1, 26.7, 61.4, 51.2, 34.7, 88.5, 57.9, 45.1, 33.4, 60.8, 66.5, 48.2, 88.3, 29.3, 96.4]
PB_Y += [77.1, 82.7, 78.9, 51.6, 28.8, 12.7, 98.6, 77.3, 94.9, 83.3, 47.0, 80.9, 84.7, 61.3, 26.7]


def test_deming_does_not_care_which_variable_comes_first() -> None:
    one, other = deming(NCSS_X, NCSS_Y, error_ratio=2.0), deming(NCSS_Y, NCSS_X, error_ratio=0.5)
    assert one.slope.estimate == pytest.approx(1 / other.slope.estimate)
    assert one.intercept.estimate == pytest.approx(-other.intercept.estimate / other.slope.estimate)


def test_deming_approaches_least_squares_when_x_is_exact() -> None:
    least_squares = scipy_stats.linregress(NCSS_X, NCSS_Y)
    assert deming(NCSS_X, NCSS_Y, error_ratio=1e9).slope.estimate == pytest.approx(least_squares.slope, rel=1e-6)


def test_deming_published() -> None:
    # NCSS 303, also in SimplyAgree tests/testthat/test-dem_reg.R; its ratio 4 is var(x) / var(y), ours is y over x
    line = deming(NCSS_X, NCSS_Y, error_ratio=0.25)
    assert line.slope.estimate == pytest.approx(1.0012, abs=5e-5)
    assert line.intercept.estimate == pytest.approx(-0.0897, abs=5e-5)
    t = float(scipy_stats.t.ppf(0.975, 8))
    assert (line.slope.high - line.slope.estimate) / t == pytest.approx(0.1872, abs=5e-5)
    assert (line.intercept.high - line.intercept.estimate) / t == pytest.approx(1.7220, abs=5e-5)


def test_passing_bablok_does_not_care_which_variable_comes_first() -> None:
    one, other = passing_bablok(PB_X, PB_Y), passing_bablok(PB_Y, PB_X)
    assert one.slope.estimate == pytest.approx(1 / other.slope.estimate)


def test_passing_bablok_is_theil_sen_where_no_slope_is_below_minus_one() -> None:
    line = passing_bablok(COUNT, NOISY)
    assert line.slope.estimate == pytest.approx(scipy_stats.theilslopes(NOISY, COUNT).slope)


def test_passing_bablok_published() -> None:
    line = passing_bablok(COUNT, NOISY)
    assert line.slope.estimate == pytest.approx(1.0050, abs=5e-5)
    assert line.intercept.estimate == pytest.approx(0.0125, abs=5e-5)
    # mcr averages two neighboring slopes (0.98462 and 0.98500; 1.02538 and 1.02778), the paper rounds to one of them
    assert (line.slope.low, line.slope.high) == pytest.approx((0.9848077, 1.0265805), abs=1.5e-3)
    # MethComp::PBreg and deming::pbreg
    line = passing_bablok(PB_X, PB_Y)
    assert (line.slope.estimate, line.intercept.estimate) == pytest.approx((1.00, -0.15), abs=0.005)


def test_passing_bablok_ignores_an_outlier_and_the_order_of_the_points(rng: np.random.Generator) -> None:
    y = np.array(NOISY)
    y[3] = 400.0
    assert passing_bablok(COUNT, y).slope.estimate == pytest.approx(1.0, abs=0.02)
    order = rng.permutation(30)
    assert passing_bablok(np.array(PB_X)[order], np.array(PB_Y)[order]) == passing_bablok(PB_X, PB_Y)


def test_passing_bablok_with_ties() -> None:
    x = np.repeat(np.arange(1.0, 8.0), 2)
    line = passing_bablok(x, x + np.tile([0.1, 0.2], 7))
    assert line.slope.estimate == pytest.approx(1.0)
    assert line.slope.low <= 1.0 <= line.slope.high
    same = passing_bablok(x, x)
    assert (same.slope.low, same.slope.estimate, same.slope.high) == (1.0, 1.0, 1.0)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="at least 4"):
        deming([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], error_ratio=1.0)
    with pytest.raises(ValueError, match="error_ratio must be above 0"):
        deming(NCSS_X, NCSS_Y, error_ratio=0.0)
    with pytest.raises(ValueError, match="do not vary together"):
        deming([1.0, 1.0, 1.0, 1.0], [1.0, 2.0, 3.0, 4.0], error_ratio=1.0)
    with pytest.raises(ValueError, match="not finite"):
        passing_bablok([1.0, 2.0, 3.0, math.nan], [1.0, 2.0, 3.0, 4.0])
    with pytest.raises(ValueError, match="positively associated"):
        passing_bablok([1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0])
    with pytest.raises(ValueError, match="positively associated"):
        passing_bablok([2.0, 2.0, 2.0, 2.0], [2.0, 2.0, 2.0, 2.0])
