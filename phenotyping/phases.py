"""Which frame is end-diastole, and which is end-systole?"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cohort.records import MeasurementFailed

#: a frame whose volume is not within this factor of both neighbors is a segmentation error, no heart beat
#: (the rule of UK Biobank's atrial quality control on consecutive frames)
MAX_RATIO: Final = 2.0
#: end-systole lies within this part of the cycle after end-diastole at resting heart rates
SYSTOLE: Final = (0.15, 0.65)
#: fewer frames do not show the course of a cycle: the largest and smallest volume are taken as they are
MIN_FRAMES_FOR_CURVE: Final = 6


@dataclass(frozen=True)
class Phases:
    """End-diastole and end-systole with what looks odd about them."""

    ed_frame: int
    es_frame: int
    notes: tuple[str, ...] = ()


def find_phases(lv_volumes_ml: NDArray[np.float64]) -> Phases:
    """Find end-diastole and end-systole on the LV volume curve, first and last frame taken as neighbors.

    The curve is freed of single broken frames, smoothed by (1, 2, 1)/4, and the extreme of the measured volumes within
    one frame of the smoothed extreme is taken (the smoothed one is robust, the measured one unbiased).
    With fewer than 6 frames, for example [ED, ES], the largest and the smallest volume are taken directly.

    Parameters
    ----------
    lv_volumes_ml
        `(n_frames,)`, mL.

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
    repaired, broken = _without_broken_frames(volumes)
    smooth = (np.roll(repaired, 1) + 2 * repaired + np.roll(repaired, -1)) / 4
    ed = _extreme_near(repaired, int(np.argmax(smooth)), sign=1, skip=broken)
    es = _extreme_near(repaired, int(np.argmin(smooth)), sign=-1, skip=broken)
    return Phases(ed, es, _oddities(volumes.size, ed, es, broken))


def _without_broken_frames(volumes: NDArray[np.float64]) -> tuple[NDArray[np.float64], list[int]]:
    before, after = np.roll(volumes, 1), np.roll(volumes, -1)
    low = volumes * MAX_RATIO < np.minimum(before, after)
    high = volumes > MAX_RATIO * np.maximum(before, after)
    broken = low | high
    return np.where(broken, (before + after) / 2, volumes), np.flatnonzero(broken).tolist()


def _extreme_near(volumes: NDArray[np.float64], frame: int, *, sign: int, skip: list[int]) -> int:
    near = [(frame + step) % volumes.size for step in (0, -1, 1)]
    usable = [f for f in near if f not in skip] or near
    return max(usable, key=lambda f: sign * volumes[f])


def _oddities(n_frames: int, ed: int, es: int, broken: list[int]) -> tuple[str, ...]:
    notes = []
    if broken:
        notes.append(f"LV volume of frame(s) {broken} is off its neighbors by more than a factor {MAX_RATIO:g}")
    systole = ((es - ed) % n_frames) / n_frames
    if not SYSTOLE[0] <= systole <= SYSTOLE[1]:
        expected = f"expected {SYSTOLE[0]} to {SYSTOLE[1]}"
        notes.append(f"end-systole at {systole:.2f} of the cycle after end-diastole, {expected}")
    if min(ed, n_frames - ed) > 0.15 * n_frames:
        notes.append(f"end-diastole in frame {ed} of {n_frames}, expected near the first or last")
    return tuple(notes)
