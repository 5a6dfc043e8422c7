"""Which line do values follow when every subject has a line of its own?"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.optimize as scipy_optimize
from numpy.typing import NDArray

from stats.intervals import FloatArray

IntArray = NDArray[np.int64]

ROUNDING = 1e-24  # of sums of squares: what is below, relative to the values', is no variation
NO_RESIDUAL = 1e-4  # error variance over scatter of subjects' slopes; below it own slopes need no weighing
BOUNDARY = 1e-6  # a share of the slope's variance below this is an estimate of 0


@dataclass(frozen=True)
class RandomLines:
    """Lines of the strata, and how subjects spread around them.

    Attributes
    ----------
    intercept, slope, slope_variance : array (K,)
        Of each stratum's mean line ``intercept + slope x`` and the squared standard error of the slope. Where subjects
        have two values each, or hardly any residual, every subject counts once.
    n_subjects : array (K,)
        Subjects of each stratum.
    sd_intercept, sd_slope, correlation : float or None
        Of the subjects' lines at x = 0. None if no subject has 3 values (then residual and lines cannot be told
        apart, while the slope and its error stay determined); the correlation is None as well if an SD is 0.
    residual_sd : float or None
        Of a value around its subject's line.
    deviance : float
        -2 restricted log-likelihood; minus infinity where subjects were not weighed by it.
    status : str
        `converged`, `boundary` (subjects' slopes do not differ beyond the residual), `no variation` (all values lie
        on parallel lines), `not converged`.
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

    Strata k have fixed lines, subjects i random ones (any covariance of u_0 and u_1), e is independent. Each subject's
    least-squares line and residual sum of squares are sufficient, so an evaluation of the likelihood costs microseconds
    however many values there are and stays accurate however small the residual is. The covariance is searched through its
    Cholesky factor, for which a variance of 0 is an inner point (Laird and Ware 1982, doi 10.2307/2529876; Bates et al.
    2015, doi 10.18637/jss.v067.i01).

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
    own = _OwnLines.of(residual, u, subject, home)
    if home.size < n_subjects.size + 2:
        raise ValueError(f"{home.size} subjects in {n_subjects.size} strata are too few: two more than strata needed")
    freedom = y.size - 2 * n_subjects.size
    total = float(residual @ residual)
    if total <= ROUNDING * max(float(y @ y), np.finfo(float).tiny):
        return _parallel(start, origin, scale, n_subjects, y, sd_intercept=0.0)
    told_apart = y.size > 2 * home.size
    scatter = own.scatter(home.size - n_subjects.size)
    if own.rss <= ROUNDING * total and scatter[1, 1] <= ROUNDING * total / y.size:
        lines = start + own.evaluate(None).lines
        return _parallel(lines, origin, scale, n_subjects, y, sd_intercept=math.sqrt(scatter[0, 0]))
    if own.need_no_weighing(scatter, y.size - 2 * home.size):
        # the limit of no residual beside the slopes: every subject counts once
        state, converged, residual_sd = own.evaluate(None), True, math.sqrt(own.rss / max(y.size - 2 * home.size, 1))
        covariance, variance, criterion = scatter, 0.0, -math.inf
        inverse = scatter / n_subjects[:, None, None]
    else:
        factor, converged = _search(own, scatter, freedom, y.size - 2 * home.size)
        state = own.evaluate(factor)
        variance = (own.rss + state.spread) / freedom
        covariance, residual_sd, criterion = factor @ factor.T * variance, math.sqrt(variance), state.criterion(freedom)
        inverse = np.asarray(np.linalg.inv(state.information) * variance, dtype=np.float64)
    move = np.array([[1.0, -origin / scale], [0.0, 1 / scale]])  # from the line in u to the line in x
    lines = (start + state.lines) @ move.T
    spread = move @ covariance @ move.T
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
        deviance=criterion + 2 * n_subjects.size * math.log(scale),
        status=status,
    )


@dataclass(frozen=True)
class _State:
    """For one covariance: information (K, 2, 2), lines (K, 2), weighted squares around them, log determinants."""

    information: FloatArray
    lines: FloatArray
    spread: float
    log_determinants: float
    rss: float

    def criterion(self, freedom: int) -> float:
        """-2 restricted log-likelihood at the best residual variance."""
        squares = self.rss + self.spread
        if squares <= 0.0:
            return math.inf
        return freedom * (1 + math.log(2 * math.pi * squares / freedom)) + self.log_determinants


@dataclass(frozen=True)
class _OwnLines:
    """Least-squares line of each subject, sorted by stratum, and the unscaled covariance C of its error.

    `begins` is where strata begin, `log_det` the sum of log|C|, `rss` the sum of squares around all own lines.
    """

    b0: FloatArray
    b1: FloatArray
    c00: FloatArray
    c01: FloatArray
    c11: FloatArray
    begins: IntArray
    log_det: float
    rss: float

    @classmethod
    def of(cls, y: FloatArray, u: FloatArray, subject: IntArray, home: IntArray) -> "_OwnLines":
        n = np.bincount(subject).astype(np.float64)
        mean_u, mean_y = (np.bincount(subject, weights=v) / n for v in (u, y))
        du, dy = u - mean_u[subject], y - mean_y[subject]
        square = np.bincount(subject, weights=du**2)
        if (square <= 1e-12 * n).any():
            raise ValueError("every subject needs values at two different x; leave the others out")
        slope = np.bincount(subject, weights=du * dy) / square
        rss = float(((dy - slope[subject] * du) ** 2).sum())
        order = np.argsort(home, kind="stable")
        parts = (mean_y - slope * mean_u, slope, 1 / n + mean_u**2 / square, -mean_u / square, 1 / square)
        b0, b1, c00, c01, c11 = (np.asarray(part[order], dtype=np.float64) for part in parts)
        begins = np.flatnonzero(np.diff(home[order], prepend=-1))
        return cls(b0, b1, c00, c01, c11, begins, float(-np.log(n * square).sum()), rss)

    def evaluate(self, factor: FloatArray | None) -> _State:
        """Weigh the lines by the inverse of D + C, D = factor factor'; by one another without a factor."""
        if factor is None:
            w00, w01, w11, det = np.ones_like(self.b0), np.zeros_like(self.b0), np.ones_like(self.b0), np.ones(1)
        else:
            a, b, c = factor[0, 0], factor[1, 0], factor[1, 1]
            d00, d01, d11 = a * a, a * b, b * b + c * c
            det = (a * c) ** 2 + d00 * self.c11 + d11 * self.c00 - 2 * d01 * self.c01
            det = det + self.c00 * self.c11 - self.c01**2
            w00, w01, w11 = (d11 + self.c11) / det, -(d01 + self.c01) / det, (d00 + self.c00) / det
        pairs = np.stack([w00, w01, w11, w00 * self.b0 + w01 * self.b1, w01 * self.b0 + w11 * self.b1])
        g00, g01, g11, h0, h1 = np.add.reduceat(pairs, self.begins, axis=1)
        det_g = g00 * g11 - g01**2
        lines = np.stack([(g11 * h0 - g01 * h1) / det_g, (g00 * h1 - g01 * h0) / det_g], -1)
        r0, r1 = (self._within(b, lines[:, i]) for i, b in enumerate((self.b0, self.b1)))
        spread = float((w00 * r0**2 + 2 * w01 * r0 * r1 + w11 * r1**2).sum())
        information = np.stack([np.stack([g00, g01], -1), np.stack([g01, g11], -1)], -2)
        logs = float(np.log(det).sum() + np.log(det_g).sum()) - self.log_det
        return _State(information, lines, spread, logs, self.rss)

    def scatter(self, freedom: int) -> FloatArray:
        """Covariance (2, 2) of the own lines within strata."""
        sizes = np.diff(self.begins, append=self.b0.size)
        means = (np.add.reduceat(b, self.begins) / sizes for b in (self.b0, self.b1))
        r = np.stack([self._within(b, mean) for b, mean in zip((self.b0, self.b1), means, strict=True)])
        return np.asarray(r @ r.T / freedom, dtype=np.float64)

    def need_no_weighing(self, scatter: FloatArray, spare: int) -> bool:
        """Whether own slopes are known as well as exactly, or residual and lines cannot be told apart."""
        return spare == 0 or self.rss / spare * float(self.c11.max()) <= NO_RESIDUAL * float(scatter[1, 1])

    def _within(self, values: FloatArray, of_stratum: FloatArray) -> FloatArray:
        return values - np.repeat(of_stratum, np.diff(self.begins, append=values.size))


def _search(own: _OwnLines, scatter: FloatArray, freedom: int, spare: int) -> tuple[FloatArray, bool]:
    """Cholesky factor of the subjects' covariance over the residual variance with the highest likelihood.

    The units of the search are the moments' estimates, or the lines' errors where those are smaller.
    """
    error = np.array([own.c00.mean(), own.c11.mean()])
    variances = np.diag(scatter) / max(own.rss / spare, np.finfo(float).tiny) - error
    unit = np.sqrt(np.maximum(variances, 0.1 * error))

    def factor(free: FloatArray) -> FloatArray:
        return np.array([[free[0] * unit[0], 0.0], [free[1] * unit[1], free[2] * unit[1]]])

    def criterion(free: FloatArray) -> float:
        return own.evaluate(factor(free)).criterion(freedom)

    grid = [np.array([a, b, c]) for a in (0.0, 0.5, 1.0) for b in (-0.7, 0.0, 0.7) for c in (0.0, 0.5, 1.0)]
    grid.sort(key=criterion)
    best, done = grid[0], False
    for _ in range(6):  # a search restarted where it ended does not stall in a folded simplex
        simplex = np.vstack([best, best + np.diag(0.1 + 0.25 * np.abs(best))])
        options: Any = {"xatol": 1e-5, "fatol": 1e-8, "maxiter": 1000, "maxfev": 1000, "initial_simplex": simplex}
        found = scipy_optimize.minimize(criterion, best, method="Nelder-Mead", options=options)
        gain = criterion(best) - float(found.fun)
        best = np.asarray(found.x, dtype=np.float64) if gain > 0 else best
        done = bool(found.success) and gain < 1e-6
        if done:
            break
    return factor(best), done


def _parallel(
    lines: FloatArray, origin: float, scale: float, n_subjects: IntArray, y: FloatArray, *, sd_intercept: float
) -> RandomLines:
    """Values on lines that are parallel within a stratum: slopes without error, rounding cleared away."""
    slope = np.where(np.abs(lines[:, 1]) <= 1e-12 * float(np.abs(y).max()), 0.0, lines[:, 1] / scale)
    nothing = np.zeros(slope.size)
    intercept = lines[:, 0] - slope * origin
    return RandomLines(intercept, slope, nothing, n_subjects, sd_intercept, 0.0, None, 0.0, -math.inf, "no variation")


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
