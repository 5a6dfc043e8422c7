"""How are labels stored as DICOM segmentations, so that a viewer lays them over the images they were made from?

One SEG object for each time, all in one series, written by highdicom (Bridge et al., doi 10.1007/s10278-022-00683-y).
They refer to the images by their UIDs and lie in the same frame of reference. Name, number and birth date of the
patient are left empty: the reader does not keep them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.sr.codedict import codes
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage, generate_uid

from cohort.atomic import replacing
from cohort.dicom_headers import Frame

#: our label, its name, and what SNOMED CT calls it
STRUCTURES: Final = (
    (1, "LV cavity", codes.SCT.LeftVentricle),
    (2, "LV myocardium", codes.SCT.LeftVentricleMyocardium),
    (3, "RV cavity", codes.SCT.RightVentricle),
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
        uint8 (times, slices, y, x) on the images' grid as stored, 0 background, 1 LV cavity, 2 myocardium, 3 RV cavity.
    maker
        Network and software, for the header.

    Returns
    -------
    The files, by time. Equal labels of equal images have equal UIDs.

    Raises
    ------
    ValueError
        Labels and headers of different numbers.
    """
    if labels.shape[:2] != (len(frames), len(frames[0])):
        raise ValueError(f"{labels.shape[:2]} labeled images, but headers of {len(frames)} x {len(frames[0])}")
    sources = [frame.sop_instance for row in frames for frame in row]
    series_uid = generate_uid(entropy_srcs=[MAKER, maker.model_sha256, *sources])
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
    segmentation = Segmentation(
        source_images=_sources(row),
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
    if row[0].index is not None:
        _restore_frame_numbers(segmentation, row)
    return segmentation


def _sources(row: Sequence[Frame]) -> list[pydicom.Dataset]:
    """The images that are referred to, made anew from what was kept of their headers."""
    if row[0].index is None:
        return [_source(frame) for frame in row]
    whole = _source(row[0])
    del whole.ImagePositionPatient, whole.ImageOrientationPatient, whole.PixelSpacing, whole.SliceThickness
    whole.NumberOfFrames = len(row)
    shared = pydicom.Dataset()
    shared.PlaneOrientationSequence = _item(ImageOrientationPatient=list(row[0].orientation))
    shared.PixelMeasuresSequence = _item(PixelSpacing=list(row[0].pixel_mm), SliceThickness=_thickness(row[0]))
    whole.SharedFunctionalGroupsSequence = DicomSequence([shared])
    groups = []
    for frame in row:
        group = pydicom.Dataset()
        group.PlanePositionSequence = _item(ImagePositionPatient=list(frame.position))
        groups.append(group)
    whole.PerFrameFunctionalGroupsSequence = DicomSequence(groups)
    return [whole]


def _source(frame: Frame) -> pydicom.Dataset:
    source, facts = pydicom.Dataset(), frame.facts
    source.file_meta = FileMetaDataset()
    source.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    source.SOPClassUID, source.SOPInstanceUID = frame.sop_class or MRImageStorage, frame.sop_instance
    source.StudyInstanceUID, source.SeriesInstanceUID = facts.study_uid, facts.series_uid
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


def _item(**values: Any) -> DicomSequence:
    item = pydicom.Dataset()
    for name, value in values.items():
        setattr(item, name, value)
    return DicomSequence([item])


def _restore_frame_numbers(segmentation: pydicom.Dataset, row: Sequence[Frame]) -> None:
    """Refer to frames of the whole multi-frame file, not of the part of it that this time was made of."""
    sources = {
        id(source): source  # segments of one frame may share one item
        for group in segmentation.PerFrameFunctionalGroupsSequence
        for derivation in group.get("DerivationImageSequence", [])
        for source in derivation.SourceImageSequence
    }
    for source in sources.values():
        index = row[int(source.ReferencedFrameNumber) - 1].index
        source.ReferencedFrameNumber = (index or 0) + 1
