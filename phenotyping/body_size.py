"""How large is the patient's body surface, by which volumes and mass are indexed?"""

import math
from collections.abc import Mapping
from typing import Final, Literal

from cohort.records import MeasurementFailed

Formula = Literal["mosteller", "dubois"]

#: infants to the tallest and heaviest; outside, a unit is wrong (meters, pounds, grams)
HEIGHT_RANGE_CM: Final = (40.0, 250.0)
WEIGHT_RANGE_KG: Final = (2.0, 350.0)
#: what is divided by the body surface, and the name of the quotient
INDEXED: Final[Mapping[str, str]] = {
    "lv_edv_ml": "lv_edvi_ml_m2",
    "lv_esv_ml": "lv_esvi_ml_m2",
    "lv_sv_ml": "lv_svi_ml_m2",
    "lv_co_l_min": "lv_ci_l_min_m2",
    "lv_mass_g": "lv_massi_g_m2",
    "rv_edv_ml": "rv_edvi_ml_m2",
    "rv_esv_ml": "rv_esvi_ml_m2",
    "rv_sv_ml": "rv_svi_ml_m2",
}


def body_surface_area_m2(*, height_cm: float, weight_kg: float, formula: Formula) -> float:
    """Body surface area in m2.

    `mosteller`: sqrt(height x weight / 3600), Mosteller 1987, doi 10.1056/NEJM198710223171717.
    `dubois`: 0.007184 height^0.725 weight^0.425, Du Bois and Du Bois 1916, doi 10.1001/archinte.1916.00080130010002.

    Parameters
    ----------
    height_cm, weight_kg
        Of the patient.
    formula
        Named, because the two differ by some percent.

    Raises
    ------
    MeasurementFailed
        For an unknown formula, or a height or weight that no patient has in this unit.
    """
    for name, value, (low, high), unit in (
        ("height", height_cm, HEIGHT_RANGE_CM, "cm"),
        ("weight", weight_kg, WEIGHT_RANGE_KG, "kg"),
    ):
        if not low <= value <= high:
            raise MeasurementFailed(f"{name} must be {low:g} to {high:g} {unit}, got {value:g}; check its unit")
    if formula == "mosteller":
        return math.sqrt(height_cm * weight_kg / 3600)
    if formula == "dubois":
        return float(0.007184 * height_cm**0.725 * weight_kg**0.425)
    raise MeasurementFailed(f"formula of the body surface must be 'mosteller' or 'dubois', got {formula!r}")
