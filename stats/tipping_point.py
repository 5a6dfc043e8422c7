"""How many subjects without a value could differ by as much as the margin before agreement is no longer shown?"""

import math
from collections.abc import Callable
from functools import lru_cache, partial

import scipy.stats as scipy_stats
from numpy.typing import ArrayLike

from stats.intervals import checked_fraction, finite_vector

MOST_TIMES_N = 1.0  # no more are tried than there are subjects with values


def tipping_point(
    differences: ArrayLike,
    *,
    lower: float,
    upper: float,
    limit: float,
    alpha: float = 0.05,
    confidence: float = 0.95,
    coverage: float = 0.95,
) -> int | None:
    """Largest number of further subjects that may all differ by `limit`, in the worse direction, with agreement shown.

    Shown means that the ``1 - 2 alpha`` interval of the mean lies inside (lower, upper) and the outer exact confidence
    limits of the limits of agreement inside +-limit (Carkeet 2015, doi 10.1097/OPX.0000000000000513). Subjects whose
    measurement failed are set to `limit`, then to ``-limit``, one after the other; a tipping point analysis of missing
    data as ICH E9(R1) asks for.

    Parameters
    ----------
    differences : array (n,)
        Of the subjects that have values, n >= 3, finite.
    lower, upper : float
        Margins of the mean, lower < upper.
    limit : float
        Margin of individuals, above 0.
    alpha, confidence, coverage : float
        Of the test of the mean; of the limits' interval; what the limits hold.

    Returns
    -------
    int or None
        At most n, beyond which the data no longer carry the answer; None if agreement is not shown with the data alone.

    Raises
    ------
    ValueError
        For n < 3, values that are not finite, margins in the wrong order or not above 0, or fractions outside (0, 1).
    """
    d = finite_vector(differences, name="differences", at_least=3)
    if not (lower < upper and limit > 0 and all(math.isfinite(v) for v in (lower, upper, limit))):
        raise ValueError(f"expected lower < upper and a limit above 0, got {lower}, {upper} and {limit}")
    tail = 1 - 2 * checked_fraction(alpha, name="alpha")
    level, share = checked_fraction(confidence, name="confidence"), checked_fraction(coverage, name="coverage")
    n, mean, squares = d.size, float(d.mean()), float(((d - d.mean()) ** 2).sum())

    def shown(value: float, k: int) -> bool:
        total = n + k
        center = (n * mean + k * value) / total
        s = math.sqrt((squares + n * k / total * (value - mean) ** 2) / (total - 1))
        reach, outer = _factors(total, tail, level, share)
        mean_inside = lower < center - reach * s and center + reach * s < upper
        return mean_inside and abs(center) + outer * s < limit

    if not shown(limit, 0):
        return None
    most = int(MOST_TIMES_N * n)
    return min(_last(partial(shown, value), most) for value in (limit, -limit))


def _last(holds: Callable[[int], bool], most: int) -> int:
    """Largest k up to `most` with ``holds(k)``, which is true at 0 and false from some k on."""
    step = 1
    while step <= most and holds(step):
        step *= 2
    low, high = step // 2, min(step, most + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


@lru_cache(maxsize=16384)
def _factors(n: int, tail: float, level: float, coverage: float) -> tuple[float, float]:
    """Half width of the mean's interval, and distance of the outer confidence limit, in units of s."""
    root, z = math.sqrt(n), float(scipy_stats.norm.ppf(0.5 + coverage / 2))
    reach = float(scipy_stats.t.ppf(0.5 + tail / 2, n - 1)) / root
    return reach, float(scipy_stats.nct.ppf(0.5 + level / 2, n - 1, z * root)) / root
