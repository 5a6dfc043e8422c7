"""Are series told apart, classified and sorted, whatever order and layout the files have, and does no name leave the reader?"""

import dataclasses
import pickle
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, JPEG2000Lossless, generate_uid

from cohort.dicom import load_stack, read_cine, sort_frames
from cohort.dicom_headers import read_frames
from cohort.dicom_series import DicomSeries, find_series, sort_into_series
from cohort.images import read_placed, write_image
from cohort.records import MissingFile, UnreadableFile

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


EXPECTED = np.arange(3)[:, None] + 100 * np.arange(3)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_order_of_frames_does_not_matter(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    folder = tmp_path_factory.mktemp("cine")
    frames = [f for path in cine(folder, series="1.2.3") for f in read_frames(path)]
    usual = sort_frames(frames, kind="cine")
    mixed = [frames[i] for i in np.random.default_rng(seed).permutation(len(frames))]
    assert sort_frames(mixed, kind="cine") == usual
    assert [s.kind for s in sort_into_series(mixed)] == ["cine"]


@settings(max_examples=15, deadline=None)
@given(order=st.permutations([(t, z) for t in range(3) for z in range(3)]))
def test_enhanced_files_read_as_single_ones_do(
    tmp_path_factory: pytest.TempPathFactory, order: list[tuple[int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("enhanced")
    enhanced(folder / "whole.dcm", order)
    read = read_cine(folder)
    np.testing.assert_array_equal(read.images[:, :, 0, 0], 2 * EXPECTED - 1)
    np.testing.assert_allclose(read.trigger_time_ms, np.repeat(30.0 * np.arange(3)[:, None], 3, axis=1))
    assert read.spacing_mm == pytest.approx((10.0, 1.5, 1.25))


def test_one_file_of_one_frame_is_no_special_case(tmp_path: Path) -> None:
    path = enhanced(tmp_path / "one.dcm", [(0, 0)])
    (frame,) = read_frames(path)
    assert (frame.index, frame.trigger_ms, frame.slope, frame.intercept) == (0, 0.0, 2.0, -1.0)


def test_the_affine_puts_each_voxel_where_dicom_says(tmp_path: Path) -> None:
    stack = load_stack(find_series(cine(tmp_path, series="1.2.3"))[0][0])
    row, column = np.reshape(OBLIQUE, (2, 3))
    for x, y, z in [(0, 0, 0), (5, 3, 2), (1, 2, 1)]:
        lps = np.array(place(z)) + x * 1.25 * row + y * 1.5 * column
        np.testing.assert_allclose((stack.affine @ [x, y, z, 1])[:3], lps * [-1, -1, 1], atol=1e-9)
    write_image(tmp_path / "a.nii.gz", stack.images, spacing_mm=stack.spacing_mm, sidecar={}, affine=stack.affine)
    again = read_placed(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(again.affine, stack.affine, atol=1e-5)
    assert again.spacing_mm == pytest.approx(stack.spacing_mm, rel=1e-5)


def test_series_in_one_folder_are_told_apart(tmp_path: Path) -> None:
    cine(tmp_path / "a", series="1.2.3", SeriesNumber=4, SeriesDescription="cine SAX")
    cine(tmp_path / "b", series="1.2.4", SeriesNumber=3, SeriesDescription="cine SAX", InstanceNumber=1)
    cine(tmp_path / "c", series="1.2.5", SeriesNumber=5, n_slices=1, SeriesDescription="cine 4CH")
    single(tmp_path / "d", 1, series="1.2.6", TriggerTime=1.0, SeriesNumber=6)
    found, problems = find_series(path for path in tmp_path.rglob("*") if path.is_file())
    assert [(s.number, s.kind) for s in found] == [(3, "cine"), (4, "cine"), (5, "other"), (6, "other")]
    assert "not of the short axis" in found[2].reason
    assert "neither a cine nor a mapping series" in found[3].reason
    assert not problems


def test_a_stack_stored_as_one_series_a_slice_is_put_together(tmp_path: Path) -> None:
    paths = [
        single(tmp_path / f"{t}_{z}", 100 * z + t, series=f"1.2.{z}", z=z, TriggerTime=30.0 * t, SeriesNumber=10 + z)
        for t in range(3)
        for z in range(3)
    ]
    (series,), _ = find_series(paths)
    assert (series.kind, series.merged, series.number) == ("cine", 3, 10)
    stack = load_stack(series)
    np.testing.assert_array_equal(stack.images[:, :, 0, 0], EXPECTED)
    assert "3 series of one slice each" in stack.note


def drop(folder: Path) -> None:
    (folder / "4").unlink()


def again(folder: Path) -> None:
    single(folder / "9", 1, series="1.2.3", z=1, TriggerTime=30.2)


def copy(folder: Path) -> None:
    (folder / "9").write_bytes((folder / "4").read_bytes())


def gap(folder: Path) -> None:
    for t in range(3):
        single(folder / f"9{t}", 1, series="1.2.3", z=4, TriggerTime=30.0 * t)


def tilted(folder: Path) -> None:
    file = pydicom.dcmread(folder / "4")
    file.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    file.save_as(folder / "4")


def larger(folder: Path) -> None:
    file = pydicom.dcmread(folder / "4")
    file.PixelSpacing = [2, 2]
    file.save_as(folder / "4")


def timeless(folder: Path) -> None:
    file = pydicom.dcmread(folder / "4")
    del file.TriggerTime
    file.save_as(folder / "4")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (drop, r"slices have 2 to 3 frames; .* has 2, most have 3"),
        (again, r"9: shows the same slice at the same time \(30.2 ms\) as 4"),
        (copy, r"9: is the same image as 4; remove one"),
        (gap, r"9\d: lies 20.00 mm from the slice before, others 10.00 mm; is a slice missing"),
        (tilted, r"4: its plane is not parallel"),
        (larger, r"4: has pixels of 2 x 2 mm, others 1.5 x 1.25 mm"),
        (timeless, r"4: lacks TriggerTime"),
    ],
)
def test_what_is_wrong_with_a_stack_is_said_with_the_file(
    tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    cine(tmp_path, series="1.2.3")
    damage(tmp_path)
    with pytest.raises(UnreadableFile, match=message):
        read_cine(tmp_path)


def molli(folder: Path, times: list[int], **given: Any) -> list[Path]:
    return [
        single(folder / f"{i}", t, series="1.2.7", InversionTime=t, InstanceNumber=i, TriggerTime=500.0, **given)
        for i, t in enumerate(times)
    ]


def test_mapping_series(tmp_path: Path) -> None:
    times = [100, 1100, 2100, 180, 260]
    molli(tmp_path / "m", times, ImageType=["ORIGINAL", "PRIMARY", "M"])
    for i, t in enumerate(times):
        single(
            tmp_path / "p" / f"{i}", t, series="1.2.8", InversionTime=t, ImageType=["ORIGINAL", "PRIMARY", "P"],
            RescaleSlope=2, RescaleIntercept=-4096, BitsStored=12, HighBit=11,
        )  # fmt: skip
    (series,), _ = find_series(tmp_path.rglob("?"))
    stack = load_stack(series)
    assert series.kind == "T1 mapping"
    assert stack.times_ms[:, 0].tolist() == times  # in the order taken, which tells inversions apart
    assert stack.images[:, 0, 0, 0].tolist() == times
    assert stack.phase is not None
    np.testing.assert_allclose(stack.phase[:, 0, 0, 0], (2 * np.array(times) - 4096) * np.pi / 4096, rtol=1e-6)


@pytest.mark.parametrize(
    ("given", "kind", "times"),
    [
        ([{"ImageComments": f"T2prep. duration {t} ms"} for t in (0, 25, 55)], "T2 mapping", [0, 25, 55]),
        ([{"EchoTime": t, "ScanningSequence": "GR"} for t in (2, 5, 8)], "T2* mapping", [2, 5, 8]),
        ([{"EchoTime": t, "ScanningSequence": "SE"} for t in (10, 20, 30)], "T2 mapping", [10, 20, 30]),
        ([{"ImageComments": f"TIeff {t} ms"} for t in (90, 1000, 2000)], "T1 mapping", [90, 1000, 2000]),
    ],
)
def test_times_of_other_mapping_series(
    tmp_path: Path, given: list[dict[str, Any]], kind: str, times: list[float]
) -> None:
    for i, tags in enumerate(given):
        single(tmp_path / f"{i}", i, series="1.2.3", InstanceNumber=i, **tags)
    (series,), _ = find_series(tmp_path.iterdir())
    assert series.kind == kind
    assert load_stack(series).times_ms[:, 0].tolist() == times


def test_a_preparation_time_in_private_text(tmp_path: Path) -> None:
    for i, t in enumerate((0, 35, 55)):
        path = single(tmp_path / f"{i}", i, series="1.2.3")
        file = pydicom.dcmread(path)
        file.private_block(0x0019, "VENDOR", create=True).add_new(0x10, "LO", f"t2_prep={t} ms")
        file.save_as(path)
    (series,), _ = find_series(tmp_path.iterdir())
    assert series.kind == "T2 mapping"


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"ImageType": ["DERIVED", "PRIMARY", "T1 MAP"]}, "a map"),
        ({"PhotometricInterpretation": "MONOCHROME1"}, "neither magnitude nor phase"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "P"]}, "phase images"),
        ({"RescaleSlope": 2, "RescaleIntercept": -4096, "BitsStored": 12}, "phase images"),
        ({"Modality": "CT"}, "another modality"),
    ],
)
def test_images_that_are_no_magnitude(tmp_path: Path, given: dict[str, Any], reason: str) -> None:
    cine(tmp_path, series="1.2.3", **given)
    (series,), _ = find_series(tmp_path.iterdir())
    assert (series.kind, reason in series.reason) == ("other", True)


def test_a_scout_for_the_inversion_time_is_no_t1_mapping(tmp_path: Path) -> None:
    molli(tmp_path, list(range(100, 400, 10)))
    (series,), _ = find_series(tmp_path.iterdir())
    assert (series.kind, "scout" in series.reason) == ("other", True)


def timed(folder: Path, tags: Callable[[int, int], dict[str, Any]], *, n_times: int = 5, **given: Any) -> DicomSeries:
    """A series of three slices whose tags depend on time and slice."""
    for t in range(n_times):
        for z in range(3):
            single(folder / f"{t}_{z}", 1, series="1.2.3", z=z, **{"TriggerTime": 30.0 * t, **given, **tags(t, z)})
    (series,), _ = find_series(folder.iterdir())
    return series


def clock(seconds: float) -> str:
    """A time of day, from a little before midnight."""
    now = (86390 + seconds) % 86400
    return f"{int(now // 3600):02d}{int(now % 3600 // 60):02d}{now % 60:09.6f}"


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        (lambda t, z: {"AcquisitionTime": clock(2.0 * t + 0.1 * z)}, "taken over 8 s, one after the other"),
        (lambda t, z: {"AcquisitionDateTime": "20200103" + clock(2.0 * t)}, "taken over 8 s"),
        (lambda t, z: {"TriggerTime": 900.0 * t + 50 * z}, "trigger times over 3.6 s"),
        (lambda t, z: {"TemporalPositionIdentifier": (2 * t) % 5 + 1}, "temporal positions that do not rise"),
        (lambda t, z: {"SeriesDescription": "SAX rest_perf"}, "perfusion by its description"),
        (lambda t, z: {"ProtocolName": "sa cine_tag"}, "tagging"),
        (lambda t, z: {"SeriesDescription": "SAX cSPAMM"}, "tagging"),
        (lambda t, z: {"SeriesDescription": "SAX LGE psir"}, "late enhancement"),
        (lambda t, z: {"SeriesDescription": "sax Real-Time"}, "real time"),
        (lambda t, z: {"SeriesDescription": "sax DYNAMIC"}, "dynamic series by its"),
    ],
)
def test_what_has_trigger_times_and_is_no_cine(
    tmp_path: Path, tags: Callable[[int, int], dict[str, Any]], reason: str
) -> None:
    series = timed(tmp_path, tags)
    assert (series.kind, reason in series.reason) == ("other", True), series.reason


@pytest.mark.parametrize(
    "tags",
    [
        lambda t, z: {"AcquisitionTime": clock(12.0 * z)},  # each slice in its breath-hold
        lambda t, z: {"AcquisitionTime": clock(12.0 * z + 0.03 * t)},
        lambda t, z: {"AcquisitionTime": clock(30.0 * (t % 2) if z == 1 else 0.0)},  # one slice again
        lambda t, z: {"TemporalPositionIdentifier": t + 1},  # phases numbered so
        lambda t, z: {"TemporalPositionIdentifier": 1, "TriggerTime": 0.3 * t},
        lambda t, z: {"SeriesDescription": "perfect stage SAX"},
        lambda t, z: {"AcquisitionTime": None},
    ],
)
def test_what_is_a_cine_all_the_same(tmp_path: Path, tags: Callable[[int, int], dict[str, Any]]) -> None:
    series = timed(tmp_path, tags)
    assert (series.kind, series.reason) == ("cine", "")


def test_signed_pixels_keep_their_sign(tmp_path: Path) -> None:
    cine(tmp_path, series="1.2.3", PixelRepresentation=1, RescaleIntercept=-300)
    assert read_cine(tmp_path).images.min() == -300
    file = pydicom.dcmread(tmp_path / "0")
    file.PixelData = np.full(SHAPE, -7, np.int16).tobytes()
    file.save_as(tmp_path / "0")
    assert read_cine(tmp_path).images[0, 0, 0, 0] == -307


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


def test_nothing_that_identifies_a_patient_leaves_the_reader(tmp_path: Path) -> None:
    paths = cine(tmp_path, series="1.2.3", SeriesDescription="Doe Jane sax", AcquisitionTime="101112")
    (series,), _ = find_series(paths)
    text = repr(series) + repr(load_stack(series)) + repr(read_cine(tmp_path))
    text += repr([dataclasses.asdict(frame) for frame in series.frames]) + repr(pickle.dumps(series.frames))
    for secret in ("Doe", "Jane", "MRN12345", "19700102", "Hill", "St X", "20200103", "ACCN", "101112", "36672"):
        # not within the digits of a UID, which are drawn at random
        assert not re.search(rf"(?<!\d){secret.lower()}(?!\d)", text.lower()), secret
    assert series.frames[0].facts.words == ("short axis",)
    assert len({frame.facts.subject for frame in series.frames}) == 1
    assert (series.frames[0].facts.height_m, series.frames[0].facts.weight_kg) == (1.75, 70.0)


def test_the_t1_phantom(shared_data: Path) -> None:
    root = shared_data / "t1_phantom" / "shmolli_3T"
    found, problems = find_series(path for path in root.rglob("*") if path.is_file())
    assert [(s.number, s.kind, len(s.phase)) for s in found] == [
        (12, "T1 mapping", 7), (14, "other", 0), (15, "other", 0),
    ]  # fmt: skip
    stack = load_stack(found[0])
    assert not problems
    assert stack.times_ms[:, 0].tolist() == [100, 1100, 2100, 3100, 4100, 180, 260]
    assert stack.spacing_mm == pytest.approx((8.0, 0.9375, 0.9375))
    assert stack.phase is not None
    assert -np.pi <= stack.phase.min() < stack.phase.max() <= np.pi
    # the signal at 100 ms is inverted against that at 4100 ms wherever the magnitude falls early
    early, later, last = (stack.images[i, 0] for i in (0, 6, 4))
    recovering = (early > 200) & (later < 0.7 * early) & (last > 200)
    turn = np.cos(stack.phase[0, 0] - stack.phase[4, 0])[recovering]
    assert np.count_nonzero(recovering) > 3000
    assert np.mean(turn < -0.9) > 0.95


def test_a_field_strength_that_is_not_stated(tmp_path: Path) -> None:
    cine(tmp_path, series="1.2.3", MagneticFieldStrength=None)
    assert np.isnan(read_cine(tmp_path).field_t)


def test_a_series_of_no_frames_is_not_made() -> None:
    assert sort_into_series([]) == []
    assert DicomSeries("other", ()).files == ()
