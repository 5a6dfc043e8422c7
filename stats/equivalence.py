"""Is a mean difference shown to be small enough, and do the limits for individuals stay inside theirs?"""

import math
from dataclasses import dataclass

import scipy.stats as scipy_stats
from numpy.typing import ArrayLike

from stats.bland_altman import BlandAltman
from stats.intervals import Interval, checked_fraction, finite_vector, mean_interval


@dataclass(frozen=True)
class Tost:
    """Two one-sided tests: p of each side, the larger of both, the interval that decides the same, and the decision."""

    n: int
    lower: float
    upper: float
    alpha: float
    p_lower: float
    p_upper: float
    p: float
    interval: Interval
    equivalent: bool


def tost_paired(differences: ArrayLike, *, lower: float, upper: float, alpha: float = 0.05) -> Tost:
    """Two one-sided t tests of a mean difference against margins fixed beforehand.

    ``p_lower`` tests mean <= lower, ``p_upper`` tests mean >= upper; both must be rejected at `alpha`, which is the
    same as the ``1 - 2 alpha`` interval of the mean lying inside (lower, upper).
    Source: Schuirmann 1987, doi 10.1007/BF01068419; Berger and Hsu 1996, doi 10.1214/ss/1032280304.

    Parameters
    ----------
    differences : array (n,)
        One per independent subject, n >= 3, finite.
    lower, upper : float
        Margins in the unit of the differences, lower < upper; they need not be symmetric nor contain 0.
    alpha : float
        Level of each one-sided test, below 0.5.

    Returns
    -------
    Tost
        With zero variance the p-values are 0 or 1, as the mean lies inside a margin or not.

    Raises
    ------
    ValueError
        For n < 3, values that are not finite, margins in the wrong order or an alpha outside (0, 0.5).
    """
    d = finite_vector(differences, name="differences", at_least=3)
    if not (math.isfinite(lower) and math.isfinite(upper) and lower < upper):
        raise ValueError(f"margins must be finite with lower < upper, got {lower} and {upper}")
    if not 0.0 < checked_fraction(alpha, name="alpha") < 0.5:
        raise ValueError(f"alpha must be below 0.5, got {alpha}")
    mean, error = float(d.mean()), float(d.std(ddof=1)) / math.sqrt(d.size)
    p_lower = _one_sided(mean - lower, error, d.size - 1)
    p_upper = _one_sided(upper - mean, error, d.size - 1)
    p = max(p_lower, p_upper)
    interval = mean_interval(d, confidence=1 - 2 * alpha)
    return Tost(d.size, float(lower), float(upper), alpha, p_lower, p_upper, p, interval, p < alpha)


def limits_within(result: BlandAltman, *, lower: float, upper: float) -> bool:
    """Say whether the outer confidence limits of the limits of agreement lie inside (lower, upper)."""
    return lower < result.lower_limit.low and result.upper_limit.high < upper


def _one_sided(distance: float, error: float, freedom: int) -> float:
    if error == 0.0:
        return 0.0 if distance > 0 else 1.0
    return float(scipy_stats.t.sf(distance / error, freedom))
