"""Are labels renamed rightly, and is a wrong order found?"""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from cohort.records import MeasurementFailed
from phenotyping.labels import FROM_ACDC, LV, MYOCARDIUM, RV, base_is_low, check_label_order, map_labels, ringed_share


def ring(n: int = 40, cavity: float = 8, wall: float = 5) -> np.ndarray:
    y, x = np.mgrid[:n, :n] - (n - 1) / 2
    labels = np.zeros((n, n), np.uint8)
    labels[np.hypot(x + 14, y) < 9] = RV
    labels[np.hypot(x, y) < cavity + wall] = MYOCARDIUM
    labels[np.hypot(x, y) < cavity] = LV
    return labels


def test_mapping_there_and_back_is_the_identity() -> None:
    labels = ring()
    back = {ours: theirs for theirs, ours in FROM_ACDC.items()}
    assert np.array_equal(map_labels(map_labels(labels, back), FROM_ACDC), labels)


def test_floats_of_a_nifti_file_become_labels() -> None:
    mapped = map_labels(np.array([[0.0, 1.0], [2.0, 3.0]]), FROM_ACDC)
    assert mapped.dtype == np.uint8
    assert mapped.tolist() == [[0, RV], [MYOCARDIUM, LV]]


@pytest.mark.parametrize("value", [4, 1.5, np.nan])
def test_unknown_values_are_refused(value: float) -> None:
    with pytest.raises(MeasurementFailed, match="have a meaning"):
        map_labels(np.array([0.0, value]), FROM_ACDC)


def test_order_of_acdc_is_found_and_named() -> None:
    swapped = map_labels(ring(), {LV: RV, MYOCARDIUM: MYOCARDIUM, RV: LV})
    with pytest.raises(MeasurementFailed, match="ACDC order"):
        check_label_order(swapped)


def test_right_order_and_empty_maps_pass() -> None:
    check_label_order(ring()[None, None])
    check_label_order(np.zeros((2, 3, 8, 8), np.uint8))


def test_values_above_three_are_refused() -> None:
    with pytest.raises(MeasurementFailed, match="ours are 0 to 3"):
        check_label_order(np.full((4, 4), 7, np.uint8))


def test_ringed_share_counts_border_edges() -> None:
    labels = np.zeros((5, 5), np.uint8)
    labels[2, 2] = LV
    labels[2, 1] = labels[1, 2] = labels[3, 2] = MYOCARDIUM
    assert ringed_share(labels, LV) == pytest.approx(0.75)


def test_expert_labels_of_acdc_are_in_order(shared_data: Path) -> None:
    file = shared_data / "acdc/training/patient001/patient001_frame01_gt.nii.gz"
    theirs = np.asarray(nib.load(file).dataobj).transpose(2, 1, 0)
    check_label_order(map_labels(theirs, FROM_ACDC))
    with pytest.raises(MeasurementFailed, match="ACDC order"):
        check_label_order(theirs.astype(np.uint8))


@pytest.mark.parametrize("first", [True, False])
def test_base_is_where_the_heart_is_wide_and_has_a_right_ventricle(first: bool) -> None:
    volume = np.stack([ring(cavity=9), ring(cavity=8), ring(cavity=6), ring(cavity=4)])
    volume[3][volume[3] == RV] = 0
    assert base_is_low(volume if first else volume[::-1]) is first


def test_base_of_a_cylinder_is_unknown() -> None:
    assert base_is_low(np.stack([ring()] * 4)) is None
    assert base_is_low(np.zeros((4, 8, 8), np.uint8)) is None
