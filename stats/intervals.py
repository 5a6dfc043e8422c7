"""How is an estimate with its uncertainty written down?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.stats as scipy_stats
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """An estimate, its confidence interval, and how both were got.

    Attributes
    ----------
    estimate, low, high : float
        In the unit of the data; ``low <= estimate <= high`` is usual but not guaranteed (exact intervals of small
        samples may exclude the moment estimate).
    level : float
        Two-sided confidence, 0 to 1.
    n : int
        Independent units (subjects, centers) behind the estimate.
    method : str
        Name of the estimator and of the interval.
    """

    estimate: float
    low: float
    high: float
    level: float
    n: int
    method: str


def finite_vector(values: ArrayLike, *, name: str, at_least: int) -> FloatArray:
    """Return `values` as a float vector, or say in one line what is wrong with it.

    Raises
    ------
    ValueError
        If it is not one-dimensional, holds NaN or infinity, or has fewer than `at_least` entries.
    """
    vector = np.asarray(values, dtype=np.float64)
    if vector.ndim != 1:
        raise ValueError(f"{name}: expected a vector, got an array of shape {vector.shape}")
    bad = int(np.count_nonzero(~np.isfinite(vector)))
    if bad:
        raise ValueError(f"{name}: {bad} of {vector.size} values are not finite; leave them out, report them as failed")
    if vector.size < at_least:
        raise ValueError(f"{name}: at least {at_least} values are needed, got {vector.size}")
    return vector


def paired_vectors(x: ArrayLike, y: ArrayLike, *, names: Sequence[str], at_least: int) -> tuple[FloatArray, FloatArray]:
    """Return two finite vectors of one length.

    Raises
    ------
    ValueError
        As `finite_vector`, or if the lengths differ.
    """
    first = finite_vector(x, name=names[0], at_least=at_least)
    second = finite_vector(y, name=names[1], at_least=at_least)
    if first.size != second.size:
        raise ValueError(f"pairs need as many of each: {first.size} {names[0]} but {second.size} {names[1]} values")
    return first, second


def checked_fraction(value: float, *, name: str) -> float:
    """Return `value` if it lies strictly between 0 and 1.

    Raises
    ------
    ValueError
        If it does not.
    """
    if not 0.0 < value < 1.0:
        raise ValueError(f"{name} must lie between 0 and 1, got {value}")
    return float(value)


def mean_interval(values: ArrayLike, *, confidence: float = 0.95) -> Interval:
    """Mean of independent values with Student's interval, ``mean +- t(n - 1) s / sqrt(n)``.

    Raises
    ------
    ValueError
        For fewer than 2 or non-finite values, or a confidence outside (0, 1).
    """
    x = finite_vector(values, name="values", at_least=2)
    level = checked_fraction(confidence, name="confidence")
    half = float(scipy_stats.t.ppf(0.5 + level / 2, x.size - 1)) * float(x.std(ddof=1)) / math.sqrt(x.size)
    mean = float(x.mean())
    return Interval(mean, mean - half, mean + half, level, x.size, "mean, Student t")


def proportion(successes: int, n: int, *, confidence: float = 0.95) -> Interval:
    """Proportion with the Clopper-Pearson interval, which never covers less often than it says.

    Source: Clopper and Pearson 1934, doi 10.1093/biomet/26.4.404.

    Raises
    ------
    ValueError
        If not ``0 <= successes <= n`` with ``n >= 1``.
    """
    level = checked_fraction(confidence, name="confidence")
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"expected 0 <= successes <= n and n >= 1, got {successes} of {n}")
    tail = (1 - level) / 2
    low = 0.0 if successes == 0 else float(scipy_stats.beta.ppf(tail, successes, n - successes + 1))
    high = 1.0 if successes == n else float(scipy_stats.beta.ppf(1 - tail, successes + 1, n - successes))
    return Interval(successes / n, low, high, level, n, "Clopper-Pearson")
