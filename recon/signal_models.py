"""What signal does a pulse sequence give for a tissue with these relaxation times?

Each function broadcasts its tissue arguments against each other; time series get a last axis ``n_times``. All times are
in ms. A relaxation time of 0 is read as its limit, complete relaxation, so that maps may be 0 where there is no tissue.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float = NDArray[np.float64]


def bssfp_steady_state(
    *,
    t1_ms: ArrayLike,
    t2_ms: ArrayLike,
    flip_deg: ArrayLike,
    tr_ms: float,
    te_ms: float | None = None,
    proton_density: ArrayLike = 1.0,
) -> Float:
    """Balanced steady-state free precession on resonance.

    ``S = PD sin(a) (1 - E1) / (1 - (E1 - E2) cos(a) - E1 E2) exp(-TE / T2)`` with ``E1 = exp(-TR / T1)`` and
    ``E2 = exp(-TR / T2)``.

    Parameters
    ----------
    t1_ms, t2_ms : array, >= 0
        Relaxation times; where t2_ms is 0 there is no signal.
    flip_deg : array
        Flip angle a in degrees, alternating in sign from pulse to pulse.
    tr_ms : float
        Repetition time.
    te_ms : float or None
        Echo time, None for tr_ms / 2.
    proton_density : array
        Relative proton density.

    Returns
    -------
    float array, the magnitude of the transverse magnetization at the echo

    Notes
    -----
    Source: Freeman and Hill 1971, doi:10.1016/0022-2364(71)90125-6; echo at TR / 2: Scheffler and Hennig 2003,
    doi:10.1007/s00330-003-1957-x.
    """
    echo_ms = tr_ms / 2 if te_ms is None else te_ms
    e1, e2 = _relaxation(tr_ms, t1_ms), _relaxation(tr_ms, t2_ms)
    angle = np.deg2rad(np.asarray(flip_deg, np.float64))
    steady = np.sin(angle) * (1 - e1) / (1 - (e1 - e2) * np.cos(angle) - e1 * e2)
    return np.asarray(np.asarray(proton_density, np.float64) * steady * _relaxation(echo_ms, t2_ms))


def look_locker(times_ms: ArrayLike, *, a: ArrayLike, b: ArrayLike, t1_star_ms: ArrayLike) -> Float:
    """Signed Look-Locker (MOLLI) signal ``A - B exp(-t / T1*)``.

    Parameters
    ----------
    times_ms : array (n_times,)
        Inversion times.
    a, b : array (...)
        Steady-state signal and inverted amplitude, in signal units; b is near 2 a.
    t1_star_ms : array (...), >= 0
        Apparent relaxation time.

    Returns
    -------
    float array (..., n_times)

    Notes
    -----
    Source: Messroghli et al. 2004, doi:10.1002/mrm.20110.
    """
    return _series(a) - _series(b) * _relaxation(times_ms, _series(t1_star_ms))


def t1_from_look_locker(*, a: ArrayLike, b: ArrayLike, t1_star_ms: ArrayLike) -> Float:
    """T1 in ms of a Look-Locker fit, ``T1 = T1* (B / A - 1)``; NaN where A is 0.

    Notes
    -----
    Source: Deichmann and Haase 1992, doi:10.1016/0022-2364(92)90347-A.
    """
    a_, b_ = np.asarray(a, np.float64), np.asarray(b, np.float64)
    ratio = np.divide(b_, a_, out=np.full(np.broadcast_shapes(a_.shape, b_.shape), np.nan), where=a_ != 0)
    return np.asarray(np.asarray(t1_star_ms, np.float64) * (ratio - 1))


def inversion_recovery(
    times_ms: ArrayLike, *, t1_ms: ArrayLike, m0: ArrayLike = 1.0, efficiency: ArrayLike = 1.0
) -> Float:
    """Signed inversion recovery ``M0 (1 - 2 f exp(-t / T1))`` with inversion efficiency f (1: perfect).

    Parameters
    ----------
    times_ms : array (n_times,)
    t1_ms, m0, efficiency : array (...)

    Returns
    -------
    float array (..., n_times)
    """
    return _series(m0) * (1 - 2 * _series(efficiency) * _relaxation(times_ms, _series(t1_ms)))


def saturation_recovery(
    times_ms: ArrayLike, *, t1_ms: ArrayLike, m0: ArrayLike = 1.0, efficiency: ArrayLike = 1.0
) -> Float:
    """Saturation recovery (SASHA) ``M0 (1 - f exp(-t / T1))`` with saturation efficiency f (1: perfect).

    A time of infinity is the image without saturation, and gives M0.

    Parameters
    ----------
    times_ms : array (n_times,)
    t1_ms, m0, efficiency : array (...)

    Returns
    -------
    float array (..., n_times)

    Notes
    -----
    Source: Chow et al. 2014, doi:10.1002/mrm.24878.
    """
    return _series(m0) * (1 - _series(efficiency) * _relaxation(times_ms, _series(t1_ms)))


def exponential_decay(
    times_ms: ArrayLike, *, t_ms: ArrayLike, amplitude: ArrayLike = 1.0, offset: ArrayLike = 0.0
) -> Float:
    """Decay ``M0 exp(-t / T) + c`` of T2 preparation, multi-echo (T2*) and spin lock (T1rho).

    Parameters
    ----------
    times_ms : array (n_times,)
        Preparation, echo or spin-lock times.
    t_ms : array (...), >= 0
        T2, T2* or T1rho.
    amplitude, offset : array (...)
        M0, and the signal that does not decay, in signal units.

    Returns
    -------
    float array (..., n_times)
    """
    return _series(amplitude) * _relaxation(times_ms, _series(t_ms)) + _series(offset)


def _series(values: ArrayLike) -> Float:
    """Tissue values (...) with a last axis for the times."""
    return np.asarray(values, np.float64)[..., None]


def _relaxation(times_ms: ArrayLike, constant_ms: ArrayLike) -> Float:
    """``exp(-t / T)``, 0 where T is 0; raises ValueError for negative relaxation times."""
    times, constant = np.asarray(times_ms, np.float64), np.asarray(constant_ms, np.float64)
    if np.any(constant < 0):
        raise ValueError(f"expected relaxation times of at least 0 ms, got {constant.min():g} ms")
    rate = np.divide(1.0, constant, out=np.full(constant.shape, np.inf), where=constant > 0)
    with np.errstate(invalid="ignore"):  # a time of 0 with T of 0 is left as complete relaxation
        decay = np.exp(-times * rate)
    return np.asarray(np.where(constant > 0, decay, 0.0))
