"""What is a scan, what is its geometry, and what can go wrong with it?

Records are frozen and checked when made; they read nothing and compute nothing. The errors of the whole project:

    CardioValError                what the project raises on purpose
    ├── FileProblem               a file, and in one line what is wrong with it
    │   ├── MissingFile           not there
    │   ├── UnreadableFile        there, but not what its name says: truncated, another format, wrong variables
    │   ├── WrongShape            read, but its axes are not those expected
    │   ├── NotFinite             read, but it holds NaN or infinity
    │   └── WeightsProblem        a checkpoint that cannot be used
    ├── ConfigProblem             a call or a configuration that asks for what cannot be done
    ├── MeasurementFailed         a measurement that this image does not allow ("no left ventricle found")
    └── RunStopped                the machine does not let a run go on now: full disk, server away; it can be resumed
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Literal

Status = Literal["ok", "bad"]
Confidence = Literal["stated", "table", "assumed"]


class CardioValError(Exception):
    """Base of every error that the project raises on purpose; its text can be written as UTF-8 and cannot command a terminal,
    whatever names of files and values it repeats."""

    def __str__(self) -> str:
        return printable(super().__str__(), keep="\n\t")


class FileProblem(CardioValError):
    """A file and the reason why it cannot be used.

    Parameters
    ----------
    path
        The file.
    reason
        One line: what was expected, what came, what to do.
    """

    def __init__(self, path: str | PathLike[str], reason: str) -> None:
        super().__init__(path, reason)
        self.path = Path(path)
        self.reason = " ".join(reason.split())

    def __str__(self) -> str:
        return printable(f"{self.path}: {self.reason}")


class MissingFile(FileProblem):
    """The file is not there."""


class UnreadableFile(FileProblem):
    """The file is there but cannot be read as what it should be: truncated, another format, no such variable."""


class WrongShape(FileProblem):
    """The file can be read, but its axes are not those expected."""


class NotFinite(FileProblem):
    """The file can be read, but holds NaN or infinity."""


class WeightsProblem(FileProblem):
    """A checkpoint that cannot be used."""


class ConfigProblem(CardioValError):
    """A call or a configuration that asks for what cannot be done."""


class MeasurementFailed(CardioValError):
    """A measurement that this image or its header does not allow."""


class RunStopped(CardioValError):
    """A run that cannot go on now, for no fault of a scan: a full or read-only disk, a server that is away."""


def printable(text: str, *, keep: str = "") -> str:
    """A text that can be written as UTF-8 and shown on a terminal: whatever else is in it becomes an escape, but for `keep`."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else ascii(c)[1:-1] for c in text)


@dataclass(frozen=True, kw_only=True)
class Scan:
    """One k-space file of one patient: who, where, what, and whether it can be used.

    Parameters
    ----------
    center, vendor, scanner, patient
        For example "Center001", "Siemens", "Vida", "P001"; `patient` is unique within a center only.
    field_t
        Field strength in tesla; NaN only for a bad scan.
    modality, view
        In the vocabulary of `cohort.catalogue`, for example "T1 mapping", "short-axis".
    split
        Folder of the set, for example "TestSet".
    disease
        From the cohort's diseases.csv, or "unknown".
    shape
        (frames, slices, coils, ky, kx); empty only for a bad scan.
    path
        The `.mat` file.
    stem
        Its name without the suffix, for example "cine_sax".
    status, reason
        "ok" and no reason, or "bad" and one line.
    release
        What stands after "FullSample_" in the path, for example "TaskR1"; between releases, patient numbers are
        used again for other people.

    Raises
    ------
    ConfigProblem
        Status and reason, or status and the other fields, contradict one another.
    """

    center: str
    vendor: str
    field_t: float
    scanner: str
    patient: str
    modality: str
    view: str
    split: str
    disease: str
    shape: tuple[int, ...]
    path: Path
    stem: str
    status: Status = "ok"
    reason: str = ""
    release: str = ""

    def __post_init__(self) -> None:
        if self.status not in ("ok", "bad"):
            raise ConfigProblem(f"scan status is 'ok' or 'bad', not {self.status!r}")
        if (self.status == "bad") != bool(self.reason):
            raise ConfigProblem(f"{self.path}: a bad scan has a reason and a good one has none, not {self.reason!r}")
        if self.status == "bad":
            return
        if len(self.shape) != 5 or min(self.shape) < 1:
            raise ConfigProblem(
                f"{self.path}: shape is five positive numbers (frames, slices, coils, ky, kx), not {self.shape}"
            )
        if not (math.isfinite(self.field_t) and self.field_t > 0):
            raise ConfigProblem(f"{self.path}: field strength is a positive number of tesla, not {self.field_t}")


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """How large a voxel is and how long a frame lasts, and how far that can be trusted.

    Parameters
    ----------
    spacing_mm
        (slice pitch, y, x) in mm: the axes of an image; the pitch is center to center, gap included.
    frame_time_s
        Duration of one frame in s, None where the header does not tell.
    confidence
        "stated" by the header, from the project's "table" of scanners, or "assumed": the weakest of the parts.
    note
        In words, what was looked up or assumed; empty where all is stated.
    slice_thickness_mm
        Thickness in mm where the header states it: with a gap it is less than the pitch.

    Raises
    ------
    ConfigProblem
        A spacing or duration that is not a positive number.
    """

    spacing_mm: tuple[float, float, float]
    frame_time_s: float | None
    confidence: Confidence
    note: str = ""
    slice_thickness_mm: float | None = None

    def __post_init__(self) -> None:
        if len(self.spacing_mm) != 3 or not all(math.isfinite(s) and s > 0 for s in self.spacing_mm):
            raise ConfigProblem(f"spacing is three positive numbers of mm (slice pitch, y, x), not {self.spacing_mm}")
        if self.frame_time_s is not None and not (math.isfinite(self.frame_time_s) and self.frame_time_s > 0):
            raise ConfigProblem(f"a frame lasts a positive number of s, not {self.frame_time_s}")
        if self.confidence not in ("stated", "table", "assumed"):
            raise ConfigProblem(f"confidence is 'stated', 'table' or 'assumed', not {self.confidence!r}")
