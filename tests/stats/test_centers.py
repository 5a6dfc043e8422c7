"""Random effects against the BCG trials of the metafor documentation, and centers of subjects."""

import math

import numpy as np
import pytest

from stats.centers import Center, center_mean, combined, from_summaries, leave_one_out, random_effects, summarize

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
    names = [f"trial {i}" for i in range(1, 14)]
    left = leave_one_out(LOG_RATIO, VARIANCE, names)
    assert [row.name for row in left] == names
    for omitted, mean in ((3, -0.6284094), (7, -0.7947676)):
        assert left[omitted].effects.estimate.estimate == pytest.approx(mean, abs=1e-6)
        assert left[omitted].effects.n_centers == 12


def test_interval_of_i2_published() -> None:
    # metafor tests/testthat/test_misc_confint.r, DL
    result = random_effects(LOG_RATIO, VARIANCE, method="DL").i2_interval
    assert (result.estimate, result.low, result.high) == pytest.approx((92.1173, 81.9177, 97.6781), abs=0.005)


def test_prediction_uses_the_published_spread() -> None:
    # metafor documentation, normal distribution: risk ratio of a new trial 0.1546 to 1.5490; ours has t(11) for it
    prediction = random_effects(LOG_RATIO, VARIANCE, knapp_hartung=False).prediction
    assert prediction is not None
    half = (prediction.high - prediction.estimate) / 2.200985 * 1.959964
    ends = (prediction.estimate - half, prediction.estimate + half)
    assert np.exp(ends) == pytest.approx((0.1546, 1.5490), abs=1e-4)


def test_knapp_hartung_of_moments_agrees_with_statsmodels() -> None:
    meta = pytest.importorskip("statsmodels.stats.meta_analysis")
    other = meta.combine_effects(LOG_RATIO, VARIANCE, method_re="dl", use_t=True)
    result = random_effects(LOG_RATIO, VARIANCE, method="DL")
    assert result.standard_error == pytest.approx(other.sd_eff_w_re_hksj)
    low, high = other.conf_int()[3]
    assert (result.estimate.low, result.estimate.high) == pytest.approx((low, high))


def test_modified_knapp_hartung_does_not_gain_from_chance_agreement() -> None:
    effects, variances = [1.0, 1.01, 0.99], [0.04, 0.05, 0.06]
    plain = random_effects(effects, variances)
    modified = random_effects(effects, variances, knapp_hartung="modified")
    assert plain.standard_error < 0.01
    assert modified.standard_error == pytest.approx(math.sqrt(1 / (25 + 20 + 1 / 0.06)))
    apart = random_effects(LOG_RATIO, VARIANCE, method="DL", knapp_hartung="modified").standard_error
    assert apart == random_effects(LOG_RATIO, VARIANCE, method="DL").standard_error  # scale above 1 stays


def test_few_centers_are_named_as_such() -> None:
    assert "hardly estimable" in random_effects([0.0, 1.0, 2.0], [0.1, 0.1, 0.1]).statement
    assert "hardly" not in random_effects(LOG_RATIO, VARIANCE).statement


def test_summaries_say_what_the_values_say(rng: np.random.Generator) -> None:
    values = rng.normal(size=60) + np.repeat(rng.normal(size=6), 10)
    values, centers = np.append(values, 0.3), [f"c{i // 10}" for i in range(60)] + ["lone"]
    pooled = from_summaries(summarize(values, centers))
    assert pooled.effects == center_mean(values, centers)
    assert (pooled.total.n, pooled.total.mean) == (61, pytest.approx(values.mean()))
    assert pooled.total.sd == pytest.approx(values.std(ddof=1))
    assert sum(row.weight_percent for row in pooled.rows) == pytest.approx(100)
    assert pooled.within_freedom == 54
    inner = np.concatenate([values[i : i + 10] - values[i : i + 10].mean() for i in range(0, 60, 10)])
    assert pooled.within_sd == pytest.approx(math.sqrt((inner**2).sum() / 54))
    weighted = sum(row.weight_percent / 100 * row.interval.estimate for row in pooled.rows)
    assert weighted == pytest.approx(pooled.effects.estimate.estimate)


def test_summaries_with_own_variances() -> None:
    # what the exports of two centers of unequal precision say: the classical inverse-variance weighing
    groups = [Center("a", 100, 1.0, 2.0), Center("b", 25, 1.0, 5.0)]
    pooled = from_summaries(groups, variance="own", method="DL", knapp_hartung=False)
    assert pooled.effects.standard_error == pytest.approx(math.sqrt(1 / (1 / 0.04 + 1 / 1.0)))
    assert pooled.rows[0].weight_percent == pytest.approx(100 * 25 / 26)
    assert pooled.rows[1].interval.high == pytest.approx(1.0 + 2.063899 * 1.0, abs=1e-5)  # t(24)
    assert combined(groups) == Center("all", 125, 1.0, pytest.approx(math.sqrt((99 * 4 + 24 * 25) / 124)))


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
    with pytest.raises(ValueError, match="True, False or 'modified'"):
        random_effects([1.0, 2.0], [1.0, 1.0], knapp_hartung="ad hoc")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 3"):
        leave_one_out([1.0, 2.0], [1.0, 1.0], ["a", "b"])
    with pytest.raises(ValueError, match="3 effects but 2 center names"):
        leave_one_out([1.0, 2.0, 3.0], [1.0, 1.0, 1.0], ["a", "b"])


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([Center("a", 2, 0.0, 1.0), Center("a", 2, 0.0, 1.0)], "one summary per center"),
        ([], "one summary per center"),
        ([Center("a", 0, 0.0, None), Center("b", 2, 0.0, 1.0)], "center a: expected n >= 1"),
        ([Center("a", 1, 0.0, 1.0), Center("b", 2, 0.0, 1.0)], "an SD exactly if n > 1"),
        ([Center("a", 2, math.nan, 1.0), Center("b", 2, 0.0, 1.0)], "a finite mean"),
        ([Center("a", 2, 0.0, -1.0), Center("b", 2, 0.0, 1.0)], "an SD exactly if n > 1"),
        ([Center("a", 5, 0.0, 1.0)], "do not give a variance within centers"),
        ([Center("a", 5, 0.0, 0.0), Center("b", 5, 1.0, 0.0)], "do not give a variance within centers"),
    ],
)
def test_summaries_that_do_not_fit(groups: list[Center], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_summaries(groups)


def test_own_variances_need_subjects() -> None:
    groups = [Center("a", 5, 0.0, 1.0), Center("b", 1, 1.0, None)]
    with pytest.raises(ValueError, match="use pooled ones"):
        from_summaries(groups, variance="own")
    with pytest.raises(ValueError, match="pooled or own"):
        from_summaries(groups, variance="mine")  # type: ignore[arg-type]
