"""Which sign had each sample of a recovery, where complex images tell it?"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohort.records import MeasurementFailed

Array = NDArray[np.float64]


def restore_sign(series: NDArray[Any], times_ms: NDArray[np.floating]) -> Array:
    """Signed magnitudes: the phase of the image of the latest time, when all recover upward, is the reference.

    sign(Re(S_i conj(S_last))) |S_i|. Needs images whose phase is that of the object: one coil, or coils combined with
    their sensitivities. A root sum of squares has no phase.

    Parameters
    ----------
    series
        `(..., n_times)`, complex.
    times_ms
        `(n_times,)`, ms; the largest one is the reference.

    Returns
    -------
    float64 of the shape of `series`, for `fit_inversion_recovery(..., signed=True)`.

    Raises
    ------
    MeasurementFailed
        Without complex samples, or a time a sample.
    """
    series, times = np.asarray(series), np.asarray(times_ms, dtype=np.float64)
    if not np.iscomplexobj(series):
        raise MeasurementFailed("only complex images hold the sign; fit magnitudes with signed=False")
    if times.ndim != 1 or series.shape[-1:] != times.shape:
        raise MeasurementFailed(f"expected one time a sample, got {series.shape} and {times.shape} times")
    last = int(np.argmax(times))
    upward = np.real(series * np.conj(series[..., last : last + 1])) >= 0
    return np.asarray(np.where(upward, 1.0, -1.0) * np.abs(series))
