"""How fast does a ventricle empty and fill?

The rates are extremes of the derivative of the volume curve, which noise makes larger; so the curve is first smoothed
by what it is, a periodic function: its Fourier series up to a few harmonics.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cohort.records import MeasurementFailed

#: harmonics of the heart beat that are kept. On 41 closed-form beats of synthetic patients with noise of 2 % of the
#: stroke, the peak ejection rate comes out 6 +- 5 % and the peak filling rate 0 +- 6 % too large at 25 frames; with 4
#: harmonics filling is 12 % too slow, with 8 both are 6 to 7 +- 8 % too fast
HARMONICS: Final = 5
#: with 16 frames the spread is 6 to 7 %, with 12 it is 9 %
MIN_FRAMES_FOR_RATES: Final = 16
POINTS_PER_FRAME: Final = 16


@dataclass(frozen=True)
class PeakRates:
    """Largest speed of emptying and of filling, both positive, mL/s, and when, as fractions of the cycle."""

    ejection_ml_s: float
    filling_ml_s: float
    ejection_phase: float
    filling_phase: float


def peak_rates(volumes_ml: NDArray[np.float64], *, frame_time_s: float) -> PeakRates:
    """Peak ejection and filling rate of a curve that covers one cycle.

    V(t) = sum of c_k exp(2 pi i k t / T) over |k| <= 5, from the discrete Fourier transform of the frames; its
    derivative is taken in closed form and searched on a grid 16 times finer than the frames.

    Parameters
    ----------
    volumes_ml
        `(n_frames,)`, mL; the frame after the last is the first.
    frame_time_s
        Time between frames, s.

    Raises
    ------
    MeasurementFailed
        With fewer than 16 frames, values that are not finite, or no positive frame time.
    """
    volumes = np.asarray(volumes_ml, np.float64)
    if volumes.ndim != 1 or volumes.size < MIN_FRAMES_FOR_RATES:
        raise MeasurementFailed(
            f"filling and emptying rates need {MIN_FRAMES_FOR_RATES} frames or more, got shape {volumes.shape}"
        )
    if not np.isfinite(volumes).all():
        raise MeasurementFailed("filling and emptying rates need finite volumes")
    if not (np.isfinite(frame_time_s) and frame_time_s > 0):
        raise MeasurementFailed(f"frame time must be a positive number of s, got {frame_time_s}")
    n = volumes.size
    k = np.arange(1, HARMONICS + 1)
    coefficients = np.fft.rfft(volumes)[1 : HARMONICS + 1] / n
    phase = np.arange(n * POINTS_PER_FRAME) / (n * POINTS_PER_FRAME)
    omega = 2 * np.pi * k / (n * frame_time_s)
    rate = 2 * np.real(np.exp(2j * np.pi * np.outer(phase, k)) @ (1j * omega * coefficients))
    fastest, slowest = int(np.argmax(rate)), int(np.argmin(rate))
    # a curve that does not change has no rate below or above zero but rounding
    return PeakRates(
        max(0.0, -float(rate[slowest])), max(0.0, float(rate[fastest])), float(phase[slowest]), float(phase[fastest])
    )
