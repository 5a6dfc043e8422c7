"""Is a mean difference shown to be small enough, and do the limits for individuals stay inside theirs?"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.stats as scipy_stats
from numpy.typing import ArrayLike
from scipy.special import ndtr

from stats.bland_altman import BlandAltman, bland_altman
from stats.intervals import Interval, checked_fraction, finite_vector, mean_interval
from stats.quadrature import spread_nodes

# a spread below this share of the limits margin is rounding
NO_SPREAD = 1e-9


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


@dataclass(frozen=True)
class TostLimits:
    """Two one-sided tests of the limits of agreement: both limits with the intervals that decide the same."""

    n: int
    lower: float
    upper: float
    alpha: float
    coverage: float
    p_lower: float
    p_upper: float
    p: float
    lower_limit: Interval
    upper_limit: Interval
    equivalent: bool


@dataclass(frozen=True)
class NonInferiority:
    """One-sided test of a mean difference: `bound` is the end of the interval that has to stay off the margin."""

    n: int
    margin: float
    worse: str
    alpha: float
    mean: float
    bound: float
    p: float
    non_inferior: bool


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
    _check_margins(lower, upper, alpha)
    mean, error = float(d.mean()), float(d.std(ddof=1)) / math.sqrt(d.size)
    p_lower = _one_sided(mean - lower, error, d.size - 1)
    p_upper = _one_sided(upper - mean, error, d.size - 1)
    p = max(p_lower, p_upper)
    interval = mean_interval(d, confidence=1 - 2 * alpha)
    return Tost(d.size, float(lower), float(upper), alpha, p_lower, p_upper, p, interval, p < alpha)


def tost_limits(
    differences: ArrayLike, *, lower: float, upper: float, coverage: float = 0.95, alpha: float = 0.05
) -> TostLimits:
    """Two one-sided exact tests that both limits of agreement of a normal population lie inside (lower, upper).

    ``p_lower`` tests ``mu - z sigma <= lower`` and ``p_upper`` tests ``mu + z sigma >= upper``; at the edge of its
    hypothesis ``(mean - lower) sqrt(n) / s`` is noncentral t with ``n - 1`` degrees of freedom and noncentrality
    ``z sqrt(n)``. Rejecting both at `alpha` is the same as the exact ``1 - 2 alpha`` intervals of both limits lying
    inside the margins, so ``alpha = 0.025`` is `limits_within` of a 95 % `bland_altman`.
    Source: Berger and Hsu 1996 (intersection-union), doi 10.1214/ss/1032280304; Shieh 2018 (one limit),
    doi 10.1186/s12874-018-0505-y.

    Parameters
    ----------
    differences : array (n,)
        One per independent subject, n >= 3, finite.
    lower, upper : float
        Margins of an individual in the unit of the differences, lower < upper; they need not be symmetric.
    coverage : float
        Part of the population between the limits; 0.95 gives z = 1.96.
    alpha : float
        Level of each one-sided test, below 0.5.

    Returns
    -------
    TostLimits
        With zero variance the p-values are 0 or 1, as the mean lies inside a margin or not.

    Raises
    ------
    ValueError
        For n < 3, values that are not finite, margins in the wrong order, a coverage outside (0, 1) or an alpha
        outside (0, 0.5).
    """
    d = finite_vector(differences, name="differences", at_least=3)
    _check_margins(lower, upper, alpha)
    result = bland_altman(np.zeros(d.size), d, confidence=1 - 2 * alpha, coverage=coverage)
    z = float(scipy_stats.norm.ppf(0.5 + coverage / 2))
    mean, s = float(d.mean()), float(d.std(ddof=1))
    p_lower = _limit_p(mean - lower, s, d.size, z)
    p_upper = _limit_p(upper - mean, s, d.size, z)
    p = max(p_lower, p_upper)
    return TostLimits(
        n=d.size,
        lower=float(lower),
        upper=float(upper),
        alpha=alpha,
        coverage=coverage,
        p_lower=p_lower,
        p_upper=p_upper,
        p=p,
        lower_limit=result.lower_limit,
        upper_limit=result.upper_limit,
        equivalent=p < alpha,
    )


def non_inferiority(
    differences: ArrayLike,
    *,
    margin: float,
    worse: Literal["lower", "higher"] = "lower",
    alpha: float = 0.025,
) -> NonInferiority:
    """One-sided t test that the mean difference is not worse by `margin` or more.

    With ``worse="lower"`` the hypothesis ``mean <= -margin`` is rejected where the one-sided ``1 - alpha`` lower bound
    of the mean lies above ``-margin``; with ``worse="higher"`` it is the mirror image.
    Source: ICH E9, sections 3.3.2 and 5.5 (one-sided 2.5 %).

    Parameters
    ----------
    differences : array (n,)
        One per independent subject, n >= 3, finite.
    margin : float
        Largest loss that is accepted, in the unit of the differences, above 0.
    worse : {"lower", "higher"}
        Direction of a difference that is a loss.
    alpha : float
        Level of the one-sided test, below 0.5.

    Returns
    -------
    NonInferiority
        With zero variance p is 0 or 1, as the mean lies on the good side of the margin or not.

    Raises
    ------
    ValueError
        For n < 3, values that are not finite, a margin not above 0, an unknown `worse` or an alpha outside (0, 0.5).
    """
    d = finite_vector(differences, name="differences", at_least=3)
    if worse not in ("lower", "higher"):
        raise ValueError(f"worse must be 'lower' or 'higher', got {worse!r}")
    if not (math.isfinite(margin) and margin > 0):
        raise ValueError(f"margin must be finite and above 0, got {margin}")
    _check_alpha(alpha)
    sign = 1.0 if worse == "lower" else -1.0
    mean, error = float(d.mean()), float(d.std(ddof=1)) / math.sqrt(d.size)
    bound = mean - sign * float(scipy_stats.t.ppf(1 - alpha, d.size - 1)) * error
    p = _one_sided(sign * mean + margin, error, d.size - 1)
    return NonInferiority(d.size, float(margin), worse, alpha, mean, bound, p, p < alpha)


def limits_within(result: BlandAltman, *, lower: float, upper: float) -> bool:
    """Say whether the outer confidence limits of the limits of agreement lie inside (lower, upper)."""
    return lower < result.lower_limit.low and result.upper_limit.high < upper


def has_no_spread(sd: float | None, margin: float) -> bool:
    """Whether all differences are the same but for rounding: their SD beside the margin of the limits, in its unit.

    Limits that rest on no spread say nothing of the next patient. None, of an SD that is not known, is no.
    """
    return sd is not None and sd <= NO_SPREAD * margin


def _one_sided(distance: float, error: float, freedom: int) -> float:
    if error == 0.0:
        return 0.0 if distance > 0 else 1.0
    return float(scipy_stats.t.sf(distance / error, freedom))


def _limit_p(distance: float, s: float, n: int, z: float) -> float:
    """Chance that a limit on the margin looks as far inside as this one, or farther."""
    if s == 0.0:
        return 0.0 if distance > 0 else 1.0
    root = math.sqrt(n)
    u, w = spread_nodes(n - 1)
    return min(max(float(w @ ndtr(z * root - distance * root / s * u)), 0.0), 1.0)


def _check_margins(lower: float, upper: float, alpha: float) -> None:
    if not (math.isfinite(lower) and math.isfinite(upper) and lower < upper):
        raise ValueError(f"margins must be finite with lower < upper, got {lower} and {upper}")
    _check_alpha(alpha)


def _check_alpha(alpha: float) -> None:
    if not 0.0 < checked_fraction(alpha, name="alpha") < 0.5:
        raise ValueError(f"alpha must be below 0.5, got {alpha}")
