"""Is a damaged file named, whatever the damage, and do the others go on?"""

import struct
import zlib
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, JPEG2000Lossless

from cohort.dicom import read_cine
from cohort.dicom_headers import read_frames
from cohort.dicom_series import find_series
from cohort.records import MissingFile, UnreadableFile
from tests.cohort.dicom_files import base, cine, save, single


def test_a_file_smaller_than_its_header_promises(tmp_path: Path) -> None:
    path = single(tmp_path / "a.dcm", 1, series="1.2.3", TriggerTime=0.0)
    file = pydicom.dcmread(path)
    file.Rows = file.Columns = 65535
    file.save_as(path)
    with pytest.raises(UnreadableFile, match=r"bytes; its header promises 8589672450 of images: truncated"):
        read_frames(path)
    with pytest.raises(UnreadableFile, match=r"2 frames without functional groups"):
        read_frames(single(tmp_path / "b.dcm", 1, series="1.2.3", NumberOfFrames=2))


def test_compressed_pixels_that_cannot_be_decoded(tmp_path: Path) -> None:
    for path in cine(tmp_path, series="1.2.3"):
        file = pydicom.dcmread(path)
        file.file_meta.TransferSyntaxUID = JPEG2000Lossless
        file.PixelData = pydicom.encaps.encapsulate([b"no codestream" + b"\0" * 50])
        file["PixelData"].VR = "OB"
        file.save_as(path)
    with pytest.raises(UnreadableFile, match=r"JPEG 2000.*no decoder is installed, or are damaged"):
        read_cine(tmp_path)


@pytest.mark.parametrize("keep", [0, 100, 140, 500])
def test_damaged_files_are_named_and_the_others_go_on(tmp_path: Path, keep: int) -> None:
    cine(tmp_path, series="1.2.3")
    bad = tmp_path / "bad.dcm"
    bad.write_bytes((tmp_path / "0").read_bytes()[:keep])
    (tmp_path / "notes.txt").write_text("seen")
    found, problems = find_series(tmp_path.iterdir())
    assert [series.kind for series in found] == ["cine"]
    assert [problem.path for problem in problems] == [bad]


def nested(depth: int) -> bytes:
    """Sequences of undefined length within each other, an item each."""
    opened = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    return opened * depth


def damaged(path: Path, body: bytes, *, syntax: str) -> Path:
    """A file whose preamble and meta information are whole."""
    single(path, 1, series="1.2.3")
    file = pydicom.dcmread(path)
    file.file_meta.TransferSyntaxUID = syntax
    with path.open("wb") as stream:
        stream.write(bytes(128) + b"DICM")
        pydicom.filewriter.write_file_meta_info(stream, file.file_meta)
        stream.write(body)
    return path


@pytest.mark.parametrize(
    ("syntax", "body", "named"),
    [
        (DeflatedExplicitVRLittleEndian, zlib.compress(b"no header")[:-3], "error"),
        (ExplicitVRLittleEndian, nested(3000), "RecursionError"),
    ],
)
def test_damage_deep_in_a_header_is_that_of_one_file(tmp_path: Path, syntax: str, body: bytes, named: str) -> None:
    paths = [*cine(tmp_path / "good", series="1.2.3"), damaged(tmp_path / "bad.dcm", body, syntax=syntax)]
    found, problems = find_series(paths)
    assert [series.kind for series in found] == ["cine"]
    assert [(p.path.name, p.reason) for p in problems] == [("bad.dcm", f"damaged DICOM header ({named})")]


def test_objects_that_are_no_images_of_a_place_are_passed_over(tmp_path: Path) -> None:
    paths = cine(tmp_path, series="1.2.3")
    report = base("1.2.8", Modality="SR")
    report.SOPClassUID = pydicom.uid.BasicTextSRStorage
    del report.Rows, report.Columns
    movie = base("1.2.9", Modality="OT", NumberOfFrames=3)
    movie.SOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    paths += [save(tmp_path / "report.dcm", report), save(tmp_path / "movie.dcm", movie)]
    (series,), problems = find_series(paths)
    assert (series.kind, len(series.frames), problems) == ("cine", 9, [])
    (tmp_path / "alone").mkdir()
    save(tmp_path / "alone" / "report.dcm", report)
    with pytest.raises(MissingFile, match="no MR image"):
        read_cine(tmp_path / "alone")
