"""Clustered bootstrap: equal to a plain loop draw by draw, to scipy's BCa, and honest about its own luck."""

import math

import numpy as np
import pytest
import scipy.stats as scipy_stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stats.bootstrap_ends import end_points
from stats.clustered_bootstrap import Scheme, bootstrap_agreement, draw_counts, resampled_statistics

Z = float(scipy_stats.norm.ppf(0.975))


def plain(x: np.ndarray, margin: float, counts: np.ndarray) -> np.ndarray:
    """One column, resamples written out as samples."""
    rows = []
    for count in counts:
        sample = np.repeat(x, count)
        sample = sample[~np.isnan(sample)]
        if sample.size < 2:
            rows.append([np.nan] * 5)
            continue
        bias, sd = sample.mean(), sample.std(ddof=1)
        rows.append([bias, sd, bias - Z * sd, bias + Z * sd, np.mean(np.abs(sample) < margin)])
    return np.array(rows).T


@pytest.mark.parametrize("scheme", ["centers then patients", "whole centers", "patients within centers"])
def test_equals_a_plain_loop_draw_by_draw(scheme: Scheme, rng: np.random.Generator) -> None:
    x = rng.normal(50.0, 2.0, size=(40, 3))
    x[rng.random(x.shape) < 0.15] = np.nan
    margin = np.array([51.0, 49.5, 52.0])
    counts = draw_counts(np.repeat(np.arange(4), [5, 15, 1, 19]), 200, scheme=scheme, rng=rng)
    ours = resampled_statistics(x, margin, counts, z=Z)
    for j in range(3):
        np.testing.assert_allclose(ours[:, :, j], plain(x[:, j], margin[j], counts), rtol=1e-12, atol=1e-12)


@given(
    hnp.arrays(np.float64, (6, 2), elements=st.floats(-1e6, 1e6) | st.just(math.nan)),
    st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_equals_a_plain_loop_for_any_values(x: np.ndarray, seed: int) -> None:
    counts = draw_counts(np.arange(6) // 2, 20, scheme="centers then patients", rng=np.random.default_rng(seed))
    ours = resampled_statistics(x, np.array([1.0, 1e5]), counts, z=Z)
    for j, margin in enumerate((1.0, 1e5)):
        size = np.nanmax(np.abs(x[:, j]), initial=0.0)
        np.testing.assert_allclose(ours[:, :, j], plain(x[:, j], margin, counts), atol=1e-7 * size + 1e-300)


def test_schemes_draw_what_they_say(rng: np.random.Generator) -> None:
    home = np.repeat(np.arange(3), [4, 2, 6])
    within = draw_counts(home, 500, scheme="patients within centers", rng=rng)
    whole = draw_counts(home, 500, scheme="whole centers", rng=rng)
    both = draw_counts(home, 500, scheme="centers then patients", rng=rng)
    for c, size in enumerate((4, 2, 6)):
        assert (within[:, home == c].sum(axis=1) == size).all()
        assert (np.ptp(whole[:, home == c], axis=1) == 0).all()
        assert (both[:, home == c].sum(axis=1) % size == 0).all()
    assert (whole[:, [0, 4, 6]].sum(axis=1) == 3).all()
    assert both.mean(axis=0) == pytest.approx(np.ones(12), abs=0.2)


def test_expected_variance_of_a_mean_by_scheme() -> None:
    # balanced, K centers of m: whole centers draw var(center means) / K; centers then patients add the within variance
    # over N; patients within centers have that alone (population variances, closed form)
    rng = np.random.default_rng(3)
    x = rng.normal(size=(12, 10)) + rng.normal(size=(12, 1))
    home, values = np.repeat(np.arange(12), 10), x.reshape(-1, 1)
    between, within = x.mean(axis=1).var() / 12, x.var(axis=1).mean() / 120
    for scheme, variance in (
        ("whole centers", between),
        ("centers then patients", between + within),
        ("patients within centers", within),
    ):
        counts = draw_counts(home, 40_000, scheme=scheme, rng=rng)  # type: ignore[arg-type]
        bias = resampled_statistics(values, np.array([np.nan]), counts, z=Z)[0, :, 0]
        assert bias.var() == pytest.approx(variance, rel=0.03)


def test_bca_is_scipys_for_one_center() -> None:
    x = np.random.default_rng(8).lognormal(size=(25, 1))
    ours = bootstrap_agreement(x, ["one"] * 25, rng=np.random.default_rng(1), n_resamples=50_000).columns[0]
    assert ours is not None
    for mine, function in ((ours.bias, np.mean), (ours.sd, lambda v, axis: np.std(v, ddof=1, axis=axis))):
        known = scipy_stats.bootstrap((x[:, 0],), function, rng=np.random.default_rng(2), n_resamples=50_000)
        low, high = known.confidence_interval
        tolerance = 5 * max(mine.low_error, mine.high_error)
        assert (mine.interval.low, mine.interval.high) == pytest.approx((low, high), abs=tolerance)


def test_bca_leaves_out_whole_centers() -> None:
    # the acceleration of a mean over equal centers, by hand
    means = np.random.default_rng(4).lognormal(size=12)
    x = np.repeat(means, 3)[:, None]
    names = np.repeat([f"c{i}" for i in range(12)], 3)
    left_out = (means.sum() - means) / 11
    deviation = left_out.mean() - left_out
    acceleration = (deviation**3).sum() / (6 * (deviation**2).sum() ** 1.5)
    counts = draw_counts(np.repeat(np.arange(12), 3), 2000, scheme="whole centers", rng=np.random.default_rng(5))
    # names sort as c0, c1, c10, c11, c2, so draw with the same order of centers
    order = np.argsort(np.unique(names, return_inverse=True)[1], kind="stable")
    draws = resampled_statistics(x[order], np.array([np.nan]), counts, z=Z)[0]
    expected = end_points(draws, x.mean(axis=0), np.array([acceleration]), level=0.95, corrected=True)
    ours = bootstrap_agreement(
        x[order], list(names[order]), rng=np.random.default_rng(5), n_resamples=2000, scheme="whole centers"
    ).columns[0]
    assert ours is not None
    assert (ours.bias.interval.low, ours.bias.interval.high) == pytest.approx(tuple(expected[:2, 0]))


def test_limits_of_many_patients_are_close_to_the_exact_interval(rng: np.random.Generator) -> None:
    from stats.bland_altman import bland_altman

    d = rng.normal(1.0, 3.0, size=800)
    exact = bland_altman(np.zeros(800), d)
    ours = bootstrap_agreement(d[:, None], ["a"] * 800, rng=rng, margin=6.0).columns[0]
    assert ours is not None
    assert ours.upper_limit.interval.high == pytest.approx(exact.upper_limit.high, abs=0.08)
    assert ours.bias.interval.low == pytest.approx(exact.bias.low, abs=0.03)
    assert ours.share_within is not None
    assert ours.share_within.interval.estimate == np.mean(np.abs(d) < 6)


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_monte_carlo_error_is_the_spread_over_seeds(method: str) -> None:
    d = np.random.default_rng(6).lognormal(size=(30, 1))
    results = [
        bootstrap_agreement(d, ["a"] * 30, rng=np.random.default_rng(s), n_resamples=1000, method=method).columns[0]  # type: ignore[arg-type]
        for s in range(200)
    ]
    for end in ("low", "high"):
        values = [getattr(r.upper_limit.interval, end) for r in results if r is not None]
        stated = [getattr(r.upper_limit, f"{end}_error") for r in results if r is not None]
        assert np.sqrt(np.mean(np.square(stated))) == pytest.approx(np.std(values), rel=0.2)


def test_columns_do_not_change_each_other(rng: np.random.Generator) -> None:
    x = rng.normal(size=(50, 4))
    names = [f"c{i % 12}" for i in range(50)]
    whole = bootstrap_agreement(x, names, rng=np.random.default_rng(1), n_resamples=500)
    one = bootstrap_agreement(x[:, 2:3], names, rng=np.random.default_rng(1), n_resamples=500)
    assert whole.scheme == "centers then patients"
    mine, other = whole.columns[2], one.columns[0]
    assert mine is not None
    assert other is not None
    assert mine.bias.interval.low == pytest.approx(other.bias.interval.low, rel=1e-12)
    assert mine.upper_limit.interval.high == pytest.approx(other.upper_limit.interval.high, rel=1e-12)


def test_generator_is_the_only_randomness(rng: np.random.Generator) -> None:
    x = rng.normal(size=(20, 2))
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - the global state must stay as it is
    one = bootstrap_agreement(x, ["a"] * 20, rng=np.random.default_rng(5), n_resamples=300)
    assert one == bootstrap_agreement(x, ["a"] * 20, rng=np.random.default_rng(5), n_resamples=300)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_few_centers_are_not_resampled_and_it_says_so(rng: np.random.Generator) -> None:
    x = rng.normal(size=(20, 1))
    result = bootstrap_agreement(x, ["a", "b"] * 10, rng=rng, n_resamples=200)
    assert result.scheme == "patients within centers"
    assert "2 centers, fewer than 10" in result.notes[0]
    drawn = bootstrap_agreement(x, ["a", "b"] * 10, rng=rng, n_resamples=200, scheme="whole centers")
    assert "too narrow" in drawn.notes[0]


def test_no_spread_too_few_and_shares_at_the_end(rng: np.random.Generator) -> None:
    x = np.column_stack([np.full(12, 0.1), np.where(np.arange(12) == 3, 1.0, np.nan), rng.normal(size=12)])
    result = bootstrap_agreement(x, ["a"] * 12, rng=rng, margin=[1.0, 1.0, np.nan], n_resamples=200)
    equal, single, free = result.columns
    assert equal is not None
    assert (equal.bias.interval.low, equal.bias.interval.high, equal.bias.low_error) == (0.1, 0.1, 0.0)
    assert (equal.sd.interval.estimate, equal.sd.interval.high) == (0.0, 0.0)
    assert equal.share_within is not None
    assert equal.share_within.interval.low == 1.0
    assert "read its exact interval" in result.notes[-1]
    assert single is None
    assert free is not None
    assert free.share_within is None


def test_refusals(rng: np.random.Generator) -> None:
    x = np.ones((3, 2))
    with pytest.raises(ValueError, match="a center per patient"):
        bootstrap_agreement(x, ["a"], rng=rng)
    with pytest.raises(ValueError, match="at least 2 patients"):
        bootstrap_agreement(x[:1], ["a"], rng=rng)
    with pytest.raises(ValueError, match="infinity"):
        bootstrap_agreement(x * math.inf, ["a"] * 3, rng=rng)
    with pytest.raises(ValueError, match="one margin or 2"):
        bootstrap_agreement(x, ["a"] * 3, rng=rng, margin=[1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="below 0"):
        bootstrap_agreement(x, ["a"] * 3, rng=rng, margin=-1.0)
    with pytest.raises(ValueError, match="at least 100"):
        bootstrap_agreement(x, ["a"] * 3, rng=rng, n_resamples=99)
    with pytest.raises(ValueError, match="needs 2 centers"):
        bootstrap_agreement(x, ["a"] * 3, rng=rng, scheme="whole centers")
    with pytest.raises(ValueError, match="percentile or bca"):
        bootstrap_agreement(x, ["a"] * 3, rng=rng, method="basic")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="scheme must be"):
        bootstrap_agreement(x, ["a"] * 3, rng=rng, scheme="rows")  # type: ignore[arg-type]
