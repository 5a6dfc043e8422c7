"""How good is a reconstructed image against the fully sampled one?

PSNR, SSIM and NMSE as the official CMRxRecon evaluation defines them, and the same restricted to the heart.
"""

from typing import Any

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

SCALE_PERCENTILE = 99.5
SSIM_WINDOW = 7  # pixels, uniform
SSIM_K1, SSIM_K2 = 0.01, 0.03

Image = NDArray[Any]
Float = NDArray[np.float64]


def official_scores(reference: Image, image: Image) -> dict[str, float]:
    """PSNR, SSIM and NMSE, each the mean over all frames and slices.

    Each 2-D frame of both images is divided by the 99.5th percentile of its own magnitude; the data range of PSNR and
    SSIM is the maximum of the reference frame after that; the SSIM window is 7 x 7 and uniform, with sample covariance,
    and its mean leaves out a border of 3 pixels; ``NMSE = |g - p|^2 / |g|^2``.

    Parameters
    ----------
    reference, image : array (..., y, x), at least 7 x 7
        Real or complex; complex ones are compared by magnitude.

    Returns
    -------
    dict with psnr (dB, infinite for equal images), ssim (at most 1), nmse (at least 0)

    Raises
    ------
    ValueError
        For different shapes, frames smaller than 7 x 7, values that are not finite, or a reference frame of zeros.

    Notes
    -----
    Source: evaluation code of the CMRxRecon challenges; SSIM: Wang et al. 2004, doi:10.1109/TIP.2003.819861.
    """
    return {name: float(values.mean()) for name, values in frame_scores(reference, image).items()}


def frame_scores(reference: Image, image: Image) -> dict[str, Float]:
    """Like ``official_scores``, but a number a frame: arrays (...) of psnr (dB), ssim, nmse."""
    _check(reference, image)
    size = reference.shape[-2:]
    pairs = list(zip(reference.reshape(-1, *size), image.reshape(-1, *size), strict=True))
    for index, (g, _) in enumerate(pairs):
        if not g.any():
            raise ValueError(
                f"expected signal in every reference frame, got only zeros in frame {index} of {len(pairs)}"
            )
    table = np.array([_score(g, p, region=None) for g, p in pairs]).T.reshape(3, *reference.shape[:-2])
    return {"psnr": table[0], "ssim": table[1], "nmse": table[2]}


def heart_scores(reference: Image, image: Image, *, region: NDArray[Any]) -> dict[str, float]:
    """PSNR, SSIM and NMSE inside a region, each the mean over the frames that the region touches.

    Scaling and data range are those of ``official_scores`` (of the whole frame), so that only the place differs.

    Parameters
    ----------
    reference, image : array (..., y, x), at least 7 x 7
    region : array broadcastable to (..., y, x)
        Nonzero inside, for example a label map or what ``heart_box`` makes of it.

    Returns
    -------
    dict with psnr (dB), ssim, nmse

    Raises
    ------
    ValueError
        As ``official_scores``, and if the region is empty.
    """
    _check(reference, image)
    size = reference.shape[-2:]
    inside = np.broadcast_to(np.asarray(region) != 0, reference.shape).reshape(-1, *size)
    if not inside.any():
        raise ValueError("expected a heart region with at least one pixel, got an empty one; was the heart segmented?")
    frames = zip(reference.reshape(-1, *size), image.reshape(-1, *size), inside, strict=True)
    psnr, ssim, nmse = np.mean([_score(g, p, region=mask) for g, p, mask in frames if mask.any()], axis=0)
    return {"psnr": float(psnr), "ssim": float(ssim), "nmse": float(nmse)}


def heart_box(labels: NDArray[Any], *, margin_px: int) -> NDArray[np.bool_]:
    """Box around the heart, one for all frames and slices, ``margin_px`` wider on each side.

    Parameters
    ----------
    labels : array (..., y, x)
        Nonzero in the heart.
    margin_px : int, >= 0

    Returns
    -------
    bool array (y, x), empty where the labels are
    """
    rows, columns = np.nonzero(np.any(labels != 0, axis=tuple(range(labels.ndim - 2))))
    box = np.zeros(labels.shape[-2:], np.bool_)
    if len(rows):
        y0, x0 = max(rows.min() - margin_px, 0), max(columns.min() - margin_px, 0)
        box[y0 : rows.max() + margin_px + 1, x0 : columns.max() + margin_px + 1] = True
    return box


def ssim_map(reference: Float, image: Float, *, data_range: float) -> Float:
    """Local structural similarity of two real images (y, x), window 7 x 7, edges mirrored."""
    n = SSIM_WINDOW**2
    unbiased = n / (n - 1)

    def local_mean(values: Float) -> Float:
        return np.asarray(scipy.ndimage.uniform_filter(values, SSIM_WINDOW))

    mean_g, mean_p = local_mean(reference), local_mean(image)
    var_g = unbiased * (local_mean(reference**2) - mean_g**2)
    var_p = unbiased * (local_mean(image**2) - mean_p**2)
    covariance = unbiased * (local_mean(reference * image) - mean_g * mean_p)
    c1, c2 = (SSIM_K1 * data_range) ** 2, (SSIM_K2 * data_range) ** 2
    above = (2 * mean_g * mean_p + c1) * (2 * covariance + c2)
    return np.asarray(above / ((mean_g**2 + mean_p**2 + c1) * (var_g + var_p + c2)))


def _score(g_raw: Image, p_raw: Image, *, region: NDArray[np.bool_] | None) -> tuple[float, float, float]:
    """(psnr, ssim, nmse) of one frame, over the whole of it or over a region."""
    g, p = _scaled(g_raw), _scaled(p_raw)
    data_range = float(g.max())
    similarity = ssim_map(g, p, data_range=data_range)
    if region is None:
        border = SSIM_WINDOW // 2
        similarity = similarity[border:-border, border:-border]
    else:
        g, p, similarity = g[region], p[region], similarity[region]
    squared, energy = ((g - p) ** 2).mean(), (g**2).mean()
    psnr = 10 * np.log10(data_range**2 / squared) if squared > 0 else np.inf
    return float(psnr), float(similarity.mean()), float(squared / energy) if energy > 0 else np.nan


def _scaled(frame: Image) -> Float:
    """Magnitude over its 99.5th percentile; over its maximum where the percentile is 0 (few bright pixels)."""
    magnitude = np.abs(frame).astype(np.float64)
    scale = np.percentile(magnitude, SCALE_PERCENTILE) or magnitude.max()
    return magnitude / scale if scale > 0 else magnitude


def _check(reference: Image, image: Image) -> None:
    if reference.shape != image.shape or reference.ndim < 2:
        raise ValueError(f"expected two images (..., y, x) of one shape, got {reference.shape} and {image.shape}")
    if min(reference.shape[-2:]) < SSIM_WINDOW:
        raise ValueError(
            f"expected frames of at least {SSIM_WINDOW} x {SSIM_WINDOW} pixels, got {reference.shape[-2:]}"
        )
    if not (np.isfinite(reference).all() and np.isfinite(image).all()):
        raise ValueError("expected finite images, got NaN or infinity; look at the reconstruction that made them")
