"""Which limits hold for a new subject in a new center, and how much of the spread is the centers'?"""

import math
from dataclasses import dataclass

import numpy as np
import scipy.stats as scipy_stats
from numpy.typing import ArrayLike
from scipy.optimize import minimize

from stats.intervals import FloatArray, Interval, checked_fraction, finite_vector

_NEGLIGIBLE = 1e-9  # of the variance of one reading; below it a component is 0


@dataclass(frozen=True)
class NestedLimits:
    """Bias, variance components and limits of ``difference = bias + center + subject + replicate``.

    `center_variance` and `icc_center` (share of the variance of one reading) are None for one center;
    `replicate_variance` is None where no subject has replicates, and `subject_variance` then holds both. `sd` is the
    standard deviation of one reading of a new subject in a new center, and the limits are for it.
    """

    n_centers: int
    n_subjects: int
    n_readings: int
    bias: Interval
    center_variance: Interval | None
    subject_variance: Interval
    replicate_variance: Interval | None
    sd: Interval
    lower_limit: Interval
    upper_limit: Interval
    icc_center: Interval | None
    coverage: float


@dataclass(frozen=True)
class _Design:
    """Subjects' means with their numbers of readings, sorted by center."""

    mean: FloatArray  # (subjects,)
    count: FloatArray  # (subjects,)
    center: np.ndarray  # (subjects,), 0 to n_centers - 1
    n_centers: int
    n_readings: int
    within: float  # sum of squares within subjects


@dataclass(frozen=True)
class _Components:
    center: float
    subject: float
    replicate: float


def nested_limits(
    differences: ArrayLike,
    center: ArrayLike,
    subject: ArrayLike,
    *,
    confidence: float = 0.95,
    coverage: float = 0.95,
) -> NestedLimits:
    """Limits of agreement from subjects nested in centers, with replicates or without, by restricted likelihood.

    Variance components are the REML estimates, not below 0; for balanced data inside that bound they are the mean
    squares' closed form. The bias is the generalized least-squares mean, with Student's t and ``centers - 1`` degrees of
    freedom (subjects - 1 for one center). Limits are ``bias ± z sqrt(sum of all components)``.

    Intervals: each component, and the sum, by the modified large-sample method (MOVER) from the mean squares of
    readings, subject means and center means that belong to the REML estimates, each as a scaled chi-square; that is
    exact for the replicates and approximate where numbers differ. The limits' intervals join the bias and the sum by
    MOVER as in Zou 2013; there the uncertainty of the bias comes from the variance of the *means* of the top level,
    which holds the share of the levels below, and not from its variance component alone, which would leave it out. With
    fewer than 5 centers the center's component is all but unknown, as its interval shows.
    Source: Searle, Casella and McCulloch 1992, doi 10.1002/9780470316856 (REML); Burdick and Graybill 1992 (intervals);
    Zou 2013, doi 10.1177/0962280211402548.

    Parameters
    ----------
    differences : array (n_readings,)
        Finite.
    center, subject : array (n_readings,)
        Whose they are. The same name in two centers is two subjects.
    confidence : float
        Two-sided confidence of every interval.
    coverage : float
        Part of the population the limits should hold.

    Returns
    -------
    NestedLimits
        In the unit of the differences, variances in its square.

    Raises
    ------
    ValueError
        For lengths that differ, values that are not finite, fewer than 3 subjects, as many centers as subjects (no
        center with two), no spread (at all, or within the centers), or a confidence or coverage outside (0, 1).
    """
    level, share = checked_fraction(confidence, name="confidence"), checked_fraction(coverage, name="coverage")
    design = _design(differences, center, subject)
    components = _reml(design)
    z = float(scipy_stats.norm.ppf(0.5 + share / 2))
    squares = _mean_squares(design, components)
    bias = _bias(design, components, level)
    sd = _total(design, components, squares, level)
    outer = math.hypot(bias.high - bias.estimate, z * (sd.high - sd.estimate))
    inner = math.hypot(bias.high - bias.estimate, z * (sd.estimate - sd.low))
    lower, upper = bias.estimate - z * sd.estimate, bias.estimate + z * sd.estimate
    n, method = design.n_centers if design.n_centers > 1 else design.mean.size, f"{share:.0%} limits, REML, MOVER"
    return NestedLimits(
        n_centers=design.n_centers,
        n_subjects=design.mean.size,
        n_readings=design.n_readings,
        bias=bias,
        center_variance=_center_variance(design, components, squares, level),
        subject_variance=_subject_variance(design, components, squares, level),
        replicate_variance=_replicate_variance(design, components, level),
        sd=sd,
        lower_limit=Interval(lower, lower - outer, lower + inner, level, n, method),
        upper_limit=Interval(upper, upper - inner, upper + outer, level, n, method),
        icc_center=_icc(design, components, squares, level),
        coverage=share,
    )


def _design(differences: ArrayLike, center: ArrayLike, subject: ArrayLike) -> _Design:
    d = finite_vector(differences, name="differences", at_least=3)
    centers, subjects = np.asarray(center), np.asarray(subject)
    if not d.shape == centers.shape == subjects.shape:
        raise ValueError(f"expected three vectors of one length, got {d.shape}, {centers.shape}, {subjects.shape}")
    _, center_of_reading = np.unique(centers, return_inverse=True)
    _, subject_of_reading = np.unique(subjects, return_inverse=True)
    pair = center_of_reading * (int(subject_of_reading.max()) + 1) + subject_of_reading
    _, first, index, count = np.unique(pair, return_index=True, return_inverse=True, return_counts=True)
    mean = np.bincount(index, weights=d) / count
    n_centers = int(center_of_reading.max()) + 1
    if mean.size < 3:
        raise ValueError(f"at least 3 subjects are needed, got {mean.size}")
    if n_centers == mean.size:
        raise ValueError(f"no center has two subjects, so the {n_centers} centers cannot be told from their subjects")
    if np.ptp(d) == 0.0:
        raise ValueError(f"there is no spread to divide among centers and subjects: every difference is {d[0]:g}")
    within = float(((d - mean[index]) ** 2).sum())
    return _Design(mean, count.astype(np.float64), center_of_reading[first], n_centers, d.size, within)


def _reml(design: _Design) -> _Components:
    """Components that minimize the restricted deviance, on data scaled to a variance of about 1."""
    spare = design.n_readings - design.mean.size
    scale = float(design.mean.var(ddof=1)) + (design.within / spare if spare else 0.0)
    has_replicates = design.within > _NEGLIGIBLE**2 * scale
    if not has_replicates and _square_within_centers(design) <= _NEGLIGIBLE**2 * scale:
        raise ValueError("no center has any spread of its own, so there is nothing to hold the centers' against")

    def components(x: FloatArray) -> _Components:
        last = scale * math.exp(float(x[-1]))  # the lowest level is above 0, the others may be 0
        center = scale * float(x[0]) if design.n_centers > 1 else 0.0
        return _Components(center, scale * float(x[-2]), last) if has_replicates else _Components(center, last, 0.0)

    def objective(x: FloatArray) -> float:
        return _deviance(design, components(x))

    n_between = int(design.n_centers > 1) + int(has_replicates)
    last = math.log(design.within / spare / scale) if has_replicates else 0.0
    bounds: list[tuple[float | None, float | None]] = [(0.0, None)] * n_between + [(-40.0, 10.0)]
    best: tuple[float, _Components] | None = None
    for start in (0.05, 0.5):
        fit = minimize(
            objective,
            np.array([start] * n_between + [last]),
            method="L-BFGS-B",
            jac="3-point",
            bounds=bounds,
            options={"ftol": 1e-15, "gtol": 1e-9, "maxiter": 500},
        )
        if best is None or fit.fun < best[0]:
            best = (float(fit.fun), components(fit.x))
    if best is None or not math.isfinite(best[0]):
        raise ValueError("the restricted likelihood of the components has no maximum for these differences")
    found = best[1]
    least = _NEGLIGIBLE * (found.center + found.subject + found.replicate)
    center = found.center if found.center > least else 0.0
    subject = found.subject if found.subject > least or not has_replicates else 0.0
    return _Components(center, subject, found.replicate)


def _deviance(design: _Design, components: _Components) -> float:
    """-2 log restricted likelihood, less what does not depend on the components."""
    spread, weight, mean, variance = _center_means(design, components)
    across = 1 / variance
    bias = float(across @ mean) / float(across.sum())
    residual = design.mean - mean[design.center]
    value = float(np.log(spread).sum() + (residual**2 / spread).sum() + np.log(weight * variance).sum())
    value += float(across @ (mean - bias) ** 2) + math.log(float(across.sum()))
    if components.replicate > 0:
        freedom = design.n_readings - design.mean.size
        value += freedom * math.log(components.replicate) + design.within / components.replicate
    return value


def _center_means(design: _Design, components: _Components) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Variance of each subject's mean in its center; of each center the summed weight, the mean and its variance."""
    spread = components.subject + components.replicate / design.count
    weight = np.bincount(design.center, weights=1 / spread).astype(np.float64)
    mean = np.bincount(design.center, weights=design.mean / spread) / weight
    return spread, weight, mean, components.center + 1 / weight


def _bias(design: _Design, components: _Components, level: float) -> Interval:
    _, _, mean, variance = _center_means(design, components)
    across = 1 / variance
    estimate = float(across @ mean) / float(across.sum())
    n = design.n_centers if design.n_centers > 1 else design.mean.size
    half = float(scipy_stats.t.ppf(0.5 + level / 2, n - 1)) / math.sqrt(float(across.sum()))
    method = f"generalized least squares, t with {n - 1} degrees of freedom"
    return Interval(estimate, estimate - half, estimate + half, level, n, method)


@dataclass(frozen=True)
class _MeanSquares:
    """Expected squares of center means and of subject means within centers, and what of the lower levels they hold.

    ``center_square = center + subject_share * subject + replicate_in_center * replicate`` and
    ``subject_square = subject + replicate_in_subject * replicate``; a freedom of 0 marks a level that is not there.
    """

    center_square: float
    subject_square: float
    subject_share: float
    replicate_in_center: float
    replicate_in_subject: float
    center_freedom: int
    subject_freedom: int
    replicate_freedom: int


def _mean_squares(design: _Design, components: _Components) -> _MeanSquares:
    size = np.bincount(design.center).astype(np.float64)
    inverse = np.bincount(design.center, weights=1 / design.count)
    freedom = int(design.mean.size - design.n_centers)
    in_subject = float(((1 - 1 / size) * inverse).sum()) / freedom
    in_center, share = float((inverse / size**2).mean()), float((1 / size).mean())
    return _MeanSquares(
        center_square=components.center + share * components.subject + in_center * components.replicate,
        subject_square=components.subject + in_subject * components.replicate,
        subject_share=share,
        replicate_in_center=in_center,
        replicate_in_subject=in_subject,
        center_freedom=design.n_centers - 1,
        subject_freedom=freedom,
        replicate_freedom=design.n_readings - design.mean.size,
    )


def _total(design: _Design, components: _Components, squares: _MeanSquares, level: float) -> Interval:
    """Standard deviation of one reading; the variance is a sum of the squares with weights that are not negative."""
    s = squares
    if s.center_freedom:
        parts = [(1.0, s.center_square, s.center_freedom), (1 - s.subject_share, s.subject_square, s.subject_freedom)]
        rest = 1 - s.replicate_in_center - (1 - s.subject_share) * s.replicate_in_subject
    else:
        parts, rest = [(1.0, s.subject_square, s.subject_freedom)], 1 - s.replicate_in_subject
    if s.replicate_freedom:
        parts.append((max(rest, 0.0), components.replicate, s.replicate_freedom))
    total = components.center + components.subject + components.replicate
    low, high = _mover(total, parts, level)
    n = design.n_centers if s.center_freedom else design.mean.size
    return Interval(math.sqrt(total), math.sqrt(low), math.sqrt(high), level, n, "one reading, REML, MOVER")


def _center_variance(design: _Design, components: _Components, squares: _MeanSquares, level: float) -> Interval | None:
    s = squares
    if not s.center_freedom:
        return None
    parts = [(1.0, s.center_square, s.center_freedom), (-s.subject_share, s.subject_square, s.subject_freedom)]
    low, high = _mover(components.center, parts, level)
    return Interval(components.center, low, high, level, design.n_centers, "center variance, REML, MOVER")


def _subject_variance(design: _Design, components: _Components, squares: _MeanSquares, level: float) -> Interval:
    s = squares
    parts = [(1.0, s.subject_square, s.subject_freedom)]
    if s.replicate_freedom:
        parts.append((-s.replicate_in_subject, components.replicate, s.replicate_freedom))
    low, high = _mover(components.subject, parts, level)
    return Interval(components.subject, low, high, level, design.mean.size, "subject variance, REML, MOVER")


def _replicate_variance(design: _Design, components: _Components, level: float) -> Interval | None:
    freedom = design.n_readings - design.mean.size
    if not freedom:
        return None
    low, high = _mover(components.replicate, [(1.0, components.replicate, freedom)], level)
    return Interval(components.replicate, low, high, level, design.mean.size, "replicate variance, REML, chi-square")


def _icc(design: _Design, components: _Components, squares: _MeanSquares, level: float) -> Interval | None:
    """Share of the centers in the variance of one reading, its interval from the F ratio of the two mean squares."""
    s = squares
    if not s.center_freedom:
        return None
    rest = components.subject + components.replicate
    ratio = s.center_square / (s.subject_share * s.subject_square)
    ends = []
    for p in (0.5 + level / 2, 0.5 - level / 2):
        center = (ratio / float(scipy_stats.f.ppf(p, s.center_freedom, s.subject_freedom)) - 1) * s.subject_share
        center = max(center, 0.0) * s.subject_square
        ends.append(center / (center + rest))
    estimate = components.center / (components.center + rest)
    return Interval(estimate, ends[0], ends[1], level, design.n_centers, "ICC of the center, F ratio")


def _mover(estimate: float, parts: list[tuple[float, float, int]], level: float) -> tuple[float, float]:
    """Interval of a weighted sum of independent mean squares (weight, square, freedom), not below 0."""
    below = above = 0.0
    for weight, square, freedom in parts:
        low, high = (square * freedom / float(scipy_stats.chi2.ppf(0.5 + s * level / 2, freedom)) for s in (1, -1))
        toward, away = (square - low, high - square) if weight >= 0 else (high - square, square - low)
        below += (weight * toward) ** 2
        above += (weight * away) ** 2
    return max(estimate - math.sqrt(below), 0.0), max(estimate + math.sqrt(above), 0.0)


def _square_within_centers(design: _Design) -> float:
    size = np.bincount(design.center)
    mean = np.bincount(design.center, weights=design.mean) / size
    return float(((design.mean - mean[design.center]) ** 2).sum())
