"""Number, mean and SD of each center give what the subjects' own values give."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stats.bland_altman import bland_altman
from stats.centers import Center, summarize
from stats.nested import nested_limits
from stats.summaries import limits_from_summary, nested_from_summaries, stand_in, stand_ins

sizes = st.lists(st.integers(2, 9), min_size=2, max_size=5)


@given(st.integers(1, 40), st.floats(-1e3, 1e3), st.floats(0, 1e3))
def test_stand_ins_have_number_mean_and_sd(n: int, mean: float, sd: float) -> None:
    values = stand_in(Center("a", n, mean, sd if n > 1 else None))
    assert values.size == n
    assert values.mean() == pytest.approx(mean, abs=1e-9)
    if n > 1:
        assert values.std(ddof=1) == pytest.approx(sd, abs=1e-9)


@settings(max_examples=15, deadline=None)
@given(sizes, st.integers(0, 1000))
def test_nested_limits_equal_those_of_the_rows(numbers: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = [f"c{i}" for i, n in enumerate(numbers) for _ in range(n)]
    shift = rng.normal(0, 1, len(numbers))
    values = rng.normal(0, 2, len(names)) + np.repeat(shift, numbers)
    known = nested_limits(values, names, np.arange(values.size))
    found = nested_from_summaries(summarize(values, names))
    for name in ("bias", "sd", "lower_limit", "upper_limit", "center_variance", "subject_variance"):
        mine, theirs = getattr(found, name), getattr(known, name)
        assert (mine.estimate, mine.low, mine.high) == pytest.approx(
            (theirs.estimate, theirs.low, theirs.high), abs=2e-4
        )


def test_limits_of_all_equal_those_of_the_rows(rng: np.random.Generator) -> None:
    values = rng.normal(1, 2, 25)
    known = bland_altman(np.zeros(25), values)
    found = limits_from_summary(Center("all", 25, float(values.mean()), float(values.std(ddof=1))))
    assert found.upper_limit.high == pytest.approx(known.upper_limit.high)
    assert found.bias.low == pytest.approx(known.bias.low)


def test_whose_values_they_are() -> None:
    values, names = stand_ins([Center("a", 2, 1.0, 0.5), Center("b", 1, 3.0, None)])
    assert names == ["a", "a", "b"]
    assert values[2] == 3.0


@pytest.mark.parametrize(
    ("center", "message"),
    [
        (Center("a", 0, 1.0, None), "n >= 1 and a finite mean"),
        (Center("a", 3, float("nan"), 1.0), "finite mean"),
        (Center("a", 3, 1.0, None), "standard deviation of 0 or more"),
        (Center("a", 3, 1.0, -1.0), "standard deviation of 0 or more"),
        (Center("a", 1, 1.0, 0.0), "one subject has no standard deviation"),
    ],
)
def test_what_does_not_fit_is_said(center: Center, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        stand_in(center)


def test_no_spread_and_few_subjects_are_errors() -> None:
    with pytest.raises(ValueError, match="no spread"):
        nested_from_summaries([Center("a", 3, 1.0, 0.0), Center("b", 3, 1.0, 0.0)])
    with pytest.raises(ValueError, match="one summary per center"):
        nested_from_summaries([Center("a", 3, 1.0, 1.0), Center("a", 3, 2.0, 1.0)])
    with pytest.raises(ValueError, match="at least 3"):
        limits_from_summary(Center("a", 2, 1.0, 1.0))
