"""Which patients are one patient under two names?"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from flows.descriptions import SCAN_KEY, TRUTH

# so many measured values cannot be the same to the last digit by chance; fewer could, where values are coarse
ENOUGH_VALUES = 8
Patient = tuple[str, str]


def doubles(table: pd.DataFrame) -> list[list[Patient]]:
    """Groups of (center, patient) whose measurements in all arms are the same to the last digit.

    A copy of a scan under another name is reconstructed and measured to the same numbers. It would count as one more
    independent patient.

    Parameters
    ----------
    table : DataFrame
        ``center patient scan modality phenotype arm value``, one row a measurement, NaN where it failed.
    """
    own = [name for name in SCAN_KEY if name not in ("center", "patient")]
    rows = table[table["arm"] != TRUTH]
    wide = rows.pivot(index=["center", "patient"], columns=[*own, "phenotype", "arm"], values="value")
    values = wide.to_numpy(np.float64)
    known = ~np.isnan(values)
    # a heart that was measured has many different values; a table of one constant says nothing
    highest = np.where(known, values, -np.inf).max(axis=1, initial=-np.inf)
    enough = (known.sum(axis=1) >= ENOUGH_VALUES) & (
        highest > np.where(known, values, np.inf).min(axis=1, initial=np.inf)
    )
    groups: dict[bytes, list[Patient]] = {}
    for place in np.flatnonzero(enough).tolist():
        center, patient = wide.index[place]
        groups.setdefault(np.where(known[place], values[place], np.nan).tobytes(), []).append((center, patient))
    return [found for found in groups.values() if len(found) > 1]


def without_doubles(table: pd.DataFrame, found: Sequence[Sequence[Patient]]) -> pd.DataFrame:
    """The table with the first of each group only."""
    left_out = {patient for group in found for patient in group[1:]}
    if not left_out:
        return table
    keys = zip(table["center"], table["patient"], strict=True)
    return table[[key not in left_out for key in keys]].reset_index(drop=True)


def doubles_note(found: Sequence[Sequence[Patient]]) -> list[str]:
    """What was done about them, in words."""
    if not found:
        return []
    names = "; ".join(" and ".join(f"{patient} of {center}" for center, patient in group) for group in found[:5])
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    return [
        f"The same patient under two names: {names}{more} have the same values everywhere, to the last digit. Each counts "
        "once, under the first of its names."
    ]
