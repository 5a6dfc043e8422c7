"""Which image of a mapping series shows the myocardium best, so that it is segmented on the series itself?"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohort.records import MeasurementFailed


def segmentation_image(series: NDArray[Any], times_ms: NDArray[np.floating], *, modality: str) -> NDArray[np.float32]:
    """One magnitude image of a T1 or T2 mapping series on which blood and myocardium differ.

    T1: the image at the longest inversion time, when no tissue is nulled any more (on phantoms it segments better than
    the mean over all times, see the model card). T2: the image with the shortest preparation, which has most signal.

    Parameters
    ----------
    series
        (times, slices, y, x), real or complex.
    times_ms
        (times,) of the series; further frames are ignored.
    modality
        ``T1 mapping`` or ``T2 mapping``.

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
    if modality.startswith("T1 mapping"):
        chosen = int(np.argmax(times_ms))
    elif modality.startswith("T2 mapping"):
        chosen = int(np.argmin(times_ms))
    else:
        raise MeasurementFailed(f"no rule says which image of {modality!r} to segment; known are T1 and T2 mapping")
    return np.abs(series[chosen : chosen + 1]).astype(np.float32)
