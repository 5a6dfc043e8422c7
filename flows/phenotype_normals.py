"""Which published values of healthy people stand beside the T1 and T2 of a series of images?"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import pandas as pd

from cohort.normal_values import NormalRange
from cohort.phenotypes import VOCABULARY
from flows.descriptions import FIELD_DEPENDENT
from flows.tissue_values import normals_of

NORMAL_COLUMNS: Final = (
    *(
        "patient",
        "series",
        "phenotype",
        "value",
        "unit",
        "field_t",
        "sequence",
        "normal_mean",
        "normal_sd",
        "normal_low",
    ),
    *("normal_high", "normal_n", "normal_sequence", "normal_scheme", "normal_vendor", "source", "reason"),
)


def normal_rows(rows: Iterable[Mapping[str, Any]], sequences: Mapping[str, str | None]) -> list[dict[str, Any]]:
    """A row for each tissue value and each study that fits its field and sequence; nothing is averaged.

    Parameters
    ----------
    rows
        Rows of the measurement table.
    sequences
        Sequence by series (column `scan`), None where it is not known.

    Returns
    -------
    Rows of `NORMAL_COLUMNS`. Where no study fits there is one with the reason; where the sequence is not known, `reason`
    stands in every one.
    """
    made: list[dict[str, Any]] = []
    for row in rows:
        if row["phenotype"] not in FIELD_DEPENDENT or row["value"] is None:
            continue
        sequence = sequences.get(row["scan"])
        found = normals_of(row["phenotype"], field_t=row["field_t"], sequence=sequence)
        own = {key: row[key] for key in ("patient", "phenotype", "value", "unit", "field_t")}
        own |= {"series": row["scan"], "sequence": sequence or "", "reason": found.reason}
        made += [
            {
                **own,
                "normal_mean": normal.mean,
                "normal_sd": normal.sd,
                "normal_low": normal.low,
                "normal_high": normal.high,
                "normal_n": normal.n,
                "normal_sequence": normal.sequence,
                "normal_scheme": normal.scheme,
                "normal_vendor": normal.vendor,
                "source": normal.source,
            }
            for normal in found.values
        ] or [own]
    return made


def caption(found: NormalRange) -> list[str]:
    """Lines for a picture: each study, or the reason why there is none."""
    reason = [f"Healthy people: {found.reason}"] if found.reason else []
    return [*reason, *(f"Healthy people{_native(normal.phenotype)}: {normal.text}" for normal in found.values)]


def printed(normals: pd.DataFrame) -> list[str]:
    """Lines for a terminal: every tissue value, and below it each study or the reason why there is none."""
    lines: list[str] = []
    for (series, phenotype), rows in normals.groupby(["series", "phenotype"], sort=False):
        first, known = rows.iloc[0], VOCABULARY[str(phenotype)]
        lines.append(
            f"{series}: {known.symbol} {first['value']:.0f} {known.unit}; healthy people{_native(str(phenotype))}:"
        )
        lines += [f"  {first['reason']}"] if first["reason"] else []
        for row in rows[rows["source"].notna()].to_dict("records"):
            made = " ".join(filter(None, (row["normal_sequence"], row["normal_scheme"], row["normal_vendor"])))
            spread = (
                f"{row['normal_mean']:g} ± {row['normal_sd']:g} ({row['normal_low']:.0f} to {row['normal_high']:.0f})"
            )
            lines.append(
                f"  {spread} {known.unit} at {row['field_t']:g} T, {made}, n = {row['normal_n']:g}; {row['source']}"
            )
    return lines


def _native(phenotype: str) -> str:
    return ", native" if phenotype.endswith("t1_ms") else ""
