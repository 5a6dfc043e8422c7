"""What is planned and measured of a cine, with what its header knows?"""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from cohort.phenotypes import VOCABULARY
from flows.analysis import analyse
from flows.config import Phenotyping
from flows.margins import load_margins
from flows.measure_cine import measure_cine, planned_of_cine
from flows.measured_values import Measured, Value, scales_with_voxels, with_geometry, with_warning
from flows.outcome import COLUMNS
from phenotyping.body_size import INDEXED

RATES = {"lv_peak_ejection_rate_ml_s", "lv_peak_filling_rate_ml_s"}


def record(*, frame_time_s: float | None = None, **info: Any) -> dict[str, Any]:
    return {"geometry": {"frame_time_s": frame_time_s}, "info": info, "slice_order": "anatomy"}


def heart(n_frames: int) -> np.ndarray:
    """A ring around a round cavity that beats like a cosine, six slices narrowing to the apex, base first."""
    y, x = np.mgrid[:64, :64]
    labels = np.zeros((n_frames, 6, 64, 64), np.uint8)
    for t in range(n_frames):
        beat = 0.5 + 0.5 * np.cos(2 * np.pi * t / n_frames)
        for z in range(6):
            inner = (8 + 6 * beat) * (1 - z / 12)
            radius = np.hypot(y - 32, x - 26)
            labels[t, z][(np.abs(y - 32) < 10) & (x > 26) & (x < 50 + 4 * beat - z)] = 3
            labels[t, z][radius < inner + 5] = 2
            labels[t, z][radius < inner] = 1
    return labels


def measured(n_frames: int = 20, *, options: Phenotyping | None = None, **known: Any) -> Measured:
    labels = heart(n_frames)
    return measure_cine(
        labels.astype(np.float32),
        labels,
        recon=record(**known),
        spacing=(10.0, 2.0, 2.0),
        at={},
        options=options or Phenotyping(),
    )


@pytest.mark.parametrize(
    ("n_frames", "known", "rate", "curve"),
    [
        (20, {"frame_time_s": 0.05}, True, True),
        (20, {"HeartRate": 60.0}, True, True),
        (12, {"frame_time_s": 0.08}, True, False),  # too few frames for rates
        (2, {"HeartRate": 60.0}, False, False),  # end-diastole and end-systole alone
        (20, {}, False, False),
        (20, {"HeartRate": "unknown"}, False, False),
        (20, {"frame_time_s": 0.03, "HeartRate": 60.0}, True, False),  # 60 % of the beat
        (20, {"frame_time_s": 0.5}, False, False),  # a cycle of 10 s
    ],
)
def test_what_the_header_does_not_allow_is_not_planned(
    n_frames: int, known: dict[str, Any], rate: bool, curve: bool
) -> None:
    names = set(planned_of_cine(n_frames=n_frames, recon=record(**known)))
    assert (names >= {"heart_rate_bpm", "lv_co_l_min"}) is rate
    assert (names >= RATES) is curve
    assert not names & set(INDEXED.values())
    assert names <= set(VOCABULARY)


def test_prospective_gating_plans_neither_rate() -> None:
    gated = Phenotyping(gating="prospective")
    names = planned_of_cine(n_frames=20, recon=record(frame_time_s=0.05), options=gated)
    assert not {"heart_rate_bpm", "lv_co_l_min", *RATES} & set(names)


@pytest.mark.parametrize("known", [{}, {"frame_time_s": 0.05}, {"frame_time_s": 0.05, "Height": 180, "Weight": 80.0}])
def test_all_that_is_planned_is_measured_once(known: dict[str, Any]) -> None:
    found = measured(**known)
    names = [value.phenotype for value in found.values]
    assert sorted(names) == sorted(planned_of_cine(n_frames=20, recon=record(**known)))
    assert all(value.status != "failed" for value in found.values), found.values
    assert not any("not measured" in value.reason or "unknown" in value.reason for value in found.values)


def test_indices_are_the_volumes_over_the_body_surface() -> None:
    found = measured(frame_time_s=0.05, Height=180, Weight=80)
    values = {value.phenotype: value.value for value in found.values}
    assert found.facts["body_surface_m2"] == pytest.approx(2.0)
    assert found.facts["body_surface_formula"] == "mosteller"
    for whole, index in INDEXED.items():
        assert values[index] == pytest.approx(values[whole] / 2)


def test_a_height_in_meters_fails_with_its_reason_and_spoils_nothing_else() -> None:
    found = measured(frame_time_s=0.05, Height=1.8, Weight=80)
    by_status = {value.phenotype: value.status for value in found.values}
    assert {name for name, status in by_status.items() if status == "failed"} == set(INDEXED.values())
    reasons = {value.reason for value in found.values if value.status == "failed"}
    assert reasons == {"height must be 40 to 250 cm, got 1.8; check its unit"}


def test_facts_say_how_it_was_measured() -> None:
    facts = measured(options=Phenotyping(lv_slices="as_segmented", rv_phases="own")).facts
    assert facts["conventions"]["lv_slices"] == "as_segmented"
    assert facts["conventions"]["rv_phases"] == "own"
    assert (facts["ed_frame"], facts["es_frame"], facts["slice_order"]) == (0, 10, "base_first")
    assert len(facts["lv_curve_ml"]) == 20


def test_assumed_voxels_warn_where_the_number_depends_on_them() -> None:
    values = [Value("lv_edv_ml", 150.0), Value("lv_ef_percent", 60.0), Value("heart_rate_bpm", 60.0)]
    values += [Value("max_wall_thickness_mm", 9.0, "warn", "thin"), Value("lv_mass_g", np.nan, "failed", "none")]
    values += [Value("t1_ms", 1000.0), Value("dice_lv", 0.9), Value("lv_edvi_ml_m2", 80.0)]
    given = {v.phenotype: v for v in with_geometry(values, confidence="assumed", note="slice gap unknown")}
    warned = {name for name, value in given.items() if "slice gap unknown" in value.reason}
    assert warned == {"lv_edv_ml", "max_wall_thickness_mm", "lv_edvi_ml_m2"}
    assert given["max_wall_thickness_mm"].reason == "thin; voxel size assumed: slice gap unknown"
    assert {given[name].status for name in warned} == {"warn"}
    assert with_geometry(values, confidence="table", note="") == values
    assert not scales_with_voxels("psnr_db")


def test_repaired_labels_are_said_with_every_value() -> None:
    good, bad = with_warning(
        [Value("lv_edv_ml", 150.0), Value("lv_esv_ml", np.nan, "failed", "none")], "labels repaired"
    )
    assert (good.status, good.reason) == ("warn", "labels repaired")
    assert (bad.status, bad.reason) == ("failed", "none")


def test_phenotypes_without_a_margin_are_described_and_nothing_is_shown_of_them() -> None:
    """Heart rate is the same in all arms: no spread at all, and no verdict but that no margin was fixed."""
    names = ("heart_rate_bpm", "lv_edvi_ml_m2", "lv_mass_es_g", "lv_ef_percent")
    rng = np.random.default_rng(3)
    rows = []
    for patient in range(8):
        for name in names:
            value = 50 + 10 * rng.random()
            for method, acceleration in (("fully_sampled", 1.0), ("sense", 8.0)):
                moved = value if name == "heart_rate_bpm" or method == "fully_sampled" else value + rng.normal()
                row: dict[str, object] = {**dict.fromkeys(COLUMNS, ""), "center": "C", "patient": str(patient)}
                row |= {"scan": "cine_sax"}
                row |= {"modality": "cine", "method": method, "pattern": "none" if acceleration == 1 else "Uniform"}
                row |= {"acceleration": acceleration, "effective_acceleration": acceleration, "field_t": 1.5}
                rows.append(row | {"phenotype": name, "value": moved, "status": "ok"})
    results = analyse(pd.DataFrame(rows), margins=load_margins(), n_resamples=100)
    found = {row["phenotype"]: row for row in results["agreement"]}
    assert set(found) == set(names)
    for name in names[:3]:
        assert "no margin was fixed beforehand" in found[name]["reason"]
        assert found[name]["verdict"] == "not shown"
    assert found["heart_rate_bpm"]["bias"]["estimate"] == 0
    assert found["lv_ef_percent"]["tost"] is not None


def test_segments_of_the_wall_are_kept_beside_the_table() -> None:
    found = measured()
    mean, most = found.facts["wall_thickness_mean"], found.facts["wall_thickness_max"]
    assert set(mean) >= {str(segment) for segment in range(1, 17)}
    known = [value for value in most.values() if value is not None]
    assert max(known) == {v.phenotype: v.value for v in found.values}["max_wall_thickness_mm"]


def test_strain_is_measured_where_it_is_asked_for() -> None:
    found = measured(8, options=Phenotyping(strain=True), frame_time_s=0.1)
    values = {value.phenotype: value.value for value in found.values}
    # the inner border shrinks by 6 of 14 pixels, the outer by 6 of 19; the wall keeps its thickness
    assert -45 < values["gcs_percent"] < -15
    assert abs(values["grs_percent"]) < 25
    assert len(found.facts["circumferential_strain_percent"]) == 8
    assert set(found.facts["radial_strain_peak"]) == {str(segment) for segment in range(1, 17)}
    assert "gcs_percent" not in {value.phenotype for value in measured(8, frame_time_s=0.1).values}
