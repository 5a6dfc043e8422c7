"""Which series of images are under a folder, DICOM or NIfTI, and what is measured on each?"""

import os
import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cohort.dicom import DicomStack, load_stack
from cohort.dicom_series import DicomSeries, Kind, find_series
from cohort.foreign import leads_out
from cohort.images import PlacedImage, read_placed, sidecar_path
from cohort.records import ConfigProblem, FileProblem, UnreadableFile, WrongShape
from flows.phenotype_people import apart, names_of_people

MODALITIES: Final[dict[str, Kind]] = {
    "cine": "cine",
    "t1": "T1 mapping",
    "t2": "T2 mapping",
    "t2star": "T2* mapping",
}
#: names of the times of a mapping series in a NIfTI's sidecar: one number a frame, ms
SIDECAR_TIMES: Final[dict[str, Kind]] = {
    "inversion_times_ms": "T1 mapping",
    "t2_preparation_times_ms": "T2 mapping",
    "echo_times_ms": "T2* mapping",
}
LABEL_NAMES = re.compile(r"_(gt|seg|segmentation|label|labels|mask)\.nii(\.gz)?$", re.IGNORECASE)
ONE_FRAME = re.compile(r"^(?P<stem>.+)_frame(?P<number>\d+)\.nii(\.gz)?$", re.IGNORECASE)


@dataclass(frozen=True)
class ImageSeries:
    """One series: a name for its folder of results, the patient's name in the table, and what it is.

    `patient` is the name of a folder or file that the user gave, never a name from a header.
    """

    name: str
    patient: str
    kind: Kind
    files: tuple[Path, ...]
    reason: str = ""
    dicom: DicomSeries | None = None


@dataclass(frozen=True)
class LoadedSeries:
    """Images as scanners show them, (times, slices, y, x), and what the header says of them.

    `doubt` says why the size of a voxel may be made up, empty where it is stated.
    `stored` turns an array as shown back to the way it is stored, on which `affine` and `stack` (DICOM only) lie.
    """

    image: NDArray[np.float32]
    phase: NDArray[np.float32] | None
    times_ms: NDArray[np.float64] | None
    spacing_mm: tuple[float, float, float]
    affine: NDArray[np.float64]
    frame_time_s: float | None
    heart_rate_bpm: float | None
    height_m: float | None
    weight_kg: float | None
    vendor: str
    field_t: float
    words: tuple[str, ...]
    note: str
    stack: DicomStack | None
    placed: PlacedImage | None
    doubt: str = ""

    def stored(self, array: NDArray[Any]) -> NDArray[Any]:
        """From shown to stored."""
        return array if self.placed is None else self.placed.as_shown(array)


LEADS_OUT = "symbolic link out of the folder; not followed, put the file itself here"


def find_images(
    root: Path, *, modality: str = "auto", skip: Path | None = None
) -> tuple[list[ImageSeries], list[FileProblem]]:
    """Every series under a folder, by patient and number, and the files that cannot be read.

    Parameters
    ----------
    root
        Folder, searched to its depth; hidden files are passed over.
    modality
        `auto`, or one of `MODALITIES` for all series that could be it.
    skip
        A folder that is not searched: that of the results.

    Raises
    ------
    ConfigProblem
        No such folder, an unknown modality, or no image in the folder.
    """
    if modality != "auto" and modality not in MODALITIES:
        raise ConfigProblem(f"modality is auto, {', '.join(MODALITIES)}, not {modality!r}")
    if not root.is_dir():
        raise ConfigProblem(f"{root} is no folder; expected one with DICOM or NIfTI images")
    files = _files(root, skip)
    # another's file, a patient's of another study even, is not measured because somebody points to it
    outside = {path for path in files if path.is_symlink() and leads_out(path, root)}
    files = [path for path in files if path not in outside]
    nifti = [path for path in files if path.name.lower().endswith((".nii", ".nii.gz"))]
    known = set(nifti)
    found, problems = find_series(path for path in files if path not in known)
    problems += [UnreadableFile(path, LEADS_OUT) for path in sorted(outside)]
    others = _nifti_images(root, nifti, problems)
    series = [*_dicom_images(root, found, others={one.patient for one in others}), *others]
    if not series and not problems:
        raise ConfigProblem(f"{root}: no DICOM or NIfTI image in it")
    if modality != "auto":
        series = [_forced(one, MODALITIES[modality]) for one in series]
    return _named_apart(series), problems


def load(series: ImageSeries) -> LoadedSeries:
    """Read a series' pixels. Raises FileProblem with the file and the reason."""
    if series.dicom is None:
        return _load_nifti(series)
    stack = load_stack(series.dicom)
    facts = series.dicom.frames[0].facts
    cine = series.kind == "cine"
    steps = np.diff(stack.times_ms, axis=0)
    return LoadedSeries(
        image=stack.images,
        phase=stack.phase,
        times_ms=None if cine else stack.times_ms,
        spacing_mm=stack.spacing_mm,
        affine=stack.affine,
        frame_time_s=float(np.median(steps)) / 1000 if cine and steps.size else None,
        heart_rate_bpm=facts.heart_rate_bpm,
        height_m=facts.height_m,
        weight_kg=facts.weight_kg,
        vendor=facts.vendor,
        field_t=facts.field_t,
        words=facts.words,
        note=stack.note,
        stack=stack,
        placed=None,
    )


def _files(root: Path, skip: Path | None) -> list[Path]:
    left_out = skip.resolve() if skip is not None else None
    found: list[Path] = []
    for folder, names, files in os.walk(root):
        here = Path(folder)
        names[:] = sorted(n for n in names if not n.startswith(".") and (here / n).resolve() != left_out)
        found += [here / name for name in sorted(files) if not name.startswith(".")]
    return found


# --- DICOM -----------------------------------------------------------------------------------------------------------


def _dicom_images(root: Path, found: list[DicomSeries], *, others: Collection[str]) -> list[ImageSeries]:
    return [
        ImageSeries(
            name=f"{patient}_series{series.number:03d}",
            patient=patient,
            kind=series.kind,
            files=series.files,
            reason=series.reason,
            dicom=series,
        )
        for series, patient in zip(found, names_of_people(root, found, others=others), strict=True)
    ]


# --- NIfTI -----------------------------------------------------------------------------------------------------------


def _nifti_images(root: Path, paths: list[Path], problems: list[FileProblem]) -> list[ImageSeries]:
    paths = [path for path in paths if not LABEL_NAMES.search(path.name)]
    frames: dict[tuple[Path, str], list[Path]] = defaultdict(list)
    whole: list[Path] = []
    for path in paths:
        match = ONE_FRAME.match(path.name)
        (frames[path.parent, match["stem"]] if match else whole).append(path)
    four = {(path.parent, _stem(path).removesuffix("_4d")) for path in whole if _stem(path).endswith("_4d")}
    series = [_of_frames(root, key, parts) for key, parts in frames.items() if key not in four]
    for path in whole:
        try:
            series.append(_of_file(root, path))
        except FileProblem as problem:
            problems.append(problem)
    return sorted(series, key=lambda one: one.files[0])


def _of_frames(root: Path, key: tuple[Path, str], parts: list[Path]) -> ImageSeries:
    ordered = sorted(parts, key=lambda path: (int(ONE_FRAME.match(path.name)["number"]), path))  # type: ignore[index]
    kind, reason = ("cine", "") if len(parts) > 1 else ("other", ONE_TIME)
    files = (*ordered, *(beside for path in ordered if (beside := sidecar_path(path)).is_file()))
    return ImageSeries(key[1], _nifti_patient(root, ordered[0], key[1]), kind, files, reason)  # type: ignore[arg-type]


ONE_TIME = "one time: end diastole and end systole need two; with --modality cine it is segmented all the same"


def _of_file(root: Path, path: Path) -> ImageSeries:
    placed = read_placed(path, allow_nan=True)
    kind: Kind = "cine"
    reason = ""
    stated = [known for name, known in SIDECAR_TIMES.items() if name in placed.sidecar]
    if stated:
        kind = stated[0]
    elif len(placed.image) < 2:
        kind, reason = "other", ONE_TIME
    elif placed.image.shape[1] < 3:
        kind, reason = "other", f"a series of {placed.image.shape[1]} slices: no short-axis stack"
    beside = sidecar_path(path)
    files = (path, beside) if beside.is_file() else (path,)
    return ImageSeries(_stem(path), _nifti_patient(root, path, _stem(path)), kind, files, reason)


def _nifti_patient(root: Path, path: Path, stem: str) -> str:
    parts = path.relative_to(root).parts
    return parts[0] if len(parts) > 1 else stem.removesuffix("_4d")


def _stem(path: Path) -> str:
    return re.sub(r"\.nii(\.gz)?$", "", path.name, flags=re.IGNORECASE)


def _load_nifti(series: ImageSeries) -> LoadedSeries:
    images = [path for path in series.files if not path.name.endswith(".json")]
    parts = [read_placed(path) for path in images]
    first = parts[0]
    for path, part in zip(images, parts, strict=True):
        if part.image.shape[1:] != first.image.shape[1:] or not np.allclose(
            part.spacing_mm, first.spacing_mm, rtol=1e-3
        ):
            raise WrongShape(path, f"has {part.image.shape[1:]} voxels, the first frame {first.image.shape[1:]}")
    image = np.concatenate([part.image for part in parts]) if len(parts) > 1 else first.image
    rate = first.sidecar.get("heart_rate_bpm")
    return LoadedSeries(
        image=first.as_shown(image).astype(np.float32),
        phase=None,
        times_ms=_sidecar_times(images[0], first, series.kind),
        spacing_mm=first.spacing_mm,
        affine=first.affine,
        frame_time_s=first.frame_time_s if len(parts) == 1 else None,
        heart_rate_bpm=float(rate) if isinstance(rate, int | float) and rate > 0 else None,
        height_m=None,
        weight_kg=None,
        vendor="unknown",
        field_t=float("nan"),
        words=(),
        note="",
        stack=None,
        placed=first,
        doubt=next((part.doubt for part in parts if part.doubt), ""),
    )


def _sidecar_times(path: Path, placed: PlacedImage, kind: Kind) -> NDArray[np.float64] | None:
    if kind == "cine":
        return None
    wanted = [name for name, known in SIDECAR_TIMES.items() if known == kind or name == "echo_times_ms"]
    if kind == "T1 mapping":
        wanted = ["inversion_times_ms"]
    given = next((placed.sidecar[name] for name in wanted if name in placed.sidecar), None)
    if given is None:
        raise FileProblem(path, f"a NIfTI holds no times; write {' or '.join(wanted)} into the .json beside it")
    times = np.asarray(given, dtype=np.float64)
    if times.shape != (len(placed.image),):
        raise WrongShape(path, f"{len(placed.image)} images, but {times.size} times in the .json beside it")
    return np.repeat(times[:, None], placed.image.shape[1], axis=1)


# --- both ------------------------------------------------------------------------------------------------------------


def _forced(series: ImageSeries, kind: Kind) -> ImageSeries:
    if series.dicom is not None and series.dicom.frames[0].component != "magnitude":
        return series
    dicom = replace(series.dicom, kind=kind, reason="") if series.dicom is not None else None
    return replace(series, kind=kind, reason="", dicom=dicom)


def _named_apart(series: Sequence[ImageSeries]) -> list[ImageSeries]:
    names = apart([one.name for one in series])
    return [one if one.name == name else replace(one, name=name) for one, name in zip(series, names, strict=True)]
