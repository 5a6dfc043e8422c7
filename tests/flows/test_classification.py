"""Classes, curves, subgroups, profile and outliers of studies whose answer is counted by hand."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from flows.analysis import analyse
from flows.margins import Margin, Margins
from tests.flows.tables import REFERENCE, study

U4 = ("cardiomm", "Uniform", 4.0)
EF = "lv_ef_percent"
MARGINS = Margins({EF: Margin(3.0, 8.0, "points")}, origin="test")


def run(table: pd.DataFrame, **more: Any) -> dict[str, Any]:
    return analyse(table, margins=MARGINS, **more)


def test_classes_of_ejection_fraction() -> None:
    #            stays  35: <=35 stays  moves up  40.4 has a class  moves down  stays at 50
    reference = [30.0, 35.0, 39.0, 40.4, 51.0, 50.0, 62.0]
    test = [31.0, 34.5, 41.0, 42.0, 49.6, 50.0, 60.0]
    (row,) = run(study({REFERENCE: reference, U4: test}))["reclassification"]
    assert row["classes"] == ["≤ 35 %", "> 35 to 40 %", "> 40 to < 50 %", "≥ 50 %"]
    assert row["table"] == [[2, 0, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0], [0, 0, 1, 2]]
    assert (row["n"], row["moved"], row["moved_up"], row["moved_down"]) == (7, 2, 1, 1)
    assert row["share_moved"]["estimate"] == pytest.approx(2 / 7)
    assert [(m["cut_off"], m["only_reference_below"], m["only_test_below"]) for m in row["mcnemar"]] == [
        (35.0, 0, 0),
        (40.0, 1, 0),
        (50.0, 0, 1),
    ]
    # 35, 39, 40.4, 51 and 50 lie within 3 points of a cut-off
    assert row["near"] == {"cut_off_distance": 3.0, "n": 5, "moved": 2}


def test_one_class_for_all_has_no_kappa() -> None:
    (row,) = run(study({REFERENCE: [60.0, 61.0, 62.0], U4: [60.5, 61.5, 62.5]}))["reclassification"]
    assert row["kappa"] is None
    assert row["moved"] == 0


def test_roc_of_a_low_ejection_fraction() -> None:
    low, high = np.linspace(20, 40, 6), np.linspace(45, 70, 8)
    reference = np.concatenate([low, high, [50.0]])
    test = reference.copy()
    test[5] = 58.0  # one case now reads as healthy: above 5 of 8 controls, level with none
    diseases = ["dilated"] * 6 + ["normal"] * 5 + ["hypertrophic"] * 3 + ["unknown"]
    rows = run(study({REFERENCE: reference, U4: test}, diseases=diseases))["diagnosis"]
    others, healthy = sorted(rows, key=lambda row: -row["n_controls"])
    assert (others["controls"], others["n_cases"], others["n_controls"]) == ("others", 6, 8)
    assert (healthy["controls"], healthy["n_cases"], healthy["n_controls"]) == ("healthy", 6, 5)
    assert others["auc_reference"]["estimate"] == 1.0
    below = int(np.sum(high < 58.0))
    assert others["auc_test"]["estimate"] == pytest.approx(1 - below / (6 * 8))
    assert others["difference"]["estimate"] == pytest.approx(-below / 48)
    assert others["roc_reference"] == [[0.0, 0.0], [0.0, 1.0], [1.0, 1.0]]
    assert (others["disease"], others["positive_when"]) == ("dilated cardiomyopathy", "low")


def test_few_cases_are_not_compared() -> None:
    values = np.linspace(20, 70, 12)
    diseases = ["dilated"] * 4 + ["normal"] * 8
    assert run(study({REFERENCE: values, U4: values}, diseases=diseases))["diagnosis"] == []


def test_subgroups_and_sex() -> None:
    reference = np.linspace(40, 70, 10)
    error = np.array([4.0] * 5 + [0.1, -0.1, 0.2, -0.2, 0.0])
    table = study(
        {REFERENCE: reference, U4: reference + error}, diseases=["dilated"] * 2 + ["normal"] * 7 + ["unknown"]
    )
    table["sex"] = np.tile(["male"] * 5 + ["female"] * 5, 2)
    table["vendor"] = np.tile(["GE"] * 9 + ["UIH"], 2)
    results = run(table)
    assert results["cohort"]["sexes"] == {"male": 5, "female": 5}
    rows = {(row["by"], row["level"]): row for row in results["subgroups"]}
    assert set(rows) == {
        ("vendor", "GE"), ("vendor", "UIH"), ("disease", "dilated"), ("disease", "normal"),
        ("sex", "female"), ("sex", "male"),
    }  # fmt: skip
    male = rows["sex", "male"]
    assert (male["n"], male["bias_inside"]) == (5, False)
    assert male["bias"]["estimate"] == pytest.approx(4.0)
    assert rows["sex", "female"]["bias_inside"] is True
    assert rows["disease", "dilated"]["lower_limit"] is None
    assert rows["vendor", "UIH"]["bias"]["low"] is None
    given = run(table.drop(columns="sex"), sexes={("A", "P001"): "male", ("A", "P002"): "female", ("B", "P1"): "male"})
    assert given["cohort"]["sexes"] == {"male": 1, "female": 1}
    assert "sexes" not in run(table.drop(columns="sex"))["cohort"]


def test_bias_by_thirds_of_the_reference() -> None:
    reference = np.linspace(30, 70, 9)
    results = run(study({REFERENCE: reference, U4: reference + np.repeat([2.0, 0.0, -2.0], 3)}))
    (profile,) = results["bias_profile"]
    assert [(b["n"], b["bias"]["estimate"]) for b in profile["bins"]] == [
        (3, pytest.approx(2.0)),
        (3, pytest.approx(0.0)),
        (3, pytest.approx(-2.0)),
    ]
    assert (profile["bins"][0]["low"], profile["bins"][2]["high"]) == (30.0, 70.0)
    assert run(study({REFERENCE: reference[:5], U4: reference[:5]}))["bias_profile"] == []


def test_outliers_are_named_the_most_extreme_first() -> None:
    reference = np.linspace(30, 70, 9)
    test = reference.copy()
    test[2] += 9.0
    test[7] -= 20.0
    found = run(study({REFERENCE: reference, U4: test}))["outliers"]
    assert [(row["patient"], row["outside"], row["scan"]) for row in found] == [
        ("P008", "margin", "cine_sax"),
        ("P003", "margin", "cine_sax"),
    ]
    assert found[0]["difference"] == pytest.approx(-20.0)
    free = run(study({REFERENCE: reference, U4: test}, phenotype="mean_wall_thickness_mm"))["outliers"]
    assert [(row["patient"], row["outside"]) for row in free] == [("P008", "limits")]
