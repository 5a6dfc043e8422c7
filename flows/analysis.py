"""What does a table of measurements say about every phenotype under every acceleration?"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from cohort.records import ConfigProblem
from flows import descriptions
from flows.analysis_options import Statistics
from flows.analysis_plan import AnalysisPlan, check_primary, plan_facts, rungs_of
from flows.classification import diagnosis, reclassification
from flows.comparison import compare
from flows.decision import decide_ladders, decide_together
from flows.descriptions import FIELD_DEPENDENT, FULLY_SAMPLED, IMAGE_QUALITY, OVERLAP, SCAN_KEY, TRUTH
from flows.doubles import doubles, doubles_note, without_doubles
from flows.evidence import evidence, evidence_note
from flows.margins import Margins
from flows.pairing import comparisons, pair, scans_of
from flows.robustness import add_robustness
from flows.subgroups import bias_profile, outliers, subgroups
from flows.trends import trends
from reports import tables

SCHEMA = 2
TEXT_COLUMNS = [*SCAN_KEY, "method", "pattern", "phenotype", "status"]
OTHER_COLUMNS = ["study", "vendor", "field_t", "disease", "acceleration", "effective_acceleration", "value", "reason"]
Sexes = Mapping[tuple[str, str], str]


def analyse(
    measurements: pd.DataFrame,
    *,
    margins: Margins | None = None,
    plan: AnalysisPlan | None = None,
    frozen: Mapping[str, Any] | None = None,
    sexes: Sexes | None = None,
    confidence: float = 0.95,
    alpha: float = 0.05,
    minimum_patients: int = 6,
    n_resamples: int = 10_000,
    seed: int = 20251221,
) -> dict[str, Any]:
    """Turn the tidy table of measurements into the statements of results.json.

    A patient who is there under two names, with the same values everywhere to the last digit, counts once, and a note
    says so. Differences are accelerated - fully sampled of the same scan, and where truth is known also arm - truth, for the
    fully sampled arm too. Patients are the unit: values of several scans of one patient are averaged.

    Parameters
    ----------
    measurements : DataFrame
        Columns of measurements.parquet; a failed measurement is a row with status "failed" (its value is ignored). A
        column ``sex`` may come with them.
    margins : Margins
        Fixed beforehand; phenotypes without one are described but never "shown". Not with `plan`, which holds them.
    plan : AnalysisPlan
        Everything that was fixed beforehand; without it one is made of `margins` and the options below.
    frozen : mapping
        The plan as it was written before the data were read (``flows.analysis_plan.freeze``). Where it says that it came
        after measurements, nothing is claimed.
    sexes : mapping
        Of each (center, patient), where known.
    confidence, alpha, minimum_patients, n_resamples, seed
        As in ``flows.analysis_options.Statistics``; not with `plan`.

    Returns
    -------
    dict
        ``schema study cohort plan arms agreement centers decision decision_together reclassification diagnosis
        subgroups trend bias_profile outliers resampling evidence image_quality overlap failures`` of results.json: only
        str, int, float, bool, list, dict and None (None for what could not be computed).

    Raises
    ------
    ConfigProblem
        If columns are missing, the table is empty, a measurement occurs twice, a primary phenotype has no margins, or
        neither or both of `margins` and `plan` are given.
    """
    if (plan is None) == (margins is None):
        raise ConfigProblem("analyse needs either margins or a plan, which holds the margins")
    if plan is None:
        chosen = Statistics(
            confidence=confidence, alpha=alpha, minimum_patients=minimum_patients, n_resamples=n_resamples, seed=seed
        )
        plan = AnalysisPlan(margins=margins or Margins({}, ""), options=chosen)
    check_primary(plan)
    table = _checked(measurements)
    twice = doubles(table)
    table = without_doubles(table, twice)
    arms = _arms(table)
    if not plan.ladder:
        plan = replace(plan, ladder=rungs_of(arms))
    agreement, centers, averaged = _agreement(table, arms, plan)
    late = (frozen or {}).get("frozen_before_results") is False
    decisions = decide_ladders(agreement, arms, plan, planned_after=late)
    together = decide_together(decisions, plan)
    resampling = add_robustness(agreement, plan)
    worth = evidence(agreement, arms, plan)
    facts = patient_facts(table, measurements, sexes)
    cohort = descriptions.cohort(table)
    if facts["sex"]:
        cohort["sexes"] = dict(Counter(str(sex) for sex in facts["sex"].values()).most_common())
    options = plan.options
    bootstrap = descriptions.Bootstrap(options.n_resamples, np.random.default_rng(options.seed), options.confidence)
    results = {
        "schema": SCHEMA,
        "study": {
            "name": str(table["study"].iloc[0]),
            "notes": [
                *doubles_note(twice),
                *descriptions.notes(table, agreement, averaged=averaged),
                *evidence_note(worth, arms),
            ],
            "verdict_sentences": [entry["sentence"] for entry in (*together, *decisions)],
        },
        "cohort": cohort,
        "plan": {"frozen_utc": None, "file": None} | dict(frozen or plan_facts(plan)),
        "arms": arms,
        "centers": centers,
        "decision": decisions,
        "decision_together": together,
        "reclassification": reclassification(agreement, plan),
        "diagnosis": diagnosis(agreement, plan),
        "subgroups": subgroups(agreement, facts, plan),
        "trend": trends(agreement, arms, plan),
        "bias_profile": bias_profile(agreement, plan),
        "outliers": outliers(agreement, _scans(table), plan),
        "resampling": resampling,
        "evidence": worth,
        "image_quality": descriptions.summaries(table, IMAGE_QUALITY, ["arm", "modality", "metric"], bootstrap),
        "overlap": descriptions.summaries(table, OVERLAP, ["arm", "phenotype"], bootstrap),
        "failures": descriptions.failures(table),
    }
    pairs = [row.pop("pairs") for row in agreement]  # plain as they are made; there may be hundreds of thousands
    rows = [plain(row) | {"pairs": own} for row, own in zip(agreement, pairs, strict=True)]
    return {name: plain(part) for name, part in results.items()} | {"agreement": rows}


def patient_facts(
    table: pd.DataFrame, measurements: pd.DataFrame, sexes: Sexes | None
) -> dict[str, dict[tuple[str, str], object]]:
    """What subgroups are made of: vendor, field, disease and, where known, sex of each (center, patient)."""
    known = dict(sexes or {})
    if not known and "sex" in measurements.columns:
        rows = measurements[["center", "patient", "sex"]].drop_duplicates(["center", "patient"])
        known = {(str(c), str(p)): s for c, p, s in rows.itertuples(index=False, name=None) if isinstance(s, str) and s}
    facts = descriptions.patient_facts(table)
    patients = facts["vendor"]
    return facts | {"sex": {key: sex for key, sex in known.items() if key in patients}}


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
    table: pd.DataFrame, arms: list[dict[str, Any]], plan: AnalysisPlan
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
            row, by_center = compare(str(phenotype), pairs, plan, diseases, pooled_fields=pooled_fields)
            agreement.append(head | row)
            centers += [head | entry for entry in by_center]
    return agreement, centers, averaged


def _scans(table: pd.DataFrame) -> dict[tuple[str, str, str], str]:
    """A scan of each phenotype, center and patient."""
    rows = table[table["arm"] == FULLY_SAMPLED].drop_duplicates(["phenotype", "center", "patient"])
    columns = [rows[name].tolist() for name in ("phenotype", "center", "patient", "scan")]
    return {(phenotype, center, patient): scan for phenotype, center, patient, scan in zip(*columns, strict=True)}
