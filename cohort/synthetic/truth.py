"""What is true of a synthetic patient, number by number, without counting a single voxel?

Volumes at a phase are the patient's parameters themselves (`Heart` keeps them exact by construction); thickness is
read off the surfaces, and what lies within the imaged slices is a quadrature of the surfaces cut by the planes of the
stack. The papillary muscles count as blood.
"""

import dataclasses
import json
import math
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohort.atomic import write_text
from cohort.synthetic.phantom import MUSCLE_DENSITY_G_PER_ML, Heart, quadrature
from cohort.synthetic.population import Pose, SyntheticPatient
from cohort.synthetic.rasterize import heart_axes
from cohort.synthetic.segments import APEX_U, SEGMENTS, segment_of, spread
from cohort.synthetic.stack import SliceStack
from cohort.synthetic.tissues import TISSUE_INDEX

Array = NDArray[np.float64]

CONVENTION = (
    "papillary muscles and trabeculae belong to the cavity; mass is of left ventricular muscle at 1.05 g/mL; "
    "end-diastole is frame 0, end-systole the frame of least left volume for both ventricles; "
    "thickness is in the plane across the long axis (radial) or along the normal of the endocardium; "
    "segment 17 is left out of thickness"
)


def cine_truth(patient: SyntheticPatient, *, n_frames: int, stack: SliceStack) -> dict[str, Any]:
    """Truth of a cine: plain JSON types, lengths in mm, volumes in mL.

    Parameters
    ----------
    patient
        Whom.
    n_frames
        Frame i of the cine is at phase i / n_frames.
    stack
        The slices, from `plan_stack` with the arguments of `render_cine`.

    Returns
    -------
    dict
        ``phenotypes``: of the sampled frames, by the names of `cohort.phenotypes`; ``frames``: phase and volumes of
        every frame; ``continuous``: volumes at true end-diastole and end-systole; ``imaged``: the same as
        ``phenotypes`` for what lies between half a pitch above the first and half a pitch below the last slice;
        ``segments``: wall thickness and function.
    """
    heart = patient.heart
    phases = np.arange(n_frames) / n_frames
    lv, rv = heart.lv_volume_ml(phases), heart.rv_volume_ml(phases)
    es = int(np.argmin(lv))
    inside = [
        volumes_between_ml(heart, patient.pose, phase=float(p), low_mm=stack.low_mm, high_mm=stack.high_mm)
        for p in phases
    ]
    lv_in, muscle_in, rv_in = (np.array(column) for column in zip(*inside, strict=True))
    thickness = wall_thickness_mm(heart, phase=0.0)
    end_systolic = wall_thickness_mm(heart, phase=float(phases[es]))
    wall = {
        "max_wall_thickness_mm": thickness["global"]["normal_max"],
        "mean_wall_thickness_mm": thickness["global"]["normal_mean"],
    }
    return {
        "phenotypes": _function(lv, rv, es, heart.lv_mass_g, patient.heart_rate_bpm) | wall,
        "frames": {
            "phase": phases.tolist(),
            "lv_volume_ml": lv.tolist(),
            "rv_volume_ml": rv.tolist(),
            "long_axis_mm": heart.long_axis_mm(phases).tolist(),
            "ed_frame": 0,
            "es_frame": es,
        },
        "continuous": {
            "lv_edv_ml": heart.lv_edv_ml,
            "lv_esv_ml": heart.lv_edv_ml * (1 - heart.ef),
            "lv_ef_percent": 100 * heart.ef,
            "rv_edv_ml": heart.right.edv_ml,
            "rv_esv_ml": heart.right.edv_ml * (1 - heart.right.ef),
            "rv_ef_percent": 100 * heart.right.ef,
            "lv_muscle_ml": heart.muscle_volume_ml,
        },
        "imaged": {
            **_function(lv_in, rv_in, es, float(muscle_in[0]) * MUSCLE_DENSITY_G_PER_ML, patient.heart_rate_bpm),
            "lv_volume_ml": lv_in.tolist(),
            "rv_volume_ml": rv_in.tolist(),
            "muscle_volume_ml": muscle_in.tolist(),
        },
        "segments": {
            "thickness_ed_mm": thickness,
            "thickness_es_mm": end_systolic,
            "motility": dict(zip(map(str, SEGMENTS), heart.motility, strict=True)),
        },
        "stack": {"z_mm": list(stack.z_mm), "thickness_mm": stack.thickness_mm, "pitch_mm": stack.pitch_mm},
        "convention": CONVENTION,
    }


def mapping_truth(patient: SyntheticPatient, *, z_mm: float, phase: float) -> dict[str, Any]:
    """T1 and T2 of the myocardium in one slice.

    ``t1_ms`` and ``t2_ms`` under ``phenotypes`` are the area-weighted medians over the left ventricular wall in that
    slice, as a measurement by the median of the wall aims at; means, healthy and focal values, and those of each
    segment stand beside.
    """
    heart = patient.heart
    theta = np.arange(720) * 2 * np.pi / 720
    s = z_mm / math.cos(patient.pose.tilt_rad) + heart.length_mm / 2
    u = s / float(heart.long_axis_mm(phase))
    share = spread(tuple(map(float, heart.focal)), theta, np.full_like(theta, u))
    surfaces = heart.surfaces(theta, u, phase)
    weight = surfaces.epicardium - surfaces.endocardium
    result: dict[str, Any] = {"phenotypes": {}, "z_mm": z_mm, "phase": phase}
    for name in ("t1_ms", "t2_ms"):
        healthy = float(getattr(patient.tissues[TISSUE_INDEX["myocardium"]], name))
        focal = float(getattr(patient.tissues[TISSUE_INDEX["focal_myocardium"]], name))
        local = (1 - share) * healthy + share * focal
        result["phenotypes"][name] = _weighted_median(local, weight)
        result[name] = {
            "mean": float((local * weight).sum() / weight.sum()) if weight.sum() > 0 else None,
            "healthy": healthy,
            "focal": focal if any(heart.focal) else None,
            "blood": float(getattr(patient.tissues[TISSUE_INDEX["blood"]], name)),
            "segments": {str(k): (focal if sick else healthy) for k, sick in zip(SEGMENTS, heart.focal, strict=True)},
        }
    return result


def wall_thickness_mm(heart: Heart, *, phase: float) -> dict[str, dict[str, float]]:
    """Thickness of the left wall by AHA segment ("1".."16") and over all ("global"): radial and normal, mean and
    maximum.

    Means are uniform in angle and along the axis. The normal thickness of an endocardial point is the length of the
    straight line along the surface's normal to the epicardium; points whose normal leaves through the base plane are
    left out.
    """
    theta = (np.arange(60) + 0.5) * 2 * np.pi / 60
    u = APEX_U + (1 - APEX_U) * (np.arange(40) + 0.5) / 40
    theta, u = (grid.ravel() for grid in np.meshgrid(theta, u, indexing="ij"))
    surfaces = heart.surfaces(theta, u, phase)
    radial = np.sqrt(surfaces.epicardium) - np.sqrt(surfaces.endocardium)
    normal = _normal_thickness(heart, theta, u, phase)
    segment = segment_of(theta, u)
    groups = {str(k): segment == k for k in SEGMENTS} | {"global": np.ones_like(segment, dtype=bool)}
    return {
        name: {
            "radial_mean": float(radial[chosen].mean()),
            "radial_max": float(radial[chosen].max()),
            "normal_mean": float(np.nanmean(normal[chosen])),
            "normal_max": float(np.nanmax(normal[chosen])),
        }
        for name, chosen in groups.items()
    }


def volumes_between_ml(
    heart: Heart, pose: Pose, *, phase: float, low_mm: float, high_mm: float
) -> tuple[float, float, float]:
    """(left cavity, left muscle, right cavity) between two planes across the stack, which may be tilted against the
    long axis.

    Along a ray from the axis the part between the planes is an interval, so only angle and axis are integrated
    numerically, in panels that end where the planes meet the heart.
    """
    length = float(heart.long_axis_mm(phase))
    first, second, axis = heart_axes(pose)
    reach = math.sqrt(
        float(heart.surfaces(np.linspace(0, 2 * np.pi, 73)[:, None], np.linspace(0, 1, 21), phase)[2].max())
    )
    spans = [
        (plane + lean) / axis[2] for plane in (low_mm, high_mm) for lean in _leans(reach * math.sin(pose.tilt_rad))
    ]
    ends = [(span + heart.length_mm / 2) / length for span in spans]
    inside = np.clip([heart.apex_u, 0.0, 1.0, *ends], heart.apex_u, 1.0)
    theta, u, weight = quadrature(tuple(np.unique(inside).tolist()), n_theta=120, n_panel=16)
    surfaces = heart.surfaces(theta, u, phase)
    height = (u * length - heart.length_mm / 2) * axis[2]
    slope = first[2] * np.cos(theta) + second[2] * np.sin(theta) + 1e-15
    limits = (low_mm - height) / slope, (high_mm - height) / slope
    near, far = np.minimum(*limits), np.maximum(*limits)

    def between(inner: Array, outer: Array) -> float:
        start = np.maximum(np.sqrt(inner), near)
        end = np.minimum(np.sqrt(outer), far)
        return float((weight * np.where(end > start, end**2 - start**2, 0)).sum() * length / 2000)

    return (
        between(np.zeros_like(surfaces.endocardium), surfaces.endocardium),
        between(surfaces.endocardium, surfaces.epicardium),
        between(surfaces.epicardium, surfaces.right_cavity),
    )


def _leans(rise_mm: float) -> tuple[float, ...]:
    """Where between the axis and the edges of the heart a tilted plane is followed."""
    return (-rise_mm, -rise_mm / 2, 0.0, rise_mm / 2, rise_mm)


def write_truth(
    path: str | PathLike[str], truth: dict[str, Any], *, patient: SyntheticPatient, seed: int | None
) -> dict[str, Any]:
    """Write the truth of one scan as JSON, with the patient's parameters and the seed; NaN becomes null.

    Parameters
    ----------
    path
        The file; written whole or not at all.
    truth
        From `cine_truth` or `mapping_truth`.
    patient, seed
        Recorded so that the scan can be made again.

    Returns
    -------
    dict
        What was written.
    """
    content = _plain(
        {
            **truth,
            "disease": patient.disease,
            "seed": seed,
            "parameters": dataclasses.asdict(patient),
            "simulated": "synthetic phantom",
        }
    )
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")
    return content


def _function(lv: Array, rv: Array, es: int, mass_g: float, heart_rate_bpm: float) -> dict[str, float]:
    """Phenotypes of function from the volumes at the frames; NaN where there is no cavity. Muscle keeps its volume."""
    values = {"lv_mass_g": mass_g, "lv_mass_es_g": mass_g, "heart_rate_bpm": heart_rate_bpm}
    for side, volume in (("lv", lv), ("rv", rv)):
        edv, esv = float(volume[0]), float(volume[es])
        values |= {
            f"{side}_edv_ml": edv,
            f"{side}_esv_ml": esv,
            f"{side}_sv_ml": edv - esv,
            f"{side}_ef_percent": 100 * (edv - esv) / edv if edv > 0 else math.nan,
        }
    return values | {"lv_co_l_min": values["lv_sv_ml"] * heart_rate_bpm / 1000}


def _normal_thickness(heart: Heart, theta: Array, u: Array, phase: float) -> Array:
    """Length from the endocardium along its outward normal to the epicardium, by bisection; NaN where the line leaves
    through the base."""
    length = float(heart.long_axis_mm(phase))

    def endocardium(t: Array, v: Array) -> Array:
        return heart.surfaces(t, v, phase).endocardium

    small = 1e-5
    radius2 = endocardium(theta, u)
    radius = np.sqrt(radius2)
    around = (endocardium(theta + small, u) - endocardium(theta - small, u)) / (2 * small)
    top = np.minimum(u + small, 1.0)
    along = (endocardium(theta, top) - endocardium(theta, u - small)) / ((top - u + small) * length)
    # gradient of r^2 - endocardium(theta, s) in cylindrical components
    gradient = np.stack([2 * radius, -around / radius, -along])
    outward = gradient / np.linalg.norm(gradient, axis=0)

    def outside(distance: Array) -> NDArray[np.bool_]:
        x, y = radius + distance * outward[0], distance * outward[1]
        epicardium = heart.surfaces(
            theta + np.arctan2(y, x), np.clip(u + distance * outward[2] / length, None, 1.0), phase
        ).epicardium
        return x**2 + y**2 >= epicardium

    low, high = np.zeros_like(u), np.full_like(u, 60.0)
    for _ in range(24):
        middle = (low + high) / 2
        beyond = outside(middle)
        low, high = np.where(beyond, low, middle), np.where(beyond, middle, high)
    return np.where(u + high * outward[2] / length > 1 + 1e-9, np.nan, high)


def _weighted_median(values: Array, weight: Array) -> float:
    """Smallest value below which lies half of the weight; NaN without weight."""
    if weight.sum() <= 0:
        return math.nan
    order = np.argsort(values)
    return float(values[order][np.searchsorted(np.cumsum(weight[order]), weight.sum() / 2)])


def _plain(value: Any) -> Any:
    """The same with JSON types only."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
