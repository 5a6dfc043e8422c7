"""Bootstrap of a mean: close to Student for many, BCa as in scipy, the generator the only randomness."""

import math

import numpy as np
import pytest
import scipy.stats as scipy_stats

from stats.intervals import mean_interval
from stats.resampling import bootstrap_mean


def test_percentile_is_close_to_student_for_many(rng: np.random.Generator) -> None:
    x = rng.normal(3.0, 2.0, size=300)
    drawn, exact = bootstrap_mean(x, rng=rng), mean_interval(x)
    assert (drawn.low, drawn.high) == pytest.approx((exact.low, exact.high), abs=0.02)
    assert drawn.estimate == exact.estimate


def test_bca_is_that_of_scipy_for_a_skewed_sample(rng: np.random.Generator) -> None:
    x = rng.lognormal(0.0, 1.0, size=30)
    ours = bootstrap_mean(x, rng=np.random.default_rng(1), method="bca", n_resamples=50_000)
    known = scipy_stats.bootstrap((x,), np.mean, rng=np.random.default_rng(2), n_resamples=50_000, method="BCa")
    low, high = known.confidence_interval
    assert (ours.low, ours.high) == pytest.approx((low, high), rel=0.02)
    percentile = bootstrap_mean(x, rng=np.random.default_rng(1), n_resamples=50_000)
    assert ours.high > percentile.high  # the correction follows the skew


def test_generator_is_the_only_randomness() -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - the global state must stay as it is
    one = bootstrap_mean([1.0, 2.0, 4.0], rng=np.random.default_rng(5))
    assert one == bootstrap_mean([1.0, 2.0, 4.0], rng=np.random.default_rng(5))
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_equal_values_have_no_width(rng: np.random.Generator) -> None:
    result = bootstrap_mean([2.0, 2.0, 2.0], rng=rng, method="bca")
    assert (result.low, result.estimate, result.high) == (2.0, 2.0, 2.0)


def test_refusals(rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match="at least 2"):
        bootstrap_mean([1.0], rng=rng)
    with pytest.raises(ValueError, match="not finite"):
        bootstrap_mean([1.0, math.nan], rng=rng)
    with pytest.raises(ValueError, match="n_resamples must be at least 100"):
        bootstrap_mean([1.0, 2.0], rng=rng, n_resamples=10)
    with pytest.raises(ValueError, match="percentile or bca"):
        bootstrap_mean([1.0, 2.0], rng=rng, method="basic")  # type: ignore[arg-type]
