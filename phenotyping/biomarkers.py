"""What is the myocardium's T1 or T2, given the map and where the myocardium is?"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cohort.records import MeasurementFailed
from phenotyping.labels import LV, MYOCARDIUM, NAMES, Labels
from phenotyping.volumes import checked_voxel_ml

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: transmural part used: the middle half of the wall, free of partial volume with blood and fat (SCMR and EACVI
#: consensus: conservative regions, doi 10.1186/s12968-017-0389-8)
TRANSMURAL: Final = (0.25, 0.75)
MIN_PIXELS: Final = 20
#: more pixels without a usable value than this, and the map, not the myocardium, would be measured
MAX_EXCLUDED: Final = 0.5
#: values outside belong to no myocardium at 0.55 to 5 T: failed fits, air, fat, blood
T1_RANGE_MS: Final = (300.0, 2500.0)
T2_RANGE_MS: Final = (10.0, 150.0)
T1RHO_RANGE_MS: Final = (10.0, 200.0)
#: a pixel whose fit is less certain than this share of its value says nothing
MAX_RELATIVE_SD: Final = 0.5


@dataclass(frozen=True)
class RegionValue:
    """Median and interquartile range in ms over `n_used` pixels; `n_excluded` pixels of the region had no usable value.

    `region` is `central wall` or, with `reason`, `whole wall`.
    """

    name: str
    median_ms: float
    q25_ms: float
    q75_ms: float
    n_used: int
    n_excluded: int
    region: str
    reason: str = ""


def myocardial_t1(
    t1_ms: Array, labels: Labels, *, spacing_mm: tuple[float, float, float], t1_sd_ms: Array | None = None
) -> RegionValue:
    """Median T1 of the myocardium, of the middle half of its wall.

    Parameters
    ----------
    t1_ms
        `(slices, y, x)` or `(y, x)`, ms, NaN where the fit failed.
    labels
        The same shape, 0 background, 1 LV cavity, 2 myocardium, 3 RV cavity.
    spacing_mm
        (slice pitch, y, x), mm.
    t1_sd_ms
        Uncertainty of the fit, ms; pixels above half of their value are left out.

    Returns
    -------
    With fewer than 20 usable pixels in the middle half, the value of the whole wall and the reason.

    Raises
    ------
    MeasurementFailed
        Without myocardium, or with too few usable pixels in it; the message says which.
    """
    return _region_value("T1", t1_ms, labels, spacing_mm, T1_RANGE_MS, t1_sd_ms)


def myocardial_t2(
    t2_ms: Array, labels: Labels, *, spacing_mm: tuple[float, float, float], t2_sd_ms: Array | None = None
) -> RegionValue:
    """Median T2 of the myocardium; arguments and errors as in `myocardial_t1`."""
    return _region_value("T2", t2_ms, labels, spacing_mm, T2_RANGE_MS, t2_sd_ms)


def myocardial_t1rho(
    t1rho_ms: Array, labels: Labels, *, spacing_mm: tuple[float, float, float], t1rho_sd_ms: Array | None = None
) -> RegionValue:
    """Median T1rho of the myocardium; arguments and errors as in `myocardial_t1`."""
    return _region_value("T1rho", t1rho_ms, labels, spacing_mm, T1RHO_RANGE_MS, t1rho_sd_ms)


def central_wall(labels: Labels, *, spacing_mm: tuple[float, float, float]) -> Mask:
    """Myocardium between 25 and 75 % of the way from the cavity to the outside, slice by slice.

    Depth of a pixel = (distance to the cavity) / (distance to the cavity + distance to the outside), both less half a
    pixel because distances run between pixel centers. Slices without LV cavity, and walls of less than two pixels,
    have no middle that is free of partial volume and give nothing.

    Parameters
    ----------
    labels
        `(slices, y, x)` or `(y, x)`.
    spacing_mm
        (slice pitch, y, x), mm.
    """
    pixel = (spacing_mm[1], spacing_mm[2])
    half = 0.25 * sum(pixel)
    central = np.zeros(labels.shape, bool)
    for index in np.ndindex(labels.shape[:-2]):
        image = labels[index]
        wall = image == MYOCARDIUM
        if not wall.any() or not (image == LV).any():
            continue
        to_cavity = ndimage.distance_transform_edt(image != LV, sampling=pixel) - half
        outside = np.pad(~(wall | (image == LV)), 1, constant_values=True)
        to_outside = ndimage.distance_transform_edt(~outside, sampling=pixel)[1:-1, 1:-1] - half
        thickness = to_cavity + to_outside
        depth = to_cavity / np.maximum(thickness, half)
        central[index] = wall & (depth >= TRANSMURAL[0]) & (depth <= TRANSMURAL[1]) & (thickness >= 4 * half)
    return central


def _region_value(
    name: str,
    values: Array,
    labels: Labels,
    spacing_mm: tuple[float, float, float],
    plausible: tuple[float, float],
    sd: Array | None,
) -> RegionValue:
    values, labels = np.asarray(values, dtype=np.float64), np.asarray(labels)
    if values.shape != labels.shape or values.ndim not in (2, 3) or (sd is not None and np.shape(sd) != values.shape):
        raise MeasurementFailed(
            f"{name}: map and labels must be (slices, y, x) of one shape, got {values.shape} and {labels.shape}"
        )
    checked_voxel_ml(spacing_mm)
    wall = labels == MYOCARDIUM
    if not wall.any():
        raise MeasurementFailed(f"{name}: no {NAMES[MYOCARDIUM]} found on the mapping images")
    with np.errstate(invalid="ignore"):
        usable = (values >= plausible[0]) & (values <= plausible[1])
        if sd is not None:
            usable &= ~(np.asarray(sd, dtype=np.float64) > MAX_RELATIVE_SD * values)
    central = central_wall(labels, spacing_mm=spacing_mm)
    mask, region, reason = central, "central wall", ""
    if np.count_nonzero(central & usable) < MIN_PIXELS:
        reason = f"the middle half of the wall has only {np.count_nonzero(central & usable)} usable pixels"
        mask, region = wall, "whole wall"
    n_used, n_all = int(np.count_nonzero(mask & usable)), int(np.count_nonzero(mask))
    if n_used < MIN_PIXELS or n_all - n_used > MAX_EXCLUDED * n_all:
        raise MeasurementFailed(
            f"{name}: only {n_used} of {n_all} pixels of the {region} have a value of {plausible[0]:g} to "
            f"{plausible[1]:g} ms (at least {MIN_PIXELS} and half of them are needed)"
        )
    q25, median, q75 = np.percentile(values[mask & usable], [25, 50, 75])
    return RegionValue(name, float(median), float(q25), float(q75), n_used, n_all - n_used, region, reason)
