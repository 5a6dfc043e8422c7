"""Limits and rules of control charts: laws, published examples, run lengths between false alarms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stats.control_charts import Chart, ewma_chart, individuals_chart

FLOW = [49.6, 47.6, 49.9, 51.3, 47.8, 51.2, 52.6, 52.4, 53.6, 52.1]
NUMBERS = arrays(np.float64, st.integers(5, 40), elements=st.floats(-100, 100).map(lambda v: round(v, 3)))


def rules_at(chart: Chart) -> list[tuple[int, str]]:
    return [(flag.index, flag.rule) for flag in chart.flags]


@given(NUMBERS, st.floats(-50, 50), st.floats(0.5, 20))
def test_charts_follow_a_change_of_unit(values: np.ndarray, shift: float, scale: float) -> None:
    for chart in (individuals_chart, ewma_chart):
        one, other = chart(values, n_baseline=4), chart(values * scale + shift, n_baseline=4)
        np.testing.assert_allclose(other.upper, one.upper * scale + shift, atol=1e-8)
        np.testing.assert_allclose(other.statistic, one.statistic * scale + shift, atol=1e-8)


@given(NUMBERS)
def test_a_mirrored_series_breaks_the_same_rules(values: np.ndarray) -> None:
    for chart in (individuals_chart, ewma_chart):
        assert rules_at(chart(-values, n_baseline=4)) == rules_at(chart(values, n_baseline=4))


def test_weight_one_is_the_chart_of_individual_values(rng: np.random.Generator) -> None:
    values = rng.normal(size=60) * np.where(np.arange(60) > 40, 4, 1)
    one, other = individuals_chart(values, n_baseline=30), ewma_chart(values, n_baseline=30, weight=1.0)
    np.testing.assert_allclose(one.lower, other.lower)
    np.testing.assert_allclose(one.statistic, other.statistic)
    beyond = [flag.index for flag in one.flags if flag.rule == "beyond limits"]
    assert beyond
    assert beyond == [flag.index for flag in other.flags]


def test_later_values_do_not_move_the_limits(rng: np.random.Generator) -> None:
    values = rng.normal(size=20)
    one, other = individuals_chart(values, n_baseline=20), individuals_chart([*values, 50.0], n_baseline=20)
    assert (one.center, one.sigma) == (other.center, other.sigma)
    assert rules_at(other)[-1] == (20, "beyond limits")


def test_eight_on_one_side_and_six_that_rise() -> None:
    base = [1.0, -1.0] * 5
    chart = individuals_chart([*base, *[0.5] * 9], n_baseline=10)
    assert rules_at(chart) == [(17, "one side"), (18, "one side")]
    assert rules_at(individuals_chart([*base, *[0.5] * 7, -0.5], n_baseline=10)) == []
    assert rules_at(individuals_chart([*base, *[0.5] * 7, 0.0, 0.5], n_baseline=10)) == [], "the center line is no side"
    rising = [-1.2, -0.8, -0.4, 0.1, 0.5, 0.9]
    assert rules_at(individuals_chart([*base, *rising], n_baseline=10)) == [(15, "trend")]
    assert rules_at(individuals_chart([*base, *reversed(rising)], n_baseline=10)) == [(15, "trend")]
    rising[3] = rising[2]
    assert rules_at(individuals_chart([*base, *rising], n_baseline=10)) == [], "equal values end a trend"


def test_a_baseline_without_variation_bears_no_change() -> None:
    value = 0.1
    same = individuals_chart([value] * 25, n_baseline=20)
    assert same.sigma == 0
    assert same.center == value
    assert same.flags == ()
    assert ewma_chart([value] * 25, n_baseline=20).flags == ()
    assert rules_at(individuals_chart([value] * 25 + [value + 1e-12], n_baseline=20)) == [(25, "beyond limits")]
    assert rules_at(ewma_chart([value] * 25 + [value + 1e-9], n_baseline=20)) == [(25, "ewma beyond limits")]


def test_individuals_of_the_nist_handbook() -> None:
    # NIST/SEMATECH e-Handbook of Statistical Methods, 6.3.2.2: flow rate of ten batches
    chart = individuals_chart(FLOW, n_baseline=10)
    assert chart.center == pytest.approx(50.81)
    assert chart.sigma == pytest.approx(1.8778 / 1.128, abs=6e-4)
    # the handbook rounds d2 to 1.128
    assert chart.upper[0] == pytest.approx(55.8041, abs=2e-3)
    assert chart.lower[0] == pytest.approx(45.8159, abs=2e-3)
    assert rules_at(chart) == []


def test_ewma_of_the_nist_handbook() -> None:
    # NIST/SEMATECH e-Handbook of Statistical Methods, 6.3.2.4
    values = [52.0, 47.0, 53.0, 49.3, 50.1, 47.0, 51.0, 50.1, 51.2, 50.5, 49.6, 47.6, 49.9, 51.3, 47.8, 51.2, 52.6,
              52.4, 53.6, 52.1]  # fmt: skip
    published = [50.60, 49.52, 50.56, 50.18, 50.16, 49.21, 49.75, 49.85, 50.26, 50.33, 50.11, 49.36, 49.52, 50.05,
                 49.38, 49.92, 50.73, 51.23, 51.94, 51.99]  # fmt: skip
    chart = ewma_chart(values, n_baseline=20, weight=0.3, center=50.0, sigma=2.0539)
    np.testing.assert_allclose(chart.statistic, published, atol=0.0051)
    assert chart.upper[-1] == pytest.approx(52.5884, abs=2e-4)
    assert chart.lower[-1] == pytest.approx(47.4115, abs=2e-4)
    assert chart.flags == ()


def test_ewma_of_montgomery() -> None:
    # Montgomery, Introduction to Statistical Quality Control, example 9.2 on the data of table 9.1: the last ten values
    # come from a mean one standard deviation higher
    values = [9.45, 7.99, 9.29, 11.66, 12.16, 10.18, 8.04, 11.46, 9.20, 10.34, 9.03, 11.47, 10.51, 9.40, 10.08, 9.37,
              10.62, 10.31, 8.52, 10.84, 10.90, 9.33, 12.29, 11.50, 10.60, 11.08, 10.38, 11.62, 11.31, 10.52]  # fmt: skip
    chart = ewma_chart(values, n_baseline=30, weight=0.1, n_sigma=2.7, center=10.0, sigma=1.0)
    np.testing.assert_allclose(chart.statistic[[0, 1, 29]], [9.945, 9.7495, 10.6341], atol=5e-5)
    np.testing.assert_allclose([chart.upper[0], chart.lower[0]], [10.27, 9.73])
    np.testing.assert_allclose([chart.upper[-1], chart.lower[-1]], [10.62, 9.38], atol=0.005)
    assert rules_at(chart) == [(28, "ewma beyond limits"), (29, "ewma beyond limits")]
    # the chart of individual values misses it
    shewhart = individuals_chart(values, n_baseline=30, center=10.0, sigma=1.0)
    assert [flag for flag in shewhart.flags if flag.rule == "beyond limits"] == []


def test_values_between_false_alarms(rng: np.random.Generator) -> None:
    # Champ and Woodall 1987, doi:10.1080/00401706.1987.10488266, table 1: with known limits on average 152.73 values of
    # a process in control until one is beyond them or eight are in a row on one side
    lengths = []
    for values in rng.normal(size=(900, 1600)):
        chart = individuals_chart(values, n_baseline=2, trend_length=1600, center=0.0, sigma=1.0)
        lengths.append(chart.flags[0].index + 1)
    error = np.std(lengths) / np.sqrt(len(lengths))
    assert abs(np.mean(lengths) - 152.73) < 4 * error
    assert error < 6


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([1.0, np.nan], {"n_baseline": 2}, "finite"),
        ([1.0], {"n_baseline": 2}, "not complete: 1 given"),
        ([], {"n_baseline": 2}, "not complete: 0 given"),
        ([1.0, 2.0], {"n_baseline": 1}, "at least 2"),
        ([[1.0, 2.0]], {"n_baseline": 2}, "one row"),
        ([1.0, 2.0], {"n_baseline": 2, "sigma": -1.0}, "negative"),
        ([1.0, 2.0], {"n_baseline": 2, "n_sigma": 0.0}, "positive"),
    ],
)
def test_what_cannot_be_charted(values: list[float], options: dict[str, float], message: str) -> None:
    for chart in (individuals_chart, ewma_chart):
        with pytest.raises(ValueError, match=message):
            chart(values, **options)  # type: ignore[operator]


def test_options_out_of_range() -> None:
    with pytest.raises(ValueError, match=r"\(0, 1\]"):
        ewma_chart([1.0, 2.0], n_baseline=2, weight=0.0)
    with pytest.raises(ValueError, match="run_length"):
        individuals_chart([1.0, 2.0], n_baseline=2, run_length=1)
