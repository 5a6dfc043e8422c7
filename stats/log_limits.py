"""Which limits of agreement hold where differences are proportional to what is measured?"""

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import scipy.stats as scipy_stats
from numpy.typing import ArrayLike

from stats.bland_altman import BlandAltman, IntervalKind, bland_altman
from stats.intervals import FloatArray, Interval, paired_vectors


@dataclass(frozen=True)
class RatioLimits:
    """Geometric mean of the ratios test / reference and its limits of agreement, from the logarithms.

    `log_sd` is the standard deviation of the log ratios; `euser_slope` the half width of the limits per unit of the
    mean of both methods where the ratio is 1.
    """

    n: int
    ratio: Interval
    lower_limit: Interval
    upper_limit: Interval
    log_sd: float
    euser_slope: float
    coverage: float

    def differences_at(self, means: ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Lower limit, bias and upper limit as differences, at given means of both methods.

        A ratio r and a mean A fix the difference, ``2 A (r - 1) / (r + 1)``; the limits are lines through the origin.
        Source: Euser 2008, doi 10.1373/clinchem.2007.092866, where the ratio is 1.
        """
        a = np.asarray(means, dtype=np.float64)
        lower, middle, upper = (
            2 * a * (r.estimate - 1) / (r.estimate + 1) for r in (self.lower_limit, self.ratio, self.upper_limit)
        )
        return lower, middle, upper


def ratio_limits(
    reference: ArrayLike,
    test: ArrayLike,
    *,
    confidence: float = 0.95,
    interval: IntervalKind = "exact",
    coverage: float = 0.95,
) -> RatioLimits:
    """Limits of agreement of the ratio test / reference, ``exp(mean log ratio ± z s)``.

    Source: Bland and Altman 1999, section 3.1, doi 10.1177/096228029900800204.

    Parameters
    ----------
    reference, test : array (n,)
        One value per subject, same unit, n >= 3, above 0.
    confidence, interval, coverage
        As in `stats.bland_altman.bland_altman`, on the logarithms.

    Returns
    -------
    RatioLimits
        Without unit; 1 is no difference.

    Raises
    ------
    ValueError
        As `bland_altman`, or for values that are not above 0.
    """
    x, y = paired_vectors(reference, test, names=("reference", "test"), at_least=3)
    for name, values in (("reference", x), ("test", y)):
        if (values <= 0).any():
            raise ValueError(f"{name}: ratios need values above 0, the smallest is {float(values.min()):g}")
    logs = bland_altman(np.log(x), np.log(y), confidence=confidence, interval=interval, coverage=coverage)
    a = math.exp(float(scipy_stats.norm.ppf(0.5 + coverage / 2)) * logs.sd.estimate)
    return RatioLimits(
        n=logs.n,
        ratio=_raised(logs.bias),
        lower_limit=_raised(logs.lower_limit),
        upper_limit=_raised(logs.upper_limit),
        log_sd=logs.sd.estimate,
        euser_slope=2 * (a - 1) / (a + 1),
        coverage=coverage,
    )


def percent_limits(
    reference: ArrayLike,
    test: ArrayLike,
    *,
    of: Literal["mean", "reference"] = "mean",
    confidence: float = 0.95,
    interval: IntervalKind = "exact",
    coverage: float = 0.95,
) -> BlandAltman:
    """Bias and limits of agreement of the differences in percent of the mean of both methods or of the reference.

    Source: Giavarina 2015, doi 10.11613/BM.2015.015.

    Parameters
    ----------
    reference, test : array (n,)
        One value per subject, same unit, n >= 3; what is divided by must be above 0.
    of : {"mean", "reference"}
        What the differences are divided by.
    confidence, interval, coverage
        As in `stats.bland_altman.bland_altman`.

    Returns
    -------
    BlandAltman
        In percent.

    Raises
    ------
    ValueError
        As `bland_altman`, for an unknown `of`, or where what is divided by is not above 0.
    """
    x, y = paired_vectors(reference, test, names=("reference", "test"), at_least=3)
    if of not in ("mean", "reference"):
        raise ValueError(f"of must be 'mean' or 'reference', got {of!r}")
    base = x if of == "reference" else (x + y) / 2
    if (base <= 0).any():
        raise ValueError(f"percent of the {of} needs values above 0, the smallest is {float(base.min()):g}")
    percent = 100 * (y - x) / base
    return bland_altman(np.zeros(x.size), percent, confidence=confidence, interval=interval, coverage=coverage)


def _raised(logs: Interval) -> Interval:
    return replace(
        logs,
        estimate=math.exp(logs.estimate),
        low=math.exp(logs.low),
        high=math.exp(logs.high),
        method=f"{logs.method}, of the ratio",
    )
