"""Up to which acceleration do the margins hold, and how sure is that step?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import scipy.stats as scipy_stats
from numpy.typing import ArrayLike

from stats.clustered_bootstrap import Scheme, chosen_scheme, draw_counts, resampled_statistics
from stats.intervals import FloatArray, checked_fraction


@dataclass(frozen=True)
class LadderEnd:
    """Last step of a ladder whose agreement lies inside the margins, as do all steps before it.

    Attributes
    ----------
    levels : tuple of float
        Steps in order, such as accelerations.
    holds_up_to, low, high : float or None
        Of the data, and of the draws' middle `confidence`; None: not even the first step.
    shares : tuple of float
        Share of draws that end at each step, beginning with "not even the first": one more than `levels`; they sum to 1.
    """

    levels: tuple[float, ...]
    holds_up_to: float | None
    low: float | None
    high: float | None
    shares: tuple[float, ...]
    confidence: float
    n_draws: int
    scheme: Scheme
    notes: tuple[str, ...]


def ladder_end(
    differences: ArrayLike,
    levels: Sequence[float],
    centers: Sequence[str],
    *,
    bias_margin: float,
    limits_margin: float,
    rng: np.random.Generator,
    confidence: float = 0.95,
    coverage: float = 0.95,
    n_resamples: int = 10_000,
    scheme: Scheme | None = None,
) -> LadderEnd:
    """Bootstrap the step at which the estimated bias or a limit of agreement first leaves its margin.

    This describes how stable the step is. It decides nothing: the estimates themselves are compared with the margins,
    not their confidence limits, so it ends later than what is shown by tests.

    Parameters
    ----------
    differences : array (n, m)
        Test - reference, a row per patient, a column per level; NaN where a measurement failed.
    levels : sequence (m,)
        Growing.
    centers : sequence (n,)
        Center of each patient, resampled as in `bootstrap_agreement`.
    bias_margin, limits_margin : float
        Above 0.

    Raises
    ------
    ValueError
        For shapes that do not fit, levels that do not grow, margins not above 0, fewer than 100 resamples, infinite
        values, or a level with fewer than 2 values.
    """
    x = np.asarray(differences, dtype=np.float64)
    steps, home, k = _checked(x, levels, centers, (bias_margin, limits_margin), n_resamples)
    level = checked_fraction(confidence, name="confidence")
    z = float(scipy_stats.norm.ppf(0.5 + checked_fraction(coverage, name="coverage") / 2))
    used, notes = chosen_scheme(scheme, k)
    counts = draw_counts(home, n_resamples, scheme=used, rng=rng)
    no_share = np.full(x.shape[1], np.nan)

    def ends(rows: np.ndarray) -> np.ndarray:
        bias, _, lower, upper, _ = resampled_statistics(x, no_share, rows, z=z)
        inside = (np.abs(bias) < bias_margin) & (-limits_margin < lower) & (upper < limits_margin)  # NaN is outside
        return np.logical_and.accumulate(inside, axis=1).sum(axis=1)

    drawn = ends(counts)
    shares = np.bincount(drawn, minlength=len(steps) + 1) / n_resamples
    low, high = (int(v) for v in np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf"))
    names: list[float | None] = [None, *steps]
    own = int(ends(np.ones((1, x.shape[0]), dtype=np.uint16))[0])
    return LadderEnd(
        steps,
        names[own],
        names[low],
        names[high],
        tuple(float(s) for s in shares),
        level,
        n_resamples,
        used,
        tuple(notes),
    )


def _checked(
    x: FloatArray, levels: Sequence[float], centers: Sequence[str], margins: tuple[float, float], n_resamples: int
) -> tuple[tuple[float, ...], np.ndarray, int]:
    if x.ndim != 2 or x.shape != (len(centers), len(levels)):
        raise ValueError(f"expected {len(centers)} patients x {len(levels)} levels, got an array of shape {x.shape}")
    steps = tuple(float(v) for v in levels)
    if any(not a < b for a, b in pairwise(steps)):
        raise ValueError(f"levels must grow, got {steps}")
    if not all(m > 0 and math.isfinite(m) for m in margins):
        raise ValueError(f"margins must be above 0 and finite, got {margins}")
    if n_resamples < 100:
        raise ValueError(f"n_resamples must be at least 100, got {n_resamples}")
    if np.isinf(x).any():
        raise ValueError("differences hold infinity; mark failed measurements by NaN")
    few = (~np.isnan(x)).sum(axis=0) < 2
    if few.any() or not steps:
        raise ValueError(f"every level needs 2 patients with a difference; too few at {np.array(steps)[few].tolist()}")
    names, home = np.unique(np.asarray(centers).astype(str), return_inverse=True)
    return steps, home, names.size
