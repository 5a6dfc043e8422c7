"""Which map does a mapping series give, and what are the myocardium's values in it?"""

from collections.abc import Container
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cohort.records import CardioValError
from flows.measure_map import aligned, fitted, motion_of, values_and_facts, with_septum
from flows.measured_values import Value, failed
from flows.phenotype_inputs import LoadedSeries
from flows.stages import one_line
from phenotyping.phase import restore_sign
from phenotyping.relaxometry import fit_inversion_recovery, fit_saturation_recovery
from phenotyping.shmolli import SCHEME, fit_shmolli

SHORTEST_BEAT_MS: Final = 300.0
#: words of a header to the names of cohort.normal_values; the first that fits
SEQUENCES: Final = {"shmolli": "ShMOLLI", "sapphire": "SAPPHIRE", "molli": "MOLLI"}
LOOK_LOCKER, DECAY = "Look-Locker inversion recovery", "mono-exponential decay"
MAP_PHENOTYPE = {"T1 mapping": "t1_ms", "T2 mapping": "t2_ms", "T2* mapping": "t2star_ms"}


@dataclass(frozen=True)
class FittedMap:
    """Time constant and its uncertainty, ms, and explained variance, (slices, y, x), NaN where the fit failed; `how` says
    which fit it was, `sequence` what was scanned, None where the header and the times do not tell, `motion` what moved in
    each slice that was to be aligned."""

    t_ms: NDArray[np.float64]
    sd_ms: NDArray[np.float64]
    r2: NDArray[np.float64]
    how: str
    sequence: str | None
    motion: dict[str, Any] = field(default_factory=dict)


def planned_of_map(kind: str) -> list[str]:
    """Phenotypes of a mapping series, where there are any: of the whole wall, and of the septum."""
    return with_septum(MAP_PHENOTYPE[kind])


def fit_map(series: LoadedSeries, kind: str, *, align: NDArray[np.uint8] | None = None) -> FittedMap:
    """Fit every slice with its own times.

    T1: saturation recovery where the sequence is named SASHA; ShMOLLI's conditional rule where the times show its scheme
    of 5, 1 and 1 images; else inversion recovery with Look-Locker correction. With phase images the samples carry their
    sign, else every plausible polarity is tried. T2 and T2*: a decay.

    Parameters
    ----------
    series
        Images with their times.
    kind
        A key of `MAP_PHENOTYPE`.
    align
        Labels (slices, y, x): the images of each slice are aligned around its heart before the fit.
    """
    if series.times_ms is None:
        raise ValueError("a mapping series has times")
    motion: dict[str, Any] = {}
    if align is not None:
        series, motion = without_motion(series, kind, align)
    parts = [_fit_slice(series, kind, z, moved=_was_moved(motion, z)) for z in range(series.image.shape[1])]
    return FittedMap(
        t_ms=np.stack([part.t_ms for part in parts]),
        sd_ms=np.stack([part.sd_ms for part in parts]),
        r2=np.stack([part.r2 for part in parts]),
        how="; ".join(dict.fromkeys(part.how for part in parts)),
        sequence=parts[0].sequence,
        motion=motion,
    )


def without_motion(
    series: LoadedSeries, kind: str, labels: NDArray[np.uint8]
) -> tuple[LoadedSeries, dict[str, dict[str, Any]]]:
    """The series with each slice aligned around its labels, and what was found; a slice that cannot be is left as it is."""
    image, motion = series.image.copy(), {}
    for z, part in enumerate(labels):
        if not part.any():
            continue
        times = np.asarray(series.times_ms)[:, z]
        name = MAP_PHENOTYPE[kind]
        image[:, z], motion[motion_of(z)] = aligned(series.image[:, z], times, name, part, series.spacing_mm)
    return replace(series, image=image), motion


def _was_moved(motion: dict[str, Any], z: int) -> bool:
    return bool(motion.get(motion_of(z), {}).get("kept"))


def map_values(
    found: FittedMap, labels: NDArray[np.uint8], series: LoadedSeries, kind: str
) -> tuple[list[Value], dict[str, Any]]:
    """Medians of the middle of the wall, all of it and the septum, or the reasons why there are none; among the facts those
    of the AHA segments, with quartiles and pixels, and what moved."""
    names = planned_of_map(kind)
    if not names:
        return [], dict(found.motion)
    maps = {"value": found.t_ms, "sd": found.sd_ms, "r2": found.r2}
    try:
        values, facts = values_and_facts(names[0], maps, labels, spacing_mm=series.spacing_mm)
    except CardioValError as problem:
        return failed(names, one_line(problem)), dict(found.motion)
    return values, found.motion | facts


def sequence_of(kind: str, words: Container[str]) -> str | None:
    """The sequence by the words of the header (`cohort.dicom_words`), None where they do not name one."""
    known = SEQUENCES if kind == "T1 mapping" else {"grase": "GraSE"} if kind == "T2 mapping" else {}
    return next((name for word, name in known.items() if word in words), None)


def _fit_slice(series: LoadedSeries, kind: str, z: int, *, moved: bool) -> FittedMap:
    signal: NDArray[np.floating] = np.moveaxis(series.image[:, z], 0, -1)
    times = np.asarray(series.times_ms)[:, z]
    n, sequence, aligned_too = len(times), sequence_of(kind, series.words), ", images aligned" if moved else ""
    if kind == "T1 mapping" and "sasha" in series.words:
        recovery = fit_saturation_recovery(signal, times)
        how = f"saturation recovery, {n} times{aligned_too}"
        return FittedMap(recovery.t1_ms, recovery.t1_sd_ms, recovery.r2, how, "SASHA")
    # phase images were not aligned, and lie elsewhere than magnitudes that were
    signed = kind == "T1 mapping" and series.phase is not None and not moved
    polarity = f"{'signs from the phase images' if signed else 'signs searched'}{aligned_too}"
    if series.phase is not None and signed:
        turned = np.moveaxis(series.image[:, z] * np.exp(1j * series.phase[:, z]), 0, -1)
        signal = restore_sign(turned, times)
    if kind == "T1 mapping" and inversions(times) == list(SCHEME):
        rr_ms = float(np.median(np.diff(times[: SCHEME[0]])))
        fit = fit_shmolli(signal, times, rr_ms=rr_ms, signed=signed).fit
        how = f"ShMOLLI, conditional on T1 and RR of {rr_ms:.0f} ms, {polarity}"
        return FittedMap(fit.t1_ms, fit.t1_sd_ms, fit.r2, how, "ShMOLLI")
    if signed:
        fit = fit_inversion_recovery(signal, times, signed=True)
        return FittedMap(fit.t1_ms, fit.t1_sd_ms, fit.r2, f"{LOOK_LOCKER}, {n} times, {polarity}", sequence)
    maps = fitted(MAP_PHENOTYPE[kind], signal, times)
    how = f"{LOOK_LOCKER}, {n} times, {polarity}" if kind == "T1 mapping" else f"{DECAY}, {n} times{aligned_too}"
    return FittedMap(maps["value"], maps["sd"], maps["r2"], how, sequence)


def inversions(times_ms: NDArray[np.floating]) -> list[int]:
    """How many images follow each inversion: images of one are a heart beat apart, in the order taken."""
    starts = [0, *(np.flatnonzero(np.diff(times_ms) < SHORTEST_BEAT_MS) + 1).tolist(), len(times_ms)]
    return [int(n) for n in np.diff(starts)]
