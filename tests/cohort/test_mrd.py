"""Is an MRD file read as the k-space that it holds, and refused with the reason where it is another kind of scan?"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from benchmarks.fuzz_corpus import INFO, mrd_header, mrd_rows, numbers, save_mrd
from cohort.cmrxrecon import open_kspace, read_header, read_kspace, read_times_ms, write_kspace
from cohort.mrd import read_mrd, read_mrd_info
from cohort.records import CardioValError, MissingFile, NotFinite, UnreadableFile, WrongShape

SHAPE = (3, 2, 2, 8, 12)


@pytest.fixture
def rows() -> np.ndarray:
    return mrd_rows(numbers(*SHAPE), np.random.default_rng(5))


def saved(path: Path, rows: np.ndarray, **given: Any) -> Path:
    save_mrd(path, rows, mrd_header(SHAPE[4], SHAPE[3], **given))
    return path


def test_it_is_the_k_space_that_the_other_reader_gives(tmp_path: Path, rows: np.ndarray) -> None:
    write_kspace(tmp_path / "cine_sax.mat", numbers(*SHAPE), info=INFO)
    kspace = read_mrd(saved(tmp_path / "a.h5", rows))
    assert kspace.dtype == np.complex64
    np.testing.assert_array_equal(kspace, read_kspace(tmp_path / "cine_sax.mat"))


@pytest.mark.parametrize("counter", ["phase", "repetition", "contrast", "set"])
def test_frames_may_be_counted_in_other_ways(counter: str, tmp_path: Path, rows: np.ndarray) -> None:
    index = rows["head"]["idx"]
    frames = index["phase"].copy()
    index["phase"] = 0
    index[counter] = 3 * frames + 1  # gaps in a count mean nothing
    np.testing.assert_array_equal(read_mrd(saved(tmp_path / "a.h5", rows)), numbers(*SHAPE))


def test_averages_are_averaged(tmp_path: Path, rows: np.ndarray) -> None:
    again = rows[1:].copy()
    again["head"]["idx"]["average"] = 1
    for row in again:
        row["data"] = row["data"] * np.float32(3)
    kspace = read_mrd(saved(tmp_path / "a.h5", np.concatenate([rows, again])))
    np.testing.assert_allclose(kspace, 2 * numbers(*SHAPE), rtol=1e-6)


def test_discarded_samples_are_left_out(tmp_path: Path, rows: np.ndarray) -> None:
    head = rows["head"]
    head["number_of_samples"], head["discard_pre"], head["discard_post"], head["center_sample"] = 15, 2, 1, 8
    for row in rows:
        lines = row["data"].view(np.complex64).reshape(SHAPE[2], SHAPE[4])
        wide = np.pad(lines, ((0, 0), (2, 1)), constant_values=99)
        row["data"] = np.ascontiguousarray(wide).view(np.float32).reshape(-1)
    np.testing.assert_array_equal(read_mrd(saved(tmp_path / "a.h5", rows)), numbers(*SHAPE))


def test_what_the_header_states(tmp_path: Path, rows: np.ndarray) -> None:
    info = read_mrd_info(saved(tmp_path / "a.h5", rows))
    # 63.5 MHz over 42.577 MHz/T
    assert info == {
        "FieldStrength": 1.49,
        "FOVx": 300.0,
        "FOVy": 300.0,
        "SliceThickness": 8.0,
        "FOVxSpans": "nominal",
        "ReadOutOversample": 2.0,
    }


def test_lines_of_phase_oversampling_count_for_the_pixel(tmp_path: Path, rows: np.ndarray) -> None:
    """Nothing of them is cut off, so that all lines span the encoded field of view."""
    header = mrd_header(SHAPE[4], SHAPE[3]).replace("<x>600</x><y>300</y>", "<x>600</x><y>360</y>")
    save_mrd(tmp_path / "a.h5", rows, header)
    assert read_mrd_info(tmp_path / "a.h5")["FOVy"] == 360.0


def test_times_of_a_mapping_series(tmp_path: Path, rows: np.ndarray) -> None:
    times = "<sequenceParameters><TI>100</TI><TI>180.5</TI><TI>1100</TI></sequenceParameters></ismrmrdHeader>"
    save_mrd(tmp_path / "T1map.h5", rows, mrd_header(SHAPE[4], SHAPE[3]).replace("</ismrmrdHeader>", times))
    np.testing.assert_array_equal(
        read_times_ms(tmp_path / "T1map.h5"), np.repeat([[100.0], [180.5], [1100.0]], 2, axis=1)
    )
    (tmp_path / "T1map.csv").write_text(",Slice1\nTI1,90\nTI2,170\nTI3,1000\n")
    assert read_times_ms(tmp_path / "T1map.h5")[0, 0] == 90


def placed(rows: np.ndarray, z_mm: tuple[float, ...]) -> None:
    """Lay the counted slices along an oblique line."""
    along = np.array([0.6, 0.0, 0.8])
    for number, at in enumerate(z_mm):
        rows["head"]["position"][rows["head"]["idx"]["slice"] == number] = 20 + at * along


def test_slices_come_in_the_order_in_which_they_lie(tmp_path: Path) -> None:
    kspace = numbers(1, 4, 1, 6, 8)
    rows = mrd_rows(kspace, np.random.default_rng(2))
    header = mrd_header(8, 6)
    placed(rows, (10.0, 30.0, 0.0, 20.0))
    save_mrd(tmp_path / "a.h5", rows, header)
    np.testing.assert_array_equal(read_mrd(tmp_path / "a.h5"), kspace[:, [2, 0, 3, 1]])
    assert read_mrd_info(tmp_path / "a.h5")["SlicePitch"] == 10.0
    placed(rows, (0.0, 10.0, 25.0, 35.0))  # a gap in between: the order holds, no pitch does
    save_mrd(tmp_path / "b.h5", rows, header)
    np.testing.assert_array_equal(read_mrd(tmp_path / "b.h5"), kspace)
    assert "SlicePitch" not in read_mrd_info(tmp_path / "b.h5")
    rows["head"]["position"][rows["head"]["idx"]["slice"] == 3] += (0.0, 5.0, 0.0)  # not on a line: as counted
    placed(rows[rows["head"]["idx"]["slice"] < 3], (0.0, 20.0, 10.0))
    save_mrd(tmp_path / "c.h5", rows, header)
    np.testing.assert_array_equal(read_mrd(tmp_path / "c.h5"), kspace)


def test_a_reversed_count_stays_reversed(tmp_path: Path) -> None:
    """From base to apex or the other way round is the scanner's choice, and found elsewhere."""
    kspace = numbers(1, 3, 1, 6, 8)
    rows = mrd_rows(kspace, np.random.default_rng(2))
    placed(rows, (20.0, 10.0, 0.0))
    save_mrd(tmp_path / "a.h5", rows, mrd_header(8, 6))
    np.testing.assert_array_equal(read_mrd(tmp_path / "a.h5"), kspace)


def test_slice_by_slice_it_is_the_same(tmp_path: Path, rows: np.ndarray) -> None:
    path = saved(tmp_path / "a.h5", rows)
    with open_kspace(path) as source:
        assert source.shape == SHAPE == read_header(path)
        slices = [source.read_slice(z) for z in range(SHAPE[1])]
    np.testing.assert_array_equal(np.concatenate(slices, axis=1), read_kspace(path))


def test_what_goes_wrong_in_who_reads_is_not_taken_for_damage(tmp_path: Path, rows: np.ndarray) -> None:
    with pytest.raises(OSError, match="full"), open_kspace(saved(tmp_path / "a.h5", rows)):
        raise OSError("the disk is full")


def partial(rows: np.ndarray) -> None:
    rows["head"]["center_sample"] = 3


def reversed_lines(rows: np.ndarray) -> None:
    rows["head"]["flags"][4] |= 1 << 21


def radial(rows: np.ndarray) -> None:
    rows["head"]["trajectory_dimensions"][4] = 2


def other_coils(rows: np.ndarray) -> None:
    rows["head"]["active_channels"][4] = 1


def two_counters(rows: np.ndarray) -> None:
    rows["head"]["idx"]["set"][4:] = 1


def volume(rows: np.ndarray) -> None:
    rows["head"]["idx"]["kspace_encode_step_2"][4] = 1


def too_far(rows: np.ndarray) -> None:
    rows["head"]["idx"]["kspace_encode_step_1"][4] = 60


def short(rows: np.ndarray) -> None:
    rows["data"][4] = rows["data"][4][:-2]


def nan(rows: np.ndarray) -> None:
    rows["data"][4][0] = np.nan


def zeros(rows: np.ndarray) -> None:
    for row in rows:
        row["data"][:] = 0


def noise(rows: np.ndarray) -> None:
    rows["head"]["flags"] = 1 << 18


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (partial, WrongShape, "partial echo"),
        (reversed_lines, UnreadableFile, "reversed readouts"),
        (radial, UnreadableFile, "trajectory or of a second encoding"),
        (other_coils, WrongShape, "readouts differ"),
        (two_counters, WrongShape, "phase and set both run"),
        (volume, WrongShape, "three-dimensional"),
        (too_far, WrongShape, "of an encoded matrix of 8"),
        (short, UnreadableFile, "holds 46 numbers, its head says 48"),
        (nan, NotFinite, "NaN"),
        (zeros, UnreadableFile, "nothing but zeros"),
        (noise, UnreadableFile, "no readout of an image"),
    ],
)
def test_other_scans_are_refused(
    change: Callable[[np.ndarray], None], error: type[CardioValError], message: str, tmp_path: Path, rows: np.ndarray
) -> None:
    change(rows)
    with pytest.raises(error, match=message):
        read_mrd(saved(tmp_path / "a.h5", rows))


def test_undersampled_scans_are_refused(tmp_path: Path, rows: np.ndarray) -> None:
    with pytest.raises(WrongShape, match=r"4 of 48 lines were not acquired \(3 frames, 2 slices\)"):
        read_mrd(saved(tmp_path / "a.h5", rows[:-4]))


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [({"trajectory": "radial"}, UnreadableFile, "only cartesian"), ({"z": 4}, WrongShape, "three-dimensional")],
)
def test_other_headers_are_refused(
    given: dict[str, Any], error: type[CardioValError], message: str, tmp_path: Path, rows: np.ndarray
) -> None:
    with pytest.raises(error, match=message):
        read_mrd(saved(tmp_path / "a.h5", rows, **given))


def test_what_is_no_mrd_file(tmp_path: Path) -> None:
    with pytest.raises(MissingFile):
        read_mrd(tmp_path / "absent.h5")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["kspace"] = np.zeros(3)
    with pytest.raises(UnreadableFile, match="no MRD file"):
        read_mrd(tmp_path / "a.h5")
    (tmp_path / "b.h5").write_bytes(b"no HDF5")
    with pytest.raises(UnreadableFile, match="damaged"):
        read_mrd(tmp_path / "b.h5")
