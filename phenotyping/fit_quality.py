"""Which pixels of a map can be believed, and why not the others?"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cohort.records import MeasurementFailed
from phenotyping.relaxometry import DecayFit, FitStatus, InversionRecoveryFit, SaturationRecoveryFit

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: B / A of a Look-Locker fit is 1 + T1 / T1* after a perfect inversion: 2 where the readout does nothing, 2.5 where it
#: shortens T1* by a third; an inversion of 75 % lowers 2 to 1.5
RATIO_RANGE: Final = (1.5, 2.6)


@dataclass(frozen=True)
class QualityLimits:
    """What a pixel must keep to; None does not ask.

    `max_relative_sd` is SD / value of the relaxation time, `min_r2` the explained variance, `ratio_range` the range of
    B / A (inversion recovery only).
    """

    max_relative_sd: float | None = 0.5
    min_r2: float | None = None
    ratio_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.max_relative_sd is not None and not self.max_relative_sd > 0:
            raise MeasurementFailed(f"max_relative_sd must be above 0, got {self.max_relative_sd}")


@dataclass(frozen=True)
class FitQuality:
    """Quality maps of a fit, all of its shape.

    `residual_sd` has the unit of the signal. `n_inverted` and `ratio` (B / A) are None where the curve has none.
    `accepted` is True where the fit succeeded and keeps to the limits; `refused` counts the other pixels by reason (a
    pixel counts for the first reason that applies).
    """

    residual_sd: Array
    r2: Array
    sd_ms: Array
    at_bound: Mask
    n_inverted: NDArray[np.int16] | None
    ratio: Array | None
    ratio_plausible: Mask | None
    accepted: Mask
    refused: dict[str, int]


def fit_quality(
    fit: InversionRecoveryFit | SaturationRecoveryFit | DecayFit, limits: QualityLimits | None = None
) -> FitQuality:
    """Quality maps of a fit, and which pixels keep to the limits.

    Notes
    -----
    SD maps of T1: Kellman et al. 2013, doi 10.1186/1532-429X-15-56.
    """
    limits = limits or QualityLimits()
    decay = isinstance(fit, DecayFit)
    value, sd = (fit.t_ms, fit.t_sd_ms) if isinstance(fit, DecayFit) else (fit.t1_ms, fit.t1_sd_ms)
    n_inverted, ratio, plausible = None, None, None
    with np.errstate(invalid="ignore", divide="ignore"):
        if isinstance(fit, InversionRecoveryFit):
            n_inverted, ratio = fit.n_inverted, fit.b / fit.a
            low, high = limits.ratio_range or RATIO_RANGE
            plausible = (ratio >= low) & (ratio <= high)
        checks: list[tuple[str, Any]] = [
            (status.name.lower().replace("_", " "), fit.status == status)
            for status in FitStatus
            if status != FitStatus.OK
        ]
        if limits.max_relative_sd is not None:
            checks.append(("uncertain", sd > limits.max_relative_sd * value))
        if limits.min_r2 is not None:
            checks.append(("poor fit", fit.r2 < limits.min_r2))
        if limits.ratio_range is not None and plausible is not None:
            checks.append(("B/A out of range", ~plausible))
    accepted = np.ones(np.shape(value), bool)
    refused: dict[str, int] = {}
    for reason, bad in checks:
        count = int(np.count_nonzero(bad & accepted))
        if count:
            refused[reason] = count
        accepted &= ~bad
    return FitQuality(
        residual_sd=fit.residual_sd,
        r2=fit.r2,
        sd_ms=sd,
        at_bound=fit.status == FitStatus.AT_BOUND,
        n_inverted=n_inverted,
        ratio=None if decay else ratio,
        ratio_plausible=plausible,
        accepted=accepted,
        refused=refused,
    )
