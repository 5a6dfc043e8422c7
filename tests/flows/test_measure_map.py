"""What does a mapping series give: the wall's value as before, the septum's and the segments', without noise floor or motion?"""

from pathlib import Path

import numpy as np
import pytest

from cohort.phenotypes import VOCABULARY
from cohort.records import MeasurementFailed
from flows.measure_map import MAP_NAME, measure_map, planned_of_map
from flows.stages import ScanJob, upright
from phenotyping.biomarkers import myocardial_t1
from phenotyping.relaxometry import fit_inversion_recovery

T1_TIMES = np.array([100.0, 180, 880, 960, 1650, 1740, 2500, 3200])
DECAY_TIMES = np.array([0.0, 20, 35, 55])
SPACING = (8.0, 2.0, 2.0)
Y, X = np.mgrid[:90, :90] - 44.5


def scan_job(modality: str) -> ScanJob:
    here = Path("map.mat")
    return ScanJob(
        "s", "Center001", "Siemens", 1.5, "Aera", "normal", "P001", modality, "short-axis", "map", here, here
    )


def labels_of_heart() -> np.ndarray:
    """`(1, 1, y, x)` as stored: x and y swapped against the upright heart, whose RV is at the left."""
    labels = np.zeros((90, 90), np.uint8)
    labels[np.hypot(Y, X + 22) < 14] = 3
    labels[np.hypot(Y, X) < 20] = 2
    labels[np.hypot(Y, X) < 13] = 1
    return upright(labels)[None, None]


def series_of(labels: np.ndarray, modality: str, value: float, *, septum: float | None = None) -> np.ndarray:
    constant = (
        np.array([900.0, 1700.0, value, 1700.0]) if modality == "T1 mapping" else np.array([40.0, 150, value, 150])
    )
    tissue = constant[labels[0, 0]]
    if septum is not None:
        tissue[(labels[0, 0] == 2) & (upright(X) < -9)] = septum
    density = np.where(labels[0, 0] > 0, 1.0, 0.05)
    times = T1_TIMES if modality == "T1 mapping" else DECAY_TIMES
    t = times[:, None, None]
    signal = 1 - 1.9 * np.exp(-0.9 * t / tissue) if modality == "T1 mapping" else np.exp(-t / tissue)
    return np.asarray((density * np.abs(signal))[:, None], np.float32)


@pytest.fixture(autouse=True)
def times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times of the series instead of a file's."""

    def read(path: Path) -> np.ndarray:
        return TIMES[path][:, None]

    TIMES = {Path("map.mat"): T1_TIMES}
    monkeypatch.setattr("flows.measure_map.read_times_ms", read)


def use_decay_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.measure_map.read_times_ms", lambda path: DECAY_TIMES[:, None])


@pytest.mark.parametrize(
    ("modality", "value"), [("T1 mapping", 1150.0), ("T2 mapping", 47.0), ("T1 rho mapping", 52.0)]
)
def test_every_modality_gives_its_value(modality: str, value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    if modality != "T1 mapping":
        use_decay_times(monkeypatch)
    labels = labels_of_heart()
    found = measure_map(scan_job(modality), series_of(labels, modality, value), labels, spacing=SPACING, at={})
    assert found.values[0].phenotype == MAP_NAME[modality]
    assert found.values[0].value == pytest.approx(value, rel=1e-5)
    assert [v.phenotype for v in found.values] == planned_of_map(modality)
    assert found.facts["map"]["median_r2"] == pytest.approx(1, abs=1e-6)
    assert found.pictures[0].phase == "map"


def test_septum_and_segments_are_where_the_right_ventricle_is() -> None:
    labels = labels_of_heart()
    found = measure_map(
        scan_job("T1 mapping"), series_of(labels, "T1 mapping", 1100.0, septum=1250.0), labels, spacing=SPACING, at={}
    )
    facts = found.facts["map"]
    assert facts["septum"]["median_ms"] == pytest.approx(1250, rel=1e-4)
    assert facts["segment 8"]["median_ms"] == pytest.approx(1250, rel=1e-4)
    assert facts["segment 11"]["median_ms"] == pytest.approx(1100, rel=1e-4)
    assert {f"segment {n}" for n in range(7, 13)} < set(facts)
    assert facts["not measured"] == {}
    septal = [v for v in found.values if v.phenotype == "septal_t1_ms"]
    assert len(septal) == ("septal_t1_ms" in VOCABULARY)


def test_whole_wall_is_the_definition_that_it_was(rng: np.random.Generator) -> None:
    labels = labels_of_heart()
    series = series_of(labels, "T1 mapping", 1150.0) + rng.normal(0, 0.02, (8, 1, 90, 90)).astype(np.float32)
    found = measure_map(scan_job("T1 mapping"), series, labels, spacing=SPACING, at={})
    fit = fit_inversion_recovery(np.moveaxis(np.abs(series), 0, -1), T1_TIMES)
    before = myocardial_t1(fit.t1_ms, labels[0], spacing_mm=SPACING, t1_sd_ms=fit.t1_sd_ms)
    assert found.values[0].value == pytest.approx(before.median_ms, rel=1e-9)


def test_noise_floor_of_coils_is_taken_away_on_request(rng: np.random.Generator) -> None:
    labels = labels_of_heart()
    clean = series_of(labels, "T1 mapping", 1250.0)
    clean[:, :, labels[0, 0] == 0] = 0
    noise = rng.standard_normal((2, 10, *clean.shape)) * 0.02
    series = np.sqrt(((clean / np.sqrt(10) + noise[0]) ** 2 + noise[1] ** 2).sum(axis=0)).astype(np.float32)
    plain, corrected = (
        measure_map(scan_job("T1 mapping"), series, labels, spacing=SPACING, at={}, root_sum_of_squares=rss)
        .values[0]
        .value
        for rss in (False, True)
    )
    assert plain < 1250 - 12
    assert abs(corrected - 1250) < 0.5 * abs(plain - 1250)


def test_motion_correction_is_told(rng: np.random.Generator) -> None:
    labels = labels_of_heart()
    series = series_of(labels, "T1 mapping", 1150.0)
    moved = np.stack(
        [np.roll(image, shift, axis=-1) for image, shift in zip(series, [0, 2, -2, 1, 0, -1, 2, 0], strict=True)]
    )
    moved = moved + rng.normal(0, 0.02, moved.shape).astype(np.float32)
    found = measure_map(scan_job("T1 mapping"), moved, labels, spacing=SPACING, at={}, motion_correction=True)
    told = found.facts["map"]["motion of slice 0"]
    assert told["kept"]
    assert told["residual_after"] < told["residual_before"]
    assert found.values[0].value == pytest.approx(1150, rel=0.02)


def test_a_slice_too_small_to_align_is_measured_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.measure_map.read_times_ms", lambda path: np.repeat(T1_TIMES[:, None], 2, axis=1))
    labels = np.repeat(labels_of_heart(), 2, axis=1)
    labels[0, 1] = 0
    labels[0, 1, 40:45, 40:45] = 2
    series = np.repeat(series_of(labels_of_heart(), "T1 mapping", 1150.0), 2, axis=1)
    found = measure_map(scan_job("T1 mapping"), series, labels, spacing=SPACING, at={}, motion_correction=True)
    assert "50 pixels or more" in found.facts["map"]["motion of slice 1"]["not corrected"]
    assert found.values[0].value == pytest.approx(1150, rel=0.01)


def test_no_heart_fails_with_a_reason() -> None:
    labels = np.zeros((1, 1, 90, 90), np.uint8)
    with pytest.raises(MeasurementFailed, match="no myocardium found"):
        measure_map(scan_job("T1 mapping"), np.ones((8, 1, 90, 90), np.float32), labels, spacing=SPACING, at={})
    assert planned_of_map("cine") == []
