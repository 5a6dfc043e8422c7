"""How does the difference change with every doubling of the acceleration?"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from flows.analysis_plan import AnalysisPlan
from flows.descriptions import FULLY_SAMPLED
from flows.descriptive import as_dict
from stats.mixed import trend_over_acceleration

Row = dict[str, Any]


def trends(agreement: Sequence[Row], arms: Sequence[Mapping[str, Any]], plan: AnalysisPlan) -> list[Row]:
    """A mixed model of the differences on log2 of the nominal acceleration, by phenotype and method.

    Patterns of one acceleration are averaged within a patient. Only phenotypes with two accelerations and enough patients
    get one.
    """
    by_id = {arm["arm"]: arm for arm in arms}
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in agreement:
        if row["against"] == FULLY_SAMPLED and row["pairs"]:
            groups.setdefault((row["phenotype"], by_id[row["arm"]]["method"]), []).append(row)
    found = []
    for (phenotype, method), rows in groups.items():
        values: dict[tuple[str, str, float], list[float]] = {}
        for row in rows:
            acceleration = float(by_id[row["arm"]]["acceleration"])
            for pair in row["pairs"]:
                key = (pair["center"], pair["patient"], acceleration)
                values.setdefault(key, []).append(pair["test"] - pair["reference"])
        if len({acceleration for _, _, acceleration in values}) < 2:
            continue
        centers, patients, accelerations = zip(*values, strict=True)
        difference = np.array([sum(same) / len(same) for same in values.values()])
        try:
            trend = trend_over_acceleration(
                difference, accelerations, patients, centers, confidence=plan.options.confidence
            )
        except ValueError as problem:  # too few patients with two accelerations
            found.append(_without(phenotype, method, " ".join(str(problem).split())))
            continue
        found.append(
            {
                "phenotype": phenotype,
                "method": method,
                "n_patients": trend.n_patients,
                "slope_per_doubling": as_dict(trend.slope),
                "slope_abs_log": as_dict(trend.slope_abs_log) if trend.slope_abs_log else None,
                "p": trend.p,
                "interaction_p": trend.interaction_p,
                "degrees_of_freedom": trend.degrees_of_freedom,
                "sd_slope_centers": trend.sd_slope_centers,
                "n_left_out": trend.n_left_out,
                "status": trend.status,
                "method_text": trend.method_text,
            }
        )
    return found


def _without(phenotype: str, method: str, reason: str) -> Row:
    """A trend that could not be computed, and why."""
    row: Row = dict.fromkeys(("slope_per_doubling", "slope_abs_log", "p", "interaction_p", "degrees_of_freedom"))
    row |= {"phenotype": phenotype, "method": method, "n_patients": 0, "n_left_out": 0, "sd_slope_centers": None}
    return row | {"status": "not computed", "method_text": reason}
