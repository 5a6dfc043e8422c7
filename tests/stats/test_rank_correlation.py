"""Does the rank correlation rank, and do its intervals count subjects instead of slices?"""

import numpy as np
import pytest
import scipy.stats as scipy_stats

from stats.rank_correlation import spearman


def test_increasing_maps_do_not_change_it(rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((2, 40))
    subjects = list(range(40))
    plain = spearman(x, y + x, subjects=subjects, rng=np.random.default_rng(1))
    mapped = spearman(np.exp(x), (y + x) ** 3, subjects=subjects, rng=np.random.default_rng(1))
    assert plain == mapped
    opposite = spearman(-x, y + x, subjects=subjects, rng=np.random.default_rng(1))
    assert opposite.estimate == pytest.approx(-plain.estimate)


def test_perfect_order_is_one_without_width() -> None:
    result = spearman([1, 2, 3, 4], [10, 20, 30, 40], subjects="abcd", rng=np.random.default_rng(0))
    assert (result.estimate, result.low, result.high) == (1.0, 1.0, 1.0)
    assert result.n == 4


def test_agrees_with_scipy_also_with_ties(rng: np.random.Generator) -> None:
    x = rng.integers(0, 5, 60).astype(float)
    y = x + rng.integers(0, 6, 60)
    ours = spearman(x, y, subjects=list(range(60)), rng=rng).estimate
    assert ours == pytest.approx(scipy_stats.spearmanr(x, y).statistic)


def test_strata_take_away_what_only_tells_them_apart(rng: np.random.Generator) -> None:
    strata = np.repeat([0, 1], 100)
    x, y = 10 * strata + rng.standard_normal((2, 200))
    subjects = list(range(200))
    pooled = spearman(x, y, subjects=subjects, rng=rng)
    within = spearman(x, y, subjects=subjects, strata=strata.tolist(), rng=rng)
    assert pooled.low > 0.6
    assert within.low < 0 < within.high
    assert abs(within.estimate) < 0.25


def test_copies_of_a_subject_add_no_certainty(rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((2, 20))
    y = y + x
    once = spearman(x, y, subjects=list(range(20)), rng=np.random.default_rng(3))
    copied = spearman(
        np.repeat(x, 10), np.repeat(y, 10), subjects=np.repeat(np.arange(20), 10).tolist(), rng=np.random.default_rng(3)
    )
    assert copied.n == 20
    assert copied.high - copied.low == pytest.approx(once.high - once.low, rel=0.05)


def test_global_random_state_is_untouched(rng: np.random.Generator) -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    spearman([1.0, 2, 4], [1.0, 3, 2], subjects="abc", rng=rng)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.parametrize(
    ("x", "y", "subjects", "message"),
    [
        ([1, 2, 3], [1, 2, 3], "ab", "one for each of 3 cases, got 2"),
        ([1, 2, 3], [1, 2, 3], "aaa", "at least 2 are needed"),
        ([1, 1, 1], [1, 2, 3], "abc", "nothing to rank"),
        ([1, 2], [1, 2], "ab", "at least 3 values"),
    ],
)
def test_what_cannot_be_ranked_is_refused(x: list[float], y: list[float], subjects: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        spearman(x, y, subjects=subjects, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="at least 100"):
        spearman([1, 2, 3], [1, 2, 3], subjects="abc", rng=np.random.default_rng(0), n_resamples=5)
