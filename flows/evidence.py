"""How many independent measurements are the measured ones worth?"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from flows.analysis_plan import AnalysisPlan
from flows.descriptions import FULLY_SAMPLED
from reports import tables
from stats.multiplicity import effective_tests

Row = dict[str, Any]
FEWEST_PATIENTS = 10  # correlations of fewer say little


def evidence(agreement: Sequence[Row], arms: Sequence[Row], plan: AnalysisPlan) -> list[Row]:
    """Effective number of the measurements that have margins, by arm, from the correlations of their differences.

    Stroke volume, ejection fraction and output follow from the volumes: eleven shown measurements are not eleven pieces of
    evidence. Patients with all of the values take part; a measurement whose differences are all the same is left out.
    Described; nothing is corrected by it.

    Returns
    -------
    list of dict
        ``arm n_measurements n_patients effective``, of arms with 2 measurements, 10 patients and more patients than
        measurements.
    """
    found = []
    for arm in (arm["arm"] for arm in arms):
        rows = [r for r in agreement if r["arm"] == arm and r["against"] == FULLY_SAMPLED]
        columns = [
            {(pair["center"], pair["patient"]): pair["test"] - pair["reference"] for pair in row["pairs"]}
            for row in rows
            if row["phenotype"] in plan.margins.by_phenotype
        ]
        people = sorted(set.intersection(*(set(column) for column in columns))) if columns else []
        values = np.array([[column[key] for key in people] for column in columns])
        if len(people) < FEWEST_PATIENTS:
            continue
        values = values[np.ptp(values, axis=1) > 0]
        if not 2 <= len(values) < len(people):  # a correlation matrix of as many patients has no full rank
            continue
        number = effective_tests(np.corrcoef(values))
        found.append({"arm": arm, "n_measurements": len(values), "n_patients": len(people), "effective": number})
    return found


def evidence_note(found: Sequence[Row], arms: Sequence[Row]) -> list[str]:
    """The arm in which the measurements are worth most, in words."""
    if not found:
        return []
    most = max(found, key=lambda row: row["effective"])
    label = tables.arm_label(next(arm for arm in arms if arm["arm"] == most["arm"]))
    return [
        f"Differences of several measurements go together: {most['n_measurements']} of them are worth about "
        f"{tables.number(most['effective'], 1)} independent ones (Li and Ji, of {most['n_patients']} patients, {label}), "
        "and fewer or as many in the other arms."
    ]
