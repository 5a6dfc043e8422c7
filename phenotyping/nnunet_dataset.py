"""What does the segmentation learn from, and by which plan? An nnU-Net data set, planned and preprocessed."""

import contextlib
import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from cohort.acdc import GROUPS, read_patient, split
from cohort.atomic import write_text
from phenotyping.nnunet import nnunet_environment, nnunet_library
from phenotyping.nnunet_folds import fold_splits
from phenotyping.nnunet_phantoms import Case, phantom_cases
from phenotyping.nnunet_plan import CONFIGURATION, SHIPPED_PLAN, PlanName, edited_plan

DATASET = "Dataset001_CardioVal"
LABELS = {"background": 0, "LV cavity": 1, "myocardium": 2, "RV cavity": 3}
Progress = Callable[[str, int, int], None]


def write_raw_dataset(
    out: Path, acdc: Path | None, phantoms: int, seed: int, report: Progress, *, cross_validated: bool = False
) -> None:
    """The nnU-Net raw data set, and which cases only monitor the training (one ACDC training patient a group) or are
    held back in the folds of a cross-validation."""
    folder = out / "nnUNet_raw" / DATASET
    shutil.rmtree(folder, ignore_errors=True)
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    groups: dict[str, str] = {}
    sources = [_acdc_cases(acdc, report)] if acdc is not None else []
    sources += [phantom_cases(phantoms, rng=np.random.default_rng(seed), report=report)] if phantoms else []
    for source in sources:
        for case in source:
            groups[case.name] = case.group
            _write_volume(folder / "imagesTr" / f"{case.name}_0000.nii.gz", case.image, case.spacing_mm)
            _write_volume(folder / "labelsTr" / f"{case.name}.nii.gz", case.labels, case.spacing_mm)
    description = {
        "channel_names": {"0": "MRI"},
        "labels": LABELS,
        "numTraining": len(groups),
        "file_ending": ".nii.gz",
        "name": "short-axis cardiac MRI",
        "overwrite_image_reader_writer": "SimpleITKIO",
    }
    write_json(folder / "dataset.json", description)
    if cross_validated:
        write_json(folder / "splits_final.json", fold_splits(groups, rng=np.random.default_rng(seed)))
        return
    monitored = _monitored(sorted(set(groups.values())), np.random.default_rng(seed))
    parts: dict[str, list[str]] = {"train": [], "val": []}
    for name, group in sorted(groups.items()):
        parts["val" if group in monitored else "train"].append(name)
    write_json(folder / "splits_final.json", [parts])


def plan_and_preprocess(out: Path, report: Progress, *, plan: PlanName = "small") -> None:
    """Fingerprint, plan (nnU-Net's own or the small one) and preprocessed cases, by nnU-Net's classes, one case at a
    time; of a standard plan only the 2-D configuration is used."""
    library, folder = nnunet_library(), out / "nnUNet_preprocessed" / DATASET
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    cases = library.DatasetFingerprintExtractor(DATASET, 1).dataset
    write_json(folder / "dataset_fingerprint.json", _fingerprint(cases, library, report))
    # the planner takes the number of augmentation workers as a number of threads, which 0 is not
    with nnunet_environment(nnUNet_n_proc_DA="1"), contextlib.redirect_stdout(io.StringIO()):
        plans = library.ExperimentPlanner(DATASET).plan_experiment()
    plans = edited_plan(plans, SHIPPED_PLAN) if plan == "small" else plans
    write_json(folder / f"{plans['plans_name']}.json", plans)
    dataset = json.loads((folder / "dataset.json").read_text())
    manager = library.PlansManager(plans)
    configuration = manager.get_configuration(CONFIGURATION)
    target = folder / configuration.data_identifier
    target.mkdir(exist_ok=True)
    preprocessor = configuration.preprocessor_class(verbose=False)
    for count, (name, files) in enumerate(cases.items()):
        preprocessor.run_case_save(str(target / name), files["images"], files["label"], manager, configuration, dataset)
        report("preprocess", count + 1, len(cases))
    (folder / "done").touch()


def _fingerprint(cases: dict[str, Any], library: Any, report: Progress) -> dict[str, Any]:
    """What nnU-Net's extractor finds in each case, gathered as its own `run` does, but without worker processes."""
    found = []
    analyze = library.DatasetFingerprintExtractor.analyze_case
    for count, files in enumerate(cases.values()):
        found.append(analyze(files["images"], files["label"], library.SimpleITKIO, 10_000))
        report("fingerprint", count + 1, len(cases))
    shapes, spacings, intensities, _, relative_sizes = zip(*found, strict=True)
    values = np.concatenate([channels[0] for channels in intensities])
    low, median, high = np.percentile(values, (0.5, 50.0, 99.5))
    statistics = {"mean": values.mean(), "std": values.std(), "min": values.min(), "max": values.max()}
    statistics |= {"median": median, "percentile_99_5": high, "percentile_00_5": low}
    return {
        "spacings": plain(spacings),
        "shapes_after_crop": plain(shapes),
        "foreground_intensity_properties_per_channel": {"0": plain(statistics)},
        "median_relative_size_after_cropping": float(np.median(relative_sizes)),
    }


def _acdc_cases(folder: Path, report: Progress) -> Iterator[Case]:
    """End diastole and end systole of each training patient."""
    patients = split()["training"]
    for count, name in enumerate(patients):
        patient = read_patient(folder / name)
        group = f"{patient.group}_{name}"
        for phase, image, labels in zip(("ED", "ES"), patient.image, patient.labels, strict=True):
            yield Case(f"acdc_{group}_{phase}", group, image, labels, patient.spacing_mm)
        report("read ACDC", count + 1, len(patients))


def _monitored(groups: list[str], rng: np.random.Generator) -> set[str]:
    """One of each ACDC group, and one phantom in twenty."""
    chosen = set()
    for prefix in GROUPS:
        members = [group for group in groups if group.startswith(f"{prefix}_")]
        chosen |= {str(rng.choice(members))} if len(members) > 1 else set()
    drawn = [group for group in groups if group.startswith("phantom")]
    chosen |= {str(group) for group in rng.permutation(drawn)[: -(-len(drawn) // 20)]} if len(drawn) > 1 else set()
    return chosen


def _write_volume(path: Path, volume: np.ndarray, spacing_mm: tuple[float, float, float]) -> None:
    image = sitk.GetImageFromArray(volume)
    image.SetSpacing([float(size) for size in spacing_mm[::-1]])
    sitk.WriteImage(image, str(path))


def plain(value: Any) -> Any:
    """Numpy scalars, arrays and tuples to what JSON and the restricted unpickler take."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def write_json(path: Path, content: Any) -> None:
    write_text(path, json.dumps(content, indent=1) + "\n")
