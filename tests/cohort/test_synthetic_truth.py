"""Is the written truth the patient's?"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cohort.phenotypes import VOCABULARY
from cohort.synthetic.population import SyntheticPatient, draw_patient
from cohort.synthetic.stack import SliceStack, plan_stack
from cohort.synthetic.tissues import TISSUE_INDEX
from cohort.synthetic.truth import cine_truth, mapping_truth, write_truth


@pytest.fixture(scope="module")
def patient() -> SyntheticPatient:
    return draw_patient("infarct", rng=np.random.default_rng(12), field_t=3.0)


def test_ejection_fraction_and_volumes_are_the_parameters(patient: SyntheticPatient) -> None:
    heart = patient.heart
    truth = cine_truth(patient, n_frames=10, stack=plan_stack(patient, n_slices=6))
    values = truth["phenotypes"]
    assert values["lv_edv_ml"] == pytest.approx(heart.lv_edv_ml)
    assert truth["continuous"]["lv_ef_percent"] == pytest.approx(100 * heart.ef)
    assert values["lv_sv_ml"] == pytest.approx(values["lv_edv_ml"] - values["lv_esv_ml"])
    assert values["lv_co_l_min"] == pytest.approx(values["lv_sv_ml"] * patient.heart_rate_bpm / 1000)
    assert values["lv_mass_g"] == pytest.approx(heart.lv_mass_g)
    assert set(values) <= set(VOCABULARY)
    # the frames are those that are rendered: at 10 frames the fourth falls into the isovolumic pause
    frames = truth["frames"]
    assert frames["es_frame"] == int(np.argmin(frames["lv_volume_ml"]))
    assert frames["phase"] == [k / 10 for k in range(10)]
    few = cine_truth(patient, n_frames=3, stack=plan_stack(patient, n_slices=6))["phenotypes"]
    assert few["lv_ef_percent"] < 100 * heart.ef
    assert few["lv_esv_ml"] == pytest.approx(float(heart.lv_volume_ml(np.arange(3) / 3).min()))


def test_the_imaged_part_is_all_or_less(patient: SyntheticPatient) -> None:
    everything = SliceStack(tuple(np.linspace(100, -100, 21).tolist()), 8.0, 10.0)
    whole = cine_truth(patient, n_frames=2, stack=everything)
    for name in ("lv_edv_ml", "lv_esv_ml", "rv_edv_ml", "lv_mass_g"):
        assert whole["imaged"][name] == pytest.approx(whole["phenotypes"][name], rel=1e-3)
    half = cine_truth(patient, n_frames=2, stack=SliceStack((-10.0, -20.0, -30.0), 8.0, 10.0))
    assert 0 < half["imaged"]["lv_edv_ml"] < 0.6 * half["phenotypes"]["lv_edv_ml"]
    nothing = cine_truth(patient, n_frames=2, stack=SliceStack((200.0,), 8.0, 10.0))
    assert nothing["imaged"]["lv_edv_ml"] == 0
    assert np.isnan(nothing["imaged"]["lv_ef_percent"])


def test_an_upright_slab_is_an_integral_along_the_axis(patient: SyntheticPatient) -> None:
    upright = replace(patient, pose=replace(patient.pose, tilt_rad=0.0))
    heart = patient.heart
    slab = cine_truth(upright, n_frames=1, stack=SliceStack((0.0,), 10.0, 10.0))["imaged"]["lv_edv_ml"]
    s = heart.length_mm / 2 + np.linspace(-5, 5, 401)
    area = heart.a_mm**2 * (1 - ((s - heart.c_mm) / heart.c_mm) ** 2) * np.pi
    area *= 1 + sum(a**2 for _, a, _ in heart.harmonics) / 2
    assert slab == pytest.approx(np.trapezoid(area, s) / 1000, rel=1e-5)


def test_t1_and_t2_of_the_slice(patient: SyntheticPatient) -> None:
    truth = mapping_truth(patient, z_mm=0.0, phase=0.78)
    healthy = patient.tissues[TISSUE_INDEX["myocardium"]]
    scar = patient.tissues[TISSUE_INDEX["focal_myocardium"]]
    assert healthy.t1_ms <= truth["phenotypes"]["t1_ms"] <= scar.t1_ms
    assert healthy.t1_ms < truth["t1_ms"]["mean"] < scar.t1_ms
    for segment, sick in enumerate(patient.heart.focal, start=1):
        assert truth["t1_ms"]["segments"][str(segment)] == (scar.t1_ms if sick else healthy.t1_ms)
    normal = draw_patient("normal", rng=np.random.default_rng(0), field_t=1.5)
    assert mapping_truth(normal, z_mm=0.0, phase=0.78)["phenotypes"]["t2_ms"] == pytest.approx(
        normal.tissues[TISSUE_INDEX["myocardium"]].t2_ms
    )


def test_the_file_is_plain_json_with_seed_and_parameters(patient: SyntheticPatient, tmp_path: Path) -> None:
    truth = cine_truth(patient, n_frames=2, stack=SliceStack((200.0,), 8.0, 10.0))
    path = tmp_path / "cine_sax_truth.json"
    content = write_truth(path, truth, patient=patient, seed=42)
    text = path.read_text(encoding="utf-8")
    assert "NaN" not in text
    assert json.loads(text) == content
    assert content["imaged"]["lv_ef_percent"] is None
    assert content["seed"] == 42
    assert content["parameters"]["heart"]["ef"] == patient.heart.ef
