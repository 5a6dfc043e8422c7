"""How sensitive is each receiver coil to each point of the body?

ESPIRiT: the calibration region holds small patches of k-space, and all of them lie in a subspace; the sensitivities
are the vectors that the projection on this subspace leaves unchanged, pixel by pixel. Where the calibration region
holds whole lines the patches lie along ky only, column by column (``recon.hybrid``).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from cohort.records import MeasurementFailed
from recon.fourier import center_crop, center_pad, center_slice, ifft2c
from recon.hybrid import column_filters
from recon.map_edges import continued_to_edges

KERNEL = 6  # k-space points along each side of a patch
MAX_CALIBRATION = 24  # k-space points used along each axis; more only costs time
RANK_THRESHOLD = 0.05  # singular values of the calibration matrix below this part of the largest are noise
MIN_OVERLAP = 0.1  # a start vector that the matrix shortens more, compared with its strongest column, is no start
POWER_STEPS, CHEBYSHEV_STEPS, CHEBYSHEV_BOUND = 3, 12, 0.95
ROW_BUDGET = 2**19  # complex numbers of the pixel matrices worked on at once, to stay in the cache


@dataclass(frozen=True)
class CoilMaps:
    """Coil sensitivities with unit root sum of squares, and how sure they are.

    Attributes
    ----------
    maps : complex tensor (slices, coils, y, x)
    support : real tensor (slices, y, x)
        Eigenvalue of the projection, near 1 where there is signal, lower in air.
    """

    maps: torch.Tensor
    support: torch.Tensor


def calibrated_maps(kspace: torch.Tensor, mask: NDArray[np.bool_]) -> CoilMaps:
    """Maps from the calibration region that the mask holds, one set a slice, common to all frames.

    Parameters
    ----------
    kspace : complex tensor (frames, slices, coils, ky, kx)
    mask : bool array (frames, ky, kx)

    Returns
    -------
    CoilMaps

    Raises
    ------
    MeasurementFailed
        If the mask has no fully sampled center of at least 6 x 6 points, or a slice has no signal there.
    """
    n_ky, n_kx = calibration_size(mask)
    if min(n_ky, n_kx) < KERNEL:
        raise MeasurementFailed(
            f"expected a fully sampled center of at least {KERNEL} x {KERNEL} k-space points to calibrate the coils, "
            f"got {n_ky} x {n_kx}; use a mask with more calibration lines or give maps"
        )
    whole_lines = n_kx == kspace.shape[-1]
    size = (min(n_ky, MAX_CALIBRATION), n_kx if whole_lines else min(n_kx, MAX_CALIBRATION))
    return espirit_maps(center_crop(kspace, size), shape=kspace.shape[-2:])


def soft_maps(found: CoilMaps, threshold: float) -> torch.Tensor:
    """Maps (slices, coils, y, x) that fade out where the calibration region shows no signal (soft SENSE).

    Their norm rises smoothly from 0 where the eigenvalue is at the threshold to 1 where it is 1, so that noise of air is
    left out without a hard edge. An image solved with them times their norm is on the scale of the root sum of squares.

    Raises
    ------
    ValueError
        If the threshold is not from 0 to below 1.
    """
    if not 0 <= threshold < 1:
        raise ValueError(f"expected a soft threshold from 0 to below 1, got {threshold}")
    part = ((found.support - threshold) / (1 - threshold)).clamp(0, 1)
    return found.maps * (part**2 * (3 - 2 * part))[:, None]


def calibration_size(mask: NDArray[np.bool_]) -> tuple[int, int]:
    """Sides (ky, kx) of the largest central block that every frame samples fully; (0, 0) if there is none.

    Where whole lines are sampled this is all of kx and the central lines; otherwise the largest central square.
    """
    sampled: NDArray[np.bool_] = np.all(mask, axis=0)
    n_ky, n_kx = sampled.shape
    if (sampled == sampled[:, :1]).all():
        lines = _largest(n_ky, lambda n: bool(sampled[center_slice(n_ky, n), 0].all()))
        return (lines, n_kx) if lines else (0, 0)
    side = _largest(min(n_ky, n_kx), lambda n: bool(sampled[center_slice(n_ky, n), center_slice(n_kx, n)].all()))
    return side, side


def espirit_maps(
    calibration: torch.Tensor, *, shape: Sequence[int], kernel: int = KERNEL, rank_threshold: float = RANK_THRESHOLD
) -> CoilMaps:
    """ESPIRiT sensitivities (first set) from fully sampled central k-space.

    Parameters
    ----------
    calibration : complex tensor (frames, slices, coils, ky, kx)
        Central k-space, at least ``kernel`` points along both axes; the frames share their coils, so all of them count.
        With as many points along kx as ``shape`` the maps are found column by column, without periodicity along x.
    shape : (ny, nx)
        Size of the maps.
    kernel : int
        Side of a patch.
    rank_threshold : float, 0 to 1
        Singular values below this part of the largest are left out.

    Returns
    -------
    CoilMaps
        The phase of the maps is such that the strongest combination of the coils has phase 0.

    Raises
    ------
    MeasurementFailed
        If a slice has no signal.

    Notes
    -----
    Source: Uecker et al. 2014, doi:10.1002/mrm.24751.
    """
    results = [_slice_maps(calibration[:, s], shape, kernel, rank_threshold) for s in range(calibration.shape[1])]
    return CoilMaps(torch.stack([maps for maps, _ in results]), torch.stack([support for _, support in results]))


def _slice_maps(
    calibration: torch.Tensor, shape: Sequence[int], kernel: int, rank_threshold: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Maps (coils, y, x) and support (y, x) of one slice from (frames, coils, ky, kx)."""
    n_coils = calibration.shape[1]
    strength = torch.linalg.vector_norm(calibration)
    if not bool(strength > 0):
        raise MeasurementFailed("expected signal in the calibration region, got only zeros; leave the slice out")
    calibration = calibration / strength
    flat = calibration.transpose(0, 1).reshape(n_coils, -1)
    principal = torch.linalg.eigh(flat @ flat.mH).eigenvectors[:, -1]
    ny, nx = shape
    offsets = torch.arange(-kernel, kernel, device=calibration.device)
    if calibration.shape[-1] == nx:
        along_x = column_filters(calibration, kernel=kernel, rank_threshold=rank_threshold)
    else:
        filters = _projection_filters(calibration, kernel, rank_threshold)
        along_x = torch.einsum("abij,jx->abix", filters, _waves(nx, offsets, calibration.dtype))
    waves_y = _waves(ny, offsets, calibration.dtype)
    maps = calibration.new_empty((n_coils, ny, nx))
    support = calibration.real.new_empty((ny, nx))
    step = max(1, ROW_BUDGET // (n_coils**2 * nx))
    for start in range(0, ny, step):
        rows = slice(start, min(start + step, ny))
        matrices = torch.einsum("abix,iy->abyx", along_x, waves_y[:, rows])
        maps[:, rows], support[rows] = _dominant_eigenvector(matrices, principal)
    virtual = torch.einsum("a,ayx->yx", principal.conj(), maps)
    maps = maps * torch.exp(-1j * virtual.angle())
    if calibration.shape[-1] < nx:
        signal = torch.linalg.vector_norm(ifft2c(center_pad(calibration, shape)), dim=(0, 1))
        maps = continued_to_edges(maps, support, signal=signal, cell_px=nx / calibration.shape[-1])
    return maps, support


def _projection_filters(calibration: torch.Tensor, kernel: int, rank_threshold: float) -> torch.Tensor:
    """Convolution kernels (coils, coils, 2 kernel, 2 kernel) of the projection on the patches' subspace.

    Averaged over the place in the patch.

    Element [.., i, j] belongs to the k-space offset (i - kernel, j - kernel).
    """
    n_coils = calibration.shape[1]
    patches = calibration.unfold(2, kernel, 1).unfold(3, kernel, 1)  # frame, coil, y, x, ky, kx
    patches = patches.permute(1, 4, 5, 0, 2, 3).reshape(n_coils * kernel**2, -1)
    energies, vectors = torch.linalg.eigh(patches @ patches.mH)
    kept = vectors[:, energies > rank_threshold**2 * energies[-1]]
    spectra = torch.fft.fft2(kept.T.reshape(-1, n_coils, kernel, kernel).conj(), s=(2 * kernel, 2 * kernel))
    power = torch.einsum("vakl,vbkl->abkl", spectra.conj(), spectra)
    filters = torch.fft.ifft2(power) / kernel**2
    return torch.fft.fftshift(filters, dim=(-2, -1))


def _waves(n: int, offsets: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """``exp(-2 pi i offset position / n)`` as (offsets, n), positions counted from the center."""
    position = torch.arange(n, device=offsets.device) - n // 2
    phase = -2 * torch.pi / n * torch.outer(offsets, position).to(torch.float64)
    return torch.exp(1j * phase).to(dtype)


def _dominant_eigenvector(matrices: torch.Tensor, principal: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit eigenvector (n, ...) and eigenvalue (...) of Hermitian matrices (n, n, ...) by polynomial iteration.

    Where two eigenvalues are alike, as with few coils that the calibration does not tell apart, the start decides: it is
    the strongest combination of the coils (n), ``principal``, so that the order of the coils does not.
    """
    diagonal = torch.diagonal(matrices, dim1=0, dim2=1).real.movedim(-1, 0)
    strongest = diagonal.argmax(0, keepdim=True)
    column = torch.gather(matrices, 1, strongest.expand(len(matrices), 1, *strongest.shape[1:]))[:, 0]
    vector = torch.einsum("abyx,b->ayx", matrices, principal)
    # a place that this combination does not see starts from its strongest coil
    blind = torch.linalg.vector_norm(vector, dim=0) < MIN_OVERLAP * torch.linalg.vector_norm(column, dim=0)
    vector = torch.where(blind, column, vector)
    for _ in range(POWER_STEPS):
        vector = (matrices * _unit(vector)).sum(1)
    # Chebyshev polynomial: bounded on [0, bound], growing fast above it, where only the largest eigenvalue should be
    bound = CHEBYSHEV_BOUND * torch.linalg.vector_norm(vector, dim=0).clamp_min(torch.finfo(diagonal.dtype).tiny)
    before = _unit(vector)
    vector = (2 / bound) * (matrices * before).sum(1) - before
    for _ in range(CHEBYSHEV_STEPS - 1):
        before, vector = vector, 2 * ((2 / bound) * (matrices * vector).sum(1) - vector) - before
    vector = _unit(vector)
    return vector, torch.linalg.vector_norm((matrices * vector).sum(1), dim=0)


def _unit(vector: torch.Tensor) -> torch.Tensor:
    norm = torch.linalg.vector_norm(vector, dim=0)
    return vector / norm.clamp_min(torch.finfo(norm.dtype).tiny)


def _largest(length: int, fits: Callable[[int], bool]) -> int:
    """Largest n up to length for which fits(n) and all smaller ones hold; 0 if none."""
    n = 0
    while n < length and fits(n + 1):
        n += 1
    return n
