"""Is strain that of a heart whose motion is known, and none where nothing deforms?"""

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from cohort.records import MeasurementFailed
from cohort.synthetic.motion_truth import Strain, material_strain, slice_contours, slice_strain
from cohort.synthetic.population import SyntheticPatient, draw_patient
from cohort.synthetic.rasterize import Grid, coarse_fractions, label_grid
from cohort.synthetic.render import fine_grid, render_cine
from cohort.synthetic.stack import plan_stack
from phenotyping.labels import LV, MYOCARDIUM, RV
from phenotyping.registration import RegistrationOptions, deformation, prepared, transported
from phenotyping.strain import StrainOptions, StrainResult, measure_strain, standard_slices

ONE = StrainOptions(workers=1)


def ring(*, n_frames: int = 4, shifts: list[tuple[float, float]] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """A still ventricle with a textured wall in a textured chest, moved as a whole; 1 slice, 2 mm pixels."""
    y, x = np.mgrid[:72, :72].astype(float)
    r = np.hypot(y - 36, x - 36)
    labels = np.where(r < 11, LV, np.where(r < 16, MYOCARDIUM, 0)).astype(np.uint8)
    labels[(np.hypot(y - 36, x - 17) < 9) & (labels == 0)] = RV
    noise = ndimage.gaussian_filter(np.random.default_rng(3).standard_normal((72, 72)), 3)
    image = ndimage.gaussian_filter(np.choose(labels, [0.4, 1.0, 0.3, 0.95]), 0.7) + 0.6 * noise
    frames, maps = [], []
    for shift in shifts or [(0.0, 0.0)] * n_frames:
        frames.append(ndimage.shift(image, shift, order=3, mode="nearest"))
        maps.append(ndimage.shift(labels, shift, order=0))
    return np.array(frames)[:, None], np.array(maps)[:, None]


def test_without_motion_there_is_no_strain() -> None:
    image, labels = ring()
    found = measure_strain(image, labels, spacing_mm=(8, 2, 2), ed_frame=0, options=ONE)
    assert np.allclose(found.circumferential_percent, 0, atol=1e-6)
    assert np.allclose(found.radial_percent, 0, atol=1e-6)
    assert found.gcs_percent == pytest.approx(0, abs=1e-6)
    assert found.closure_mm[0] == pytest.approx(0, abs=1e-6)


def test_a_heart_that_moves_as_a_whole_does_not_deform() -> None:
    image, labels = ring(shifts=[(0.0, 0.0), (1.2, 0.8), (2.0, 1.5), (1.0, 1.0)])
    found = measure_strain(image, labels, spacing_mm=(8, 2, 2), ed_frame=0, options=ONE)
    assert np.abs(found.circumferential_percent).max() < 1.0
    assert np.abs(found.radial_percent).max() < 6.0  # 0.5 mm of 10, a quarter of a pixel


def test_registration_finds_a_known_shift_and_points_follow() -> None:
    image, _ = ring(shifts=[(0.0, 0.0), (1.5, -1.0)])
    fixed, moving = (prepared(frame[0], spacing_mm=(2.0, 2.0), white=1.5) for frame in image)
    points = np.array([[72.0, 50.0], [50.0, 72.0], [72.0, 94.0]])
    moved = transported(points, deformation(fixed, moving, options=RegistrationOptions()))
    assert np.allclose(moved - points, [3.0, -2.0], atol=0.4)


def test_fine_pixels_are_averaged_in_place() -> None:
    y, x = np.mgrid[:120, :100].astype(float)
    made = prepared(2 * y + 3 * x, spacing_mm=(1.0, 0.8), white=100.0)
    assert made.GetSpacing() == (1.8, 1.8)
    point = (40.0, 60.0)
    inside = sitk.Resample(made, [1, 1], sitk.Transform(), sitk.sitkLinear, point, (1.0, 1.0))
    assert inside[0, 0] == pytest.approx(2 * point[1] / 1.0 + 3 * point[0] / 0.8, rel=1e-3)


# --- against the phantom's own motion ------------------------------------------------------------------------------


@cache
def beating() -> tuple[SyntheticPatient, np.ndarray, np.ndarray, Any]:
    """One mid slice of a normal heart, 8 frames, 2 mm pixels, chest and blood flow included."""
    patient = draw_patient("normal", rng=np.random.default_rng(5), field_t=1.5)
    matrix, fov = (104, 104), (208.0, 208.0)
    cine = render_cine(
        patient, n_frames=8, n_slices=1, matrix=matrix, fov_mm=fov, slice_pitch_mm=8.0, rng=np.random.default_rng(1)
    )
    fine, coarse = fine_grid(matrix, fov), Grid(matrix, fov)
    image = coarse_fractions(cine.images, fine=fine, coarse=coarse)
    labels = label_grid(cine.label_fractions, fine=fine, coarse=coarse)
    return patient, image, labels, plan_stack(patient, n_slices=1, slice_pitch_mm=8.0)


@cache
def tracked() -> tuple[StrainResult, Strain]:
    patient, image, labels, stack = beating()
    found = measure_strain(image, labels, spacing_mm=(8.0, 2.0, 2.0), ed_frame=0, options=ONE)
    return found, slice_strain(patient, z_mm=stack.z_mm[0], phases=np.arange(8) / 8)


def test_strain_of_the_beating_phantom() -> None:
    """Measured when written: circumferential within 0.2 points, each contour within 0.8, radial within 5."""
    found, truth = tracked()
    assert truth.circumferential.min() < -20
    assert np.abs(found.circumferential_percent - truth.circumferential).max() < 1.5
    assert np.abs(found.endocardial_percent - truth.endocardial).max() < 2.0
    assert np.abs(found.epicardial_percent - truth.epicardial).max() < 1.5
    assert np.abs(found.radial_percent - truth.radial).max() < 8.0
    assert found.gcs_percent == found.circumferential_percent.min()
    assert found.grs_percent == found.radial_percent.max()
    assert found.circumferential_percent[0] == found.radial_percent[0] == 0
    assert found.slices_used == {0: "mid"}
    mid = [found.circumferential_peak_by_segment[s] for s in range(7, 13)]
    assert np.mean(mid) == pytest.approx(found.gcs_percent, abs=1.5)
    assert np.isnan([found.circumferential_peak_by_segment[s] for s in (1, 16)]).all()


def test_the_cine_may_start_anywhere_and_threads_change_nothing() -> None:
    _, image, labels, _ = beating()
    found, _ = tracked()
    turned = measure_strain(
        np.roll(image, 3, axis=0),
        np.roll(labels, 3, axis=0),
        spacing_mm=(8.0, 2.0, 2.0),
        ed_frame=3,
        options=StrainOptions(workers=3),
    )
    assert np.array_equal(np.roll(turned.circumferential_percent, -3), found.circumferential_percent)
    assert np.array_equal(np.roll(turned.radial_percent, -3), found.radial_percent)


def test_global_threads_stay_untouched() -> None:
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    image, labels = ring(n_frames=3)
    measure_strain(image, labels, spacing_mm=(8, 2, 2), ed_frame=0, options=ONE)
    assert sitk.ProcessObject.GetGlobalDefaultNumberOfThreads() == before


def test_truth_of_the_slice_and_of_the_muscle() -> None:
    """The muscle shortens more than the slice shows, because a wider part of the ventricle moves into the slice."""
    patient = draw_patient("normal", rng=np.random.default_rng(5), field_t=1.5)
    still = slice_strain(patient, z_mm=0.0, phases=0.0)
    assert still.circumferential[0] == still.radial[0] == 0
    seen, muscle = (
        slice_strain(patient, z_mm=0.0, phases=0.38),
        material_strain(patient.heart, u=0.5, phases=0.38),
    )
    assert muscle.endocardial[0] < seen.endocardial[0] < -20
    endo, epi = slice_contours(patient, z_mm=0.0, phase=0.0)
    area = [abs(np.dot(c[:, 0], np.roll(c[:, 1], -1)) - np.dot(c[:, 1], np.roll(c[:, 0], -1))) / 2 for c in (endo, epi)]
    u = 0.5
    theta = np.arange(720) * 2 * np.pi / 720
    exact = [np.pi * surface.mean() for surface in patient.heart.surfaces(theta, u, 0.0)[:2]]
    assert area == pytest.approx(exact, rel=0.02)  # the slice is tilted by up to 5 degrees


# --- contract ------------------------------------------------------------------------------------------------------


def test_standard_slices_lie_at_quarters() -> None:
    assert standard_slices([9, 8, 7, 6, 5, 4, 3, 2, 1]) == {7: "basal", 5: "mid", 3: "apical"}
    assert standard_slices([0, 1, 2]) == {0: "basal", 1: "mid", 2: "apical"}
    assert standard_slices([4, 5]) == {4: "basal", 5: "apical"}
    assert standard_slices([4]) == {4: "mid"}


def test_registrations_side_by_side_do_not_disturb_each_other() -> None:
    """SimpleITK's LBFGSB does not hold this; the strain of a heart would depend on luck."""
    _, image, _, _ = beating()
    frames = [prepared(f, spacing_mm=(2.0, 2.0), white=1.0) for f in image[:, 0, 20:80, 20:80] / image.max()]

    def parameters(k: int) -> tuple[float, ...]:
        return tuple(deformation(frames[k], frames[k + 1], options=RegistrationOptions()).GetParameters())

    alone = [parameters(k) for k in range(3)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(parameters, list(range(3)) * 2)) == alone * 2


def test_without_a_closing_beat_frames_are_followed_one_way() -> None:
    image, labels = ring(shifts=[(0.0, 0.0), (0.5, 0.3), (1.0, 0.6)])
    options = StrainOptions(periodic=False, workers=1)
    found = measure_strain(image, labels, spacing_mm=(8, 2, 2), ed_frame=0, options=options)
    assert np.isnan(found.closure_mm[0])
    assert np.abs(found.circumferential_percent).max() < 2.0


def test_missing_slices_and_right_ventricle_are_told() -> None:
    image, labels = ring(n_frames=3)
    labels[labels == RV] = 0
    found = measure_strain(image, labels, spacing_mm=(8, 2, 2), ed_frame=0, options=ONE)
    assert any("1 instead of the three standard slices" in reason for reason in found.reasons)
    assert any("no RV" in reason for reason in found.reasons)
    assert np.isfinite(found.gcs_percent)
    assert np.isnan(list(found.radial_peak_by_segment.values())).all()


def test_wrong_calls_fail() -> None:
    image, labels = ring(n_frames=3)
    with pytest.raises(MeasurementFailed, match="one shape"):
        measure_strain(image, labels[:2], spacing_mm=(8, 2, 2), ed_frame=0)
    with pytest.raises(MeasurementFailed, match="3 frames or more"):
        measure_strain(image[:2], labels[:2], spacing_mm=(8, 2, 2), ed_frame=0)
    with pytest.raises(MeasurementFailed, match="one of 3 frames"):
        measure_strain(image, labels, spacing_mm=(8, 2, 2), ed_frame=3)
    with pytest.raises(MeasurementFailed, match="closed ring"):
        measure_strain(image, np.zeros_like(labels), spacing_mm=(8, 2, 2), ed_frame=0)
    image[0, 0, 0, 0] = np.nan
    with pytest.raises(MeasurementFailed, match="not finite"):
        measure_strain(image, labels, spacing_mm=(8, 2, 2), ed_frame=0)
