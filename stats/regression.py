"""Which straight line relates two error-prone measurements: is its slope 1 and its intercept 0?"""

import math
from dataclasses import dataclass

import numpy as np
import scipy.stats as scipy_stats
from numpy.typing import ArrayLike

from stats.intervals import FloatArray, Interval, checked_fraction, paired_vectors


@dataclass(frozen=True)
class Line:
    """``y = intercept + slope x``; it is compatible with identity if slope holds 1 and intercept holds 0."""

    slope: Interval
    intercept: Interval


def deming(x: ArrayLike, y: ArrayLike, *, error_ratio: float, confidence: float = 0.95) -> Line:
    """Deming regression with jackknife intervals, t with n - 2 degrees of freedom.

    ``slope = (s_yy - r s_xx + sqrt((s_yy - r s_xx)^2 + 4 r s_xy^2)) / (2 s_xy)``.
    Source: Linnet 1993, doi 10.1093/clinchem/39.3.424.

    Parameters
    ----------
    x, y : array (n,)
        n >= 4, finite.
    error_ratio : float
        r = variance of the errors of y / variance of the errors of x, above 0; 1 is orthogonal regression.
    confidence : float
        Two-sided confidence.

    Raises
    ------
    ValueError
        For n < 4, values that are not finite, a ratio that is not above 0, or no covariance (also after leaving
        one point out), for which the slope is undefined.
    """
    a, b = paired_vectors(x, y, names=("x", "y"), at_least=4)
    level = checked_fraction(confidence, name="confidence")
    if not (error_ratio > 0 and math.isfinite(error_ratio)):
        raise ValueError(f"error_ratio must be above 0, got {error_ratio}")
    slope, intercept = _deming_line(a, b, error_ratio)
    n = a.size
    left_out = np.array([_deming_line(np.delete(a, i), np.delete(b, i), error_ratio) for i in range(n)])
    pseudo = n * np.array([slope, intercept]) - (n - 1) * left_out
    errors = pseudo.std(axis=0, ddof=1) / math.sqrt(n)
    t = float(scipy_stats.t.ppf(0.5 + level / 2, n - 2))
    slope_interval, intercept_interval = (
        Interval(value, value - t * float(e), value + t * float(e), level, n, "Deming, jackknife")
        for value, e in zip((slope, intercept), errors, strict=True)
    )
    return Line(slope_interval, intercept_interval)


def passing_bablok(x: ArrayLike, y: ArrayLike, *, confidence: float = 0.95) -> Line:
    """Passing-Bablok regression: shifted median of all pairwise slopes, intervals by rank.

    Pairs that coincide say nothing and are left out, as are slopes of exactly -1; pairs with equal x have an infinite
    slope. Source: Passing and Bablok 1983, doi 10.1515/cclm.1983.21.11.709.

    Parameters
    ----------
    x, y : array (n,)
        n >= 4, finite, positively associated; memory grows with n^2.
    confidence : float
        Two-sided confidence.

    Returns
    -------
    Line
        Bounds may be infinite for few or tied points.

    Raises
    ------
    ValueError
        For n < 4, values that are not finite, or too few distinct points or a negative association, for which the
        line is undefined.
    """
    a, b = paired_vectors(x, y, names=("x", "y"), at_least=4)
    level = checked_fraction(confidence, name="confidence")
    slopes, shift = _pairwise_slopes(a, b)
    count, n = slopes.size, a.size
    if count == 0 or float(scipy_stats.kendalltau(a, b).statistic) < 0:
        raise ValueError("Passing-Bablok needs distinct, positively associated points")
    slope = _at(slopes, shift + (count + 1) / 2)
    if not math.isfinite(slope):
        raise ValueError("x hardly varies: the median of the pairwise slopes is infinite")
    spread = float(scipy_stats.norm.ppf(0.5 + level / 2)) * math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    rank = round((count - spread) / 2)
    low = _at(slopes, rank + shift) if rank >= 1 else -math.inf
    high = _at(slopes, count - rank + 1 + shift) if rank >= 1 else math.inf
    method = "Passing-Bablok, rank interval"
    intercept, start, end = (_intercept(a, b, value) for value in (slope, high, low))
    return Line(Interval(slope, low, high, level, n, method), Interval(intercept, start, end, level, n, method))


def _deming_line(x: FloatArray, y: FloatArray, ratio: float) -> tuple[float, float]:
    covariance = float(np.mean((x - x.mean()) * (y - y.mean())))
    if covariance == 0.0:
        raise ValueError("x and y do not vary together; the slope is undefined")
    excess = float(y.var()) - ratio * float(x.var())
    slope = (excess + math.sqrt(excess**2 + 4 * ratio * covariance**2)) / (2 * covariance)
    return slope, float(y.mean()) - slope * float(x.mean())


def _pairwise_slopes(x: FloatArray, y: FloatArray) -> tuple[FloatArray, int]:
    """All usable slopes in order, and how many are below -1."""
    i, j = np.triu_indices(x.size, 1)
    dx, dy = x[j] - x[i], y[j] - y[i]
    apart = (dx != 0) | (dy != 0)
    dx, dy = dx[apart], dy[apart]
    # plus and minus infinity give the same line: one more below -1 shifts the median by one
    slopes = np.full(dx.shape, np.inf)
    np.divide(dy, dx, out=slopes, where=dx != 0)
    slopes = np.sort(slopes[slopes != -1.0])
    return slopes, int(np.count_nonzero(slopes < -1.0))


def _at(ordered: FloatArray, position: float) -> float:
    """Value at a position counted from 1; halfway positions give the mean of both neighbors."""
    last = ordered.size - 1
    lower, upper = math.floor(position) - 1, math.ceil(position) - 1
    if upper > last:
        return math.inf
    return float(ordered[lower]) if lower == upper else float(ordered[lower] + ordered[upper]) / 2


def _intercept(x: FloatArray, y: FloatArray, slope: float) -> float:
    """Median of ``y - slope x``; an infinite slope leaves the intercept unbounded on that side."""
    if not math.isfinite(slope):
        return math.inf if slope < 0 else -math.inf
    return float(np.median(y - slope * x))
