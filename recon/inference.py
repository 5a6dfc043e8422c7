"""How is undersampled k-space reconstructed? One entry point for all methods, batched over frames and slices."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from cohort.records import ConfigProblem
from recon.baselines import sense, zero_filled
from recon.cardiomm.prompts import HashedNgramEncoder, TextEncoder
from recon.cardiomm.run import Precision, cardiomm_image, engine_of
from recon.cardiomm.run import network_of as network_of
from recon.checks import check_calibration, check_input
from recon.compressed_sensing import compressed_sensing
from recon.grappa import grappa
from recon.low_rank_sparse import low_rank_sparse

Method = Literal["zero_filled", "sense", "grappa", "compressed_sensing", "low_rank_sparse", "cardiomm"]
METHODS: tuple[Method, ...] = get_args(Method)
Image = NDArray[np.float32] | NDArray[np.complex64]
CLASSICAL: dict[Method, Callable[..., Image]] = {
    "sense": sense,
    "grappa": grappa,
    "compressed_sensing": compressed_sensing,
    "low_rank_sparse": low_rank_sparse,
}


def reconstruct(
    kspace: NDArray[np.complex64],
    mask: NDArray[np.bool_],
    *,
    method: Method,
    metadata: Mapping[str, Any],
    device: str = "auto",
    weights: str | os.PathLike[str] | None = None,
    shared_maps: bool = False,
    encoder: TextEncoder | None = None,
    slices: Sequence[int] | None = None,
    batch_size: int | None = None,
    precision: Precision = "auto",
    progress: Callable[[], None] = lambda: None,
) -> Image:
    """Reconstruct a scan from the k-space that a mask leaves.

    Parameters
    ----------
    kspace
        (frames, slices, coils, ky, kx) complex64, readout oversampling removed. What the mask leaves out is never looked at.
    mask
        (frames, ky, kx) bool; one frame stands for all.
    method
        One of ``METHODS``.
    metadata
        ``pattern``, ``acceleration`` and ``n_calibration`` of the mask; for CardioMM also ``field_t``, ``vendor``,
        ``scanner``,
        ``modality``, ``view``.
    device
        ``auto`` takes a GPU if there is one.
    weights
        CardioMM checkpoint; None for the shipped one.
    shared_maps
        CardioMM: estimate the coil sensitivities once per slice from the mean of all frames, which is right where the
        contrast does not
        change (cine) and saves a third of the time. The released model estimates them in every frame.
    encoder
        CardioMM: text encoder, None for the embedded one; the one that the network was trained with.
    slices
        Indices of the slices that are reconstructed, None for all. A network for stacked slices takes the others as
        neighbors; at the ends of the stack the last one stands for the missing one.
    batch_size
        CardioMM: frames that go through the network together; None chooses by free memory. The images are the same.
    precision
        CardioMM: ``fp32``, ``bf16``, or ``auto``: bf16 on a GPU that computes in it, fp32 on a CPU.
    progress
        Called once for every slice that is done.

    Returns
    -------
    array (frames, slices wanted, y, x)
        complex64 (SENSE, compressed sensing, low rank plus sparse) or float32 magnitude, on the scale of the fully sampled root sum of squares.

    Raises
    ------
    ValueError
        Shapes that do not fit, an unknown method, k-space with NaN, or metadata without the mask's description.
    WeightsProblem
        The checkpoint is missing or cannot be used.
    """
    masked, mask = check_input(kspace, mask, method=method, methods=METHODS)
    where = pick_device(device)
    absent = [z for z in slices or () if not 0 <= z < masked.shape[1]]
    if absent:
        raise ValueError(f"expected slices from 0 to {masked.shape[1] - 1}, got {absent[0]}")
    if method != "cardiomm":
        masked = masked if slices is None else masked[:, list(slices)]
        image = zero_filled(masked, mask) if method == "zero_filled" else CLASSICAL[method](masked, mask, device=where)
        for _ in range(masked.shape[1]):
            progress()
        return image
    lacking = [key for key in ("pattern", "acceleration", "n_calibration") if key not in metadata]
    if lacking:
        raise ValueError(f"metadata lacks {', '.join(lacking)} of the mask, which CardioMM needs")
    check_calibration(masked, mask, metadata)
    return cardiomm_image(
        masked,
        mask,
        engine=engine_of(weights, device=where, precision=precision),
        metadata=metadata,
        device=where,
        shared_maps=shared_maps,
        encoder=encoder or HashedNgramEncoder(),
        slices=slices,
        batch_size=batch_size,
        progress=progress,
    )


def pick_device(device: str) -> torch.device:
    """``auto`` -> CUDA if there is one, else the CPU."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigProblem(f"device {device!r} was asked for, but torch sees no GPU; use auto or cpu")
    return torch.device(device)
