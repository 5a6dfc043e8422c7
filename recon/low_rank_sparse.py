"""Which series agrees with undersampled k-space, is alike from frame to frame and changes at few temporal frequencies?"""

import numpy as np
import torch
from numpy.typing import NDArray

from cohort.records import MeasurementFailed
from recon.compressed_sensing import frame_operators
from recon.slice_problems import KSpace, Mask, SliceProblem, slice_problems
from recon.solvers import proximal_gradient
from recon.wavelets import soft_threshold

# Chosen on two phantoms of 12 frames (8 coils, Uniform 4x, ktUniform 8x, ktGaussian 16x, ktRadial 24x, 20 calibration
# lines) from 0.001, 0.003 and 0.01 for each; no scan of any report took part.
LOW_RANK_REGULARIZATION = 0.005
SPARSE_REGULARIZATION = 0.001
ITERATIONS = 60
TOLERANCE = 1e-3


def low_rank_sparse(
    kspace: KSpace,
    mask: Mask,
    *,
    maps: NDArray[np.complex64] | None = None,
    low_rank: float = LOW_RANK_REGULARIZATION,
    sparse: float = SPARSE_REGULARIZATION,
    max_iterations: int = ITERATIONS,
    tolerance: float = TOLERANCE,
    device: str | torch.device = "cpu",
) -> NDArray[np.complex64]:
    """L + S: ``argmin |M F S (L + S) - y|^2 / 2 + a |L|_* + b |T S|_1``, each slice on its own; the image is L + S.

    L as a matrix of pixels by frames has few singular values (background), S few temporal frequencies (motion); T is
    the orthonormal Fourier transform over the frames. a is ``low_rank`` times the largest singular value of the
    zero-filled series, b is ``sparse`` times the largest magnitude of its temporal transform, so that neither depends on
    the scale of the data.

    Parameters
    ----------
    kspace : complex array (frames, slices, coils, ky, kx)
        At least two frames. Points outside the mask are not read.
    mask : bool array (frames, ky, kx)
        Best different from frame to frame (ktUniform, ktGaussian, ktRadial); with the same lines in all frames (Uniform)
        time tells little about aliases.
    maps : complex array (slices, coils, y, x) or None
        Coil sensitivities of unit root sum of squares; None for ESPIRiT maps of the mask's calibration region.
    low_rank, sparse : float, >= 0
    max_iterations : int
    tolerance : float
        Relative change of the slice at which it is done.
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
        If there is one frame only, a slice has no signal or is not finite, or the mask has no calibration region.

    Notes
    -----
    Source: Otazo et al. 2015, doi:10.1002/mrm.25240; accelerated steps: Lin and Fessler 2019,
    doi:10.1109/TCI.2018.2882089.
    """
    if kspace.ndim == 5 and len(kspace) < 2:
        raise MeasurementFailed(
            f"expected at least two frames for low rank plus sparse over time, got {len(kspace)}; "
            "use compressed_sensing for single images"
        )
    image = np.empty((*kspace.shape[:2], *kspace.shape[-2:]), np.complex64)
    for index, part in enumerate(slice_problems(kspace, mask, maps=maps, device=device)):
        image[:, index] = part.to_image(_solve(part, mask, low_rank, sparse, max_iterations, tolerance))
    return image


def _solve(
    part: SliceProblem, mask: Mask, low_rank: float, sparse: float, max_iterations: int, tolerance: float
) -> torch.Tensor:
    """The series (frames, y, x) of one slice."""
    operators = list(frame_operators(part.maps, mask))
    aliased = torch.cat([operator.adjoint(part.kspace[frames, None])[:, 0] for frames, operator in operators])
    least_singular = low_rank * _singular_values(aliased)[-1]
    least_frequency = sparse * torch.fft.fft(aliased, dim=0, norm="ortho").abs().max()

    def gradient(both: torch.Tensor) -> torch.Tensor:
        series = both.sum(0)
        misfit = [operator.normal(series[frames, None])[:, 0] - aliased[frames] for frames, operator in operators]
        return torch.cat(misfit).expand_as(both)

    def proximal(both: torch.Tensor) -> torch.Tensor:
        background = shrunk_singular_values(both[0], step * least_singular)
        spectrum = soft_threshold(torch.fft.fft(both[1], dim=0, norm="ortho"), step * least_frequency)
        return torch.stack([background, torch.fft.ifft(spectrum, dim=0, norm="ortho")])

    step = 0.5  # the data see the sum of both parts, so the gradient is twice as steep
    start = torch.stack([aliased, torch.zeros_like(aliased)])
    return proximal_gradient(
        gradient, proximal, start, step=step, max_iterations=max_iterations, tolerance=tolerance, item_dims=4
    ).sum(0)


def shrunk_singular_values(series: torch.Tensor, threshold: torch.Tensor) -> torch.Tensor:
    """Soft-threshold the singular values of the matrix pixels x frames, by way of its small Gram matrix.

    Parameters
    ----------
    series : complex tensor (frames, y, x)
    threshold : real tensor

    Returns
    -------
    complex tensor (frames, y, x)
    """
    matrix = series.flatten(1)
    energies, vectors = torch.linalg.eigh((matrix @ matrix.mH).to(torch.complex128))
    values = energies.clamp_min(0).sqrt()
    kept = (values - threshold).clamp_min(0) / values.clamp_min(torch.finfo(values.dtype).tiny)
    shrink = (vectors * kept) @ vectors.mH
    return (shrink.to(matrix.dtype) @ matrix).reshape(series.shape)


def _singular_values(series: torch.Tensor) -> torch.Tensor:
    """Ascending singular values of the matrix pixels x frames."""
    matrix = series.flatten(1)
    return torch.linalg.eigvalsh((matrix @ matrix.mH).to(torch.complex128)).clamp_min(0).sqrt().to(series.real.dtype)
