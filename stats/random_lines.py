"""Which line do values follow when every subject has a line of its own?"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.optimize as scipy_optimize
from numpy.typing import NDArray

from stats.intervals import FloatArray

IntArray = NDArray[np.int64]

LARGEST_RATIO = 1e4  # of a random effect's SD to the residual SD, both scaled; keeps the search bounded
NO_VARIATION = 1e-24  # of the residual sum of squares, relative to the values': rounding
NO_RESIDUAL = 1e-8  # of the values' sum of squares; below it subjects lie on lines of their own
BOUNDARY = 1e-6  # a share of the slope's variance below this is an estimate of 0


@dataclass(frozen=True)
class RandomLines:
    """Lines of the strata, and how subjects spread around them.

    Attributes
    ----------
    intercept, slope, slope_variance : array (K,)
        Of each stratum's mean line ``intercept + slope x`` and the squared standard error of the slope.
    n_subjects : array (K,)
        Subjects of each stratum.
    sd_intercept, sd_slope, correlation : float or None
        Of the subjects' lines at x = 0. None if no subject has 3 values (then residual and lines cannot be told
        apart, while the slope and its error stay determined); the correlation is None as well if an SD is 0.
    residual_sd : float or None
        Of a value around its subject's line.
    deviance : float
        -2 restricted log-likelihood; minus infinity without variation.
    status : str
        `converged`, `boundary` (subjects' slopes do not differ beyond the residual), `no variation`, `not converged`.
    """

    intercept: FloatArray
    slope: FloatArray
    slope_variance: FloatArray
    n_subjects: IntArray
    sd_intercept: float | None
    sd_slope: float | None
    correlation: float | None
    residual_sd: float | None
    deviance: float
    status: str


def random_lines(y: FloatArray, x: FloatArray, subject: IntArray, stratum: IntArray) -> RandomLines:
    """Fit ``y = a_k + b_k x + (u_0i + u_1i x) + e`` by restricted maximum likelihood.

    Strata k have fixed lines, subjects i random ones (any covariance of u_0 and u_1), e is independent. The likelihood
    needs only sums over each subject, so an evaluation costs microseconds however many values there are, and the
    covariance is searched through its Cholesky factor, for which a variance of 0 is an inner point (Bates et al. 2015,
    doi 10.18637/jss.v067.i01; Laird and Ware 1982, doi 10.2307/2529876).

    Parameters
    ----------
    y, x : array (N,)
        Values and where they were taken; finite. Every subject needs two different x.
    subject, stratum : array (N,)
        Numbers from 0 up without gaps; a subject belongs to one stratum. At least two subjects more than strata.

    Raises
    ------
    ValueError
        If subjects have a single x, or are too few.
    """
    home, n_subjects = _homes(subject, stratum)
    origin, scale = float(x.mean()), float(x.std()) or 1.0
    u = (x - origin) / scale
    start, residual = _stratum_lines(y, u, stratum, n_subjects.size)
    sums = _Sums.of(residual, u, subject, home)
    if (sums.s00 * sums.s11 - sums.s01**2 <= 1e-12 * sums.s00**2).any():
        raise ValueError("every subject needs values at two different x; leave the others out")
    if home.size < n_subjects.size + 2:
        raise ValueError(f"{home.size} subjects in {n_subjects.size} strata are too few: two more than strata needed")
    freedom = y.size - 2 * n_subjects.size
    total = float(residual @ residual)
    if total <= NO_VARIATION * max(float(y @ y), np.finfo(float).tiny):
        slope = start[:, 1] / scale
        nothing = np.zeros(slope.size)
        return RandomLines(
            start[:, 0] - slope * origin, slope, nothing, n_subjects, 0.0, 0.0, None, 0.0, -math.inf, "no variation"
        )
    told_apart = int(np.bincount(subject).max()) > 2
    if told_apart and sums.residual() <= NO_RESIDUAL * total:
        factor, variance = sums.own_lines_factor(home.size - n_subjects.size)
        state, converged, residual_sd = _evaluate(sums, factor), True, 0.0
    else:
        factor, converged = _search(sums, freedom, total)
        state = _evaluate(sums, factor)
        variance = state.rss / freedom
        residual_sd = math.sqrt(variance)
    covariance = factor @ factor.T * variance
    move = np.array([[1.0, -origin / scale], [0.0, 1 / scale]])  # from the line in u to the line in x
    lines = (start + state.lines) @ move.T
    spread = move @ covariance @ move.T
    inverse = np.linalg.inv(state.information) * variance
    slopes_differ = covariance[1, 1] > BOUNDARY * variance
    status = "not converged" if not converged else "converged" if slopes_differ else "boundary"
    sds = np.sqrt(np.maximum(np.diag(spread), 0.0))
    return RandomLines(
        intercept=lines[:, 0],
        slope=lines[:, 1],
        slope_variance=np.asarray(inverse[:, 1, 1] / scale**2, dtype=np.float64),
        n_subjects=n_subjects,
        sd_intercept=float(sds[0]) if told_apart else None,
        sd_slope=(float(sds[1]) if slopes_differ else 0.0) if told_apart else None,
        correlation=float(spread[0, 1] / sds.prod()) if told_apart and slopes_differ and sds.all() else None,
        residual_sd=residual_sd if told_apart else None,
        # the determinant of the fixed part is the only term that scaling x changes
        deviance=state.criterion(freedom) + 2 * n_subjects.size * math.log(scale),
        status=status,
    )


@dataclass(frozen=True)
class _Sums:
    """Sums over each subject, subjects sorted by stratum: of 1, u, u^2, y, u y, y^2; and where strata begin."""

    s00: FloatArray
    s01: FloatArray
    s11: FloatArray
    t0: FloatArray
    t1: FloatArray
    yy: FloatArray
    begins: IntArray

    @classmethod
    def of(cls, y: FloatArray, u: FloatArray, subject: IntArray, home: IntArray) -> "_Sums":
        order = np.argsort(home, kind="stable")
        weights = (np.ones(u.size), u, u**2, y, u * y, y**2)
        s00, s01, s11, t0, t1, yy = (
            np.bincount(subject, weights=w, minlength=home.size)[order].astype(np.float64) for w in weights
        )
        return cls(s00, s01, s11, t0, t1, yy, np.flatnonzero(np.diff(home[order], prepend=-1)))

    def own_lines(self) -> tuple[FloatArray, FloatArray]:
        """Least-squares intercept and slope of each subject."""
        det = self.s00 * self.s11 - self.s01**2
        return (self.s11 * self.t0 - self.s01 * self.t1) / det, (self.s00 * self.t1 - self.s01 * self.t0) / det

    def residual(self) -> float:
        """Sum of squares around the subjects' own lines."""
        intercept, slope = self.own_lines()
        return float((self.yy - intercept * self.t0 - slope * self.t1).sum())

    def own_lines_factor(self, freedom: int) -> tuple[FloatArray, float]:
        """Factor of the own lines' covariance over a residual variance that is negligible beside it, and that."""
        deviations = []
        for part in self.own_lines():
            sizes = np.diff(self.begins, append=part.size)
            deviations.append(part - np.repeat(np.add.reduceat(part, self.begins) / sizes, sizes))
        covariance = np.cov(np.stack(deviations), ddof=0) * len(deviations[0]) / freedom
        largest = max(float(np.trace(covariance)), np.finfo(float).tiny)
        # a touch on the diagonal, so that parallel lines have a factor too
        factor = np.linalg.cholesky(covariance / largest + 1e-14 * np.eye(2))
        return np.asarray(LARGEST_RATIO * factor, dtype=np.float64), largest / LARGEST_RATIO**2


@dataclass(frozen=True)
class _State:
    """For one covariance: information (K, 2, 2) and lines (K, 2), residual sum of squares, log determinants."""

    information: FloatArray
    lines: FloatArray
    rss: float
    log_determinants: float

    def criterion(self, freedom: int) -> float:
        """-2 restricted log-likelihood at the best residual variance."""
        if self.rss <= 0.0:
            return math.inf
        return freedom * (1 + math.log(2 * math.pi * self.rss / freedom)) + self.log_determinants


def _evaluate(sums: _Sums, factor: FloatArray) -> _State:
    """Closed form with 2 x 2 matrices: D = factor factor', M = I + D S for each subject's S."""
    s00, s01, s11, t0, t1 = sums.s00, sums.s01, sums.s11, sums.t0, sums.t1
    a, b, c = factor[0, 0], factor[1, 0], factor[1, 1]
    d00, d01, d11, det_d = a * a, a * b, b * b + c * c, (a * c) ** 2
    det_s = s00 * s11 - s01**2
    det = 1 + d00 * s00 + 2 * d01 * s01 + d11 * s11 + det_d * det_s
    i00, i01, i11 = (s00 + det_s * d11) / det, (s01 - det_s * d01) / det, (s11 + det_s * d00) / det
    right0 = ((1 + s01 * d01 + s11 * d11) * t0 - (s00 * d01 + s01 * d11) * t1) / det
    right1 = ((1 + s00 * d00 + s01 * d01) * t1 - (s01 * d00 + s11 * d01) * t0) / det
    p00, p01, p11 = (d00 + det_d * s11) / det, (d01 - det_d * s01) / det, (d11 + det_d * s00) / det
    explained = p00 * t0**2 + 2 * p01 * t0 * t1 + p11 * t1**2
    g00, g01, g11, h0, h1 = np.add.reduceat(np.stack([i00, i01, i11, right0, right1]), sums.begins, axis=1)
    information = np.stack([np.stack([g00, g01], -1), np.stack([g01, g11], -1)], -2)
    det_g = g00 * g11 - g01**2
    lines = np.stack([(g11 * h0 - g01 * h1) / det_g, (g00 * h1 - g01 * h0) / det_g], -1)
    rss = float((sums.yy - explained).sum() - (lines[:, 0] * h0 + lines[:, 1] * h1).sum())
    return _State(information, lines, rss, float(np.log(det).sum() + np.log(det_g).sum()))


def _search(sums: _Sums, freedom: int, total: float) -> tuple[FloatArray, bool]:
    """Cholesky factor of the subjects' covariance over the residual variance with the highest likelihood."""

    def factor(free: FloatArray) -> FloatArray:
        low = np.clip(free, -LARGEST_RATIO, LARGEST_RATIO)
        return np.array([[low[0], 0.0], [low[1], low[2]]])

    def criterion(free: FloatArray) -> float:
        state = _evaluate(sums, factor(free))
        return state.criterion(freedom) if state.rss > NO_VARIATION * total else math.inf

    grid = [np.array([a, 0.0, c]) for a in (0.0, 0.3, 1.0, 3.0, 10.0) for c in (0.0, 0.3, 1.0, 3.0, 10.0)]
    grid.sort(key=criterion)
    best, done = grid[0], False
    for begin in (grid[0], None, None):  # a search restarted where it ended does not stall in a folded simplex
        simplex_at = best if begin is None else begin
        simplex = np.vstack([simplex_at, simplex_at + np.diag(0.1 + 0.25 * np.abs(simplex_at))])
        options: Any = {"xatol": 1e-7, "fatol": 1e-10, "maxiter": 2000, "maxfev": 2000, "initial_simplex": simplex}
        found = scipy_optimize.minimize(criterion, simplex_at, method="Nelder-Mead", options=options)
        settled = criterion(best) - float(found.fun) < 1e-7
        best = np.asarray(found.x, dtype=np.float64) if found.fun <= criterion(best) else best
        done = bool(found.success)
        if done and settled:
            break
    return factor(best), done


def _homes(subject: IntArray, stratum: IntArray) -> tuple[IntArray, IntArray]:
    """Stratum of each subject, and the number of subjects of each stratum."""
    home = np.zeros(int(subject.max()) + 1, dtype=np.int64)
    home[subject] = stratum
    if not np.array_equal(home[subject], stratum):
        raise ValueError("a subject lies in two strata; number subjects within their stratum")
    return home, np.bincount(home).astype(np.int64)


def _stratum_lines(y: FloatArray, u: FloatArray, stratum: IntArray, k: int) -> tuple[FloatArray, FloatArray]:
    """Least-squares line (K, 2) of each stratum, taken off so that sums of squares keep their digits."""
    n = np.bincount(stratum, minlength=k)
    mean_u, mean_y = (np.bincount(stratum, weights=v, minlength=k) / n for v in (u, y))
    du, dy = u - mean_u[stratum], y - mean_y[stratum]
    spread = np.bincount(stratum, weights=du**2, minlength=k)
    slope = np.bincount(stratum, weights=du * dy, minlength=k) / np.where(spread > 0, spread, 1.0)
    return np.stack([mean_y - slope * mean_u, slope], -1), dy - slope[stratum] * du
