"""Which pixels of a mapping slice are measured: the middle of the wall, the septum, the AHA segments, the blood?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cohort.records import MeasurementFailed
from phenotyping import aha
from phenotyping.labels import LV, MYOCARDIUM, RV, Labels, base_is_low

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Spacing = tuple[float, float, float]

#: transmural part used: the middle half of the wall, free of partial volume with blood and fat (SCMR and EACVI
#: consensus: conservative regions, doi 10.1186/s12968-017-0389-8)
TRANSMURAL: Final = (0.25, 0.75)
#: the septum of a mid slice: anteroseptal and inferoseptal
SEPTAL_SEGMENTS: Final = (8, 9)
#: pixels of the cavity nearer to the wall hold partial volume and trabeculae
BLOOD_MARGIN_MM: Final = 4.0


@dataclass(frozen=True)
class SegmentMap:
    """AHA segment of every pixel of the wall `(slices, y, x)`, 0 elsewhere and where none could be told.

    `levels` holds the slices that have segments; `reason` says why others, or all, have none.
    """

    segment: NDArray[np.int8]
    levels: dict[int, aha.Level]
    reason: str = ""


def transmural_band(labels: Labels, *, spacing_mm: Spacing, band: tuple[float, float] = TRANSMURAL) -> Mask:
    """Myocardium between two shares of the way from the cavity to the outside, slice by slice.

    Slices without LV cavity, and walls of less than two pixels, have no middle that is free of partial volume and give
    nothing.

    Parameters
    ----------
    labels
        `(slices, y, x)` or `(y, x)`.
    spacing_mm
        (slice pitch, y, x), mm.
    band
        Shares between 0 (cavity) and 1 (outside): the middle half by default; (0.1, 0.9) is the consensus' widest.

    Raises
    ------
    MeasurementFailed
        For a band that is none.
    """
    if not 0 <= band[0] < band[1] <= 1:
        raise MeasurementFailed(f"a transmural band runs from low to high between 0 and 1, got {band}")
    depth = wall_depth(labels, spacing_mm=spacing_mm)
    with np.errstate(invalid="ignore"):
        return np.asarray((depth >= band[0]) & (depth <= band[1]))


def wall_depth(labels: Labels, *, spacing_mm: Spacing) -> Array:
    """Share of the way from cavity to outside of every pixel of the wall, NaN elsewhere and in walls below two pixels.

    Depth = (distance to the cavity) / (distance to the cavity + distance to the outside), both less half a pixel
    because distances run between pixel centers.
    """
    pixel = (spacing_mm[1], spacing_mm[2])
    half = 0.25 * sum(pixel)
    found = np.full(np.shape(labels), np.nan)
    for index in np.ndindex(labels.shape[:-2]):
        image = labels[index]
        wall = image == MYOCARDIUM
        if not wall.any() or not (image == LV).any():
            continue
        to_cavity = ndimage.distance_transform_edt(image != LV, sampling=pixel) - half
        outside = np.pad(~(wall | (image == LV)), 1, constant_values=True)
        to_outside = ndimage.distance_transform_edt(~outside, sampling=pixel)[1:-1, 1:-1] - half
        thickness = to_cavity + to_outside
        inside = wall & (thickness >= 4 * half)
        found[index][inside] = (to_cavity / np.maximum(thickness, half))[inside]
    return found


def segment_map(labels: Labels, *, spacing_mm: Spacing, levels: Sequence[aha.Level] | None = None) -> SegmentMap:
    """AHA segments of the wall's pixels, seen from the cavity's center, from the middle of the septum on.

    Slices must be upright, as they are looked at (seen from the apex, y down): in mirrored images anterior and inferior
    change places, and segments 8 and 9; the septum as a whole does not depend on it.

    Parameters
    ----------
    labels
        `(slices, y, x)`.
    spacing_mm
        (slice pitch, y, x), mm.
    levels
        Level of each slice. None: a single slice is taken as mid, as mapping protocols place it; several are counted
        from the base, which is found in the anatomy.
    """
    labels = np.asarray(labels)
    found = np.zeros(labels.shape, np.int8)
    rings = [z for z in range(len(labels)) if (labels[z] == LV).any() and (labels[z] == MYOCARDIUM).any()]
    if levels is not None and len(levels) != len(labels):
        raise MeasurementFailed(f"expected a level a slice, got {len(levels)} for {len(labels)} slices")
    level_of, reason = _levels(labels, rings, levels)
    directions = {z: direction for z in level_of if (direction := septum_direction(labels[z], spacing_mm)) is not None}
    if not directions:
        return SegmentMap(found, {}, reason or "no RV beside the left ventricle: no septum, no segments")
    mean = np.mean([directions[z] for z in directions], axis=0)
    for z, level in level_of.items():
        direction = np.asarray(directions.get(z, mean))
        frame = aha.axes(np.array([direction[1], direction[0], 0.0]), np.array([0.0, 0.0, 1.0]))
        y, x = np.nonzero(labels[z] == MYOCARDIUM)
        center = np.argwhere(labels[z] == LV).mean(axis=0)
        points = np.column_stack([x * spacing_mm[2], y * spacing_mm[1], np.zeros(len(x))])
        middle = np.array([center[1] * spacing_mm[2], center[0] * spacing_mm[1], 0.0])
        found[z, y, x] = aha.segments(points, middle, frame=frame, level=level)
    return SegmentMap(found, level_of, reason)


def septum_direction(image: Labels, spacing_mm: Spacing) -> Array | None:
    """Unit vector (y, x) in mm from the cavity's center to the middle of the septum; None without one.

    See `aha.septum_angle`.
    """
    pixel = np.array(spacing_mm[1:])
    wall = image == MYOCARDIUM
    if not (image == RV).any() or not wall.any() or not (image == LV).any():
        return None
    near = wall & (ndimage.distance_transform_edt(image != RV) <= aha.TOUCH_PIXELS)
    if not near.any():
        return None
    offset = (np.argwhere(near) - np.argwhere(image == LV).mean(axis=0)) * pixel
    middle = aha.septum_angle(np.arctan2(offset[:, 0], offset[:, 1]))
    if middle is None:
        return None
    return np.array([np.sin(middle), np.cos(middle)])


def blood_pool(labels: Labels, *, spacing_mm: Spacing, margin_mm: float = BLOOD_MARGIN_MM) -> Mask:
    """LV cavity further from its border than the margin, slice by slice."""
    inside = np.zeros(labels.shape, bool)
    for index in np.ndindex(labels.shape[:-2]):
        cavity = np.pad(labels[index] == LV, 1)
        depth = ndimage.distance_transform_edt(cavity, sampling=spacing_mm[1:])[1:-1, 1:-1]
        inside[index] = depth > margin_mm
    return inside


def _levels(labels: Labels, rings: list[int], levels: Sequence[aha.Level] | None) -> tuple[dict[int, aha.Level], str]:
    if levels is not None:
        return {z: levels[z] for z in rings}, ""
    if len(rings) == 1:
        return {rings[0]: "mid"}, ""
    low = base_is_low(labels)
    if low is None:
        return {}, "base and apex look alike: give the level of each slice" if rings else "no left ventricle found"
    return dict(zip(rings if low else rings[::-1], aha.levels(len(rings)), strict=True)), ""
