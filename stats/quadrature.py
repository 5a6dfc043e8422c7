"""How is an expectation over a sample's mean and standard deviation computed without drawing samples?"""

import math
from functools import lru_cache

import numpy as np
import scipy.stats as scipy_stats
from scipy.special import gammaln

from stats.intervals import FloatArray

_NODES = 128
_TAIL = 1e-17  # probability left out at each end


def spread_nodes(freedom: int, *, below: float = math.inf) -> tuple[FloatArray, FloatArray]:
    """Nodes and weights with ``E[f(u); u < below] = sum(w f(u))``, u = s / sigma of a normal sample.

    ``freedom * u^2`` is chi-square; Gauss-Legendre on the range that holds all but 1e-17 at each end. An integrand
    with a kink or an end must have it at `below`, or the rule loses its accuracy.

    Parameters
    ----------
    freedom : int
        Degrees of freedom, at least 1.
    below : float
        Upper end of the integral.

    Returns
    -------
    u, w : arrays (128,)
        All weights are 0 where `below` lies under everything that can happen.
    """
    low, high = _spread_range(freedom)
    high = min(high, below)
    if high <= low:
        return np.full(_NODES, low), np.zeros(_NODES)
    u, w = _legendre(low, high)
    half = freedom / 2
    log_density = math.log(2) + half * math.log(half) - float(gammaln(half)) + (freedom - 1) * np.log(u) - half * u**2
    return u, w * np.exp(log_density)


def half_normal_nodes() -> tuple[FloatArray, FloatArray]:
    """Nodes and weights with ``E[f(Z)] = sum(w f(z))``, Z standard normal, for any even function f.

    Returns
    -------
    z, w : arrays (128,)
        ``z > 0``.
    """
    z, w = _legendre(0.0, float(scipy_stats.norm.isf(_TAIL)))
    return z, 2 * w * scipy_stats.norm.pdf(z)


@lru_cache(maxsize=4096)
def _spread_range(freedom: int) -> tuple[float, float]:
    low, high = scipy_stats.chi2.ppf(_TAIL, freedom), scipy_stats.chi2.isf(_TAIL, freedom)
    return math.sqrt(float(low) / freedom), math.sqrt(float(high) / freedom)


@lru_cache(maxsize=1)
def _unit_rule() -> tuple[FloatArray, FloatArray]:
    x, w = np.polynomial.legendre.leggauss(_NODES)
    return (x + 1) / 2, w / 2


def _legendre(low: float, high: float) -> tuple[FloatArray, FloatArray]:
    x, w = _unit_rule()
    return low + x * (high - low), w * (high - low)
