"""Which variables does a MATLAB file hold, and is all of it there?

Two formats are read: v7.3, which is HDF5 behind a 512-byte banner, and v5. Both come back in the order in which HDF5
reads them, the reverse of MATLAB's: MATLAB (nx, ny, nc, nz, nt) is (nt, nz, nc, ny, nx) here. v5 is transposed so.
Nothing in a file is ever executed, and no link in it is followed to another file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from cohort import mat5
from cohort.atomic import replacing
from cohort.foreign import check_memory, check_unpacked
from cohort.records import CardioValError, MissingFile, UnreadableFile, WrongShape

Pathish = str | PathLike[str]
USERBLOCK_BYTES = 512  # what MATLAB puts before the HDF5 part
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
#: filters of HDF5 that are used: gzip, shuffle, checksum, LZF; for others the library would look for plug-ins on the disk
FILTERS = frozenset({1, 2, 3, 32000})
MOST_AXES = 64  # of an array that MATLAB stores as the list of its dimensions
COMPLEX = np.dtype([("real", "<f4"), ("imag", "<f4")])  # how MATLAB stores complex single precision


def mat_version(path: Pathish) -> Literal["v7.3", "v5"]:
    """Tell the format of a MATLAB file from its first bytes.

    Raises
    ------
    MissingFile, UnreadableFile
        Not there, no plain file, empty, or neither of the two formats.
    """
    path = Path(path)
    if not path.exists():
        raise MissingFile(path, "missing: no such file")
    if not path.is_file():
        raise UnreadableFile(path, "not a file; expected a MATLAB v7.3 or v5 file")
    try:
        with path.open("rb") as stream:
            head = stream.read(USERBLOCK_BYTES + len(HDF5_SIGNATURE))
    except OSError as error:
        raise UnreadableFile(path, f"cannot be read: {error.strerror}") from error
    if not head:
        raise UnreadableFile(path, "empty file (0 bytes); expected a MATLAB v7.3 or v5 file")
    if head.startswith((b"MATLAB 7.3", HDF5_SIGNATURE)) or head[USERBLOCK_BYTES:] == HDF5_SIGNATURE:
        return "v7.3"
    if head.startswith(b"MATLAB 5.0"):
        return "v5"
    raise UnreadableFile(path, f"not a MATLAB file: expected v7.3 or v5, it begins with {head[:10]!r}")


def variable_shapes(path: Pathish) -> dict[str, tuple[int, ...]]:
    """List the numeric variables of a file with their shapes, reading no data.

    Returns
    -------
    dict
        Name to shape, last MATLAB axis first. `#refs#`, groups and links to other files are left out.

    Raises
    ------
    MissingFile, UnreadableFile
        As `mat_version`; and truncated or damaged, where the structure of the file shows it.
    """
    path = Path(path)
    if mat_version(path) == "v5":
        with reported(path):
            return {name: variable.shape for name, variable in mat5.list_variables(path).items()}
    with reported(path), _open_hdf5(path) as file:
        return {name: _dataset_shape(data) for name, data in _datasets(file).items()}


def find_variable(path: Pathish, names: tuple[str, ...], what: str) -> tuple[str, tuple[int, ...]]:
    """Find the first variable, in the order of the patterns `names`, that the file holds, and its shape.

    Raises
    ------
    MissingFile, UnreadableFile
        As `variable_shapes`; or none of them is there, `what` being the word for it.
    """
    shapes = variable_shapes(path)
    name = preferred(shapes, names, what=what, path=path)
    return name, shapes[name]


def preferred(there: Collection[str], names: tuple[str, ...], *, what: str, path: Pathish) -> str:
    """The first of a file's variables in the order of the patterns `names`.

    Raises
    ------
    UnreadableFile
        None of them is there, `what` being the word for it.
    """
    for pattern in names:
        for name in sorted(there):
            if re.fullmatch(pattern, name):
                return name
    few = ", ".join(sorted(there)[:8]) or "no variable"
    expected = ", ".join(re.sub(r"\\d\{2\}", "NN", n) for n in names)
    raise UnreadableFile(path, f"no {what} variable: expected one of {expected}; the file has {few}")


@contextmanager
def open_variables(path: Pathish) -> Iterator[Mapping[str, StoredVariable]]:
    """Open a file once to look at its numeric variables; no data is read.

    Yields
    ------
    Mapping
        Name to variable, as `variable_shapes` lists them.

    Raises
    ------
    MissingFile, UnreadableFile
        As `variable_shapes`.
    """
    path = Path(path)
    with reported(path):
        if mat_version(path) == "v5":
            listed = mat5.list_variables(path)
            yield {
                name: StoredVariable(v.shape, partial(_check_complex, name, v.is_complex and v.dtype is not None, path))
                for name, v in listed.items()
            }
            return
        with _open_hdf5(path) as file:
            datasets = _datasets(file)
            yield {
                n: StoredVariable(_dataset_shape(data), partial(_check_kspace, data, path))
                for n, data in datasets.items()
            }


@dataclass(frozen=True)
class StoredVariable:
    """A variable of a file that is open.

    Attributes
    ----------
    shape
        Last MATLAB axis first.
    check_complex
        Raises `UnreadableFile` where some chunks were never written, or it is no array of complex numbers.
    """

    shape: tuple[int, ...]
    check_complex: Callable[[], None]


def _check_kspace(dataset: h5py.Dataset, path: Path) -> None:
    kind = dataset.dtype
    _check_storage(dataset, path)
    _check_complex(dataset.name.strip("/"), kind.names == ("real", "imag") or kind.kind == "c", path)


def _check_complex(name: str, is_complex: bool, path: Path) -> None:
    if not is_complex:
        raise UnreadableFile(path, f"variable {name!r} is not complex; expected k-space")


def check_complex(path: Pathish, name: str) -> None:
    """Check that a variable holds complex numbers and that all of its storage is in the file; reads no data.

    Raises
    ------
    UnreadableFile
        Some chunks were never written, or the variable is no array of complex numbers.
    """
    with open_variables(path) as variables:
        variables[name].check_complex()


def read_variable(path: Pathish, name: str) -> NDArray[Any]:
    """Read one variable whole, last MATLAB axis first; a compound of `real` and `imag` comes back as complex64.

    Raises
    ------
    MissingFile, UnreadableFile
        As `variable_shapes`, and data that cannot be unpacked or do not fit into memory.
    """
    path = Path(path)
    if mat_version(path) == "v5":
        with reported(path):
            return mat5.read_array(path, mat5.list_variables(path)[name])
    with reported(path), _open_hdf5(path) as file:
        dataset = file[name]
        _check_storage(dataset, path)
        check_memory(path, dataset.size * max(dataset.dtype.itemsize, COMPLEX.itemsize))
        return _joined(dataset[()])


@contextmanager
def open_variable(path: Pathish, name: str) -> Iterator[h5py.Dataset]:
    """Open a variable of a v7.3 file, its storage checked, to be read in parts.

    Raises
    ------
    MissingFile, UnreadableFile
        As `read_variable`.
    """
    path = Path(path)
    with reported(path):
        file = _open_hdf5(path)
    with file:
        with reported(path):
            dataset = file[name]
            _check_storage(dataset, path)
        yield dataset


def write_variable(
    path: Pathish, name: str, data: NDArray[Any], *, chunks: tuple[int, ...] | None, gzip_level: int
) -> None:
    """Write one variable as a MATLAB v7.3 file, all of it or nothing.

    Parameters
    ----------
    path
        The file, replaced if there.
    name
        The MATLAB variable.
    data
        complex64 (stored as a compound of `real` and `imag`) or bool (MATLAB logical), last MATLAB axis first.
    chunks
        Chunk shape, or None for one contiguous block.
    gzip_level
        0 (none) to 9. Noise hardly shrinks: level 1 saves a tenth of k-space and takes twenty times as long.

    Raises
    ------
    WrongShape
        Another type of data.
    """
    if data.dtype == np.complex64:
        stored = np.ascontiguousarray(data).view(COMPLEX)
        attributes: dict[str, np.generic] = {"MATLAB_class": np.bytes_("single")}
    elif data.dtype == np.bool_:
        stored = data.astype(np.uint8)
        attributes = {"MATLAB_class": np.bytes_("logical"), "MATLAB_int_decode": np.int32(1)}
    else:
        raise WrongShape(path, f"expected complex64 or bool to write as {name!r}, got {data.dtype}")
    pack: dict[str, Any] = {"compression": "gzip", "compression_opts": gzip_level} if gzip_level else {}
    with replacing(path) as temporary:
        with h5py.File(temporary, "w", userblock_size=USERBLOCK_BYTES, libver=("earliest", "v108")) as file:
            dataset = file.create_dataset(name, data=stored, chunks=chunks, **pack)
            for key, value in attributes.items():
                dataset.attrs[key] = value
        with temporary.open("r+b") as stream:
            stream.write(_banner())


def _banner() -> bytes:
    """Return the 512 bytes before the HDF5 part; the date is fixed, so that equal data make equal files."""
    text = b"MATLAB 7.3 MAT-file, Platform: CardioVal, Created on: Thu Jan  1 00:00:00 1970 HDF5 schema 1.00 ."
    version, endian = b"\x00\x02", b"IM"
    return (text.ljust(116) + bytes(8) + version + endian).ljust(USERBLOCK_BYTES, b"\x00")


def _open_hdf5(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r", locking="best-effort")
    except (OSError, RuntimeError) as error:
        what = "truncated" if "truncated" in str(error) else "damaged or truncated"
        raise UnreadableFile(path, f"{what} MATLAB v7.3 file ({_line(error)}); copy it again") from error


@contextmanager
def reported(path: Path, what: str = "MATLAB file") -> Iterator[None]:
    """Turn whatever h5py raises over damaged bytes, which can be anything, into one error of ours."""
    try:
        yield
    except CardioValError:
        raise
    except MemoryError as error:
        raise UnreadableFile(path, "does not fit into memory; use a machine with more") from error
    except Exception as error:
        raise UnreadableFile(path, f"damaged {what} ({_line(error)}); copy it again") from error


def _datasets(file: h5py.File) -> dict[str, h5py.Dataset]:
    """Datasets at the root that lie in this file: no soft or external link, no virtual or external storage."""
    names = [name for name in file if isinstance(name, str) and not name.startswith("#")]
    links = file.id.links
    own = [name for name in names if links.get_info(name.encode("utf-8", "surrogateescape")).type == h5py.h5l.TYPE_HARD]
    found = {name: data for name in own if isinstance(data := file[name], h5py.Dataset)}
    return {name: data for name, data in found.items() if not (data.is_virtual or data.external)}


def _dataset_shape(dataset: h5py.Dataset) -> tuple[int, ...]:
    """Shape of a dataset; MATLAB stores an empty array as the list of its dimensions and a mark."""
    if dataset.size and dataset.size <= MOST_AXES and _marked_empty(dataset):
        return tuple(int(n) for n in reversed(np.atleast_1d(dataset[()])))
    return tuple(dataset.shape or ())


def _marked_empty(dataset: h5py.Dataset) -> bool:
    """Whether MATLAB's mark is there; one that is no number is not read, since texts lie in heaps (`cohort.hdf5_heap`)."""
    if "MATLAB_empty" not in dataset.attrs:
        return False
    mark = dataset.attrs.get_id("MATLAB_empty")
    return mark.dtype.kind in "iub" and mark.shape == () and bool(dataset.attrs["MATLAB_empty"])


def _check_storage(dataset: h5py.Dataset, path: Path) -> None:
    """Raise where chunks are missing (an interrupted writer), the values are no numbers, or the file cannot mean them."""
    kind = dataset.dtype
    parts = [kind[name] for name in kind.names] if kind.names == ("real", "imag") else [kind]
    numbers = all(part.kind in "fciub" for part in parts)
    if not numbers:
        raise UnreadableFile(path, f"variable {dataset.name.strip('/')!r} holds {kind}; expected numbers")
    check_packing(dataset, path)
    if dataset.chunks is None:
        whole = dataset.id.get_storage_size() >= dataset.size * kind.itemsize
    else:
        expected = math.prod(-(-n // c) for n, c in zip(dataset.shape, dataset.chunks, strict=True))
        whole = dataset.id.get_num_chunks() == expected
    if not whole:
        name = dataset.name.strip("/")
        raise UnreadableFile(path, f"truncated: parts of variable {name!r} were never written; copy or export it again")


def check_packing(dataset: h5py.Dataset, path: Path) -> None:
    """Raise where the file is too small for what it promises, or needs a filter that is not in the library."""
    plan = dataset.id.get_create_plist()
    filters = {plan.get_filter(i)[0] for i in range(plan.get_nfilters())}
    if filters - FILTERS:
        raise UnreadableFile(
            path, f"packed by HDF5 filter {min(filters - FILTERS)}, which is not read; export it with gzip"
        )
    packed_bytes, item_bytes = path.stat().st_size, dataset.dtype.itemsize
    for count in (dataset.size, math.prod(dataset.chunks or ())):
        check_unpacked(path, count * item_bytes, packed_bytes=packed_bytes)


def _joined(data: NDArray[Any]) -> NDArray[Any]:
    """Complex array from MATLAB's compound of real and imaginary parts; other arrays unchanged."""
    if data.dtype.names != ("real", "imag"):
        return data
    if data.dtype == COMPLEX and data.flags.c_contiguous:
        return data.view(np.complex64)
    joined = np.empty(data.shape, np.complex64)
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is reported as such
        joined.real, joined.imag = data["real"], data["imag"]
    return joined


def _line(error: BaseException) -> str:
    """First sentence of another library's message."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 160 else text[:157] + "..."
