"""Is the small plan nnU-Net's own but for the numbers it names, and can folds be drawn by patient?"""

import copy
import json

import numpy as np
import pytest

from cohort.records import ConfigProblem
from phenotyping.nnunet import SHIPPED_MODEL
from phenotyping.nnunet_folds import N_FOLDS, chosen_folds, fold_splits
from phenotyping.nnunet_plan import SHIPPED_PLAN, SmallPlan, edited_plan


def shipped_plans() -> dict:
    return json.loads((SHIPPED_MODEL / "plans.json").read_text())


def test_shipped_weights_have_the_shipped_plan() -> None:
    """Editing the plan of the shipped weights by the shipped numbers changes nothing."""
    assert edited_plan(shipped_plans(), SHIPPED_PLAN) == shipped_plans()


def test_only_named_numbers_change() -> None:
    before = shipped_plans()
    given = copy.deepcopy(before)
    given["configurations"]["3d_fullres"] = {"patch_size": [8, 8, 8]}
    plan = edited_plan(given, SmallPlan(patch_px=192, batch=6, widths=(24, 48, 96)))
    assert list(plan["configurations"]) == ["2d"]
    configuration = plan["configurations"]["2d"]
    assert (configuration["patch_size"], configuration["batch_size"]) == ([192, 192], 6)
    assert configuration["architecture"]["arch_kwargs"]["features_per_stage"] == [24, 48, 96]
    assert len(configuration["architecture"]["arch_kwargs"]["strides"]) == 3
    assert configuration["spacing"] == before["configurations"]["2d"]["spacing"]
    assert "3d_fullres" in given["configurations"], "the plan that was given is changed"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch_px": 100}, "cannot be halved 4 times; expected a multiple of 16, at least 32"),
        ({"patch_px": 16}, "at least 32"),
        ({"batch": 0}, "must be positive"),
        ({"widths": ()}, "must be positive"),
    ],
)
def test_impossible_plans(options: dict, message: str) -> None:
    with pytest.raises(ConfigProblem, match=message):
        SmallPlan(**options)


def test_every_patient_is_held_back_once_and_diseases_are_spread() -> None:
    """80 ACDC patients with two phases each, and phantoms."""
    groups = {}
    for kind in ("NOR", "DCM", "HCM", "MINF", "RV"):
        for number in range(16):
            groups |= {f"acdc_{kind}_{number}_{phase}": f"{kind}_patient{number:03d}" for phase in ("ED", "ES")}
    groups |= {f"phantom{number:03d}_cineED": f"phantom{number:03d}" for number in range(20)}
    splits = fold_splits(groups, rng=np.random.default_rng(3))
    assert len(splits) == N_FOLDS
    assert sorted(case for split in splits for case in split["val"]) == sorted(groups)
    for split in splits:
        held, learned = ({groups[case] for case in split[part]} for part in ("val", "train"))
        assert not held & learned
        assert sorted([*split["val"], *split["train"]]) == sorted(groups)
        assert len(held) == 20
        for kind in ("NOR", "DCM", "HCM", "MINF", "RV", "phantom"):
            assert 3 <= sum(patient.startswith(kind) for patient in held) <= 4
    assert splits != fold_splits(groups, rng=np.random.default_rng(4))


def test_too_few_patients_for_folds() -> None:
    with pytest.raises(ConfigProblem, match="needs as many patients, got 2"):
        fold_splits({"a_ED": "a", "a_ES": "a", "b_ED": "b"}, rng=np.random.default_rng(0))


def test_folds_that_a_user_names() -> None:
    assert chosen_folds("") == ()
    assert chosen_folds("all") == (0, 1, 2, 3, 4)
    assert chosen_folds("3, 0,3") == (0, 3)
    for text in ("5", "-1", "one", "0,,1"):
        with pytest.raises(ConfigProblem, match="expected all, or numbers from 0 to 4"):
            chosen_folds(text)
