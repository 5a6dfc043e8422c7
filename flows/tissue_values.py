"""What are T1, T2 and T1rho on each scanner, and which published values of healthy people may stand beside them?"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

import numpy as np
import pandas as pd

from cohort.normal_values import NormalRange, normal_range
from cohort.phenotypes import VOCABULARY
from flows.descriptions import FIELD_DEPENDENT, TRUTH, arm_names

ScanName = tuple[str, str, str]  # center, patient, scan
#: T1 series of this layout are Look-Locker series of several inversions and are fitted as such; how T2 and T1rho were
#: prepared, the headers do not say
SEQUENCES: Final = {"t1_ms": "MOLLI", "septal_t1_ms": "MOLLI"}
PLACE: Final = ["center", "vendor", "scanner", "field_t"]


def tissue_values(table: pd.DataFrame, *, scanners: Mapping[ScanName, str]) -> list[dict[str, Any]]:
    """Describe the tissue values of every arm on every scanner; nothing is pooled over scanners, vendors or fields.

    Parameters
    ----------
    table
        Columns of measurements.parquet; failed rows count as attempted.
    scanners
        Model of the scanner by (center, patient, scan); of those that are missing the vendor is all that is known.

    Returns
    -------
    A row for each phenotype, arm and scanner: mean, SD (ddof 1, None for one patient) and median over `n` patients of
    `attempted`; a patient's scans of one kind on one scanner are averaged.
    """
    rows = table[table["phenotype"].isin(FIELD_DEPENDENT) & (table["method"] != TRUTH)]
    if rows.empty:
        return []
    names = zip(rows["center"], rows["patient"], rows["scan"], strict=True)
    value = pd.to_numeric(rows["value"], errors="coerce").where(rows["status"] != "failed")
    rows = rows.assign(scanner=[scanners.get(name, "") for name in names], arm=arm_names(rows), value=value)
    found = []
    for key, group in rows.groupby(["phenotype", *PLACE, "arm"], sort=False, dropna=False):
        patients = group.groupby("patient")["value"].mean()
        known = patients.dropna().to_numpy(np.float64)
        entry: dict[str, Any] = dict(zip(["phenotype", *PLACE, "arm"], key, strict=True))
        entry |= {"unit": VOCABULARY[entry["phenotype"]].unit, "n": known.size, "attempted": len(patients)}
        entry |= {"mean": float(known.mean()) if known.size else None}
        entry |= {"sd": float(known.std(ddof=1)) if known.size > 1 else None}
        entry |= {"median": float(np.median(known)) if known.size else None}
        found.append(entry)
    return found


def normal_ranges(values: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Published values of healthy people for each phenotype and field of `values`: every study for itself, or the reason
    why there is none."""
    asked = dict.fromkeys((row["phenotype"], row["field_t"]) for row in values)
    return [
        {"phenotype": phenotype, "field_t": field_t, "sequence": SEQUENCES.get(phenotype)}
        | as_data(normals_of(phenotype, field_t=field_t, sequence=SEQUENCES.get(phenotype)))
        for phenotype, field_t in asked
    ]


def normals_of(phenotype: str, *, field_t: float | None, sequence: str | None) -> NormalRange:
    """The studies that fit; none where the header does not tell the field."""
    if field_t is None or not np.isfinite(field_t):
        return NormalRange((), "the field strength is not known")
    return normal_range(phenotype, field_t=field_t, sequence=sequence)


def as_data(found: NormalRange) -> dict[str, Any]:
    """The same as plain data, with the ends of each range."""
    return {
        "reason": found.reason,
        "values": [{**asdict(row), "low": row.low, "high": row.high} for row in found.values],
    }
