"""Which T1, T2, T1rho and extracellular volume are normal at this field, with this sequence, by which source?

Mapping values depend on field, sequence, readout and vendor; the consensus asks for local reference ranges (Messroghli
et al. 2017, doi 10.1186/s12968-017-0389-8). The table holds published means and standard deviations of healthy people,
a row a study; rows are never pooled or interpolated. Meta-analyses over vendors and sequences are left out for the same
reason (T2: Hanson et al. 2020, doi 10.1148/radiol.2020200989, find vendor and sequence to matter), and so are values
that could not be read in their source.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cohort.phenotypes import VOCABULARY

FIELD_TOLERANCE_T: Final = 0.1
#: mean -+ so many SD hold 95 % of healthy people, if their values are normally distributed
SDS: Final = 1.96
#: measured in parts of the wall, compared with the same table
SAME_AS: Final = {
    "septal_t1_ms": "t1_ms",
    "septal_t2_ms": "t2_ms",
    "septal_t1rho_ms": "t1rho_ms",
}


@dataclass(frozen=True)
class NormalValue:
    """Mean and SD of healthy people in one study.

    `phenotype` is a name of the vocabulary, or `ecv_percent`. `vendor` is empty where the source's abstract does not
    name it.
    """

    phenotype: str
    field_t: float
    sequence: str
    scheme: str
    vendor: str
    mean: float
    sd: float
    unit: str
    n: int
    source: str

    @property
    def low(self) -> float:
        """Lower end of the range that holds 95 % of healthy people."""
        return self.mean - SDS * self.sd

    @property
    def high(self) -> float:
        """Upper end of the range."""
        return self.mean + SDS * self.sd

    @property
    def text(self) -> str:
        """One line for a page: range, protocol, source."""
        who = ", ".join(part for part in (f"{self.sequence} {self.scheme}".strip(), self.vendor) if part)
        return (
            f"{self.mean:g} ± {self.sd:g} {self.unit} ({self.low:.0f} to {self.high:.0f}) at {self.field_t:g} T, {who}, "
            f"n = {self.n}; {self.source}"
        )


@dataclass(frozen=True)
class NormalRange:
    """Every row that fits, each for itself; none, and then `reason` says why."""

    values: tuple[NormalValue, ...]
    reason: str = ""


_DABIR = "Dabir et al. 2014, doi 10.1186/s12968-014-0069-x"
_GRANITZ = "Granitz et al. 2019, doi 10.1007/s00508-018-1411-3"
_WEINGAERTNER = "Weingärtner et al. 2016, doi 10.1186/s12968-016-0302-x"
_SIEPEN = "aus dem Siepen et al. 2018, doi 10.1136/openhrt-2017-000717"
_MCDIARMID = "McDiarmid et al. 2015, doi 10.3978/j.issn.2223-4292.2015.04.07"
_GE = "Ge et al. 2025 (preprint), doi 10.48550/arXiv.2503.08425"
_MIR = "preprint 2025, doi 10.48550/arXiv.2501.07081"

NORMAL_VALUES: Final[tuple[NormalValue, ...]] = (
    NormalValue("t1_ms", 1.5, "MOLLI", "3(3)3(3)5", "Philips", 950, 21, "ms", 102, _DABIR),
    NormalValue("t1_ms", 3.0, "MOLLI", "3(3)3(3)5", "Philips", 1052, 23, "ms", 102, _DABIR),
    NormalValue("t1_ms", 1.5, "MOLLI", "3(3)3(3)5", "Philips", 1017, 24, "ms", 18, _SIEPEN),
    NormalValue("t1_ms", 1.5, "MOLLI", "5(3)3", "", 995.8, 30.9, "ms", 60, _GRANITZ),
    NormalValue("t1_ms", 3.0, "MOLLI", "5(3)3", "", 1183.8, 37.5, "ms", 60, _GRANITZ),
    NormalValue(
        "t1_ms", 1.5, "ShMOLLI", "5(1)1(1)1", "Siemens", 962, 25, "ms", 342,
        "Piechnik et al. 2013, doi 10.1186/1532-429X-15-13",
    ),
    NormalValue("t1_ms", 3.0, "SASHA", "", "", 1523, 46, "ms", 20, _WEINGAERTNER),
    NormalValue("t1_ms", 3.0, "SAPPHIRE", "", "", 1578, 42, "ms", 20, _WEINGAERTNER),
    NormalValue("t1_ms", 3.0, "MOLLI", "5b(3s)3b", "", 1189.1, 33.46, "ms", 10, _MCDIARMID),
    NormalValue("t1_ms", 5.0, "coMOLLI", "5(3)3, mid slice", "", 1514, 39, "ms", 21, _GE),
    NormalValue("t1_ms", 5.0, "MOLLI", "mid slice", "", 1349, 47, "ms", 16, _MIR),
    NormalValue("t1_ms", 5.0, "mIR-rt", "mid slice", "", 1531, 53, "ms", 16, _MIR),
    NormalValue("t2_ms", 1.5, "GraSE", "", "", 55.8, 2.8, "ms", 60, _GRANITZ),
    NormalValue("t2_ms", 3.0, "GraSE", "", "", 51.6, 3.0, "ms", 60, _GRANITZ),
    NormalValue("ecv_percent", 1.5, "MOLLI", "3(3)3(3)5", "Philips", 25, 4, "%", 102, _DABIR),
    NormalValue("ecv_percent", 3.0, "MOLLI", "3(3)3(3)5", "Philips", 26, 4, "%", 102, _DABIR),
    NormalValue("ecv_percent", 3.0, "SASHA", "", "", 21, 3, "%", 20, _WEINGAERTNER),
    NormalValue("ecv_percent", 3.0, "SAPPHIRE", "", "", 20, 2, "%", 20, _WEINGAERTNER),
)  # fmt: skip


def normal_range(
    phenotype: str,
    *,
    field_t: float,
    sequence: str | None = None,
    scheme: str | None = None,
    vendor: str | None = None,
    table: Sequence[NormalValue] = NORMAL_VALUES,
) -> NormalRange:
    """Look up the studies of a phenotype at a field.

    Parameters
    ----------
    phenotype
        A name of the vocabulary (septal values are looked up as global ones), or ``ecv_percent``.
    field_t
        Tesla; a row fits within 0.1 T.
    sequence, scheme, vendor
        None where it is not known; then rows of every sequence are returned, and `reason` says that the sequence must
        be known before a value can be judged.

    Returns
    -------
    NormalRange
        Never an average of rows; empty with a reason where no source fits.
    """
    name = SAME_AS.get(phenotype, phenotype)
    known = [row for row in table if row.phenotype == name]
    label = VOCABULARY[name].symbol if name in VOCABULARY else name
    if not known:
        return NormalRange((), f"no verified normal values of {label} are in the table")
    at_field = [row for row in known if abs(row.field_t - field_t) <= FIELD_TOLERANCE_T]
    if not at_field:
        fields = ", ".join(f"{value:g}" for value in sorted({row.field_t for row in known}))
        return NormalRange((), f"no verified normal values of {label} at {field_t:g} T (there are for {fields} T)")
    wanted = {"sequence": sequence, "scheme": scheme, "vendor": vendor}
    rows = [row for row in at_field if all(_fits(getattr(row, key), value) for key, value in wanted.items())]
    if not rows:
        asked = ", ".join(value for value in wanted.values() if value)
        there = ", ".join(sorted({" ".join(filter(None, (row.sequence, row.scheme))) for row in at_field}))
        return NormalRange(
            (), f"no verified normal values of {label} at {field_t:g} T for {asked} (there are for {there})"
        )
    if sequence is None:
        return NormalRange(tuple(rows), "the sequence is not known: these ranges are not comparable with the value yet")
    return NormalRange(tuple(rows))


def _fits(have: str, want: str | None) -> bool:
    return want is None or have.casefold() == want.casefold()
