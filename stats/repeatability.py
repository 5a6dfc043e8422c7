"""How far do repeated measurements of the same subject by one method lie apart?"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.stats as scipy_stats
from numpy.typing import ArrayLike

from stats.intervals import FloatArray, Interval, checked_fraction, finite_vector, paired_vectors


@dataclass(frozen=True)
class Repeatability:
    """Within-subject spread of one method.

    `coefficient` is the repeatability coefficient: two measurements of one subject differ by less in `coverage` of all
    cases. At 95 % it is also the minimal detectable change. `cv_log` and `cv_rms` are coefficients of variation as
    fractions, None where a reading is not above 0.
    """

    n_subjects: int
    n_readings: int
    within_sd: Interval
    coefficient: Interval
    cv_log: Interval | None
    cv_rms: float | None
    coverage: float


def repeatability(
    readings: ArrayLike, subject: ArrayLike, *, confidence: float = 0.95, coverage: float = 0.95
) -> Repeatability:
    """Within-subject standard deviation by one-way analysis of variance, and what follows from it.

    - ``wSD = sqrt(sum (y - subject mean)^2 / (readings - subjects))`` with its chi-square interval.
    - ``RC = z sqrt(2) wSD``, 2.77 wSD for 95 %.
    - ``wCV`` from the logarithms, ``sqrt(exp(wSD_log^2) - 1)``, and as the root of the mean over subjects of
      ``(subject SD / subject mean)^2``, subjects with one reading left out of it.

    Subjects with one reading are allowed; they add nothing. For differences between reconstructions of one acquisition
    this is no repeatability: a rescan is part of its meaning.
    Source: Bland and Altman 1996, doi 10.1136/bmj.313.7059.744; Raunig 2015, doi 10.1177/0962280214537344.

    Parameters
    ----------
    readings : array (n_readings,)
        Finite.
    subject : array (n_readings,)
        Whose readings they are.
    confidence : float
        Two-sided confidence of the intervals.
    coverage : float
        Of the coefficient.

    Returns
    -------
    Repeatability
        In the unit of the readings; with no spread within subjects all are 0.

    Raises
    ------
    ValueError
        For lengths that differ, values that are not finite, fewer than 2 subjects with replicates, or a confidence or
        coverage outside (0, 1).
    """
    y, index, count = _checked(readings, subject)
    level, share = checked_fraction(confidence, name="confidence"), checked_fraction(coverage, name="coverage")
    within = _pooled(y, index, count, level, "within-subject SD, chi-square")
    factor = math.sqrt(2) * float(scipy_stats.norm.ppf(0.5 + share / 2))
    coefficient = _mapped(within, lambda sd: factor * sd, f"repeatability coefficient, {share:.0%}, chi-square")
    cv_log: Interval | None = None
    cv_rms: float | None = None
    if (y > 0).all():
        logs = _pooled(np.log(y), index, count, level, "")
        cv_log = _mapped(logs, lambda sd: math.sqrt(math.expm1(sd**2)), "within-subject CV from logarithms, chi-square")
        cv_rms = _rms_cv(y, index, count)
    return Repeatability(count.size, y.size, within, coefficient, cv_log, cv_rms, share)


def repeatability_of_pairs(
    first: ArrayLike, second: ArrayLike, *, confidence: float = 0.95, coverage: float = 0.95
) -> Repeatability:
    """`repeatability` of two readings of each subject, where ``wSD^2 = mean(difference^2) / 2``.

    A bias between first and second reading counts as spread, as it does for a patient.

    Raises
    ------
    ValueError
        As `repeatability`.
    """
    x, y = paired_vectors(first, second, names=("first", "second"), at_least=2)
    subject = np.tile(np.arange(x.size), 2)
    return repeatability(np.concatenate([x, y]), subject, confidence=confidence, coverage=coverage)


def _checked(readings: ArrayLike, subject: ArrayLike) -> tuple[FloatArray, np.ndarray, np.ndarray]:
    y = finite_vector(readings, name="readings", at_least=2)
    labels = np.asarray(subject)
    if labels.shape != y.shape:
        raise ValueError(f"readings need a subject each, got {y.size} readings and subjects of shape {labels.shape}")
    _, index, count = np.unique(labels, return_inverse=True, return_counts=True)
    replicated = int(np.count_nonzero(count > 1))
    if replicated < 2:
        raise ValueError(f"at least 2 subjects with replicates are needed, got {replicated}")
    return y, index, count


def _pooled(y: FloatArray, index: np.ndarray, count: np.ndarray, level: float, method: str) -> Interval:
    freedom = int(y.size - count.size)
    mean = np.bincount(index, weights=y) / count
    sd = math.sqrt(float(((y - mean[index]) ** 2).sum()) / freedom)
    low, high = (math.sqrt(freedom / float(scipy_stats.chi2.ppf(0.5 + sign * level / 2, freedom))) for sign in (1, -1))
    return Interval(sd, sd * low, sd * high, level, int(count.size), method)


def _rms_cv(y: FloatArray, index: np.ndarray, count: np.ndarray) -> float:
    mean = np.bincount(index, weights=y) / count
    square = np.bincount(index, weights=(y - mean[index]) ** 2)
    kept = count > 1
    return math.sqrt(float(np.mean(square[kept] / (count[kept] - 1) / mean[kept] ** 2)))


def _mapped(interval: Interval, rule: Callable[[float], float], method: str) -> Interval:
    low, high = rule(interval.low), rule(interval.high)
    return Interval(rule(interval.estimate), low, high, interval.level, interval.n, method)
