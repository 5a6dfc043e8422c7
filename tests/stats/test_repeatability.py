"""Within-subject spread: published examples of Bland and Altman, chi-square coverage, coefficients of variation."""

import math

import numpy as np
import pytest
import scipy.stats as scipy_stats

from stats.repeatability import repeatability, repeatability_of_pairs

TWO_SD = 2 * float(scipy_stats.norm.cdf(2.0)) - 1  # the paper of 1986 uses 2, not 1.96
# Bland and Altman 1986, Lancet i:307-310: two readings of each meter on 17 subjects (L/min)
WRIGHT_1 = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
WRIGHT_2 = [490, 397, 512, 401, 470, 611, 415, 431, 638, 429, 420, 633, 275, 492, 165, 372, 421]
MINI_1 = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]
MINI_2 = [525, 415, 508, 444, 500, 625, 460, 390, 642, 432, 420, 605, 227, 467, 268, 370, 443]
# Bland and Altman 1996, doi 10.1136/bmj.313.7059.744, table 1: four peak flows (L/min) of 20 schoolchildren
CHILDREN = [
    *([190, 220, 200, 200], [220, 200, 240, 230], [260, 260, 240, 280], [210, 300, 280, 265], [270, 265, 280, 270]),
    *([280, 280, 270, 275], [260, 280, 280, 300], [275, 275, 275, 305], [280, 290, 300, 290], [320, 290, 300, 290]),
    *([300, 300, 310, 300], [270, 250, 330, 370], [320, 330, 330, 330], [335, 320, 335, 375], [350, 320, 340, 365]),
    *([360, 320, 350, 345], [330, 340, 380, 390], [335, 385, 360, 370], [400, 420, 425, 420], [430, 460, 480, 470]),
]


def test_order_and_names_of_subjects_do_not_matter(rng: np.random.Generator) -> None:
    y, subject = rng.normal(100.0, 10.0, size=30), np.repeat(np.arange(10), 3)
    order = rng.permutation(30)
    one = repeatability(y, subject)
    other = repeatability(y[order], np.array([f"P{i}" for i in subject])[order])
    assert one.within_sd.estimate == pytest.approx(other.within_sd.estimate)
    assert one.cv_log is not None
    assert other.cv_log is not None
    assert one.cv_log.high == pytest.approx(other.cv_log.high)
    scaled = repeatability(y * 3, subject)
    assert scaled.cv_rms == pytest.approx(one.cv_rms)
    assert scaled.coefficient.high == pytest.approx(3 * one.coefficient.high)


@pytest.mark.slow
def test_interval_covers_as_often_as_it_says(rng: np.random.Generator) -> None:
    draws, subject = 2000, np.repeat(np.arange(8), [2, 2, 3, 3, 4, 1, 2, 5])
    hits = 0
    for noise in rng.normal(0.0, 2.0, size=(draws, subject.size)):
        interval = repeatability(50.0 + 3.0 * subject + noise, subject).within_sd
        hits += interval.low <= 2.0 <= interval.high
    assert hits / draws == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / draws))


def test_pairs_are_the_root_of_half_the_mean_square() -> None:
    d = np.array(WRIGHT_1) - np.array(WRIGHT_2)
    result = repeatability_of_pairs(WRIGHT_1, WRIGHT_2)
    assert result.within_sd.estimate == pytest.approx(math.sqrt(float(np.mean(d**2)) / 2))
    assert result.coefficient.estimate == pytest.approx(2.7718 * result.within_sd.estimate, rel=1e-4)
    mean = (np.array(WRIGHT_1) + np.array(WRIGHT_2)) / 2
    assert result.cv_rms == pytest.approx(math.sqrt(float(np.mean(d**2 / 2 / mean**2))))
    assert (result.n_subjects, result.n_readings, result.within_sd.n) == (17, 34, 17)


def test_cv_from_logarithms_is_that_of_a_lognormal_variable(rng: np.random.Generator) -> None:
    subject = np.repeat(np.arange(4000), 3)
    y = 50.0 * np.exp(rng.normal(0, 0.5, size=4000)[subject] + rng.normal(0, 0.2, size=subject.size))
    result = repeatability(y, subject)
    assert result.cv_log is not None
    assert result.cv_log.estimate == pytest.approx(math.sqrt(math.exp(0.04) - 1), rel=0.02)
    assert result.cv_rms == pytest.approx(result.cv_log.estimate, rel=0.05)


def test_published_coefficients_of_1986() -> None:
    # SD of the differences 21.6 and 28.2, coefficients 43.2 and 56.4 L/min; the paper doubles the rounded SD
    for pair, sd, coefficient in (((WRIGHT_1, WRIGHT_2), 21.6, 43.2), ((MINI_1, MINI_2), 28.2, 56.4)):
        result = repeatability_of_pairs(*pair, coverage=TWO_SD)
        assert result.within_sd.estimate * math.sqrt(2) == pytest.approx(sd, abs=0.06)
        assert result.coefficient.estimate == pytest.approx(coefficient, abs=0.1)


def test_published_within_subject_sd_of_1996() -> None:
    # residual mean square 460.52, so 21.5 L/min, and a repeatability of 2.77 x 21.5 = 60 L/min
    y = np.array(CHILDREN, dtype=float)
    result = repeatability(y.ravel(), np.repeat(np.arange(20), 4))
    assert result.within_sd.estimate**2 == pytest.approx(460.52, abs=0.005)
    assert result.coefficient.estimate == pytest.approx(60, abs=0.7)


def test_no_spread_and_no_positive_values() -> None:
    flat = repeatability([1.0, 1.0, 2.0, 2.0], ["a", "a", "b", "b"])
    assert (flat.within_sd.high, flat.coefficient.high, flat.cv_rms) == (0.0, 0.0, 0.0)
    negative = repeatability([-1.0, 1.0, 2.0, 3.0], ["a", "a", "b", "b"])
    assert (negative.cv_log, negative.cv_rms) == (None, None)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="at least 2 subjects with replicates are needed, got 1"):
        repeatability([1.0, 2.0, 3.0], ["a", "a", "b"])
    with pytest.raises(ValueError, match="need a subject each"):
        repeatability([1.0, 2.0, 3.0], ["a", "a"])
    with pytest.raises(ValueError, match="not finite"):
        repeatability([1.0, 2.0, math.nan, 3.0], ["a", "a", "b", "b"])
    with pytest.raises(ValueError, match="as many of each"):
        repeatability_of_pairs([1.0, 2.0, 3.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="coverage must lie"):
        repeatability_of_pairs([1.0, 2.0], [1.0, 2.0], coverage=2.77)
