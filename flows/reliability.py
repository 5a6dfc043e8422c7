"""How far can an arm of a scan be relied on? Entries for the manifest of its reconstruction."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohort.records import MeasurementFailed
from flows.arms import CINE, ArmMask, Described, arm_metadata
from flows.config import Arm, ValidationConfig
from recon.cardiomm.checkpoint import SHIPPED_WEIGHTS, weights_sha256
from recon.cardiomm.prompts import TextEncoder
from recon.reliability import ReliabilityResult, merge_slices, reliability
from recon.reliability_model import load_reliability_model

SCORED_METHODS = ("cardiomm", "sense")
HELD_BACK_SEED = 3
MOST_FRAMES = 12
"""Frames that are judged of a longer series, from its beginning: more cost time and memory and say little more."""


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
        Too few lines to keep some back, or a network that the score was not fitted to.
    """
    if arm.method not in SCORED_METHODS:
        return None
    refuse_other_weights(arm.method, config)
    if len(kspace) > MOST_FRAMES:
        # maps that frames share would differ from those of the whole series, so its images are not taken
        image = None
    return reliability(
        kspace[:MOST_FRAMES],
        mask.sampled[:MOST_FRAMES],
        method=arm.method,
        metadata=arm_metadata(arm, job=job, n_calibration=mask.n_calibration),
        rng=np.random.default_rng(HELD_BACK_SEED if mask.seed is None else (HELD_BACK_SEED, mask.seed)),
        device=config.running.device,
        weights=config.reconstruction.weights or None,
        image=None if mask.whole_readout else image,
        shared_maps=job.modality == CINE,
        encoder=encoder,
    )


def refuse_other_weights(method: str, config: ValidationConfig) -> None:
    """A score says nothing of weights that it was not fitted to."""
    fitted = load_reliability_model(method).notes.get("reconstruction_weights_sha256")
    if fitted and weights_sha256(config.reconstruction.weights or SHIPPED_WEIGHTS) != fitted:
        raise MeasurementFailed(
            f"the score was fitted to CardioMM weights {fitted[:12]}, not to these; fit it anew with "
            "benchmarks/reliability.py --fit"
        )


def reliability_entry(results: Sequence[ReliabilityResult] = (), *, problem: str = "") -> dict[str, Any]:
    """What a manifest says of an arm: scores and flags, or why there are none. ``expected_nmse`` is the score as a ratio."""
    if problem or not results:
        return {"status": "failed" if problem else "not_scored", "reason": problem}
    whole = merge_slices(results)
    return {"status": "ok", "reason": "", "expected_nmse": 10**whole.score, **asdict(whole)}
