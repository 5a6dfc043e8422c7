"""Is the left ventricle cut where the consensus cuts it, and nothing else?"""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohort.acdc import read_patient, split
from cohort.records import ConfigProblem, MeasurementFailed
from phenotyping.basal_apical import CountingRules, counted_labels
from phenotyping.labels import LV, MYOCARDIUM, RV, ringed_share

RING = CountingRules(lv_slices="half_ring")


def heart(n_frames: int = 2, n_slices: int = 6, *, atrium: tuple[tuple[int, int], ...] = ()) -> np.ndarray:
    """Rings around a cavity with an RV beside, base first; in `atrium` the cavity has no myocardium."""
    labels = np.zeros((n_frames, n_slices, 32, 40), np.uint8)
    for t in range(n_frames):
        for z in range(n_slices):
            size = 10 - z - t
            labels[t, z, 5 : 5 + size + 6, 5 : 5 + size + 6] = MYOCARDIUM
            labels[t, z, 8 : 8 + size, 8 : 8 + size] = LV
            if z < n_slices - 2:
                labels[t, z, 5:15, 25:35] = RV
    for place in atrium:
        labels[place][labels[place] == MYOCARDIUM] = 0
    return labels


@given(atrial=st.lists(st.integers(0, 1), min_size=2, max_size=2), flip=st.booleans(), turns=st.integers(0, 3))
def test_the_rule_does_not_depend_on_orientation_or_slice_order(atrial: list[int], flip: bool, turns: int) -> None:
    places = tuple((t, z) for t, n in enumerate(atrial) for z in range(n))
    labels = heart(atrium=places)
    expected = counted_labels(labels, RING)
    assert expected.lv_left_out == places

    def turned(array: np.ndarray) -> np.ndarray:
        array = np.rot90(array, turns, axes=(-2, -1))
        return array[:, ::-1] if flip else array

    found = counted_labels(turned(labels), RING)
    np.testing.assert_array_equal(found.labels, turned(expected.labels))
    assert found.base_is_low is not flip


def test_as_segmented_changes_nothing() -> None:
    labels = heart(atrium=((1, 0),))
    counted = counted_labels(labels, CountingRules(lv_slices="as_segmented"))
    np.testing.assert_array_equal(counted.labels, labels)
    assert counted.lv_left_out == ()


def test_the_atrium_of_one_frame_is_left_out_of_that_frame_only() -> None:
    counted = counted_labels(heart(atrium=((1, 0),)), RING)
    assert (counted.labels[0, 0] == LV).any()
    assert not (counted.labels[1, 0] == LV).any()
    assert (counted.labels[1, 0] == RV).any(), "the rule is of the left ventricle"


@pytest.mark.parametrize(("removed", "counts"), [(5, True), (7, False)])
def test_half_of_the_border_is_the_limit(removed: int, counts: bool) -> None:
    """A cavity of 3 x 3 pixels has 12 edges; of them 7 or 5 keep their myocardium."""
    labels = heart()
    image = labels[0, 0]
    image[:] = 0
    image[7:12, 7:12] = MYOCARDIUM
    image[8:11, 8:11] = LV
    edges = [(7, 8), (7, 9), (7, 10), (11, 8), (11, 9), (11, 10), (8, 7)][:removed]
    for place in edges:
        image[place] = 0
    assert ringed_share(image, LV) == pytest.approx((12 - removed) / 12)
    assert (counted_labels(labels, RING).lv_left_out == ()) is counts


def test_a_poor_slice_in_the_middle_still_counts() -> None:
    assert counted_labels(heart(atrium=((0, 2),)), RING).lv_left_out == ()


def test_a_frame_without_any_ring_counts_for_nothing() -> None:
    counted = counted_labels(heart(atrium=tuple((1, z) for z in range(6))), RING)
    assert not (counted.labels[1] == LV).any()


@pytest.mark.parametrize("order", ["anatomy", "base_first"])
def test_the_right_ventricle_ends_with_the_left_one(order: str) -> None:
    labels = heart(atrium=((1, 0),))
    rules = CountingRules(rv_slices="with_lv", slice_order=order)  # type: ignore[arg-type]
    counted = counted_labels(labels, rules)
    assert counted.rv_left_out == ((1, 0),)
    back = counted_labels(labels[:, ::-1], CountingRules(rv_slices="with_lv"))
    assert back.rv_left_out == ((1, 5),)


def test_a_configured_order_that_contradicts_the_anatomy_is_said() -> None:
    counted = counted_labels(heart(), CountingRules(slice_order="apex_first"))
    assert counted.base_is_low is False
    assert "the anatomy looks the other way round" in counted.notes[0]


def test_papillary_muscles_go_to_the_cavity_where_asked() -> None:
    labels = heart()
    labels[0, 0, 12, 12] = MYOCARDIUM  # inside
    labels[0, 0, 8, 12] = MYOCARDIUM  # at the wall: only the hull reaches it
    filled, hull = (
        counted_labels(labels, CountingRules(papillary=rule)).labels  # type: ignore[arg-type]
        for rule in ("holes_filled", "convex_hull")
    )
    assert (filled[0, 0, 12, 12], filled[0, 0, 8, 12]) == (LV, MYOCARDIUM)
    np.testing.assert_array_equal(hull, heart())
    assert (counted_labels(labels, CountingRules()).labels == labels).all()


def test_expert_labels_keep_their_volumes(shared_data: Path) -> None:
    """Training patients of ACDC: every expert's cavity has a ring in every slice (least share 0.84 of 80 patients)."""
    for name in split()["training"][::10]:
        labels = read_patient(shared_data / "acdc/training" / name).labels
        counted = counted_labels(labels, CountingRules(rv_slices="with_lv"))
        np.testing.assert_array_equal(counted.labels, labels)
        assert counted.base_is_low is True


@pytest.mark.parametrize("name", ["lv_slices", "rv_slices", "papillary", "slice_order"])
def test_unknown_words_are_refused(name: str) -> None:
    with pytest.raises(ConfigProblem, match=f"{name}: expected .*, got 'some'"):
        CountingRules(**{name: "some"})  # type: ignore[arg-type]


def test_wrong_rank_fails() -> None:
    with pytest.raises(MeasurementFailed, match="frames, slices, y, x"):
        counted_labels(heart()[0], RING)
