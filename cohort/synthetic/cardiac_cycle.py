"""How full is a ventricle at each moment of the heart beat?"""

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class CycleTiming:
    """When the phases of a beat end, as fractions of the RR interval, and what share of the stroke each filling phase
    restores.

    End-diastole is at 0. Isovolumic contraction, ejection to about 35 % of the cycle, isovolumic relaxation (the
    volume rests at its minimum), rapid filling, diastasis, atrial kick.
    """

    contraction_end: float = 0.03
    ejection_end: float = 0.35
    relaxation_end: float = 0.42
    rapid_filling_end: float = 0.62
    diastasis_end: float = 0.84
    rapid_filling_share: float = 0.72
    diastasis_share: float = 0.06

    def __post_init__(self) -> None:
        knots = (
            0.0,
            self.contraction_end,
            self.ejection_end,
            self.relaxation_end,
            self.rapid_filling_end,
            self.diastasis_end,
            1.0,
        )
        if any(b <= a for a, b in itertools.pairwise(knots)):
            raise ValueError(f"the phases of a heart beat must end one after the other within (0, 1), got {knots}")
        if not 0 < self.rapid_filling_share + self.diastasis_share < 1:
            raise ValueError(
                "rapid filling and diastasis must restore more than nothing and less than the whole stroke"
            )


def filling(phase: ArrayLike, timing: CycleTiming) -> NDArray[np.float64]:
    """Volume as a share of the stroke above end-systole: 1 at end-diastole, 0 at end-systole; periodic in ``phase``.

    Parameters
    ----------
    phase
        Time divided by the RR interval, any shape.
    timing
        Ends of the phases.
    """
    t = np.mod(np.asarray(phase, dtype=np.float64), 1.0)
    early = timing.rapid_filling_share
    late = early + timing.diastasis_share

    def eased(start: float, end: float) -> NDArray[np.float64]:
        return 0.5 - 0.5 * np.cos(np.pi * np.clip((t - start) / (end - start), 0, 1))

    ejected = eased(timing.contraction_end, timing.ejection_end)
    filled = early * eased(timing.relaxation_end, timing.rapid_filling_end)
    filled += (late - early) * np.clip(
        (t - timing.rapid_filling_end) / (timing.diastasis_end - timing.rapid_filling_end), 0, 1
    )
    filled += (1 - late) * eased(timing.diastasis_end, 1.0)
    return 1.0 - ejected + filled
