"""Are volumes, fractions, mass and output those of bodies with known volume?"""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohort.records import ConfigProblem, MeasurementFailed
from phenotyping.basal_apical import CountingRules
from phenotyping.labels import FROM_ACDC, LV, MYOCARDIUM, RV, map_labels
from phenotyping.volumes import measure_volumes

SPACING = (8.0, 1.5, 1.25)


def block(lv: int, myocardium: int, rv: int, *, n_slices: int = 4) -> np.ndarray:
    """One frame with `lv` x 10 LV pixels in every slice and myocardium around."""
    frame = np.zeros((n_slices, 40, 64), np.uint8)
    frame[:, 5 : 5 + lv + 2 * myocardium, 5 : 15 + 2 * myocardium] = MYOCARDIUM
    frame[:, 5 + myocardium : 5 + myocardium + lv, 5 + myocardium : 15 + myocardium] = LV
    frame[:, 5 : 5 + rv, 40:50] = RV
    return frame


def beating(sizes: list[int]) -> np.ndarray:
    return np.stack([block(size, 3, size + 2) for size in sizes])


def test_volumes_in_closed_form() -> None:
    result = measure_volumes(beating([20, 10]), spacing_mm=SPACING)
    voxel_ml = 8 * 1.5 * 1.25 / 1000
    assert result.lv_edv_ml == pytest.approx(20 * 10 * 4 * voxel_ml)
    assert result.lv_esv_ml == pytest.approx(10 * 10 * 4 * voxel_ml)
    assert result.lv_ef_percent == pytest.approx(50)
    assert result.rv_edv_ml == pytest.approx(22 * 10 * 4 * voxel_ml)
    assert result.rv_ef_percent == pytest.approx(100 * 10 / 22)
    assert result.lv_mass_g == pytest.approx((26 * 16 - 200) * 4 * voxel_ml * 1.05)
    assert result.lv_co_l_min is None
    assert "heart rate" in result.reasons["lv_co_l_min"]


def test_order_of_two_frames_does_not_matter() -> None:
    one, other = (measure_volumes(beating(sizes), spacing_mm=SPACING) for sizes in ([20, 10], [10, 20]))
    assert (one.ed_frame, other.ed_frame) == (0, 1)
    assert one.lv_ef_percent == other.lv_ef_percent
    assert one.lv_mass_g == other.lv_mass_g


def test_cardiac_output_from_frames_that_cover_the_cycle() -> None:
    result = measure_volumes(beating([20, 16, 12, 10, 14, 18, 19, 20]), spacing_mm=SPACING, frame_time_s=0.125)
    assert result.heart_rate_bpm == pytest.approx(60)
    assert result.lv_sv_ml is not None
    assert result.lv_co_l_min == pytest.approx(result.lv_sv_ml * 60 / 1000)


def test_known_heart_rate_goes_first_and_works_for_two_frames() -> None:
    result = measure_volumes(beating([20, 10]), spacing_mm=SPACING, frame_time_s=0.05, heart_rate_bpm=72)
    assert result.heart_rate_bpm == 72
    assert result.lv_co_l_min == pytest.approx(6.0 * 72 / 1000)


@pytest.mark.parametrize(
    ("sizes", "frame_time_s", "reason"),
    [([20, 10], 0.05, "do not cover a cycle"), ([20, 16, 12, 10, 14, 18], 1.0, "no heart rate")],
)
def test_impossible_heart_rates_give_no_output(sizes: list[int], frame_time_s: float, reason: str) -> None:
    result = measure_volumes(beating(sizes), spacing_mm=SPACING, frame_time_s=frame_time_s)
    assert result.lv_co_l_min is None
    assert reason in result.reasons["lv_co_l_min"]


def test_missing_right_ventricle_leaves_the_left_one() -> None:
    labels = beating([20, 10])
    labels[labels == RV] = 0
    result = measure_volumes(labels, spacing_mm=SPACING)
    assert result.lv_ef_percent == pytest.approx(50)
    assert result.rv_edv_ml is None
    assert result.rv_ef_percent is None
    assert "no right ventricle" in result.reasons["rv_ef_percent"]


def test_empty_end_systole_is_no_ejection_fraction_of_100() -> None:
    labels = beating([20, 10])
    labels[1] = 0
    result = measure_volumes(labels, spacing_mm=SPACING)
    assert result.lv_esv_ml is None
    assert result.lv_ef_percent is None
    assert "no left ventricle found at end-systole" in result.reasons["lv_ef_percent"]
    assert result.lv_mass_g is not None


def test_no_left_ventricle_fails_with_the_reason() -> None:
    with pytest.raises(MeasurementFailed, match="no left ventricle"):
        measure_volumes(np.zeros((10, 4, 8, 8), np.uint8), spacing_mm=SPACING)


def test_wrong_label_order_fails() -> None:
    with pytest.raises(MeasurementFailed, match="label 1 must be the LV cavity"):
        measure_volumes(map_labels(beating([20, 10]), FROM_ACDC), spacing_mm=SPACING)


@pytest.mark.parametrize("spacing", [(8.0, 1.5), (8.0, 0.0, 1.5), (8.0, np.nan, 1.5)])
def test_impossible_spacing_fails(spacing: tuple) -> None:
    with pytest.raises(MeasurementFailed, match="three positive numbers"):
        measure_volumes(beating([20, 10]), spacing_mm=spacing)


def test_wrong_rank_fails() -> None:
    with pytest.raises(MeasurementFailed, match="frames, slices, y, x"):
        measure_volumes(beating([20])[0], spacing_mm=SPACING)


def test_expert_labels_of_a_dilated_heart(shared_data: Path) -> None:
    """ACDC patient001 (dilated): hand count of voxels in the files, EF below 40 as in its group's definition."""
    folder = shared_data / "acdc/training/patient001"
    files = [nib.load(folder / f"patient001_frame{frame}_gt.nii.gz") for frame in ("01", "12")]
    theirs = np.stack([np.asarray(file.dataobj).transpose(2, 1, 0) for file in files])
    dx, dy, dz = (float(v) for v in files[0].header.get_zooms()[:3])
    result = measure_volumes(map_labels(theirs, FROM_ACDC), spacing_mm=(dz, dy, dx))
    assert result.ed_frame == 0
    assert result.lv_edv_ml == pytest.approx(np.count_nonzero(theirs[0] == 3) * dx * dy * dz / 1000)
    assert result.lv_ef_percent is not None
    assert result.lv_ef_percent < 40


@given(
    scale=st.floats(0.3, 3),
    turns=st.integers(0, 3),
    flip_y=st.booleans(),
    flip_z=st.booleans(),
    sizes=st.lists(st.integers(5, 20), min_size=2, max_size=4, unique=True),
)
def test_invariance_and_scaling(scale: float, turns: int, flip_y: bool, flip_z: bool, sizes: list[int]) -> None:
    """Turning, mirroring and reversing the slices change nothing; spacing s gives s^3 of the volume and the same EF."""
    labels = beating(sizes)
    base = measure_volumes(labels, spacing_mm=(8.0, 1.5, 1.5), heart_rate_bpm=60)
    moved = np.rot90(labels, turns, axes=(2, 3))
    moved = moved[:, :: -1 if flip_z else 1, :: -1 if flip_y else 1]
    other = measure_volumes(moved, spacing_mm=(8.0 * scale, 1.5 * scale, 1.5 * scale), heart_rate_bpm=60)
    assert (other.ed_frame, other.es_frame) == (base.ed_frame, base.es_frame)
    for side in ("lv", "rv"):
        for name in ("edv_ml", "esv_ml", "sv_ml"):
            assert getattr(other, f"{side}_{name}") == pytest.approx(scale**3 * getattr(base, f"{side}_{name}"))
        assert getattr(other, f"{side}_ef_percent") == pytest.approx(getattr(base, f"{side}_ef_percent"))
    for name in ("lv_mass_g", "lv_mass_es_g", "lv_co_l_min"):
        assert getattr(other, name) == pytest.approx(scale**3 * getattr(base, name))


@given(order=st.permutations([1, 2, 3]))
def test_label_permutation_with_its_map_changes_nothing(order: list[int]) -> None:
    labels = beating([20, 10])
    theirs = np.array([0, *order], np.uint8)[labels]
    mapped = map_labels(theirs, {their: ours for ours, their in enumerate(order, start=1)})
    assert measure_volumes(mapped, spacing_mm=SPACING) == measure_volumes(labels, spacing_mm=SPACING)


def test_the_right_ventricle_on_its_own_frames() -> None:
    labels = beating([20, 10])
    labels[:, :, :, 40:50] = 0
    for frame, size in enumerate((12, 24)):  # the right ventricle is larger where the left one is smaller
        labels[frame, :, 5 : 5 + size, 40:50] = RV
    lv = measure_volumes(labels, spacing_mm=SPACING)
    own = measure_volumes(labels, spacing_mm=SPACING, rv_phases="own")
    assert lv.rv_ef_percent == pytest.approx(-100)
    assert own.rv_ef_percent == pytest.approx(50)
    assert (own.rv_ed_frame, own.rv_es_frame, own.ed_frame, own.es_frame) == (1, 0, 0, 1)
    assert own.conventions["rv_phases"] == "own"
    with pytest.raises(ConfigProblem, match="expected lv, own"):
        measure_volumes(labels, spacing_mm=SPACING, rv_phases="both")  # type: ignore[arg-type]


def test_an_atrium_at_the_base_does_not_count() -> None:
    labels = beating([20, 10])
    plain = measure_volumes(labels, spacing_mm=SPACING)
    labels[1, 0][labels[1, 0] == MYOCARDIUM] = 0
    ring = measure_volumes(labels, spacing_mm=SPACING)
    kept = measure_volumes(labels, spacing_mm=SPACING, rules=CountingRules(lv_slices="as_segmented"))
    assert ring.lv_esv_ml == pytest.approx(plain.lv_esv_ml * 3 / 4)  # type: ignore[operator]
    assert ring.lv_left_out == ((1, 0),)
    assert kept.lv_esv_ml == plain.lv_esv_ml
    assert kept.lv_left_out == ()
    assert (ring.conventions["lv_slices"], kept.conventions["lv_slices"]) == ("half_ring", "as_segmented")


def test_rates_need_frames_and_a_covered_cycle() -> None:
    sizes = (17 + 11 * np.cos(2 * np.pi * np.arange(20) / 20)).round().astype(int).tolist()
    whole = measure_volumes(beating(sizes), spacing_mm=SPACING, frame_time_s=0.05)
    assert whole.cycle_covered
    assert whole.lv_peak_ejection_rate_ml_s == pytest.approx(11 * 10 * 4 * 0.015 * 2 * np.pi, rel=0.15)
    for options in ({"gating": "prospective", "frame_time_s": 0.05}, {}):
        other = measure_volumes(beating(sizes), spacing_mm=SPACING, **options)  # type: ignore[arg-type]
        assert other.lv_peak_filling_rate_ml_s is None
        assert other.lv_co_l_min is None
        assert other.reasons["lv_peak_filling_rate_ml_s"]


def test_mass_at_both_phases() -> None:
    labels = beating([20, 10])
    labels[1][labels[1] == MYOCARDIUM] = 0
    result = measure_volumes(labels, spacing_mm=SPACING, rules=CountingRules(lv_slices="as_segmented"))
    assert result.lv_mass_es_g is None
    assert "no myocardium found at end-systole" in result.reasons["lv_mass_es_g"]
