"""Does a run give the same numbers again, from its folder alone? Checked first, run again, compared row by row.

The repetition calls the stages themselves, without Prefect: order, retries and the cache of the first run must not matter.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from cohort.atomic import replacing, write_text
from cohort.records import CardioValError, ConfigProblem
from flows.analysis import analyse
from flows.analysis_plan import PLAN_FILE, plan_of, read_plan
from flows.caching import read_manifest
from flows.config import ValidationConfig
from flows.measure import measure_scan
from flows.outcome import Failure, measurement_table
from flows.provenance import commit, device_name, version
from flows.reproduce_compare import Comparison, compare_tables, content_sha256
from flows.reproduce_record import (
    NotRepeatable,
    RunRecord,
    altered_rows,
    basis_of,
    check_inputs,
    check_weights,
    differences,
    on_cpu,
    read_run,
)
from flows.running import one_blas_thread, thread_count, worker_count
from flows.stages import ScanJob, reconstruct_scan, segment_scan
from flows.terminal import SOME_FAILED
from flows.validate import catalogue_failure, chosen_scans, inputs_hash, job_of, preflight, stage_failure
from phenotyping.nnunet import nnunet_library
from recon.inference import pick_device

RESULT_FILE = "reproduce.json"
SCHEMA = 1
Advance = Callable[[str, int, int, str], None]


@dataclass(frozen=True)
class Reproduction:
    """How a repetition ended: `content` is what ``reproduce.json`` holds."""

    folder: Path
    content: Mapping[str, Any]

    @property
    def reproduced(self) -> bool:
        """Whether every number is what it is held to."""
        return bool(self.content["reproduced"])

    @property
    def exit_status(self) -> int:
        """0 where the run was reproduced, else 3."""
        return 0 if self.reproduced else SOME_FAILED


def reproduce(
    run: Path,
    *,
    out: Path,
    n_scans: int | None = None,
    cohort: Path | None = None,
    advance: Advance = lambda stage, done, total, scan: None,
) -> Reproduction:
    """Repeat a run and compare its measurements.

    Parameters
    ----------
    run
        Folder of a finished run.
    out
        New folder for the repetition; gets ``reproduce.json``.
    n_scans
        Repeat only so many scans, spread over modalities and centers; None for all.
    cohort
        Where the cohort lies now, if not where the run says.
    advance
        Called after every scan.

    Returns
    -------
    Reproduction
        With the comparison; where all scans were repeated also of the verdicts.

    Raises
    ------
    NotRepeatable
        Inputs or weights are not those of the run.
    ConfigProblem
        `out` holds something, or the run's record was changed.
    FileProblem
        A file of the run's record is missing or damaged.
    """
    if n_scans is not None and n_scans < 1:
        raise ConfigProblem(f"--scans: expected at least 1, got {n_scans}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigProblem(f"{out} is not a new or empty folder; give another with --out")
    started = time.monotonic()
    record = read_run(run, out=out.resolve(), cohort=cohort)
    if not record.config.cohort.is_dir():
        raise NotRepeatable(
            f"inputs: the cohort of the run, {record.config.cohort}, is not there; give its folder with --cohort"
        )
    record = replace(record, config=as_then(record))
    catalogue = chosen_scans(record.config)
    chosen = spread(catalogue, n_scans)
    jobs = [job_of(row, record.config) for row in chosen[chosen["status"] == "ok"].to_dict("records")]
    refuse(record, catalogue, jobs, whole=n_scans is None)
    device = pick_device(record.config.running.device)
    preflight(record.config, device=str(device))
    workers = worker_count(record.config.running, on_gpu=device.type != "cpu")
    threads = thread_count(record.config.running, workers=workers)
    measured, failed = carried_out(jobs, record.config, workers=workers, threads=threads, advance=advance)
    bad = chosen[chosen["status"] != "ok"].to_dict("records")
    failures = [*(catalogue_failure(row, record.config) for row in bad), *failed]
    again = table_of(measured, failures, record.config)
    with replacing(out / "measurements.parquet") as temporary:
        again.to_parquet(temporary, index=False)
    first = of_scans(record.table, chosen, whole=n_scans is None)
    content = {
        "schema": SCHEMA,
        "created_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "run": about(record),
        "scans": {"repeated": len(chosen), "of": len(catalogue), "failed": len(failures)},
        "repetition": {
            "cardioval_version": version("cardioval"),
            "commit": commit(),
            "device": device_name(str(device)),
            "seconds": round(time.monotonic() - started, 1),
        },
        **judged(record, first, again, jobs, threads=threads, device=device_name(str(device))),
    }
    if n_scans is None:
        content["verdicts"] = verdicts(record, again)
        content["reproduced"] = content["reproduced"] and not content["verdicts"]["changed"]
    write_text(out / RESULT_FILE, json.dumps(content, indent=1, allow_nan=False) + "\n")
    return Reproduction(out, content)


def as_then(record: RunRecord) -> ValidationConfig:
    """The run's configuration, carried out in this process; on the CPU with its threads, where the run was."""
    running = record.config.running
    device = "cpu" if on_cpu(str(record.provenance.get("device", ""))) else running.device
    threads = int(record.provenance.get("machine", {}).get("threads") or running.threads)
    running = replace(running, device=device, threads=threads, runner="threads", dask_address="", keep_images=True)
    return replace(record.config, running=running)


def spread(catalogue: pd.DataFrame, n_scans: int | None) -> pd.DataFrame:
    """So many scans of the catalogue, at even distances in the order of modality, center and file; all for None."""
    if n_scans is None or n_scans >= len(catalogue):
        return catalogue
    order = catalogue.sort_values(["modality", "center", "file"], kind="stable").index
    step = len(order) / n_scans
    taken = catalogue.loc[[order[int((i + 0.5) * step)] for i in range(n_scans)]]
    # rows of one name cannot be told apart in the table, so they are repeated together
    names = {name_of(row) for row in taken.to_dict("records")}
    return catalogue[[name_of(row) in names for row in catalogue.to_dict("records")]]


def name_of(row: Mapping[Any, Any]) -> tuple[str, str, str]:
    """How the table of measurements names a row of the catalogue."""
    return str(row["center"] or ""), str(row["patient"] or ""), str(row["stem"] or Path(str(row["path"])).stem)


def refuse(record: RunRecord, catalogue: pd.DataFrame, jobs: Sequence[ScanJob], *, whole: bool) -> None:
    """Stop before anything is computed where it cannot give the same numbers.

    Raises
    ------
    NotRepeatable
        With everything that differs.
    """
    wrong = [*check_weights(record), *check_inputs(record, jobs)]
    stated = record.provenance.get("inputs_sha256")
    if whole and not wrong and stated and stated != inputs_hash(catalogue, list(jobs), []):
        wrong.append(
            "inputs: the cohort is not the one of the run (hash of its catalogue and files): a file came, went or changed, "
            "or a header or cohort.csv did; restore it from a copy, or give its folder with --cohort"
        )
    if wrong:
        raise NotRepeatable("; ".join(wrong))


def carried_out(
    jobs: Sequence[ScanJob], config: ValidationConfig, *, workers: int, threads: int, advance: Advance
) -> tuple[list[Path], list[Failure]]:
    """Every scan through the three stages, some at once; manifests and failures in the order of the jobs."""
    import torch

    one_blas_thread()
    nnunet_library()  # imported once, before threads would do it at the same time

    def work(job: ScanJob) -> Path | Failure:
        torch.set_num_threads(threads)
        stage = "reconstruct"
        try:
            images = reconstruct_scan(job, config)
            stage = "segment"
            labels = segment_scan(job, images, config)
            stage = "measure"
            return measure_scan(job, images, labels, config)
        except Exception as problem:  # as in a run: what fails does not stop the others
            return stage_failure(job, stage, problem)

    found: dict[ScanJob, Path | Failure] = {}
    with ThreadPoolExecutor(workers) as pool:
        futures = {pool.submit(work, job): job for job in jobs}
        for future in as_completed(futures):
            job = futures[future]
            found[job] = future.result()
            advance("repeat", len(found), len(jobs), job.label)
    outcomes = [found[job] for job in jobs]
    return [o for o in outcomes if isinstance(o, Path)], [o for o in outcomes if isinstance(o, Failure)]


def table_of(manifests: Sequence[Path], failures: Sequence[Failure], config: ValidationConfig) -> pd.DataFrame:
    """The tidy table, as a run makes it."""
    rows = [row for path in manifests for row in read_manifest(path)["rows"]]
    return measurement_table(rows + [row for failure in failures for row in failure.rows(config)])


def of_scans(table: pd.DataFrame, chosen: pd.DataFrame, *, whole: bool) -> pd.DataFrame:
    """The rows of the chosen scans; all where everything was repeated."""
    if whole:
        return table
    names = {name_of(row) for row in chosen.to_dict("records")}
    mine = [key in names for key in zip(table["center"], table["patient"], table["scan"], strict=True)]
    return table[mine].reset_index(drop=True)


def judged(
    record: RunRecord,
    first: pd.DataFrame,
    again: pd.DataFrame,
    jobs: Sequence[ScanJob],
    *,
    threads: int,
    device: str,
) -> dict[str, Any]:
    """The comparison and what it means."""
    notices = differences(record, threads=threads)
    basis, why = basis_of(record, notices, device=device)
    found: Comparison = compare_tables(first, again, basis=basis)
    folders = [record.folder / job.folder.relative_to(record.config.out) for job in jobs]
    return {
        "basis": basis,
        "basis_why": why,
        "differs": [asdict(notice) for notice in notices],
        "altered_rows": altered_rows(record, folders),
        "counts": dict(found.counts),
        "same_content": content_sha256(first) == content_sha256(again),
        "phenotypes": [dict(line) for line in found.phenotypes],
        "worst": [dict(row) for row in found.worst],
        "reproduced": not found.counts["different"],
    }


def verdicts(record: RunRecord, again: pd.DataFrame) -> dict[str, Any]:
    """Analyze the new table by the run's plan and compare the verdicts."""
    path = record.folder / "results.json"
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        plan = plan_of(record.config)
        frozen = read_plan(record.folder / PLAN_FILE)
        results = analyse(again, plan=plan, frozen=frozen)
    except (OSError, ValueError, CardioValError) as problem:
        # without the folder, which the record of a repetition need not tell
        reason = getattr(problem, "reason", None) or getattr(problem, "strerror", None) or str(problem)
        return {"compared": 0, "changed": [], "note": f"verdicts not compared: {' '.join(reason.split())}"}
    was, now = (dict(verdict_of(content)) for content in (stored, results))
    changed = [
        {"phenotype": key[0], "arm": key[1], "against": key[2], "was": was.get(key), "is": now.get(key)}
        for key in sorted(was.keys() | now.keys())
        if was.get(key) != now.get(key)
    ]
    return {"compared": len(was), "changed": changed, "note": ""}


def verdict_of(results: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str, str], str]]:
    """Every verdict by phenotype, arm and what it was compared with."""
    for row in results["agreement"]:
        yield (row["phenotype"], row["arm"], row["against"]), row["verdict"]


def about(record: RunRecord) -> dict[str, Any]:
    """What the repetition says of the run."""
    kept = ("cardioval_version", "commit", "started_utc", "device", "config_sha256", "inputs_sha256", "plan_sha256")
    known = {key: record.provenance[key] for key in kept if key in record.provenance}
    return {"study": record.config.name, "folder": record.folder.resolve().name, **known}
