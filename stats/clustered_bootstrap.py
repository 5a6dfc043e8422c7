"""How far could agreement have come out otherwise, had other patients, and other centers, been measured?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.stats as scipy_stats
from numpy.typing import ArrayLike, NDArray

from stats.bootstrap_ends import end_points
from stats.intervals import FloatArray, Interval, checked_fraction

Scheme = Literal["centers then patients", "whole centers", "patients within centers"]
Counts = NDArray[np.uint16]

CENTERS_TO_RESAMPLE = 10  # with fewer, drawing centers says little about the next one
CHUNK_VALUES = 4_000_000  # numbers held at once while sums are made: 32 MB
STATISTICS = ("bias", "sd", "lower_limit", "upper_limit", "share_within")


@dataclass(frozen=True)
class BootstrapInterval:
    """Interval, and the Monte-Carlo standard error of each end: how much another seed would move it."""

    interval: Interval
    low_error: float
    high_error: float


@dataclass(frozen=True)
class ColumnAgreement:
    """Agreement of one column (a phenotype in one arm). `share_within` is None where no margin was given.

    `n_draws` resamples had at least 2 values and entered.
    """

    n: int
    n_draws: int
    bias: BootstrapInterval
    sd: BootstrapInterval
    lower_limit: BootstrapInterval
    upper_limit: BootstrapInterval
    share_within: BootstrapInterval | None


@dataclass(frozen=True)
class AgreementBootstrap:
    """Columns in their order (None: too few values), and how they were resampled."""

    columns: tuple[ColumnAgreement | None, ...]
    n_patients: int
    n_centers: int
    n_resamples: int
    scheme: Scheme
    notes: tuple[str, ...]


def bootstrap_agreement(
    differences: ArrayLike,
    centers: Sequence[str],
    *,
    rng: np.random.Generator,
    margin: ArrayLike | None = None,
    confidence: float = 0.95,
    coverage: float = 0.95,
    n_resamples: int = 10_000,
    method: Literal["percentile", "bca"] = "bca",
    scheme: Scheme | None = None,
) -> AgreementBootstrap:
    """Bias, SD, limits of agreement and share within a margin of many columns, patients resampled as wholes.

    A resample is a vector of how often each patient was drawn, so the sums of all columns and resamples are matrix
    products; one set of draws serves all columns, which keeps phenotypes and accelerations of a patient together.

    Parameters
    ----------
    differences : array (n, C)
        Test - reference, a row per patient, a column per phenotype and arm; NaN where a measurement failed.
    centers : sequence (n,)
        Center of each patient.
    rng : numpy.random.Generator
        The only source of randomness; the columns' number does not change the draws.
    margin : array (C,) or float, optional
        A difference is within if its size is below the margin. NaN: no margin for that column.
    confidence, coverage : float
        Two-sided confidence; part of the population between the limits of agreement.
    n_resamples : int
        At least 100; 10 000 for the tails of limits.
    method : {"bca", "percentile"}
        `bca`: Efron 1987 (doi 10.1080/01621459.1987.10478410), acceleration by leaving out what is resampled: whole
        centers, or patients compared within their center (Davison and Hinkley 1997, section 5.3.2).
    scheme : optional
        `centers then patients`: centers with replacement, then as many patients as it has within each drawn one.
        `whole centers`: centers with all their patients. `patients within centers`: every center keeps its number.
        By default the first from 10 centers on, else the last, with a note. Drawing twice counts the patients' share
        of the variance of a center's mean twice: too wide by up to a factor of 1.4 where centers do not differ. In 300
        simulated studies of 13 centers x 40 patients, 95 % BCa intervals of the bias covered 0.99, 0.97, 0.93 and 0.91
        for an SD between centers of 0, 0.1, 0.3 and 1 of that between patients; `whole centers` 0.91 to 0.94;
        `patients within centers` 0.96, 0.91, 0.63 and 0.21. For a bias with few centers prefer `center_mean`.

    Returns
    -------
    AgreementBootstrap
        A column without spread has intervals of no width. A share of 0 or 1 as well, which is no certainty: use the
        exact interval of a proportion there (a note says so).

    Raises
    ------
    ValueError
        For shapes that do not fit, infinite values, fewer than 2 patients, fewer than 100 resamples, a margin below 0,
        an unknown method or scheme, or whole centers to draw of fewer than 2.
    """
    x, limit = _checked(differences, centers, margin)
    level, z = checked_fraction(confidence, name="confidence"), float(scipy_stats.norm.ppf(0.5 + coverage / 2))
    checked_fraction(coverage, name="coverage")
    if n_resamples < 100:
        raise ValueError(f"n_resamples must be at least 100, got {n_resamples}")
    if method not in ("percentile", "bca"):
        raise ValueError(f"method must be percentile or bca, got {method!r}")
    names, home = np.unique(np.asarray(centers).astype(str), return_inverse=True)
    chosen, notes = chosen_scheme(scheme, names.size)
    counts = draw_counts(home, n_resamples, scheme=chosen, rng=rng)
    columns: list[ColumnAgreement | None] = []
    block = max(1, CHUNK_VALUES // n_resamples)
    for start in range(0, x.shape[1], block):
        part = slice(start, start + block)
        columns += _block(x[:, part], limit[part], counts, home, chosen, level, z, method)
    if any(c is not None and c.share_within is not None and _flat(c.share_within) for c in columns):
        notes.append("a share of 0 or 1 has no width in a bootstrap; read its exact interval")
    return AgreementBootstrap(tuple(columns), x.shape[0], names.size, n_resamples, chosen, tuple(notes))


def draw_counts(home: NDArray[np.int64], n_resamples: int, *, scheme: Scheme, rng: np.random.Generator) -> Counts:
    """How often each patient (columns) is in each resample (rows); `home` numbers the patients' centers from 0."""
    k = int(home.max()) + 1
    members = [np.flatnonzero(home == c) for c in range(k)]
    counts = np.empty((n_resamples, home.size), dtype=np.uint16)
    rows = max(1, CHUNK_VALUES // home.size)
    for start in range(0, n_resamples, rows):
        stop = min(start + rows, n_resamples)
        drawn = np.ones((stop - start, k), dtype=np.int64)
        if scheme != "patients within centers":
            drawn = _count(rng.integers(0, k, size=(stop - start) * k), np.full(stop - start, k), k)
        for c, patients in enumerate(members):
            if scheme == "whole centers":
                counts[start:stop, patients] = drawn[:, c, None]
            else:
                taken = drawn[:, c] * patients.size
                counts[start:stop, patients] = _count(
                    rng.integers(0, patients.size, size=int(taken.sum())), taken, patients.size
                )
    return counts


def resampled_statistics(x: FloatArray, margin: FloatArray, counts: Counts, *, z: float) -> FloatArray:
    """Bias, SD (n - 1), both limits and share within +- margin, (5, rows of counts, C); NaN for fewer than 2 values."""
    center, scale = _standard(x)
    powers = _powers(x, margin, center, scale)
    sums = np.empty((counts.shape[0], powers.shape[1]))
    rows = max(1, CHUNK_VALUES // x.shape[0])
    for start in range(0, counts.shape[0], rows):
        sums[start : start + rows] = counts[start : start + rows].astype(np.float64) @ powers
    return _statistics(sums, center, scale, margin, z)


def _count(values: NDArray[np.int64], taken: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Histogram (rows, n) of values in 0..n-1, the first `taken[0]` of them in row 0, and so on."""
    row = np.repeat(np.arange(taken.size) * n, taken)
    return np.bincount(row + values, minlength=taken.size * n).reshape(taken.size, n)


def _standard(x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean and SD of each column, to take off before squares are summed; 1 where there is no spread."""
    known = ~np.isnan(x)
    n = np.maximum(known.sum(axis=0), 1)
    center = np.where(known, x, 0.0).sum(axis=0) / n
    spread = np.sqrt((np.where(known, x - center, 0.0) ** 2).sum(axis=0) / n)
    negligible = spread <= 1e-14 * np.abs(center)  # equal values: their mean is off by rounding
    center = np.where(negligible, np.where(known, x, -np.inf).max(axis=0, initial=-np.inf), center)
    return np.where(np.isfinite(center), center, 0.0), np.where(negligible | (spread == 0), 1.0, spread)


def _powers(x: FloatArray, margin: FloatArray, center: FloatArray, scale: FloatArray) -> FloatArray:
    """Per patient, what has to be summed: (n, 4 C) of known, value, value squared, within."""
    known = ~np.isnan(x)
    u = np.where(known, (x - center) / scale, 0.0)
    within = known & (np.abs(np.where(known, x, np.inf)) < margin)
    return np.hstack([known.astype(np.float64), u, u**2, within.astype(np.float64)])


def _statistics(sums: FloatArray, center: FloatArray, scale: FloatArray, margin: FloatArray, z: float) -> FloatArray:
    n, s1, s2, within = np.split(sums, 4, axis=1)
    few = n < 1.5
    n = np.where(few, np.nan, n)
    mean = s1 / n
    sd = np.sqrt(np.maximum(s2 - s1 * mean, 0.0) / (n - 1)) * scale
    bias = center + mean * scale
    share = np.where(np.isnan(margin), np.nan, within / n)
    return np.stack([bias, sd, bias - z * sd, bias + z * sd, share])


def _block(
    x: FloatArray,
    margin: FloatArray,
    counts: Counts,
    home: NDArray[np.int64],
    scheme: Scheme,
    level: float,
    z: float,
    method: str,
) -> list[ColumnAgreement | None]:
    n = (~np.isnan(x)).sum(axis=0)
    estimate = resampled_statistics(x, margin, np.ones((1, x.shape[0]), dtype=np.uint16), z=z)[:, 0]
    draws = resampled_statistics(x, margin, counts, z=z)
    accelerations = np.zeros_like(estimate)
    if method == "bca":
        accelerations = _accelerations(x, margin, home, z, centers=scheme != "patients within centers")
    name = f"bootstrap {method}, {scheme}, {counts.shape[0]} resamples"
    ends = [
        end_points(draws[s], estimate[s], accelerations[s], level=level, corrected=method == "bca")
        for s in range(len(STATISTICS))
    ]

    def interval(s: int, j: int) -> BootstrapInterval:
        low, high, low_error, high_error = (float(v) for v in ends[s][:, j])
        whole = Interval(float(estimate[s, j]), low, high, level, int(n[j]), f"{STATISTICS[s]}, {name}")
        return BootstrapInterval(whole, low_error, high_error)

    columns: list[ColumnAgreement | None] = []
    for j in range(x.shape[1]):
        n_draws = int(np.isfinite(draws[0, :, j]).sum())
        if n[j] < 2 or n_draws < 100:
            columns.append(None)
            continue
        bias, sd, lower, upper = (interval(s, j) for s in range(4))
        share = None if np.isnan(margin[j]) else interval(4, j)
        columns.append(ColumnAgreement(int(n[j]), n_draws, bias, sd, lower, upper, share))
    return columns


def _accelerations(
    x: FloatArray, margin: FloatArray, home: NDArray[np.int64], z: float, *, centers: bool
) -> FloatArray:
    """Skewness of the influence of each unit (center, or patient within its center), (5, C)."""
    center, scale = _standard(x)
    powers = _powers(x, margin, center, scale)
    k = int(home.max()) + 1
    member = (home == np.arange(k)[:, None]).astype(np.float64)
    unit = member @ powers if centers else powers
    values = _statistics(powers.sum(axis=0) - unit, center, scale, margin, z)
    values[:, unit[:, : x.shape[1]] == 0] = np.nan  # a unit without a value has no influence
    groups = np.zeros((1, k)) + 1 if centers else member
    known = np.isfinite(values)
    filled = np.where(known, values, 0.0)
    size = np.maximum(np.einsum("gu,suc->sgc", groups, known.astype(np.float64)), 1.0)
    mean = np.einsum("gu,suc->sgc", groups, filled) / size
    deviation = np.where(known, np.einsum("gu,sgc->suc", groups, mean) - filled, 0.0)
    noise = (deviation**2).sum(axis=1)
    floor = (1e-13 * np.abs(filled).max(axis=1)) ** 2
    cubes = (deviation**3).sum(axis=1)
    return np.where(noise > floor, cubes / (6 * np.where(noise > floor, noise, 1.0) ** 1.5), 0.0)


def chosen_scheme(scheme: Scheme | None, k: int) -> tuple[Scheme, list[str]]:
    """The scheme for k centers, the one asked for or by default, and what a reader must know of it."""
    if scheme is None:
        if k >= CENTERS_TO_RESAMPLE:
            return "centers then patients", []
        place = "one center" if k == 1 else f"{k} centers, fewer than {CENTERS_TO_RESAMPLE}"
        note = f"{place}: patients were resampled within centers, so intervals hold for these centers only"
        return "patients within centers", [note]
    if scheme not in ("centers then patients", "whole centers", "patients within centers"):
        raise ValueError(
            f"scheme must be 'centers then patients', 'whole centers' or 'patients within centers', got {scheme!r}"
        )
    if scheme != "patients within centers" and k < 2:
        raise ValueError(f"{scheme!r} needs 2 centers to draw from, got {k}; use 'patients within centers'")
    few = scheme != "patients within centers" and k < CENTERS_TO_RESAMPLE
    return scheme, [f"{k} centers were resampled; fewer than {CENTERS_TO_RESAMPLE} give too narrow intervals"] * few


def _checked(differences: ArrayLike, centers: Sequence[str], margin: ArrayLike | None) -> tuple[FloatArray, FloatArray]:
    x = np.asarray(differences, dtype=np.float64)
    if x.ndim != 2 or x.shape[0] != len(centers):
        raise ValueError(f"expected patients x columns and a center per patient, got {x.shape} and {len(centers)}")
    if x.shape[0] < 2:
        raise ValueError(f"at least 2 patients are needed, got {x.shape[0]}")
    if np.isinf(x).any():
        raise ValueError("differences hold infinity; mark failed measurements by NaN")
    limit = np.full(x.shape[1], np.nan) if margin is None else np.asarray(margin, dtype=np.float64)
    if limit.ndim > 1 or limit.size not in (1, x.shape[1]):
        raise ValueError(f"expected one margin or {x.shape[1]}, one per column, got shape {limit.shape}")
    if (limit < 0).any():
        raise ValueError("margins must not be below 0")
    return x, np.broadcast_to(limit, (x.shape[1],))


def _flat(ends: BootstrapInterval) -> bool:
    return ends.interval.low == ends.interval.high
