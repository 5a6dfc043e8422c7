"""Are broken segmentations found, and sound ones left alone?"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohort.records import MeasurementFailed
from phenotyping.labels import LV, MYOCARDIUM, RV
from phenotyping.quality_control import Finding, overall, quality_control
from phenotyping.volumes import measure_volumes

SPACING = (10.0, 1.5, 1.5)


def heart(radius_mm: float, wall_mm: float, rv_mm: float) -> np.ndarray:
    y, x = (np.mgrid[:96, :96] - 47.5) * 1.5
    volume = np.zeros((8, 96, 96), np.uint8)
    for z, shrink in enumerate((1.0, 1.0, 0.97, 0.9, 0.85, 0.75, 0.6, 0.45)):
        if z < 7:
            volume[z][np.hypot(x + radius_mm + wall_mm, y) < rv_mm * shrink] = RV
        volume[z][np.hypot(x, y) < radius_mm * shrink + wall_mm] = MYOCARDIUM
        volume[z][np.hypot(x, y) < radius_mm * shrink] = LV
    return volume


def damaged(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Some boxes of a slice overwritten by any label."""
    labels = labels.copy()
    for _ in range(int(rng.integers(0, 8))):
        t, z = (int(rng.integers(n)) for n in labels.shape[:2])
        y, x, height, width = (int(rng.integers(*limits)) for limits in ((0, 90), (0, 90), (1, 14), (1, 14)))
        labels[t, z, y : y + height, x : x + width] = rng.integers(0, 4)
    return labels


@pytest.fixture
def series() -> np.ndarray:
    ed, es, between = heart(25, 8, 28), heart(19, 10.0, 21), heart(22, 8.9, 24.5)
    return np.stack([ed, between, es, between, between, ed])


def by_name(findings: tuple[Finding, ...]) -> dict[str, Finding]:
    return {finding.check: finding for finding in findings}


def test_sound_heart_passes_everything(series: np.ndarray) -> None:
    findings = quality_control(
        series, spacing_mm=SPACING, volumes=measure_volumes(series, spacing_mm=SPACING, heart_rate_bpm=60)
    )
    assert [f for f in findings if f.status != "pass"] == []
    assert overall(findings) == "pass"
    assert len({f.check for f in findings}) == len(findings)


def test_stack_from_apex_to_base_passes_too(series: np.ndarray) -> None:
    assert overall(quality_control(series[:, ::-1], spacing_mm=SPACING)) == "pass"


def test_open_ring_fails_in_the_middle_and_warns_at_the_base(series: np.ndarray) -> None:
    for z, status in ((4, "fail"), (0, "warn")):
        broken = series.copy()
        gap = broken[1, z, 44:52, 48:]
        gap[gap == MYOCARDIUM] = 0
        finding = by_name(quality_control(broken, spacing_mm=SPACING))["closed ring"]
        assert finding.status == status
        assert finding.places == ((1, z),)
        assert f"frame 1 slice {z}" in finding.reason


def test_each_fault_is_found_by_its_check(series: np.ndarray) -> None:
    faults = {}
    faults["one part"] = stray = series.copy()
    stray[0, 3, 2:20, 70:90] = LV
    faults["no holes"] = hole = series.copy()
    hole[0, 3, 45:51, 45:51] = 0
    faults["centers aligned"] = shifted = series.copy()
    shifted[0, 5] = np.roll(shifted[0, 5], 12, axis=1)
    faults["slices contiguous"] = gap = series.copy()
    gap[0, 4] = 0
    faults["area falls to the apex"] = swollen = series.copy()
    swollen[0, 6] = swollen[0, 0]
    faults["tissues present"] = no_rv = series.copy()
    no_rv[3][no_rv[3] == RV] = 0
    faults["label order"] = swapped = series.copy()
    swapped[2] = np.array([0, 3, 2, 1], np.uint8)[swapped[2]]
    faults["apex covered"] = series[:, :4].copy()
    faults["inside the image"] = at_edge = series.copy()
    at_edge[1, 2] = np.roll(at_edge[1, 2], -20, axis=1)
    faults["slices present in time"] = blink = series.copy()
    blink[3, 7] = 0
    faults["steady in time"] = jump = series.copy()
    jump[4, :4] = 0
    for check, labels in faults.items():
        finding = by_name(quality_control(labels, spacing_mm=SPACING))[check]
        assert finding.status != "pass", check
        assert finding.reason
        assert finding.places


def test_hole_in_either_ventricle_is_named(series: np.ndarray) -> None:
    y, x = np.argwhere(series[0, 3] == RV).mean(axis=0).astype(int)
    series[0, 3, y - 3 : y + 3, x - 8 : x - 2] = 0
    assert "in the right ventricle" in by_name(quality_control(series, spacing_mm=SPACING))["no holes"].reason


@given(seed=st.integers(0, 2**32 - 1), turns=st.integers(0, 3), flip=st.booleans(), reverse=st.booleans())
@settings(max_examples=15, deadline=None)
def test_turns_flips_and_slice_order_change_no_outcome(seed: int, turns: int, flip: bool, reverse: bool) -> None:
    """Law: the same checks fail at the same places, however the stack lies and from which end it is counted."""
    rng = np.random.default_rng(seed)
    labels = damaged(np.stack([heart(25, 8, 28), heart(22, 8.9, 24.5), heart(19, 10.0, 21), heart(22, 8.9, 24.5)]), rng)
    moved = np.rot90(labels[..., ::-1] if flip else labels, turns, axes=(2, 3))
    moved = moved[:, ::-1] if reverse else moved
    n_slices = labels.shape[1]
    for one, other in zip(
        quality_control(labels, spacing_mm=SPACING), quality_control(moved, spacing_mm=SPACING), strict=True
    ):
        assert (one.check, one.status) == (other.check, other.status)
        if one.check == "centers aligned":  # told of the lower of two slices
            assert len(one.places) == len(other.places)
            continue
        back = {(t, n_slices - 1 - z) if reverse and z >= 0 else (t, z) for t, z in other.places}
        assert set(one.places) == back, one.check


@given(order=st.permutations([1, 2, 3]))
def test_labels_in_any_other_order_fail(order: list[int]) -> None:
    renamed = np.array([0, *order], np.uint8)[np.stack([heart(25, 8, 28)])]
    finding = by_name(quality_control(renamed, spacing_mm=SPACING))["label order"]
    assert finding.status == ("pass" if order == [1, 2, 3] else "fail")


def test_many_places_are_counted_not_listed(series: np.ndarray) -> None:
    series[:, 3, 45:51, 45:51] = 0
    finding = by_name(quality_control(series, spacing_mm=SPACING))["no holes"]
    assert len(finding.places) == 6
    assert "and 2 more" in finding.reason


def test_volumes_out_of_range_warn(series: np.ndarray) -> None:
    volumes = measure_volumes(series, spacing_mm=(1.0, 1.5, 1.5), heart_rate_bpm=60)
    findings = by_name(quality_control(series, spacing_mm=SPACING, volumes=volumes))
    assert findings["LV EDV"].status == "warn"
    assert "plausible 50 to 400" in findings["LV EDV"].reason


def test_stroke_volumes_and_mass_that_disagree_warn() -> None:
    series = np.stack([heart(25, 8, 28), heart(19, 8, 27)])
    findings = by_name(quality_control(series, spacing_mm=SPACING, volumes=measure_volumes(series, spacing_mm=SPACING)))
    assert findings["stroke volumes agree"].status == "warn"
    assert findings["mass constant"].status == "warn"
    assert findings["steady in time"].status == "pass"


def test_what_could_not_be_measured_fails() -> None:
    series = np.stack([heart(25, 8, 28), heart(19, 11, 20)])
    series[series == RV] = 0
    findings = quality_control(series, spacing_mm=SPACING, volumes=measure_volumes(series, spacing_mm=SPACING))
    assert by_name(findings)["complete"].status == "fail"
    assert "no right ventricle" in by_name(findings)["complete"].reason
    assert by_name(findings)["RV EF"] == Finding("RV EF", "fail", "not measured")
    assert overall(findings) == "fail"


def test_what_only_time_is_missing_for_is_told_but_no_fault() -> None:
    series = np.stack([heart(25, 8, 28), heart(19, 10, 21)])
    volumes = measure_volumes(series, spacing_mm=SPACING)
    finding = by_name(quality_control(series, spacing_mm=SPACING, volumes=volumes))["complete"]
    assert finding.status == "pass"
    assert volumes.reasons["lv_co_l_min"] in finding.reason


def test_empty_labels_give_findings_not_errors() -> None:
    findings = quality_control(np.zeros((2, 3, 16, 16), np.uint8), spacing_mm=SPACING)
    assert overall(findings) == "fail"


def test_wrong_rank_is_refused() -> None:
    with pytest.raises(MeasurementFailed, match="frames, slices, y, x"):
        quality_control(np.zeros((3, 16, 16), np.uint8), spacing_mm=SPACING)


def test_findings_do_not_depend_on_the_field_of_view(series: np.ndarray) -> None:
    sick = damaged(series, np.random.default_rng(5))
    wide = np.pad(sick, ((0, 0), (0, 0), (30, 7), (11, 40)))
    assert quality_control(wide, spacing_mm=SPACING) == quality_control(sick, spacing_mm=SPACING)


def test_first_and_last_frame_are_no_neighbors_of_an_open_cycle(series: np.ndarray) -> None:
    volume = measure_volumes(series, spacing_mm=SPACING)
    parts = np.concatenate([series[:1], series[:1], series[:1], series[:1]])
    parts[-1][:, 20:] = 0  # the last frame lost half of the heart
    for covered, expected in ((True, 6), (False, 3)):
        found = by_name(quality_control(parts, spacing_mm=SPACING, volumes=replace(volume, cycle_covered=covered)))
        assert len(found["steady in time"].places) == expected
