"""Does a scan that is read slice by slice hold the same numbers as one that is read whole?"""

import tracemalloc
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
from numpy.typing import NDArray

from cohort import matslices
from cohort.cmrxrecon import open_kspace, read_kspace, write_kspace
from cohort.records import NotFinite, UnreadableFile, WrongShape

SHAPE = (3, 4, 2, 6, 10)


def kspace_of(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.complex64]:
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def save(path: Path, data: NDArray[Any], *, name: str = "kspace", **options: Any) -> Path:
    """Write a v7.3 file of any chunks and precision."""
    part = "<f8" if data.dtype == np.complex128 else "<f4"
    with h5py.File(path, "w", userblock_size=512) as file:
        file.create_dataset(name, data=data.view([("real", part), ("imag", part)]), **options)
    with path.open("r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file".ljust(128))
    return path


def all_slices(path: Path) -> NDArray[np.complex64]:
    with open_kspace(path) as source:
        parts = [source.read_slice(z) for z in range(source.shape[1])]
        assert all(part.shape == (source.shape[0], 1, *source.shape[2:]) for part in parts)
        assert all(part.dtype == np.complex64 and part.flags.c_contiguous for part in parts)
    return np.concatenate(parts, axis=1)


CHUNKS: list[dict[str, Any]] = [
    {},
    {"chunks": (1, 1, 2, 6, 10)},
    {"chunks": (1, 1, 2, 6, 10), "compression": "gzip"},
    {"chunks": (3, 4, 2, 2, 1), "compression": "gzip"},  # some files of 2025
    {"chunks": (2, 3, 1, 4, 7), "compression": "gzip"},  # nothing divides
    {"chunks": (3, 2, 2, 6, 10)},
]


@pytest.mark.parametrize("whole_bytes", [0, 2**28])
@pytest.mark.parametrize("slab_bytes", [1, 2**27])
@pytest.mark.parametrize("precision", [np.complex64, np.complex128])
@pytest.mark.parametrize("storage", CHUNKS)
def test_any_storage(
    tmp_path: Path,
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
    whole_bytes: int,
    slab_bytes: int,
    precision: type,
    storage: dict[str, Any],
) -> None:
    monkeypatch.setattr(matslices, "WHOLE_BYTES", whole_bytes)
    monkeypatch.setattr(matslices, "SLAB_BYTES", slab_bytes)
    data: NDArray[Any] = (rng.standard_normal(SHAPE) + 1j * rng.standard_normal(SHAPE)).astype(precision)
    path = save(tmp_path / "cine_sax.mat", data, **storage)
    np.testing.assert_array_equal(all_slices(path), read_kspace(path))


@pytest.mark.parametrize("whole_bytes", [0, 2**28])
@pytest.mark.parametrize(
    ("name", "n_axes"),
    [(name, n) for name, least in (("kspace_full", 3), ("kspace_single_full", 2)) for n in range(least, least + 3)],
)
@pytest.mark.parametrize("version", ["v5", "v7.3"])
def test_fewer_axes(
    tmp_path: Path,
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
    whole_bytes: int,
    name: str,
    n_axes: int,
    version: str,
) -> None:
    monkeypatch.setattr(matslices, "WHOLE_BYTES", whole_bytes)
    data = kspace_of(SHAPE[5 - n_axes :], rng)
    path = tmp_path / "blackblood.mat"
    if version == "v5":
        scipy.io.savemat(path, {name: data.T})
    else:
        save(path, data, name=name)
    np.testing.assert_array_equal(all_slices(path), read_kspace(path))


@pytest.mark.parametrize("whole_bytes", [0, 2**28])
def test_slices_are_new_arrays(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, whole_bytes: int
) -> None:
    monkeypatch.setattr(matslices, "WHOLE_BYTES", whole_bytes)
    kspace = kspace_of(SHAPE, rng)
    write_kspace(tmp_path / "a.mat", kspace, info={})
    with open_kspace(tmp_path / "a.mat") as source:
        source.read_slice(1)[:] = 0
        np.testing.assert_array_equal(source.read_slice(1), kspace[:, 1:2])


def test_the_temporary_file_is_gone_afterwards(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matslices, "WHOLE_BYTES", 0)
    path = save(tmp_path / "a.mat", kspace_of(SHAPE, rng), chunks=(3, 4, 2, 2, 1), compression="gzip")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with open_kspace(path, scratch=scratch) as source:
        assert len(list(scratch.rglob("*.h5"))) == 1
        source.read_slice(0)
    assert not list(scratch.iterdir())
    with pytest.raises(ZeroDivisionError), open_kspace(path, scratch=scratch):
        raise ZeroDivisionError
    assert not list(scratch.iterdir())


def test_no_more_than_a_slice_is_in_memory(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """numpy tells tracemalloc of its arrays: their peak is that of a slice, not of the scan."""
    monkeypatch.setattr(matslices, "WHOLE_BYTES", 0)
    kspace = kspace_of((4, 16, 4, 32, 32), rng)
    write_kspace(tmp_path / "a.mat", kspace, info={})
    one = kspace.nbytes // 16
    tracemalloc.start()
    try:
        with open_kspace(tmp_path / "a.mat") as source:
            for z in range(16):
                source.read_slice(z)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert one < peak < 3 * one


# ---- what is refused


@pytest.mark.parametrize("whole_bytes", [0, 2**28])
def test_nan_is_told_by_its_place_in_the_scan(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, whole_bytes: int
) -> None:
    monkeypatch.setattr(matslices, "WHOLE_BYTES", whole_bytes)
    data = kspace_of(SHAPE, rng)
    data[2, 3, 1, 4, 5] = np.nan
    path = save(tmp_path / "a.mat", data)
    with open_kspace(path) as source:
        source.read_slice(2)
        with pytest.raises(NotFinite, match="frames 2, slices 3, coils 1, ky 4, kx 5"):
            source.read_slice(3)
        with pytest.raises(IndexError, match="expected a slice from 0 to 3, got 4"):
            source.read_slice(4)


def test_double_precision_beyond_single_is_infinite(tmp_path: Path, rng: np.random.Generator) -> None:
    path = save(tmp_path / "a.mat", kspace_of(SHAPE, rng).astype(np.complex128) * 1e60)
    with open_kspace(path) as source, pytest.raises(NotFinite, match="NaN or infinite"):
        source.read_slice(0)


def test_files_without_k_space(tmp_path: Path, rng: np.random.Generator) -> None:
    scipy.io.savemat(tmp_path / "a.mat", {"kspace": np.ones((4, 4, 4))})
    with pytest.raises(UnreadableFile, match="not complex"), open_kspace(tmp_path / "a.mat"):
        pass
    save(tmp_path / "b.mat", kspace_of((4, 4), rng))
    with pytest.raises(WrongShape, match="3 to 5 axes"), open_kspace(tmp_path / "b.mat"):
        pass


def test_a_damaged_chunk(tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matslices, "WHOLE_BYTES", 0)
    path = save(tmp_path / "a.mat", kspace_of(SHAPE, rng), chunks=(1, 1, 2, 6, 10), compression="gzip")
    with h5py.File(path) as file:
        place = file["kspace"].id.get_chunk_info(5)
    with path.open("r+b") as stream:
        stream.seek(place.byte_offset + 512 + 20)  # behind MATLAB's banner
        stream.write(bytes(200))
    with open_kspace(path) as source, pytest.raises(UnreadableFile, match="damaged MATLAB file"):
        [source.read_slice(z) for z in range(4)]
