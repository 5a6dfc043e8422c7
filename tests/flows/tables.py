"""Tables of measurements that tests make: one value a patient and arm."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

REFERENCE = ("fully_sampled", "none", 1.0)
Arm = tuple[str, str, float]


def study(
    values: Mapping[Arm, Sequence[float]],
    *,
    phenotype: str = "lv_ef_percent",
    centers: Sequence[str] | None = None,
    diseases: Sequence[str | None] | None = None,
) -> pd.DataFrame:
    """A row a patient and arm; NaN is a failed measurement."""
    n = len(next(iter(values.values())))
    names = list(centers or ["A"] * n)
    parts = [
        pd.DataFrame(
            {
                "study": "constructed", "center": names, "vendor": "Vendor", "field_t": 1.5,
                "disease": list(diseases) if diseases else [None] * n,
                "patient": [f"P{i + 1:03d}" for i in range(n)], "scan": "cine_sax", "modality": "cine",
                "method": method, "pattern": pattern, "acceleration": acceleration,
                "effective_acceleration": acceleration, "phenotype": phenotype, "value": np.asarray(column, float),
                "status": ["failed" if np.isnan(v) else "ok" for v in column], "reason": "",
            }
        )
        for (method, pattern, acceleration), column in values.items()
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True)
