"""What does a run leave behind? The table, the results, the failures, the record of the run and the report."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import tomli_w

from cohort.atomic import remove, replacing, write_text
from cohort.phenotypes import VOCABULARY
from flows.agreement_table import write_agreement
from flows.analysis import analyse, plain
from flows.analysis_plan import AnalysisPlan
from flows.caching import read_manifest
from flows.config import REFERENCE, ValidationConfig
from flows.model_cards import model_cards
from flows.patient_sex import sexes_of
from flows.quality_findings import quality_findings
from flows.resources import timing_rows
from flows.segment_differences import segment_differences
from flows.segment_values import segment_table, write_segments
from flows.tissue_values import normal_ranges, tissue_values
from reports.study import write_study_report
from reports.tables import inert

COLUMNS = [
    "study",
    "center",
    "vendor",
    "field_t",
    "disease",
    "patient",
    "scan",
    "modality",
    "method",
    "pattern",
    "acceleration",
    "effective_acceleration",
    "phenotype",
    "unit",
    "value",
    "status",
    "reason",
    "geometry",
]
TEXT = [c for c in COLUMNS if c not in ("field_t", "acceleration", "effective_acceleration", "value")]
RESULTS = "results.json"
REPORT = ("report/index.html", "report/report.pdf", "report/checklist.json")
GALLERY_PATIENTS = 6
FAILURE_COLUMNS = ("center", "patient", "scan", "file", "stage", "reason")


@dataclass(frozen=True)
class Failure:
    """A scan that could not be used: its columns, the file, where it failed and why, and what is missing because of
    it."""

    columns: Mapping[str, Any]
    file: str
    stage: str
    reason: str
    phenotypes: tuple[str, ...]

    @property
    def label(self) -> str:
        """Short name for progress and logs; pseudonyms only."""
        return " ".join(str(self.columns[key]) for key in ("center", "patient", "scan") if self.columns[key])

    def rows(self, config: ValidationConfig) -> list[dict[str, Any]]:
        """A failed row for every planned phenotype of every arm."""
        return [
            {
                **self.columns,
                **asdict(arm),
                "effective_acceleration": math.nan,
                "phenotype": name,
                "unit": VOCABULARY[name].unit,
                "value": math.nan,
                "status": "failed",
                "reason": f"{self.file}: {self.reason}",
            }
            for arm in (REFERENCE, *config.arms())
            for name in self.phenotypes
        ]

    def entry(self) -> dict[str, Any]:
        """The line in the report and in failures.csv."""
        scan = {key: str(self.columns[key] or "") for key in ("center", "patient", "scan")}
        return {**scan, "file": self.file, "stage": self.stage, "reason": self.reason}


def write_results(
    config: ValidationConfig,
    catalogue: pd.DataFrame,
    manifests: list[Path],
    failures: list[Failure],
    facts: Mapping[str, Any],
    *,
    plan: AnalysisPlan,
    frozen: Mapping[str, Any],
    shift: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Write the tables (measurements, segments, agreement, failures), run.toml, then results.json, then the report.

    Where there is a results.json, all files before it are there and belong to it: an older one is taken away first.
    `frozen` is the plan as it was written before the first scan was read. Returns the results.
    """
    measured = [read_manifest(path) for path in manifests]
    table = measurement_table(
        [row for m in measured for row in m["rows"]] + [r for f in failures for r in f.rows(config)]
    )
    results = analyse(table, plan=plan, frozen=frozen, sexes=sexes_of(catalogue, config.cohort))
    results["study"] |= {
        "name": config.name,
        "title": config.title or config.name,
        "created_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "simulated": simulated_kinds(manifests),
    }
    results["study"]["notes"] += [*geometry_notes(measured), conventions_note(config)]
    gone = [f.entry() for f in failures]
    whole = {(f["center"], f["patient"], f["scan"]) for f in gone}
    results["failures"] = gone + [
        f | {"file": f["file"] or ""}
        for f in results["failures"]
        if (f["center"], f["patient"], f["scan"]) not in whole
    ]
    results["tissue_values"] = plain(tissue_values(table, scanners=scanners_of(catalogue)))
    results["normal_ranges"] = plain(normal_ranges(results["tissue_values"]))
    results["quality_control"] = quality_findings(manifests)
    results["segments"] = segment_differences(segment_table(manifests))
    results["reliability"] = reliability_rows(manifests)
    results["shift"] = [dict(row) for row in shift]
    results["gallery"] = gallery(config, manifests, measured, results)
    results["cohort"]["n_scans_found"] = len(catalogue)
    results["timing"] = timing_rows(manifests, started_utc=str(facts["started_utc"]))
    results["provenance"] = dict(facts)
    results["model_cards"] = model_cards(config, facts["weights"])
    text = json.dumps(results, indent=1, allow_nan=False) + "\n"
    withdraw(config.out)
    with replacing(config.out / "measurements.parquet") as temporary:
        table.to_parquet(temporary, index=False)
    write_segments(config.out, manifests)
    write_agreement(config.out, results)
    write_failures(config.out / "failures.csv", results["failures"])
    write_run_record(config, facts)
    write_text(config.out / RESULTS, text)
    write_study_report(config.out, results)
    return results


def withdraw(folder: Path) -> None:
    """Take away the results and the report of an earlier attempt, before the first of its tables is replaced."""
    for name in (RESULTS, *REPORT):
        remove(folder / name)


def scanners_of(catalogue: pd.DataFrame) -> dict[tuple[str, str, str], str]:
    """Model of the scanner of every scan, by center, patient and scan."""
    names = [catalogue[key].fillna("").astype(str) for key in ("center", "patient", "stem", "scanner")]
    return {(center, patient, scan): scanner for center, patient, scan, scanner in zip(*names, strict=True)}


def reliability_rows(manifests: list[Path]) -> list[dict[str, Any]]:
    """The score of every scan and accelerated arm, from the manifests beside those of the measurements."""
    rows = []
    for path in manifests:
        reconstruction = read_manifest(path.with_name("reconstruction.json"))
        scan = reconstruction["scan"]
        for name, arm in reconstruction["arms"].items():
            entry = arm.get("reliability") or {}
            if entry.get("status", "not_scored") == "not_scored":
                continue
            kept = {key: entry.get(key) for key in ("status", "reason", "expected_nmse", "flagged")}
            named = {key: scan[key] for key in ("center", "patient", "scan", "modality")}
            rows.append({**named, "arm": name, **kept, "reasons": list(entry.get("reasons") or [])})
    return rows


def measurement_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """The tidy table with its columns in order and of one type each."""
    table = pd.DataFrame(rows, columns=COLUMNS)
    for column in TEXT:
        table[column] = table[column].fillna("").astype(str)
    for column in set(COLUMNS) - set(TEXT):
        table[column] = pd.to_numeric(table[column]).astype("float64")
    keys = ["center", "patient", "scan", "method", "acceleration", "pattern", "phenotype"]
    return table.sort_values(keys, kind="stable").reset_index(drop=True)


def simulated_kinds(manifests: list[Path]) -> list[str]:
    """What kinds of simulated k-space were used, from the headers."""
    kinds = {read_manifest(m.with_name("reconstruction.json"))["info"].get("Simulated") for m in manifests}
    return sorted(str(kind) for kind in kinds if kind)


def geometry_notes(measured: list[dict[str, Any]]) -> list[str]:
    """Say how many scans' voxel sizes were looked up or assumed."""
    counts = {kind: sum(m["confidence"] == kind for m in measured) for kind in ("table", "assumed")}
    words = {
        "table": "taken from the table of scanners",
        "assumed": "assumed in part; absolute volumes and masses may be off",
    }
    return [f"Voxel size of {n} of {len(measured)} scans {words[kind]}." for kind, n in counts.items() if n]


def conventions_note(config: ValidationConfig) -> str:
    """Say which conventions the volumes follow."""
    chosen = config.phenotypes
    words = {
        "half_ring": "cavity counts as left ventricle between the first and the last slice with myocardium along half of its border",
        "as_segmented": "all labeled cavity counts as left ventricle",
    }
    base = {
        "slices": "slices count whole",
        "fitted": "the most basal slice counts by its part below the base, fitted to the course of the beat",
    }
    return (
        f"Volumes: {words[chosen.lv_slices]}; {base[chosen.lv_base]}; right ventricle by the rule {chosen.rv_slices}, {base[chosen.rv_base]}; papillary muscles "
        f"{chosen.papillary}; phases of the right ventricle: {chosen.rv_phases}; gating {chosen.gating}."
    )


def gallery(
    config: ValidationConfig, manifests: list[Path], measured: list[dict[str, Any]], results: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Pictures of the first patient of every center and of the patients whose ejection fraction moved most."""
    everyone = sorted({(e["center"], e["patient"]) for m in measured for e in m["gallery"]})
    first_of_center = list({center: (center, patient) for center, patient in reversed(everyone)}.values())
    moved: dict[tuple[str, str], float] = {}
    for row in results["agreement"]:
        if row["phenotype"] == "lv_ef_percent" and row["against"] == REFERENCE.name:
            for pair in row["pairs"]:
                key, change = (pair["center"], pair["patient"]), abs(pair["test"] - pair["reference"])
                moved[key] = max(moved.get(key, 0.0), change)
    worst = sorted(moved, key=lambda key: -moved[key])
    shown = list(dict.fromkeys([*sorted(first_of_center)[: GALLERY_PATIENTS - 1], *worst]))[:GALLERY_PATIENTS]
    return [
        {**entry, "path": (path.parent / entry["path"]).relative_to(config.out).as_posix()}
        for path, m in zip(manifests, measured, strict=True)
        for entry in m["gallery"]
        if (entry["center"], entry["patient"]) in shown
    ]


def write_failures(path: Path, failures: list[dict[str, Any]]) -> None:
    """failures.csv, with its header also where nothing failed."""
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, FAILURE_COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: inert(v) if isinstance(v, str) else v for key, v in row.items()} for row in failures)
    write_text(path, stream.getvalue())


def write_run_record(config: ValidationConfig, facts: Mapping[str, Any]) -> None:
    """run.toml: what was run, on what, by which versions, weights and hashes."""
    record = {
        "study": {"name": config.name, "title": config.title, "cohort": str(config.cohort), "out": str(config.out)},
        **{name: without_none(part) for name, part in config.science().items()},
        "running": asdict(config.running),
        "history": asdict(config.history),
        "provenance": without_none(dict(facts)),
    }
    write_text(config.out / "run.toml", tomli_w.dumps(record))


def without_none(value: Any) -> Any:
    """TOML has no null and knows lists, not tuples."""
    if isinstance(value, Mapping):
        return {key: without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [without_none(item) for item in value]
    return value
