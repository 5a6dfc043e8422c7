"""Are the wall's layers, the septum and the segments where anatomy has them?"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohort.records import MeasurementFailed
from phenotyping.biomarkers import regional_values
from phenotyping.labels import LV, MYOCARDIUM, RV
from phenotyping.regions import blood_pool, segment_map, septum_direction, transmural_band

SPACING = (8.0, 1.5, 1.5)


def heart(septum_degrees: float = 180.0, n: int = 96) -> np.ndarray:
    """Labels `(y, x)`: a ring of 15 to 25 pixels' radius with an RV at an angle counted as displayed (up is 90)."""
    y, x = np.arange(n)[:, None] - (n - 1) / 2, np.arange(n) - (n - 1) / 2
    r = np.hypot(x, y)
    a = np.deg2rad(septum_degrees)
    labels = np.zeros((n, n), np.uint8)
    labels[np.hypot(x - 24 * np.cos(a), y + 24 * np.sin(a)) < 18] = RV
    labels[r < 25] = MYOCARDIUM
    labels[r < 15] = LV
    return labels


@settings(max_examples=30, deadline=None)
@given(angle=st.floats(0, 360))
def test_septum_is_beside_the_right_ventricle_whatever_the_rotation(angle: float) -> None:
    direction = septum_direction(heart(angle), SPACING)
    assert direction is not None
    expected = np.array([-np.sin(np.deg2rad(angle)), np.cos(np.deg2rad(angle))])
    assert float(direction @ expected) > np.cos(np.deg2rad(4))


def test_segments_follow_the_septum_around() -> None:
    found = segment_map(heart()[None], spacing_mm=SPACING)
    assert found.levels == {0: "mid"}
    middle = (96 - 1) / 2
    # seen as displayed with the septum at the left: anterior above, lateral at the right
    places = {7: 90, 8: 150, 9: 210, 10: 270, 11: 330, 12: 30}
    for segment, degrees in places.items():
        a = np.deg2rad(degrees)
        at = round(middle - 20 * np.sin(a)), round(middle + 20 * np.cos(a))
        assert found.segment[0, at[0], at[1]] == segment
    sizes = np.bincount(found.segment.ravel(), minlength=17)[7:13]
    assert sizes.min() > 0.93 * sizes.max()
    assert (found.segment[heart()[None] != MYOCARDIUM] == 0).all()


def test_levels_from_base_to_apex_or_as_given() -> None:
    stack = np.stack([heart()] * 3)
    stack[2][stack[2] == RV] = 0
    stack[1][:, :20][stack[1][:, :20] == RV] = 0
    found = segment_map(stack, spacing_mm=SPACING)
    assert found.levels == {0: "basal", 1: "mid", 2: "apical"}
    assert set(np.unique(found.segment[2])) == {0, 13, 14, 15, 16}
    turned = segment_map(stack[::-1], spacing_mm=SPACING)
    assert np.array_equal(turned.segment[::-1], found.segment)
    given_levels = segment_map(np.stack([heart()] * 2), spacing_mm=SPACING, levels=("mid", "mid"))
    assert set(np.unique(given_levels.segment)) == {0, *range(7, 13)}
    with pytest.raises(MeasurementFailed, match="a level a slice"):
        segment_map(stack, spacing_mm=SPACING, levels=("mid",))


def test_without_right_ventricle_there_are_no_segments() -> None:
    labels = heart()
    labels[labels == RV] = 0
    found = segment_map(labels[None], spacing_mm=SPACING)
    assert not found.segment.any()
    assert "no RV" in found.reason
    assert "base and apex look alike" in segment_map(np.stack([heart()] * 2), spacing_mm=SPACING).reason


@pytest.mark.parametrize("band", [(0.25, 0.75), (0.1, 0.9)])
def test_bands_of_the_wall(band: tuple[float, float]) -> None:
    labels = heart()
    y, x = np.nonzero(transmural_band(labels, spacing_mm=SPACING, band=band))
    depth = (np.hypot(y - 47.5, x - 47.5) - 15) / 10
    assert depth.min() == pytest.approx(band[0], abs=0.09)
    assert depth.max() == pytest.approx(band[1], abs=0.09)
    with pytest.raises(MeasurementFailed, match="from low to high"):
        transmural_band(labels, spacing_mm=SPACING, band=(0.7, 0.3))


def test_blood_pool_keeps_its_distance() -> None:
    y, x = np.nonzero(blood_pool(heart(), spacing_mm=SPACING, margin_mm=6.0))
    assert np.hypot(y - 47.5, x - 47.5).max() == pytest.approx(15 - 4, abs=0.8)


def test_regional_values_find_what_each_segment_holds() -> None:
    labels = heart()[None]
    segment = segment_map(labels, spacing_mm=SPACING).segment
    values = np.where(labels == MYOCARDIUM, 1000.0 + 20.0 * segment, 1800.0)
    found = regional_values("T1", values, labels, spacing_mm=SPACING)
    assert {number: value.median_ms for number, value in found.segments.items()} == {
        number: 1000.0 + 20 * number for number in range(7, 13)
    }
    assert found.septum is not None
    assert 1160 <= found.septum.median_ms <= 1180
    assert found.wall.region == "central wall"
    assert found.wall.iqr_ms > 0
    assert found.reasons == {}


def test_excluded_pixels_are_counted_and_missing_regions_explained() -> None:
    labels = heart()[None]
    segment = segment_map(labels, spacing_mm=SPACING).segment
    values = np.full(labels.shape, 1200.0)
    accepted = segment != 11
    found = regional_values("T1", values, labels, spacing_mm=SPACING, accepted=accepted, band=(0.1, 0.9))
    assert found.wall.region == "0.1 to 0.9 of the wall"
    assert found.wall.fraction_excluded == pytest.approx(1 / 6, abs=0.01)
    assert 11 not in found.segments
    assert "segment 11" in found.reasons["segment 11"]
    labels[labels == RV] = 0
    alone = regional_values("T1", values, labels, spacing_mm=SPACING)
    assert alone.septum is None
    assert "no RV" in alone.reasons["septum"]


def test_a_septum_without_usable_middle_is_measured_whole_and_says_so() -> None:
    labels = heart()[None]
    septal = np.isin(segment_map(labels, spacing_mm=SPACING).segment, (8, 9))
    values = np.where(septal, 1100.0, 1000.0)
    values[septal & transmural_band(labels, spacing_mm=SPACING)] = np.nan  # fits failed in the middle of the septum
    found = regional_values("T1", values, labels, spacing_mm=SPACING)
    assert found.septum is not None
    assert found.septum.region == "whole septum"
    assert "the middle of the septum has only 0 usable pixels" in found.septum.reason
    assert found.septum.median_ms == 1100
    assert found.wall.median_ms == 1000
