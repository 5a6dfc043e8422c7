"""The count is that of trying one subject after the other; monotone in the margins; none where nothing is shown."""

import numpy as np
import pytest

from stats.bland_altman import bland_altman
from stats.equivalence import limits_within, tost_paired
from stats.tipping_point import tipping_point


def shown(differences: np.ndarray, margin: float, limit: float) -> bool:
    limits = bland_altman(np.zeros(differences.size), differences)
    mean = tost_paired(differences, lower=-margin, upper=margin).equivalent
    return mean and limits_within(limits, lower=-limit, upper=limit)


@pytest.mark.parametrize(("n", "sd", "bias"), [(12, 1.0, 0.2), (40, 1.5, -0.6), (150, 2.0, 0.9), (20, 3.9, 0.0)])
def test_one_more_tips_and_as_many_do_not(rng: np.random.Generator, n: int, sd: float, bias: float) -> None:
    d = rng.normal(bias, sd, n)
    k = tipping_point(d, lower=-3, upper=3, limit=8)
    if k is None:
        assert not shown(d, 3, 8)
        return
    assert shown(d, 3, 8)
    for sign in (1, -1):
        assert shown(np.concatenate([d, np.full(k, sign * 8.0)]), 3, 8)
    assert not all(shown(np.concatenate([d, np.full(k + 1, sign * 8.0)]), 3, 8) for sign in (1, -1))


def test_wider_margins_bear_more(rng: np.random.Generator) -> None:
    d = rng.normal(0, 1, 100)
    counts = [tipping_point(d, lower=-b, upper=b, limit=limit) for b, limit in ((1, 5), (2, 8), (3, 8))]
    assert None not in counts
    assert counts == sorted(counts)  # type: ignore[type-var]


def test_a_narrow_side_decides() -> None:
    d = np.array([-0.2, 0.1, 0.0, 0.3, -0.1, 0.2, -0.3, 0.05, 0.1, -0.05])
    both, narrow = (tipping_point(d, lower=-lower, upper=3, limit=8) for lower in (3, 0.5))
    assert both is not None
    assert narrow is not None
    assert narrow <= both


def test_equal_values_and_what_is_not_shown() -> None:
    assert tipping_point([9.0, 9.1, 8.9], lower=-3, upper=3, limit=8) is None
    k = tipping_point([0.0] * 30, lower=-3, upper=3, limit=8)
    assert k is not None
    assert 0 < k <= 30


@pytest.mark.parametrize(
    ("values", "margins", "message"),
    [
        ([1.0, 2.0], (-1, 1, 2), "at least 3"),
        ([1.0, np.nan, 2.0], (-1, 1, 2), "not finite"),
        ([1.0, 2.0, 3.0], (1, -1, 2), "lower < upper"),
        ([1.0, 2.0, 3.0], (-1, 1, 0), "limit above 0"),
    ],
)
def test_refusals(values: list[float], margins: tuple[float, float, float], message: str) -> None:
    lower, upper, limit = margins
    with pytest.raises(ValueError, match=message):
        tipping_point(values, lower=lower, upper=upper, limit=limit)
