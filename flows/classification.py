"""Would patients change their class of ejection fraction, and would a disease be found as well?"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.analysis_plan import ABOVE_FROM_PERCENT, AnalysisPlan
from flows.descriptions import FULLY_SAMPLED
from flows.descriptive import as_dict
from flows.diagnosis_rules import DiagnosisRule
from stats.reclassification import CutOff, reclassify
from stats.roc import delong, roc_curve

Row = dict[str, Any]
EJECTION_FRACTION = "lv_ef_percent"
MOST_CORNERS = 200  # a curve with more is thinned for the page; areas come from all values


def reclassification(agreement: Iterable[Row], plan: AnalysisPlan) -> list[Row]:
    """Classes of the ejection fraction by the reference and by each arm, against every reference.

    Cut-offs below 50 % belong to the class under them, 50 % and above to the class over them, so that 40.4 and 49.6 have
    a class.
    """
    options = plan.options
    cuts = [CutOff(cut, belongs_to="above" if cut >= ABOVE_FROM_PERCENT else "below") for cut in options.ef_cut_offs]
    rows = []
    for row in agreement:
        if row["phenotype"] != EJECTION_FRACTION or not row["pairs"]:
            continue
        reference, test = _values(row["pairs"])
        found = reclassify(reference, test, cut_offs=cuts, confidence=options.confidence, near=options.ef_near)
        rows.append(
            {
                "phenotype": EJECTION_FRACTION,
                "arm": row["arm"],
                "against": row["against"],
                "cut_offs": list(options.ef_cut_offs),
                "classes": [f"{name} %" for name in class_names(cuts)],
                "table": [list(line) for line in found.table],
                "n": found.n,
                "moved": found.moved,
                "moved_up": found.moved_up,
                "moved_down": found.moved_down,
                "share_moved": as_dict(found.share_moved),
                "kappa": as_dict(found.kappa) if found.kappa else None,
                "mcnemar": [
                    {
                        "cut_off": change.cut_off.value,
                        "only_reference_below": change.only_reference_below,
                        "only_test_below": change.only_test_below,
                        "p": change.p,
                    }
                    for change in found.mcnemar
                ],
                "symmetry_p": found.symmetry.p,
                "near": {
                    "cut_off_distance": options.ef_near,
                    "n": found.near.n if found.near else 0,
                    "moved": found.near.moved if found.near else 0,
                },
            }
        )
    return rows


def class_names(cuts: Sequence[CutOff]) -> list[str]:
    """``≤ 35``, ``> 35 to 40``, ``> 40 to < 50``, ``≥ 50``."""
    names = []
    for position in range(len(cuts) + 1):
        low = cuts[position - 1] if position else None
        high = cuts[position] if position < len(cuts) else None
        if low is None and high is not None:
            names.append(f"{_upper_sign(high)} {high.value:g}")
        elif high is None and low is not None:
            names.append(f"{_lower_sign(low)} {low.value:g}")
        elif low is not None and high is not None:
            end = f"{high.value:g}" if high.belongs_to == "below" else f"< {high.value:g}"
            start = f"{low.value:g}" if low.belongs_to == "above" else f"> {low.value:g}"
            names.append(f"{start} to {end}")
    return names


def diagnosis(agreement: Iterable[Row], plan: AnalysisPlan) -> list[Row]:
    """Areas under the ROC curves of each rule's phenotype, fully sampled and accelerated, and their difference.

    Cases have the disease; controls are all patients with another known disease, and beside that the healthy alone.
    Groups smaller than the rules allow are not compared.
    """
    rows = []
    for row in agreement:
        if row["against"] != FULLY_SAMPLED:
            continue
        for rule in plan.diagnosis.rules:
            if rule.phenotype == row["phenotype"]:
                rows += [made for controls in ("others", "healthy") if (made := _diagnosed(row, rule, plan, controls))]
    return rows


def _diagnosed(row: Row, rule: DiagnosisRule, plan: AnalysisPlan, controls: str) -> Row | None:
    groups = np.array([plan.diagnosis.group(pair["disease"], rule) for pair in row["pairs"]], dtype=object)
    case = groups == "case"
    control = (groups == "healthy") if controls == "healthy" else np.isin(groups, ["healthy", "other"])
    n_cases, n_controls = int(case.sum()), int(control.sum())
    if min(n_cases, n_controls) < plan.diagnosis.minimum_cases:
        return None
    kept = case | control
    reference, test = (values[kept] for values in _values(row["pairs"]))
    side, positive = rule.positive_when, case[kept]
    try:
        # DeLong's own interval of the difference is too narrow where areas are high
        pair = delong(
            reference, test, positive, positive_when=side, confidence=plan.options.confidence, interval="mover"
        )
    except ValueError:  # values that do not vary tell nobody from anybody
        return None
    return {
        "phenotype": rule.phenotype,
        "disease": rule.disease,
        "positive_when": side,
        "controls": controls,
        "arm": row["arm"],
        "n_cases": n_cases,
        "n_controls": n_controls,
        "auc_reference": as_dict(pair.reference),
        "auc_test": as_dict(pair.test),
        "difference": as_dict(pair.difference),
        "p": pair.p,
        "roc_reference": _curve(reference, positive, rule),
        "roc_test": _curve(test, positive, rule),
        "note": pair.note,
    }


def _curve(values: NDArray[np.float64], positive: NDArray[np.bool_], rule: DiagnosisRule) -> list[list[float]]:
    curve = roc_curve(values, positive, positive_when=rule.positive_when, corners_only=True)
    points = np.column_stack([curve.false_positive_rate, curve.true_positive_rate])
    if len(points) > MOST_CORNERS:
        points = points[np.linspace(0, len(points) - 1, MOST_CORNERS).round().astype(int)]
    return [[float(x), float(y)] for x, y in points]


def _values(pairs: Sequence[Row]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    values = np.array([[pair["reference"], pair["test"]] for pair in pairs], dtype=np.float64)
    return values[:, 0], values[:, 1]


def _upper_sign(cut: CutOff) -> str:
    return "≤" if cut.belongs_to == "below" else "<"


def _lower_sign(cut: CutOff) -> str:
    return "≥" if cut.belongs_to == "above" else ">"
