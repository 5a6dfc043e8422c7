"""Which points of k-space does an accelerated scan measure?

The four mask families of the CMRxRecon challenges and of CardioMM. Every mask is the union of a pattern and a fully
sampled calibration region (ACS) that the nominal acceleration does not count, so ``effective_acceleration`` belongs
beside it.
"""

import math
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from recon.fourier import center_slice

Pattern = Literal["Uniform", "ktUniform", "ktGaussian", "ktRadial"]
PATTERNS: tuple[Pattern, ...] = get_args(Pattern)

GOLDEN_ANGLE_DEG = 137.5
RADIAL_DENSITY = 0.6  # the radial family samples as if accelerated by 0.6 of the nominal factor
MAX_RADIAL = 180 / RADIAL_DENSITY
GAUSSIAN_FLOOR = 0.1  # probability density far from the center
GAUSSIAN_ALPHA = 0.2
GAUSSIAN_WIDTH = 0.2  # sigma as a part of ny
OFFICIAL_SEEDS = 1000  # the challenge draws an unrecorded seed from 1 to 1000
TIE_TOLERANCE = 1e-9

Bool = NDArray[np.bool_]


def undersampling_mask(
    pattern: Pattern | str,
    *,
    nx: int,
    ny: int,
    n_frames: int,
    acceleration: float,
    n_calibration: int = 20,
    seed: int | None = None,
    matlab_compatible: bool = False,
) -> Bool:
    """Mask of the sampled points of k-space.

    Parameters
    ----------
    pattern : {"Uniform", "ktUniform", "ktGaussian", "ktRadial"}
        Uniform: every R-th line; ktUniform: the same, shifted by one line a frame; ktGaussian: lines drawn from a
        Gaussian density, anew in each frame; ktRadial: spokes rotated by the golden angle from frame to frame.
    nx, ny : int
        Readout and phase-encoding lengths, after removal of the readout oversampling.
    n_frames : int
        Frames of the series; 1 for a single image.
    acceleration : float
        Nominal factor R >= 1, calibration not counted; a whole number for Uniform and ktUniform.
    n_calibration : int
        Central lines (radial: side of the central square) that are always sampled; 0 for none.
    seed : int or None
        Of the ktGaussian draws. None draws a fresh seed from 1 to 1000 as the challenge does, and is not reproducible.
    matlab_compatible : bool
        Reproduce the original's fault for ktUniform with an odd number of frames (the pattern slips by half a frame).

    Returns
    -------
    bool array (n_frames, ny, nx)

    Raises
    ------
    ValueError
        For an unknown pattern, or sizes or factors out of range.

    Notes
    -----
    Seeds follow MT19937, so that ``seed`` gives what MATLAB's ``rng(seed)`` gives; the global random state is neither
    read nor set.
    Source: the mask generator of CMRxRecon2024/2025, doi:10.48550/arXiv.2406.19043.
    """
    _check(pattern, nx, ny, n_frames, acceleration, n_calibration)
    if pattern == "ktRadial":
        mask = _radial(nx, ny, n_frames, acceleration)
        mask[:, center_slice(ny, n_calibration), center_slice(nx, n_calibration)] = True
        return mask
    if pattern == "Uniform":
        lines = np.broadcast_to(np.arange(ny) % round(acceleration) == 0, (n_frames, ny)).copy()
    elif pattern == "ktUniform":
        lines = _kt_uniform(ny, n_frames, round(acceleration), matlab_compatible=matlab_compatible)
    else:
        chosen = int(np.random.default_rng().integers(1, OFFICIAL_SEEDS + 1)) if seed is None else seed
        lines = _kt_gaussian(ny, n_frames, acceleration, chosen)
    lines[:, center_slice(ny, n_calibration)] = True
    return np.repeat(lines[:, :, None], nx, axis=2)


def effective_acceleration(mask: Bool) -> float:
    """All points divided by sampled points: what the nominal factor comes to with the calibration region counted.

    Parameters
    ----------
    mask : bool array of any shape

    Returns
    -------
    float, at least 1

    Raises
    ------
    ValueError
        If nothing is sampled.
    """
    sampled = int(np.count_nonzero(mask))
    if sampled == 0:
        raise ValueError("expected a mask with at least one sampled point, got none; its acceleration is not defined")
    return mask.size / sampled


def _check(pattern: str, nx: int, ny: int, n_frames: int, acceleration: float, n_calibration: int) -> None:
    if pattern not in PATTERNS:
        raise ValueError(f"expected one of the patterns {', '.join(PATTERNS)}, got {pattern!r}")
    if min(nx, ny, n_frames) < 1:
        raise ValueError(f"expected nx, ny and n_frames of at least 1, got {nx}, {ny} and {n_frames}")
    if not (math.isfinite(acceleration) and acceleration >= 1):
        raise ValueError(f"expected an acceleration of at least 1, got {acceleration}")
    if pattern == "ktRadial" and acceleration > MAX_RADIAL:
        raise ValueError(
            f"expected an acceleration of at most {MAX_RADIAL:.0f} for ktRadial (one spoke a frame), got {acceleration}"
        )
    if pattern in ("Uniform", "ktUniform") and acceleration != round(acceleration):
        raise ValueError(f"expected a whole-number acceleration for {pattern}, got {acceleration}; round it")
    longest = min(nx, ny) if pattern == "ktRadial" else ny
    if not 0 <= n_calibration <= longest:
        raise ValueError(
            f"expected 0 to {longest} calibration lines for {nx} x {ny}, "
            f"got {n_calibration}; give a smaller n_calibration"
        )


def _kt_uniform(ny: int, n_frames: int, factor: int, *, matlab_compatible: bool) -> Bool:
    """Line i of frame j where (i - j) mod R == 0, as bool (n_frames, ny)."""
    frame, line = np.indices((n_frames, ny))
    lines: Bool = (line - frame) % factor == 0
    if not (matlab_compatible and n_frames % 2):
        return lines
    # the original subtracts ny * 0.5 from the 1-based linear index instead of whole frames
    position = np.flatnonzero(lines) + 1 - ny / 2
    row = position - np.floor((position - 1) / ny) * ny
    index = np.floor(ny * (np.ceil(position / ny) - 1) + row + 0.5).astype(np.int64)
    slipped = np.zeros(n_frames * ny, np.bool_)
    slipped[np.maximum(index, 1) - 1] = True
    return slipped.reshape(n_frames, ny)


def _kt_gaussian(ny: int, n_frames: int, acceleration: float, seed: int) -> Bool:
    """Draw floor(ny / R + 1/2) different lines a frame, as bool (n_frames, ny).

    The density of line k, counted from the center, is ``0.1 + alpha / (1 - alpha) exp(-(k / sigma)^2)``.
    """
    n_lines = math.floor(ny / acceleration + 0.5)
    k = np.arange(ny) - ny // 2
    height = GAUSSIAN_ALPHA / (1 - GAUSSIAN_ALPHA + 1e-10)
    density = GAUSSIAN_FLOOR + height * np.exp(-(k**2) / (GAUSSIAN_WIDTH * ny) ** 2)
    edges = np.concatenate([[0.0], np.cumsum(density)]) / density.sum()
    frame_seeds = np.floor(1e6 * np.random.RandomState(seed).rand(n_frames) + 0.5).astype(np.int64)
    lines = np.zeros((n_frames, ny), np.bool_)
    for frame, frame_seed in enumerate(frame_seeds):
        draws = np.random.RandomState(int(frame_seed)).rand(n_lines)
        rows = np.clip(np.searchsorted(edges, draws, side="right") - 1, 0, ny - 1)
        _place(lines[frame], rows)
    return lines


def _place(lines: Bool, rows: NDArray[np.int64]) -> None:
    """Sample the drawn rows; a row drawn again goes to the nearest vacant one (the smaller of two)."""
    drawn, times = np.unique(rows, return_counts=True)
    lines[drawn] = True
    for row in np.repeat(drawn, times - 1):
        vacant = np.flatnonzero(~lines)
        lines[vacant[np.argmin(np.abs(vacant - row))]] = True


def _radial(nx: int, ny: int, n_frames: int, acceleration: float) -> Bool:
    """Union of the rasterized spokes of each frame, as bool (n_frames, ny, nx).

    The B + 1 angles of a frame run from 137.5 t to 137.5 t + 180 degrees, both included. A square of side max(nx, ny)
    is drawn and cropped, so the corners of k-space stay empty.
    """
    n_beams = math.floor(180 / (RADIAL_DENSITY * acceleration))
    step_deg = 180 / n_beams
    side = max(nx, ny)
    mask = np.zeros((n_frames, side, side), np.bool_)
    for frame in range(n_frames):
        angles_deg = GOLDEN_ANGLE_DEG * frame + step_deg * np.arange(n_beams + 1)
        _draw_beams(mask[frame], np.deg2rad(angles_deg))
    cropped = mask[:, center_slice(side, nx), center_slice(side, ny)]
    return np.ascontiguousarray(cropped.swapaxes(1, 2))


def _draw_beams(square: Bool, angles: NDArray[np.float64]) -> None:
    """Set the pixels of a square that a nearest-neighbor rotation of its central row reaches, by angle in radians.

    Pixel (y, x) is set where ``v = sin (x - c) + cos (y - c)`` rounds to the central row and the column it comes from
    lies inside. Where v is exactly half-way (diagonals of even squares) the pixel is set: the published generators
    differ from each other there.
    Only the five pixels around the line are looked at for each step along its longer axis.
    """
    side = len(square)
    center = (side - 1) / 2
    central_row = math.floor(side / 2 + 0.5) - 1
    sine, cosine = np.sin(angles)[:, None, None], np.cos(angles)[:, None, None]
    along = np.arange(side)[None, :, None]
    near = np.arange(-2, 3)[None, None, :]
    flat = np.abs(cosine) >= np.abs(sine)
    with np.errstate(divide="ignore", invalid="ignore"):
        guess = np.where(flat, -sine / cosine, -cosine / sine) * (along - center) + center
    across = np.floor(guess).astype(np.int64) + near
    along = np.broadcast_to(along, across.shape)
    x, y = np.where(flat, along, across), np.where(flat, across, along)
    v = sine * (x - center) + cosine * (y - center)
    u = cosine * (x - center) - sine * (y - center)
    low, high = central_row - center - 0.5, central_row - center + 0.5
    on_beam = (v >= low - TIE_TOLERANCE) & (v <= high + TIE_TOLERANCE)
    source = np.floor(u + center + 0.5)
    on_beam &= (source >= 0) & (source <= side - 1) & (across >= 0) & (across < side)
    square[y[on_beam], x[on_beam]] = True
