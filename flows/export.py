"""What may a center give away, so that others can pool it without seeing a patient?"""

import json
import math
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cohort.atomic import write_text
from cohort.records import ConfigProblem, MissingFile, UnreadableFile
from flows.analysis import SCHEMA, plain
from flows.analysis_plan import plan_hash
from flows.comparison import FEWEST_FOR_LIMITS, bias_of, limit_ends
from flows.descriptions import FULLY_SAMPLED, TRUTH, arm_names
from flows.doubles import doubles, without_doubles
from stats.bland_altman import bland_altman

Row = dict[str, Any]
FEWER_THAN = "fewer than "
KIND, EXPORT_SCHEMA = "cardioval center export", 1
MINIMUM, LEAST_MINIMUM = 10, 5
# a difference of the first is that of the second minus that of the third
SUMS = (("lv_sv_ml", "lv_edv_ml", "lv_esv_ml"), ("rv_sv_ml", "rv_edv_ml", "rv_esv_ml"))
VERSIONS = ("numpy", "scipy", "torch", "nnunetv2")


def export_run(run_dir: Path, *, minimum: int = MINIMUM, now: datetime | None = None) -> dict[str, Any]:
    """Summaries of a finished run by phenotype, arm and center; nothing of single patients.

    A cell with fewer than `minimum` patients is withheld with its reason. So is whatever would give a withheld cell away:
    totals over centers where one of them is withheld, and stroke volumes that are not of the same patients as the volumes
    they are the difference of. Comparisons with the truth are not exported: with those against the fully sampled images
    they add up to single patients where one lacks a value.

    Parameters
    ----------
    run_dir
        Folder with results.json of schema 2, of `cardioval validate` or `cardioval agree`.
    minimum
        Fewest patients of a cell, at least 5.

    Raises
    ------
    MissingFile, UnreadableFile
        If there is no results.json, it is of another schema, or its plan was changed.
    ConfigProblem
        If the minimum is below 5, or no cell has as many patients.
    """
    if minimum < LEAST_MINIMUM:
        raise ConfigProblem(
            f"--minimum must be at least {LEAST_MINIMUM}, got {minimum}: fewer patients can be told apart"
        )
    results = read_results(run_dir)
    cells, totals = _cells(results, _attempted(run_dir, results), minimum)
    if all(cell["suppressed"] for cell in cells):
        raise ConfigProblem(f"{run_dir}: no measurement has {minimum} patients in a center, so nothing may be exported")
    provenance = results["provenance"]
    content = {
        "kind": KIND,
        "schema": EXPORT_SCHEMA,
        "results_schema": results["schema"],
        "of": results.get("kind", "validation"),
        "study": results["study"]["name"],
        "simulated": list(results["study"].get("simulated") or []),
        "created_utc": (now or datetime.now(UTC)).isoformat(timespec="seconds"),
        "minimum": minimum,
        "plan": results["plan"],
        "weights": [{key: w[key] for key in ("name", "sha256")} for w in provenance.get("weights") or []],
        "versions": {"cardioval": provenance.get("cardioval_version"), "commit": provenance.get("commit")}
        | {name: v for name, v in (provenance.get("packages") or {}).items() if name in VERSIONS},
        "settings_sha256": provenance.get("config_sha256"),
        "arms": [
            {key: arm.get(key) for key in ("arm", "method", "pattern", "acceleration", "label", "reference")}
            for arm in results["arms"]
        ],
        "measurements": results.get("measurements") or {},
        "centers": sorted({cell["center"] for cell in cells if not cell["suppressed"]}),
        "cells": cells,
        "totals": totals,
    }
    content = plain(content)
    return content | {"sha256": plan_hash(content)}


def write_export(run_dir: Path, out: Path, *, minimum: int = MINIMUM) -> dict[str, Any]:
    """Write the export as JSON; returns its content."""
    content = export_run(run_dir, minimum=minimum)
    write_text(out, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return content


def read_results(run_dir: Path) -> dict[str, Any]:
    """results.json of a finished run, of the schema that says all that is needed, with the plan it had.

    Raises
    ------
    MissingFile, UnreadableFile
        As :func:`export_run`.
    """
    path = run_dir / "results.json"
    if not path.is_file():
        raise MissingFile(path, "no results; is this the folder of a finished run?")
    try:
        results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UnreadableFile(path, f"not JSON: {error}") from error
    if not isinstance(results, dict) or results.get("schema") != SCHEMA:
        found = results.get("schema") if isinstance(results, dict) else None
        raise UnreadableFile(
            path, f"expected schema {SCHEMA}, got {found}; `cardioval validate --resume` writes it anew"
        )
    if plan_hash(results["plan"]) != results["plan"].get("sha256"):
        raise UnreadableFile(path, "its plan does not have the hash it states: the file was changed")
    return results


def _attempted(run_dir: Path, results: Mapping[str, Any]) -> dict[tuple[str, str, str], int]:
    """Patients by phenotype, arm and center for whom the measurement was planned."""
    if results.get("kind") == "agreement":
        return {(row["phenotype"], row["arm"], row["center"]): row["attempted"] for row in results["centers"]}
    path = run_dir / "measurements.parquet"
    if not path.is_file():
        raise MissingFile(path, "the table of measurements, which says how many patients were attempted in each center")
    table = pd.read_parquet(path)
    table = table.assign(arm=arm_names(table), center=table["center"].astype(str), patient=table["patient"].astype(str))
    table = without_doubles(table, doubles(table))
    found = {}
    for phenotype, rows in table[table["arm"] != TRUTH].groupby("phenotype"):
        reference = rows.loc[rows["arm"] == FULLY_SAMPLED, ["center", "patient"]]
        for arm, mine in rows[rows["arm"] != FULLY_SAMPLED].groupby("arm"):
            people = pd.concat([reference, mine[["center", "patient"]]]).drop_duplicates()
            for center, count in people.groupby("center").size().items():
                found[str(phenotype), str(arm), str(center)] = int(count)
    return found


def _cells(
    results: Mapping[str, Any], attempted: Mapping[tuple[str, str, str], int], minimum: int
) -> tuple[list[Row], list[Row]]:
    confidence, margins = results["plan"]["confidence"], results["plan"]["margins"]
    cells: list[Row] = []
    people: dict[tuple[str, str, str], frozenset[str]] = {}
    for row in (r for r in results["agreement"] if r["against"] != TRUTH):
        pairs: dict[str, list[Row]] = {}
        for pair in row["pairs"]:
            pairs.setdefault(pair["center"], []).append(pair)
        centers = {c for p, a, c in attempted if (p, a) == (row["phenotype"], row["arm"])} | set(pairs)
        for center in sorted(centers):
            key = (row["phenotype"], row["arm"], center)
            head = {"phenotype": row["phenotype"], "arm": row["arm"], "against": row["against"], "center": center}
            mine = pairs.get(center, [])
            people[key] = frozenset(pair["patient"] for pair in mine)
            if row.get("replicates"):
                cells.append(head | {"suppressed": "limits from replicates need more than number, mean and variance"})
            elif len(mine) < minimum:
                cells.append(head | {"suppressed": f"{FEWER_THAN}{minimum} patients"})
            else:
                limit = (margins.get(row["phenotype"]) or {}).get("limits")
                cells.append(
                    head | {"suppressed": None} | _summary(mine, attempted.get(key, len(mine)), limit, confidence)
                )
    _withhold_sums(cells, people)
    return cells, _totals(cells)


def _summary(pairs: list[Row], attempted: int, limit: float | None, confidence: float) -> Row:
    reference, test = (np.array([pair[key] for pair in pairs], dtype=np.float64) for key in ("reference", "test"))
    difference = test - reference
    n = difference.size
    limits = bland_altman(reference, test, confidence=confidence) if n >= FEWEST_FOR_LIMITS else None
    summary: Row = {"n": n, "attempted": attempted, "failed": attempted - n}
    summary |= {"mean": float(difference.mean()), "variance": float(difference.var(ddof=1))}
    summary |= {"bias": bias_of(difference, confidence)} | limit_ends(limits)
    return summary | {"inside": None if limit is None else int(np.count_nonzero(np.abs(difference) < limit))}


def _withhold_sums(cells: list[Row], people: Mapping[tuple[str, str, str], frozenset[str]]) -> None:
    """With volumes of some patients and stroke volumes of one less, that one's difference could be computed."""
    by_key = {(cell["phenotype"], cell["arm"], cell["center"]): cell for cell in cells}
    for place, cell in enumerate(cells):
        for total, first, second in SUMS:
            if cell["phenotype"] != total or cell["suppressed"]:
                continue
            parts = [(name, cell["arm"], cell["center"]) for name in (first, second)]
            own = people[total, cell["arm"], cell["center"]]
            if any(by_key[key]["suppressed"] or people[key] != own for key in parts if key in by_key):
                head = {key: cell[key] for key in ("phenotype", "arm", "against", "center")}
                reason = f"not of the same patients as {first} and {second}, with which it would give single ones away"
                cells[place] = head | {"suppressed": reason}


def _totals(cells: list[Row]) -> list[Row]:
    """Counts over the centers of a run, where none of them is withheld."""
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for cell in cells:
        groups.setdefault((cell["phenotype"], cell["arm"], cell["against"]), []).append(cell)
    totals = []
    for (phenotype, arm, against), mine in groups.items():
        if len(mine) < 2 or any(cell["suppressed"] for cell in mine):
            continue
        counts: Counter[str] = Counter()
        for cell in mine:
            counts.update({key: cell[key] for key in ("n", "attempted", "failed")})
        n = counts["n"]
        mean = sum(cell["n"] * cell["mean"] for cell in mine) / n
        squares = sum((c["n"] - 1) * c["variance"] + c["n"] * (c["mean"] - mean) ** 2 for c in mine)
        head = {"phenotype": phenotype, "arm": arm, "against": against}
        totals.append(head | dict(counts) | {"mean": mean, "sd": math.sqrt(squares / (n - 1))})
    return totals
