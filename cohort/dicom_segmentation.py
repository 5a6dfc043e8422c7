"""How are labels stored as DICOM segmentations, so that a viewer lays them over the images they were made from?

One SEG object for each time, all in one series, written by highdicom (Bridge et al., doi 10.1007/s10278-022-00683-y).
They refer to the images by their UIDs and lie in the same frame of reference. Name, number and birth date of the
patient are left empty: the reader does not keep them.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage, generate_uid

from cohort.atomic import replacing
from cohort.dicom_headers import Frame

#: our label, its name, and what SNOMED CT calls it
STRUCTURES: Final = (
    (1, "LV cavity", codes.SCT.LeftVentricle),
    (2, "LV myocardium", codes.SCT.LeftVentricleMyocardium),
    (3, "RV cavity", codes.SCT.RightVentricle),
    (4, "LA cavity", codes.SCT.LeftAtrium),
    (5, "RA cavity", codes.SCT.RightAtrium),
)
MAKER: Final = "CardioVal"
SERIES_OFFSET: Final = 9000  # a segmentation's series has this number more than that of its images
LONGEST_NAME: Final = 64


@dataclass(frozen=True)
class Maker:
    """What made the labels."""

    model: str
    model_sha256: str
    version: str


def write_segmentations(
    folder: Path, frames: Sequence[Sequence[Frame]], labels: NDArray[np.uint8], *, maker: Maker
) -> list[Path]:
    """Write labels as DICOM SEG, a file for each time that shows any structure.

    Parameters
    ----------
    folder
        For `segmentation_tNN.dcm`.
    frames
        Headers of the images, [time][slice].
    labels
        uint8 (times, slices, y, x) on the images' grid as stored: 0 background, and the numbers of `STRUCTURES`.
    maker
        Network and software, for the header.

    Returns
    -------
    The files, by time. Equal labels of equal images by the same maker have equal UIDs, others have not.

    Raises
    ------
    ValueError
        Labels and headers of different numbers, images without a UID, or what highdicom refuses.
    """
    if labels.shape[:2] != (len(frames), len(frames[0])):
        raise ValueError(f"{labels.shape[:2]} labeled images, but headers of {len(frames)} x {len(frames[0])}")
    if not all(frame.sop_instance and frame.facts.series_uid for row in frames for frame in row):
        raise ValueError("images without SOPInstanceUID or SeriesInstanceUID, so a segmentation cannot refer to them")
    sources = [f"{frame.sop_instance} {frame.index}" for row in frames for frame in row]
    content = hashlib.sha256(np.ascontiguousarray(labels).tobytes()).hexdigest()
    made = [MAKER, maker.model, maker.model_sha256, maker.version, content]
    series_uid = generate_uid(entropy_srcs=[*made, *map(str, labels.shape), *sources])
    written = []
    for t, (row, image) in enumerate(zip(frames, labels, strict=True)):
        if image.any():
            segmentation = _segmentation(row, image, series_uid=series_uid, number=t + 1, maker=maker)
            path = folder / f"segmentation_t{t:02d}.dcm"
            with replacing(path) as temporary:
                segmentation.save_as(temporary)
            written.append(path)
    return written


def _segmentation(
    row: Sequence[Frame], labels: NDArray[np.uint8], *, series_uid: UID, number: int, maker: Maker
) -> Any:
    import highdicom
    from highdicom.seg import Segmentation, SegmentationTypeValues, SegmentDescription

    present = [structure for structure in STRUCTURES if (labels == structure[0]).any()]
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name=maker.model[:LONGEST_NAME],
        family=codes.DCM.ArtificialIntelligence,
        version=maker.model_sha256[:12],
    )
    descriptions = [
        SegmentDescription(
            segment_number=i,
            segment_label=name,
            segmented_property_category=codes.SCT.AnatomicalStructure,
            segmented_property_type=code,
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
            tracking_id=f"{name} {number}",
            tracking_uid=generate_uid(entropy_srcs=[str(series_uid), name, str(number)]),
        )
        for i, (_, name, code) in enumerate(present, start=1)
    ]
    pixels = np.stack([labels == label for label, _, _ in present], axis=-1).astype(np.uint8)
    sources = [_source(frame, series_uid=series_uid) for frame in row]
    segmentation = Segmentation(
        source_images=sources,
        pixel_array=pixels,
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=descriptions,
        series_instance_uid=series_uid,
        series_number=SERIES_OFFSET + row[0].facts.series_number,
        sop_instance_uid=generate_uid(entropy_srcs=[str(series_uid), str(number)]),
        instance_number=number,
        manufacturer=MAKER,
        manufacturer_model_name=MAKER,
        software_versions=maker.version,
        device_serial_number=maker.model_sha256[:12],
        series_description="CardioVal labels, research use only",
        content_label="HEART",
        omit_empty_frames=True,
    )
    _refer_to(segmentation, {str(source.SOPInstanceUID): frame for source, frame in zip(sources, row, strict=True)})
    return segmentation


def _source(frame: Frame, *, series_uid: UID) -> pydicom.Dataset:
    """An image for highdicom, made of what was kept of the header.

    It stands for one frame, whatever file that is in, and all are of one series, as highdicom wants it; the true names are
    written by `_refer_to`.
    """
    source, facts = pydicom.Dataset(), frame.facts
    source.file_meta = FileMetaDataset()
    source.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    source.SOPClassUID = MRImageStorage
    source.SOPInstanceUID = generate_uid(entropy_srcs=[frame.sop_instance, str(frame.index)])
    source.StudyInstanceUID, source.SeriesInstanceUID = facts.study_uid, series_uid
    source.FrameOfReferenceUID, source.PositionReferenceIndicator = facts.frame_of_reference, ""
    for name in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime"):
        setattr(source, name, "")
    source.AccessionNumber = source.ReferringPhysicianName = ""
    source.Modality, source.Rows, source.Columns = "MR", frame.rows, frame.columns
    source.ImagePositionPatient, source.ImageOrientationPatient = list(frame.position), list(frame.orientation)
    source.PixelSpacing, source.SliceThickness = list(frame.pixel_mm), _thickness(frame)
    return source


def _thickness(frame: Frame) -> float | None:
    return frame.thickness_mm or None


def _refer_to(segmentation: pydicom.Dataset, frames: Mapping[str, Frame]) -> None:
    """Put the true files, frames and series in the place of those that were made up, by their UIDs."""
    references = {
        id(source): source  # segments of one frame may share one item
        for group in segmentation.PerFrameFunctionalGroupsSequence
        for derivation in group.get("DerivationImageSequence", [])
        for source in derivation.SourceImageSequence
    }
    for source in references.values():
        frame = frames[source.ReferencedSOPInstanceUID]
        _name(source, frame)
        if frame.index is not None:
            source.ReferencedFrameNumber = frame.index + 1
    by_series: dict[str, dict[str, pydicom.Dataset]] = {}
    for frame in frames.values():
        files = by_series.setdefault(frame.facts.series_uid, {})
        files[frame.sop_instance] = _name(pydicom.Dataset(), frame)
    segmentation.ReferencedSeriesSequence = []
    for series_uid, files in by_series.items():
        series = pydicom.Dataset()
        series.SeriesInstanceUID = series_uid
        series.ReferencedInstanceSequence = list(files.values())
        segmentation.ReferencedSeriesSequence.append(series)


def _name(reference: pydicom.Dataset, frame: Frame) -> pydicom.Dataset:
    reference.ReferencedSOPClassUID = frame.sop_class or MRImageStorage
    reference.ReferencedSOPInstanceUID = frame.sop_instance
    return reference
