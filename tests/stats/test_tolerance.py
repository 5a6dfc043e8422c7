"""Two-sided tolerance factors against tables, their law by simulation, and the refusals."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import scipy.stats as scipy_stats

from stats.tolerance import tolerance_factor, tolerance_limits

FACTORS = Path(__file__).parents[3] / "shared" / "data" / "reference" / "statistics" / "09_exact_loa_factors.json"


@pytest.mark.slow
@pytest.mark.parametrize(("n", "coverage", "confidence"), [(2, 0.9, 0.9), (5, 0.95, 0.99), (40, 0.8, 0.2)])
def test_holds_the_share_as_often_as_it_says(
    n: int, coverage: float, confidence: float, rng: np.random.Generator
) -> None:
    samples = rng.standard_normal((50_000, n))
    half = tolerance_factor(n, coverage=coverage, confidence=confidence) * samples.std(axis=1, ddof=1)
    mean = samples.mean(axis=1)
    share = scipy_stats.norm.cdf(mean + half) - scipy_stats.norm.cdf(mean - half)
    error = math.sqrt(confidence * (1 - confidence) / len(samples))
    assert np.mean(share >= coverage) == pytest.approx(confidence, abs=4 * error)


def test_rises_with_coverage_and_confidence_and_falls_with_n() -> None:
    assert tolerance_factor(20) < tolerance_factor(20, confidence=0.99) < tolerance_factor(10, confidence=0.99)
    assert tolerance_factor(20, coverage=0.9) < tolerance_factor(20)


def test_large_samples_come_down_to_the_normal_quantile() -> None:
    assert tolerance_factor(1_000_000) == pytest.approx(1.959964, abs=0.003)
    assert tolerance_factor(50_000, confidence=0.5) == pytest.approx(1.959964, abs=1e-4)


@pytest.mark.parametrize(("n", "factor"), [(10, 3.393), (20, 2.760), (30, 2.555)])
def test_tables(n: int, factor: float) -> None:
    # two-sided factors for 95 % with 95 % confidence (Odeh and Owen 1980), as quoted in the reference file below
    assert tolerance_factor(n) == pytest.approx(factor, abs=0.001)


def test_reference_file() -> None:
    # computed in other code for Carkeet 2015's pair of limits, doi 10.1097/OPX.0000000000000513
    if not FACTORS.exists():
        pytest.skip(f"needs the reference numbers, {FACTORS.name}")
    rows = json.loads(FACTORS.read_text())["expected"]["pair_two_sided_P95"]
    for row in rows:
        for key in ("g025", "g500", "g950", "g975"):
            factor = tolerance_factor(row["n"], confidence=int(key[1:]) / 1000)
            assert factor == pytest.approx(row[key], rel=1e-9), (row["n"], key)


def test_limits_of_a_sample(rng: np.random.Generator) -> None:
    d = rng.normal(1.0, 2.0, size=25)
    limits = tolerance_limits(d)
    assert limits.factor == pytest.approx(2.637740298, abs=1e-8)  # n = 25 in the reference file
    assert (limits.low + limits.high) / 2 == pytest.approx(d.mean())
    assert limits.high - limits.mean == pytest.approx(limits.factor * d.std(ddof=1))
    flat = tolerance_limits([2.0, 2.0, 2.0])
    assert (flat.low, flat.high) == (2.0, 2.0)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="n of at least 2"):
        tolerance_factor(1)
    with pytest.raises(ValueError, match="coverage must lie between 0 and 1"):
        tolerance_factor(10, coverage=1.0)
    with pytest.raises(ValueError, match="confidence must lie between 0 and 1"):
        tolerance_factor(10, confidence=95)
    with pytest.raises(ValueError, match="at least 3"):
        tolerance_limits([1.0, 2.0])
    with pytest.raises(ValueError, match="not finite"):
        tolerance_limits([1.0, 2.0, math.nan])
