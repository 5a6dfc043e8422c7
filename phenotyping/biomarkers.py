"""What is the myocardium's T1, T2, T2* or T1rho, given the map and where the myocardium is?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from cohort.records import MeasurementFailed
from phenotyping import aha
from phenotyping.labels import MYOCARDIUM, NAMES, Labels
from phenotyping.regions import SEPTAL_SEGMENTS, TRANSMURAL, Spacing, segment_map, transmural_band
from phenotyping.volumes import checked_voxel_ml

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Parameter = Literal["T1", "T2", "T2*", "T1rho"]

MIN_PIXELS: Final = 20
#: a segment of a mapping slice is an eighth of the wall or less
MIN_SEGMENT_PIXELS: Final = 8
#: more pixels without a usable value than this, and the map, not the myocardium, would be measured
MAX_EXCLUDED: Final = 0.5
#: values outside belong to no myocardium at 0.55 to 5 T: failed fits, air, fat, blood
RANGE_MS: Final[dict[Parameter, tuple[float, float]]] = {
    "T1": (300.0, 2500.0),
    "T2": (10.0, 150.0),
    "T2*": (2.0, 100.0),
    "T1rho": (10.0, 200.0),
}
#: a pixel whose fit is less certain than this share of its value says nothing
MAX_RELATIVE_SD: Final = 0.5


@dataclass(frozen=True)
class RegionValue:
    """Median and quartiles in ms over `n_used` pixels; `n_excluded` pixels of the region had no usable value.

    `region` is `central wall` (or the band given), `septum`, `segment 1` to `segment 16` or, with `reason`, `whole wall` or
    `whole septum`.
    """

    name: str
    median_ms: float
    q25_ms: float
    q75_ms: float
    n_used: int
    n_excluded: int
    region: str
    reason: str = ""

    @property
    def iqr_ms(self) -> float:
        """Interquartile range."""
        return self.q75_ms - self.q25_ms

    @property
    def fraction_excluded(self) -> float:
        """Share of the region's pixels without a usable value."""
        return self.n_excluded / (self.n_used + self.n_excluded)


@dataclass(frozen=True)
class RegionalValues:
    """One map by the rules of the consensus: all of the wall, the septum of mid slices, the AHA segments.

    What could not be measured is None, or missing among `segments`, and `reasons` says why by the region's name.
    """

    wall: RegionValue
    septum: RegionValue | None
    segments: dict[int, RegionValue]
    reasons: dict[str, str]


def regional_values(
    name: Parameter,
    values_ms: Array,
    labels: Labels,
    *,
    spacing_mm: Spacing,
    sd_ms: Array | None = None,
    accepted: Mask | None = None,
    band: tuple[float, float] = TRANSMURAL,
    levels: Sequence[aha.Level] | None = None,
) -> RegionalValues:
    """Medians of a map over the wall's middle: global, septal (segments 8 and 9), and of the 16 AHA segments.

    Rules of the SCMR and EACVI consensus, doi 10.1186/s12968-017-0389-8.

    Parameters
    ----------
    name
        Which relaxation time; decides which values are plausible.
    values_ms
        `(slices, y, x)` or `(y, x)`, ms, NaN where the fit failed.
    labels
        The same shape, upright; 0 background, 1 LV cavity, 2 myocardium, 3 RV cavity.
    spacing_mm
        (slice pitch, y, x), mm.
    sd_ms
        Uncertainty of the fit, ms; pixels above half of their value are left out.
    accepted
        Pixels to be used (`phenotyping.fit_quality.fit_quality`); the others count as excluded.
    band
        Transmural part, from the cavity (0) to the outside (1).
    levels
        Level of each slice, see `phenotyping.regions.segment_map`.

    Raises
    ------
    MeasurementFailed
        Where the wall as a whole cannot be measured.
    """
    values, labels, usable = _usable(name, values_ms, labels, sd_ms, accepted)
    checked_voxel_ml(spacing_mm)
    central = transmural_band(labels, spacing_mm=spacing_mm, band=band)
    wall = _wall_value(name, values, labels, usable, central, band)
    stack = labels if labels.ndim == 3 else labels[None]
    found = segment_map(stack, spacing_mm=spacing_mm, levels=levels)
    segment = found.segment.reshape(labels.shape)
    reasons = {"segments": found.reason} if found.reason else {}
    segments: dict[int, RegionValue] = {}
    for number in aha.SEGMENTS:
        mask = central & (segment == number)
        if mask.any():
            try:
                segments[number] = _value(name, values, mask, usable, f"segment {number}", least=MIN_SEGMENT_PIXELS)
            except MeasurementFailed as problem:
                reasons[f"segment {number}"] = str(problem)
    septum = None
    whole_septum = (labels == MYOCARDIUM) & np.isin(segment, SEPTAL_SEGMENTS)
    if not whole_septum.any():
        reasons["septum"] = found.reason or "no mid slice with a septum"
    else:
        try:
            septum = _septal_value(name, values, whole_septum, central, usable)
        except MeasurementFailed as problem:
            reasons["septum"] = str(problem)
    return RegionalValues(wall, septum, segments, reasons)


def myocardial_t1(t1_ms: Array, labels: Labels, *, spacing_mm: Spacing, t1_sd_ms: Array | None = None) -> RegionValue:
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
    return _of_wall("T1", t1_ms, labels, spacing_mm, t1_sd_ms)


def myocardial_t2(t2_ms: Array, labels: Labels, *, spacing_mm: Spacing, t2_sd_ms: Array | None = None) -> RegionValue:
    """Median T2 of the myocardium; arguments and errors as in `myocardial_t1`."""
    return _of_wall("T2", t2_ms, labels, spacing_mm, t2_sd_ms)


def central_wall(labels: Labels, *, spacing_mm: Spacing) -> Mask:
    """Myocardium between 25 and 75 % of the way from the cavity to the outside (`phenotyping.regions`)."""
    return transmural_band(labels, spacing_mm=spacing_mm)


def _of_wall(name: Parameter, values: Array, labels: Labels, spacing_mm: Spacing, sd: Array | None) -> RegionValue:
    values, labels, usable = _usable(name, values, labels, sd, None)
    checked_voxel_ml(spacing_mm)
    return _wall_value(name, values, labels, usable, central_wall(labels, spacing_mm=spacing_mm), TRANSMURAL)


def _usable(
    name: Parameter, values: Array, labels: Labels, sd: Array | None, accepted: Mask | None
) -> tuple[Array, Labels, Mask]:
    values, labels = np.asarray(values, dtype=np.float64), np.asarray(labels)
    others = [np.shape(other) for other in (sd, accepted) if other is not None]
    if values.ndim not in (2, 3) or any(shape != values.shape for shape in (labels.shape, *others)):
        raise MeasurementFailed(
            f"{name}: map and labels must be (slices, y, x) of one shape, got {values.shape} and {labels.shape}"
        )
    low, high = RANGE_MS[name]
    with np.errstate(invalid="ignore"):
        usable = (values >= low) & (values <= high)
        if sd is not None:
            usable &= ~(np.asarray(sd, dtype=np.float64) > MAX_RELATIVE_SD * values)
    if accepted is not None:
        usable &= accepted
    return values, labels, usable


def _wall_value(
    name: Parameter,
    values: Array,
    labels: Labels,
    usable: Mask,
    central: Mask,
    band: tuple[float, float],
) -> RegionValue:
    """Of the `central` part of the wall, which is its `band`; of all of it, with the reason, where that holds too little."""
    wall = labels == MYOCARDIUM
    if not wall.any():
        raise MeasurementFailed(f"{name}: no {NAMES[MYOCARDIUM]} found on the mapping images")
    part, region = "the middle half of the wall", "central wall"
    if band != TRANSMURAL:
        part = region = f"{band[0]:g} to {band[1]:g} of the wall"
    n_central = np.count_nonzero(central & usable)
    if n_central >= MIN_PIXELS:
        return _value(name, values, central, usable, region, least=MIN_PIXELS)
    reason = f"{part} has only {n_central} usable pixels"
    return _value(name, values, wall, usable, "whole wall", least=MIN_PIXELS, reason=reason)


def _septal_value(name: Parameter, values: Array, septum: Mask, central: Mask, usable: Mask) -> RegionValue:
    """The septum's middle; all of it, with the reason, where pixels are too coarse for a middle."""
    n_central = np.count_nonzero(septum & central & usable)
    if n_central >= MIN_SEGMENT_PIXELS:
        return _value(name, values, septum & central, usable, "septum", least=MIN_SEGMENT_PIXELS)
    reason = f"the middle of the septum has only {n_central} usable pixels"
    return _value(name, values, septum, usable, "whole septum", least=MIN_SEGMENT_PIXELS, reason=reason)


def _value(
    name: Parameter, values: Array, mask: Mask, usable: Mask, region: str, *, least: int, reason: str = ""
) -> RegionValue:
    n_used, n_all = int(np.count_nonzero(mask & usable)), int(np.count_nonzero(mask))
    if n_used < least or n_all - n_used > MAX_EXCLUDED * n_all:
        low, high = RANGE_MS[name]
        raise MeasurementFailed(
            f"{name}: only {n_used} of {n_all} pixels of the {region} have a value of {low:g} to {high:g} ms that can be "
            f"used (at least {least} and half of them are needed)"
        )
    q25, median, q75 = np.percentile(values[mask & usable], [25, 50, 75])
    return RegionValue(name, float(median), float(q25), float(q75), n_used, n_all - n_used, region, reason)
