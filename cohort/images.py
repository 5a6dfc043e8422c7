"""How are images and labels kept on disk between the stages?

As NIfTI, axes (x, y, z, t) in mm and s, and a `.json` beside it that says what they are. This is the only place that
knows affines and the order of NIfTI's axes; everywhere else an image is (frames, slices, y, x).
The affine of an image made from k-space is the diagonal of the spacing: files of CMRxRecon state no position and no
orientation. Images that come with a place in the patient (DICOM, NIfTI) keep it.
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from cohort.atomic import replacing, write_text
from cohort.foreign import check_unpacked, is_file, read_json
from cohort.matfile import Pathish
from cohort.records import CardioValError, MissingFile, NotFinite, UnreadableFile, WrongShape

Spacing = tuple[float, float, float]
MM_PER_UNIT = {"unknown": 1.0, "mm": 1.0, "meter": 1000.0, "micron": 0.001}
NIFTI2_HEADER_BYTES = 540
#: some programs leave a little behind the image; more is no image
TAIL_BYTES = 2**20
SECONDS_PER_UNIT = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}
#: an axis closer to a body axis than this cosine (8 degrees) lies along it: if both do, the affine may be made up
OBLIQUE = 0.99
#: the time step of a header is believed where a cine can have it; 1 is what stands there when nobody knew
FRAME_TIME_RANGE_S = (0.005, 0.25)
N_MEASURED = 4  # 0 background, 1 LV cavity, 2 myocardium, 3 RV cavity
N_LABELS = N_MEASURED + 2  # and 4 LA cavity, 5 RA cavity: kept where a label map asks for them, measured nowhere


@dataclass(frozen=True)
class PlacedImage:
    """An image with its place in the patient.

    Attributes
    ----------
    image : (frames, slices, y, x)
        As stored.
    spacing_mm : (slice pitch, y, x)
    affine : (4, 4)
        Voxel (x, y, z) to mm.
    frame_time_s : float or None
        None where the header states none that a cine can have.
    flipped : (bool, bool)
        Whether y and x must be turned around to see the image as scanners show it (`as_shown`).
    sidecar
        Empty where there is none.
    doubt
        Why the header's voxel size may be made up; empty where it is stated.
    """

    image: NDArray[Any]
    spacing_mm: Spacing
    affine: NDArray[np.float64]
    frame_time_s: float | None
    flipped: tuple[bool, bool]
    sidecar: dict[str, Any]
    doubt: str = ""

    def as_shown(self, array: NDArray[Any]) -> NDArray[Any]:
        """Turn (..., y, x) around between stored and shown; twice is nothing."""
        return np.ascontiguousarray(array[..., :: -1 if self.flipped[0] else 1, :: -1 if self.flipped[1] else 1])


def write_image(
    path: Pathish,
    image: NDArray[Any],
    *,
    spacing_mm: Spacing,
    sidecar: Mapping[str, Any],
    allow_nan: bool = False,
    affine: NDArray[np.float64] | None = None,
) -> None:
    """Write an image and its sidecar; each appears whole or not at all, the sidecar first.

    Parameters
    ----------
    path
        `.nii.gz` or `.nii`; the sidecar is the same name with `.json`.
    image
        (frames, slices, y, x): real numbers are stored as float32, uint8 and bool as uint8.
    spacing_mm
        (slice pitch, y, x) in mm.
    sidecar
        Whatever JSON can hold; `frame_time_s`, if it is a number, also becomes the time step of the NIfTI.
    allow_nan
        Maps may hold NaN where there is no value; images may not.
    affine
        Voxel (x, y, z) to mm, for images with a place in the patient; the diagonal of the spacing by default.

    Raises
    ------
    WrongShape
        Not four axes, an empty one, complex, another kind of number, or a spacing that is not positive.
    NotFinite
        NaN or infinity without `allow_nan`.
    UnreadableFile
        A name that does not end in `.nii` or `.nii.gz`, or a sidecar that JSON cannot hold.
    """
    target = Path(path)
    beside = sidecar_path(target)
    data = _storable(target, image, allow_nan=allow_nan)
    spacing = _checked_spacing(target, spacing_mm)
    try:
        text = json.dumps(dict(sidecar), indent=1, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise UnreadableFile(beside, f"the sidecar holds what JSON cannot: {error}") from error
    frame_time_s = sidecar.get("frame_time_s")
    matrix = np.diag([*spacing[::-1], 1.0]) if affine is None else np.asarray(affine, dtype=np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise WrongShape(target, f"expected an affine of 4 x 4 finite numbers, got {matrix.shape}")
    nifti = nibabel.Nifti1Image(data.transpose(3, 2, 1, 0), matrix)
    if affine is not None:
        nifti.header.set_sform(matrix, code="scanner")
        nifti.header.set_qform(matrix, code="scanner", strip_shears=True)
    nifti.header.set_xyzt_units("mm", "sec")
    nifti.header.set_zooms((*spacing[::-1], float(frame_time_s or 0.0)))
    packed = nifti.to_bytes()
    write_text(beside, text + "\n")
    with replacing(target) as temporary:
        temporary.write_bytes(gzip.compress(packed, compresslevel=1, mtime=0) if target.suffix == ".gz" else packed)


def write_labels(
    path: Pathish,
    labels: NDArray[Any],
    *,
    spacing_mm: Spacing,
    sidecar: Mapping[str, Any],
    affine: NDArray[np.float64] | None = None,
) -> None:
    """Write labels as `write_image` does: 0 background, 1 LV cavity, 2 myocardium, 3 RV cavity, 4 LA and 5 RA cavity.

    Raises
    ------
    WrongShape, NotFinite, UnreadableFile
        As `write_image`; WrongShape also for what is not uint8 0 to 5.
    """
    if labels.dtype != np.uint8 or (labels.size and labels.max() >= N_LABELS):
        raise WrongShape(path, f"expected uint8 labels 0 to {N_LABELS - 1}, got {labels.dtype} up to {labels.max()}")
    write_image(path, labels, spacing_mm=spacing_mm, sidecar=sidecar, affine=affine)


def read_image(path: Pathish, *, allow_nan: bool = False) -> tuple[NDArray[Any], Spacing, dict[str, Any]]:
    """Read an image, its spacing and its sidecar.

    Parameters
    ----------
    path
        Any NIfTI of axes (x, y, z) or (x, y, z, t), ours or foreign; its orientation is not used.
    allow_nan
        Accept NaN, as maps have it.

    Returns
    -------
    image
        (frames, slices, y, x); uint8 where it is stored so without scaling, else float32.
    spacing_mm
        (slice pitch, y, x) in mm.
    sidecar
        Empty where there is none.

    Raises
    ------
    MissingFile, UnreadableFile
        Not there, truncated, not NIfTI, or a sidecar that is no JSON object.
    WrongShape
        Other axes, an empty one, or a spacing that is not positive.
    NotFinite
        NaN or infinity without `allow_nan`.
    """
    placed = read_placed(path, allow_nan=allow_nan)
    return placed.image, placed.spacing_mm, placed.sidecar


def read_placed(path: Pathish, *, allow_nan: bool = False) -> PlacedImage:
    """Read an image with its place in the patient and its frame time.

    Arguments and errors as `read_image`. An image is `flipped` where its affine is oblique, so that it comes from a
    scanner: short-axis planes are shown with the patient's left to the right and the feet or the back below.
    Affines along the axes are often made up, and turn nothing.
    """
    source = Path(path)
    beside = sidecar_path(source)
    if not is_file(source):
        raise MissingFile(source, "missing: no such file")
    try:
        nifti = open_nifti(source)
        stored = np.asanyarray(nifti.dataobj)
        zooms, (unit, time_unit) = nifti.header.get_zooms(), nifti.header.get_xyzt_units()
        placed = int(nifti.header["qform_code"]) > 0 or int(nifti.header["sform_code"]) > 0
        affine = np.asarray(nifti.affine, dtype=np.float64)
    except CardioValError:
        raise
    except Exception as error:  # nibabel and zlib raise whatever the damaged bytes lead to
        raise UnreadableFile(source, f"not a whole NIfTI file ({type(error).__name__}: {error})") from error
    if stored.ndim not in (3, 4):
        raise WrongShape(source, f"expected (x, y, z) or (x, y, z, t), got {stored.shape}")
    data = stored.reshape(stored.shape + (1,) * (4 - stored.ndim)).transpose(3, 2, 1, 0)
    # str: the shortest decimal of a float32, so that 1.2 mm is read as 1.2 and not as 1.2000000476837158
    steps = [float(str(z)) * MM_PER_UNIT.get(unit, 1.0) for z in zooms[:3]]
    spacing = _checked_spacing(source, (steps[2], steps[1], steps[0]))
    step_s = float(str(zooms[3])) * SECONDS_PER_UNIT.get(time_unit, 1.0) if len(zooms) > 3 else 0.0
    return PlacedImage(
        image=np.ascontiguousarray(_storable(source, data, allow_nan=allow_nan)),
        spacing_mm=spacing,
        affine=affine,
        frame_time_s=step_s if FRAME_TIME_RANGE_S[0] <= step_s <= FRAME_TIME_RANGE_S[1] else None,
        flipped=_flips(affine),
        sidecar=_read_sidecar(beside),
        doubt=_doubt(spacing, unit=unit, placed=placed),
    )


def _doubt(spacing_mm: Spacing, *, unit: str, placed: bool) -> str:
    """What programs leave behind that do not know the size of a voxel."""
    signs = {
        "the NIfTI names no unit of length": unit == "unknown",
        "the NIfTI has neither qform nor sform": not placed,
        "the NIfTI has voxels of 1 x 1 x 1 mm, as where nobody set them": np.allclose(spacing_mm, 1.0, atol=1e-6),
    }
    return "; ".join(sign for sign, there in signs.items() if there)


def affine_of_planes(
    orientation: Sequence[float], positions: NDArray[np.float64], *, pixel_mm: tuple[float, float], pitch_mm: float
) -> tuple[NDArray[np.float64], float]:
    """The affine of a stack of planes that DICOM describes.

    Parameters
    ----------
    orientation
        Direction along a row (x), then down a column (y), in DICOM's axes (left, posterior, superior).
    positions
        (slices, 3): center of the first pixel of each slice, mm.
    pixel_mm
        (y, x).
    pitch_mm
        Distance of slices, for a stack of one.

    Returns
    -------
    affine : (4, 4)
        Voxel (x, y, z) to mm in NIfTI's axes (right, anterior, superior).
    float
        How far a slice lies from where the affine puts it, mm, at most.
    """
    row, column = np.asarray(orientation, dtype=np.float64).reshape(2, 3)
    n = len(positions)
    step = (positions[-1] - positions[0]) / (n - 1) if n > 1 else np.cross(row, column) * pitch_mm
    away = positions - (positions[0] + np.arange(n)[:, None] * step)
    matrix = np.eye(4)
    matrix[:3] = np.column_stack([row * pixel_mm[1], column * pixel_mm[0], step, positions[0]])
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ matrix, float(np.linalg.norm(away, axis=1).max())


def _flips(affine: NDArray[np.float64]) -> tuple[bool, bool]:
    """Whether y and x run against the way scanners show a short axis; never for affines along the axes."""
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    if not (np.isfinite(affine).all() and (sizes > 0).all()):
        return False, False
    x, y, _ = (affine[:3, :3] / sizes).T * np.array([-1.0, -1.0, 1.0])  # left, posterior, superior
    if np.abs(x).max() > OBLIQUE and np.abs(y).max() > OBLIQUE:
        return False, False
    return bool(y[1] - y[2] < 0), bool(x[0] < 0)


def read_labels(path: Pathish, *, atria: bool = False) -> tuple[NDArray[np.uint8], Spacing, dict[str, Any]]:
    """Read labels as `write_labels` wrote them: uint8 (frames, slices, y, x), spacing in mm, sidecar.

    Without `atria` there is background in their place, as all that measures wants it.

    Raises
    ------
    MissingFile, UnreadableFile, WrongShape, NotFinite
        As `read_image`; WrongShape also for values other than 0 to 5.
    """
    image, spacing, sidecar = read_image(path)
    with np.errstate(invalid="ignore"):  # what is no label is told below
        labels = image.astype(np.uint8)
    if (labels != image).any() or labels.max() >= N_LABELS:
        raise WrongShape(path, f"expected labels 0 to {N_LABELS - 1}, got values from {image.min()} to {image.max()}")
    return labels if atria else without_atria(labels), spacing, sidecar


def without_atria(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The labels that are measured, background in the place of atria."""
    return np.where(labels < N_MEASURED, labels, 0).astype(np.uint8)


def sidecar_path(path: Pathish) -> Path:
    """Name of the `.json` beside a `.nii.gz` or `.nii`.

    Raises
    ------
    UnreadableFile
        Another ending.
    """
    target = Path(path)
    for ending in (".nii.gz", ".nii"):
        if target.name.endswith(ending):
            return target.with_name(target.name.removesuffix(ending) + ".json")
    raise UnreadableFile(target, "expected a name ending in .nii.gz or .nii")


def open_nifti(source: Path) -> Any:
    """Open a NIfTI file with nibabel, after what its header promises was set against its size.

    All of the file is unpacked, so that the checksum of gzip is compared, but never more than the header says.

    Raises
    ------
    UnreadableFile
        Less or more in the file than its header promises, or so much that it would fill the memory.
    Exception
        Whatever nibabel and zlib raise over damaged bytes.
    """
    packed_bytes = source.stat().st_size
    with source.open("rb") as raw, gzip.GzipFile(fileobj=raw) if source.suffix == ".gz" else raw as stream:
        head = stream.read(NIFTI2_HEADER_BYTES)
        kind, promised = _promised_bytes(head)
        check_unpacked(source, promised, packed_bytes=packed_bytes)
        content = head + stream.read(max(0, promised + TAIL_BYTES + 1 - len(head)))
    if len(content) < promised:
        raise UnreadableFile(
            source, f"not a whole NIfTI file: holds {len(content)} bytes, its header promises {promised}"
        )
    if len(content) > promised + TAIL_BYTES:
        raise UnreadableFile(
            source, f"not a NIfTI file alone: holds more than the {promised} bytes that its header promises"
        )
    return kind.from_bytes(content)


def _promised_bytes(head: bytes) -> tuple[Any, int]:
    """Class of the image, and bytes of header and image by the header."""
    is_second = NIFTI2_HEADER_BYTES in (int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big"))
    kind = nibabel.Nifti2Image if is_second else nibabel.Nifti1Image
    header = kind.header_class(head[: kind.header_class.template_dtype.itemsize], check=False)
    n_axes = int(header["dim"][0])
    lengths = [max(int(n), 0) for n in header["dim"][1 : n_axes + 1]]
    return kind, int(header["vox_offset"]) + math.prod(lengths) * int(header.get_data_dtype().itemsize)


def _storable(path: Path, image: NDArray[Any], *, allow_nan: bool) -> NDArray[Any]:
    if image.ndim != 4 or 0 in image.shape or image.dtype.kind not in "fiub":
        raise WrongShape(path, f"expected real (frames, slices, y, x), none empty, got {image.dtype} {image.shape}")
    if image.dtype in (np.uint8, np.bool_):
        return image.astype(np.uint8)
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is reported as such
        data = image.astype(np.float32)
    if np.isinf(data).any() or (np.isnan(data).any() and not allow_nan):
        raise NotFinite(path, f"{np.count_nonzero(~np.isfinite(data))} of {data.size} values are NaN or infinite")
    return data


def _checked_spacing(path: Path, spacing_mm: Spacing) -> Spacing:
    z, y, x = (float(s) for s in spacing_mm)
    if not all(np.isfinite(s) and s > 0 for s in (z, y, x)):
        raise WrongShape(path, f"spacing is three positive numbers of mm (slice pitch, y, x), not {tuple(spacing_mm)}")
    return z, y, x


def _read_sidecar(beside: Path) -> dict[str, Any]:
    if not is_file(beside):
        return {}
    content = read_json(beside, unknown_as_none=True)
    if not isinstance(content, dict):
        raise UnreadableFile(beside, f"expected a JSON object, got {type(content).__name__}")
    return content
