"""Do quality maps show which pixels cannot be believed?"""

import numpy as np
import pytest

from cohort.records import MeasurementFailed
from phenotyping.fit_quality import QualityLimits, fit_quality
from phenotyping.relaxometry import fit_decay, fit_inversion_recovery, fit_saturation_recovery

TIMES_MS = np.array([100.0, 180, 1000, 1080, 1900, 1980, 2900, 3800])


def test_good_and_bad_pixels() -> None:
    good = np.abs(1 - 1.9 * np.exp(-TIMES_MS / 1200))
    signal = np.stack([good, np.zeros(8), np.tile([1.0, 0.2], 4), np.where(TIMES_MS == 1000, np.nan, good), good])
    quality = fit_quality(fit_inversion_recovery(signal, TIMES_MS), QualityLimits(min_r2=0.95))
    assert quality.accepted.tolist() == [True, False, False, False, True]
    assert sum(quality.refused.values()) == 3
    assert quality.refused["no signal"] == quality.refused["not finite"] == 1
    assert quality.r2[0] == pytest.approx(1)
    assert quality.residual_sd[0] == pytest.approx(0, abs=1e-7)
    assert quality.ratio is not None
    assert quality.ratio[0] == pytest.approx(1.9, rel=1e-6)
    assert quality.n_inverted is not None
    assert quality.n_inverted[0] == 2


def test_ratio_outside_its_range_is_flagged_and_refused_only_on_request() -> None:
    fit = fit_inversion_recovery(np.abs(1 - 1.3 * np.exp(-TIMES_MS / 1500)), TIMES_MS)
    quality = fit_quality(fit)
    assert quality.ratio_plausible is not None
    assert not quality.ratio_plausible
    assert quality.accepted
    assert fit_quality(fit, QualityLimits(ratio_range=(1.5, 2.6))).refused == {"B/A out of range": 1}


def test_bound_hits_and_uncertain_pixels(rng: np.random.Generator) -> None:
    times = np.array([0.0, 25, 35, 55])
    signal = np.stack([np.exp(-times / 45), [1.0, 2, 3, 4], 1 + rng.normal(0, 0.2, 4)])
    fit = fit_decay(signal, times)
    quality = fit_quality(fit)
    assert quality.at_bound.tolist()[:2] == [False, True]
    assert quality.ratio is None
    assert quality.n_inverted is None
    assert quality.accepted.tolist() == [True, False, False]
    everything = fit_quality(fit, QualityLimits(max_relative_sd=None))
    assert np.array_equal(everything.accepted, fit.status == 0)


def test_saturation_recovery_and_wrong_limits() -> None:
    fit = fit_saturation_recovery(1 - np.exp(-TIMES_MS / 1200), TIMES_MS)
    assert fit_quality(fit).accepted
    with pytest.raises(MeasurementFailed, match="above 0"):
        QualityLimits(max_relative_sd=0)
