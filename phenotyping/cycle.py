"""Do the frames of a cine cover the heart cycle, and how long does that last?

Cardiac output, rates of filling and the neighborhood of first and last frame rest on it.
"""

from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from cohort.records import ConfigProblem

Gating = Literal["auto", "retrospective", "prospective"]

#: fewer frames do not show the course of a cycle
MIN_FRAMES_FOR_CURVE: Final = 6
#: a heart rate outside is a wrong frame time or a series that does not cover one cycle
HEART_RATE_RANGE_BPM: Final = (30.0, 200.0)
#: frames x frame time x heart rate of a series that covers the cycle: header values are rounded
COVERED_SHARE: Final = (0.93, 1.07)
#: from the last frame to the first the volume may change by this multiple of the largest change between neighbors
MAX_CLOSING_STEP: Final = 1.5


@dataclass(frozen=True)
class Cycle:
    """Whether first and last frame are neighbors, the heart rate in 1/min, and the time between frames in s.

    Where the rate or the time is None, or the cycle not covered, `reason` says why.
    """

    covered: bool
    heart_rate_bpm: float | None
    frame_time_s: float | None
    reason: str = ""


def find_cycle(
    volumes_ml: NDArray[np.float64],
    *,
    frame_time_s: float | None,
    heart_rate_bpm: float | None,
    gating: Gating = "auto",
) -> Cycle:
    """Judge from what the header says and from the curve itself whether the frames cover the cycle.

    A heart rate from the header is used as it stands. Without one it is 60 / (frames x frame time), but only of a
    cycle that is covered: a prospectively gated series ends before the next beat, and its length is no heart cycle.

    Parameters
    ----------
    volumes_ml
        `(n_frames,)`, of the left ventricle.
    frame_time_s, heart_rate_bpm
        Where known.
    gating
        ``retrospective``: frames cover the cycle. ``prospective``: they do not. ``auto``: they do if there are six or
        more, if frame time and heart rate do not contradict it, and if the curve closes: from the last frame to the
        first it makes no step larger than 1.5 times the largest step between neighbors.

    Raises
    ------
    ConfigProblem
        For an unknown gating.
    """
    if gating not in get_args(Gating):
        raise ConfigProblem(f"gating: expected {', '.join(get_args(Gating))}, got {gating!r}")
    n = int(np.size(volumes_ml))
    open_because = _why_open(np.asarray(volumes_ml, np.float64), frame_time_s, heart_rate_bpm, gating)
    if heart_rate_bpm is not None:
        rate, origin = float(heart_rate_bpm), "the heart rate given"
    elif open_because:
        return Cycle(False, None, frame_time_s, f"heart rate unknown: {open_because}")
    elif frame_time_s is None:
        return Cycle(True, None, None, "neither heart rate nor frame time known")
    else:
        cycle_s = n * float(frame_time_s)
        rate, origin = 60 / cycle_s if cycle_s > 0 else float("nan"), f"{n} frames of {frame_time_s} s"
    low, high = HEART_RATE_RANGE_BPM
    if not low <= rate <= high:
        why = f"{origin}: {rate:.0f}/min is no heart rate; the frames may not cover one cycle"
        return Cycle(False, None, frame_time_s, why)
    if frame_time_s is None and not open_because:
        frame_time_s = 60 / rate / n
    return Cycle(not open_because, rate, frame_time_s, open_because)


def _why_open(
    volumes: NDArray[np.float64], frame_time_s: float | None, heart_rate_bpm: float | None, gating: Gating
) -> str:
    """Why the frames do not cover the cycle; empty where they do."""
    n = volumes.size
    if n < MIN_FRAMES_FOR_CURVE:
        return f"{n} frames do not cover a cycle"
    if gating == "prospective":
        return "prospectively gated frames do not cover the cycle"
    if gating == "retrospective":
        return ""
    if frame_time_s is not None and heart_rate_bpm is not None:
        share = n * frame_time_s * heart_rate_bpm / 60
        if not COVERED_SHARE[0] <= share <= COVERED_SHARE[1]:
            return f"{n} frames of {1000 * frame_time_s:.0f} ms cover {share:.2f} of a beat at {heart_rate_bpm:.0f}/min"
    steps = np.abs(np.diff(volumes))
    closing = abs(float(volumes[0] - volumes[-1]))
    if closing > MAX_CLOSING_STEP * steps.max():
        return f"the volume changes by {closing:.0f} mL from the last frame to the first: the cycle is not covered"
    return ""
