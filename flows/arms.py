"""What does one arm of a validation reconstruct: which mask, described how, on which matrix, slice by slice?"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cohort.cmrxrecon import find_mask, read_mask
from cohort.fingerprint import file_sha256
from cohort.records import CardioValError, WrongShape
from flows.config import MASKS_FROM_FILES, REFERENCE, Arm, ValidationConfig
from recon.acquired_region import AcquiredRegion
from recon.baselines import fully_sampled
from recon.cardiomm.prompts import TextEncoder
from recon.cardiomm.vocabulary import prompt_notes
from recon.coils import calibration_size
from recon.fourier import center_crop
from recon.inference import reconstruct
from recon.sampling import undersampling_mask

CINE = "cine"


class Described(Protocol):
    """What of a scan decides its masks and texts."""

    @property
    def path(self) -> Path: ...
    @property
    def label(self) -> str: ...
    @property
    def field_t(self) -> float: ...
    @property
    def vendor(self) -> str: ...
    @property
    def scanner(self) -> str: ...
    @property
    def modality(self) -> str: ...
    @property
    def view(self) -> str: ...


@dataclass(frozen=True)
class ArmMask:
    """The mask of an arm on the matrix that is reconstructed.

    Attributes
    ----------
    sampled : bool array (frames, ky, kx)
        Points that were never acquired are never sampled.
    effective_acceleration : float
        Acquired points over sampled ones; 1 for the reference.
    n_calibration : int
        Central lines (radial: side of the central square) used for calibration, at most those asked for.
    seed : int or None
        Of a generated mask.
    file : str
        Name of the mask's file, empty for a generated one.
    whole_readout : bool
        The mask is of the readout with its oversampling, which is removed from the image instead of the k-space: points
        of a radial mask have no counterpart on the coarser grid.
    """

    sampled: NDArray[np.bool_]
    effective_acceleration: float
    n_calibration: int
    seed: int | None = None
    file: str = ""
    whole_readout: bool = False


def arm_mask(
    arm: Arm,
    *,
    job: Described,
    config: ValidationConfig,
    region: AcquiredRegion,
    shape: Sequence[int],
    oversampling: int,
) -> ArmMask:
    """Make or read the mask of an accelerated arm.

    Parameters
    ----------
    region
        What of the scan was acquired.
    shape
        (frames, slices, coils, ky, kx) as stored.
    oversampling
        Of the readout.

    Raises
    ------
    ValueError
        No such mask for this matrix, or one that samples nothing.
    FileProblem
        The mask's file is missing, or is not of this scan.
    """
    under = config.undersampling
    acquired = region.acquired(oversampling)
    if under.masks == MASKS_FROM_FILES:
        file = find_mask(
            job.path, pattern=arm.pattern, acceleration=arm.acceleration, folder=under.masks_folder or None
        )
        stored = read_mask(file, shape=shape, n_readout=shape[-1] // oversampling)
        sampled = on_matrix(stored, region=region, shape=shape, oversampling=oversampling, path=file)
        whole_readout = sampled.shape[1:] != acquired.shape
        if whole_readout:
            acquired = region.acquired()
        return _described(sampled, acquired, under.n_calibration, file=file.name, whole_readout=whole_readout)
    # every scan has a mask of its own, and the same one in every run and for every method
    seed = zlib.crc32(f"{under.seed}|{job.label}|{arm.pattern}{arm.acceleration:g}".encode())
    sampled = undersampling_mask(
        arm.pattern,
        nx=acquired.shape[1],
        ny=acquired.shape[0],
        n_frames=shape[0],
        acceleration=arm.acceleration,
        n_calibration=under.n_calibration,
        seed=seed,
    )
    return _described(sampled, acquired, under.n_calibration, seed=seed)


def on_matrix(
    stored: NDArray[np.bool_], *, region: AcquiredRegion, shape: Sequence[int], oversampling: int, path: Path
) -> NDArray[np.bool_]:
    """A mask from a file on the padded matrix: without readout oversampling where its lines are whole, else as stored."""
    n_readout = region.kx.length // oversampling
    if (stored == stored[..., :1]).all():
        lines = np.broadcast_to(stored[..., :1], (*stored.shape[:-1], shape[-1]))
        return np.repeat(region.pad(lines)[..., region.kx.start : region.kx.start + 1], n_readout, axis=2)
    if stored.shape[-1] == shape[-1]:
        return region.pad(stored)
    if region.ky.padded or region.kx.padded:
        raise WrongShape(
            path,
            f"expected a mask of all {shape[-1]} samples of the readout, as this scan's center of k-space is off, "
            f"got {stored.shape[-1]}",
        )
    return stored


def _described(sampled: NDArray[np.bool_], acquired: NDArray[np.bool_], n_calibration: int, **more: Any) -> ArmMask:
    sampled = sampled & acquired
    n_sampled = int(np.count_nonzero(sampled))
    if not n_sampled:
        raise ValueError("expected a mask with at least one acquired point, got none; its acceleration is not defined")
    effective = len(sampled) * int(np.count_nonzero(acquired)) / n_sampled
    return ArmMask(sampled, effective, min(n_calibration, calibration_size(sampled)[0]), **more)


def arm_metadata(arm: Arm, *, job: Described, n_calibration: int) -> dict[str, Any]:
    """What the texts of CardioMM and the methods are told of scan and mask."""
    return {
        "field_t": job.field_t,
        "vendor": job.vendor,
        "scanner": job.scanner,
        "modality": job.modality,
        "view": job.view,
        "pattern": arm.pattern,
        "acceleration": arm.acceleration,
        "n_calibration": n_calibration,
    }


def arm_notes(arm: Arm, *, job: Described) -> list[str]:
    """What a reader of the arm's images should know: words that the network's texts do not."""
    return list(prompt_notes(arm_metadata(arm, job=job, n_calibration=0))) if arm.method == "cardiomm" else []


def reconstruct_arm(
    kspace: NDArray[np.complex64],
    arm: Arm,
    mask: ArmMask | None,
    *,
    job: Described,
    config: ValidationConfig,
    encoder: TextEncoder,
    slices: Sequence[int] | None = None,
    n_readout: int | None = None,
) -> NDArray[np.float32]:
    """Magnitude image (frames, slices wanted, y, x).

    Parameters
    ----------
    kspace
        (frames, slices, coils, ky, kx), padded; with the readout's oversampling if the mask is of the whole readout.
    mask
        None for the reference.
    slices
        Which are wanted, None for all; the others are neighbors of them.
    n_readout
        Pixels kept along x, where the oversampling is still there.
    """
    if arm == REFERENCE or mask is None:
        return fully_sampled(kspace if slices is None else kspace[:, list(slices)])
    image = reconstruct(
        kspace,
        mask.sampled,
        method=arm.method,  # type: ignore[arg-type]  # checked when the configuration was read
        metadata=arm_metadata(arm, job=job, n_calibration=mask.n_calibration),
        device=config.running.device,
        weights=config.reconstruction.weights or None,
        shared_maps=job.modality == CINE,
        encoder=encoder,
        slices=slices,
        batch_size=config.running.batch_size or None,
        precision=config.reconstruction.precision,  # type: ignore[arg-type]  # checked when the configuration was read
    )
    if n_readout is not None:
        image = center_crop(image, (n_readout,))
    return np.abs(image).astype(np.float32)


def mask_hashes(job: Described, config: ValidationConfig) -> dict[str, str]:
    """Hash of every mask file that the arms of a scan use, or why there is none; empty for generated masks."""
    under = config.undersampling
    if under.masks != MASKS_FROM_FILES:
        return {}
    found = {}
    for pattern, acceleration in under.patterns:
        try:
            file = find_mask(job.path, pattern=pattern, acceleration=acceleration, folder=under.masks_folder or None)
            found[f"{pattern}{acceleration:g}"] = file_sha256(file)
        except CardioValError as problem:
            found[f"{pattern}{acceleration:g}"] = str(problem)
    return found
