"""What are the comparisons of a run as one flat table, for other programs?"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from cohort.atomic import replacing
from reports.tables import inert

CSV, PARQUET = "agreement.csv", "agreement.parquet"
ARM_KEYS = ("method", "pattern", "acceleration")
LEFT_OUT = ("pairs", "leave_one_out")


def agreement_table(results: Mapping[str, Any]) -> pd.DataFrame:
    """One row a comparison; parts of a group are joined by a dot, as ``bias.low`` or ``descriptive.ccc.estimate``."""
    arms = {arm["arm"]: arm for arm in results["arms"]}
    rows = []
    for row in results["agreement"]:
        arm = arms.get(row["arm"], {})
        head = {key: row[key] for key in ("phenotype", "arm", "against")} | {key: arm.get(key) for key in ARM_KEYS}
        rows.append(head | {key: value for key, value in _flat(row) if key not in head})
    table = pd.DataFrame(rows).convert_dtypes()
    # a group that could not be computed is one empty value; its parts are empty already
    groups = {name.rpartition(".")[0] for name in table.columns if "." in name}
    groups |= {group.partition(".")[0] for group in groups}
    return table.drop(columns=[name for name in table.columns if name in groups])


def write_agreement(folder: Path, results: Mapping[str, Any]) -> None:
    """Write agreement.csv and agreement.parquet into a run's folder."""
    table = agreement_table(results)
    with replacing(folder / PARQUET) as temporary:
        table.to_parquet(temporary, index=False)
    with replacing(folder / CSV) as temporary:
        inert_texts(table).to_csv(temporary, index=False, lineterminator="\n")


def inert_texts(table: pd.DataFrame) -> pd.DataFrame:
    """The table as it may be written to a CSV: no text that a spreadsheet would run; numbers are left alone."""
    safe = table.copy()
    for name in (name for name, kind in table.dtypes.items() if not pd.api.types.is_numeric_dtype(kind)):
        safe[name] = table[name].map(lambda v: inert(v) if isinstance(v, str) else v)
    return safe


def _flat(part: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in part.items():
        if key in LEFT_OUT:
            continue
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        elif isinstance(value, Sequence) and not isinstance(value, str):
            yield f"{before}{key}", " ".join(str(entry) for entry in value)
        else:
            yield f"{before}{key}", value
