"""What of a run's results goes into the history? Verdicts, summaries, counts and hashes as one plain record.

No patient, scan or file is named in it: reasons of failures, which may name them, become classes.
"""

import re
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flows.analysis import plain
from flows.history_models import RECORD_SCHEMA

SIDES = ("bias", "lower_limit", "upper_limit")
OTHER = "other"
# the first that is found in a reason names its class; the words are those of the project's errors
REASON_CLASSES = (
    ("missing file", r"no such|missing|not there|does not exist"),
    ("no mask", r"\bmask"),
    ("not fully sampled", r"fully sampled"),
    ("not finite", r"\bnan\b|infinit|not finite"),
    ("empty image", r"all[- ]zero|only zeros|\bempty\b"),
    ("wrong shape", r"shape|axes|frames or more|at least .* frames"),
    ("unreadable file", r"truncated|cannot be (read|opened)|unreadable|damaged|not an? .*file|hdf5|signature"),
    ("header", r"header|spacing|frame time|info\.csv"),
    ("not found in the labels", r"left ventricle|\bring\b|slice|myocardium|septum|cavity|label"),
    ("fit", r"\bfit|sample|times?\b"),
)


def record_of(results: Mapping[str, Any], *, run_id: str, folder: Path) -> dict[str, Any]:
    """A run's results as the history keeps them; only what JSON knows.

    Parameters
    ----------
    results
        Content of results.json, schema 1 or 2.
    run_id
        Of the run; recording it again replaces what was recorded.
    folder
        Where its report lies.
    """
    study, about = results["study"], results.get("provenance") or {}
    plan, cohort = results.get("plan") or {}, results.get("cohort") or {}
    created = str(study.get("created_utc") or datetime.now(UTC).isoformat(timespec="seconds"))
    run = {
        "run_id": run_id,
        "study": str(study["name"]),
        "started_utc": str(about.get("started_utc") or created),
        "created_utc": created,
        "folder": str(folder),
        "wall_s": about.get("wall_s"),
        "device": str(about.get("device") or ""),
        "commit_sha": str(about.get("commit") or ""),
        "version": str(about.get("cardioval_version") or ""),
        "versions": {"python": about.get("python"), "platform": about.get("platform")} | (about.get("packages") or {}),
        "weights": list(about.get("weights") or []),
        "plan_sha256": str(plan.get("sha256") or ""),
        "config_sha256": str(about.get("config_sha256") or ""),
        "inputs_sha256": str(about.get("inputs_sha256") or ""),
        "results_schema": int(results.get("schema") or 0),
        # all that have margins, where nobody named some
        "primary_phenotypes": list(plan.get("primary") or plan.get("margins") or []),
        "n_patients": cohort.get("n_patients"),
        "n_scans": cohort.get("n_scans"),
        "n_centers": len(cohort["centers"]) if "centers" in cohort else None,
        "n_failures": len(results.get("failures") or []),
    }
    margins = plan.get("margins") or {}
    keys = ("phenotype", "arm", "against")
    record = {
        "schema": RECORD_SCHEMA,
        "run": run,
        "comparisons": [
            {key: row[key] for key in keys} | _numbers(row) | _verdict(row, margins.get(row["phenotype"]))
            for row in results.get("agreement") or []
        ],
        "centers": [
            {key: row[key] for key in (*keys, "center")} | _numbers(row) for row in results.get("centers") or []
        ],
        "failures": _failures(results.get("failures") or []),
        "quality": [
            {
                "metric": row.get("metric") or row.get("phenotype"),
                "arm": row["arm"],
                "modality": row.get("modality") or "",
            }
            | {key: row.get(key) for key in ("n", "mean", "sd", "low", "high")}
            for row in (*(results.get("image_quality") or []), *(results.get("overlap") or []))
        ],
    }
    checked: dict[str, Any] = plain(record)
    return checked


def reason_class(reason: str) -> str:
    """What kind of failure a reason tells of, in words of a fixed list.

    A failure of the machine or of the code, which begins with the name of its exception, keeps that name.
    """
    foreign = re.match(r"(?:\S+: )?([A-Z]\w*(?:Error|Exception|Interrupt)): ", reason)
    if foreign:
        return foreign[1]
    for name, pattern in REASON_CLASSES:
        if re.search(pattern, reason, re.IGNORECASE):
            return name
    return OTHER


def _numbers(row: Mapping[str, Any]) -> dict[str, Any]:
    columns: dict[str, Any] = {"n": row["n"]}
    for side in SIDES:
        found = row.get(side) or {}
        columns |= {side: found.get("estimate"), f"{side}_low": found.get("low"), f"{side}_high": found.get("high")}
    return columns


def _verdict(row: Mapping[str, Any], margin: Mapping[str, Any] | None) -> dict[str, Any]:
    limit = margin or {}
    bias = limit.get("bias")
    return {
        "attempted": row["attempted"],
        "failed": row["failed"],
        "sd": row.get("sd"),
        "verdict": str(row["verdict"]),
        "claimed": row.get("claimed"),
        "reason": str(row.get("reason") or ""),
        # schema 1 had one number for both directions
        "margin_lower": limit.get("bias_lower", None if bias is None else -bias),
        "margin_upper": limit.get("bias_upper", bias),
        "margin_limits": limit.get("limits"),
    }


def _failures(rows: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    counts = Counter(
        (str(row.get("stage") or "").partition(",")[0], reason_class(str(row.get("reason") or ""))) for row in rows
    )
    return [{"stage": stage, "reason_class": kind, "n": n} for (stage, kind), n in sorted(counts.items())]
