"""Which limits of agreement hold without a normal distribution, and how many differences are inside a margin?"""

import math
from dataclasses import dataclass

import numpy as np
import scipy.stats as scipy_stats
from numpy.typing import ArrayLike

from stats.intervals import FloatArray, Interval, checked_fraction, finite_vector, proportion


@dataclass(frozen=True)
class QuantileLimits:
    """Median and quantile limits of the differences with order-statistic intervals.

    Where the sample is too small to hold an end of an interval, that end is infinite: nothing can be said.
    """

    n: int
    median: Interval
    lower_limit: Interval
    upper_limit: Interval
    coverage: float


def quantile_limits(differences: ArrayLike, *, coverage: float = 0.95, confidence: float = 0.95) -> QuantileLimits:
    """Median and the quantiles that hold `coverage` of the differences between them, for any distribution.

    Quantiles are median-unbiased (Hyndman and Fan 1996, definition 8, doi 10.1080/00031305.1996.10473566); beyond the
    outermost ranks they are the smallest and largest difference. An interval runs between two order statistics, each
    chosen by the binomial distribution so that it misses at most half of ``1 - confidence`` on its side. The outer end
    of the 2.5 % quantile exists from 146 differences on (95 % confidence), and is infinite below.
    Source: Bland and Altman 1999, section 6, doi 10.1177/096228029900800204; Conover 1999, section 3.2.

    Parameters
    ----------
    differences : array (n,)
        One per independent subject, n >= 3, finite; ties only make the intervals wider than they need be.
    coverage : float
        Share between the limits; 0.95 takes the 2.5 % and 97.5 % quantiles.
    confidence : float
        Two-sided confidence of each interval, reached at least.

    Raises
    ------
    ValueError
        For n < 3, values that are not finite, or a coverage or confidence outside (0, 1).
    """
    d = np.sort(finite_vector(differences, name="differences", at_least=3))
    share, level = checked_fraction(coverage, name="coverage"), checked_fraction(confidence, name="confidence")
    tail = (1 - share) / 2
    lower, median, upper = (_quantile(d, q, level) for q in (tail, 0.5, 1 - tail))
    return QuantileLimits(d.size, median, lower, upper, share)


def share_within(differences: ArrayLike, *, limit: float, confidence: float = 0.95) -> Interval:
    """Share of the differences strictly inside ±`limit`, with the Clopper-Pearson interval.

    Parameters
    ----------
    differences : array (n,)
        One per independent subject, n >= 1, finite.
    limit : float
        In the unit of the differences, above 0.
    confidence : float
        Two-sided.

    Raises
    ------
    ValueError
        For no values, values that are not finite, or a limit not above 0.
    """
    d = finite_vector(differences, name="differences", at_least=1)
    if not (math.isfinite(limit) and limit > 0):
        raise ValueError(f"limit must be finite and above 0, got {limit}")
    return proportion(int(np.count_nonzero(np.abs(d) < limit)), d.size, confidence=confidence)


def _quantile(ordered: FloatArray, q: float, level: float) -> Interval:
    n, miss = ordered.size, (1 - level) / 2
    below = scipy_stats.binom.cdf(np.arange(n), n, q)  # chance that the (rank + 1)th value lies above the quantile
    low_rank = int(np.count_nonzero(below <= miss))  # counted from 1; 0: none
    high_rank = n + 1 - int(np.count_nonzero(scipy_stats.binom.sf(np.arange(n), n, q) <= miss))
    return Interval(
        estimate=float(np.quantile(ordered, q, method="median_unbiased")),
        low=float(ordered[low_rank - 1]) if low_rank > 0 else -math.inf,
        high=float(ordered[high_rank - 1]) if high_rank <= n else math.inf,
        level=level,
        n=n,
        method=f"{q:.4g} quantile, order statistics",
    )
