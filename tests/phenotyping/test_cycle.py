"""Is a heart rate only taken from frames that cover a cycle?"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohort.records import ConfigProblem
from cohort.synthetic.cardiac_cycle import CycleTiming, filling
from phenotyping.cycle import find_cycle


def beat(n: int = 25, *, until: float = 1.0) -> np.ndarray:
    """A beat of 120 to 50 mL, seen up to this part of the cycle."""
    return 50 + 70 * filling(until * np.arange(n) / n, CycleTiming())


@given(n=st.integers(10, 40), start=st.integers(0, 39))
def test_a_covered_beat_closes_wherever_it_starts(n: int, start: int) -> None:
    cycle = find_cycle(np.roll(beat(n), start), frame_time_s=0.9 / n, heart_rate_bpm=None)
    assert cycle.covered
    assert cycle.heart_rate_bpm == pytest.approx(60 / 0.9)


@pytest.mark.parametrize("until", [0.5, 0.6, 0.75])
def test_a_series_that_ends_in_mid_diastole_has_no_heart_rate(until: float) -> None:
    cycle = find_cycle(beat(until=until), frame_time_s=0.03, heart_rate_bpm=None)
    assert not cycle.covered
    assert cycle.heart_rate_bpm is None
    assert "from the last frame to the first: the cycle is not covered" in cycle.reason


def test_gating_as_configured_goes_before_the_curve() -> None:
    prospective = find_cycle(beat(), frame_time_s=0.03, heart_rate_bpm=None, gating="prospective")
    assert (prospective.covered, prospective.heart_rate_bpm) == (False, None)
    assert "prospectively gated" in prospective.reason
    assert find_cycle(beat(until=0.6), frame_time_s=0.03, heart_rate_bpm=None, gating="retrospective").covered


@pytest.mark.parametrize(("rate", "covered"), [(80.0, True), (83.0, True), (64.0, False), (100.0, False)])
def test_frame_time_and_heart_rate_must_agree(rate: float, covered: bool) -> None:
    """25 frames of 30 ms are one beat at 80/min."""
    cycle = find_cycle(beat(), frame_time_s=0.03, heart_rate_bpm=rate)
    assert cycle.covered is covered
    assert cycle.heart_rate_bpm == rate, "what the header states is used as it stands"
    assert ("of a beat at" in cycle.reason) is not covered


def test_the_heart_rate_gives_the_frame_time_of_a_covered_cycle() -> None:
    assert find_cycle(beat(), frame_time_s=None, heart_rate_bpm=60).frame_time_s == pytest.approx(1 / 25)
    assert find_cycle(beat(2), frame_time_s=None, heart_rate_bpm=60).frame_time_s is None


def test_two_frames_cover_nothing_but_a_known_rate_stays() -> None:
    cycle = find_cycle(beat(2), frame_time_s=0.05, heart_rate_bpm=72)
    assert (cycle.covered, cycle.heart_rate_bpm) == (False, 72)


@pytest.mark.parametrize(("frame_time_s", "rate"), [(1.0, None), (None, 500.0), (0.0, None)])
def test_impossible_rates(frame_time_s: float | None, rate: float | None) -> None:
    cycle = find_cycle(beat(), frame_time_s=frame_time_s, heart_rate_bpm=rate)
    assert cycle.heart_rate_bpm is None
    assert "no heart rate" in cycle.reason


def test_unknown_gating() -> None:
    with pytest.raises(ConfigProblem, match="expected auto, retrospective, prospective, got 'ecg'"):
        find_cycle(beat(), frame_time_s=None, heart_rate_bpm=None, gating="ecg")  # type: ignore[arg-type]
