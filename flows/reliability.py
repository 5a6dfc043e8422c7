"""How far can each arm of a scan be relied on, and how far is each center from the training? Entries for manifests and tables."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohort.cmrxrecon import open_kspace, read_info
from cohort.records import CardioValError, MeasurementFailed
from flows.arms import CINE, ArmMask, Described, arm_mask, arm_metadata
from flows.config import Arm, ValidationConfig
from flows.stages import acquired_region, readout_oversampling
from recon.cardiomm.prompts import TextEncoder
from recon.fourier import remove_readout_oversampling
from recon.reliability import ReliabilityResult, merge_slices, reliability
from recon.shift import Scan, shift_from_training
from recon.training_cohort import TrainingCohort

SCORED_METHODS = ("cardiomm", "sense")
HELD_BACK_SEED = 3


def slice_reliability(
    kspace: NDArray[np.complex64],
    arm: Arm,
    mask: ArmMask,
    *,
    image: NDArray[np.float32] | None,
    job: Described,
    config: ValidationConfig,
    encoder: TextEncoder,
) -> ReliabilityResult | None:
    """Judge some slices of an arm; the same lines are held back whichever slices these are.

    Parameters
    ----------
    kspace, arm, mask, job, config, encoder
        As ``flows.arms.reconstruct_arm`` took them.
    image
        What it returned, which saves a reconstruction; not looked at where the mask is of the whole readout.

    Returns
    -------
    ReliabilityResult or None
        None for methods that no score was fitted for.

    Raises
    ------
    MeasurementFailed
        Too few lines to keep some back.
    """
    if arm.method not in SCORED_METHODS:
        return None
    return reliability(
        kspace,
        mask.sampled,
        method=arm.method,
        metadata=arm_metadata(arm, job=job, n_calibration=mask.n_calibration),
        rng=np.random.default_rng(HELD_BACK_SEED if mask.seed is None else (HELD_BACK_SEED, mask.seed)),
        device=config.running.device,
        weights=config.reconstruction.weights or None,
        image=None if mask.whole_readout else image,
        shared_maps=job.modality == CINE,
        encoder=encoder,
    )


def reliability_entry(results: Sequence[ReliabilityResult], *, problem: str = "") -> dict[str, Any]:
    """What a manifest says of an arm: scores and flags, or why there are none. ``expected_nmse`` is the score as a ratio."""
    if problem or not results:
        return {"status": "failed" if problem else "not_scored", "reason": problem}
    whole = merge_slices(results)
    return {"status": "ok", "reason": "", "expected_nmse": 10**whole.score, **asdict(whole)}


def shift_rows(scans: Iterable[Scan], *, cohort: TrainingCohort | None = None) -> list[dict[str, Any]]:
    """Rows of the table of shifts: center, measure, value, usual range (None where open), flag, note."""
    rows = [asdict(row) for row in shift_from_training(scans, cohort=cohort)]
    return [
        {key: None if isinstance(value, float) and not np.isfinite(value) else value for key, value in row.items()}
        for row in rows
    ]


def middle_slices(jobs: Iterable[Any], config: ValidationConfig) -> Iterator[Scan]:
    """The middle slice of every scan with the masks of all patterns in turn; scans that cannot be read are left out.

    ``jobs`` are ``flows.stages.ScanJob``. Reading is all that is done: nothing is reconstructed.
    """
    arms = [arm for arm in dict.fromkeys((arm.pattern, arm.acceleration) for arm in config.arms()) if arm[0]]
    by_mask = {key: next(a for a in config.arms() if (a.pattern, a.acceleration) == key) for key in arms}
    for number, job in enumerate(jobs):
        arm = by_mask[arms[number % len(arms)]]
        try:
            scan = _middle_slice(job, arm, config)
        except (CardioValError, ValueError):
            continue  # the reconstruction stage says why, for the same reason
        yield scan


def _middle_slice(job: Any, arm: Arm, config: ValidationConfig) -> Scan:
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
