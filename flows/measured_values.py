"""What is one measurement? A value with its status, the pictures beside it, and its row of the tidy table."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohort.phenotypes import VOCABULARY
from cohort.records import Confidence

# of these groups, what is a ratio or a time does not depend on the size of a voxel
OF_ANATOMY = ("left ventricle", "right ventricle", "wall")
WITHOUT_LENGTH = ("%", "1/min")


@dataclass(frozen=True)
class Value:
    """One measurement: a number, or the reason why there is none."""

    phenotype: str
    value: float
    status: str = "ok"
    reason: str = ""


@dataclass(frozen=True)
class Picture:
    """A place of a scan worth showing: phase ED, ES or map, its slice, the image (y, x) and its labels."""

    phase: str
    slice: int
    image: NDArray[np.float32]
    labels: NDArray[np.uint8]


@dataclass(frozen=True)
class Measured:
    """What one arm of one scan gave; `facts` are kept in the manifest beside the rows."""

    values: tuple[Value, ...]
    pictures: tuple[Picture, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


def checked(name: str, number: float, warning: str) -> Value:
    """A value, with a warning where quality control or the plausible range give one."""
    known = VOCABULARY[name]
    reasons = [warning] if warning else []
    if not known.plausible_low <= number <= known.plausible_high:
        reasons.append(f"outside the plausible range {known.plausible_low:g} to {known.plausible_high:g} {known.unit}")
    return Value(name, float(number), "warn" if reasons else "ok", "; ".join(reasons))


def failed(names: Any, reason: str) -> list[Value]:
    """A failed value for every name."""
    return [Value(name, math.nan, "failed", reason) for name in names]


def with_geometry(values: Iterable[Value], *, confidence: Confidence, note: str) -> list[Value]:
    """The same values, those in mL, g or mm with a warning where the voxel size is assumed: they scale with it."""
    if confidence != "assumed":
        return list(values)
    warning = f"voxel size assumed: {note or 'the header leaves it open'}"
    return [with_warning([v], warning)[0] if scales_with_voxels(v.phenotype) else v for v in values]


def with_warning(values: Iterable[Value], warning: str) -> list[Value]:
    """The same values with one more warning; those that failed keep their own reason."""
    return [
        v if v.status == "failed" else replace(v, status="warn", reason="; ".join(filter(None, (v.reason, warning))))
        for v in values
    ]


def scales_with_voxels(phenotype: str) -> bool:
    """Whether a wrong voxel size changes the value."""
    known = VOCABULARY[phenotype]
    return known.group in OF_ANATOMY and known.unit not in WITHOUT_LENGTH


def row_of(value: Value) -> dict[str, Any]:
    """The measurement's columns; a missing number is None, which JSON can hold."""
    number = value.value if math.isfinite(value.value) else None
    status = value.status if number is not None else "failed"
    return {
        "phenotype": value.phenotype,
        "unit": VOCABULARY[value.phenotype].unit,
        "value": number,
        "status": status,
        "reason": value.reason or ("" if number is not None else "the result is not a finite number"),
    }


def middle_slice(labels: NDArray[np.uint8]) -> int:
    """The middle one of the slices that show the left ventricle."""
    slices = np.flatnonzero((labels == 1).any(axis=(1, 2)))
    return int(slices[len(slices) // 2]) if len(slices) else labels.shape[0] // 2
