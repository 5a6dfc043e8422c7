"""Can a segmentation be trusted?

Every check gives one finding: pass, warn or fail, with the places. Nothing is dropped or repaired here.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cohort.records import MeasurementFailed
from phenotyping.labels import LV, MYOCARDIUM, NAMES, RV, Labels, around_heart, base_is_low, fitting_order, ringed_share
from phenotyping.phases import MAX_RATIO
from phenotyping.volumes import VentricularVolumes, checked_voxel_ml
from phenotyping.wall_corrected import closed_cavity, is_ring_closed

Outcome = Literal["pass", "warn", "fail"]

#: the largest part of a tissue in a slice holds at least this share of its pixels
MIN_LARGEST_SHARE: Final = 0.9
#: area that a hole in the heart, or a stray part, may have before it is worth a word, mm2
SMALL_AREA_MM2: Final = 20.0
MAX_CENTER_JUMP_MM: Final = 10.0
#: the cavity may grow toward the apex by this factor before the slice order or the segmentation is in doubt
MAX_GROWTH_TO_APEX: Final = 1.25
#: the LV cavity of the last slice at the apex may have this share of the largest one's area (0.40 or less in the expert
#: labels of 40 ACDC patients); with more the stack ends before the heart does
MAX_LAST_SHARE: Final = 0.5
MIN_FRAMES_IN_TIME: Final = 4
LV_EDV_RANGE_ML: Final = (50.0, 400.0)
EF_RANGE_PERCENT: Final = (5.0, 85.0)
MAX_STROKE_DIFFERENCE: Final = 0.25
MAX_MASS_DIFFERENCE: Final = 0.15
PLACES_SHOWN: Final = 4
#: phenotypes that need the time between frames or a whole cycle: that they are missing is no fault of the labels
NEED_TIME: Final = ("heart_rate_bpm", "lv_co_l_min", "_rate_ml_s")


@dataclass(frozen=True)
class Finding:
    """The outcome of one check; `places` are (frame, slice), -1 for a whole frame."""

    check: str
    status: Outcome
    reason: str
    places: tuple[tuple[int, int], ...] = ()


def quality_control(
    labels: Labels, *, spacing_mm: tuple[float, float, float], volumes: VentricularVolumes | None = None
) -> tuple[Finding, ...]:
    """Run all checks on the labels of one short-axis series.

    Parameters
    ----------
    labels
        `(frames, slices, y, x)`, uint8.
    spacing_mm
        (slice pitch, y, x), mm.
    volumes
        What `measure_volumes` gave; without it the checks of volumes are not made.

    Returns
    -------
    One finding a check, always all of them in the same order.

    Raises
    ------
    MeasurementFailed
        For a wrong shape or spacing.
    """
    labels = np.asarray(labels)
    if labels.ndim != 4:
        raise MeasurementFailed(f"labels must be (frames, slices, y, x), got shape {labels.shape}")
    checked_voxel_ml(spacing_mm)
    whole, labels = labels, around_heart(labels)
    # first and last frame are neighbors unless the frames are known not to cover the cycle
    closed = volumes is None or volumes.cycle_covered
    findings = [
        _everywhere("tissues present", _missing_tissue, labels),
        _everywhere("label order", _wrong_order, labels),
        _everywhere("one part", _stray_parts, labels, spacing_mm),
        _everywhere("no holes", _holes, labels, spacing_mm),
        _everywhere("closed ring", _open_ring, labels),
        _everywhere("centers aligned", _center_jumps, labels, spacing_mm),
        _everywhere("area falls to the apex", _area_profile, labels),
        _everywhere("slices contiguous", _missing_slices, labels),
        _everywhere("apex covered", _cut_apex, labels),
        _everywhere("inside the image", _at_the_edge, whole),
        _steady_in_time(labels, closed=closed),
        _present_in_time(labels, closed=closed),
    ]
    return tuple(findings + (volume_findings(volumes) if volumes else []))


def overall(findings: Iterable[Finding]) -> Outcome:
    """The worst outcome of all findings."""
    outcomes = {finding.status for finding in findings}
    return "fail" if "fail" in outcomes else "warn" if "warn" in outcomes else "pass"


def volume_findings(volumes: VentricularVolumes) -> list[Finding]:
    """Check volumes against what a living heart can have."""
    v = volumes
    return [
        _in_range("LV EDV", v.lv_edv_ml, LV_EDV_RANGE_ML, "mL", "warn"),
        _in_range("LV EF", v.lv_ef_percent, EF_RANGE_PERCENT, "%", "warn"),
        _in_range("RV EF", v.rv_ef_percent, EF_RANGE_PERCENT, "%", "warn"),
        _alike("stroke volumes agree", v.lv_sv_ml, v.rv_sv_ml, MAX_STROKE_DIFFERENCE, "LV and RV stroke volume"),
        _alike("mass constant", v.lv_mass_g, v.lv_mass_es_g, MAX_MASS_DIFFERENCE, "LV mass at ED and ES"),
        Finding("phases", "warn" if v.notes else "pass", "; ".join(v.notes) or "as expected"),
        _complete(v),
    ]


# --- per frame: each check returns what it found as (slice, status, words) --------------------------------------------

Trouble = tuple[int, Outcome, str]


def _everywhere(check: str, look: Callable[..., list[Trouble]], labels: Labels, *options: object) -> Finding:
    found = [(t, *trouble) for t in range(len(labels)) for trouble in look(labels[t], *options)]
    if not found:
        return Finding(check, "pass", "as expected")
    worst: Outcome = "fail" if any(status == "fail" for _, _, status, _ in found) else "warn"
    shown = sorted(found, key=lambda item: item[2])[:PLACES_SHOWN]
    words = "; ".join(f"frame {t}" + (f" slice {z}" if z >= 0 else "") + f": {text}" for t, z, _, text in shown)
    more = f"; and {len(found) - len(shown)} more" if len(found) > len(shown) else ""
    return Finding(check, worst, words + more, tuple((t, z) for t, z, _, _ in found))


def _missing_tissue(volume: Labels) -> list[Trouble]:
    return [(-1, "fail", f"no {NAMES[tissue]}") for tissue in (LV, MYOCARDIUM, RV) if not (volume == tissue).any()]


def _wrong_order(volume: Labels) -> list[Trouble]:
    """Another label than the LV cavity lies inside a ring of a third."""
    order = fitting_order(volume)
    if order is None or all(code == tissue for code, tissue in order.items()):
        return []
    words = ", ".join(f"label {code} is the {NAMES[tissue]}" for code, tissue in order.items())
    return [(-1, "fail", f"labels in another order fit better: {words}")]


def _stray_parts(volume: Labels, spacing_mm: tuple[float, float, float]) -> list[Trouble]:
    pixel_mm2 = spacing_mm[1] * spacing_mm[2]
    found: list[Trouble] = []
    for z, image in enumerate(volume):
        for tissue in (LV, MYOCARDIUM, RV):
            parts, n = ndimage.label(image == tissue, structure=np.ones((3, 3)))
            if n < 2:
                continue
            sizes = np.bincount(parts.ravel())[1:]
            stray, share = int(sizes.sum() - sizes.max()), sizes.max() / sizes.sum()
            if share < MIN_LARGEST_SHARE and stray * pixel_mm2 > SMALL_AREA_MM2:
                found.append((z, "warn", f"{NAMES[tissue]} in {n} parts, the largest holds {100 * share:.0f} %"))
    return found


def _holes(volume: Labels, spacing_mm: tuple[float, float, float]) -> list[Trouble]:
    pixel_mm2 = spacing_mm[1] * spacing_mm[2]
    found: list[Trouble] = []
    for z, image in enumerate(volume):
        for side, part in (("left", (image == LV) | (image == MYOCARDIUM)), ("right", image == RV)):
            hole = np.count_nonzero(ndimage.binary_fill_holes(part) & ~part) * pixel_mm2
            if hole > SMALL_AREA_MM2:
                found.append((z, "warn", f"hole of {hole:.0f} mm2 in the {side} ventricle"))
    return found


def _open_ring(volume: Labels) -> list[Trouble]:
    """The cavity touches background or RV, so that a way leads out of it: a warning in the two slices at the base (at
    either end, where the anatomy does not tell the base), where the outflow tract opens the ring; else a failure."""
    slices = [z for z in range(len(volume)) if (volume[z] == LV).any()]
    base = base_is_low(volume)
    basal = {*(slices[:2] if base is not False else ()), *(slices[-2:] if base is not True else ())}
    found: list[Trouble] = []
    for z in slices:
        if not is_ring_closed(volume[z], closed_cavity(volume[z])):
            open_share = 100 * (1 - ringed_share(volume[z], LV))
            words = f"{open_share:.0f} % of the cavity's border without myocardium"
            found.append((z, "warn" if z in basal else "fail", words))
    return found


def _center_jumps(volume: Labels, spacing_mm: tuple[float, float, float]) -> list[Trouble]:
    centers = {z: np.array(ndimage.center_of_mass(volume[z] == LV)) for z in _slices_with(volume, LV)}
    found: list[Trouble] = []
    for z in centers.keys() & {z - 1 for z in centers}:
        jump = float(np.linalg.norm((centers[z + 1] - centers[z]) * np.array(spacing_mm[1:])))
        if jump > MAX_CENTER_JUMP_MM:
            found.append((z, "warn", f"LV center jumps {jump:.0f} mm to the next slice"))
    return found


def _area_profile(volume: Labels) -> list[Trouble]:
    base = base_is_low(volume)
    if base is None:
        return []
    order = list(range(len(volume)))[:: 1 if base else -1]
    area = {z: int(np.count_nonzero(volume[z] == LV)) for z in order}
    found: list[Trouble] = []
    inner = [z for z in order if area[z] > 0][1:]  # the most basal slice is often partial
    for z, below in pairwise(inner):
        if area[below] > MAX_GROWTH_TO_APEX * area[z]:
            found.append((below, "warn", f"LV cavity {area[below] / area[z]:.1f} times that of the more basal slice"))
    return found


def _missing_slices(volume: Labels) -> list[Trouble]:
    slices = _slices_with(volume, LV)
    gaps = sorted(set(range(slices[0], slices[-1])) - set(slices)) if slices else []
    return [(z, "fail", "no LV cavity between slices that have it") for z in gaps]


def _cut_apex(volume: Labels) -> list[Trouble]:
    """The stack ends while the cavity is still wide."""
    area = np.count_nonzero(volume == LV, axis=(1, 2))
    base = base_is_low(volume)
    if base is None or not area.any():
        return []
    last = len(volume) - 1 if base else 0
    share = area[last] / area.max()
    if share <= MAX_LAST_SHARE:
        return []
    return [(last, "warn", f"the last slice at the apex still has {100 * share:.0f} % of the largest LV cavity")]


def _at_the_edge(volume: Labels) -> list[Trouble]:
    edge = np.ones(volume.shape[1:], bool)
    edge[1:-1, 1:-1] = False
    return [
        (z, "warn", f"{NAMES[tissue]} reaches the edge of the image")
        for z, image in enumerate(volume)
        for tissue in (LV, MYOCARDIUM, RV)
        if (image[edge] == tissue).any()
    ]


def _present_in_time(labels: Labels, *, closed: bool) -> Finding:
    """A slice lacks the LV cavity in one frame, though the frames before and after have it; in a `closed` cycle the last
    one is followed by the first."""
    check = "slices present in time"
    if len(labels) < MIN_FRAMES_IN_TIME:
        return Finding(check, "pass", f"not judged: {len(labels)} frames")
    present = (labels == LV).any(axis=(2, 3))
    missing = ~present & np.roll(present, 1, axis=0) & np.roll(present, -1, axis=0)
    if not closed:
        missing[[0, -1]] = False
    gaps = np.argwhere(missing).tolist()
    if not gaps:
        return Finding(check, "pass", "as expected")
    shown = ", ".join(f"frame {t} slice {z}" for t, z in gaps[:PLACES_SHOWN])
    more = f" and {len(gaps) - PLACES_SHOWN} more" if len(gaps) > PLACES_SHOWN else ""
    return Finding(check, "warn", f"LV cavity for one frame missing: {shown}{more}", tuple((t, z) for t, z in gaps))


def _steady_in_time(labels: Labels, *, closed: bool) -> Finding:
    """Consecutive frames, in a `closed` cycle the last followed by the first; two-frame series (ED and ES) may differ by more."""
    check = "steady in time"
    if len(labels) < MIN_FRAMES_IN_TIME:
        return Finding(check, "pass", f"not judged: {len(labels)} frames")
    found: list[tuple[int, str]] = []
    for tissue in (LV, MYOCARDIUM, RV):
        area: NDArray[np.float64] = np.count_nonzero(labels == tissue, axis=(1, 2, 3)).astype(np.float64)
        ratio = (np.roll(area, -1) / np.maximum(area, 1))[: len(area) if closed else -1]
        jumps = np.flatnonzero((ratio > MAX_RATIO) | (ratio < 1 / MAX_RATIO))
        found += [(int(t), f"{NAMES[tissue]} changes by a factor {ratio[t]:.2f} after frame {t}") for t in jumps]
    if not found:
        return Finding(check, "pass", "as expected")
    words = "; ".join(text for _, text in found[:PLACES_SHOWN])
    return Finding(check, "warn", words, tuple((t, -1) for t, _ in found))


def _slices_with(volume: Labels, tissue: int) -> list[int]:
    return np.flatnonzero((volume == tissue).any(axis=(1, 2))).tolist()


# --- per volume ------------------------------------------------------------------------------------------------------


def _complete(volumes: VentricularVolumes) -> Finding:
    """Fail where labels left something unmeasured; what only time is missing for is told."""
    of_time = {name for name in volumes.reasons if name.endswith(NEED_TIME)}
    of_labels = sorted({why for name, why in volumes.reasons.items() if name not in of_time})
    if of_labels:
        return Finding("complete", "fail", "; ".join(of_labels))
    untimed = "; ".join(sorted({volumes.reasons[name] for name in of_time}))
    words = f"all that the labels give; without the course in time: {untimed}" if untimed else "all measured"
    return Finding("complete", "pass", words)


def _in_range(name: str, value: float | None, limits: tuple[float, float], unit: str, otherwise: Outcome) -> Finding:
    if value is None:
        return Finding(name, "fail", "not measured")
    inside = limits[0] <= value <= limits[1]
    words = f"{value:.0f} {unit}, plausible {limits[0]:g} to {limits[1]:g}"
    return Finding(name, "pass" if inside else otherwise, words)


def _alike(check: str, one: float | None, other: float | None, most: float, what: str) -> Finding:
    if one is None or other is None or one + other <= 0:
        return Finding(check, "fail", f"{what}: not measured")
    difference = 2 * abs(one - other) / (one + other)
    words = (
        f"{what} ({one:.0f} and {other:.0f}) differ by {100 * difference:.0f} % of their mean, at most {100 * most:.0f}"
    )
    return Finding(check, "pass" if difference <= most else "warn", words)
