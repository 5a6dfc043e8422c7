"""The base between two slices: found where it was put, and the volume with it, wherever the stack happens to lie."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cohort.records import MeasurementFailed
from phenotyping.basal_apical import CountingRules
from phenotyping.base_plane import emptying_of, fit_base_plane, ventricle_slices, volume_below, volume_with_outflow
from phenotyping.volumes import measure_volumes

PITCH_MM, LENGTH_MM = 8.0, 90.0
PHASES = np.arange(16) / 16
EMPTY = np.clip(np.sin(np.pi * np.clip(PHASES / 0.7, 0, 1)), 0, 1) ** 1.5


def beating_cylinder(
    shift: float, excursion_mm: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]:
    """Areas and slices of a cylinder whose base descends, its true volumes; the base at rest is `shift` slices down."""
    area = 2000 * (1 - 0.45 * EMPTY)
    base_mm = shift * PITCH_MM + excursion_mm * EMPTY
    centers = np.arange(14) * PITCH_MM
    bottom = centers[11] + PITCH_MM / 2
    inside = (centers[None, :] >= base_mm[:, None]) & (centers[None, :] < bottom)
    return np.where(inside, area[:, None], 0.0), inside, area * (bottom - base_mm)


@settings(max_examples=60, deadline=None)
@given(st.floats(0.05, 1.5), st.floats(4.0, 18.0))
def test_volume_is_near_the_true_one_wherever_the_stack_lies(shift: float, excursion_mm: float) -> None:
    areas, ventricle, true = beating_cylinder(shift, excursion_mm)
    plane = fit_base_plane(ventricle, emptying_of(areas, ventricle), pitch_mm=PITCH_MM)
    found = volume_below(areas, ventricle, plane, pitch_mm=PITCH_MM)
    # where no slice is passed, only the gap between two slices is known: half a slice of the emptiest cylinder is 6 %
    assert np.abs(found / true - 1).max() < 0.06
    assert np.all(
        (plane.position > np.argmax(ventricle, axis=1) - 1.001) & (plane.position <= np.argmax(ventricle, axis=1))
    )


def test_error_over_all_places_of_the_stack_is_less_than_half_that_of_whole_slices() -> None:
    errors = []
    for shift in np.linspace(0.05, 1.5, 30):
        areas, ventricle, true = beating_cylinder(float(shift), 12.0)
        plane = fit_base_plane(ventricle, emptying_of(areas, ventricle), pitch_mm=PITCH_MM)
        fitted = volume_below(areas, ventricle, plane, pitch_mm=PITCH_MM)
        whole = areas.sum(axis=1) * PITCH_MM
        errors.append([_ef(curve) - _ef(true) for curve in (fitted, whole)])
    spread = np.std(errors, axis=0)
    assert spread[0] < spread[1] / 2


def _ef(curve: NDArray[np.float64]) -> float:
    return float(100 * (1 - curve.min() / curve.max()))


def test_excursion_is_found_where_two_slices_are_passed() -> None:
    _, ventricle, _ = beating_cylinder(0.6, 15.0)
    assert fit_base_plane(ventricle, EMPTY, pitch_mm=PITCH_MM).excursion_mm == pytest.approx(15.0, abs=1.5)


def test_few_frames_and_missing_ventricle_are_refused() -> None:
    _, ventricle, _ = beating_cylinder(0.6, 15.0)
    with pytest.raises(MeasurementFailed, match="needs 8 frames or more, got 2"):
        fit_base_plane(ventricle[:2], EMPTY[:2], pitch_mm=PITCH_MM)
    ventricle[3] = False
    with pytest.raises(MeasurementFailed, match="in every frame"):
        fit_base_plane(ventricle, EMPTY, pitch_mm=PITCH_MM)
    with pytest.raises(MeasurementFailed, match="and a beat"):
        emptying_of(np.ones((8, 4)), np.ones((8, 4), bool))


def labels_of_beat(shift: float) -> NDArray[np.uint8]:
    """Rings around the cylinder's cavity, an RV beside it, one more slice of muscle at the apex."""
    areas, ventricle, _ = beating_cylinder(shift, 12.0)
    y, x = np.mgrid[:64, :64]
    radius = np.hypot(y - 32, x - 36)
    labels = np.zeros((*areas.shape, 64, 64), np.uint8)
    for t, z in np.argwhere(ventricle):
        inner = np.sqrt(areas[t, z] / np.pi) / 1.5
        labels[t, z] = np.where(radius < inner, 1, np.where(radius < inner + 5, 2, 0))
        labels[t, z, 26:38, 2:10] = 3 if z < 8 else labels[t, z, 26:38, 2:10]
    labels[:, 12][:, radius < 8] = 2
    return labels


@pytest.mark.parametrize("flipped", [False, True])
def test_volumes_take_the_base_from_the_beat_on_either_order_of_slices(flipped: bool) -> None:
    labels = labels_of_beat(0.9)
    fitted, whole = (
        measure_volumes(
            labels[:, ::-1] if flipped else labels,
            spacing_mm=(PITCH_MM, 1.5, 1.5),
            rules=CountingRules(lv_base=base),
        )
        for base in ("fitted", "slices")
    )
    _, _, true = beating_cylinder(0.9, 12.0)
    assert fitted.lv_ef_percent == pytest.approx(_ef(true), abs=1.0)
    assert abs((fitted.lv_ef_percent or 0) - _ef(true)) < abs((whole.lv_ef_percent or 0) - _ef(true))
    assert fitted.conventions["lv_base"] == "fitted"


def test_without_a_curve_slices_count_whole_and_it_is_said() -> None:
    labels = labels_of_beat(0.9)[[0, 5]]
    fitted = measure_volumes(labels, spacing_mm=(PITCH_MM, 1.5, 1.5), rules=CountingRules(lv_base="fitted"))
    assert fitted.conventions["lv_base"] == "slices"
    assert any("8 frames or more" in note for note in fitted.notes)


def right_ventricle(
    shift: float, *, excursion_mm: float = 11.0, slant_mm: float = 0.0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Areas of a box whose base, cut slantwise over `slant_mm`, descends; its true volumes."""
    area = 3000 * (1 - 0.45 * EMPTY)
    base_mm = shift * PITCH_MM + excursion_mm * EMPTY
    centers = np.arange(12) * PITCH_MM
    into = (centers[None, :] - base_mm[:, None]) / max(slant_mm, 1e-6)
    return area[:, None] * np.clip(0.5 + into, 0, 1), area * (centers[-1] + PITCH_MM / 2 - base_mm)


def below_base(areas: NDArray[np.float64]) -> NDArray[np.float64]:
    body = ventricle_slices(areas)
    return volume_with_outflow(areas, body, fit_base_plane(body, EMPTY, pitch_mm=PITCH_MM), pitch_mm=PITCH_MM)


@pytest.mark.parametrize("slant_mm", [0.0, 3.0])
def test_the_right_ventricle_comes_out_wherever_the_stack_lies(slant_mm: float) -> None:
    errors = []
    for shift in np.linspace(0.6, 1.9, 30):
        areas, true = right_ventricle(float(shift), slant_mm=slant_mm)
        errors.append([_ef(curve) - _ef(true) for curve in (below_base(areas), areas.sum(axis=1) * PITCH_MM)])
    spread = np.std(errors, axis=0)
    assert spread[0] < 0.6 * spread[1]


@settings(max_examples=40, deadline=None)
@given(st.floats(0.6, 1.9), st.integers(0, 15), st.floats(0.01, 0.4))
def test_a_scrap_above_the_base_adds_itself_and_moves_no_base(shift: float, frame: int, share: float) -> None:
    areas, _ = right_ventricle(shift)
    whole = below_base(areas)
    with_scrap = areas.copy()
    top = int(np.argmax(areas[frame] > 0)) - 1
    with_scrap[frame, top] = share * areas[frame, top + 1]
    found = below_base(with_scrap)
    np.testing.assert_allclose(np.delete(found, frame), np.delete(whole, frame))
    assert 0 <= found[frame] - whole[frame] <= with_scrap[frame, top] * PITCH_MM + 1e-9


def test_an_outflow_tract_in_every_frame_counts_as_it_is_labeled() -> None:
    areas, _ = right_ventricle(1.2)
    plain, first = below_base(areas), np.argmax(areas > 0, axis=1)
    areas[:, 0] = 400.0
    assert not ventricle_slices(areas)[:, 0].any()
    added = (below_base(areas) - plain) / PITCH_MM
    assert set(first) >= {2, 3}
    np.testing.assert_allclose(added[first > 1], 400.0)  # beside a base that is somewhere below


def test_a_right_ventricle_that_no_slice_always_shows_is_refused() -> None:
    areas = np.eye(8)
    with pytest.raises(MeasurementFailed, match="right ventricle in every frame"):
        ventricle_slices(areas)


@pytest.mark.parametrize("flipped", [False, True])
def test_the_right_base_is_fitted_in_labels_and_leaves_the_left_one_alone(flipped: bool) -> None:
    labels = labels_of_beat(0.9)
    labels = labels[:, ::-1] if flipped else labels
    whole, fitted = (
        measure_volumes(labels, spacing_mm=(PITCH_MM, 1.5, 1.5), rules=CountingRules(rv_base=base))
        for base in ("slices", "fitted")
    )
    # a block of the same area in every slice: all that changes is its height, 8 slices at rest less 12 mm at the end
    bottom = 7.5 * PITCH_MM
    true = 1 - (bottom - 0.9 * PITCH_MM - 12 * EMPTY.max()) / (bottom - 0.9 * PITCH_MM)
    assert fitted.rv_ef_percent == pytest.approx(100 * true, abs=3.0)
    assert abs((fitted.rv_ef_percent or 0) - 100 * true) < abs((whole.rv_ef_percent or 0) - 100 * true)
    assert (fitted.lv_curve_ml, fitted.conventions["rv_base"]) == (whole.lv_curve_ml, "fitted")


def test_a_right_base_that_cannot_be_fitted_counts_whole_slices_and_says_so() -> None:
    labels = labels_of_beat(0.9)[[0, 5]]
    fitted = measure_volumes(labels, spacing_mm=(PITCH_MM, 1.5, 1.5), rules=CountingRules(rv_base="fitted"))
    assert fitted.conventions["rv_base"] == "slices"
    assert any(note.startswith("right ventricle: basal slices count whole") for note in fitted.notes)
