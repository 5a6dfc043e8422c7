"""Sample sizes against published examples, against simulation and against their own large-sample forms."""

import math

import numpy as np
import pytest
import scipy.integrate as scipy_integrate
import scipy.stats as scipy_stats
from hypothesis import given, settings
from hypothesis import strategies as st

from stats.bland_altman import bland_altman
from stats.equivalence import limits_within, tost_paired
from stats.sample_size import (
    inflated_for_centers,
    n_for_limits,
    n_for_limits_width,
    n_for_non_inferiority,
    n_for_tost,
    outer_factor,
    power_limits,
    power_non_inferiority,
    power_tost,
)

LU = {"sd": 0.001129, "bias": 0.001167, "lower": -0.004, "upper": 0.004}


def test_lu_2016_example() -> None:
    # Lu et al. 2016, doi 10.1515/ijb-2015-0039: paper and MedCalc print 83; the paper's formula itself gives 79
    result = n_for_limits(**LU, interval="approximate")
    assert result.n == 83
    assert result.power == pytest.approx(0.8043, abs=5e-5)
    assert result.large_sample_n == 79
    assert power_limits(79, **LU, interval="approximate") == pytest.approx(0.786, abs=5e-4)
    assert n_for_limits(**LU).n == 97


def test_power_of_the_lu_example_by_simulation(rng: np.random.Generator) -> None:
    # 40 000 studies of 79 pairs: standard error 0.002
    d = rng.normal(LU["bias"], LU["sd"], size=(40_000, 79))
    mean, sd = d.mean(axis=1), d.std(axis=1, ddof=1)
    reach = outer_factor(79, coverage=0.95, confidence=0.95, interval="approximate")
    share = np.mean((mean + reach * sd < 0.004) & (mean - reach * sd > -0.004))
    assert share == pytest.approx(power_limits(79, **LU, interval="approximate"), abs=0.008)


def test_the_rule_that_is_planned_is_the_rule_that_is_applied(rng: np.random.Generator) -> None:
    # 600 studies judged by the functions a run uses; standard error 0.016
    limits, bias = 0, 0
    for d in rng.normal(0.2, 1.0, size=(600, 30)):
        limits += limits_within(bland_altman(np.zeros(30), d), lower=-3.0, upper=3.0)
        bias += tost_paired(d, lower=-0.6, upper=0.6).equivalent
    assert limits / 600 == pytest.approx(power_limits(30, sd=1.0, bias=0.2, lower=-3.0, upper=3.0), abs=0.055)
    assert bias / 600 == pytest.approx(power_tost(30, sd=1.0, bias=0.2, lower=-0.6, upper=0.6), abs=0.055)


def test_outer_factor_is_that_of_the_limits() -> None:
    d = np.array([1.0, 2.0, 4.0, 7.0, 11.0])
    for interval in ("exact", "approximate"):
        limit = bland_altman(np.zeros(5), d, interval=interval).upper_limit  # type: ignore[arg-type]
        factor = outer_factor(5, coverage=0.95, confidence=0.95, interval=interval)  # type: ignore[arg-type]
        assert d.mean() + factor * d.std(ddof=1) == pytest.approx(limit.high)


def test_powertost_example() -> None:
    # PowerTOST (R), README: sampleN.TOST(CV = 0.30), 2 x 2 cross-over, gives n = 40 with power 0.815845. Its error is
    # that of n/2 pairs of a doubled variance with n - 2 degrees of freedom, so the integral is checked through both
    from stats.sample_size import _joint

    sd, n = math.sqrt(2 * math.log(1 + 0.3**2)), 40
    shift, margin = math.log(0.95), math.log(1.25)
    reach = scipy_stats.t.isf(0.05, n - 2) / math.sqrt(n)
    assert _joint((-margin - shift) / sd, (margin - shift) / sd, reach, n, n - 2) == pytest.approx(0.815845, abs=5e-7)


@given(st.integers(3, 200), st.floats(0.05, 3.0), st.floats(-0.9, 0.9))
@settings(max_examples=40, deadline=None)
def test_power_of_tost_is_the_integral_by_another_quadrature(n: int, margin: float, place: float) -> None:
    bias = place * margin
    t, freedom = scipy_stats.t.isf(0.05, n - 1), n - 1

    def inner(variance: float) -> float:
        s = math.sqrt(variance / freedom)
        high, low = (margin - bias) * math.sqrt(n) - t * s, (-margin - bias) * math.sqrt(n) + t * s
        return max(scipy_stats.norm.cdf(high) - scipy_stats.norm.cdf(low), 0.0) * scipy_stats.chi2.pdf(
            variance, freedom
        )

    top = freedom * (margin * math.sqrt(n) / t) ** 2
    ends = scipy_stats.chi2.ppf([1e-15, 1 - 1e-15], freedom)
    known = (
        scipy_integrate.quad(inner, ends[0], min(top, ends[1]), limit=300, epsabs=1e-10)[0] if top > ends[0] else 0.0
    )
    assert power_tost(n, sd=1.0, lower=-margin, upper=margin, bias=bias) == pytest.approx(known, abs=1e-6)


def test_large_sample_form_of_tost() -> None:
    # (z.95 + z.90)^2 s^2 / D^2 = 8.5638 s^2 / D^2
    result = n_for_tost(sd=4.0, lower=-1.0, upper=1.0)
    assert result.large_sample_n == math.ceil(8.563847 * 16)
    assert result.n == pytest.approx(result.large_sample_n, abs=2)
    few = n_for_tost(sd=1.0, lower=-1.5, upper=1.5)
    assert few.n > few.large_sample_n  # where t matters the exact form asks for more
    assert result.power is not None
    assert result.power >= 0.8 > power_tost(result.n - 1, sd=4.0, lower=-1.0, upper=1.0)


def test_bias_at_the_margin_has_the_error_rate() -> None:
    assert power_tost(400, sd=1.0, lower=-1.0, upper=1.0, bias=1.0) == pytest.approx(0.05, abs=1e-6)
    assert power_non_inferiority(50, sd=1.0, margin=0.5, bias=-0.5) == pytest.approx(0.025, abs=1e-6)


def test_asymmetric_margins_mirror() -> None:
    one = n_for_tost(sd=2.0, lower=-1.0, upper=3.0, bias=0.5)
    other = n_for_tost(sd=2.0, lower=-3.0, upper=1.0, bias=-0.5)
    assert one.n == other.n
    assert n_for_tost(sd=2.0, lower=-1.0, upper=1.0, bias=0.5).n >= one.n


def test_non_inferiority_by_statsmodels() -> None:
    power = pytest.importorskip("statsmodels.stats.power")
    known = power.TTestPower().solve_power(effect_size=0.4, alpha=0.025, power=0.9, alternative="larger")
    result = n_for_non_inferiority(sd=2.5, margin=1.0, power=0.9)
    assert result.n == math.ceil(known)
    assert result.large_sample_n == math.ceil((1.959964 + 1.281552) ** 2 / 0.16)


def test_width_of_the_limits() -> None:
    # Bland: 100 pairs give the limits to about +- 0.34 s (1.96 sqrt(3/100)), 200 to 0.24 s
    result = n_for_limits_width(sd=1.0, width=0.34, interval="approximate")
    assert result.n == pytest.approx(100, abs=4)
    assert result.large_sample_n == math.ceil(1.959964**2 * (1 + 1.959964**2 / 2) / 0.34**2)
    exact = n_for_limits_width(sd=1.0, width=0.34)
    assert exact.n > result.n
    assert outer_factor(exact.n, coverage=0.95, confidence=0.95) - 1.959964 <= 0.34
    assert outer_factor(exact.n - 1, coverage=0.95, confidence=0.95) - 1.959964 > 0.34


def test_thousands_of_patients_stay_finite() -> None:
    result = n_for_limits(sd=1.0, lower=-2.05, upper=2.05)
    assert 2000 < result.n < 20_000
    assert result.n == pytest.approx(result.large_sample_n, rel=0.02)


def test_centers_cost_patients() -> None:
    assert inflated_for_centers(100, per_center=20, icc=0.05) == 195
    assert inflated_for_centers(100, per_center=1, icc=0.5) == 100


def test_refusals() -> None:
    with pytest.raises(ValueError, match="no number of patients"):
        n_for_tost(sd=1.0, lower=-1.0, upper=1.0, bias=1.0)
    with pytest.raises(ValueError, match=r"true limits of -1\.95996 to 1\.95996 are not inside"):
        n_for_limits(sd=1.0, lower=-1.9, upper=1.9)
    with pytest.raises(ValueError, match="is not above -1"):
        n_for_non_inferiority(sd=1.0, margin=1.0, bias=-1.0)
    with pytest.raises(ValueError, match="margin must be above 0"):
        n_for_non_inferiority(sd=1.0, margin=0.0, bias=0.5)
    with pytest.raises(ValueError, match="sd must be above 0"):
        n_for_tost(sd=0.0, lower=-1.0, upper=1.0)
    with pytest.raises(ValueError, match="lower < upper"):
        power_tost(10, sd=1.0, lower=1.0, upper=-1.0)
    with pytest.raises(ValueError, match="alpha must be below"):
        power_tost(10, sd=1.0, lower=-1.0, upper=1.0, alpha=0.6)
    with pytest.raises(ValueError, match="at least 2 patients"):
        power_tost(1, sd=1.0, lower=-1.0, upper=1.0)
    with pytest.raises(ValueError, match="more than 100000"):
        n_for_tost(sd=1000.0, lower=-1.0, upper=1.0)
    with pytest.raises(ValueError, match="exact or approximate"):
        outer_factor(10, coverage=0.95, confidence=0.95, interval="mover")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="width must be above 0"):
        n_for_limits_width(sd=1.0, width=0.0)
    with pytest.raises(ValueError, match="icc in 0 to 1"):
        inflated_for_centers(10, per_center=5, icc=1.5)
