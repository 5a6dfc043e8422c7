"""Ratios and percent: laws of scale and swap, the published plasma volumes, Euser's limits."""

import math

import numpy as np
import pytest

from stats.bland_altman import bland_altman
from stats.log_limits import percent_limits, ratio_limits

# Bland and Altman 1999, table 2, doi 10.1177/096228029900800204: plasma volume of 99 subjects (% of normal), by Nadler
# and by Hurley
NADLER = [56.9, 63.2, 65.5, 73.6, 74.1, 77.1, 77.3, 77.5, 77.8, 78.9, 79.5, 80.8, 81.2, 81.9, 82.2, 83.1, 84.4, 84.9]
NADLER += [86.0, 86.3, 86.3, 86.6, 86.6, 86.6, 87.1, 87.5, 87.8, 88.6, 89.3, 89.6, 90.3, 91.1, 92.1, 93.5, 94.5, 94.6]
NADLER += [95.0, 95.2, 95.3, 95.6, 95.9, 96.4, 97.2, 97.5, 97.9, 98.2, 98.5, 98.8, 98.9, 99.0, 99.3, 99.3, 99.9, 100.1]
NADLER += [101.0, 101.0, 101.5, 101.5, 101.5, 101.8, 101.8, 102.8, 102.9, 103.2, 103.8, 104.4, 104.8, 105.1, 105.5]
NADLER += [105.7, 106.1, 106.8, 107.2, 107.4, 107.5, 107.5, 108.0, 108.2, 108.6, 109.1, 110.1, 111.2, 111.7, 111.7]
NADLER += [112.0, 113.1, 116.0, 116.7, 118.8, 119.7, 120.7, 122.8, 124.7, 126.4, 127.6, 128.2, 129.6, 130.4, 133.2]
HURLEY = [52.9, 59.2, 63.0, 66.2, 64.8, 69.0, 67.1, 70.1, 69.2, 73.8, 71.8, 73.3, 73.1, 74.7, 74.1, 74.1, 76.0, 75.4]
HURLEY += [74.6, 79.2, 77.8, 80.8, 77.6, 77.5, 78.6, 78.7, 81.5, 79.3, 78.9, 85.9, 80.7, 80.6, 82.8, 86.0, 84.3, 87.6]
HURLEY += [84.0, 85.9, 84.4, 85.2, 85.2, 89.2, 87.8, 88.0, 88.7, 91.2, 91.8, 92.5, 88.0, 93.5, 89.0, 89.4, 89.2, 91.3]
HURLEY += [90.4, 91.2, 91.4, 93.0, 91.2, 92.0, 91.8, 96.8, 92.8, 94.0, 93.5, 95.8, 97.1, 97.3, 95.1, 95.8, 95.5, 95.9]
HURLEY += [95.4, 97.3, 97.7, 93.0, 97.6, 96.1, 96.2, 99.5, 99.8, 105.3, 103.6, 100.2, 100.0, 98.8, 110.0, 103.5, 109.4]
HURLEY += [112.1, 111.3, 108.6, 112.4, 113.8, 115.6, 118.1, 116.8, 121.6, 115.8]


def test_ratios_know_no_unit_and_swap_to_their_inverse() -> None:
    one, scaled, swapped = ratio_limits(HURLEY, NADLER), ratio_limits(*_times(1000.0)), ratio_limits(NADLER, HURLEY)
    assert scaled.ratio.estimate == pytest.approx(one.ratio.estimate)
    assert scaled.upper_limit.high == pytest.approx(one.upper_limit.high)
    assert swapped.lower_limit.low == pytest.approx(1 / one.upper_limit.high)
    assert percent_limits(*_times(1000.0)).upper_limit.high == pytest.approx(
        percent_limits(HURLEY, NADLER).upper_limit.high
    )


def test_published_plasma_volumes() -> None:
    # the paper, pp. 143-145: log ratio 0.099 with limits 0.056 and 0.141, interval of the lower one 0.049 to 0.064;
    # ratio 1.11 with limits 1.06 and 1.15
    result = ratio_limits(HURLEY, NADLER, interval="approximate")
    assert result.n == 99
    logs = [math.log(value.estimate) for value in (result.ratio, result.lower_limit, result.upper_limit)]
    assert logs == pytest.approx([0.099, 0.056, 0.141], abs=6e-4)
    assert [math.log(result.lower_limit.low), math.log(result.lower_limit.high)] == pytest.approx(
        [0.049, 0.064], abs=6e-4
    )
    ratios = [result.ratio.estimate, result.lower_limit.estimate, result.upper_limit.estimate]
    assert ratios == pytest.approx([1.11, 1.06, 1.15], abs=0.007)


def test_euser_limits_where_the_ratio_is_one() -> None:
    logs = np.array([-0.3, 0.3, -0.1, 0.1])
    reference = np.array([10.0, 20.0, 30.0, 40.0])
    result = ratio_limits(reference, reference * np.exp(logs))
    a = math.exp(1.959964 * logs.std(ddof=1))
    lower, middle, upper = result.differences_at([10.0, 40.0])
    assert middle == pytest.approx([0.0, 0.0], abs=1e-12)
    assert upper == pytest.approx([2 * 10 * (a - 1) / (a + 1), 2 * 40 * (a - 1) / (a + 1)])
    assert lower == pytest.approx(-upper)
    assert result.euser_slope == pytest.approx(upper[0] / 10)


def test_differences_belong_to_their_ratios() -> None:
    result = ratio_limits(HURLEY, NADLER)
    lower, middle, upper = result.differences_at([80.0])
    pairs = ((lower, result.lower_limit), (middle, result.ratio), (upper, result.upper_limit))
    for difference, interval in pairs:
        assert (80 + difference[0] / 2) / (80 - difference[0] / 2) == pytest.approx(interval.estimate)


def test_percent_is_the_plain_analysis_of_percentages() -> None:
    x, y = np.array(HURLEY), np.array(NADLER)
    assert percent_limits(x, y).bias.estimate == pytest.approx(float(np.mean(200 * (y - x) / (x + y))))
    of_reference = percent_limits(x, y, of="reference", interval="mover")
    expected = bland_altman(np.zeros(x.size), 100 * (y / x - 1), interval="mover")
    assert of_reference.lower_limit.low == pytest.approx(expected.lower_limit.low)
    assert of_reference.upper_limit.high == pytest.approx(expected.upper_limit.high)


def test_no_spread_gives_limits_without_width() -> None:
    result = ratio_limits([1.0, 2.0, 4.0], [2.0, 4.0, 8.0])
    assert (result.lower_limit.low, result.ratio.estimate, result.upper_limit.high) == pytest.approx((2.0, 2.0, 2.0))
    assert result.euser_slope == pytest.approx(0.0)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="test: ratios need values above 0, the smallest is 0"):
        ratio_limits([1.0, 2.0, 3.0], [0.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="at least 3"):
        ratio_limits([1.0, 2.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="not finite"):
        percent_limits([1.0, 2.0, math.nan], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="percent of the reference needs values above 0, the smallest is -1"):
        percent_limits([-1.0, 2.0, 3.0], [1.0, 2.0, 3.0], of="reference")
    with pytest.raises(ValueError, match="of must be"):
        percent_limits([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], of="test")  # type: ignore[arg-type]


def _times(factor: float) -> tuple[np.ndarray, np.ndarray]:
    return np.array(HURLEY) * factor, np.array(NADLER) * factor
