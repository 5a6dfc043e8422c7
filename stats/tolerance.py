"""Which interval holds 95 % of a population with stated confidence?"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.stats as scipy_stats
from numpy.typing import ArrayLike
from scipy.optimize import brentq

from stats.intervals import FloatArray, checked_fraction, finite_vector
from stats.quadrature import half_normal_nodes


@dataclass(frozen=True)
class ToleranceLimits:
    """Pair of limits ``mean ± factor s`` that hold `coverage` of the population with `confidence`, as a pair."""

    n: int
    mean: float
    sd: float
    factor: float
    low: float
    high: float
    coverage: float
    confidence: float


def tolerance_limits(differences: ArrayLike, *, coverage: float = 0.95, confidence: float = 0.95) -> ToleranceLimits:
    """Two-sided tolerance limits of a normal population, the limits of agreement with their uncertainty as one pair.

    Source: Carkeet 2015 (limits as a pair), doi 10.1097/OPX.0000000000000513.

    Parameters
    ----------
    differences : array (n,)
        One per independent subject, n >= 3, finite.
    coverage : float
        Share of the population between the limits.
    confidence : float
        Probability that they hold at least that share.

    Returns
    -------
    ToleranceLimits
        In the unit of the differences; with zero variance both limits equal the mean.

    Raises
    ------
    ValueError
        For n < 3, values that are not finite, or a coverage or confidence outside (0, 1).
    """
    d = finite_vector(differences, name="differences", at_least=3)
    factor = tolerance_factor(d.size, coverage=coverage, confidence=confidence)
    mean, s = float(d.mean()), float(d.std(ddof=1))
    return ToleranceLimits(d.size, mean, s, factor, mean - factor * s, mean + factor * s, coverage, confidence)


@lru_cache(maxsize=4096)
def tolerance_factor(n: int, *, coverage: float = 0.95, confidence: float = 0.95) -> float:
    """Exact two-sided factor k: ``mean ± k s`` holds at least `coverage` of a normal population with `confidence`.

    With the sample mean off by ``z / sqrt(n)`` standard deviations, an interval of half width r around it holds
    `coverage` where ``P(|N(z / sqrt(n), 1)| < r) = coverage``; k solves ``E[P(s >= r(Z) / k)] = confidence``, the
    expectation taken by numerical integration. No approximation in n.
    Source: Odeh and Owen 1980, Tables for Normal Tolerance Limits; Krishnamoorthy and Mathew 2009, section 2.3,
    doi 10.1002/9780470473900.

    Raises
    ------
    ValueError
        For n < 2, or a coverage or confidence outside (0, 1).
    """
    share, level = checked_fraction(coverage, name="coverage"), checked_fraction(confidence, name="confidence")
    if n < 2:
        raise ValueError(f"a tolerance factor needs n of at least 2, got {n}")
    z, w = half_normal_nodes()
    radius = _radius(z / math.sqrt(n), share)

    def excess(log_factor: float) -> float:
        ratio = (radius / math.exp(log_factor)) ** 2
        return float(w @ scipy_stats.chi2.sf((n - 1) * ratio, n - 1)) - level

    low, high = math.log(float(radius[0])) - 1, math.log(float(radius[0])) + 1
    while excess(low) > 0:
        low -= 1
    while excess(high) < 0:
        high += 1
    return math.exp(float(brentq(excess, low, high, xtol=1e-13)))


def _radius(shift: FloatArray, coverage: float) -> FloatArray:
    """Half width around 0 that holds `coverage` of N(shift, 1)."""
    return np.sqrt(np.asarray(scipy_stats.ncx2.ppf(coverage, 1, shift**2), dtype=np.float64))
