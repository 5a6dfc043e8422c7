"""By which codes does DICOM call what we measure, and in which UCUM units?

SNOMED CT, LOINC and DICOM codes are those of DICOM's own context groups (PS3.16), taken from pydicom's dictionary. Where no
code means what we measure - LOINC's ventricular mass and volume indices name ultrasound methods - the concept is of the
private scheme 99CARDIOVAL: its value is our symbol, its meaning our label.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from cohort.phenotypes import VOCABULARY

SCHEME: Final = "99CARDIOVAL"
LONGEST_VALUE: Final = 16  # characters of a code value (SH)
LONGEST_MEANING: Final = 64  # characters of a code's meaning (LO)

#: our unit: UCUM
UNITS: Final = {
    "mL": "mL",
    "%": "%",
    "L/min": "L/min",
    "g": "g",
    "1/min": "/min",
    "mL/s": "mL/s",
    "mL/m²": "mL/m2",
    "L/min/m²": "L/min/m2",
    "g/m²": "g/m2",
    "m²": "m2",
    "mm": "mm",
    "ms": "ms",
    "dB": "dB",
    "": "1",
}
LEFT, RIGHT = codes.SCT.LeftVentricle, codes.SCT.RightVentricle
WALL, SEPTUM = codes.SCT.LeftVentricleMyocardium, codes.SCT.InterventricularSeptum
#: AHA segments, in the order of their numbers from 1
SEGMENTS: Final = (
    codes.SCT.LeftVentricleBasalAnteriorSegment,
    codes.SCT.LeftVentricleBasalAnteroseptalSegment,
    codes.SCT.LeftVentricleBasalInferoseptalSegment,
    codes.SCT.LeftVentricleBasalInferiorSegment,
    codes.SCT.LeftVentricleBasalInferolateralSegment,
    codes.SCT.LeftVentricleBasalAnterolateralSegment,
    codes.SCT.LeftVentricleMidAnteriorSegment,
    codes.SCT.LeftVentricleMidAnteroseptalSegment,
    codes.SCT.LeftVentricleMidInferoseptalSegment,
    codes.SCT.LeftVentricleMidInferiorSegment,
    codes.SCT.LeftVentricleMidInferolateralSegment,
    codes.SCT.LeftVentricleMidAnterolateralSegment,
    codes.SCT.LeftVentricleApicalAnteriorSegment,
    codes.SCT.LeftVentricleApicalSeptalSegment,
    codes.SCT.LeftVentricleApicalInferiorSegment,
    codes.SCT.LeftVentricleApicalLateralSegment,
    codes.SCT.ApexOfLeftVentricle,
)


@dataclass(frozen=True)
class Concept:
    """The code of a quantity, how it was derived from many values (mean, maximum...), and where it was measured."""

    name: Code
    site: Code | None = None
    derivation: Code | None = None


_MEAN, _MEDIAN, _MAXIMUM = codes.SCT.Mean, codes.SCT.Median, codes.SCT.Maximum
_STANDARD: Final = {
    "lv_edv_ml": Concept(codes.LN.LeftVentricularEDVolume, LEFT),
    "lv_esv_ml": Concept(codes.LN.LeftVentricularESVolume, LEFT),
    "lv_sv_ml": Concept(codes.SCT.StrokeVolume, LEFT),
    "lv_ef_percent": Concept(codes.LN.LeftVentricularEjectionFractionByMR, LEFT),
    "lv_co_l_min": Concept(codes.SCT.CardiacOutput, LEFT),
    "lv_svi_ml_m2": Concept(codes.SCT.StrokeIndex, LEFT),
    "lv_ci_l_min_m2": Concept(codes.SCT.CardiacIndex, LEFT),
    "lv_peak_ejection_rate_ml_s": Concept(codes.DCM.PeakEjectionRate, LEFT),
    "lv_peak_filling_rate_ml_s": Concept(codes.DCM.PeakFillingRate, LEFT),
    "heart_rate_bpm": Concept(codes.LN.HeartRate),
    "rv_edv_ml": Concept(codes.LN.RightVentricularEDVolume, RIGHT),
    "rv_esv_ml": Concept(codes.LN.RightVentricularESVolume, RIGHT),
    "rv_sv_ml": Concept(codes.SCT.RVStrokeVolume, RIGHT),
    "rv_ef_percent": Concept(codes.LN.RightVentricularEjectionFractionByMR, RIGHT),
    "rv_svi_ml_m2": Concept(codes.SCT.RVStrokeIndex, RIGHT),
    "max_wall_thickness_mm": Concept(codes.DCM.WallThickness, WALL, _MAXIMUM),
    "mean_wall_thickness_mm": Concept(codes.DCM.WallThickness, WALL, _MEAN),
    "t1_ms": Concept(codes.DCM.T1, WALL, _MEDIAN),
    "t2_ms": Concept(codes.DCM.T2, WALL, _MEDIAN),
    "septal_t1_ms": Concept(codes.DCM.T1, SEPTUM, _MEDIAN),
    "septal_t2_ms": Concept(codes.DCM.T2, SEPTUM, _MEDIAN),
    # not of the vocabulary
    "body_surface_m2": Concept(codes.LN.BSA),
}
_SITES: Final = {"left ventricle": LEFT, "right ventricle": RIGHT, "wall": WALL, "tissue": WALL}
#: of the checks of quality control
STATUSES: Final = {"pass": "Passed", "warn": "Warning", "fail": "Failed"}


def concept_of(phenotype: str) -> Concept:
    """The standard concept of a phenotype, or ours.

    Raises
    ------
    ValueError
        A phenotype that is not of the vocabulary.
    """
    known = _STANDARD.get(phenotype)
    if known:
        return known
    if phenotype not in VOCABULARY:
        raise ValueError(f"no DICOM concept for {phenotype!r}: expected a name of cohort.phenotypes")
    ours = VOCABULARY[phenotype]
    site = SEPTUM if phenotype.startswith("septal_") else _SITES.get(ours.group)
    derivation = _MEDIAN if ours.group == "tissue" else None
    return Concept(private(ours.symbol, ours.label), site, derivation)


def unit_of(unit: str) -> Code:
    """The UCUM code of one of our units.

    Raises
    ------
    ValueError
        A unit that is not in the table.
    """
    if unit not in UNITS:
        raise ValueError(f"no UCUM code for the unit {unit!r}: expected one of {', '.join(map(repr, UNITS))}")
    return codes.UCUM.NoUnits if unit == "" else Code(UNITS[unit], "UCUM", UNITS[unit])


def check_of(check: str) -> Code:
    """The concept of one check of quality control: its name without vowels, so that it is short and stays the same."""
    words = check.upper().split()
    short = "-".join(word[0] + re.sub("[AEIOU]", "", word[1:]) for word in words)
    return private(f"QC-{short}", f"Quality control: {check}")


def status_of(status: str) -> Code:
    """The concept of a check's outcome.

    Raises
    ------
    ValueError
        Another outcome than pass, warn or fail.
    """
    if status not in STATUSES:
        raise ValueError(f"a check passes, warns or fails; got {status!r}")
    return private(status.upper(), STATUSES[status])


def private(value: str, meaning: str) -> Code:
    """A code of our own scheme, in the letters and the length that DICOM allows."""
    plain = value.replace("ρ", "rho")
    tidy = re.sub(r"[^A-Za-z0-9]+", "-", plain).strip("-")[:LONGEST_VALUE].rstrip("-")
    return Code(tidy, SCHEME, meaning.replace("ρ", "rho")[:LONGEST_MEANING])
