"""How closely do two measurements lie along a line? Association, which is not agreement."""

import math

import numpy as np
import scipy.stats as scipy_stats
from numpy.typing import ArrayLike

from stats.intervals import Interval, checked_fraction, paired_vectors


def pearson(x: ArrayLike, y: ArrayLike, *, confidence: float = 0.95) -> Interval:
    """Pearson's correlation with the interval of Fisher's z, ``tanh(atanh r +- z / sqrt(n - 3))``.

    A method that reads twice the truth has a correlation of 1; a more varied cohort gives a larger one.
    Source: Fisher 1915, doi 10.2307/2331838.

    Parameters
    ----------
    x, y : array (n,)
        n >= 4, finite.
    confidence : float
        Two-sided confidence.

    Returns
    -------
    Interval
        A correlation of 1 or -1 has an interval of no width.

    Raises
    ------
    ValueError
        For n < 4, values that are not finite, or values that do not vary, for which it is undefined.
    """
    a, b = paired_vectors(x, y, names=("x", "y"), at_least=4)
    level = checked_fraction(confidence, name="confidence")
    if np.ptp(a) == 0.0 or np.ptp(b) == 0.0:
        raise ValueError("values do not vary; a correlation is undefined")
    u, v = a - a.mean(), b - b.mean()
    r = float(np.clip((u / np.linalg.norm(u)) @ (v / np.linalg.norm(v)), -1.0, 1.0))
    method = "Pearson, Fisher z"
    if abs(r) == 1.0:
        return Interval(r, r, r, level, a.size, method)
    half = float(scipy_stats.norm.ppf(0.5 + level / 2)) / math.sqrt(a.size - 3)
    return Interval(r, math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half), level, a.size, method)
