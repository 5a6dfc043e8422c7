"""How is a variable that is larger than memory read part by part?

HDF5 reads any part of a variable, but of compressed storage only whole chunks; some files of 2025 are stored such that
every chunk holds a few points of all frames and slices, and each slice read would unpack the whole file. Those are
unpacked once into a temporary file without compression. Small files, and MATLAB v5, which cannot hold more than 2 GB a
variable, are read whole.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from cohort.foreign import check_memory
from cohort.matfile import COMPLEX, Pathish, check_complex, mat_version, open_variable, read_variable, reported
from cohort.records import UnreadableFile

WHOLE_BYTES = 2**28  # up to this much k-space is read at once and kept
SLAB_BYTES = 2**27  # of a file that is unpacked at a time, if its chunks are no larger

Reader = Callable[[int], NDArray[np.complex64]]


@contextmanager
def open_slices(path: Pathish, name: str, *, axis: int | None, scratch: Pathish | None = None) -> Iterator[Reader]:
    """Open a complex variable to be read index by index along one axis.

    Parameters
    ----------
    path, name
        The file and its variable, last MATLAB axis first.
    axis
        Along which it is read; None for a variable without it, which index 0 gives whole.
    scratch
        Folder for the temporary file, None for the system's; it takes 8 bytes a value while the variable is open.

    Yields
    ------
    callable
        Index -> complex64 array with `axis` of length one, a new one at each call.

    Raises
    ------
    MissingFile, UnreadableFile
        As `cohort.matfile.read_variable`; no complex numbers; no room for the temporary file.
    """
    check_complex(path, name)
    if mat_version(path) == "v5":
        yield _from_memory(_single(read_variable(path, name)), axis)
        return
    with open_variable(path, name) as dataset:
        if dataset.size * COMPLEX.itemsize <= WHOLE_BYTES or axis is None:
            yield _from_memory(_part(dataset, (), Path(path)), axis)
        elif dataset.chunks is None or dataset.chunks[axis] == 1:
            yield lambda index: _part(dataset, (slice(None),) * axis + (slice(index, index + 1),), Path(path))
        else:
            with tempfile.TemporaryDirectory(dir=scratch, prefix="cardioval-") as folder:
                yield from _unpacked(dataset, Path(folder) / "kspace.h5", axis, Path(path))


def _from_memory(data: NDArray[np.complex64], axis: int | None) -> Reader:
    """Parts of an array."""
    if axis is None:
        return lambda index: data.copy()
    return lambda index: np.ascontiguousarray(data.take([index], axis=axis))


def _unpacked(dataset: h5py.Dataset, target: Path, axis: int, path: Path) -> Iterator[Reader]:
    """Copy slab by slab along the axis of which the chunks hold the least part, then read from the copy."""
    chunks = dataset.chunks
    along = min(range(dataset.ndim), key=lambda a: chunks[a] / dataset.shape[a])
    bytes_each = dataset.size // dataset.shape[along] * COMPLEX.itemsize
    step = max(1, SLAB_BYTES // bytes_each // chunks[along]) * chunks[along]
    with h5py.File(target, "w") as file:
        try:
            copy = file.create_dataset("kspace", shape=dataset.shape, dtype=COMPLEX)
            for start in range(0, dataset.shape[along], step):
                slab = (slice(None),) * along + (slice(start, start + step),)
                copy[slab] = _part(dataset, slab, path).view(COMPLEX)
            file.flush()
        except OSError as error:
            if "No space" not in str(error) and getattr(error, "errno", None) != 28:
                raise
            need = math.ceil(dataset.size * COMPLEX.itemsize / 2**30)
            raise UnreadableFile(
                path, f"needs {need} GiB in {target.parent.parent} to be unpacked once: set TMPDIR to a larger disk"
            ) from error
        yield lambda index: _part(copy, (slice(None),) * axis + (slice(index, index + 1),), path)


def _part(dataset: h5py.Dataset, selection: tuple[slice, ...], path: Path) -> NDArray[np.complex64]:
    """Read a part as complex64; HDF5 converts on the way, so that double precision takes no memory of its own."""
    chosen = selection + (slice(None),) * (dataset.ndim - len(selection))
    shape = tuple(len(range(*part.indices(n))) for part, n in zip(chosen, dataset.shape, strict=True))
    check_memory(path, math.prod(shape) * COMPLEX.itemsize)
    out = np.empty(shape, np.complex64)
    stored: Any = out.view(COMPLEX) if dataset.dtype.names == ("real", "imag") else out
    with reported(path):
        dataset.read_direct(stored, source_sel=chosen)
    return out


def _single(data: NDArray[Any]) -> NDArray[np.complex64]:
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is reported as such
        return np.ascontiguousarray(data, np.complex64)
