"""How is the energy of measured k-space spread over spatial frequencies, and how much of it is noise?"""

import math

import numpy as np
from numpy.typing import NDArray

EDGE_SHARE = 0.1  # outermost part of the measured points that noise is read from

Float = NDArray[np.float64]


def relative_radius(n_ky: int, n_kx: int) -> Float:
    """Distance (ky, kx) from the center of k-space: 1 where an axis ends, sqrt(2) in the corners."""
    ky = (np.arange(n_ky) - n_ky // 2) / max(n_ky / 2, 1)
    kx = (np.arange(n_kx) - n_kx // 2) / max(n_kx / 2, 1)
    return np.hypot(ky[:, None], kx[None, :])


def noise_variance(kspace: NDArray[np.complex64], mask: NDArray[np.bool_]) -> Float:
    """Variance of the complex noise of each coil, from the outermost tenth of the measured points.

    Parameters
    ----------
    kspace : complex array (frames, coils, ky, kx)
    mask : bool array (frames, ky, kx)
        Points outside it, and zeros (a scanner's filled-up corners), are not looked at.

    Returns
    -------
    float array (coils,)
        ``median |k|^2 / ln 2``, the variance if the points hold noise alone: few points with signal do not move the
        median, but where signal reaches the edges this is an upper bound. NaN if nothing is measured.
    """
    radius = np.where(mask & (np.abs(kspace).max(axis=1) > 0), relative_radius(*mask.shape[1:]), -1.0)
    measured = radius[radius >= 0]
    if not len(measured):
        return np.full(kspace.shape[1], np.nan)
    edge = radius >= np.quantile(measured, 1 - EDGE_SHARE)
    energy = np.abs(kspace.transpose(1, 0, 2, 3)[:, edge]).astype(np.float64) ** 2
    return np.asarray(np.median(energy, axis=1) / math.log(2))


def radial_energy(kspace: NDArray[np.complex64], mask: NDArray[np.bool_], *, n_bins: int) -> Float:
    """Share of the energy in each ring of relative radius 0 to 1, as if every point had been measured.

    Parameters
    ----------
    kspace : complex array (frames, coils, ky, kx)
    mask : bool array (frames, ky, kx)
    n_bins : int
        Rings of equal width.

    Returns
    -------
    float array (n_bins,)
        Sum 1. A ring's mean energy of measured points times its number of points; a ring in which none was measured
        takes the mean of its neighbors on a logarithmic scale.
    """
    n_ky, n_kx = mask.shape[1:]
    ring = np.minimum(relative_radius(n_ky, n_kx) * n_bins, 2 * n_bins).astype(np.int64)
    energy = (np.abs(kspace).astype(np.float64) ** 2).sum(axis=1)
    rings = np.broadcast_to(ring, mask.shape)[mask]
    inside = rings < n_bins
    points = np.bincount(rings[inside], minlength=n_bins)
    sums = np.bincount(rings[inside], weights=energy[mask][inside], minlength=n_bins)
    known = (points > 0) & (sums > 0)
    if not known.any():
        return np.full(n_bins, np.nan)
    places = np.arange(n_bins)
    mean = np.exp(np.interp(places, places[known], np.log(sums[known] / points[known])))
    total = mean * np.bincount(ring[ring < n_bins], minlength=n_bins)
    return np.asarray(total / total.sum())
