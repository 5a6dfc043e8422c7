"""How large are the ventricles, and how much do they pump?"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from cohort.records import ConfigProblem, MeasurementFailed
from phenotyping.basal_apical import CountedLabels, CountingRules, counted_labels
from phenotyping.base_plane import emptying_of, fit_base_plane, ventricle_slices, volume_below, volume_with_outflow
from phenotyping.cycle import Cycle, Gating, find_cycle
from phenotyping.labels import LV, MYOCARDIUM, RV, Labels, check_label_order
from phenotyping.phases import Phases, find_phases
from phenotyping.volume_curve import peak_rates

RvPhases = Literal["lv", "own"]

#: density of myocardium, g/mL (as in UK Biobank's short-axis evaluation, doi 10.1186/s12968-018-0471-x)
MYOCARDIUM_G_PER_ML: Final = 1.05


@dataclass(frozen=True)
class VentricularVolumes:
    """Volumes in mL, mass in g, fractions in %; None where it could not be measured, with the reason by field name.

    `conventions` holds the words that decided the numbers: slices counted, papillary muscles, phases of the RV, gating.
    `lv_left_out` and `rv_left_out` are the (frame, slice) pairs that were segmented but not counted.
    """

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
    lv_peak_ejection_rate_ml_s: float | None = None
    lv_peak_filling_rate_ml_s: float | None = None
    rv_ed_frame: int = -1
    rv_es_frame: int = -1
    cycle_covered: bool = False
    lv_curve_ml: tuple[float, ...] = ()
    rv_curve_ml: tuple[float, ...] = ()
    lv_left_out: tuple[tuple[int, int], ...] = ()
    rv_left_out: tuple[tuple[int, int], ...] = ()
    base_is_low: bool | None = None
    conventions: Mapping[str, str] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def measure_volumes(
    labels: Labels,
    *,
    spacing_mm: tuple[float, float, float],
    frame_time_s: float | None = None,
    heart_rate_bpm: float | None = None,
    rules: CountingRules | None = None,
    rv_phases: RvPhases = "lv",
    gating: Gating = "auto",
) -> VentricularVolumes:
    """Measure both ventricles by disc summation: voxels times (slice pitch x pixel area).

    EF = 100 (EDV - ESV) / EDV, mass = 1.05 g/mL x myocardium at ED and at ES, cardiac output = SV x heart rate, peak
    rates from the derivative of the smoothed LV curve. What counts as ventricle is in `basal_apical`, whether the
    frames cover the cycle in `cycle`.

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
    rules
        Which slices and pixels count; None for the default of `CountingRules`.
    rv_phases
        ``lv``: ED and ES of the right ventricle are the frames of the left one. ``own``: those of its own curve.
    gating
        ``auto``, ``retrospective`` or ``prospective``, see `cycle.find_cycle`.

    Returns
    -------
    The measurements; `reasons` says for every None why.

    Raises
    ------
    MeasurementFailed
        For a wrong shape or spacing, a wrong label order, or no left ventricle that counts in any frame.
    ConfigProblem
        For a word that is no rule.
    """
    labels = np.asarray(labels)
    rules = rules or CountingRules()
    if rv_phases not in get_args(RvPhases):
        raise ConfigProblem(f"rv_phases: expected {', '.join(get_args(RvPhases))}, got {rv_phases!r}")
    if labels.ndim != 4:
        raise MeasurementFailed(f"labels must be (frames, slices, y, x), got shape {labels.shape}")
    voxel_ml = checked_voxel_ml(spacing_mm)
    check_label_order(labels)
    counted = counted_labels(labels, rules)
    lv, myocardium, rv = (_curve_ml(counted.labels, tissue, voxel_ml) for tissue in (LV, MYOCARDIUM, RV))
    base_notes: list[str] = []
    if rules.lv_base == "fitted":
        try:
            lv, myocardium = _left_below_base(counted, spacing_mm)
        except MeasurementFailed as problem:
            rules = replace(rules, lv_base="slices")
            base_notes.append(f"basal slices count whole: {problem}")
    if rules.rv_base == "fitted":
        try:
            rv = _right_below_base(counted, spacing_mm)
        except MeasurementFailed as problem:
            rules = replace(rules, rv_base="slices")
            base_notes.append(f"right ventricle: basal slices count whole: {problem}")
    cycle = find_cycle(lv, frame_time_s=frame_time_s, heart_rate_bpm=heart_rate_bpm, gating=gating)
    phases = find_phases(lv, periodic=cycle.covered)
    ed, es = phases.ed_frame, phases.es_frame
    of_rv = find_phases(rv, periodic=cycle.covered) if rv_phases == "own" and rv.any() else Phases(ed, es)
    reasons: dict[str, str] = {}
    lv_edv, lv_esv, lv_sv, lv_ef = _pump(lv, ed, es, "lv", reasons)
    rv_edv, rv_esv, rv_sv, rv_ef = _pump(rv, of_rv.ed_frame, of_rv.es_frame, "rv", reasons)
    if lv_edv is None:
        raise MeasurementFailed("no left ventricle found at end-diastole")
    rate = cycle.heart_rate_bpm
    if rate is None:
        reasons |= {"heart_rate_bpm": cycle.reason, "lv_co_l_min": cycle.reason}
    if lv_sv is None:
        reasons["lv_co_l_min"] = reasons["lv_sv_ml"]
    for name, frame, phase in (("lv_mass_g", ed, "end-diastole"), ("lv_mass_es_g", es, "end-systole")):
        if myocardium[frame] <= 0:
            reasons[name] = f"no myocardium found at {phase}"
    ejection, filling = _rates(lv, cycle, reasons)
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
        lv_peak_ejection_rate_ml_s=ejection,
        lv_peak_filling_rate_ml_s=filling,
        rv_ed_frame=of_rv.ed_frame,
        rv_es_frame=of_rv.es_frame,
        cycle_covered=cycle.covered,
        lv_curve_ml=tuple(lv.tolist()),
        rv_curve_ml=tuple(rv.tolist()),
        lv_left_out=counted.lv_left_out,
        rv_left_out=counted.rv_left_out,
        base_is_low=counted.base_is_low,
        conventions={**asdict(rules), "rv_phases": rv_phases, "gating": gating},
        reasons=reasons,
        notes=(*phases.notes, *(f"right ventricle: {note}" for note in of_rv.notes), *counted.notes, *base_notes),
    )


def checked_voxel_ml(spacing_mm: tuple[float, float, float]) -> float:
    """Volume of one voxel in mL, or MeasurementFailed for spacings that cannot be."""
    spacing = np.asarray(spacing_mm, dtype=np.float64)
    if spacing.shape != (3,) or not (np.isfinite(spacing).all() and (spacing > 0).all()):
        raise MeasurementFailed(f"spacing must be three positive numbers (slice pitch, y, x) in mm, got {spacing_mm}")
    return float(np.prod(spacing)) / 1000


def _curve_ml(labels: Labels, tissue: int, voxel_ml: float) -> NDArray[np.float64]:
    return np.count_nonzero(labels == tissue, axis=(1, 2, 3)) * voxel_ml


def _left_below_base(
    counted: CountedLabels, spacing_mm: tuple[float, float, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Volumes of cavity and myocardium in mL under the base that the beat tells."""
    pitch_mm = spacing_mm[0]
    cavity, muscle = (_areas_base_first(counted, tissue, spacing_mm) for tissue in (LV, MYOCARDIUM))
    ventricle = cavity > 0
    plane = fit_base_plane(ventricle, emptying_of(cavity, ventricle), pitch_mm=pitch_mm)
    # muscle of slices without cavity, the tip of the apex above all, counts as it is
    apex = np.where(ventricle, 0.0, muscle).sum(axis=1) * pitch_mm
    return volume_below(cavity, ventricle, plane, pitch_mm=pitch_mm), apex + volume_below(
        muscle, ventricle, plane, pitch_mm=pitch_mm
    )


def _right_below_base(counted: CountedLabels, spacing_mm: tuple[float, float, float]) -> NDArray[np.float64]:
    """Volume of the right ventricle in mL under its own base; when in the beat, the left one's inner slices tell."""
    left, right = (_areas_base_first(counted, tissue, spacing_mm) for tissue in (LV, RV))
    body = ventricle_slices(right)
    plane = fit_base_plane(body, emptying_of(left, left > 0), pitch_mm=spacing_mm[0])
    return volume_with_outflow(right, body, plane, pitch_mm=spacing_mm[0])


def _areas_base_first(
    counted: CountedLabels, tissue: int, spacing_mm: tuple[float, float, float]
) -> NDArray[np.float64]:
    """Area of a tissue by frame and slice, base first, in mL per mm of height."""
    if counted.base_is_low is None:
        raise MeasurementFailed("the anatomy does not tell where the base is")
    areas = np.count_nonzero(counted.labels == tissue, axis=(2, 3)) * (spacing_mm[1] * spacing_mm[2] / 1000)
    return np.asarray(areas if counted.base_is_low else areas[:, ::-1])


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


def _rates(lv: NDArray[np.float64], cycle: Cycle, reasons: dict[str, str]) -> tuple[float | None, float | None]:
    """Peak ejection and filling rate, or the reason why they cannot be known."""
    try:
        if not cycle.covered or cycle.frame_time_s is None:
            raise MeasurementFailed(cycle.reason)
        found = peak_rates(lv, frame_time_s=cycle.frame_time_s)
    except MeasurementFailed as problem:
        reasons |= dict.fromkeys(("lv_peak_ejection_rate_ml_s", "lv_peak_filling_rate_ml_s"), str(problem))
        return None, None
    return found.ejection_ml_s, found.filling_ml_s


def _mass(myocardium_ml: float) -> float | None:
    return float(myocardium_ml) * MYOCARDIUM_G_PER_ML or None
