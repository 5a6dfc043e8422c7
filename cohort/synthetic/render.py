"""What would a perfect scanner see of a synthetic patient, finer than it will be sampled?"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cohort.synthetic.anatomy import body_fractions, body_texture
from cohort.synthetic.population import SyntheticPatient
from cohort.synthetic.rasterize import PARTS, Grid, HeartSlice, SlicePoints, rasterize_heart, slice_points
from cohort.synthetic.relaxation import (
    apparent_t1_ms,
    bssfp_signal,
    fat_sign,
    look_locker_signal,
    molli_times_ms,
    t2_prepared_signal,
)
from cohort.synthetic.smooth_fields import SmoothFields
from cohort.synthetic.stack import plan_stack
from cohort.synthetic.tissues import TISSUE_INDEX, table_of

Images = NDArray[np.float32]
Array = NDArray[np.float64]

DIASTASIS_PHASE = 0.78
"""Mapping is triggered to the quiet interval before the atrial kick."""
T2_PREPARATION_MS = (0.0, 35.0, 55.0)
"""Preparation times of a usual T2-prepared balanced SSFP map: Giri et al. 2009, doi 10.1186/1532-429X-11-56 (0, 24,
55); specification (0, 35, 55)."""
_PART_TISSUE = {
    "lv_cavity": "blood",
    "myocardium": "myocardium",
    "focal_myocardium": "focal_myocardium",
    "rv_cavity": "blood",
    "other_muscle": "myocardium",
    "papillary": "myocardium",
    "rv_trabeculae": "myocardium",
    "atrium": "blood",
    "fat": "fat",
}


class Cine(NamedTuple):
    """``images`` (frames, slices, y, x) and ``label_fractions`` (frames, slices, 4, y, x), both float32 on the fine
    grid."""

    images: Images
    label_fractions: Images


class Mapping(NamedTuple):
    """``images`` (times, 1, y, x) signed float32 and their ``times_ms`` (times,)."""

    images: Images
    times_ms: Array


def fine_grid(matrix: tuple[int, int], fov_mm: tuple[float, float], *, oversample: float = 1.5) -> Grid:
    """Grid at least ``oversample`` times finer than the acquired ``matrix`` (ny, nx), with even size."""
    shape = tuple(2 * math.ceil(n * oversample / 2) for n in matrix)
    return Grid((shape[0], shape[1]), fov_mm)


def render_cine(
    patient: SyntheticPatient,
    *,
    n_frames: int,
    n_slices: int,
    matrix: tuple[int, int],
    fov_mm: tuple[float, float],
    slice_thickness_mm: float = 8.0,
    slice_pitch_mm: float | None = None,
    oversample: float = 1.5,
    flip_deg: float = 50.0,
    tr_ms: float = 3.0,
    rng: np.random.Generator,
) -> Cine:
    """Balanced SSFP cine of one beat; frame i is at phase i / n_frames, end-diastole first.

    Parameters
    ----------
    patient
        Whom.
    n_frames, n_slices
        Size of the series; slices are those of `plan_stack`, base first.
    matrix, fov_mm
        Acquired (ny, nx) and field of view (y, x) in mm; the images are on `fine_grid(matrix, fov_mm)`.
    slice_thickness_mm, slice_pitch_mm
        As in `plan_stack`.
    oversample
        How much finer than acquired, at least 1.5.
    flip_deg, tr_ms
        Flip angle and repetition time of the sequence.
    rng
        Draws the flow pattern of the blood; the anatomy follows from the patient alone.

    Returns
    -------
    Cine
        Non-negative images, blood about 0.2; fractions of background, left cavity, myocardium, right cavity.
    """
    grid = fine_grid(matrix, fov_mm, oversample=oversample)
    stack = plan_stack(patient, n_slices=n_slices, slice_thickness_mm=slice_thickness_mm, slice_pitch_mm=slice_pitch_mm)
    signal = cine_signal(patient, flip_deg=flip_deg, tr_ms=tr_ms)
    images = np.empty((n_frames, n_slices, *grid.shape), dtype=np.float32)
    labels = np.zeros((n_frames, n_slices, 4, *grid.shape), dtype=np.float32)
    labels[:, :, 0] = 1
    flow_seed = int(rng.integers(2**31))
    for z, z_mm in enumerate(stack.z_mm):
        points = slice_points(patient.heart, patient.pose, grid, z_mm=z_mm, thickness_mm=stack.thickness_mm)
        still = _body(patient, grid, z_mm)
        background = np.tensordot(signal[None], still, axes=1)[0]
        texture = _texture(patient, grid, z_mm)
        images[:, z] = np.abs(background) * texture
        for t in range(n_frames):
            heart = rasterize_heart(patient.heart, points, phase=t / n_frames)
            inflow = _flow(grid, points, z_mm=z_mm, phase=t / n_frames, seed=flow_seed)
            window = (heart.rows, heart.columns)
            moving = _heart_signal(heart, signal, inflow)
            uncovered = 1 - heart.fractions.sum(axis=0)
            images[t, z][window] = np.abs(background[window] * uncovered + moving) * texture[window]
            labels[t, z][:, heart.rows, heart.columns] = heart.labels()
    return Cine(images, labels)


def render_mapping(
    patient: SyntheticPatient,
    *,
    kind: str,
    matrix: tuple[int, int],
    fov_mm: tuple[float, float],
    n_slices: int = 3,
    slice_index: int | None = None,
    slice_thickness_mm: float = 8.0,
    slice_pitch_mm: float | None = None,
    oversample: float = 1.5,
    molli_scheme: tuple[int, ...] = (5, 3, 3),
    t2_times_ms: tuple[float, ...] = T2_PREPARATION_MS,
    phase: float = DIASTASIS_PHASE,
) -> Mapping:
    """T1 (MOLLI) or T2 (T2-prepared) series of one slice in diastole.

    Signals mix linearly by tissue fraction in every pixel, so a pixel of one tissue follows its curve exactly: for T1
    A - B exp(-t / T1*) with T1 = T1* (B / A - 1), for T2 M0 exp(-TE / T2).

    Parameters
    ----------
    patient
        Whom.
    kind
        "T1" or "T2".
    matrix, fov_mm, slice_thickness_mm, slice_pitch_mm, oversample
        As in `render_cine`.
    n_slices, slice_index
        Slice of the stack that `plan_stack` lays; None is the middle one.
    molli_scheme
        Images and recovery beats: 5(3)3 gives 8 images.
    t2_times_ms
        Preparation times.
    phase
        Moment of the beat.

    Returns
    -------
    Mapping
        Signed images (negative before the zero crossing of T1) and their times, ascending.

    Raises
    ------
    ValueError
        If ``kind`` is neither.
    """
    times, curves = mapping_curves(patient, kind=kind, molli_scheme=molli_scheme, t2_times_ms=t2_times_ms)
    grid = fine_grid(matrix, fov_mm, oversample=oversample)
    stack = plan_stack(patient, n_slices=n_slices, slice_thickness_mm=slice_thickness_mm, slice_pitch_mm=slice_pitch_mm)
    z_mm = stack.z_mm[n_slices // 2 if slice_index is None else slice_index]
    _, tissue = _all_fractions(patient, grid, z_mm=z_mm, thickness_mm=stack.thickness_mm, phase=phase)
    images = np.tensordot(curves.astype(np.float32), tissue, axes=1) * _texture(patient, grid, z_mm)
    return Mapping(images[:, None].astype(np.float32), times)


def mapping_labels(
    patient: SyntheticPatient, *, matrix: tuple[int, int], fov_mm: tuple[float, float], z_mm: float,
    slice_thickness_mm: float = 8.0, oversample: float = 1.5, phase: float = DIASTASIS_PHASE,
) -> Images:  # fmt: skip
    """Label fractions (1, 1, 4, y, x) of a mapping slice at ``z_mm`` on the fine grid."""
    grid = fine_grid(matrix, fov_mm, oversample=oversample)
    heart, _ = _all_fractions(patient, grid, z_mm=z_mm, thickness_mm=slice_thickness_mm, phase=phase)
    labels = np.zeros((1, 1, 4, *grid.shape), dtype=np.float32)
    labels[0, 0, 0] = 1
    labels[0, 0][:, heart.rows, heart.columns] = heart.labels()
    return labels


def cine_signal(patient: SyntheticPatient, *, flip_deg: float, tr_ms: float) -> Images:
    """Balanced SSFP signal of every tissue (tissues,); fat is negative where it is opposed to water, so that borders
    between them are dark."""
    density, t1, t2 = table_of(patient.tissues)
    signal = bssfp_signal(t1, t2, density=density, flip_deg=flip_deg, tr_ms=tr_ms)
    signal[TISSUE_INDEX["fat"]] *= fat_sign(field_t=patient.field_t, tr_ms=tr_ms)
    return signal.astype(np.float32)


def mapping_curves(
    patient: SyntheticPatient,
    *,
    kind: str,
    molli_scheme: tuple[int, ...] = (5, 3, 3),
    t2_times_ms: tuple[float, ...] = T2_PREPARATION_MS,
) -> tuple[Array, Array]:
    """Times in ms and the signal of every tissue (times, tissues)."""
    density, t1, t2 = table_of(patient.tissues)
    if kind == "T1":
        times = molli_times_ms(scheme=molli_scheme, rr_ms=patient.rr_ms)
        amplitude = density * math.sin(math.radians(35)) * np.exp(-1.2 / t2)
        return times, look_locker_signal(t1, apparent_t1_ms(t1, t2), amplitude=amplitude, times_ms=times)
    if kind == "T2":
        times = np.array(t2_times_ms, dtype=np.float64)
        # three recovery beats between images: the longitudinal magnetization regained, and the read-out's weight
        ready = 1 - np.exp(-3 * patient.rr_ms / t1)
        amplitude = density * ready * math.sin(math.radians(70)) * np.exp(-1.2 / t2)
        return times, t2_prepared_signal(t2, amplitude=amplitude, times_ms=times)
    raise ValueError(f"no mapping kind {kind!r}: expected 'T1' or 'T2'")


def _all_fractions(
    patient: SyntheticPatient, grid: Grid, *, z_mm: float, thickness_mm: float, phase: float
) -> tuple[HeartSlice, Images]:
    points = slice_points(patient.heart, patient.pose, grid, z_mm=z_mm, thickness_mm=thickness_mm)
    heart = rasterize_heart(patient.heart, points, phase=phase)
    tissue = _body(patient, grid, z_mm)
    inside = tissue[:, heart.rows, heart.columns]
    inside *= 1 - heart.fractions.sum(axis=0)
    for part, fraction in zip(PARTS, heart.fractions, strict=True):
        inside[TISSUE_INDEX[_PART_TISSUE[part]]] += fraction
    return heart, tissue


def _body(patient: SyntheticPatient, grid: Grid, z_mm: float) -> Images:
    center_x, center_y = patient.pose.center_mm
    return body_fractions(patient.body, grid.axis_mm(0) - center_y, grid.axis_mm(1) - center_x, z_mm=z_mm)


def _texture(patient: SyntheticPatient, grid: Grid, z_mm: float) -> Images:
    center_x, center_y = patient.pose.center_mm
    return body_texture(patient.body, grid.axis_mm(0) - center_y, grid.axis_mm(1) - center_x, z_mm=z_mm)


def _heart_signal(heart: HeartSlice, signal: Images, inflow: Images) -> Images:
    tissue = np.array([TISSUE_INDEX[_PART_TISSUE[part]] for part in PARTS])
    blood = tissue == TISSUE_INDEX["blood"]
    still = np.tensordot(signal[tissue] * ~blood, heart.fractions, axes=1)
    return still + np.tensordot(signal[tissue] * blood, heart.fractions, axes=1) * inflow


def _flow(grid: Grid, points: SlicePoints, *, z_mm: float, phase: float, seed: int) -> Images:
    """Inflow brightens the blood by some percent, jets darken it in places, most in systole and rapid filling."""
    y, x = grid.axis_mm(0)[points.rows], grid.axis_mm(1)[points.columns]
    swirl = SmoothFields(seed).sample(0, y, x, z_mm=z_mm + 60 * phase, wavelength_mm=28, z_scale_mm=12)
    speed = abs(math.sin(2 * math.pi * phase))
    return (1.12 + 0.02 * speed - (0.03 + 0.05 * speed) * np.abs(swirl)).astype(np.float32)
