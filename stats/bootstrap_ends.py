"""Where does a bootstrap interval end, and how much of that is the luck of the draws?"""

import math

import numpy as np
import scipy.stats as scipy_stats

from stats.intervals import FloatArray


def end_points(
    draws: FloatArray, estimate: FloatArray, acceleration: FloatArray, *, level: float, corrected: bool
) -> FloatArray:
    """Ends of many intervals at once, with their Monte-Carlo standard errors.

    Parameters
    ----------
    draws : array (B, C)
        Resampled statistics; NaN where a resample gave none.
    estimate, acceleration : array (C,)
        Statistic of the data, and Efron's acceleration (used only if `corrected`).
    level : float
        Two-sided confidence.
    corrected : bool
        BCa (Efron 1987, doi 10.1080/01621459.1987.10478410), else percentiles.

    Returns
    -------
    array (4, C)
        Low, high, standard error of low, of high. The errors are those of quantiles, ``sqrt(p (1 - p) / B) / density``
        with the density from the draws' own spacing; for BCa the sampling of the bias correction and its correlation
        with the quantile are counted in (delta method). NaN where a column has no draws.
    """
    ordered = np.sort(draws, axis=0)  # NaN sorts last
    size = np.isfinite(draws).sum(axis=0)
    safe = np.maximum(size, 1)
    tolerance = 1e-12 * np.abs(estimate)  # the same sum in another order is a tie
    share = ((draws < estimate - tolerance).sum(axis=0) + (draws <= estimate + tolerance).sum(axis=0)) / (2 * safe)
    share = np.clip(share, 0.5 / safe, 1 - 0.5 / safe)
    ends, errors = [], []
    for tail in ((1 - level) / 2, (1 + level) / 2):
        p, gain = np.full(size.shape, tail), np.zeros(size.shape)
        if corrected:
            p, gain = _bca_tail(share, acceleration, float(scipy_stats.norm.ppf(tail)))
        spread = np.sqrt(p * (1 - p) / safe)
        reach = np.maximum(spread, 1 / safe)
        slope = (_quantile(ordered, size, p + reach) - _quantile(ordered, size, p - reach)) / (
            np.minimum(p + reach, 1.0) - np.maximum(p - reach, 0.0)
        )
        together = np.minimum(p, share) - p * share
        variance = (p * (1 - p) + gain**2 * share * (1 - share) - 2 * gain * together) / safe
        ends.append(_quantile(ordered, size, p))
        errors.append(slope * np.sqrt(np.maximum(variance, 0.0)))
    return np.stack([*ends, *errors])


def _bca_tail(share: FloatArray, acceleration: FloatArray, z: float) -> tuple[FloatArray, FloatArray]:
    """Corrected tail, and its derivative with respect to the share of draws below the estimate."""
    z0 = scipy_stats.norm.ppf(share)
    # beyond the pole the correction has no meaning; the tail then lies at the end of the draws
    shrink = np.maximum(1 - acceleration * (z0 + z), 1e-3)
    inner = z0 + (z0 + z) / shrink
    density = np.exp(-(z0**2) / 2) / math.sqrt(2 * math.pi)
    gain = np.exp(-(inner**2) / 2) / math.sqrt(2 * math.pi) * (1 + 1 / shrink**2) / density
    return np.asarray(scipy_stats.norm.cdf(inner), dtype=np.float64), np.asarray(gain, dtype=np.float64)


def _quantile(ordered: FloatArray, size: np.ndarray, p: FloatArray) -> FloatArray:
    """Linear quantile of the first `size` entries of each sorted column."""
    position = np.clip(p, 0.0, 1.0) * np.maximum(size - 1, 0)
    below = np.floor(position).astype(np.int64)
    above = np.minimum(below + 1, np.maximum(size - 1, 0))
    columns = np.arange(ordered.shape[1])
    low, high = ordered[below, columns], ordered[above, columns]
    return np.asarray(low + (position - below) * (high - low), dtype=np.float64)
