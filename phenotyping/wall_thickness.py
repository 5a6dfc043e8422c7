"""How thick is the wall of the left ventricle, by AHA segment?

Two conventions: `ukbb` repeats what the UK Biobank evaluation measures (wall_ukbb.py), so that published numbers can be
compared; `corrected` measures what was meant (wall_corrected.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from cohort.records import MeasurementFailed
from phenotyping import aha
from phenotyping.labels import Labels, base_is_low
from phenotyping.volumes import checked_voxel_ml
from phenotyping.wall_corrected import corrected_points
from phenotyping.wall_ukbb import ukbb_points

Convention = Literal["ukbb", "corrected"]
_METHODS: Final = {"ukbb": ukbb_points, "corrected": corrected_points}


@dataclass(frozen=True)
class WallThickness:
    """Mean and maximum wall thickness in mm by AHA segment (NaN for a segment without points) and of all rings.

    Segments are 1 to 16, with `corrected` also 17, which has one value where slices show the muscle below the cavity;
    global values are without it.

    `slices_used` run from base to apex; `excluded` holds the slices left out with the reason.
    """

    convention: Convention
    mean_mm: Mapping[int, float]
    max_mm: Mapping[int, float]
    global_mean_mm: float
    global_max_mm: float
    slices_used: tuple[int, ...]
    excluded: Mapping[int, str] = field(default_factory=dict)
    axes: aha.Axes | None = None
    notes: tuple[str, ...] = ()


def wall_thickness(labels_xyz: Labels, affine: NDArray[np.float64], *, convention: Convention) -> WallThickness:
    """Measure the wall of one phase (end-diastole for the clinical maximum).

    Parameters
    ----------
    labels_xyz
        `(x, y, z)` as in a NIfTI file, 0 background, 1 LV cavity, 2 myocardium, 3 RV cavity.
    affine
        `(4, 4)`, voxel index to world, mm.
    convention
        `ukbb`: pixel contours, distance in the plane to the nearest point, base by the affine.
        `corrected`: sub-pixel contours, distance in 3-D to the outer surface, base and septum by the anatomy. The
        maximum is that of means over 6 mm of endocardium.

    Raises
    ------
    MeasurementFailed
        For a wrong shape or affine, or labels that the convention's checks refuse.
    """
    labels_xyz, affine = np.asarray(labels_xyz), np.asarray(affine, dtype=np.float64)
    if convention not in _METHODS:
        raise MeasurementFailed(f"convention must be one of {sorted(_METHODS)}, got {convention!r}")
    if labels_xyz.ndim != 3 or affine.shape != (4, 4):
        raise MeasurementFailed(
            f"wall thickness needs labels (x, y, z) and a 4 x 4 affine, got {labels_xyz.shape} and {affine.shape}"
        )
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise MeasurementFailed("the affine is singular: voxels without volume")
    return _summary(_METHODS[convention](labels_xyz, affine), convention)


def thickness_of_frame(
    labels: Labels, *, spacing_mm: tuple[float, float, float], convention: Convention
) -> WallThickness:
    """`wall_thickness` of one frame in the project's own axes, without a trusted affine.

    The base is found in the anatomy and the world built on it: z toward the base, and x, y, z right-handed, as in the
    usual display (seen from the apex, y down). In images stored mirrored the anterior and inferior segments change
    places; global values do not depend on it.

    Parameters
    ----------
    labels
        `(slices, y, x)`, as in `wall_thickness`.
    spacing_mm
        (slice pitch, y, x), mm.
    convention
        As in `wall_thickness`.

    Raises
    ------
    MeasurementFailed
        As `wall_thickness`.
    """
    labels = np.asarray(labels)
    if labels.ndim != 3:
        raise MeasurementFailed(f"labels of one frame must be (slices, y, x), got shape {labels.shape}")
    checked_voxel_ml(spacing_mm)
    return wall_thickness(labels.transpose(2, 1, 0), frame_affine(labels, spacing_mm), convention=convention)


def frame_affine(labels: Labels, spacing_mm: tuple[float, float, float]) -> NDArray[np.float64]:
    """Affine of ``labels.transpose(2, 1, 0)`` for labels `(slices, y, x)`, as `thickness_of_frame` builds the world."""
    pitch, dy, dx = spacing_mm
    to_base = 1.0 if base_is_low(labels) is False else -1.0
    return np.diag([dx, dy, to_base * pitch, 1.0])


def _summary(wall: aha.WallPoints, convention: Convention) -> WallThickness:
    around = wall.segment != aha.APEX
    mean_mm, max_mm = {}, {}
    for segment in (*aha.SEGMENTS, aha.APEX) if convention == "corrected" else aha.SEGMENTS:
        inside = wall.segment == segment
        values, weights = wall.thickness_mm[inside], wall.weight[inside]
        at_all = values.size > 0
        mean_mm[segment] = float(np.average(values, weights=weights if weights.any() else None)) if at_all else np.nan
        max_mm[segment] = float(values.max()) if at_all else np.nan
    return WallThickness(
        convention=convention,
        mean_mm=mean_mm,
        max_mm=max_mm,
        global_mean_mm=float(np.average(wall.thickness_mm[around], weights=wall.weight[around])),
        global_max_mm=float(wall.thickness_mm[around].max()),
        slices_used=tuple(wall.level_of_slice),
        excluded=wall.excluded,
        axes=wall.frame,
        notes=wall.notes,
    )
