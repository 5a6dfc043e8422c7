"""Where a ladder ends: counted by hand, and as unsure as the draws say."""

import math

import numpy as np
import pytest
import scipy.stats as scipy_stats

from stats.clustered_bootstrap import draw_counts
from stats.ladder_end import ladder_end

LEVELS = (4.0, 8.0, 12.0)


def ladder(rng: np.random.Generator, bias: tuple[float, float, float], n: int = 40) -> np.ndarray:
    return rng.normal(size=(n, 3)) + np.array(bias)


def test_equals_a_plain_loop(rng: np.random.Generator) -> None:
    x = ladder(rng, (0.5, 0.6, 0.65))
    x[rng.random(x.shape) < 0.1] = np.nan
    centers = [f"c{i % 4}" for i in range(40)]
    result = ladder_end(
        x, LEVELS, centers, bias_margin=0.7, limits_margin=3.2, rng=np.random.default_rng(1), n_resamples=400
    )
    home, z = np.arange(40) % 4, scipy_stats.norm.ppf(0.975)
    ends = []
    for count in draw_counts(home, 400, scheme="patients within centers", rng=np.random.default_rng(1)):
        sample, step = np.repeat(x, count, axis=0), 0
        for j in range(3):
            d = sample[:, j][~np.isnan(sample[:, j])]
            if abs(d.mean()) >= 0.7 or d.mean() + z * d.std(ddof=1) >= 3.2 or d.mean() - z * d.std(ddof=1) <= -3.2:
                break
            step += 1
        ends.append(step)
    assert result.shares == pytest.approx(np.bincount(ends, minlength=4) / 400)
    assert sum(result.shares) == pytest.approx(1.0)
    assert len(set(ends)) > 2  # the draws do differ


def test_clear_ladders() -> None:
    rng = np.random.default_rng(2)
    one = ["a"] * 40
    clear = ladder_end(ladder(rng, (0.0, 0.0, 50.0)), LEVELS, one, bias_margin=1.0, limits_margin=4.0, rng=rng)
    assert (clear.holds_up_to, clear.low, clear.high, clear.shares) == (8.0, 8.0, 8.0, (0.0, 0.0, 1.0, 0.0))
    never = ladder_end(ladder(rng, (50.0, 0.0, 0.0)), LEVELS, one, bias_margin=1.0, limits_margin=4.0, rng=rng)
    assert (never.holds_up_to, never.high) == (None, None)
    whole = ladder_end(ladder(rng, (0.0, 0.0, 0.0)), LEVELS, one, bias_margin=1.0, limits_margin=9.0, rng=rng)
    assert (whole.holds_up_to, whole.low) == (12.0, 12.0)
    assert "one center" in whole.notes[0]


def test_a_step_at_the_margin_is_a_toss_up() -> None:
    x = np.random.default_rng(3).normal(size=(200, 3)) * [1.0, 1.0, 1.0]
    x[:, 1] += 0.5 - x[:, 1].mean()  # the bias of the second step is its margin
    result = ladder_end(x, LEVELS, ["a"] * 200, bias_margin=0.5 + 1e-9, limits_margin=9.0, rng=np.random.default_rng(4))
    assert result.shares[1] == pytest.approx(0.5, abs=0.04)
    assert (result.low, result.high) == (4.0, 12.0)


def test_refusals(rng: np.random.Generator) -> None:
    x, names = np.zeros((3, 2)), ["a"] * 3
    with pytest.raises(ValueError, match="3 patients x 1 levels"):
        ladder_end(x, [4.0], names, bias_margin=1, limits_margin=1, rng=rng)
    with pytest.raises(ValueError, match="levels must grow"):
        ladder_end(x, [8.0, 4.0], names, bias_margin=1, limits_margin=1, rng=rng)
    with pytest.raises(ValueError, match="margins must be above 0"):
        ladder_end(x, [4.0, 8.0], names, bias_margin=0, limits_margin=1, rng=rng)
    with pytest.raises(ValueError, match="at least 100"):
        ladder_end(x, [4.0, 8.0], names, bias_margin=1, limits_margin=1, rng=rng, n_resamples=5)
    with pytest.raises(ValueError, match="infinity"):
        ladder_end(x + math.inf, [4.0, 8.0], names, bias_margin=1, limits_margin=1, rng=rng)
    x[1:, 1] = np.nan
    with pytest.raises(ValueError, match=r"too few at \[8.0\]"):
        ladder_end(x, [4.0, 8.0], names, bias_margin=1, limits_margin=1, rng=rng)
