"""What does a run say about one patient? Values, differences, curves, checks and failures as one plain record.

The page and the DICOM objects are made from this record alone, and it is written beside them, so that every number on a page
can be found in it unrounded.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import pandas as pd

from cohort.naming import parse_scanner
from cohort.phenotypes import VOCABULARY
from cohort.records import CardioValError, ConfigProblem
from flows.caching import read_manifest
from flows.descriptions import FULLY_SAMPLED, TRUTH, arm_names
from flows.patient_ranges import OF_IMAGES, ranges_of
from flows.segment_values import SEGMENT_FILE

Patient = tuple[str, str]  # center, patient
SCHEMA: Final = 1
PHASES: Final = ("ed_frame", "es_frame", "rv_ed_frame", "rv_es_frame")
CURVES: Final = ("lv_curve_ml", "rv_curve_ml", "circumferential_strain_percent", "radial_strain_percent")
KEPT_OF_PROVENANCE: Final = (
    "cardioval_version",
    "commit",
    "started_utc",
    "command",
    "config_sha256",
    "inputs_sha256",
    "weights",
)


class Run:
    """A finished run, read once for all patients."""

    def __init__(self, folder: Path, results: Mapping[str, Any], table: pd.DataFrame) -> None:
        self.folder, self.results = folder, results
        table = table.assign(arm=arm_names(table))
        self.rows = by_patient(table)
        segments = folder / SEGMENT_FILE
        self.segments = by_patient(pd.read_parquet(segments)) if segments.is_file() else {}
        self.folders = scan_folders(folder)
        failed = {(str(f["center"]), str(f["patient"])) for f in results.get("failures") or []}
        #: every patient of the table, and those all of whose scans failed
        self.patients: list[Patient] = sorted({*self.rows, *(key for key in failed if all(key))})


def by_patient(table: pd.DataFrame) -> dict[Patient, pd.DataFrame]:
    """The rows of each (center, patient)."""
    named = table.assign(center=table["center"].astype(str), patient=table["patient"].astype(str))
    return {(str(key[0]), str(key[1])): part for key, part in named.groupby(["center", "patient"], sort=False)}


def scan_folders(run: Path) -> dict[Patient, list[Path]]:
    """Folders of the scans of each patient; none where a run has no scans (a table that was only analysed)."""
    found: dict[Patient, list[Path]] = {}
    for path in sorted((run / "scans").rglob("reconstruction.json")):
        try:
            scan = read_manifest(path)["scan"]
            found.setdefault((str(scan["center"]), str(scan["patient"])), []).append(path.parent)
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue  # a scan that stopped half way; what it lacks is among the failures
    return found


def patient_record(run: Run, patient: Patient) -> dict[str, Any]:
    """The record of a patient.

    Raises
    ------
    ConfigProblem
        The run has no such patient.
    """
    if patient not in run.patients:
        some = ", ".join("/".join(key) for key in run.patients[:5])
        raise ConfigProblem(
            f"the run has no patient {'/'.join(patient)}; it has {some}{' ...' * (len(run.patients) > 5)}"
        )
    rows = run.rows.get(patient)
    scans: list[dict[str, Any]] = []
    if rows is not None:
        folders = {folder.name: folder for folder in run.folders.get(patient, [])}
        scans = [scan_record(run, part, folders.get(str(scan))) for scan, part in rows.groupby("scan", sort=True)]
    study = run.results.get("study") or {}
    arms = arms_of(run.results, rows)
    sex = stated(rows, "sex")
    record = {
        "schema": SCHEMA,
        "center": patient[0],
        "patient": patient[1],
        "disease": stated(rows, "disease"),
        "sex": sex,
        "study": {
            "name": study.get("name") or "",
            "title": study.get("title") or study.get("name") or "",
            "created_utc": study.get("created_utc") or "",
            "simulated": list(study.get("simulated") or []),
            "run": run.folder.resolve().name,
        },
        "plan": {k: v for k, v in (run.results.get("plan") or {}).items() if isinstance(v, str | float | int)},
        "provenance": {k: v for k, v in (run.results.get("provenance") or {}).items() if k in KEPT_OF_PROVENANCE},
        "arms": arms,
        "scans": scans,
        "summary": [summary(arm["arm"], scans) for arm in arms],
        "ranges": ranges_of(scans, sex=sex),
        "failures": failures_of(run.results, patient),
    }
    made: dict[str, Any] = json.loads(json.dumps(without_nan(record)))
    return made


def stated(rows: pd.DataFrame | None, column: str) -> str:
    """A word that the table may have of a patient, empty where it has none."""
    if rows is None or column not in rows.columns:
        return ""
    words = rows[column].dropna().astype(str)
    return "" if words.empty else words.iloc[0]


def arms_of(results: Mapping[str, Any], rows: pd.DataFrame | None) -> list[dict[str, Any]]:
    """The run's arms that this patient has, in the run's order."""
    here = set() if rows is None else set(rows["arm"])
    keys = ("arm", "method", "pattern", "acceleration", "label")
    return [{key: arm.get(key) for key in keys} for arm in results.get("arms") or [] if arm["arm"] in here]


def scan_record(run: Run, rows: pd.DataFrame, folder: Path | None) -> dict[str, Any]:
    """Values of one scan with what its manifests say of it."""
    first = rows.iloc[0]
    made: dict[str, Any] = {
        "scan": str(first["scan"]),
        "modality": str(first["modality"]),
        "vendor": str(first["vendor"] or ""),
        "field_t": number(first["field_t"]),
        "scanner": "",
        "folder": None if folder is None else folder.relative_to(run.folder).as_posix(),
        "values": values_of(rows, run.results),
        "segments": segments_of(run.segments.get((str(first["center"]), str(first["patient"]))), str(first["scan"])),
    }
    manifests = {name: manifest(folder, name) for name in ("reconstruction", "segmentation", "measurements")}
    made |= described(manifests["reconstruction"])
    made["scanner"] = scanner_of(folder)
    made["arms"] = {
        str(arm): arm_record(str(arm), part, manifests)
        for arm, part in rows[rows["arm"] != TRUTH].groupby("arm", sort=False)
    }
    return made


def values_of(rows: pd.DataFrame, results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each phenotype: each arm's value, its difference from fully sampled and whether that is inside the margin."""
    margins = (results.get("plan") or {}).get("margins") or {}
    order = {name: place for place, name in enumerate(VOCABULARY)}
    found = []
    for phenotype, part in rows.groupby("phenotype", sort=False):
        by_arm: dict[str, Mapping[Any, Any]] = {str(row["arm"]): row for row in part.to_dict("records")}
        reference = value_of(by_arm.get(FULLY_SAMPLED))
        margin = margins.get(phenotype)
        cells = {arm: cell(row, reference, margin) for arm, row in by_arm.items() if arm != TRUTH}
        known = VOCABULARY.get(str(phenotype))
        found.append(
            {
                "phenotype": str(phenotype),
                "unit": str(part["unit"].iloc[0] or ""),
                "group": known.group if known else "",
                "margin": margin,
                "truth": value_of(by_arm.get(TRUTH)),
                "cells": cells,
            }
        )
    return sorted(found, key=lambda row: order.get(row["phenotype"], len(order)))


def cell(row: Mapping[str, Any], reference: float | None, margin: Mapping[str, Any] | None) -> dict[str, Any]:
    """One value; ``inside`` is None where there is no margin, no reference or no value."""
    value = value_of(row)
    compared = row["arm"] != FULLY_SAMPLED and None not in (value, reference)
    difference = value - reference if compared else None  # type: ignore[operator]
    limit = (margin or {}).get("limits")
    inside = None if difference is None or limit is None else abs(difference) < limit
    said = {"status": str(row["status"]), "reason": str(row["reason"] or "")}
    return {"value": value, **said, "difference": difference, "inside": inside}


def value_of(row: Mapping[str, Any] | None) -> float | None:
    """The number of a row, None where it failed."""
    return None if row is None or row["status"] == "failed" else number(row["value"])


def number(value: Any) -> float | None:
    """A finite float, or None."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None


def manifest(folder: Path | None, stage: str) -> dict[str, Any]:
    """A stage's manifest, empty where there is none."""
    if folder is None:
        return {}
    try:
        return read_manifest(folder / f"{stage}.json")
    except (OSError, ValueError):
        return {}


def described(reconstruction: Mapping[str, Any]) -> dict[str, Any]:
    """Geometry, time and size of the patient, as far as the header had them."""
    info, geometry = reconstruction.get("info") or {}, reconstruction.get("geometry") or {}
    size = {"height_cm": number(info.get("Height")), "weight_kg": number(info.get("Weight"))}
    return {
        "geometry": {k: geometry.get(k) for k in ("spacing_mm", "slice_thickness_mm", "confidence", "note")},
        "frame_time_s": number(geometry.get("frame_time_s")),
        "heart_rate_bpm": number(info.get("HeartRate")),
        "shape": reconstruction.get("shape"),
        **size,
    }


def scanner_of(folder: Path | None) -> str:
    """The model, from the folder of the scanner where the cohort has one."""
    for part in () if folder is None else folder.parts:
        try:
            return parse_scanner(part).model
        except CardioValError:
            continue
    return ""


def arm_record(arm: str, rows: pd.DataFrame, manifests: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """How one arm was made and measured: acceleration, reliability, phases, curves, checks."""
    made = (manifests["reconstruction"].get("arms") or {}).get(arm) or {}
    labels = (manifests["segmentation"].get("arms") or {}).get(arm) or {}
    facts = (manifests["measurements"].get("facts") or {}).get(arm) or {}
    trust = made.get("reliability") or {}
    return {
        "effective_acceleration": number(rows["effective_acceleration"].iloc[0]),
        "status": made.get("status") or "",
        "reason": made.get("reason") or labels.get("reason") or "",
        "notes": [*(made.get("notes") or []), *(facts.get("notes") or []), *(facts.get("wall_notes") or [])],
        "reliability": {k: trust.get(k) for k in ("status", "reason", "expected_nmse", "flagged", "reasons")},
        "repaired": labels.get("repaired") or "",
        "phases": {name: facts.get(name) for name in PHASES},
        "curves": {name: facts.get(name) for name in CURVES},
        "cycle_covered": facts.get("cycle_covered"),
        "checks": list(facts.get("quality_control") or []),
        "conventions": dict(facts.get("conventions") or {}),
        "body_surface_m2": facts.get("body_surface_m2"),
        "body_surface_formula": facts.get("body_surface_formula"),
        "map": dict(facts.get("map") or {}),
    }


def segments_of(table: pd.DataFrame | None, scan: str) -> list[dict[str, Any]]:
    """For each quantity and arm of a patient's scan the values by AHA segment, and their differences from fully sampled."""
    mine = None if table is None else table[table["scan"] == scan]
    if mine is None or mine.empty:
        return []
    found = []
    mine = mine.assign(arm=arm_names(mine))
    for quantity, part in mine.groupby("quantity", sort=False):
        values = {
            str(arm): {int(s): float(v) for s, v in zip(one["segment"], one["value"], strict=True)}
            for arm, one in part.groupby("arm", sort=False)
        }
        reference = values.get(FULLY_SAMPLED, {})
        differences = {
            arm: {s: v - reference[s] for s, v in one.items() if s in reference}
            for arm, one in values.items()
            if arm != FULLY_SAMPLED
        }
        unit = str(part["unit"].iloc[0])
        found.append({"quantity": str(quantity), "unit": unit, "values": values, "differences": differences})
    return found


def summary(arm: str, scans: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """How many values of an arm were measured, failed, carry a warning, were judged and lie outside the margin."""
    scans = list(scans)
    cells = [
        row["cells"][arm]
        for scan in scans
        for row in scan["values"]
        if row["group"] not in OF_IMAGES and arm in row["cells"]
    ]
    trust = [scan["arms"][arm]["reliability"] for scan in scans if arm in scan["arms"]]
    return {
        "arm": arm,
        "planned": len(cells),
        "measured": sum(c["value"] is not None for c in cells),
        "warned": sum(c["status"] == "warn" for c in cells),
        "judged": sum(c["inside"] is not None for c in cells),
        "outside": sum(c["inside"] is False for c in cells),
        "scored": sum(t["status"] == "ok" for t in trust),
        "flagged": sum(bool(t["flagged"]) for t in trust),
    }


def failures_of(results: Mapping[str, Any], patient: Patient) -> list[dict[str, Any]]:
    """The run's failures of this patient."""
    return [
        {key: str(failure.get(key) or "") for key in ("scan", "stage", "reason")}
        | {"n_measurements": failure.get("n_measurements")}
        for failure in results.get("failures") or []
        if (str(failure.get("center")), str(failure.get("patient"))) == patient
    ]


def without_nan(value: Any) -> Any:
    """The same data as JSON wants it: text keys, None for what is not finite."""
    if isinstance(value, Mapping):
        return {str(key): without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
