"""How bright is a tissue in a cine, in a MOLLI series, in a T2-prepared series?

`cohort` imports no other room, so these few formulas are written here once more, independently of
`recon.signal_models`; `tests/cohort/test_synthetic_relaxation.py` shows that both give the same numbers.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

FAT_SHIFT_HZ_PER_T = 3.5e-6 * 42.577e6
"""Chemical shift of the main fat peak, 3.5 ppm."""


def bssfp_signal(
    t1_ms: ArrayLike,
    t2_ms: ArrayLike,
    *,
    density: ArrayLike = 1.0,
    flip_deg: float,
    tr_ms: float,
    te_ms: float | None = None,
) -> Array:
    """Steady state of balanced SSFP on resonance.

    M0 sin(a) (1 - E1) / (1 - (E1 - E2) cos(a) - E1 E2) exp(-TE / T2).

    Parameters
    ----------
    t1_ms, t2_ms, density
        Broadcastable arrays, > 0.
    flip_deg
        Flip angle a.
    tr_ms, te_ms
        Repetition and echo time; ``te_ms`` None means TR / 2.

    Notes
    -----
    Freeman and Hill, J Magn Reson 4:366 (1971); Scheffler and Lehnhardt 2003, doi 10.1007/s00330-003-1957-x.
    """
    t1, t2 = np.asarray(t1_ms, dtype=np.float64), np.asarray(t2_ms, dtype=np.float64)
    angle = math.radians(flip_deg)
    e1, e2 = np.exp(-tr_ms / t1), np.exp(-tr_ms / t2)
    echo = tr_ms / 2 if te_ms is None else te_ms
    steady = math.sin(angle) * (1 - e1) / (1 - (e1 - e2) * math.cos(angle) - e1 * e2)
    return np.asarray(density, dtype=np.float64) * steady * np.exp(-echo / t2)


def fat_sign(*, field_t: float, tr_ms: float) -> int:
    """-1 where fat is opposed to water in balanced SSFP (its precession per TR is nearest to an odd number of half
    turns), else 1.

    Every pass band turns the sign: Hargreaves et al. 2003, doi 10.1002/mrm.10512.
    """
    turns = FAT_SHIFT_HZ_PER_T * field_t * tr_ms * 1e-3
    return -1 if round(turns) % 2 else 1


def molli_times_ms(
    *, scheme: Sequence[int] = (5, 3, 3), rr_ms: float, first_ti_ms: float = 100.0, ti_step_ms: float = 80.0
) -> Array:
    """Inversion times of a MOLLI series in ascending order.

    Parameters
    ----------
    scheme
        Images after the first inversion, recovery beats, images after the second inversion, ...: 5(3)3 is (5, 3, 3)
        with 8 images, 4(1)3(1)2 is (4, 1, 3, 1, 2) with 9, 3(3)3(3)5 is (3, 3, 3, 3, 5) with 11.
    rr_ms
        Time between heart beats.
    first_ti_ms, ti_step_ms
        Time of the first image after the first inversion, and what each further inversion adds.

    Notes
    -----
    Messroghli et al. 2004, doi 10.1002/mrm.20110; 5(3)3: Kellman and Hansen 2014, doi 10.1186/1532-429X-16-2.
    """
    images = list(scheme[::2])
    times = [
        first_ti_ms + epoch * ti_step_ms + beat * rr_ms for epoch, count in enumerate(images) for beat in range(count)
    ]
    return np.sort(np.array(times))


def apparent_t1_ms(t1_ms: ArrayLike, t2_ms: ArrayLike, *, flip_deg: float = 35.0, duty: float = 0.2) -> Array:
    """T1* of an interrupted balanced SSFP read-out.

    1/T1* = 1/T1 + duty sin(a/2)^2 (1/T2 - 1/T1): the decay rate of the transient of continuous balanced SSFP,
    weighted by the part of the cycle in which pulses are played. Schmitt et al. 2004, doi 10.1002/mrm.20058.
    """
    r1, r2 = 1 / np.asarray(t1_ms, dtype=np.float64), 1 / np.asarray(t2_ms, dtype=np.float64)
    return 1 / (r1 + duty * math.sin(math.radians(flip_deg) / 2) ** 2 * (r2 - r1))


def look_locker_signal(t1_ms: ArrayLike, t1_star_ms: ArrayLike, *, amplitude: ArrayLike, times_ms: ArrayLike) -> Array:
    """Signed recovery A - B exp(-t / T1*) with T1 = T1* (B / A - 1) exactly.

    A = amplitude T1*/T1 and B = amplitude (1 + T1*/T1): a perfect inversion of the full magnetization (Deichmann and
    Haase 1992, doi 10.1016/0022-2364(92)90347-A).

    Returns
    -------
    array (n_times, ...)
        Signed; a magnitude is taken later.
    """
    t1, t1_star = np.asarray(t1_ms, dtype=np.float64), np.asarray(t1_star_ms, dtype=np.float64)
    ratio = t1_star / t1
    times = np.asarray(times_ms, dtype=np.float64).reshape(-1, *[1] * ratio.ndim)
    return np.asarray(amplitude) * (ratio - (1 + ratio) * np.exp(-times / t1_star))


def t2_prepared_signal(t2_ms: ArrayLike, *, amplitude: ArrayLike, times_ms: ArrayLike) -> Array:
    """Decay amplitude exp(-TE / T2) of a T2-prepared series, (n_times, ...). Giri et al. 2009, doi
    10.1186/1532-429X-11-56."""
    t2 = np.asarray(t2_ms, dtype=np.float64)
    times = np.asarray(times_ms, dtype=np.float64).reshape(-1, *[1] * t2.ndim)
    return np.asarray(amplitude) * np.exp(-times / t2)
