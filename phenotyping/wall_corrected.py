"""How thick is the wall, measured between sub-pixel contours and along the wall's own normal?

What differs from the UK Biobank's convention: sub-pixel contours of the smoothed masks (not pixel centers), distance to
the contour (not its nearest sample), the inclination of the wall to the slice, septum from the two RV insertion points,
base and apex from the anatomy, slices without a closed ring of myocardium left out.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import find_contours

from cohort.records import MeasurementFailed
from phenotyping import aha
from phenotyping.labels import LV, MYOCARDIUM, RV, Labels, base_is_low

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: standard deviation of the smoothing of masks, pixels: removes the stair steps
SMOOTHING_PIXELS: Final = 1.0
AREA_BISECTIONS: Final = 9
#: distance of the points on the endocardium, pixels
STEP_PIXELS: Final = 0.5
#: smaller cavities give no contour worth the name
MIN_CAVITY_PIXELS: Final = 10
#: the RV touches the epicardium within this many pixels (its pixel centers lie half a pixel from the contour)
TOUCH_PIXELS: Final = 1.5
#: the septum as seen from the LV center; other arcs are broken segmentations
SEPTUM_DEGREES: Final = (20.0, 200.0)


@dataclass(frozen=True)
class _Ring:
    """The two contours of a slice, `(n, 2)` in index units, the endocardial one evenly spaced."""

    z: int
    endo: Array
    epi: Array
    wall_radius_mm: float


def corrected_points(labels_xyz: Labels, affine: Array) -> aha.WallPoints:
    """Thickness along the endocardium of a label volume `(x, y, z)`; weights are lengths, so means are by length.

    Without an RV there are no segments (all 0), which `notes` says; the global values are still good.

    Raises
    ------
    MeasurementFailed
        Without left ventricle, or without any slice with a closed ring.
    """
    pixel = np.linalg.norm(affine[:3, :2], axis=0)
    rings, excluded = _rings(labels_xyz, pixel)
    if not rings:
        why = f" ({next(iter(excluded.values()))})" if excluded else ""
        raise MeasurementFailed(f"no slice with a closed ring of myocardium around the left ventricle{why}")
    from_base, to_base, base_note = _base_first(labels_xyz, [ring.z for ring in rings], affine)
    level_of_slice = dict(zip(from_base, aha.levels(len(from_base)), strict=True))
    septum, septum_note = _septum_direction(labels_xyz, rings, affine, level_of_slice)
    frame = None if septum is None else aha.axes(septum, to_base)
    cosines = _cosines(rings, float(np.linalg.norm(affine[:3, 2])))
    points, thickness, weight, segment = [], [], [], []
    for ring, cosine in zip(rings, cosines, strict=True):
        endo_mm = ring.endo * pixel
        world = _world(ring.endo, affine, ring.z)
        points.append(world)
        thickness.append(distance_to_contour(endo_mm, ring.epi * pixel) * cosine)
        length = np.linalg.norm(np.diff(endo_mm, axis=0, append=endo_mm[:1]), axis=1).sum()
        weight.append(np.full(len(world), length / len(world)))
        none = np.zeros(len(world), np.int8)
        level = level_of_slice[ring.z]
        segment.append(none if frame is None else aha.segments(world, world.mean(axis=0), frame=frame, level=level))
    return aha.WallPoints(
        np.concatenate(points), np.concatenate(thickness), np.concatenate(weight), np.concatenate(segment),
        frame, level_of_slice, excluded, tuple(note for note in (base_note, septum_note) if note),
    )  # fmt: skip


def distance_to_contour(points: Array, contour: Array) -> Array:
    """Distance of points `(n, 2)` to the nearest place on a closed polygon `(m, 2)`."""
    start = contour
    edge = np.roll(contour, -1, axis=0) - start
    length2 = np.maximum(np.sum(edge**2, axis=1), 1e-12)
    offset = points[:, None, :] - start
    along = np.clip(np.sum(offset * edge, axis=2) / length2, 0, 1)
    return np.sqrt(np.min(np.sum((offset - along[..., None] * edge) ** 2, axis=2), axis=1))


# --- contours ------------------------------------------------------------------------------------------------------


def _rings(labels: Labels, pixel: Array) -> tuple[list[_Ring], dict[int, str]]:
    rings, excluded = [], {}
    for z in range(labels.shape[2]):
        image = labels[:, :, z]
        if not (image == LV).any():
            if (image == MYOCARDIUM).any():
                excluded[z] = f"slice {z}: myocardium without LV cavity"
            continue
        endo = closed_cavity(image)
        if np.count_nonzero(endo) < MIN_CAVITY_PIXELS:
            excluded[z] = f"slice {z}: LV cavity below {MIN_CAVITY_PIXELS} pixels"
            continue
        wall = ndimage.binary_fill_holes((image == MYOCARDIUM) | endo)
        parts, _ = ndimage.label(wall)
        epi = parts == parts[tuple(np.argwhere(endo)[0])]
        if not is_ring_closed(image, endo):
            excluded[z] = f"slice {z}: the ring of myocardium is open"
            continue
        radius = (np.sqrt(endo.sum() / np.pi) + np.sqrt(epi.sum() / np.pi)) / 2
        size = float(np.sqrt(np.prod(pixel)))
        rings.append(_Ring(z, _even(_subpixel(endo)), _subpixel(epi), float(radius) * size))
    return rings, excluded


def closed_cavity(image: Labels) -> Mask:
    """The largest part of the LV cavity in a slice, holes (papillary muscles) filled."""
    parts, n = ndimage.label(image == LV)
    if n == 0:
        return np.zeros(image.shape, bool)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    filled: Mask = ndimage.binary_fill_holes(parts == np.argmax(sizes))
    return filled


def is_ring_closed(image: Labels, endo: Mask) -> bool:
    """No way leads from the cavity to the outside except through myocardium (ways along pixel edges)."""
    inside = ndimage.binary_fill_holes(image == MYOCARDIUM)
    return bool(inside[endo].all())


def _subpixel(mask: Mask) -> Array:
    """Contour `(n, 2)` of the smoothed mask at the level that keeps the mask's area; index units, not closed by a copy.

    Smoothing alone would draw a circle of radius R inward by sigma^2 / 2R, the cavity more than the wall's outside.
    """
    margin = 4
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    corner = np.array([rows[0], columns[0]]) - margin
    cut = np.pad(mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], margin).astype(np.float64)
    area = float(cut.sum())
    soft = ndimage.gaussian_filter(cut, SMOOTHING_PIXELS)
    low, high = 0.1, 0.9
    for _ in range(AREA_BISECTIONS):
        level = (low + high) / 2
        contour = _longest_contour(soft, level)
        low, high = (level, high) if _enclosed(contour) > area else (low, level)
    return contour + corner


def _longest_contour(soft: Array, level: float) -> Array:
    contours = find_contours(soft, level)
    return np.asarray(max(contours, key=len))[:-1] if contours else np.zeros((0, 2))


def _enclosed(contour: Array) -> float:
    x, y = contour.T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def _even(contour: Array) -> Array:
    """The same closed contour with points about `STEP_PIXELS` apart."""
    closed = np.concatenate([contour, contour[:1]])
    arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(closed, axis=0), axis=1))])
    n = max(int(np.ceil(arc[-1] / STEP_PIXELS)), 16)
    at = np.arange(n) * arc[-1] / n
    return np.stack([np.interp(at, arc, closed[:, k]) for k in (0, 1)], axis=1)


def _world(contour: Array, affine: Array, z: float) -> Array:
    homogeneous = np.column_stack([contour, np.full(len(contour), z), np.ones(len(contour))])
    return np.asarray((homogeneous @ affine.T)[:, :3])


def _cosines(rings: list[_Ring], pitch_mm: float) -> Array:
    """Cosine of the wall's inclination to the slice axis, from the change of the mid-wall radius between slices.

    A slice cuts an inclined wall obliquely, so that in the plane it looks thicker by 1 / cosine.
    """
    if len(rings) < 2:
        return np.ones(len(rings))
    position = np.array([ring.z for ring in rings]) * pitch_mm
    slope = np.gradient(np.array([ring.wall_radius_mm for ring in rings]), position)
    return np.asarray(1 / np.sqrt(1 + slope**2))


# --- anatomy -------------------------------------------------------------------------------------------------------


def _base_first(labels: Labels, slices: list[int], affine: Array) -> tuple[list[int], Array, str]:
    """Slices from base to apex, the direction from apex to base in the world, and a note if anatomy did not tell."""
    direction = np.array(affine[:3, 2], dtype=np.float64)
    low, note = base_is_low(np.moveaxis(labels, 2, 0)), ""
    if low is None:
        low, note = bool(direction[2] <= 0), "base and apex look alike: base taken at the end of higher world z"
    return sorted(slices, reverse=not low), -direction if low else direction, note


def _septum_direction(
    labels: Labels, rings: list[_Ring], affine: Array, level_of_slice: dict[int, aha.Level]
) -> tuple[Array | None, str]:
    """Unit direction from the LV center to the middle of the septum, mean over the basal and mid slices with an RV."""
    found = []
    for ring in rings:
        if level_of_slice[ring.z] == "apical" and len(rings) > 2:
            continue
        direction = _septum_in_slice(labels[:, :, ring.z] == RV, ring, affine)
        if direction is not None:
            found.append(direction)
    if not found:
        return None, "no RV beside the left ventricle: thickness without AHA segments"
    mean = np.mean(found, axis=0)
    return mean / np.linalg.norm(mean), ""


def _septum_in_slice(rv: Mask, ring: _Ring, affine: Array) -> Array | None:
    if not rv.any():
        return None
    distance = ndimage.map_coordinates(ndimage.distance_transform_edt(~rv), ring.epi.T, order=1, mode="nearest")
    if distance.min() > 2 * TOUCH_PIXELS:
        return None
    touching = distance <= max(TOUCH_PIXELS, float(distance.min()) + 0.5)
    center = _world(ring.endo, affine, ring.z).mean(axis=0)
    offset = _world(ring.epi[touching], affine, ring.z) - center
    e_x = affine[:3, 0] / np.linalg.norm(affine[:3, 0])
    e_y = affine[:3, 1] / np.linalg.norm(affine[:3, 1])
    angles = np.sort(np.arctan2(offset @ e_y, offset @ e_x))
    gaps = np.diff(angles, append=angles[0] + 2 * np.pi)
    widest = int(np.argmax(gaps))  # the insertion points are the two ends of the widest arc without contact
    first, width = angles[(widest + 1) % len(angles)], 2 * np.pi - gaps[widest]
    if not SEPTUM_DEGREES[0] <= np.degrees(width) <= SEPTUM_DEGREES[1]:
        return None
    middle = first + width / 2
    return np.asarray(np.cos(middle) * e_x + np.sin(middle) * e_y)
