"""Which slices, and which pixels of them, count for the ventricles' volumes?

At the base a short-axis slice may cut ventricle, outflow tract or atrium, and through-plane motion changes that in the
course of the beat; so the rules are applied frame by frame. The consensus (Schulz-Menger et al., JCMR 22:19 (2020),
doi 10.1186/s12968-020-00610-6) counts a basal slice for the left ventricle where at least half of the cavity's
circumference has myocardium around it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import convex_hull_image

from cohort.geometry_rules import SliceOrder
from cohort.records import ConfigProblem, MeasurementFailed
from phenotyping.labels import BACKGROUND, LV, MYOCARDIUM, RV, Labels, base_is_low, ringed_share

LvSlices = Literal["half_ring", "as_segmented"]
RvSlices = Literal["as_segmented", "with_lv"]
Papillary = Literal["as_segmented", "holes_filled", "convex_hull"]
LvBase = Literal["slices", "fitted"]
RvBase = Literal["slices", "fitted"]

#: share of the cavity's border that must lie on myocardium ("50 % or more", see above)
MINIMUM_RING: Final = 0.5


@dataclass(frozen=True, kw_only=True)
class CountingRules:
    """What belongs to a ventricle.

    Attributes
    ----------
    lv_slices
        ``half_ring``: the left ventricle reaches from the first to the last slice whose cavity has myocardium along
        half of its border; cavity beyond, toward base or apex, does not count, nor does the myocardium of such a
        slice. ``as_segmented``: every labeled pixel counts.
    rv_slices
        ``as_segmented``, or ``with_lv``: nothing of the right ventricle that lies on the basal side of the first
        slice counted for the left one.
    papillary
        ``as_segmented``: papillary muscles are what the segmentation made them. ``holes_filled``: myocardium enclosed
        by cavity is cavity. ``convex_hull``: myocardium inside the cavity's convex hull is cavity.
    slice_order
        ``base_first``, ``apex_first``, or ``anatomy`` to find the base in the labels; only ``with_lv`` and ``fitted``
        need it.
    lv_base, rv_base
        ``slices``: a slice counts whole or not at all, the usual disc summation. ``fitted``: the most basal slice counts
        by the part that lies below the ventricle's base, which the course of the beat tells (`base_plane`).

    Raises
    ------
    ConfigProblem
        For a word that is none of these.
    """

    lv_slices: LvSlices = "half_ring"
    rv_slices: RvSlices = "as_segmented"
    papillary: Papillary = "as_segmented"
    slice_order: SliceOrder = "anatomy"
    lv_base: LvBase = "slices"
    rv_base: RvBase = "slices"

    def __post_init__(self) -> None:
        known = {
            "lv_slices": LvSlices,
            "rv_slices": RvSlices,
            "papillary": Papillary,
            "slice_order": SliceOrder,
            "lv_base": LvBase,
            "rv_base": RvBase,
        }
        for name, words in known.items():
            if getattr(self, name) not in get_args(words):
                raise ConfigProblem(f"{name}: expected {', '.join(get_args(words))}, got {getattr(self, name)!r}")


@dataclass(frozen=True)
class CountedLabels:
    """Labels of what counts, and the (frame, slice) pairs of which something was left out.

    `base_is_low` says where the base lies, None where nothing tells.
    """

    labels: Labels
    lv_left_out: tuple[tuple[int, int], ...]
    rv_left_out: tuple[tuple[int, int], ...]
    base_is_low: bool | None
    notes: tuple[str, ...] = ()


def counted_labels(labels: Labels, rules: CountingRules) -> CountedLabels:
    """Keep of a segmentation what counts for volumes and mass.

    Parameters
    ----------
    labels
        `(frames, slices, y, x)`, 0 background, 1 LV cavity, 2 myocardium, 3 RV cavity; not changed.
    rules
        The conventions.

    Raises
    ------
    MeasurementFailed
        For a wrong shape.
    """
    labels = np.asarray(labels)
    if labels.ndim != 4:
        raise MeasurementFailed(f"labels must be (frames, slices, y, x), got shape {labels.shape}")
    low, notes = where_base(labels, rules.slice_order)
    kept = labels.copy()
    lv_out: list[tuple[int, int]] = []
    rv_out: list[tuple[int, int]] = []
    for t, volume in enumerate(kept):
        if rules.lv_slices == "half_ring":
            lv_out += [(t, z) for z in _drop_without_ring(volume)]
        if rules.rv_slices == "with_lv" and low is not None:
            rv_out += [(t, z) for z in _drop_above_lv(volume, base_low=low)]
        if rules.papillary != "as_segmented":
            _give_to_cavity(volume, rules.papillary)
    if rules.rv_slices == "with_lv" and low is None:
        notes.append("the anatomy does not tell where the base is: right ventricle counted as segmented")
    return CountedLabels(kept, tuple(lv_out), tuple(rv_out), low, tuple(notes))


def where_base(labels: Labels, order: SliceOrder) -> tuple[bool | None, list[str]]:
    """Whether the base is at the low slice numbers, as told or else by the anatomy; says where the two disagree.

    Parameters
    ----------
    labels
        `(frames, slices, y, x)`.
    order
        What is known.
    """
    votes = [vote for vote in (base_is_low(volume) for volume in labels) if vote is not None]
    seen = None if 2 * sum(votes) == len(votes) else 2 * sum(votes) > len(votes)
    if order == "anatomy":
        return seen, []
    told = order == "base_first"
    if seen is not None and seen != told:
        return told, [f"slice order is configured as {order}, but the anatomy looks the other way round"]
    return told, []


def _drop_without_ring(volume: Labels) -> Sequence[int]:
    """Take cavity and myocardium out of the slices beyond the ringed ones; a poor slice between them stays."""
    with_cavity = np.flatnonzero((volume == LV).any(axis=(1, 2)))
    ringed = [int(z) for z in with_cavity if ringed_share(volume[z], LV) >= MINIMUM_RING]
    dropped = [int(z) for z in with_cavity if not ringed or not ringed[0] <= z <= ringed[-1]]
    for z in dropped:
        volume[z][np.isin(volume[z], (LV, MYOCARDIUM))] = BACKGROUND
    return dropped


def _drop_above_lv(volume: Labels, *, base_low: bool) -> Sequence[int]:
    with_lv = np.flatnonzero((volume == LV).any(axis=(1, 2)))
    if not with_lv.size:
        return []
    with_rv = np.flatnonzero((volume == RV).any(axis=(1, 2)))
    dropped = [int(z) for z in with_rv if (z < with_lv[0] if base_low else z > with_lv[-1])]
    for z in dropped:
        volume[z][volume[z] == RV] = BACKGROUND
    return dropped


def _give_to_cavity(volume: Labels, rule: Papillary) -> None:
    for image in volume:
        cavity: NDArray[np.bool_] = image == LV
        if cavity.any():
            whole = ndimage.binary_fill_holes(cavity) if rule == "holes_filled" else convex_hull_image(cavity)
            image[whole & (image == MYOCARDIUM)] = LV
