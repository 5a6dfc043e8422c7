"""Holm, Benjamini-Hochberg, fixed sequences and effective tests against published examples and other code."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stats.multiplicity import (
    benjamini_hochberg,
    bonferroni_level,
    effective_tests,
    fixed_sequence,
    fixed_sequence_adjusted,
    holm,
)

# Benjamini and Hochberg 1995, section 4 (thrombolysis): 15 comparisons
THROMBOLYSIS = np.array(
    [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.324, 0.4262, 0.5719, 0.6528, 0.759, 1]
)

p_values = st.lists(st.floats(0, 1), min_size=1, max_size=25)


@settings(max_examples=100, deadline=None)
@given(p_values, st.randoms(use_true_random=False))
def test_laws(values: list[float], shuffle) -> None:  # type: ignore[no-untyped-def]
    p = np.array(values)
    family, screen = holm(p), benjamini_hochberg(p)
    assert (p <= screen + 1e-12).all()
    assert (screen <= family + 1e-12).all()
    assert (family <= np.minimum(p * p.size, 1) + 1e-12).all()
    order = list(range(p.size))
    shuffle.shuffle(order)
    assert holm(p[order]) == pytest.approx(family[order])
    assert benjamini_hochberg(p[order]) == pytest.approx(screen[order])


@settings(max_examples=60, deadline=None)
@given(p_values)
def test_agrees_with_statsmodels(values: list[float]) -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    assert holm(values) == pytest.approx(multitest.multipletests(values, method="holm")[1])
    assert benjamini_hochberg(values) == pytest.approx(multitest.multipletests(values, method="fdr_bh")[1])


def test_the_example_of_benjamini_and_hochberg() -> None:
    # their text: Bonferroni (and stepwise control) rejects the first three, the new procedure the first four
    assert (benjamini_hochberg(THROMBOLYSIS) < 0.05).sum() == 4
    assert (holm(THROMBOLYSIS) < 0.05).sum() == 3
    assert benjamini_hochberg(THROMBOLYSIS)[3] == pytest.approx(0.0095 * 15 / 4)


def test_holm_by_hand() -> None:
    assert holm([0.04, 0.01, 0.03]).tolist() == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.7, 0.6]).tolist() == [1.0, 1.0]
    assert holm([0.02]).tolist() == [0.02]


def test_holm_keeps_the_family_level(rng: np.random.Generator) -> None:
    # five true null hypotheses: a wrong claim in about 5 % of 2000 families
    wrong = sum(holm(row).min() < 0.05 for row in rng.random((2000, 5)))
    assert 0.035 < wrong / 2000 < 0.065


@pytest.mark.parametrize(
    ("passed", "claimed", "last", "first_failed"),
    [
        ([True, True, False, True], (True, True, False, False), 1, 2),
        ([True, True], (True, True), 1, None),
        ([False, True, True], (False, False, False), None, 0),
        ([True, None, True], (True, False, False), 0, 1),
    ],
)
def test_fixed_sequence(
    passed: list[bool | None], claimed: tuple[bool, ...], last: int | None, first_failed: int | None
) -> None:
    result = fixed_sequence(passed)
    assert (result.claimed, result.last, result.first_failed) == (claimed, last, first_failed)
    assert fixed_sequence([None if entry is None else np.bool_(entry) for entry in passed]) == result


@given(p_values)
def test_adjusted_sequence_decides_the_same(values: list[float]) -> None:
    adjusted = fixed_sequence_adjusted(values)
    assert tuple((adjusted < 0.05).tolist()) == fixed_sequence([v < 0.05 for v in values]).claimed


def test_fixed_sequence_keeps_the_level(rng: np.random.Generator) -> None:
    # all hypotheses true: any claim is wrong, and needs the first test to fail its level
    wrong = sum(fixed_sequence((row < 0.05).tolist()).last is not None for row in rng.random((2000, 6)))
    assert 0.035 < wrong / 2000 < 0.065


@pytest.mark.parametrize("method", ["li_ji", "nyholt"])
def test_effective_tests_at_the_ends(method: str) -> None:
    assert effective_tests(np.eye(11), method=method) == pytest.approx(11)  # type: ignore[arg-type]
    for n in range(1, 12):  # eigenvalues n, 0, 0, ... of which rounding makes 1.9999999999999996
        assert effective_tests(np.ones((n, n)), method=method) == pytest.approx(1)  # type: ignore[arg-type]


def test_effective_tests_of_blocks_and_of_two() -> None:
    blocks = np.kron(np.eye(3), np.ones((4, 4)))
    assert effective_tests(blocks) == pytest.approx(3)
    # two tests correlated by r: eigenvalues 1 + r and 1 - r; Li and Ji 1 + r + (1 - r) = 2, Nyholt 2 - r^2
    for r in (-0.5, 0.3, 0.9):
        pair = np.array([[1, r], [r, 1]])
        assert effective_tests(pair) == pytest.approx(2)
        assert effective_tests(pair, method="nyholt") == pytest.approx(2 - r**2)


def test_derived_volumes_are_no_new_evidence(rng: np.random.Generator) -> None:
    edv = rng.normal(150, 30, size=400)
    esv = rng.normal(60, 15, size=400)
    sv = edv - esv
    noise = rng.normal(size=(2, 400))
    table = np.corrcoef([edv, esv, sv, sv * 0.07, *noise])
    assert 3 < effective_tests(table) < 5.5
    assert bonferroni_level(0.05, effective_tests(table)) > 0.05 / 6


def test_refusals() -> None:
    with pytest.raises(ValueError, match="lie from 0 to 1"):
        holm([0.1, np.nan])
    with pytest.raises(ValueError, match="lie from 0 to 1"):
        benjamini_hochberg([0.1, 1.1])
    with pytest.raises(ValueError, match="at least one p-value"):
        holm([])
    with pytest.raises(ValueError, match="at least one test"):
        fixed_sequence([])
    with pytest.raises(ValueError, match="true, false or None"):
        fixed_sequence([0.01, 0.2])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="square correlation matrix"):
        effective_tests([[1.0, 0.5]])
    with pytest.raises(ValueError, match="not finite"):
        effective_tests([[1.0, np.nan], [np.nan, 1.0]])
    with pytest.raises(ValueError, match="symmetric"):
        effective_tests([[1.0, 0.5], [0.4, 1.0]])
    with pytest.raises(ValueError, match="method must be"):
        effective_tests(np.eye(2), method="galwey")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 1"):
        bonferroni_level(0.05, 0.5)
