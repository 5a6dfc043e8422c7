"""Is the noise of several coils found in the air, and is T1 right without it?"""

import numpy as np
import pytest

from cohort.records import MeasurementFailed
from phenotyping.noise_floor import noise_power, without_noise_floor
from phenotyping.relaxometry import fit_inversion_recovery

TIMES_MS = np.array([100.0, 180, 880, 960, 1650, 1740, 2500, 3200])


def root_sum_of_squares(t1_ms: float, *, coils: int, sd: float, rng: np.random.Generator) -> np.ndarray:
    """`(n_times, 64, 64)`: tissue in the middle, air around; coils of equal sensitivity with unit root sum of squares."""
    signal = np.zeros((8, 64, 64))
    signal[:, 16:48, 16:48] = (1 - 1.9 * np.exp(-0.9 * TIMES_MS / t1_ms))[:, None, None]
    noise = sd * (rng.standard_normal((coils, 8, 64, 64)) + 1j * rng.standard_normal((coils, 8, 64, 64)))
    return np.sqrt((np.abs(signal / np.sqrt(coils) + noise) ** 2).sum(axis=0))


def test_power_of_the_air(rng: np.random.Generator) -> None:
    series = root_sum_of_squares(1200, coils=10, sd=0.02, rng=rng)
    assert 0.6 * 2 * 10 * 0.02**2 < noise_power(series) < 2 * 10 * 0.02**2
    series[:, :16] = 0
    assert noise_power(series) == 0


@pytest.mark.parametrize("t1_ms", [1000.0, 1200.0, 1300.0])
def test_t1_without_the_floor(rng: np.random.Generator, t1_ms: float) -> None:
    """Ten coils of SNR 45 each: magnitudes read T1 short by 1 to 4 %, without their floor by less than half of that."""
    series = root_sum_of_squares(t1_ms, coils=10, sd=1 / 45, rng=rng)
    inside = np.s_[:, 16:48, 16:48]

    def bias(values: np.ndarray) -> float:
        fit = fit_inversion_recovery(np.moveaxis(values[inside], 0, -1), TIMES_MS)
        return float(np.nanmedian(fit.t1_ms)) / t1_ms - 1

    plain, corrected = bias(series), bias(without_noise_floor(series, noise_power(series)))
    assert plain < -0.008
    assert abs(corrected) < 0.5 * abs(plain)


def test_no_noise_changes_nothing() -> None:
    series = np.full((3, 10, 10), 2.0)
    assert np.array_equal(without_noise_floor(series, 0.0), series)
    with pytest.raises(MeasurementFailed, match="magnitudes"):
        noise_power(series.astype(complex))
