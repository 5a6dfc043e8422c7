"""Lines of bias and spread: laws, the published fat of human milk, statsmodels as the witness."""

import math

import numpy as np
import pytest

from stats.varying_limits import proportional_bias, regression_limits

# Bland and Altman 1999, table 3, doi 10.1177/096228029900800204: fat of 45 samples of human milk (g/100 ml), by enzymic
# hydrolysis of triglycerides and by the Gerber method
TRIG = [0.96, 1.16, 0.97, 1.01, 1.25, 1.22, 1.46, 1.66, 1.75, 1.72, 1.67, 1.67, 1.93, 1.99, 2.01, 2.28, 2.15, 2.29]
TRIG += [2.45, 2.40, 2.79, 2.77, 2.64, 2.73, 2.67, 2.61, 3.01, 2.93, 3.18, 3.18, 3.19, 3.12, 3.33, 3.51, 3.66, 3.95]
TRIG += [4.20, 4.05, 4.30, 4.74, 4.71, 4.71, 4.74, 5.23, 6.21]
GERBER = [0.85, 1.00, 1.00, 1.00, 1.20, 1.20, 1.38, 1.65, 1.68, 1.70, 1.70, 1.70, 1.88, 2.00, 2.05, 2.17, 2.20, 2.28]
GERBER += [2.43, 2.55, 2.60, 2.65, 2.67, 2.70, 2.70, 2.70, 3.00, 3.02, 3.03, 3.11, 3.15, 3.15, 3.40, 3.42, 3.62, 3.95]
GERBER += [4.27, 4.30, 4.35, 4.75, 4.79, 4.80, 4.80, 5.42, 6.20]


def _growing(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    reference = rng.uniform(50.0, 250.0, size=n)
    return reference, reference + 2.0 - 0.05 * reference + rng.normal(size=n) * (1.0 + 0.04 * reference)


def test_swapping_the_methods_mirrors_the_lines(rng: np.random.Generator) -> None:
    x, y = _growing(rng, 60)
    one, other = regression_limits(x, y), regression_limits(y, x)
    values = [60.0, 120.0, 200.0]
    assert one.limits_at(values).lower == pytest.approx(-other.limits_at(values).upper)
    assert one.spread_slope == pytest.approx(other.spread_slope)
    assert proportional_bias(x, y).p == pytest.approx(proportional_bias(y, x).p)


def test_finds_the_lines_the_data_were_made_with(rng: np.random.Generator) -> None:
    reference, test = _growing(rng, 20_000)
    limits = regression_limits(reference, test, on="reference").limits_at([100.0, 200.0])
    assert limits.bias == pytest.approx([-3.0, -8.0], abs=0.3)
    assert limits.sd == pytest.approx([5.0, 9.0], rel=0.03)
    inside = regression_limits(reference, test, on="reference").limits_at(reference)
    d = test - reference
    assert np.mean((inside.lower < d) & (d < inside.upper)) == pytest.approx(0.95, abs=0.006)


def test_published_milk_fat() -> None:
    # the paper, pp. 145-148: difference = 0.079 - 0.0283 mean, residual SD 0.08033, limits that line ± 0.157
    # (coefficients recalled from the paper; SD as quoted in ba1999demo.m of Bland-Altman-Analysis, which also finds that
    # the data give a value 1.2 % lower)
    result = regression_limits(GERBER, TRIG, spread="constant")
    assert result.intercept.estimate == pytest.approx(0.079, abs=5e-4)
    assert result.slope.estimate == pytest.approx(-0.0283, abs=5e-5)
    assert result.spread_intercept == pytest.approx(0.08033, rel=0.013)
    assert regression_limits(GERBER, TRIG).spread_p > 0.05  # type: ignore[operator]  # so the paper takes it as constant


@pytest.mark.parametrize("on", ["mean", "reference"])
def test_agrees_with_statsmodels(on: str, rng: np.random.Generator) -> None:
    api = pytest.importorskip("statsmodels.api")
    diagnostic = pytest.importorskip("statsmodels.stats.diagnostic")
    x, y = _growing(rng, 40)
    v = x if on == "reference" else (x + y) / 2
    fit = api.OLS(y - x, api.add_constant(v)).fit()
    result = proportional_bias(x, y, on=on, confidence=0.9)  # type: ignore[arg-type]
    assert (result.intercept.estimate, result.slope.estimate) == pytest.approx(fit.params)
    assert [result.slope.low, result.slope.high] == pytest.approx(fit.conf_int(0.1)[1])
    assert [result.intercept.low, result.intercept.high] == pytest.approx(fit.conf_int(0.1)[0])
    assert result.p == pytest.approx(fit.pvalues[1])
    assert result.residual_sd == pytest.approx(math.sqrt(fit.mse_resid))
    assert result.heteroscedasticity_p == pytest.approx(diagnostic.het_breuschpagan(fit.resid, fit.model.exog)[1])
    absolute = api.OLS(np.abs(fit.resid), api.add_constant(v)).fit()
    limits = regression_limits(x, y, on=on)  # type: ignore[arg-type]
    expected = absolute.params * math.sqrt(math.pi / 2)
    assert (limits.spread_intercept, limits.spread_slope) == pytest.approx(expected)
    assert limits.spread_p == pytest.approx(absolute.pvalues[1])


def test_points_on_a_line_have_no_spread_to_test() -> None:
    x = np.array([1.0, 2.0, 3.0, 4.0])
    rising = proportional_bias(x, 1.5 * x, on="reference")
    assert rising.slope.estimate == pytest.approx(0.5)
    assert rising.p == pytest.approx(0.0, abs=1e-9)
    assert rising.heteroscedasticity_p is None
    same = proportional_bias(x, x)
    assert (same.slope.estimate, same.p, same.residual_sd, same.heteroscedasticity_p) == (0.0, 1.0, 0.0, None)


def test_where_the_line_of_the_spread_is_below_nothing_there_are_no_limits() -> None:
    x = np.array([0.0, 1.0, 2.0, 3.0, 10.0, 10.0])
    y = x + np.array([0.0, 0.0, 0.0, 0.0, 5.0, -5.0])
    result = regression_limits(x, y, on="reference")
    assert 0.0 < result.low < x.mean() < result.high == 10.0
    at = result.limits_at([result.low, result.high])
    assert at.sd[0] == 0.0
    assert at.lower[0] == at.upper[0] == at.bias[0]
    with pytest.raises(ValueError, match="line of the spread is below 0 at 0; stay between"):
        result.limits_at([0.0, 5.0])
    constant = regression_limits(x, y, on="reference", spread="constant")
    assert constant.limits_at(1e6).sd == pytest.approx(constant.spread_intercept)
    mirrored = regression_limits(-x, -y, on="reference")
    assert (mirrored.low, mirrored.high) == pytest.approx((-10.0, -result.low))


def test_refusals() -> None:
    with pytest.raises(ValueError, match="at least 3"):
        proportional_bias([1.0, 2.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="every reference is 2"):
        proportional_bias([2.0, 2.0, 2.0], [1.0, 2.0, 3.0], on="reference")
    with pytest.raises(ValueError, match="on must be 'mean' or 'reference'"):
        proportional_bias([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], on="test")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="spread must be"):
        regression_limits([1.0, 2.0, 3.0], [1.0, 2.0, 4.0], spread="auto")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="test: 1 of 3 values are not finite"):
        regression_limits([1.0, 2.0, 3.0], [1.0, math.nan, 4.0])
    with pytest.raises(ValueError, match="must be finite"):
        regression_limits(GERBER, TRIG).limits_at([1.0, math.nan])
