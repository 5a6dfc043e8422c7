"""ROC curves and DeLong's test against the Mann-Whitney statistic, the definition, and a published table."""

import math

import numpy as np
import pytest
import scipy.stats as scipy_stats
from hypothesis import given, settings
from hypothesis import strategies as st

from stats.roc import auc, auc_margin, delong, roc_curve

# DeLong et al. 1988, doi 10.2307/2531595: ovarian cancer with obstruction; albumin, total protein, K-G score, died (0) of
# the 43 with all three, as printed in SAS/STAT User's Guide, PROC LOGISTIC, "Comparing ROC Curves"
PATIENTS = """
3.0 5.8 10 0 3.2 6.3 5 1 3.9 6.8 3 1 2.8 4.8 6 0 3.2 5.8 3 1 0.9 4.0 5 0 2.5 5.7 8 0 1.6 5.6 5 1 3.8 5.7 5 1 3.7 6.7 6 1
3.2 5.4 4 1 3.8 6.6 6 1 4.1 6.6 5 1 3.6 5.7 5 1 4.3 7.0 4 1 3.6 6.7 4 0 2.3 4.4 6 1 4.2 7.6 4 0 4.0 6.6 6 0 3.5 5.8 6 1
3.8 6.8 7 1 3.0 4.7 8 0 4.5 7.4 5 1 3.7 7.4 5 1 3.1 6.6 6 1 4.1 8.2 6 1 4.3 7.0 5 1 4.3 6.5 4 1 3.2 5.1 5 1 2.6 4.7 6 1
3.3 6.8 6 0 1.7 4.0 7 0 3.7 6.1 5 1 3.3 6.3 7 1 4.2 7.7 6 1 3.5 6.2 5 1 2.9 5.7 9 0 2.1 4.8 7 1 2.8 6.2 8 0 4.0 7.0 7 1
3.3 5.7 6 1 3.7 6.9 5 1 3.6 6.6 5 1
"""
ALBUMIN, PROTEIN, KG, BENEFIT = np.array(PATIENTS.split(), dtype=float).reshape(-1, 4).T
CASES = BENEFIT == 0
KG_LOW = 10 - KG


def brute(x: np.ndarray, case: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Components by their definition, every case against every control."""
    wins = (x[case][:, None] > x[~case]) + 0.5 * (x[case][:, None] == x[~case])
    return wins.mean(axis=1), wins.mean(axis=0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=4, max_size=40))
def test_area_is_mann_whitney_and_the_trapezoid(people: list[tuple[int, bool]]) -> None:
    x, case = np.array([v for v, _ in people], float), np.array([p for _, p in people])
    if not 2 <= case.sum() <= case.size - 2 or np.ptp(x) == 0:
        with pytest.raises(ValueError, match=r"of each class|order nobody"):
            auc(x, case, positive_when="high")
        return
    high = auc(x, case, positive_when="high")
    u = scipy_stats.mannwhitneyu(x[case], x[~case], method="asymptotic").statistic
    assert high.estimate == pytest.approx(u / (case.sum() * (~case).sum()))
    assert high.low <= high.estimate <= high.high
    assert auc(x, case, positive_when="low").estimate == pytest.approx(1 - high.estimate)
    assert auc(np.exp(x), case, positive_when="high").low == pytest.approx(high.low)  # only the order counts
    for corners in (False, True):
        curve = roc_curve(x, case, positive_when="high", corners_only=corners)
        area = np.trapezoid(curve.true_positive_rate, curve.false_positive_rate)
        assert area == pytest.approx(high.estimate)
    cases, controls = brute(x, case)
    expected = cases.var(ddof=1) / cases.size + controls.var(ddof=1) / controls.size
    assert high.standard_error == pytest.approx(math.sqrt(expected), abs=1e-9)


def test_curve_by_hand() -> None:
    # cases 1 2 2, controls 2 3: low speaks for disease; at 2 two cases and one control move together
    curve = roc_curve([1, 2, 2, 2, 3], [1, 1, 1, 0, 0], positive_when="low")
    assert curve.false_positive_rate.tolist() == [0.0, 0.0, 0.5, 1.0]
    assert curve.true_positive_rate.tolist() == pytest.approx([0.0, 1 / 3, 1.0, 1.0])
    assert curve.threshold.tolist() == [-math.inf, 1.0, 2.0, 3.0]
    for at, false, true in zip(curve.threshold, curve.false_positive_rate, curve.true_positive_rate, strict=True):
        assert np.mean(np.array([2, 3]) <= at) == false
        assert np.mean(np.array([1, 2, 2]) <= at) == true


def test_corners_keep_the_shape() -> None:
    curve = roc_curve([1, 2, 3, 4, 5, 6], [0, 0, 0, 1, 1, 1], positive_when="high", corners_only=True)
    assert curve.false_positive_rate.tolist() == [0.0, 0.0, 1.0]
    assert curve.true_positive_rate.tolist() == [0.0, 1.0, 1.0]
    assert curve.threshold.tolist() == [math.inf, 4.0, 1.0]


@pytest.mark.parametrize(
    ("values", "area", "error", "low", "high"),
    [
        # SAS/STAT, same page: Mann-Whitney area, standard error, Wald limits
        (ALBUMIN, 0.7366, 0.0927, 0.5549, 0.9182),
        (KG_LOW, 0.7258, 0.1028, 0.5243, 0.9273),
        (PROTEIN, 0.6478, 0.1000, 0.4518, 0.8439),
    ],
)
def test_areas_of_delong_1988(values: np.ndarray, area: float, error: float, low: float, high: float) -> None:
    result = auc(values, CASES, positive_when="low", interval="plain")
    assert (result.estimate, result.standard_error) == pytest.approx((area, error), abs=6e-5)
    assert (result.low, result.high) == pytest.approx((low, high), abs=6e-5)
    assert (result.n, result.n_positive, result.n_negative) == (43, 12, 31)


@pytest.mark.parametrize(
    ("values", "change", "error", "low", "high", "p"),
    [
        # SAS/STAT, same page: contrasts with the K-G score
        (ALBUMIN, 0.0108, 0.0953, -0.1761, 0.1976, 0.9102),
        (PROTEIN, -0.0780, 0.1046, -0.2830, 0.1271, 0.4561),
    ],
)
def test_contrasts_of_delong_1988(
    values: np.ndarray, change: float, error: float, low: float, high: float, p: float
) -> None:
    result = delong(KG_LOW, values, CASES, positive_when="low")
    assert (result.difference.estimate, result.standard_error) == pytest.approx((change, error), abs=6e-5)
    assert (result.difference.low, result.difference.high, result.p) == pytest.approx((low, high, p), abs=6e-5)
    assert result.difference.estimate == pytest.approx(result.test.estimate - result.reference.estimate)
    assert result.note == ""


def test_logit_interval_by_hand() -> None:
    plain = auc(ALBUMIN, CASES, positive_when="low", interval="plain")
    result = auc(ALBUMIN, CASES, positive_when="low")
    odds = math.log(plain.estimate / (1 - plain.estimate))
    half = 1.959963984540054 * plain.standard_error / (plain.estimate * (1 - plain.estimate))
    assert math.log(result.low / (1 - result.low)) == pytest.approx(odds - half)
    assert math.log(result.high / (1 - result.high)) == pytest.approx(odds + half)


def test_covariance_is_that_of_the_definition(rng: np.random.Generator) -> None:
    case = rng.random(50) < 0.4
    first = np.round(rng.normal(size=50) + case, 1)
    second = np.round(first + rng.normal(scale=0.5, size=50), 1)
    result = delong(first, second, case, positive_when="high")
    (a, b), (c, d) = brute(first, case), brute(second, case)
    variance = np.cov(np.stack([a, c])) / a.size + np.cov(np.stack([b, d])) / b.size
    expected = variance[0, 0] + variance[1, 1] - 2 * variance[0, 1]
    assert result.standard_error == pytest.approx(math.sqrt(expected))
    swapped = delong(second, first, case, positive_when="high")
    assert swapped.difference.estimate == pytest.approx(-result.difference.estimate)
    assert swapped.p == pytest.approx(result.p)


def test_the_test_keeps_its_level_and_the_interval_covers(rng: np.random.Generator) -> None:
    rejected = covered = 0
    true_area = scipy_stats.norm.cdf(1.0 / math.sqrt(2 * 1.25))
    for _ in range(400):
        case = np.arange(60) < 25
        truth = rng.normal(size=60) + case
        pair = delong(
            truth + rng.normal(scale=0.5, size=60),
            truth + rng.normal(scale=0.5, size=60),
            case,
            positive_when="high",
        )
        rejected += pair.p is not None and pair.p < 0.05
        covered += pair.test.low <= true_area <= pair.test.high
    assert 0.02 <= rejected / 400 <= 0.08
    assert 0.92 <= covered / 400 <= 0.985


def test_perfect_separation_has_a_width() -> None:
    case = np.arange(20) >= 10
    result = auc(np.arange(20.0), case, positive_when="high")
    assert (result.estimate, result.high, result.standard_error) == (1.0, 1.0, 0.0)
    assert result.method == "AUC, perfect separation, Newcombe"
    # Newcombe 2006, method 5: the variance of Hanley and McNeil with (m + n) / 2 - 1 for both numbers
    t = result.low
    variance = t * (1 - t) * (1 + 9 * ((1 - t) / (2 - t) + t / (1 + t))) / 100
    assert (1 - t) / math.sqrt(variance) == pytest.approx(1.959963984540054)
    reverse = auc(np.arange(20.0), case, positive_when="low")
    assert (reverse.estimate, reverse.low, reverse.high) == pytest.approx((0.0, 0.0, 1 - t))
    more = auc(np.arange(200.0), np.arange(200) >= 100, positive_when="high")
    assert more.low > result.low


def test_two_perfect_markers_are_not_proof_of_equality() -> None:
    case = np.arange(12) >= 6
    pair = delong(np.arange(12.0), np.arange(12.0) ** 2, case, positive_when="high")
    assert (pair.difference.estimate, pair.p) == (0.0, 1.0)
    assert pair.difference.low == pytest.approx(-(1 - pair.test.low))
    assert pair.difference.high == pytest.approx(1 - pair.reference.low)
    assert "both separate perfectly" in pair.note
    few = auc_margin(np.arange(12.0), np.arange(12.0), case, positive_when="high", margin=0.05)
    assert not few.non_inferior
    many = auc_margin(np.arange(600.0), np.arange(600.0), np.arange(600) >= 300, positive_when="high", margin=0.05)
    assert many.equivalent


def test_perfect_and_reversed() -> None:
    pair = delong(np.arange(12.0), -np.arange(12.0), np.arange(12) >= 6, positive_when="high")
    assert pair.difference.estimate == -1.0
    assert pair.difference.high < 0.0
    assert pair.p is None


def test_identical_markers() -> None:
    pair = delong(ALBUMIN, ALBUMIN, CASES, positive_when="low")
    assert (pair.difference.estimate, pair.difference.low, pair.difference.high, pair.p) == (0.0, 0.0, 0.0, 1.0)
    assert "no change was seen" in pair.note


def test_mover_by_hand() -> None:
    first = auc(KG_LOW, CASES, positive_when="low")
    second = auc(PROTEIN, CASES, positive_when="low")
    # SAS/STAT, same page: standard errors .1028 and .1000, of the difference .1046
    correlation = (0.1028216080**2 + 0.1000473756**2 - 0.1046095887**2) / (2 * 0.1028216080 * 0.1000473756)
    down, up = second.estimate - second.low, first.high - first.estimate
    low = second.estimate - first.estimate - math.sqrt(down**2 + up**2 - 2 * correlation * down * up)
    result = delong(KG_LOW, PROTEIN, CASES, positive_when="low", interval="mover")
    assert result.difference.low == pytest.approx(low)
    assert result.p == pytest.approx(0.4561, abs=6e-5)
    back = delong(PROTEIN, KG_LOW, CASES, positive_when="low", interval="mover")
    assert back.difference.high == pytest.approx(-low)


def test_margin_decides_by_its_interval() -> None:
    result = auc_margin(KG_LOW, PROTEIN, CASES, positive_when="low", margin=0.3)
    expected = delong(KG_LOW, PROTEIN, CASES, positive_when="low", confidence=0.9, interval="mover").difference
    assert (result.interval.low, result.interval.high) == pytest.approx((expected.low, expected.high))
    assert result.non_inferior == (expected.low > -0.3)
    assert result.equivalent
    assert not auc_margin(KG_LOW, PROTEIN, CASES, positive_when="low", margin=0.2).non_inferior
    # better by more than the margin is not inferior, and not equivalent
    better = auc_margin(PROTEIN, PROTEIN - 5 * CASES, CASES, positive_when="low", margin=0.05)
    assert better.non_inferior
    assert not better.equivalent
    # the same ranking in 12 cases is no proof for any margin, though its variance is 0
    same = auc_margin(ALBUMIN, ALBUMIN, CASES, positive_when="low", margin=0.001)
    assert not same.non_inferior
    assert "no change was seen" in same.note


def test_margin_keeps_its_level_where_areas_are_high(rng: np.random.Generator) -> None:
    # the test measurement adds noise: its area is lower by just the margin, so every claim is wrong
    true = [scipy_stats.norm.cdf(2.5 / math.sqrt(2 * spread)) for spread in (1.0, 1.64)]
    claimed = plain = 0
    for _ in range(300):
        case = np.arange(60) < 30
        first = rng.normal(size=60) + 2.5 * case
        second = first + rng.normal(scale=0.8, size=60)
        claimed += auc_margin(first, second, case, positive_when="high", margin=true[0] - true[1]).non_inferior
        pair = delong(first, second, case, positive_when="high", confidence=0.9)
        plain += pair.difference.low > true[1] - true[0]
    assert claimed / 300 <= 0.07
    assert plain > claimed


def test_refusals() -> None:
    with pytest.raises(ValueError, match="at least 2 of each class are needed, got 5 positive of 5"):
        auc([1, 2, 3, 4, 5], [1] * 5, positive_when="high")
    with pytest.raises(ValueError, match="got 1 positive of 5"):
        delong([1, 2, 3, 4, 5], [1, 2, 3, 4, 5], [1, 0, 0, 0, 0], positive_when="high")
    with pytest.raises(ValueError, match="order nobody"):
        auc([2.0] * 6, [1, 1, 1, 0, 0, 0], positive_when="high")
    with pytest.raises(ValueError, match="not finite"):
        auc([1, 2, math.nan, 4], [1, 1, 0, 0], positive_when="high")
    with pytest.raises(ValueError, match="true or false"):
        auc([1, 2, 3, 4], [1, 1, 0, 2], positive_when="high")
    with pytest.raises(ValueError, match="one for each of 4"):
        roc_curve([1, 2, 3, 4], [1, 0, 1], positive_when="high")
    with pytest.raises(ValueError, match="positive_when must be"):
        auc([1, 2, 3, 4], [1, 1, 0, 0], positive_when="up")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="interval must be"):
        auc([1, 2, 3, 4], [1, 1, 0, 0], positive_when="low", interval="exact")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="interval must be plain or mover"):
        delong([1, 2, 3, 4], [1, 2, 3, 4], [1, 1, 0, 0], positive_when="low", interval="exact")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="margin must lie between"):
        auc_margin([1, 2, 3, 4], [1, 2, 3, 4], [1, 1, 0, 0], positive_when="low", margin=0.0)
