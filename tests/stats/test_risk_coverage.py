"""Is the risk-coverage curve the mean error of what is kept?"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stats.risk_coverage import risk_coverage

VALUES = arrays(np.float64, 12, elements=st.floats(0, 10))


@given(VALUES, VALUES)
def test_no_score_beats_the_oracle_and_all_end_at_the_mean(error: np.ndarray, score: np.ndarray) -> None:
    curve = risk_coverage(error, score)
    assert (curve.risk >= curve.oracle - 1e-9).all()
    assert curve.risk[-1] == pytest.approx(error.mean())
    assert curve.oracle[-1] == pytest.approx(curve.random)


@given(VALUES, VALUES, st.permutations(range(12)))
def test_order_of_the_input_does_not_matter(error: np.ndarray, score: np.ndarray, order: list[int]) -> None:
    curve, shuffled = risk_coverage(error, score), risk_coverage(error[order], score[order])
    np.testing.assert_allclose(shuffled.risk, curve.risk, atol=1e-9)


def test_errors_that_differ_by_less_than_can_be_divided_have_no_gain() -> None:
    curve = risk_coverage([5e-324, *[0.0] * 11], np.zeros(12))
    assert np.isnan(curve.gain)
    np.testing.assert_array_equal(curve.risk, 0)


def test_three_cases_by_hand() -> None:
    curve = risk_coverage([3.0, 1.0, 2.0], [0.1, 0.5, 0.9])
    np.testing.assert_allclose(curve.coverage, [1 / 3, 2 / 3, 1])
    np.testing.assert_allclose(curve.risk, [3, 2, 2])
    np.testing.assert_allclose(curve.oracle, [1, 1.5, 2])
    assert curve.area == pytest.approx(7 / 3)
    assert curve.gain == pytest.approx((2 - 7 / 3) / (2 - 1.5))
    assert curve.at(0.5) == 2.0
    assert curve.at(1) == 2.0


def test_gain_of_the_error_itself_is_one_of_a_constant_none() -> None:
    error = [0.3, 0.1, 0.7, 0.2]
    assert risk_coverage(error, np.log(error)).gain == pytest.approx(1)
    assert risk_coverage(error, np.zeros(4)).gain == pytest.approx(0)
    assert np.isnan(risk_coverage(np.ones(4), error).gain)


def test_what_has_no_curve_is_refused() -> None:
    with pytest.raises(ValueError, match="2 error but 3 score"):
        risk_coverage([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="not finite"):
        risk_coverage([1, np.nan], [1, 2])
