"""Which mistakes of a segmentation can be mended without guessing, and what was changed?

An option, off by default: measurements on repaired labels must say so. Each slice is mended by itself, so that a missing
slice costs nothing in the others. A slice without stray parts, holes and gaps in its ring stays as it is.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cohort.records import MeasurementFailed
from phenotyping.labels import BACKGROUND, LV, MYOCARDIUM, RV, Labels, check_label_order, ringed_share
from phenotyping.quality_control import Finding, Outcome
from phenotyping.volumes import checked_voxel_ml

Mask = NDArray[np.bool_]

#: an LV cavity whose border is open for more than this share is left open: its wall would be invented
MAX_OPEN_SHARE: Final = 0.5
#: slices at the base that the outflow tract may open
N_BASAL_SLICES: Final = 2
DIAGONALS_TOO: Final = np.ones((3, 3), bool)
STRAY, ISLANDS, HOLES, RING, OPEN = (
    "stray parts removed",
    "cavity filled",
    "holes filled",
    "ring closed",
    "ring left open",
)
WORDS: Final = {
    STRAY: "set to background",
    ISLANDS: "inside a cavity counted to it",
    HOLES: "of holes inside the heart given to what surrounds them",
    RING: "beside the LV cavity made myocardium",
    OPEN: "of the LV cavity touch no myocardium, too many to close the ring",
}


@dataclass(frozen=True)
class Repair:
    """Mended labels, and one finding for each kind of change: ``warn`` where something changed (or could not be)."""

    labels: Labels
    findings: tuple[Finding, ...]
    n_changed: int


def repair(labels: Labels, *, spacing_mm: tuple[float, float, float]) -> Repair:
    """Mend every slice of every frame.

    1. What lies within the LV cavity (papillary muscles) becomes LV cavity, and myocardium within the RV cavity RV.
    2. Background enclosed by the heart becomes the structure that makes up most of its border (myocardium in doubt), and
       so does RV enclosed by the LV and its myocardium, unless it is all the RV of the slice.
    3. Of LV and RV cavity the largest part is kept (all of the largest size), of the myocardium the largest and every
       part that touches the LV cavity.
    4. Where the LV cavity touches background or the RV cavity, outside the basal slices, these pixels become myocardium:
       the least that closes the ring. More than half a ring is not invented.

    Repeated until nothing changes, so that repairing twice is repairing once. Connected is with diagonals, background
    without.

    Parameters
    ----------
    labels
        `(frames, slices, y, x)`, our numbers 0 to 3.
    spacing_mm
        (slice pitch, y, x), mm; only for the areas that are told.

    Raises
    ------
    MeasurementFailed
        For a wrong shape or spacing, numbers above 3, or where label 1 is not inside label 2 at all (a wrong order).
    """
    labels = np.asarray(labels)
    if labels.ndim != 4:
        raise MeasurementFailed(f"labels must be (frames, slices, y, x), got shape {labels.shape}")
    checked_voxel_ml(spacing_mm)
    check_label_order(labels)
    mended = labels.astype(np.uint8)
    log: dict[str, dict[tuple[int, int], int]] = {kind: {} for kind in WORDS}
    for t, volume in enumerate(mended):
        for z, image in enumerate(volume):
            _tidy(image, log, (t, z))
        spared = basal_slices(volume)
        for z, image in enumerate(volume):
            if z not in spared and _close_ring(image, log, (t, z)):
                _tidy(image, log, (t, z))
    pixel_mm2 = spacing_mm[1] * spacing_mm[2]
    findings = tuple(_finding(kind, places, pixel_mm2) for kind, places in log.items())
    return Repair(mended, findings, int(np.count_nonzero(mended != labels)))


def basal_slices(volume: Labels) -> set[int]:
    """Slices where an open ring can be anatomy: two at the wider end of the LV cavity, at both ends if they are alike.

    Only the LV cavity decides, which closing a ring leaves as it is.
    """
    area = np.count_nonzero(volume == LV, axis=(1, 2))
    slices = np.flatnonzero(area)
    if not len(slices):
        return set()
    lean = float(np.average(slices - slices.mean(), weights=area[slices]))
    low, high = set(slices[:N_BASAL_SLICES].tolist()), set(slices[-N_BASAL_SLICES:].tolist())
    if abs(lean) < 0.05:
        return low | high
    return low if lean < 0 else high


# --- one slice, changed in place --------------------------------------------------------------------------------------

Log = dict[str, dict[tuple[int, int], int]]


def _tidy(image: Labels, log: Log, place: tuple[int, int]) -> None:
    """Steps 1 to 3 until nothing changes; each removes a part or a hole and makes none, so there is an end."""
    while True:
        before = image.copy()
        _write(image, _inside(image == LV), LV, log[ISLANDS], place)
        _write(image, _muscle_inside(image == RV, image), RV, log[ISLANDS], place)
        # before strays go: a gap all around the cavity parts it from its wall
        _fill_holes(image, _inside(image != BACKGROUND), log[HOLES], place)
        _fill_holes(image, _rv_inside(image), log[HOLES], place)
        _write(image, _stray(image), BACKGROUND, log[STRAY], place)
        if np.array_equal(image, before):
            return


def _muscle_inside(cavity: Mask, image: Labels) -> Mask:
    """Myocardium that the cavity encloses; where it encloses more than that (an LV, strays), nothing is decided here."""
    inside = _inside(cavity)
    holes, _ = ndimage.label(inside)
    muscle: Mask = inside & ~np.isin(holes, np.unique(holes[inside & (image != MYOCARDIUM)]))
    return muscle


def _stray(image: Labels) -> Mask:
    """Parts that do not belong to their structure."""
    stray = np.zeros(image.shape, bool)
    for tissue in (LV, RV):
        stray |= (image == tissue) & ~_largest(image == tissue)
    cavity, muscle = (image == LV) & ~stray, image == MYOCARDIUM
    parts, _ = ndimage.label(muscle, DIAGONALS_TOO)
    beside = np.unique(parts[ndimage.binary_dilation(cavity)])
    return stray | (muscle & ~_largest(muscle) & ~np.isin(parts, beside))


def _largest(mask: Mask) -> Mask:
    """The largest part, and those as large."""
    parts, n = ndimage.label(mask, DIAGONALS_TOO)
    if n < 2:
        return mask
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    kept: Mask = (sizes == sizes.max())[parts]
    return kept


def _inside(mask: Mask) -> Mask:
    """What the mask encloses without being of it."""
    inside: Mask = ndimage.binary_fill_holes(mask) & ~mask
    return inside


def _rv_inside(image: Labels) -> Mask:
    """RV that the LV and its myocardium enclose, as where a ring was closed beside it; not where it is all there is."""
    rv = image == RV
    inside = _inside(np.isin(image, (LV, MYOCARDIUM))) & rv
    return np.zeros_like(inside) if np.array_equal(inside, rv) else inside


def _fill_holes(image: Labels, inside: Mask, log: dict[tuple[int, int], int], place: tuple[int, int]) -> None:
    holes, n = ndimage.label(inside)
    given = image.copy()
    for number in range(1, n + 1):
        hole = holes == number
        border = [_n_shared_edges(hole, (image == tissue) & ~hole) for tissue in (LV, MYOCARDIUM, RV)]
        most = [tissue for tissue, count in zip((LV, MYOCARDIUM, RV), border, strict=True) if count == max(border)]
        # of a tie that has no myocardium (a hole between both cavities) the LV: its ring is closed afterward
        given[hole] = MYOCARDIUM if MYOCARDIUM in most else most[0]
    _count(int(np.count_nonzero(given != image)), log, place)
    image[:] = given


def _close_ring(image: Labels, log: Log, place: tuple[int, int]) -> bool:
    """Whether pixels beside the cavity were made myocardium."""
    cavity = image == LV
    beside = ndimage.binary_dilation(cavity) & ~cavity & (image != MYOCARDIUM)
    at_edge = cavity.copy()
    at_edge[1:-1, 1:-1] = False
    open_share = 1 - ringed_share(image[None], LV)
    if not beside.any() or open_share > MAX_OPEN_SHARE:
        _count(int(beside.sum()) if beside.any() else int(at_edge.sum()), log[OPEN], place)
        return False
    _write(image, beside, MYOCARDIUM, log[RING], place)
    _count(int(at_edge.sum()), log[OPEN], place)
    return True


def _n_shared_edges(one: Mask, other: Mask) -> int:
    """Pixel edges between two masks that do not overlap."""
    upright = np.count_nonzero(one[1:] & other[:-1]) + np.count_nonzero(one[:-1] & other[1:])
    across = np.count_nonzero(one[:, 1:] & other[:, :-1]) + np.count_nonzero(one[:, :-1] & other[:, 1:])
    return int(upright + across)


def _write(image: Labels, where: Mask, tissue: int, log: dict[tuple[int, int], int], place: tuple[int, int]) -> None:
    _count(int(np.count_nonzero(where)), log, place)
    image[where] = tissue


def _count(n_pixels: int, log: dict[tuple[int, int], int], place: tuple[int, int]) -> None:
    if n_pixels:
        log[place] = log.get(place, 0) + n_pixels


def _finding(kind: str, places: dict[tuple[int, int], int], pixel_mm2: float) -> Finding:
    if not places:
        return Finding(kind, "pass", "nothing to do")
    n_pixels = sum(places.values())
    status: Outcome = "fail" if kind == OPEN else "warn"
    words = f"{n_pixels} pixels ({n_pixels * pixel_mm2:.0f} mm2) in {len(places)} slices {WORDS[kind]}"
    return Finding(kind, status, words, tuple(places))
