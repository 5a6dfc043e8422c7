"""Are end-diastole and end-systole found on awkward volume curves?"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohort.records import MeasurementFailed
from phenotyping.phases import find_phases


def beat(n_frames: int = 20, *, start: int = 0, edv: float = 120.0, esv: float = 50.0) -> np.ndarray:
    """A volume curve with end-systole at 35 % of the cycle, beginning `start` frames after end-diastole."""
    phase = (np.arange(n_frames) + start) % n_frames / n_frames
    warped = np.interp(phase, [0, 0.35, 1], [0, 0.5, 1])
    return esv + (edv - esv) * (1 + np.cos(2 * np.pi * warped)) / 2


@given(start=st.integers(0, 19))
def test_a_series_that_starts_late_is_the_same_beat(start: int) -> None:
    phases = find_phases(beat(start=start))
    assert (phases.ed_frame + start) % 20 == 0
    assert (phases.es_frame + start) % 20 == 7


def test_usual_beat_has_no_notes() -> None:
    assert find_phases(beat()).notes == ()


def test_late_start_is_noted() -> None:
    assert any("end-diastole in frame 15" in note for note in find_phases(beat(start=5)).notes)


@pytest.mark.parametrize(("frame", "value"), [(12, 0.0), (12, 400.0)])
def test_one_broken_frame_does_not_become_a_phase(frame: int, value: float) -> None:
    curve = beat()
    curve[frame] = value
    phases = find_phases(curve)
    assert (phases.ed_frame, phases.es_frame) == (0, 7)
    assert any("[12]" in note for note in phases.notes)


def test_noise_moves_the_phases_by_little(rng: np.random.Generator) -> None:
    for _ in range(20):
        phases = find_phases(beat() + rng.normal(0, 2, 20))
        assert abs((phases.ed_frame + 10) % 20 - 10) <= 2
        assert abs(phases.es_frame - 7) <= 2


def test_two_frames_need_no_order() -> None:
    assert find_phases(np.array([120.0, 50.0])).ed_frame == 0
    assert find_phases(np.array([50.0, 120.0])).ed_frame == 1


def test_end_systole_at_a_wrong_time_is_noted() -> None:
    late = np.interp(np.arange(20), [0, 17, 20], [120, 50, 120])
    assert any("end-systole at 0.85" in note for note in find_phases(late).notes)


@pytest.mark.parametrize("curve", [[], [100.0], [[1.0, 2.0]]])
def test_one_frame_is_refused(curve: list) -> None:
    with pytest.raises(MeasurementFailed, match="at least two frames"):
        find_phases(np.array(curve))


@pytest.mark.parametrize("curve", [[0.0, 0.0], [np.nan, 1.0]])
def test_no_ventricle_is_refused(curve: list) -> None:
    with pytest.raises(MeasurementFailed, match="no left ventricle"):
        find_phases(np.array(curve))


def test_first_and_last_frame_of_an_open_cycle_are_no_neighbors() -> None:
    """A prospective series: the last frame, still filling, must not blur end-diastole in the first."""
    open_beat = beat(40)[:28]
    phases = find_phases(open_beat, periodic=False)
    assert (phases.ed_frame, phases.es_frame) == (0, 14)
    assert phases.notes == ()


def test_a_broken_frame_at_an_open_end_is_seen() -> None:
    curve = beat(40)[:28]
    curve[0] = 0.0
    phases = find_phases(curve, periodic=False)
    assert phases.es_frame == 14
    assert any("[0]" in note for note in phases.notes)


def test_an_open_series_that_starts_late_is_noted() -> None:
    notes = find_phases(beat(40, start=20)[:30], periodic=False).notes
    assert any("expected near the first" in note for note in notes)
