"""Can this k-space be reconstructed with this mask at all? Everything else is refused before it becomes a picture."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon.cardiomm.prompts import FAMILY_OF_PATTERN
from recon.fourier import center_slice

SCALE = (1e-12, 1e12)
"""Peak magnitudes whose squares single precision still holds, with room for the noise below and for sums above."""


def check_input(
    kspace: NDArray[np.complex64], mask: NDArray[np.bool_], *, method: str, methods: Sequence[str]
) -> tuple[NDArray[np.complex64], NDArray[np.bool_]]:
    """Refuse what no method can make a picture of, and leave only what the mask samples.

    Parameters
    ----------
    kspace : complex array (frames, slices, coils, ky, kx)
        What the mask leaves out is never looked at: it may be anything, NaN included.
    mask : bool array (frames, ky, kx)
        One frame stands for all.
    method, methods
        What was asked for, and what there is.

    Returns
    -------
    complex64 array (frames, slices, coils, ky, kx)
        A copy, zero where the mask samples nothing.
    bool array (frames, ky, kx)
        One mask for each frame.

    Raises
    ------
    ValueError
        Unknown method; other shapes or types; NaN or infinity at a sampled point; a frame of a slice without signal at
        the sampled points; values so small or large that single precision cannot hold their squares.
    """
    if method not in methods:
        raise ValueError(f"unknown method {method!r}; expected one of {', '.join(methods)}")
    if kspace.ndim != 5 or 0 in kspace.shape:
        raise ValueError(f"expected k-space (frames, slices, coils, ky, kx), none empty, got shape {kspace.shape}")
    if kspace.dtype.kind != "c":
        raise ValueError(f"expected complex k-space, got {kspace.dtype}; join its real and imaginary parts first")
    if mask.ndim != 3 or mask.shape[1:] != kspace.shape[3:] or mask.shape[0] not in (1, kspace.shape[0]):
        raise ValueError(
            f"expected a mask (frames, ky, kx) for k-space of shape {kspace.shape}, got {mask.shape}: "
            "make it for this matrix"
        )
    if mask.dtype != np.bool_:
        raise ValueError(f"expected a bool mask, got {mask.dtype}; convert zeros and ones with mask.astype(bool)")
    sampled = np.broadcast_to(mask, (kspace.shape[0], *mask.shape[1:])).copy()  # torch takes only writable arrays
    masked = np.zeros(kspace.shape, np.complex64)
    with np.errstate(over="ignore"):  # what single precision cannot hold becomes infinite, and is refused below
        np.copyto(masked, kspace, where=sampled[:, None, None], casting="same_kind")
    _check_values(masked)
    return masked, sampled


def check_calibration(masked: NDArray[np.complex64], mask: NDArray[np.bool_], metadata: Mapping[str, Any]) -> None:
    """Refuse a calibration region that is not there: a network would take its zeros for coils that see nothing.

    Parameters
    ----------
    masked : complex64 array (frames, slices, coils, ky, kx)
        As from ``check_input``.
    mask : bool array (frames, ky, kx)
    metadata
        ``pattern`` and ``n_calibration``: lines, or the side of the central square of a radial mask.

    Raises
    ------
    ValueError
        No calibration lines, more than the matrix has, some of them not sampled in every frame, or without signal.
    """
    ny, nx = mask.shape[1:]
    wanted = int(metadata["n_calibration"])
    radial = FAMILY_OF_PATTERN.get(str(metadata["pattern"])) == "radial"
    longest = min(nx, ny) if radial else ny
    if not 1 <= wanted <= longest:
        raise ValueError(
            f"expected a calibration region of at most {longest} for {nx} x {ny} and of at least 1, got n_calibration "
            f"{wanted}; CardioMM finds its coil sensitivities there"
        )
    # along the readout only the middle counts: the ends of an asymmetric echo may never have been measured
    block = np.s_[..., center_slice(ny, wanted), center_slice(nx, min(wanted, nx))]
    unsampled = ~mask[block].all(axis=(1, 2))
    if unsampled.any():
        raise ValueError(
            f"expected a fully sampled calibration region of {wanted} central lines, the mask leaves some of them out "
            f"in frame {int(unsampled.argmax())}; give the n_calibration that the mask has, or a mask with more"
        )
    silent = ~masked[block].any(axis=(2, 3, 4))
    if silent.any():
        frame, index = (int(i) for i in np.argwhere(silent)[0])
        raise ValueError(
            f"expected signal in the calibration region, got only zeros in frame {frame}, slice {index}: leave it out"
        )


def _check_values(masked: NDArray[np.complex64]) -> None:
    """Finite, with signal in every frame and slice, on a scale that can be computed with."""
    parts = masked.view(np.float32)
    # the largest real or imaginary part; NaN and infinity come through, and no temporary array is needed
    peak = np.array([[max(part.max(), -part.min(), key=_nan_first) for part in frame] for frame in parts])
    if not np.isfinite(peak).all():
        frame, index = (int(i) for i in np.argwhere(~np.isfinite(peak))[0])
        raise ValueError(
            f"k-space holds NaN or infinite values at sampled points of frame {frame}, slice {index}; "
            "expected finite ones: leave it out or export it again"
        )
    if not peak.any():
        raise ValueError("k-space is zero everywhere that the mask samples; expected measured data")
    if not peak.all():
        frame, index = (int(i) for i in np.argwhere(peak == 0)[0])
        raise ValueError(
            f"k-space of frame {frame}, slice {index} is zero wherever the mask samples; expected signal in every frame "
            "and slice: leave the empty ones out"
        )
    low, high = SCALE
    if peak.min() < low or peak.max() > high:
        raise ValueError(
            f"expected k-space with peaks from {low:g} to {high:g} in every frame and slice, got {peak.min():.3g} to "
            f"{peak.max():.3g}: multiply all of it by one factor"
        )


def _nan_first(value: np.float32) -> float:
    """Order for max: NaN above all numbers."""
    return float("inf") if np.isnan(value) else float(value)
