"""What do the established methods make of undersampled k-space?

Zero-filled and SENSE images, at the scale of the fully sampled root-sum-of-squares image, so that no fitting of
intensities is needed before they are compared.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cohort.records import MeasurementFailed
from recon.coils import KERNEL, MAX_CALIBRATION, calibrated_maps, calibration_size
from recon.fourier import center_crop, center_pad, ifft2c
from recon.operators import SenseOperator
from recon.solvers import Operator, conjugate_gradient

# Chosen from 0.003, 0.005 and 0.01 on Uniform 4x and 8x, ktGaussian 16x and ktRadial 24x with 20 calibration lines, on
# k-space simulated from patients of the training split and on phantoms (8 coils; some cut at the readout's edges) and
# from an animal cine (6 coils, more noise): phantoms prefer 0.003, the animal 0.01; this is at most 0.8 dB and 0.023 of
# SSIM below the best of the three in each case. No scan that any report measures took part.
SENSE_REGULARIZATION = 0.005
SIGNAL_FLOOR, SIGNAL_QUANTILE = 0.1, 0.98  # least expected signal, and what counts as full signal
SENSE_ITERATIONS = 30
SENSE_TOLERANCE = 1e-3
CPU_BUDGET, GPU_BUDGET = 2**20, 2**26  # complex numbers of coil images worked on at once

KSpace = NDArray[np.complex64]
Mask = NDArray[np.bool_]


def fully_sampled(kspace: KSpace) -> NDArray[np.float32]:
    """Root sum of squares over the coils of the inverse transform: the reference image.

    Parameters
    ----------
    kspace : complex array (frames, slices, coils, ky, kx)

    Returns
    -------
    float32 array (frames, slices, y, x)
    """
    return zero_filled(kspace, np.ones((kspace.shape[0], *kspace.shape[-2:]), np.bool_))


def zero_filled(kspace: KSpace, mask: Mask) -> NDArray[np.float32]:
    """Root sum of squares of the sampled k-space with zeros elsewhere.

    Parameters
    ----------
    kspace : complex array (frames, slices, coils, ky, kx)
    mask : bool array (frames, ky, kx)

    Returns
    -------
    float32 array (frames, slices, y, x)

    Raises
    ------
    ValueError
        If the shapes do not fit.
    MeasurementFailed
        If the k-space has no signal or is not finite.
    """
    check_inputs(kspace, mask)
    image = np.empty((*kspace.shape[:2], *kspace.shape[-2:]), np.float32)
    for frame, (part, sampled) in enumerate(zip(kspace, mask, strict=True)):
        coils = ifft2c(torch.from_numpy(np.where(sampled, part, 0).astype(np.complex64, copy=False)))
        image[frame] = torch.linalg.vector_norm(coils, dim=1).numpy()
    return image


def sense(
    kspace: KSpace,
    mask: Mask,
    *,
    maps: NDArray[np.complex64] | None = None,
    regularization: float = SENSE_REGULARIZATION,
    max_iterations: int = SENSE_ITERATIONS,
    tolerance: float = SENSE_TOLERANCE,
    device: str | torch.device = "cpu",
) -> NDArray[np.complex64]:
    """SENSE: ``argmin |M F S x - y|^2 + lambda sum |x|^2 / p`` by conjugate gradient, each frame and slice on its own.

    The expected signal p is the frame's own low-resolution image from the calibration region, between 0.1 and 1, so
    that aliases are not put where there is air; it is 1 everywhere if the mask has no calibration region.

    Parameters
    ----------
    kspace : complex array (frames, slices, coils, ky, kx)
        Points outside the mask are not read.
    mask : bool array (frames, ky, kx)
    maps : complex array (slices, coils, y, x) or None
        Coil sensitivities of unit root sum of squares; None for ESPIRiT maps of the mask's calibration region.
    regularization : float, >= 0
        lambda; the operator has norm 1, so it does not depend on the scale of the data.
    max_iterations : int
    tolerance : float
        Relative residual at which a frame is done.
    device : str
        Where torch computes.

    Returns
    -------
    complex64 array (frames, slices, y, x)

    Raises
    ------
    ValueError
        If the shapes do not fit.
    MeasurementFailed
        If a slice has no signal or is not finite, or the mask has no calibration region.

    Notes
    -----
    Source: Pruessmann et al. 2001, doi:10.1002/mrm.1241; expected signal: Tsao et al. 2003, doi:10.1002/mrm.10611.
    """
    check_inputs(kspace, mask)
    if maps is not None and maps.shape != kspace.shape[1:]:
        raise ValueError(f"expected maps (slices, coils, y, x) of shape {kspace.shape[1:]}, got {maps.shape}")
    where = torch.device(device)
    budget = CPU_BUDGET if where.type == "cpu" else GPU_BUDGET
    per_frame = max(1, budget // int(np.prod(kspace.shape[2:])))
    image = np.empty((*kspace.shape[:2], *kspace.shape[-2:]), np.complex64)
    for index in range(kspace.shape[1]):
        part = torch.tensor(kspace[:, index : index + 1], dtype=torch.complex64, device=where)
        given = None if maps is None else torch.tensor(maps[index : index + 1], dtype=torch.complex64, device=where)
        sensitivities = calibrated_maps(part, mask).maps if given is None else given
        for start in range(0, len(kspace), per_frame):
            frames = slice(start, start + per_frame)
            operator = SenseOperator(sensitivities, torch.tensor(mask[frames], device=where))
            result = conjugate_gradient(
                _regularized(operator, regularization / _expected_signal(part[frames], mask[frames])),
                operator.adjoint(part[frames]),
                max_iterations=max_iterations,
                tolerance=tolerance,
            )
            image[frames, index] = result.solution[:, 0].cpu().numpy()
    return image


def _regularized(operator: SenseOperator, weight: torch.Tensor) -> Operator:
    return lambda image: operator.normal(image) + weight * image


def _expected_signal(kspace: torch.Tensor, mask: Mask) -> torch.Tensor:
    """Low-resolution magnitude (frames, slices, y, x), from 0.1 to 1, of the calibration region; 1 if there is none."""
    signal = kspace.real.new_ones((*kspace.shape[:2], *kspace.shape[-2:]))
    for frame, sampled in enumerate(mask):
        size = calibration_size(sampled[None])
        if min(size) < KERNEL:
            continue
        image = _low_resolution(kspace[frame], size)
        full = torch.quantile(image.flatten(-2), SIGNAL_QUANTILE, dim=-1)[..., None, None]
        relative = image / full.clamp_min(torch.finfo(image.dtype).tiny)
        signal[frame] = torch.hypot(relative.clamp_max(1), torch.full_like(relative, SIGNAL_FLOOR))
    return signal


def _low_resolution(kspace: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Root sum of squares (..., y, x) of the center (..., coils, ky, kx), tapered along axes that it does not fill."""
    shape = kspace.shape[-2:]
    kept = [
        n if n == full and axis == 1 else min(n, MAX_CALIBRATION)
        for axis, (n, full) in enumerate(zip(size, shape, strict=True))
    ]
    center = center_crop(kspace, kept)
    for axis, (n, full) in enumerate(zip(kept, shape, strict=True)):
        if n < full:
            taper = torch.hann_window(n + 2, periodic=False, device=kspace.device)[1:-1]
            center = center * (taper[:, None] if axis == 0 else taper)
    return torch.linalg.vector_norm(ifft2c(center_pad(center, shape)), dim=-3)


def check_inputs(kspace: NDArray[Any], mask: NDArray[Any]) -> None:
    """Refuse what no method can reconstruct: wrong axes, a mask of another size, no signal, NaN or infinity."""
    if kspace.ndim != 5:
        raise ValueError(f"expected k-space (frames, slices, coils, ky, kx), got {kspace.ndim} axes {kspace.shape}")
    wanted = (kspace.shape[0], *kspace.shape[-2:])
    if mask.shape != wanted or mask.dtype != np.bool_:
        raise ValueError(
            f"expected a bool mask (frames, ky, kx) of shape {wanted}, got {mask.dtype} {mask.shape}; "
            "make it for the k-space after removal of the readout oversampling"
        )
    energy = np.array([[np.vdot(part, part).real for part in frame] for frame in kspace])
    if not np.isfinite(energy).all():
        raise MeasurementFailed("expected finite k-space, got NaN or infinity")
    if not energy.all():
        frame, index = np.argwhere(energy == 0)[0]
        raise MeasurementFailed(
            f"expected signal in every frame and slice, got all-zero k-space in frame {frame}, slice {index}"
        )
