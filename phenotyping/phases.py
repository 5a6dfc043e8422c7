"""Which frame is end-diastole, and which is end-systole?"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cohort.records import MeasurementFailed
from phenotyping.cycle import MIN_FRAMES_FOR_CURVE

#: a frame whose volume is not within this factor of both neighbors is a segmentation error, no heart beat
#: (the rule of UK Biobank's atrial quality control on consecutive frames)
MAX_RATIO: Final = 2.0
#: end-systole lies within this part of the cycle after end-diastole at resting heart rates
SYSTOLE: Final = (0.15, 0.65)


@dataclass(frozen=True)
class Phases:
    """End-diastole and end-systole with what looks odd about them."""

    ed_frame: int
    es_frame: int
    notes: tuple[str, ...] = ()


def find_phases(lv_volumes_ml: NDArray[np.float64], *, periodic: bool = True) -> Phases:
    """Find end-diastole and end-systole on a volume curve.

    The curve is freed of single broken frames, smoothed by (1, 2, 1)/4, and the extreme of the measured volumes within
    one frame of the smoothed extreme is taken (the smoothed one is robust, the measured one unbiased).
    With fewer than 6 frames, for example [ED, ES], the largest and the smallest volume are taken directly. The position
    of the two in the cycle is checked against a resting heart beat, and a doubt noted.

    Parameters
    ----------
    lv_volumes_ml
        `(n_frames,)`, mL; the right ventricle's for its own phases.
    periodic
        Whether the frames cover the cycle, so that first and last one are neighbors (see `cycle.find_cycle`).

    Raises
    ------
    MeasurementFailed
        With fewer than two frames, values that are not finite, or no LV in any frame.
    """
    volumes = np.asarray(lv_volumes_ml, dtype=np.float64)
    if volumes.ndim != 1 or volumes.size < 2:
        raise MeasurementFailed(f"end-diastole and end-systole need at least two frames, got shape {volumes.shape}")
    if not np.isfinite(volumes).all() or volumes.max() <= 0:
        raise MeasurementFailed("no left ventricle found in any frame")
    if volumes.size < MIN_FRAMES_FOR_CURVE:
        return Phases(int(np.argmax(volumes)), int(np.argmin(volumes)))
    repaired, broken = _without_broken_frames(volumes, periodic)
    before, after = _neighbors(repaired, periodic)
    smooth = (before + 2 * repaired + after) / 4
    ed = _extreme_near(repaired, int(np.argmax(smooth)), sign=1, skip=broken, periodic=periodic)
    es = _extreme_near(repaired, int(np.argmin(smooth)), sign=-1, skip=broken, periodic=periodic)
    return Phases(ed, es, _oddities(volumes.size, ed, es, broken, periodic))


def _neighbors(volumes: NDArray[np.float64], periodic: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The frames before and after; beyond an open end the curve goes straight on, so that the end is not smoothed."""
    before, after = np.roll(volumes, 1), np.roll(volumes, -1)
    if not periodic:
        before[0] = 2 * volumes[0] - volumes[1]
        after[-1] = 2 * volumes[-1] - volumes[-2]
    return before, after


def _without_broken_frames(volumes: NDArray[np.float64], periodic: bool) -> tuple[NDArray[np.float64], list[int]]:
    before, after = np.roll(volumes, 1), np.roll(volumes, -1)
    if not periodic:  # an end has one neighbor, and is judged by the two frames beside it
        before[0], after[-1] = volumes[2], volumes[-3]
    low = volumes * MAX_RATIO < np.minimum(before, after)
    high = volumes > MAX_RATIO * np.maximum(before, after)
    broken = low | high
    return np.where(broken, (before + after) / 2, volumes), np.flatnonzero(broken).tolist()


def _extreme_near(volumes: NDArray[np.float64], frame: int, *, sign: int, skip: list[int], periodic: bool) -> int:
    near = [frame + step for step in (0, -1, 1)]
    near = [f % volumes.size for f in near] if periodic else [f for f in near if 0 <= f < volumes.size]
    usable = [f for f in near if f not in skip] or near
    return max(usable, key=lambda f: sign * volumes[f])


def _oddities(n_frames: int, ed: int, es: int, broken: list[int], periodic: bool) -> tuple[str, ...]:
    notes = []
    if broken:
        notes.append(f"volume of frame(s) {broken} is off its neighbors by more than a factor {MAX_RATIO:g}")
    systole = ((es - ed) % n_frames) / n_frames
    if not periodic:
        if ed > 0.15 * n_frames or es < ed:
            notes.append(f"end-diastole in frame {ed} of {n_frames}, expected near the first")
        return tuple(notes)
    if not SYSTOLE[0] <= systole <= SYSTOLE[1]:
        expected = f"expected {SYSTOLE[0]} to {SYSTOLE[1]}"
        notes.append(f"end-systole at {systole:.2f} of the cycle after end-diastole, {expected}")
    if min(ed, n_frames - ed) > 0.15 * n_frames:
        notes.append(f"end-diastole in frame {ed} of {n_frames}, expected near the first or last")
    return tuple(notes)
