"""How many frames go through the network at once? As many as memory allows, and on a CPU no more than help."""

import os
from pathlib import Path

import torch

from recon.cardiomm.network import CardioMMSize

LIVE_FEATURES = 6
"""Full-resolution feature maps of one U-Net that are alive together: the skip, a block's input, both convolutions, its
output, and one of working space."""
LIVE_COIL_ARRAYS = 7
"""Complex arrays of all coils: measured, maps and their conjugate, k-space, transform, difference, working space."""
COMPLEX_BYTES = 8
CPU_BYTES = 96 * 2**20
"""Larger batches gain nothing on a CPU: from 1 to 12 frames the time differed by at most a tenth."""
SHARE_OF_FREE = {"cpu": 0.25, "cuda": 0.6}
UNKNOWN_FREE_BYTES = 2**30


def frames_at_once(
    size: CardioMMSize,
    *,
    n_coils: int,
    n_pixels: int,
    dtype: torch.dtype,
    device: torch.device,
    batch_size: int | None = None,
) -> int:
    """Frames that go through the cascades together.

    Parameters
    ----------
    size
        Of the network.
    n_coils, n_pixels
        Of a frame.
    dtype
        Of the convolutions.
    device
        Whose free memory counts.
    batch_size
        This many; None decides by memory. The images are the same.

    Raises
    ------
    ValueError
        A batch size below one.
    """
    if batch_size is not None:
        if batch_size < 1:
            raise ValueError(
                f"expected a batch size of at least one frame, or None for an automatic one, got {batch_size}"
            )
        return batch_size
    budget = SHARE_OF_FREE.get(device.type, SHARE_OF_FREE["cpu"]) * free_bytes(device)
    if device.type == "cpu":
        budget = min(budget, CPU_BYTES)
    return max(1, int(budget // bytes_per_frame(size, n_coils=n_coils, n_pixels=n_pixels, dtype=dtype)))


def bytes_per_frame(size: CardioMMSize, *, n_coils: int, n_pixels: int, dtype: torch.dtype) -> int:
    """Estimated peak of working memory for each frame of a batch (without weights and the k-space as it came)."""
    features = size.n_features * dtype.itemsize * LIVE_FEATURES
    coils = size.n_adjacent * n_coils * COMPLEX_BYTES * LIVE_COIL_ARRAYS
    return n_pixels * (features + coils)


def coil_images_at_once(size: CardioMMSize, n_frames: int) -> int:
    """Coil images that take the sensitivity network as much memory as a batch of frames takes a phase."""
    return max(1, round(n_frames * size.n_features / size.sensitivity_features))


def free_bytes(device: torch.device) -> int:
    """Memory that can still be had: of the GPU with what torch keeps unused, of the system without swapping."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return UNKNOWN_FREE_BYTES
