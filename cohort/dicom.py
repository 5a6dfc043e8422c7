"""Which images are in a DICOM series, in which order? Stacks sorted by position and time, with their place in the
patient.

Cine: by trigger time. Mapping: by the order of acquisition, with the time of each image beside it.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.pixels import pixel_array
from pydicom.uid import UID

from cohort.dicom_headers import Frame, check_deflated, read_frames
from cohort.dicom_series import DicomSeries, Kind, by_position, check_parallel, majority
from cohort.foreign import is_file
from cohort.images import affine_of_planes
from cohort.records import MissingFile, NotFinite, UnreadableFile

#: two images of a slice closer in trigger time than this are the same image twice
TIME_TOLERANCE_MS: Final = 0.5
#: gaps between slices may differ by this share of their median before a slice is missing
GAP_TOLERANCE: Final = 0.1
MAX_SHIFT_MM: Final = 1.0
TIMES = {
    "cine": "trigger_ms",
    "T1 mapping": "inversion_ms",
    "T2 mapping": "preparation_ms",
    "T2* mapping": "echo_ms",
}
TAGS = {"trigger_ms": "TriggerTime", "inversion_ms": "InversionTime", "echo_ms": "EchoTime"}


@dataclass(frozen=True)
class DicomCine:
    """A cine stack as a scanner stored it.

    Attributes
    ----------
    images : float32 array (frames, slices, y, x)
        Slices along the normal of the image plane, frames by trigger time.
    spacing_mm : (slice pitch, y, x)
        The pitch is the median distance of neighboring slices; that of a single slice is its thickness.
    trigger_time_ms : array (frames, slices)
    field_t, vendor, scanner
        From the header, NaN where it has no field strength; patient data are not kept.
    """

    images: NDArray[np.float32]
    spacing_mm: tuple[float, float, float]
    trigger_time_ms: NDArray[np.float64]
    field_t: float
    vendor: str
    scanner: str


@dataclass(frozen=True)
class DicomStack:
    """A series, sorted.

    Attributes
    ----------
    images : float32 array (times, slices, y, x)
        Stored values with slope and intercept.
    phase : float32 array (times, slices, y, x), optional
        In radians.
    times_ms : array (times, slices)
        Trigger, inversion, preparation or echo times.
    spacing_mm : (slice pitch, y, x)
    affine : (4, 4)
        Voxel (x, y, z) to mm in NIfTI's axes (right, anterior, superior).
    frames
        Header of each image, [time][slice].
    note
        What a user should know; empty where there is nothing.
    """

    images: NDArray[np.float32]
    phase: NDArray[np.float32] | None
    times_ms: NDArray[np.float64]
    spacing_mm: tuple[float, float, float]
    affine: NDArray[np.float64]
    frames: tuple[tuple[Frame, ...], ...]
    note: str = ""


def read_cine(folder: Path) -> DicomCine:
    """Read a folder that holds one cine stack: single-frame or enhanced multi-frame DICOM files.

    Raises
    ------
    MissingFile
        There is no file in the folder.
    UnreadableFile
        A file is no DICOM image or lacks position, trigger time or spacing; planes are not parallel; or slices have
        different numbers of frames.
    """
    paths = sorted(path for path in folder.iterdir() if is_file(path)) if folder.is_dir() else []
    if not paths:
        raise MissingFile(folder, "holds no file; expected the DICOM files of one cine stack")
    frames = tuple(frame for path in paths for frame in read_frames(path))
    if not frames:
        raise MissingFile(folder, "holds no MR image; expected the DICOM files of one cine stack")
    stack = load_stack(DicomSeries("cine", frames))
    facts = majority(frames).facts
    return DicomCine(
        images=stack.images,
        spacing_mm=stack.spacing_mm,
        trigger_time_ms=stack.times_ms,
        field_t=facts.field_t,
        vendor=facts.vendor,
        scanner=facts.scanner,
    )


def load_stack(series: DicomSeries) -> DicomStack:
    """Sort a cine or mapping series and read its pixels.

    Raises
    ------
    UnreadableFile
        A file with the reason: no time, a plane that is not parallel, another size, an image twice, a frame or a slice
        missing, or pixels that cannot be decoded.
    NotFinite
        Slope and intercept that make no numbers of them.
    """
    rows = sort_frames(series.frames, kind=series.kind)
    attribute = time_attribute(series)
    first = [row[0] for row in zip(*rows, strict=True)]  # of each slice
    positions = np.array([frame.position for frame in first])
    pitch = _pitch(first)
    phase = None
    if series.phase:
        phase = _phase_like(rows, series.phase, attribute)
    affine, shift_mm = affine_of_planes(first[0].orientation, positions, pixel_mm=first[0].pixel_mm, pitch_mm=pitch)
    notes = []
    if series.merged > 1:
        notes.append(f"put together from {series.merged} series of one slice each")
    if shift_mm > MAX_SHIFT_MM:
        notes.append(f"slices lie up to {shift_mm:.1f} mm beside one line, which the NIfTI's affine cannot say")
    return DicomStack(
        images=read_pixels(rows),
        phase=phase,
        times_ms=np.array([[getattr(frame, attribute) for frame in row] for row in rows]),
        spacing_mm=(pitch, *first[0].pixel_mm),
        affine=affine,
        frames=rows,
        note="; ".join(notes),
    )


def time_attribute(series: DicomSeries) -> str:
    """Which time of a frame orders the series; T2 series go by preparation, or else by echo."""
    name = TIMES[series.kind]
    if series.kind == "T2 mapping" and any(frame.preparation_ms is None for frame in series.frames):
        return "echo_ms"
    return name


def sort_frames(frames: Sequence[Frame], *, kind: Kind) -> tuple[tuple[Frame, ...], ...]:
    """Frames as [time][slice]: slices along the normal, times rising (cine) or in the order taken (mapping)."""
    check_parallel(frames)
    attribute = time_attribute(DicomSeries(kind, tuple(frames)))
    for frame in sorted(frames, key=_file_order):
        if getattr(frame, attribute) is None:
            raise UnreadableFile(frame.path, f"lacks {TAGS.get(attribute, 'its time')}, which sorting a {kind} needs")
    slices = by_position(frames)
    _check_distinct(slices, attribute, strict=kind == "cine")
    counts = [len(part) for part in slices]
    if len(set(counts)) > 1:
        usual = max(sorted(set(counts)), key=counts.count)
        odd = next(part for part in slices if len(part) != usual)
        path = min(frame.path for frame in odd)
        reason = f"slices have {min(counts)} to {max(counts)} frames; expected as many in each, but the slice of this "
        raise UnreadableFile(path, f"{reason}file has {len(odd)}, most have {usual}")
    key = (lambda f: getattr(f, attribute)) if kind == "cine" else (lambda f: (f.number, getattr(f, attribute)))
    ordered = [sorted(part, key=lambda f: (key(f), _file_order(f))) for part in slices]
    _check_gaps(ordered)
    return tuple(zip(*ordered, strict=True))


def _file_order(frame: Frame) -> tuple[Path, int]:
    return frame.path, frame.index or 0


def _check_distinct(slices: list[list[Frame]], attribute: str, *, strict: bool) -> None:
    for part in slices:
        seen: dict[tuple[str, int | None], Frame] = {}
        for frame in sorted(part, key=_file_order):
            same = seen.setdefault((frame.sop_instance, frame.index), frame)
            if same is not frame and frame.sop_instance:
                raise UnreadableFile(frame.path, f"is the same image as {same.path.name}; remove one of them")
        ordered = sorted(part, key=lambda f: (getattr(f, attribute), _file_order(f)))
        for one, other in pairwise(ordered):
            apart = getattr(other, attribute) - getattr(one, attribute)
            if strict and apart < TIME_TOLERANCE_MS:
                time = f"{getattr(other, attribute):g} ms"
                raise UnreadableFile(other.path, f"shows the same slice at the same time ({time}) as {one.path.name}")


def _check_gaps(slices: list[list[Frame]]) -> None:
    place = np.array([part[0].place for part in slices])
    gaps = np.diff(place)
    if not len(gaps):
        return
    usual = float(np.median(gaps))
    wrong = np.flatnonzero(np.abs(gaps - usual) > GAP_TOLERANCE * usual)
    if len(wrong):
        after = slices[int(wrong[0]) + 1][0]
        reason = f"lies {gaps[wrong[0]]:.2f} mm from the slice before, others {usual:.2f} mm; is a slice missing?"
        raise UnreadableFile(after.path, reason)


def _pitch(first: Sequence[Frame]) -> float:
    """Distance of neighboring slices along the normal; of one slice its thickness."""
    if len(first) > 1:
        return float(np.median(np.diff([frame.place for frame in first])))
    if not first[0].thickness_mm > 0:
        raise UnreadableFile(first[0].path, "lacks SliceThickness, and one slice has no other way to a volume")
    return first[0].thickness_mm


def _phase_like(
    rows: tuple[tuple[Frame, ...], ...], phase: Sequence[Frame], attribute: str
) -> NDArray[np.float32] | None:
    """Phase images in the magnitude images' order, in radians: the stored range is one turn."""

    def key(frame: Frame) -> tuple[float, ...]:
        return (*(round(v, 1) for v in frame.position), getattr(frame, attribute))

    found = {key(frame): frame for frame in phase}
    order = [[found.get(key(frame)) for frame in row] for row in rows]
    if any(frame is None for row in order for frame in row):
        return None
    images = read_pixels([[frame for frame in row if frame is not None] for row in order])
    half = float(max(abs(images.min()), abs(images.max())))
    if phase[0].intercept < 0:
        half = abs(phase[0].intercept)
    elif images.min() >= 0:  # stored from 0 to the full range
        half = 2.0 ** float(np.ceil(np.log2(max(half, 2)))) / 2
        images = images - half
    return (images * (np.pi / half)).astype(np.float32) if half > 0 else None


def read_pixels(rows: Sequence[Sequence[Frame]]) -> NDArray[np.float32]:
    """Stored values with slope and intercept, float32 (times, slices, y, x)."""
    whole: dict[Path, NDArray[Any]] = {}
    images = np.empty((len(rows), len(rows[0]), rows[0][0].rows, rows[0][0].columns), np.float32)
    for t, row in enumerate(rows):
        for z, frame in enumerate(row):
            if frame.index is None:
                stored = _decoded(frame)
            else:
                if frame.path not in whole:
                    whole[frame.path] = _decoded(frame)
                stored = whole[frame.path]
                stored = stored[frame.index] if stored.ndim == 3 else stored
            if stored.shape != images.shape[2:]:
                raise UnreadableFile(frame.path, f"decodes to {stored.shape}, its header says {images.shape[2:]}")
            with np.errstate(over="ignore", invalid="ignore"):  # what float32 cannot hold is reported
                images[t, z] = stored * np.float64(frame.slope) + frame.intercept
            if not np.isfinite(images[t, z]).all():
                raise NotFinite(frame.path, "its slope and intercept make values that are infinite or no numbers")
    return images


def _decoded(frame: Frame) -> NDArray[Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they may quote the header
            # pydicom cannot take pixels right from a deflated file
            return pixel_array(pydicom.dcmread(frame.path) if check_deflated(frame.path) else frame.path)
    except Exception as error:  # decoders raise whatever damaged bytes lead them to
        syntax = UID(frame.facts.transfer_syntax).name or "an unknown way"
        if isinstance(error, (RuntimeError, NotImplementedError)) and UID(frame.facts.transfer_syntax).is_compressed:
            reason = f"its pixels are stored as {syntax}, for which no decoder is installed, or are damaged"
        else:
            reason = f"its pixels cannot be read ({type(error).__name__})"
        raise UnreadableFile(frame.path, reason) from error
