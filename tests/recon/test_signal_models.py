"""Signal equations at their limits, and a simulation pulse by pulse."""

import numpy as np
import pytest

from recon.signal_models import (
    bssfp_steady_state,
    exponential_decay,
    inversion_recovery,
    look_locker,
    saturation_recovery,
    t1_from_look_locker,
)

TIMES_MS = np.array([0.0, 100.0, 1000.0, 1e9])


def test_bssfp_equals_a_simulation_of_the_pulses() -> None:
    t1, t2, tr, flip = 1000.0, 50.0, 3.0, np.deg2rad(50)
    magnetization = np.array([0.0, 0.0, 1.0])
    half = np.exp(-tr / 2 / np.array([t2, t2, t1]))
    for pulse in range(4000):
        a = flip * (-1) ** pulse
        rotation = np.array([[1, 0, 0], [0, np.cos(a), np.sin(a)], [0, -np.sin(a), np.cos(a)]])
        echo = (rotation @ magnetization) * half + [0, 0, 1 - half[2]]
        magnetization = echo * half + [0, 0, 1 - half[2]]
    signal = bssfp_steady_state(t1_ms=t1, t2_ms=t2, flip_deg=50.0, tr_ms=tr)
    assert float(signal) == pytest.approx(np.hypot(echo[0], echo[1]), rel=1e-6)


def test_bssfp_limits() -> None:
    # TR much shorter than T1 and T2: sin a / (1 + cos a + (1 - cos a) T1 / T2), Scheffler and Hennig 2003
    a = np.deg2rad(60)
    expected = 2 * np.sin(a) / (1 + np.cos(a) + (1 - np.cos(a)) * 20)
    signal = bssfp_steady_state(t1_ms=1000, t2_ms=50, flip_deg=60, tr_ms=1e-4, proton_density=2)
    assert float(signal) == pytest.approx(expected, rel=1e-5)
    assert float(bssfp_steady_state(t1_ms=1000, t2_ms=0, flip_deg=60, tr_ms=3)) == 0
    assert bssfp_steady_state(t1_ms=np.ones((4, 1)), t2_ms=np.ones(3), flip_deg=30, tr_ms=2).shape == (4, 3)


def test_look_locker_gives_back_t1() -> None:
    a, b, t1_star = np.array([1.0, 2.0]), np.array([1.9, 4.1]), np.array([800.0, 900.0])
    signal = look_locker(TIMES_MS, a=a, b=b, t1_star_ms=t1_star)
    assert signal.shape == (2, 4)
    np.testing.assert_allclose(signal[:, 0], a - b)
    np.testing.assert_allclose(signal[:, -1], a)
    np.testing.assert_allclose(t1_from_look_locker(a=a, b=b, t1_star_ms=t1_star), [720.0, 945.0])
    assert np.isnan(t1_from_look_locker(a=0.0, b=1.0, t1_star_ms=900.0))


def test_recovery_limits() -> None:
    inversion = inversion_recovery(TIMES_MS, t1_ms=1000.0, m0=3.0)
    np.testing.assert_allclose(inversion[[0, 2, 3]], [-3, 3 * (1 - 2 / np.e), 3])
    null = inversion_recovery([1000 * np.log(2)], t1_ms=1000.0)
    assert null[0] == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(inversion_recovery(TIMES_MS, t1_ms=1000.0, efficiency=0.5)[0], 0)
    saturation = saturation_recovery([0.0, 1000.0, np.inf], t1_ms=1000.0, m0=3.0)
    np.testing.assert_allclose(saturation, [0, 3 * (1 - 1 / np.e), 3])
    look = look_locker(TIMES_MS, a=3.0, b=6.0, t1_star_ms=1000.0)
    np.testing.assert_allclose(look, inversion)


def test_decay_limits() -> None:
    signal = exponential_decay([0.0, 50.0, 1e9], t_ms=[50.0, 25.0], amplitude=2.0, offset=0.5)
    np.testing.assert_allclose(signal, [[2.5, 0.5 + 2 / np.e, 0.5], [2.5, 0.5 + 2 / np.e**2, 0.5]])


def test_no_tissue_is_relaxed_and_negative_times_are_refused() -> None:
    np.testing.assert_array_equal(exponential_decay(TIMES_MS, t_ms=0.0), np.zeros(4))
    np.testing.assert_array_equal(inversion_recovery(TIMES_MS, t1_ms=0.0), np.ones(4))
    with pytest.raises(ValueError, match="got -5 ms"):
        exponential_decay(TIMES_MS, t_ms=-5.0)
