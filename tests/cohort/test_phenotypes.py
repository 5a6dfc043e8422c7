"""Is the vocabulary complete and free of contradictions?"""

import json
import math
import re
from pathlib import Path

import pytest

from cohort.phenotypes import VOCABULARY

EXPECTED = {
    *("lv_edv_ml", "lv_esv_ml", "lv_sv_ml", "lv_ef_percent", "lv_co_l_min", "lv_mass_g"),
    *("rv_edv_ml", "rv_esv_ml", "rv_sv_ml", "rv_ef_percent", "max_wall_thickness_mm", "mean_wall_thickness_mm"),
    *("lv_mass_es_g", "heart_rate_bpm", "lv_peak_ejection_rate_ml_s", "lv_peak_filling_rate_ml_s"),
    *("lv_edvi_ml_m2", "lv_esvi_ml_m2", "lv_svi_ml_m2", "lv_ci_l_min_m2", "lv_massi_g_m2"),
    *("rv_edvi_ml_m2", "rv_esvi_ml_m2", "rv_svi_ml_m2"),
    *("gcs_percent", "grs_percent", "septal_t1_ms", "septal_t2_ms", "septal_t1rho_ms"),
    *("t1_ms", "t2_ms", "t1rho_ms", "psnr_db", "ssim", "nmse", "heart_psnr_db", "heart_ssim"),
    *("dice_lv", "dice_myocardium", "dice_rv"),
}
# without a margin until one is proposed with its evidence; nothing is shown of them
WITHOUT_MARGIN = ("lv_mass_es_g", "heart_rate_bpm", "_ml_s", "_m2", "gcs_percent", "grs_percent")
UNIT_OF_SUFFIX = {"_ml": "mL", "_bpm": "1/min", "_ml_s": "mL/s", "_ml_m2": "mL/m²", "_g_m2": "g/m²"}
UNIT_OF_SUFFIX |= {
    "_l_min_m2": "L/min/m²",
    "_percent": "%",
    "_l_min": "L/min",
    "_g": "g",
    "_mm": "mm",
    "_ms": "ms",
    "_db": "dB",
}


def test_the_names_are_those_agreed() -> None:
    assert set(VOCABULARY) == EXPECTED
    assert all(name == phenotype.name for name, phenotype in VOCABULARY.items())


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_unit_range_and_direction_agree(name: str) -> None:
    phenotype = VOCABULARY[name]
    units = [unit for suffix, unit in UNIT_OF_SUFFIX.items() if name.endswith(suffix)]
    assert phenotype.unit == (units[0] if units else "")
    assert phenotype.plausible_low < phenotype.plausible_high
    measured = phenotype.group in ("image quality", "overlap")
    assert (phenotype.higher_is_better is not None) == measured
    assert (phenotype.margin_key is None) == (measured or name.endswith(WITHOUT_MARGIN))


def test_symbols_are_unique() -> None:
    assert len({p.symbol for p in VOCABULARY.values()}) == len(VOCABULARY)


def test_nothing_can_be_added() -> None:
    with pytest.raises(TypeError):
        VOCABULARY["x"] = VOCABULARY["ssim"]  # type: ignore[index]


def test_plausible_ranges() -> None:
    edv = VOCABULARY["lv_edv_ml"]
    assert edv.is_plausible(150)
    assert edv.is_plausible(edv.plausible_low)
    assert not edv.is_plausible(5)
    assert not edv.is_plausible(math.nan)
    # severe disease is rare, not impossible: a dilated ventricle, T1 of a heart with amyloid at 3 T
    assert edv.is_plausible(450)
    assert VOCABULARY["lv_ef_percent"].is_plausible(8)
    assert VOCABULARY["t1_ms"].is_plausible(1450)


def test_the_proposed_margins_have_a_place(shared_data: Path) -> None:
    rows = json.loads((shared_data / "reference/statistics/22_margins.json").read_text(encoding="utf-8"))["rows"]
    wanted = {p.margin_key for p in VOCABULARY.values()} - {None, "LVWT"}
    assert wanted == {row["phenotype"] for row in rows}
    assert all(re.match(r"[LRT]", key or "") for key in wanted)
