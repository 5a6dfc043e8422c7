"""What shape has the beating heart at each moment, and what is exactly known of it?

Heart frame: s in mm along the long axis from the still endocardial apex towards the base, u = s / L(t) a material
coordinate (0 the endocardial apex, 1 the base plane), theta around the axis (0 = middle of the septum, growing
towards the anterior wall), r the distance from the axis. Every surface is a squared radius, because volumes are
integrals of squared radii:

    cavity       r^2(theta, u, t) = r0^2(theta, u) (1 - k(t) m(theta, u))
    epicardium   r^2 + q(theta, u) L(0) / L(t)
    right wall   epicardium^2 + S(t) d(theta, u)

r0 is a prolate spheroid cut by the base plane, with cosine harmonics; m is the regional motility; q is fixed by the
wall thickness at end-diastole, and a muscle element that shortens along the axis by L(0)/L(t) keeps its volume. k(t)
and S(t) are solved in closed form, so that the left and the right cavity follow their prescribed volume curves
exactly, whatever the regional function.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import beta

from cohort.synthetic.cardiac_cycle import CycleTiming, filling
from cohort.synthetic.segments import RING_U, spread

Array = NDArray[np.float64]

MUSCLE_DENSITY_G_PER_ML = 1.05
"""Density of myocardium; the usual convention of ventricular mass."""
CAP_U = 0.2
"""Below it the epicardium is a smooth cap; at and above it the wall has its prescribed thickness."""


class Surfaces(NamedTuple):
    """Squared radii in mm2 of the four surfaces, each the shape of the points asked for; 0 where a surface has no
    point there."""

    endocardium: Array
    epicardium: Array
    right_cavity: Array
    right_wall: Array


@dataclass(frozen=True)
class RightVentricle:
    """The right ventricle: a crescent between two insertion points.

    Attributes
    ----------
    edv_ml, ef
        End-diastolic volume and ejection fraction (0..1).
    timing
        Its own cycle.
    half_angle_rad
        Half of the septal sector between the insertion points at its apex end and at the base.
    center_rad
        Middle of that sector, theta.
    roundness
        Exponent p of the cross-section (1 - x^2)^p: small is boxy, 1 is a plain crescent.
    skew
        Weight of the anterior half over the inferior one, -1..1.
    start_u
        Where the cavity begins above the left apex.
    taper
        Exponent of its growth from there to the base.
    wall_mm
        Thickness of the free wall at end-diastole.
    """

    edv_ml: float
    ef: float
    timing: CycleTiming
    half_angle_rad: tuple[float, float]
    center_rad: float
    roundness: float
    skew: float
    start_u: float
    taper: float
    wall_mm: float


@dataclass(frozen=True)
class Heart:
    """A beating heart with two ventricles.

    Attributes
    ----------
    a_mm, c_mm
        Semi-axes of the endocardial spheroid at end-diastole, across and along.
    base_ratio
        The base plane lies base_ratio * c above the equator.
    harmonics
        (order k, amplitude a_k, phase) of the factor 1 + sum a_k cos(k theta + phase).
    wall_mm
        In-plane (radial) thickness at end-diastole in the middle of segments 1..16.
    apex_mm
        Thickness of the muscle under the endocardial apex.
    ef
        Left ejection fraction, 0..1.
    shortening_mm
        Systolic motion of the base plane towards the apex.
    motility
        Inward motion of segments 1..16: 1 normal, 0 akinetic, below 0 dyskinetic.
    focal
        Whether segments 1..16 carry scar or oedema.
    timing
        The cycle.
    right
        The right ventricle.
    trabeculae
        (order around, twist along, phase) of the ridges inside both cavities. They only shape the signal: by
        convention they belong to the cavity.
    trabecular_depth
        Largest height of the ridges in the left and right cavity, as a share of the cavity's radius and width.
    """

    a_mm: float
    c_mm: float
    base_ratio: float
    harmonics: tuple[tuple[int, float, float], ...]
    wall_mm: tuple[float, ...]
    apex_mm: float
    ef: float
    shortening_mm: float
    motility: tuple[float, ...]
    focal: tuple[bool, ...]
    timing: CycleTiming
    right: RightVentricle
    trabeculae: tuple[tuple[int, float, float], ...] = ()
    trabecular_depth: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        if not len(self.wall_mm) == len(self.motility) == len(self.focal) == 16:
            raise ValueError("wall thickness, motility and focal change need one value for each of 16 segments")
        if self.shortening_mm / self.length_mm >= self.ef:
            raise ValueError(
                f"a base motion of {self.shortening_mm:.1f} mm alone would eject more than the ejection fraction "
                f"{self.ef:.2f} asks for: shorten less"
            )
        strongest = float(self._contraction(0.0) * max(self.motility))
        if strongest >= 1:
            raise ValueError(
                "the motile segments cannot eject this much: lower the ejection fraction "
                "or raise the motility of the others"
            )

    # ---- volumes, in closed form ----

    @property
    def length_mm(self) -> float:
        """Long axis of the cavity at end-diastole, L(0)."""
        return self.c_mm * (1 + self.base_ratio)

    @property
    def apex_u(self) -> float:
        """u of the epicardial apex (negative)."""
        return -self.apex_mm / self.length_mm

    @cached_property
    def lv_edv_ml(self) -> float:
        """End-diastolic volume of the left cavity."""
        harmonics = 1 + sum(amplitude**2 for _, amplitude, _ in self.harmonics) / 2
        return truncated_spheroid_ml(self.a_mm, self.c_mm, base_mm=self.base_ratio * self.c_mm) * harmonics

    def lv_volume_ml(self, phase: ArrayLike) -> Array:
        """Left cavity at ``phase`` (time / RR)."""
        return self.lv_edv_ml * (1 - self.ef * (1 - filling(phase, self.timing)))

    def rv_volume_ml(self, phase: ArrayLike) -> Array:
        """Right cavity at ``phase``."""
        return self.right.edv_ml * (1 - self.right.ef * (1 - filling(phase, self.right.timing)))

    def long_axis_mm(self, phase: ArrayLike) -> Array:
        """Length L(t) of the left cavity."""
        return self._length_at(filling(phase, self.timing))

    @cached_property
    def muscle_volume_ml(self) -> float:
        """Left ventricular muscle, the same at every moment."""
        theta, u, weight = quadrature((self.apex_u, 0.0, CAP_U, *RING_U, 1.0))
        return float((weight * self.wall_area_mm2(theta, u)).sum() / 2 * self.length_mm / 1000)

    @property
    def lv_mass_g(self) -> float:
        """Left ventricular mass."""
        return self.muscle_volume_ml * MUSCLE_DENSITY_G_PER_ML

    # ---- surfaces ----

    def surfaces(self, theta: ArrayLike, u: ArrayLike, phase: float) -> Surfaces:
        """Squared radii of all surfaces at ``phase`` for broadcastable theta and u; u outside the heart gives 0."""
        theta, u = np.asarray(theta, dtype=np.float64), np.asarray(u, dtype=np.float64)
        stretch = self.length_mm / float(self.long_axis_mm(phase))
        inside = (u >= self.apex_u) & (u <= 1 + 1e-9)
        contraction = float(self._contraction(filling(phase, self.timing)))
        endo = np.where(
            inside, self.cavity_area_mm2(theta, u) * (1 - contraction * spread(self.motility, theta, u)), 0.0
        )
        epi = np.where(inside, endo + stretch * self.wall_area_mm2(theta, u), 0.0)
        shape = self.right_shape(theta, u)
        right = epi + np.where(inside, self._right_scale_mm2(phase) * shape, 0.0)
        # the free wall is incompressible too; it fades towards the insertion points
        rest = self._right_scale_mm2(0.0) * shape
        outer = np.sqrt(np.maximum(self.epicardium_ed_mm2(theta, u), 0.0) + rest)
        wall = self.right.wall_mm * np.clip(rest / (0.05 * self._right_scale_mm2(0.0)), 0, 1)
        return Surfaces(endo, epi, right, np.where(inside, right + stretch * (2 * outer * wall + wall**2), 0.0))

    def cavity_area_mm2(self, theta: ArrayLike, u: ArrayLike) -> Array:
        """r0^2, the squared endocardial radius at end-diastole; 0 below the endocardial apex."""
        z = -self.c_mm + np.asarray(u, dtype=np.float64) * self.length_mm
        return (
            self.a_mm**2
            * np.clip(1 - (z / self.c_mm) ** 2, 0, None)
            * (np.asarray(u) >= 0)
            * self._outline(np.asarray(theta)) ** 2
        )

    def epicardium_ed_mm2(self, theta: ArrayLike, u: ArrayLike) -> Array:
        """Squared epicardial radius at end-diastole: prescribed thickness above `CAP_U`, below it a conic that
        continues the slope."""
        theta, u = np.asarray(theta, dtype=np.float64), np.asarray(u, dtype=np.float64)
        wall = (np.sqrt(self.cavity_area_mm2(theta, u)) + spread(self.wall_mm, theta, u)) ** 2
        edge = np.sqrt(self.cavity_area_mm2(theta, CAP_U))
        outline = self._outline(theta)
        z = -self.c_mm + CAP_U * self.length_mm
        slope = -z * self.length_mm / self.c_mm**2 * self.a_mm**2 * outline**2 / edge
        radius = edge + spread(self.wall_mm, theta, CAP_U)
        reach = CAP_U - self.apex_u
        p = np.clip(2 - 2 * reach * slope / radius, 0.2, 2.0)
        s = np.clip((u - self.apex_u) / reach, 0, 1)
        return np.where(u >= CAP_U, wall, radius**2 * (p * s + (1 - p) * s**2))

    def wall_area_mm2(self, theta: ArrayLike, u: ArrayLike) -> Array:
        """q, the difference of the squared epicardial and endocardial radii at end-diastole."""
        return self.epicardium_ed_mm2(theta, u) - self.cavity_area_mm2(theta, u)

    def right_shape(self, theta: ArrayLike, u: ArrayLike) -> Array:
        """d, the right cavity's share of the squared radius, before scaling; 0 outside the septal sector."""
        rv = self.right
        height = np.clip((np.asarray(u, dtype=np.float64) - rv.start_u) / (1 - rv.start_u), 0, 1)
        half = rv.half_angle_rad[0] + (rv.half_angle_rad[1] - rv.half_angle_rad[0]) * height
        x = (np.mod(np.asarray(theta) - rv.center_rad + np.pi, 2 * np.pi) - np.pi) / half
        return height**rv.taper * np.clip(1 - x**2, 0, None) ** rv.roundness * (1 + rv.skew * np.clip(x, -1, 1))

    def ridges(self, theta: ArrayLike, u: ArrayLike) -> Array:
        """Height of the trabeculae between 0 and 1, more towards the apex."""
        theta, u = np.asarray(theta, dtype=np.float64), np.asarray(u, dtype=np.float64)
        total = np.zeros(np.broadcast_shapes(theta.shape, u.shape))
        for order, twist, phase in self.trabeculae:
            total += np.cos(order * theta + twist * u + phase) / math.sqrt(max(len(self.trabeculae), 1))
        return np.clip(total, 0, 1.5) / 1.5 * np.clip(1.3 - u, 0.15, 1)

    # ---- what keeps the volume curves exact ----

    def _outline(self, theta: Array) -> Array:
        total = np.ones_like(theta, dtype=np.float64)
        for order, amplitude, phase in self.harmonics:
            total += amplitude * np.cos(order * theta + phase)
        return total

    def _length_at(self, full: ArrayLike) -> Array:
        return self.length_mm - self.shortening_mm * (1 - np.asarray(full, dtype=np.float64))

    @cached_property
    def _mean_motility(self) -> float:
        """Motility weighted by cavity: the volume that k = 1 would eject, divided by the end-diastolic volume."""
        theta, u, weight = quadrature((0.0, *RING_U, 1.0))
        moved = (
            (weight * self.cavity_area_mm2(theta, u) * spread(self.motility, theta, u)).sum()
            / 2
            * self.length_mm
            / 1000
        )
        return float(moved / self.lv_edv_ml)

    def _contraction(self, full: ArrayLike) -> Array:
        """k for a filling between 0 and 1: solves (1 - k M) L / L(0) = V / V(0)."""
        full = np.asarray(full, dtype=np.float64)
        remaining = (1 - self.ef * (1 - full)) * self.length_mm / self._length_at(full)
        return (1 - remaining) / self._mean_motility

    def _right_scale_mm2(self, phase: float) -> float:
        """S: solves L S / 2 times the integral of d = right volume; the integral is a beta function."""
        rv = self.right
        apical, basal = rv.half_angle_rad
        power = rv.taper
        along = (1 - rv.start_u) * (apical / (power + 1) + (basal - apical) / (power + 2))
        integral = float(beta(0.5, rv.roundness + 1)) * along
        return float(self.rv_volume_ml(phase)) * 1000 / (0.5 * float(self.long_axis_mm(phase)) * integral)


def truncated_spheroid_ml(a_mm: float, c_mm: float, *, base_mm: float) -> float:
    """Volume of a prolate spheroid between its lower tip and the plane ``base_mm`` above its equator.

    pi a^2 [(b + c) - (b^3 + c^3) / (3 c^2)].
    """
    return math.pi * a_mm**2 * ((base_mm + c_mm) - (base_mm**3 + c_mm**3) / (3 * c_mm**2)) / 1000


def quadrature(knots: tuple[float, ...], *, n_theta: int = 720, n_panel: int = 16) -> tuple[Array, Array, Array]:
    """Nodes theta (n_theta, 1), u (1, n) and weights (1, n) * d theta: periodic trapezium around, Gauss-Legendre
    between the knots."""
    theta = (np.arange(n_theta) * 2 * np.pi / n_theta)[:, None]
    nodes, weights = np.polynomial.legendre.leggauss(n_panel)
    starts, ends = np.array(knots[:-1]), np.array(knots[1:])
    u = (starts[:, None] + (ends - starts)[:, None] * (nodes + 1) / 2).reshape(1, -1)
    weight = ((ends - starts)[:, None] * weights / 2).reshape(1, -1)
    return theta, u, weight * 2 * np.pi / n_theta
