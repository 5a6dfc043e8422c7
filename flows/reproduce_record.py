"""What does a run's folder say of the run, is it as it was written, and do its inputs, weights and programs still hold?"""

import contextlib
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from cohort.fingerprint import file_sha256
from cohort.records import CardioValError, ConfigProblem, FileProblem, MissingFile, UnreadableFile
from flows.analysis_plan import PLAN_FILE, read_plan
from flows.caching import read_manifest
from flows.config import ValidationConfig, config_from_table, read_table
from flows.outcome import measurement_table
from flows.provenance import PACKAGES, commit, machine, python_version, version, weights
from flows.reproduce_compare import SCAN, Basis, compare_tables
from flows.stages import ScanJob

NUMERICAL = (
    "numpy",
    "scipy",
    "torch",
    "h5py",
    "nibabel",
    "scikit-image",
    "opencv-python-headless",
    "nnunetv2",
    "SimpleITK",
)
"""Packages whose version may change the bits of a number."""
CLASS = ("architecture", "capability", "threads")
"""What of a machine may change the bits of a number computed on its CPU."""
MOST_NAMED = 5


class NotRepeatable(CardioValError):
    """What the run rested on is not here: what differs, and what to do."""


@dataclass(frozen=True)
class RunRecord:
    """A finished run, from its folder.

    Attributes
    ----------
    folder
        Of the run.
    config
        What it was told, with the folder of the repetition as its output.
    provenance
        What it rested on.
    table
        Its measurements.
    """

    folder: Path
    config: ValidationConfig
    provenance: Mapping[str, Any]
    table: pd.DataFrame


@dataclass(frozen=True)
class Notice:
    """Something that differs and may explain other numbers: what, what it was and what it is."""

    what: str
    was: str
    now: str


def read_run(folder: Path, *, out: Path, cohort: Path | None = None) -> RunRecord:
    """Read a run's folder and check that its record was not changed.

    Raises
    ------
    MissingFile, UnreadableFile
        A file of the record is missing or damaged, or the plan was changed.
    ConfigProblem
        ``run.toml`` was changed after the run, or is of a version with other options.
    """
    path = folder / "run.toml"
    if not path.is_file():
        raise MissingFile(
            path, "no record of a run; give the folder of a finished run, as cardioval validate writes it"
        )
    written = read_table(path)
    about = written.get("provenance")
    if not isinstance(about, Mapping) or "config_sha256" not in about:
        raise UnreadableFile(path, "no provenance in it; a configuration is no run: give the folder of a finished one")
    loaded = config_from_table(written, base=folder.resolve(), origin=str(path))
    if about["config_sha256"] not in (science_sha256(loaded.science()), science_sha256(written, loaded.science())):
        raise ConfigProblem(
            f"{path}: its settings are not those that the run had (their hash differs from config_sha256); restore the "
            "file from a copy"
        )
    if (folder / PLAN_FILE).exists():
        plan = read_plan(folder / PLAN_FILE)
        if about.get("plan_sha256") not in (None, plan["sha256"]):
            raise ConfigProblem(f"{folder / PLAN_FILE} is the plan of another run than {path}; restore it from a copy")
    config = replace(loaded, out=out, cohort=cohort.resolve() if cohort else loaded.cohort)
    return RunRecord(folder, config, about, read_measurements(folder / "measurements.parquet"))


def science_sha256(settings: Mapping[str, Any], like: Mapping[str, Any] | None = None) -> str:
    """Hash of what decides the numbers; of a file's own sections where it is of an earlier version with fewer options."""
    chosen = settings if like is None else {name: settings.get(name) for name in like}
    return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()


def read_measurements(path: Path) -> pd.DataFrame:
    """The table of a run.

    Raises
    ------
    MissingFile, UnreadableFile
        It is not there, or is no table of measurements.
    """
    if not path.is_file():
        raise MissingFile(path, "the run has no measurements; was it finished?")
    try:
        table = pd.read_parquet(path)
        # the columns of today's table, whatever the version that wrote it
        return measurement_table(
            [dict(zip(map(str, table), row, strict=True)) for row in table.itertuples(index=False)]
        )
    except Exception as error:  # pyarrow and pandas raise their own kinds
        raise UnreadableFile(path, f"no table of measurements: {' '.join(str(error).split())}") from error


def check_weights(record: RunRecord) -> list[str]:
    """Compare every network with the one that the run used; what is wrong, in words."""
    try:
        here = {entry["name"]: entry["sha256"] for entry in weights(record.config)}
    except FileProblem as error:
        return [f"weights: {error}"]
    problems = []
    for entry in record.provenance.get("weights", []):
        found = here.get(entry["name"])
        if found != entry["sha256"]:
            is_now = "is not used by this version" if found is None else f"is {found[:12]} here"
            problems.append(
                f"weights: {entry['name']} was {entry['sha256'][:12]} (SHA-256) in the run and {is_now}; restore that file, "
                "or install the version of the run"
            )
    return problems


def check_inputs(record: RunRecord, jobs: Sequence[ScanJob]) -> list[str]:
    """Compare what the chosen scans read with what the run read; what is wrong, in words.

    `jobs` are those of the repetition, whose folders mirror the run's.
    """
    changed: dict[str, list[str]] = {}
    for job in jobs:
        for name, wanted in recorded_files(record.folder / job.folder.relative_to(record.config.out)).items():
            path = job.path if not name else job.path.with_name(name)
            shown = path.relative_to(record.config.cohort).as_posix()
            if not path.is_file():
                changed.setdefault("missing", []).append(shown)
            elif file_sha256(path) != wanted:
                changed.setdefault("not the file that the run read", []).append(shown)
    return [
        f"inputs: {named(files)}: {what}; restore from a copy, or give the folder of the unchanged cohort with --cohort"
        for what, files in changed.items()
    ]


def recorded_files(folder: Path) -> dict[str, str]:
    """Hashes of what a scan was made from, as its manifests say; the k-space under an empty name."""
    files: dict[str, str] = {}
    # absent where the scan failed, or the run is of an earlier version: then the hash of all inputs speaks
    with contextlib.suppress(OSError, ValueError, KeyError):
        files[""] = read_manifest(folder / "reconstruction.json")["kspace_sha256"]
    with contextlib.suppress(OSError, ValueError, KeyError):
        files |= read_manifest(folder / "measurements.json")["beside"]
    return files


def altered_rows(record: RunRecord, folders: Iterable[Path]) -> int:
    """Rows of the table that are not what the scans' own manifests say: somebody changed the one or the other."""
    rows: list[dict[str, Any]] = []
    for folder in folders:
        try:
            rows += read_manifest(folder / "measurements.json")["rows"]
        except (OSError, ValueError, KeyError):
            continue  # a scan that failed has no rows of its own
    if not rows:
        return 0
    stated = measurement_table(rows)
    # of the scans that have a manifest
    mine = record.table.merge(stated[SCAN].drop_duplicates(), how="inner", on=SCAN)
    counts = compare_tables(stated, mine[stated.columns], basis="identical").counts
    return counts["different"]


def differences(record: RunRecord, *, threads: int) -> list[Notice]:
    """Program, packages and machine, where they are not those of the run."""
    was, here = record.provenance, machine(threads=threads)
    packages: Mapping[str, str] = was.get("packages", {})
    found = [
        ("cardioval", str(was.get("cardioval_version", "")), version("cardioval")),
        ("commit", str(was.get("commit", "")), commit()),
        ("python", str(was.get("python", "")), python_version()),
        *((name, packages[name], version(name)) for name in PACKAGES if name in packages),
    ]
    recorded = was.get("machine", {})
    found += [(f"machine: {key}", str(recorded.get(key, "not recorded")), str(here[key])) for key in CLASS]
    return [Notice(*each) for each in found if each[1] != each[2]]


def on_cpu(device: str) -> bool:
    """Whether what computed, as the provenance names it, were processors only."""
    return all(name.startswith("CPU") for name in device.removeprefix("Dask: ").split(", "))


def basis_of(record: RunRecord, notices: Iterable[Notice], *, device: str) -> tuple[Basis, str]:
    """What the repetition is held to, and why.

    On CPUs of the same class with the same numerical packages the same bits; else the stated tolerances.
    """
    was = str(record.provenance.get("device", ""))
    if not (on_cpu(was) and on_cpu(device)):
        return "gpu", f"the run computed on {was or 'an unknown device'}, the repetition on {device}"
    bare = [n for n in notices if n.what.startswith("machine: ") or n.what in (*NUMERICAL, "python")]
    if record.config.running.dask_address:
        return "other_cpu", "the run computed on a cluster, whose machines may be of other classes"
    if bare:
        told = ", ".join(f"{n.what.removeprefix('machine: ')} {n.was} and now {n.now}" for n in bare[:MOST_NAMED])
        return "other_cpu", f"another class of machine or other numerical packages: {told}"
    return "identical", "the same class of machine and the same numerical packages"


def named(files: Sequence[str]) -> str:
    """Some files and how many more."""
    more = len(files) - MOST_NAMED
    return ", ".join(files[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
