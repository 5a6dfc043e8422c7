"""How does a finished run become a report of each patient? Record, pictures, page, PDF, and DICOM on demand."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cohort.foreign import read_json, read_parquet
from cohort.phenotypes import VOCABULARY
from cohort.records import ConfigProblem, MissingFile, UnreadableFile
from flows.descriptions import FULLY_SAMPLED
from flows.patient_images import fill_curves, images_of
from flows.patient_ranges import OF_IMAGES
from flows.patient_record import Patient, Run, patient_record
from reports import tables
from reports.patient import PatientFiles, file_stem, write_patient_report
from reports.render import parse_utc

Advance = Callable[[str, int, int, str], None]
FOLDER: Final = Path("report") / "patients"
STAGE: Final = "patients"
RESULTS_BYTES: Final = 2**30
#: segments of the wall that have a DICOM concept: quantity of segments.parquet, phenotype
BY_SEGMENT: Final = {"wall_thickness_mean": "mean_wall_thickness_mm", "wall_thickness_max": "max_wall_thickness_mm"}


@dataclass(frozen=True)
class PatientReport:
    """What was written for one patient."""

    center: str
    patient: str
    files: PatientFiles
    dicom: tuple[Path, ...] = ()


def write_patient_reports(
    run_dir: Path,
    patients: Iterable[str] | None = None,
    dicom: bool = False,
    advance: Advance | None = None,
    *,
    out: Path | None = None,
) -> list[PatientReport]:
    """Write page, PDF and record of patients of a finished run, computing nothing anew but differences.

    Parameters
    ----------
    run_dir
        With results.json and measurements.parquet; pictures are taken from its scans, where they were kept.
    patients
        ``CENTER/PATIENT`` each; None for all.
    dicom
        Also write an Encapsulated PDF and a structured report (TID 1500).
    advance
        Told after each patient: stage, done, total, name.
    out
        Folder; default ``report/patients`` in the run, where the study's report links to.

    Raises
    ------
    MissingFile, UnreadableFile
        No finished run.
    ConfigProblem
        A patient that the run has not, or two whose files would have one name.
    """
    run = open_run(run_dir)
    chosen = run.patients if patients is None else [key_of(name) for name in patients]
    check_names(chosen, run.patients)
    folder = out or run_dir / FOLDER
    made = []
    for done, patient in enumerate(chosen, start=1):
        made.append(write_one(run, patient, folder=folder, dicom=dicom))
        if advance is not None:
            advance(STAGE, done, len(chosen), " ".join(patient))
    return made


def open_run(run_dir: Path) -> Run:
    """Results and table of a finished run."""
    results, table = run_dir / "results.json", run_dir / "measurements.parquet"
    for path in (results, table):
        if not path.is_file():
            raise MissingFile(path, "missing: is this the folder of a finished run?")
    found = read_json(results, limit=RESULTS_BYTES)
    if not isinstance(found, dict):
        raise UnreadableFile(results, "expected an object, as `cardioval validate` writes it")
    try:
        return Run(run_dir, found, read_parquet(table))
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as problem:
        raise UnreadableFile(run_dir, f"results.json or measurements.parquet cannot be used: {problem}") from problem


def key_of(name: str) -> Patient:
    """Center and patient of ``CENTER/PATIENT``."""
    center, slash, patient = name.partition("/")
    if not (center and slash and patient):
        raise ConfigProblem(f"patients are named CENTER/PATIENT, such as Center001/P003; got {name!r}")
    return center, patient


def check_names(chosen: Iterable[Patient], known: Iterable[Patient]) -> None:
    """Refuse unknown patients before anything is written, and those who would overwrite each other."""
    there = list(known)
    for patient in chosen:
        if patient not in there:
            some = ", ".join("/".join(key) for key in there[:5]) + " ..." * (len(there) > 5)
            raise ConfigProblem(f"the run has no patient {'/'.join(patient)}; it has {some or 'none'}")
    stems: dict[str, Patient] = {}
    for patient in chosen:
        other = stems.setdefault(file_stem(*patient), patient)
        if other != patient:
            raise ConfigProblem(f"{'/'.join(other)} and {'/'.join(patient)} would both be {file_stem(*patient)}")


def write_one(run: Run, patient: Patient, *, folder: Path, dicom: bool) -> PatientReport:
    """Everything for one patient."""
    record = patient_record(run, patient)
    fill_curves(run.folder, record)
    files = write_patient_report(folder, record, images_of(run.folder, record))
    objects = write_dicom(folder, record, files) if dicom else ()
    return PatientReport(*patient, files, objects)


def write_dicom(folder: Path, record: Mapping[str, Any], files: PatientFiles) -> tuple[Path, ...]:
    """The PDF as Encapsulated PDF, and the numbers as a structured report that names it as evidence."""
    from cohort.dicom_report import write_encapsulated_pdf, write_measurement_report

    subject, stem = subject_of(record), file_stem(record["center"], record["patient"])
    pdf_path, report_path = folder / f"{stem}_report.dcm", folder / f"{stem}_measurements.dcm"
    title = f"CardioVal report of {stem}, research use only, not for diagnosis"
    pdf = write_encapsulated_pdf(pdf_path, files.pdf.read_bytes(), subject=subject, title=title)
    groups = groups_of(record)
    if not groups:  # all its scans failed: there is nothing to structure
        return (pdf_path,)
    write_measurement_report(report_path, groups, subject=subject, pdf=pdf)
    return pdf_path, report_path


def subject_of(record: Mapping[str, Any]) -> Any:
    """Pseudonym and run, as DICOM wants them."""
    from cohort.dicom_report import Subject

    study, provenance = record["study"], record["provenance"]
    parts = [
        study["name"],
        study["created_utc"],
        *(provenance.get(k) or "" for k in ("config_sha256", "inputs_sha256")),
    ]
    return Subject(
        pseudonym=file_stem(record["center"], record["patient"]),
        run=hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest(),
        created=parse_utc(study["created_utc"]),
        version=str(provenance.get("cardioval_version") or "unknown"),
        simulated=tuple(study["simulated"]),
    )


def groups_of(record: Mapping[str, Any]) -> list[Any]:
    """A group of measurements for each scan and reconstruction."""
    from cohort.dicom_report import Group

    labels = {arm["arm"]: arm for arm in record["arms"]}
    weights = [f"weights {w['name']}: {w['sha256']}" for w in record["provenance"].get("weights") or []]
    version = str(record["provenance"].get("cardioval_version") or "unknown")
    commit = record["provenance"].get("commit")
    found = []
    for scan in record["scans"]:
        for arm, made in scan["arms"].items():
            entry = labels.get(arm, {"arm": arm, "method": arm, "pattern": "", "acceleration": None})
            parameters = [f"pattern {entry['pattern']}", f"nominal acceleration {entry['acceleration']}"]
            effective = made["effective_acceleration"]
            parameters += [] if effective is None else [f"effective acceleration {effective:.4g}"]
            group = Group(
                name=f"{scan['scan']}: {tables.arm_label(entry)}",
                scan=scan["scan"],
                algorithm=f"CardioVal {tables.method_label(entry['method'])}",
                version=version + (f" ({commit})" if commit else ""),
                parameters=(*parameters, *weights),
                quantities=(*quantities_of(record, scan, arm), *segments_of(scan, arm)),
                checks=tuple((c["check"], c["status"]) for c in made["checks"]),
            )
            found += [group] if group.quantities else []
    return found


def quantities_of(record: Mapping[str, Any], scan: Mapping[str, Any], arm: str) -> Iterable[Any]:
    """Values of the heart; likeness of images is no measurement of a patient."""
    from cohort.dicom_report import Quantity, Range

    ranges = {(r["phenotype"], r["scan"]): r for r in record["ranges"]}
    for row in scan["values"]:
        cell = row["cells"].get(arm)
        if cell is None or row["group"] in OF_IMAGES or row["phenotype"] not in VOCABULARY:
            continue
        published = ranges.get((row["phenotype"], scan["scan"]), {"rows": [], "reason": ""})
        # a range that must not be compared with the value (unknown sequence, sex) is on the page only
        normal = () if published["reason"] else published["rows"]
        yield Quantity(
            phenotype=row["phenotype"],
            unit=VOCABULARY[row["phenotype"]].unit,
            value=cell["value"],
            reason=cell["reason"],
            normal=tuple(Range(low=n["low"], high=n["high"], description=n["who"], source=n["source"]) for n in normal),
        )
    surface = scan["arms"][arm]["body_surface_m2"]
    if surface and arm == FULLY_SAMPLED:
        yield Quantity(phenotype="body_surface_m2", unit="m²", value=surface)


def segments_of(scan: Mapping[str, Any], arm: str) -> Iterable[Any]:
    """Wall thickness by AHA segment."""
    from cohort.dicom_report import Quantity

    for entry in scan["segments"]:
        phenotype = BY_SEGMENT.get(entry["quantity"])
        for segment, value in sorted(entry["values"].get(arm, {}).items(), key=lambda item: int(item[0])):
            if phenotype:
                yield Quantity(phenotype=phenotype, unit=entry["unit"], value=value, segment=int(segment))
