"""Do the signals of the phantom have their limits, and do their times hold what they say?"""

import math

import numpy as np
import pytest

from cohort.synthetic.relaxation import (
    apparent_t1_ms,
    bssfp_signal,
    fat_sign,
    look_locker_signal,
    molli_times_ms,
    t2_prepared_signal,
)
from recon.signal_models import bssfp_steady_state, exponential_decay, look_locker


def test_bssfp_tends_to_the_limit_of_short_repetition() -> None:
    angle = math.radians(50)
    expected = math.sin(angle) / (1 + math.cos(angle) + (1 - math.cos(angle)) * 1000 / 50)
    signal = bssfp_signal(1000, 50, flip_deg=50, tr_ms=1e-3)
    assert float(signal) == pytest.approx(expected, rel=1e-4)


def test_bssfp_of_full_recovery_is_the_plain_flip() -> None:
    signal = bssfp_signal(10, 5, density=0.8, flip_deg=40, tr_ms=1e4, te_ms=2.0)
    assert float(signal) == pytest.approx(0.8 * math.sin(math.radians(40)) * math.exp(-2 / 5), rel=1e-9)


def test_molli_5_3_3_has_the_eight_times_of_the_reference() -> None:
    # inversion times of the project's noise-free 5(3)3 reference series, RR 900 ms
    expected = [100, 180, 1000, 1080, 1900, 1980, 2800, 3700]
    assert molli_times_ms(scheme=(5, 3, 3), rr_ms=900).tolist() == expected
    assert molli_times_ms(scheme=(4, 1, 3, 1, 2), rr_ms=900).size == 9
    assert molli_times_ms(scheme=(3, 3, 3, 3, 5), rr_ms=900).size == 11


def test_look_locker_correction_returns_t1_exactly() -> None:
    t1, t2 = np.array([300.0, 1000.0, 1900.0]), np.array([80.0, 50.0, 180.0])
    star = apparent_t1_ms(t1, t2)
    assert np.all(star < t1)
    early, late = look_locker_signal(t1, star, amplitude=0.7, times_ms=[0.0, 1e6])
    a, b = late, late - early
    assert np.allclose(star * (b / a - 1), t1, rtol=1e-9)
    middle = look_locker_signal(t1, star, amplitude=0.7, times_ms=[500.0])[0]
    assert np.allclose(middle, a - b * np.exp(-500 / star), rtol=1e-12)
    assert np.allclose(early, -0.7, rtol=1e-12)


def test_t2_preparation_decays_with_t2() -> None:
    series = t2_prepared_signal([40.0, 60.0], amplitude=2.0, times_ms=[0, 35, 55])
    assert series.shape == (3, 2)
    assert np.allclose(series[0], 2)
    assert np.allclose(-55 / np.log(series[2] / series[0]), [40, 60])


def test_fat_is_opposed_in_some_pass_bands_only() -> None:
    assert fat_sign(field_t=1.5, tr_ms=3.0) == -1  # 0.67 turns
    assert fat_sign(field_t=0.55, tr_ms=3.0) == 1  # 0.25 turns
    assert fat_sign(field_t=3.0, tr_ms=3.0) == -1  # 1.34 turns
    assert fat_sign(field_t=5.0, tr_ms=3.0) == 1  # 2.2 turns


def test_both_rooms_have_the_same_signals() -> None:
    t1, t2 = np.array([290.0, 1000.0, 1550.0]), np.array([85.0, 50.0, 250.0])
    ours = bssfp_signal(t1, t2, density=0.9, flip_deg=45, tr_ms=3.1, te_ms=1.4)
    theirs = bssfp_steady_state(t1_ms=t1, t2_ms=t2, flip_deg=45, tr_ms=3.1, te_ms=1.4, proton_density=0.9)
    assert np.allclose(ours, theirs, rtol=1e-12)
    times = molli_times_ms(rr_ms=820.0)
    star = apparent_t1_ms(t1, t2)
    recovery = look_locker(times, a=0.5 * star / t1, b=0.5 * (1 + star / t1), t1_star_ms=star)
    assert np.allclose(look_locker_signal(t1, star, amplitude=0.5, times_ms=times), recovery.T, rtol=1e-12)
    decay = exponential_decay([0, 35, 55], t_ms=t2, amplitude=0.3)
    assert np.allclose(t2_prepared_signal(t2, amplitude=0.3, times_ms=[0, 35, 55]), decay.T, rtol=1e-12)
