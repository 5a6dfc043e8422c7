"""How much of the variation between readings is variation between subjects?"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.stats as scipy_stats
from numpy.typing import ArrayLike

from stats.intervals import Interval, checked_fraction, paired_vectors

Form = Literal["1,1", "A,1", "C,1", "1,k", "A,k", "C,k"]
FORMS = ("1,1", "A,1", "C,1", "1,k", "A,k", "C,k")


@dataclass(frozen=True)
class Concordance(Interval):
    """Lin's coefficient, split into precision (`pearson`) and accuracy (`bias_correction`)."""

    pearson: float
    bias_correction: float
    standard_error: float


@dataclass(frozen=True)
class RaterBias:
    """Do the raters' means differ? F with its degrees of freedom and p-value."""

    f: float
    freedom_raters: int
    freedom_error: int
    p: float


@dataclass(frozen=True)
class _MeanSquares:
    subjects: float
    raters: float
    error: float
    within: float
    n: int
    k: int


def icc(ratings: ArrayLike, *, form: Form = "A,1", confidence: float = 0.95) -> Interval:
    """Intraclass correlation with its F-based interval.

    Forms of McGraw and Wong 1996 (doi 10.1037/1082-989X.1.1.30): one-way ``1``, absolute agreement ``A`` (Shrout and
    Fleiss 2,1 / 2,k), consistency ``C`` (3,1 / 3,k); of single readings ``,1`` or of the mean of all k raters ``,k``.
    Shrout and Fleiss 1979, doi 10.1037/0033-2909.86.2.420. A correlation describes the cohort as well as the method:
    a more varied cohort gives a larger one.

    Parameters
    ----------
    ratings : array (n_subjects, n_raters)
        Finite, at least 3 x 2.
    form : str
        One of ``1,1 A,1 C,1 1,k A,k C,k``.
    confidence : float
        Two-sided confidence.

    Returns
    -------
    Interval
        Perfect agreement gives 1 with the interval 1 to 1. The forms of mean readings have no lower bound: -infinity
        where the variation within subjects exceeds what any reliability could leave.

    Raises
    ------
    ValueError
        For another shape, values that are not finite, subjects whose means are all equal, or an unknown form.
    """
    if form not in FORMS:
        raise ValueError(f"form must be one of {', '.join(FORMS)}, got {form!r}")
    level = checked_fraction(confidence, name="confidence")
    ms = _mean_squares(ratings)
    kind, per = form.split(",")
    single = _single(ms, kind)
    low, high = _single_interval(ms, kind, single, (1 - level) / 2)
    if per == "k":
        single, low, high = (_spearman_brown(value, ms.k) for value in (single, low, high))
    return Interval(single, low, high, level, ms.n, f"ICC({form})")


def rater_bias(ratings: ArrayLike) -> RaterBias:
    """F test of equal rater means, ``MSC / MSE`` with k - 1 and (n - 1)(k - 1) degrees of freedom.

    This is the test of a systematic shift between raters. The F beside the coefficients of other software is ``MSR / MSE``,
    which tests whether subjects differ and says nothing of raters. Source: Shrout and Fleiss 1979, doi
    10.1037/0033-2909.86.2.420, table 4.

    Parameters
    ----------
    ratings : array (n_subjects, n_raters)
        Finite, at least 3 x 2.

    Returns
    -------
    RaterBias
        Without any error left: p 1 if the rater means are equal, else 0.

    Raises
    ------
    ValueError
        As `icc`.
    """
    ms = _mean_squares(ratings)
    freedoms = ms.k - 1, (ms.n - 1) * (ms.k - 1)
    if ms.error == 0.0:
        shifted = ms.raters > 0.0
        return RaterBias(math.inf if shifted else 0.0, *freedoms, 0.0 if shifted else 1.0)
    f = ms.raters / ms.error
    return RaterBias(f, *freedoms, float(scipy_stats.f.sf(f, *freedoms)))


def concordance(x: ArrayLike, y: ArrayLike, *, confidence: float = 0.95) -> Concordance:
    """Lin's concordance correlation, ``2 s_xy / (s_x^2 + s_y^2 + (mean_x - mean_y)^2)`` with 1/n variances.

    The interval is Fisher's z with the standard error of the 2000 erratum.
    Source: Lin 1989, doi 10.2307/2532051; erratum Biometrics 2000;56:324-325.

    Raises
    ------
    ValueError
        For n < 4, values that are not finite, or a variable without variation (the correlation is undefined).
    """
    a, b = paired_vectors(x, y, names=("x", "y"), at_least=4)
    level = checked_fraction(confidence, name="confidence")
    var_a, var_b = float(a.var()), float(b.var())
    if var_a == 0.0 or var_b == 0.0:
        raise ValueError("a variable without variation has no concordance correlation")
    covariance = float(np.mean((a - a.mean()) * (b - b.mean())))
    shift = float(a.mean() - b.mean())
    rho = 2 * covariance / (var_a + var_b + shift**2)
    r = covariance / math.sqrt(var_a * var_b)
    error = _lin_standard_error(rho, r, shift / (var_a * var_b) ** 0.25, a.size)
    low, high = rho, rho
    if error > 0.0 and abs(rho) < 1.0:
        half = float(scipy_stats.norm.ppf(0.5 + level / 2)) * error / (1 - rho**2)
        low, high = math.tanh(math.atanh(rho) - half), math.tanh(math.atanh(rho) + half)
    return Concordance(rho, low, high, level, a.size, "Lin 2000, Fisher z", r, rho / r if r else math.nan, error)


def _lin_standard_error(rho: float, r: float, u: float, n: int) -> float:
    if r == 0.0:
        return 0.0 if n < 3 else math.sqrt(1 / (n - 2))
    variance = (
        (1 - r**2) * rho**2 * (1 - rho**2) / r**2 + 2 * rho**3 * (1 - rho) * u**2 / r - rho**4 * u**4 / (2 * r**2)
    ) / (n - 2)
    return math.sqrt(max(variance, 0.0))


def _mean_squares(ratings: ArrayLike) -> _MeanSquares:
    table = np.asarray(ratings, dtype=np.float64)
    if table.ndim != 2 or table.shape[0] < 3 or table.shape[1] < 2:
        raise ValueError(f"expected subjects x raters with at least 3 x 2 values, got shape {table.shape}")
    if not np.isfinite(table).all():
        raise ValueError("ratings hold values that are not finite; leave those subjects out and report them as failed")
    n, k = table.shape
    if np.ptp(table) == 0.0:
        raise ValueError("all ratings are equal; an intraclass correlation is undefined without variation")
    grand = table.mean()
    rows, columns = table.mean(axis=1), table.mean(axis=0)
    ss_rows, ss_columns = k * float(((rows - grand) ** 2).sum()), n * float(((columns - grand) ** 2).sum())
    ss_error = float(((table - rows[:, None] - columns[None, :] + grand) ** 2).sum())
    # what rounding leaves of an exact zero would otherwise become an F of 1e30
    smallest = 1e-24 * (ss_rows + ss_columns + ss_error)
    ss_columns, ss_error = (0.0 if ss < smallest else ss for ss in (ss_columns, ss_error))
    if ss_rows < smallest:
        raise ValueError(
            "the subjects' means are all equal; an intraclass correlation is undefined between such subjects"
        )
    return _MeanSquares(
        subjects=ss_rows / (n - 1),
        raters=ss_columns / (k - 1),
        error=ss_error / ((n - 1) * (k - 1)),
        within=(ss_columns + ss_error) / (n * (k - 1)),
        n=n,
        k=k,
    )


def _single(ms: _MeanSquares, kind: str) -> float:
    if kind == "1":
        return (ms.subjects - ms.within) / (ms.subjects + (ms.k - 1) * ms.within)
    below = ms.subjects + (ms.k - 1) * ms.error
    if kind == "A":
        below += ms.k / ms.n * (ms.raters - ms.error)
    return (ms.subjects - ms.error) / below


def _single_interval(ms: _MeanSquares, kind: str, estimate: float, tail: float) -> tuple[float, float]:
    if kind == "A":
        return _agreement_interval(ms, estimate, tail)
    error, freedom = (ms.within, ms.n * (ms.k - 1)) if kind == "1" else (ms.error, (ms.n - 1) * (ms.k - 1))
    if error == 0.0:
        return estimate, estimate
    f = ms.subjects / error
    f_low = f / float(scipy_stats.f.ppf(1 - tail, ms.n - 1, freedom))
    f_high = f * float(scipy_stats.f.ppf(1 - tail, freedom, ms.n - 1))
    return (f_low - 1) / (f_low + ms.k - 1), (f_high - 1) / (f_high + ms.k - 1)


def _agreement_interval(ms: _MeanSquares, estimate: float, tail: float) -> tuple[float, float]:
    """McGraw and Wong's interval with Satterthwaite's degrees of freedom."""
    n, k = ms.n, ms.k
    if ms.error == 0.0 and ms.raters == 0.0:
        return estimate, estimate
    if estimate >= 1.0:
        return 1.0, 1.0
    ratio = max(estimate, 0.0) / (1 - max(estimate, 0.0))  # of variances, which are not negative
    a = k * ratio / n
    b = 1 + k * ratio * (n - 1) / n
    noise = (a * ms.raters) ** 2 / (k - 1) + (b * ms.error) ** 2 / ((n - 1) * (k - 1))
    freedom = (a * ms.raters + b * ms.error) ** 2 / noise
    f_low = float(scipy_stats.f.ppf(1 - tail, n - 1, freedom))
    f_high = float(scipy_stats.f.ppf(1 - tail, freedom, n - 1))
    spread = k * ms.raters + (k * n - k - n) * ms.error
    low = n * (ms.subjects - f_low * ms.error) / (f_low * spread + n * ms.subjects)
    high = n * (f_high * ms.subjects - ms.error) / (spread + n * f_high * ms.subjects)
    return low, high


def _spearman_brown(value: float, k: int) -> float:
    below = 1 + (k - 1) * value
    return k * value / below if below > 1e-12 else -math.inf
