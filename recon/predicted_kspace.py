"""Which multi-coil k-space does a reconstruction stand for, also where nothing was measured?

CardioMM returns magnitudes, but the k-space of its last phase has phases and coils. Methods that return a complex image
stand for the transform of that image times the coil sensitivities.
"""

import os
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from recon.cardiomm.network import CardioMM, Family, root_sum_of_squares
from recon.cardiomm.prompts import FAMILY_OF_PATTERN, HashedNgramEncoder, TextEncoder, metadata_text, undersampling_text
from recon.checks import check_calibration
from recon.coils import calibrated_maps
from recon.fourier import fft2c, ifft2c
from recon.inference import Method, network_of, pick_device, reconstruct

COIL_PIXELS_PER_BATCH = 4 * 8 * 128 * 128
WITHOUT_COILS = ("zero_filled", "grappa")

Complex = NDArray[np.complex64]


def predicted_kspace(
    kspace: Complex,
    mask: NDArray[np.bool_],
    *,
    method: Method | str,
    metadata: Mapping[str, Any],
    device: str = "auto",
    weights: str | os.PathLike[str] | None = None,
    shared_maps: bool = False,
    encoder: TextEncoder | None = None,
) -> tuple[NDArray[np.float32], Complex]:
    """Reconstruct one slice; image and k-space.

    Parameters
    ----------
    kspace : complex64 array (frames, coils, ky, kx)
        Points outside the mask are not read.
    mask : bool array (frames, ky, kx)
    method, metadata, device, weights, shared_maps, encoder
        As in ``recon.inference.reconstruct``.

    Returns
    -------
    magnitude image (frames, y, x) float32, k-space (frames, coils, ky, kx) complex64

    Raises
    ------
    ValueError
        The method gives magnitudes without coils, so that it predicts no k-space; and as ``reconstruct``.
    """
    if method in WITHOUT_COILS:
        raise ValueError(
            f"{method} keeps no k-space of single coils to compare with held-back lines; expected sense, compressed_sensing, "
            "low_rank_sparse or cardiomm"
        )
    masked = np.where(mask[:, None], kspace, np.complex64(0))
    where = pick_device(device)
    if method == "cardiomm":
        network = network_of(weights, device=where)
        return _cardiomm(
            masked,
            mask,
            network=network,
            metadata=metadata,
            device=where,
            shared_maps=shared_maps,
            encoder=encoder or HashedNgramEncoder(),
        )
    image = reconstruct(masked[:, None], mask, method=cast(Method, method), metadata=metadata, device=device)[:, 0]
    if not np.iscomplexobj(image):
        raise ValueError(f"{method} returns magnitudes without coils; expected a complex image to predict k-space from")
    maps = calibrated_maps(torch.from_numpy(masked[:, None]), mask).maps[0]
    predicted = fft2c(maps * torch.from_numpy(image)[:, None]).numpy()
    return np.abs(image).astype(np.float32), predicted.astype(np.complex64, copy=False)


@torch.inference_mode()
def _cardiomm(
    masked: Complex,
    mask: NDArray[np.bool_],
    *,
    network: CardioMM,
    metadata: Mapping[str, Any],
    device: torch.device,
    shared_maps: bool,
    encoder: TextEncoder,
) -> tuple[NDArray[np.float32], Complex]:
    """The network's last k-space, its axes turned back to (ky, kx)."""
    lacking = [key for key in ("pattern", "acceleration", "n_calibration") if key not in metadata]
    if lacking:
        raise ValueError(f"metadata lacks {', '.join(lacking)} of the mask, which CardioMM needs")
    check_calibration(masked[:, None], mask, metadata)
    pattern = str(metadata["pattern"])
    texts = [metadata_text(metadata), undersampling_text(pattern, float(metadata["acceleration"]))]
    embeddings = torch.from_numpy(np.array(encoder(texts))).to(device)
    steering = {"n_calibration": int(metadata["n_calibration"]), "family": cast(Family, FAMILY_OF_PATTERN[pattern])}
    series = torch.from_numpy(np.ascontiguousarray(masked.swapaxes(-1, -2))).to(device)
    sampled = torch.from_numpy(np.ascontiguousarray(mask.swapaxes(-1, -2))).to(device)

    def texts_of(n: int) -> dict[str, Any]:
        given = {"metadata_embedding": embeddings[:1], "undersampling_embedding": embeddings[1:]}
        return {name: value.expand(n, -1) for name, value in given.items()} | steering

    maps = None
    if shared_maps:
        maps = network.sensitivity_maps(series.mean(dim=0, keepdim=True), sampled[:1], **texts_of(1))
    n_adjacent = network.size.n_adjacent
    if n_adjacent > 1 and network.size.stacked != "frames":
        raise ValueError("expected a network for single images or stacked frames; slices are predicted one by one here")
    image, predicted = np.empty(mask.shape, np.float32), np.empty_like(masked)
    batch = max(1, COIL_PIXELS_PER_BATCH // int(np.prod(masked.shape[1:])))
    for start in range(0, len(series), batch):
        part = slice(start, start + batch)
        frames = torch.arange(len(series))[part]
        if n_adjacent > 1:  # the frames of a heartbeat follow one another in a circle
            frames = (frames[:, None] + torch.arange(n_adjacent) - n_adjacent // 2) % len(series)
        shape = (*frames.shape, *series.shape[1:])
        given = None if maps is None else maps.expand(shape)
        last = network.reconstruct_kspace(series[frames], sampled[frames], maps=given, **texts_of(len(frames)))
        predicted[part] = last.transpose(-1, -2).cpu().numpy()
        image[part] = root_sum_of_squares(ifft2c(last), dim=1).float().transpose(-1, -2).cpu().numpy()
    return image, predicted
