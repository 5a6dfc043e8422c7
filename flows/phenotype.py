"""What do images measure that are already reconstructed? Every series under a folder, DICOM or NIfTI, to one table."""

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tomli_w

from cohort.atomic import replacing, write_text
from cohort.records import CardioValError, ConfigProblem, FileProblem, WeightsProblem
from flows.agreement_table import inert_texts
from flows.caching import read_manifest
from flows.outcome import measurement_table, without_none
from flows.phenotype_inputs import ImageSeries, find_images
from flows.phenotype_maps import MAP_PHENOTYPE
from flows.phenotype_normals import NORMAL_COLUMNS, normal_rows
from flows.phenotype_options import PhenotypeOptions
from flows.phenotype_series import failed_rows, phenotype_series
from flows.provenance import command, commit, device_name, version
from flows.resume import held
from flows.segment_values import segments_of_images
from flows.stages import one_line
from phenotyping.nnunet import model_identity
from phenotyping.quality_control import Finding, overall

SOME_FAILED = 3
PACKAGES = ("numpy", "scipy", "torch", "nibabel", "pandas", "pyarrow", "pydicom", "highdicom", "nnunetv2")
FAILURE_COLUMNS = ("patient", "series", "modality", "phenotype", "file", "reason")
SEGMENT_COLUMNS = ("patient", "series", "modality", "quantity", "unit", "segment", "value")
SERIES_COLUMNS = ("patient", "series", "modality", "status", "quality", "reason", "first_file", "n_files", "note")


@dataclass(frozen=True)
class PhenotypeSummary:
    """What a run found: the table of series, the measurements, published values beside those of tissue, values by AHA segment,
    and 0 or 3 for the shell."""

    folder: Path
    series: pd.DataFrame
    measurements: pd.DataFrame
    normals: pd.DataFrame
    segments: pd.DataFrame
    failures: pd.DataFrame
    exit_status: int


def phenotype(
    root: Path,
    out: Path,
    *,
    options: PhenotypeOptions,
    modality: str = "auto",
    advance: Callable[[str, int, int, str], None] | None = None,
) -> PhenotypeSummary:
    """Label and measure every series under a folder.

    Parameters
    ----------
    root
        Folder of DICOM or NIfTI files, in any layout.
    out
        Folder of the results; a series that is complete in it for the same files, options and weights is not done again.
    options
        Study, center, model and device.
    modality
        `auto`, `cine`, `t1`, `t2` or `t2star`.
    advance
        Called with stage, done, total and series.

    Raises
    ------
    ConfigProblem
        No image, an unknown modality, or a label map that does not fit the model.
    WeightsProblem
        The model cannot be used.
    RunStopped
        The disk is full or cannot be written.
    """
    started = datetime.now(UTC)
    identity = model_identity(options.model_folder)
    series, problems = find_images(root, modality=modality, skip=out)
    with held(out, how="run the command again"):
        summary = _measured(series, problems, root, out, options, advance)
        _write(summary)
        _write_run(summary, root, options, identity, started, modality)
    return summary


def _measured(
    series: list[ImageSeries],
    problems: list[FileProblem],
    root: Path,
    out: Path,
    options: PhenotypeOptions,
    advance: Callable[[str, int, int, str], None] | None,
) -> PhenotypeSummary:
    """Every series, one after the other."""
    wanted = [one for one in series if one.kind != "other"]
    sequences: dict[str, str | None] = {}
    rows: list[dict[str, Any]] = []
    segments: list[dict[str, Any]] = []
    listed = {one.name: _listed(one, root, "skipped", one.reason) for one in series if one.kind == "other"}
    failures = [_file_failure(problem, root) for problem in problems]
    for done, one in enumerate(wanted):
        if advance:
            advance("phenotype", done, len(wanted), one.name)
        try:
            manifest = read_manifest(phenotype_series(one, root, out / one.name, options))
            made, note, reason = manifest["rows"], manifest["facts"]["note"], ""
            quality = quality_of(manifest["facts"])
            own = {"patient": one.patient, "series": one.name, "modality": one.kind}
            of_segments = segments_of_images(manifest["facts"], map_name=MAP_PHENOTYPE.get(one.kind))
            segments += [own | row for row in of_segments]
            sequences[one.name] = manifest["facts"].get("sequence")
        except (ConfigProblem, WeightsProblem):  # the same for every series
            raise
        except (CardioValError, ValueError, RuntimeError, MemoryError) as problem:  # torch's errors are RuntimeErrors
            made, note, reason = failed_rows(one, _told(problem, root), options), "", _told(problem, root)
            quality = ""
        bad = [row for row in made if row["status"] == "failed"]
        failures += [_failure(one, row["phenotype"], row["reason"], root) for row in bad]
        if reason and not made:  # a map without a phenotype of its own
            failures.append(_failure(one, "", reason, root))
        status = "failed" if reason else "measured" if not bad else "measured in part"
        why = reason or "; ".join(sorted({row["reason"] for row in bad}))
        listed[one.name] = _listed(one, root, status, why, note, quality)
        rows += made
    if advance:
        advance("phenotype", len(wanted), max(len(wanted), 1), "")
    table = measurement_table(rows)
    return PhenotypeSummary(
        folder=out,
        series=pd.DataFrame([listed[one.name] for one in series], columns=list(SERIES_COLUMNS)),
        measurements=table,
        normals=pd.DataFrame(normal_rows(rows, sequences), columns=list(NORMAL_COLUMNS)),
        segments=pd.DataFrame(segments, columns=list(SEGMENT_COLUMNS)),
        failures=pd.DataFrame(failures, columns=list(FAILURE_COLUMNS)),
        exit_status=SOME_FAILED if failures else 0,
    )


def _write(summary: PhenotypeSummary) -> None:
    out = summary.folder
    with replacing(out / "measurements.parquet") as temporary:
        summary.measurements.to_parquet(temporary, index=False)
    tables = {"measurements": summary.measurements, "failures": summary.failures, "series": summary.series}
    for name, table in {**tables, "normal_values": summary.normals, "segments": summary.segments}.items():
        write_text(out / f"{name}.csv", inert_texts(table).to_csv(index=False, lineterminator="\n"))


def _write_run(
    summary: PhenotypeSummary,
    root: Path,
    options: PhenotypeOptions,
    identity: dict[str, str],
    started: datetime,
    modality: str,
) -> None:
    counts = summary.series["status"].value_counts().to_dict()
    record = {
        "phenotype": {
            "images": str(root),
            "modality": modality,
            "study": options.study,
            "center": options.center,
            **options.science(),
            "series": {str(status): int(n) for status, n in counts.items()},
        },
        "provenance": {
            "cardioval_version": version("cardioval"),
            "commit": commit(),
            "python": platform.python_version(),
            "packages": {name: version(name) for name in PACKAGES},
            "weights": identity,
            "command": command(),
            "device": device_name(options.device),
            "started_utc": started.isoformat(timespec="seconds"),
            "seconds": float(np.round((datetime.now(UTC) - started).total_seconds(), 1)),
        },
    }
    write_text(summary.folder / "run.toml", tomli_w.dumps(without_none(record)))


def quality_of(facts: Mapping[str, Any]) -> str:
    """The worst outcome of the checks of a cine's labels: pass, warn or fail; empty where none were made."""
    checks = facts.get("quality_control")
    return overall(Finding(**check) for check in checks) if checks else ""


def _listed(
    series: ImageSeries, root: Path, status: str, reason: str, note: str = "", quality: str = ""
) -> dict[str, Any]:
    return {
        "patient": series.patient,
        "series": series.name,
        "modality": series.kind,
        "status": status,
        "quality": quality,
        "reason": reason,
        "first_file": series.files[0].relative_to(root).as_posix(),
        "n_files": len(series.files),
        "note": note,
    }


def _failure(series: ImageSeries, phenotype_name: str, reason: str, root: Path) -> dict[str, str]:
    return {
        "patient": series.patient,
        "series": series.name,
        "modality": series.kind,
        "phenotype": phenotype_name,
        "file": series.files[0].relative_to(root).as_posix(),
        "reason": reason,
    }


def _file_failure(problem: FileProblem, root: Path) -> dict[str, str]:
    blank = {"patient": "", "series": "", "modality": "", "phenotype": ""}
    return {**blank, "file": _relative(problem.path, root), "reason": problem.reason}


def _told(problem: Exception, root: Path) -> str:
    """A reason in one line; a file of the series is named by its place below the folder."""
    if isinstance(problem, FileProblem):
        return f"{_relative(problem.path, root)}: {problem.reason}"
    return one_line(problem)


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
