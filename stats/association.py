"""Do two measurements rise together? An association, which is no agreement."""

import math

import numpy as np
import scipy.stats as scipy_stats
from numpy.typing import ArrayLike

from stats.intervals import Interval, checked_fraction, paired_vectors

METHOD = "Pearson, Fisher z; association, not agreement"


def pearson(x: ArrayLike, y: ArrayLike, *, confidence: float = 0.95) -> Interval:
    """Pearson's correlation with Fisher's interval, ``tanh(atanh(r) +- z / sqrt(n - 3))``.

    A method that reads twice the truth has a correlation of 1. Describe with it, never decide: Bland and Altman 1986, doi
    10.1016/S0140-6736(86)90837-8. Interval: Fisher 1921, Metron 1:3-32.

    Parameters
    ----------
    x, y : array (n,)
        Two values of each subject, finite, n >= 4.
    confidence : float

    Returns
    -------
    Interval
        Points on a line give 1 (or -1) with an interval of no width.

    Raises
    ------
    ValueError
        For n < 4, values that are not finite, numbers that differ, or a variable that does not vary.
    """
    a, b = paired_vectors(x, y, names=("x", "y"), at_least=4)
    level = checked_fraction(confidence, name="confidence")
    for name, values in (("x", a), ("y", b)):
        if np.ptp(values) == 0.0:
            raise ValueError(f"{name} does not vary; a correlation is undefined without variation")
    first, second = a - a.mean(), b - b.mean()
    first, second = first / np.abs(first).max(), second / np.abs(second).max()
    r = float(first @ second) / math.sqrt(float(first @ first) * float(second @ second))
    if 1 - abs(r) < 1e-14:
        r = math.copysign(1.0, r)
        return Interval(r, r, r, level, a.size, METHOD)
    half = float(scipy_stats.norm.ppf(0.5 + level / 2)) / math.sqrt(a.size - 3)
    return Interval(r, math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half), level, a.size, METHOD)
