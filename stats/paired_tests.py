"""Does a paired difference lie off zero? Sensitivity only: a tiny bias can be significant, and a non-significant one is no equivalence."""

import math
from dataclasses import dataclass

import numpy as np
import scipy.stats as scipy_stats
from numpy.typing import ArrayLike

from stats.intervals import FloatArray, Interval, checked_fraction, finite_vector, mean_interval

EXACT_UP_TO = 50  # differences; the distribution of the rank sum is counted, ties included, beyond it is normal
MAX_PAIRS = 20_000_000  # Walsh averages held at once: 160 MB, about 6300 differences
ROLE = "sensitivity only; neither agreement nor equivalence"


@dataclass(frozen=True)
class PairedTest:
    """A two-sided test of paired differences against 0.

    Attributes
    ----------
    statistic : float
        Student's t, or the sum of the ranks of the positive differences.
    p : float
    estimate : Interval
        Mean difference, or Hodges and Lehmann's pseudo-median, in the unit of the data.
    n, n_zero : int
        Differences, and how many of them are exactly 0.
    method : str
    role : str
        What the result may be used for, to be printed beside it.
    """

    statistic: float
    p: float
    estimate: Interval
    n: int
    n_zero: int
    method: str
    role: str = ROLE


def paired_t(differences: ArrayLike, *, confidence: float = 0.95) -> PairedTest:
    """Student's paired t test with the interval of the mean difference.

    Parameters
    ----------
    differences : array (n,)
        One per independent subject, test - reference, finite, n >= 3.
    confidence : float

    Returns
    -------
    PairedTest
        Equal differences have no variance: p is 1 where they are 0, else 0.

    Raises
    ------
    ValueError
        For n < 3, values that are not finite or a confidence outside (0, 1).
    """
    d = finite_vector(differences, name="differences", at_least=3)
    estimate = mean_interval(d, confidence=confidence)
    error = float(d.std(ddof=1)) / math.sqrt(d.size)
    zeros = int(np.count_nonzero(d == 0))
    if np.ptp(d) == 0.0:
        off = d[0] != 0.0
        t = math.copysign(math.inf, d[0]) if off else 0.0
        return PairedTest(t, 0.0 if off else 1.0, estimate, d.size, zeros, "paired t, no variance")
    t = estimate.estimate / error
    p = 2 * float(scipy_stats.t.sf(abs(t), d.size - 1))
    return PairedTest(t, p, estimate, d.size, zeros, "paired t")


def wilcoxon(differences: ArrayLike, *, confidence: float = 0.95) -> PairedTest:
    """Wilcoxon's signed-rank test with Hodges and Lehmann's estimate and Tukey's interval.

    Zeros are left out of the test and counted (Wilcoxon's rule); ties share their mean rank. Up to 50 other differences
    the p-value is exact, given the ties; beyond, normal with the variance of the ties and a continuity correction.
    The estimate is the median of all means of two differences, zeros included; the interval is between the ordered means
    that the test of untied ranks does not reject. Its confidence is at least the one asked for up to 50 differences.
    Sources: Wilcoxon 1945, doi 10.2307/3001968; Hollander and Wolfe 1999, sections 3.1 to 3.3.

    Parameters
    ----------
    differences : array (n,)
        One per independent subject, test - reference, finite, n >= 3, at most about 6300.
    confidence : float

    Returns
    -------
    PairedTest
        With zeros only p is 1 and the estimate 0. So few differences that no interval has this confidence (fewer than 6
        at 0.95) give one from -infinity to infinity.

    Raises
    ------
    ValueError
        For n < 3 or too many, values that are not finite or a confidence outside (0, 1).
    """
    d = finite_vector(differences, name="differences", at_least=3)
    level = checked_fraction(confidence, name="confidence")
    if d.size * (d.size + 1) // 2 > MAX_PAIRS:
        raise ValueError(f"differences: {d.size} have too many means of two; use the paired t test for so many")
    estimate = _hodges_lehmann(d, level)
    other = d[d != 0]
    zeros = d.size - other.size
    if other.size == 0:
        return PairedTest(0.0, 1.0, estimate, d.size, zeros, "Wilcoxon signed rank, zeros only")
    ranks = scipy_stats.rankdata(np.abs(other))
    statistic = float(ranks[other > 0].sum())
    if other.size <= EXACT_UP_TO:
        return PairedTest(statistic, _exact_p(ranks, statistic), estimate, d.size, zeros, "Wilcoxon signed rank, exact")
    p = _normal_p(ranks, statistic)
    return PairedTest(statistic, p, estimate, d.size, zeros, "Wilcoxon signed rank, normal")


def _exact_p(ranks: FloatArray, statistic: float) -> float:
    """Two-sided p of the rank sum when each rank is positive with chance one half; mean ranks doubled are whole."""
    chances = _sum_distribution(np.round(2 * ranks).astype(np.int64))
    at = round(2 * statistic)
    return min(1.0, 2 * min(float(chances[: at + 1].sum()), float(chances[at:].sum())))


def _sum_distribution(weights: np.ndarray) -> FloatArray:
    chances = np.zeros(int(weights.sum()) + 1)
    chances[0] = 1.0
    for weight in weights:
        shifted = np.zeros_like(chances)
        shifted[weight:] = chances[: chances.size - weight]
        chances = (chances + shifted) / 2
    return chances


def _normal_p(ranks: FloatArray, statistic: float) -> float:
    distance = abs(statistic - float(ranks.sum()) / 2)
    return min(1.0, 2 * float(scipy_stats.norm.sf(max(distance - 0.5, 0.0) / (math.sqrt(float((ranks**2).sum())) / 2))))


def _hodges_lehmann(d: FloatArray, level: float) -> Interval:
    rows, columns = np.triu_indices(d.size)
    means = np.sort((d[rows] + d[columns]) / 2)
    name = "Hodges-Lehmann, Tukey"
    skipped = _ranks_outside(d.size, (1 - level) / 2)
    if skipped == 0:
        return Interval(float(np.median(means)), -math.inf, math.inf, level, d.size, f"{name}, too few for an interval")
    return Interval(float(np.median(means)), float(means[skipped - 1]), float(means[-skipped]), level, d.size, name)


def _ranks_outside(n: int, tail: float) -> int:
    """How many means at each end may lie outside: the most with P(rank sum < number) <= tail."""
    if n <= EXACT_UP_TO:
        below = np.cumsum(_sum_distribution(np.arange(1, n + 1)))
        return int(np.searchsorted(below, tail + 1e-12, side="right"))  # a level that is met exactly counts
    spread = math.sqrt(n * (n + 1) * (2 * n + 1) / 24)
    return max(math.floor(n * (n + 1) / 4 + float(scipy_stats.norm.ppf(tail)) * spread), 0)
