"""What do the established methods make of undersampled k-space?

Zero-filled and SENSE images, at the scale of the fully sampled root-sum-of-squares image, so that no fitting of
intensities is needed before they are compared.
"""

from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from recon.column_sense import fits_columns, solve_by_columns
from recon.expected_signal import expected_signal
from recon.fourier import ifft2c
from recon.operators import SenseOperator
from recon.slice_problems import KSpace, Mask, check_inputs, slice_problems
from recon.solvers import Operator, conjugate_gradient

# Chosen from 0.003, 0.005 and 0.01 on Uniform 4x and 8x, ktGaussian 16x and ktRadial 24x with 20 calibration lines, on
# k-space simulated from patients of the training split and on phantoms (8 coils; some cut at the readout's edges) and
# from an animal cine (6 coils, more noise): phantoms prefer 0.003, the animal 0.01; this is at most 0.8 dB and 0.023 of
# SSIM below the best of the three in each case. No scan that any report measures took part.
SENSE_REGULARIZATION = 0.005
SENSE_ITERATIONS = 30
SENSE_TOLERANCE = 1e-3
COLUMN_TOLERANCE = 1e-2  # times the tolerance, where whole lines are sampled: there the steps are few
CPU_BUDGET, GPU_BUDGET = 2**20, 2**26  # complex numbers of coil images worked on at once

Prior = Literal["signal", "flat"]


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
    soft_threshold: float | None = None,
    regularization: float = SENSE_REGULARIZATION,
    prior: Prior = "signal",
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
    soft_threshold : float from 0 to 1 or None
        Eigenvalue below which our own maps fade to zero (soft SENSE); None keeps them at unit norm everywhere.
    regularization : float, >= 0
        lambda; the operator has norm 1, so it does not depend on the scale of the data.
    prior : "signal" or "flat"
        ``flat`` is the plain Tikhonov penalty, p = 1.
    max_iterations : int
    tolerance : float
        Relative residual at which a frame is done; a hundredth of it where whole lines are sampled.
    device : str
        Where torch computes.

    Returns
    -------
    complex64 array (frames, slices, y, x)

    Raises
    ------
    ValueError
        If the shapes do not fit, or an option is out of range.
    MeasurementFailed
        If a slice has no signal or is not finite, or the mask has no calibration region.

    Notes
    -----
    Source: Pruessmann et al. 2001, doi:10.1002/mrm.1241; expected signal: Tsao et al. 2003, doi:10.1002/mrm.10611;
    soft SENSE: Uecker et al. 2014, doi:10.1002/mrm.24751.
    """
    if prior not in get_args(Prior):
        raise ValueError(f"expected a prior of {', '.join(get_args(Prior))}, got {prior!r}")
    columns = fits_columns(mask, kspace.shape[2]) if kspace.ndim == 5 else False
    solve, accuracy = (solve_by_columns, tolerance * COLUMN_TOLERANCE) if columns else (_solve_by_frames, tolerance)
    image = np.empty((*kspace.shape[:2], *kspace.shape[-2:]), np.complex64)
    for index, part in enumerate(slice_problems(kspace, mask, maps=maps, soft_threshold=soft_threshold, device=device)):
        flat = torch.ones_like(part.kspace[:, 0].real)
        weight = regularization / (expected_signal(part.kspace, mask) if prior == "signal" else flat)
        solved = solve(part.kspace, mask, part.maps, weight, max_iterations=max_iterations, tolerance=accuracy)
        image[:, index] = part.to_image(solved)
    return image


def _solve_by_frames(
    kspace: torch.Tensor,
    mask: Mask,
    maps: torch.Tensor,
    weight: torch.Tensor,
    *,
    max_iterations: int,
    tolerance: float,
) -> torch.Tensor:
    """The same as ``solve_by_columns`` for any mask, by transforms."""
    budget = CPU_BUDGET if kspace.device.type == "cpu" else GPU_BUDGET
    step = max(1, budget // maps.numel())
    image = []
    for start in range(0, len(kspace), step):
        frames = slice(start, start + step)
        operator = SenseOperator(maps[None], torch.tensor(mask[frames], device=kspace.device))
        result = conjugate_gradient(
            _regularized(operator, weight[frames, None]),
            operator.adjoint(kspace[frames, None]),
            max_iterations=max_iterations,
            tolerance=tolerance,
        )
        image.append(result.solution[:, 0])
    return torch.cat(image)


def _regularized(operator: SenseOperator, weight: torch.Tensor) -> Operator:
    return lambda image: operator.normal(image) + weight * image
