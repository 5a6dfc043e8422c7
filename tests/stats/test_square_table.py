"""Kappa and the tests of square tables against published tables, statsmodels and closed forms."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats as scipy_stats
from hypothesis import given, settings
from hypothesis import strategies as st

from stats.square_table import bowker, kappa_of_table, mcnemar_exact, stuart_maxwell

# SAS/STAT User's Guide, PROC FREQ, "Agreement Study": two dermatologists, 88 patients
SKIN = [[10, 4, 1, 0], [5, 10, 12, 2], [2, 4, 12, 5], [0, 2, 6, 13]]
# Stuart 1955, doi 10.1093/biomet/42.3-4.412: unaided vision of the right and left eye, 7477 women
VISION = [[1520, 266, 124, 66], [234, 1512, 432, 78], [117, 362, 1772, 205], [36, 82, 179, 492]]
# Cohen 1960 and 1968: proportions of 200 cases
COHEN = np.array([[88, 14, 18], [10, 40, 10], [2, 6, 12]])
# Gwet, Handbook of Inter-Rater Reliability: two abstractors of charts of ectopic pregnancy (irrCAC, cont3x3abstractors)
ABSTRACTORS = [[13, 0, 0], [0, 20, 7], [0, 4, 56]]

square = st.integers(2, 4).flatmap(
    lambda k: st.lists(st.lists(st.integers(0, 6), min_size=k, max_size=k), min_size=k, max_size=k)
)


@settings(max_examples=80, deadline=None)
@given(square)
def test_relabelling_raters_changes_nothing(rows: list[list[int]]) -> None:
    table = np.array(rows)
    if table.sum() == 0:
        with pytest.raises(ValueError, match="empty"):
            bowker(table)
        return
    for test in (bowker, stuart_maxwell):
        forward, back, reverse = test(table), test(table.T), test(table[::-1, ::-1])
        assert 0.0 <= forward.p <= 1.0
        assert (forward.p, forward.freedom) == pytest.approx((back.p, back.freedom))
        assert forward.p == pytest.approx(reverse.p)
    if np.count_nonzero(table.sum(axis=0) + table.sum(axis=1)) == 1:
        with pytest.raises(ValueError, match="one class"):
            kappa_of_table(table)
        return
    kappa = kappa_of_table(table)
    assert kappa.low <= kappa.estimate <= kappa.high
    assert kappa_of_table(table.T).estimate == pytest.approx(kappa.estimate)
    # weighted kappa of the table with a class that nobody uses is another number, the unweighted one is not
    wider = np.pad(table, ((0, 1), (0, 1)))
    assert kappa_of_table(wider, weights="unweighted").estimate == pytest.approx(
        kappa_of_table(table, weights="unweighted").estimate
    )


@pytest.mark.parametrize(
    ("weights", "value", "error", "low", "high"),
    [
        # printed by PROC FREQ
        ("unweighted", 0.3449, 0.0724, 0.2030, 0.4868),
        ("linear", 0.5082, 0.0655, 0.3798, 0.6366),
        # statsmodels 0.15.0, cohens_kappa(SKIN, wt="quadratic")
        ("quadratic", 0.6607229, 0.0616428, 0.5399052, 0.7815406),
    ],
)
def test_kappa_of_the_dermatologists(weights: str, value: float, error: float, low: float, high: float) -> None:
    result = kappa_of_table(SKIN, weights=weights)
    assert (result.estimate, result.standard_error) == pytest.approx((value, error), abs=6e-5)
    assert (result.low, result.high) == pytest.approx((low, high), abs=6e-5)
    assert (result.n, result.method) == (88, f"kappa, {weights} weights")


def test_kappas_of_cohen() -> None:
    assert kappa_of_table(COHEN, weights="unweighted").estimate == pytest.approx(0.492, abs=5e-4)
    disagreement = np.array([[0, 1, 3], [1, 0, 6], [3, 6, 0]])
    assert kappa_of_table(COHEN, weights=1 - disagreement / 6).estimate == pytest.approx(0.348, abs=5e-4)
    # irrCAC overview: kappa 0.7964094, standard error 0.05891072
    gwet = kappa_of_table(ABSTRACTORS, weights="unweighted")
    assert (gwet.estimate, gwet.standard_error) == pytest.approx((0.7964094, 0.05891072), abs=1e-7)


def test_agrees_with_statsmodels(rng: np.random.Generator) -> None:
    inter_rater = pytest.importorskip("statsmodels.stats.inter_rater")
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    for _ in range(10):
        table = rng.integers(1, 30, size=(4, 4)) + np.diag(rng.integers(0, 40, size=4))
        for weights, theirs in (("unweighted", None), ("linear", "linear"), ("quadratic", "quadratic")):
            mine, other = kappa_of_table(table, weights=weights), inter_rater.cohens_kappa(table, wt=theirs)
            assert (mine.estimate, mine.standard_error) == pytest.approx((other.kappa, other.std_kappa))
        other = tables.SquareTable(table, shift_zeros=False)
        symmetry, homogeneity = other.symmetry(), other.homogeneity()
        assert bowker(table).statistic == pytest.approx(symmetry.statistic)
        assert bowker(table).p == pytest.approx(symmetry.pvalue)
        assert stuart_maxwell(table).statistic == pytest.approx(homogeneity.statistic)
        assert stuart_maxwell(table).p == pytest.approx(homogeneity.pvalue)


def test_quadratic_kappa_is_the_consistency_of_scores() -> None:
    # Fleiss and Cohen 1973, doi 10.1177/001316447303300309: 2 cov / (var + var + shift^2) of the class numbers
    rows, columns = np.indices((4, 4))
    first, second = np.repeat(rows.ravel(), np.ravel(SKIN)), np.repeat(columns.ravel(), np.ravel(SKIN))
    covariance = np.mean(first * second) - first.mean() * second.mean()
    expected = 2 * covariance / (first.var() + second.var() + (first.mean() - second.mean()) ** 2)
    assert kappa_of_table(SKIN).estimate == pytest.approx(expected)


def test_no_disagreement_says_so() -> None:
    result = kappa_of_table(np.diag([4, 5, 6]))
    assert (result.estimate, result.low, result.high) == pytest.approx((1.0, 1.0, 1.0))
    assert "no variance" in result.method
    assert (bowker(np.diag([4, 5])).p, stuart_maxwell(np.diag([4, 5])).p) == (1.0, 1.0)


def test_vision_of_7477_women() -> None:
    # Bishop, Fienberg and Holland 1975, chapter 8: symmetry 19.11 on 6; Stuart 1955: 11.96 on 3
    symmetry = bowker(VISION)
    assert (symmetry.statistic, symmetry.freedom, symmetry.p) == pytest.approx((19.107, 6, 0.003987), abs=5e-4)
    assert symmetry.method == "Bowker, chi-square"
    margins = stuart_maxwell(VISION)
    assert (margins.statistic, margins.freedom, margins.p) == pytest.approx((11.957, 3, 0.007533), abs=5e-4)


def test_exact_symmetry_by_counting() -> None:
    table = np.array([[9, 3, 1], [0, 7, 2], [2, 0, 5]])
    result = bowker(table)
    totals, observed = (3, 3, 2), 9 / 3 + 1 / 3 + 4 / 2
    chance = 0.0
    for ups in itertools.product(*(range(t + 1) for t in totals)):
        statistic = sum((2 * u - t) ** 2 / t for u, t in zip(ups, totals, strict=True))
        weight = math.prod(math.comb(t, u) / 2**t for u, t in zip(ups, totals, strict=True))
        chance += weight * (statistic >= observed - 1e-9)
    assert result.method == "Bowker, exact"
    assert (result.statistic, result.freedom, result.p) == pytest.approx((observed, 3, chance))


def test_exact_and_asymptotic_meet() -> None:
    table = np.array([[50, 40], [20, 50]])
    assert bowker(table).p == pytest.approx(mcnemar_exact(40, 20))
    assert bowker(table).p == pytest.approx(scipy_stats.chi2.sf(400 / 60, 1), abs=0.005)


def test_classes_without_movers_count_no_freedom() -> None:
    inner = [[5, 30], [10, 5]]
    outer = np.zeros((4, 4), int)
    outer[1:3, 1:3] = inner
    outer[3, 3] = 7
    assert (bowker(outer).p, bowker(outer).freedom) == pytest.approx((bowker(inner).p, 1))
    assert (stuart_maxwell(outer).p, stuart_maxwell(outer).freedom) == pytest.approx((stuart_maxwell(inner).p, 1))
    assert stuart_maxwell(inner).statistic == pytest.approx(400 / 40)  # McNemar's statistic


@pytest.mark.parametrize(("first", "second", "p"), [(0, 0, 1.0), (5, 0, 2 / 32), (1, 5, 14 / 64), (3, 3, 1.0)])
def test_mcnemar_by_hand(first: int, second: int, p: float) -> None:
    assert mcnemar_exact(first, second) == pytest.approx(p)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="square table"):
        kappa_of_table([[1, 2, 3], [1, 2, 3]])
    with pytest.raises(ValueError, match="whole numbers"):
        bowker([[1.5, 2], [1, 2]])
    with pytest.raises(ValueError, match="everyone into one class"):
        kappa_of_table([[5, 0], [0, 0]])
    with pytest.raises(ValueError, match="weights must be"):
        kappa_of_table([[5, 1], [1, 5]], weights="cubic")
    with pytest.raises(ValueError, match="expected 2 x 2"):
        kappa_of_table([[5, 1], [1, 5]], weights=np.eye(3))
    with pytest.raises(ValueError, match="1 on the diagonal"):
        kappa_of_table([[5, 1], [1, 5]], weights=[[0, 1], [1, 0]])
    with pytest.raises(ValueError, match="not be negative"):
        mcnemar_exact(-1, 2)
