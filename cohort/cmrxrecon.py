"""What does a CMRxRecon or MMCMR-427K file hold, and how is such a file written?

MRD files (`cohort.mrd`) are read by the same functions, told by their suffix.
k-space of all years (2023 to 2025: v7.3 or v5, three to five axes, several variable names) becomes one array
(frames, slices, coils, ky, kx) in complex64, readout oversampling included. Masks are in `cohort.masks`; the header
`<stem>_info.csv` and the timing files `T1map.csv`, `T2map.csv` beside it are in `cohort.headers`; all can be had from
here.
Source: the data formats of the CMRxRecon challenges 2023 to 2025 and of MMCMR-427K (doi 10.48550/arXiv.2512.21652).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cohort.headers import InfoValue, read_info, times_of_series, write_info, write_times_ms
from cohort.masks import find_mask, read_mask, write_mask
from cohort.matfile import (
    Pathish,
    find_variable,
    open_variables,
    preferred,
    read_variable,
    variable_shapes,
    write_variable,
)
from cohort.matslices import Reader, open_slices
from cohort.mrd import is_mrd, open_mrd, read_mrd, read_mrd_header
from cohort.records import NotFinite, UnreadableFile, WrongShape

__all__ = [
    "InfoValue",
    "KSpaceSlices",
    "find_mask",
    "open_kspace",
    "read_header",
    "read_info",
    "read_kspace",
    "read_mask",
    "read_times_ms",
    "write_info",
    "write_kspace",
    "write_mask",
    "write_times_ms",
]

# in the order of preference where a file holds several
KSPACE_NAMES = ("kspace", "kspace_full", "kus", r"kspace_sub\d{2}", "kspace_single_full", r"kspace_single_sub\d{2}")
AXES = ("frames", "slices", "coils", "ky", "kx")
ALL_ZERO = "k-space holds nothing but zeros"


def read_kspace(path: Pathish) -> NDArray[np.complex64]:
    """Read the k-space of one scan, whole and checked.

    Parameters
    ----------
    path
        An MRD file, or a `.mat` file, v7.3 or v5, with a variable named as in `KSPACE_NAMES`. In MATLAB's order its axes are
        (nx, ny, nc, nz, nt), (nx, ny, nc, nz) for one frame or (nx, ny, nc) for one slice and one frame;
        (nx, ny, nz, nt) for the single-coil files of 2023.

    Returns
    -------
    ndarray
        complex64 (frames, slices, coils, ky, kx); double precision is rounded to single.

    Raises
    ------
    MissingFile, UnreadableFile
        Not there, truncated, not a MATLAB file, no k-space in it, not complex, or nothing but zeros.
    WrongShape
        Not three to five axes, or an axis of length zero.
    NotFinite
        NaN or infinity; the first place is named.
    """
    if is_mrd(path):
        return read_mrd(path)
    name, shape = _find_kspace(path)
    stored = read_variable(path, name)
    if stored.dtype.kind != "c":
        raise UnreadableFile(path, f"variable {name!r} is not complex; expected k-space")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is reported as such
        kspace = np.ascontiguousarray(stored, dtype=np.complex64).reshape(shape)
    _check_values(kspace, path)
    return kspace


@dataclass(frozen=True)
class KSpaceSlices:
    """A k-space file that is open to be read slice by slice.

    Attributes
    ----------
    path
        The file.
    shape
        (frames, slices, coils, ky, kx), readout oversampling included.
    """

    path: Path
    shape: tuple[int, int, int, int, int]
    _read: Reader = field(repr=False)

    def read_slice(self, index: int) -> NDArray[np.complex64]:
        """Read one slice, complex64 (frames, 1, coils, ky, kx); a new array at each call.

        Raises
        ------
        UnreadableFile
            Damaged data.
        NotFinite
            NaN or infinity; the first place is named. Zeros are not looked for: they may be the slice's alone.
        IndexError
            No such slice.
        """
        if not 0 <= index < self.shape[1]:
            raise IndexError(f"expected a slice from 0 to {self.shape[1] - 1}, got {index}")
        kspace = self._read(index).reshape(self.shape[0], 1, *self.shape[2:])
        _check_finite(kspace, self.path, first_slice=index)
        return kspace


@contextmanager
def open_kspace(path: Pathish, *, scratch: Pathish | None = None) -> Iterator[KSpaceSlices]:
    """Open the k-space of one scan to be read slice by slice, so that it need not fit into memory.

    The same files are read as by `read_kspace`, and each slice is the same to the bit. Where the file's chunks hold
    several slices, as in some of 2025, all of it is unpacked once into a temporary file first.

    Parameters
    ----------
    path
        As for `read_kspace`.
    scratch
        Folder for that temporary file, None for the system's; it takes 8 bytes a value as long as the file is open.

    Yields
    ------
    KSpaceSlices

    Raises
    ------
    MissingFile, UnreadableFile, WrongShape
        As `read_kspace`, except for values, which are checked when they are read.
    """
    if is_mrd(path):
        with open_mrd(path) as (five, read_one):
            yield KSpaceSlices(Path(path), five, read_one)
        return
    name, shape = _find_kspace(path)
    n_axes = len(variable_shapes(path)[name])
    before = n_axes - (2 if name.startswith("kspace_single") else 3)  # axes before the coils or the plane
    with open_slices(path, name, axis=before - 1 if before else None, scratch=scratch) as read:
        yield KSpaceSlices(Path(path), shape, read)


def read_header(path: Pathish) -> tuple[int, int, int, int, int]:
    """Tell the shape (frames, slices, coils, ky, kx) of a k-space file without reading its data.

    That the file is whole is checked as far as its structure tells: length, elements, written chunks.

    Raises
    ------
    MissingFile, UnreadableFile, WrongShape
        As `read_kspace`.
    """
    if is_mrd(path):
        return read_mrd_header(path)
    with open_variables(path) as variables:
        name = preferred(variables, KSPACE_NAMES, what="k-space", path=path)
        shape = _five_lengths(name, variables[name].shape, path)
        variables[name].check_complex()
    return shape


def write_kspace(
    path: Pathish, kspace: NDArray[np.complexfloating], *, info: Mapping[str, object], gzip_level: int = 0
) -> None:
    """Write k-space and its header as MMCMR-427K does: v7.3, variable `kspace`, `<stem>_info.csv` beside it.

    Each file appears whole or not at all, the header first, so that k-space never stands without one. The data lie in
    one chunk a frame and slice, so that a part of a scan can be read fast.

    Parameters
    ----------
    path
        The `.mat` file.
    kspace
        Complex (frames, slices, coils, ky, kx); in MATLAB it is (nx, ny, nc, nz, nt), complex single.
    info
        Rows of the header, key with unit in parentheses to value, for example {"FOVx(mm)": 360.0}.
    gzip_level
        0 (none) to 9; level 1 saves a tenth of noisy k-space and takes twenty times as long to write.

    Raises
    ------
    WrongShape, NotFinite
        `kspace` is not such an array; nothing is written.
    """
    if kspace.ndim != 5 or 0 in kspace.shape or kspace.dtype.kind != "c":
        raise WrongShape(
            path, f"expected complex {AXES} without empty axis to write, got {kspace.dtype} {kspace.shape}"
        )
    data = np.ascontiguousarray(kspace, dtype=np.complex64)
    _check_values(data, path)
    write_info(path, info)
    write_variable(path, "kspace", data, chunks=(1, 1, *data.shape[2:]), gzip_level=gzip_level)


def read_times_ms(path_to_mat: Pathish) -> NDArray[np.float64]:
    """Read the times at which a mapping series was weighted: inversion, echo, preparation or spin-lock times.

    They stand in `<stem>.csv` beside the `.mat` file (a row a time, a column a slice), or else in the row `TI(ms)`,
    `TE(ms)` or `TSL(ms)` of its header. One column counts for all slices. Trailing rows that are blank, or zero for an
    inversion time, mean that these frames are absent: use only as many frames as there are times.

    Parameters
    ----------
    path_to_mat
        A `.mat` file whose name begins with T1map, T2map, T2smap or T1rho.

    Returns
    -------
    ndarray
        Times in ms (n_times, n_slices), in the order of the frames, which need not be ascending.

    Raises
    ------
    MissingFile, UnreadableFile, WrongShape
        No times anywhere; blank, negative or non-numeric ones between others; more times than frames, slices without
        times; or the `.mat` file itself cannot be read.
    """
    frames, slices = read_header(path_to_mat)[:2]
    return times_of_series(path_to_mat, n_frames=frames, n_slices=slices)


def _find_kspace(path: Pathish) -> tuple[str, tuple[int, int, int, int, int]]:
    """Name of the k-space variable and its five lengths."""
    name, shape = find_variable(path, KSPACE_NAMES, "k-space")
    return name, _five_lengths(name, shape, path)


def _five_lengths(name: str, shape: tuple[int, ...], path: Pathish) -> tuple[int, int, int, int, int]:
    """Lengths of a k-space variable as (frames, slices, coils, ky, kx)."""
    axes = 2 if name.startswith("kspace_single") else 3
    if not axes <= len(shape) <= axes + 2:
        raise WrongShape(
            path, f"expected {axes} to {axes + 2} axes of k-space, variable {name!r} has {len(shape)}: {shape}"
        )
    if 0 in shape:
        raise WrongShape(path, f"variable {name!r} is empty: {shape} in the order of {AXES[5 - len(shape) :]}")
    coils, plane = (1,) if axes == 2 else shape[-3:-2], shape[-2:]
    frames, slices = (1,) * (axes + 2 - len(shape)) + shape[: len(shape) - axes]
    return frames, slices, coils[0], plane[0], plane[1]


def _check_values(kspace: NDArray[np.complex64], path: Pathish) -> None:
    """Raise for NaN, infinity, or nothing but zeros."""
    _check_finite(kspace, path)
    if not kspace.any():
        raise UnreadableFile(path, ALL_ZERO)


def _check_finite(kspace: NDArray[np.complex64], path: Pathish, *, first_slice: int = 0) -> None:
    """Raise for NaN or infinity; frame by frame, to spare memory."""
    for frame, data in enumerate(kspace):
        finite = np.isfinite(data)
        if not finite.all():
            n, first = int(finite.size - finite.sum()), np.argwhere(~finite)[0]
            first[0] += first_slice
            where = ", ".join(f"{a} {i}" for a, i in zip(AXES, (frame, *first), strict=True))
            raise NotFinite(path, f"{n} values of frame {frame} are NaN or infinite, the first at {where}")
