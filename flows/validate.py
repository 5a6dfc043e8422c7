"""How does a validation run? Catalogue, every scan through three stages, then one table, its statistics and the report.

The tasks are thin: they take and return paths and leave the work to ``flows.stages`` and ``flows.measure``. Prefect
gives order, retries,
caching and a record; the cache key of a task is the content key of its stage, and holds only while the stage's files
are unchanged.
"""

import contextlib
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from cohort.catalogue import catalogue_hash, scan_tree, select
from cohort.fingerprint import file_sha256
from cohort.records import CardioValError, ConfigProblem
from flows.analysis_plan import freeze, plan_of
from flows.caching import is_complete, read_manifest, stage_key
from flows.config import ValidationConfig, one_blas_thread, prepare_environment, worker_count
from flows.history import Recorded, record_run
from flows.measure import measure_scan, measurement_key, planned
from flows.measure_cine import MIN_FRAMES_FOR_OUTPUT
from flows.measure_map import MAP_NAME
from flows.outcome import Failure, write_results
from flows.provenance import device_name, provenance
from flows.shift import middle_slices, shift_rows
from flows.stages import (
    CINE,
    ScanJob,
    reconstruct_scan,
    reconstruction_key,
    segment_scan,
    segmentation_key,
    text_encoder,
)
from phenotyping.nnunet import model_identity, nnunet_library
from recon.inference import network_of, pick_device

prepare_environment()
from prefect import flow, task
from prefect.futures import PrefectFuture, as_completed
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

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
    config: ValidationConfig, *, resume: bool = False, advance: Advance = lambda stage, done, total, scan: None
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

    Raises
    ------
    ConfigProblem
        The output folder holds something and ``resume`` is not asked for, it holds another plan, or no scan is
        selected.
    """
    if config.out.exists() and any(config.out.iterdir()) and not resume:
        raise ConfigProblem(f"{config.out} is not empty; give another folder, or --resume to go on with that run")
    plan = plan_of(config)
    table = chosen_scans(config)
    device = pick_device(config.running.device)
    preflight(config, device=str(device))
    one_blas_thread()
    config.out.mkdir(parents=True, exist_ok=True)
    frozen = freeze(plan, config.out)
    workers = worker_count(config.running, on_gpu=device.type != "cpu")
    started = time.monotonic()
    jobs = [job_of(row, config) for row in table[table["status"] == "ok"].to_dict("records")]
    facts = provenance(config, inputs_sha256=inputs_hash(table, jobs), device=device_name(str(device)))
    facts["plan_sha256"] = frozen["sha256"]
    failures = [catalogue_failure(row, config) for row in table[table["status"] != "ok"].to_dict("records")]
    runner: TaskRunner[PrefectFuture[Any]] = ThreadPoolTaskRunner(max_workers=workers)  # type: ignore[assignment]
    run = validate_scans.with_options(task_runner=runner)
    measured, failed = run(jobs, config, workers, advance)
    facts["wall_s"] = round(time.monotonic() - started, 1)
    shift = center_shift(jobs, config)
    results = write_results(config, table, measured, [*failures, *failed], facts, plan=plan, frozen=frozen, shift=shift)
    if not config.running.keep_images:
        remove_images(jobs)
    recorded = record_run(config, results)
    return RunSummary(config.out, results, n_failed=len(results["failures"]), recorded=recorded)


def center_shift(jobs: list[ScanJob], config: ValidationConfig) -> list[dict[str, Any]]:
    """Distance of each center from the training, where a trained network takes part."""
    if not config.reconstruction.reliability or "cardiomm" not in config.reconstruction.methods:
        return []
    return shift_rows(middle_slices(jobs, config))


def preflight(config: ValidationConfig, *, device: str) -> None:
    """Find out now, and not after hours, what would stop the run: weights, text encoder."""
    if "cardiomm" in config.reconstruction.methods:
        network_of(config.reconstruction.weights or None, device=device)
    model_identity(config.segmentation.model_folder or None)
    text_encoder(config)


def chosen_scans(config: ValidationConfig) -> pd.DataFrame:
    """The selected rows of the catalogue, bad ones included; long series first, so that no core waits at the end."""
    wanted = {key: list(value) or None for key, value in vars(config.select).items()}
    table = select(scan_tree(config.cohort), **wanted)
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
    folder.mkdir(parents=True, exist_ok=True)
    return ScanJob(study=config.name, field_t=float(row["field_t"]), path=Path(row["path"]), folder=folder, **text)


def inputs_hash(table: pd.DataFrame, jobs: list[ScanJob]) -> str:
    """Hash of the catalogue and of every usable file's content."""
    return stage_key("inputs", 1, catalogue=catalogue_hash(table), files=[file_sha256(job.path) for job in jobs])


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


def stage_cache_key(context: Any, parameters: Mapping[str, Any]) -> str:
    """The stage's content key; a new one each time while its files are not there, so that Prefect computes them."""
    name, job, config = context.task.name, parameters["job"], parameters["config"]
    try:
        if name == "reconstruct":
            manifest, key = job.reconstruction, reconstruction_key(job, config)
        elif name == "segment":
            manifest, key = job.segmentation, segmentation_key(job, Path(parameters["reconstruction"]), config)
        else:
            manifest = job.measurements
            key = measurement_key(job, Path(parameters["segmentation"]), Path(parameters["reconstruction"]), config)
    except (CardioValError, OSError, ValueError):
        # the task itself will say what is wrong
        return uuid.uuid4().hex
    # results name their folder, so the same content elsewhere is another result
    return f"{key}-{job.folder}" if is_complete(manifest, key=key) else uuid.uuid4().hex


def worth_retrying(task: Any, run: Any, state: Any) -> bool:
    """Only what may pass by itself: not our own errors, which mean bad input, and not mistakes in the code."""
    del task, run
    problem = state.result(raise_on_failure=False)
    return isinstance(problem, OSError | MemoryError)


STAGE: dict[str, Any] = {
    "cache_key_fn": stage_cache_key,
    "persist_result": True,
    "retry_delay_seconds": RETRY_DELAY_S,
    "retry_condition_fn": worth_retrying,
}


@task(name="reconstruct", **STAGE)
def reconstruct_task(job: ScanJob, config: ValidationConfig, threads: int) -> str:
    """Reconstruct every arm of one scan."""
    torch.set_num_threads(threads)
    return str(reconstruct_scan(job, config))


@task(name="segment", **STAGE)
def segment_task(job: ScanJob, reconstruction: str, config: ValidationConfig, threads: int) -> str:
    """Label every arm of one scan."""
    torch.set_num_threads(threads)
    return str(segment_scan(job, Path(reconstruction), config))


@task(name="measure", **STAGE)
def measure_task(job: ScanJob, reconstruction: str, segmentation: str, config: ValidationConfig, threads: int) -> str:
    """Measure every arm of one scan."""
    torch.set_num_threads(threads)
    return str(measure_scan(job, Path(reconstruction), Path(segmentation), config))


@flow(name="cardioval-validate", validate_parameters=False, log_prints=False, persist_result=False)
def validate_scans(
    jobs: list[ScanJob], config: ValidationConfig, workers: int, advance: Advance
) -> tuple[list[Path], list[Failure]]:
    """Every scan through reconstruction, segmentation and measurement; what fails does not stop the others."""
    threads = max(1, len(os.sched_getaffinity(0)) // workers)
    nnunet_library()  # imported here once: two threads that import it at the same time get in each other's way
    failures: list[Failure] = []

    def stage(name: str, work: Mapping[ScanJob, Callable[[], PrefectFuture[str]]]) -> dict[ScanJob, str]:
        made: dict[ScanJob, str] = {}
        for job, outcome in finished(work):
            if isinstance(outcome, str):
                made[job] = outcome
            else:
                failures.append(stage_failure(job, name, outcome))
            advance(name, len(made) + sum(f.stage == name for f in failures), len(work), job.label)
        return made

    retries = config.running.retries
    reconstruct = reconstruct_task.with_options(retries=retries)
    segment = segment_task.with_options(retries=retries)
    measure = measure_task.with_options(retries=retries)
    images = stage("reconstruct", {j: partial(reconstruct.submit, j, config, threads) for j in jobs})
    labels = stage("segment", {j: partial(segment.submit, j, images[j], config, threads) for j in images})
    numbers = stage("measure", {j: partial(measure.submit, j, images[j], labels[j], config, threads) for j in labels})
    return [Path(numbers[job]) for job in jobs if job in numbers], failures


def finished(work: Mapping[ScanJob, Callable[[], PrefectFuture[str]]]) -> Iterator[tuple[ScanJob, str | Exception]]:
    """Submit all and yield each scan's result, or its error, as it comes."""
    futures = {job: start() for job, start in work.items()}
    jobs = {future.task_run_id: job for job, future in futures.items()}
    for future in as_completed(list(futures.values())):
        outcome = future.result(raise_on_failure=False)
        yield jobs[future.task_run_id], outcome if isinstance(outcome, str) else as_error(outcome)


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
