"""What is T1 by ShMOLLI, which decides pixel by pixel how many of its samples count?"""

from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cohort.records import MeasurementFailed
from phenotyping.relaxometry import FitStatus, InversionRecoveryFit, fit_inversion_recovery

#: images after the first, second and third inversion
SCHEME: Final = (5, 1, 1)
#: a sample after the second inversion counts up to a T1 of this many heart beats, one after the third up to the other:
#: longer T1 has not recovered when the next inversion comes
MAX_BEATS: Final = (1.0, 0.4)
#: a further sample may let the residual SD grow by this share and no more
MAX_GROWTH: Final = 0.2


@dataclass(frozen=True)
class ShmolliFit:
    """The fit chosen a pixel, and the number of samples (5, 6 or 7) that it used; 0 where no fit succeeded."""

    fit: InversionRecoveryFit
    n_samples: NDArray[np.uint8]


def fit_shmolli(
    signal: NDArray[Any],
    inversion_times_ms: NDArray[np.floating],
    *,
    rr_ms: float,
    signed: bool = False,
    max_growth: float = MAX_GROWTH,
) -> ShmolliFit:
    """Fit five samples; take a sixth and a seventh where they can be trusted.

    ShMOLLI (Piechnik et al., doi 10.1186/1532-429X-12-69) images 5, 1 and 1 beats after three inversions without time
    for full recovery in between. What is done here, for every pixel:

    1. The five samples of the first inversion are fitted.
    2. The six samples of two inversions are taken instead if their T1 is at most 1 RR interval and their residual SD is
       at most 1.2 times that of the five.
    3. The seven samples are taken instead if step 2 took six, their T1 is at most 0.4 RR and their residual SD is at
       most 1.2 times that of the six.

    The bounds of T1 follow from the scheme. The factor is ours: the scanner's own rule of quality is not published in
    full.

    Parameters
    ----------
    signal
        `(..., 7)` in the order of acquisition.
    inversion_times_ms
        `(7,)`, ms, in the order of acquisition: five of the first inversion, then one each.
    rr_ms
        Time between heart beats.
    signed, max_growth
        As in `fit_inversion_recovery`; the factor less 1.

    Raises
    ------
    MeasurementFailed
        For another number of samples, or times that do not follow the scheme.
    """
    times = np.asarray(inversion_times_ms, dtype=np.float64)
    n = sum(SCHEME)
    if times.shape != (n,) or np.shape(signal)[-1:] != (n,):
        raise MeasurementFailed(f"ShMOLLI has {n} samples, got {np.shape(signal)} and {times.shape} times")
    if (np.diff(times[:5]) <= 0).any() or (times[5:] >= times[1]).any() or not rr_ms > 0:
        raise MeasurementFailed(
            "expected five rising inversion times, two early ones of further inversions, and an RR interval above 0 ms; "
            f"got {times.tolist()} and {rr_ms}"
        )
    chosen = fit_inversion_recovery(signal[..., :5], times[:5], signed=signed, polarities="all")
    used = np.where(chosen.status == FitStatus.OK, 5, 0).astype(np.uint8)
    for count, beats in zip((6, 7), MAX_BEATS, strict=True):
        more = fit_inversion_recovery(signal[..., :count], times[:count], signed=signed, polarities="all")
        with np.errstate(invalid="ignore"):
            take = (
                (used == count - 1)
                & (more.t1_ms <= beats * rr_ms)
                & (more.residual_sd <= (1 + max_growth) * chosen.residual_sd)
            )
        names = [field.name for field in fields(chosen)]
        chosen = InversionRecoveryFit(
            **{name: np.where(take, getattr(more, name), getattr(chosen, name)) for name in names}
        )
        used[take] = count
    return ShmolliFit(chosen, used)
