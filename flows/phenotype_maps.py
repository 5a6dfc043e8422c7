"""Which map does a mapping series give, and what is the myocardium's value in it?"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cohort.phenotypes import VOCABULARY
from cohort.records import CardioValError
from flows.measured_values import Value, checked, failed
from flows.phenotype_inputs import LoadedSeries
from flows.stages import one_line
from phenotyping.biomarkers import myocardial_t1, myocardial_t2
from phenotyping.phase import restore_sign
from phenotyping.relaxometry import fit_decay, fit_inversion_recovery, fit_saturation_recovery
from phenotyping.shmolli import SCHEME, fit_shmolli

SHORTEST_BEAT_MS: Final = 300.0
MAP_PHENOTYPE = {"T1 mapping": "t1_ms", "T2 mapping": "t2_ms", "T2* mapping": "t2star_ms"}


@dataclass(frozen=True)
class FittedMap:
    """Time constant and its uncertainty, ms, (slices, y, x), NaN where the fit failed; `how` says which fit it was."""

    t_ms: NDArray[np.float64]
    sd_ms: NDArray[np.float64]
    how: str


def planned_of_map(kind: str) -> list[str]:
    """The phenotype of a mapping series, where there is one."""
    return [name for name in [MAP_PHENOTYPE[kind]] if name in VOCABULARY]


def fit_map(series: LoadedSeries, kind: str) -> FittedMap:
    """Fit every slice with its own times.

    T1: saturation recovery where the sequence is named SASHA; ShMOLLI's conditional rule where the times show its scheme
    of 5, 1 and 1 images; else inversion recovery with Look-Locker correction. With phase images the samples carry their
    sign, else every plausible polarity is tried. T2 and T2*: a decay.
    """
    if series.times_ms is None:
        raise ValueError("a mapping series has times")
    parts = [_fit_slice(series, kind, z) for z in range(series.image.shape[1])]
    return FittedMap(
        t_ms=np.stack([part.t_ms for part in parts]),
        sd_ms=np.stack([part.sd_ms for part in parts]),
        how=parts[0].how,
    )


def map_values(fitted: FittedMap, labels: NDArray[np.uint8], series: LoadedSeries, kind: str) -> list[Value]:
    """Median of the middle of the myocardial wall, or the reason why there is none."""
    values = []
    for name in planned_of_map(kind):
        try:
            if name == "t1_ms":
                region = myocardial_t1(fitted.t_ms, labels, spacing_mm=series.spacing_mm, t1_sd_ms=fitted.sd_ms)
            else:
                # few samples: a single pixel's uncertainty is too rough to exclude pixels by
                region = myocardial_t2(fitted.t_ms, labels, spacing_mm=series.spacing_mm)
            values.append(checked(name, region.median_ms, region.reason))
        except CardioValError as problem:
            values += failed([name], one_line(problem))
    return values


def _fit_slice(series: LoadedSeries, kind: str, z: int) -> FittedMap:
    signal: NDArray[np.floating] = np.moveaxis(series.image[:, z], 0, -1)
    times = np.asarray(series.times_ms)[:, z]
    if kind != "T1 mapping":
        decay = fit_decay(signal, times)
        return FittedMap(decay.t_ms, decay.t_sd_ms, f"mono-exponential decay, {len(times)} times")
    if "sasha" in series.words:
        recovery = fit_saturation_recovery(signal, times)
        return FittedMap(recovery.t1_ms, recovery.t1_sd_ms, f"saturation recovery, {len(times)} times")
    signed, polarity = series.phase is not None, "signs from the phase images"
    if series.phase is not None:
        turned = np.moveaxis(series.image[:, z] * np.exp(1j * series.phase[:, z]), 0, -1)
        signal = restore_sign(turned, times)
    else:
        polarity = "signs searched"
    if inversions(times) == list(SCHEME):
        rr_ms = float(np.median(np.diff(times[: SCHEME[0]])))
        fit = fit_shmolli(signal, times, rr_ms=rr_ms, signed=signed).fit
        return FittedMap(fit.t1_ms, fit.t1_sd_ms, f"ShMOLLI, conditional on T1 and RR of {rr_ms:.0f} ms, {polarity}")
    fit = fit_inversion_recovery(signal, times, signed=signed)
    return FittedMap(fit.t1_ms, fit.t1_sd_ms, f"Look-Locker inversion recovery, {len(times)} times, {polarity}")


def inversions(times_ms: NDArray[np.floating]) -> list[int]:
    """How many images follow each inversion: images of one are a heart beat apart, in the order taken."""
    starts = [0, *(np.flatnonzero(np.diff(times_ms) < SHORTEST_BEAT_MS) + 1).tolist(), len(times_ms)]
    return [int(n) for n in np.diff(starts)]
