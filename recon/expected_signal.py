"""How much signal does the calibration region show at each place, so that aliases are not put where there is air?"""

import numpy as np
import torch
from numpy.typing import NDArray

from recon.coils import KERNEL, MAX_CALIBRATION, calibration_size
from recon.fourier import center_crop, inverse_matrix, to_x

SIGNAL_FLOOR, SIGNAL_QUANTILE = 0.1, 0.98  # least expected signal, and what counts as full signal


def expected_signal(kspace: torch.Tensor, mask: NDArray[np.bool_]) -> torch.Tensor:
    """Magnitude of each frame's own low-resolution image, from 0.1 to about 1; 1 if there is no calibration region.

    Parameters
    ----------
    kspace : complex tensor (frames, coils, ky, kx)
    mask : bool array (frames, ky, kx)

    Returns
    -------
    real tensor (frames, y, x)
        Relative to the frame's 98th percentile, so it does not depend on the scale of the data.

    Notes
    -----
    Source: Tsao et al. 2003, doi:10.1002/mrm.10611.
    """
    signal = kspace.real.new_ones((len(kspace), *kspace.shape[-2:]))
    for frames in frames_by_mask(mask):
        size = calibration_size(mask[frames[:1]])
        if min(size) < KERNEL:
            continue
        # frame by frame: the coil images of a long series would be a second copy of its k-space
        image = torch.stack([low_resolution(kspace[frame], size) for frame in frames])
        full = _upper_quantile(image.flatten(-2), SIGNAL_QUANTILE)[..., None, None]
        relative = image / full.clamp_min(torch.finfo(image.dtype).tiny)
        signal[frames] = torch.hypot(relative.clamp_max(1), torch.full_like(relative, SIGNAL_FLOOR))
    return signal


def frames_by_mask(mask: NDArray[np.bool_]) -> list[list[int]]:
    """Indices of the frames, those with the same mask together."""
    groups: dict[bytes, list[int]] = {}
    for frame, sampled in enumerate(mask):
        groups.setdefault(np.packbits(sampled).tobytes(), []).append(frame)
    return list(groups.values())


def low_resolution(kspace: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Root sum of squares (..., y, x) of the center (..., coils, ky, kx), tapered along axes that it does not fill."""
    n_y, n_x = kspace.shape[-2:]
    kept_y, kept_x = min(size[0], MAX_CALIBRATION), size[1] if size[1] == n_x else min(size[1], MAX_CALIBRATION)
    center = center_crop(kspace, (kept_y, kept_x))
    along_y = _tapered(n_y, kept_y, kspace)
    along_x = to_x(center) if kept_x == n_x else center @ _tapered(n_x, kept_x, kspace).T
    coils = along_y @ along_x
    return (coils.real.square() + coils.imag.square()).sum(-3).sqrt()  # ten times faster than vector_norm


def _upper_quantile(values: torch.Tensor, part: float) -> torch.Tensor:
    """``torch.quantile`` of the last axis for a high quantile, without sorting all of it."""
    place = part * (values.shape[-1] - 1)
    below = int(place)
    highest = values.topk(values.shape[-1] - below, dim=-1).values
    low, high = highest[..., -1], highest[..., -2 if highest.shape[-1] > 1 else -1]
    return low + (place - below) * (high - low)


def _tapered(n: int, kept: int, like: torch.Tensor) -> torch.Tensor:
    """Inverse transform (n, kept) of the central points of an axis, with a Hann window if they do not fill it."""
    center = torch.arange(kept, device=like.device) + n // 2 - kept // 2
    matrix = inverse_matrix(n, center, dtype=like.dtype)
    if kept == n:
        return matrix
    return matrix * torch.hann_window(kept + 2, periodic=False, device=like.device, dtype=like.real.dtype)[1:-1]
