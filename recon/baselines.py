"""What do the established methods make of undersampled k-space?

Zero-filled and SENSE images, at the scale of the fully sampled root-sum-of-squares image, so that no fitting of
intensities is needed before they are compared.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cohort.records import MeasurementFailed
from recon.coils import calibrated_maps
from recon.fourier import ifft2c
from recon.operators import SenseOperator
from recon.solvers import Operator, conjugate_gradient

# Chosen on simulated k-space of an animal cine (6 to 12 coils, SNR 20 to 80, four masks at 4x to 24x): in each case
# within 0.3 dB of the best weight from 0.005 to 0.05. No scan that any report measures took part.
SENSE_REGULARIZATION = 0.01
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
    """SENSE: ``argmin |M F S x - y|^2 + lambda |x|^2`` by conjugate gradient, each frame and slice on its own.

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
    Source: Pruessmann et al. 2001, doi:10.1002/mrm.1241.
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
                _regularized(operator, regularization),
                operator.adjoint(part[frames]),
                max_iterations=max_iterations,
                tolerance=tolerance,
            )
            image[frames, index] = result.solution[:, 0].cpu().numpy()
    return image


def _regularized(operator: SenseOperator, weight: float) -> Operator:
    return lambda image: operator.normal(image) + weight * image


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
