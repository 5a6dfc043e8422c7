"""Which AHA segment is where, and how do values given per segment spread smoothly over the wall?

theta = 0 is the middle of the septum and grows towards the anterior wall; u = 0 is the endocardial apex and u = 1 the
base plane. The 17th segment, the true apex, takes the values of its neighbors above. Cerqueira et al. 2002, doi
10.1161/hc0402.102975.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

APEX_U = 0.1
"""Below it lies segment 17."""
THIRDS_U = (APEX_U, 0.4, 0.7, 1.0)
"""Borders of the apical, mid and basal thirds."""
RING_U = (0.25, 0.55, 0.85)
"""Middles of the apical, mid and basal ring, where a value is met exactly at the middle of its segment."""

# basal and mid: anterior, anteroseptal, inferoseptal, inferior, inferolateral, anterolateral; apical: anterior,
# septal, inferior, lateral
_RING_DEG = (90.0, 30.0, -30.0, -90.0, -150.0, 150.0)
_APICAL_DEG = (90.0, 0.0, -90.0, 180.0)
SEGMENTS = tuple(range(1, 17))


def segment_of(theta: ArrayLike, u: ArrayLike) -> NDArray[np.int64]:
    """AHA segment 1..16 of points of the wall, 17 below `APEX_U`."""
    theta, u = np.broadcast_arrays(np.asarray(theta, dtype=np.float64), np.asarray(u, dtype=np.float64))
    degrees = np.degrees(theta)
    ring = np.mod(np.round((90.0 - degrees) / 60.0 - 1e-9).astype(np.int64), 6)
    apical = np.mod(np.round((90.0 - degrees) / 90.0 - 1e-9).astype(np.int64), 4)
    return np.where(
        u >= THIRDS_U[2], 1 + ring, np.where(u >= THIRDS_U[1], 7 + ring, np.where(u >= APEX_U, 13 + apical, 17))
    )


def middle_of(segment: int) -> tuple[float, float]:
    """(theta, u) where the value prescribed for a segment is met exactly."""
    if segment <= 6:
        return math.radians(_RING_DEG[segment - 1]), RING_U[2]
    if segment <= 12:
        return math.radians(_RING_DEG[segment - 7]), RING_U[1]
    return math.radians(_APICAL_DEG[segment - 13]), RING_U[0]


def spread(values: tuple[float, ...], theta: ArrayLike, u: ArrayLike) -> Array:
    """Interpolate 16 segment values over the wall.

    Squared cosines are a partition of unity: the result never leaves the range of the values, is continuous with its
    slope, and is the prescribed value in the middle of each segment. Constant above the basal and below the apical
    ring.
    """
    theta, u = np.asarray(theta, dtype=np.float64), np.asarray(u, dtype=np.float64)
    apical, mid, basal = RING_U
    low, high = _rise(u, apical, mid), _rise(u, mid, basal)
    around = [
        _around(values[12:], _APICAL_DEG, theta),
        _around(values[6:12], _RING_DEG, theta),
        _around(values[:6], _RING_DEG, theta),
    ]
    return (1 - low) * around[0] + (low - high) * around[1] + high * around[2]


def _rise(u: Array, start: float, end: float) -> Array:
    return np.sin(0.5 * np.pi * np.clip((u - start) / (end - start), 0, 1)) ** 2


def _around(values: tuple[float, ...], middles_deg: tuple[float, ...], theta: Array) -> Array:
    width = 2 * np.pi / len(values)
    total = np.zeros_like(theta)
    for value, middle in zip(values, middles_deg, strict=True):
        away = np.abs(np.mod(theta - math.radians(middle) + np.pi, 2 * np.pi) - np.pi)
        total += value * np.where(away < width, np.cos(0.5 * np.pi * away / width) ** 2, 0.0)
    return total
