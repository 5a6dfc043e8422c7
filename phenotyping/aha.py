"""In which of the AHA segments does a point of the left ventricle's wall lie?

Cerqueira et al., doi 10.1161/hc0402.102975. Segment 17 is the muscle below the cavity, so no point of a short-axis ring
lies in it.
"""

from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Level = Literal["basal", "mid", "apical"]

SEGMENTS: Final = range(1, 17)
APEX: Final = 17
#: first segment of each level; basal and mid have six sectors of 60 degrees, apical four of 90
FIRST: Final[dict[Level, int]] = {"basal": 1, "mid": 7, "apical": 13}
#: the RV touches the wall within this many pixels
TOUCH_PIXELS: Final = 1.5
#: the septum as seen from the LV center; other arcs are broken segmentations
SEPTUM_DEGREES: Final = (20.0, 200.0)


@dataclass(frozen=True)
class Axes:
    """Directions (unit vectors, world) from the LV center to the septum, apex to base, inferior to anterior wall."""

    lv_to_septum: tuple[float, float, float]
    apex_to_base: tuple[float, float, float]
    inferior_to_anterior: tuple[float, float, float]


@dataclass(frozen=True)
class WallPoints:
    """Points on the endocardium `(n, 3)` in world mm with wall thickness, weight and AHA segment (0: none).

    Where the apex is visible one point is the lower end of the cavity: segment 17, weight 0.

    `level_of_slice` holds the slices measured, `excluded` the others that hold left ventricle and why they were not.
    """

    points: Array
    thickness_mm: Array
    weight: Array
    segment: NDArray[np.int8]
    frame: Axes | None
    level_of_slice: dict[int, Level]
    excluded: dict[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def axes(lv_to_septum: Array, apex_to_base: Array) -> Axes:
    """Complete the frame: anterior = apex_to_base x lv_to_septum (right-handed world)."""
    septum = lv_to_septum / np.linalg.norm(lv_to_septum)
    base = apex_to_base / np.linalg.norm(apex_to_base)
    return Axes(_triple(septum), _triple(base), _triple(np.cross(base, septum)))


def septum_angle(touching: Array) -> float | None:
    """Middle of the arc in which the RV touches the wall, rad; None where the arc is no septum.

    The insertion points are the two ends of the widest arc without contact.

    Parameters
    ----------
    touching
        Angles, seen from the LV center, of the places that the RV touches; one at least.
    """
    angles = np.sort(touching)
    gaps = np.diff(angles, append=angles[0] + 2 * np.pi)
    widest = int(np.argmax(gaps))
    first, width = angles[(widest + 1) % len(angles)], 2 * np.pi - gaps[widest]
    if not SEPTUM_DEGREES[0] <= np.degrees(width) <= SEPTUM_DEGREES[1]:
        return None
    return float(first + width / 2)


def levels(n_slices: int) -> list[Level]:
    """Level of each of `n_slices` slices sorted from base to apex: the first third basal, the second mid."""
    basal, mid = -(-n_slices // 3), -(-2 * n_slices // 3)
    return ["basal" if i < basal else "mid" if i < mid else "apical" for i in range(n_slices)]


def segments(points: Array, center: Array, *, frame: Axes, level: Level) -> NDArray[np.int8]:
    """AHA segment of points `(n, 3)` around the center `(3,)` of their slice.

    The angle runs from anterior over the septum: sectors are anterior, anteroseptal, inferoseptal, inferior,
    inferolateral, anterolateral (basal, mid) and anterior, septal, inferior, lateral (apical).
    """
    offset = points - center
    to_septum, to_anterior = (offset @ np.array(v) for v in (frame.lv_to_septum, frame.inferior_to_anterior))
    degrees = np.degrees(np.arctan2(to_septum, to_anterior))
    width = 90.0 if level == "apical" else 60.0
    sector = np.floor(np.mod(degrees + width / 2, 360.0) / width).astype(np.int64) % round(360 / width)
    return (FIRST[level] + sector).astype(np.int8)


def _triple(vector: Array) -> tuple[float, float, float]:
    x, y, z = (float(v) for v in vector)
    return x, y, z
