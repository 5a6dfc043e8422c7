"""How is undersampled k-space reconstructed? One entry point for all methods, batched over frames and slices."""

import os
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cohort.records import ConfigProblem
from recon.baselines import sense, zero_filled
from recon.cardiomm.checkpoint import SHIPPED_WEIGHTS, load_cardiomm, weights_sha256
from recon.cardiomm.network import CardioMM, Family
from recon.cardiomm.prompts import FAMILY_OF_PATTERN, HashedNgramEncoder, TextEncoder, metadata_text, undersampling_text
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

COILS_PIXELS_PER_BATCH = 8 * 128 * 128 * 4
"""Coil pixels that go through the network at once: about 0.3 GB of activations at the shipped size; larger batches are
slower on a CPU, whose cache they leave."""


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
        CardioMM: text encoder, None for the embedded one.
    progress
        Called once for every slice that is done.

    Returns
    -------
    array (frames, slices, y, x)
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
    if method != "cardiomm":
        image = zero_filled(masked, mask) if method == "zero_filled" else CLASSICAL[method](masked, mask, device=where)
        for _ in range(kspace.shape[1]):
            progress()
        return image
    lacking = [key for key in ("pattern", "acceleration", "n_calibration") if key not in metadata]
    if lacking:
        raise ValueError(f"metadata lacks {', '.join(lacking)} of the mask, which CardioMM needs")
    check_calibration(masked, mask, metadata)
    network = network_of(weights, device=where)
    return cardiomm_image(
        masked,
        mask,
        network=network,
        metadata=metadata,
        device=where,
        shared_maps=shared_maps,
        encoder=encoder or HashedNgramEncoder(),
        progress=progress,
    )


def pick_device(device: str) -> torch.device:
    """``auto`` -> CUDA if there is one, else the CPU."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigProblem(f"device {device!r} was asked for, but torch sees no GPU; use auto or cpu")
    return torch.device(device)


def network_of(weights: str | os.PathLike[str] | None, *, device: str | torch.device) -> CardioMM:
    """The network of a checkpoint, None for the shipped one; loaded once per process while the file does not change."""
    path = Path(weights or SHIPPED_WEIGHTS)
    return cached_network(str(path), weights_sha256(path), str(device))


@lru_cache(maxsize=2)
def cached_network(path: str, sha256: str, device: str) -> CardioMM:
    """Load a network once per process; the hash makes a changed file a new one."""
    del sha256
    return load_cardiomm(Path(path), device=device)


@torch.inference_mode()
def cardiomm_image(
    masked: NDArray[np.complex64],
    mask: NDArray[np.bool_],
    *,
    network: CardioMM,
    metadata: Mapping[str, Any],
    device: torch.device,
    shared_maps: bool,
    encoder: TextEncoder,
    progress: Callable[[], None],
) -> NDArray[np.float32]:
    """CardioMM on every frame of every slice; the texts are embedded once."""
    n_frames, n_slices, n_coils, ny, nx = masked.shape
    pattern, n_calibration = str(metadata["pattern"]), int(metadata["n_calibration"])
    texts = [metadata_text(metadata), undersampling_text(pattern, float(metadata["acceleration"]))]
    embeddings = torch.from_numpy(np.array(encoder(texts))).to(device)
    family = cast(Family, FAMILY_OF_PATTERN[pattern])
    # the network's rows are the readout: (…, ky, kx) -> (…, nx, ny)
    sampled = torch.from_numpy(np.ascontiguousarray(mask.swapaxes(-1, -2))).to(device)
    batch = max(1, COILS_PIXELS_PER_BATCH // (n_coils * ny * nx))
    image = np.empty((n_frames, n_slices, ny, nx), dtype=np.float32)

    def steering(n: int) -> dict[str, Any]:
        return {
            "metadata_embedding": embeddings[:1].expand(n, -1),
            "undersampling_embedding": embeddings[1:].expand(n, -1),
            "n_calibration": n_calibration,
            "family": family,
        }

    for z in range(n_slices):
        series = torch.from_numpy(np.ascontiguousarray(masked[:, z].swapaxes(-1, -2))).to(device)
        maps: Tensor | None = None
        if shared_maps:
            maps = network.sensitivity_maps(series.mean(dim=0, keepdim=True), sampled[:1], **steering(1))
        for start in range(0, n_frames, batch):
            part = series[start : start + batch]
            out = network(
                part,
                sampled[start : start + batch],
                maps=None if maps is None else maps.expand(len(part), -1, -1, -1),
                **steering(len(part)),
            )
            image[start : start + batch, z] = out.float().transpose(-1, -2).cpu().numpy()
        progress()
    return image
