"""Do the differences grow with what is measured, and which limits follow them?"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.stats as scipy_stats
from numpy.typing import ArrayLike

from stats.intervals import FloatArray, Interval, checked_fraction, paired_vectors

Against = Literal["mean", "reference"]
Spread = Literal["varying", "constant"]
_ABSOLUTE_TO_SD = math.sqrt(math.pi / 2)  # SD over mean absolute value of a normal variable


@dataclass(frozen=True)
class ProportionalBias:
    """Line of the differences on what is measured.

    `p` tests slope 0; `heteroscedasticity_p` tests that the spread about the line does not change along it, and is None
    where all points lie on the line.
    """

    n: int
    on: str
    intercept: Interval
    slope: Interval
    p: float
    residual_sd: float
    heteroscedasticity_p: float | None


@dataclass(frozen=True)
class LimitsAt:
    """Bias, standard deviation and limits at given values, arrays of one shape."""

    values: FloatArray
    bias: FloatArray
    sd: FloatArray
    lower: FloatArray
    upper: FloatArray


@dataclass(frozen=True)
class VaryingLimits:
    """Limits of agreement as lines: ``bias(v) = intercept + slope v``, ``SD(v) = spread_intercept + spread_slope v``.

    `spread_p` tests that the spread does not change (None where it is taken as constant). Between `low` and `high` lie
    the values measured, less those at an end where the line of the spread has fallen below 0.
    """

    n: int
    on: str
    coverage: float
    intercept: Interval
    slope: Interval
    spread_intercept: float
    spread_slope: float
    spread_p: float | None
    low: float
    high: float

    def limits_at(self, values: ArrayLike) -> LimitsAt:
        """Limits at `values` of the mean or the reference, in its unit.

        Raises
        ------
        ValueError
            For values that are not finite, or where the line of the spread has fallen below 0.
        """
        v = np.asarray(values, dtype=np.float64)
        if not np.isfinite(v).all():
            raise ValueError("values at which limits are wanted must be finite")
        bias = self.intercept.estimate + self.slope.estimate * v
        sd = self.spread_intercept + self.spread_slope * v
        sd = np.where(np.abs(sd) < 1e-12 * (abs(self.spread_intercept) + np.abs(self.spread_slope * v)), 0.0, sd)
        if (sd < 0).any():
            raise ValueError(
                f"the line of the spread is below 0 at {float(v.flat[int(np.argmin(sd))]):g}; stay between {self.low:g} "
                f"and {self.high:g}, or take spread='constant'"
            )
        z = float(scipy_stats.norm.ppf(0.5 + self.coverage / 2))
        return LimitsAt(v, bias, sd, bias - z * sd, bias + z * sd)


def proportional_bias(
    reference: ArrayLike, test: ArrayLike, *, on: Against = "mean", confidence: float = 0.95
) -> ProportionalBias:
    """Least-squares line of ``test - reference`` on the mean of both or on the reference.

    On the mean the slope is not 0 where the standard deviations of both methods differ, bias or not; on the reference
    it is drawn down by the error of the reference. Deming or Passing-Bablok (`stats.regression`) confirm.
    The spread is tested with Koenker's studentized form of the Breusch-Pagan test, which needs no normality.
    Source: Bland and Altman 1999, doi 10.1177/096228029900800204; Krouwer 2008 (on the reference),
    doi 10.1002/sim.3086; Koenker 1981, doi 10.1016/0304-4076(81)90062-2.

    Parameters
    ----------
    reference, test : array (n,)
        One value per subject, same unit, n >= 3, finite.
    on : {"mean", "reference"}
        What the differences are held against.
    confidence : float
        Two-sided confidence of intercept and slope (Student t, n - 2 degrees of freedom).

    Raises
    ------
    ValueError
        For n < 3, lengths that differ, values that are not finite, values that are all the same, or an unknown `on`.
    """
    v, d = _value_and_difference(reference, test, on)
    level = checked_fraction(confidence, name="confidence")
    intercept, slope, p, residual = _line(v, d, level)
    spread_p = _breusch_pagan(v, residual, float(np.abs(d).max()))
    sd = math.sqrt(float(residual @ residual) / (v.size - 2))
    return ProportionalBias(v.size, on, intercept, slope, p, sd, spread_p)


def regression_limits(
    reference: ArrayLike,
    test: ArrayLike,
    *,
    on: Against = "mean",
    spread: Spread = "varying",
    confidence: float = 0.95,
    coverage: float = 0.95,
) -> VaryingLimits:
    """Limits of agreement that follow what is measured: a line for the bias and one for the standard deviation.

    The absolute residuals of the bias line are regressed in turn, and that line times ``sqrt(pi / 2)`` is the standard
    deviation; with ``spread="constant"`` it is the residual standard deviation everywhere. The paper takes the constant
    one where the slope of the spread could be chance (`spread_p`); choosing by the data makes the limits look better
    than they are, so the choice is an option here. There is no interval of such limits in the source, and none here.
    Source: Bland and Altman 1999, section 3.2, doi 10.1177/096228029900800204.

    Parameters
    ----------
    reference, test : array (n,)
        One value per subject, same unit, n >= 3, finite.
    on : {"mean", "reference"}
        What the differences are held against.
    spread : {"varying", "constant"}
        Whether the standard deviation is a line or one number.
    confidence : float
        Of the intervals of intercept and slope.
    coverage : float
        Share of the population the limits should hold.

    Raises
    ------
    ValueError
        As `proportional_bias`, or for an unknown `spread`.
    """
    if spread not in ("varying", "constant"):
        raise ValueError(f"spread must be 'varying' or 'constant', got {spread!r}")
    v, d = _value_and_difference(reference, test, on)
    level, share = checked_fraction(confidence, name="confidence"), checked_fraction(coverage, name="coverage")
    intercept, slope, _, residual = _line(v, d, level)
    spread_p: float | None = None
    if spread == "constant":
        base, rise = math.sqrt(float(residual @ residual) / (v.size - 2)), 0.0
    else:
        first, second, spread_p, _ = _line(v, np.abs(residual), level)
        base, rise = first.estimate * _ABSOLUTE_TO_SD, second.estimate * _ABSOLUTE_TO_SD
    low, high = _where_positive(float(v.min()), float(v.max()), base, rise)
    return VaryingLimits(v.size, on, share, intercept, slope, base, rise, spread_p, low, high)


def _value_and_difference(reference: ArrayLike, test: ArrayLike, on: str) -> tuple[FloatArray, FloatArray]:
    if on not in ("mean", "reference"):
        raise ValueError(f"on must be 'mean' or 'reference', got {on!r}")
    x, y = paired_vectors(reference, test, names=("reference", "test"), at_least=3)
    v = x if on == "reference" else (x + y) / 2
    if np.ptp(v) == 0.0:
        raise ValueError(f"a slope needs values that differ, but every {on} is {float(v[0]):g}")
    return v, y - x


def _line(v: FloatArray, y: FloatArray, level: float) -> tuple[Interval, Interval, float, FloatArray]:
    """Intercept, slope, p of slope 0 and residuals of a least-squares line."""
    n, middle = v.size, float(v.mean())
    centered = v - middle
    square = float(centered @ centered)
    slope = float(centered @ y) / square
    intercept = float(y.mean()) - slope * middle
    residual = y - intercept - slope * v
    variance = float(residual @ residual) / (n - 2)
    error = math.sqrt(variance / square)
    base_error = math.sqrt(variance * (1 / n + middle**2 / square))
    t = float(scipy_stats.t.ppf(0.5 + level / 2, n - 2))
    p = 2 * float(scipy_stats.t.sf(abs(slope) / error, n - 2)) if error > 0 else float(slope == 0.0)
    method = "least squares, Student t"
    return (
        Interval(intercept, intercept - t * base_error, intercept + t * base_error, level, n, method),
        Interval(slope, slope - t * error, slope + t * error, level, n, method),
        p,
        residual,
    )


def _where_positive(low: float, high: float, base: float, rise: float) -> tuple[float, float]:
    """Part of the range where the line is not below 0; at the mean of the values it never is."""
    if base + rise * low < 0:
        low = -base / rise
    if base + rise * high < 0:
        high = -base / rise
    return low, high


def _breusch_pagan(v: FloatArray, residual: FloatArray, scale: float) -> float | None:
    """P of a spread that does not change: n times R squared of the squared residuals on `v` is chi-square."""
    square = residual**2
    if float(np.abs(residual).max()) <= 1e-12 * scale or np.ptp(square) == 0.0:
        return None
    r = float(np.corrcoef(v, square)[0, 1])
    return float(scipy_stats.chi2.sf(v.size * r**2, 1))
