"""What do the calibration lines say about the coils at each place of the readout?

Calibration lines are sampled along all of kx, so an inverse transform along x gives, column by column, a small
one-dimensional problem along ky. Its kernels never reach from one column to another: the body may go on beyond the left
and right edge of the image, as it always does in short-axis cine, without the edges spoiling each other.
"""

import torch

from recon.fourier import to_x

COLUMN_STEP = 3  # columns between two calibrations; the kernels between them are interpolated
COLUMN_REACH = 2  # columns on each side that a calibration looks at, with triangular weights; fewer at the edges
SIGNAL_FLOOR = 1e-3  # singular values below this part of the largest of all columns are noise (columns of air)


def column_filters(lines: torch.Tensor, *, kernel: int, rank_threshold: float) -> torch.Tensor:
    """Convolution kernels along ky, at every x, of the projection on the subspace of the calibration lines' patches.

    Parameters
    ----------
    lines : complex tensor (frames, coils, ky, kx)
        Fully sampled central lines, at least ``kernel`` of them, of all kx.
    kernel : int
        k-space points of a patch along ky.
    rank_threshold : float, 0 to 1
        Singular values below this part of the largest of the column are left out.

    Returns
    -------
    complex tensor (coils, coils, 2 kernel, x)
        Element [.., i, x] belongs to the k-space offset i - kernel.
    """
    n_coils, n_x = lines.shape[1], lines.shape[-1]
    weights = _window(n_x, lines.device)
    patches = to_x(lines).unfold(2, kernel, 1)  # frame, coil, patch, x, place in the patch
    patches = patches.permute(3, 1, 4, 0, 2).reshape(n_x, n_coils * kernel, -1)
    covariance = torch.einsum("nx,xij->nij", weights.to(lines.dtype), patches @ patches.mH)
    energies, vectors = torch.linalg.eigh(covariance)
    floor = torch.maximum(rank_threshold**2 * energies[:, -1:], SIGNAL_FLOOR**2 * energies.max())
    kept = (vectors * (energies > floor)[:, None]).reshape(-1, n_coils, kernel, n_coils * kernel)
    spectra = torch.fft.fft(kept.conj(), n=2 * kernel, dim=2)
    power = torch.einsum("nakv,nbkv->abkn", spectra.conj(), spectra)
    filters = torch.fft.fftshift(torch.fft.ifft(power, dim=2) / kernel, dim=2)
    return _interpolated(filters, n_x)


def _nodes(n_x: int, device: torch.device) -> torch.Tensor:
    """Places of the calibrations: evenly from the first to the last column."""
    return torch.linspace(0, n_x - 1, max(2, 1 + -(-(n_x - 1) // COLUMN_STEP)), device=device)


def _window(n_x: int, device: torch.device) -> torch.Tensor:
    """Weights (calibrations, x): triangles of unit sum, symmetric also at the edges, where they are narrower."""
    nodes = _nodes(n_x, device)
    to_edge = torch.minimum(nodes, n_x - 1 - nodes)
    half_width = to_edge.clamp(min=min(1, COLUMN_REACH), max=COLUMN_REACH) + 1
    distance = (torch.arange(n_x, device=device) - nodes[:, None]).abs()
    weights = (1 - distance / half_width[:, None]).clamp_min(0)
    return weights / weights.sum(1, keepdim=True)


def _interpolated(filters: torch.Tensor, n_x: int) -> torch.Tensor:
    """Linear interpolation of the last axis to every column."""
    n_nodes = filters.shape[-1]
    place = torch.arange(n_x, device=filters.device) * ((n_nodes - 1) / (n_x - 1) if n_x > 1 else 0.0)
    left = place.floor().long().clamp(max=n_nodes - 2)
    part = (place - left).to(filters.dtype)
    return filters[..., left] * (1 - part) + filters[..., left + 1] * part
