"""What is measured on a labeled short-axis cine? Volumes, function, mass, wall thickness, and whether to trust them."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohort.records import CardioValError
from flows.measured_values import Measured, Picture, Value, checked, failed, middle_slice
from flows.stages import one_line, upright, upright_spacing
from phenotyping.quality_control import overall, quality_control
from phenotyping.volumes import VentricularVolumes, measure_volumes
from phenotyping.wall_thickness import thickness_of_frame

VOLUME_NAMES = [
    "lv_edv_ml",
    "lv_esv_ml",
    "lv_sv_ml",
    "lv_ef_percent",
    "lv_co_l_min",
    "lv_mass_g",
    "rv_edv_ml",
    "rv_esv_ml",
    "rv_sv_ml",
    "rv_ef_percent",
]
WALL_NAMES = ("max_wall_thickness_mm", "mean_wall_thickness_mm")
MIN_FRAMES_FOR_OUTPUT = 6


def planned_of_cine(*, n_frames: int) -> list[str]:
    """Phenotypes that a cine should give; cardiac output needs a whole cycle."""
    names = [*VOLUME_NAMES, *WALL_NAMES]
    return names if n_frames >= MIN_FRAMES_FOR_OUTPUT else [name for name in names if name != "lv_co_l_min"]


def measure_cine(
    image: NDArray[np.float32],
    labels: NDArray[np.uint8],
    *,
    recon: Mapping[str, Any],
    spacing: tuple[float, float, float],
    at: Mapping[str, int],
) -> Measured:
    """Volumes, function, mass and wall thickness; quality control warns but never drops."""
    rate = recon["info"].get("HeartRate")
    volumes = measure_volumes(
        labels,
        spacing_mm=spacing,
        frame_time_s=recon["geometry"]["frame_time_s"],
        heart_rate_bpm=float(rate) if rate else None,
    )
    findings = quality_control(labels, spacing_mm=spacing, volumes=volumes)
    warning = "" if overall(findings) == "pass" else "; ".join(f.reason for f in findings if f.status != "pass")
    names = planned_of_cine(n_frames=len(labels))
    values = [volume_value(volumes, name, warning) for name in VOLUME_NAMES if name in names]
    try:
        wall = thickness_of_frame(
            upright(labels[volumes.ed_frame]), spacing_mm=upright_spacing(spacing), convention="corrected"
        )
        values += [
            checked("max_wall_thickness_mm", wall.global_max_mm, warning),
            checked("mean_wall_thickness_mm", wall.global_mean_mm, warning),
        ]
    except CardioValError as problem:
        values += failed(WALL_NAMES, one_line(problem))
    middle = middle_slice(labels[volumes.ed_frame])
    pictures = [
        Picture(phase, z, image[frame, z], labels[frame, z])
        for phase, frame in (("ED", volumes.ed_frame), ("ES", volumes.es_frame))
        for z in [at.get(phase, middle)]
    ]
    return Measured(tuple(values), tuple(pictures))


def volume_value(volumes: VentricularVolumes, name: str, warning: str) -> Value:
    """One field of the volumes with quality control's word, or the reason why there is none."""
    number = getattr(volumes, name)
    if number is None:
        return Value(name, math.nan, "failed", volumes.reasons.get(name, "could not be measured"))
    return checked(name, number, warning)
