"""Which valid images does a fuzz run start from? NIfTI, the folder of an ACDC patient, and DICOM of several kinds."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from cohort import images
from cohort.dicom import load_stack
from cohort.dicom_series import find_series

ORIENTATION = [0.8, 0.6, 0.0, 0.0, 0.0, -1.0]
PIXELS = (4, 6)


# --- images ----------------------------------------------------------------------------------------------------------


def write_nifti(folder: Path, variant: int) -> None:
    """Float32 packed and plain, labels, and integers with a slope as other programs store them."""
    rng = np.random.default_rng(1)
    sidecar = {"frame_time_s": 0.04, "heart_rate_bpm": 62.0, "name": "synthetic"}
    name, spacing = "image.nii" + (".gz" if variant != 1 else ""), (8.0, 1.5, 1.5)
    if variant == 2:
        labels = rng.integers(0, 4, (2, 3, 8, 10)).astype(np.uint8)
        images.write_labels(folder / name, labels, spacing_mm=spacing, sidecar=sidecar)
    elif variant == 3:
        import nibabel

        made = nibabel.Nifti1Image(rng.integers(0, 900, (10, 8, 3, 2)).astype(np.int16), np.diag([1.5, 1.5, 8.0, 1.0]))
        made.header.set_slope_inter(0.5, 3)
        nibabel.save(made, folder / name)
        (folder / "image.json").write_text(json.dumps(sidecar), "utf-8")
    else:
        image = rng.random((2, 3, 8, 10), dtype=np.float32)
        images.write_image(folder / name, image, spacing_mm=spacing, sidecar=sidecar)


def image_in(folder: Path) -> Path:
    """The image of a case."""
    return next(path for path in sorted(folder.iterdir()) if path.name.startswith("image.nii"))


def labels_of(path: Path) -> object:
    """Labels, where the image was written as such."""
    stored, _, sidecar = images.read_image(path)
    return images.read_labels(path) if stored.dtype == np.uint8 or sidecar.get("labels") else stored


def write_acdc(folder: Path, _: int) -> None:
    """A patient of two slices."""
    import nibabel

    home = folder / "patient001"
    home.mkdir()
    (home / "Info.cfg").write_text("ED: 1\nES: 2\nGroup: DCM\nHeight: 184.0\nNbFrame: 30\nWeight: 95.0\n", "utf-8")
    rng = np.random.default_rng(2)
    for frame in (1, 2):
        for name, data in (
            ("", rng.integers(0, 255, (10, 8, 2)).astype(np.int16)),
            ("_gt", rng.integers(0, 4, (10, 8, 2)).astype(np.uint8)),
        ):
            nibabel.save(
                nibabel.Nifti1Image(data, np.diag([1.5, 1.5, 10.0, 1.0])),
                home / f"patient001_frame{frame:02d}{name}.nii.gz",
            )


# --- DICOM -----------------------------------------------------------------------------------------------------------


def _item(**given: Any) -> Any:
    import pydicom

    inner = pydicom.Dataset()
    for name, value in given.items():
        setattr(inner, name, value)
    return pydicom.Sequence([inner])


def dicom_base(series: str, *, syntax: str) -> Any:
    """An MR image without a place."""
    import pydicom
    from pydicom.uid import MRImageStorage, generate_uid

    file = pydicom.Dataset()
    file.file_meta = pydicom.dataset.FileMetaDataset()
    file.file_meta.TransferSyntaxUID = syntax
    file.SOPClassUID, file.SOPInstanceUID = MRImageStorage, generate_uid()
    file.StudyInstanceUID, file.SeriesInstanceUID, file.FrameOfReferenceUID = "1.2.3", series, "1.2.4"
    file.PatientName, file.PatientID, file.PatientBirthDate = "Doe^Jane", "MRN12345", "19700102"
    file.Modality, file.Manufacturer, file.ManufacturerModelName, file.MagneticFieldStrength = (
        "MR",
        "GE",
        "Voyager",
        1.5,
    )
    file.Rows, file.Columns, file.SamplesPerPixel, file.PhotometricInterpretation = *PIXELS, 1, "MONOCHROME2"
    file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 16, 16, 15, 0
    return file


def save_dicom(path: Path, file: Any) -> None:
    """Write with what the file's meta part needs."""
    file.file_meta.MediaStorageSOPClassUID, file.file_meta.MediaStorageSOPInstanceUID = (
        file.SOPClassUID,
        file.SOPInstanceUID,
    )
    file.save_as(path, enforce_file_format=True)


def write_dicom(folder: Path, variant: int) -> None:
    """A cine of two slices and three times: explicit, implicit, deflated headers, or run-length pixels."""
    from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

    syntax = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian)[
        variant
    ]
    for t in range(3):
        for z in range(2):
            file = dicom_base("1.2.3.7", syntax=syntax)
            file.ImagePositionPatient, file.ImageOrientationPatient = [-6.0 * z, 8.0 * z, 5.0], ORIENTATION
            file.PixelSpacing, file.SliceThickness, file.TriggerTime, file.SeriesDescription = (
                [1.5, 1.25],
                8,
                30.0 * t,
                "sax cine",
            )
            file.PixelData = np.full(PIXELS, 100 * z + t, np.uint16).tobytes()
            file["PixelData"].VR = "OW"
            if variant == 3:
                file.compress(RLELossless, generate_instance_uid=False)
            save_dicom(folder / f"{2 * t + z}.dcm", file)


def write_enhanced(folder: Path, _: int) -> None:
    """The same in one multi-frame file."""
    import pydicom
    from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian

    file = dicom_base("1.2.3.8", syntax=ExplicitVRLittleEndian)
    file.SOPClassUID, file.NumberOfFrames = EnhancedMRImageStorage, 6
    shared = pydicom.Dataset()
    shared.PlaneOrientationSequence = _item(ImageOrientationPatient=ORIENTATION)
    shared.PixelMeasuresSequence = _item(PixelSpacing=[1.5, 1.25], SliceThickness=8)
    shared.PixelValueTransformationSequence = _item(RescaleSlope=2, RescaleIntercept=-1, RescaleType="US")
    file.SharedFunctionalGroupsSequence = pydicom.Sequence([shared])
    groups = []
    for t in range(3):
        for z in range(2):
            frame = pydicom.Dataset()
            frame.PlanePositionSequence = _item(ImagePositionPatient=[-6.0 * z, 8.0 * z, 5.0])
            frame.CardiacSynchronizationSequence = _item(NominalCardiacTriggerDelayTime=30.0 * t)
            frame.MRImageFrameTypeSequence = _item(
                FrameType=["ORIGINAL", "PRIMARY", "CARDIAC", "NONE"], ComplexImageComponent="MAGNITUDE"
            )
            groups.append(frame)
    file.PerFrameFunctionalGroupsSequence = pydicom.Sequence(groups)
    file.PixelData = np.arange(6 * 24, dtype=np.uint16).tobytes()
    file["PixelData"].VR = "OW"
    save_dicom(folder / "enhanced.dcm", file)


def write_segmentation(folder: Path, _: int) -> None:
    """A segmentation of ours, which the reader of images must pass over or refuse."""
    from cohort.dicom_segmentation import Maker, write_segmentations

    write_dicom(folder, 0)
    series, _problems = find_series(sorted(folder.iterdir()))
    stack = load_stack(series[0])
    labels = np.ones(stack.images.shape, np.uint8)
    write_segmentations(
        folder, stack.frames[:1], labels[:1], maker=Maker(model="none", model_sha256="ab" * 32, version="0")
    )
    for path in folder.glob("[0-9].dcm"):
        path.unlink()


def read_every_series(folder: Path) -> None:
    """As `cardioval phenotype` does: all series and their pixels, each failure that of one series."""
    from cohort.records import FileProblem

    found, problems = find_series(path for path in sorted(folder.rglob("*")) if path.is_file())
    for series in found:
        if series.kind != "other":
            try:
                load_stack(series)
            except FileProblem as problem:
                problems.append(problem)
    if problems:
        raise problems[0]
