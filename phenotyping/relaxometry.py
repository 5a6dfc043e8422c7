"""What are T1, T2, T2* or T1rho in each pixel of a mapping series?

Every fit is a variable projection (`phenotyping.projection`), of all pixels at once, in float64.
"""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from cohort.records import MeasurementFailed
from phenotyping import projection
from phenotyping.polarity import Candidates, fit_magnitudes
from phenotyping.projection import Curve, Problem, Projection

Array = NDArray[np.float64]

#: decay times searched, ms; a fit that ends at an edge has failed
T1_STAR_RANGE_MS: Final = (20.0, 8000.0)
DECAY_RANGE_MS: Final = (1.0, 3000.0)
#: samples of a chunk stay in the cache of a processor
CHUNK_PIXELS: Final = 2048
#: a magnitude of this many noise SDs is 6 % above the signal: E|S + n| = S (1 + 1 / (2 SNR^2)), Gudbjartsson and
#: Patz, doi 10.1002/mrm.1910340618
TRUNCATE_AT_SNR: Final = 3.0
TRUNCATION_ROUNDS: Final = 3


class FitStatus(IntEnum):
    """Why a pixel has a value, or none (NaN in every map)."""

    OK = 0
    NOT_FINITE = 1
    NO_SIGNAL = 2
    AT_BOUND = 3
    IMPLAUSIBLE = 4
    TOO_FEW_SAMPLES = 5


@dataclass(frozen=True)
class InversionRecoveryFit:
    """Maps of S(t) = A - B exp(-t / T1*); NaN where `status` is not `FitStatus.OK`.

    `residual_sd` has the unit of the signal; it and `t1_sd_ms` are NaN where the samples are no more than the unknowns
    (nothing left to judge by). `n_inverted` is the number of early samples taken as negative. `r2` is 1 - residual /
    variance of the signed samples about their mean.
    """

    t1_ms: Array
    t1_star_ms: Array
    a: Array
    b: Array
    residual_sd: Array
    t1_sd_ms: Array
    r2: Array
    n_inverted: NDArray[np.int16]
    status: NDArray[np.uint8]


@dataclass(frozen=True)
class SaturationRecoveryFit:
    """Maps of S(t) = M0 (1 - efficiency exp(-t / T1)); NaN where `status` is not `FitStatus.OK`."""

    t1_ms: Array
    m0: Array
    efficiency: Array
    residual_sd: Array
    t1_sd_ms: Array
    r2: Array
    status: NDArray[np.uint8]


@dataclass(frozen=True)
class DecayFit:
    """Maps of S(t) = amplitude exp(-t / T) + offset; NaN where `status` is not `FitStatus.OK`.

    `n_samples` is the number of times used, fewer than given only where samples under the noise floor were left out.
    """

    t_ms: Array
    amplitude: Array
    offset: Array
    residual_sd: Array
    t_sd_ms: Array
    r2: Array
    n_samples: NDArray[np.int16]
    status: NDArray[np.uint8]


def fit_inversion_recovery(
    signal: NDArray[Any],
    inversion_times_ms: Sequence[float] | NDArray[Any],
    *,
    look_locker: bool = True,
    signed: bool = False,
    efficiency: float | None = None,
    polarities: Candidates = "near",
    device: str | None = None,
) -> InversionRecoveryFit:
    """Fit an inversion recovery S(t) = A - B exp(-t / T1*) to every pixel.

    With the Look-Locker correction T1 = T1* (B / A - 1) (Deichmann and Haase, doi 10.1016/0022-2364(92)90347-A; MOLLI:
    Messroghli et al., doi 10.1002/mrm.20110), else T1 = T1*. Magnitudes lost their sign: the first p samples are taken
    as negative, every candidate p is fitted to the end, the smallest residual is kept. With the smallest sample at k
    the candidates are k - 1, k, k + 1 and k + 2, or all.

    Parameters
    ----------
    signal
        `(..., n_times)`, any unit. Times need not be sorted.
    inversion_times_ms
        `(n_times,)`, ms, at least three different ones (two with `efficiency`); infinity is an image without inversion.
    look_locker
        Correct for the readout's effect on recovery.
    signed
        The samples carry their sign (see `phenotyping.phase.restore_sign`); no polarity is searched.
    efficiency
        Known inversion efficiency f: two unknowns, S = A (1 - 2 f exp(-t / T1)); None fits it as a third one. Only
        without `look_locker`.
    polarities
        ``near``: four candidates; ``all``: 0 to n_times.
    device
        None computes with numpy; a torch device such as ``cuda`` runs the same lines there.

    Returns
    -------
    Maps of shape `signal.shape[:-1]`. `t1_sd_ms` propagates the residual through the fit (delta rule).

    Raises
    ------
    MeasurementFailed
        For too few or negative times, a last axis of another length, or an efficiency with the Look-Locker correction.
    """
    if efficiency is not None and look_locker:
        raise MeasurementFailed(
            "a known inversion efficiency leaves nothing from which the Look-Locker correction could be found; "
            "give look_locker=False with it"
        )
    curve = Curve(constant=True) if efficiency is None else Curve(1.0, -2.0 * efficiency)
    samples, times = _checked(signal, inversion_times_ms, minimum=curve.n_parameters)
    order = np.argsort(times, kind="stable")
    parts = [
        _fit_recovery(
            chunk[:, order],
            times[order],
            curve,
            look_locker=look_locker,
            polarities="none" if signed else polarities,
            device=device,
        )
        for chunk in _chunks(samples, device)
    ]
    return InversionRecoveryFit(**_joined(parts, np.shape(signal)[:-1]))


def fit_saturation_recovery(
    signal: NDArray[Any],
    saturation_times_ms: Sequence[float] | NDArray[Any],
    *,
    efficiency: float | None = None,
    device: str | None = None,
) -> SaturationRecoveryFit:
    """Fit a saturation recovery (SASHA) S(t) = M0 (1 - c exp(-t / T1)) to every pixel.

    There is no Look-Locker correction, because every image follows its own saturation (Chow et al., doi
    10.1002/mrm.24878). Three unknowns are free of the readout's effect on c, two (c known) are more precise.

    Parameters
    ----------
    signal
        `(..., n_times)`, any unit; no sample is taken as negative.
    saturation_times_ms
        `(n_times,)`, ms; infinity is the anchor image without saturation.
    efficiency
        Known saturation efficiency c, 1 for perfect saturation; None fits it as a third unknown.
    device
        As in `fit_inversion_recovery`.

    Raises
    ------
    MeasurementFailed
        For too few or negative times, or a last axis of another length.
    """
    curve = Curve(constant=True) if efficiency is None else Curve(1.0, -efficiency)
    samples, times = _checked(signal, saturation_times_ms, minimum=curve.n_parameters)
    parts = [
        _fit_recovery(chunk, times, curve, look_locker=False, polarities="none", device=device)
        for chunk in _chunks(samples, device)
    ]
    maps = _joined(parts, np.shape(signal)[:-1])
    return SaturationRecoveryFit(
        m0=maps["a"],
        efficiency=maps["b"] / maps["a"],
        **{name: maps[name] for name in ("t1_ms", "residual_sd", "t1_sd_ms", "r2", "status")},
    )


def fit_decay(
    signal: NDArray[Any],
    times_ms: Sequence[float] | NDArray[Any],
    *,
    offset: bool = False,
    noise_sd: float | None = None,
    noise_floor: Literal["truncate", "subtract"] | None = None,
    device: str | None = None,
) -> DecayFit:
    """Fit S(t) = amplitude exp(-t / T) (+ offset) to every pixel: T2, T2*, T1rho.

    Magnitudes never fall below the noise floor, so that short T2* reads too long. ``truncate`` leaves out the samples
    where the fitted curve is below three noise SDs (truncation by SNR: Sandino et al., doi 10.1186/s12968-015-0115-3;
    the curve decides, not the sample, because samples that noise lifts over a threshold would stay). ``subtract``
    replaces the magnitude M by sqrt(M^2 - 2 SD^2), because E(M^2) = S^2 + 2 SD^2 (Gudbjartsson and Patz, doi
    10.1002/mrm.1910340618), signed where the square falls below 0; for a root sum of squares of L coils give SD sqrt(L).

    Parameters
    ----------
    signal
        `(..., n_times)`, any unit.
    times_ms
        `(n_times,)`, ms: echo times, T2 preparation times or spin-lock times; two different ones or more, with an
        offset four (T2-prepared images hold T1 recovery, which the offset takes up; three points cannot tell).
    offset
        Fit a constant as well.
    noise_sd
        SD of the noise of the real (or imaginary) part, in the unit of the signal.
    noise_floor
        ``truncate``, ``subtract`` or None (magnitudes as they are); needs `noise_sd`.
    device
        As in `fit_inversion_recovery`.

    Returns
    -------
    Maps of shape `signal.shape[:-1]`; `offset` is 0 where none was fitted.

    Raises
    ------
    MeasurementFailed
        For too few or negative times, a last axis of another length, or a noise floor without a noise SD above 0.
    """
    if noise_floor is not None and not (noise_sd is not None and noise_sd > 0):
        raise MeasurementFailed(f"noise_floor={noise_floor!r} needs noise_sd above 0, got {noise_sd}")
    curve = Curve(constant=offset)
    samples, times = _checked(signal, times_ms, minimum=4 if offset else 2)
    if np.isinf(times).any():
        raise MeasurementFailed("a decay has no sample at infinite time; leave that image out")
    if noise_floor == "subtract" and noise_sd is not None:
        square = samples**2 - 2 * noise_sd**2
        samples = np.sign(square) * np.sqrt(np.abs(square))
    order = np.argsort(times, kind="stable")
    floor = TRUNCATE_AT_SNR * noise_sd if noise_floor == "truncate" and noise_sd is not None else None
    parts = [
        _fit_decay(chunk[:, order], times[order], curve, floor, device=device) for chunk in _chunks(samples, device)
    ]
    return DecayFit(**_joined(parts, np.shape(signal)[:-1]))


# --- one chunk of pixels -------------------------------------------------------------------------------------------


def _fit_recovery(
    signal: Array, times: Array, curve: Curve, *, look_locker: bool, polarities: Candidates, device: str | None
) -> dict[str, NDArray[Any]]:
    status, scaled, scale = _usable(signal, constant_is_signal=False)
    y, shared = _moved(scaled, times, curve, T1_STAR_RANGE_MS, device)

    def good(found: Projection) -> Any:
        a, b = _a_and_b(found, curve)
        return (a * b > 0) & (abs(b) > abs(a)) if look_locker else a * b > 0

    best, inverted, total = fit_magnitudes(y, shared, candidates=polarities, good=good)
    sound = _back(good(best))
    status[(status == FitStatus.OK) & _back(best.at_bound)] = FitStatus.AT_BOUND
    status[(status == FitStatus.OK) & ~sound] = FitStatus.IMPLAUSIBLE
    gradient = _t1_gradient(best, curve, look_locker=look_locker)
    unit_sd = _back(projection.unit_sd(best, shared, gradient))
    a, b = (_back(values) for values in _a_and_b(best, curve))
    rss, t_star = _back(best.rss), _back(best.t)
    residual_sd = _residual_sd(rss, times.size - curve.n_parameters)
    maps: dict[str, NDArray[Any]] = {
        "t1_ms": t_star * (b / np.where(a == 0, 1.0, a) - 1) if look_locker else t_star,
        "t1_star_ms": t_star,
        "a": a * scale,
        "b": b * scale,
        "residual_sd": residual_sd * scale,
        "t1_sd_ms": residual_sd * unit_sd,
        "r2": _r2(rss, _back(total)),
    }
    maps = _blank(maps, status)
    maps["n_inverted"] = np.where(status == FitStatus.OK, _back(inverted), 0).astype(np.int16)
    maps["status"] = status
    return maps


def _a_and_b(found: Projection, curve: Curve) -> tuple[Any, Any]:
    """A and B of A - B exp(-t / T)."""
    return (found.constant, -found.slope) if curve.constant else (found.slope, -curve.factor * found.slope)


def _t1_gradient(found: Projection, curve: Curve, *, look_locker: bool) -> tuple[Any, Any, Any]:
    """Gradient of T1 in (ln T1*, constant, slope)."""
    zero = 0 * found.t
    if not look_locker:
        return found.t, zero, zero
    a, b = _a_and_b(found, curve)
    a = a + (a == 0)
    return found.t * (b / a - 1), -found.t * b / a**2, -found.t / a


def _fit_decay(
    signal: Array, times: Array, curve: Curve, floor: float | None, *, device: str | None
) -> dict[str, NDArray[Any]]:
    status, scaled, scale = _usable(signal, constant_is_signal=not curve.constant)
    y, shared = _moved(scaled, times, curve, DECAY_RANGE_MS, device)
    weight = None
    n_used = np.full(len(signal), times.size)
    if floor is None:
        best = projection.fit(y, shared, sign=1)
    else:
        level, _ = _moved((floor / scale)[:, None], times[:1], curve, DECAY_RANGE_MS, device)
        best, weight, enough = _truncated(y, shared, level, least=curve.n_parameters)
        n_used = _back(weight).sum(axis=0).astype(np.int64)
        status[(status == FitStatus.OK) & ~_back(enough)] = FitStatus.TOO_FEW_SAMPLES
    slope, rss, t = _back(best.slope), _back(best.rss), _back(best.t)
    status[(status == FitStatus.OK) & _back(best.at_bound)] = FitStatus.AT_BOUND
    status[(status == FitStatus.OK) & (slope <= 0)] = FitStatus.IMPLAUSIBLE
    zero = 0 * best.t
    residual_sd = _residual_sd(rss, n_used - curve.n_parameters)
    used = np.ones_like(scaled) if weight is None else _back(weight).T
    mean = (used * scaled).sum(axis=1) / used.sum(axis=1)
    maps: dict[str, NDArray[Any]] = {
        "t_ms": t,
        "amplitude": slope * scale,
        "offset": _back(best.constant) * scale,
        "residual_sd": residual_sd * scale,
        "t_sd_ms": residual_sd * _back(projection.unit_sd(best, shared, (best.t, zero, zero), weight=weight)),
        "r2": _r2(rss, (used * (scaled - mean[:, None]) ** 2).sum(axis=1)),
    }
    maps = _blank(maps, status)
    maps["n_samples"] = n_used.astype(np.int16)
    maps["status"] = status
    return maps


def _truncated(y: Any, shared: Problem, level: Any, *, least: int) -> tuple[Projection, Any, Any]:
    """Fit the samples before the curve falls below `level`, the first `least` always; tell whether those are above."""
    xp = shared.xp
    above = y >= level
    for _ in range(TRUNCATION_ROUNDS):
        weight = xp.where(above, xp.ones_like(y), 0 * y)
        weight[:least] = 1.0
        best = projection.fit(y, shared, sign=1, weight=weight)
        above = best.constant + best.slope * projection.basis(shared, xp.log(best.t))[0] >= level
    return best, weight, above[least - 1]


# --- input and output ----------------------------------------------------------------------------------------------


def _checked(signal: NDArray[Any], times_ms: Sequence[float] | NDArray[Any], *, minimum: int) -> tuple[Array, Array]:
    times = np.asarray(times_ms, dtype=np.float64)
    if np.iscomplexobj(signal):
        raise MeasurementFailed("the fits take real signals; give magnitudes, or signed samples with signed=True")
    if times.ndim != 1 or np.shape(signal)[-1:] != times.shape:
        raise MeasurementFailed(
            f"signal must be (..., n_times) with one time a sample, got {np.shape(signal)} and {times.shape} times"
        )
    if np.isnan(times).any() or (times < 0).any() or np.unique(times).size < minimum:
        raise MeasurementFailed(
            f"the fit needs {minimum} or more different times, none below 0 ms; got {times.tolist()}"
        )
    return np.asarray(signal, dtype=np.float64).reshape(-1, times.size), times


def _chunks(samples: NDArray[Any], device: str | None) -> list[NDArray[Any]]:
    size = CHUNK_PIXELS if device is None else max(len(samples), 1)
    return [samples[i : i + size] for i in range(0, max(len(samples), 1), size)]


def _moved(
    samples: Array, times: Array, curve: Curve, bounds: tuple[float, float], device: str | None
) -> tuple[Any, Problem]:
    """Samples as `(n_times, pixels)` where the fit is computed, and what all pixels share."""
    columns = np.ascontiguousarray(samples.T)
    if device is None:
        return columns, projection.problem(times, curve, bounds)
    torch = importlib.import_module("torch")
    moved = torch.as_tensor(columns, device=device)
    return moved, projection.problem(times, curve, bounds, xp=torch, like=moved)


def _back(values: Any) -> NDArray[Any]:
    return np.asarray(values.cpu() if hasattr(values, "cpu") else values)


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


def _residual_sd(rss: Array, degrees: int | NDArray[Any]) -> Array:
    free = np.broadcast_to(degrees, rss.shape)
    return np.where(free > 0, np.sqrt(rss / np.maximum(free, 1)), np.nan)


def _r2(rss: Array, total: Array) -> Array:
    return np.where(total > 0, 1 - rss / np.where(total > 0, total, 1.0), np.nan)


def _blank(maps: dict[str, NDArray[Any]], status: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    return {name: np.where(status == FitStatus.OK, values, np.nan) for name, values in maps.items()}


def _joined(parts: list[dict[str, NDArray[Any]]], shape: tuple[int, ...]) -> dict[str, NDArray[Any]]:
    return {name: np.concatenate([part[name] for part in parts]).reshape(shape) for name in parts[0]}
