"""Intraclass and concordance correlations against published tables."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import scipy.stats as scipy_stats
from hypothesis import given, settings
from hypothesis import strategies as st

from stats.icc import FORMS, concordance, icc, rater_bias

# Shrout and Fleiss 1979, doi 10.1037/0033-2909.86.2.420, table 2: 6 targets, 4 judges
SHROUT_FLEISS = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
# wines of the pingouin docstring (from real-statistics.com): 8 wines, 4 judges
WINE = [[1, 2, 0, 1], [1, 3, 3, 2], [3, 8, 1, 4], [6, 4, 3, 3], [6, 5, 5, 6], [7, 5, 6, 2], [8, 7, 7, 9], [9, 9, 9, 8]]
# irr::anxiety, 20 subjects, 3 raters
ANXIETY = "332 361 344 464 523 542 221 346 531 231 221 632 133 533 221 221 113 233 432 342"
ANXIETY_TABLE = [[int(score) for score in subject] for subject in ANXIETY.split()]
# Bland and Altman 1986, Lancet i:307-310: peak flow, first readings
WRIGHT = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
MINI = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]


@pytest.mark.parametrize(
    ("form", "value", "low", "high"),
    [
        # values: psych tests/testthat/test_ICC.R and the paper; intervals: printed by psych::ICC
        ("1,1", 0.17, -0.13, 0.72),
        ("A,1", 0.29, 0.02, 0.76),
        ("C,1", 0.71, 0.34, 0.95),
        ("1,k", 0.44, -0.88, 0.91),
        ("A,k", 0.62, 0.07, 0.93),
        ("C,k", 0.91, 0.68, 0.99),
    ],
)
def test_shrout_and_fleiss(form: str, value: float, low: float, high: float) -> None:
    result = icc(SHROUT_FLEISS, form=form)  # type: ignore[arg-type]
    assert result.estimate == pytest.approx(value, abs=0.005)
    assert (result.low, result.high) == pytest.approx((low, high), abs=0.006)
    assert (result.n, result.method) == (6, f"ICC({form})")


def test_wine_and_anxiety() -> None:
    wine = icc(WINE)
    assert (wine.estimate, wine.low, wine.high) == pytest.approx((0.728, 0.43, 0.93), abs=0.005)
    assert icc(WINE, form="C,1").estimate == pytest.approx(0.729, abs=0.0006)
    # irr::icc(anxiety, model = "twoway", type = "agreement")
    anxiety = icc(ANXIETY_TABLE)
    assert (anxiety.estimate, anxiety.low, anxiety.high) == pytest.approx((0.198, -0.039, 0.494), abs=0.0006)


@pytest.mark.parametrize("form", FORMS)
def test_agrees_with_pingouin_on_wide_intervals(form: str) -> None:
    # pingouin 0.6.1, intraclass_corr of the anxiety data with round.column.CI95 = None
    known = {
        "1,1": (0.17502238, -0.07744657, 0.48433609),
        "A,1": (0.19799826, -0.03891063, 0.49357395),
        "C,1": (0.21604938, -0.04625789, 0.52225908),
        "1,k": (0.38892573, -0.27492349, 0.73806513),
        "A,k": (0.42549875, -0.12658270, 0.74514929),
        "C,k": (0.45258621, -0.15292129, 0.76633080),
    }
    result = icc(ANXIETY_TABLE, form=form)  # type: ignore[arg-type]
    assert (result.estimate, result.low, result.high) == pytest.approx(known[form], abs=1e-7)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 4), min_size=3, max_size=3), min_size=3, max_size=7),
    st.sampled_from(FORMS),
    st.sampled_from([0.5, 0.95, 0.999]),
)
def test_laws(rows: list[list[int]], form: str, confidence: float) -> None:
    table = np.array(rows, dtype=float)
    if np.ptp(table.sum(axis=1)) == 0:
        with pytest.raises(ValueError, match="undefined"):
            icc(table, form=form, confidence=confidence)  # type: ignore[arg-type]
        return
    result = icc(table, form=form, confidence=confidence)  # type: ignore[arg-type]
    assert not math.isnan(result.low + result.high)
    assert result.low - 1e-9 <= result.high <= 1.0 + 1e-9
    assert result.estimate <= 1.0 + 1e-9
    moved = icc(3 * table[::-1, ::-1] - 7, form=form, confidence=confidence)  # type: ignore[arg-type]
    assert (moved.estimate, moved.low, moved.high) == pytest.approx((result.estimate, result.low, result.high))


@pytest.mark.parametrize("name", ["shrout_fleiss", "wine", "anxiety"])
def test_reference_file(name: str, shared_data: Path) -> None:
    # recomputed from the published tables in other code, with the F tests of both kinds
    reference = json.loads((shared_data / "reference/statistics/07_icc.json").read_text(encoding="utf-8"))
    table, expected = reference["data"][name], reference["expected"][name]
    for form in FORMS:
        key = form.replace(",", "_")
        result = icc(table, form=form)  # type: ignore[arg-type]
        assert result.estimate == pytest.approx(expected[f"ICC_{key}"])
        assert (result.low, result.high) == pytest.approx(expected[f"ci_{key}"])
    bias = rater_bias(table)
    assert (bias.f, bias.p) == pytest.approx((expected["F_rater_bias"], expected["p_rater_bias"]))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("confidence", [0.8, 0.9, 0.99])
def test_interval_is_where_the_f_test_stops_rejecting(form: str, confidence: float) -> None:
    # consistency and one-way: F = MSR / MSE is (1 + k rho / (1 - rho)) times a central F at the limits
    wide, usual = icc(WINE, form=form, confidence=0.999), icc(WINE, form=form, confidence=confidence)  # type: ignore[arg-type]
    assert wide.low < usual.low < usual.estimate < usual.high < wide.high
    assert usual.level == confidence
    if form in ("1,1", "C,1"):
        f = {"1,1": 26.888392857142858 / 2.3020833333333335, "C,1": 26.888392857142858 / 2.28125}[form]
        freedom = {"1,1": 24, "C,1": 21}[form]
        at = 1 + 4 * usual.low / (1 - usual.low)
        assert scipy_stats.f.sf(f / at, 7, freedom) == pytest.approx((1 - confidence) / 2)


def test_rater_bias_is_not_the_test_of_subjects() -> None:
    # Shrout and Fleiss 1979, table 3: MSR 11.24, MSC 32.49, MSE 1.02; other software prints MSR / MSE = 11.03 here
    bias = rater_bias(SHROUT_FLEISS)
    assert (bias.f, bias.freedom_raters, bias.freedom_error) == (pytest.approx(31.87, abs=5e-3), 3, 15)
    assert bias.p == pytest.approx(9.454e-7, rel=1e-3)
    # two raters: the square of the paired t test
    pair = np.column_stack([WRIGHT, MINI])
    theirs = scipy_stats.ttest_rel(WRIGHT, MINI)
    assert (rater_bias(pair).f, rater_bias(pair).p) == pytest.approx((theirs.statistic**2, theirs.pvalue))


def test_rater_bias_without_error() -> None:
    subjects = np.arange(5.0)
    assert (rater_bias(np.column_stack([subjects, subjects])).p, rater_bias(np.column_stack([subjects] * 2)).f) == (
        1,
        0,
    )
    shifted = rater_bias(np.column_stack([subjects, subjects + 1]))
    assert (shifted.f, shifted.p) == (math.inf, 0.0)


def test_mean_readings_without_any_reliability() -> None:
    # between the subjects' means less variation than the readings' error leaves by chance: beyond the pole of the form
    result = icc([[1, 3], [2, 0], [1, 3], [3, 1]], form="A,k")
    assert result.estimate < 0.0
    assert result.low == -math.inf


def test_agreement_sees_a_shift_and_consistency_does_not() -> None:
    subjects = np.arange(10.0)
    ratings = np.column_stack([subjects, subjects + 3.0])
    assert icc(ratings, form="C,1").estimate == pytest.approx(1.0)
    assert icc(ratings, form="A,1").estimate < 0.8


def test_perfect_agreement_is_one() -> None:
    subjects = np.arange(5.0)
    result = icc(np.column_stack([subjects, subjects]))
    assert (result.estimate, result.low, result.high) == (1.0, 1.0, 1.0)


def test_concordance_has_the_standard_error_of_the_erratum() -> None:
    # recomputed from Lin 2000 (Biometrics 56:324-325) in other code
    result = concordance(WRIGHT, MINI)
    assert result.estimate == pytest.approx(0.94274243)
    assert result.standard_error == pytest.approx(0.02861674)
    assert (result.low, result.high) == pytest.approx((0.85049187, 0.97872628))
    assert result.pearson == pytest.approx(0.94, abs=0.005)  # Bland and Altman 1986
    assert result.estimate == pytest.approx(result.pearson * result.bias_correction)


def test_concordance_of_identical_and_of_reversed_readings() -> None:
    same = concordance([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0])
    assert same.estimate == pytest.approx(1.0)
    assert concordance([1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0]).estimate == pytest.approx(-1.0)


def test_uncorrelated_readings_have_a_concordance_of_zero() -> None:
    result = concordance([-1.0, 0.0, 0.0, 1.0], [0.0, 1.0, -1.0, 0.0])
    assert result.estimate == 0.0
    assert result.low < 0.0 < result.high
    assert math.isnan(result.bias_correction)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="at least 3 x 2"):
        icc([[1.0, 2.0], [2.0, 3.0]])
    with pytest.raises(ValueError, match="not finite"):
        icc([[1.0, 2.0], [2.0, math.nan], [3.0, 4.0]])
    with pytest.raises(ValueError, match="undefined without variation"):
        icc([[2.0, 2.0]] * 4)
    with pytest.raises(ValueError, match="subjects' means are all equal"):
        icc([[1.0, 3.0], [3.0, 1.0], [2.0, 2.0]])
    with pytest.raises(ValueError, match="form must be one of"):
        icc(SHROUT_FLEISS, form="2,1")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="without variation"):
        concordance([1.0, 1.0, 1.0, 1.0], [1.0, 2.0, 3.0, 4.0])
