"""Coefficients of readers' agreement and Friedman's test against published examples and closed forms."""

import math

import numpy as np
import pytest
import scipy.stats as scipy_stats
from hypothesis import given, settings
from hypothesis import strategies as st

from stats.multiplicity import holm
from stats.ordinal import friedman_with_holm, gwet_ac2, krippendorff_alpha, percent_agreement, weighted_kappa
from stats.paired_tests import wilcoxon
from stats.square_table import kappa_of_table

N = math.nan
# Krippendorff 2011, example C: 4 observers, 12 units; also in Gwet 2014, p. 120 (irrCAC, cac.raw4raters)
FOUR_READERS = [
    [1, 1, N, 1], [2, 2, 3, 2], [3, 3, 3, 3], [3, 3, 3, 3], [2, 2, 2, 2], [1, 2, 3, 4],
    [4, 4, 4, 4], [1, 1, 2, 1], [2, 2, 2, 2], [N, 5, 5, 5], [N, N, 1, 1], [N, N, 3, N],
]  # fmt: skip
FIVE = (1, 2, 3, 4, 5)
# Krippendorff 2011, example A: 2 observers, 10 units
BINARY = [[0, 1], [1, 1], [0, 1], [0, 0], [0, 0], [0, 1], [0, 0], [0, 0], [1, 0], [0, 0]]
# Gwet, Handbook: charts of ectopic pregnancy by two abstractors (irrCAC, cont3x3abstractors)
ABSTRACTORS = [[0, 0]] * 13 + [[1, 1]] * 20 + [[1, 2]] * 7 + [[2, 1]] * 4 + [[2, 2]] * 56
# Hollander and Wolfe 1999, p. 274 (R, friedman.test): times to first base by three ways of rounding, 22 players
ROUNDING = """
5.40 5.50 5.55 5.85 5.70 5.75 5.20 5.60 5.50 5.55 5.50 5.40 5.90 5.85 5.70 5.45 5.55 5.60 5.40 5.40 5.35 5.45 5.50 5.35
5.25 5.15 5.00 5.85 5.80 5.70 5.25 5.20 5.10 5.65 5.55 5.45 5.60 5.35 5.45 5.05 5.00 4.95 5.50 5.50 5.40 5.45 5.55 5.50
5.55 5.55 5.35 5.45 5.50 5.55 5.50 5.45 5.25 5.65 5.60 5.40 5.70 5.65 5.55 6.30 6.30 6.25
"""
ROUNDING_TIMES = np.array(ROUNDING.split(), dtype=float).reshape(22, 3)
WAYS = ("out", "narrow", "wide")

table_of_scores = st.lists(st.lists(st.integers(1, 4), min_size=3, max_size=3), min_size=3, max_size=15)


@settings(max_examples=40, deadline=None)
@given(table_of_scores)
def test_the_order_of_readers_and_of_subjects_changes_nothing(rows: list[list[int]]) -> None:
    table = np.array(rows, dtype=float)
    categories = (1, 2, 3, 4)
    for coefficient in (gwet_ac2, percent_agreement):
        plain = coefficient(table, categories=categories)
        turned = coefficient(table[::-1, ::-1], categories=categories)
        assert plain.low <= plain.estimate <= plain.high <= 1.0
        assert (plain.estimate, plain.standard_error) == pytest.approx((turned.estimate, turned.standard_error))
    # a reversed scale is the same scale
    assert gwet_ac2(5 - table, categories=categories).estimate == pytest.approx(
        gwet_ac2(table, categories=categories).estimate
    )
    if np.ptp(table) == 0:
        with pytest.raises(ValueError, match="undefined without variation"):
            krippendorff_alpha(table, rng=np.random.default_rng(0), n_resamples=100)
        return
    for level in ("nominal", "ordinal", "interval"):
        alpha = krippendorff_alpha(table, level, rng=np.random.default_rng(0), n_resamples=100)
        back = krippendorff_alpha(-table[:, ::-1], level, rng=np.random.default_rng(0), n_resamples=100)
        assert (alpha.estimate, alpha.low) == pytest.approx((back.estimate, back.low))
        assert alpha.estimate <= 1.0


@pytest.mark.parametrize(
    ("weights", "value", "error", "low", "observed", "expected"),
    [
        # irrCAC, gwet.ac1.raw(cac.raw4raters) and its weighted forms
        ("unweighted", 0.775, 0.143, 0.461, 0.818, 0.190),
        ("linear", 0.859, 0.117, 0.600, 0.939, 0.571),
        ("quadratic", 0.914, 0.104, 0.685, 0.975, 0.714),
    ],
)
def test_gwet_with_missing_scores(
    weights: str, value: float, error: float, low: float, observed: float, expected: float
) -> None:
    result = gwet_ac2(FOUR_READERS, categories=FIVE, weights=weights)
    assert (result.estimate, result.standard_error, result.low) == pytest.approx((value, error, low), abs=6e-4)
    assert (result.observed, result.expected) == pytest.approx((observed, expected), abs=6e-4)
    assert (result.high, result.n) == (1.0, 12)
    assert result.method.startswith("AC1" if weights == "unweighted" else "AC2")


def test_gwet_of_two_abstractors() -> None:
    # irrCAC, gwet.ac1.table(cont3x3abstractors): .849 (.764, .935); quadratic .940 (.905, .976); its variance has 1 / n
    for weights, expected in (("unweighted", (0.849, 0.764, 0.935)), ("quadratic", (0.940, 0.905, 0.976))):
        result = gwet_ac2(ABSTRACTORS, categories=(0, 1, 2), weights=weights)
        assert (result.estimate, result.low, result.high) == pytest.approx(expected, abs=1.2e-3)


def test_ac1_does_not_fall_with_prevalence_and_kappa_does() -> None:
    # Gwet 2002, Kappa statistic is not satisfactory: 118, 5, 2 and 0 of 125 subjects, kappa -.0234, AC1 .9408
    first, second = [1] * 118 + [1] * 5 + [2] * 2, [1] * 118 + [2] * 5 + [1] * 2
    assert weighted_kappa(first, second, categories=(1, 2)).estimate == pytest.approx(-0.0234, abs=5e-5)
    ac1 = gwet_ac2(np.column_stack([first, second]), categories=(1, 2), weights="unweighted")
    assert ac1.estimate == pytest.approx(0.9408, abs=5e-5)


@pytest.mark.parametrize(
    ("ratings", "level", "value"),
    [
        # Krippendorff 2011
        (BINARY, "nominal", 0.095),
        (FOUR_READERS, "nominal", 0.743),
        (FOUR_READERS, "ordinal", 0.815),
        (FOUR_READERS, "interval", 0.849),
    ],
)
def test_krippendorff(ratings: list[list[float]], level: str, value: float, rng: np.random.Generator) -> None:
    result = krippendorff_alpha(ratings, level, rng=rng)  # type: ignore[arg-type]
    assert result.estimate == pytest.approx(value, abs=5e-4)
    assert result.low < result.estimate < result.high
    assert result.n == (10 if ratings is BINARY else 11)  # the unit with one score says nothing


def test_interval_alpha_by_definition(rng: np.random.Generator) -> None:
    # without missing scores: 1 - mean squared difference within subjects / of all pairs of scores
    table = rng.integers(1, 6, size=(9, 3)).astype(float)
    within = np.mean([(row[i] - row[j]) ** 2 for row in table for i in range(3) for j in range(3) if i != j])
    flat = table.ravel()
    overall = np.mean([(flat[i] - flat[j]) ** 2 for i in range(27) for j in range(27) if i != j])
    result = krippendorff_alpha(table, "interval", rng=rng, n_resamples=100)
    assert result.estimate == pytest.approx(1 - within / overall)


def test_bootstrap_is_of_subjects_and_seeded() -> None:
    first = krippendorff_alpha(FOUR_READERS, rng=np.random.default_rng(3), n_resamples=500)
    again = krippendorff_alpha(FOUR_READERS, rng=np.random.default_rng(3), n_resamples=500)
    assert first == again
    rng = np.random.default_rng(4)
    truth = rng.integers(1, 6, size=60)
    noisy = np.clip(truth[:, None] + rng.integers(-1, 2, size=(60, 2)), 1, 5)
    wide = krippendorff_alpha(noisy[:15], rng=rng, n_resamples=500)
    narrow = krippendorff_alpha(noisy, rng=rng, n_resamples=500)
    assert narrow.high - narrow.low < wide.high - wide.low


def test_weighted_kappa_is_that_of_the_table() -> None:
    first, second = np.array(ABSTRACTORS).T
    expected = kappa_of_table([[13, 0, 0], [0, 20, 7], [0, 4, 56]])
    assert weighted_kappa(first, second, categories=(0, 1, 2)) == expected
    # a score that nobody gave widens the scale and changes the weights
    assert weighted_kappa(first, second, categories=(0, 1, 2, 3)).expected > expected.expected


def test_percent_agreement_by_hand() -> None:
    result = percent_agreement([[1, 1, 2], [3, 3, 3], [1, 2, N], [5, N, N]], categories=FIVE)
    assert result.estimate == pytest.approx((1 / 3 + 1 + 0) / 3)
    assert result.n == 3
    near = percent_agreement([[1, 2], [3, 3]], categories=FIVE, weights="linear")
    assert near.estimate == pytest.approx((0.75 + 1) / 2)


def test_all_agree() -> None:
    result = gwet_ac2([[5, 5], [5, 5], [5, 5]], categories=FIVE)
    assert (result.estimate, result.low, result.high) == pytest.approx((1.0, 1.0, 1.0))
    assert "no variance" in result.method


def test_friedman_of_the_base_runners() -> None:
    # Hollander and Wolfe: 11.1429 on 2 degrees of freedom, p .003805
    result = friedman_with_holm(ROUNDING_TIMES, conditions=WAYS)
    assert (result.statistic, result.freedom, result.p) == pytest.approx((11.1429, 2, 0.003805), abs=5e-5)
    theirs = scipy_stats.friedmanchisquare(*ROUNDING_TIMES.T)
    assert (result.statistic, result.p) == pytest.approx((theirs.statistic, theirs.pvalue))
    assert result.kendalls_w == pytest.approx(11.142857 / 44)
    assert sum(result.mean_ranks) == pytest.approx(6.0)
    raw = [wilcoxon(ROUNDING_TIMES[:, i] - ROUNDING_TIMES[:, j]).p for i, j in ((1, 0), (2, 0), (2, 1))]
    assert [entry.test.p for entry in result.post_hoc] == pytest.approx(raw)
    assert [entry.p_holm for entry in result.post_hoc] == pytest.approx(holm(raw))
    assert (result.post_hoc[0].condition, result.post_hoc[0].against) == ("narrow", "out")


def test_friedman_against_a_reference() -> None:
    result = friedman_with_holm(ROUNDING_TIMES, conditions=WAYS, reference="narrow")
    assert [(entry.condition, entry.against) for entry in result.post_hoc] == [("out", "narrow"), ("wide", "narrow")]
    assert result.post_hoc[1].test.estimate.estimate < 0.0  # the wide way is faster


def test_kendalls_w_at_its_ends() -> None:
    same = np.tile([1.0, 2.0, 3.0, 4.0], (6, 1))
    assert friedman_with_holm(same, conditions="abcd").kendalls_w == pytest.approx(1.0)
    square = np.array([[1.0, 2.0, 3.0], [2.0, 3.0, 1.0], [3.0, 1.0, 2.0]])
    assert friedman_with_holm(square, conditions="abc").kendalls_w == pytest.approx(0.0)
    flat = friedman_with_holm(np.full((5, 3), 4.0), conditions="abc")
    assert (flat.statistic, flat.p, flat.kendalls_w) == (0.0, 1.0, None)
    assert [entry.p_holm for entry in flat.post_hoc] == [1.0] * 3


def test_refusals(rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match=r"\[6.0\] are not among"):
        gwet_ac2([[1, 6], [2, 2]], categories=FIVE)
    with pytest.raises(ValueError, match="rising numbers"):
        gwet_ac2([[1, 2], [2, 2]], categories=(2, 1))
    with pytest.raises(ValueError, match="at least 2 readers"):
        percent_agreement([[1], [2]], categories=FIVE)
    with pytest.raises(ValueError, match="2 subjects with two scores"):
        gwet_ac2([[1, N], [2, 2]], categories=FIVE)
    with pytest.raises(ValueError, match="scores are missing"):
        weighted_kappa([1, N], [1, 2], categories=FIVE)
    with pytest.raises(ValueError, match="as many scores"):
        weighted_kappa([1, 2], [1], categories=FIVE)
    with pytest.raises(ValueError, match="undefined without variation"):
        krippendorff_alpha([[1, 1], [1, 1]], rng=rng)
    with pytest.raises(ValueError, match="2 subjects with two scores"):
        krippendorff_alpha([[1, N], [1, 2]], rng=rng)
    with pytest.raises(ValueError, match="infinite"):
        krippendorff_alpha([[1, math.inf], [1, 2]], rng=rng)
    with pytest.raises(ValueError, match="no scale"):
        krippendorff_alpha(rng.normal(size=(500, 2)), "interval", rng=rng)
    with pytest.raises(ValueError, match="level must be"):
        krippendorff_alpha(BINARY, "ratio", rng=rng)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 100"):
        krippendorff_alpha(BINARY, rng=rng, n_resamples=10)
    with pytest.raises(ValueError, match="at least 3 x 3"):
        friedman_with_holm(np.ones((5, 2)), conditions="ab")
    with pytest.raises(ValueError, match="not finite"):
        friedman_with_holm([[1, 2, N]] * 3, conditions="abc")
    with pytest.raises(ValueError, match="different names"):
        friedman_with_holm(np.ones((5, 3)), conditions="aab")
    with pytest.raises(ValueError, match="reference must be"):
        friedman_with_holm(np.ones((5, 3)), conditions="abc", reference="d")
