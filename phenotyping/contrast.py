"""Which image of a mapping series shows the myocardium best, so that it is segmented on the series itself?"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohort.records import MeasurementFailed


def segmentation_image(series: NDArray[Any], times_ms: NDArray[np.floating], *, modality: str) -> NDArray[np.float32]:
    """One image of a T1, T2 or T1rho mapping series on which blood and myocardium differ, all times in it.

    T1: the standard deviation of the magnitude over the inversion times, large where T1 is far from that of the
    neighborhood whatever the field strength. T2 and T1rho: the mean over the preparations (both decay in
    the same way). On phantoms both segment better than
    any single time (myocardial Dice 0.88 against 0.85, and 0.90 against 0.68; see the model card), and they hold the
    noise of all images.

    Parameters
    ----------
    series
        (times, slices, y, x), real or complex.
    times_ms
        (times,) of the series; further frames are ignored.
    modality
        ``T1 mapping``, ``T2 mapping`` or ``T1 rho mapping``.

    Returns
    -------
    float32 (1, slices, y, x)

    Raises
    ------
    MeasurementFailed
        Another modality, or no times.
    """
    if not len(times_ms) or len(times_ms) > len(series):
        raise MeasurementFailed(f"{len(times_ms)} times for {len(series)} images; expected one time an image")
    magnitude = np.abs(series[: len(times_ms)]).astype(np.float32)
    if modality.startswith("T1 mapping"):
        return magnitude.std(axis=0, keepdims=True)
    if modality.startswith(("T2 mapping", "T1 rho mapping")):
        return magnitude.mean(axis=0, keepdims=True)
    raise MeasurementFailed(f"no rule says which image of {modality!r} to segment; known are T1, T2 and T1 rho mapping")
