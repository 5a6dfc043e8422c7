"""Which simple walls have a thickness that is known at every point? Cylinders and ellipsoids, tilted and off center.

For the accuracy of wall thickness where nothing else is in doubt: no partial volume through the slice, no papillary
muscles, no segmentation. The thickness of a wall at a point of its inner surface is the distance to the nearest point
of the outer surface.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
BISECTIONS = 60


@dataclass(frozen=True)
class Shell:
    """A wall around a cavity, standing on the z axis with its apex at negative z unless tilted.

    Attributes
    ----------
    a_mm, c_mm
        Semi-axes of the cavity across and along; an infinite ``c_mm`` is a cylinder.
    wall_mm
        Thickness. Without eccentricity the outer surface is the set of points this far from the cavity.
    eccentricity_mm
        Displacement of the outer surface away from the septum; then it is an ellipsoid (or cylinder) with both
        semi-axes longer by ``wall_mm``.
    septum_rad
        Direction from the left to the right ventricle, from x towards y.
    tilt_rad, tilt_direction_rad
        Angle of the long axis to z, and the direction into which the base leans.
    center_mm
        (x, y) of the middle of the ellipsoid.
    """

    a_mm: float
    c_mm: float
    wall_mm: float
    eccentricity_mm: float = 0.0
    septum_rad: float = math.pi
    tilt_rad: float = 0.0
    tilt_direction_rad: float = 0.0
    center_mm: tuple[float, float] = (0.0, 0.0)

    def labels(self, x_mm: Array, y_mm: Array, z_mm: Array) -> NDArray[np.uint8]:
        """Labels `(x, y, z)` of infinitely thin slices: 1 cavity, 2 wall, 3 a right ventricle beside the upper part."""
        points = np.stack(np.meshgrid(x_mm, y_mm, z_mm, indexing="ij"), axis=-1)
        p = self._upright(points)
        inside = self._signed(p, self.a_mm, self.c_mm) < 0
        if self.eccentricity_mm:
            wall = self._outer_distance(p) < 0
        else:
            wall = self._signed(p, self.a_mm, self.c_mm) < self.wall_mm
        septum = self._septum()
        lateral = p[..., :2] - septum * (self.a_mm + self.wall_mm)
        right = (np.hypot(*np.moveaxis(lateral, -1, 0)) < 0.9 * self.a_mm) & (p[..., 2] > self._right_from_mm())
        return np.where(inside, 1, np.where(wall, 2, np.where(right, 3, 0))).astype(np.uint8)

    def endocardium(self, z_mm: float, *, n: int = 720) -> Array:
        """Points `(n, 3)` of the inner surface in the slice at ``z_mm``, evenly in angle around its center; empty
        where the slice does not meet the cavity."""
        lean = np.array([math.cos(self.tilt_direction_rad), math.sin(self.tilt_direction_rad)])
        flat = 0.0 if math.isinf(self.c_mm) else (self.a_mm / self.c_mm) ** 2
        # middle of the cross-section of a tilted spheroid: the point where its surface is parallel to the slice's rays
        sin_t, cos_t = math.sin(self.tilt_rad), math.cos(self.tilt_rad)
        slope = sin_t * cos_t * (1 - flat) / (cos_t**2 + flat * sin_t**2)
        center = np.append(np.array(self.center_mm) + lean * slope * z_mm, z_mm)
        if self._signed(self._upright(center[None]), self.a_mm, self.c_mm)[0] >= 0:
            return np.zeros((0, 3))
        angle = np.arange(n) * 2 * np.pi / n
        ray = np.stack([np.cos(angle), np.sin(angle), np.zeros(n)], axis=1)
        low, high = np.zeros(n), np.full(n, 4 * self.a_mm)
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            out = self._level(self._upright(center + middle[:, None] * ray), self.a_mm, self.c_mm) > 0
            low, high = np.where(out, low, middle), np.where(out, middle, high)
        return np.asarray(center + low[:, None] * ray)

    def thickness(self, points: Array) -> Array:
        """Thickness in mm at points `(n, 3)` of the inner surface."""
        if not self.eccentricity_mm:
            return np.full(len(points), self.wall_mm)
        return -self._outer_distance(self._upright(points))

    def apex_thickness(self) -> float:
        """Thickness at the lower end of the cavity of an upright ellipsoid."""
        return float(self.thickness(np.array([[*self.center_mm, -self.c_mm]]))[0])

    # ---- geometry ----

    def _septum(self) -> Array:
        return np.array([math.cos(self.septum_rad), math.sin(self.septum_rad)])

    def _right_from_mm(self) -> float:
        return -20.0 if math.isinf(self.c_mm) else -0.5 * self.c_mm

    def _upright(self, points: Array) -> Array:
        """Coordinates in which the long axis is z."""
        p = points - np.array([*self.center_mm, 0.0])
        hinge = np.array([-math.sin(self.tilt_direction_rad), math.cos(self.tilt_direction_rad), 0.0])
        cos_t, sin_t = math.cos(self.tilt_rad), math.sin(self.tilt_rad)
        along = (p @ hinge)[..., None] * hinge
        return np.asarray(p * cos_t - np.cross(hinge, p) * sin_t + along * (1 - cos_t))

    def _outer_distance(self, p: Array) -> Array:
        shift = np.append(-self._septum() * self.eccentricity_mm, 0.0)
        return self._signed(p - shift, self.a_mm + self.wall_mm, self.c_mm + self.wall_mm)

    @staticmethod
    def _level(p: Array, a: float, c: float) -> Array:
        return np.asarray((p[..., 0] ** 2 + p[..., 1] ** 2) / a**2 + (p[..., 2] / c) ** 2 - 1)

    @classmethod
    def _signed(cls, p: Array, a: float, c: float) -> Array:
        """Distance to a spheroid, negative inside."""
        r, z = np.hypot(p[..., 0], p[..., 1]), np.abs(p[..., 2])
        if math.isinf(c):
            return np.asarray(r - a)
        return np.where(cls._level(p, a, c) < 0, -1.0, 1.0) * distance_to_ellipse(r, z, a, c)


def distance_to_ellipse(x: Array, y: Array, a: float, b: float) -> Array:
    """Distance of points of the first quadrant to the ellipse with semi-axes ``a`` along x and ``b`` along y.

    The nearest point is (a^2 x / (t + a^2), b^2 y / (t + b^2)) with the largest root t of
    (a x / (t + a^2))^2 + (b y / (t + b^2))^2 = 1, found by bisection.
    """
    x, y = np.maximum(x, 1e-9), np.maximum(y, 1e-9)
    small = min(a, b)
    low = -(small**2) + small * np.where(a <= b, x, y)
    high = -(small**2) + np.hypot(a * x, b * y)
    high = np.maximum(high, low)
    for _ in range(BISECTIONS):
        t = (low + high) / 2
        above = (a * x / (t + a**2)) ** 2 + (b * y / (t + b**2)) ** 2 > 1
        low, high = np.where(above, t, low), np.where(above, high, t)
    t = (low + high) / 2
    return np.hypot(a**2 * x / (t + a**2) - x, b**2 * y / (t + b**2) - y)
