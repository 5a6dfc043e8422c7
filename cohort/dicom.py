"""Which images are in a folder of DICOM files, in which order? A cine stack, sorted by position and trigger time."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.errors import InvalidDicomError

from cohort.records import MissingFile, UnreadableFile

POSITION_TOLERANCE_MM = 0.01
NEEDED = ("ImagePositionPatient", "ImageOrientationPatient", "TriggerTime", "PixelSpacing", "Rows", "Columns")


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
        From the header; patient data are not kept.
    """

    images: NDArray[np.float32]
    spacing_mm: tuple[float, float, float]
    trigger_time_ms: NDArray[np.float64]
    field_t: float
    vendor: str
    scanner: str


def read_cine(folder: Path) -> DicomCine:
    """Read a folder that holds one cine stack of single-frame DICOM files.

    Raises
    ------
    MissingFile
        There is no file in the folder.
    UnreadableFile
        A file is no DICOM image or lacks position, trigger time or spacing; planes are not parallel; or slices have
        different numbers of frames.
    """
    paths = sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []
    if not paths:
        raise MissingFile(folder, "holds no file; expected the DICOM files of one cine stack")
    files = [read_image(path) for path in paths]
    normal = plane_normal(files[0])
    for path, file in zip(paths, files, strict=True):
        if float(plane_normal(file) @ normal) < 1 - 1e-4:
            raise UnreadableFile(path, "its plane is not parallel to the first file's; give each stack its own folder")
        if (file.Rows, file.Columns) != (files[0].Rows, files[0].Columns):
            raise UnreadableFile(path, f"is {file.Rows} x {file.Columns}, others {files[0].Rows} x {files[0].Columns}")
    place = np.array([np.asarray(file.ImagePositionPatient, dtype=float) @ normal for file in files])
    slices = grouped(place)
    counts = sorted({len(members) for members in slices})
    if len(counts) > 1:
        raise UnreadableFile(folder, f"slices have {counts[0]} to {counts[-1]} frames; expected as many in each")
    time = np.array([float(file.TriggerTime) for file in files])
    order = np.array([members[np.argsort(time[members], kind="stable")] for members in slices]).T
    positions = np.array([place[members].mean() for members in slices])
    thickness = float(getattr(files[0], "SliceThickness", 0) or 0)
    pitch = float(np.median(np.diff(positions))) if len(positions) > 1 else thickness
    y_mm, x_mm = (float(v) for v in files[0].PixelSpacing)
    return DicomCine(
        images=np.stack([[pixels(files[i]) for i in row] for row in order]),
        spacing_mm=(pitch, y_mm, x_mm),
        trigger_time_ms=time[order],
        field_t=float(getattr(files[0], "MagneticFieldStrength", 0) or 0),
        vendor=str(getattr(files[0], "Manufacturer", "")),
        scanner=str(getattr(files[0], "ManufacturerModelName", "")),
    )


def read_image(path: Path) -> pydicom.Dataset:
    """One file with everything that sorting needs."""
    try:
        file = pydicom.dcmread(path)
        missing = [name for name in (*NEEDED, "PixelData") if getattr(file, name, None) in (None, "")]
    except (InvalidDicomError, OSError, ValueError, AttributeError, NotImplementedError, KeyError, EOFError) as error:
        raise UnreadableFile(path, f"not a DICOM file ({str(error)[:80]})") from error
    if missing:
        raise UnreadableFile(path, f"lacks {', '.join(missing)}, which sorting a cine stack needs")
    return file


def plane_normal(file: pydicom.Dataset) -> NDArray[np.float64]:
    """Unit normal of the image plane in patient coordinates."""
    row, column = np.asarray(file.ImageOrientationPatient, dtype=float).reshape(2, 3)
    normal = np.cross(row, column)
    length: float = float(np.linalg.norm(normal))
    return np.asarray(normal / length if length else normal)


def grouped(place: NDArray[np.float64]) -> list[NDArray[np.int64]]:
    """Indices of the files of each slice, by rising position."""
    order = np.argsort(place, kind="stable")
    gaps = np.flatnonzero(np.diff(place[order]) > POSITION_TOLERANCE_MM) + 1
    parts: Iterable[NDArray[np.int64]] = np.split(order, gaps)
    return list(parts)


def pixels(file: pydicom.Dataset) -> NDArray[np.float32]:
    """Stored values with slope and intercept."""
    slope = float(getattr(file, "RescaleSlope", 1) or 1)
    intercept = float(getattr(file, "RescaleIntercept", 0) or 0)
    return (file.pixel_array * slope + intercept).astype(np.float32)
