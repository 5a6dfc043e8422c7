"""Do the images of a synthetic patient show that patient?"""

from dataclasses import replace

import numpy as np
import pytest

from cohort.synthetic.population import SyntheticPatient, draw_patient
from cohort.synthetic.render import (
    Cine,
    cine_signal,
    fine_grid,
    mapping_curves,
    mapping_labels,
    render_cine,
    render_mapping,
)
from cohort.synthetic.stack import plan_stack
from cohort.synthetic.tissues import TISSUE_INDEX
from cohort.synthetic.truth import cine_truth

MATRIX, FOV = (72, 64), (324.0, 288.0)


@pytest.fixture(scope="module")
def patient() -> SyntheticPatient:
    return draw_patient("infarct", rng=np.random.default_rng(6), field_t=1.5)


def cine(patient: SyntheticPatient, seed: int, n_frames: int = 2) -> Cine:
    return render_cine(
        patient, n_frames=n_frames, n_slices=5, matrix=MATRIX, fov_mm=FOV, rng=np.random.default_rng(seed)
    )


def test_shapes_types_and_ranges(patient: SyntheticPatient) -> None:
    images, labels = cine(patient, 0)
    assert images.shape == (2, 5, 108, 96)
    assert labels.shape == (2, 5, 4, 108, 96)
    assert images.dtype == labels.dtype == np.float32
    assert np.all(np.isfinite(images))
    assert images.min() >= 0
    assert np.allclose(labels.sum(axis=2), 1, atol=1e-5)
    assert fine_grid(MATRIX, FOV).shape == (108, 96)


def test_one_seed_repeats_two_differ_and_the_anatomy_is_the_patients(patient: SyntheticPatient) -> None:
    first, again, other = cine(patient, 1), cine(patient, 1), cine(patient, 2)
    assert np.array_equal(first.images, again.images)
    assert not np.array_equal(first.images, other.images)
    assert np.array_equal(first.label_fractions, other.label_fractions)
    stranger = draw_patient("infarct", rng=np.random.default_rng(7), field_t=1.5)
    assert not np.array_equal(cine(stranger, 1).images, first.images)


def test_the_global_random_state_is_untouched(patient: SyntheticPatient) -> None:
    before = np.random.get_state()[1].copy()  # type: ignore[index,union-attr] # noqa: NPY002
    cine(patient, 3, n_frames=1)
    assert np.array_equal(before, np.random.get_state()[1])  # type: ignore[index] # noqa: NPY002


def test_the_usual_look_right_ventricle_left_base_first_blood_bright(patient: SyntheticPatient) -> None:
    images, labels = cine(patient, 4)
    middle = labels[0, 2]
    x = np.arange(middle.shape[-1])
    left, right = ((middle[k].sum(axis=0) * x).sum() / middle[k].sum() for k in (1, 3))
    assert right < left - 5
    cavity = labels[0, :, 1].sum(axis=(1, 2))
    assert cavity[0] > 1.5 * cavity[-1]
    blood, muscle = (np.median(images[0, 2][middle[k] > 0.95]) for k in (1, 2))
    assert 1.6 < blood / muscle < 3.5


def test_thick_slices_without_gap_hold_the_true_volumes(patient: SyntheticPatient) -> None:
    stack = plan_stack(patient, n_slices=9)
    images, labels = render_cine(
        patient,
        n_frames=5,
        n_slices=9,
        matrix=MATRIX,
        fov_mm=FOV,
        slice_thickness_mm=stack.pitch_mm,
        rng=np.random.default_rng(0),
    )
    spacing = fine_grid(MATRIX, FOV).spacing_mm
    counted = labels.sum(axis=(1, 3, 4)) * spacing[0] * spacing[1] * stack.pitch_mm / 1000
    truth = cine_truth(patient, n_frames=5, stack=replace(stack, thickness_mm=stack.pitch_mm))["imaged"]
    assert np.allclose(counted[:, 1], truth["lv_volume_ml"], rtol=0.01)
    assert np.allclose(counted[:, 2], truth["muscle_volume_ml"], rtol=0.01)
    assert np.allclose(counted[:, 3], truth["rv_volume_ml"], rtol=0.01)
    assert images.shape[0] == 5


@pytest.mark.parametrize(("kind", "n_times"), [("T1", 8), ("T2", 3)])
def test_pure_pixels_follow_their_tissue_exactly(patient: SyntheticPatient, kind: str, n_times: int) -> None:
    images, times = render_mapping(patient, kind=kind, matrix=MATRIX, fov_mm=FOV)
    assert images.shape == (n_times, 1, 108, 96)
    assert np.all(np.diff(times) > 0)
    z_mm = plan_stack(patient, n_slices=3).z_mm[1]
    blood = mapping_labels(patient, matrix=MATRIX, fov_mm=FOV, z_mm=z_mm)[0, 0, 1] > 0.999
    _, curves = mapping_curves(patient, kind=kind)
    curve = curves[:, TISSUE_INDEX["blood"]]
    series = images[:, 0][:, blood].astype(np.float64)
    last = series / series[-1] - curve[:, None] / curve[-1]
    # texture scales a pixel's curve; papillary muscle lies within the cavity too, but most pixels are blood alone
    assert np.mean(np.abs(last).max(axis=0) < 1e-4) > 0.3


def test_signs_and_kinds(patient: SyntheticPatient) -> None:
    times, curves = mapping_curves(patient, kind="T1")
    assert np.all(curves[0, [TISSUE_INDEX["blood"], TISSUE_INDEX["myocardium"]]] < 0)
    assert np.all(curves[-1] > 0)
    assert times.size == 8
    signal = cine_signal(patient, flip_deg=50, tr_ms=3.0)
    assert signal[TISSUE_INDEX["fat"]] < 0 < signal[TISSUE_INDEX["myocardium"]]
    with pytest.raises(ValueError, match="no mapping kind 'T3'"):
        render_mapping(patient, kind="T3", matrix=MATRIX, fov_mm=FOV)


def test_the_stack_spans_the_heart_base_first(patient: SyntheticPatient) -> None:
    still = replace(patient, pose=replace(patient.pose, slice_shift=0.0))
    stack = plan_stack(still, n_slices=6)
    assert np.all(np.diff(stack.z_mm) < 0)
    assert stack.high_mm == pytest.approx(patient.heart.length_mm / 2 * np.cos(patient.pose.tilt_rad))
    assert stack.high_mm - stack.low_mm == pytest.approx(6 * stack.pitch_mm)
    assert plan_stack(still, n_slices=6, slice_pitch_mm=10.0).pitch_mm == 10.0
