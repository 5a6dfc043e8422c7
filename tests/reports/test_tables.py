"""Numbers are written as readers expect, and only here."""

from math import nan

import pytest

from reports import tables


@pytest.mark.parametrize(
    ("value", "digits", "signed", "expected"),
    [
        (1.25, 1, False, "1.2"),
        (-0.04, 1, True, "0.0"),
        (-3.14159, 2, False, "−3.14"),
        (3.0, 1, True, "+3.0"),
        (None, 1, False, "–"),
        (nan, 1, False, "–"),
    ],
)
def test_a_number_is_rounded_with_a_true_minus_and_never_minus_zero(
    value: float | None, digits: int, signed: bool, expected: str
) -> None:
    assert tables.number(value, digits, signed=signed) == expected


def test_an_interval_shows_what_is_known() -> None:
    assert tables.interval({"estimate": -1.23, "low": -2.0, "high": 0.5}, 1, signed=True) == "−1.2 [−2.0, 0.5]"
    assert tables.interval({"estimate": 1.0, "low": None, "high": None}, 1) == "1.0"
    assert tables.interval({"estimate": None, "low": None, "high": None}, 1) == "–"
    assert tables.interval(None, 1) == "–"


def test_limits_need_both_ends() -> None:
    assert tables.limits({"lower_limit": {"estimate": -4.0}, "upper_limit": {"estimate": 5.25}}, 1) == "−4.0 to 5.2"
    assert tables.limits({"lower_limit": {"estimate": -4.0}, "upper_limit": None}, 1) == "–"


def test_a_p_value_is_never_zero() -> None:
    assert tables.p_value(1e-9) == "<0.001"
    assert tables.p_value(0.0421) == "0.042"
    assert tables.p_value(None) == "–"


def test_digits_follow_the_unit() -> None:
    assert tables.decimals("lv_edv_ml") == 1
    assert tables.decimals("lv_co_l_min") == 2
    assert tables.decimals("ssim") == 3
    assert tables.with_unit("lv_ef_percent", short=True) == "LVEF (%)"
    assert tables.with_unit("dice_lv", short=True) == "Dice LV"
    assert tables.with_unit("something_new") == "Something new"


def test_direction_is_said_in_words() -> None:
    assert tables.direction("psnr_db") == "higher is better"
    assert tables.direction("nmse") == "lower is better"
    assert tables.direction("lv_edv_ml") == ""


def test_an_arm_names_method_pattern_and_acceleration() -> None:
    arm = {"method": "cardiomm", "pattern": "ktGaussian", "acceleration": 16.0, "label": ""}
    assert tables.arm_label(arm) == "CardioMM 16× k-t Gaussian"
    assert tables.arm_label({"method": "fully_sampled", "pattern": "none", "acceleration": 1.0}) == "Fully sampled"


def test_columns_with_numbers_are_set_flush_right_and_sorted_by_the_unrounded_value() -> None:
    rows = [
        tables.Row((tables.text("a"), tables.numeric(1.26, 1))),
        tables.Row((tables.text("b"), tables.numeric(None, 1))),
    ]
    table = tables.make_table("caption", ["name", "value"], rows)
    assert [c.numeric for c in table.columns] == [False, True]
    assert table.rows[0].cells[1] == tables.Cell("1.3", 1.26)
    assert table.rows[1].cells[1] == tables.Cell("–", None)


@pytest.mark.parametrize(
    "words", ["=1+1", "@SUM(A1)", "-1+cmd|' /C calc'!A0", "+A1", "-2+3", " =1+1", "\t=1", "+", "-name", "-1e"]
)
def test_what_a_spreadsheet_would_run_is_text(words: str) -> None:
    assert tables.inert(words) == f"'{words}"


@pytest.mark.parametrize(
    "words", ["-1.5", "+3", "-2e-05", "1e9", "-.5", "+3.0 [−2.0, 0.5]", "Center-1", "a=b", "", "–", "−1.2 [−2.0, 0.5]"]
)
def test_numbers_and_names_stay_as_they_are_in_a_csv(words: str) -> None:
    assert tables.inert(words) == words
