"""How does a validation run? Catalogue, every scan through three stages, then one table, its statistics and the report.

The tasks are thin: they take and return paths and leave the work to ``flows.stages`` and ``flows.measure``. Prefect
gives order, retries and a record; what is complete already, a stage itself finds out, see ``flows.caching``.
``flows.runners`` says where tasks compute.
"""

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from cohort.atomic import make_folder
from cohort.catalogue import catalogue_hash, scan_tree, select
from cohort.fingerprint import file_sha256
from cohort.records import CardioValError, ConfigProblem
from flows.analysis_plan import freeze, plan_of
from flows.caching import read_manifest, stage_key
from flows.config import Arm, ValidationConfig, catalogue_index, prepare_environment
from flows.history import Recorded, record_run
from flows.measure import measure_scan, planned
from flows.measure_cine import MIN_FRAMES_FOR_OUTPUT
from flows.measure_map import MAP_NAME
from flows.outcome import Failure, write_results
from flows.provenance import device_name, provenance
from flows.resume import found_line, held, kept_line, stop_reason, stopped, tell
from flows.run_log import OnFailure, RunLog, run_log
from flows.run_server import of_server, server_of_run, through_prefect
from flows.runners import Awaited, check_cluster, pins_gpus, placed, settle, shared_server, task_runner
from flows.running import n_cores, one_blas_thread, thread_count, worker_count
from flows.shift import shift_arm, shift_rows, write_summary
from flows.stages import (
    CINE,
    ScanJob,
    reconstruct_scan,
    segment_scan,
    text_encoder,
)
from phenotyping.nnunet import model_identity
from recon.inference import network_of, pick_device

prepare_environment()
from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.states import Failed

MAPPING = tuple(MAP_NAME)
SHORT_AXIS = "short-axis"
RETRY_DELAY_S = 2
Advance = Callable[[str, int, int, str], None]
"""Told of progress: stage, scans done, scans in all, scan."""


@dataclass(frozen=True)
class RunSummary:
    """Where a run's results lie and how it ended."""

    folder: Path
    results: Mapping[str, Any]
    n_failed: int
    recorded: Recorded | None = None

    @property
    def exit_status(self) -> int:
        """0 when every planned measurement was made, 3 when some failed."""
        return 3 if self.n_failed else 0


def validate(
    config: ValidationConfig,
    *,
    resume: bool = False,
    advance: Advance = lambda stage, done, total, scan: None,
    on_failure: OnFailure = lambda stage, scan, reason: None,
) -> RunSummary:
    """Run a validation, or finish an interrupted one.

    Parameters
    ----------
    config
        What to run.
    resume
        Go on in a folder that holds results; what is complete and unchanged is not computed again.
    advance
        Called after every scan of every stage.
    on_failure
        Called for every scan that a stage could not do.

    Raises
    ------
    ConfigProblem
        The output folder holds something and ``resume`` is not asked for, it holds another plan, another process works
        in it, or no scan is selected.
    RunStopped
        The disk is full or cannot be written, or Prefect's server cannot be used; what is complete stays.
    """
    if config.out.exists() and not config.out.is_dir():
        raise ConfigProblem(f"{config.out} is a file; expected a folder for the run")
    if config.out.exists() and any(config.out.iterdir()) and not resume:
        raise ConfigProblem(f"{config.out} is not empty; give another folder, or --resume to go on with that run")
    plan = plan_of(config)
    running = config.running
    on_cluster = bool(running.dask_address)
    # a cluster's devices are its own; this process, which may have none, then only orders the work
    device = torch.device("cpu") if on_cluster else pick_device(running.device)
    workers = worker_count(running, on_gpu=device.type != "cpu")
    runner = task_runner(running, workers=workers)
    table = chosen_scans(config)
    preflight(config, device=str(device))
    one_blas_thread()
    about = {"study": config.name, "n_scans": len(table), "device": str(device), "workers": workers}
    with (
        held(config.out),
        run_log(config.out, cohort=config.cohort, on_failure=on_failure, **about) as log,
        server_of_run(),
    ):
        computes = check_cluster(running, paths=(config.cohort, config.out)) if on_cluster else device_name(str(device))
        frozen = freeze(plan, config.out)
        started = time.monotonic()
        jobs = [job_of(row, config) for row in table[table["status"] == "ok"].to_dict("records")]
        tell(found_line([job.folder for job in jobs]))
        facts = provenance(config, inputs_sha256="", device=computes)
        facts["plan_sha256"] = frozen["sha256"]
        failures = [catalogue_failure(row, config) for row in table[table["status"] != "ok"].to_dict("records")]
        for failure in failures:
            log.stage_failed(failure.stage, failure.label, f"{failure.file}: {failure.reason}")
        threads = running.threads if on_cluster else thread_count(running, workers=workers)
        with shared_server(running):
            run = validate_scans.with_options(task_runner=runner)
            work = Work(jobs, config, threads, advance)
            work.log = log
            measured, failed = through_prefect(partial(run, config.name, len(jobs), work), work)
        facts["inputs_sha256"] = inputs_hash(table, jobs, measured)
        facts["wall_s"] = round(time.monotonic() - started, 1)
        shift = shift_rows(jobs) if shift_arm(0, config) else []
        results = write_results(
            config, table, measured, [*failures, *failed], facts, plan=plan, frozen=frozen, shift=shift
        )
        tell(kept_line(results["timing"]))
        if not config.running.keep_images:
            remove_images(jobs)
        recorded = record_run(config, results)
        return RunSummary(config.out, results, n_failed=len(results["failures"]), recorded=recorded)


def preflight(config: ValidationConfig, *, device: str) -> None:
    """Find out now, and not after hours, what would stop the run: weights, text encoder."""
    if "cardiomm" in config.reconstruction.methods:
        network_of(config.reconstruction.weights or None, device=device)
    model_identity(config.segmentation.model_folder or None)
    text_encoder(config)


def chosen_scans(config: ValidationConfig) -> pd.DataFrame:
    """The selected rows of the catalogue, bad ones included; long series first, so that no core waits at the end."""
    wanted = {key: list(value) or None for key, value in vars(config.select).items()}
    found = scan_tree(config.cohort, index=catalogue_index(config.cohort), processes=n_cores())
    table = select(found, **wanted)
    # long-axis and other views lie in the same folders; volumes and wall thickness are of the short axis
    short_axis = table["modality"].isin([CINE]) & (table["view"] == SHORT_AXIS)
    mapping = table["modality"].isin(MAPPING) & table["view"].isin([SHORT_AXIS, "unknown"])
    table = table[short_axis | mapping | ((table["status"] != "ok") & table["view"].isin([SHORT_AXIS, "unknown", ""]))]
    if table.empty:
        raise ConfigProblem(f"{config.cohort}: no short-axis cine, T1 or T2 mapping scan is left after the selection")
    return table.sort_values("size_bytes", ascending=False, kind="stable").reset_index(drop=True)


def job_of(row: Mapping[Any, Any], config: ValidationConfig) -> ScanJob:
    """A row of the catalogue as a job; its results go to a folder that mirrors the cohort's."""
    text = {
        key: str(row[key] or "")
        for key in ("center", "vendor", "scanner", "disease", "patient", "modality", "view", "stem")
    }
    # mirrors the cohort: the same pseudonym may stand in two sets or on two scanners of a center
    folder = config.out / "scans" / Path(str(row["file"])).with_suffix("")
    make_folder(folder)
    return ScanJob(study=config.name, field_t=float(row["field_t"]), path=Path(row["path"]), folder=folder, **text)


def inputs_hash(table: pd.DataFrame, jobs: list[ScanJob], measured: list[Path]) -> str:
    """Hash of the catalogue and of every usable file's content.

    The reconstruction's key holds the hash of a file, and its manifest says it: so a cohort of terabytes is not read once
    more by this one process. Only what was not measured is.
    """
    complete = set(measured)
    files = [kspace_sha256(job, complete=job.measurements in complete) for job in jobs]
    return stage_key("inputs", 1, catalogue=catalogue_hash(table), files=files)


def kspace_sha256(job: ScanJob, *, complete: bool) -> str:
    """Hash of a scan's k-space, from the manifest of a complete scan, or from the file; empty if that is gone."""
    if complete:
        with contextlib.suppress(OSError, ValueError, KeyError):
            return str(read_manifest(job.reconstruction)["kspace_sha256"])
    with contextlib.suppress(OSError):
        return file_sha256(job.path)
    return ""


def catalogue_failure(row: Mapping[Any, Any], config: ValidationConfig) -> Failure:
    """A scan that the catalogue found unusable, with the measurements that are therefore missing."""
    modality = str(row["modality"] or "")
    known = modality == CINE or modality in MAPPING
    columns = {key: row[key] for key in ("center", "vendor", "field_t", "disease", "patient", "modality")}
    return Failure(
        columns={**columns, "study": config.name, "scan": str(row["stem"] or Path(str(row["path"])).stem)},
        file=str(row["file"]),
        stage="catalogue",
        reason=str(row["reason"]),
        phenotypes=tuple(planned(modality, n_frames=frames_of(row))) if known else (),
    )


def frames_of(row: Mapping[Any, Any]) -> int:
    """Frames of a scan, a whole cycle where the header could not be read."""
    shape = row.get("shape")
    return int(shape[0]) if isinstance(shape, tuple | list) and len(shape) else MIN_FRAMES_FOR_OUTPUT


# ---- Prefect ----------------------------------------------------------------------------------------------------------


def worth_retrying(task: Any, run: Any, state: Any) -> bool:
    """Only what may pass by itself: not our own errors, which mean bad input, and not mistakes in the code."""
    del task, run
    problem = state.result(raise_on_failure=False)
    return isinstance(problem, OSError | MemoryError)


STAGE: dict[str, Any] = {
    # a stage knows itself whether it is complete, by its manifest; what Prefect would keep are pickles outside the run
    "cache_policy": NO_CACHE,
    "persist_result": False,
    "retry_delay_seconds": RETRY_DELAY_S,
    "retry_condition_fn": worth_retrying,
}


@task(name="reconstruct", **STAGE)
def reconstruct_task(job: ScanJob, config: ValidationConfig, threads: int, summarized: Arm | None) -> str:
    """Reconstruct every arm of one scan, and summarize it for the distance of its center from the training."""
    settle(threads)
    manifest = reconstruct_scan(job, config)
    if summarized:
        write_summary(job, summarized, config)
    return str(manifest)


@task(name="segment", **STAGE)
def segment_task(job: ScanJob, reconstruction: str, config: ValidationConfig, threads: int) -> str:
    """Label every arm of one scan."""
    settle(threads)
    return str(segment_scan(job, Path(reconstruction), config))


@task(name="measure", **STAGE)
def measure_task(job: ScanJob, reconstruction: str, segmentation: str, config: ValidationConfig, threads: int) -> str:
    """Measure every arm of one scan."""
    settle(threads)
    return str(measure_scan(job, Path(reconstruction), Path(segmentation), config))


TASKS: dict[str, Any] = {"reconstruct": reconstruct_task, "segment": segment_task, "measure": measure_task}


class Work:
    """What a run does; for the flow alone.

    Prefect sends the parameters of a flow to its server, and to the workers with every single task: of a cohort of
    thousands of scans they would be gigabytes. Sent away, this is empty.
    """

    __slots__ = ("advance", "config", "jobs", "log", "outcome", "problem", "threads")

    def __init__(self, jobs: list[ScanJob], config: ValidationConfig | None, threads: int, advance: Advance) -> None:
        self.jobs, self.config, self.threads, self.advance = jobs, config, threads, advance
        self.log: RunLog | None = None
        # what the flow came to: Prefect gives it back only if its server is still there
        self.outcome: tuple[list[Path], list[Failure]] | None = None
        self.problem: Exception | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Work, ([], None, 0, print)


@flow(name="cardioval-validate", validate_parameters=False, log_prints=False, persist_result=False)
def validate_scans(study: str, n_scans: int, work: Work) -> tuple[list[Path], list[Failure]]:
    """Every scan through reconstruction, segmentation and measurement; what fails does not stop the others.

    ``study`` and ``n_scans`` are what Prefect's page shows of the run. An error is left in ``work`` and not raised: Prefect
    would write it to its storage as a pickle, whatever is said about results.
    """
    del study
    try:
        return _validated(n_scans, work)
    except Exception as problem:
        work.problem = problem
        return Failed(message=str(problem))  # type: ignore[return-value]  # who calls it finds the error in `work`


def _validated(n_scans: int, work: Work) -> tuple[list[Path], list[Failure]]:
    config = work.config
    if config is None:
        raise ConfigProblem("the flow cannot be started on its own; use cardioval validate, or cardioval serve")
    stages = list(TASKS)
    tasks = {stage: task.with_options(retries=config.running.retries) for stage, task in TASKS.items()}
    pinned = pins_gpus(config.running)
    awaited: Awaited[tuple[ScanJob, int]] = Awaited()
    made: dict[ScanJob, list[str]] = {job: [] for job in work.jobs}
    failed: dict[ScanJob, Failure] = {}
    number = {job: index for index, job in enumerate(work.jobs)}

    def submit(job: ScanJob) -> None:
        stage = stages[len(made[job])]
        beside = {"summarized": shift_arm(number[job], config)} if stage == stages[0] else {}
        with placed(stage, config.running, pinned=pinned):
            awaited.add((job, len(made[job])), tasks[stage].submit(job, *made[job], config, work.threads, **beside))

    for job in work.jobs:
        submit(job)
    done = dict.fromkeys(stages, 0)
    for (job, at), outcome in awaited:
        if isinstance(outcome, str):
            made[job].append(outcome)
            if at + 1 < len(stages):
                submit(job)
        elif reason := stop_reason(outcome, config.out):
            raise stopped(config.out, reason)
        elif of_server(outcome):
            raise as_error(outcome)
        else:
            failed[job] = stage_failure(job, stages[at], as_error(outcome))
        done[stages[at]] += 1
        lost_before = sum(f.stage in stages[:at] for f in failed.values())
        if work.log:
            work.log.stage(stages[at], job.label, outcome, reason=failed[job].reason if job in failed else "")
        work.advance(stages[at], done[stages[at]], n_scans - lost_before, job.label)
    complete = [Path(paths[-1]) for job, paths in made.items() if job not in failed]
    work.outcome = complete, [failed[job] for job in work.jobs if job in failed]
    return work.outcome


def as_error(outcome: Any) -> Exception:
    """What a failed task left behind, as an exception."""
    return outcome if isinstance(outcome, Exception) else RuntimeError(str(outcome))


def stage_failure(job: ScanJob, stage: str, problem: Exception) -> Failure:
    """A scan that a stage could not do, with the measurements that are therefore missing."""
    n_frames = MIN_FRAMES_FOR_OUTPUT
    with contextlib.suppress(OSError, ValueError, KeyError):
        n_frames = int(read_manifest(job.reconstruction)["shape"][0])
    reason = getattr(problem, "reason", "") or " ".join(str(problem).split()) or type(problem).__name__
    if not isinstance(problem, CardioValError):
        reason = f"{type(problem).__name__}: {reason}"
    return Failure(
        columns=job.columns(),
        file=job.path.name,
        stage=stage,
        reason=reason,
        phenotypes=tuple(planned(job.modality, n_frames=n_frames)),
    )


def remove_images(jobs: list[ScanJob]) -> None:
    """Free the disk of reconstructed images; their manifests then no longer count as complete."""
    for job in jobs:
        for file in job.folder.glob("*.nii.gz"):
            file.unlink()
