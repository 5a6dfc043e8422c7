"""How far is each center of a cohort from the training of the network? Rows for the results.

Each scan is summarized where it is reconstructed, while its k-space is still in the memory of that machine; the rows then
need the summaries alone.
"""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohort.cmrxrecon import open_kspace, read_info
from cohort.records import CardioValError, MeasurementFailed
from flows.arms import arm_mask, arm_metadata
from flows.caching import is_complete, read_manifest, stage_key, write_manifest
from flows.config import Arm, ValidationConfig
from flows.stages import ScanJob, acquired_region, readout_oversampling
from recon.fourier import remove_readout_oversampling
from recon.shift import shift_of_summaries, summarize_scan
from recon.training_cohort import ScanSummary, TrainingCohort

SHIFT_VERSION = 1
SUMMARY = "shift.json"


def shift_arm(number: int, config: ValidationConfig) -> Arm | None:
    """Whose mask the scan of this number in a run is summarized with, all patterns in turn; None where no trained network
    takes part."""
    if not config.reconstruction.reliability or "cardiomm" not in config.reconstruction.methods:
        return None
    one_each: dict[tuple[str, float], Arm] = {}
    for arm in config.arms():
        one_each.setdefault((arm.pattern, arm.acceleration), arm)
    arms = list(one_each.values())
    return arms[number % len(arms)]


def write_summary(job: ScanJob, arm: Arm, config: ValidationConfig) -> Path | None:
    """Summarize the middle slice of a scan that was reconstructed; nothing is, where it cannot be measured.

    Returns
    -------
    Path or None
        The summary, beside the scan's manifests; also of an earlier run, if it is complete.
    """
    path = job.folder / SUMMARY
    reconstruction = read_manifest(job.reconstruction)["key"]
    key = stage_key("shift", SHIFT_VERSION, reconstruction=reconstruction, arm=asdict(arm))
    if is_complete(path, key=key):
        return path
    try:
        middle = middle_slice(job, arm, config)
        summary = asdict(summarize_scan(middle.kspace, middle.sampled, metadata=middle.said))
    except (CardioValError, ValueError):
        path.unlink(missing_ok=True)
        return None
    correlation = summary["coil_correlation"]
    summary["coil_correlation"] = None if math.isnan(correlation) else correlation
    return write_manifest(path, key=key, files=[], content={"summary": summary})


def read_summary(path: Path) -> ScanSummary:
    """A summary as written."""
    stored = read_manifest(path)["summary"]
    correlation = math.nan if stored["coil_correlation"] is None else stored["coil_correlation"]
    lists = {name: tuple(stored[name]) for name in ("rings", "density")}
    return ScanSummary(**stored | lists | {"coil_correlation": correlation})


def shift_rows(jobs: Iterable[ScanJob], *, cohort: TrainingCohort | None = None) -> list[dict[str, Any]]:
    """Rows of the table of shifts: center, measure, value, usual range (None where open), flag, note.

    Of the scans that were summarized; no row if none was.
    """
    paths = [(job.center, job.folder / SUMMARY) for job in jobs]
    summaries = [(center, read_summary(path)) for center, path in paths if path.is_file()]
    rows = [asdict(row) for row in shift_of_summaries(summaries, cohort=cohort)] if summaries else []
    return [
        {key: None if isinstance(value, float) and not np.isfinite(value) else value for key, value in row.items()}
        for row in rows
    ]


@dataclass(frozen=True)
class MiddleSlice:
    """k-space (frames, 1, coils, ky, kx) of a scan's middle slice, the mask (frames, ky, kx), and what is said of it."""

    kspace: NDArray[np.complex64]
    sampled: NDArray[np.bool_]
    said: dict[str, Any]


def middle_slice(job: ScanJob, arm: Arm, config: ValidationConfig) -> MiddleSlice:
    """Read the middle slice of a scan, and draw its mask; nothing is reconstructed.

    Raises
    ------
    CardioValError, ValueError
        The scan cannot be read, has no such mask, or an empty middle slice.
    """
    info = read_info(job.path)
    with open_kspace(job.path) as source:
        oversampling = readout_oversampling(info, source.shape[-1], path=job.path)
        region = acquired_region(source, oversampling=oversampling)
        mask = arm_mask(arm, job=job, config=config, region=region, shape=source.shape, oversampling=oversampling)
        kspace = region.pad(source.read_slice(source.shape[1] // 2))
    if not mask.whole_readout:
        kspace = remove_readout_oversampling(kspace, oversampling)
    if not kspace.any():
        raise MeasurementFailed(f"{job.label}: the middle slice is empty")
    return MiddleSlice(kspace, mask.sampled, dict(arm_metadata(arm, job=job, n_calibration=mask.n_calibration)))
