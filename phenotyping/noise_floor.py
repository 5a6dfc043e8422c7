"""How much do magnitudes of several coils stand above the signal, and how is that taken back?"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cohort.records import MeasurementFailed

Array = NDArray[np.float64]

#: air is sought among this share of the pixels, the darkest over all times
DARKEST: Final = 0.05


def noise_power(series: NDArray[Any]) -> float:
    """Mean square of the noise of root-sum-of-squares images, from the air around the body.

    The square of such a magnitude is on average S^2 + 2 L SD^2 for L coils of noise SD, everywhere in the image alike
    (Constantinides et al., doi 10.1002/mrm.1910380524). Samples near the null of an inversion recovery never come near
    0, which shortens T1; late samples of a decay stay up, which lengthens T2.

    Parameters
    ----------
    series
        `(n_times, y, x)`, magnitudes of one slice with air in the field of view; images whose noise differs from place
        to place (SENSE, networks) have no such number.

    Returns
    -------
    2 L SD^2 in the signal's unit squared, the median over the darkest twentieth of the pixels: somewhat too low, because
    these are the darkest of the air. 0 where the surroundings were set to 0.
    """
    series = np.asarray(series)
    if np.iscomplexobj(series) or series.ndim != 3:
        raise MeasurementFailed(
            f"the noise power is that of magnitudes (n_times, y, x), got {series.shape} {series.dtype}"
        )
    square = np.sort((series.astype(np.float64) ** 2).mean(axis=0).ravel())
    return float(np.median(square[: max(1, round(DARKEST * square.size))]))


def without_noise_floor(series: NDArray[Any], power: float) -> Array:
    """sqrt(M^2 - power), 0 where the square is smaller."""
    return np.asarray(np.sqrt(np.maximum(np.asarray(series, dtype=np.float64) ** 2 - power, 0.0)))
