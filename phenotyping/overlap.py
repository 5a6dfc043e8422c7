"""How well do two segmentations agree, in overlap and in millimeters?

Overlap is by voxels; distances are between surfaces in 3-D with the voxels' own size, so that a slice that one of the
two lacks counts with the slice pitch. A surface voxel has a neighbor outside along some axis (what lies beyond the image
is outside), a distance is from center to center.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cohort.records import MeasurementFailed

Mask = NDArray[np.bool_]

HD_PERCENTILE: Final = 95.0


@dataclass(frozen=True)
class Overlap:
    """Agreement of one structure; None where it is not defined, and why.

    Attributes
    ----------
    dice
        2 |A and B| / (|A| + |B|); 0 where only one has the structure, None where neither has.
    hd95_mm
        The larger of both directions' 95th percentiles of the distance to the other surface; None unless both have one.
    assd_mm
        Mean distance to the other surface over the surface voxels of both.
    reason
        Empty where all three are defined.
    """

    dice: float | None
    hd95_mm: float | None
    assd_mm: float | None
    reason: str = ""


def compare_masks(reference: NDArray[Any], found: NDArray[Any], *, spacing_mm: tuple[float, ...]) -> Overlap:
    """Compare one structure.

    Parameters
    ----------
    reference, found
        Boolean, of equal shape, usually (slices, y, x).
    spacing_mm
        Of the voxels, one for each axis.

    Raises
    ------
    MeasurementFailed
        Shapes or spacing do not fit.

    Notes
    -----
    Distances by the exact Euclidean distance transform; definitions as in Reinke et al., Nature Methods 21, 2024,
    doi 10.1038/s41592-023-02150-0.
    """
    one, other = _checked(reference, found)
    if len(spacing_mm) != one.ndim or not all(np.isfinite(size) and size > 0 for size in spacing_mm):
        raise MeasurementFailed(f"expected {one.ndim} positive spacings in mm, got {spacing_mm}")
    overlap = dice(one, other)
    if not one.any() or not other.any():
        missing = "neither has" if overlap is None else "the reference lacks" if other.any() else "the result lacks"
        return Overlap(overlap, None, None, f"{missing} the structure")
    forward, backward = _surface_distances_mm(one, other, spacing_mm)
    percentiles = [float(np.percentile(distances, HD_PERCENTILE)) for distances in (forward, backward)]
    return Overlap(overlap, max(percentiles), float(np.concatenate([forward, backward]).mean()))


def dice(reference: NDArray[Any], found: NDArray[Any]) -> float | None:
    """2 |A and B| / (|A| + |B|) of two boolean arrays; None where both are empty."""
    one, other = _checked(reference, found)
    total = np.count_nonzero(one) + np.count_nonzero(other)
    return 2 * np.count_nonzero(one & other) / total if total else None


def surface(mask: Mask) -> Mask:
    """Voxels of a structure with a face neighbor outside."""
    inside: Mask = ndimage.binary_erosion(mask)
    return mask & ~inside


def _checked(reference: NDArray[Any], found: NDArray[Any]) -> tuple[Mask, Mask]:
    one, other = np.asarray(reference, bool), np.asarray(found, bool)
    if one.shape != other.shape:
        raise MeasurementFailed(f"expected two masks of equal shape, got {one.shape} and {other.shape}")
    return one, other


def _surface_distances_mm(
    one: Mask, other: Mask, spacing_mm: tuple[float, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distances of the surface voxels of each to the surface of the other, within the box that holds both."""
    box = ndimage.find_objects((one | other).astype(np.uint8))[0]
    # erosion takes what is beyond the box for outside, which it is
    faces, other_faces = surface(one[box]), surface(other[box])
    to_other = ndimage.distance_transform_edt(~other_faces, sampling=spacing_mm)
    to_one = ndimage.distance_transform_edt(~faces, sampling=spacing_mm)
    return to_other[faces], to_one[other_faces]
