"""How far is each center of a cohort from the training of the network? Rows for the results."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

import numpy as np

from cohort.cmrxrecon import open_kspace, read_info
from cohort.records import CardioValError, MeasurementFailed
from flows.arms import arm_mask, arm_metadata
from flows.config import Arm, ValidationConfig
from flows.stages import ScanJob, acquired_region, readout_oversampling
from recon.fourier import remove_readout_oversampling
from recon.shift import Scan, shift_from_training
from recon.training_cohort import TrainingCohort


def shift_rows(scans: Iterable[Scan], *, cohort: TrainingCohort | None = None) -> list[dict[str, Any]]:
    """Rows of the table of shifts: center, measure, value, usual range (None where open), flag, note."""
    rows = [asdict(row) for row in shift_from_training(scans, cohort=cohort)]
    return [
        {key: None if isinstance(value, float) and not np.isfinite(value) else value for key, value in row.items()}
        for row in rows
    ]


def middle_slices(jobs: Iterable[ScanJob], config: ValidationConfig) -> Iterator[Scan]:
    """The middle slice of every scan with the masks of all patterns in turn; scans that cannot be read are left out.

    Reading is all that is done: nothing is reconstructed.
    """
    one_each: dict[tuple[str, float], Arm] = {}
    for arm in config.arms():
        one_each.setdefault((arm.pattern, arm.acceleration), arm)
    arms = list(one_each.values())
    for number, job in enumerate(jobs):
        try:
            scan = _middle_slice(job, arms[number % len(arms)], config)
        except (CardioValError, ValueError):
            continue  # the reconstruction stage says why, for the same reason
        yield scan


def _middle_slice(job: ScanJob, arm: Arm, config: ValidationConfig) -> Scan:
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
    return job.center, kspace, mask.sampled, arm_metadata(arm, job=job, n_calibration=mask.n_calibration)
