"""Who ends up in another class when the value is measured otherwise?"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stats.intervals import FloatArray, Interval, checked_fraction, paired_vectors, proportion
from stats.square_table import Kappa, SquareTest, bowker, kappa_of_table, mcnemar_exact, stuart_maxwell


@dataclass(frozen=True)
class CutOff:
    """Where one class ends and the next begins, and to which of both the value itself belongs.

    ``CutOff(35, belongs_to="below")`` splits into <= 35 and > 35; ``"above"`` into < 35 and >= 35.
    """

    value: float
    belongs_to: Literal["below", "above"]


@dataclass(frozen=True)
class CutOffChange:
    """Who is below one cut-off by one measurement only, with McNemar's exact p-value."""

    cut_off: CutOff
    only_reference_below: int
    only_test_below: int
    p: float


@dataclass(frozen=True)
class NearCutOff:
    """Of those whose reference lies within `distance` of a cut-off: how many moved. `share` is None for nobody."""

    distance: float
    n: int
    moved: int
    share: Interval | None


@dataclass(frozen=True)
class Reclassification:
    """What `reclassify` found.

    Attributes
    ----------
    n : int
    classes : tuple of str
        From the lowest up, in the notation of intervals.
    table : tuple of tuples of int
        Rows: class by the reference; columns: by the test.
    moved, moved_up, moved_down : int
    share_moved : Interval
        Clopper-Pearson.
    kappa : Kappa or None
        Quadratic weights; None where both put everyone into one class.
    mcnemar : tuple of CutOffChange
        One a cut-off.
    symmetry : SquareTest
        Bowker: is a move up as frequent as its reverse?
    homogeneity : SquareTest
        Stuart-Maxwell: are the classes as frequent?
    near : NearCutOff or None
        None where no distance was asked for.
    """

    n: int
    classes: tuple[str, ...]
    table: tuple[tuple[int, ...], ...]
    moved: int
    moved_up: int
    moved_down: int
    share_moved: Interval
    kappa: Kappa | None
    mcnemar: tuple[CutOffChange, ...]
    symmetry: SquareTest
    homogeneity: SquareTest
    near: NearCutOff | None


def reclassify(
    reference: ArrayLike,
    test: ArrayLike,
    *,
    cut_offs: Sequence[CutOff],
    confidence: float = 0.95,
    near: float | None = None,
) -> Reclassification:
    """Cross the classes of two measurements of the same people.

    Classes are made of the continuous value, so nothing falls between two of them: a guideline's "41-49" leaves 40.4 and
    49.6 undefined, while ``(40, 50)`` does not.

    Parameters
    ----------
    reference, test : array (n,)
        Two values of each person, finite, in one unit; n >= 1.
    cut_offs : sequence of CutOff
        Rising.
    confidence : float
    near : float, optional
        Distance from a cut-off, in the unit of the values, within which people are also counted by themselves. Who is near
        is decided by the reference, the distance itself included.

    Raises
    ------
    ValueError
        For values that are not finite or of different number, no cut-offs or cut-offs that do not rise, or a distance
        that is not above 0.
    """
    a, b = paired_vectors(reference, test, names=("reference", "test"), at_least=1)
    level = checked_fraction(confidence, name="confidence")
    cuts = _checked_cut_offs(cut_offs)
    if near is not None and not (math.isfinite(near) and near > 0):
        raise ValueError(f"near must be a distance above 0 or None, got {near}")
    first, second = classes_of(a, cuts), classes_of(b, cuts)
    table = np.zeros((len(cuts) + 1, len(cuts) + 1), dtype=np.int64)
    np.add.at(table, (first, second), 1)
    moved = first != second
    changes = tuple(_change(cut, first <= i, second <= i) for i, cut in enumerate(cuts))
    n_moved = int(moved.sum())
    return Reclassification(
        n=a.size,
        classes=class_names(cuts),
        table=tuple(tuple(int(count) for count in row) for row in table),
        moved=n_moved,
        moved_up=int((second > first).sum()),
        moved_down=int((second < first).sum()),
        share_moved=proportion(n_moved, a.size, confidence=level),
        kappa=_kappa(table, level),
        mcnemar=changes,
        symmetry=bowker(table),
        homogeneity=stuart_maxwell(table),
        near=None if near is None else _near(a, moved, cuts, near, level),
    )


def classes_of(values: FloatArray, cut_offs: Sequence[CutOff]) -> NDArray[np.int64]:
    """Number of the class of each value, 0 the lowest."""
    above = [values > cut.value if cut.belongs_to == "below" else values >= cut.value for cut in cut_offs]
    return np.sum(above, axis=0, dtype=np.int64)


def class_names(cut_offs: Sequence[CutOff]) -> tuple[str, ...]:
    """Names of the classes from the lowest up: ``<= 35``, ``(35, 40]``, ``(40, 50)``, ``>= 50``."""
    first, last = cut_offs[0], cut_offs[-1]
    names = [f"{'<=' if first.belongs_to == 'below' else '<'} {first.value:g}"]
    for low, high in itertools.pairwise(cut_offs):
        opening, closing = "(" if low.belongs_to == "below" else "[", "]" if high.belongs_to == "below" else ")"
        names.append(f"{opening}{low.value:g}, {high.value:g}{closing}")
    return (*names, f"{'>' if last.belongs_to == 'below' else '>='} {last.value:g}")


def _checked_cut_offs(cut_offs: Sequence[CutOff]) -> tuple[CutOff, ...]:
    cuts = tuple(cut_offs)
    if not cuts or not all(isinstance(cut, CutOff) for cut in cuts):
        raise ValueError(f"cut_offs: expected one CutOff(value, belongs_to) or more, got {cut_offs!r}")
    if any(cut.belongs_to not in ("below", "above") for cut in cuts):
        raise ValueError("belongs_to must be below or above: to which class does the cut-off itself belong?")
    values = [cut.value for cut in cuts]
    if not all(math.isfinite(value) for value in values) or any(np.diff(values) <= 0):
        raise ValueError(f"cut_offs must be finite and rise, got {values}")
    return cuts


def _change(cut: CutOff, first: NDArray[np.bool_], second: NDArray[np.bool_]) -> CutOffChange:
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    return CutOffChange(cut, only_first, only_second, mcnemar_exact(only_first, only_second))


def _kappa(table: NDArray[np.int64], level: float) -> Kappa | None:
    used = (table.sum(axis=0) + table.sum(axis=1)) > 0
    return None if np.count_nonzero(used) < 2 else kappa_of_table(table, weights="quadratic", confidence=level)


def _near(
    reference: FloatArray, moved: NDArray[np.bool_], cuts: Sequence[CutOff], distance: float, level: float
) -> NearCutOff:
    gaps = np.abs(np.subtract.outer(reference, np.array([cut.value for cut in cuts])))
    close = gaps.min(axis=1) <= distance
    n, changed = int(close.sum()), int((close & moved).sum())
    return NearCutOff(distance, n, changed, proportion(changed, n, confidence=level) if n else None)
