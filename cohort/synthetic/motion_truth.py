"""How does the wall of a synthetic patient deform, as one short-axis slice sees it and as the muscle itself does?

A slice stays where it is while the heart shortens through it: what is seen of its contours is not the motion of the
same muscle. Methods that follow images in the plane can only find the first; `slice_strain` gives that, and
`material_strain` the second.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cohort.synthetic.phantom import Heart
from cohort.synthetic.population import SyntheticPatient
from cohort.synthetic.rasterize import heart_axes

Array = NDArray[np.float64]
BISECTIONS = 40
REACH_MM = 90.0


@dataclass(frozen=True)
class Strain:
    """Lagrangian strain in percent against end-diastole `(phases,)`: lengths of the inner and the outer contour, and
    the mean thickness between them."""

    endocardial: Array
    epicardial: Array
    radial: Array

    @property
    def circumferential(self) -> Array:
        """Mean of both contours."""
        return (self.endocardial + self.epicardial) / 2


def slice_contours(patient: SyntheticPatient, *, z_mm: float, phase: float, n: int = 360) -> tuple[Array, Array]:
    """Endocardium and epicardium `(n, 2)`, x and y in mm from the image's center, of the slice at ``z_mm``.

    Points lie at even angles around where the long axis meets the slice.
    """
    heart = patient.heart
    length = float(heart.long_axis_mm(phase))
    first, second, axis = heart_axes(patient.pose)
    on_axis = axis[:2] / axis[2] * z_mm
    angle = np.arange(n) * 2 * np.pi / n
    ray = np.stack([np.cos(angle), np.sin(angle)], axis=1)

    def contour(which: int) -> Array:
        low, high = np.zeros(n), np.full(n, REACH_MM)
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            point = np.column_stack([on_axis + middle[:, None] * ray, np.full(n, z_mm)])
            along, across = point @ first, point @ second
            u = (point @ axis + heart.length_mm / 2) / length
            square = heart.surfaces(np.arctan2(across, along), np.minimum(u, 1.0), phase)[which]
            out = along**2 + across**2 > square
            low, high = np.where(out, low, middle), np.where(out, middle, high)
        return np.asarray(np.array(patient.pose.center_mm) + on_axis + low[:, None] * ray)

    return contour(0), contour(1)


def slice_strain(patient: SyntheticPatient, *, z_mm: float, phases: ArrayLike) -> Strain:
    """Strain of the contours that the slice at ``z_mm`` shows at ``phases`` (0 is end-diastole)."""
    start = _lengths(*slice_contours(patient, z_mm=z_mm, phase=0.0))
    now = np.array([_lengths(*slice_contours(patient, z_mm=z_mm, phase=float(p))) for p in np.atleast_1d(phases)])
    return Strain(*(100 * (now / start - 1)).T)


def material_strain(heart: Heart, *, u: float, phases: ArrayLike) -> Strain:
    """Strain of the muscle that is at ``u`` (0 apex, 1 base) of the long axis, across the axis."""
    theta = np.arange(720) * 2 * np.pi / 720

    def lengths(phase: float) -> Array:
        surfaces = heart.surfaces(theta, u, phase)
        around = np.stack([np.cos(theta), np.sin(theta)], axis=1)
        return _lengths(*(np.sqrt(square)[:, None] * around for square in surfaces[:2]))

    return Strain(*(100 * (np.array([lengths(float(p)) for p in np.atleast_1d(phases)]) / lengths(0.0) - 1)).T)


def _lengths(endo: Array, epi: Array) -> Array:
    """Perimeters of two contours with points at the same angles, and the mean distance between them."""
    around = [float(np.linalg.norm(np.roll(c, -1, axis=0) - c, axis=1).sum()) for c in (endo, epi)]
    return np.array([*around, float(np.linalg.norm(epi - endo, axis=1).mean())])
