"""Figures of the decision draw what the results hold, where it belongs, and survive what results may lack."""

import re
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from reports import decision_figures, figures
from reports.slim_svg import slim

MARGINS = {"lv_ef_percent": {"bias": 3.0, "limits": 8.0}}
NOTHING = {"bias": None, "lower_limit": None, "upper_limit": None, "verdict": "too few"}


def interval(estimate: float, half: float = 1.0) -> dict[str, float]:
    return {"estimate": estimate, "low": estimate - half, "high": estimate + half}


def a_row(bias: float = 1.0, *, arm: str = "a", verdict: str = "shown") -> dict[str, Any]:
    limits = {"lower_limit": interval(bias - 4), "upper_limit": interval(bias + 4)}
    return {"arm": arm, "bias": interval(bias), "verdict": verdict} | limits


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Figures as they were when they were written."""
    kept: list[Figure] = []
    monkeypatch.setattr(decision_figures, "to_svg", lambda figure: kept.append(figure) or figures.to_svg(figure))
    return kept


def lines(figure: Figure, *, width: float) -> list[tuple[list[float], list[float]]]:
    """Drawn lines of one width, as lists of x and y."""
    return [
        (list(np.atleast_1d(line.get_xdata())), list(np.atleast_1d(line.get_ydata())))
        for line in figure.axes[0].lines
        if line.get_linewidth() == width and line.get_linestyle() != "None"
    ]


def summary(row: dict[str, Any], margins: dict[str, Any] = MARGINS) -> bytes:
    column = {"title": "8×", "rows": {"lv_ef_percent": row}, "margins": margins}
    return decision_figures.margin_summary([column], phenotypes=["lv_ef_percent"])


def test_bias_and_limits_stand_in_units_of_their_own_margins(drawn: list[Figure]) -> None:
    summary(a_row(1.5))
    assert lines(drawn[0], width=2.4) == [([pytest.approx(0.5 / 3), pytest.approx(2.5 / 3)], [0, 0])]
    assert lines(drawn[0], width=0.8) == [([pytest.approx(-3.5 / 8), pytest.approx(6.5 / 8)], [0, 0])]


def test_each_direction_is_measured_by_its_own_margin(drawn: list[Figure]) -> None:
    uneven = {"lv_ef_percent": {"bias": 5.0, "bias_lower": -2.0, "bias_upper": 5.0, "limits": 8.0}}
    summary(a_row(0.0), uneven)
    assert lines(drawn[0], width=2.4) == [([-0.5, pytest.approx(0.2)], [0, 0])]
    assert figures.bias_margin(uneven["lv_ef_percent"]) == (-2.0, 5.0)
    assert figures.bias_margin(MARGINS["lv_ef_percent"]) == (-3.0, 3.0)
    assert figures.bias_margin({"bias": None}) is None


def test_what_lies_beyond_the_axis_ends_in_a_triangle(drawn: list[Figure]) -> None:
    summary(a_row(100.0, verdict="not shown"))
    triangles = [line for line in drawn[0].axes[0].lines if line.get_marker() in "<>"]
    assert {(float(t.get_xdata()[0]), t.get_marker()) for t in triangles} == {(decision_figures.FARTHEST, ">")}
    assert b"<svg" in summary(a_row(-100.0, verdict="not shown"))
    low = [line for line in drawn[1].axes[0].lines if line.get_marker() in "<>"]
    assert {(float(t.get_xdata()[0]), t.get_marker()) for t in low} == {(-decision_figures.FARTHEST, "<")}


def test_verdicts_differ_by_shape_and_color() -> None:
    marks = [*decision_figures.VERDICT_MARKS.values(), decision_figures.OTHER_MARK]
    assert len({shape for shape, _ in marks}) == len({color for _, color in marks}) == 4
    assert b"verdict not shown" in decision_figures.margin_key()


def test_the_trend_rises_over_the_steps_it_has(drawn: list[Figure]) -> None:
    steps = [("4×", a_row(0.5)), ("8×", None), ("16×", a_row(2.0)), ("24×", NOTHING)]
    decision_figures.trend([{"title": "SENSE", "steps": steps}], unit="%", margins=MARGINS["lv_ef_percent"])
    axis = drawn[0].axes[0]
    bias = next(line for line in axis.lines if list(line.get_xdata()) == [0, 2] and line.get_linewidth() == 1)
    assert list(bias.get_ydata()) == [0.5, 2.0]
    assert [t.get_text() for t in axis.get_xticklabels()] == ["4×", "8×", "16×", "24×"]


def test_a_subgroup_without_a_result_keeps_its_line_empty(drawn: list[Figure]) -> None:
    entry = {"by": "vendor", "level": "GE", "arm": "a"} | a_row(2.0)
    groups = [("vendor", "GE"), ("vendor", "UIH"), ("sex", "F")]
    decision_figures.subgroup_forest([entry], [a_row()], titles=["8×"], unit="mL", margins=None, groups=groups)
    axis = drawn[0].axes[0]
    assert [t.get_text() for t in axis.get_yticklabels()] == ["GE", "UIH", "F", "all patients"]
    marks = {
        line.get_ydata()[0]
        for line in axis.lines
        if line.get_marker() not in ("None", "") and len(line.get_xdata()) == 1
    }
    assert marks == {0, 3}


def test_a_profile_has_a_step_for_each_part_of_the_range(drawn: list[Figure]) -> None:
    bins = [{"low": 30, "high": 45, "n": 7, "bias": interval(1.0)}, {"low": 45, "high": 60, "n": 0, "bias": None}]
    entry = {"bins": bins}
    decision_figures.bias_profile([entry], titles=["8×"], unit="%", margins=MARGINS["lv_ef_percent"])
    steps = [x for x, y in lines(drawn[0], width=1.2) if y[0] == y[-1] and len(x) == 2]
    assert steps == [[30, 45]]
    assert decision_figures.bias_profile([{"bins": []}], titles=[""], unit="", margins=None).startswith(b"<?xml")


def test_roc_curves_carry_their_areas_with_intervals() -> None:
    curve = [[0.0, 0.0], [0.2, 0.8], [1.0, 1.0]]
    entry = {"roc_reference": curve, "roc_test": curve, "auc_reference": interval(0.91, 0.04), "auc_test": None}
    options = {"titles": ["8×"], "reference_label": "fully sampled", "test_label": "accelerated"}
    made = decision_figures.roc([entry, {}], **options | {"titles": ["8×", "16×"]})
    assert b"0.910 [0.870, 0.950]" in made
    assert "–".encode() in made


def test_class_matrices_hold_every_count(drawn: list[Figure]) -> None:
    entry = {"classes": ["low", "high"], "table": [[11, 2], [0, 0]]}
    decision_figures.class_matrices([entry], titles=["8×"])
    assert [t.get_text() for t in drawn[0].axes[0].texts] == ["11", "2", "0", "0"]


def test_slim_figures_keep_the_scale_of_letters_and_lose_digits() -> None:
    svg = b'<path d="M 1.23456 2 L 3.99999 4"/>\n   <use xlink:href="#DejaVuSans-41" transform="translate(63.625 0)"/>\n <path id="DejaVuSans-41" transform="scale(0.015625)"/>'
    small = slim(svg)
    assert b"M 1.23 2 L 3.99 4" in small
    assert b"scale(0.015625)" in small
    assert re.findall(rb'(?:id="|#)(\w+)"', small) == [b"g41", b"g41"]
    assert slim(small) == small
