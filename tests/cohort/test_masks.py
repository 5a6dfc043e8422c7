"""Are the mask files of all years read as the same mask, and is the right file found?"""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cohort.masks import find_mask, read_mask, write_mask
from cohort.records import MissingFile, UnreadableFile, WrongShape

Mask = NDArray[np.bool_]
KINDS = (np.float64, np.uint8, np.bool_, np.int16)
FRAMES, KY, KX = 5, 12, 16
SHAPE = (FRAMES, 3, 4, KY, KX)


def lines_of(rng: np.random.Generator, *, frames: int = FRAMES, ky: int = KY, kx: int = KX) -> Mask:
    """Whole readout lines, other ones in each frame."""
    return np.repeat(rng.random((frames, ky, 1)) < 0.5, kx, axis=2)


def save(path: Path, version: str, **variables: NDArray[Any]) -> Path:
    """Write variables in MATLAB's order of axes."""
    if version == "v5":
        scipy.io.savemat(path, variables)
        return path
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, data in variables.items():
            file[name] = data.transpose().astype(np.uint8) if data.dtype == np.bool_ else data.transpose()
    with path.open("r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file".ljust(128))
    return path


# ---- axes


@pytest.mark.parametrize("version", ["v5", "v7.3"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["mask", "mask04", "mask08", "mask10"])
def test_kinds_versions_and_names(
    tmp_path: Path, rng: np.random.Generator, version: str, kind: type, name: str
) -> None:
    mask = lines_of(rng)
    path = save(tmp_path / "m.mat", version, **{name: mask.transpose(2, 1, 0).astype(kind)})
    for found in (read_mask(path), read_mask(path, shape=SHAPE)):
        assert found.dtype == np.bool_
        assert found.flags.c_contiguous
        np.testing.assert_array_equal(found, mask)


@pytest.mark.parametrize("version", ["v5", "v7.3"])
@pytest.mark.parametrize("axes", [(2, 1, 0), (1, 2, 0), (0, 1, 2), (0, 2, 1), (2, 0, 1), (1, 0, 2)])
def test_any_order_of_axes_is_put_right(
    tmp_path: Path, rng: np.random.Generator, version: str, axes: tuple[int, ...]
) -> None:
    mask = lines_of(rng)
    path = save(tmp_path / "m.mat", version, mask=mask.transpose(axes).astype(float))
    np.testing.assert_array_equal(read_mask(path, shape=SHAPE), mask)


@pytest.mark.parametrize("version", ["v5", "v7.3"])
def test_axes_of_length_one_are_left_out(tmp_path: Path, rng: np.random.Generator, version: str) -> None:
    mask = lines_of(rng)
    path = save(tmp_path / "m.mat", version, mask=mask.transpose(2, 1, 0)[:, :, None, None].astype(float))
    np.testing.assert_array_equal(read_mask(path), mask)
    np.testing.assert_array_equal(read_mask(path, shape=SHAPE), mask)


@pytest.mark.parametrize("transposed", [False, True])
def test_one_frame_stands_for_all(tmp_path: Path, rng: np.random.Generator, transposed: bool) -> None:
    mask = lines_of(rng, frames=1)
    path = save(tmp_path / "m.mat", "v5", mask=(mask[0] if transposed else mask[0].T).astype(float))
    np.testing.assert_array_equal(read_mask(path, shape=SHAPE), np.repeat(mask, FRAMES, axis=0))
    if not transposed:
        np.testing.assert_array_equal(read_mask(path), mask)


@pytest.mark.parametrize("transposed", [False, True])
def test_a_square_mask_is_turned_by_its_whole_lines(tmp_path: Path, rng: np.random.Generator, transposed: bool) -> None:
    mask = lines_of(rng, kx=KY)
    stored = mask.transpose((1, 2, 0) if transposed else (2, 1, 0))
    path = save(tmp_path / "m.mat", "v5", mask=stored.astype(float))
    np.testing.assert_array_equal(read_mask(path, shape=(*SHAPE[:4], KY)), mask)


def test_a_square_mask_of_points_is_taken_as_documented(tmp_path: Path, rng: np.random.Generator) -> None:
    mask = rng.random((FRAMES, KY, KY)) < 0.5
    path = save(tmp_path / "m.mat", "v5", mask=mask.transpose(2, 1, 0).astype(float))
    np.testing.assert_array_equal(read_mask(path, shape=(*SHAPE[:4], KY)), mask)


def test_as_many_frames_as_lines(tmp_path: Path, rng: np.random.Generator) -> None:
    mask = lines_of(rng, frames=KY)
    path = save(tmp_path / "m.mat", "v5", mask=mask.transpose(2, 1, 0).astype(float))
    np.testing.assert_array_equal(read_mask(path, shape=(KY, *SHAPE[1:])), mask)
    odd = save(tmp_path / "odd.mat", "v5", mask=mask.transpose(1, 2, 0).astype(float))
    with pytest.raises(WrongShape, match=r"fits in 2 ways; store it as \(kx, ky, frames\)"):
        read_mask(odd, shape=(KY, *SHAPE[1:]))


def test_either_length_of_the_readout_is_taken(tmp_path: Path, rng: np.random.Generator) -> None:
    mask = rng.random((FRAMES, KY, KX // 2)) < 0.5
    path = save(tmp_path / "m.mat", "v5", mask=mask.transpose(2, 1, 0).astype(float))
    np.testing.assert_array_equal(read_mask(path, shape=SHAPE, n_readout=KX // 2), mask)
    with pytest.raises(WrongShape, match="take the mask of this scan"):
        read_mask(path, shape=SHAPE)


@settings(max_examples=40, deadline=None)
@given(shape=st.tuples(*[st.integers(1, 6)] * 3), points=st.booleans(), seed=st.integers(0, 999))
def test_ours_are_read_for_their_k_space(
    tmp_path_factory: pytest.TempPathFactory, shape: tuple[int, int, int], points: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    frames, ky, kx = shape
    mask = rng.random(shape) < 0.5 if points else lines_of(rng, frames=frames, ky=ky, kx=kx)
    path = tmp_path_factory.mktemp("mask") / "m.mat"
    write_mask(path, mask)
    if points and len({frames, ky, kx}) < 3:
        return  # equal lengths leave points open
    np.testing.assert_array_equal(read_mask(path, shape=(frames, 1, 1, ky, kx)), mask)


# ---- what is refused


@pytest.mark.parametrize("shape", [(FRAMES, 1, 1, KY, KX + 1), (FRAMES + 1, 1, 1, KY, KX), (FRAMES, 1, 1, KX, KX)])
def test_the_mask_of_another_scan(tmp_path: Path, rng: np.random.Generator, shape: tuple[int, ...]) -> None:
    write_mask(tmp_path / "m.mat", lines_of(rng))
    with pytest.raises(WrongShape, match=rf"expected a mask of kx {shape[4]}, ky {shape[3]}.*'mask' is \(16, 12, 5\)"):
        read_mask(tmp_path / "m.mat", shape=shape)


@pytest.mark.parametrize("version", ["v5", "v7.3"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, 2.0, -1.0, 0.5])
def test_other_values_than_zero_and_one(tmp_path: Path, version: str, bad: float) -> None:
    values = np.ones((KX, KY))
    values[3, 4] = bad
    path = save(tmp_path / "m.mat", version, mask=values)
    with pytest.raises(UnreadableFile, match=r"more than zeros and ones \(1 values, the first .*export it again"):
        read_mask(path)
    save(path, version, mask=np.ones((KX, KY)) + 1j)
    with pytest.raises(UnreadableFile, match=r"holds complex\d+; expected zeros and ones|more than zeros and ones"):
        read_mask(path)


@pytest.mark.parametrize("shape", [(KX,), (KX, KY, 2, FRAMES), (KX, 0)])
def test_what_has_not_the_axes_of_a_mask(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = save(tmp_path / "m.mat", "v7.3", mask=np.ones(shape))
    with pytest.raises(WrongShape, match="expected a mask"):
        read_mask(path)
    with pytest.raises(WrongShape, match="expected a mask"):
        read_mask(path, shape=SHAPE)


def test_a_file_without_mask(tmp_path: Path) -> None:
    path = save(tmp_path / "m.mat", "v5", ones=np.ones((4, 4)))
    with pytest.raises(
        UnreadableFile, match="no sampling mask variable: expected one of mask, maskNN; the file has ones"
    ):
        read_mask(path)


# ---- where masks lie


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A scan of 2025, whose k-space file is returned; masks are put beside it by the tests."""
    path = tmp_path / "MultiCoil/Cine/TrainingSet/FullSample_TaskR1/Center001/UIH_30T_umr780/P007/cine_sax.mat"
    path.parent.mkdir(parents=True)
    path.touch()
    return path


def put(kspace: Path, place: str, name: str) -> Path:
    base, below = Path(str(kspace).partition("/FullSample")[0]), Path(*kspace.parts[-4:-1])
    path = base / place / below / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


NAME = "cine_sax_mask_ktGaussian16.mat"


def test_the_folder_of_the_task_then_all_then_any(tree: Path) -> None:
    any_folder = put(tree, "Mask_Task2", NAME)
    assert find_mask(tree, pattern="ktGaussian", acceleration=16.0) == any_folder
    of_all = put(tree, "Mask_TaskAll", NAME)
    assert find_mask(tree, pattern="ktGaussian", acceleration=16.0) == of_all
    of_task = put(tree, "Mask_TaskR1", NAME)
    assert find_mask(tree, pattern="ktGaussian", acceleration=16.0) == of_task
    beside = tree.with_name(NAME)
    beside.touch()
    assert find_mask(tree, pattern="ktGaussian", acceleration=16.0) == beside


def test_several_without_a_rule_are_refused(tree: Path) -> None:
    put(tree, "Mask_Task1", NAME)
    put(tree, "Mask_Task2", NAME)
    with pytest.raises(WrongShape, match=r"expected one mask .* found 2: Mask_Task1, Mask_Task2"):
        find_mask(tree, pattern="ktGaussian", acceleration=16)


def test_masks_of_2023(tree: Path) -> None:
    path = put(tree, "AccFactor04", "cine_sax_mask.mat")
    assert find_mask(tree, pattern="Uniform", acceleration=4.0) == path
    for pattern, acceleration in (("Uniform", 8.0), ("ktUniform", 4.0)):
        with pytest.raises(MissingFile, match=f"cine_sax_mask_{pattern}{acceleration:g}.mat"):
            find_mask(tree, pattern=pattern, acceleration=acceleration)


@pytest.mark.parametrize("below", ["Center001/UIH_30T_umr780/P007", ""])
def test_a_folder_of_its_own(tree: Path, tmp_path: Path, below: str) -> None:
    put(tree, "Mask_TaskAll", NAME)  # not looked at
    folder = tmp_path / "masks"
    with pytest.raises(MissingFile, match="no mask of ktGaussian 16x"):
        find_mask(tree, pattern="ktGaussian", acceleration=16, folder=folder)
    (folder / below).mkdir(parents=True)
    (folder / below / NAME).touch()
    assert find_mask(tree, pattern="ktGaussian", acceleration=16, folder=folder) == folder / below / NAME


def test_a_scan_outside_any_tree(tmp_path: Path) -> None:
    with pytest.raises(
        MissingFile, match=r"no mask of Uniform 4x for this scan: expected a_mask_Uniform4\.mat beside the scan"
    ):
        find_mask(tmp_path / "a.mat", pattern="Uniform", acceleration=4)
