"""How much does the wall of the left ventricle shorten around and thicken across, by AHA segment, over the beat?

Three slices at 25, 50 and 75 % of the ventricle. The contours of end-diastole are carried from frame to frame by
registration (registration.py) forward and backward in time; both ways are averaged, t frames after end-diastole of T
with weights (T - t) / T and t / T, so that neither has drifted far where it counts. Strain is Lagrangian,
100 (L(t) - L(ED)) / L(ED), of lengths along the contours and of lines from the endocardium to the epicardium.

Only motion in the plane is seen. The heart shortens through the slices, so this is the deformation of what each slice
shows, not of the same muscle.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from cohort.records import MeasurementFailed
from phenotyping import aha
from phenotyping.contours import centroid, even
from phenotyping.labels import LV, MYOCARDIUM, Labels
from phenotyping.registration import RegistrationOptions, deformation, prepared, transported
from phenotyping.volumes import checked_voxel_ml
from phenotyping.wall_corrected import Anatomy, left_ventricle
from phenotyping.wall_thickness import frame_affine

Array = NDArray[np.float64]

POINTS: Final = 96
"""Points on each contour, and lines across the wall."""
MARGIN_MM: Final = 22.0
"""Image around the ventricle that takes part in the registration: the motion beside the wall is that of the wall."""
MIN_FRAMES: Final = 3
MAX_CLOSURE_MM: Final = 3.0
"""A contour carried around the whole beat that misses its start by more has lost the wall (own choice: a third of a
wall)."""


@dataclass(frozen=True)
class StrainOptions:
    """How strain is measured.

    Attributes
    ----------
    registration
        See `RegistrationOptions`.
    periodic
        Whether the last frame is followed by the first. Without that, frames are followed forward and backward from
        end-diastole without meeting.
    workers
        Threads; the result does not depend on them.
    """

    registration: RegistrationOptions = field(default_factory=RegistrationOptions)
    periodic: bool = True
    workers: int = 2


@dataclass(frozen=True)
class StrainResult:
    """Strain in percent over the frames, in the order of the cine; 0 at ``ed_frame``.

    ``circumferential_percent`` (mean of inner and outer contour) and ``radial_percent`` `(frames,)` are global: means
    over the slices. By segment they are dicts 1..16, NaN where a segment was not measured. ``gcs_percent`` is the
    minimum of the global circumferential, ``grs_percent`` the maximum of the global radial curve; segment peaks
    likewise. ``endocardial_percent`` and ``epicardial_percent`` are the two contours by themselves. ``closure_mm`` of
    each slice: mean distance of a contour carried once around the beat from where it started (NaN if not periodic).
    ``reasons`` say what is missing or doubtful.
    """

    circumferential_percent: Array
    radial_percent: Array
    endocardial_percent: Array
    epicardial_percent: Array
    circumferential_by_segment: Mapping[int, Array]
    radial_by_segment: Mapping[int, Array]
    gcs_percent: float
    grs_percent: float
    circumferential_peak_by_segment: Mapping[int, float]
    radial_peak_by_segment: Mapping[int, float]
    ed_frame: int
    slices_used: Mapping[int, aha.Level]
    closure_mm: Mapping[int, float]
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Slice:
    """Lengths `(frames, points)` of pieces of both contours and of lines across, with the segment of each."""

    endo: Array
    epi: Array
    across: Array
    segment: NDArray[np.int8]
    segment_across: NDArray[np.int8]
    closure_mm: float


def measure_strain(
    image: NDArray[np.floating],
    labels: Labels,
    *,
    spacing_mm: tuple[float, float, float],
    ed_frame: int,
    options: StrainOptions | None = None,
) -> StrainResult:
    """Measure circumferential and radial strain of the left ventricle.

    Parameters
    ----------
    image
        `(frames, slices, y, x)`, magnitudes of a short-axis cine.
    labels
        The same shape. Only end-diastole's contours are measured; the other frames show where the ventricle moves.
    spacing_mm
        (slice pitch, y, x), mm.
    ed_frame
        End-diastole, where strain is 0.
    options
        See `StrainOptions`.

    Raises
    ------
    MeasurementFailed
        For shapes that do not fit, values that are not finite, fewer than three frames, or an end-diastole without any
        slice with a closed ring of myocardium.
    """
    options = options or StrainOptions()
    image, labels = _checked(image, labels, ed_frame)
    checked_voxel_ml(spacing_mm)
    anatomy = left_ventricle(labels[ed_frame].transpose(2, 1, 0), frame_affine(labels[ed_frame], spacing_mm))
    chosen = standard_slices(anatomy.from_base)
    order = np.roll(np.arange(len(image)), -ed_frame)
    with ThreadPoolExecutor(options.workers) as pool:
        slices = [
            _followed(image[order, z], labels[order, z], anatomy, z, level, spacing_mm[1:], options, pool)
            for z, level in chosen.items()
        ]
    return _result(slices, chosen, anatomy, ed_frame)


def standard_slices(from_base: Sequence[int]) -> dict[int, aha.Level]:
    """Slices at 25, 50 and 75 % of those with a closed ring, base first; fewer where there are fewer than three."""
    last = len(from_base) - 1
    if last == 0:
        return {from_base[0]: "mid"}
    places: list[tuple[float, aha.Level]] = [(0.25, "basal"), (0.75, "apical")]
    if last > 1:
        places.insert(1, (0.5, "mid"))
    return {from_base[round(last * share)]: level for share, level in places}


# --- one slice -----------------------------------------------------------------------------------------------------


def _followed(
    image: Array,
    labels: Labels,
    anatomy: Anatomy,
    z: int,
    level: aha.Level,
    spacing_mm: tuple[float, float],
    options: StrainOptions,
    pool: ThreadPoolExecutor,
) -> _Slice:
    """Contours of one slice `(frames, y, x)` through the beat; frame 0 is end-diastole."""
    rows, columns = _box(np.asarray(np.isin(labels, (LV, MYOCARDIUM)).any(axis=0)), spacing_mm)
    part = image[:, rows, columns]
    white = float(np.percentile(part, 99)) or 1.0
    frames = [prepared(frame, spacing_mm=spacing_mm, white=white) for frame in part]
    ring = anatomy.ring(z)
    corner = np.array([rows.start, columns.start])
    endo, epi = ((contour[:, ::-1] - corner) * spacing_mm for contour in (ring.endo, ring.epi))
    endo, epi, segment, segment_across = _lines(endo, epi, anatomy, z, level, corner, spacing_mm)
    track, closure = _track(np.concatenate([endo, epi]), frames, options, pool)
    inner, outer = track[:, :POINTS], track[:, POINTS:]
    return _Slice(
        endo=np.linalg.norm(np.roll(inner, -1, axis=1) - inner, axis=2),
        epi=np.linalg.norm(np.roll(outer, -1, axis=1) - outer, axis=2),
        across=np.linalg.norm(outer - inner, axis=2),
        segment=segment,
        segment_across=segment_across,
        closure_mm=closure,
    )


def _lines(
    endo: Array,
    epi: Array,
    anatomy: Anatomy,
    z: int,
    level: aha.Level,
    corner: NDArray[np.int64],
    spacing_mm: tuple[float, float],
) -> tuple[Array, Array, NDArray[np.int8], NDArray[np.int8]]:
    """Points `(POINTS, 2)` on both contours at the same directions from the cavity's center, and AHA segments of the
    pieces between consecutive directions and of the directions."""
    center = centroid(endo)
    angle = np.arange(POINTS) * 2 * np.pi / POINTS
    inner, outer = (_at_angles(contour - center, angle) + center for contour in (endo, epi))
    frame = anatomy.frame
    if frame is None:
        none = np.zeros(POINTS, np.int8)
        return inner, outer, none, none

    def segment(points: Array) -> NDArray[np.int8]:
        index = (np.vstack([points, center]) / spacing_mm + corner)[:, ::-1]
        world = anatomy.world(index, z)
        return aha.segments(world[:-1], world[-1], frame=frame, level=level)

    return inner, outer, segment((inner + np.roll(inner, -1, axis=0)) / 2), segment(inner)


def _at_angles(contour: Array, angle: Array) -> Array:
    """Points of a closed contour around the origin at these directions."""
    fine = even(contour, 0.2)
    at = np.arctan2(fine[:, 0], fine[:, 1])
    order = np.argsort(at, kind="stable")
    radius = np.interp(angle, at[order], np.hypot(*fine.T)[order], period=2 * np.pi)
    return np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=1)


def _track(
    points: Array, frames: Sequence[sitk.Image], options: StrainOptions, pool: ThreadPoolExecutor
) -> tuple[Array, float]:
    """Positions `(frames, points, 2)` of the points of frame 0, and how far a whole turn misses it, mm."""
    n = len(frames)
    pairs = [(t, (t + 1) % n) for t in range(n if options.periodic else n - 1)]
    backward = [(b, a) for a, b in pairs[1:]] if options.periodic else []

    def found(pair: tuple[int, int]) -> sitk.Transform:
        return deformation(frames[pair[0]], frames[pair[1]], options=options.registration)

    transforms = dict(zip([*pairs, *backward], pool.map(found, [*pairs, *backward]), strict=True))
    ahead = [points]
    for pair in pairs:
        ahead.append(transported(ahead[-1], transforms[pair]))
    if not options.periodic:
        return np.stack(ahead), float("nan")
    back = [points]
    for t in range(n - 1, 0, -1):
        back.append(transported(back[-1], transforms[((t + 1) % n, t)]))
    closure = float(np.linalg.norm(ahead[n] - points, axis=1).mean())
    behind = [points, *back[:0:-1]]
    track = [(n - t) / n * ahead[t] + t / n * behind[t] for t in range(n)]
    return np.stack(track), closure


def _box(ventricle: NDArray[np.bool_], spacing_mm: tuple[float, float]) -> tuple[slice, slice]:
    ends = []
    for axis, spacing in enumerate(spacing_mm):
        used = np.flatnonzero(ventricle.any(axis=1 - axis))
        margin = int(np.ceil(MARGIN_MM / spacing))
        ends.append(slice(max(int(used[0]) - margin, 0), int(used[-1]) + margin + 1))
    return ends[0], ends[1]


# --- from lengths to strain ----------------------------------------------------------------------------------------


def _result(slices: list[_Slice], chosen: Mapping[int, aha.Level], anatomy: Anatomy, ed_frame: int) -> StrainResult:
    everywhere = np.ones(POINTS, bool)
    endo = np.mean([_strain(s.endo, everywhere) for s in slices], axis=0)
    epi = np.mean([_strain(s.epi, everywhere) for s in slices], axis=0)
    across = np.mean([_strain(s.across, everywhere) for s in slices], axis=0)
    n = len(endo)
    around = {number: np.full(n, np.nan) for number in aha.SEGMENTS}
    radial = {number: np.full(n, np.nan) for number in aha.SEGMENTS}
    for measured in slices:
        for number in sorted(set(measured.segment.tolist()) - {0}):
            inside = measured.segment == number
            around[number] = (_strain(measured.endo, inside) + _strain(measured.epi, inside)) / 2
            radial[number] = _strain(measured.across, measured.segment_across == number)
    closure = {z: s.closure_mm for z, s in zip(chosen, slices, strict=True)}
    reasons = [*anatomy.notes]
    if len(chosen) < 3:
        reasons.append(f"{len(chosen)} instead of the three standard slices: too few closed rings of myocardium")
    for z, distance in closure.items():
        if distance > MAX_CLOSURE_MM:
            reasons.append(f"slice {z}: contours miss their start by {distance:.1f} mm after the whole beat")

    def in_order(curve: Array) -> Array:
        return np.roll(curve, ed_frame)

    circumferential = (endo + epi) / 2
    return StrainResult(
        circumferential_percent=in_order(circumferential),
        radial_percent=in_order(across),
        endocardial_percent=in_order(endo),
        epicardial_percent=in_order(epi),
        circumferential_by_segment={number: in_order(curve) for number, curve in around.items()},
        radial_by_segment={number: in_order(curve) for number, curve in radial.items()},
        gcs_percent=float(circumferential.min()),
        grs_percent=float(across.max()),
        circumferential_peak_by_segment={number: float(curve.min()) for number, curve in around.items()},
        radial_peak_by_segment={number: float(curve.max()) for number, curve in radial.items()},
        ed_frame=ed_frame,
        slices_used=dict(chosen),
        closure_mm=closure,
        reasons=tuple(reasons),
    )


def _strain(lengths: Array, inside: NDArray[np.bool_]) -> Array:
    """Relative change of the sum of lengths `(frames, points)` against frame 0, percent."""
    total = lengths[:, inside].sum(axis=1)
    return np.asarray(100 * (total / total[0] - 1))


def _checked(image: NDArray[Any], labels: Labels, ed_frame: int) -> tuple[Array, Labels]:
    image, labels = np.asarray(image, dtype=np.float64), np.asarray(labels)
    if image.ndim != 4 or image.shape != labels.shape:
        raise MeasurementFailed(
            f"strain needs image and labels (frames, slices, y, x) of one shape, got {image.shape} and {labels.shape}"
        )
    if len(image) < MIN_FRAMES:
        raise MeasurementFailed(f"strain needs {MIN_FRAMES} frames or more, got {len(image)}")
    if not 0 <= ed_frame < len(image):
        raise MeasurementFailed(f"end-diastole must be one of {len(image)} frames, got {ed_frame}")
    if not np.isfinite(image).all():
        raise MeasurementFailed("the cine holds values that are not finite; strain cannot follow it")
    return image, labels
