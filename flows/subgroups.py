"""Does the difference depend on scanner, field, disease or sex, or on what is measured, and who is far off?"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.analysis_plan import AnalysisPlan
from flows.comparison import FEWEST_FOR_LIMITS, bias_of, limit_ends
from flows.descriptions import FULLY_SAMPLED
from stats.bland_altman import bland_altman

Row = dict[str, Any]
Key = tuple[str, str]
MOST_OUTLIERS = 200
N_BINS = 3
FEWEST_IN_BIN = 2


def subgroups(agreement: Iterable[Row], facts: Mapping[str, Mapping[Key, object]], plan: AnalysisPlan) -> list[Row]:
    """Bias and limits by level of each fact that has at least two levels; described, and never a claim.

    Parameters
    ----------
    agreement
        Those against the fully sampled images are used.
    facts
        By name (``vendor field_t disease sex``) the value of each (center, patient), None where it is not known.
    plan
        Margins and confidence.
    """
    rows = []
    for row in _accelerated(agreement):
        reference, test = _values(row["pairs"])
        margin = plan.margins.by_phenotype.get(row["phenotype"])
        for by, known in facts.items():
            if len({value for value in known.values() if value is not None}) < 2:
                continue
            found = [known.get((pair["center"], pair["patient"])) for pair in row["pairs"]]
            level_of = np.array([None if value is None else str(value) for value in found], dtype=object)
            for level in sorted({value for value in found if value is not None}, key=_in_order):
                kept = level_of == str(level)
                bias = bias_of(test[kept] - reference[kept], plan.options.confidence)
                inside = None
                if margin is not None and bias is not None:
                    inside = bool(margin.lower < bias["estimate"] < margin.upper)
                limits = None
                if kept.sum() >= FEWEST_FOR_LIMITS:
                    limits = bland_altman(reference[kept], test[kept], confidence=plan.options.confidence)
                head = {"by": by, "level": level, "phenotype": row["phenotype"], "arm": row["arm"]}
                rows.append(head | {"n": int(kept.sum()), "bias": bias} | limit_ends(limits) | {"bias_inside": inside})
    return rows


def bias_profile(agreement: Iterable[Row], plan: AnalysisPlan) -> list[Row]:
    """Bias in thirds of the reference: is it the same over the range of what is measured?"""
    rows = []
    for row in _accelerated(agreement):
        reference, test = _values(row["pairs"])
        order = np.argsort(reference, kind="stable")
        parts = [part for part in np.array_split(order, N_BINS) if part.size >= FEWEST_IN_BIN]
        if len(parts) < N_BINS:
            continue
        bins = [
            {
                "low": float(reference[part[0]]),
                "high": float(reference[part[-1]]),
                "n": part.size,
                "bias": bias_of(test[part] - reference[part], plan.options.confidence),
            }
            for part in parts
        ]
        rows.append({"phenotype": row["phenotype"], "arm": row["arm"], "bins": bins})
    return rows


def outliers(agreement: Iterable[Row], scans: Mapping[tuple[str, str, str], str], plan: AnalysisPlan) -> list[Row]:
    """Patients outside the margin of individuals, or where there is none outside the limits; most extreme first.

    Parameters
    ----------
    agreement
        Those against the fully sampled images are used.
    scans
        Scan of each (phenotype, center, patient), to find its pictures.
    plan
        Margins.
    """
    found: list[tuple[float, Row]] = []
    for row in _accelerated(agreement):
        margin = plan.margins.by_phenotype.get(row["phenotype"])
        reference, test = _values(row["pairs"])
        difference = test - reference
        if margin is not None:
            size, outside = np.abs(difference) / margin.limits, "margin"
        elif row["lower_limit"] and row["sd"]:
            half = row["upper_limit"]["estimate"] - row["bias"]["estimate"]
            size, outside = np.abs(difference - row["bias"]["estimate"]) / half, "limits"
        else:
            continue
        for place in np.flatnonzero(size >= 1 if outside == "margin" else size > 1):
            pair = row["pairs"][place]
            entry = {
                "phenotype": row["phenotype"],
                "arm": row["arm"],
                **{key: pair[key] for key in ("center", "patient", "reference", "test")},
                "difference": float(difference[place]),
                "outside": outside,
                "size": float(size[place]),
            }
            scan = scans.get((row["phenotype"], pair["center"], pair["patient"]))
            found.append((float(size[place]), entry | ({"scan": scan} if scan else {})))
    found.sort(key=lambda pair: -pair[0])
    return [entry for _, entry in found[:MOST_OUTLIERS]]


def _accelerated(agreement: Iterable[Row]) -> list[Row]:
    return [row for row in agreement if row["against"] == FULLY_SAMPLED and row["pairs"]]


def _values(pairs: Sequence[Row]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    values = np.array([[pair["reference"], pair["test"]] for pair in pairs], dtype=np.float64)
    return values[:, 0], values[:, 1]


def _in_order(level: object) -> tuple[int, float, str]:
    return (0, float(level), "") if isinstance(level, int | float) else (1, 0.0, str(level))
