"""Which measured points are kept from a reconstruction, so that it can be tested on them?

A random tenth of what was measured outside the calibration region: whole lines where whole lines were measured, else
sectors of k-space that hold about as many points as one spoke. (Single points of a spoke would be too easy: their
neighbors along it are measured.)
"""

import numpy as np
from numpy.typing import NDArray

from cohort.records import MeasurementFailed
from recon.coils import calibration_size
from recon.fourier import center_slice

FRACTION = 0.1
MIN_GROUPS = 2  # of one frame: one is kept back, one stays

Bool = NDArray[np.bool_]


def held_back_points(
    mask: Bool, *, rng: np.random.Generator, n_calibration: int | None = None, fraction: float = FRACTION
) -> Bool:
    """Draw the points to keep back, in each frame on its own.

    Parameters
    ----------
    mask : bool array (frames, ky, kx)
        True where measured.
    rng : numpy.random.Generator
    n_calibration : int or None
        Central lines (side of the central square where points are sampled) that the reconstruction calibrates with;
        what the mask samples fully about its center in all frames is never kept back either.
    fraction : float, above 0 and up to 0.5
        Part of the outer lines (or sectors) of each frame; at least one is kept back, none where there are fewer than 2.

    Returns
    -------
    bool array (frames, ky, kx)
        True where kept back: measured, and outside the calibration region.

    Raises
    ------
    ValueError
        A mask of other shape, or a fraction out of range.
    MeasurementFailed
        No frame has 2 outer lines or sectors.
    """
    if mask.ndim != 3 or mask.dtype != np.bool_:
        raise ValueError(f"expected a bool mask (frames, ky, kx), got {mask.dtype} {mask.shape}")
    if not 0 < fraction <= 0.5:
        raise ValueError(f"fraction: expected above 0 and up to 0.5, got {fraction}")
    center = calibration_points(mask, n_calibration=n_calibration)
    held = np.zeros_like(mask)
    most = 0
    for frame, sampled in enumerate(mask):
        groups = outer_groups(sampled & ~center)
        n_groups = int(groups.max()) + 1
        most = max(most, n_groups)
        if n_groups < MIN_GROUPS:
            continue
        n_held = max(1, round(fraction * n_groups))
        held[frame] = np.isin(groups, rng.choice(n_groups, size=n_held, replace=False))
    if most < MIN_GROUPS:
        raise MeasurementFailed(
            f"expected at least {MIN_GROUPS} measured lines or spokes of a frame outside the calibration region, to keep "
            f"some back, got at most {most}; no reliability can be told of so few"
        )
    return held


def calibration_points(mask: Bool, *, n_calibration: int | None = None) -> Bool:
    """The calibration region (ky, kx) of a mask: its fully sampled center, and that of ``n_calibration`` if given."""
    n_ky, n_kx = mask.shape[1:]
    lines = whole_lines(mask)
    sizes = [calibration_size(mask)]
    if n_calibration is not None:
        sizes.append((min(n_calibration, n_ky), n_kx if lines else min(n_calibration, n_kx)))
    region = np.zeros((n_ky, n_kx), np.bool_)
    for height, width in sizes:
        region[center_slice(n_ky, height), center_slice(n_kx, width)] = True
    return region


def whole_lines(mask: Bool) -> bool:
    """Whether every line is measured from end to end or not at all."""
    return bool((mask == mask[..., :1]).all())


def outer_groups(outer: Bool) -> NDArray[np.int64]:
    """Number of the line or sector of each measured outer point (ky, kx), from 0; -1 elsewhere.

    Sectors follow the angle about the center, modulo 180 degrees, and hold as many points as the longer side is long.
    """
    n_ky, n_kx = outer.shape
    groups = np.full(outer.shape, -1, np.int64)
    used = outer.any(axis=1)
    if not used.any():
        return groups
    # lines that the calibration block interrupts do not exist: it is as wide as they are
    if (outer[used] == outer[used][:1]).all() and outer[used].all():
        groups[used] = np.arange(int(used.sum()))[:, None]
        return groups
    ky, kx = np.nonzero(outer)
    angle = np.arctan2(ky - n_ky // 2, kx - n_kx // 2) % np.pi
    order = np.argsort(angle, kind="stable")
    n_sectors = max(1, round(len(ky) / max(n_ky, n_kx)))
    groups[ky[order], kx[order]] = np.arange(len(ky)) * n_sectors // len(ky)
    return groups
