"""What is measured on a labeled mapping series? The myocardium's T1, T2 or T1rho: global, septal, by segment."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cohort.cmrxrecon import read_times_ms
from cohort.phenotypes import VOCABULARY
from cohort.records import MeasurementFailed
from flows.measured_values import Measured, Picture, Value, checked, failed, middle_slice
from flows.stages import ScanJob, upright, upright_spacing
from phenotyping.biomarkers import Parameter, RegionalValues, regional_values
from phenotyping.labels import MYOCARDIUM
from phenotyping.motion_correction import correct_motion
from phenotyping.noise_floor import noise_power, without_noise_floor
from phenotyping.relaxometry import fit_decay, fit_inversion_recovery
from recon.metrics import heart_box

MAP_NAME: Final = {"T1 mapping": "t1_ms", "T2 mapping": "t2_ms", "T1 rho mapping": "t1rho_ms"}
PARAMETER: Final[dict[str, Parameter]] = {"t1_ms": "T1", "t2_ms": "T2", "t1rho_ms": "T1rho"}
HEART_MARGIN_MM = 20.0


def planned_of_map(modality: str) -> list[str]:
    """Phenotypes that a mapping series should give: of the whole wall, and of the septum."""
    name = MAP_NAME.get(modality)
    return with_septum(name) if name else []


def with_septum(name: str) -> list[str]:
    """A map's phenotype and that of the septum, as far as they have names."""
    return [n for n in (name, f"septal_{name}") if n in VOCABULARY]


def measure_map(
    job: ScanJob,
    series: NDArray[np.float32],
    labels: NDArray[np.uint8],
    *,
    spacing: tuple[float, float, float],
    at: Mapping[str, int],
    root_sum_of_squares: bool = False,
    motion_correction: bool = False,
) -> Measured:
    """Fit around the heart; medians of the middle of the wall: all of it, the septum, and (as facts) the AHA segments.

    Parameters
    ----------
    series
        (frames, slices, y, x), magnitudes; frames beyond the times are ignored.
    root_sum_of_squares
        The images are roots of sums of squares over coils, with a noise floor that is the same everywhere: it is taken
        away before the fit.
    motion_correction
        Align the images of each slice (off by default: images of breath-held series are taken as they are).
    """
    name = MAP_NAME[job.modality]
    times = read_times_ms(job.path)
    box = heart_box(labels, margin_px=round(HEART_MARGIN_MM / spacing[1]))
    rows, columns = (np.flatnonzero(box.any(axis=axis)) for axis in (1, 0))
    maps = {key: np.full(series.shape[1:], np.nan) for key in ("value", "sd", "r2")}
    facts: dict[str, Any] = {}
    if len(rows):
        part = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        for z in range(series.shape[1]):
            images = np.abs(series[: len(times), z])
            if root_sum_of_squares:
                images = without_noise_floor(images, noise_power(images))
            if motion_correction and labels[0, z].any():
                images, facts[motion_of(z)] = aligned(images, times[:, z], name, labels[0, z], spacing)
            found = fitted(name, np.moveaxis(images[(slice(None), *part)], 0, -1), times[:, z])
            for key, values in found.items():
                maps[key][z][part] = values
    shown = {key: upright(one) for key, one in maps.items()}
    rows_of_map, told = values_and_facts(name, shown, upright(labels[0]), spacing_mm=upright_spacing(spacing))
    facts |= told
    z = at.get("map", middle_slice(labels[0]))
    picture = Picture("map", z, maps["value"][z].astype(np.float32), labels[0, z])
    return Measured(tuple(rows_of_map), (picture,), {"map": facts})


def motion_of(z: int) -> str:
    """The name among the facts of what moved in a slice."""
    return f"motion of slice {z}"


def values_and_facts(
    name: str,
    maps: Mapping[str, NDArray[np.float64]],
    labels: NDArray[np.uint8],
    *,
    spacing_mm: tuple[float, float, float],
) -> tuple[list[Value], dict[str, Any]]:
    """Rows of the whole wall and of the septum; among the facts every region and the median explained variance.

    ``maps`` (value, sd, r2) and ``labels`` are upright, (slices, y, x). Raises MeasurementFailed as `regional_values`.
    """
    # two unknowns and three preparation times: a single pixel's uncertainty is too rough to exclude pixels by
    sd = maps["sd"] if name == "t1_ms" else None
    regions = regional_values(PARAMETER[name], maps["value"], labels, spacing_mm=spacing_mm, sd_ms=sd)
    explained = maps["r2"][(labels == MYOCARDIUM) & np.isfinite(maps["r2"])]
    median_r2 = float(np.median(explained)) if explained.size else float("nan")
    return values_of(name, regions), facts_of(regions, median_r2=median_r2)


def fitted(name: str, signal: NDArray[np.floating], times: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Maps of one slice: value, its SD, explained variance."""
    if name == "t1_ms":
        recovery = fit_inversion_recovery(signal, times)
        return {"value": recovery.t1_ms, "sd": recovery.t1_sd_ms, "r2": recovery.r2}
    decay = fit_decay(signal, times)
    return {"value": decay.t_ms, "sd": decay.t_sd_ms, "r2": decay.r2}


def aligned(
    images: NDArray[np.floating],
    times: NDArray[np.float64],
    name: str,
    labels: NDArray[np.uint8],
    spacing: tuple[float, float, float],
) -> tuple[NDArray[np.floating], dict[str, Any]]:
    """The images of one slice without motion, and what was found; a slice that cannot be aligned as it is, with the reason."""
    curve = "recovery" if name == "t1_ms" else "decay"
    try:
        found = correct_motion(images, times, curve=curve, region=labels > 0, spacing_mm=spacing[1:])  # type: ignore[arg-type]
    except MeasurementFailed as problem:
        return images, {"not corrected": str(problem)}
    told = {key: value for key, value in asdict(found).items() if key not in ("series", "shift_mm")}
    # a residual of a region without any fit is infinite, which a record cannot hold
    finite = {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in told.items()}
    return found.series, finite


def values_of(name: str, regions: RegionalValues) -> list[Value]:
    """Rows of the whole wall and of the septum."""
    values = [checked(name, regions.wall.median_ms, regions.wall.reason)]
    septal = f"septal_{name}"
    if septal not in VOCABULARY:
        return values
    if regions.septum is None:
        return [*values, *failed([septal], regions.reasons["septum"])]
    return [*values, checked(septal, regions.septum.median_ms, regions.septum.reason)]


def facts_of(regions: RegionalValues, *, median_r2: float) -> dict[str, Any]:
    """Median, quartiles and pixels of every region, as plain numbers."""
    named = {"wall": regions.wall, "septum": regions.septum}
    named |= {f"segment {number}": value for number, value in regions.segments.items()}
    told: dict[str, Any] = {
        key: {
            "median_ms": value.median_ms,
            "q25_ms": value.q25_ms,
            "q75_ms": value.q75_ms,
            "n_used": value.n_used,
            "n_excluded": value.n_excluded,
        }
        for key, value in named.items()
        if value is not None
    }
    told["median_r2"] = median_r2 if np.isfinite(median_r2) else None
    return told | {"not measured": dict(regions.reasons)}
