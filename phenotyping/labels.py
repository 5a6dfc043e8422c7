"""Which number is which tissue, and does a label map keep to it?"""

from collections.abc import Mapping
from itertools import permutations
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cohort.records import MeasurementFailed

Labels = NDArray[np.uint8]

BACKGROUND: Final = 0
LV: Final = 1
MYOCARDIUM: Final = 2
RV: Final = 3
NAMES: Final[Mapping[int, str]] = {
    BACKGROUND: "background",
    LV: "LV cavity",
    MYOCARDIUM: "myocardium",
    RV: "RV cavity",
}
#: atria of long-axis views: kept only where a label map asks for them, and measured nowhere
LA: Final = 4
RA: Final = 5
ALL_NAMES: Final[Mapping[int, str]] = {**NAMES, LA: "LA cavity", RA: "RA cavity"}
#: ACDC's label order (Bernard et al., doi 10.1109/TMI.2018.2837502) to ours
FROM_ACDC: Final[Mapping[int, int]] = {1: RV, 2: MYOCARDIUM, 3: LV}

#: the LV cavity's border lies on myocardium for at least this share (expert labels of 25 ACDC patients at ED and
#: ES: 0.98 or more; the RV cavity's border: 0.44 or less)
MIN_RINGED_SHARE: Final = 0.5
#: for the claim that another label is the LV cavity more of its border is asked for: labels of no use fit nothing
#: (in long-axis views about a sixth of the border is the mitral valve)
CLEARLY_RINGED_SHARE: Final = 0.7


def map_labels(labels: NDArray[Any], mapping: Mapping[int, int]) -> Labels:
    """Rename the labels of another source to ours; 0 stays background.

    Parameters
    ----------
    labels
        Whole numbers of any shape and type (NIfTI files often store them as floats).
    mapping
        Their number -> our number (0 to 3), for example `FROM_ACDC`.

    Returns
    -------
    uint8 labels of the same shape.

    Raises
    ------
    MeasurementFailed
        Where a value is no whole number or has no entry in `mapping`.
    """
    values, inverse = np.unique(np.asarray(labels), return_inverse=True)
    table = {0: BACKGROUND, **mapping}
    unknown = [value for value in values.tolist() if value not in table]
    if unknown:
        raise MeasurementFailed(
            f"the label map holds {unknown[:5]}, but only {sorted(table)} have a meaning; give the source's own mapping"
        )
    renamed = np.array([table[int(value)] for value in values], dtype=np.uint8)
    return renamed[inverse].reshape(np.shape(labels))


def check_label_order(labels: Labels) -> None:
    """Stop where label 1 cannot be the LV cavity, because the myocardium (label 2) does not surround it.

    Parameters
    ----------
    labels
        `(..., y, x)`; slices without LV cavity count for nothing, and so does an empty map.

    Raises
    ------
    MeasurementFailed
        Where less than half of the border of label 1 lies on label 2, or a value above 3 is present.
    """
    labels = np.asarray(labels)
    if labels.size and int(labels.max()) > RV:
        raise MeasurementFailed(f"the label map holds {int(labels.max())}; ours are 0 to 3, see map_labels")
    lv = ringed_share(labels, LV)
    if lv >= MIN_RINGED_SHARE or np.isnan(lv):
        return
    order, hint = fitting_order(labels), ""
    if order is not None:
        acdc = " (the ACDC order, use FROM_ACDC)" if order == FROM_ACDC else ""
        hint = f"; another order fits: {', '.join(f'{a} is the {NAMES[b]}' for a, b in order.items())}{acdc}"
    raise MeasurementFailed(
        f"label 1 must be the LV cavity inside the myocardium (label 2), but only {100 * lv:.0f} % "
        f"of its border touches label 2{hint}"
    )


def fitting_order(labels: Labels) -> dict[int, int] | None:
    """Which of the labels 1, 2, 3 is which structure, judged by what surrounds what.

    Parameters
    ----------
    labels
        `(..., y, x)`.

    Returns
    -------
    Number -> what it must be (the identity where the order is right), or None where no label surrounds another: no
    heart, or a segmentation too poor to tell.
    """
    codes = (LV, MYOCARDIUM, RV)
    shares = {(a, b): ringed_share(labels, a, by=b) for a, b, _ in permutations(codes)}
    if shares[LV, MYOCARDIUM] >= MIN_RINGED_SHARE:  # even where a scrap of another label is surrounded, too
        return {code: code for code in codes}
    # a missing label has no share at all
    cavity, ring = max(shares, key=lambda pair: -1.0 if np.isnan(shares[pair]) else shares[pair])
    if not shares[cavity, ring] >= CLEARLY_RINGED_SHARE:
        return None
    other = next(code for code in codes if code not in (cavity, ring))
    return dict(sorted({cavity: LV, ring: MYOCARDIUM, other: RV}.items()))


def ringed_share(labels: Labels, cavity: int, *, by: int = MYOCARDIUM) -> float:
    """Share of a cavity's in-plane border (4-neighbor pixel edges) that lies on myocardium; NaN without a border."""
    on_myocardium = total = 0
    for axis in (-1, -2):
        swapped = np.swapaxes(labels, axis, -1)
        one, other = swapped[..., :-1], swapped[..., 1:]
        for inside, outside in ((one, other), (other, one)):
            border = (inside == cavity) & (outside != cavity)
            total += int(border.sum())
            on_myocardium += int((border & (outside == by)).sum())
    return on_myocardium / total if total else float("nan")


def around_heart(labels: Labels) -> Labels:
    """The part of the images that holds all labels of all frames and slices, with two pixels around where there are any.

    Labels fill a few percent of a field of view, and searching the rest for holes takes most of the time.

    Parameters
    ----------
    labels
        `(..., y, x)`.

    Returns
    -------
    A view; all of it where nothing is labeled.
    """
    anything = (labels != BACKGROUND).reshape(-1, *labels.shape[-2:]).any(axis=0)
    if not anything.any():
        return labels
    rows, columns = (np.flatnonzero(anything.any(axis=axis)) for axis in (1, 0))
    return labels[..., max(rows[0] - 2, 0) : rows[-1] + 3, max(columns[0] - 2, 0) : columns[-1] + 3]


def base_is_low(volume: Labels) -> bool | None:
    """Whether the base of the heart is at the low slice numbers; None where the anatomy does not tell.

    The RV lies more basal than the LV's middle, and the LV's cross-section grows toward the base. Files do not say it:
    their affines are often made up.

    Parameters
    ----------
    volume
        `(slices, y, x)`, one frame.
    """
    z = np.arange(len(volume))
    left = np.isin(volume, (LV, MYOCARDIUM)).sum(axis=(1, 2))
    right = (volume == RV).sum(axis=(1, 2))
    if not left.any():
        return None
    middle = np.average(z, weights=left > 0)
    lean = np.average(z - middle, weights=left) + (np.average(z - middle, weights=right) if right.any() else 0.0)
    return None if abs(lean) < 0.05 else bool(lean < 0)
