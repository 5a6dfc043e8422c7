"""What does a table of readings say about the agreement of two methods or readers, without any image?"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from cohort.atomic import write_text
from cohort.fingerprint import file_sha256
from cohort.phenotypes import VOCABULARY
from cohort.records import CardioValError, ConfigProblem
from flows.agree_extras import nested, readers_at_once, regression, repeatability_rows, replicate_limits
from flows.agree_pairs import Comparison, comparisons_of
from flows.agree_plan import AgreementOptions, agreement_plan, agreement_plan_facts, freeze_agreement
from flows.agree_table import ONE_CENTER, Readings, TableOptions, read_readings
from flows.agreement_table import write_agreement
from flows.analysis import SCHEMA, plain
from flows.analysis_plan import PLAN_FILE, AnalysisPlan
from flows.center_consistency import center_consistency
from flows.comparison import compare, leave_out_single_readings
from flows.decision import contradictions
from flows.margins import Margin
from flows.provenance import command, commit, version
from flows.subgroups import bias_profile, outliers
from flows.verdicts import decide, sensitivity
from reports.agreement_study import write_agreement_report
from stats.bland_altman import Truth

Row = dict[str, Any]
PACKAGES = ("numpy", "scipy", "pandas", "matplotlib", "typst")


def agree(table: Path, out: Path, options: AgreementOptions) -> dict[str, Any]:
    """Analyze a table and write ``plan.json results.json agreement.csv agreement.parquet report/`` into a folder.

    The plan is written before the table is read; a folder that holds another plan is refused.

    Raises
    ------
    ConfigProblem, MissingFile, UnreadableFile
        As ``flows.agree_table.read_readings`` and ``flows.agree_plan.freeze_agreement``.
    """
    table, out = Path(table), Path(out)
    plan = agreement_plan(options)
    is_new = not (out / PLAN_FILE).exists()
    frozen = freeze_agreement(agreement_plan_facts(plan, options), out)
    try:
        readings = read_readings(table, table_options(options))
        results = agreement_results(readings, plan, options) | {"plan": frozen}
    except CardioValError:
        if is_new:  # nothing was seen of the data that a corrected call could have been chosen by
            (out / PLAN_FILE).unlink()
        raise
    results["study"] |= {
        "name": table.stem,
        "title": options.title or f"Agreement study: {table.stem}",
        "created_utc": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    results["provenance"] = {
        "cardioval_version": version("cardioval"),
        "commit": commit(),
        "command": command(),
        "inputs_sha256": file_sha256(table),
        "packages": {name: version(name) for name in PACKAGES},
        "weights": [],
    }
    write_text(out / "results.json", json.dumps(results, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    write_agreement(out, results)
    write_agreement_report(out, results)
    return results


def table_options(options: AgreementOptions) -> TableOptions:
    """In a wide table the methods that were named are the columns to take."""
    named = (options.reference, *options.tests) if options.reference and options.tests else ()
    return replace(options.table, methods=named or options.table.methods)


def agreement_results(readings: Readings, plan: AnalysisPlan, options: AgreementOptions) -> dict[str, Any]:
    """The statements of results.json (schema 2), as ``flows.analysis.analyse`` makes them of a run.

    Raises
    ------
    ConfigProblem
        If a method is not in the table, a margin is in another unit, or what the replicates are is not said.
    """
    reference, tests = _methods(readings, options)
    _check_units(readings, plan)
    confidence = plan.options.confidence
    comparisons = comparisons_of(readings, reference=reference, tests=tests, truth=options.truth)
    agreement, centers = [], []
    for one in comparisons:
        row, by_center = _compared(one, plan, options)
        agreement.append(row)
        centers += by_center
    # the functions for runs know only one reference, the fully sampled images
    as_run = [row | {"against": "fully_sampled"} for row in agreement]
    lines = [
        regression(one, truth=options.truth, error_ratio=options.error_ratio, confidence=confidence)
        for one in comparisons
    ]
    decision = [decision_of(row, plan) for row in agreement]
    results: dict[str, Any] = {
        "schema": SCHEMA,
        "kind": "agreement",
        "study": {"notes": _notes(readings, comparisons, reference, options, lines), "simulated": []},
        "measurements": {name: {"label": _label(name), "unit": readings.units[name]} for name in readings.measurements},
        "table": {
            "layout": readings.layout,
            "columns": dict(readings.columns),
            "ignored": list(readings.ignored),
            "n_readings": int(readings.rows["value"].notna().sum()),
            "n_missing": int(readings.rows["value"].isna().sum()),
        },
        "cohort": _cohort(readings),
        "arms": _arms(comparisons, reference),
        "centers": centers,
        "decision": decision,
        "decision_together": [],
        "bias_profile": bias_profile(as_run, plan),
        "outliers": outliers(as_run, {}, plan),
        "regression": [line for line in lines if line],
        "repeatability": repeatability_rows(readings, options.truth, confidence),
        "nested": [found for one in comparisons if (found := nested(one, confidence))],
        "readers": readers_at_once(readings, (reference, *tests), confidence),
        "failures": _failures(comparisons),
    }
    results["study"]["verdict_sentences"] = [entry["sentence"] for entry in decision]
    for name in ("reclassification", "diagnosis", "subgroups", "trend", "image_quality", "overlap"):
        results[name] = []
    made: dict[str, Any] = plain(results | {"agreement": agreement})
    return made


def _methods(readings: Readings, options: AgreementOptions) -> tuple[str, tuple[str, ...]]:
    for name in filter(None, (options.reference, *options.tests)):
        if name not in readings.methods:
            raise ConfigProblem(f"no method is called {name!r}; the table has {', '.join(readings.methods)}")
    free = [name for name in readings.methods if name not in options.tests]
    if not (options.reference or free):
        raise ConfigProblem("every method of the table is a --test; name one as --reference")
    reference = options.reference or free[0]
    return reference, options.tests or tuple(name for name in readings.methods if name != reference)


def _check_units(readings: Readings, plan: AnalysisPlan) -> None:
    unused = [name for name in plan.margins.by_phenotype if name not in readings.measurements]
    if unused and len(unused) == len(plan.margins.by_phenotype):
        raise ConfigProblem(
            f"no margin fits the table: margins are for {', '.join(unused)}, measurements are "
            f"{', '.join(readings.measurements)}"
        )
    for name, unit in readings.units.items():
        margin = plan.margins.by_phenotype.get(name)
        # differences of percentages are points
        if margin and unit and margin.unit != unit and {margin.unit, unit} != {"points", "%"}:
            raise ConfigProblem(f"{name} is in {unit!r} in the table and in {margin.unit!r} in the margins file")


def _compared(one: Comparison, plan: AnalysisPlan, options: AgreementOptions) -> tuple[Row, list[Row]]:
    head = {"phenotype": one.measurement, "arm": one.arm, "against": one.reference}
    row, centers = compare(one.measurement, one.pairs, plan, {}, pooled_fields=False)
    row["replicates"] = None
    if one.replicates is not None and options.truth:
        _for_single_readings(row, centers, one, plan, options.truth)
    margin = plan.margins.by_phenotype.get(one.measurement)
    row["contradicted_by"], against = contradictions(row, margin, plan.options)
    row["claimed"] = row["verdict"] == "shown" and against is None
    row["objection"] = against
    failed = Counter(center for center, _, _ in one.failures)
    for entry in centers:
        entry |= {"attempted": entry["n"] + failed[entry["center"]], "failed": failed[entry["center"]]}
    return head | row, [head | entry for entry in centers]


def _for_single_readings(row: Row, centers: list[Row], one: Comparison, plan: AnalysisPlan, truth: Truth) -> None:
    """Replace what means of replicates make too narrow: the limits, and the verdict on them."""
    found, confidence = one.replicates, plan.options.confidence
    if found is None:
        return
    limits = replicate_limits(found, truth, confidence) or {"sd": None, "lower_limit": None, "upper_limit": None}
    row |= limits
    for entry in centers:
        part = replicate_limits(found, truth, confidence, entry["center"])
        entry |= {name: part and part[name] for name in ("lower_limit", "upper_limit")}
    margin = plan.margins.by_phenotype.get(one.measurement)
    whole = np.isfinite(found.reference) & np.isfinite(found.test)
    readings = (
        (found.test - found.reference)[whole],
        [str(c) for c in found.center[whole]],
        found.subject[whole].tolist(),
    )
    difference = one.pairs.test - one.pairs.reference
    row["center_consistency"] = center_consistency(
        difference, one.pairs.center, centers, margin, plan.options, readings=readings
    )
    row["limits_within_margin"] = _inside(limits, margin)
    leave_out_single_readings(row)
    if margin is not None:
        counts = row["sensitivity"]
        row["sensitivity"] = sensitivity(
            counts["inside"], row["attempted"], row["failed"], margin, confidence=confidence
        )
    row["verdict"], row["reason"] = decide(row, margin, minimum_patients=plan.options.minimum_patients)
    kept = [np.isfinite(values) for values in (found.reference, found.test)]
    row["replicates"] = {
        "truth": truth,
        "readings_reference": int(kept[0].sum()),
        "readings_test": int(kept[1].sum()),
        "unpaired_readings": one.unpaired_readings,
    }


def _inside(limits: Row, margin: Margin | None) -> bool | None:
    if margin is None or limits["lower_limit"] is None:
        return None
    return bool(-margin.limits < limits["lower_limit"]["low"] and limits["upper_limit"]["high"] < margin.limits)


def decision_of(row: Row, plan: AnalysisPlan) -> Row:
    """What may be said of one comparison, in words."""
    name, arm, against = _symbol(row["phenotype"]), row["arm"], row["against"]
    margin = plan.margins.by_phenotype.get(row["phenotype"])
    head = f"{name}, {arm} against {against}"
    if margin is None and row["bias"]:
        sentence = f"{head}: described only, because nothing was fixed beforehand for it."
    elif row["verdict"] == "shown" and row["objection"]:
        sentence = f"{head}: agreement not claimed, because {row['objection']}."
    else:
        words = {"shown": "agreement shown", "bias only": "only the bias is shown", "too few": "no verdict"}
        sentence = f"{head}: {words.get(row['verdict'], 'agreement not shown')}; {row['reason']}."
    claimed = row["claimed"]
    return {
        "phenotype": row["phenotype"],
        "method": arm,
        "against": against,
        "primary": True,
        "claimed_up_to": arm if claimed else None,
        "first_not_shown": None if claimed else arm,
        "levels": [],
        "sentence": sentence,
    }


def _notes(
    readings: Readings,
    comparisons: Sequence[Comparison],
    reference: str,
    options: AgreementOptions,
    lines: Sequence[Any],
) -> list[str]:
    chosen = "" if options.reference else ", the first in the table; another can be named"
    notes = [f"Differences are test minus reference. Reference: {reference}{chosen}."]
    if options.margins is None:
        notes.append("Nothing was fixed beforehand: no margins were given, so the study describes and shows nothing.")
    else:
        notes.append(
            "The margins were read and hashed before the table. That they were set before anybody saw the data is for "
            "their author to say."
        )
    if len(comparisons) > 1:
        notes.append(
            f"{len(comparisons)} comparisons, none corrected for the others; a claim for all at once needs each shown."
        )
    if any(one.replicates for one in comparisons):
        notes.append(
            f"Replicates, {options.truth} truth: a subject counts once, by its mean; limits are for a single reading of "
            "each method (Zou 2013). What rests on the spread of single readings and cannot be had from means is left out; "
            "the share inside the margin is that of the means."
        )
    unpaired = sum(one.unpaired_readings for one in comparisons)
    if unpaired:
        notes.append(f"{unpaired} readings had no partner of the same replicate and were left out.")
    if any(line is None for line in lines):
        notes.append("Lines of regression are not fitted above 3000 subjects.")
    if readings.ignored:
        notes.append(f"Columns not used: {', '.join(readings.ignored)}.")
    return notes


def _cohort(readings: Readings) -> Row:
    rows = readings.rows
    centers = [
        {
            "center": str(name),
            "vendor": "",
            "field_t": None,
            "n_patients": int(part["subject"].nunique()),
            "n_scans": int(part["value"].notna().sum()),
        }
        for name, part in rows.groupby("center", sort=True)
    ]
    total = len(rows[["center", "subject"]].drop_duplicates())
    one = centers[0]["center"] == ONE_CENTER and len(centers) == 1
    return {
        "n_patients": total,
        "n_scans": int(rows["value"].notna().sum()),
        "centers": centers,
        "centers_stated": not one,
        "diseases": {},
    }


def _arms(comparisons: Sequence[Comparison], reference: str) -> list[Row]:
    kinds = {one.arm: one.method for one in comparisons}
    head = {"pattern": None, "acceleration": None, "effective_acceleration": None}
    arms = [{"arm": reference, "method": reference, "label": reference, "reference": True}]
    arms += [{"arm": arm, "method": method, "label": arm, "reference": False} for arm, method in kinds.items()]
    return [arm | head for arm in arms]


def _failures(comparisons: Sequence[Comparison]) -> list[Row]:
    return [
        {"center": center, "patient": subject, "scan": "", "file": "", "stage": f"{one.measurement}, {one.arm}"}
        | {"reason": reason, "n_measurements": 1}
        for one in comparisons
        for center, subject, reason in one.failures
    ]


def _label(name: str) -> str:
    """In words; the names of others stay as they are written."""
    words = VOCABULARY[name].label if name in VOCABULARY else name.replace("_", " ")
    return words[:1].upper() + words[1:] if name in VOCABULARY else words


def _symbol(name: str) -> str:
    return VOCABULARY[name].symbol if name in VOCABULARY else name.replace("_", " ")
