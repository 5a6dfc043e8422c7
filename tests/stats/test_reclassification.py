"""Classes of a continuous value: the sides of the cut-offs, the table, and what is counted of it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stats.intervals import proportion
from stats.reclassification import CutOff, reclassify
from stats.square_table import bowker, kappa_of_table, stuart_maxwell

# heart failure by ejection fraction, universal definition 2021, doi 10.1002/ejhf.2115, and 35 for devices
CUTS = (CutOff(35, "below"), CutOff(40, "below"), CutOff(50, "above"))


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.floats(10, 80), st.floats(10, 80)), min_size=1, max_size=40))
def test_laws(pairs: list[tuple[float, float]]) -> None:
    reference, test = np.array(pairs).T
    result, back = reclassify(reference, test, cut_offs=CUTS), reclassify(test, reference, cut_offs=CUTS)
    table = np.array(result.table)
    assert table.sum() == result.n == len(pairs)
    assert result.moved == result.moved_up + result.moved_down == table.sum() - np.trace(table)
    assert (result.moved_up, result.moved_down) == (np.triu(table, 1).sum(), np.tril(table, -1).sum())
    assert back.table == tuple(map(tuple, table.T.tolist()))
    assert (back.moved_up, back.symmetry.p) == (result.moved_down, pytest.approx(result.symmetry.p))
    assert result.symmetry == bowker(table)
    assert result.homogeneity == stuart_maxwell(table)
    for change, reverse in zip(result.mcnemar, back.mcnemar, strict=True):
        assert (change.only_reference_below, change.only_test_below) == (
            reverse.only_test_below,
            reverse.only_reference_below,
        )
    # everybody is near when the distance is large
    wide = reclassify(reference, test, cut_offs=CUTS, near=100.0).near
    assert wide is not None
    assert (wide.n, wide.moved) == (result.n, result.moved)


@pytest.mark.parametrize(
    ("value", "place"),
    [(34.9, 0), (35.0, 0), (35.000001, 1), (40.0, 1), (40.4, 2), (49.6, 2), (49.999999, 2), (50.0, 3), (50.1, 3)],
)
def test_the_sides_of_the_cut_offs(value: float, place: int) -> None:
    result = reclassify([value], [value], cut_offs=CUTS)
    assert result.classes == ("<= 35", "(35, 40]", "(40, 50)", ">= 50")
    assert np.argmax(np.diag(result.table)) == place
    assert (result.moved, result.kappa) == (0, None)


def test_the_other_sides() -> None:
    other = (CutOff(35, "above"), CutOff(40, "above"), CutOff(50, "below"))
    result = reclassify([35.0, 40.0, 50.0, 34.0, 51.0], [35.0] * 5, cut_offs=other)
    assert result.classes == ("< 35", "[35, 40)", "[40, 50]", "> 50")
    assert np.sum(result.table, axis=1).tolist() == [1, 1, 2, 1]


def test_by_hand() -> None:
    reference = [30.0, 36.0, 39.0, 41.0, 45.0, 49.0, 51.0, 60.0, 65.0, 33.0]
    test = [36.0, 34.0, 41.0, 39.0, 46.0, 50.0, 49.0, 61.0, 64.0, 32.0]
    result = reclassify(reference, test, cut_offs=CUTS, near=2.0)
    assert result.table == ((1, 1, 0, 0), (1, 0, 1, 0), (0, 1, 1, 1), (0, 0, 1, 2))
    assert (result.n, result.moved, result.moved_up, result.moved_down) == (10, 6, 3, 3)
    assert result.share_moved == proportion(6, 10)
    assert [(c.only_reference_below, c.only_test_below, c.p) for c in result.mcnemar] == [(1, 1, 1.0)] * 3
    assert result.kappa == kappa_of_table(result.table)
    assert result.near is not None
    # 36, 39, 41, 49, 51 and 33 by the reference; 2.0 itself is near
    assert (result.near.n, result.near.moved) == (6, 5)
    assert result.near.share == proportion(5, 6)


def test_one_sided_shift_is_seen_at_its_cut_off() -> None:
    reference = np.linspace(36, 60, 49)
    result = reclassify(reference, reference - 4.0, cut_offs=CUTS)
    assert result.moved_up == 0
    at_40 = result.mcnemar[1]
    assert (at_40.only_reference_below, at_40.only_test_below) == (0, 8)
    assert at_40.p == pytest.approx(2 / 2**8)
    assert result.symmetry.p < 0.01


def test_nobody_near() -> None:
    result = reclassify([20.0, 70.0], [21.0, 71.0], cut_offs=CUTS, near=3.0)
    assert result.near is not None
    assert (result.near.n, result.near.share) == (0, None)


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"expected one CutOff"):
        reclassify([1.0], [1.0], cut_offs=(35, 40))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"expected one CutOff"):
        reclassify([1.0], [1.0], cut_offs=())
    with pytest.raises(ValueError, match="finite and rise"):
        reclassify([1.0], [1.0], cut_offs=(CutOff(40, "below"), CutOff(35, "below")))
    with pytest.raises(ValueError, match="belongs_to must be"):
        reclassify([1.0], [1.0], cut_offs=(CutOff(40, "left"),))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="near must be"):
        reclassify([1.0], [1.0], cut_offs=CUTS, near=0.0)
    with pytest.raises(ValueError, match="not finite"):
        reclassify([1.0, np.nan], [1.0, 2.0], cut_offs=CUTS)
    with pytest.raises(ValueError, match="as many of each"):
        reclassify([1.0, 2.0], [1.0], cut_offs=CUTS)
