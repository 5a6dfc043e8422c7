"""Does k-space survive the disk in every format, and does every damaged file say what is wrong with it?"""

import contextlib
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cohort import cmrxrecon
from cohort.matfile import read_variable, variable_shapes
from cohort.records import CardioValError, FileProblem, MissingFile, NotFinite, UnreadableFile, WrongShape

INFO = {"FOVx(mm)": 400.0, "FOVy(mm)": 330.5, "ReconMatrix_X": 208, "Sequence": 'TrueFISP, "cine"', "TI(ms)": None}


def kspace_of(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.complex64]:
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


@pytest.fixture
def kspace(rng: np.random.Generator) -> NDArray[np.complex64]:
    return kspace_of((3, 2, 4, 6, 10), rng)


def write_hdf5(path: Path, **variables: NDArray[Any]) -> None:
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, data in variables.items():
            if data.dtype.kind == "c":
                part = "<f8" if data.dtype == np.complex128 else "<f4"
                data = np.ascontiguousarray(data).view([("real", part), ("imag", part)])
            file[name] = data
    with path.open("r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file".ljust(128))


# ---- round trips


@settings(max_examples=25, deadline=None)
@given(shape=st.tuples(*[st.integers(1, 4)] * 5), gzip_level=st.sampled_from([0, 1]), seed=st.integers(0, 2**32 - 1))
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, shape: tuple[int, ...], gzip_level: int, seed: int
) -> None:
    path = tmp_path_factory.mktemp("kspace") / "cine_sax.mat"
    kspace = kspace_of(shape, np.random.default_rng(seed))
    cmrxrecon.write_kspace(path, kspace, info=INFO, gzip_level=gzip_level)
    again = cmrxrecon.read_kspace(path)
    assert again.dtype == np.complex64
    assert again.flags.c_contiguous
    np.testing.assert_array_equal(again, kspace)
    assert cmrxrecon.read_header(path) == shape


@settings(max_examples=25, deadline=None)
@given(shape=st.tuples(*[st.integers(1, 5)] * 3), seed=st.integers(0, 2**32 - 1))
def test_masks_survive(tmp_path_factory: pytest.TempPathFactory, shape: tuple[int, ...], seed: int) -> None:
    path = tmp_path_factory.mktemp("mask") / "cine_sax_mask_ktRadial8.mat"
    mask = np.random.default_rng(seed).random(shape) < 0.5
    cmrxrecon.write_mask(path, mask)
    again = cmrxrecon.read_mask(path)
    assert again.dtype == np.bool_
    np.testing.assert_array_equal(again, mask)


def test_equal_data_make_equal_files(tmp_path: Path, kspace: NDArray[np.complex64]) -> None:
    for name in ("a", "b"):
        cmrxrecon.write_kspace(tmp_path / name / "cine_sax.mat", kspace, info=INFO)
    assert (tmp_path / "a/cine_sax.mat").read_bytes() == (tmp_path / "b/cine_sax.mat").read_bytes()
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["cine_sax.mat", "cine_sax_info.csv"]


# ---- the layout on disk, as MATLAB needs it


def test_the_file_is_what_matlab_expects(tmp_path: Path, kspace: NDArray[np.complex64]) -> None:
    path = tmp_path / "cine_sax.mat"
    cmrxrecon.write_kspace(path, kspace, info=INFO)
    head = path.read_bytes()[:520]
    assert head.startswith(b"MATLAB 7.3 MAT-file")
    assert head[124:128] == b"\x00\x02IM"  # version 0x0200, little endian
    assert head[512:520] == b"\x89HDF\r\n\x1a\n"
    with h5py.File(path) as file:
        data = file["kspace"]
        assert data.shape == kspace.shape  # MATLAB sees it reversed: (nx, ny, nc, nz, nt)
        assert data.dtype == np.dtype([("real", "<f4"), ("imag", "<f4")])
        assert data.attrs["MATLAB_class"] == b"single"
        assert data.chunks == (1, 1, *kspace.shape[2:])
        np.testing.assert_array_equal(data["imag"], kspace.imag)
    lines = (tmp_path / "cine_sax_info.csv").read_text(encoding="utf-8").splitlines()
    assert lines[:3] == ["Parameter,Value", "FOVx(mm),400", "FOVy(mm),330.5"]


def test_a_mask_is_matlab_logical(tmp_path: Path) -> None:
    path = tmp_path / "mask.mat"
    cmrxrecon.write_mask(path, np.ones((1, 4, 6), bool))
    with h5py.File(path) as file:
        assert file["mask"].shape == (4, 6)  # one frame: (nx, ny) in MATLAB
        assert file["mask"].attrs["MATLAB_class"] == b"logical"
        assert file["mask"].attrs["MATLAB_int_decode"] == 1


# ---- formats of the years


@pytest.mark.parametrize("name", ["kspace", "kspace_full", "kus", "kspace_sub04", "kspace_sub10"])
@pytest.mark.parametrize("axes", [3, 4, 5])
@pytest.mark.parametrize("precision", [np.complex64, np.complex128])
@pytest.mark.parametrize("version", ["v5", "v5 compressed", "v7.3"])
def test_all_formats_are_read(
    tmp_path: Path, rng: np.random.Generator, name: str, axes: int, precision: type, version: str
) -> None:
    path = tmp_path / "cine_sax.mat"
    stored = kspace_of((3, 2, 4, 6, 10)[5 - axes :], rng).astype(precision)
    if version == "v7.3":
        write_hdf5(path, **{name: stored})
    else:
        scipy.io.savemat(path, {name: stored.T}, do_compression=version.endswith("compressed"))
    expected = stored.reshape((1,) * (5 - axes) + stored.shape)
    np.testing.assert_array_equal(cmrxrecon.read_kspace(path), expected)
    assert cmrxrecon.read_header(path) == expected.shape


def test_our_k_space_in_v5_equals_ours_in_v73(tmp_path: Path, kspace: NDArray[np.complex64]) -> None:
    cmrxrecon.write_kspace(tmp_path / "a.mat", kspace, info=INFO)
    scipy.io.savemat(tmp_path / "b.mat", {"kspace": kspace.transpose(4, 3, 2, 1, 0)})
    matlab = scipy.io.loadmat(tmp_path / "b.mat")["kspace"]
    assert matlab.shape == (10, 6, 4, 2, 3)
    np.testing.assert_array_equal(cmrxrecon.read_kspace(tmp_path / "a.mat"), cmrxrecon.read_kspace(tmp_path / "b.mat"))


def test_single_coil_files_of_2023(tmp_path: Path, rng: np.random.Generator) -> None:
    stored = kspace_of((3, 2, 6, 10), rng)
    write_hdf5(tmp_path / "cine_sax.mat", kspace_single_full=stored)
    np.testing.assert_array_equal(cmrxrecon.read_kspace(tmp_path / "cine_sax.mat"), stored[:, :, None])


def test_matlab_housekeeping_and_other_variables_are_passed_over(tmp_path: Path, kspace: NDArray[np.complex64]) -> None:
    path = tmp_path / "cine_sax.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        file["#refs#/a"] = np.zeros(3)
        file["a_first"] = np.zeros((3, 3))
    with h5py.File(path, "a") as file:
        file["kspace_full"] = kspace
    np.testing.assert_array_equal(cmrxrecon.read_kspace(path), kspace)


def test_fully_sampled_k_space_is_preferred(tmp_path: Path, kspace: NDArray[np.complex64]) -> None:
    write_hdf5(tmp_path / "a.mat", kus=kspace * 0, kspace_full=kspace)
    np.testing.assert_array_equal(cmrxrecon.read_kspace(tmp_path / "a.mat"), kspace)


@pytest.mark.parametrize("version", ["v5", "v7.3"])
def test_masks_of_other_years(tmp_path: Path, version: str) -> None:
    mask = np.arange(24).reshape(4, 6) % 3 == 0
    if version == "v5":
        scipy.io.savemat(tmp_path / "m.mat", {"mask08": mask.T.astype(float)})
    else:
        write_hdf5(tmp_path / "m.mat", mask08=mask.astype(float))
    np.testing.assert_array_equal(cmrxrecon.read_mask(tmp_path / "m.mat"), mask[None])


# ---- damaged and wrong files


def both(path: Path) -> list[str]:
    """Messages of reading data and of reading the header alone."""
    messages = []
    for read in (cmrxrecon.read_kspace, cmrxrecon.read_header):
        with pytest.raises(FileProblem) as caught:
            read(path)
        assert caught.value.path == path
        assert "\n" not in str(caught.value)
        messages.append(f"{type(caught.value).__name__}: {caught.value.reason}")
    return messages


@pytest.mark.parametrize("version", ["v5", "v5 compressed", "v7.3", "v7.3 gzip"])
@pytest.mark.parametrize("keep", [0.02, 0.3, 0.5, 0.9, 0.999])
def test_truncated_files(tmp_path: Path, kspace: NDArray[np.complex64], version: str, keep: float) -> None:
    path = tmp_path / "cine_sax.mat"
    if version.startswith("v5"):
        scipy.io.savemat(path, {"kspace": kspace.T}, do_compression=version.endswith("compressed"))
    else:
        cmrxrecon.write_kspace(path, kspace, info={}, gzip_level=int(version.endswith("gzip")))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)])
    for message in both(path):
        assert message.startswith("UnreadableFile: ")
        assert "truncated" in message
        assert "copy" in message


def test_a_file_whose_writer_died(tmp_path: Path, kspace: NDArray[np.complex64]) -> None:
    """Structurally whole HDF5, but chunks are missing; read naively they would be zeros."""
    with h5py.File(tmp_path / "a.mat", "w", userblock_size=512) as file:
        data = file.create_dataset("kspace", kspace.shape, [("real", "<f4"), ("imag", "<f4")], chunks=(1, 1, 4, 6, 10))
        data[0] = kspace[0].view(data.dtype)
    assert all("parts of variable 'kspace' were never written" in message for message in both(tmp_path / "a.mat"))


def test_damaged_inside(tmp_path: Path, kspace: NDArray[np.complex64]) -> None:
    path = tmp_path / "a.mat"
    cmrxrecon.write_kspace(path, kspace, info={}, gzip_level=6)
    data = bytearray(path.read_bytes())
    data[-400:-100] = bytes(300)  # within the last chunk
    path.write_bytes(data)
    with pytest.raises(UnreadableFile, match="damaged MATLAB file"):
        cmrxrecon.read_kspace(path)


@settings(max_examples=60, deadline=None, derandomize=True)  # what HDF5 does with random metadata is beyond our reach
@given(data=st.data(), version=st.sampled_from(["v5", "v5 compressed", "v7.3"]))
def test_any_damage_is_read_or_told(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, version: str
) -> None:
    """Random bytes anywhere: the reader returns an array of five axes or raises one of ours, and nothing else."""
    path = tmp_path_factory.mktemp("damage") / "a.mat"
    kspace = kspace_of((2, 1, 2, 3, 4), np.random.default_rng(1))
    if version == "v7.3":
        cmrxrecon.write_kspace(path, kspace, info={})
    else:
        scipy.io.savemat(path, {"kspace": kspace.T}, do_compression=version.endswith("compressed"))
    content = bytearray(path.read_bytes())
    for position in data.draw(st.lists(st.integers(0, min(len(content), 2500) - 1), min_size=1, max_size=6)):
        content[position] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    with contextlib.suppress(CardioValError):
        assert cmrxrecon.read_kspace(path).ndim == 5


def test_missing(tmp_path: Path) -> None:
    assert all(m.startswith("MissingFile: missing") for m in both(tmp_path / "none.mat"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty file"),
        (b"PK\x03\x04 something else", "not a MATLAB file: expected v7.3 or v5, it begins with"),
        (pickle.dumps({"kspace": np.zeros(3)}), "not a MATLAB file"),
        (b"\x93NUMPY\x01\x00", "not a MATLAB file"),
        (b"MATLAB 7.3 MAT-file".ljust(4000), "damaged or truncated MATLAB v7.3"),
        (b"MATLAB 5.0 MAT-file".ljust(126) + b"IM" + bytes(range(100)), "MATLAB v5"),
    ],
)
def test_something_else(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "cine_sax.mat"
    path.write_bytes(content)
    assert all(message in m for m in both(path))


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert all("not a file" in m for m in both(tmp_path))


def test_pickles_are_never_executed(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
            return Path.touch, (tmp_path / "executed",)

    path = tmp_path / "cine_sax.mat"
    path.write_bytes(pickle.dumps(Trap()))
    both(path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("version", ["v5", "v7.3"])
def test_no_k_space_in_it(tmp_path: Path, version: str) -> None:
    path = tmp_path / "cine_sax.mat"
    variables = {"img4ranking": np.zeros((2, 3)), "mask": np.ones((2, 3))}
    scipy.io.savemat(path, variables) if version == "v5" else write_hdf5(path, **variables)
    for message in both(path):
        assert message.startswith("UnreadableFile: no k-space variable: expected one of kspace, kspace_full, kus")
        assert "the file has img4ranking, mask" in message


@pytest.mark.parametrize("shape", [(6, 10), (2, 2, 2, 2, 6, 10)])
def test_wrong_rank(tmp_path: Path, rng: np.random.Generator, shape: tuple[int, ...]) -> None:
    write_hdf5(tmp_path / "a.mat", kspace=kspace_of(shape, rng))
    assert all(m.startswith("WrongShape: expected 3 to 5 axes of k-space") for m in both(tmp_path / "a.mat"))


def test_an_empty_axis(tmp_path: Path) -> None:
    write_hdf5(tmp_path / "a.mat", kspace=np.zeros((3, 0, 4, 6, 10), np.complex64))
    assert all("WrongShape: variable 'kspace' is empty" in m for m in both(tmp_path / "a.mat"))
    with h5py.File(tmp_path / "b.mat", "w", userblock_size=512) as file:  # as MATLAB itself stores an empty array
        file["kspace"] = np.array([0, 6, 4, 2, 3], np.uint64)
        file["kspace"].attrs["MATLAB_empty"] = np.uint8(1)
    assert all("WrongShape: variable 'kspace' is empty" in m for m in both(tmp_path / "b.mat"))


@pytest.mark.parametrize("value", [np.nan, np.inf, complex(0, -np.inf)])
def test_not_finite(tmp_path: Path, kspace: NDArray[np.complex64], value: complex) -> None:
    kspace[1, 0, 2, 3, 4] = kspace[1, 1, 3, 5, 9] = value
    write_hdf5(tmp_path / "a.mat", kspace=kspace)
    where = "frame 1 are NaN or infinite, the first at frames 1, slices 0, coils 2, ky 3, kx 4"
    with pytest.raises(NotFinite, match=f"2 values of {where}"):
        cmrxrecon.read_kspace(tmp_path / "a.mat")


def test_double_precision_beyond_single(tmp_path: Path, kspace: NDArray[np.complex64]) -> None:
    write_hdf5(tmp_path / "a.mat", kspace=kspace.astype(complex) * 1e60)
    with pytest.raises(NotFinite, match="infinite"):
        cmrxrecon.read_kspace(tmp_path / "a.mat")


def test_only_zeros(tmp_path: Path) -> None:
    write_hdf5(tmp_path / "a.mat", kspace=np.zeros((1, 1, 2, 3, 4), np.complex64))
    with pytest.raises(UnreadableFile, match="nothing but zeros"):
        cmrxrecon.read_kspace(tmp_path / "a.mat")


@pytest.mark.parametrize("version", ["v5", "v7.3"])
def test_real_numbers_are_no_k_space(tmp_path: Path, version: str) -> None:
    path, data = tmp_path / "a.mat", np.ones((4, 6, 10))
    scipy.io.savemat(path, {"kspace": data}) if version == "v5" else write_hdf5(path, kspace=data)
    assert all(m == "UnreadableFile: variable 'kspace' is not complex; expected k-space" for m in both(path))


def test_text_is_no_k_space(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "a.mat", {"kspace": np.array([[["a"]]])})
    both(tmp_path / "a.mat")


def test_links_to_other_files_are_not_followed(tmp_path: Path, kspace: NDArray[np.complex64]) -> None:
    write_hdf5(tmp_path / "secret.mat", kspace=kspace)
    with h5py.File(tmp_path / "a.mat", "w", userblock_size=512) as file:
        file["kspace"] = h5py.ExternalLink(str(tmp_path / "secret.mat"), "/kspace")
    assert all("no k-space variable" in m for m in both(tmp_path / "a.mat"))


# ---- writers


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (np.zeros((2, 3, 4, 5), np.complex64), WrongShape),
        (np.zeros((1, 2, 0, 4, 5), np.complex64), WrongShape),
        (np.zeros((1, 2, 3, 4, 5), np.float32), WrongShape),
        (np.full((1, 2, 3, 4, 5), np.nan, np.complex64), NotFinite),
    ],
)
def test_bad_k_space_is_not_written(tmp_path: Path, bad: NDArray[Any], error: type[FileProblem]) -> None:
    with pytest.raises(error):
        cmrxrecon.write_kspace(tmp_path / "a.mat", bad, info=INFO)
    assert not list(tmp_path.iterdir())


def test_a_failing_writer_leaves_the_old_file(
    tmp_path: Path, kspace: NDArray[np.complex64], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.mat"
    cmrxrecon.write_kspace(path, kspace, info=INFO)

    def full_disk(*_: object, **__: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(h5py.File, "create_dataset", full_disk)
    with pytest.raises(OSError, match="no space left"):
        cmrxrecon.write_kspace(path, kspace * 2, info=INFO)
    monkeypatch.undo()
    np.testing.assert_array_equal(cmrxrecon.read_kspace(path), kspace)
    assert not list(tmp_path.glob(".writing*"))


@pytest.mark.parametrize("bad", [np.ones((3, 4)), np.ones((1, 3, 4)), np.ones((1, 0, 4), bool)])
def test_bad_masks_are_not_written(tmp_path: Path, bad: NDArray[Any]) -> None:
    with pytest.raises(WrongShape, match="expected bool"):
        cmrxrecon.write_mask(tmp_path / "m.mat", bad)


def test_a_mask_has_only_zeros_and_ones(tmp_path: Path) -> None:
    write_hdf5(tmp_path / "m.mat", mask=np.full((4, 6), 2.0))
    with pytest.raises(UnreadableFile, match="more than zeros and ones"):
        cmrxrecon.read_mask(tmp_path / "m.mat")
    write_hdf5(tmp_path / "n.mat", mask=np.ones(4))
    with pytest.raises(WrongShape, match="expected a mask"):
        cmrxrecon.read_mask(tmp_path / "n.mat")


def test_missing_is_missing_for_masks_too(tmp_path: Path) -> None:
    with pytest.raises(MissingFile):
        cmrxrecon.read_mask(tmp_path / "none.mat")


# ---- version 5 in detail


@pytest.mark.parametrize("kind", ["f8", "f4", "i2", "u1", "i4"])
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (3, 5), (2, 3, 4)])
def test_v5_numbers_are_those_scipy_writes(
    tmp_path: Path, rng: np.random.Generator, kind: str, compressed: bool, shape: tuple[int, ...]
) -> None:
    path = tmp_path / "a.mat"
    data = rng.integers(0, 100, shape).astype(kind)
    scipy.io.savemat(path, {"a": data, "a_longer_name_than_eight": data * 2, "t": "text"}, do_compression=compressed)
    assert variable_shapes(path)["a_longer_name_than_eight"] == shape[::-1]
    again = read_variable(path, "a_longer_name_than_eight")
    assert again.dtype == np.dtype(kind)
    np.testing.assert_array_equal(again, (data * 2).T)
    with pytest.raises(UnreadableFile, match="'t' holds no numbers"):
        read_variable(path, "t")


def test_v5_of_a_big_endian_machine(tmp_path: Path) -> None:
    """Written by hand: double array 'kus' of 1 x 1 x 2, values stored as small integers as MATLAB does."""
    body = struct.pack(">IIII", 6, 8, 0x0806, 0) + struct.pack(">II4i", 5, 12, 1, 1, 2, 0)
    body += struct.pack(">HH4s", 3, 1, b"kus\x00")
    body += struct.pack(">HHBBxx", 2, 2, 7, 9) + struct.pack(">HHBBxx", 2, 2, 1, 2)
    content = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x01\x00MI" + struct.pack(">II", 14, len(body)) + body
    (tmp_path / "a.mat").write_bytes(content)
    np.testing.assert_array_equal(cmrxrecon.read_kspace(tmp_path / "a.mat").ravel(), [7 + 1j, 9 + 2j])
