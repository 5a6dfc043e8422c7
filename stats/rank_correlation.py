"""Do two measures put cases in the same order? Spearman's rank correlation, with subjects as the unit of resampling."""

from collections.abc import Hashable, Sequence

import numpy as np
import scipy.stats as scipy_stats
from numpy.typing import ArrayLike, NDArray

from stats.intervals import FloatArray, Interval, checked_fraction, paired_vectors

MIN_CASES = 3


def spearman(
    x: ArrayLike,
    y: ArrayLike,
    *,
    subjects: Sequence[Hashable],
    rng: np.random.Generator,
    strata: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
    n_resamples: int = 2000,
) -> Interval:
    """Spearman's rank correlation with a percentile bootstrap over subjects.

    Parameters
    ----------
    x, y : array (n,)
        The two measures of each case; ties share their mean rank.
    subjects : sequence of n
        Whom a case belongs to. All cases of a subject are drawn together, so that many slices of few people do not
        look like many people.
    rng : numpy.random.Generator
    strata : sequence of n, optional
        Cases are ranked within their stratum only, and the correlations of the strata are averaged with their numbers of
        cases as weights. Without it, a measure that only tells easy strata from hard ones correlates.
    confidence : float
    n_resamples : int
        At least 100.

    Returns
    -------
    Interval
        ``n`` counts subjects. Resamples in which nothing varies are left out; strata with fewer than 3 cases too.

    Raises
    ------
    ValueError
        Lengths that differ, values that are not finite, fewer than 3 cases in every stratum, fewer than 2 subjects, or a
        measure that does not vary.

    Notes
    -----
    Spearman 1904, doi 10.2307/1412159; cluster bootstrap: Field and Welsh 2007, doi 10.1111/j.1467-9868.2007.00593.x.
    """
    a, b = paired_vectors(x, y, names=("x", "y"), at_least=MIN_CASES)
    level = checked_fraction(confidence, name="confidence")
    if n_resamples < 100:
        raise ValueError(f"n_resamples must be at least 100, got {n_resamples}")
    owner = _codes(subjects, a.size, name="subjects")
    layer = np.zeros(a.size, np.int64) if strata is None else _codes(strata, a.size, name="strata")
    n_subjects = int(owner.max()) + 1
    if n_subjects < 2:
        raise ValueError("subjects: at least 2 are needed to resample them, got 1")
    estimate = _stratified(a, b, layer)
    if not np.isfinite(estimate):
        raise ValueError(f"expected measures that vary within a stratum of at least {MIN_CASES} cases; nothing to rank")
    members = [np.flatnonzero(owner == code) for code in range(n_subjects)]
    draws = np.empty(n_resamples)
    for i in range(n_resamples):
        rows = np.concatenate([members[code] for code in rng.integers(0, n_subjects, size=n_subjects)])
        draws[i] = _stratified(a[rows], b[rows], layer[rows])
    low, high = np.quantile(draws[np.isfinite(draws)], [(1 - level) / 2, (1 + level) / 2])
    method = (
        f"Spearman{'' if strata is None else ', mean within strata'}, bootstrap of subjects, {n_resamples} resamples"
    )
    return Interval(estimate, float(low), float(high), level, n_subjects, method)


def _stratified(x: FloatArray, y: FloatArray, layer: NDArray[np.int64]) -> float:
    """Mean of the strata's correlations, weighted by cases; NaN if none can be ranked."""
    total, weight = 0.0, 0
    for code in np.unique(layer):
        rows = layer == code
        correlation = _correlation(x[rows], y[rows])
        if np.isfinite(correlation):
            total, weight = total + correlation * int(rows.sum()), weight + int(rows.sum())
    return total / weight if weight else float("nan")


def _correlation(x: FloatArray, y: FloatArray) -> float:
    if x.size < MIN_CASES or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(np.corrcoef(scipy_stats.rankdata(x), scipy_stats.rankdata(y))[0, 1])


def _codes(names: Sequence[Hashable], n: int, *, name: str) -> NDArray[np.int64]:
    if len(names) != n:
        raise ValueError(f"{name}: expected one for each of {n} cases, got {len(names)}")
    known: dict[Hashable, int] = {}
    return np.array([known.setdefault(value, len(known)) for value in names], dtype=np.int64)
