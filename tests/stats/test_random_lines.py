"""Random lines against lme4's published fit, against statsmodels and against the analysis of variance."""

import math
import warnings

import numpy as np
import pytest

from stats.random_lines import RandomLines, random_lines

# Reaction times (ms) of 18 subjects on 10 days of 3 h of sleep: Belenky et al. 2003, doi 10.1046/j.1365-2869.2003.00337.x,
# known as lme4::sleepstudy
SLEEP = np.array(
    [
        249.56, 258.7047, 250.8006, 321.4398, 356.8519, 414.6901, 382.2038, 290.1486, 430.5853, 466.3535,
        222.7339, 205.2658, 202.9778, 204.707, 207.7161, 215.9618, 213.6303, 217.7272, 224.2957, 237.3142,
        199.0539, 194.3322, 234.32, 232.8416, 229.3074, 220.4579, 235.4208, 255.7511, 261.0125, 247.5153,
        321.5426, 300.4002, 283.8565, 285.133, 285.7973, 297.5855, 280.2396, 318.2613, 305.3495, 354.0487,
        287.6079, 285.0, 301.8206, 320.1153, 316.2773, 293.3187, 290.075, 334.8177, 293.7469, 371.5811,
        234.8606, 242.8118, 272.9613, 309.7688, 317.4629, 309.9976, 454.1619, 346.8311, 330.3003, 253.8644,
        283.8424, 289.555, 276.7693, 299.8097, 297.171, 338.1665, 332.0265, 348.8399, 333.36, 362.0428,
        265.4731, 276.2012, 243.3647, 254.6723, 279.0244, 284.1912, 305.5248, 331.5229, 335.7469, 377.299,
        241.6083, 273.9472, 254.4907, 270.8021, 251.4519, 254.6362, 245.4523, 235.311, 235.7541, 237.2466,
        312.3666, 313.8058, 291.6112, 346.1222, 365.7324, 391.8385, 404.2601, 416.6923, 455.8643, 458.9167,
        236.1032, 230.3167, 238.9256, 254.922, 250.7103, 269.7744, 281.5648, 308.102, 336.2806, 351.6451,
        256.2968, 243.4543, 256.2046, 255.5271, 268.9165, 329.7247, 379.4445, 362.9184, 394.4872, 389.0527,
        250.5265, 300.0576, 269.8939, 280.5891, 271.8274, 304.6336, 287.7466, 266.5955, 321.5418, 347.5655,
        221.6771, 298.1939, 326.8785, 346.8555, 348.7402, 352.8287, 354.4266, 360.4326, 375.6406, 388.5417,
        271.9235, 268.4369, 257.2424, 277.6566, 314.8222, 317.2135, 298.1353, 348.1229, 340.28, 366.5131,
        225.264, 234.5235, 238.9008, 240.473, 267.5373, 344.1937, 281.1481, 347.5855, 365.163, 372.2288,
        269.8804, 272.4428, 277.8989, 281.7895, 279.1705, 284.512, 259.2658, 304.6306, 350.7807, 369.4692,
        269.4117, 273.474, 297.5968, 310.6316, 287.1726, 329.6076, 334.4818, 343.2199, 369.1417, 364.1236,
    ]
)  # fmt: skip
DAYS = np.tile(np.arange(10.0), 18)
SUBJECT = np.repeat(np.arange(18), 10)


def one_stratum(y: np.ndarray, x: np.ndarray, subject: np.ndarray) -> RandomLines:
    return random_lines(y, x, subject, np.zeros_like(subject))


def test_sleepstudy_as_published() -> None:
    # Bates et al. 2015 (doi 10.18637/jss.v067.i01), lmer(Reaction ~ Days + (Days | Subject)), REML, printed digits
    fit = one_stratum(SLEEP, DAYS, SUBJECT)
    assert fit.deviance == pytest.approx(1743.628, abs=5e-4)
    assert (fit.intercept[0], fit.slope[0]) == pytest.approx((251.405, 10.467), abs=5e-4)
    assert math.sqrt(fit.slope_variance[0]) == pytest.approx(1.546, abs=5e-4)
    assert (fit.sd_intercept, fit.sd_slope) == pytest.approx((24.740, 5.922), abs=1e-3)
    assert fit.residual_sd == pytest.approx(25.592, abs=5e-4)
    assert fit.correlation == pytest.approx(0.07, abs=0.005)
    assert fit.status == "converged"


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_agrees_with_statsmodels_where_values_are_missing(seed: int) -> None:
    mixed = pytest.importorskip("statsmodels.regression.mixed_linear_model")
    rng = np.random.default_rng(seed)
    n, x = 40, np.tile(np.arange(6.0), 40)
    subject, stratum = np.repeat(np.arange(n), 6), np.repeat(np.arange(n) % 2, 6)
    y = (
        3
        + stratum
        + 0.5 * x
        + rng.normal(0, 1.5, n)[subject]
        + rng.normal(0, 0.8, n)[subject] * x
        + rng.normal(size=x.size)
    )
    kept = (rng.random(x.size) < 0.75) | (x < 2)
    y, x, subject, stratum = y[kept], x[kept], subject[kept], stratum[kept]
    fit = random_lines(y, x, subject, stratum)
    dummies = (stratum[:, None] == np.arange(2)).astype(float)
    model = mixed.MixedLM(
        y, np.hstack([dummies, dummies * x[:, None]]), groups=subject, exog_re=np.column_stack([np.ones(x.size), x])
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        other = model.fit(reml=True, method=["bfgs", "lbfgs"])
    assert fit.deviance <= -2 * other.llf + 1e-6  # never a worse optimum
    assert fit.deviance == pytest.approx(-2 * other.llf, abs=1e-3)
    assert np.concatenate([fit.intercept, fit.slope]) == pytest.approx(other.fe_params, abs=1e-3)
    assert np.sqrt(fit.slope_variance) == pytest.approx(other.bse_fe[2:], rel=3e-3)
    assert fit.residual_sd == pytest.approx(math.sqrt(other.scale), rel=1e-3)
    assert fit.sd_slope == pytest.approx(math.sqrt(other.cov_re[1, 1]), rel=5e-3)


def test_complete_data_are_the_analysis_of_variance_of_own_slopes(rng: np.random.Generator) -> None:
    x = np.array([2.0, 3.0, 3.6, 4.0])
    y = rng.normal(size=(30, 1)) + rng.normal(0.4, 1.0, size=(30, 1)) * x + rng.normal(0, 0.5, size=(30, 4))
    own = np.polyfit(x, y.T, 1)[0]
    stratum = np.repeat(np.arange(3), 10)
    fit = random_lines(y.ravel(), np.tile(x, 30), np.repeat(np.arange(30), 4), np.repeat(stratum, 4))
    pooled = np.mean([own[stratum == k].var(ddof=1) for k in range(3)])
    assert fit.slope == pytest.approx([own[stratum == k].mean() for k in range(3)])
    assert fit.slope_variance == pytest.approx(np.full(3, pooled / 10), rel=1e-4)


def test_shift_and_scale_of_x_and_y_carry_over() -> None:
    one, other = one_stratum(SLEEP, DAYS, SUBJECT), one_stratum(0.001 * SLEEP + 7, 50 + 24 * DAYS, SUBJECT)
    assert other.slope == pytest.approx(one.slope * 0.001 / 24, rel=1e-7)
    assert other.slope_variance == pytest.approx(one.slope_variance * (0.001 / 24) ** 2, rel=1e-4)
    assert other.sd_slope == pytest.approx(one.sd_slope * 0.001 / 24, rel=1e-4)  # type: ignore[operator]


def test_slopes_that_differ_no_more_than_the_residual_are_at_the_boundary() -> None:
    # residuals orthogonal to line and mean: every subject's own slope is exactly 2, so their variance is 0
    x, bend = np.array([-3.0, -1.0, 1.0, 3.0]), np.array([1.0, -1.0, -1.0, 1.0])
    y = np.concatenate([2 * x + sign * bend + level for sign, level in ((1, 5.0), (-1, 1.0), (1, 2.0), (-1, 8.0))])
    fit = one_stratum(y, np.tile(x, 4), np.repeat(np.arange(4), 4))
    assert fit.status == "boundary"
    assert fit.sd_slope == 0.0
    assert fit.correlation is None
    assert fit.slope[0] == pytest.approx(2.0)
    assert math.sqrt(fit.slope_variance[0]) == pytest.approx(fit.residual_sd / math.sqrt(4 * 20), rel=1e-3)  # type: ignore[operator]


def test_two_values_each_leave_the_parts_unknown_but_not_the_slope(rng: np.random.Generator) -> None:
    y = rng.normal(size=(12, 2))
    fit = one_stratum(y.ravel(), np.tile([0.0, 1.0], 12), np.repeat(np.arange(12), 2))
    own = y[:, 1] - y[:, 0]
    assert (fit.sd_slope, fit.residual_sd) == (None, None)
    assert fit.slope[0] == pytest.approx(own.mean())
    assert fit.slope_variance[0] == pytest.approx(own.var(ddof=1) / 12, rel=1e-3)


def test_no_residual_around_own_lines(rng: np.random.Generator) -> None:
    slope = rng.normal(1.0, 0.5, size=(9, 1))
    y = rng.normal(size=(9, 1)) + slope * np.arange(5.0)
    fit = one_stratum(y.ravel(), np.tile(np.arange(5.0), 9), np.repeat(np.arange(9), 5))
    assert fit.slope[0] == pytest.approx(slope.mean())
    assert fit.slope_variance[0] == pytest.approx(slope.var(ddof=1) / 9, rel=1e-6)
    assert fit.sd_slope == pytest.approx(slope.std(ddof=1), rel=1e-6)
    assert fit.residual_sd == pytest.approx(0.0, abs=1e-12)


def test_no_variation_at_all() -> None:
    x = np.tile(np.arange(3.0), 4)
    fit = one_stratum(0.1 + 0.3 * x, x, np.repeat(np.arange(4), 3))
    assert fit.status == "no variation"
    assert fit.slope[0] == pytest.approx(0.3)
    assert fit.slope_variance[0] == 0.0


def test_refusals() -> None:
    zeros = np.zeros(6, dtype=np.int64)
    with pytest.raises(ValueError, match="two different x"):
        random_lines(np.arange(6.0), np.array([0, 1, 0, 1, 2, 2.0]), np.array([0, 0, 1, 1, 2, 2]), zeros)
    with pytest.raises(ValueError, match="too few"):
        random_lines(np.arange(4.0), np.array([0, 1, 0, 1.0]), np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1]))
    with pytest.raises(ValueError, match="two strata"):
        random_lines(np.arange(4.0), np.array([0, 1, 0, 1.0]), np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]))


@pytest.mark.parametrize("residual", [1e-9, 1e-6, 1e-3, 1.0])
@pytest.mark.parametrize("level", [0.0, 1.0, 1e4])
def test_slope_is_right_however_small_the_residual_and_large_the_levels(residual: float, level: float) -> None:
    rng = np.random.default_rng(5)
    x = np.array([2.0, 3.0, 3.6, 4.0])
    y = level * rng.normal(size=(15, 1)) + rng.normal(size=(15, 1)) * x + residual * rng.normal(size=(15, 4))
    own = np.polyfit(x, y.T, 1)[0]
    fit = one_stratum(y.ravel(), np.tile(x, 15), np.repeat(np.arange(15), 4))
    assert fit.status == "converged"
    assert fit.slope[0] == pytest.approx(own.mean(), rel=1e-6)
    assert fit.slope_variance[0] == pytest.approx(own.var(ddof=1) / 15, rel=2e-3)
