"""How does the wall's thickness differ from the fully sampled scan, segment by segment?"""

from typing import Any

import numpy as np
import pandas as pd

from flows.descriptions import FULLY_SAMPLED, arm_names

SCAN = ["center", "patient", "scan", "modality"]


def segment_differences(segments: pd.DataFrame) -> list[dict[str, Any]]:
    """Mean of the fully sampled scans, and mean difference of each arm, in every AHA segment.

    Parameters
    ----------
    segments
        Columns of segments.parquet.

    Returns
    -------
    A row for each quantity, arm and segment. Fully sampled: ``mean``, ``sd`` (ddof 1) and ``n`` over patients, whose scans
    are averaged. Accelerated arms: ``difference``, the mean of arm minus fully sampled, with ``sd`` and ``n`` over the
    patients with both values. Descriptive: single segments are not tested.
    """
    if segments.empty:
        return []
    rows = segments.assign(arm=arm_names(segments))
    found = []
    for (quantity, _), group in rows.groupby(["quantity", "segment"], sort=True):
        wide = group.pivot(index=SCAN, columns="arm", values="value")
        reference = wide[FULLY_SAMPLED] if FULLY_SAMPLED in wide else pd.Series(np.nan, index=wide.index)
        for arm in wide.columns:
            full = arm == FULLY_SAMPLED
            values = _of_patients(wide[arm] if full else wide[arm] - reference)
            named = {"quantity": str(quantity), "unit": str(group["unit"].iloc[0]), "arm": str(arm)}
            found.append(
                {**named, "segment": int(group["segment"].iloc[0]), "mean" if full else "difference": _mean(values)}
                | {"sd": float(values.std(ddof=1)) if values.size > 1 else None, "n": values.size}
            )
    return found


def _of_patients(values: pd.Series) -> np.ndarray:
    return values.dropna().groupby(level=["center", "patient"]).mean().to_numpy(np.float64)


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if values.size else None
