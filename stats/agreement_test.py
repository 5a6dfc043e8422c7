"""Do at least 95 % of a population's differences lie inside an interval fixed beforehand?"""

import math
from dataclasses import dataclass
from functools import lru_cache

import scipy.stats as scipy_stats
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import ndtr

from stats.intervals import checked_fraction, finite_vector
from stats.quadrature import spread_nodes


@dataclass(frozen=True)
class AgreementTest:
    """Result of the exact test; `low` and `high` are the interval that decides the same when held against ±`limit`."""

    n: int
    limit: float
    coverage: float
    alpha: float
    statistic: float
    critical: float
    p: float
    low: float
    high: float
    shown: bool


def exact_agreement(
    differences: ArrayLike, *, limit: float, coverage: float = 0.95, alpha: float = 0.05
) -> AgreementTest:
    """Exact test that more than `coverage` of a normal population lies inside (-limit, limit).

    The statistic is ``(limit - |mean|) sqrt(n) / s``. The published critical value makes the rejection probability
    `alpha` where the mean is 0 and exactly `coverage` lies inside, ``sigma = limit / z``. Other populations with just
    that share inside are rejected less often from 15 subjects on (for 95 %; 8 for 80 %), which the tests of this
    function compute; with fewer subjects up to 6.4 % are, at a nominal 5 %. Agreement is shown where
    ``mean ± critical s / sqrt(n)`` lies inside ±limit.

    What it does not test is that *each* end leaves at most ``(1 - coverage) / 2`` outside: a population all of whose
    outliers are on one side may pass. That stricter claim is `stats.equivalence.tost_limits`.
    Source: Shieh 2020, doi 10.1080/19466315.2019.1677495.

    Parameters
    ----------
    differences : array (n,)
        One per independent subject, n >= 3, finite.
    limit : float
        Largest difference of an individual that is accepted, in the unit of the differences, above 0.
    coverage : float
        Share of the population that has to lie inside.
    alpha : float
        Size of the test, below 0.5.

    Returns
    -------
    AgreementTest
        With zero variance p is 0 or 1, as the mean lies inside or not, and the statistic infinite.

    Raises
    ------
    ValueError
        For n < 3, values that are not finite, a limit not above 0, a coverage outside (0, 1) or an alpha outside
        (0, 0.5).
    """
    d = finite_vector(differences, name="differences", at_least=3)
    margin, share, size = _checked(limit, coverage, alpha)
    n, mean, s = d.size, float(d.mean()), float(d.std(ddof=1))
    critical = critical_value(n, coverage=share, alpha=size)
    distance = margin - abs(mean)
    if s == 0.0:
        statistic, p = (math.inf, 0.0) if distance > 0 else (-math.inf, 1.0)
    else:
        statistic = distance * math.sqrt(n) / s
        p = _rejection(statistic, n, 0.0, 1.0, _quantile(share))
    half = critical * s / math.sqrt(n)
    return AgreementTest(n, margin, share, size, statistic, critical, p, mean - half, mean + half, statistic > critical)


@lru_cache(maxsize=1024)
def critical_value(n: int, *, coverage: float = 0.95, alpha: float = 0.05) -> float:
    """Value that ``(limit - |mean|) sqrt(n) / s`` has to exceed for agreement.

    Raises
    ------
    ValueError
        For n < 3, a coverage outside (0, 1) or an alpha outside (0, 0.5).
    """
    _, share, size = _checked(1.0, coverage, alpha)
    if n < 3:
        raise ValueError(f"at least 3 differences are needed, got {n}")
    z = _quantile(share)
    upper = z * math.sqrt(n) + 1.0
    while _rejection(upper, n, 0.0, 1.0, z) > size:
        upper *= 2
    return float(brentq(lambda value: _rejection(value, n, 0.0, 1.0, z) - size, 0.0, upper, xtol=1e-12))


def exact_agreement_power(
    n: int, *, mean: float, sd: float, limit: float, coverage: float = 0.95, alpha: float = 0.05
) -> float:
    """Probability that `exact_agreement` shows agreement of n differences from a normal population.

    Parameters
    ----------
    n : int
        Subjects, at least 3.
    mean, sd : float
        Of the population of differences, same unit as `limit`, sd above 0.
    limit, coverage, alpha : float
        As in `exact_agreement`.

    Raises
    ------
    ValueError
        As `exact_agreement`, or for a mean that is not finite or an sd not above 0.
    """
    margin, share, size = _checked(limit, coverage, alpha)
    if not (math.isfinite(mean) and math.isfinite(sd) and sd > 0):
        raise ValueError(f"expected a finite mean and an sd above 0, got {mean} and {sd}")
    return _rejection(critical_value(n, coverage=share, alpha=size), n, mean, sd, margin)


def rejection_at_zero(critical: float, n: int, limit_in_sd: float) -> float:
    """Chance that ``(limit - |mean|) sqrt(n) / s`` exceeds `critical` where the population's mean is 0.

    Parameters
    ----------
    critical : float
        Value to exceed.
    n : int
        Subjects, at least 3.
    limit_in_sd : float
        The limit in standard deviations of the population, not below 0.
    """
    return _rejection(critical, n, 0.0, 1.0, limit_in_sd)


def _rejection(critical: float, n: int, mean: float, sd: float, limit: float) -> float:
    """P(|sample mean| + critical s / sqrt(n) < limit), averaged over the distribution of s."""
    root = math.sqrt(n)
    below = limit / sd * root / critical if critical > 0 else math.inf
    u, w = spread_nodes(n - 1, below=below)
    reach, shift = limit / sd * root - critical * u, mean / sd * root
    return min(max(float(w @ (ndtr(reach - shift) - ndtr(-reach - shift))), 0.0), 1.0)


def _quantile(coverage: float) -> float:
    return float(scipy_stats.norm.ppf(0.5 + coverage / 2))


def _checked(limit: float, coverage: float, alpha: float) -> tuple[float, float, float]:
    if not (math.isfinite(limit) and limit > 0):
        raise ValueError(f"limit must be finite and above 0, got {limit}")
    share = checked_fraction(coverage, name="coverage")
    if not 0.0 < checked_fraction(alpha, name="alpha") < 0.5:
        raise ValueError(f"alpha must be below 0.5, got {alpha}")
    return float(limit), share, float(alpha)
