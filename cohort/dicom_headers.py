"""What does a DICOM file say of each of its images? Where it lies, when it was taken, what it shows; not of whom.

A header is read whole and only what measuring needs is kept, name by name: whoever holds a `Frame` holds no name, date,
number or address of a patient, a person or a hospital. What refers to an image stays: the UIDs, which a segmentation
needs. Single images and enhanced multi-frame files look alike after it.
"""

import math
import re
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    EnhancedMRImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
    MRImageStorage,
)

from cohort.dicom_words import known_words, pseudonym, seconds
from cohort.foreign import SMALL_BYTES, check_unpacked, is_file
from cohort.records import CardioValError, UnreadableFile, printable

Component = Literal["magnitude", "phase", "other"]

MR_CLASSES = {str(MRImageStorage), str(EnhancedMRImageStorage), str(LegacyConvertedEnhancedMRImageStorage)}
NEEDED = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns")
PHASE_WORDS = {"P", "PHASE", "PHASE MAP", "PHASE_IMAGE", "VELOCITY"}
OTHER_WORDS = {"R", "REAL", "I", "IMAGINARY", "CPLX", "LOCALIZER", "PROJECTION IMAGE", "SCREEN SAVE"}
PREPARATION = re.compile(r"(?:t2[\s_-]*prep\w*|tet2prep|te[\s_-]?prep)\D{0,14}?(\d+(?:\.\d+)?)\s*ms", re.IGNORECASE)
INVERSION = re.compile(r"\bTI(?:eff)?\b\D{0,4}(\d+(?:\.\d+)?)\s*ms", re.IGNORECASE)
TEXT_VRS = ("LO", "SH", "LT", "ST", "UT", "CS")
#: a header that promises more than this is damaged, not large
MAX_FILE_BYTES: Final = 16 * 2**30
LONGEST_NAME: Final = 64  # of a vendor or a scanner
PREAMBLE_BYTES: Final = 132
GROUP_LENGTH_BYTES: Final = 12


@dataclass(frozen=True)
class Facts:
    """What a file says of the whole series.

    `words` are those of `cohort.dicom_words` that its texts stand for, `subject` tells patients apart and is another one in
    the next process. Height in m and weight in kg are for the body surface area; None where the header has none.
    """

    series_uid: str
    study_uid: str
    frame_of_reference: str
    series_number: int
    transfer_syntax: str
    vendor: str
    scanner: str
    field_t: float
    heart_rate_bpm: float | None
    height_m: float | None
    weight_kg: float | None
    gradient_echo: bool
    words: tuple[str, ...]
    subject: str


@dataclass(frozen=True)
class Frame:
    """One image. Times in ms, None where the header does not state them; `index` is its place in a multi-frame file.

    `acquired_s` is comparable within an exam, see `cohort.dicom_words.seconds`.
    """

    path: Path
    index: int | None
    sop_class: str
    sop_instance: str
    number: int
    rows: int
    columns: int
    position: tuple[float, float, float]
    orientation: tuple[float, ...]
    pixel_mm: tuple[float, float]
    thickness_mm: float
    trigger_ms: float | None
    inversion_ms: float | None
    echo_ms: float | None
    preparation_ms: float | None
    component: Component
    slope: float
    intercept: float
    facts: Facts
    acquired_s: float | None = None
    temporal_position: float | None = None

    @property
    def normal(self) -> np.ndarray:
        """Unit normal of the plane in patient coordinates."""
        row, column = np.asarray(self.orientation).reshape(2, 3)
        normal = np.cross(row, column)
        return np.asarray(normal / np.linalg.norm(normal))

    @property
    def place(self) -> float:
        """Position along the normal, mm."""
        return float(np.dot(self.position, self.normal))


def read_frames(path: Path) -> tuple[Frame, ...]:
    """Read the header of one file: one frame, or as many as an enhanced multi-frame file has.

    Reports, screen shots and other objects that never have a place in the patient give no frame.

    Raises
    ------
    UnreadableFile
        No DICOM file, no image with a place in the patient, or a file smaller than the images it promises.
    """
    if not is_file(path):
        raise UnreadableFile(path, "not a plain file; expected a DICOM file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # values that break the standard are judged one by one below
            check_deflated(path)
            header = pydicom.dcmread(path, stop_before_pixels=True)
            frames = tuple(_frames(path, header))
            if frames:
                _check_size(path, header, len(frames))
    except CardioValError:
        raise
    except (InvalidDicomError, OSError, ValueError, TypeError, AttributeError, NotImplementedError) as error:
        raise UnreadableFile(path, f"not a DICOM file with an image ({_why(error)})") from error
    except Exception as error:  # pydicom raises whatever damaged bytes lead it to
        raise UnreadableFile(path, f"damaged DICOM header ({type(error).__name__})") from error
    return frames


def check_deflated(path: Path) -> bool:
    """Whether the file is of the deflated kind, which pydicom unpacks whole; refused where it would fill the memory."""
    meta = pydicom.filereader.read_file_meta_info(path)
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return False
    packed_bytes, unpacked = path.stat().st_size, 0
    with path.open("rb") as stream:
        stream.seek(PREAMBLE_BYTES + GROUP_LENGTH_BYTES + int(meta.get("FileMetaInformationGroupLength", 0)))
        unpacker, content = zlib.decompressobj(-zlib.MAX_WBITS), stream.read()
    while content and not unpacker.eof:
        unpacked += len(unpacker.decompress(content, SMALL_BYTES // 16))
        check_unpacked(path, unpacked, packed_bytes=packed_bytes)
        content = unpacker.unconsumed_tail
    return True


def _frames(path: Path, header: pydicom.Dataset) -> Iterator[Frame]:
    per_frame = header.get("PerFrameFunctionalGroupsSequence")
    n_frames = int(header.get("NumberOfFrames") or 1)
    kind = str(header.get("SOPClassUID", ""))
    if kind and kind not in MR_CLASSES and not _has_place(header):  # without a kind it is damaged
        return
    if per_frame is None and n_frames > 1:
        raise UnreadableFile(path, f"{n_frames} frames without functional groups, so their places are unknown")
    if per_frame is not None and len(per_frame) != n_frames:
        raise UnreadableFile(path, f"{n_frames} frames, but functional groups of {len(per_frame)}")
    facts = _facts(header)
    if per_frame is None:
        yield _frame(path, None, header, _Look(header), facts)
        return
    shared = header.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()]
    for index, groups in enumerate(per_frame):
        yield _frame(path, index, header, _Look(header, groups, shared[0]), facts)


def _has_place(header: pydicom.Dataset) -> bool:
    return "PerFrameFunctionalGroupsSequence" in header or all(name in header for name in NEEDED)


class _Look:
    """Finds a value in the frame's functional groups, then the shared ones, then the header itself."""

    def __init__(self, header: pydicom.Dataset, *groups: pydicom.Dataset) -> None:
        self.places = [
            item
            for group in groups
            for element in group
            if element.VR == "SQ" and element.value
            for item in element.value[:1]
        ] + [header]

    def __call__(self, *names: str) -> Any:
        for name in names:
            for place in self.places:
                value = place.get(name)
                if value is not None and value != "":
                    return value
        return None

    def number(self, *names: str) -> float | None:
        value = self(*names)
        if isinstance(value, pydicom.multival.MultiValue):
            value = value[0] if len(value) else None
        if value is None:
            return None
        number = float(value)
        return number if math.isfinite(number) else None


def _frame(path: Path, index: int | None, header: pydicom.Dataset, look: _Look, facts: Facts) -> Frame:
    missing = [name for name in NEEDED if look(name) is None]
    if missing:
        raise UnreadableFile(path, f"lacks {', '.join(missing)}, without which an image has no place in the patient")
    orientation = tuple(float(v) for v in look("ImageOrientationPatient"))
    position = tuple(float(v) for v in look("ImagePositionPatient"))
    spacing = tuple(float(v) for v in look("PixelSpacing"))
    _check_geometry(path, position, orientation, spacing)
    comments = str(look("FrameComments", "ImageComments") or "")
    inversion, preparation = look.number("InversionTimes", "InversionTime"), _preparation(header, comments)
    if inversion is None:
        inversion = _stated(INVERSION, comments)
    return Frame(
        path=path,
        index=index,
        sop_class=str(header.get("SOPClassUID", "")),
        sop_instance=str(header.get("SOPInstanceUID", "")),
        number=int(header.get("InstanceNumber") or 0) if index is None else index,
        rows=int(header.Rows),
        columns=int(header.Columns),
        position=(position[0], position[1], position[2]),
        orientation=orientation,
        pixel_mm=(spacing[0], spacing[1]),
        thickness_mm=look.number("SliceThickness") or 0.0,
        trigger_ms=look.number("TriggerTime", "NominalCardiacTriggerDelayTime", "ActualCardiacTriggerDelayTime"),
        inversion_ms=inversion,
        echo_ms=look.number("EffectiveEchoTime", "EchoTime"),
        preparation_ms=preparation,
        component=_component(header, look),
        slope=look.number("RescaleSlope") or 1.0,
        intercept=look.number("RescaleIntercept") or 0.0,
        facts=facts,
        acquired_s=seconds(str(look("FrameAcquisitionDateTime", "AcquisitionDateTime", "AcquisitionTime") or "")),
        temporal_position=look.number("TemporalPositionIndex", "TemporalPositionIdentifier"),
    )


def _facts(header: pydicom.Dataset) -> Facts:
    look = _Look(header, *(header.get("SharedFunctionalGroupsSequence") or []))
    interval = look.number("RRIntervalTimeNominal", "NominalInterval")
    rate = look.number("HeartRate") or (60000 / interval if interval else None)
    words = ("SeriesDescription", "ProtocolName", "SequenceName", "PulseSequenceName", "ScanOptions")
    sequence = f"{header.get('ScanningSequence', '')} {header.get('EchoPulseSequence', '')}"
    return Facts(
        series_uid=str(header.get("SeriesInstanceUID", "")),
        study_uid=str(header.get("StudyInstanceUID", "")),
        frame_of_reference=str(header.get("FrameOfReferenceUID", "")),
        series_number=int(header.get("SeriesNumber") or 0),
        transfer_syntax=str(header.file_meta.get("TransferSyntaxUID", "")),
        vendor=_named(header, "Manufacturer"),
        scanner=_named(header, "ManufacturerModelName"),
        field_t=look.number("MagneticFieldStrength") or math.nan,
        heart_rate_bpm=rate,
        height_m=look.number("PatientSize") or None,
        weight_kg=look.number("PatientWeight") or None,
        gradient_echo="GR" in sequence,
        words=known_words(str(header.get(name, "")) for name in words),
        subject=pseudonym(
            str(header.get("PatientID") or header.get("StudyInstanceUID", "")), str(header.get("IssuerOfPatientID", ""))
        ),
    )


def _named(header: pydicom.Dataset, attribute: str) -> str:
    """What a vendor or a scanner is called, short and fit for a table."""
    return printable(str(header.get(attribute, "")))[:LONGEST_NAME]


def _component(header: pydicom.Dataset, look: _Look) -> Component:
    if header.get("Modality", "MR") != "MR" or int(header.get("SamplesPerPixel", 1)) != 1:
        return "other"
    if header.get("PhotometricInterpretation", "MONOCHROME2") != "MONOCHROME2":
        return "other"
    stated = [str(look("ComplexImageComponent") or "").upper()]
    kinds = look("FrameType", "ImageType") or []
    stated += [str(v).upper() for v in ([kinds] if isinstance(kinds, str) else kinds)]
    if PHASE_WORDS & set(stated):
        return "phase"
    if OTHER_WORDS & set(stated) or any("MAP" in re.split(r"[\s_]+", word) for word in stated):
        return "other"
    if {"M", "MAGNITUDE"} & set(stated):
        return "magnitude"
    return "phase" if _centered_on_zero(header, look) else "magnitude"


def _centered_on_zero(header: pydicom.Dataset, look: _Look) -> bool:
    """Whether slope and intercept spread the stored range evenly around zero, as for phase, never for magnitude."""
    slope, intercept = look.number("RescaleSlope") or 1.0, look.number("RescaleIntercept") or 0.0
    if int(header.get("PixelRepresentation", 0)) == 1:
        return False
    return intercept < 0 and abs(slope * 2 ** int(header.get("BitsStored", 16)) + 2 * intercept) <= 2 * slope


def _preparation(header: pydicom.Dataset, comments: str) -> float | None:
    """Duration of the T2 preparation: no public tag states it, vendors put it into comments or private text."""
    found = _stated(PREPARATION, comments)
    if found is not None:
        return found
    for element in header:
        if element.tag.is_private and element.VR in TEXT_VRS:
            found = _stated(PREPARATION, str(element.value))
            if found is not None:
                return found
    return None


def _stated(pattern: re.Pattern[str], text: str) -> float | None:
    match = pattern.search(text)
    return float(match[1]) if match else None


def _check_geometry(path: Path, position: tuple[float, ...], orientation: tuple[float, ...], spacing: Any) -> None:
    numbers = np.array([*position, *orientation, *spacing])
    if len(position) != 3 or len(orientation) != 6 or len(spacing) != 2 or not np.isfinite(numbers).all():
        raise UnreadableFile(path, "position, orientation and spacing are not 3, 6 and 2 finite numbers")
    row, column = np.asarray(orientation).reshape(2, 3)
    if not (abs(np.linalg.norm([row, column], axis=1) - 1) < 0.01).all() or abs(row @ column) > 0.01:
        raise UnreadableFile(path, "its orientation is not two perpendicular directions of length 1")
    if min(spacing) <= 0:
        raise UnreadableFile(path, f"pixels of {spacing[0]} x {spacing[1]} mm")


def _check_size(path: Path, header: pydicom.Dataset, n_frames: int) -> None:
    """Refuse before any pixel is read what the file cannot hold."""
    bits = int(header.get("BitsAllocated", 16))
    expected = int(header.Rows) * int(header.Columns) * int(header.get("SamplesPerPixel", 1)) * n_frames * bits // 8
    if expected <= 0 or expected > MAX_FILE_BYTES:
        raise UnreadableFile(path, f"{n_frames} images of {header.Rows} x {header.Columns} with {bits} bits")
    syntax = UID(str(header.file_meta.get("TransferSyntaxUID", "1.2.840.10008.1.2")))
    plain = not (syntax.is_compressed if syntax.is_transfer_syntax else False) and "Deflated" not in syntax.name
    if plain and path.stat().st_size < expected:
        reason = f"holds {path.stat().st_size} bytes; its header promises {expected} of images: truncated?"
        raise UnreadableFile(path, reason)
    check_unpacked(path, expected, packed_bytes=path.stat().st_size)


def _why(error: Exception) -> str:
    """The reason where it is pydicom's own; of other errors the kind only, since they may quote the header."""
    return str(error).splitlines()[0][:80] if isinstance(error, InvalidDicomError) else type(error).__name__
