"""How thick is the wall, measured between sub-pixel contours and through the slices?

What differs from the UK Biobank's convention: contours that run between the pixel centers (contours.py), distance to
the outer surface in 3-D (wall_surface.py) instead of to the nearest contour sample in the plane, septum from the two
RV insertion points, base and apex from the anatomy, slices without a closed ring of myocardium left out, and segment
17 where slices show the muscle below the cavity.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cohort.records import MeasurementFailed
from phenotyping import aha
from phenotyping.contours import even, subpixel_contour
from phenotyping.labels import LV, MYOCARDIUM, RV, Labels, base_is_low
from phenotyping.wall_surface import Contour, Surface

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: distance of the points on the endocardium, mm
STEP_MM: Final = 0.75
#: smaller cavities give no contour worth the name
MIN_CAVITY_PIXELS: Final = 10
#: the thickness at a point is the mean over this length of endocardium around it. A maximum of values that scatter
#: lies above the maximum of their means; what remains of the stair steps scatters over two or three pixels
ARC_MM: Final = 9.0


@dataclass(frozen=True)
class Ring:
    """A slice with cavity: its two contours `(n, 2)` in index units; the endocardial one is evenly spaced."""

    z: int
    endo: Array
    epi: Array


@dataclass(frozen=True)
class _Stack:
    """All contours of the left ventricle; `caps` are outer contours of slices with muscle and no, or hardly any, cavity
    (`tiny_mm2`: its area where there is some)."""

    rings: list[Ring]
    caps: dict[int, Array]
    tiny_mm2: dict[int, float]
    excluded: dict[int, str]


@dataclass(frozen=True)
class _Plane:
    """The plane of the slices in mm: index units to (x, y) along its axes and z along its normal, and back."""

    origin: Array
    basis: Array
    scale: Array

    @classmethod
    def of(cls, affine: Array) -> "_Plane":
        pixel = np.linalg.norm(affine[:3, :2], axis=0)
        axes = affine[:3, :2] / pixel
        normal = np.cross(axes[:, 0], axes[:, 1])
        basis = np.column_stack([axes, normal / np.linalg.norm(normal)])
        return cls(affine[:3, 3], basis, np.linalg.solve(basis, affine[:3, :3]))

    @property
    def pitch_mm(self) -> float:
        """Signed distance of slices along the normal."""
        return float(self.scale[2, 2])

    def contour(self, points: Array, z: int) -> Contour:
        """A contour in index units of slice ``z``."""
        at = np.column_stack([points, np.full(len(points), float(z))]) @ self.scale.T
        return Contour(float(at[0, 2]), at[:, :2])

    def world(self, point: Array) -> Array:
        """World position of a point (x, y, z) in mm of the plane."""
        return np.asarray(self.basis @ point + self.origin)


@dataclass(frozen=True)
class Anatomy:
    """The left ventricle of a label volume: its contours, which end is the base, and where the septum lies.

    Attributes
    ----------
    stack
        All contours.
    from_base
        Slices with a closed ring, from base to apex.
    down
        1 if the apex is at high slice numbers, else -1.
    frame
        None without an RV beside the left ventricle.
    notes
        What could not be told.
    affine
        Of the volume.
    """

    stack: _Stack
    from_base: list[int]
    down: int
    frame: aha.Axes | None
    notes: tuple[str, ...]
    affine: Array

    @property
    def level_of_slice(self) -> dict[int, aha.Level]:
        """Slices from base to apex with their level."""
        return dict(zip(self.from_base, aha.levels(len(self.from_base)), strict=True))

    def ring(self, z: int) -> Ring:
        """The contours of one slice of `from_base`."""
        return next(ring for ring in self.stack.rings if ring.z == z)

    def world(self, points: Array, z: int) -> Array:
        """World positions `(n, 3)` of points `(n, 2)` in index units of a slice."""
        return _world(points, self.affine, z)


def left_ventricle(labels_xyz: Labels, affine: Array) -> Anatomy:
    """Find contours, base, apex and septum of a label volume `(x, y, z)`.

    Raises
    ------
    MeasurementFailed
        Without left ventricle, or without any slice with a closed ring.
    """
    stack = _contours(labels_xyz, np.linalg.norm(affine[:3, :2], axis=0))
    rings, excluded = stack.rings, stack.excluded
    if not rings:
        why = f" ({next(iter(excluded.values()))})" if excluded else ""
        raise MeasurementFailed(f"no slice with a closed ring of myocardium around the left ventricle{why}")
    from_base, to_base, base_note = _base_first(labels_xyz, [ring.z for ring in rings], affine)
    level_of_slice = dict(zip(from_base, aha.levels(len(from_base)), strict=True))
    septum, septum_note = _septum_direction(labels_xyz, rings, affine, level_of_slice)
    return Anatomy(
        stack=stack,
        from_base=from_base,
        down=-1 if float(to_base @ affine[:3, 2]) > 0 else 1,
        frame=None if septum is None else aha.axes(septum, to_base),
        notes=tuple(note for note in (base_note, septum_note) if note),
        affine=affine,
    )


def corrected_points(labels_xyz: Labels, affine: Array) -> aha.WallPoints:
    """Thickness along the endocardium of a label volume `(x, y, z)`; weights are lengths, so means are by length.

    Without an RV there are no segments but the apex (all 0), which `notes` says; the global values are still good.

    Raises
    ------
    MeasurementFailed
        As `left_ventricle`.
    """
    anatomy = left_ventricle(labels_xyz, affine)
    stack, frame, level_of_slice = anatomy.stack, anatomy.frame, anatomy.level_of_slice
    excluded = dict(stack.excluded)
    plane = _Plane.of(affine)
    surface, capped = _outer_surface(stack, anatomy.from_base, plane, anatomy.down, excluded)
    points, thickness, weight, segment = [], [], [], []
    for ring in stack.rings:
        world = _world(ring.endo, affine, ring.z)
        endo = plane.contour(ring.endo, ring.z)
        length = np.linalg.norm(np.diff(endo.points, axis=0, append=endo.points[:1]), axis=1).sum()
        points.append(world)
        thickness.append(_running_mean(surface.distance(endo), length))
        weight.append(np.full(len(world), length / len(world)))
        none = np.zeros(len(world), np.int8)
        level = level_of_slice[ring.z]
        segment.append(none if frame is None else aha.segments(world, world.mean(axis=0), frame=frame, level=level))
    apex = surface.cavity_tip() if capped else None
    if apex is not None:
        points.append(plane.world(apex[0])[None])
        thickness.append(np.array([apex[1]]))
        weight.append(np.zeros(1))
        segment.append(np.full(1, aha.APEX, np.int8))
    return aha.WallPoints(
        np.concatenate(points), np.concatenate(thickness), np.concatenate(weight), np.concatenate(segment),
        frame, level_of_slice, excluded, anatomy.notes,
    )  # fmt: skip


def _running_mean(thickness: Array, length_mm: float) -> Array:
    """Mean over `ARC_MM` around each of evenly spaced points of a closed contour."""
    n = len(thickness)
    half = min(round(ARC_MM / 2 * n / length_mm), (n - 1) // 2)
    return np.asarray(ndimage.uniform_filter1d(thickness, 2 * half + 1, mode="wrap"))


# --- contours ------------------------------------------------------------------------------------------------------


def _contours(labels: Labels, pixel: Array) -> _Stack:
    rings: list[Ring] = []
    solid: dict[int, Mask] = {}
    tiny: dict[int, int] = {}
    excluded: dict[int, str] = {}
    for z in range(labels.shape[2]):
        image = labels[:, :, z]
        if not (image == LV).any():
            if (image == MYOCARDIUM).any():
                solid[z] = _largest(ndimage.binary_fill_holes(image == MYOCARDIUM))
            continue
        endo = closed_cavity(image)
        n_pixels = int(np.count_nonzero(endo))
        if n_pixels < MIN_CAVITY_PIXELS:
            excluded[z] = f"slice {z}: LV cavity below {MIN_CAVITY_PIXELS} pixels"
            solid[z], tiny[z] = _largest(ndimage.binary_fill_holes((image == MYOCARDIUM) | endo)), n_pixels
            continue
        wall = ndimage.binary_fill_holes((image == MYOCARDIUM) | endo)
        parts, _ = ndimage.label(wall)
        epi = parts == parts[tuple(np.argwhere(endo)[0])]
        if not is_ring_closed(image, endo):
            excluded[z] = f"slice {z}: the ring of myocardium is open"
            continue
        endo_contour = even(subpixel_contour(endo, pixel) * pixel, STEP_MM) / pixel
        rings.append(Ring(z, endo_contour, subpixel_contour(epi, pixel)))
    caps = {z: subpixel_contour(mask, pixel) for z, mask in solid.items() if mask.sum() >= MIN_CAVITY_PIXELS}
    return _Stack(rings, caps, {z: n * float(np.prod(pixel)) for z, n in tiny.items()}, excluded)


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


def _largest(mask: Mask) -> Mask:
    parts, _ = ndimage.label(mask)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    largest: Mask = parts == np.argmax(sizes)
    return largest


def _world(contour: Array, affine: Array, z: float) -> Array:
    homogeneous = np.column_stack([contour, np.full(len(contour), z), np.ones(len(contour))])
    return np.asarray((homogeneous @ affine.T)[:, :3])


# --- the outer surface ---------------------------------------------------------------------------------------------


def _outer_surface(
    stack: _Stack, from_base: list[int], plane: _Plane, down: int, excluded: dict[int, str]
) -> tuple[Surface, bool]:
    """The epicardium through all slices, and whether slices show the muscle below the cavity.

    Slices with muscle but without cavity count where they follow the last cavity without a gap; others are named in
    ``excluded``.
    """
    below, z = [], from_base[-1] + down
    while z in stack.caps:
        below.append(z)
        z += down
    for other in sorted(stack.caps.keys() - set(below) - set(excluded)):
        excluded[other] = f"slice {other}: myocardium without LV cavity, not next to the apex"
    by_slice = {ring.z: ring for ring in stack.rings}
    endo = [plane.contour(by_slice[z].endo, z) for z in from_base]
    epi = [plane.contour(by_slice[z].epi, z) for z in from_base]
    epi += [plane.contour(stack.caps[z], z) for z in below]
    tiny = [(z * plane.pitch_mm, stack.tiny_mm2[z]) for z in below if z in stack.tiny_mm2]
    return Surface(endo, epi, pitch_mm=down * plane.pitch_mm, cavity_end=tiny), len(below) > len(tiny)


# --- anatomy -------------------------------------------------------------------------------------------------------


def _base_first(labels: Labels, slices: list[int], affine: Array) -> tuple[list[int], Array, str]:
    """Slices from base to apex, the direction from apex to base in the world, and a note if anatomy did not tell."""
    direction = np.array(affine[:3, 2], dtype=np.float64)
    low, note = base_is_low(np.moveaxis(labels, 2, 0)), ""
    if low is None:
        low, note = bool(direction[2] <= 0), "base and apex look alike: base taken at the end of higher world z"
    return sorted(slices, reverse=not low), -direction if low else direction, note


def _septum_direction(
    labels: Labels, rings: list[Ring], affine: Array, level_of_slice: dict[int, aha.Level]
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


def _septum_in_slice(rv: Mask, ring: Ring, affine: Array) -> Array | None:
    if not rv.any():
        return None
    distance = ndimage.map_coordinates(ndimage.distance_transform_edt(~rv), ring.epi.T, order=1, mode="nearest")
    if distance.min() > 2 * aha.TOUCH_PIXELS:
        return None
    touching = distance <= max(aha.TOUCH_PIXELS, float(distance.min()) + 0.5)
    center = _world(ring.endo, affine, ring.z).mean(axis=0)
    offset = _world(ring.epi[touching], affine, ring.z) - center
    e_x = affine[:3, 0] / np.linalg.norm(affine[:3, 0])
    e_y = affine[:3, 1] / np.linalg.norm(affine[:3, 1])
    middle = aha.septum_angle(np.arctan2(offset @ e_y, offset @ e_x))
    if middle is None:
        return None
    return np.asarray(np.cos(middle) * e_x + np.sin(middle) * e_y)
