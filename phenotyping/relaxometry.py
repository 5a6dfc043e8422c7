"""What are T1, T2, T2* or T1rho in each pixel of a mapping series?

Both fits are variable projections: for a given decay time the linear parameters are closed form, so that one search in
x = ln T is left: a coarse grid of decays (one matrix product), then Gauss-Newton with Kaufman's projected derivative
(Golub and Pereyra, doi 10.1088/0266-5611/19/2/201; Barral et al., doi 10.1002/mrm.22497). All pixels at once, float64.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cohort.records import MeasurementFailed

Array = NDArray[np.float64]

#: decay times searched, ms; a fit that ends at an edge has failed
T1_STAR_RANGE_MS: Final = (20.0, 8000.0)
DECAY_RANGE_MS: Final = (1.0, 3000.0)
GRID_POINTS: Final = 80
ITERATIONS: Final = 25
TOLERANCE: Final = 1e-10
CHUNK_PIXELS: Final = 32768


class FitStatus(IntEnum):
    """Why a pixel has a value, or none (NaN in every map)."""

    OK = 0
    NOT_FINITE = 1
    NO_SIGNAL = 2
    AT_BOUND = 3
    IMPLAUSIBLE = 4


@dataclass(frozen=True)
class InversionRecoveryFit:
    """Maps of S(t) = A - B exp(-t / T1*); NaN where `status` is not `FitStatus.OK`.

    `residual_sd` has the unit of the signal; it and `t1_sd_ms` are NaN for three times (nothing left to judge by).
    `n_inverted` is the number of early samples taken as negative.
    """

    t1_ms: Array
    t1_star_ms: Array
    a: Array
    b: Array
    residual_sd: Array
    t1_sd_ms: Array
    n_inverted: NDArray[np.int16]
    status: NDArray[np.uint8]


@dataclass(frozen=True)
class DecayFit:
    """Maps of S(t) = amplitude exp(-t / T) + offset; NaN where `status` is not `FitStatus.OK`."""

    t_ms: Array
    amplitude: Array
    offset: Array
    residual_sd: Array
    t_sd_ms: Array
    status: NDArray[np.uint8]


def fit_inversion_recovery(
    signal: NDArray[Any],
    inversion_times_ms: Sequence[float] | NDArray[Any],
    *,
    look_locker: bool = True,
    signed: bool = False,
) -> InversionRecoveryFit:
    """Fit the three-parameter inversion recovery S(t) = A - B exp(-t / T1*) to every pixel.

    With the Look-Locker correction T1 = T1* (B / A - 1) (Deichmann and Haase, doi 10.1016/0022-2364(92)90187-D; MOLLI:
    Messroghli et al., doi 10.1002/mrm.20110), else T1 = T1*. Magnitudes lost their sign: with the smallest sample at k,
    the first k - 1, k, k + 1 or k + 2 samples are taken as negative; each choice is fitted to the end, the best kept.

    Parameters
    ----------
    signal
        `(..., n_times)`, any unit. Times need not be sorted.
    inversion_times_ms
        `(n_times,)`, ms, at least three different ones.
    look_locker
        Correct for the readout's effect on recovery.
    signed
        The samples carry their sign (phase-sensitive restoration); no polarity is searched.

    Returns
    -------
    Maps of shape `signal.shape[:-1]`. `t1_sd_ms` propagates the residual through the fit (delta rule).

    Raises
    ------
    MeasurementFailed
        For too few or non-finite times, or a last axis of another length.
    """
    samples, times = _checked(signal, inversion_times_ms, minimum=3)
    order = np.argsort(times, kind="stable")
    parts = [
        _fit_recovery(chunk[:, order], times[order], look_locker=look_locker, signed=signed)
        for chunk in _chunks(samples)
    ]
    return InversionRecoveryFit(**_joined(parts, np.shape(signal)[:-1]))


def fit_decay(signal: NDArray[Any], times_ms: Sequence[float] | NDArray[Any], *, offset: bool = False) -> DecayFit:
    """Fit S(t) = amplitude exp(-t / T) (+ offset) to every pixel: T2, T2*, T1rho.

    Parameters
    ----------
    signal
        `(..., n_times)`, any unit.
    times_ms
        `(n_times,)`, ms: echo times, T2 preparation times or spin-lock times; two different ones or more, with an
        offset four (T2-prepared images hold T1 recovery, which the offset takes up; three points cannot tell).
    offset
        Fit a constant as well.

    Returns
    -------
    Maps of shape `signal.shape[:-1]`; `offset` is 0 where none was fitted.

    Raises
    ------
    MeasurementFailed
        For too few or non-finite times, or a last axis of another length.
    """
    samples, times = _checked(signal, times_ms, minimum=4 if offset else 2)
    parts = [_fit_decay(chunk, times, offset=offset) for chunk in _chunks(samples)]
    return DecayFit(**_joined(parts, np.shape(signal)[:-1]))


# --- one chunk of pixels -------------------------------------------------------------------------------------------


def _fit_recovery(signal: Array, times: Array, *, look_locker: bool, signed: bool) -> dict[str, NDArray[Any]]:
    n = times.size
    status, scaled, scale = _usable(signal, constant_is_signal=False)
    smallest = np.argmin(np.abs(scaled), axis=1)
    # a column a choice of polarity; candidates clipped to 0..n repeat each other, which costs time only
    inverted = np.zeros((len(scaled), 1), np.int64) if signed else np.clip(smallest[:, None] + np.arange(-1, 3), 0, n)
    n_choices = inverted.shape[1]
    flips = np.where(np.arange(n) < inverted.reshape(-1, 1), -1.0, 1.0)
    trial = flips * np.repeat(scaled, n_choices, axis=0)
    found = _project(trial, times, constant=True, wanted_sign=0 if signed else -1, bounds=T1_STAR_RANGE_MS)
    good = _recovers(found, look_locker=look_locker)
    cost = np.where(good, found["rss"], 1e6 + found["rss"]).reshape(-1, n_choices)
    rows = np.argmin(cost, axis=1) + np.arange(len(scaled)) * n_choices
    best = {name: values[rows] for name, values in found.items()}
    a, b, t_star = best["constant"], -best["slope"], best["t"]
    status[(status == FitStatus.OK) & best["at_bound"]] = FitStatus.AT_BOUND
    status[(status == FitStatus.OK) & ~good[rows]] = FitStatus.IMPLAUSIBLE
    safe_a = np.where(a == 0, 1.0, a)
    t1 = t_star * (b / safe_a - 1) if look_locker else t_star
    if look_locker:  # gradient of T1 in (ln T1*, A, slope = -B)
        gradient = (t1, -t_star * b / safe_a**2, -t_star / safe_a)
    else:
        gradient = (t_star, np.zeros_like(a), np.zeros_like(a))
    residual_sd = _residual_sd(best["rss"], n - 3)
    t1_sd = residual_sd * _unit_sd(best, times, gradient, constant=True)
    maps: dict[str, NDArray[Any]] = {
        "t1_ms": t1,
        "t1_star_ms": t_star,
        "a": a * scale,
        "b": b * scale,
        "residual_sd": residual_sd * scale,
        "t1_sd_ms": t1_sd,
    }
    maps = _blank(maps, status)
    chosen = inverted.reshape(-1)[rows]
    maps["n_inverted"] = np.where(status == FitStatus.OK, chosen, 0).astype(np.int16)
    maps["status"] = status
    return maps


def _recovers(found: dict[str, Array], *, look_locker: bool) -> NDArray[np.bool_]:
    """A and B of one sign; with the Look-Locker correction also |B| > |A|, or T1 would not be positive."""
    a, b = found["constant"], -found["slope"]
    return (a * b > 0) & (np.abs(b) > np.abs(a)) if look_locker else a * b > 0


def _fit_decay(signal: Array, times: Array, *, offset: bool) -> dict[str, NDArray[Any]]:
    status, scaled, scale = _usable(signal, constant_is_signal=not offset)
    best = _project(scaled, times, constant=offset, wanted_sign=1, bounds=DECAY_RANGE_MS)
    status[(status == FitStatus.OK) & best["at_bound"]] = FitStatus.AT_BOUND
    status[(status == FitStatus.OK) & (best["slope"] <= 0)] = FitStatus.IMPLAUSIBLE
    residual_sd = _residual_sd(best["rss"], times.size - (3 if offset else 2))
    zero = np.zeros_like(scale)
    maps: dict[str, NDArray[Any]] = {
        "t_ms": best["t"],
        "amplitude": best["slope"] * scale,
        "offset": best["constant"] * scale,
        "residual_sd": residual_sd * scale,
        "t_sd_ms": residual_sd * _unit_sd(best, times, (best["t"], zero, zero), constant=offset),
    }
    maps = _blank(maps, status)
    maps["status"] = status
    return maps


# --- variable projection -------------------------------------------------------------------------------------------


def _project(
    signal: Array, times: Array, *, constant: bool, wanted_sign: int, bounds: tuple[float, float]
) -> dict[str, NDArray[Any]]:
    """Least squares of signal = constant + slope exp(-t / T), row by row.

    `wanted_sign` of the slope (0: either) chooses the start on the grid; the caller checks the sign of the end.
    """
    low, high = np.log(bounds[0]), np.log(bounds[1])
    grid = np.linspace(low, high, GRID_POINTS)
    cell = grid[1] - grid[0]
    mean = signal.mean(axis=1, keepdims=True) if constant else np.zeros((len(signal), 1))
    y = signal - mean
    atoms = np.exp(-times / np.exp(grid)[:, None])
    atoms -= atoms.mean(axis=1, keepdims=True) if constant else 0.0
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    match = y @ atoms.T
    match = np.abs(match) if wanted_sign == 0 else wanted_sign * match
    x = grid[np.argmax(match, axis=1)]
    x = _refine(y, times, x, constant=constant, cell=cell, low=low, high=high)
    e, _ = _basis(times, x, constant=constant)
    norm2 = np.einsum("ij,ij->i", e, e)
    slope = np.einsum("ij,ij->i", e, y) / norm2
    residual = y - slope[:, None] * e
    level = mean[:, 0] - slope * np.exp(-times / np.exp(x)[:, None]).mean(axis=1) if constant else np.zeros_like(slope)
    return {
        "t": np.exp(x),
        "slope": slope,
        "constant": level,
        "rss": np.einsum("ij,ij->i", residual, residual),
        "at_bound": (x <= low + 1e-6) | (x >= high - 1e-6),
    }


def _refine(y: Array, times: Array, x: Array, *, constant: bool, cell: float, low: float, high: float) -> Array:
    """Gauss-Newton in x = ln T with halved steps where the residual would grow; settled rows leave the loop."""
    best = x.copy()
    step, rss = np.zeros_like(x), np.full_like(x, np.inf)
    rows = np.arange(len(x))
    for _ in range(ITERATIONS):
        trial = np.clip(best[rows] + step[rows], low, high)
        cost, newton = _gauss_newton_step(y[rows], times, trial, constant=constant)
        better = cost <= rss[rows]
        best[rows] = np.where(better, trial, best[rows])
        rss[rows] = np.where(better, cost, rss[rows])
        step[rows] = np.where(better, np.clip(newton, -cell, cell), step[rows] / 2)
        rows = rows[np.abs(step[rows]) > TOLERANCE]
        if rows.size == 0:
            break
    return best


def _gauss_newton_step(y: Array, times: Array, x: Array, *, constant: bool) -> tuple[Array, Array]:
    e, d = _basis(times, x, constant=constant)
    norm2 = np.einsum("ij,ij->i", e, e)
    slope = np.einsum("ij,ij->i", e, y) / norm2
    d -= (np.einsum("ij,ij->i", e, d) / norm2)[:, None] * e
    residual = y - slope[:, None] * e
    curvature = slope * np.einsum("ij,ij->i", d, d)
    safe = np.where(curvature == 0, 1.0, curvature)
    newton = np.where(curvature == 0, 0.0, np.einsum("ij,ij->i", d, residual) / safe)
    return np.einsum("ij,ij->i", residual, residual), newton


def _basis(times: Array, x: Array, *, constant: bool) -> tuple[Array, Array]:
    """exp(-t / T) and its derivative in ln T, centered if a constant is fitted as well; rows are pixels."""
    ratio = times / np.exp(x)[:, None]
    e = np.exp(-ratio)
    d = ratio * e
    if constant:
        e = e - e.mean(axis=1, keepdims=True)
        d = d - d.mean(axis=1, keepdims=True)
    return e, d


def _unit_sd(best: dict[str, Array], times: Array, gradient: tuple[Array, Array, Array], *, constant: bool) -> Array:
    """SD of a function of (ln T, constant, slope) for samples of SD 1: sqrt(g' (J'J)^-1 g), in closed form.

    The linear part of (J'J)^-1 is that of a straight line on e; ln T adds its own variance, seen through the
    shift that it causes in constant and slope.
    """
    x = np.log(best["t"])
    e, d = _basis(times, x, constant=constant)
    norm2 = np.einsum("ij,ij->i", e, e)
    share = np.einsum("ij,ij->i", e, d) / norm2
    slope = best["slope"]
    d_free = d - share[:, None] * e
    var_x = 1 / np.maximum(slope**2 * np.einsum("ij,ij->i", d_free, d_free), np.finfo(np.float64).tiny)
    g_x, g_constant, g_slope = gradient
    raw_e, raw_d = _basis(times, x, constant=False)
    mean_e, mean_d = (raw_e.mean(axis=1), raw_d.mean(axis=1)) if constant else (0.0, 0.0)
    var_linear = (g_slope - mean_e * g_constant) ** 2 / norm2 + (g_constant**2 / times.size if constant else 0.0)
    shift_slope = slope * share
    shift_constant = slope * mean_d - shift_slope * mean_e
    return np.sqrt(var_linear + (g_x - g_constant * shift_constant - g_slope * shift_slope) ** 2 * var_x)


# --- input and output ----------------------------------------------------------------------------------------------


def _checked(signal: NDArray[Any], times_ms: Sequence[float] | NDArray[Any], *, minimum: int) -> tuple[Array, Array]:
    times = np.asarray(times_ms, dtype=np.float64)
    if np.iscomplexobj(signal):
        raise MeasurementFailed("the fits take real signals; give magnitudes, or signed samples with signed=True")
    if times.ndim != 1 or np.shape(signal)[-1:] != times.shape:
        raise MeasurementFailed(
            f"signal must be (..., n_times) with one time a sample, got {np.shape(signal)} and {times.shape} times"
        )
    if not np.isfinite(times).all() or (times < 0).any() or np.unique(times).size < minimum:
        raise MeasurementFailed(
            f"the fit needs {minimum} or more different times, none below 0 ms; got {times.tolist()}"
        )
    return np.asarray(signal, dtype=np.float64).reshape(-1, times.size), times


def _chunks(samples: Array) -> list[Array]:
    return [samples[i : i + CHUNK_PIXELS] for i in range(0, max(len(samples), 1), CHUNK_PIXELS)]


def _usable(signal: Array, *, constant_is_signal: bool) -> tuple[NDArray[np.uint8], Array, Array]:
    """Status of every pixel, its samples scaled to a largest magnitude of 1 (a dummy where unusable), and the scale."""
    status = np.full(len(signal), FitStatus.OK, np.uint8)
    scale = np.abs(signal).max(axis=1)
    flat = np.ptp(signal, axis=1) <= 1e-12 * scale
    no_signal = (scale == 0) | (flat & (not constant_is_signal))
    status[no_signal] = FitStatus.NO_SIGNAL
    status[~np.isfinite(signal).all(axis=1)] = FitStatus.NOT_FINITE
    bad = status != FitStatus.OK
    safe = np.where(bad, 1.0, scale)
    scaled = np.where(bad[:, None], np.linspace(0, 1, signal.shape[1]), signal) / safe[:, None]
    return status, scaled, safe


def _residual_sd(rss: Array, degrees: int) -> Array:
    return np.sqrt(rss / degrees) if degrees > 0 else np.full_like(rss, np.nan)


def _blank(maps: dict[str, NDArray[Any]], status: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    return {name: np.where(status == FitStatus.OK, values, np.nan) for name, values in maps.items()}


def _joined(parts: list[dict[str, NDArray[Any]]], shape: tuple[int, ...]) -> dict[str, NDArray[Any]]:
    return {name: np.concatenate([part[name] for part in parts]).reshape(shape) for name in parts[0]}
