"""Expectations over the sample's spread: total probability, moments, an end inside the range."""

import math

import numpy as np
import pytest
import scipy.stats as scipy_stats
from scipy.special import gammaln

from stats.quadrature import half_normal_nodes, spread_nodes


@pytest.mark.parametrize("freedom", [1, 2, 5, 30, 1000, 50_000])
def test_total_and_moments_of_the_spread(freedom: int) -> None:
    u, w = spread_nodes(freedom)
    assert w.sum() == pytest.approx(1.0, rel=1e-10)
    assert w @ u**2 == pytest.approx(1.0, rel=1e-10)  # the sample variance is unbiased
    c4 = math.sqrt(2 / freedom) * math.exp(float(gammaln((freedom + 1) / 2) - gammaln(freedom / 2)))
    assert w @ u == pytest.approx(c4, rel=1e-9)


@pytest.mark.parametrize(("freedom", "below"), [(2, 0.5), (14, 1.1), (500, 1.0), (14, 1e9)])
def test_an_end_inside_the_range(freedom: int, below: float) -> None:
    _, w = spread_nodes(freedom, below=below)
    assert w.sum() == pytest.approx(scipy_stats.chi2.cdf(freedom * below**2, freedom), rel=1e-10)


def test_an_end_under_everything_leaves_nothing() -> None:
    u, w = spread_nodes(1000, below=0.1)
    assert np.isfinite(u).all()
    assert not w.any()


def test_half_normal_moments() -> None:
    z, w = half_normal_nodes()
    assert (w.sum(), w @ z**2, w @ z**4) == pytest.approx((1.0, 1.0, 3.0), rel=1e-12)
