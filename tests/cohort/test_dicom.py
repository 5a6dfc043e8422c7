"""Is a folder of DICOM files sorted into the stack that was scanned?"""

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from cohort.dicom import read_cine
from cohort.records import MissingFile, UnreadableFile

TILTED = [0.8, 0.6, 0.0, 0.0, 0.0, -1.0]


def write_image(path: Path, value: int, *, position: list[float], trigger_ms: float, **changed: Any) -> None:
    """A 4 x 6 image whose pixels count up from a value."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = pydicom.uid.MRImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    file = pydicom.Dataset()
    file.file_meta = meta
    file.SOPClassUID, file.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    file.ImagePositionPatient, file.ImageOrientationPatient = position, TILTED
    file.TriggerTime, file.PixelSpacing, file.SliceThickness = trigger_ms, [1.5, 1.25], 8
    file.MagneticFieldStrength, file.Manufacturer, file.ManufacturerModelName = 1.5, "GE", "voyager"
    file.Rows, file.Columns, file.SamplesPerPixel, file.PhotometricInterpretation = 4, 6, 1, "MONOCHROME2"
    file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 16, 16, 15, 0
    file.RescaleSlope, file.RescaleIntercept = 2, -1
    file.PixelData = (value + np.arange(24, dtype=np.uint16)).reshape(4, 6).tobytes()
    for name, given in changed.items():
        if given is None:
            delattr(file, name)
        else:
            setattr(file, name, given)
    file.save_as(path, enforce_file_format=True)


def position(index: float) -> list[float]:
    """Slice position 10 mm apart along the normal, which is (-0.6, 0.8, 0)."""
    return [-6.0 * index, 8.0 * index, 5.0]


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    """Three slices of four frames, their files named at random."""
    names = np.random.default_rng(3).permutation(12)
    for z in range(3):
        for t in range(4):
            path = tmp_path / f"IM{names[4 * z + t]:03d}.dcm"
            write_image(path, 100 * z + 10 * t, position=position(z), trigger_ms=25.0 * t)
    return tmp_path


def test_files_are_sorted_by_position_and_time(stack: Path) -> None:
    cine = read_cine(stack)
    assert cine.images.shape == (4, 3, 4, 6)
    expected = 2 * (np.arange(4)[:, None] * 10 + np.arange(3) * 100) - 1
    np.testing.assert_array_equal(cine.images[:, :, 0, 0], expected)
    np.testing.assert_array_equal(cine.images[0, 0], 2 * np.arange(24).reshape(4, 6) - 1)
    np.testing.assert_allclose(cine.spacing_mm, (10.0, 1.5, 1.25))
    np.testing.assert_array_equal(cine.trigger_time_ms, np.repeat(25.0 * np.arange(4)[:, None], 3, axis=1))
    assert (cine.field_t, cine.vendor, cine.scanner) == (1.5, "GE", "voyager")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"TriggerTime": None}, "lacks TriggerTime"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}, "not parallel"),
        ({"Rows": 6, "Columns": 4}, "is 6 x 4, others 4 x 6"),
        ({}, "slices have 1 to 4 frames"),
    ],
)
def test_what_is_no_stack_is_refused(stack: Path, changed: dict[str, Any], message: str) -> None:
    write_image(stack / "ZZZ.dcm", 0, position=position(7), trigger_ms=0.0, **changed)
    with pytest.raises(UnreadableFile, match=message):
        read_cine(stack)


def test_other_files_and_empty_folders_are_named(stack: Path, tmp_path: Path) -> None:
    (stack / "notes.txt").write_text("not an image")
    with pytest.raises(UnreadableFile, match=r"notes\.txt.*not a DICOM file"):
        read_cine(stack)
    with pytest.raises(MissingFile, match="holds no file"):
        read_cine(tmp_path / "absent")


def test_the_animal_cine_sorts_right(shared_data: Path) -> None:
    cine = read_cine(shared_data / "pig_cine" / "short_axis")
    assert cine.images.shape == (20, 20, 256, 256)
    # along the normal; the header's SliceLocation rises by 4.14 mm, its component along the table
    assert cine.spacing_mm == pytest.approx((5.0, 0.8203, 0.8203), abs=0.01)
    assert (np.diff(cine.trigger_time_ms, axis=0) > 0).all()
    # neighbors in time and space look alike
    flat = cine.images.reshape(20, 20, -1)
    across_time = np.corrcoef(flat[0, 10], flat[1, 10])[0, 1]
    far = np.corrcoef(flat[0, 10], flat[0, 0])[0, 1]
    assert across_time > 0.97 > far
