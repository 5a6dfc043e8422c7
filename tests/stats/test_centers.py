"""Random effects against the BCG trials of the metafor documentation, and centers of subjects."""

import math

import numpy as np
import pytest

from stats.centers import center_mean, random_effects, summarize

# Colditz 1994, as metadat::dat.bcg: 13 trials, cases and non-cases of the vaccinated and of the controls
BCG = np.array(
    [
        (4, 119, 11, 128), (6, 300, 29, 274), (3, 228, 11, 209), (62, 13536, 248, 12619), (33, 5036, 47, 5761),
        (180, 1361, 372, 1079), (8, 2537, 10, 619), (505, 87886, 499, 87892), (29, 7470, 45, 7232),
        (17, 1699, 65, 1600), (186, 50448, 141, 27197), (5, 2493, 3, 2338), (27, 16886, 29, 17825),
    ],
    dtype=float,
)  # fmt: skip
A, B, C, D = BCG.T
LOG_RATIO = np.log(A / (A + B)) - np.log(C / (C + D))
VARIANCE = 1 / A - 1 / (A + B) + 1 / C - 1 / (C + D)


def test_dersimonian_laird_published() -> None:
    # metafor tests/testthat/test_misc_confint.r; Q from rma(yi, vi, method = "FE")
    result = random_effects(LOG_RATIO, VARIANCE, method="DL", knapp_hartung=False)
    estimate = (result.estimate.estimate, result.estimate.low, result.estimate.high)
    assert np.exp(estimate) == pytest.approx((0.4896, 0.3449, 0.6950), abs=1e-4)
    tau2 = (result.tau2.estimate, result.tau2.low, result.tau2.high)
    assert tau2 == pytest.approx((0.3088, 0.1197, 1.1115), abs=1e-4)
    assert result.i2_percent == pytest.approx(92.1173, abs=5e-5)
    assert result.h2 == pytest.approx(12.6861, abs=5e-5)
    assert result.q == pytest.approx(152.233, abs=5e-4)
    assert result.q_p < 1e-20


def test_reml_and_knapp_hartung_published() -> None:
    # metafor documentation: rma(yi, vi) prints -0.7145, tau2 0.3132, I2 92.22, H2 12.86; test = "knha" the interval
    result = random_effects(LOG_RATIO, VARIANCE)
    assert result.estimate.estimate == pytest.approx(-0.7145, abs=5e-5)
    assert (result.estimate.low, result.estimate.high) == pytest.approx((-1.1084, -0.3206), abs=1e-4)
    assert result.standard_error == pytest.approx(0.1808, abs=5e-5)
    assert result.tau2.estimate == pytest.approx(0.3132, abs=1e-4)
    assert (result.i2_percent, result.h2) == pytest.approx((92.22, 12.86), abs=0.005)


def test_prediction_interval() -> None:
    # t with k - 2; recomputed in other code. metafor's own uses the normal distribution
    result = random_effects(LOG_RATIO, VARIANCE)
    assert result.prediction is not None
    assert (result.prediction.low, result.prediction.high) == pytest.approx((-2.0083759, 0.5793112), abs=1e-6)


def test_agrees_with_statsmodels() -> None:
    meta = pytest.importorskip("statsmodels.stats.meta_analysis")
    other = meta.combine_effects(LOG_RATIO, VARIANCE, method_re="dl")
    result = random_effects(LOG_RATIO, VARIANCE, method="DL", knapp_hartung=False)
    assert result.tau2.estimate == pytest.approx(other.tau2)
    assert result.estimate.estimate == pytest.approx(other.mean_effect_re)
    assert result.standard_error == pytest.approx(other.sd_eff_w_re)


def test_reml_leave_one_out() -> None:
    # recomputed in other code: omitting trial 4 and trial 8
    for omitted, mean in ((3, -0.6284094), (7, -0.7947676)):
        kept = np.arange(13) != omitted
        assert random_effects(LOG_RATIO[kept], VARIANCE[kept]).estimate.estimate == pytest.approx(mean, abs=1e-6)


@pytest.mark.parametrize("method", ["DL", "REML"])
def test_equal_effects_have_no_spread(method: str) -> None:
    result = random_effects([1.0, 1.0, 1.0], [0.1, 0.2, 0.3], method=method)  # type: ignore[arg-type]
    assert result.tau2.estimate == 0.0
    assert result.estimate.estimate == pytest.approx(1.0)
    assert result.i2_percent == 0.0


def test_equal_variances_give_students_interval_of_the_center_means() -> None:
    effects = np.array([0.5, 2.0, -1.0, 0.9])
    result = random_effects(effects, np.full(4, 0.01))
    assert result.estimate.estimate == pytest.approx(effects.mean())
    half = 3.182446 * effects.std(ddof=1) / 2  # t(3) = 3.182446
    assert result.estimate.high - result.estimate.estimate == pytest.approx(half, rel=1e-6)


def test_center_mean_weighs_by_subjects_and_uses_the_pooled_variance() -> None:
    values = [1.0, 3.0, 2.0, 4.0, 7.0]
    centers = ["a", "a", "b", "b", "c"]
    expected = random_effects([2.0, 3.0, 7.0], [1.0, 1.0, 2.0])  # pooled variance 2, over 2, 2 and 1 subjects
    result = center_mean(values, centers)
    assert result.estimate.low == pytest.approx(expected.estimate.low)
    assert result.tau2.estimate == pytest.approx(expected.tau2.estimate)
    assert [(c.name, c.n, c.mean) for c in summarize(values, centers)] == [("a", 2, 2.0), ("b", 2, 3.0), ("c", 1, 7.0)]
    assert summarize(values, centers)[2].sd is None


def test_centers_that_differ_widen_the_interval(rng: np.random.Generator) -> None:
    centers = [f"c{i}" for i in range(5) for _ in range(20)]
    shift = np.repeat([-2.0, -1.0, 0.0, 1.0, 2.0], 20)
    noise = rng.standard_normal(100)
    alike, apart = center_mean(noise, centers), center_mean(noise + shift, centers)
    assert apart.estimate.high - apart.estimate.low > 4 * (alike.estimate.high - alike.estimate.low)
    assert apart.tau2.estimate == pytest.approx(2.5, abs=1.0)


def test_two_centers_have_no_prediction() -> None:
    assert random_effects([0.0, 1.0], [0.1, 0.1]).prediction is None


def test_refusals() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        random_effects([1.0], [1.0])
    with pytest.raises(ValueError, match="variances must be above 0"):
        random_effects([1.0, 2.0], [1.0, 0.0])
    with pytest.raises(ValueError, match="not finite"):
        random_effects([1.0, math.nan], [1.0, 1.0])
    with pytest.raises(ValueError, match="method must be DL or REML"):
        random_effects([1.0, 2.0], [1.0, 1.0], method="PM")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="do not give a variance within centers"):
        center_mean([1.0, 2.0, 3.0], ["a", "b", "c"])
    with pytest.raises(ValueError, match="3 values but 2 center names"):
        summarize([1.0, 2.0, 3.0], ["a", "b"])
