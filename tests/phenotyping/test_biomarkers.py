"""Is the myocardium's T1 that of the wall, not of blood, fat or failed pixels?"""

import numpy as np
import pytest

from cohort.records import MeasurementFailed
from phenotyping.biomarkers import central_wall, myocardial_t1, myocardial_t2, regional_values
from phenotyping.labels import LV, MYOCARDIUM, RV

SPACING = (8.0, 1.5, 1.5)


def slice_labels(wall_mm: float = 10.0, pixel: tuple[float, float] = (1.5, 1.5)) -> tuple[np.ndarray, np.ndarray]:
    """Labels `(1, y, x)` of a ring of 22 mm radius and the distance of its pixels from the center, mm."""
    y, x = (np.arange(96)[:, None] - 47.5) * pixel[0], (np.arange(96) - 47.5) * pixel[1]
    r = np.hypot(x, y)
    labels = np.zeros((96, 96), np.uint8)
    labels[np.hypot(x + 32, y) < 20] = RV
    labels[r < 22 + wall_mm] = MYOCARDIUM
    labels[r < 22] = LV
    return labels[None], r[None]


def t1_map(labels: np.ndarray, myocardium_ms: float = 1200.0) -> np.ndarray:
    values = np.array([400.0, 1900.0, myocardium_ms, 1900.0])
    return values[labels]


@pytest.mark.parametrize("pixel", [(1.5, 1.5), (1.2, 1.8)])
def test_central_wall_is_the_middle_half(pixel: tuple[float, float]) -> None:
    labels, r = slice_labels(pixel=pixel)
    depth = (r[central_wall(labels, spacing_mm=(8.0, *pixel))] - 22) / 10
    assert 0.15 < depth.min() < 0.35
    assert 0.65 < depth.max() < 0.85
    assert np.mean(depth) == pytest.approx(0.5, abs=0.04)


def test_partial_volume_at_the_borders_does_not_matter() -> None:
    labels, r = slice_labels()
    values = t1_map(labels)
    values[(np.abs(r - 22) < 1.5) & (labels == MYOCARDIUM)] = 1600
    values[(np.abs(r - 32) < 1.5) & (labels == MYOCARDIUM)] = 700
    result = myocardial_t1(values, labels, spacing_mm=SPACING)
    assert result.median_ms == 1200
    assert (result.q25_ms, result.q75_ms) == (1200, 1200)
    assert result.region == "central wall"
    assert result.n_excluded == 0
    assert result.n_used == np.count_nonzero(central_wall(labels, spacing_mm=SPACING))


def test_failed_and_implausible_and_uncertain_pixels_are_counted_out(rng: np.random.Generator) -> None:
    labels, _ = slice_labels()
    values = t1_map(labels) + rng.normal(0, 30, labels.shape)
    central = np.argwhere(central_wall(labels, spacing_mm=SPACING))
    sd = np.full(labels.shape, 20.0)
    for place, value in zip(central[:6], [np.nan, np.nan, 20.0, 9000.0, 1200.0, np.inf], strict=True):
        values[tuple(place)] = value
    sd[tuple(central[4])] = 5000
    result = myocardial_t1(values, labels, spacing_mm=SPACING, t1_sd_ms=sd)
    assert result.n_excluded == 6
    assert result.n_used == len(central) - 6
    assert result.median_ms == pytest.approx(1200, abs=6)
    assert result.q75_ms - result.q25_ms == pytest.approx(1.349 * 30, rel=0.2)


def test_two_dimensions_and_other_parameters() -> None:
    labels, _ = slice_labels()
    assert myocardial_t2(t1_map(labels, 47.0)[0], labels[0], spacing_mm=SPACING).median_ms == 47
    found = regional_values("T1rho", t1_map(labels, 52.0), labels, spacing_mm=SPACING)
    assert (found.wall.name, found.wall.median_ms) == ("T1rho", 52)


def test_thin_wall_falls_back_to_the_whole_and_says_so() -> None:
    labels, _ = slice_labels(wall_mm=1.6)
    result = myocardial_t1(t1_map(labels), labels, spacing_mm=SPACING)
    assert result.region == "whole wall"
    assert "usable pixels" in result.reason
    assert result.median_ms == 1200


def test_wall_without_cavity_uses_the_whole_wall() -> None:
    labels, _ = slice_labels()
    labels[labels == LV] = 0
    assert myocardial_t1(t1_map(labels), labels, spacing_mm=SPACING).region == "whole wall"


def test_no_myocardium_fails() -> None:
    labels, _ = slice_labels()
    labels[labels == MYOCARDIUM] = 0
    with pytest.raises(MeasurementFailed, match="T1: no myocardium found"):
        myocardial_t1(t1_map(labels), labels, spacing_mm=SPACING)


def test_a_map_of_failures_fails() -> None:
    labels, _ = slice_labels()
    with pytest.raises(MeasurementFailed, match="T2: only 0 of"):
        myocardial_t2(np.full(labels.shape, np.nan), labels, spacing_mm=SPACING)


def test_mostly_failed_pixels_fail(rng: np.random.Generator) -> None:
    labels, _ = slice_labels()
    values = np.where(rng.random(labels.shape) < 0.7, np.nan, t1_map(labels))
    with pytest.raises(MeasurementFailed, match="half of them are needed"):
        myocardial_t1(values, labels, spacing_mm=SPACING)


def test_shapes_must_agree() -> None:
    labels, _ = slice_labels()
    with pytest.raises(MeasurementFailed, match="one shape"):
        myocardial_t1(t1_map(labels)[0], labels, spacing_mm=SPACING)
