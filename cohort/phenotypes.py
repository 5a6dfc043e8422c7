"""Which numbers are reported, in which unit, and which values are plausible?

The vocabulary of the whole project: measurements, margins, tables and plots refer to a quantity by the names here.
Plausible ranges flag a measurement for a look, never remove it. They enclose severe disease (a ventricle of 500 mL,
an ejection fraction of 8 %), so they are wider than reference ranges such as Kawel-Boehm et al., JCMR 22:87 (2020),
doi 10.1186/s12968-020-00683-3. T1 and T2 enclose 0.55 to 5 T, native and after contrast agent.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Group = Literal["left ventricle", "right ventricle", "wall", "tissue", "image quality", "overlap"]


@dataclass(frozen=True, kw_only=True)
class Phenotype:
    """One reported quantity.

    Parameters
    ----------
    name
        Name in tables, with the unit as suffix: "lv_edv_ml".
    symbol
        Short form for table heads: "LVEDV".
    unit
        "mL", "%", "ms"...; empty for a pure number.
    label
        In words, for headings.
    plausible_low, plausible_high
        Outside of these, in `unit`, a value is flagged.
    margin_key
        Key of its equivalence margins in a study's plan; None where no margin is foreseen.
    higher_is_better
        For measures of quality; None for phenotypes.
    group
        Where it stands in a report.
    """

    name: str
    symbol: str
    unit: str
    label: str
    plausible_low: float
    plausible_high: float
    margin_key: str | None
    higher_is_better: bool | None
    group: Group

    def is_plausible(self, value: float) -> bool:
        """Tell whether a value, in `unit`, lies in the plausible range; NaN does not."""
        return self.plausible_low <= value <= self.plausible_high


def _anatomy(
    name: str, symbol: str, unit: str, label: str, low: float, high: float, margin: str | None, group: Group
) -> Phenotype:
    return Phenotype(
        name=name,
        symbol=symbol,
        unit=unit,
        label=label,
        plausible_low=low,
        plausible_high=high,
        margin_key=margin,
        higher_is_better=None,
        group=group,
    )


def _quality(name: str, symbol: str, unit: str, label: str, high: float, better: bool, group: Group) -> Phenotype:
    return Phenotype(
        name=name,
        symbol=symbol,
        unit=unit,
        label=label,
        plausible_low=0.0,
        plausible_high=high,
        margin_key=None,
        higher_is_better=better,
        group=group,
    )


_ALL = (
    _anatomy("lv_edv_ml", "LVEDV", "mL", "LV end-diastolic volume", 40, 500, "LVEDV", "left ventricle"),
    _anatomy("lv_esv_ml", "LVESV", "mL", "LV end-systolic volume", 5, 450, "LVESV", "left ventricle"),
    _anatomy("lv_sv_ml", "LVSV", "mL", "LV stroke volume", 10, 200, "LVSV", "left ventricle"),
    _anatomy("lv_ef_percent", "LVEF", "%", "LV ejection fraction", 5, 85, "LVEF", "left ventricle"),
    _anatomy("lv_co_l_min", "LVCO", "L/min", "LV cardiac output", 1, 15, "LVCO", "left ventricle"),
    _anatomy("lv_mass_g", "LVM", "g", "LV mass at end-diastole", 30, 450, "LVM", "left ventricle"),
    _anatomy("lv_mass_es_g", "LVM (ES)", "g", "LV mass at end-systole", 30, 450, None, "left ventricle"),
    _anatomy("heart_rate_bpm", "HR", "1/min", "heart rate", 30, 200, None, "left ventricle"),
    _anatomy("lv_peak_ejection_rate_ml_s", "LVPER", "mL/s", "LV peak ejection rate", 50, 2000, None, "left ventricle"),
    _anatomy("lv_peak_filling_rate_ml_s", "LVPFR", "mL/s", "LV peak filling rate", 30, 2000, None, "left ventricle"),
    _anatomy("rv_edv_ml", "RVEDV", "mL", "RV end-diastolic volume", 40, 500, "RVEDV", "right ventricle"),
    _anatomy("rv_esv_ml", "RVESV", "mL", "RV end-systolic volume", 10, 400, "RVESV", "right ventricle"),
    _anatomy("rv_sv_ml", "RVSV", "mL", "RV stroke volume", 10, 200, "RVSV", "right ventricle"),
    _anatomy("rv_ef_percent", "RVEF", "%", "RV ejection fraction", 5, 85, "RVEF", "right ventricle"),
    _anatomy("lv_edvi_ml_m2", "LVEDVi", "mL/m²", "LV end-diastolic volume index", 20, 300, None, "left ventricle"),
    _anatomy("lv_esvi_ml_m2", "LVESVi", "mL/m²", "LV end-systolic volume index", 3, 270, None, "left ventricle"),
    _anatomy("lv_svi_ml_m2", "LVSVi", "mL/m²", "LV stroke volume index", 5, 120, None, "left ventricle"),
    _anatomy("lv_ci_l_min_m2", "LVCI", "L/min/m²", "LV cardiac index", 0.5, 8, None, "left ventricle"),
    _anatomy("lv_massi_g_m2", "LVMi", "g/m²", "LV mass index at end-diastole", 15, 250, None, "left ventricle"),
    _anatomy("rv_edvi_ml_m2", "RVEDVi", "mL/m²", "RV end-diastolic volume index", 20, 300, None, "right ventricle"),
    _anatomy("rv_esvi_ml_m2", "RVESVi", "mL/m²", "RV end-systolic volume index", 5, 250, None, "right ventricle"),
    _anatomy("rv_svi_ml_m2", "RVSVi", "mL/m²", "RV stroke volume index", 5, 120, None, "right ventricle"),
    _anatomy("max_wall_thickness_mm", "LVMWT", "mm", "maximum LV wall thickness", 4, 50, "LVMWT", "wall"),
    _anatomy("mean_wall_thickness_mm", "LVWT", "mm", "mean LV wall thickness", 3, 30, "LVWT", "wall"),
    # healthy, by feature tracking: circumferential -21.3 +- 3.3 %, radial 36.3 +- 8.7 % (doi 10.1186/s12968-015-0123-3)
    _anatomy("gcs_percent", "GCS", "%", "global circumferential strain", -45, 5, None, "wall"),
    _anatomy("grs_percent", "GRS", "%", "global radial strain", -5, 120, None, "wall"),
    _anatomy("t1_ms", "T1", "ms", "T1 of the myocardium", 200, 2000, "T1 native", "tissue"),
    _anatomy("t2_ms", "T2", "ms", "T2 of the myocardium", 20, 120, "T2", "tissue"),
    _anatomy("t1rho_ms", "T1ρ", "ms", "T1ρ of the myocardium", 20, 150, "T1rho", "tissue"),
    _anatomy("septal_t1_ms", "T1 septal", "ms", "T1 of the septum", 200, 2000, "T1 native", "tissue"),
    _anatomy("septal_t2_ms", "T2 septal", "ms", "T2 of the septum", 20, 120, "T2", "tissue"),
    _anatomy("septal_t1rho_ms", "T1ρ septal", "ms", "T1ρ of the septum", 20, 150, "T1rho", "tissue"),
    _quality("psnr_db", "PSNR", "dB", "peak signal-to-noise ratio", 80, True, "image quality"),
    _quality("ssim", "SSIM", "", "structural similarity", 1, True, "image quality"),
    _quality("nmse", "NMSE", "", "normalized mean squared error", 1, False, "image quality"),
    _quality(
        "heart_psnr_db", "PSNR (heart)", "dB", "peak signal-to-noise ratio around the heart", 80, True, "image quality"
    ),
    _quality("heart_ssim", "SSIM (heart)", "", "structural similarity around the heart", 1, True, "image quality"),
    _quality("dice_lv", "Dice LV", "", "overlap of the LV cavity with the truth", 1, True, "overlap"),
    _quality("dice_myocardium", "Dice myo", "", "overlap of the myocardium with the truth", 1, True, "overlap"),
    _quality("dice_rv", "Dice RV", "", "overlap of the RV cavity with the truth", 1, True, "overlap"),
)
VOCABULARY: MappingProxyType[str, Phenotype] = MappingProxyType({p.name: p for p in _ALL})
