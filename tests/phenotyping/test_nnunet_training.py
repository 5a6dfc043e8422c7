"""Does the training run through nnU-Net's steps, resume, and leave a folder that segments?"""

import contextlib
import io
import json
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import phenotyping.nnunet_dataset
import phenotyping.nnunet_training
from cohort.records import ConfigProblem, WeightsProblem
from phenotyping.nnunet import load_checkpoint_safely, nnunet_environment, nnunet_library, segment
from phenotyping.nnunet_dataset import DATASET
from phenotyping.nnunet_phantoms import MAPPING_KINDS, Case, phantom_cases, trained_kinds
from phenotyping.nnunet_plan import SmallPlan
from phenotyping.nnunet_training import InvertContrast, Undersample, _check_same_settings, train_nnunet

TINY = SmallPlan(patch_px=64, batch=2, widths=(4, 8, 8))


def tiny_cases(n_patients: int, *, rng: np.random.Generator, report: object) -> Iterator[Case]:
    """A bright disk in a ring beside a square, as volumes of two slices."""
    del report
    radius = np.hypot(*np.mgrid[-32:32, -32:32])
    labels = np.zeros((2, 64, 64), np.uint8)
    labels[:, 20:40, 4:14] = 3
    labels[:, radius < 14] = 2
    labels[:, radius < 9] = 1
    for number in range(n_patients):
        image = np.array([0.2, 1.0, 0.4, 0.9])[labels] + rng.normal(0, 0.05, labels.shape)
        group = f"phantom{number:03d}"
        yield Case(f"{group}_cineED", group, image.astype(np.float32), labels, (8.0, 2.0, 2.0))


@pytest.mark.slow
def test_trains_resumes_and_segments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phenotyping.nnunet_dataset, "phantom_cases", tiny_cases)
    monkeypatch.setattr(phenotyping.nnunet_training, "STEPS_PER_EPOCH", 2)
    monkeypatch.setattr(phenotyping.nnunet_dataset, "SHIPPED_PLAN", TINY)
    python_state, numpy_state, torch_state = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    stages = []
    options = {"acdc": None, "phantoms": 3, "out": tmp_path, "seed": 5, "threads": 1}
    folder = train_nnunet(**options, steps=2, progress=lambda stage, done, total: stages.append((stage, done, total)))
    first = load_checkpoint_safely(folder / "fold_0" / "checkpoint_final.pth")
    assert {stage for stage, _, _ in stages} == {"fingerprint", "preprocess", "train"}
    assert stages[-1] == ("train", 2, 2)
    train_nnunet(**options, steps=4, progress=lambda stage, done, total: stages.append((stage, done, total)))
    second = load_checkpoint_safely(folder / "fold_0" / "checkpoint_final.pth")
    assert (first["current_epoch"], second["current_epoch"]) == (1, 2)
    assert stages[-2:] == [("train", 3, 4), ("train", 4, 4)]
    assert first["trainer_name"] == "nnUNetTrainer"
    image = next(tiny_cases(1, rng=np.random.default_rng(0), report=None)).image
    assert segment(image[None], spacing_mm=(8.0, 2.0, 2.0), model_folder=folder, check_order=False).shape == (
        1,
        2,
        64,
        64,
    )
    assert random.getstate() == python_state
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_state)
    with pytest.raises(ConfigProblem, match="other settings"):
        train_nnunet(**{**options, "seed": 6}, steps=2)


@pytest.mark.slow
def test_folds_hold_patients_back_and_are_averaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phenotyping.nnunet_dataset, "phantom_cases", tiny_cases)
    monkeypatch.setattr(phenotyping.nnunet_training, "STEPS_PER_EPOCH", 2)
    monkeypatch.setattr(phenotyping.nnunet_dataset, "SHIPPED_PLAN", TINY)
    options = {"acdc": None, "phantoms": 6, "out": tmp_path, "seed": 5, "threads": 1, "steps": 2}
    train_nnunet(**options, folds="1")
    first = (tmp_path / "model" / "fold_1" / "checkpoint_final.pth").read_bytes()
    stages = []
    folder = train_nnunet(**options, folds="0,1", progress=lambda *where: stages.append(where))
    assert stages == [("fold 0", 1, 2), ("fold 0", 2, 2)]
    assert sorted(path.name for path in folder.glob("fold_*")) == ["fold_0", "fold_1"]
    assert (folder / "fold_1" / "checkpoint_final.pth").read_bytes() == first, "a finished fold is trained again"
    image = next(tiny_cases(1, rng=np.random.default_rng(0), report=None)).image[None]
    spacing_mm = (8.0, 2.0, 2.0)
    assert segment(image, spacing_mm=spacing_mm, model_folder=folder, check_order=False).shape == (1, 2, 64, 64)
    splits = json.loads((tmp_path / "nnUNet_preprocessed" / DATASET / "splits_final.json").read_text())
    said = json.loads((folder / "cross_validation.json").read_text())
    assert list(said) == ["fold_0", "fold_1"]
    for fold in (0, 1):
        assert sorted(said[f"fold_{fold}"]["cases"]) == splits[fold]["val"]
        assert set(said[f"fold_{fold}"]["mean"]) == {"LV cavity", "myocardium", "RV cavity"}
    with pytest.raises(WeightsProblem, match="expected fold_3"):
        segment(image, spacing_mm=spacing_mm, model_folder=folder, folds=(0, 3))
    with pytest.raises(ConfigProblem, match="other settings"):
        train_nnunet(**options)


@pytest.mark.slow
def test_standard_plan_is_nnunets_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan beside the weights is to the letter what nnU-Net's planner gives, and its network trains."""
    monkeypatch.setattr(phenotyping.nnunet_dataset, "phantom_cases", tiny_cases)
    monkeypatch.setattr(phenotyping.nnunet_training, "STEPS_PER_EPOCH", 1)
    folder = train_nnunet(acdc=None, phantoms=3, out=tmp_path, seed=5, threads=1, steps=1, plan="standard")
    paths = {f"nnUNet_{part}": str(tmp_path / f"nnUNet_{part}") for part in ("raw", "preprocessed", "results")}
    with nnunet_environment(**paths, nnUNet_n_proc_DA="1"), contextlib.redirect_stdout(io.StringIO()):
        own = nnunet_library().ExperimentPlanner(DATASET).plan_experiment()
    plans = json.loads((folder / "plans.json").read_text())
    assert plans["configurations"]["2d"] == json.loads(json.dumps(own["configurations"]["2d"]))
    assert plans["configurations"]["2d"]["architecture"]["arch_kwargs"]["features_per_stage"][0] == 32
    image = next(tiny_cases(1, rng=np.random.default_rng(0), report=None)).image[None]
    assert segment(image, spacing_mm=(8.0, 2.0, 2.0), model_folder=folder, check_order=False).shape == (1, 2, 64, 64)


def test_folder_of_an_earlier_version_goes_on(tmp_path: Path) -> None:
    """Before there were plans and folds, all trainings were small ones without."""
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({"acdc": True, "phantoms": 20, "seed": 1}))
    now = {"acdc": True, "phantoms": 20, "seed": 1, "plan": "small", "cross_validated": False}
    _check_same_settings(path, now)
    assert json.loads(path.read_text()) == now
    with pytest.raises(ConfigProblem, match="other settings"):
        _check_same_settings(path, now | {"plan": "standard"})


def test_unknown_plan_or_fold_is_named() -> None:
    options = {"acdc": None, "phantoms": 5, "out": "unused", "steps": 1, "seed": 0, "threads": 1}
    with pytest.raises(ConfigProblem, match="'large' is unknown; expected small or standard"):
        train_nnunet(**options, plan="large")
    with pytest.raises(ConfigProblem, match="folds '5'"):
        train_nnunet(**options, folds="5")


def test_nothing_to_train_on() -> None:
    with pytest.raises(ConfigProblem, match="nothing to train on"):
        train_nnunet(acdc=None, phantoms=0, out="unused", steps=1, seed=0, threads=1)


def test_undersampling_keeps_what_it_does_not_drop() -> None:
    """With all lines kept the image returns; with few the mean (center of k-space) and the size stay."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, 32, 32, generator=generator)
    transform = Undersample()
    same = transform._apply_to_image(image, axis=1, keep=torch.ones(32, dtype=torch.bool))
    torch.testing.assert_close(same, image, atol=1e-5, rtol=0)
    keep = torch.zeros(32, dtype=torch.bool)
    keep[12:20] = True
    blurred = transform._apply_to_image(image, axis=1, keep=keep)
    assert blurred.shape == image.shape
    torch.testing.assert_close(blurred.mean(), image.mean(), atol=0.05, rtol=0)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        parameters = transform.get_parameters(image=image)
    assert parameters["axis"] in (1, 2)
    assert parameters["keep"][12:20].all() or parameters["keep"].float().mean() > 0.2


def test_inverted_contrast() -> None:
    image = torch.arange(4.0).reshape(1, 2, 2)
    torch.testing.assert_close(InvertContrast()._apply_to_image(image), -image)


def test_phantoms_give_every_kind_of_mapping_image_in_turn() -> None:
    given = [trained_kinds(number) for number in range(6)]
    assert all(kinds[:3] == ("cineED", "cineES", "cineAny") and len(kinds) == 5 for kinds in given)
    assert {kind for kinds in given for kind in kinds[3:]} == {kind for pair in MAPPING_KINDS for kind in pair}
    assert all(kinds[3:] == ("T1sd", "T2mean") for kinds in given[::2])


@pytest.mark.slow
def test_phantom_cases_are_acquired_images_with_their_labels() -> None:
    cases = list(phantom_cases(1, rng=np.random.default_rng(2), report=lambda *_: None))
    assert [case.name.split("_")[1] for case in cases] == ["cineED", "cineES", "cineAny", "T1sd", "T2mean"]
    assert len({case.group for case in cases}) == 1
    for case in cases:
        assert case.image.shape == case.labels.shape
        assert case.image.dtype == np.float32
        assert set(np.unique(case.labels)) <= {0, 1, 2, 3}
    ed, es = cases[0], cases[1]
    assert (ed.labels == 1).sum() > (es.labels == 1).sum() > 0
    blood, muscle = (float(ed.image[ed.labels == code].mean()) for code in (1, 2))
    assert blood > 1.2 * muscle
