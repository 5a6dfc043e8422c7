"""What stands in the lines that a uniform mask leaves out, judged by their neighbors in all coils?

Where every R-th line is sampled, a missing line is nearly a fixed linear combination of the sampled lines around it, the
same one everywhere; the calibration lines tell which.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from cohort.records import MeasurementFailed
from recon.fourier import ifft2c
from recon.slice_problems import KSpace, Mask, check_inputs

# Chosen from 1e-5 to 1e-1 on k-space simulated from three patients of the ACDC training split and on three phantoms
# (8 coils, Uniform 2x to 8x, 20 calibration lines). Four lines win by up to 3 dB at 2x and 3x; from 4x, where fewer than
# ten kernels of four lines fit side by side, two lines with more regularization win by 0 to 10 dB.
REGULARIZATION_BY_LINES = {4: 1e-3, 2: 1e-2}
LEAST_POSITIONS = {4: 10, 2: 1}  # kernels side by side along ky in the calibration lines
SOURCE_POINTS = 5  # along kx


@dataclass(frozen=True)
class Lattice:
    """Lines ``first``, ``first + spacing``, ... of an axis, all sampled."""

    first: int
    spacing: int


def grappa(
    kspace: KSpace,
    mask: Mask,
    *,
    calibration: KSpace | None = None,
    regularization: float | None = None,
    device: str | torch.device = "cpu",
) -> NDArray[np.float32]:
    """GRAPPA: fill the missing lines of a uniform mask, then take the root sum of squares over the coils.

    Kernels of 4 lines (2 where there are few calibration lines) by 5 points are fitted to the calibration lines of all
    frames; frames may start at different lines (ktUniform). Acquired points are kept.

    Parameters
    ----------
    kspace : complex array (frames, slices, coils, ky, kx)
        Points outside the mask are not read.
    mask : bool array (frames, ky, kx)
        Every R-th line in each frame, the same R in all, and central lines.
    calibration : complex array (frames, slices, coils, lines, kx) or None
        Fully sampled neighboring lines of a scan of their own; None for the central lines that all frames sample.
    regularization : float, >= 0, or None
        Tikhonov weight of the fit, relative to the mean eigenvalue of its normal matrix; None for one that suits the
        number of lines in the kernels.
    device : str
        Where torch computes.

    Returns
    -------
    float32 array (frames, slices, y, x)

    Raises
    ------
    ValueError
        If the shapes do not fit.
    MeasurementFailed
        If the mask is not uniform, has too few calibration lines, or a slice has no signal or is not finite.

    Notes
    -----
    Source: Griswold et al. 2002, doi:10.1002/mrm.10171.
    """
    check_inputs(kspace, mask)
    lattices = [lattice_of(mask[frame]) for frame in range(len(mask))]
    spacing = lattices[0].spacing
    if any(lattice.spacing != spacing for lattice in lattices):
        raise MeasurementFailed(
            "expected the same acceleration in all frames for GRAPPA, got different ones; use sense"
        )
    if (
        calibration is not None
        and calibration.shape[1:3] + calibration.shape[4:] != kspace.shape[1:3] + kspace.shape[4:]
    ):
        raise ValueError(
            f"expected calibration lines (frames, slices, coils, lines, kx) for k-space {kspace.shape}, "
            f"got {calibration.shape}"
        )
    common: NDArray[np.bool_] = np.all(mask, axis=0)
    start, stop = _central_run(common[:, 0])
    image = np.empty((*kspace.shape[:2], *kspace.shape[-2:]), np.float32)
    for index in range(kspace.shape[1]):
        part = torch.tensor(kspace[:, index], dtype=torch.complex64, device=device)
        sampled = torch.tensor(mask, device=part.device)[:, None]
        filled = torch.where(sampled, part, 0)
        if spacing > 1:
            known = filled[..., start:stop, :] if calibration is None else torch.tensor(calibration[:, index])
            kernel = _kernel(known.to(part), spacing, regularization)
            for frame, lattice in enumerate(lattices):
                filled[frame] = _filled(filled[frame], mask[frame, :, 0], kernel, lattice)
        for frame, coils in enumerate(filled):  # one at a time, to keep memory small
            image[frame, index] = torch.linalg.vector_norm(ifft2c(coils), dim=0).cpu().numpy()
    return image


def lattice_of(sampled: NDArray[np.bool_]) -> Lattice:
    """The regular lines of one frame's mask (ky, kx).

    Raises
    ------
    MeasurementFailed
        If lines are sampled in part, or those outside the central block are not every R-th one.
    """
    lines: NDArray[np.intp] = np.flatnonzero(sampled[:, 0])
    if not (sampled == sampled[:, :1]).all():
        raise MeasurementFailed("expected whole lines for GRAPPA, got a mask that samples parts of lines; use sense")
    if len(lines) == len(sampled):
        return Lattice(0, 1)
    start, stop = _central_run(sampled[:, 0])
    outer = lines[(lines < start) | (lines >= stop)]
    common = math.gcd(*np.diff(outer).tolist()) if len(outer) > 1 else 0
    # the central block may hide lines of the lattice, so it can be finer than its outer lines tell
    spacing = next((n for n in range(2, common + 1) if common % n == 0 and sampled[outer[0] % n :: n, 0].all()), 0)
    if not spacing:
        raise MeasurementFailed(
            "expected every R-th line beside the calibration lines for GRAPPA (patterns Uniform and ktUniform), "
            "got irregular lines; use sense or compressed_sensing"
        )
    return Lattice(int(outer[0]) % spacing, spacing)


def _central_run(lines: NDArray[np.bool_]) -> tuple[int, int]:
    """First and one past the last line of the block of neighboring sampled lines that holds the center."""
    center = len(lines) // 2
    if not lines[center]:
        return center, center
    missing = np.flatnonzero(~lines)
    before, after = missing[missing < center], missing[missing > center]
    return int(before[-1]) + 1 if len(before) else 0, int(after[0]) if len(after) else len(lines)


def _kernel(known: torch.Tensor, spacing: int, regularization: float | None) -> torch.Tensor:
    """Weights (source lines, coils, points, missing lines, coils) from lines (frames, coils, ky, kx)."""
    _, n_coils, n_lines, n_kx = known.shape
    fitting = [n for n, least in LEAST_POSITIONS.items() if (n - 1) * spacing + least <= n_lines]
    n_points = min(SOURCE_POINTS, n_kx - (n_kx + 1) % 2)  # odd
    if not fitting:
        raise MeasurementFailed(
            f"expected at least {spacing + 1} calibration lines for GRAPPA at every {spacing}th line, got {n_lines}; "
            "use a mask with more calibration lines"
        )
    n_sources = fitting[0]
    weight = REGULARIZATION_BY_LINES[n_sources] if regularization is None else regularization
    length, half = (n_sources - 1) * spacing + 1, n_points // 2
    windows = known.to(torch.complex128).unfold(2, length, 1).unfold(3, n_points, 1)  # frame, coil, y, x, line, point
    sources = windows[..., ::spacing, :].permute(4, 1, 5, 0, 2, 3).reshape(n_sources * n_coils * n_points, -1)
    middle = (n_sources // 2 - 1) * spacing
    missing = windows[..., middle + 1 : middle + spacing, half]
    targets = missing.permute(4, 1, 0, 2, 3).reshape((spacing - 1) * n_coils, -1)
    gram = sources.conj() @ sources.mT
    strength = gram.diagonal().real.mean().clamp_min(torch.finfo(torch.float64).tiny)
    gram.diagonal().add_(max(weight, torch.finfo(torch.float64).eps * len(gram)) * strength)
    weights = torch.linalg.solve(gram, sources.conj() @ targets.mT)
    return weights.to(known.dtype).reshape(n_sources, n_coils, n_points, spacing - 1, n_coils)


def _filled(kspace: torch.Tensor, lines: NDArray[np.bool_], kernel: torch.Tensor, lattice: Lattice) -> torch.Tensor:
    """One frame (coils, ky, kx) with its missing lines; points beyond the edges of k-space count as zero."""
    n_sources, n_coils, n_points, n_missing, _ = kernel.shape
    n_ky, n_kx = kspace.shape[-2:]
    regular = kspace[:, lattice.first :: lattice.spacing]
    # gaps before the first line, between lines and after the last one
    beyond, half = n_sources // 2, n_points // 2
    padded = torch.nn.functional.pad(regular, (half, half, beyond, beyond))
    windows = padded.unfold(1, n_sources, 1).unfold(2, n_points, 1)  # coil, gap, x, line, point
    n_gaps = windows.shape[1]
    sources = windows.permute(1, 2, 3, 0, 4).reshape(n_gaps * n_kx, -1)
    targets = (sources @ kernel.reshape(sources.shape[1], -1)).reshape(n_gaps, n_kx, n_missing, n_coils)
    out = kspace.clone()
    gap, missing = np.indices((n_gaps, n_missing))
    place = lattice.first + (gap - 1) * lattice.spacing + 1 + missing
    wanted = (place >= 0) & (place < n_ky)
    wanted[wanted] &= ~lines[place[wanted]]
    rows = [torch.from_numpy(index[wanted]) for index in (gap, missing, place)]
    out[:, rows[2]] = targets.permute(3, 0, 2, 1)[:, rows[0], rows[1]]
    return out
