"""Which image of a mapping series shows the myocardium best, so that it is segmented on the series itself?"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohort.records import MeasurementFailed


def segmentation_image(series: NDArray[Any], *, modality: str) -> NDArray[np.float32]:
    """One magnitude image of a T1 or T2 mapping series on which blood and myocardium differ.

    T1: the mean magnitude over all inversion times (no single time is free of a nulled tissue at every field
    strength). T2: the first,
    least prepared image.

    Parameters
    ----------
    series
        (times, slices, y, x), real or complex.
    modality
        ``T1 mapping`` or ``T2 mapping``.

    Returns
    -------
    float32 (1, slices, y, x)

    Raises
    ------
    MeasurementFailed
        Another modality.
    """
    magnitude = np.abs(series).astype(np.float32)
    if modality.startswith("T1 mapping"):
        return magnitude.mean(axis=0, keepdims=True)
    if modality.startswith("T2 mapping"):
        return magnitude[:1]
    raise MeasurementFailed(f"no rule says which image of {modality!r} to segment; known are T1 and T2 mapping")
