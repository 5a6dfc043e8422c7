"""Is every label of a foreign model given its meaning, or asked for?"""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohort.records import ConfigProblem, MeasurementFailed, WeightsProblem
from phenotyping.labels import LA, LV, MYOCARDIUM, RA, RV, fitting_order
from phenotyping.nnunet_labels import check_model_order, label_table, names_by_number

FOLDER = Path("model")
FOUR_CHAMBERS = {"background": 0, "LV": 1, "MYO": 2, "RV": 3, "LA": 4, "RA": 5}


def ring(n: int = 48) -> np.ndarray:
    y, x = np.mgrid[:n, :n] - (n - 1) / 2
    labels = np.zeros((2, n, n), np.uint8)
    labels[:, np.hypot(x + 14, y) < 9] = RV
    labels[:, np.hypot(x, y) < 13] = MYOCARDIUM
    labels[:, np.hypot(x, y) < 8] = LV
    return labels


@given(st.permutations([1, 2, 3]))
def test_any_order_is_recognized_from_the_anatomy(order: list[int]) -> None:
    """Law: whatever the numbers, what comes back undoes them."""
    renamed = np.array([0, *order], np.uint8)[ring()]
    found = fitting_order(renamed)
    assert found is not None
    np.testing.assert_array_equal(np.array([0, found[1], found[2], found[3]])[renamed], ring())


def test_no_order_without_a_ring() -> None:
    assert fitting_order(np.zeros((2, 8, 8), np.uint8)) is None
    blocks = np.zeros((1, 12, 12), np.uint8)
    blocks[0, :3, :3], blocks[0, 5:8, :3], blocks[0, 5:8, 6:9] = 1, 2, 3
    assert fitting_order(blocks) is None


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ({"background": 0, "LV cavity": 1, "myocardium": 2, "RV cavity": 3}, [0, LV, MYOCARDIUM, RV]),
        ({"background": 0, "RV": 1, "MLV": 2, "LVC": 3}, [0, RV, MYOCARDIUM, LV]),
        ({"background": 0, "LV": 1, "Myo": 2, "LA": 3}, [0, LV, MYOCARDIUM, 0]),
        ({"background": 0, "LV": 1, "Myo": 2, "RV": 3, "LA": 4, "Aorta": 5}, [0, LV, MYOCARDIUM, RV, 0, 0]),
        (FOUR_CHAMBERS, [0, LV, MYOCARDIUM, RV, 0, 0]),
    ],
)
def test_known_sets_need_no_map(named: dict, expected: list[int]) -> None:
    """The published sets: short axis, ACDC, and 2-, 3- and 4-chamber views, whose atria become background."""
    table = label_table(FOLDER, named, None)
    assert table[: len(expected)].tolist() == expected
    assert not table[len(expected) :].any()


def test_atria_are_kept_where_asked_for() -> None:
    table = label_table(FOLDER, FOUR_CHAMBERS, {"LA": "left atrium", "RA": 5})
    assert table[:6].tolist() == [0, LV, MYOCARDIUM, RV, LA, RA]


def test_map_by_number_serves_regions_and_sets_without_myocardium() -> None:
    regions = {"background": 0, "heart": [1, 2, 3], "left": [1, 2], "LV": 1}
    assert names_by_number(regions) == {1: "LV", 2: "", 3: ""}
    assert label_table(FOLDER, regions, {"2": "myocardium", 3: "RV"})[:4].tolist() == [0, LV, MYOCARDIUM, RV]
    chambers = {"background": 0, "1": 1, "2": 2, "3": 3, "4": 4}
    by_hand = {"1": "LA", "2": "RA", "3": "LV", "4": "RV"}
    assert label_table(FOLDER, chambers, by_hand)[:5].tolist() == [0, LA, RA, LV, RV]


def test_ignore_label_is_no_structure() -> None:
    assert names_by_number({"background": 0, "LV": 1, "ignore": 2}) == {1: "LV"}


@pytest.mark.parametrize(
    ("label_map", "message"),
    [
        ({"spleen": "LV"}, "no label 'spleen'; it has background"),
        ({7: "LV"}, "no label 7"),
        ({"LV": "spleen"}, "'spleen' is no structure of ours; expected one of background"),
        ({"LV": 9}, "9 is no structure"),
        ({0: "LV"}, "0 is the background"),
        ({"LV": "LV", 1: "RV"}, "given twice"),
    ],
)
def test_maps_that_do_not_fit(label_map: dict, message: str) -> None:
    with pytest.raises(ConfigProblem, match=message):
        label_table(FOLDER, FOUR_CHAMBERS, label_map)


def test_labels_without_meaning_are_named() -> None:
    with pytest.raises(WeightsProblem, match=r"no meaning for liver \(1\), 2; say with a label map"):
        label_table(FOLDER, {"background": 0, "liver": 1, "both": [2, 1]}, None)
    with pytest.raises(WeightsProblem, match="none is the myocardium"):
        label_table(FOLDER, {"background": 0, "LV": 1, "RV": 2}, None)


def test_order_is_judged_by_the_majority_of_volumes() -> None:
    """One frame in three that is broken is quality control's, not a wrong map."""
    table = np.arange(256, dtype=np.uint8)
    right, wrong = ring(), np.array([0, 3, 2, 1], np.uint8)[ring()]
    named = {"background": 0, "LV": 1, "Myo": 2, "RV": 3}
    check_model_order(np.stack([right, wrong, right]), named, table)
    check_model_order(np.zeros((2, 2, 8, 8), np.uint8), named, table)
    with pytest.raises(MeasurementFailed, match=r'2 of 3 volumes.*"LV" = "RV cavity", "Myo" = "myocardium"'):
        check_model_order(np.stack([right, wrong, wrong]), named, table)
