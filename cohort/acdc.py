"""How is a patient of the ACDC challenge read, and which patients are held back from training?

ACDC (Bernard et al., IEEE TMI 37(11), 2018, doi 10.1109/TMI.2018.2837502; CC BY-NC-SA 4.0, research only) stores
magnitude images and expert labels at end diastole and end systole. Of it, only the names of the split are in this tree.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cohort.foreign import is_file, read_content
from cohort.images import open_nifti
from cohort.records import CardioValError, MissingFile, NotFinite, UnreadableFile, WrongShape

SPLIT_FILE = Path(__file__).with_name("acdc_split.json")
GROUPS = ("NOR", "DCM", "HCM", "MINF", "RV")
# ACDC writes 1 RV cavity, 2 myocardium, 3 LV cavity; here 1 LV cavity, 2 myocardium, 3 RV cavity
TO_OUR_LABELS = np.array([0, 3, 2, 1], dtype=np.uint8)


@dataclass(frozen=True)
class AcdcPatient:
    """One patient: end diastole and end systole with expert labels.

    Attributes
    ----------
    patient : str
        Folder name, ``patient001`` to ``patient100``.
    group : str
        NOR, DCM, HCM, MINF or RV.
    height_cm, weight_kg : float
        Of the patient.
    n_frames : int
        Frames of the acquired cine, of which two are kept here.
    ed_frame, es_frame : int
        Their positions in that cine, from 1 as in ``Info.cfg``.
    image : float32 (2, slices, y, x)
        Magnitude at end diastole (0) and end systole (1), scale as stored.
    labels : uint8 (2, slices, y, x)
        0 background, 1 LV cavity, 2 myocardium, 3 RV cavity.
    spacing_mm : (float, float, float)
        Slice pitch, y, x.
    """

    patient: str
    group: str
    height_cm: float
    weight_kg: float
    n_frames: int
    ed_frame: int
    es_frame: int
    image: NDArray[np.float32]
    labels: NDArray[np.uint8]
    spacing_mm: tuple[float, float, float]


def read_patient(folder: str | Path) -> AcdcPatient:
    """Read one patient folder.

    Parameters
    ----------
    folder : path
        ``.../patientNNN`` with ``Info.cfg``, ``*_frameMM.nii.gz`` and ``*_frameMM_gt.nii.gz`` of the two frames.

    Returns
    -------
    AcdcPatient

    Raises
    ------
    MissingFile, UnreadableFile, WrongShape, NotFinite
        With the file that is to blame.
    """
    folder = Path(folder)
    info = read_info(folder / "Info.cfg")
    try:
        ed_frame, es_frame = int(info["ED"]), int(info["ES"])
        group, n_frames = info["Group"], int(info["NbFrame"])
        height_cm, weight_kg = float(info["Height"]), float(info["Weight"])
    except (KeyError, ValueError) as error:
        raise UnreadableFile(
            folder / "Info.cfg", f"expected ED, ES, Group, Height, NbFrame, Weight: {error!r}"
        ) from error
    if not (0 < height_cm < math.inf and 0 < weight_kg < math.inf):
        raise UnreadableFile(folder / "Info.cfg", f"expected Height and Weight above 0, got {height_cm}, {weight_kg}")
    images, labels, spacings = [], [], []
    for frame in (ed_frame, es_frame):
        stem = f"{folder.name}_frame{frame:02d}"
        image, spacing = _read_volume(folder / f"{stem}.nii.gz")
        label, _ = _read_volume(folder / f"{stem}_gt.nii.gz")
        if label.shape != image.shape:
            raise WrongShape(folder / f"{stem}_gt.nii.gz", f"labels are {label.shape}, the image is {image.shape}")
        images.append(image.astype(np.float32))
        labels.append(_our_labels(label, folder / f"{stem}_gt.nii.gz"))
        spacings.append(spacing)
    if images[0].shape != images[1].shape:
        raise WrongShape(folder, f"end diastole is {images[0].shape}, end systole {images[1].shape}")
    return AcdcPatient(
        patient=folder.name,
        group=group,
        height_cm=height_cm,
        weight_kg=weight_kg,
        n_frames=n_frames,
        ed_frame=ed_frame,
        es_frame=es_frame,
        image=np.stack(images),
        labels=np.stack(labels),
        spacing_mm=spacings[0],
    )


def split() -> dict[str, list[str]]:
    """Patients for training (80) and held for validation (20), the latter 4 of each of the five groups.

    Returns
    -------
    dict
        ``training`` and ``validation``: folder names. Every training of this project, segmentation and reconstruction,
        keeps to it, so that no validation patient has been seen by any shipped weights.
    """
    stored = json.loads(SPLIT_FILE.read_text(encoding="utf-8"))
    return {name: list(stored[name]) for name in ("training", "validation")}


def draw_split(groups: Mapping[str, str], *, n_held_per_group: int, rng: np.random.Generator) -> dict[str, list[str]]:
    """Draw the held patients at random within each group: how ``acdc_split.json`` was made (seed inside it).

    Parameters
    ----------
    groups : mapping patient -> group
    n_held_per_group : int
    rng : numpy.random.Generator

    Returns
    -------
    dict
        ``training`` and ``validation``, sorted.
    """
    held: list[str] = []
    for group in sorted(set(groups.values())):
        members = sorted(patient for patient, its_group in groups.items() if its_group == group)
        held += [str(patient) for patient in rng.choice(members, size=n_held_per_group, replace=False)]
    return {"training": sorted(set(groups) - set(held)), "validation": sorted(held)}


def read_info(path: str | Path) -> dict[str, str]:
    """Read ``Info.cfg``, lines of ``key: value``."""
    path = Path(path)
    try:
        text = read_content(path, missing="no such file; an ACDC patient folder has an Info.cfg").decode("utf-8")
    except UnicodeDecodeError as error:
        raise UnreadableFile(path, f"not readable as text ({error})") from error
    pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def _read_volume(path: Path) -> tuple[NDArray[np.generic], tuple[float, float, float]]:
    """NIfTI volume (x, y, z) on disk -> (slices, y, x) and its spacing in mm."""
    if not is_file(path):
        raise MissingFile(path, "no such file, though Info.cfg names its frame")
    try:
        volume = open_nifti(path)
        data = np.asanyarray(volume.dataobj)
        x, y, z = (float(size) for size in volume.header.get_zooms()[:3])
    except CardioValError:
        raise
    except Exception as error:  # nibabel and zlib raise whatever the damaged bytes lead to
        raise UnreadableFile(path, f"not a readable NIfTI file ({error})") from error
    if data.ndim != 3:
        raise WrongShape(path, f"expected (x, y, z), got {data.shape}")
    if data.dtype.kind not in "fiu" or 0 in data.shape:
        raise WrongShape(path, f"expected real numbers, none of the axes empty, got {data.dtype} {data.shape}")
    if not np.isfinite(data).all():
        raise NotFinite(path, "holds NaN or infinity")
    if not all(np.isfinite(size) and size > 0 for size in (x, y, z)):
        raise WrongShape(path, f"expected three positive sizes of a voxel in mm, got {(x, y, z)}")
    return np.ascontiguousarray(data.transpose(2, 1, 0)), (z, y, x)


def _our_labels(labels: NDArray[np.generic], path: Path) -> NDArray[np.uint8]:
    """ACDC's label order to ours."""
    codes = np.asarray(labels).clip(-1, 4).astype(np.int64)
    if codes.min() < 0 or codes.max() > 3:
        raise UnreadableFile(path, f"expected labels 0 to 3, got {codes.min()} to {codes.max()}")
    return TO_OUR_LABELS[codes]
