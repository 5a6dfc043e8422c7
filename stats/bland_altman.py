"""By how much do two ways of measuring the same subjects differ, on average and for the individual?"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import scipy.stats as scipy_stats
from numpy.typing import ArrayLike

from stats.intervals import FloatArray, Interval, checked_fraction, finite_vector, mean_interval, paired_vectors
from stats.tolerance import tolerance_factor

IntervalKind = Literal["exact", "mover", "approximate", "approximate_1986", "tolerance"]
Truth = Literal["constant", "varying"]


@dataclass(frozen=True)
class BlandAltman:
    """Bias and limits of agreement; differences are test - reference.

    `sd` is the standard deviation of one difference (with replicates: of a single reading against a single reading).
    The outer confidence limits are ``lower_limit.low`` and ``upper_limit.high``.
    """

    n: int
    bias: Interval
    sd: Interval
    lower_limit: Interval
    upper_limit: Interval
    coverage: float


def bland_altman(
    reference: ArrayLike,
    test: ArrayLike,
    *,
    confidence: float = 0.95,
    interval: IntervalKind = "exact",
    coverage: float = 0.95,
) -> BlandAltman:
    """Limits of agreement ``bias +- z s`` of single paired measurements, difference = test - reference.

    Parameters
    ----------
    reference, test : array (n,)
        One value per subject, same unit, n >= 3, finite.
    confidence : float
        Two-sided confidence of every interval.
    interval : {"exact", "mover", "approximate", "approximate_1986", "tolerance"}
        Interval of each limit. `exact`: ``bias + s g``, g from the noncentral t distribution with n - 1 degrees of
        freedom and noncentrality ``z sqrt(n)`` (Carkeet 2015, doi 10.1097/OPX.0000000000000513; Shieh 2018,
        doi 10.1186/s12874-018-0505-y). `mover`: recovery of variances (Zou 2013, doi 10.1177/0962280211402548).
        `approximate`: ``t s sqrt(1/n + z^2 / (2(n - 1)))`` (Bland and Altman 1999, doi 10.1177/096228029900800204).
        `approximate_1986`: ``t s sqrt(3/n)`` (Bland and Altman 1986, doi 10.1016/S0140-6736(86)90837-8).
        `tolerance`: both limits as one pair, ``bias ± k s`` with two-sided tolerance factors k (Carkeet 2015): the
        outer pair holds at least `coverage` with confidence ``(1 + confidence) / 2``, the inner one at most as surely.
        Of the first four, for one limit, only the exact one misses as often as it says when n is small.
    coverage : float
        Part of the population the limits should hold; 0.95 gives z = 1.96.

    Returns
    -------
    BlandAltman
        In the unit of the data. With zero variance all limits equal the bias.

    Raises
    ------
    ValueError
        For n < 3, lengths that differ, values that are not finite, or an unknown `interval`.
    """
    x, y = paired_vectors(reference, test, names=("reference", "test"), at_least=3)
    level = checked_fraction(confidence, name="confidence")
    z = _multiplier(coverage)
    difference = y - x
    n, bias, s = difference.size, float(difference.mean()), float(difference.std(ddof=1))
    inner, outer = (s * factor for factor in _limit_factors(n, level, z, interval))
    method = f"{coverage:.0%} limits, {interval} interval"
    return BlandAltman(
        n=n,
        bias=mean_interval(difference, confidence=level),
        sd=_sd_interval(s, n, level),
        lower_limit=Interval(bias - z * s, bias - outer, bias - inner, level, n, method),
        upper_limit=Interval(bias + z * s, bias + inner, bias + outer, level, n, method),
        coverage=coverage,
    )


def repeated(
    reference: ArrayLike,
    test: ArrayLike,
    subject: ArrayLike,
    *,
    truth: Truth,
    confidence: float = 0.95,
    coverage: float = 0.95,
) -> BlandAltman:
    """Limits of agreement from replicates, for a single reading of each method on a new subject.

    With subject means ``d_i`` (their variance ``s_d^2``), within-subject variances by one-way analysis of variance and
    harmonic mean m of the numbers of replicates:

    - `constant` truth: ``s_d^2 + (1 - 1/m_x) s_x^2 + (1 - 1/m_y) s_y^2``; readings need not be paired.
    - `varying` truth: ``s_d^2 + (1 - 1/m) s_w^2`` with s_w^2 within subjects of the paired differences.

    The bias is the mean of the subject means, so each subject counts once. Intervals by MOVER.
    Source: Zou 2013, doi 10.1177/0962280211402548; Bland and Altman 2007, doi 10.1080/10543400701329422.

    Parameters
    ----------
    reference, test : array (n_rows,)
        Readings. With `constant` truth NaN means "no such replicate", as the methods may have different numbers.
    subject : array (n_rows,)
        Whose readings they are.
    truth : {"constant", "varying"}
        Whether what is measured stays the same between the replicates of a subject.

    Raises
    ------
    ValueError
        For fewer than 3 subjects, a subject without readings of both methods, no replicates at all, NaN where
        pairs are needed, or an unknown `truth`.
    """
    x, y, index = _checked_rows(reference, test, subject, truth=truth)
    level, z = checked_fraction(confidence, name="confidence"), _multiplier(coverage)
    if truth == "varying":
        means, parts = _means_and_within(y - x, index)
        within = [parts]
    else:
        mean_x, part_x = _means_and_within(x, index)
        mean_y, part_y = _means_and_within(y, index)
        means, within = mean_y - mean_x, [part_x, part_y]
    n, bias = means.size, float(means.mean())
    between = float(means.var(ddof=1))
    components = [(between, n - 1), *((value, freedom) for value, freedom in within if freedom > 0)]
    variance_low, variance_high = _mover_variance(components, level)
    total = sum(value for value, _ in components)
    name = f"replicates, {truth} truth, MOVER"
    sd = Interval(math.sqrt(total), math.sqrt(variance_low), math.sqrt(variance_high), level, n, name)
    q = float(scipy_stats.norm.ppf(0.5 + level / 2))
    outer = math.sqrt(q**2 * between / n + z**2 * (sd.high - sd.estimate) ** 2)
    inner = math.sqrt(q**2 * between / n + z**2 * (sd.estimate - sd.low) ** 2)
    lower, upper, method = bias - z * sd.estimate, bias + z * sd.estimate, f"{coverage:.0%} limits, {name}"
    return BlandAltman(
        n=n,
        bias=mean_interval(means, confidence=level),
        sd=sd,
        lower_limit=Interval(lower, lower - outer, lower + inner, level, n, method),
        upper_limit=Interval(upper, upper - inner, upper + outer, level, n, method),
        coverage=coverage,
    )


def _multiplier(coverage: float) -> float:
    return float(scipy_stats.norm.ppf(0.5 + checked_fraction(coverage, name="coverage") / 2))


def _sd_interval(s: float, n: int, level: float) -> Interval:
    low, high = (math.sqrt((n - 1) / float(scipy_stats.chi2.ppf(0.5 + sign * level / 2, n - 1))) for sign in (1, -1))
    return Interval(s, s * low, s * high, level, n, "standard deviation, chi-square")


@lru_cache(maxsize=4096)
def _limit_factors(n: int, level: float, z: float, interval: str) -> tuple[float, float]:
    """Distances of the inner and outer confidence limit from the bias, in units of s."""
    tails = ((1 - level) / 2, (1 + level) / 2)
    if interval == "exact":
        low, high = (float(scipy_stats.nct.ppf(p, n - 1, z * math.sqrt(n))) / math.sqrt(n) for p in tails)
        return low, high
    if interval == "mover":
        q = float(scipy_stats.norm.ppf(tails[1]))
        ratio_high, ratio_low = (math.sqrt((n - 1) / float(scipy_stats.chi2.ppf(p, n - 1))) for p in tails)
        return (
            z - math.sqrt(q**2 / n + (z * (1 - ratio_low)) ** 2),
            z + math.sqrt(q**2 / n + (z * (ratio_high - 1)) ** 2),
        )
    if interval == "tolerance":
        coverage = 2 * float(scipy_stats.norm.cdf(z)) - 1
        inner, outer = (tolerance_factor(n, coverage=coverage, confidence=p) for p in tails)
        return inner, outer
    t = float(scipy_stats.t.ppf(tails[1], n - 1))
    if interval == "approximate":
        half = t * math.sqrt(1 / n + z**2 / (2 * (n - 1)))
    elif interval == "approximate_1986":
        half = t * math.sqrt(3 / n)
    else:
        raise ValueError(f"interval must be exact, mover, approximate, approximate_1986 or tolerance, got {interval!r}")
    return z - half, z + half


def _checked_rows(
    reference: ArrayLike, test: ArrayLike, subject: ArrayLike, *, truth: str
) -> tuple[FloatArray, FloatArray, np.ndarray]:
    if truth not in ("constant", "varying"):
        raise ValueError(f"truth must be 'constant' or 'varying', got {truth!r}")
    x, y = np.asarray(reference, dtype=np.float64), np.asarray(test, dtype=np.float64)
    labels = np.asarray(subject)
    if not x.shape == y.shape == labels.shape or x.ndim != 1:
        raise ValueError(f"expected three vectors of one length, got shapes {x.shape}, {y.shape}, {labels.shape}")
    if truth == "varying":
        finite_vector(x, name="reference", at_least=3)
        finite_vector(y, name="test", at_least=3)
    names, index = np.unique(labels, return_inverse=True)
    if names.size < 3:
        raise ValueError(f"at least 3 subjects are needed, got {names.size}")
    if np.isinf(x).any() or np.isinf(y).any():
        raise ValueError("readings hold infinity; leave them out and report them as failed")
    counts = [np.bincount(index[np.isfinite(v)], minlength=names.size) for v in (x, y)]
    for name, count in zip(("reference", "test"), counts, strict=True):
        if (count == 0).any():
            raise ValueError(f"subject {names[int(np.argmin(count))]} has no {name} reading")
    if max(int(count.max()) for count in counts) < 2:
        raise ValueError("no subject has replicates; use bland_altman for single measurements")
    return x, y, index


def _means_and_within(values: FloatArray, index: np.ndarray) -> tuple[FloatArray, tuple[float, int]]:
    """Subject means, and the share ``(1 - 1/m) s_w^2`` that averaging hid, with its degrees of freedom."""
    kept = np.isfinite(values)
    values, index = values[kept], index[kept]
    count = np.bincount(index)
    means = np.bincount(index, weights=values) / count
    freedom = int(values.size - count.size)
    if freedom == 0:
        return means, (0.0, 0)
    within = float(((values - means[index]) ** 2).sum()) / freedom
    return means, ((1 - float(np.mean(1 / count))) * within, freedom)


def _mover_variance(components: list[tuple[float, int]], level: float) -> tuple[float, float]:
    """Interval of a sum of independent variance estimates, each a scaled chi-square."""
    total = sum(value for value, _ in components)
    below = above = 0.0
    for value, freedom in components:
        below += (value * (1 - freedom / float(scipy_stats.chi2.ppf(0.5 + level / 2, freedom)))) ** 2
        above += (value * (freedom / float(scipy_stats.chi2.ppf(0.5 - level / 2, freedom)) - 1)) ** 2
    return max(total - math.sqrt(below), 0.0), total + math.sqrt(above)
