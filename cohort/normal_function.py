"""Which ejection fraction and LV mass index do published studies of healthy men and women give?

Ventricular values depend on sex, age, body size and on whether papillary muscles count as cavity, so each row says of whom it
is. Only what could be read in the source is here: volumes are in tables that could not be read, so there are none of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cohort.normal_values import SDS

_PETERSEN: Final = "Petersen et al. 2017, doi 10.1186/s12968-017-0327-9"
_WHO: Final = "UK Biobank, 45 to 74 years, Caucasian, 1.5 T bSSFP"


@dataclass(frozen=True)
class NormalFunction:
    """Mean and SD of healthy men or women in one study."""

    phenotype: str
    sex: str
    mean: float
    sd: float
    unit: str
    who: str
    source: str

    @property
    def low(self) -> float:
        """Lower end of the range that holds 95 % of healthy people, if values are normally distributed."""
        return self.mean - SDS * self.sd

    @property
    def high(self) -> float:
        """Upper end of the range."""
        return self.mean + SDS * self.sd


#: as in the abstract: mean +- SD of all ages; papillary muscles as cavity (Kawel-Boehm et al. 2020, table 1,
#: doi 10.1186/s12968-020-00683-3)
NORMAL_FUNCTION: Final = (
    NormalFunction("lv_ef_percent", "men", 58, 5, "%", _WHO, _PETERSEN),
    NormalFunction("lv_ef_percent", "women", 61, 5, "%", _WHO, _PETERSEN),
    NormalFunction("lv_massi_g_m2", "men", 53, 9, "g/m²", _WHO, _PETERSEN),
    NormalFunction("lv_massi_g_m2", "women", 42, 7, "g/m²", _WHO, _PETERSEN),
)


def normal_function(phenotype: str) -> tuple[NormalFunction, ...]:
    """Every row of a phenotype, of men and of women; empty where no source was read."""
    return tuple(row for row in NORMAL_FUNCTION if row.phenotype == phenotype)
