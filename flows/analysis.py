"""What does a table of measurements say about every phenotype under every acceleration?"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cohort.phenotypes import VOCABULARY
from cohort.records import ConfigProblem
from flows import descriptions
from flows.descriptions import FIELD_DEPENDENT, FULLY_SAMPLED, IMAGE_QUALITY, OVERLAP, SCAN_KEY, TRUTH
from flows.margins import Margin, Margins
from flows.pairing import Pairs, comparisons, pair, scans_of
from flows.verdicts import MINIMUM_PATIENTS, decide, ladder_sentence, sensitivity
from reports import tables
from stats.bland_altman import BlandAltman, bland_altman
from stats.centers import center_mean, summarize
from stats.equivalence import limits_within, tost_paired
from stats.icc import icc
from stats.intervals import Interval, mean_interval

TEXT_COLUMNS = [*SCAN_KEY, "method", "pattern", "phenotype", "status"]
OTHER_COLUMNS = ["study", "vendor", "field_t", "disease", "acceleration", "effective_acceleration", "value", "reason"]


@dataclass(frozen=True)
class Plan:
    """What was fixed before the data were seen."""

    margins: Margins
    confidence: float
    alpha: float
    minimum_patients: int


def analyse(
    measurements: pd.DataFrame,
    *,
    margins: Margins,
    confidence: float = 0.95,
    alpha: float = 0.05,
    minimum_patients: int = MINIMUM_PATIENTS,
    n_resamples: int = 2000,
    seed: int = 20251221,
) -> dict[str, Any]:
    """Turn the tidy table of measurements into the statements of results.json.

    Differences are accelerated - fully sampled of the same scan, and where truth is known also arm - truth, for the
    fully sampled arm too. Patients are the unit: values of several scans of one patient are averaged.

    Parameters
    ----------
    measurements : DataFrame
        Columns of measurements.parquet; a failed measurement is a row with status "failed" (its value is ignored).
    margins : Margins
        Fixed beforehand; phenotypes without one are described but never "shown".
    confidence : float
        Of all intervals but that of the equivalence test, which is ``1 - 2 alpha``.
    alpha : float
        Of each one-sided test.
    minimum_patients : int
        Fewer pairs get the verdict "too few".
    n_resamples, seed : int
        Of the bootstrap intervals of image quality and overlap.

    Returns
    -------
    dict
        ``schema study cohort plan arms agreement centers image_quality overlap failures`` of results.json: only str,
        int, float, bool, list, dict and None (None for what could not be computed).

    Raises
    ------
    ConfigProblem
        If columns are missing, the table is empty or a measurement occurs twice.
    """
    table = _checked(measurements)
    plan = Plan(margins, confidence, alpha, minimum_patients)
    arms = _arms(table)
    bootstrap = descriptions.Bootstrap(n_resamples, np.random.default_rng(seed), confidence)
    agreement, centers, averaged = _agreement(table, arms, plan)
    results = {
        "schema": 1,
        "study": {
            "name": str(table["study"].iloc[0]),
            "notes": descriptions.notes(table, agreement, averaged=averaged),
            "verdict_sentences": _sentences(agreement, arms, plan),
        },
        "cohort": descriptions.cohort(table),
        "plan": _plan_facts(plan) | {"bootstrap": {"n_resamples": n_resamples, "seed": seed}},
        "arms": arms,
        "agreement": agreement,
        "centers": centers,
        "image_quality": descriptions.summaries(table, IMAGE_QUALITY, ["arm", "modality", "metric"], bootstrap),
        "overlap": descriptions.summaries(table, OVERLAP, ["arm", "phenotype"], bootstrap),
        "failures": descriptions.failures(table),
    }
    return {name: plain(part) for name, part in results.items()}


def plain(value: Any) -> Any:
    """Return only what JSON knows: numpy scalars become Python ones, NaN and infinity become None."""
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def _checked(measurements: pd.DataFrame) -> pd.DataFrame:
    missing = [name for name in [*TEXT_COLUMNS, *OTHER_COLUMNS] if name not in measurements.columns]
    if missing:
        raise ConfigProblem(f"the table of measurements lacks {', '.join(missing)}")
    if measurements.empty:
        raise ConfigProblem("the table of measurements is empty: nothing was measured")
    table = measurements.loc[:, [*TEXT_COLUMNS, *OTHER_COLUMNS]].reset_index(drop=True)
    for name in TEXT_COLUMNS:
        table[name] = table[name].astype(str)
    value = pd.to_numeric(table["value"], errors="coerce").astype("float64")
    value = value.where(np.isfinite(value) & (table["status"] != "failed"))
    table["value"] = value
    table["arm"] = descriptions.arm_names(table)
    twice = table.duplicated([*SCAN_KEY, "arm", "phenotype"])
    if twice.any():
        row = table.loc[twice].iloc[0]
        name = " ".join(str(row[key]) for key in (*SCAN_KEY, "arm", "phenotype"))
        raise ConfigProblem(f"{int(twice.sum())} measurements occur twice, the first is {name}")
    return table


def _arms(table: pd.DataFrame) -> list[dict[str, Any]]:
    arms = []
    for arm, rows in table[table["arm"] != TRUTH].groupby("arm", sort=False):
        first = rows.iloc[0]
        effective = rows.drop_duplicates(SCAN_KEY)["effective_acceleration"].astype("float64").dropna()
        given = None
        if len(effective):
            given = {"mean": float(effective.mean()), "min": float(effective.min()), "max": float(effective.max())}
        entry = {
            "arm": str(arm),
            "method": first["method"],
            "pattern": first["pattern"],
            "acceleration": float(first["acceleration"]),
            "effective_acceleration": given,
        }
        arms.append(entry | {"label": tables.arm_label(entry)})
    methods = [FULLY_SAMPLED, *dict.fromkeys(arm["method"] for arm in arms)]
    return sorted(arms, key=lambda arm: (methods.index(arm["method"]), arm["acceleration"], arm["arm"]))


def _agreement(
    table: pd.DataFrame, arms: list[dict[str, Any]], plan: Plan
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], bool]:
    agreement: list[dict[str, Any]] = []
    centers: list[dict[str, Any]] = []
    averaged = False
    diseases = descriptions.diseases(table)
    fields = table["field_t"].nunique(dropna=True)
    for phenotype, rows in table[~table["phenotype"].isin([*IMAGE_QUALITY, *OVERLAP])].groupby("phenotype", sort=False):
        scans = scans_of(rows)
        pooled_fields = phenotype in FIELD_DEPENDENT and fields > 1
        for against, arm in comparisons(scans, [arm["arm"] for arm in arms]):
            pairs = pair(scans, against, arm)
            if pairs.attempted == 0:
                continue
            averaged |= pairs.averaged
            head = {"phenotype": str(phenotype), "arm": arm, "against": against}
            agreement.append(head | _compare(str(phenotype), pairs, plan, diseases, pooled_fields=pooled_fields))
            centers += [head | entry for entry in _by_center(pairs, plan)]
    return agreement, centers, averaged


def _compare(
    phenotype: str, pairs: Pairs, plan: Plan, diseases: dict[tuple[str, str], str | None], *, pooled_fields: bool
) -> dict[str, Any]:
    margin = _margin(phenotype, plan)
    difference = pairs.test - pairs.reference
    n = difference.size
    row: dict[str, Any] = {"attempted": pairs.attempted, "n": n, "failed": pairs.attempted - n}
    row |= {"bias": _bias(difference, plan.confidence), "sd": float(difference.std(ddof=1)) if n > 1 else None}
    limits = bland_altman(pairs.reference, pairs.test, confidence=plan.confidence) if n >= 3 else None
    row |= {name: _interval(getattr(limits, name)) if limits else None for name in ("lower_limit", "upper_limit")}
    row |= {"tost": _tost(difference, margin, plan), "limits_within_margin": _within(limits, margin)}
    row |= {"icc": None if pooled_fields else _icc(pairs, plan), "center_level": _center_level(pairs, plan)}
    row["sensitivity"] = None
    if margin is not None:
        inside = int(np.count_nonzero(np.abs(difference) < margin.limits))
        row["sensitivity"] = sensitivity(inside, pairs.attempted, row["failed"], margin, confidence=plan.confidence)
    row["verdict"], row["reason"] = decide(row, margin, minimum_patients=plan.minimum_patients)
    values = zip(pairs.center, pairs.patient, pairs.reference.tolist(), pairs.test.tolist(), strict=True)
    row["pairs"] = [
        {"center": c, "patient": p, "disease": diseases.get((c, p)), "reference": r, "test": t} for c, p, r, t in values
    ]
    return row


def _margin(phenotype: str, plan: Plan) -> Margin | None:
    return plan.margins.by_phenotype.get(phenotype)


def _interval(interval: Interval) -> dict[str, Any]:
    return {"estimate": interval.estimate, "low": interval.low, "high": interval.high}


def _bias(difference: NDArray[np.float64], confidence: float) -> dict[str, Any] | None:
    if difference.size == 0:
        return None
    if difference.size == 1:
        return {"estimate": float(difference[0]), "low": None, "high": None}
    return _interval(mean_interval(difference, confidence=confidence))


def _tost(difference: NDArray[np.float64], margin: Margin | None, plan: Plan) -> dict[str, Any] | None:
    if margin is None or difference.size < 3:
        return None
    test = tost_paired(difference, lower=-margin.bias, upper=margin.bias, alpha=plan.alpha)
    return {
        "p_lower": test.p_lower,
        "p_upper": test.p_upper,
        "p": test.p,
        "low": test.interval.low,
        "high": test.interval.high,
        "alpha": plan.alpha,
        "equivalent": test.equivalent,
        "margin": margin.bias,
    }


def _within(limits: BlandAltman | None, margin: Margin | None) -> bool | None:
    if limits is None or margin is None:
        return None
    return limits_within(limits, lower=-margin.limits, upper=margin.limits)


def _icc(pairs: Pairs, plan: Plan) -> dict[str, Any] | None:
    values = np.column_stack([pairs.reference, pairs.test])
    if len(values) < 3 or np.ptp(values) == 0.0:
        return None
    return _interval(icc(values, form="A,1", confidence=plan.confidence)) | {"form": "A,1"}


def _center_level(pairs: Pairs, plan: Plan) -> dict[str, Any] | None:
    """Bias with centers as the unit (REML, t(K - 1)), from 3 centers on."""
    groups = summarize(pairs.test - pairs.reference, pairs.center) if pairs.center else []
    if len(groups) < 3 or not any(group.sd for group in groups):
        return None
    result = center_mean(pairs.test - pairs.reference, pairs.center, confidence=plan.confidence)
    prediction = _interval(result.prediction) if result.prediction else None
    between = {"tau": float(np.sqrt(result.tau2.estimate)), "i2_percent": result.i2_percent, "prediction": prediction}
    return _interval(result.estimate) | {"n_centers": result.n_centers, "method": result.estimate.method} | between


def _by_center(pairs: Pairs, plan: Plan) -> list[dict[str, Any]]:
    rows, names = [], np.asarray(pairs.center, dtype=object)
    for center in dict.fromkeys(pairs.center):
        reference, test = pairs.reference[names == center], pairs.test[names == center]
        n = reference.size
        limits = bland_altman(reference, test, confidence=plan.confidence) if n >= 3 else None
        ends = {name: _interval(getattr(limits, name)) if limits else None for name in ("lower_limit", "upper_limit")}
        rows.append({"center": center, "n": n, "bias": _bias(test - reference, plan.confidence)} | ends)
    return rows


def _sentences(agreement: list[dict[str, Any]], arms: list[dict[str, Any]], plan: Plan) -> list[str]:
    by_id = {arm["arm"]: arm for arm in arms}
    ladders: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in agreement:
        if row["against"] == FULLY_SAMPLED and _margin(row["phenotype"], plan) is not None:
            ladders.setdefault((row["phenotype"], by_id[row["arm"]]["method"]), []).append(row)
    sentences = []
    for (phenotype, method), rows in ladders.items():
        margin = _margin(phenotype, plan)
        if margin is not None:
            symbol = VOCABULARY[phenotype].symbol if phenotype in VOCABULARY else phenotype
            sentences.append(ladder_sentence(symbol, tables.method_label(method), rows, by_id, margin))
    return sentences


def _plan_facts(plan: Plan) -> dict[str, Any]:
    margins = {
        name: {"bias": margin.bias, "limits": margin.limits, "unit": margin.unit, "evidence": margin.evidence}
        for name, margin in plan.margins.by_phenotype.items()
    }
    return {
        "confidence": plan.confidence,
        "alpha": plan.alpha,
        "minimum_patients": plan.minimum_patients,
        "margins": margins,
        "margins_origin": plan.margins.origin,
        "sha256": plan.margins.sha256,
    }
