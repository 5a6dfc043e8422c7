"""How far could a mean move if other subjects had been drawn?"""

import math
from typing import Literal

import numpy as np
import scipy.stats as scipy_stats
from numpy.typing import ArrayLike

from stats.intervals import FloatArray, Interval, checked_fraction, finite_vector

CHUNK_VALUES = 4_000_000  # draws held at once: 32 MB of indices


def bootstrap_mean(
    values: ArrayLike,
    *,
    rng: np.random.Generator,
    confidence: float = 0.95,
    n_resamples: int = 10_000,
    method: Literal["percentile", "bca"] = "percentile",
) -> Interval:
    """Mean over independent subjects with a bootstrap interval.

    Parameters
    ----------
    values : array (n,)
        One value per subject (average what belongs to one subject before), n >= 2, finite.
    rng : numpy.random.Generator
        The only source of randomness.
    confidence : float
        Two-sided confidence.
    n_resamples : int
        At least 100.
    method : {"percentile", "bca"}
        `bca` corrects for bias and acceleration (Efron 1987, doi 10.1080/01621459.1987.10478410).

    Returns
    -------
    Interval
        Equal values give an interval of no width.

    Raises
    ------
    ValueError
        For n < 2, values that are not finite, fewer than 100 resamples or an unknown method.
    """
    x = finite_vector(values, name="values", at_least=2)
    level = checked_fraction(confidence, name="confidence")
    if n_resamples < 100:
        raise ValueError(f"n_resamples must be at least 100, got {n_resamples}")
    if method not in ("percentile", "bca"):
        raise ValueError(f"method must be percentile or bca, got {method!r}")
    mean, name = float(x.mean()), f"mean, bootstrap {method}, {n_resamples} resamples"
    if np.ptp(x) == 0.0:
        return Interval(mean, mean, mean, level, x.size, name)
    means = _resampled_means(x, rng, n_resamples)
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    if method == "bca":
        tails = _bca_tails(x, means, tails)
    low, high = np.quantile(means, tails)
    return Interval(mean, float(low), float(high), level, x.size, name)


def _resampled_means(x: FloatArray, rng: np.random.Generator, n_resamples: int) -> FloatArray:
    rows = max(1, CHUNK_VALUES // x.size)
    means = np.empty(n_resamples)
    for start in range(0, n_resamples, rows):
        stop = min(start + rows, n_resamples)
        means[start:stop] = x[rng.integers(0, x.size, size=(stop - start, x.size))].mean(axis=1)
    return means


def _bca_tails(x: FloatArray, means: FloatArray, tails: FloatArray) -> FloatArray:
    share = float(np.mean(means < x.mean()) + np.mean(means == x.mean()) / 2)
    below = min(max(share, 0.5 / means.size), 1 - 0.5 / means.size)
    z0 = float(scipy_stats.norm.ppf(below))
    left_out = (x.sum() - x) / (x.size - 1)
    deviation = left_out.mean() - left_out
    acceleration = float((deviation**3).sum()) / (6 * math.pow(float((deviation**2).sum()), 1.5))
    z = z0 + scipy_stats.norm.ppf(tails)
    return np.asarray(scipy_stats.norm.cdf(z0 + z / (1 - acceleration * z)), dtype=np.float64)
