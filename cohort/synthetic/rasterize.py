"""Which share of every pixel is which part of the heart?

Partial volume in plane comes from the distance to each border, through the slice from sub-slices.

Pixel centers lie at (index + 1/2 - n/2) * spacing, for the fine and for the acquired grid alike.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cohort.synthetic.phantom import Heart, Surfaces
from cohort.synthetic.population import Pose
from cohort.synthetic.segments import spread

Array = NDArray[np.float64]
Fractions = NDArray[np.float32]

N_SUBSLICES = 5
"""Samples through the thickness of a slice."""
LABELS = ("background", "lv_cavity", "myocardium", "rv_cavity")
PARTS = (
    "lv_cavity",
    "myocardium",
    "focal_myocardium",
    "rv_cavity",
    "other_muscle",
    "papillary",
    "rv_trabeculae",
    "atrium",
    "fat",
)
"""What `HeartSlice.fractions` distinguishes. ``papillary`` and ``rv_trabeculae`` are muscle that by convention
belongs to its cavity; muscle of the right ventricle and of the atria is ``other_muscle`` and has no label."""
TRABECULAR_MUSCLE = 0.7
"""Share of muscle in the trabecular layer; the rest is blood."""
_TABLE_THETA = 360
_TABLE_U = 160
_MARGIN_MM = 14.0
_BEYOND_BASE_U = 0.5
"""Atria are drawn up to this far above the base plane, as a fraction of the long axis."""


@dataclass(frozen=True)
class Grid:
    """A centered pixel grid."""

    shape: tuple[int, int]
    fov_mm: tuple[float, float]

    @property
    def spacing_mm(self) -> tuple[float, float]:
        """Pixel size (y, x)."""
        return self.fov_mm[0] / self.shape[0], self.fov_mm[1] / self.shape[1]

    def axis_mm(self, axis: int) -> Array:
        """Positions of pixel centers along y (0) or x (1)."""
        n = self.shape[axis]
        return np.asarray((np.arange(n) + 0.5 - n / 2) * self.spacing_mm[axis], dtype=np.float64)


class HeartSlice(NamedTuple):
    """Part of the image that holds the heart: ``rows``, ``columns`` into the grid, ``fractions`` (parts, y, x)."""

    rows: slice
    columns: slice
    fractions: Fractions

    def labels(self) -> Fractions:
        """(4, y, x) fractions of background, left cavity, myocardium, right cavity."""
        part = dict(zip(PARTS, self.fractions, strict=True))
        inside = np.stack(
            [
                part["lv_cavity"] + part["papillary"],
                part["myocardium"] + part["focal_myocardium"],
                part["rv_cavity"] + part["rv_trabeculae"],
            ]
        )
        return np.concatenate([1 - inside.sum(axis=0, keepdims=True), inside])


@dataclass(frozen=True)
class SlicePoints:
    """Sub-slice points of one slice in the heart frame; the same for all frames.

    Arrays of shape (sub-slices, y, x): radius and axial position in mm, theta as index into the tables with its weight.
    """

    rows: slice
    columns: slice
    pixel_mm: float
    step_mm: float
    radius: Array
    axial: Array
    theta: Array


def slice_points(heart: Heart, pose: Pose, grid: Grid, *, z_mm: float, thickness_mm: float) -> SlicePoints:
    """Transform the sub-slice points of a slice at ``z_mm`` (towards the base, 0 = middle of the long axis) into the
    heart frame."""
    reach = _reach_mm(heart)
    rows = _window(grid.axis_mm(0), pose.center_mm[1], reach)
    columns = _window(grid.axis_mm(1), pose.center_mm[0], reach)
    y = grid.axis_mm(0)[rows] - pose.center_mm[1]
    x = grid.axis_mm(1)[columns] - pose.center_mm[0]
    step = thickness_mm / N_SUBSLICES
    z = z_mm + (np.arange(N_SUBSLICES) - (N_SUBSLICES - 1) / 2) * step
    zz, yy, xx = np.meshgrid(z, y, x, indexing="ij")
    first, second, axis = heart_axes(pose)
    along = first[0] * xx + first[1] * yy + first[2] * zz
    across = second[0] * xx + second[1] * yy + second[2] * zz
    return SlicePoints(
        rows=rows,
        columns=columns,
        pixel_mm=math.sqrt(grid.spacing_mm[0] * grid.spacing_mm[1]),
        step_mm=step,
        radius=np.hypot(along, across),
        axial=axis[0] * xx + axis[1] * yy + axis[2] * zz + heart.length_mm / 2,
        theta=np.arctan2(across, along),
    )


def heart_axes(pose: Pose) -> tuple[Array, Array, Array]:
    """Unit vectors (x, y, z of the stack) of theta = 0, theta = 90 degrees and the long axis towards the base."""
    cos_s, sin_s = math.cos(pose.septum_rad), math.sin(pose.septum_rad)
    lean = np.array([math.cos(pose.tilt_direction_rad), math.sin(pose.tilt_direction_rad), 0.0])
    hinge = np.array([-lean[1], lean[0], 0.0])
    cos_t, sin_t = math.cos(pose.tilt_rad), math.sin(pose.tilt_rad)

    def turned(v: Array) -> Array:
        return v * cos_t + np.cross(hinge, v) * sin_t + hinge * float(hinge @ v) * (1 - cos_t)

    return (
        turned(np.array([cos_s, sin_s, 0.0])),
        turned(np.array([-sin_s, cos_s, 0.0])),
        turned(np.array([0.0, 0.0, 1.0])),
    )


def rasterize_heart(heart: Heart, points: SlicePoints, *, phase: float) -> HeartSlice:
    """Fractions of all parts of the heart in one slice at one moment.

    Borders are ramps one pixel wide of the distance to the surface: the area within a ramp is that of the disc to
    second order in the pixel size. The base plane is a ramp one sub-slice high.
    """
    length = float(heart.long_axis_mm(phase))
    u = points.axial / length
    table, first_row, per_u = _surface_table(heart, phase)
    *squared, focal, ridge = _look_up(table, points.theta, np.clip(u, None, 1.0), first_row, per_u)
    radii = [np.where(area > 1e-3, np.sqrt(np.maximum(area, 0)), -points.pixel_mm) for area in squared]
    endo, epi, right, outer = (_inside(radii[k], points) for k in range(4))
    below = np.clip(0.5 + (length - points.axial) / points.step_mm, 0, 1)
    left_depth, right_depth = heart.trabecular_depth
    rough = TRABECULAR_MUSCLE * (endo - _inside(radii[0] * (1 - left_depth * ridge), points))
    papillary = np.maximum(rough, endo * _papillary(heart, points, u, phase))
    width = np.maximum(radii[2] - radii[1], 0)
    blood_pool = np.maximum(right - epi, 0)
    trabeculae = TRABECULAR_MUSCLE * np.clip(
        right - _inside(radii[2] - right_depth * ridge * width, points), 0, blood_pool
    )
    muscle = epi - endo
    cover = np.maximum(outer, epi)
    fat_radius = np.maximum(radii[3], radii[1]) + _fat_mm(points.theta, u)
    fat = np.where(squared[1] > 1e-3, _inside(fat_radius, points), 0) - cover
    atria, atrial_wall = _atria(radii, points, u)
    above = 1 - below
    parts = (
        below * (endo - papillary),
        below * muscle * (1 - focal),
        below * muscle * focal,
        below * (blood_pool - trabeculae),
        below * np.maximum(cover - np.maximum(right, epi), 0) + above * atrial_wall,
        below * papillary,
        below * trabeculae,
        above * atria,
        below * np.maximum(fat, 0),
    )
    stack = np.stack([np.broadcast_to(part, points.radius.shape).mean(axis=0) for part in parts])
    return HeartSlice(points.rows, points.columns, stack.astype(np.float32))


def label_grid(fractions: NDArray[np.floating], *, fine: Grid, coarse: Grid) -> NDArray[np.uint8]:
    """Majority labels (..., y, x) on a coarser grid of fractions (..., labels, y, x); areas overlap exactly. Ties go
    to the lower label."""
    return np.argmax(coarse_fractions(fractions, fine=fine, coarse=coarse), axis=-3).astype(np.uint8)


def coarse_fractions(fractions: NDArray[np.floating], *, fine: Grid, coarse: Grid) -> Fractions:
    """Mean of fractions (..., y, x) over the area of each pixel of another grid."""
    to_y = _overlap(fine, coarse, 0).astype(np.float32)
    to_x = _overlap(fine, coarse, 1).astype(np.float32)
    return np.asarray(to_y @ np.asarray(fractions, dtype=np.float32) @ to_x.T)


def _overlap(fine: Grid, coarse: Grid, axis: int) -> Array:
    small, large = fine.spacing_mm[axis], coarse.spacing_mm[axis]
    a, b = fine.axis_mm(axis)[None, :], coarse.axis_mm(axis)[:, None]
    shared = np.minimum(a + small / 2, b + large / 2) - np.maximum(a - small / 2, b - large / 2)
    weights = np.clip(shared, 0, None)
    return weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)


def _reach_mm(heart: Heart) -> float:
    theta = np.linspace(0, 2 * np.pi, 73)[:, None]
    u = np.linspace(0, 1, 21)[None, :]
    return float(np.sqrt(heart.surfaces(theta, u, 0.0).right_wall.max())) + _MARGIN_MM


def _window(axis: Array, center: float, reach: float) -> slice:
    index = np.flatnonzero(np.abs(axis - center) <= reach)
    return slice(int(index[0]), int(index[-1]) + 1) if index.size else slice(0, 0)


def _surface_table(heart: Heart, phase: float) -> tuple[Array, float, float]:
    """Squared radii, focal share and trabecular ridges (6, theta, u), with a node at u = 0 exactly; the u of the
    first node, and nodes per unit of u."""
    below = math.ceil(-heart.apex_u * _TABLE_U) + 1
    u = (np.arange(below + _TABLE_U + 1) - below) / _TABLE_U
    theta = np.arange(_TABLE_THETA + 1)[:, None] * 2 * np.pi / _TABLE_THETA
    surfaces: Surfaces = heart.surfaces(theta, u[None, :], phase)
    focal = spread(tuple(map(float, heart.focal)), theta, u[None, :])
    return np.stack([*surfaces, focal, heart.ridges(theta, u[None, :])]), float(u[0]), float(_TABLE_U)


def _look_up(table: Array, theta: Array, u: Array, first_u: float, per_u: float) -> Array:
    """Bilinear interpolation; squared radii are nearly linear in u, so the error is negligible."""
    t = np.mod(theta, 2 * np.pi) * (_TABLE_THETA / (2 * np.pi))
    v = np.clip((u - first_u) * per_u, 0, table.shape[2] - 1.000001)
    i, j = t.astype(np.intp), v.astype(np.intp)
    np.minimum(i, _TABLE_THETA - 1, out=i)
    a, b = t - i, v - j
    flat = table.reshape(table.shape[0], -1)
    start = i * table.shape[2] + j
    low = flat[:, start] * (1 - b) + flat[:, start + 1] * b
    start += table.shape[2]
    high = flat[:, start] * (1 - b) + flat[:, start + 1] * b
    return low * (1 - a) + high * a


def _inside(radius: Array, points: SlicePoints) -> Array:
    return np.clip(0.5 + (radius - points.radius) / points.pixel_mm, 0, 1)


def _papillary(heart: Heart, points: SlicePoints, u: Array, phase: float) -> Array:
    """Anterolateral and posteromedial papillary muscle: rods beside the wall between 25 and 65 % of the long axis."""
    size = 0.15 * heart.a_mm
    total = np.zeros_like(u)
    for theta in (math.radians(140), math.radians(-130)):
        wall = math.sqrt(float(heart.surfaces(theta, 0.45, phase).endocardium))
        away = 0.95 * wall - size
        if away <= 0:
            continue
        distance = np.sqrt(points.radius**2 + away**2 - 2 * points.radius * away * np.cos(points.theta - theta))
        thick = size * np.sqrt(np.clip(1 - ((u - 0.42) / 0.24) ** 2, 0, None))
        total += np.where(thick > 0, np.clip(0.5 + (thick - distance) / points.pixel_mm, 0, 1), 0)
    return np.minimum(total, 1)


def _fat_mm(theta: Array, u: Array) -> Array:
    """Epicardial fat: thin over the free walls, thick in the interventricular grooves and towards the base."""
    grooves = np.exp(-(((np.abs(theta) - 1.1) / 0.25) ** 2))
    return 1.0 + 4.5 * grooves * np.clip(0.4 + u, 0, 1.3) + 2.0 * np.clip(u - 0.6, 0, 0.5)


def _atria(radii: list[Array], points: SlicePoints, u: Array) -> tuple[Array, Array]:
    """Atria above the base plane: blood within a thin wall, narrowing upwards."""
    narrow = 0.92 * np.sqrt(np.clip(1 - (np.clip(u - 1, 0, None) / _BEYOND_BASE_U) ** 2, 0, 1))
    left = narrow * radii[1]
    right = np.where(radii[2] > radii[1] + points.pixel_mm, narrow * radii[2], left)
    outer = np.maximum(left, right)
    septum = _inside(left, points) - _inside(left - 2.5, points)
    blood = _inside(outer - 1.5, points) - septum * (right > left)
    return np.clip(np.minimum(blood, _inside(outer - 1.5, points)), 0, 1), np.clip(_inside(outer, points) - blood, 0, 1)
