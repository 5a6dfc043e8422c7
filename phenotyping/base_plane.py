"""How far into its last basal slice does a ventricle reach, frame by frame?

A slice is 8 to 10 mm thick, and a stack counts it whole or not at all: that alone moves an ejection fraction by two or
three points from one planning of the stack to another. In the course of a beat, however, the base descends through the
slices, and *when* a slice stops or starts to be ventricle tells where the base was at that moment. The descent follows the
emptying of the ventricle: with b(t) the base in units of slices and s(t) from 0 (fullest) to 1 (emptiest),

    b(t) = b_0 + D s(t).

b_0 and D come from the posterior mean on a grid: a frame whose first ventricular slice is f says f - 1 < b <= f (slice centers
are at whole numbers; steps are softened by `STEP_MM`), and D follows a normal distribution of mitral annular plane excursions.

The right ventricle has a base of its own, b_0 and D of its own, but one s(t): both annuli hang on one fibrous skeleton, and
the left ventricle's inner slices are labeled best. What its slices show above the base, outflow tract or a scrap of label,
counts as it is labeled (`ventricle_slices`, `volume_with_outflow`).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cohort.records import MeasurementFailed

Array = NDArray[np.float64]

#: excursion of the mitral annular plane in mm, mean and SD over the healthy and the sick: median 11 of 400 patients
#: (PMC4897936), 9.6 (8.1 to 11.5) after infarction (doi 10.1007/s00330-019-06393-4), 12 to 15 in the healthy. The same serves
#: for the right ventricle: its annulus moves more in the young and healthy (23 against 16 mm of 11, doi
#: 10.1152/ajpheart.01376.2006), but the base of experts' labels, outflow tract included, less (8.0 +- 5.7 mm from ED to ES in
#: the 80 training patients of ACDC)
EXCURSION_MM: Final = (11.0, 4.0)
LARGEST_EXCURSION_MM: Final = 25.0
#: how sharply labels tell that a slice's center has passed the base: softness of that step
STEP_MM: Final = 0.5
#: a slice with less than this share of the next one's area lies above the base of the right ventricle: where the base cuts a
#: slice slantwise, half of it is left when the base passes the slice's center
BODY_SHARE: Final = 0.5
#: fewer frames do not show when a slice is passed
MIN_FRAMES: Final = 8
GRID: Final = (400, 120)


@dataclass(frozen=True)
class BasePlane:
    """Where the base lies.

    Attributes
    ----------
    position
        `(frames,)`, in slices counted from the base (0 is the center of the first); negative above the stack.
    excursion_mm
        Descent from the fullest to the emptiest frame.
    position_sd_mm
        Standard deviation of the position left, largest over the frames.
    share
        `(frames, slices)`, what part of each slice is ventricle: 1 below the base, 0 above.
    """

    position: Array
    excursion_mm: float
    position_sd_mm: float
    share: Array


def fit_base_plane(ventricle: NDArray[np.bool_], emptying: Array, *, pitch_mm: float) -> BasePlane:
    """Find the base between the slices from the course of a beat.

    Parameters
    ----------
    ventricle
        `(frames, slices)`, base first: which slices the rules count for the left ventricle. Every frame needs one.
    emptying
        `(frames,)`, 0 at the fullest, 1 at the emptiest frame; `emptying_of` takes it from the slices that are ventricle in
        every frame, so that what is to be found does not enter.
    pitch_mm
        Distance of slice centers.

    Raises
    ------
    MeasurementFailed
        With fewer than eight frames, or a frame without ventricle.
    """
    ventricle = np.asarray(ventricle, dtype=bool)
    if len(ventricle) < MIN_FRAMES:
        raise MeasurementFailed(f"the base between slices needs {MIN_FRAMES} frames or more, got {len(ventricle)}")
    if not ventricle.any(axis=1).all():
        raise MeasurementFailed("the base between slices needs a left ventricle in every frame")
    first = np.argmax(ventricle, axis=1)
    start = np.linspace(first.min() - 1 - LARGEST_EXCURSION_MM / pitch_mm, first.max() + 1, GRID[0])[:, None]
    descent = np.linspace(0, LARGEST_EXCURSION_MM / pitch_mm, GRID[1])[None, :]
    mean, sd = EXCURSION_MM
    log_posterior = -0.5 * ((descent * pitch_mm - mean) / sd) ** 2 + 0 * start
    softness = STEP_MM / pitch_mm
    for slice_number, empty in zip(first, emptying, strict=True):
        base = start + descent * empty
        log_posterior += _log_step((slice_number - base) / softness) + _log_step((base - slice_number + 1) / softness)
    weight = np.exp(log_posterior - log_posterior.max())
    weight /= weight.sum()
    position = np.empty(len(first))
    variance = np.empty(len(first))
    for t, empty in enumerate(emptying):
        base = start + descent * empty
        position[t] = (weight * base).sum()
        variance[t] = (weight * (base - position[t]) ** 2).sum()
    # labels stay the judge of whole slices: the base never leaves the gap in which they put it
    position = np.clip(position, first - 1, first)
    share = np.clip(np.arange(ventricle.shape[1])[None, :] + 0.5 - position[:, None], 0, 1)
    return BasePlane(
        position,
        float((weight * descent).sum() * pitch_mm),
        float(np.sqrt(variance.max()) * pitch_mm),
        np.where(ventricle | (np.arange(ventricle.shape[1]) < first[:, None]), share, 0.0),
    )


def emptying_of(areas: Array, ventricle: NDArray[np.bool_]) -> Array:
    """How empty the ventricle is, `(frames,)` from 0 to 1, by the slices that are ventricle in every frame.

    Parameters
    ----------
    areas
        `(frames, slices)` of the cavity.
    ventricle
        Which of them count.

    Raises
    ------
    MeasurementFailed
        Where no slice is ventricle in every frame, or the cavity does not change.
    """
    always = np.asarray(ventricle, dtype=bool).all(axis=0)
    inner = np.asarray(areas, dtype=np.float64)[:, always].sum(axis=1)
    if not always.any() or inner.max() <= inner.min():
        raise MeasurementFailed("the base between slices needs slices that are ventricle in every frame, and a beat")
    return np.asarray((inner.max() - inner) / (inner.max() - inner.min()))


def volume_below(areas: Array, ventricle: NDArray[np.bool_], plane: BasePlane, *, pitch_mm: float) -> Array:
    """Volume under the base `(frames,)`, in area unit times mm.

    A slice above the first ventricular one, into which the base reaches less than half, has no area of its own; it takes
    that of the first.

    Parameters
    ----------
    areas
        `(frames, slices)`, of cavity or of myocardium, base first.
    ventricle, plane, pitch_mm
        As in `fit_base_plane`.
    """
    counted = np.where(ventricle, areas, 0.0)
    for t, first in enumerate(np.argmax(ventricle, axis=1)):
        if first > 0:
            counted[t, first - 1] = counted[t, first]
    return np.asarray((counted * plane.share).sum(axis=1) * pitch_mm)


def ventricle_slices(areas: Array) -> NDArray[np.bool_]:
    """Which slices are the body of a ventricle without a ring of myocardium, `(frames, slices)`, base first.

    In every frame from the widest of the slices that always show it toward the base, as long as each slice has at least half
    of the area of the one below; toward the apex all that is labeled.

    Parameters
    ----------
    areas
        `(frames, slices)` of the cavity, base first.

    Raises
    ------
    MeasurementFailed
        Where no slice shows the ventricle in every frame.
    """
    areas = np.asarray(areas, dtype=np.float64)
    always = (areas > 0).all(axis=0)
    if not always.any():
        raise MeasurementFailed("the base between slices needs a slice that shows the right ventricle in every frame")
    body = areas > 0
    for row, inside in zip(areas, body, strict=True):
        top = int(np.argmax(np.where(always, row, -1.0)))
        while top > 0 and row[top - 1] > 0 and row[top - 1] >= BODY_SHARE * row[top]:
            top -= 1
        inside[:top] = False
    return body


def volume_with_outflow(areas: Array, body: NDArray[np.bool_], plane: BasePlane, *, pitch_mm: float) -> Array:
    """Volume `(frames,)` of what lies under the base, and of what is labeled above it; no part of a slice twice.

    Parameters
    ----------
    areas, pitch_mm
        As in `volume_below`.
    body, plane
        From `ventricle_slices` and, made of it, `fit_base_plane`.
    """
    counted = np.where(body, areas, 0.0)
    below = (counted * plane.share).sum(axis=1)
    for t, first in enumerate(np.argmax(body, axis=1)):
        if first > 0:
            reached = counted[t, first] * plane.share[t, first - 1]
            below[t] += max(reached, areas[t, first - 1]) + areas[t, : first - 1].sum()
    return np.asarray(below * pitch_mm)


def _log_step(x: Array) -> Array:
    """Logarithm of the logistic function, without overflow."""
    return np.asarray(-np.logaddexp(0, -x))
