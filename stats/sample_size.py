"""How many patients does it take to show that methods agree?"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.stats as scipy_stats

from stats.intervals import checked_fraction

LimitInterval = Literal["exact", "approximate"]

MOST_PATIENTS = 100_000
NODES, WEIGHTS = np.polynomial.legendre.leggauss(200)


@dataclass(frozen=True)
class SampleSize:
    """Smallest number of patients with evaluable pairs, the power it has, and a second way of counting.

    `power` is None where the aim is a width. `large_sample_n` comes from a formula that holds for many patients; it is a
    check on `n`, not a substitute.
    """

    n: int
    power: float | None
    large_sample_n: int
    method: str


def n_for_tost(
    *, sd: float, lower: float, upper: float, bias: float = 0.0, alpha: float = 0.05, power: float = 0.8
) -> SampleSize:
    """Pairs for two one-sided t tests of a mean difference inside (lower, upper).

    Parameters
    ----------
    sd : float
        Expected standard deviation of the differences, above 0, unit of the margins.
    lower, upper : float
        Margins.
    bias : float
        True mean difference that is assumed; 0 is optimistic.
    alpha : float
        Of each test.
    power : float
        Wanted chance of both being rejected.

    Returns
    -------
    SampleSize
        The power is exact (see `power_tost`); `large_sample_n` is the normal formula, ``(z_(1-alpha) + z_(1-beta/2))^2
        sd^2 / margin^2`` at a bias in the middle of the margins.

    Raises
    ------
    ValueError
        For arguments out of range, a bias that is not inside the margins, or more than 100 000 pairs.
    """
    _check(sd, lower, upper)
    if not lower < bias < upper:
        raise ValueError(f"a bias of {bias} is not inside ({lower}, {upper}); no number of patients can show it")
    wanted = checked_fraction(power, name="power")
    z = float(scipy_stats.norm.isf(_one_sided(alpha)))

    def normal(n: int) -> float:
        error = sd / math.sqrt(n)
        inside = scipy_stats.norm.cdf((upper - bias) / error - z) - scipy_stats.norm.cdf((lower - bias) / error + z)
        return max(float(inside), 0.0)

    n = _smallest(lambda m: power_tost(m, sd=sd, lower=lower, upper=upper, bias=bias, alpha=alpha), wanted, start=3)
    reached = power_tost(n, sd=sd, lower=lower, upper=upper, bias=bias, alpha=alpha)
    return SampleSize(n, reached, _smallest(normal, wanted, start=2), f"TOST, paired, alpha {alpha}, exact power")


def power_tost(n: int, *, sd: float, lower: float, upper: float, bias: float = 0.0, alpha: float = 0.05) -> float:
    """Exact chance that both one-sided t tests reject, by integration over the sample SD.

    The integral is the one that Owen's Q function expresses (Phillips 1990, doi 10.1007/BF01063556). Arguments and
    errors as `n_for_tost`; a bias outside the margins has a small power (its error rate).
    """
    _check(sd, lower, upper)
    freedom = _pairs(n) - 1
    reach = float(scipy_stats.t.isf(_one_sided(alpha), freedom)) / math.sqrt(n)
    return _joint((lower - bias) / sd, (upper - bias) / sd, reach, n, freedom)


def n_for_limits(
    *,
    sd: float,
    lower: float,
    upper: float,
    bias: float = 0.0,
    coverage: float = 0.95,
    confidence: float = 0.95,
    power: float = 0.8,
    interval: LimitInterval = "exact",
) -> SampleSize:
    """Pairs for the outer confidence limits of both limits of agreement to lie inside (lower, upper).

    This is the rule of `stats.equivalence.limits_within`; the power is the exact chance of that event. `interval` is the
    one of `stats.bland_altman`: with `approximate` (Bland and Altman 1999) fewer pairs seem to be enough, because those
    intervals miss more often than they say.

    Published example: Lu et al. 2016 (doi 10.1515/ijb-2015-0039), mean 0.001167, SD 0.001129, limit 0.004, power 0.8.
    The paper and MedCalc print 83, which is what the exact chance gives for the `approximate` interval. The paper's
    formula takes ``(limit - margin) / error`` for noncentral t, though the error is not independent of the limit; evaluated
    to the end it gives 79, with a true power of 0.786. That formula is `large_sample_n`. With the exact interval it
    takes 97.

    Parameters
    ----------
    sd, bias : float
        Expected of the differences.
    lower, upper : float
        Margins for individuals.
    coverage, confidence, power : float
        Part of the population between the limits; two-sided confidence of each limit; wanted chance.

    Raises
    ------
    ValueError
        For arguments out of range, true limits that do not lie inside the margins, or more than 100 000 pairs.
    """
    _check(sd, lower, upper)
    z = float(scipy_stats.norm.ppf(0.5 + checked_fraction(coverage, name="coverage") / 2))
    wanted = checked_fraction(power, name="power")
    if not (lower < bias - z * sd and bias + z * sd < upper):
        raise ValueError(
            f"true limits of {bias - z * sd:g} to {bias + z * sd:g} are not inside ({lower}, {upper}); "
            "no number of patients can show it"
        )

    def chance(n: int) -> float:
        return power_limits(
            n,
            sd=sd,
            lower=lower,
            upper=upper,
            bias=bias,
            coverage=coverage,
            confidence=confidence,
            interval=interval,
        )

    def published(n: int) -> float:
        error = math.sqrt(1 / n + z**2 / (2 * (n - 1)))
        t = float(scipy_stats.t.ppf(0.5 + confidence / 2, n - 1))
        apart = (((upper - bias) / sd - z) / error, ((bias - lower) / sd - z) / error)
        return sum(float(scipy_stats.nct.sf(t, n - 1, distance)) for distance in apart) - 1

    n = _smallest(chance, wanted, start=3)
    name = f"{coverage:.0%} limits inside margins, {interval} {confidence:.0%} interval"
    return SampleSize(n, chance(n), _smallest(published, wanted, start=3), name)


def power_limits(
    n: int,
    *,
    sd: float,
    lower: float,
    upper: float,
    bias: float = 0.0,
    coverage: float = 0.95,
    confidence: float = 0.95,
    interval: LimitInterval = "exact",
) -> float:
    """Exact chance that both outer confidence limits lie inside; arguments and errors as `n_for_limits`."""
    _check(sd, lower, upper)
    reach = outer_factor(n, coverage=coverage, confidence=confidence, interval=interval)
    return _joint((lower - bias) / sd, (upper - bias) / sd, reach, n, _pairs(n) - 1)


def n_for_limits_width(
    *,
    sd: float,
    width: float,
    coverage: float = 0.95,
    confidence: float = 0.95,
    interval: LimitInterval = "exact",
) -> SampleSize:
    """Pairs for each outer confidence limit to lie no further than `width` beyond its limit of agreement.

    At the expected SD, as is usual in planning: a larger SD of the sample widens it. `large_sample_n` is
    ``z^2 sd^2 (1 + z_c^2 / 2) / width^2``, about ``11.2 sd^2 / width^2``, which Bland and Altman advise rounded, with
    ``sqrt(3 sd^2 / n)`` as the error (1986, doi 10.1016/S0140-6736(86)90837-8).

    Raises
    ------
    ValueError
        For an SD or width that is not above 0, fractions out of range, or more than 100 000 pairs.
    """
    if not (sd > 0 and width > 0 and math.isfinite(sd) and math.isfinite(width)):
        raise ValueError(f"sd and width must be above 0 and finite, got {sd} and {width}")
    z = float(scipy_stats.norm.ppf(0.5 + checked_fraction(coverage, name="coverage") / 2))
    q = float(scipy_stats.norm.ppf(0.5 + checked_fraction(confidence, name="confidence") / 2))

    def spare(n: int) -> float:
        return width - (outer_factor(n, coverage=coverage, confidence=confidence, interval=interval) - z) * sd

    n = _smallest(spare, 0.0, start=3)
    large = math.ceil((q * sd / width) ** 2 * (1 + z**2 / 2))
    return SampleSize(n, None, large, f"outer confidence limit within {width:g} of the limit, {interval} interval")


def n_for_non_inferiority(
    *, sd: float, margin: float, bias: float = 0.0, alpha: float = 0.025, power: float = 0.8
) -> SampleSize:
    """Pairs for the one-sided t test that the mean difference lies above -margin.

    The power is that of the noncentral t distribution; `large_sample_n` is ``(z_(1-alpha) + z_power)^2 sd^2 /
    (margin + bias)^2``. For "not higher by more than" change the sign of the bias.

    Raises
    ------
    ValueError
        For arguments out of range, a bias that is not above -margin, or more than 100 000 pairs.
    """
    _check(sd, -margin, math.inf)
    wanted = checked_fraction(power, name="power")
    if margin <= 0:
        raise ValueError(f"the margin must be above 0, got {margin}")
    if bias <= -margin:
        raise ValueError(f"a bias of {bias} is not above -{margin}; no number of patients can show it")

    def chance(n: int) -> float:
        return power_non_inferiority(n, sd=sd, margin=margin, bias=bias, alpha=alpha)

    n = _smallest(chance, wanted, start=2)
    z = float(scipy_stats.norm.isf(_one_sided(alpha)) + scipy_stats.norm.ppf(wanted))
    large = math.ceil((z * sd / (margin + bias)) ** 2) if z > 0 else 1
    return SampleSize(n, chance(n), large, f"non-inferiority, paired, alpha {alpha}, noncentral t")


def power_non_inferiority(n: int, *, sd: float, margin: float, bias: float = 0.0, alpha: float = 0.025) -> float:
    """Exact chance to show a mean difference above -margin; arguments and errors as `n_for_non_inferiority`."""
    _check(sd, -margin, math.inf)
    freedom = _pairs(n) - 1
    t = float(scipy_stats.t.isf(_one_sided(alpha), freedom))
    return float(scipy_stats.nct.sf(t, freedom, (margin + bias) / sd * math.sqrt(n)))


def outer_factor(n: int, *, coverage: float, confidence: float, interval: LimitInterval = "exact") -> float:
    """Distance of a limit's outer confidence limit from the bias, in sample SDs.

    `exact` by the noncentral t distribution (Carkeet 2015, doi 10.1097/OPX.0000000000000513), `approximate` as in
    Bland and Altman 1999 (doi 10.1177/096228029900800204).
    """
    freedom = _pairs(n) - 1
    z = float(scipy_stats.norm.ppf(0.5 + checked_fraction(coverage, name="coverage") / 2))
    upper = 0.5 + checked_fraction(confidence, name="confidence") / 2
    if interval == "exact":
        return float(scipy_stats.nct.ppf(upper, freedom, z * math.sqrt(n))) / math.sqrt(n)
    if interval == "approximate":
        return z + float(scipy_stats.t.ppf(upper, freedom)) * math.sqrt(1 / n + z**2 / (2 * freedom))
    raise ValueError(f"interval must be exact or approximate, got {interval!r}")


def inflated_for_centers(n: int, *, per_center: float, icc: float) -> int:
    """Patients for the same precision of a bias when centers differ: ``n (1 + (m - 1) icc)``, rounded up.

    m patients come from each center, and `icc` is the share of the differences' variance that is between centers
    (Donner and Klar's design effect). Few large centers cannot make up for a spread between centers: the number of
    centers matters more.

    Raises
    ------
    ValueError
        For fewer than 1 patient per center, or an icc outside 0 to 1.
    """
    if per_center < 1 or not 0 <= icc <= 1:
        raise ValueError(f"expected per_center of at least 1 and icc in 0 to 1, got {per_center} and {icc}")
    return math.ceil(_pairs(n) * (1 + (per_center - 1) * icc) - 1e-9)


def _joint(low: float, high: float, reach: float, n: int, freedom: int) -> float:
    """P(low + reach s < mean and mean + reach s < high), mean normal with variance 1/n, s from its chi distribution."""
    top = (high - low) / (2 * reach)
    wide = 10 / math.sqrt(2 * freedom)
    begin, end = max(0.0, 1 - wide), min(top, 1 + wide)
    if end <= begin:
        return 0.0
    s = begin + (end - begin) * (NODES + 1) / 2
    root = math.sqrt(n)
    inside = scipy_stats.norm.cdf((high - reach * s) * root) - scipy_stats.norm.cdf((low + reach * s) * root)
    density = scipy_stats.chi.pdf(s * math.sqrt(freedom), freedom) * math.sqrt(freedom)
    return min(float((WEIGHTS * inside * density).sum()) * (end - begin) / 2, 1.0)


def _smallest(value: Callable[[int], float], wanted: float, *, start: int) -> int:
    """Smallest n with value(n) >= wanted, for a value that grows with n."""
    low, high = start - 1, start
    while value(high) < wanted:
        low, high = high, 2 * high
        if high > MOST_PATIENTS:
            raise ValueError(f"more than {MOST_PATIENTS} patients would be needed")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if value(middle) >= wanted else (middle, high)
    return high


def _check(sd: float, lower: float, upper: float) -> None:
    if not (sd > 0 and math.isfinite(sd)):
        raise ValueError(f"sd must be above 0 and finite, got {sd}")
    if not lower < upper:
        raise ValueError(f"margins need lower < upper, got {lower} and {upper}")


def _one_sided(alpha: float) -> float:
    if not 0 < checked_fraction(alpha, name="alpha") < 0.5:
        raise ValueError(f"alpha must be below 0.5, got {alpha}")
    return alpha


def _pairs(n: int) -> int:
    if n < 2:
        raise ValueError(f"at least 2 patients are needed, got {n}")
    return int(n)
