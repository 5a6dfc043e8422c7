"""What is measured on a labeled short-axis cine? Volumes, function, mass, wall thickness, and whether to trust them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohort.records import CardioValError, MeasurementFailed
from flows.config import Phenotyping
from flows.measured_values import Measured, Picture, Value, checked, failed, middle_slice
from flows.segment_values import by_segment
from flows.stages import one_line, upright, upright_spacing
from phenotyping.basal_apical import CountingRules
from phenotyping.body_size import INDEXED, body_surface_area_m2
from phenotyping.cycle import MIN_FRAMES_FOR_CURVE, find_cycle
from phenotyping.quality_control import Finding, quality_control
from phenotyping.strain import MIN_FRAMES as MIN_FRAMES_FOR_STRAIN
from phenotyping.strain import StrainOptions, measure_strain
from phenotyping.volume_curve import MIN_FRAMES_FOR_RATES
from phenotyping.volumes import VentricularVolumes, measure_volumes
from phenotyping.wall_thickness import thickness_of_frame

ALWAYS = (
    "lv_edv_ml",
    "lv_esv_ml",
    "lv_sv_ml",
    "lv_ef_percent",
    "lv_mass_g",
    "lv_mass_es_g",
    "rv_edv_ml",
    "rv_esv_ml",
    "rv_sv_ml",
    "rv_ef_percent",
)
OF_THE_RATE = ("lv_co_l_min", "heart_rate_bpm")
OF_THE_CURVE = ("lv_peak_ejection_rate_ml_s", "lv_peak_filling_rate_ml_s")
STRAIN_NAMES = ("gcs_percent", "grs_percent")
WALL_NAMES = ("max_wall_thickness_mm", "mean_wall_thickness_mm")
MIN_FRAMES_FOR_OUTPUT = MIN_FRAMES_FOR_CURVE
# kept of the volumes in the manifest: where and how they were measured
FACTS = (
    "ed_frame",
    "es_frame",
    "rv_ed_frame",
    "rv_es_frame",
    "cycle_covered",
    "lv_curve_ml",
    "rv_curve_ml",
    "lv_left_out",
    "rv_left_out",
    "conventions",
    "notes",
)


def planned_of_cine(
    *, n_frames: int, recon: Mapping[str, Any] | None = None, options: Phenotyping | None = None
) -> list[str]:
    """Phenotypes that a cine should give.

    What needs a heart rate, a covered cycle, many frames or the patient's size is planned where the header has it;
    without the record of the reconstruction (`recon`), a scan of six frames or more is expected to have a heart rate.
    """
    names = list(ALWAYS)
    if recon is None:
        names += OF_THE_RATE[:1] if n_frames >= MIN_FRAMES_FOR_OUTPUT else ()
        return [*names, *WALL_NAMES]
    # a curve without steps closes: what is left to judge is what the header says
    cycle = find_cycle(np.zeros(n_frames), **cycle_facts(recon), gating=(options or Phenotyping()).gating)
    if cycle.heart_rate_bpm is not None and n_frames >= MIN_FRAMES_FOR_OUTPUT:
        names += OF_THE_RATE
    if cycle.covered and cycle.frame_time_s is not None and n_frames >= MIN_FRAMES_FOR_RATES:
        names += OF_THE_CURVE
    if recon["info"].get("Height") and recon["info"].get("Weight"):
        names += [INDEXED[name] for name in names if name in INDEXED]
    if options is not None and options.strain and n_frames >= MIN_FRAMES_FOR_STRAIN:
        names += STRAIN_NAMES
    return [*names, *WALL_NAMES]


def cycle_facts(recon: Mapping[str, Any]) -> dict[str, float | None]:
    """What the header says of time: duration of a frame and heart rate, None where it does not."""
    rate = recon["info"].get("HeartRate")
    known = isinstance(rate, int | float) and rate > 0
    return {"frame_time_s": recon["geometry"]["frame_time_s"], "heart_rate_bpm": float(rate) if known else None}


def measure_cine(
    image: NDArray[np.float32],
    labels: NDArray[np.uint8],
    *,
    recon: Mapping[str, Any],
    spacing: tuple[float, float, float],
    at: Mapping[str, int],
    options: Phenotyping,
) -> Measured:
    """Volumes, function, mass and wall thickness; quality control warns but never drops."""
    names = planned_of_cine(n_frames=len(labels), recon=recon, options=options)
    volumes = measure_volumes(
        labels,
        spacing_mm=spacing,
        **cycle_facts(recon),
        rules=CountingRules(
            lv_slices=options.lv_slices,
            rv_slices=options.rv_slices,
            papillary=options.papillary,
            lv_base=options.lv_base,
            rv_base=options.rv_base,
            slice_order=recon.get("slice_order", "anatomy"),
        ),
        rv_phases=options.rv_phases,
        gating=options.gating,
    )
    # what was not planned is not missing
    volumes = replace(volumes, reasons={name: why for name, why in volumes.reasons.items() if name in names})
    findings = quality_control(labels, spacing_mm=spacing, volumes=volumes)
    warning = in_short(findings)
    values = [volume_value(volumes, name, warning) for name in names if hasattr(volumes, name)]
    size, indices = indexed(values, names, recon=recon, options=options)
    values += indices
    segments: dict[str, Any] = {}
    try:
        wall = thickness_of_frame(
            upright(labels[volumes.ed_frame]), spacing_mm=upright_spacing(spacing), convention="corrected"
        )
        values += [
            checked("max_wall_thickness_mm", wall.global_max_mm, warning),
            checked("mean_wall_thickness_mm", wall.global_mean_mm, warning),
        ]
        segments = {
            "wall_thickness_mean": by_segment(wall.mean_mm),
            "wall_thickness_max": by_segment(wall.max_mm),
            "wall_notes": list(wall.notes),
        }
    except CardioValError as problem:
        values += failed(WALL_NAMES, one_line(problem))
    if STRAIN_NAMES[0] in names:
        of_strain, by_place = strain_values(image, labels, volumes, spacing=spacing, warning=warning)
        values += of_strain
        segments |= by_place
    middle = middle_slice(labels[volumes.ed_frame])
    pictures = [
        Picture(phase, z, image[frame, z], labels[frame, z])
        for phase, frame in (("ED", volumes.ed_frame), ("ES", volumes.es_frame))
        for z in [at.get(phase, middle)]
    ]
    facts: dict[str, Any] = {name: value for name, value in asdict(volumes).items() if name in FACTS}
    facts["quality_control"] = [{"check": f.check, "status": f.status, "reason": f.reason} for f in findings]
    return Measured(tuple(values), tuple(pictures), {**facts, "slice_order": order_found(volumes), **size, **segments})


def in_short(findings: Sequence[Finding]) -> str:
    """Which checks object, for the rows; places and numbers stand once, among the facts of the scan."""
    words = [f"{f.check} ({f.status})" for f in findings if f.status != "pass"]
    return f"quality control: {', '.join(words)}" if words else ""


def strain_values(
    image: NDArray[np.float32],
    labels: NDArray[np.uint8],
    volumes: VentricularVolumes,
    *,
    spacing: tuple[float, float, float],
    warning: str,
) -> tuple[list[Value], dict[str, Any]]:
    """Global peaks as rows; curves and the peaks of segments as facts."""
    try:
        found = measure_strain(
            upright(image),
            upright(labels),
            spacing_mm=upright_spacing(spacing),
            ed_frame=volumes.ed_frame,
            options=StrainOptions(periodic=volumes.cycle_covered),
        )
    except CardioValError as problem:
        return failed(STRAIN_NAMES, one_line(problem)), {}
    doubt = "; ".join(part for part in (warning, *found.reasons) if part)
    facts = {
        "circumferential_strain_peak": by_segment(found.circumferential_peak_by_segment),
        "radial_strain_peak": by_segment(found.radial_peak_by_segment),
        "circumferential_strain_percent": finite(found.circumferential_percent),
        "radial_strain_percent": finite(found.radial_percent),
        "strain_closure_mm": by_segment(found.closure_mm),
    }
    return [checked(name, getattr(found, name), doubt) for name in STRAIN_NAMES], facts


def finite(curve: NDArray[np.float64]) -> list[float | None]:
    """A curve as a manifest holds it."""
    return [float(value) if math.isfinite(value) else None for value in curve]


def indexed(
    values: Sequence[Value], names: Sequence[str], *, recon: Mapping[str, Any], options: Phenotyping
) -> tuple[dict[str, Any], list[Value]]:
    """The planned indices, and the body surface by which they were divided, with its formula."""
    wanted = [name for name in names if name in INDEXED.values()]
    if not wanted:
        return {}, []
    try:
        height, weight = (size_of(recon["info"], key) for key in ("Height", "Weight"))
        surface = body_surface_area_m2(height_cm=height, weight_kg=weight, formula=options.body_surface)
    except MeasurementFailed as problem:
        return {}, failed(wanted, one_line(problem))
    by_name = {value.phenotype: value for value in values}
    made = []
    for whole, name in INDEXED.items():
        if name in wanted:
            value = by_name[whole]
            warning = value.reason if value.status == "warn" else ""
            ok = value.status != "failed"
            made += [checked(name, value.value / surface, warning)] if ok else failed([name], value.reason)
    return {"body_surface_m2": surface, "body_surface_formula": options.body_surface}, made


def size_of(info: Mapping[str, Any], key: str) -> float:
    """Height or weight as a number."""
    value = info[key]
    if not isinstance(value, int | float):
        raise MeasurementFailed(f"the header states {key} as {value!r}, expected a number")
    return float(value)


def order_found(volumes: VentricularVolumes) -> str:
    """The slice order that was used, in the words of the configuration."""
    return {True: "base_first", False: "apex_first", None: "unknown"}[volumes.base_is_low]


def volume_value(volumes: VentricularVolumes, name: str, warning: str) -> Value:
    """One field of the volumes with quality control's word, or the reason why there is none."""
    number = getattr(volumes, name)
    if number is None:
        return Value(name, math.nan, "failed", volumes.reasons.get(name, "could not be measured"))
    return checked(name, number, warning)
