"""Do labels come back from DICOM SEG as they were, lie where the images lie, and refer to the images they are of?"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from cohort.dicom_headers import Facts, Frame
from cohort.dicom_segmentation import STRUCTURES, Maker, write_segmentations

ROW, COLUMN = (0.8, 0.6, 0.0), (0.0, 0.0, -1.0)
MAKER = Maker(model="a network", model_sha256="ab" * 32, version="0.1.0")
N_TIMES, N_SLICES, SHAPE = 2, 3, (16, 24)
CODES = {
    "LV cavity": "87878005",
    "LV myocardium": "49848007",
    "RV cavity": "53085002",
    "LA cavity": "82471001",
    "RA cavity": "73829009",
}  # SNOMED CT


def frame(t: int, z: int, *, multi: bool) -> Frame:
    facts = Facts(
        series_uid="1.2.3",
        study_uid="1.2",
        frame_of_reference="1.2.4",
        series_number=7,
        transfer_syntax="1.2.840.10008.1.2.1",
        vendor="GE",
        scanner="Voyager",
        field_t=1.5,
        heart_rate_bpm=None,
        height_m=None,
        weight_kg=None,
        gradient_echo=True,
        words=(),
        subject="Doe^Jane",
    )
    return Frame(
        path=Path("a.dcm"),
        index=N_SLICES * t + z if multi else None,
        sop_class="1.2.840.10008.5.1.4.1.1.4.1" if multi else "1.2.840.10008.5.1.4.1.1.4",
        sop_instance="1.2.3.9" if multi else f"1.2.3.{t}.{z}",
        number=z,
        rows=SHAPE[0],
        columns=SHAPE[1],
        position=(-6.0 * z, 8.0 * z, 5.0),
        orientation=(*ROW, *COLUMN),
        pixel_mm=(1.5, 1.25),
        thickness_mm=8.0,
        trigger_ms=30.0 * t,
        inversion_ms=None,
        echo_ms=None,
        preparation_ms=None,
        component="magnitude",
        slope=1.0,
        intercept=0.0,
        facts=facts,
    )


def frames(*, multi: bool = False) -> list[list[Frame]]:
    return [[frame(t, z, multi=multi) for z in range(N_SLICES)] for t in range(N_TIMES)]


@pytest.fixture
def labels(rng: np.random.Generator) -> NDArray[np.uint8]:
    return rng.integers(0, 6, (N_TIMES, N_SLICES, *SHAPE)).astype(np.uint8)


def read(path: Path) -> Any:
    return highdicom.seg.segread(path)


def test_labels_come_back_by_the_images_they_are_of(tmp_path: Path, labels: NDArray[np.uint8]) -> None:
    paths = write_segmentations(tmp_path, frames(), labels, maker=MAKER)
    assert [path.name for path in paths] == ["segmentation_t00.dcm", "segmentation_t01.dcm"]
    for t, path in enumerate(paths):
        uids = [one.sop_instance for one in frames()[t]]
        again = read(path).get_pixels_by_source_instance(uids[::-1], combine_segments=True)
        np.testing.assert_array_equal(again, labels[t, ::-1])


def test_frames_of_a_multiframe_file_are_named_by_their_numbers(tmp_path: Path, labels: NDArray[np.uint8]) -> None:
    path = write_segmentations(tmp_path, frames(multi=True), labels, maker=MAKER)[1]
    file = pydicom.dcmread(path)
    for group in file.PerFrameFunctionalGroupsSequence:
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        z = [0, 10, 20].index(round(np.dot(group.PlanePositionSequence[0].ImagePositionPatient, (-0.6, 0.8, 0))))
        assert source.ReferencedSOPInstanceUID == "1.2.3.9"
        assert source.ReferencedFrameNumber == N_SLICES + z + 1  # of time 1, from 1
    again = read(path).get_pixels_by_source_frame("1.2.3.9", [4, 5, 6], combine_segments=True)
    np.testing.assert_array_equal(again, labels[1])


def test_a_file_for_each_slice_of_all_times(tmp_path: Path, labels: NDArray[np.uint8]) -> None:
    """Enhanced multi-frame: slice z is the file 1.2.3.z, its frame t the time."""
    rows = [
        [replace(frame(t, z, multi=True), index=t, sop_instance=f"1.2.3.{z}") for z in range(N_SLICES)]
        for t in range(N_TIMES)
    ]
    path = write_segmentations(tmp_path, rows, labels, maker=MAKER)[1]
    assert referenced(path) == {"1.2.3": {f"1.2.3.{z}" for z in range(N_SLICES)}}
    for z in range(N_SLICES):
        again = read(path).get_pixels_by_source_frame(f"1.2.3.{z}", [2], combine_segments=True)
        np.testing.assert_array_equal(again[0], labels[1, z])


@pytest.mark.parametrize("multi", [False, True])
def test_a_series_for_each_slice(tmp_path: Path, labels: NDArray[np.uint8], multi: bool) -> None:
    rows = [
        [
            replace(
                frame(t, z, multi=multi),
                facts=replace(frame(t, z, multi=multi).facts, series_uid=f"1.2.7.{z}"),
                sop_instance=f"1.2.3.{t}.{z}",
                index=0 if multi else None,
            )
            for z in range(N_SLICES)
        ]
        for t in range(N_TIMES)
    ]
    path = write_segmentations(tmp_path, rows, labels, maker=MAKER)[1]
    assert referenced(path) == {f"1.2.7.{z}": {f"1.2.3.1.{z}"} for z in range(N_SLICES)}
    uids = [f"1.2.3.1.{z}" for z in range(N_SLICES)]
    if multi:
        again = np.concatenate([read(path).get_pixels_by_source_frame(u, [1], combine_segments=True) for u in uids])
    else:
        again = read(path).get_pixels_by_source_instance(uids, combine_segments=True)
    np.testing.assert_array_equal(again, labels[1])


def referenced(path: Path) -> dict[str, set[str]]:
    """Files by series, as the head of a segmentation names them."""
    return {
        series.SeriesInstanceUID: {one.ReferencedSOPInstanceUID for one in series.ReferencedInstanceSequence}
        for series in pydicom.dcmread(path).ReferencedSeriesSequence
    }


def test_each_voxel_lies_where_the_image_has_it(tmp_path: Path, labels: NDArray[np.uint8]) -> None:
    volume = read(write_segmentations(tmp_path, frames(), labels, maker=MAKER)[0]).get_volume(combine_segments=True)
    for z, y, x in [(0, 0, 0), (2, 3, 5), (1, 15, 20)]:
        mm = np.array([-6.0 * z, 8.0 * z, 5.0]) + 1.25 * x * np.array(ROW) + 1.5 * y * np.array(COLUMN)
        index = np.round(np.linalg.solve(volume.affine, [*mm, 1])[:3]).astype(int)
        assert volume.array[tuple(index)] == labels[0, z, y, x]


def test_structures_have_coded_names_and_nobody_else_has_one(tmp_path: Path, labels: NDArray[np.uint8]) -> None:
    file = pydicom.dcmread(write_segmentations(tmp_path, frames(), labels, maker=MAKER)[0])
    found = {s.SegmentLabel: s.SegmentedPropertyTypeCodeSequence[0] for s in file.SegmentSequence}
    assert {name: code.CodeValue for name, code in found.items()} == CODES
    assert {code.CodingSchemeDesignator for code in found.values()} == {"SCT"}
    assert [label for label, _, _ in STRUCTURES] == [1, 2, 3, 4, 5]
    assert (file.Modality, file.SegmentationType, file.FrameOfReferenceUID) == ("SEG", "BINARY", "1.2.4")
    assert file.StudyInstanceUID == "1.2"
    assert not file.PatientName
    assert not file.PatientID
    assert b"Doe" not in (tmp_path / "segmentation_t00.dcm").read_bytes()


def test_times_without_structures_have_no_file(tmp_path: Path, labels: NDArray[np.uint8]) -> None:
    labels[0] = 0
    labels[1][labels[1] >= 3] = 0
    (path,) = write_segmentations(tmp_path, frames(), labels, maker=MAKER)
    assert path.name == "segmentation_t01.dcm"
    assert [s.SegmentLabel for s in pydicom.dcmread(path).SegmentSequence] == ["LV cavity", "LV myocardium"]


def test_equal_labels_have_equal_uids_and_others_have_not(tmp_path: Path, labels: NDArray[np.uint8]) -> None:
    changed = labels.copy()
    changed[0, 0, 0, 0] = (changed[0, 0, 0, 0] + 1) % 4
    renewed = replace(MAKER, version="0.2.0")
    made = [(labels, MAKER), (labels.copy(), MAKER), (changed, MAKER), (labels, renewed), (labels[:, ::-1], MAKER)]
    uids = []
    for i, (these, maker) in enumerate(made):
        file = pydicom.dcmread(write_segmentations(tmp_path / str(i), frames(), these, maker=maker)[0])
        uids.append((file.SeriesInstanceUID, file.SOPInstanceUID, file.SegmentSequence[0].TrackingUID))
    assert uids[0] == uids[1]
    for kind in zip(*uids[1:], strict=True):
        assert len(set(kind)) == 4


def test_images_without_a_uid_are_refused(tmp_path: Path, labels: NDArray[np.uint8]) -> None:
    rows = [[replace(one, sop_instance="") for one in row] for row in frames()]
    with pytest.raises(ValueError, match="without SOPInstanceUID"):
        write_segmentations(tmp_path, rows, labels, maker=MAKER)


def test_labels_of_other_images_are_refused(tmp_path: Path, labels: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match=r"\(1, 3\) labeled images, but headers of 2 x 3"):
        write_segmentations(tmp_path, frames(), labels[:1], maker=MAKER)
