"""Which patients does a fold of the cross-validation hold back, and how well are they labeled?"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import SimpleITK as sitk

from cohort.records import ConfigProblem
from phenotyping.labels import NAMES
from phenotyping.nnunet import segment
from phenotyping.overlap import dice

#: as many as nnU-Net's own cross-validation has
N_FOLDS: Final = 5
STRUCTURES: Final = (1, 2, 3)


def chosen_folds(text: str) -> tuple[int, ...]:
    """Folds that a user names: ``all``, or numbers from 0 with commas; none for a training without cross-validation.

    Raises
    ------
    ConfigProblem
        No such fold.
    """
    if not text.strip():
        return ()
    if text.strip() == "all":
        return tuple(range(N_FOLDS))
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() and int(part) < N_FOLDS for part in parts):
        raise ConfigProblem(f"folds {text!r}: expected all, or numbers from 0 to {N_FOLDS - 1} with commas, as 0,1,2")
    return tuple(sorted({int(part) for part in parts}))


def fold_splits(groups: Mapping[str, str], *, rng: np.random.Generator) -> list[dict[str, list[str]]]:
    """Cases to learn from and to hold back, in each fold.

    Every patient is held back in exactly one fold, with all its cases; diseases and phantoms are spread evenly.

    Parameters
    ----------
    groups
        Case -> patient; patients of one kind have the same name up to the first ``_`` or digit.
    rng
        Draws who is in which fold.

    Raises
    ------
    ConfigProblem
        Fewer patients than folds.
    """
    patients = sorted(set(groups.values()))
    if len(patients) < N_FOLDS:
        raise ConfigProblem(
            f"{N_FOLDS}-fold cross-validation needs as many patients, got {len(patients)}; add phantoms or leave folds out"
        )
    dealt: list[str] = []
    for kind in sorted({_kind(patient) for patient in patients}):
        members = [patient for patient in patients if _kind(patient) == kind]
        dealt += [str(patient) for patient in rng.permutation(members)]
    fold_of = {patient: place % N_FOLDS for place, patient in enumerate(dealt)}
    return [
        {
            "train": sorted(case for case, patient in groups.items() if fold_of[patient] != fold),
            "val": sorted(case for case, patient in groups.items() if fold_of[patient] == fold),
        }
        for fold in range(N_FOLDS)
    ]


def held_back_dice(raw: Path, model: Path, cases: Sequence[str], *, fold: int, device: str) -> dict[str, Any]:
    """Dice of the cases that a fold has not seen, labeled by that fold alone.

    Parameters
    ----------
    raw
        nnU-Net's raw data set.
    model
        Result folder with this fold.
    cases
        Names of the cases.
    fold, device
        Which weights, and where they compute.

    Returns
    -------
    ``mean`` by structure, and ``cases``: by case and structure; None where neither has the structure.
    """
    found = {}
    for case in cases:
        image = sitk.ReadImage(str(raw / "imagesTr" / f"{case}_0000.nii.gz"))
        truth = sitk.GetArrayFromImage(sitk.ReadImage(str(raw / "labelsTr" / f"{case}.nii.gz")))
        x, y, pitch = (float(size) for size in image.GetSpacing())
        volume = sitk.GetArrayFromImage(image)[None]
        labels = segment(
            volume, spacing_mm=(pitch, y, x), model_folder=model, folds=(fold,), device=device, check_order=False
        )[0]
        found[case] = {NAMES[code]: dice(truth == code, labels == code) for code in STRUCTURES}
    return {
        "mean": {NAMES[code]: _mean([row[NAMES[code]] for row in found.values()]) for code in STRUCTURES},
        "cases": found,
    }


def read_splits(folder: Path) -> list[dict[str, list[str]]]:
    """The splits of a data set, as nnU-Net stores them."""
    splits: list[dict[str, list[str]]] = json.loads((folder / "splits_final.json").read_text(encoding="utf-8"))
    return splits


def _kind(patient: str) -> str:
    """``HCM`` of ``HCM_patient021``, ``phantom`` of ``phantom007``."""
    return patient.split("_")[0].rstrip("0123456789")


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
