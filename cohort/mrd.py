"""What k-space does an MRD (ISMRMRD) file hold, in the order in which the rest of the project takes it?

Cartesian, fully sampled, two-dimensional scans: what a validation can start from. What MRD can hold besides (other
trajectories, undersampled, partial echoes, three dimensions, EPI) is refused with the reason; readouts that hold no image,
such as noise and navigators, are left out, averages are averaged.
Source: the ISMRM Raw Data Format, Inati et al., doi 10.1002/mrm.26089, and its schema.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import h5py
import numpy as np
from numpy.typing import NDArray

from cohort.foreign import check_memory, is_file
from cohort.hdf5_heap import Heaps, references
from cohort.matfile import Pathish, check_packing, reported
from cohort.records import MissingFile, NotFinite, UnreadableFile, WrongShape

# bits of an acquisition's flags, counted from 1 as the standard does
NO_IMAGE = (
    19,
    20,
    23,
    24,
    26,
    27,
    28,
    29,
    30,
    31,
)  # noise, calibration alone, navigators, corrections, feedback, dummies
REVERSED = 22
#: counters of which one at most may run: it becomes the frames
FRAME_COUNTERS = ("phase", "repetition", "contrast", "set")
MOST_XML_BYTES = 2**24
#: of files that are taken for MRD, small letters
MRD_SUFFIXES = (".h5", ".mrd")
#: slices closer than the first are one; off a common line by more than the first, or unevenly far by more than the
#: second of their distance, they state no pitch
SAME_MM, UNEVEN = 0.1, 0.05
HZ_PER_T = 42.577478518e6  # of the proton, CODATA 2018
SPACES = ("encodedSpace", "reconSpace")


def is_mrd(path: Pathish) -> bool:
    """Whether a file is taken for MRD, by its suffix."""
    return Path(path).suffix.lower() in MRD_SUFFIXES


def read_mrd(path: Pathish, *, group: str = "dataset") -> NDArray[np.complex64]:
    """Read the k-space of one scan, whole and checked.

    Parameters
    ----------
    path
        An HDF5 file with ``xml`` and ``data`` as ISMRMRD writes them.
    group
        Where they are in it.

    Returns
    -------
    ndarray
        complex64 (frames, slices, coils, ky, kx), as `cohort.cmrxrecon.read_kspace` gives it, readout oversampling
        included. Frames are the phases of a cine, or else repetitions, contrasts or sets.

    Raises
    ------
    MissingFile, UnreadableFile
        Not there, no such file, damaged, another trajectory, reversed readouts, or nothing but zeros.
    WrongShape
        Not two-dimensional, not fully sampled, readouts of different lengths, or two counters that run.
    NotFinite
        NaN or infinity.
    """
    path = Path(path)
    with _opened(path, group) as (header, data, heaps), reported(path, "MRD file"):
        found = _layout(header, data, heaps)
        check_memory(path, math.prod(found.shape) * 8)
        kspace = _filled(found, heaps, slice(None))
    if not np.isfinite(kspace).all():
        raise NotFinite(path, f"{int((~np.isfinite(kspace)).sum())} values are NaN or infinite")
    if not kspace.any():
        raise UnreadableFile(path, "k-space holds nothing but zeros")
    return kspace


@contextmanager
def open_mrd(
    path: Pathish, *, group: str = "dataset"
) -> Iterator[tuple[tuple[int, int, int, int, int], Callable[[int], NDArray[np.complex64]]]]:
    """Open the k-space of one scan to be read slice by slice, so that it need not fit into memory.

    Yields
    ------
    tuple
        Shape as of `read_mrd`, and a function that reads a slice, complex64 (frames, 1, coils, ky, kx). Its values are
        not looked at.

    Raises
    ------
    MissingFile, UnreadableFile, WrongShape
        As `read_mrd`.
    """
    path = Path(path)
    with _opened(path, group) as (header, data, heaps):
        with reported(path, "MRD file"):
            found = _layout(header, data, heaps)

        def read(index: int) -> NDArray[np.complex64]:
            with reported(path, "MRD file"):
                check_memory(path, math.prod(found.shape) // found.shape[1] * 8)
                return _filled(found, heaps, slice(index, index + 1))

        yield found.shape, read


def read_mrd_header(path: Pathish, *, group: str = "dataset") -> tuple[int, int, int, int, int]:
    """Tell the shape (frames, slices, coils, ky, kx) of a scan without reading its samples.

    Raises
    ------
    MissingFile, UnreadableFile, WrongShape
        As `read_mrd`.
    """
    with open_mrd(path, group=group) as (shape, _):
        return shape


def read_mrd_info(path: Pathish, *, group: str = "dataset") -> dict[str, str | float]:
    """Read what a scan's header says, in the words of `cohort.cmrxrecon.read_info`; what is not stated is left out.

    Returns
    -------
    dict
        FieldStrength (T), FOVx (mm, of the image), FOVy (mm, of all lines, phase oversampling included, as nothing of it
        is cut off), SliceThickness (mm), SlicePitch (mm, where slices lie on a line, evenly), ReadOutOversample, and as
        texts FOVxSpans ("nominal"), TI and TE (ms, all of them).

    Raises
    ------
    MissingFile, UnreadableFile
        As `read_mrd`.
    """
    path = Path(path)
    with _opened(path, group) as (header, data, _):
        with reported(path, "MRD file"):
            head = data.fields("head")[()]
            head = head[_is_image(head, path)]
            pitch = _order(head["position"], _counted(head["idx"]["slice"]))[1]
        found = {
            "FieldStrength": _number(header, "acquisitionSystemInformation", "systemFieldStrength_T"),
            "FOVx": _number(header, "encoding", "reconSpace", "fieldOfView_mm", "x"),
            "FOVy": _number(header, "encoding", "encodedSpace", "fieldOfView_mm", "y"),
            "SliceThickness": _number(header, "encoding", "reconSpace", "fieldOfView_mm", "z"),
            "SlicePitch": pitch,
        }
        frequency = _number(header, "experimentalConditions", "H1resonanceFrequency_Hz")
        if found["FieldStrength"] is None and frequency:
            found["FieldStrength"] = round(frequency / HZ_PER_T, 2)
        wide, narrow = (_number(header, "encoding", space, "fieldOfView_mm", "x") for space in SPACES)
        if wide and narrow:
            found["ReadOutOversample"] = round(wide / narrow, 3)
        times = {key: _times(header, key) for key in ("TI", "TE")}
    stated = {key: value for key, value in found.items() if value is not None and math.isfinite(value) and value > 0}
    spans = {"FOVxSpans": "nominal"} if "FOVx" in stated else {}
    return stated | spans | {key: text for key, text in times.items() if text}


@contextmanager
def _opened(path: Path, group: str) -> Iterator[tuple[ElementTree.Element, h5py.Dataset, Heaps]]:
    """Header, acquisitions and heaps, none of them in another file."""
    if not is_file(path):
        raise MissingFile(path, "missing: no such file")
    with reported(path, "MRD file"):
        file = h5py.File(path, "r", locking="best-effort")
    with file, path.open("rb") as stream:
        with reported(path, "MRD file"):
            heaps = Heaps(stream, path)
            home = _own(file, group, h5py.Group, path)
            xml, data = (_own(home, name, h5py.Dataset, path) for name in ("xml", "data"))
            for part in (xml, data):
                if part.is_virtual or part.external:
                    raise UnreadableFile(path, f"{part.name} lies in another file; not followed")
                check_packing(part, path)
            names = data.dtype.names or ()
            # numbers only: reading a head of another kind could mean reading a heap, see cohort.hdf5_heap
            if data.ndim != 1 or not {"head", "data"} <= set(names) or data.dtype["head"].hasobject:
                raise UnreadableFile(path, f"{data.name} holds no acquisitions as ISMRMRD writes them")
            if h5py.check_vlen_dtype(data.dtype["data"]) != np.dtype("<f4"):
                raise UnreadableFile(path, f"{data.name} holds samples of another kind than single precision")
            header = _parsed(xml, heaps, path)
        yield header, data, heaps


def _own(home: Any, name: str, kind: type, path: Path) -> Any:
    """A member of the file itself."""
    if not isinstance(home.get(name, getlink=True), h5py.HardLink) or home.get(name, getclass=True) is not kind:
        raise UnreadableFile(
            path, f"no MRD file: expected {name!r} in {home.name}, with xml and data as ISMRMRD writes them"
        )
    return home[name]


def _parsed(xml: h5py.Dataset, heaps: Heaps, path: Path) -> ElementTree.Element:
    """The header, tags without name space. Entities are refused: a few of them can unpack to any size."""
    if xml.shape not in ((), (1,)):
        raise UnreadableFile(path, f"expected one XML header, found {xml.shape}")
    if xml.shape == () or xml.dtype.kind == "S":
        raise UnreadableFile(path, "its XML header is stored in a way that is not read; write it anew")
    (reference,) = references(xml, heaps.stream, path)
    content = heaps.content(reference, value_bytes=1).rstrip(b"\0")
    if len(content) > MOST_XML_BYTES or b"<!" in content.replace(b"<!--", b""):
        raise UnreadableFile(path, "its XML header declares entities or is no header at all; not read")
    try:
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise UnreadableFile(path, f"its XML header is damaged ({str(error)[:80]})") from error
    for element in root.iter():
        element.tag = str(element.tag).rpartition("}")[2]
    return root


def _number(header: ElementTree.Element, *names: str) -> float | None:
    text = header.findtext("/".join(names))
    try:
        return float(text) if text else None
    except ValueError:
        return None


def _times(header: ElementTree.Element, key: str) -> str:
    """All times of a kind, in ms, as a row of a header; empty where one of them is no number."""
    texts = [(element.text or "").strip() for element in header.findall(f"sequenceParameters/{key}")]
    try:
        return " ".join(repr(float(text)).removesuffix(".0") for text in texts)
    except ValueError:
        return ""


@dataclass(frozen=True)
class _Layout:
    """The readouts of an image: their heads, references to their samples, place (frame, slice, ky), and the shape."""

    head: NDArray[Any]
    rows: NDArray[np.void]
    where: NDArray[np.int64]
    shape: tuple[int, int, int, int, int]


def _layout(header: ElementTree.Element, data: h5py.Dataset, heaps: Heaps) -> _Layout:
    path = heaps.path
    size, center = _matrix(header, path)
    head = data.fields("head")[()]
    lines = np.flatnonzero(_is_image(head, path))
    where, frames, slices = _places(head[lines], size[1], center, path)
    coils, samples = _readout(head[lines], size[0], path)
    shape = (frames, slices, coils, size[1], size[0])
    _check_sampled(where, shape, path)
    # nothing is packed in rows of any length, so all of it is in the file
    if len(lines) * coils * samples * 8 > path.stat().st_size:
        raise UnreadableFile(path, f"truncated: promises {len(lines)} readouts of {samples} samples and {coils} coils")
    rows = references(data, heaps.stream, path, member="data")[lines]
    return _Layout(head[lines], rows, where, shape)


def _matrix(header: ElementTree.Element, path: Path) -> tuple[tuple[int, int], int]:
    """Lengths of kx and ky, and the line of the center."""
    if len(header.findall("encoding")) != 1:
        raise WrongShape(path, f"expected one encoding, found {len(header.findall('encoding'))}")
    trajectory = (header.findtext("encoding/trajectory") or "").strip().lower()
    if trajectory != "cartesian":
        raise UnreadableFile(path, f"its trajectory is {trajectory[:40] or 'not stated'}; only cartesian is read")
    x, y, z = (_number(header, "encoding", "encodedSpace", "matrixSize", axis) for axis in "xyz")
    if not (x and y) or any(not 1 <= n <= 2**14 or n != int(n) for n in (x, y)):
        raise WrongShape(path, f"expected an encoded matrix of whole numbers, found {x} x {y}")
    if z not in (None, 1):
        raise WrongShape(path, f"is three-dimensional ({z:g} partitions); only slices are read")
    center = _number(header, "encoding", "encodingLimits", "kspace_encoding_step_1", "center")
    return (int(x), int(y)), int(y) // 2 if center is None or not 0 <= center < y else int(center)


def _is_image(head: NDArray[Any], path: Path) -> NDArray[np.bool_]:
    """Which readouts are of the image."""
    flags = head["flags"].astype(np.uint64)
    image = ~(flags & np.uint64(sum(1 << (bit - 1) for bit in NO_IMAGE))).astype(bool)
    if not image.any():
        raise UnreadableFile(path, "holds no readout of an image")
    if (flags[image] & np.uint64(1 << (REVERSED - 1))).any():
        raise UnreadableFile(path, "holds reversed readouts (EPI), which are not read")
    if (head["trajectory_dimensions"][image] > 0).any() or (head["encoding_space_ref"][image] > 0).any():
        raise UnreadableFile(path, "holds readouts with a trajectory or of a second encoding, which are not read")
    return np.asarray(image)


def _places(head: NDArray[Any], n_ky: int, center: int, path: Path) -> tuple[NDArray[np.int64], int, int]:
    """(frame, slice, ky) of each readout, and how many frames and slices there are."""
    index = head["idx"]
    if index["kspace_encode_step_2"].any():
        raise WrongShape(path, "is three-dimensional; only slices are read")
    running = [name for name in FRAME_COUNTERS if len(np.unique(index[name])) > 1]
    if len(running) > 1:
        raise WrongShape(path, f"{' and '.join(running)} both run; one of them can be the frames")
    _, frame = np.unique(index[running[0] if running else "phase"], return_inverse=True)
    z = _counted(index["slice"])
    z = _order(head["position"], z)[0][z]
    ky = index["kspace_encode_step_1"].astype(np.int64) - center + n_ky // 2
    if ky.min() < 0 or ky.max() >= n_ky:
        raise WrongShape(path, f"lines {ky.min()} to {ky.max()} of an encoded matrix of {n_ky}")
    return np.stack([frame.reshape(-1), z.reshape(-1), ky], axis=1), int(frame.max()) + 1, int(z.max()) + 1


def _counted(counter: NDArray[Any]) -> NDArray[np.int64]:
    """A counter without gaps."""
    return np.unique(counter, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _order(position: NDArray[Any], z: NDArray[np.int64]) -> tuple[NDArray[np.int64], float | None]:
    """The place of each counted slice along the line on which they lie, and the pitch in mm.

    Scanners may count slices in the order in which they were acquired, every other one first. Slices that do not lie on
    a line, or whose position is not told, stay in the order of their count.
    """
    n_slices = int(z.max()) + 1
    counted = np.arange(n_slices)
    places = np.array([position[z == number][0] for number in counted], dtype=np.float64)
    far = places - places[0]
    length = np.linalg.norm(far, axis=1)
    if not np.isfinite(length).all() or length.max() < SAME_MM:
        return counted, None
    along = far @ (far[length.argmax()] / length.max())
    off = np.sqrt(np.maximum(length**2 - along**2, 0.0))
    if along @ (counted - counted.mean()) < 0:
        along = -along
    order = np.argsort(along)
    steps = np.diff(along[order])
    if off.max() > SAME_MM or steps.min() < SAME_MM:
        return counted, None
    pitch = float(np.median(steps))
    return np.argsort(order), round(pitch, 3) if np.ptp(steps) <= UNEVEN * pitch else None


def _readout(head: NDArray[Any], n_kx: int, path: Path) -> tuple[int, int]:
    """Coils, and samples of a readout as stored."""
    facts = np.stack(
        [head[n] for n in ("active_channels", "number_of_samples", "center_sample", "discard_pre", "discard_post")],
        axis=1,
    )
    if len(np.unique(facts, axis=0)) > 1:
        raise WrongShape(path, "readouts differ in coils, samples or center; expected all alike")
    coils, samples, center, before, behind = (int(n) for n in facts[0])
    kept = samples - before - behind
    if coils < 1 or kept != n_kx or center - before != n_kx // 2:
        reason = f"{kept} samples with the center at {center - before}, expected {n_kx} and {n_kx // 2}"
        raise WrongShape(path, f"readouts of {coils} coils have {reason}: a partial echo is not fully sampled")
    return coils, samples


def _check_sampled(where: NDArray[np.int64], shape: tuple[int, ...], path: Path) -> None:
    wanted = shape[0] * shape[1] * shape[3]
    there = len(np.unique(where, axis=0))
    if there < wanted:
        raise WrongShape(
            path,
            f"{wanted - there} of {wanted} lines were not acquired ({shape[0]} frames, {shape[1]} slices); expected fully sampled",
        )


def _filled(found: _Layout, heaps: Heaps, slices: slice) -> NDArray[np.complex64]:
    """Put the readouts of some slices in their places; those of one place are averaged."""
    first, end, _ = slices.indices(found.shape[1])
    shape = (found.shape[0], end - first, *found.shape[2:])
    kspace, times = np.zeros(shape, np.complex64), np.zeros((*shape[:2], shape[3]), np.int64)
    samples, before = int(found.head["number_of_samples"][0]), int(found.head["discard_pre"][0])
    expected = 2 * shape[2] * samples
    for number in np.flatnonzero((found.where[:, 1] >= first) & (found.where[:, 1] < end)):
        row, (frame, z, ky) = found.rows[number], found.where[number] - (0, first, 0)
        if row["n"] != expected:
            raise UnreadableFile(heaps.path, f"readout {number} holds {row['n']} numbers, its head says {expected}")
        values = np.frombuffer(heaps.content(row, value_bytes=4), "<f4").astype(np.float32)
        kspace[frame, z, :, ky] += values.view(np.complex64).reshape(shape[2], samples)[:, before : before + shape[4]]
        times[frame, z, ky] += 1
    return kspace if (times == 1).all() else (kspace / times[:, :, None, :, None]).astype(np.complex64)
