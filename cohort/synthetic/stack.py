"""Where do the slices of a synthetic patient lie?"""

import math
from dataclasses import dataclass

import numpy as np

from cohort.synthetic.population import SyntheticPatient


@dataclass(frozen=True)
class SliceStack:
    """A stack of parallel slices.

    Attributes
    ----------
    z_mm
        Centers along the stack's normal, base first (descending); 0 is the middle of the long axis at end-diastole.
    thickness_mm, pitch_mm
        Thickness of a slice, distance of slice centers.
    """

    z_mm: tuple[float, ...]
    thickness_mm: float
    pitch_mm: float

    @property
    def low_mm(self) -> float:
        """Apical end of what the stack stands for: half a pitch below its last slice."""
        return self.z_mm[-1] - self.pitch_mm / 2

    @property
    def high_mm(self) -> float:
        """Basal end: half a pitch above its first slice."""
        return self.z_mm[0] + self.pitch_mm / 2


def plan_stack(
    patient: SyntheticPatient, *, n_slices: int, slice_thickness_mm: float = 8.0, slice_pitch_mm: float | None = None
) -> SliceStack:
    """Lay the slices over the heart, base first.

    Parameters
    ----------
    patient
        Whose ``pose.slice_shift`` displaces the stack.
    n_slices
        Number of slices.
    slice_thickness_mm
        Thickness.
    slice_pitch_mm
        Distance of centers; None spans from the base plane to the epicardial apex, never less than the thickness.
    """
    half = patient.heart.length_mm / 2
    slant = math.cos(patient.pose.tilt_rad)
    low, high = -(half + patient.heart.apex_mm) * slant, half * slant
    pitch = max((high - low) / n_slices, slice_thickness_mm) if slice_pitch_mm is None else slice_pitch_mm
    middle = (low + high) / 2 + patient.pose.slice_shift * pitch
    offsets = (n_slices - 1) / 2 - np.arange(n_slices)
    return SliceStack(tuple(float(middle + k * pitch) for k in offsets), float(slice_thickness_mm), float(pitch))
