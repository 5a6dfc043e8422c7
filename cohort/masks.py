"""Which points of k-space does a mask file say were sampled, and where does the mask of a scan lie?

Released k-t Gaussian masks were drawn with seeds that nobody recorded: they cannot be made again, only read. The files
differ from year to year: variables `mask` or `mask04`, double, integer or logical, (nx, ny) or (nx, ny, nt), with axes of
length one between; and three trees of folders.
Source: the data formats of the CMRxRecon challenges 2023 to 2025 and of MMCMR-427K (doi 10.48550/arXiv.2512.21652).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohort.foreign import is_file, leads_out
from cohort.matfile import Pathish, find_variable, read_variable, write_variable
from cohort.records import MissingFile, UnreadableFile, WrongShape

MASK_NAMES = ("mask", r"mask\d{2}")
FULL_SAMPLE = "FullSample"
Mask = NDArray[np.bool_]


def read_mask(path: Pathish, *, shape: Sequence[int] | None = None, n_readout: int | None = None) -> Mask:
    """Read a sampling mask.

    Parameters
    ----------
    path
        A `.mat` file, v7.3 or v5, with `mask` (or `mask04`, `mask08`, `mask10`) of zeros and ones, (nx, ny) for all
        frames or (nx, ny, nt) in MATLAB's order; axes of length one may stand between.
    shape
        Shape of the k-space it is for, (frames, ..., ky, kx). Axes in another order than MATLAB's are then put right, by
        their lengths and, where these leave it open, by the readout, whose lines are sampled whole or not at all. None
        takes the axes as documented.
    n_readout
        Another length that kx may have, such as that after removal of the readout oversampling.

    Returns
    -------
    ndarray
        bool (frames, ky, kx); with `shape` one mask a frame, without it one where the file has one for all.

    Raises
    ------
    MissingFile, UnreadableFile
        No such file, no mask in it, or values other than zero and one.
    WrongShape
        Not the axes of a mask, not those of this k-space, or several orders of them fit.
    """
    name, stored_shape = find_variable(path, MASK_NAMES, "sampling mask")
    if len(stored_shape) < 2 or 0 in stored_shape:
        raise WrongShape(path, f"expected a mask (nx, ny) or (nx, ny, nt), variable {name!r} is {stored_shape[::-1]}")
    stored = _ones(read_variable(path, name), path, name)
    if shape is None:
        planes = stored.reshape((-1, *stored_shape[-2:]))
        if len(stored_shape) > 2 and len(planes) != max(stored_shape[:-2]):
            raise WrongShape(
                path, f"expected a mask (nx, ny) or (nx, ny, nt), variable {name!r} is {stored_shape[::-1]}"
            )
        return np.ascontiguousarray(planes)
    frames, ky, kx = shape[0], shape[-2], shape[-1]
    found = _oriented(stored, frames, ky, tuple(dict.fromkeys((kx, n_readout or kx))))
    if len(found) != 1:
        what = f"expected a mask of kx {kx}, ky {ky} and 1 or {frames} frames as its k-space has"
        came = f"variable {name!r} is {stored_shape[::-1]}"
        if not found:
            raise WrongShape(path, f"{what}, {came}; take the mask of this scan")
        raise WrongShape(path, f"{what}, {came}, which fits in {len(found)} ways; store it as (kx, ky, frames)")
    return np.ascontiguousarray(np.broadcast_to(found[0], (frames, *found[0].shape[1:])))


def write_mask(path: Pathish, mask: Mask) -> None:
    """Write a sampling mask bool (frames, ny, nx) as variable `mask`, MATLAB logical (nx, ny[, nt]), v7.3.

    Raises
    ------
    WrongShape
        Not a bool array of three axes without an empty one.
    """
    if mask.ndim != 3 or 0 in mask.shape or mask.dtype != np.bool_:
        raise WrongShape(path, f"expected bool (frames, ny, nx) to write, got {mask.dtype} {mask.shape}")
    write_variable(path, "mask", mask[0] if len(mask) == 1 else mask, chunks=None, gzip_level=0)


def find_mask(kspace: Pathish, *, pattern: str, acceleration: float, folder: Pathish | None = None) -> Path:
    """Find the released mask of a scan.

    Beside the folder of its k-space, `FullSample...`, in that of masks, `Mask_...`, at the same place within it:
    `<stem>_mask_<Pattern><R>.mat` (2024, 2025, MMCMR-427K); or, for uniform masks, `AccFactor<RR>/.../<stem>_mask.mat`
    (2023). Of several folders the one with the ending of the k-space's (`_TaskR1`) counts, then `Mask_TaskAll`.

    Parameters
    ----------
    kspace
        The `.mat` file of the fully sampled scan.
    pattern, acceleration
        As in the names of the files, for example "ktGaussian" and 16.
    folder
        Where to look instead: a folder with the masks of the whole cohort, as a copy of the tree below the k-space's or
        all in one.

    Raises
    ------
    MissingFile
        None there; the names looked for are told.
    WrongShape
        Several, and no rule says which.
    UnreadableFile
        It is a symbolic link out of the cohort, or out of the folder given.
    """
    kspace = Path(kspace)
    wanted = f"{kspace.stem}_mask_{pattern}{acceleration:g}.mat"
    for candidates in _places(kspace, wanted, pattern, acceleration, None if folder is None else Path(folder)):
        there = [path for path in candidates if is_file(path)]
        if len(there) == 1:
            return _inside(there[0], kspace, Path(folder) if folder is not None else None)
        if there:
            names = ", ".join(next(part for part in path.parts if part.startswith("Mask_")) for path in there)
            raise WrongShape(kspace, f"expected one mask {wanted} of this scan, found {len(there)}: {names}; keep one")
    where = "beside the scan or in Mask_... beside FullSample" if folder is None else f"in {Path(folder).name}"
    raise MissingFile(
        kspace,
        f"no mask of {pattern} {acceleration:g}x for this scan: expected {wanted} {where}; "
        "put it there, leave the arm out, or let masks be generated",
    )


def _places(kspace: Path, wanted: str, pattern: str, acceleration: float, folder: Path | None) -> Iterator[list[Path]]:
    """Places where the mask may lie, the best first; those of one list are of equal right."""
    index = next((i for i, part in enumerate(kspace.parts) if part.startswith(FULL_SAMPLE)), None)
    below = Path(*kspace.parts[index + 1 : -1]) if index is not None else Path()
    if folder is not None:
        yield [folder / below / wanted]
        yield [folder / wanted]
        return
    yield [kspace.with_name(wanted)]
    if index is None:
        return
    beside = Path(*kspace.parts[:index])
    task = kspace.parts[index].removeprefix(FULL_SAMPLE)
    for name in dict.fromkeys((f"Mask{task}", "Mask_TaskAll")):
        yield [beside / name / below / wanted]
    yield [path / below / wanted for path in sorted(beside.glob("Mask_*"))]
    if pattern == "Uniform":
        yield [beside / f"AccFactor{round(acceleration):02d}" / below / f"{kspace.stem}_mask.mat"]


def _inside(mask: Path, kspace: Path, folder: Path | None) -> Path:
    """The mask, if it lies where it was looked for: in the tree that holds the scan's FullSample, or in the folder."""
    index = next((i for i, part in enumerate(kspace.parts) if part.startswith(FULL_SAMPLE)), len(kspace.parts) - 1)
    top = Path(*kspace.parts[:index]) if folder is None else folder
    if leads_out(mask, top):
        raise UnreadableFile(mask, f"symbolic link out of {top}; not followed, copy the mask there")
    return mask


def _ones(stored: NDArray[Any], path: Pathish, name: str) -> Mask:
    """Zeros and ones as bool; anything else, NaN above all, is no mask."""
    if stored.dtype.kind not in "fiub":
        raise UnreadableFile(path, f"variable {name!r} holds {stored.dtype}; expected zeros and ones")
    odd = ~np.isin(stored, (0, 1))
    if odd.any():
        raise UnreadableFile(
            path,
            f"variable {name!r} holds more than zeros and ones ({int(odd.sum())} values, the first {stored[odd][0]}); "
            "expected a sampling mask: export it again",
        )
    return stored.astype(bool)


def _oriented(stored: Mask, frames: int, ky: int, kx: tuple[int, ...]) -> list[Mask]:
    """Ways to read an array as (frames or 1, ky, kx), all different; the documented order alone where it serves."""
    whole: list[Mask] = []
    other: list[Mask] = []
    documented: Mask | None = None
    padded = stored.reshape((1, *stored.shape))  # a frame's axis where the file has none
    for axes in permutations(range(padded.ndim), 3):
        lengths = [padded.shape[axis] for axis in axes]
        rest = [n for axis, n in enumerate(padded.shape) if axis not in axes]
        if lengths[0] not in (1, frames) or lengths[1] != ky or lengths[2] not in kx or any(n != 1 for n in rest):
            continue
        left = [axis for axis in range(padded.ndim) if axis not in axes]
        mask = padded.transpose(*left, *axes).reshape(lengths)
        ways = whole if bool((mask == mask[..., :1]).all()) else other
        if not any(np.array_equal(mask, known) for known in ways):
            ways.append(mask)
        if documented is None and list(axes) == sorted(axes):
            documented = mask
    best = whole or other
    # the documented order wins unless the readout contradicts it
    if documented is not None and any(np.array_equal(documented, mask) for mask in best):
        return [documented]
    return best
