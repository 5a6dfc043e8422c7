"""How large are the ventricles, and how much do they pump?"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cohort.records import MeasurementFailed
from phenotyping.labels import LV, MYOCARDIUM, RV, Labels, check_label_order
from phenotyping.phases import MIN_FRAMES_FOR_CURVE, find_phases

#: density of myocardium, g/mL (as in UK Biobank's short-axis evaluation, doi 10.1186/s12968-018-0471-x)
MYOCARDIUM_G_PER_ML: Final = 1.05
#: a heart rate outside is a wrong frame time or a series that does not cover one cycle
HEART_RATE_RANGE_BPM: Final = (30.0, 200.0)


@dataclass(frozen=True)
class VentricularVolumes:
    """Volumes in mL, mass in g, fractions in %; None where it could not be measured, with the reason by field name."""

    ed_frame: int
    es_frame: int
    lv_edv_ml: float
    lv_esv_ml: float | None
    lv_sv_ml: float | None
    lv_ef_percent: float | None
    lv_co_l_min: float | None
    lv_mass_g: float | None
    rv_edv_ml: float | None
    rv_esv_ml: float | None
    rv_sv_ml: float | None
    rv_ef_percent: float | None
    heart_rate_bpm: float | None = None
    lv_mass_es_g: float | None = None
    lv_curve_ml: tuple[float, ...] = ()
    rv_curve_ml: tuple[float, ...] = ()
    reasons: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def measure_volumes(
    labels: Labels,
    *,
    spacing_mm: tuple[float, float, float],
    frame_time_s: float | None = None,
    heart_rate_bpm: float | None = None,
) -> VentricularVolumes:
    """Measure both ventricles by disc summation: voxels times (slice pitch x pixel area).

    EF = 100 (EDV - ESV) / EDV, mass = 1.05 g/mL x myocardium at ED, cardiac output = SV x heart rate.
    ED and ES are the LV's (`phases.find_phases`) for both ventricles.

    Parameters
    ----------
    labels
        `(frames, slices, y, x)`, 0 background, 1 LV cavity, 2 myocardium, 3 RV cavity. Two frames (ED and ES in any
        order) are enough.
    spacing_mm
        (slice pitch including the gap, y, x), mm.
    frame_time_s
        Duration of one frame, s; used for the heart rate when the frames cover the cycle (6 or more).
    heart_rate_bpm
        Known heart rate, 1/min; goes before `frame_time_s`.

    Returns
    -------
    The measurements; `reasons` says for every None why.

    Raises
    ------
    MeasurementFailed
        For a wrong shape or spacing, a wrong label order, or no left ventricle in any frame.
    """
    labels = np.asarray(labels)
    if labels.ndim != 4:
        raise MeasurementFailed(f"labels must be (frames, slices, y, x), got shape {labels.shape}")
    voxel_ml = checked_voxel_ml(spacing_mm)
    check_label_order(labels)
    lv, myocardium, rv = (_curve_ml(labels, tissue, voxel_ml) for tissue in (LV, MYOCARDIUM, RV))
    phases = find_phases(lv)
    ed, es = phases.ed_frame, phases.es_frame
    reasons: dict[str, str] = {}
    lv_edv, lv_esv, lv_sv, lv_ef = _pump(lv, ed, es, "lv", reasons)
    rv_edv, rv_esv, rv_sv, rv_ef = _pump(rv, ed, es, "rv", reasons)
    if lv_edv is None:
        raise MeasurementFailed("no left ventricle found at end-diastole")
    rate = _heart_rate(len(lv), frame_time_s, heart_rate_bpm, reasons)
    if lv_sv is None:
        reasons["lv_co_l_min"] = reasons["lv_sv_ml"]
    if myocardium[ed] <= 0:
        reasons["lv_mass_g"] = "no myocardium found at end-diastole"
    return VentricularVolumes(
        ed_frame=ed,
        es_frame=es,
        lv_edv_ml=lv_edv,
        lv_esv_ml=lv_esv,
        lv_sv_ml=lv_sv,
        lv_ef_percent=lv_ef,
        lv_co_l_min=None if lv_sv is None or rate is None else lv_sv * rate / 1000,
        lv_mass_g=_mass(myocardium[ed]),
        rv_edv_ml=rv_edv,
        rv_esv_ml=rv_esv,
        rv_sv_ml=rv_sv,
        rv_ef_percent=rv_ef,
        heart_rate_bpm=rate,
        lv_mass_es_g=_mass(myocardium[es]),
        lv_curve_ml=tuple(lv.tolist()),
        rv_curve_ml=tuple(rv.tolist()),
        reasons=reasons,
        notes=phases.notes,
    )


def checked_voxel_ml(spacing_mm: tuple[float, float, float]) -> float:
    """Volume of one voxel in mL, or MeasurementFailed for spacings that cannot be."""
    spacing = np.asarray(spacing_mm, dtype=np.float64)
    if spacing.shape != (3,) or not (np.isfinite(spacing).all() and (spacing > 0).all()):
        raise MeasurementFailed(f"spacing must be three positive numbers (slice pitch, y, x) in mm, got {spacing_mm}")
    return float(np.prod(spacing)) / 1000


def _curve_ml(labels: Labels, tissue: int, voxel_ml: float) -> NDArray[np.float64]:
    return np.count_nonzero(labels == tissue, axis=(1, 2, 3)) * voxel_ml


def _pump(
    curve: NDArray[np.float64], ed: int, es: int, side: str, reasons: dict[str, str]
) -> tuple[float | None, float | None, float | None, float | None]:
    """EDV, ESV, SV, EF of one ventricle; what an empty frame forbids is None with a reason."""
    name = {"lv": "left", "rv": "right"}[side]
    edv, esv = float(curve[ed]) or None, float(curve[es]) or None
    if edv is None:
        reasons[f"{side}_edv_ml"] = f"no {name} ventricle found at end-diastole (frame {ed})"
    if esv is None:
        reasons[f"{side}_esv_ml"] = f"no {name} ventricle found at end-systole (frame {es})"
    if edv is None or esv is None:
        why = reasons.get(f"{side}_edv_ml") or reasons[f"{side}_esv_ml"]
        reasons |= {f"{side}_sv_ml": why, f"{side}_ef_percent": why}
        return edv, esv, None, None
    return edv, esv, edv - esv, 100 * (edv - esv) / edv


def _heart_rate(
    n_frames: int, frame_time_s: float | None, heart_rate_bpm: float | None, reasons: dict[str, str]
) -> float | None:
    if heart_rate_bpm is not None:
        rate, origin = float(heart_rate_bpm), "the heart rate given"
    elif frame_time_s is None:
        reasons["lv_co_l_min"] = "neither heart rate nor frame time known"
        return None
    elif n_frames < MIN_FRAMES_FOR_CURVE:
        reasons["lv_co_l_min"] = f"heart rate unknown: {n_frames} frames do not cover a cycle"
        return None
    else:
        cycle_s = n_frames * float(frame_time_s)
        rate, origin = 60 / cycle_s if cycle_s > 0 else float("nan"), f"{n_frames} frames of {frame_time_s} s"
    if not HEART_RATE_RANGE_BPM[0] <= rate <= HEART_RATE_RANGE_BPM[1]:
        reasons["lv_co_l_min"] = f"{origin}: {rate:.0f}/min is no heart rate; the frames may not cover one cycle"
        return None
    return rate


def _mass(myocardium_ml: float) -> float | None:
    return float(myocardium_ml) * MYOCARDIUM_G_PER_ML or None
