"""Do two classifications of the same people agree, and do those who moved lean to one side?"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.stats as scipy_stats
from numpy.typing import ArrayLike, NDArray

from stats.intervals import FloatArray, Interval, checked_fraction

Weights = Literal["unweighted", "linear", "quadratic"]
MAX_OUTCOMES = 200_000  # tables of movers that are counted one by one; beyond, chi-square


@dataclass(frozen=True)
class Kappa(Interval):
    """Cohen's kappa with its standard error, the agreement seen and that expected by chance."""

    standard_error: float
    observed: float
    expected: float


@dataclass(frozen=True)
class SquareTest:
    """A test of a square table; no movers give statistic 0, freedom 0 and p 1."""

    statistic: float
    freedom: int
    p: float
    method: str


def kappa_of_table(table: ArrayLike, *, weights: Weights | ArrayLike = "quadratic", confidence: float = 0.95) -> Kappa:
    """Cohen's kappa of a table of counts, ``(observed - expected) / (1 - expected)`` of weighted agreement.

    The standard error is that of Fleiss, Cohen and Everitt; the interval is normal, cut at -1 and 1. Without any
    disagreement the variance is 0 and the interval has no width, which `method` says: read the share that moved beside it.
    Sources: Cohen 1960, doi 10.1177/001316446002000104; Cohen 1968, doi 10.1037/h0026256; Fleiss et al. 1969, doi
    10.1037/h0028106.

    Parameters
    ----------
    table : array (n_classes, n_classes) of counts
        Classes in order, at least 2.
    weights : str or array (n_classes, n_classes)
        Agreement of two classes from 0 to 1 with 1 on the diagonal: ``1 - d`` (linear) or ``1 - d^2`` (quadratic) of the
        distance d in classes over the largest one, or given.
    confidence : float

    Raises
    ------
    ValueError
        For a table that is not square, not of counts or empty, weights that do not fit, or everyone in one class by both
        (kappa is undefined).
    """
    counts = checked_table(table)
    level = checked_fraction(confidence, name="confidence")
    w = agreement_weights(counts.shape[0], weights)
    n = counts.sum()
    p = counts / n
    rows, columns = p.sum(axis=1), p.sum(axis=0)
    observed, expected = float((w * p).sum()), float(rows @ w @ columns)
    if 1 - expected < 1e-12:
        raise ValueError("both put everyone into one class; kappa is undefined without variation")
    kappa = (observed - expected) / (1 - expected)
    means = (w @ columns)[:, None] + (rows @ w)[None, :]
    spread = float((p * (w * (1 - expected) - means * (1 - observed)) ** 2).sum())
    variance = (spread - (observed * expected - 2 * expected + observed) ** 2) / (n * (1 - expected) ** 4)
    error = math.sqrt(variance) if variance > 1e-15 else 0.0
    half = float(scipy_stats.norm.ppf(0.5 + level / 2)) * error
    name = f"kappa, {weights if isinstance(weights, str) else 'given'} weights"
    name += "" if error else ", no variance to estimate"
    low, high = max(kappa - half, -1.0), min(kappa + half, 1.0)
    return Kappa(kappa, low, high, level, round(n), name, error, observed, expected)


def bowker(table: ArrayLike) -> SquareTest:
    """Bowker's test of symmetry: is a move from i to j as frequent as one from j to i?

    ``sum (n_ij - n_ji)^2 / (n_ij + n_ji)`` over the pairs of classes between which somebody moved; those without movers
    say nothing and count no degree of freedom. With few movers the p-value is exact, given how many moved between each
    two classes; two classes give McNemar's exact test. Source: Bowker 1948, doi 10.1080/01621459.1948.10483284.

    Raises
    ------
    ValueError
        As `kappa_of_table`.
    """
    counts = checked_table(table)
    upper = np.triu_indices(counts.shape[0], 1)
    up, down = counts[upper], counts.T[upper]
    moved = (up + down) > 0
    up, totals = up[moved], (up + down)[moved]
    if totals.size == 0:
        return SquareTest(0.0, 0, 1.0, "Bowker, nobody moved")
    statistic = float(((2 * up - totals) ** 2 / totals).sum())
    if np.log(totals + 1).sum() <= math.log(MAX_OUTCOMES):
        return SquareTest(statistic, totals.size, _exact_symmetry(totals, statistic), "Bowker, exact")
    p = float(scipy_stats.chi2.sf(statistic, totals.size))
    return SquareTest(statistic, totals.size, p, "Bowker, chi-square")


def stuart_maxwell(table: ArrayLike) -> SquareTest:
    """Stuart and Maxwell's test of marginal homogeneity: are the classes as frequent in both classifications?

    Classes that nobody left or entered count no degree of freedom. The chi-square distribution is asymptotic.
    Sources: Stuart 1955, doi 10.1093/biomet/42.3-4.412; Maxwell 1970, doi 10.1192/bjp.116.535.651.

    Raises
    ------
    ValueError
        As `kappa_of_table`.
    """
    counts = checked_table(table)
    shift = counts.sum(axis=1) - counts.sum(axis=0)
    covariance = -(counts + counts.T)
    np.fill_diagonal(covariance, 0.0)
    np.fill_diagonal(covariance, -covariance.sum(axis=1))
    freedom = int(np.linalg.matrix_rank(covariance))
    if freedom == 0:
        return SquareTest(0.0, 0, 1.0, "Stuart-Maxwell, nobody moved")
    statistic = float(shift @ np.linalg.pinv(covariance) @ shift)
    return SquareTest(statistic, freedom, float(scipy_stats.chi2.sf(statistic, freedom)), "Stuart-Maxwell")


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """Two-sided exact p-value of McNemar's test of two discordant counts; 1 without any.

    Source: McNemar 1947, doi 10.1007/BF02295996; the binomial form: Agresti 2013, section 11.1.

    Raises
    ------
    ValueError
        For a negative count.
    """
    if only_first < 0 or only_second < 0:
        raise ValueError(f"counts must not be negative, got {only_first} and {only_second}")
    total = only_first + only_second
    return 1.0 if total == 0 else float(scipy_stats.binomtest(only_first, total, 0.5).pvalue)


def agreement_weights(n_classes: int, weights: Weights | ArrayLike) -> FloatArray:
    """Agreement of each two classes, 1 on the diagonal.

    Raises
    ------
    ValueError
        For an unknown name, or an array of another shape, outside 0 to 1, or not 1 on the diagonal.
    """
    if isinstance(weights, str):
        distance = np.abs(np.subtract.outer(np.arange(n_classes), np.arange(n_classes))) / max(n_classes - 1, 1)
        named = {"unweighted": distance == 0, "linear": 1 - distance, "quadratic": 1 - distance**2}
        if weights not in named:
            raise ValueError(f"weights must be {', '.join(named)} or an array, got {weights!r}")
        return np.asarray(named[weights], dtype=np.float64)
    given = np.asarray(weights, dtype=np.float64)
    if given.shape != (n_classes, n_classes):
        raise ValueError(f"weights: expected {n_classes} x {n_classes} for these classes, got shape {given.shape}")
    if not ((given >= 0) & (given <= 1)).all() or not (np.diag(given) == 1).all():
        raise ValueError("weights are agreements: from 0 to 1, and 1 on the diagonal")
    return given


def checked_table(table: ArrayLike) -> FloatArray:
    """Return a square table of counts as floats, or say what is wrong with it."""
    counts = np.asarray(table, dtype=np.float64)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or counts.shape[0] < 2:
        raise ValueError(f"expected a square table of at least 2 x 2 counts, got shape {counts.shape}")
    if not np.isfinite(counts).all() or (counts < 0).any() or (counts != np.round(counts)).any():
        raise ValueError("a table holds counts: whole numbers from 0")
    if counts.sum() == 0:
        raise ValueError("the table is empty; at least one person is needed")
    return counts


def _exact_symmetry(totals: NDArray[np.float64], statistic: float) -> float:
    sums, chances = np.zeros(1), np.ones(1)
    for total in totals:
        up = np.arange(total + 1)
        sums = np.add.outer(sums, (2 * up - total) ** 2 / total).ravel()
        chances = np.multiply.outer(chances, scipy_stats.binom.pmf(up, total, 0.5)).ravel()
    return min(float(chances[sums >= statistic - 1e-9].sum()), 1.0)
