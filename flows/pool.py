"""What do the exports of several centers say together, without any patient leaving a center?"""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import scipy.stats as scipy_stats

from cohort.atomic import write_text
from cohort.records import ConfigProblem, MissingFile, UnreadableFile
from flows.agree import decision_of
from flows.analysis import plain
from flows.analysis_options import Statistics
from flows.analysis_plan import AnalysisPlan, Rung, plan_hash
from flows.center_consistency import center_consistency
from flows.comparison import limit_ends
from flows.decision import contradictions, decide_ladders, decide_together
from flows.descriptive import as_dict
from flows.export import EXPORT_SCHEMA, FEWER_THAN, KIND
from flows.margins import Margin, Margins
from flows.provenance import command, commit, version
from flows.verdicts import decide, sensitivity
from reports.pooled import write_pooled_report
from stats.centers import Center, combined, from_summaries
from stats.summaries import limits_from_summary, nested_from_summaries, stand_in, stand_ins
from stats.tipping_point import tipping_point

Row = dict[str, Any]
FEWEST_CENTERS = 3
FEWEST_FOR_LIMITS = 3
POOLED_SCHEMA = 1
FEW = "over fewer than three centers nothing can be claimed for another one"


def pool(paths: Sequence[Path], out: Path, *, title: str = "") -> dict[str, Any]:
    """Pool exports and write ``pooled.json`` and ``report/`` into a folder.

    Raises
    ------
    MissingFile, UnreadableFile
        If a file is not there, is no export, or was changed after it was written.
    ConfigProblem
        If exports were made under different plans, weights or schemas, or hold the same center twice.
    """
    exports = [read_export(Path(path)) for path in paths]
    check_exports(exports, [Path(path).name for path in paths])
    results = pooled_results(exports)
    results["study"] |= {
        "name": " + ".join(dict.fromkeys(export["study"] for export in exports)),
        "title": title or f"Pooled over {len(results['cohort']['centers'])} centers",
        "created_utc": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    results["exports"] = [
        {"file": Path(path).name, "sha256": export["sha256"], "created_utc": export["created_utc"]}
        | {"centers": export["centers"], "minimum": export["minimum"], "versions": export["versions"]}
        for path, export in zip(paths, exports, strict=True)
    ]
    results["provenance"] = {
        "cardioval_version": version("cardioval"),
        "commit": commit(),
        "command": command(),
        "weights": exports[0]["weights"],
    }
    write_text(Path(out) / "pooled.json", json.dumps(results, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    write_pooled_report(Path(out), results)
    return results


def read_export(path: Path) -> dict[str, Any]:
    """One export, checked against its own hash and that of its plan.

    Raises
    ------
    MissingFile, UnreadableFile
        As :func:`pool`.
    """
    if not path.is_file():
        raise MissingFile(path, "no such export")
    try:
        export: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UnreadableFile(path, f"not JSON: {error}") from error
    if not isinstance(export, dict) or export.get("kind") != KIND:
        raise UnreadableFile(path, "expected an export of `cardioval export`")
    if export.get("schema") != EXPORT_SCHEMA:
        raise UnreadableFile(path, f"expected schema {EXPORT_SCHEMA}, got {export.get('schema')}; export the run again")
    if plan_hash(export) != export.get("sha256") or plan_hash(export["plan"]) != export["plan"].get("sha256"):
        raise UnreadableFile(path, "was changed after it was exported: its content does not have the hash it states")
    return export


def check_exports(exports: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
    """Refuse what must not be pooled.

    Raises
    ------
    ConfigProblem
        As :func:`pool`.
    """
    if len(exports) < 2:
        raise ConfigProblem("expected the exports of at least two centers")
    first = exports[0]
    for export, name in zip(exports[1:], names[1:], strict=True):
        if export["plan"]["sha256"] != first["plan"]["sha256"]:
            keys = {*export["plan"], *first["plan"]} - {"sha256", "frozen_utc", "file", "frozen_before_results"}
            differing = sorted(key for key in keys if export["plan"].get(key) != first["plan"].get(key))
            raise ConfigProblem(f"{names[0]} and {name} follow different plans ({', '.join(differing)} differ)")
        mine, theirs = (sorted(w["sha256"] for w in one["weights"]) for one in (first, export))
        if mine != theirs:
            raise ConfigProblem(f"{names[0]} and {name} were made with different weights of the networks")
        for key, words in (("of", "kinds of study"), ("results_schema", "schemas of results")):
            if export[key] != first[key]:
                raise ConfigProblem(f"{names[0]} and {name} are of different {words}: {first[key]} and {export[key]}")
        units = [{k: v.get("unit") for k, v in one["measurements"].items()} for one in (first, export)]
        clash = [k for k in units[0] if k in units[1] and units[0][k] != units[1][k]]
        if clash:
            raise ConfigProblem(f"{names[0]} and {name} state different units of {', '.join(clash)}")
    _check_no_twins(exports)
    places: dict[str, list[str]] = {}
    for export, name in zip(exports, names, strict=True):
        for center in sorted({cell["center"] for cell in export["cells"]}):
            places.setdefault(center, []).append(name)
    twice = [f"{center} in {' and '.join(found)}" for center, found in places.items() if len(found) > 1]
    if twice:
        raise ConfigProblem(f"a center is there twice, so its patients would count twice: {'; '.join(twice)}")


def _check_no_twins(exports: Sequence[Mapping[str, Any]]) -> None:
    """Different patients do not have one mean and one variance to the last digit; the same ones under two names do."""
    seen: dict[tuple[Any, ...], str] = {}
    for cell in (cell for export in exports for cell in export["cells"] if not cell["suppressed"] and cell["variance"]):
        key = tuple(cell[name] for name in ("phenotype", "arm", "against", "n", "mean", "variance"))
        other = seen.setdefault(key, cell["center"])
        if other != cell["center"]:
            raise ConfigProblem(
                f"{other} and {cell['center']} have the same mean and variance of {cell['phenotype']} under {cell['arm']} "
                "to the last digit: the same patients under two names would count twice; leave one of them out"
            )


def pooled_results(exports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The statements of pooled.json, laid out as those of results.json; exports must have passed :func:`check_exports`."""
    first = exports[0]
    plan = plan_of_facts(first["plan"])
    cells = [cell for export in exports for cell in export["cells"]]
    kept = [cell for cell in cells if not cell["suppressed"]]
    arms = list({arm["arm"]: arm for export in exports for arm in export["arms"]}.values())
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for cell in kept:
        groups.setdefault((cell["phenotype"], cell["arm"], cell["against"]), []).append(cell)
    hidden = _withheld_above(cells, arms)
    agreement = [pooled_row(mine, plan, withheld=hidden.get(key)) for key, mine in groups.items()]
    late = any(export["plan"].get("frozen_before_results") is False for export in exports)
    decision = _decisions(agreement, arms, plan, first["of"], late=late)
    together = decide_together(decision, plan) if first["of"] != "agreement" else []
    centers = sorted({cell["center"] for cell in cells})
    people = {center: max((c["attempted"] for c in kept if c["center"] == center), default=None) for center in centers}
    results = {
        "schema": POOLED_SCHEMA,
        "kind": "pooled",
        "of": first["of"],
        "study": {
            "notes": _notes(exports, agreement, cells),
            "simulated": sorted({kind for export in exports for kind in export["simulated"]}),
            "verdict_sentences": [entry["sentence"] for entry in (*together, *decision)],
        },
        "plan": first["plan"],
        "arms": arms,
        "measurements": {k: v for export in exports for k, v in export["measurements"].items()},
        "cohort": {"centers": [{"center": center, "n_patients": people[center]} for center in centers]},
        "agreement": agreement,
        "centers": kept,
        "withheld": [cell for cell in cells if cell["suppressed"]],
        "decision": decision,
        "decision_together": together,
    }
    made: dict[str, Any] = plain(results)
    return made


def _withheld_above(cells: Sequence[Row], arms: Sequence[Row]) -> dict[tuple[str, str, str], str]:
    """Comparisons in which a center has too few patients that has enough in another arm of the same method.

    Its patients have no value there, and how many is not exported: what the other centers show would hide its failures.
    """
    method = {arm["arm"]: arm["method"] for arm in arms}
    gave = {(c["phenotype"], method.get(c["arm"]), c["center"]) for c in cells if not c["suppressed"]}
    found: dict[tuple[str, str, str], list[str]] = {}
    for cell in cells:
        key = (cell["phenotype"], method.get(cell["arm"]), cell["center"])
        if cell["suppressed"] and str(cell["suppressed"]).startswith(FEWER_THAN) and key in gave:
            found.setdefault((cell["phenotype"], cell["arm"], cell["against"]), []).append(cell["center"])
    words = "too few patients have a value to be exported from {}, which gave results in other arms"
    return {key: words.format(" and ".join(names)) for key, names in found.items()}


def pooled_row(cells: Sequence[Row], plan: AnalysisPlan, *, leave_out: bool = True, withheld: str | None = None) -> Row:
    """One comparison over its centers: bias by random effects, limits for a new patient of a new center, verdict.

    The bias is the random-effects mean over centers (REML, Knapp and Hartung, t with centers - 1), its test the
    ``1 - 2 alpha`` interval of it; the limits hold the variance between and within centers. Beside them stands what all
    patients as one sample would say, which summaries give exactly. With fewer than three centers the latter is all there
    is, and no verdict.
    """
    options, head = plan.options, cells[0]
    margin = plan.margins.by_phenotype.get(head["phenotype"])
    groups = [Center(c["center"], c["n"], c["mean"], math.sqrt(c["variance"])) for c in cells]
    counts: Counter[str] = Counter()
    for cell in cells:
        counts.update({key: cell[key] for key in ("n", "attempted", "failed")})
    row: Row = {key: head[key] for key in ("phenotype", "arm", "against")} | dict(counts)
    row |= {"n_centers": len(groups), "pairs": [], "claimed": False, "objection": None, "withheld": withheld}
    whole = combined(groups)
    one_sample = limits_from_summary(whole, confidence=options.confidence)
    row["as_one_sample"] = {"bias": as_dict(one_sample.bias), "sd": whole.sd} | limit_ends(one_sample)
    row |= {"bias": None, "sd": None, "tost": None, "limits_within_margin": None, "center_level": None}
    row |= limit_ends(None) | {"nested": None, "i2_interval": None, "heterogeneity_p": None, "leave_one_out": []}
    values, names = stand_ins(groups)
    row["center_consistency"] = center_consistency(values, names, list(cells), margin, options)
    row["sensitivity"] = _sensitivity(cells, row, whole, margin, plan)
    problem = f"{len(groups)} {'center' if len(groups) == 1 else 'centers'}; {FEW}"
    if len(groups) >= FEWEST_CENTERS:
        try:
            _over_centers(row, groups, margin, plan)
            problem = ""
        except ValueError as error:  # no spread within any center
            problem = f"no verdict over centers: {error}"
    if problem:
        row |= {"verdict": "too few", "reason": problem, "bias": row["as_one_sample"]["bias"]}
        return row
    row["verdict"], row["reason"] = decide(row, margin, minimum_patients=options.minimum_patients)
    _, row["objection"] = contradictions(row, margin, options)
    if leave_out and len(groups) > FEWEST_CENTERS:
        row["leave_one_out"] = [_without(cells, cell["center"], plan) for cell in cells]
    return row


def _over_centers(row: Row, groups: Sequence[Center], margin: Margin | None, plan: AnalysisPlan) -> None:
    confidence, alpha = plan.options.confidence, plan.options.alpha
    effects = from_summaries(groups, confidence=confidence).effects
    limits = nested_from_summaries(groups, confidence=confidence)
    prediction = as_dict(effects.prediction) if effects.prediction else None
    row |= {"bias": as_dict(effects.estimate), "sd": limits.sd.estimate}
    row |= {name: as_dict(getattr(limits, name)) for name in ("lower_limit", "upper_limit")}
    row["center_level"] = as_dict(effects.estimate) | {
        "n_centers": effects.n_centers,
        "method": effects.estimate.method,
        "tau": math.sqrt(effects.tau2.estimate),
        "i2_percent": effects.i2_percent,
        "prediction": prediction,
        "statement": effects.statement,
    }
    row |= {"i2_interval": as_dict(effects.i2_interval), "heterogeneity_p": effects.q_p}
    parts = ("bias", "sd", "lower_limit", "upper_limit", "center_variance", "subject_variance", "icc_center")
    found = {name: as_dict(value) if (value := getattr(limits, name)) else None for name in parts}
    row["nested"] = found | {"n_centers": limits.n_centers, "n_subjects": limits.n_subjects}
    if margin is None:
        return
    mean = from_summaries(groups, confidence=1 - 2 * alpha).effects
    freedom = effects.n_centers - 1
    above, below = mean.estimate.estimate - margin.lower, mean.estimate.estimate - margin.upper
    p_lower = _tail(above, mean.standard_error, freedom)
    p_upper = _tail(-below, mean.standard_error, freedom)
    inside = margin.lower < mean.estimate.low and mean.estimate.high < margin.upper
    row["tost"] = {
        "p_lower": p_lower,
        "p_upper": p_upper,
        "p": max(p_lower, p_upper),
        "low": mean.estimate.low,
        "high": mean.estimate.high,
        "alpha": alpha,
        "equivalent": inside,
        "margin": margin.bias,
        "margin_lower": margin.lower,
        "margin_upper": margin.upper,
    }
    row["limits_within_margin"] = -margin.limits < limits.lower_limit.low and limits.upper_limit.high < margin.limits


def _tail(distance: float, error: float, freedom: int) -> float:
    if error == 0.0:
        return 0.0 if distance > 0 else 1.0
    return float(scipy_stats.t.sf(distance / error, freedom))


def _sensitivity(
    cells: Sequence[Row], row: Row, whole: Center, margin: Margin | None, plan: AnalysisPlan
) -> Row | None:
    """Share inside the margin, failures as outside; the tipping point is that of all patients as one sample."""
    if margin is None or any(cell["inside"] is None for cell in cells):
        return None
    options, tipping = plan.options, None
    if whole.n >= max(FEWEST_FOR_LIMITS, options.minimum_patients):
        tipping = tipping_point(
            stand_in(whole),
            lower=margin.lower,
            upper=margin.upper,
            limit=margin.limits,
            alpha=options.alpha,
            confidence=options.confidence,
        )
    inside = sum(cell["inside"] for cell in cells)
    found = sensitivity(inside, row["attempted"], row["failed"], margin, confidence=options.confidence)
    return found | {"tipping_point": tipping}


def _without(cells: Sequence[Row], center: str, plan: AnalysisPlan) -> Row:
    """What the other centers say."""
    row = pooled_row([cell for cell in cells if cell["center"] != center], plan, leave_out=False)
    bias = row["bias"] or {}
    kept = {key: row[key] for key in ("lower_limit", "upper_limit", "verdict")}
    return {"center": center} | {key: bias.get(key) for key in ("estimate", "low", "high")} | kept


def _decisions(
    agreement: Sequence[Row], arms: Sequence[Row], plan: AnalysisPlan, kind: str, *, late: bool
) -> list[Row]:
    if kind == "agreement":
        for row in agreement:
            row["claimed"] = row["verdict"] == "shown" and row["objection"] is None
        return [decision_of(row, plan) for row in agreement]
    decisions = decide_ladders(agreement, arms, plan, planned_after=late, scope=False)
    by_arm = {(row["phenotype"], row["arm"]): row for row in agreement}
    for entry in decisions:
        stop = by_arm.get((entry["phenotype"], entry["first_not_shown"] or ""))
        if stop and stop["verdict"] == "too few" and stop["n"] >= plan.options.minimum_patients:
            start, _, _ = entry["sentence"].partition(": ")
            label = next((lv["label"] for lv in entry["levels"] if entry["claimed_up_to"] in lv["arms"]), "")
            before = f"valid up to {label}; " if label else ""
            entry["sentence"] = f"{start}: {before}{stop['reason']}."
    return decisions


def _notes(exports: Sequence[Mapping[str, Any]], agreement: Sequence[Row], cells: Sequence[Row]) -> list[str]:
    notes = [
        "Pooled from numbers, means and variances of the centers; no patient's value was seen. Bias: random effects over "
        "centers. Limits: for a new patient of a new center.",
        "Failures are counted by the centers; the number of them that the claim would bear is that of all patients as one "
        "sample.",
    ]
    if any(row["n_centers"] < FEWEST_CENTERS for row in agreement):
        notes.append(f"Some measurements have too few centers: {FEW}.")
    withheld = sum(bool(cell["suppressed"]) for cell in cells)
    if withheld:
        notes.append(f"{withheld} of {len(cells)} results of a center were withheld by it and take no part.")
    for key, words in (("cardioval", "versions of CardioVal"), ("commit", "source commits")):
        found = {str(export["versions"].get(key)) for export in exports}
        if len(found) > 1:
            notes.append(f"Exports come from different {words}: {', '.join(sorted(v[:12] for v in found))}.")
    if len({export["settings_sha256"] for export in exports}) > 1:
        notes.append(
            "Configurations differ between the exports, at least in which scans are selected; plan and weights are the same."
        )
    return notes


def plan_of_facts(facts: Mapping[str, Any]) -> AnalysisPlan:
    """The plan that an export states, as the decision takes it; rules of diagnosis play no part here."""
    centers = facts.get("centers") or {}
    margins = {
        name: Margin(
            bias=m["bias"],
            limits=m["limits"],
            unit=m["unit"],
            evidence=m.get("evidence", ""),
            bias_lower=m.get("bias_lower"),
            bias_upper=m.get("bias_upper"),
        )
        for name, m in facts["margins"].items()
    }
    options = Statistics(
        confidence=facts["confidence"],
        alpha=facts["alpha"],
        primary=tuple(facts["primary"]) if facts.get("primary_stated") else (),
        minimum_patients=facts["minimum_patients"],
        minimum_in_center=centers.get("minimum_in_center", 3),
        minimum_centers=centers.get("minimum_centers", 5),
        center_rule=centers.get("rule", "interval"),
    )
    return AnalysisPlan(
        margins=Margins(margins, facts.get("margins_origin") or "", facts.get("margins_sha256")),
        options=options,
        ladder=tuple(Rung(r["pattern"], float(r["acceleration"])) for r in facts.get("ladder") or []),
        methods=tuple(facts.get("methods") or ()),
    )
