"""Small DICOM files of MR series, with all that identifies a patient, for the tests of the reader."""

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

OBLIQUE = [0.8, 0.6, 0.0, 0.0, 0.0, -1.0]  # normal (-0.6, 0.8, 0)
SHAPE = (4, 6)
STUDY, PATIENT_FRAME = generate_uid(), generate_uid()


def place(z: float) -> list[float]:
    """Position of a slice, 10 mm apart along the normal."""
    return [-6.0 * z, 8.0 * z, 5.0]


def base(series: str, **given: Any) -> Dataset:
    """An MR image with everything that identifies a patient."""
    file = Dataset()
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file.file_meta = meta
    file.SOPClassUID, file.SOPInstanceUID = pydicom.uid.MRImageStorage, generate_uid()
    file.StudyInstanceUID, file.SeriesInstanceUID, file.FrameOfReferenceUID = STUDY, series, PATIENT_FRAME
    file.PatientName, file.PatientID, file.PatientBirthDate, file.PatientSex = "Doe^Jane", "MRN12345", "19700102", "F"
    file.PatientAddress, file.InstitutionName, file.StudyDate, file.AccessionNumber = (
        "5 Hill",
        "St X",
        "20200103",
        "ACCN-9",
    )
    file.PatientSize, file.PatientWeight = 1.75, 70
    file.Modality, file.Manufacturer, file.ManufacturerModelName, file.MagneticFieldStrength = (
        "MR",
        "GE",
        "Voyager",
        1.5,
    )
    file.Rows, file.Columns, file.SamplesPerPixel, file.PhotometricInterpretation = *SHAPE, 1, "MONOCHROME2"
    file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 16, 16, 15, 0
    for name, value in given.items():
        setattr(file, name, value)
    return file


def single(path: Path, value: int, *, series: str, z: float = 0, **given: Any) -> Path:
    """A single-frame file of one value."""
    file = base(series, ImagePositionPatient=place(z), ImageOrientationPatient=OBLIQUE, **given)
    file.PixelSpacing, file.SliceThickness = [1.5, 1.25], 8
    file.PixelData = np.full(SHAPE, value, np.int16).tobytes()
    return save(path, file)


def save(path: Path, file: Dataset) -> Path:
    file.file_meta.MediaStorageSOPClassUID = file.SOPClassUID
    file.file_meta.MediaStorageSOPInstanceUID = file.SOPInstanceUID
    path.parent.mkdir(parents=True, exist_ok=True)
    file.save_as(path, enforce_file_format=True)
    return path


def item(**given: Any) -> Sequence:
    inner = Dataset()
    for name, value in given.items():
        setattr(inner, name, value)
    return Sequence([inner])


def enhanced(path: Path, order: list[tuple[int, int]], **given: Any) -> Path:
    """An enhanced multi-frame cine whose frames stand in any order; the value of (time, slice) is 100 slice + time."""
    file = base(generate_uid(), **given)
    file.SOPClassUID = pydicom.uid.EnhancedMRImageStorage
    file.NumberOfFrames = len(order)
    shared = Dataset()
    shared.PlaneOrientationSequence = item(ImageOrientationPatient=OBLIQUE)
    shared.PixelMeasuresSequence = item(PixelSpacing=[1.5, 1.25], SliceThickness=8)
    shared.PixelValueTransformationSequence = item(RescaleSlope=2, RescaleIntercept=-1, RescaleType="US")
    file.SharedFunctionalGroupsSequence = Sequence([shared])
    groups = []
    for time, z in order:
        frame = Dataset()
        frame.PlanePositionSequence = item(ImagePositionPatient=place(z))
        frame.CardiacSynchronizationSequence = item(NominalCardiacTriggerDelayTime=30.0 * time)
        frame.MRImageFrameTypeSequence = item(
            FrameType=["ORIGINAL", "PRIMARY", "CARDIAC", "NONE"], ComplexImageComponent="MAGNITUDE"
        )
        groups.append(frame)
    file.PerFrameFunctionalGroupsSequence = Sequence(groups)
    file.PixelData = np.concatenate([np.full(SHAPE, 100 * z + t, np.uint16).ravel() for t, z in order]).tobytes()
    return save(path, file)


def cine(folder: Path, *, series: str, n_times: int = 3, n_slices: int = 3, **given: Any) -> list[Path]:
    return [
        single(folder / f"{n_slices * t + z}", 100 * z + t, series=series, z=z, TriggerTime=30.0 * t, **given)
        for t in range(n_times)
        for z in range(n_slices)
    ]


def molli(folder: Path, times: list[int], **given: Any) -> list[Path]:
    return [
        single(folder / f"{i}", t, series="1.2.7", InversionTime=t, InstanceNumber=i, TriggerTime=500.0, **given)
        for i, t in enumerate(times)
    ]
