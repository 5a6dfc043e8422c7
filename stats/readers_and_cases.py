"""How sure is a mean over readers and cases, when both are samples?"""

import math

import numpy as np
import scipy.stats as scipy_stats
from numpy.typing import ArrayLike

from stats.intervals import Interval, checked_fraction


def crossed_mean(values: ArrayLike, *, confidence: float = 0.95) -> Interval:
    """Mean of a table in which every reader judged every case, both taken as random.

    With the mean squares of readers, cases and what is left, the variance of the mean is
    ``(MS_r + max(MS_c - MS_rc, 0)) / (readers * cases)``, with
    ``(MS_r + max(MS_c - MS_rc, 0))^2 / (MS_r^2 / (readers - 1))`` degrees of freedom, at most ``cases - 1``: what is left
    where readers agree in their means, so that few cases are not taken for many.
    For differences between two arms this is the multi-reader multi-case test of their mean scores.
    Source: Hillis 2007, doi 10.1002/sim.2532.

    Parameters
    ----------
    values : array (readers, cases)
        One value each, finite, at least 2 x 2.
    confidence : float
        Two-sided; the lower end at 0.95 is the one-sided 97.5 % bound.

    Returns
    -------
    Interval
        ``n`` is the number of cases. Without any variance the interval has no width.

    Raises
    ------
    ValueError
        For another shape, values that are not finite, or a confidence outside (0, 1).
    """
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 2 or min(x.shape, default=0) < 2:
        raise ValueError(f"expected readers x cases, 2 or more of each, got shape {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError(f"{np.count_nonzero(~np.isfinite(x))} values are not finite; leave such cases out")
    level = checked_fraction(confidence, name="confidence")
    n_readers, n_cases = x.shape
    mean = float(x.mean())
    readers, cases = x.mean(axis=1), x.mean(axis=0)
    ms_readers = n_cases * float(np.sum((readers - mean) ** 2)) / (n_readers - 1)
    ms_cases = n_readers * float(np.sum((cases - mean) ** 2)) / (n_cases - 1)
    left = x - readers[:, None] - cases + mean
    ms_left = float(np.sum(left**2)) / ((n_readers - 1) * (n_cases - 1))
    total = ms_readers + max(ms_cases - ms_left, 0.0)
    half = 0.0
    if total > 0:
        by_readers = total**2 * (n_readers - 1) / ms_readers**2 if ms_readers > 0 else math.inf
        freedom = min(by_readers, n_cases - 1.0)
        half = float(scipy_stats.t.ppf(0.5 + level / 2, freedom)) * math.sqrt(total / (n_readers * n_cases))
    return Interval(mean, mean - half, mean + half, level, n_cases, "mean, readers and cases random (Hillis)")
