"""Which patients have a value of both arms, and which were attempted but lack one?"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from flows.descriptions import FULLY_SAMPLED, SCAN_KEY, TRUTH


@dataclass(frozen=True)
class ScanPairs:
    """Both values of every scan, where patients have several; `patient` is the position in `Pairs`."""

    patient: NDArray[np.intp]
    reference: NDArray[np.float64]
    test: NDArray[np.float64]


@dataclass(frozen=True)
class Pairs:
    """Patients that were attempted, and the values of those that have both; one entry a patient, by center and name.

    Where some have several scans, `averaged`, values are their means, and `scans` holds what they are the means of.
    """

    attempted: int
    center: list[str]
    patient: list[str]
    reference: NDArray[np.float64]
    test: NDArray[np.float64]
    averaged: bool
    scans: ScanPairs | None = None

    def by_center(self) -> list[tuple[str, NDArray[np.intp]]]:
        """Each center with the positions of its patients, which stand together."""
        names = list(dict.fromkeys(self.center))
        counts = Counter(self.center)
        ends = np.cumsum([counts[name] for name in names])
        return [(name, np.arange(end - counts[name], end)) for name, end in zip(names, ends.tolist(), strict=True)]


@dataclass(frozen=True)
class Scans:
    """One phenotype as arrays over scans: whose it is, per arm the value (NaN if failed) and whether it was planned."""

    center: list[str]
    patient: list[str]
    index: NDArray[np.intp]
    values: dict[str, NDArray[np.float64]]
    planned: dict[str, NDArray[np.bool_]]


def scans_of(rows: pd.DataFrame) -> Scans:
    """Lay out the rows of one phenotype by scan and arm; `index` points into `center` and `patient`."""
    wide = rows.pivot(index=SCAN_KEY, columns="arm", values="value")
    planned = rows.assign(planned=1.0).pivot(index=SCAN_KEY, columns="arm", values="planned")
    names = wide.index.to_frame(index=False)
    keys = list(zip(names["center"].tolist(), names["patient"].tolist(), strict=True))
    patients = {key: position for position, key in enumerate(sorted(set(keys)))}
    return Scans(
        center=[center for center, _ in patients],
        patient=[patient for _, patient in patients],
        index=np.array([patients[key] for key in keys], dtype=np.intp),
        values={str(arm): wide[arm].to_numpy(np.float64) for arm in wide.columns},
        planned={str(arm): planned[arm].notna().to_numpy(np.bool_) for arm in planned.columns},
    )


def comparisons(scans: Scans, arms: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield (against, arm): each arm against fully sampled, and all, that one too, against truth where there is any."""
    names = [arm for arm in arms if arm in scans.values]
    if FULLY_SAMPLED in names:
        yield from ((FULLY_SAMPLED, name) for name in names if name != FULLY_SAMPLED)
    if TRUTH in scans.values:
        yield from ((TRUTH, name) for name in names)


def pair(scans: Scans, against: str, arm: str) -> Pairs:
    """Pair by scan, then average within patients; who lacks either value was attempted and failed.

    A scan whose truth is unknown cannot be compared with it, which is no failure.
    """
    reference, test = scans.values[against], scans.values[arm]
    scope = ~np.isnan(reference) if against == TRUTH else scans.planned[against] | scans.planned[arm]
    both = scope & ~np.isnan(reference) & ~np.isnan(test)
    count = np.bincount(scans.index[both], minlength=len(scans.patient))
    kept = np.flatnonzero(count)
    averaged = bool((count > 1).any())
    place = np.cumsum(count > 0) - 1
    sums = [np.bincount(scans.index[both], weights=v[both], minlength=count.size) for v in (reference, test)]
    return Pairs(
        attempted=int(np.unique(scans.index[scope]).size),
        center=[scans.center[i] for i in kept],
        patient=[scans.patient[i] for i in kept],
        reference=sums[0][kept] / count[kept],
        test=sums[1][kept] / count[kept],
        averaged=averaged,
        scans=ScanPairs(place[scans.index[both]], reference[both], test[both]) if averaged else None,
    )
