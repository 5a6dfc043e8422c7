"""Plots are repeatable, keep every point on the paper, and survive what results may lack."""

from typing import Any

import pytest

from reports import figures, pictures
from reports.pictures import Sample

MARGINS = {"bias": 3.0, "limits": 8.0}


def a_row(differences: list[float], *, arm: str = "sense_Uniform4") -> dict[str, Any]:
    """An entry of ``agreement`` with these differences around 50."""
    pairs = [{"center": f"C{i % 2}", "reference": 50.0 + i, "test": 50.0 + i + d} for i, d in enumerate(differences)]
    bias = sum(differences) / len(differences)
    return {
        "arm": arm,
        "pairs": pairs,
        "bias": {"estimate": bias, "low": bias - 1, "high": bias + 1},
        "lower_limit": {"estimate": bias - 4, "low": bias - 5, "high": bias - 3},
        "upper_limit": {"estimate": bias + 4, "low": bias + 3, "high": bias + 5},
    }


def draw(rows: list[dict[str, Any]], *, centers: tuple[str, ...] = ("C0", "C1"), half_range: float = 10.0) -> bytes:
    titles = [f"panel {i}" for i in range(len(rows))]
    return figures.bland_altman(rows, titles=titles, unit="%", margins=MARGINS, centers=centers, half_range=half_range)


def test_the_same_results_give_the_same_bytes() -> None:
    rows = [a_row([1.0, -2.0, 0.5]), a_row([3.0, 2.0, -1.0])]
    assert draw(rows) == draw(rows)


def test_the_axis_holds_all_points_and_limits_up_to_three_margins() -> None:
    assert figures.difference_range([a_row([1.0, -2.0])], MARGINS) == pytest.approx(1.08 * 1.1 * 8)
    assert figures.difference_range([a_row([1.0, -20.0])], MARGINS) == pytest.approx(1.08 * 20)
    assert figures.difference_range([a_row([1.0, -500.0])], MARGINS) == pytest.approx(1.08 * 24)
    assert figures.difference_range([a_row([1.0, -500.0])], None) == pytest.approx(1.08 * 500)
    assert figures.difference_range([], None) > 0


def test_points_beyond_the_axis_stay_visible_as_marks() -> None:
    inside, beyond = draw([a_row([1.0, 2.0])]), draw([a_row([1.0, 200.0])])
    assert inside.count(b"<use") != beyond.count(b"<use")


def test_a_row_without_pairs_says_so() -> None:
    empty = {"arm": "x", "pairs": [], "bias": None, "lower_limit": None, "upper_limit": None}
    assert b"no evaluable pairs" in draw([empty])  # matplotlib leaves the text of outlines as a comment


def test_many_points_become_one_picture() -> None:
    row = a_row([0.01 * i for i in range(figures.MANY_POINTS + 1)])
    assert b"<image" in draw([row])
    assert b"<image" not in draw([a_row([1.0, 2.0])])


def test_names_of_centers_are_not_read_as_formulas() -> None:
    names = ("$\\frac{1}{2}$", "中心<b>")
    assert figures.key(names).startswith(b"<?xml")


def test_a_forest_draws_centers_patients_and_the_mean_of_centers() -> None:
    center = {"arm": "sense_Uniform4", "center": "C0", "bias": {"estimate": 1.0, "low": None, "high": None}}
    whole = a_row([1.0, 2.0]) | {
        "center_level": {"estimate": 1.5, "low": 0.5, "high": 2.5, "prediction": {"low": -1.0, "high": 4.0}}
    }
    made = figures.forest([center], [whole], titles=["4×"], unit="mL", margins=MARGINS, centers=["C0", "C1"])
    assert b"mean of centers" in made
    without = figures.forest([center], [a_row([1.0])], titles=["4×"], unit="mL", margins=None, centers=["C0"])
    assert b"mean of centers" not in without


def test_no_global_style_is_left_behind() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    draw([a_row([1.0, 2.0])])
    assert dict(matplotlib.rcParams) == before


def a_sample(*, error: float = 0.0) -> Sample:
    """A square heart off the middle of a picture with unequal pixel sides."""
    import numpy as np

    reference = np.full((80, 60), 0.2, np.float32)
    labels = np.zeros((80, 60), np.uint8)
    labels[30:50, 20:30] = 2
    labels[35:45, 22:28] = 1
    reference[labels == 1] = 1.0
    return Sample(reference, reference + np.float32(error), labels, labels, (2.0, 4.0))


def test_the_crop_holds_the_heart_and_its_margin_in_millimeters() -> None:
    rows, columns = pictures.heart_box(a_sample())
    assert rows.start <= 30 - pictures.CROP_MARGIN_MM / 2 + 1
    assert rows.stop >= 50 + pictures.CROP_MARGIN_MM / 2 - 1
    assert (rows.stop - rows.start) * 2.0 == pytest.approx((columns.stop - columns.start) * 4.0, abs=8)


def test_no_heart_no_crop() -> None:
    sample = a_sample()
    sample.labels_reference[:] = 0
    assert pictures.heart_box(sample) == (slice(0, 80), slice(0, 60))


def test_no_error_is_black_and_an_error_is_not() -> None:
    from io import BytesIO

    import numpy as np
    from PIL import Image

    brightness = []
    for error in (0.0, 0.15):
        sample = a_sample(error=error)
        scale = pictures.common_scale(sample, "magnitude")
        png = pictures.picture(sample, what="error", scale=scale, box=pictures.heart_box(sample), side_px=100)
        with Image.open(BytesIO(png)) as shown:
            assert max(shown.size) == 100
            brightness.append(float(np.asarray(shown.convert("L")).mean()))
    assert brightness[0] < 3
    assert brightness[1] > 100


def test_the_scale_comes_from_the_reference_alone() -> None:
    assert pictures.common_scale(a_sample(), "magnitude") == pictures.common_scale(a_sample(error=9.0), "magnitude")
    assert pictures.common_scale(a_sample(), "T1").unit == "ms"
