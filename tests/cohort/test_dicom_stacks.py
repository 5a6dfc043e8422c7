"""Is a series sorted into the stack that was scanned, whatever order and layout its files have, or said what is wrong with it?"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohort.dicom import load_stack, read_cine, sort_frames
from cohort.dicom_headers import read_frames
from cohort.dicom_series import find_series, sort_into_series
from cohort.images import read_placed, write_image
from cohort.records import UnreadableFile
from tests.cohort.dicom_files import OBLIQUE, SHAPE, cine, enhanced, place, single

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


def test_signed_pixels_keep_their_sign(tmp_path: Path) -> None:
    cine(tmp_path, series="1.2.3", PixelRepresentation=1, RescaleIntercept=-300)
    assert read_cine(tmp_path).images.min() == -300
    file = pydicom.dcmread(tmp_path / "0")
    file.PixelData = np.full(SHAPE, -7, np.int16).tobytes()
    file.save_as(tmp_path / "0")
    assert read_cine(tmp_path).images[0, 0, 0, 0] == -307


def test_a_field_strength_that_is_not_stated(tmp_path: Path) -> None:
    cine(tmp_path, series="1.2.3", MagneticFieldStrength=None)
    assert np.isnan(read_cine(tmp_path).field_t)
