"""What do the folder and file names of a cohort say about scanner, modality and view?"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cohort.records import ConfigProblem

FIELDS_T = {"055T": 0.55, "15T": 1.5, "30T": 3.0, "50T": 5.0}
SCANNER_FORM = "Vendor_Field_Model such as Siemens_30T_Vida"

# beginning of a file's name -> modality; the longest beginning that fits wins, so T1mappost is not taken for T1map
MODALITIES = {
    "cine": "cine",
    "aorta": "cine",
    "T1map": "T1 mapping",
    "T1mappost": "T1 mapping post",
    "T1rho": "T1 rho mapping",
    "T2map": "T2 mapping",
    "T2smap": "T2 star mapping",
    "tagging": "tagging",
    "flow2d": "phase contrast",
    "perfusion": "perfusion",
    "lge": "late Gadolinium enhancement",
    "blackblood": "blackblood",
    "T1w": "T1 weighted",
    "T2w": "T2 weighted",
}
# what follows it -> view; the first part after the beginning decides
VIEWS = {
    "sax": "short-axis",
    "lax": "long-axis",
    "2ch": "long-axis",
    "3ch": "long-axis",
    "4ch": "long-axis",
    "lvot": "outflow tract",
    "rvot": "outflow tract",
    "ot": "outflow tract",
    "sag": "sagittal aorta",
    "tra": "transversal aorta",
    "inplane": "in-plane",
    "throughplane": "through-plane",
}
# these are acquired in the short axis where the name says nothing else (CMRxRecon challenge data formats 2023 to 2025)
SHORT_AXIS_UNLESS_SAID = frozenset(
    {"T1 mapping", "T1 mapping post", "T1 rho mapping", "T2 mapping", "T2 star mapping", "tagging", "perfusion"}
    | {"blackblood", "T1 weighted", "T2 weighted"}
)


@dataclass(frozen=True, kw_only=True)
class Scanner:
    """A scanner as its folder names it: vendor, field strength in tesla, model."""

    vendor: str
    field_t: float
    model: str


def parse_scanner(folder: str) -> Scanner:
    """Read a scanner folder, `Vendor_Field_Model`; the model may hold dots (Siemens_30T_CIMA.X).

    Raises
    ------
    ConfigProblem
        Not three parts, an empty one, or a field other than 055T, 15T, 30T, 50T.
    """
    parts = folder.split("_")
    if len(parts) != 3 or not all(part.strip() for part in parts):
        raise ConfigProblem(f"scanner folder {folder!r} is not {SCANNER_FORM}")
    vendor, field, model = parts
    if field not in FIELDS_T:
        raise ConfigProblem(f"scanner folder {folder!r}: field {field!r} is none of {', '.join(FIELDS_T)}")
    return Scanner(vendor=vendor, field_t=FIELDS_T[field], model=model)


def parse_stem(stem: str) -> tuple[str, str]:
    """Read modality and view from a file's name without suffix, in the words the reconstruction network knows.

    Returns
    -------
    tuple of str
        Modality and view, for example ("cine", "short-axis"); view "unknown" where the name does not say.

    Raises
    ------
    ConfigProblem
        The name begins with no known modality.
    """
    beginning, *rest = stem.split("_")
    modality = MODALITIES.get(beginning)
    if modality is None:
        raise ConfigProblem(f"file name {stem!r} begins with no known modality ({', '.join(MODALITIES)})")
    for part in rest:
        view = VIEWS.get(re.sub(r"^r(?=\dch$)", "", part))
        if view:
            return modality, view
    return modality, "short-axis" if modality in SHORT_AXIS_UNLESS_SAID else "unknown"
