"""Trend over acceleration: closed forms of complete data, published sleep data, states that real data reach."""

import math

import numpy as np
import pytest
import scipy.stats as scipy_stats
from hypothesis import given, settings
from hypothesis import strategies as st

from stats.centers import random_effects
from stats.mixed import Trend, center_by_acceleration, trend_over_acceleration
from tests.stats.test_random_lines import DAYS, SLEEP, SUBJECT

LADDER = np.array([4.0, 8.0, 12.0, 16.0, 20.0, 24.0])


def rows(y: np.ndarray, centers: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Patients x accelerations as four columns."""
    n, m = y.shape
    return y.ravel(), np.tile(LADDER[:m], n), np.repeat(np.arange(n), m), np.repeat(centers, m)


def drawn(rng: np.random.Generator, n: int, *, slope: float = 0.2, m: int = 6) -> np.ndarray:
    own = rng.normal(slope, 0.4, size=(n, 1))
    return rng.normal(size=(n, 1)) + own * np.log2(LADDER[:m]) + rng.normal(0, 0.5, size=(n, m))


def own_slopes(y: np.ndarray) -> np.ndarray:
    return np.polyfit(np.log2(LADDER[: y.shape[1]]), y.T, 1)[0]


def test_sleepstudy_has_17_degrees_of_freedom() -> None:
    # lmerTest prints for Days of lmer(Reaction ~ Days + (Days | Subject)): estimate 10.467, error 1.546, df 17.00,
    # t 6.77, p 3.26e-06 (Kuznetsova et al. 2017, doi 10.18637/jss.v082.i13); days here as powers of two
    result = trend_over_acceleration(SLEEP, 2.0**DAYS, SUBJECT, np.full(180, "one"))
    assert result.degrees_of_freedom == 17
    assert result.slope.estimate == pytest.approx(10.467, abs=5e-4)
    assert result.slope.high - result.slope.estimate == pytest.approx(1.546 * scipy_stats.t.ppf(0.975, 17), rel=5e-4)
    assert result.p == pytest.approx(3.26e-6, rel=0.01)
    assert result.interaction_p is None
    assert "one center" in result.method_text


def test_one_center_is_students_interval_of_own_slopes(rng: np.random.Generator) -> None:
    y = drawn(rng, 20)
    own = own_slopes(y)
    result = trend_over_acceleration(*rows(y, np.zeros(20)), confidence=0.9)
    half = scipy_stats.t.ppf(0.95, 19) * own.std(ddof=1) / math.sqrt(20)
    assert result.slope.estimate == pytest.approx(own.mean())
    assert (result.slope.low, result.slope.high) == pytest.approx((own.mean() - half, own.mean() + half), rel=1e-4)
    assert result.p == pytest.approx(scipy_stats.ttest_1samp(own, 0.0).pvalue, rel=1e-3)


def test_many_centers_are_random(rng: np.random.Generator) -> None:
    centers = np.repeat(np.arange(6), 8)
    y = drawn(rng, 48) + np.linspace(-1, 1, 6)[centers][:, None] * np.log2(LADDER)
    own = own_slopes(y)
    means = np.array([own[centers == c].mean() for c in range(6)])
    pooled = np.mean([own[centers == c].var(ddof=1) for c in range(6)])
    expected = random_effects(means, np.full(6, pooled / 8))
    result = trend_over_acceleration(*rows(y, centers))
    assert (result.slope.low, result.slope.high) == pytest.approx(
        (expected.estimate.low, expected.estimate.high), rel=1e-3
    )
    assert result.degrees_of_freedom == 5
    assert result.sd_slope_centers == pytest.approx(math.sqrt(expected.tau2.estimate), rel=1e-3)
    assert result.interaction_p == pytest.approx(
        scipy_stats.f_oneway(*(own[centers == c] for c in range(6))).pvalue, rel=1e-2
    )


def test_few_centers_are_fixed_and_it_says_so(rng: np.random.Generator) -> None:
    centers = np.repeat(["a", "b", "c"], [10, 5, 9])
    y = drawn(rng, 24)
    own = own_slopes(y)
    result = trend_over_acceleration(*rows(y, centers))
    assert result.slope.estimate == pytest.approx(own.mean())  # equal variances: every patient counts once
    assert result.degrees_of_freedom == 21
    assert result.sd_slope_centers is None
    assert "holds for these centers" in result.method_text


def test_center_by_acceleration_is_the_analysis_of_variance(rng: np.random.Generator) -> None:
    centers = np.repeat(["b", "a"], [12, 9])
    y = drawn(rng, 21)
    own = own_slopes(y)
    result = center_by_acceleration(*rows(y, centers))
    known = scipy_stats.f_oneway(own[centers == "a"], own[centers == "b"])
    assert (result.f, result.p) == pytest.approx((known.statistic, known.pvalue), rel=1e-3)
    assert [(s.name, s.n_patients) for s in result.slopes] == [("a", 9), ("b", 12)]
    assert result.slopes[0].slope.estimate == pytest.approx(own[centers == "a"].mean())


def test_interval_covers_as_often_as_it_says_with_failures_and_center_slopes() -> None:
    # 100 studies of 6 centers x 8 patients, slopes differing by center and patient, a fifth of the high accelerations
    # failed; 95 expected, 3 standard deviations (7) allowed (with other seeds 384 of 400, twice)
    rng, covered = np.random.default_rng(13), 0
    centers = np.repeat(np.arange(6), 8)
    for _ in range(100):
        y = drawn(rng, 48, slope=0.3, m=4) + rng.normal(0, 0.3, 6)[centers][:, None] * np.log2(LADDER[:4])
        y[:, 2:][rng.random((48, 2)) < 0.2] = np.nan
        slope = trend_over_acceleration(*rows(y, centers)).slope
        covered += slope.low < 0.3 < slope.high
    assert covered >= 88


def test_growth_of_the_size(rng: np.random.Generator) -> None:
    # differences whose spread doubles with every doubling: slope of ln|d| is ln 2
    y = rng.normal(size=(400, 6)) * LADDER
    result = trend_over_acceleration(*rows(y, np.zeros(400)))
    assert result.slope_abs_log is not None
    assert result.slope_abs_log.low < math.log(2) < result.slope_abs_log.high
    assert result.slope_abs_log.high - result.slope_abs_log.low < 0.2


def test_zeros_in_the_size(rng: np.random.Generator) -> None:
    y = drawn(rng, 20)
    y[0, 0] = 0.0
    result = trend_over_acceleration(*rows(y, np.zeros(20)))
    assert result.slope_abs_log is not None
    assert "1 differences of exactly 0" in result.method_text
    y[:10, 1:3] = 0.0
    result = trend_over_acceleration(*rows(y, np.zeros(20)))
    assert result.slope_abs_log is None
    assert "21 of 120 differences are exactly 0" in result.method_text


def test_failures_and_single_values_are_counted(rng: np.random.Generator) -> None:
    y = drawn(rng, 12)
    y[0, 1:] = np.nan  # one acceleration left
    y[1, 5] = np.nan
    y[2] = np.nan  # nothing left: no patient of the model, six failures
    result = trend_over_acceleration(*rows(y, np.zeros(12)))
    assert (result.n_patients, result.n_left_out, result.n_missing, result.n_values) == (10, 1, 12, 59)
    assert "1 patients with a single acceleration left out" in result.method_text


def test_one_patient_per_center_does_not_separate_centers(rng: np.random.Generator) -> None:
    y = drawn(rng, 8)
    own = own_slopes(y)
    result = trend_over_acceleration(*rows(y, np.arange(8)))
    assert result.slope.estimate == pytest.approx(own.mean())
    assert result.degrees_of_freedom == 7
    assert "too few patients per center" in result.method_text


def test_same_patient_name_in_two_centers_is_two_patients(rng: np.random.Generator) -> None:
    y = drawn(rng, 12)
    d, r, patient, center = rows(y, np.repeat([1, 11], 6))
    result = trend_over_acceleration(d, r, patient % 6, center)
    assert result.n_patients == 12
    assert result.slope.high == pytest.approx(trend_over_acceleration(d, r, patient, center).slope.high)


def test_no_differences_at_all() -> None:
    result = trend_over_acceleration(*rows(np.zeros((5, 3)), np.zeros(5)))
    assert (result.slope.low, result.slope.estimate, result.slope.high, result.p) == (0.0, 0.0, 0.0, 1.0)
    assert (result.status, result.slope_abs_log, result.interaction_p) == ("no variation", None, None)


@given(
    st.integers(0, 10_000),
    st.integers(3, 12),
    st.integers(1, 7),
    st.floats(0.0, 0.6),
    st.sampled_from([0.0, 1e-9, 1.0, 1e6]),
)
@settings(max_examples=60, deadline=None)
def test_any_data_give_a_result_or_the_one_error(seed: int, n: int, k: int, failed: float, noise: float) -> None:
    rng = np.random.default_rng(seed)
    y = np.round(rng.normal(size=(n, 1)) + noise * rng.normal(size=(n, 4)), 3)
    y[rng.random(y.shape) < failed] = np.nan
    try:
        result: Trend = trend_over_acceleration(*rows(y, rng.integers(0, k, n)))
    except ValueError as error:
        assert "at least 3 patients" in str(error)  # noqa: PT017
        return
    assert result.slope.low <= result.slope.estimate <= result.slope.high
    assert math.isfinite(result.slope.high - result.slope.low)
    assert 0 <= result.p <= 1
    assert result.status != "not converged"


def test_refusals() -> None:
    with pytest.raises(ValueError, match="one length"):
        trend_over_acceleration([1.0], [4.0, 8.0], ["a"], ["x"])
    with pytest.raises(ValueError, match="above 0"):
        trend_over_acceleration([1.0, 2.0], [4.0, 0.0], ["a", "a"], ["x", "x"])
    with pytest.raises(ValueError, match="infinity"):
        trend_over_acceleration([1.0, math.inf], [4.0, 8.0], ["a", "a"], ["x", "x"])
    with pytest.raises(ValueError, match="at least 3 patients with values at two accelerations or more, got 1"):
        trend_over_acceleration([1.0, 2.0], [4.0, 8.0], ["a", "a"], ["x", "x"])
    with pytest.raises(ValueError, match="got 0"):
        trend_over_acceleration([math.nan, math.nan], [4.0, 8.0], ["a", "a"], ["x", "x"])
    with pytest.raises(ValueError, match="needs two centers"):
        center_by_acceleration(*rows(np.arange(12.0).reshape(4, 3) ** 2, np.zeros(4)))
