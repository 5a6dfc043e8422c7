"""Subjects nested in centers: the closed form of balanced data, published REML limits, statsmodels, coverage."""

import math
from dataclasses import astuple

import numpy as np
import pytest
import scipy.stats as scipy_stats

from stats.bland_altman import bland_altman, repeated
from stats.nested import NestedLimits, nested_limits

# Bland and Altman 1999, table 4, doi 10.1177/096228029900800204: cardiac output (L/min) of 12 subjects by radionuclide
# ventriculography (RV) and impedance cardiography (IC), 3 to 6 pairs each
COUNTS = [5, 4, 6, 5, 6, 4, 4, 6, 3, 5, 6, 6]
RV = [7.83, 7.42, 7.89, 7.12, 7.88, 6.16, 7.26, 6.71, 6.54, 4.75, 5.24, 4.86, 4.78, 6.05, 5.42, 4.21, 3.61, 3.72, 3.87]
RV += [3.92, 3.13, 2.98, 2.85, 3.17, 3.09, 3.12, 5.92, 6.42, 5.92, 6.27, 7.13, 6.62, 6.58, 6.93, 4.54, 4.81, 5.11]
RV += [5.29, 5.39, 5.57, 4.48, 4.92, 3.97, 4.22, 4.65, 4.74, 4.44, 4.50, 6.78, 6.07, 6.52, 6.42, 6.41, 5.76, 5.06]
RV += [4.72, 4.90, 4.80, 4.90, 5.10]
IC = [6.57, 5.62, 6.90, 6.57, 6.35, 4.06, 4.29, 4.26, 4.09, 4.71, 5.50, 5.08, 5.02, 6.01, 5.67, 4.14, 4.20, 4.61, 4.68]
IC += [5.04, 3.03, 2.86, 2.77, 2.46, 2.32, 2.43, 5.90, 5.81, 5.70, 5.76, 5.09, 4.63, 4.61, 5.09, 4.72, 4.61, 4.36]
IC += [4.20, 4.36, 4.20, 3.17, 3.12, 2.96, 4.35, 4.62, 3.16, 3.53, 3.53, 7.20, 6.09, 7.00, 7.10, 7.40, 6.80, 4.50]
IC += [4.20, 3.80, 3.80, 4.20, 4.50]
SUBJECT = np.repeat(np.arange(12), COUNTS)


def _draw(
    rng: np.random.Generator, sizes: list[int], replicates: int, sds: tuple[float, float, float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    center = np.repeat(np.arange(len(sizes)), np.array(sizes) * replicates)
    subject = np.repeat(np.concatenate([np.arange(size) for size in sizes]), replicates)
    own = np.repeat(rng.normal(0.0, sds[1], size=sum(sizes)), replicates)
    return rng.normal(1.0, sds[0], len(sizes))[center] + own + rng.normal(0, sds[2], center.size), center, subject


def test_order_names_and_unit_do_not_matter(rng: np.random.Generator) -> None:
    d, center, subject = _draw(rng, [4, 6, 3, 5], 2, (1.0, 1.0, 0.5))
    order = rng.permutation(d.size)
    one = nested_limits(d, center, subject)
    names = np.array([f"C{c}" for c in center])[order]
    other = nested_limits(-10 * d[order], names, subject[order])
    assert other.bias.estimate == pytest.approx(-10 * one.bias.estimate)
    assert other.lower_limit.low == pytest.approx(-10 * one.upper_limit.high, rel=1e-6)
    assert other.subject_variance.estimate == pytest.approx(100 * one.subject_variance.estimate, rel=1e-6)


@pytest.mark.parametrize("sds", [(2.0, 1.5, 1.0), (0.5, 1.0, 3.0)])
def test_balanced_data_have_the_closed_form(sds: tuple[float, float, float], rng: np.random.Generator) -> None:
    k, m, r = 8, 6, 4
    while True:  # the closed form is REML where no component is negative
        d, center, subject = _draw(rng, [m] * k, r, sds)
        cells = d.reshape(k, m, r)
        means = cells.mean(axis=2)
        within = float(((cells - means[..., None]) ** 2).sum()) / (k * m * (r - 1))
        subjects = r * float(((means - means.mean(axis=1, keepdims=True)) ** 2).sum()) / (k * (m - 1))
        centers = m * r * float(means.mean(axis=1).var(ddof=1))
        if within < subjects < centers:
            break
    result = nested_limits(d, center, subject)
    assert result.center_variance is not None
    assert result.replicate_variance is not None
    assert result.center_variance.estimate == pytest.approx((centers - subjects) / (m * r), rel=1e-5)
    assert result.subject_variance.estimate == pytest.approx((subjects - within) / r, rel=1e-5)
    assert result.replicate_variance.estimate == pytest.approx(within, rel=1e-6)
    freedom = k * m * (r - 1)
    assert result.replicate_variance.high == pytest.approx(within * freedom / scipy_stats.chi2.ppf(0.025, freedom))
    half = scipy_stats.t.ppf(0.975, k - 1) * math.sqrt(centers / (k * m * r))
    assert result.bias.estimate == pytest.approx(float(d.mean()))
    assert result.bias.high - result.bias.estimate == pytest.approx(half, rel=1e-5)
    assert result.icc_center is not None
    total = (centers - subjects) / (m * r) + (subjects - within) / r + within
    assert result.icc_center.estimate == pytest.approx((centers - subjects) / (m * r) / total, rel=1e-5)


def test_one_center_without_replicates_is_the_plain_analysis(rng: np.random.Generator) -> None:
    d = rng.normal(1.0, 2.0, size=30)
    result, plain = nested_limits(d, ["A"] * 30, np.arange(30)), bland_altman(np.zeros(30), d)
    assert (result.center_variance, result.replicate_variance, result.icc_center) == (None, None, None)
    assert (result.bias.low, result.bias.high) == pytest.approx((plain.bias.low, plain.bias.high))
    assert (result.sd.low, result.sd.estimate, result.sd.high) == pytest.approx(
        (plain.sd.low, plain.sd.estimate, plain.sd.high), rel=1e-6
    )
    assert result.upper_limit.estimate == pytest.approx(plain.upper_limit.estimate, rel=1e-6)


def test_published_cardiac_output_by_reml() -> None:
    # four estimators of one table: -1.35 to 2.77 about .71 (constant truth), -1.30 to 2.72 about .71 (Zou, varying),
    # -1.30 to 2.71 about .70 (REML); the mean of all readings is .60, BA 2007, doi 10.1080/10543400701329422
    result = nested_limits(np.array(RV) - np.array(IC), np.zeros(60), SUBJECT)
    assert result.bias.estimate == pytest.approx(0.70, abs=0.006)
    limits = (result.lower_limit.estimate, result.upper_limit.estimate)
    assert limits == pytest.approx((-1.30, 2.71), abs=0.006)
    zou = repeated(IC, RV, SUBJECT, truth="varying")
    assert (zou.lower_limit.estimate, zou.upper_limit.estimate) == pytest.approx((-1.30, 2.72), abs=0.006)
    constant = repeated(IC, RV, SUBJECT, truth="constant")
    assert (constant.lower_limit.estimate, constant.upper_limit.estimate) == pytest.approx((-1.35, 2.77), abs=0.006)
    # the uncertainty of the bias holds the share of the replicates, as that of Zou's subject means does
    width = (zou.bias.high - zou.bias.low) / (result.bias.high - result.bias.low)
    assert width == pytest.approx(1.0, abs=0.01)


def test_agrees_with_statsmodels(rng: np.random.Generator) -> None:
    pandas = pytest.importorskip("pandas")
    formula = pytest.importorskip("statsmodels.formula.api")
    d, center, subject = _draw(rng, [9, 14, 5, 11, 8, 12], 2, (0.9, 1.0, 0.6))
    kept = rng.random(d.size) < 0.8
    d, center, subject = d[kept], center[kept], subject[kept]
    table = pandas.DataFrame({"d": d, "center": center, "subject": subject})
    model = formula.mixedlm("d ~ 1", table, groups="center", re_formula="1", vc_formula={"s": "0 + C(subject)"})
    fit = model.fit(reml=True)
    result = nested_limits(d, center, subject)
    assert result.center_variance is not None
    assert result.replicate_variance is not None
    assert result.center_variance.estimate == pytest.approx(float(fit.cov_re.iloc[0, 0]), rel=5e-3)
    assert result.subject_variance.estimate == pytest.approx(float(fit.vcomp[0]), rel=5e-3)
    assert result.replicate_variance.estimate == pytest.approx(float(fit.scale), rel=5e-3)
    assert result.bias.estimate == pytest.approx(float(fit.params["Intercept"]), abs=1e-3)


@pytest.mark.slow
def test_intervals_cover_about_as_often_as_they_say(rng: np.random.Generator) -> None:
    # approximate by design: 400 draws of 13 unequal centers gave 0.93 to 0.98
    draws, sds = 150, (0.7, 1.0, 0.5)
    total = math.sqrt(sum(sd**2 for sd in sds))
    truth = {"bias": 1.0, "center_variance": 0.49, "subject_variance": 1.0, "sd": total, "icc_center": 0.49 / total**2}
    truth |= {"lower_limit": 1.0 - 1.959964 * total, "upper_limit": 1.0 + 1.959964 * total}
    hits = dict.fromkeys(truth, 0)
    for _ in range(draws):
        result = nested_limits(*_draw(rng, [4, 9, 6, 12, 3, 7, 5, 10], 2, sds))
        for name, value in truth.items():
            interval = getattr(result, name)
            hits[name] += interval.low <= value <= interval.high
    for name, count in hits.items():
        assert 0.95 - 4 * math.sqrt(0.95 * 0.05 / draws) < count / draws, name


def test_equal_centers_have_no_component_but_an_upper_end() -> None:
    d = np.tile([-1.0, -0.5, 0.0, 0.5, 1.0], 4)
    result = nested_limits(d, np.repeat(np.arange(4), 5), np.tile(np.arange(5), 4))
    assert result.center_variance is not None
    assert result.icc_center is not None
    assert (result.center_variance.estimate, result.center_variance.low) == (0.0, 0.0)
    assert result.center_variance.high > 0.0
    assert (result.icc_center.estimate, result.icc_center.low) == (0.0, 0.0)
    assert result.sd.estimate == pytest.approx(d.std(ddof=1), rel=1e-5)


def test_replicates_that_are_the_same_have_no_variance() -> None:
    d = np.repeat([1.0, 2.0, 4.0, 3.0, 5.0, 9.0], 2)
    result = nested_limits(d, np.repeat(["A", "B"], 6), np.repeat(np.arange(6), 2))
    once = nested_limits(d[::2], ["A", "A", "A", "B", "B", "B"], np.arange(6))
    assert result.replicate_variance is not None
    assert astuple(result.replicate_variance)[:3] == (0.0, 0.0, 0.0)
    assert result.subject_variance.estimate == pytest.approx(once.subject_variance.estimate, rel=1e-6)
    assert result.upper_limit.high == pytest.approx(once.upper_limit.high, rel=1e-6)


def test_centers_far_apart_with_hardly_any_other_spread(rng: np.random.Generator) -> None:
    d, center, subject = _draw(rng, [3, 4, 3], 2, (30.0, 0.0, 1e-6))
    result = nested_limits(d, center, subject)
    assert result.center_variance is not None
    assert result.replicate_variance is not None
    expected = float(np.var([d[center == c].mean() for c in range(3)], ddof=1))
    assert result.center_variance.estimate == pytest.approx(expected, rel=1e-3)
    assert 0.0 < result.replicate_variance.estimate < 1e-11
    assert result.icc_center is not None
    assert result.icc_center.estimate == pytest.approx(1.0, abs=1e-9)


def test_subjects_of_two_centers_may_share_a_name(rng: np.random.Generator) -> None:
    d, center, subject = _draw(rng, [5, 5], 1, (0.5, 1.0, 0.0))
    shared = nested_limits(d, center, subject)
    own = nested_limits(d, center, np.arange(10))
    assert isinstance(shared, NestedLimits)
    assert (shared.n_subjects, shared) == (10, own)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="three vectors of one length"):
        nested_limits([1.0, 2.0, 3.0], ["A", "A"], [1, 2, 3])
    with pytest.raises(ValueError, match="at least 3 subjects are needed, got 2"):
        nested_limits([1.0, 2.0, 3.0], ["A", "A", "A"], [1, 2, 2])
    with pytest.raises(ValueError, match="no center has two subjects"):
        nested_limits([1.0, 2.0, 3.0], ["A", "B", "C"], [1, 2, 3])
    with pytest.raises(ValueError, match="no spread to divide"):
        nested_limits([1.0, 1.0, 1.0], ["A", "A", "B"], [1, 2, 3])
    with pytest.raises(ValueError, match="no center has any spread of its own"):
        nested_limits([1.0, 1.0, 2.0, 2.0], ["A", "A", "B", "B"], [1, 2, 3, 4])
    with pytest.raises(ValueError, match="not finite"):
        nested_limits([1.0, 2.0, math.nan], ["A", "A", "B"], [1, 2, 3])
    with pytest.raises(ValueError, match="confidence must lie"):
        nested_limits([1.0, 2.0, 3.0], ["A", "A", "B"], [1, 2, 3], confidence=95)
