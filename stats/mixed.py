"""Does the difference grow with the acceleration, and does it grow alike in every center?"""

import math
from dataclasses import dataclass

import numpy as np
import scipy.stats as scipy_stats
from numpy.typing import ArrayLike

from stats.centers import random_effects
from stats.intervals import FloatArray, Interval, checked_fraction
from stats.random_lines import IntArray, RandomLines, random_lines

CENTERS_FOR_SPREAD = 5  # from here on the spread of slopes between centers is estimated
MOST_ZEROS = 0.1  # of the differences; with more the logarithm of their size says little


@dataclass(frozen=True)
class Trend:
    """Dose-response of a difference over acceleration.

    Attributes
    ----------
    n_patients, n_centers, n_values : int
        What the model used; `n_left_out` patients had values at a single acceleration, `n_missing` values were NaN.
    slope : Interval
        Change of the mean difference with each doubling of the acceleration, in the unit of the differences.
    p : float
        Two-sided, of no change; with no variation at all 0 or 1.
    degrees_of_freedom : int
        Of Student's t: centers - 1 if centers are random, else patients - centers (between-within).
    slope_abs_log : Interval or None
        Change of the natural logarithm of the size of the difference with each doubling: its exponential is the factor
        by which differences grow. None if more than a tenth of them are exactly 0, or all are.
    sd_slope_patients, residual_sd : float or None
        Spread of patients' slopes, and of a value around its patient's line; None if no patient has 3 values.
    sd_slope_centers : float or None
        Spread of centers' true slopes; None for fewer than 5 centers.
    interaction_p : float or None
        Of equal slopes in all centers; None for one center.
    status : str
        `converged`, `boundary`, `no variation` or `not converged`, see `stats.random_lines`.
    method_text : str
        The model in words, with what was left out.
    """

    n_patients: int
    n_centers: int
    n_values: int
    n_left_out: int
    n_missing: int
    slope: Interval
    p: float
    degrees_of_freedom: int
    slope_abs_log: Interval | None
    sd_slope_patients: float | None
    residual_sd: float | None
    sd_slope_centers: float | None
    interaction_p: float | None
    status: str
    method_text: str


@dataclass(frozen=True)
class CenterSlope:
    """Change per doubling in one center."""

    name: str
    n_patients: int
    slope: Interval


@dataclass(frozen=True)
class CenterByAcceleration:
    """Slopes of the centers and the F test that they are equal; f and p are None without variation."""

    slopes: tuple[CenterSlope, ...]
    f: float | None
    df_between: int
    df_within: int
    p: float | None
    status: str


def trend_over_acceleration(
    difference: ArrayLike,
    acceleration: ArrayLike,
    patient: ArrayLike,
    center: ArrayLike,
    *,
    confidence: float = 0.95,
) -> Trend:
    """Mixed model of differences on log2(acceleration).

    Each patient has a random intercept and slope, each center its own mean line (`stats.random_lines`, restricted
    maximum likelihood). From 5 centers on their slopes are pooled with random effects (REML, Knapp and Hartung,
    t(K - 1)), so the interval holds for further centers; below that by inverse variances with t(patients - K), and it
    holds for these centers. For complete data this is the analysis of variance of the patients' own slopes, whose
    degrees of freedom are exact. A variance that is estimated as 0 leaves them as they are, which is cautious.

    Parameters
    ----------
    difference : array (N,)
        Test - reference, one row per patient and acceleration; NaN where the measurement failed.
    acceleration : array (N,)
        Above 0; at least two different values.
    patient, center : array (N,)
        Names; the same patient name in two centers means two patients.
    confidence : float
        Two-sided confidence.

    Raises
    ------
    ValueError
        For lengths that differ, accelerations that are not above 0, infinite differences, or fewer than 3 patients with
        values at two accelerations.
    """
    level = checked_fraction(confidence, name="confidence")
    rows = _Rows.read(difference, acceleration, patient, center)
    fit = random_lines(rows.y, rows.x, rows.subject, rows.stratum)
    pooled = _pool(fit, level)
    sizes, sizes_note = _log_sizes(rows.y)
    growth = None
    if sizes is not None:
        growth = _pool(random_lines(sizes, rows.x, rows.subject, rows.stratum), level).slope
    return Trend(
        n_patients=int(fit.n_subjects.sum()),
        n_centers=rows.n_centers,
        n_values=rows.y.size,
        n_left_out=rows.n_left_out,
        n_missing=rows.n_missing,
        slope=pooled.slope,
        p=pooled.p,
        degrees_of_freedom=pooled.freedom,
        slope_abs_log=growth,
        sd_slope_patients=fit.sd_slope,
        residual_sd=fit.residual_sd,
        sd_slope_centers=pooled.tau,
        interaction_p=_interaction(fit)[1],
        status=fit.status,
        method_text=_text(rows, fit, pooled, sizes_note),
    )


def center_by_acceleration(
    difference: ArrayLike,
    acceleration: ArrayLike,
    patient: ArrayLike,
    center: ArrayLike,
    *,
    confidence: float = 0.95,
) -> CenterByAcceleration:
    """Slope of each center and the F test of their equality, F(K - 1, patients - K).

    The model and its arguments are those of `trend_over_acceleration`; for complete data the test is the one-way
    analysis of variance of the patients' slopes, exact if slopes are normal.

    Raises
    ------
    ValueError
        As `trend_over_acceleration`, or if there are not two centers with at least 3 patients more than centers.
    """
    level = checked_fraction(confidence, name="confidence")
    rows = _Rows.read(difference, acceleration, patient, center)
    if len(rows.strata) < 2:
        raise ValueError("center by acceleration needs two centers and 3 patients more than centers")
    fit = random_lines(rows.y, rows.x, rows.subject, rows.stratum)
    f, p = _interaction(fit)
    n, k = int(fit.n_subjects.sum()), fit.slope.size
    t = float(scipy_stats.t.ppf(0.5 + level / 2, n - k))
    slopes = []
    for name, count, slope, variance in zip(rows.strata, fit.n_subjects, fit.slope, fit.slope_variance, strict=True):
        half = t * math.sqrt(variance)
        interval = Interval(slope, slope - half, slope + half, level, int(count), f"pooled variance, t({n - k})")
        slopes.append(CenterSlope(name, int(count), interval))
    return CenterByAcceleration(tuple(slopes), f, k - 1, n - k, p, fit.status)


@dataclass(frozen=True)
class _Rows:
    """Rows that take part, numbered; strata are the centers, or one if centers have too few patients each."""

    y: FloatArray
    x: FloatArray
    subject: IntArray
    stratum: IntArray
    strata: tuple[str, ...]
    n_centers: int
    n_left_out: int
    n_missing: int

    @classmethod
    def read(cls, difference: ArrayLike, acceleration: ArrayLike, patient: ArrayLike, center: ArrayLike) -> "_Rows":
        y, r = np.asarray(difference, dtype=np.float64), np.asarray(acceleration, dtype=np.float64)
        who, where = np.asarray(patient).astype(str), np.asarray(center).astype(str)
        if y.ndim != 1 or not y.shape == r.shape == who.shape == where.shape:
            shapes = ", ".join(str(v.shape) for v in (y, r, who, where))
            raise ValueError(f"expected four vectors of one length, got shapes {shapes}")
        if not np.isfinite(r).all() or (r <= 0).any():
            raise ValueError("accelerations must be finite and above 0")
        if np.isinf(y).any():
            raise ValueError("differences hold infinity; mark failed measurements by NaN")
        kept = ~np.isnan(y)
        missing = int(y.size - kept.sum())
        y, x, who, where = y[kept], np.log2(r[kept]), who[kept], where[kept]
        subject = _numbered(_numbered(where) * (who.size + 1) + _numbered(who))
        several = _has_two_values(x, subject)
        n_several = int(several.sum())
        if n_several < 3:
            raise ValueError(
                f"a trend needs at least 3 patients with values at two accelerations or more, got {n_several}"
            )
        rows = several[subject]
        names, stratum = np.unique(where[rows], return_inverse=True)
        strata, n_centers = tuple(str(name) for name in names), names.size
        if n_several < n_centers + 3:
            strata, stratum = ("all",), np.zeros_like(stratum)
        return cls(
            y=y[rows],
            x=x[rows],
            subject=_numbered(subject[rows]),
            stratum=stratum.astype(np.int64),
            strata=strata,
            n_centers=n_centers,
            n_left_out=int(several.size - n_several),
            n_missing=missing,
        )


@dataclass(frozen=True)
class _Pooled:
    slope: Interval
    p: float
    freedom: int
    tau: float | None
    name: str


def _pool(fit: RandomLines, level: float) -> _Pooled:
    n, k = int(fit.n_subjects.sum()), fit.slope.size
    tau, name = None, "inverse variance"
    if fit.status == "no variation":
        estimate, error = float(fit.slope.mean()), float(fit.slope.std(ddof=1)) / math.sqrt(k) if k > 1 else 0.0
        error = error if error > 1e-9 * abs(estimate) else 0.0  # below: rounding
        freedom, tau = (k - 1 if k >= CENTERS_FOR_SPREAD else n - k), None
    elif k >= CENTERS_FOR_SPREAD:
        across = random_effects(fit.slope, fit.slope_variance, confidence=level)
        estimate, error, freedom = across.estimate.estimate, across.standard_error, k - 1
        tau, name = math.sqrt(across.tau2.estimate), "random effects over centers"
    else:
        weight = 1 / fit.slope_variance
        estimate, error = float((weight * fit.slope).sum() / weight.sum()), math.sqrt(1 / float(weight.sum()))
        freedom = n - k
    half = float(scipy_stats.t.ppf(0.5 + level / 2, freedom)) * error
    p = _two_sided(estimate, error, freedom)
    units = k if k >= CENTERS_FOR_SPREAD else n
    interval = Interval(estimate, estimate - half, estimate + half, level, units, f"mixed model, {name}, t({freedom})")
    return _Pooled(interval, p, freedom, tau, name)


def _two_sided(estimate: float, error: float, freedom: int) -> float:
    if error == 0.0:
        return 1.0 if estimate == 0.0 else 0.0
    return 2 * float(scipy_stats.t.sf(abs(estimate) / error, freedom))


def _interaction(fit: RandomLines) -> tuple[float | None, float | None]:
    n, k = int(fit.n_subjects.sum()), fit.slope.size
    if k < 2 or fit.status == "no variation":
        return None, None
    weight = 1 / fit.slope_variance
    mean = (weight * fit.slope).sum() / weight.sum()
    f = float((weight * (fit.slope - mean) ** 2).sum()) / (k - 1)
    return f, float(scipy_stats.f.sf(f, k - 1, n - k))


def _log_sizes(y: FloatArray) -> tuple[FloatArray | None, str]:
    """Natural logarithm of the differences' size; exact zeros become half the smallest other size."""
    size = np.abs(y)
    zeros = int((size == 0).sum())
    if zeros > MOST_ZEROS * y.size:
        return None, f"{zeros} of {y.size} differences are exactly 0, so the growth of their size was not estimated"
    if zeros == 0:
        return np.log(size), ""
    note = f"{zeros} differences of exactly 0 entered the logarithm as half the smallest other size"
    return np.log(np.where(size == 0, size[size > 0].min() / 2, size)), note


def _text(rows: _Rows, fit: RandomLines, pooled: _Pooled, sizes_note: str) -> str:
    parts = ["mixed model of the difference on log2(acceleration), random intercept and slope of each patient, REML"]
    if len(rows.strata) >= CENTERS_FOR_SPREAD:
        parts.append(
            f"slopes of {len(rows.strata)} centers pooled by random effects (REML, Knapp-Hartung, t({pooled.freedom}))"
        )
    elif len(rows.strata) > 1:
        parts.append(
            f"a line for each of {len(rows.strata)} centers, too few to estimate how slopes spread between centers: "
            f"the interval holds for these centers (t({pooled.freedom}), patients - centers)"
        )
    elif rows.n_centers > 1:
        parts.append(f"too few patients per center to tell centers apart (t({pooled.freedom}), patients - 1)")
    else:
        parts.append(f"one center (t({pooled.freedom}), patients - 1)")
    if rows.n_left_out:
        parts.append(f"{rows.n_left_out} patients with a single acceleration left out")
    if rows.n_missing:
        parts.append(f"{rows.n_missing} failed measurements missing")
    if sizes_note:
        parts.append(sizes_note)
    remarks = {
        "boundary": "patients' slopes do not differ beyond the residual",
        "no variation": "the differences lie exactly on parallel lines",
        "not converged": "the search for the variances did not converge; the slope is weighted by its last step",
    }
    return "; ".join([*parts, *([remarks[fit.status]] if fit.status in remarks else [])])


def _numbered(names: np.ndarray) -> IntArray:
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def _has_two_values(x: FloatArray, subject: IntArray) -> np.ndarray:
    if x.size == 0:
        return np.zeros(0, dtype=bool)
    low, high = np.full(int(subject.max()) + 1, np.inf), np.full(int(subject.max()) + 1, -np.inf)
    np.minimum.at(low, subject, x)
    np.maximum.at(high, subject, x)
    return high - low > 1e-9
