"""How reliable are scores of any number of readers, some of them missing? Krippendorff's alpha."""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from stats.intervals import FloatArray, Interval, checked_fraction

Level = Literal["nominal", "ordinal", "interval"]
CHUNK_VALUES = 4_000_000  # tables of resamples held at once: 32 MB
MAX_VALUES = 50_000_000  # subjects x values^2: 400 MB


def krippendorff_alpha(
    ratings: ArrayLike,
    level: Level = "ordinal",
    *,
    rng: np.random.Generator,
    confidence: float = 0.95,
    n_resamples: int = 2000,
) -> Interval:
    """Krippendorff's alpha, ``1 - disagreement seen / disagreement expected``, with a bootstrap over subjects.

    Values of one subject are paired, each pair weighted so that a subject counts as often as it was scored; subjects with
    one score say nothing. Differences are 0 or 1 (nominal), squared differences of the values (interval), or squared
    numbers of scores between two categories (ordinal). Source: Krippendorff 2011, Computing Krippendorff's
    Alpha-Reliability, https://repository.upenn.edu/handle/20.500.14332/2089; Hayes and Krippendorff 2007, doi
    10.1080/19312450709336664. The interval is the percentile bootstrap of subjects, not Krippendorff's own.

    Parameters
    ----------
    ratings : array (n_subjects, n_readers)
        Scores; NaN where a reader gave none.
    level : {"nominal", "ordinal", "interval"}
    rng : numpy.random.Generator
    confidence : float
    n_resamples : int
        At least 100. Resamples in which no score varies have no alpha and are left out; `method` counts them.

    Returns
    -------
    Interval
        ``n`` counts subjects with two scores or more.

    Raises
    ------
    ValueError
        For another shape, infinite values, fewer than 2 subjects with two scores, scores that do not vary or take too many
        values, or an unknown level.
    """
    if level not in ("nominal", "ordinal", "interval"):
        raise ValueError(f"level must be nominal, ordinal or interval, got {level!r}")
    share = checked_fraction(confidence, name="confidence")
    if n_resamples < 100:
        raise ValueError(f"n_resamples must be at least 100, got {n_resamples}")
    values, pairs = _coincidences(ratings)
    n_units, n_values = pairs.shape[0], values.size
    flat = pairs.reshape(n_units, -1)
    estimate = float(_alphas(flat.sum(axis=0).reshape(1, n_values, n_values), values, level)[0])
    rows = max(1, CHUNK_VALUES // (n_values**2 + n_units))
    draws = []
    for start in range(0, n_resamples, rows):
        size = min(rows, n_resamples - start)
        times = rng.multinomial(n_units, np.full(n_units, 1 / n_units), size=size).astype(np.float64)
        draws.append(_alphas((times @ flat).reshape(-1, n_values, n_values), values, level))
    alphas = np.concatenate(draws)
    defined = alphas[np.isfinite(alphas)]
    low, high = np.quantile(defined, [(1 - share) / 2, (1 + share) / 2])
    method = f"Krippendorff's alpha, {level}, bootstrap of subjects, {n_resamples} resamples"
    left_out = n_resamples - defined.size
    method += f", {left_out} without variation left out" if left_out else ""
    return Interval(estimate, float(low), float(high), share, n_units, method)


def _coincidences(ratings: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Distinct values, and per subject how often each two of them meet: (n_subjects, n_values, n_values)."""
    table = np.asarray(ratings, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] < 2:
        raise ValueError(f"expected subjects x readers with at least 2 readers, got shape {table.shape}")
    if np.isinf(table).any():
        raise ValueError("ratings hold infinite values; missing scores are NaN")
    table = table[(~np.isnan(table)).sum(axis=1) >= 2]
    if table.shape[0] < 2:
        raise ValueError(f"at least 2 subjects with two scores are needed, got {table.shape[0]}")
    values = np.unique(table[~np.isnan(table)])
    if values.size < 2:
        raise ValueError("all scores are equal; alpha is undefined without variation")
    if table.shape[0] * values.size**2 > MAX_VALUES:
        raise ValueError(
            f"{values.size} different scores of {table.shape[0]} subjects are no scale; use an intraclass correlation"
        )
    counts = (table[:, :, None] == values).sum(axis=1).astype(np.float64)
    pairs = counts[:, :, None] * counts[:, None, :] - counts[:, :, None] * np.eye(values.size)
    return values, pairs / (counts.sum(axis=1) - 1)[:, None, None]


def _alphas(tables: FloatArray, values: FloatArray, level: Level) -> FloatArray:
    """Alpha of each table of coincidences (n, n_values, n_values); NaN where nothing varies."""
    frequency = tables.sum(axis=2)
    if level == "ordinal":
        # scores between two categories, half of each end: differences of the middles of cumulated frequencies
        middle = np.cumsum(frequency, axis=1) - frequency / 2
        distance = (middle[:, :, None] - middle[:, None, :]) ** 2
    else:
        gap = np.subtract.outer(values, values)
        distance = ((gap != 0).astype(np.float64) if level == "nominal" else gap**2)[None]
    seen = (tables * distance).sum(axis=(1, 2))
    expected = (frequency[:, :, None] * frequency[:, None, :] * distance).sum(axis=(1, 2))
    total = frequency.sum(axis=1)
    varied = expected > 0
    return np.where(varied, 1 - (total - 1) * seen / np.where(varied, expected, 1.0), np.nan)
