"""Are the rates those of curves whose derivative is known?"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohort.records import MeasurementFailed
from cohort.synthetic.cardiac_cycle import CycleTiming, filling
from phenotyping.volume_curve import peak_rates


@given(n=st.integers(16, 60), start=st.floats(0, 1), beat_s=st.floats(0.4, 1.5))
def test_a_cosine_has_its_closed_form_wherever_it_starts(n: int, start: float, beat_s: float) -> None:
    """V = 85 + 35 cos(2 pi t / T): rates 35 x 2 pi / T, a quarter of the cycle after each extreme."""
    volumes = 85 + 35 * np.cos(2 * np.pi * (np.arange(n) / n + start))
    found = peak_rates(volumes, frame_time_s=beat_s / n)
    assert found.ejection_ml_s == pytest.approx(35 * 2 * np.pi / beat_s, rel=2e-2)
    assert found.filling_ml_s == pytest.approx(35 * 2 * np.pi / beat_s, rel=2e-2)
    off = (found.ejection_phase + start - 0.25 + 0.5) % 1 - 0.5
    assert abs(off) <= 1 / n


def test_two_harmonics() -> None:
    phase = np.arange(25) / 25
    fine = np.linspace(0, 1, 100_001)
    slope = -2 * np.pi * (30 * np.sin(2 * np.pi * fine) + 2 * 8 * np.sin(4 * np.pi * fine))
    found = peak_rates(80 + 30 * np.cos(2 * np.pi * phase) + 8 * np.cos(4 * np.pi * phase), frame_time_s=0.9 / 25)
    assert found.ejection_ml_s == pytest.approx(-slope.min() / 0.9, rel=1e-3)
    assert found.filling_ml_s == pytest.approx(slope.max() / 0.9, rel=1e-3)


@given(factor=st.floats(0.2, 5), shift=st.floats(-20, 20))
def test_rates_scale_with_the_volume_and_ignore_its_offset(factor: float, shift: float) -> None:
    volumes = 60 + 70 * filling(np.arange(20) / 20, CycleTiming())
    one = peak_rates(volumes, frame_time_s=0.05)
    other = peak_rates(factor * volumes + shift, frame_time_s=0.05)
    assert other.ejection_ml_s == pytest.approx(factor * one.ejection_ml_s)
    assert other.filling_ml_s == pytest.approx(factor * one.filling_ml_s)


@pytest.mark.parametrize("n", [16, 25, 40])
def test_a_beat_of_known_slopes(n: int) -> None:
    """Ejection lasts 32 % of the cycle, rapid filling restores 72 % of the stroke in 20 %: half cosines."""
    timing = CycleTiming()
    found = peak_rates(50 + 80 * filling(np.arange(n) / n, timing), frame_time_s=1.0 / n)
    assert found.ejection_ml_s == pytest.approx(80 * np.pi / 2 / 0.32, rel=0.1)
    assert found.filling_ml_s == pytest.approx(80 * 0.72 * np.pi / 2 / 0.20, rel=0.1)
    assert 0.1 < found.ejection_phase < 0.28
    assert 0.45 < found.filling_phase < 0.6


def test_noise_is_not_taken_for_speed(rng: np.random.Generator) -> None:
    clean = 50 + 80 * filling(np.arange(30) / 30, CycleTiming())
    true = peak_rates(clean, frame_time_s=1 / 30)
    noisy = [peak_rates(clean + rng.normal(0, 2, 30), frame_time_s=1 / 30) for _ in range(50)]
    assert np.mean([r.ejection_ml_s for r in noisy]) == pytest.approx(true.ejection_ml_s, rel=0.06)
    assert np.mean([r.filling_ml_s for r in noisy]) == pytest.approx(true.filling_ml_s, rel=0.06)


@pytest.mark.parametrize(
    ("volumes", "frame_time_s", "words"),
    [
        (np.ones(15), 0.05, "need 16 frames or more"),
        (np.ones((4, 4)), 0.05, "need 16 frames"),
        (np.full(20, np.nan), 0.05, "finite volumes"),
        (np.ones(20), 0.0, "frame time must be a positive number"),
    ],
)
def test_what_cannot_be_measured_is_refused(volumes: np.ndarray, frame_time_s: float, words: str) -> None:
    with pytest.raises(MeasurementFailed, match=words):
        peak_rates(volumes, frame_time_s=frame_time_s)
