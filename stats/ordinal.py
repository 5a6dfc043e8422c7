"""Do readers give the same scores, and do scores differ between conditions?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.stats as scipy_stats
from numpy.typing import ArrayLike

from stats.intervals import FloatArray, Interval, checked_fraction
from stats.krippendorff import krippendorff_alpha as krippendorff_alpha  # beside the other coefficients
from stats.multiplicity import holm
from stats.paired_tests import PairedTest, wilcoxon
from stats.square_table import Kappa, Weights, agreement_weights, kappa_of_table


@dataclass(frozen=True)
class Agreement(Interval):
    """A coefficient of agreement; `standard_error`, agreement seen and by chance. `n` counts subjects with a score."""

    standard_error: float
    observed: float
    expected: float


@dataclass(frozen=True)
class PostHoc:
    """Signed-rank test of ``condition - against``, and its p-value after Holm."""

    condition: str
    against: str
    test: PairedTest
    p_holm: float


@dataclass(frozen=True)
class Friedman:
    """Friedman's test over conditions, Kendall's W from 0 to 1 (None where no score varies), and what follows it."""

    statistic: float
    freedom: int
    p: float
    kendalls_w: float | None
    n: int
    mean_ranks: tuple[float, ...]
    post_hoc: tuple[PostHoc, ...]


def weighted_kappa(
    a: ArrayLike,
    b: ArrayLike,
    *,
    categories: Sequence[float],
    weights: Weights | ArrayLike = "quadratic",
    confidence: float = 0.95,
) -> Kappa:
    """Cohen's weighted kappa of two readers' scores; see `stats.square_table.kappa_of_table`.

    Parameters
    ----------
    a, b : array (n,)
        Scores of the same subjects by two readers, or of one reader at two times.
    categories : sequence of float
        All scores that could be given, in order, used or not: weights depend on it.
    weights : str or array (n_categories, n_categories)
        ``unweighted``, ``linear``, ``quadratic`` or given.
    confidence : float

    Raises
    ------
    ValueError
        For scores outside the categories or missing, numbers that differ, or everyone in one category by both.
    """
    pairs = np.column_stack([_coded(scores, categories, allow_missing=False) for scores in _same_length(a, b)])
    table = np.zeros((len(categories), len(categories)))
    np.add.at(table, (pairs[:, 0], pairs[:, 1]), 1)
    return kappa_of_table(table, weights=weights, confidence=confidence)


def percent_agreement(
    ratings: ArrayLike,
    *,
    categories: Sequence[float],
    weights: Weights | ArrayLike = "unweighted",
    confidence: float = 0.95,
) -> Agreement:
    """Share of pairs of readers who agree on a subject, without correction for chance.

    Weighted agreement counts a near miss in part. The mean is over subjects with two scores or more, the interval
    Student's over subjects, cut at 0 and 1.

    Parameters
    ----------
    ratings, categories, weights, confidence
        As in `gwet_ac2`.

    Raises
    ------
    ValueError
        As `gwet_ac2`.
    """
    counts = _counts(ratings, categories)
    level = checked_fraction(confidence, name="confidence")
    seen = _pairs_agreeing(counts, agreement_weights(len(categories), weights))
    seen = seen[np.isfinite(seen)]
    mean = float(seen.mean())
    return _agreement(mean, float(seen.var(ddof=1)) / seen.size, seen.size, level, "agreement", mean, 0.0, 0.0)


def gwet_ac2(
    ratings: ArrayLike,
    *,
    categories: Sequence[float],
    weights: Weights | ArrayLike = "quadratic",
    confidence: float = 0.95,
) -> Agreement:
    """Gwet's AC2, agreement beyond chance of any number of readers; with ``unweighted`` it is AC1.

    Unlike kappa it does not fall when nearly all scores are the same. Chance agreement is
    ``sum(w) / (q (q - 1)) * sum(pi_k (1 - pi_k))`` of the q categories' mean shares pi. Subjects with one score
    count for the shares only. The interval is Student's with n - 1 degrees of freedom, cut at -1 and 1; readers are taken
    as fixed.
    Sources: Gwet 2008, doi 10.1348/000711006X126600; Gwet 2014, Handbook of Inter-Rater Reliability, 4th ed.

    Parameters
    ----------
    ratings : array (n_subjects, n_readers)
        Scores; NaN where a reader gave none. At least 2 subjects with two scores or more.
    categories : sequence of float
        All scores that could be given, in order, used or not.
    weights : str or array (n_categories, n_categories)
    confidence : float

    Raises
    ------
    ValueError
        For another shape, scores outside the categories, or too few subjects with two scores.
    """
    counts = _counts(ratings, categories)
    level = checked_fraction(confidence, name="confidence")
    q = len(categories)
    w = agreement_weights(q, weights)
    shares = counts / counts.sum(axis=1, keepdims=True)
    seen = _pairs_agreeing(counts, w)
    judged = np.isfinite(seen)
    n, observed = counts.shape[0], float(seen[judged].mean())
    mean_shares = shares.mean(axis=0)
    scale = float(w.sum()) / (q * (q - 1))
    expected = scale * float((mean_shares * (1 - mean_shares)).sum())
    if 1 - expected < 1e-12:
        raise ValueError("weights leave no disagreement possible; AC2 is undefined")
    value = (observed - expected) / (1 - expected)
    by_subject = np.where(judged, n / judged.sum() * (seen - expected) / (1 - expected), 0.0)
    chance = scale * (shares * (1 - mean_shares)).sum(axis=1)
    by_subject = by_subject - 2 * (1 - value) * (chance - expected) / (1 - expected)
    variance = float(((by_subject - value) ** 2).sum()) / (n * (n - 1))
    name = "AC1" if np.array_equal(w, np.eye(q)) else f"AC2, {weights if isinstance(weights, str) else 'given'} weights"
    return _agreement(value, variance, n, level, name, observed, expected, -1.0)


def friedman_with_holm(
    scores: ArrayLike, *, conditions: Sequence[str], reference: str | None = None, confidence: float = 0.95
) -> Friedman:
    """Friedman's test of scores under several conditions, and signed-rank tests after it with Holm's correction.

    The statistic is corrected for ties, its chi-square distribution asymptotic. ``W = statistic / (n (k - 1))``.
    Source: Friedman 1937, doi 10.1080/01621459.1937.10503522; Kendall and Babington Smith 1939, doi
    10.1214/aoms/1177732186.

    Parameters
    ----------
    scores : array (n_subjects, n_conditions)
        Finite, one per subject and condition (average over readers before); at least 3 subjects and 3 conditions.
    conditions : sequence of str
        Names of the columns.
    reference : str, optional
        Compare every other condition with this one; without it, all pairs.
    confidence : float
        Of the Hodges-Lehmann intervals, not corrected.

    Returns
    -------
    Friedman
        If no subject's scores differ between conditions, statistic 0, p 1 and no W.

    Raises
    ------
    ValueError
        For another shape, values that are not finite, or names that are not unique or do not fit.
    """
    table = np.asarray(scores, dtype=np.float64)
    names = list(conditions)
    if table.ndim != 2 or table.shape[0] < 3 or table.shape[1] < 3:
        raise ValueError(f"expected subjects x conditions with at least 3 x 3 scores, got shape {table.shape}")
    if not np.isfinite(table).all():
        raise ValueError("scores hold values that are not finite; leave those subjects out and report them")
    if len(names) != table.shape[1] or len(set(names)) != len(names):
        raise ValueError(f"conditions: expected {table.shape[1]} different names, got {names}")
    if reference is not None and reference not in names:
        raise ValueError(f"reference must be one of {', '.join(names)}, got {reference!r}")
    n, k = table.shape
    ranks = scipy_stats.rankdata(table, axis=1)
    mean_ranks = ranks.mean(axis=0)
    spread = float(((ranks - (k + 1) / 2) ** 2).sum())
    statistic = 0.0 if spread == 0.0 else n**2 * (k - 1) * float(((mean_ranks - (k + 1) / 2) ** 2).sum()) / spread
    return Friedman(
        statistic=statistic,
        freedom=k - 1,
        p=float(scipy_stats.chi2.sf(statistic, k - 1)),
        kendalls_w=None if spread == 0.0 else statistic / (n * (k - 1)),
        n=n,
        mean_ranks=tuple(float(rank) for rank in mean_ranks),
        post_hoc=_post_hoc(table, names, reference, confidence),
    )


def _post_hoc(table: FloatArray, names: Sequence[str], reference: str | None, confidence: float) -> tuple[PostHoc, ...]:
    if reference is not None:
        pairs = [(i, names.index(reference)) for i in range(len(names)) if names[i] != reference]
    else:
        pairs = [(j, i) for i in range(len(names)) for j in range(i + 1, len(names))]
    tests = [wilcoxon(table[:, i] - table[:, j], confidence=confidence) for i, j in pairs]
    adjusted = holm([test.p for test in tests])
    return tuple(
        PostHoc(names[i], names[j], test, float(p)) for (i, j), test, p in zip(pairs, tests, adjusted, strict=True)
    )


def _same_length(a: ArrayLike, b: ArrayLike) -> tuple[FloatArray, FloatArray]:
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.ndim != 1 or first.shape != second.shape or first.size == 0:
        raise ValueError(f"expected two vectors of as many scores, got shapes {first.shape} and {second.shape}")
    return first, second


def _coded(scores: FloatArray, categories: Sequence[float], *, allow_missing: bool) -> np.ndarray:
    """Place of each score among the categories, -1 where there is none."""
    known = np.asarray(categories, dtype=np.float64)
    if known.ndim != 1 or known.size < 2 or not np.isfinite(known).all() or (np.diff(known) <= 0).any():
        raise ValueError(f"categories: expected at least 2 rising numbers, got {list(categories)}")
    missing = np.isnan(scores)
    if missing.any() and not allow_missing:
        raise ValueError(f"{int(missing.sum())} scores are missing; leave those subjects out and report them")
    place = np.clip(np.searchsorted(known, np.where(missing, known[0], scores)), 0, known.size - 1)
    strange = ~missing & (known[place] != scores)
    if strange.any():
        raise ValueError(f"scores {sorted(set(scores[strange].tolist()))} are not among {known.tolist()}")
    return np.where(missing, -1, place)


def _counts(ratings: ArrayLike, categories: Sequence[float]) -> FloatArray:
    """How many readers gave each subject each category; subjects without any score are left out."""
    table = np.asarray(ratings, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] < 2:
        raise ValueError(f"expected subjects x readers with at least 2 readers, got shape {table.shape}")
    codes = _coded(table, categories, allow_missing=True)
    counts = np.stack([(codes == k).sum(axis=1) for k in range(len(categories))], axis=1).astype(np.float64)
    counts = counts[counts.sum(axis=1) > 0]
    n_pairs = int((counts.sum(axis=1) >= 2).sum())
    if n_pairs < 2:
        raise ValueError(f"at least 2 subjects with two scores are needed, got {n_pairs}")
    return counts


def _pairs_agreeing(counts: FloatArray, weights: FloatArray) -> FloatArray:
    """Weighted share of a subject's pairs of readers who agree; NaN for subjects with one score."""
    n_scores = counts.sum(axis=1)
    agreeing = (counts * (counts @ weights - 1)).sum(axis=1)
    return np.where(n_scores >= 2, agreeing / np.maximum(n_scores * (n_scores - 1), 1), np.nan)


def _agreement(
    value: float, variance: float, n: int, level: float, name: str, observed: float, expected: float, floor: float
) -> Agreement:
    error = math.sqrt(variance) if variance > 1e-15 else 0.0
    half = float(scipy_stats.t.ppf(0.5 + level / 2, n - 1)) * error
    name += "" if error else ", no variance to estimate"
    low, high = max(value - half, floor), min(value + half, 1.0)
    return Agreement(value, low, high, level, n, name, error, observed, expected)
