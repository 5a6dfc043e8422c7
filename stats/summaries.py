"""What do limits over centers come to when only number, mean and standard deviation of each center are known?"""

import math
from collections.abc import Sequence

import numpy as np

from stats.bland_altman import BlandAltman, bland_altman
from stats.centers import Center, combined
from stats.intervals import FloatArray
from stats.nested import NestedLimits, nested_limits


def stand_in(center: Center) -> FloatArray:
    """Values with exactly the number, mean and standard deviation of a center.

    For normal values number, mean and variance are sufficient: whatever depends on a center's values only through them is
    the same for these as for the values themselves. That holds for means, normal-theory tests and limits, and for the
    restricted likelihood of variance components with one value a subject; not for ranks, quantiles or counts.

    Raises
    ------
    ValueError
        For n < 1, a mean that is not finite, or a standard deviation that does not fit n.
    """
    if center.n < 1 or not math.isfinite(center.mean):
        raise ValueError(f"center {center.name}: expected n >= 1 and a finite mean, got {center}")
    if center.n == 1:
        if center.sd is not None:
            raise ValueError(f"center {center.name}: one subject has no standard deviation, got {center.sd}")
        return np.array([center.mean])
    if center.sd is None or not math.isfinite(center.sd) or center.sd < 0:
        raise ValueError(f"center {center.name}: expected a standard deviation of 0 or more, got {center.sd}")
    steps = np.arange(center.n, dtype=np.float64)
    steps -= steps.mean()
    return np.asarray(center.mean + center.sd * steps / steps.std(ddof=1), dtype=np.float64)


def stand_ins(centers: Sequence[Center]) -> tuple[FloatArray, list[str]]:
    """The values of :func:`stand_in` of all centers, and whose they are."""
    parts = [stand_in(center) for center in centers]
    names = [center.name for center, part in zip(centers, parts, strict=True) for _ in range(part.size)]
    return np.concatenate(parts), names


def nested_from_summaries(
    centers: Sequence[Center], *, confidence: float = 0.95, coverage: float = 0.95
) -> NestedLimits:
    """Limits for a new subject in a new center, equal to `stats.nested.nested_limits` of the subjects' own differences.

    Parameters
    ----------
    centers : sequence of Center
        Number, mean and standard deviation of the differences, one value a subject.
    confidence, coverage : float
        As `nested_limits`.

    Raises
    ------
    ValueError
        For no centers, a name twice, summaries that do not fit together, or as `nested_limits`.
    """
    combined(centers)  # says what is wrong with them
    values, names = stand_ins(centers)
    return nested_limits(values, names, np.arange(values.size), confidence=confidence, coverage=coverage)


def limits_from_summary(center: Center, *, confidence: float = 0.95) -> BlandAltman:
    """Bias and exact limits, equal to `stats.bland_altman.bland_altman` of the subjects' own values.

    Raises
    ------
    ValueError
        For n < 3, or as :func:`stand_in`.
    """
    values = stand_in(center)
    return bland_altman(np.zeros_like(values), values, confidence=confidence)
