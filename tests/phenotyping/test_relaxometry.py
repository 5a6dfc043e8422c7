"""Do the fits find the relaxation times that made the signal, and do they agree with scipy and published fits?"""

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import curve_fit

from cohort.records import MeasurementFailed
from phenotyping.phase import restore_sign
from phenotyping.relaxometry import FitStatus, fit_decay, fit_inversion_recovery, fit_saturation_recovery

MOLLI_MS = np.array([100.0, 180, 1000, 1080, 1900, 1980, 2900, 3800])
T2_MS = np.array([0.0, 25, 35, 55])


def recovery(t1_ms: np.ndarray, times_ms: np.ndarray, *, ratio: float = 1.9, a: float = 1.0) -> np.ndarray:
    """Signed Look-Locker signal with B / A = ratio."""
    t_star = np.asarray(t1_ms)[..., None] / (ratio - 1)
    return a * (1 - ratio * np.exp(-times_ms / t_star))


# --- laws ------------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(t1=st.floats(250, 2500), ratio=st.floats(1.6, 2.0), scale=st.floats(1e-6, 1e9), seed=st.integers(0, 10_000))
def test_t1_does_not_depend_on_the_scale(t1: float, ratio: float, scale: float, seed: int) -> None:
    noise = 0.02 * np.random.default_rng(seed).standard_normal(MOLLI_MS.size)
    signal = np.abs(recovery(np.array(t1), MOLLI_MS, ratio=ratio) + noise)
    one, other = fit_inversion_recovery(signal, MOLLI_MS), fit_inversion_recovery(scale * signal, MOLLI_MS)
    assert one.status == other.status
    if one.status == FitStatus.OK:
        assert other.t1_ms == pytest.approx(one.t1_ms, rel=1e-6)
        assert other.a == pytest.approx(scale * one.a, rel=1e-6)
        assert other.t1_sd_ms == pytest.approx(one.t1_sd_ms, rel=1e-4)


def test_order_of_the_times_does_not_matter(rng: np.random.Generator) -> None:
    signal = np.abs(recovery(rng.uniform(300, 2000, 50), MOLLI_MS))
    order = rng.permutation(MOLLI_MS.size)
    one, other = fit_inversion_recovery(signal, MOLLI_MS), fit_inversion_recovery(signal[:, order], MOLLI_MS[order])
    assert np.array_equal(one.t1_ms, other.t1_ms)


def test_each_pixel_is_fitted_alone(rng: np.random.Generator) -> None:
    signal = np.abs(recovery(rng.uniform(300, 2000, (4, 5)), MOLLI_MS) + rng.normal(0, 0.03, (4, 5, 8)))
    together = fit_inversion_recovery(signal, MOLLI_MS).t1_ms
    alone = [fit_inversion_recovery(row, MOLLI_MS).t1_ms for row in signal]
    assert together.shape == (4, 5)
    assert np.allclose(together, alone, rtol=1e-9, equal_nan=True)


def test_image_larger_than_a_chunk(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    signal = np.abs(recovery(rng.uniform(300, 2000, 30), MOLLI_MS))
    whole = fit_inversion_recovery(signal, MOLLI_MS).t1_ms
    monkeypatch.setattr("phenotyping.relaxometry.CHUNK_PIXELS", 7)
    assert np.allclose(fit_inversion_recovery(signal, MOLLI_MS).t1_ms, whole, rtol=1e-9)


@settings(max_examples=60, deadline=None)
@given(t2=st.floats(8, 400), scale=st.floats(1e-6, 1e9), first=st.floats(0, 20), step=st.floats(8, 30))
def test_decay_over_all_times_and_scales(t2: float, scale: float, first: float, step: float) -> None:
    times = first + step * np.arange(6)
    fit = fit_decay(scale * np.exp(-times / t2), times)
    assert fit.status == FitStatus.OK
    assert fit.t_ms == pytest.approx(t2, rel=1e-6)
    assert fit.amplitude == pytest.approx(scale, rel=1e-6)
    assert fit.r2 == pytest.approx(1, abs=1e-9)


def test_all_polarities_never_fit_worse_than_four(rng: np.random.Generator) -> None:
    signal = np.abs(recovery(rng.uniform(300, 2000, 400), MOLLI_MS) + rng.normal(0, 0.08, (400, 8)))
    four, every = (fit_inversion_recovery(signal, MOLLI_MS, polarities=p) for p in ("near", "all"))
    both = (four.status == FitStatus.OK) & (every.status == FitStatus.OK)
    assert (four.status == FitStatus.OK).sum() <= (every.status == FitStatus.OK).sum()
    assert (every.residual_sd[both] <= four.residual_sd[both] * (1 + 1e-9)).all()


def test_skipped_polarities_could_not_have_won(rng: np.random.Generator) -> None:
    """What pruning leaves out is what fitting every polarity alone would leave out."""
    signal = np.abs(recovery(rng.uniform(200, 2500, 200), MOLLI_MS) + rng.normal(0, 0.1, (200, 8)))
    best = np.full(200, np.inf)
    for n in range(9):
        alone = fit_inversion_recovery(np.where(np.arange(8) < n, -signal, signal), MOLLI_MS, signed=True)
        upward = (alone.status == FitStatus.OK) & (alone.b > 0)
        best = np.where(upward & (alone.residual_sd < best), alone.residual_sd, best)
    fit = fit_inversion_recovery(signal, MOLLI_MS, polarities="all")
    good = fit.status == FitStatus.OK
    assert good.mean() > 0.95
    assert np.allclose(fit.residual_sd[good], best[good], rtol=1e-6)


# --- closed form -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signed", [False, True])
def test_noise_free_molli_is_exact(rng: np.random.Generator, signed: bool) -> None:
    t1 = rng.uniform(200, 2600, 500)
    signal = recovery(t1, MOLLI_MS, a=321.0)
    fit = fit_inversion_recovery(signal if signed else np.abs(signal), MOLLI_MS, signed=signed)
    assert (fit.status == FitStatus.OK).all()
    assert np.allclose(fit.t1_ms, t1, rtol=1e-6)
    assert np.allclose(fit.a, 321, rtol=1e-6)
    assert np.allclose(fit.b, 1.9 * 321, rtol=1e-6)
    if not signed:
        assert np.array_equal(fit.n_inverted, (signal < 0).sum(axis=1))


def test_without_look_locker_t1_is_the_time_constant() -> None:
    times = np.array([50.0, 400, 1100, 2500, 6000])
    fit = fit_inversion_recovery(np.abs(1 - 1.8 * np.exp(-times / 900)), times, look_locker=False)
    assert fit.t1_ms == pytest.approx(900, rel=1e-7)
    assert fit.t1_star_ms == pytest.approx(900, rel=1e-7)


def test_three_even_times_give_prony(rng: np.random.Generator) -> None:
    """exp(-dt / T) = (y3 - y2) / (y2 - y1); three points leave no residual to judge by."""
    times = np.array([100.0, 900, 1700])
    y = np.sort(rng.uniform(-1, 1, 3))
    y[2] = y[1] + 0.4 * (y[1] - y[0])
    fit = fit_inversion_recovery(y, times, look_locker=False, signed=True)
    if fit.status != FitStatus.OK:
        pytest.skip("the draw is no recovery")
    assert fit.t1_ms == pytest.approx(-800 / np.log(0.4), rel=1e-7)
    assert np.isnan(fit.residual_sd)
    assert np.isnan(fit.t1_sd_ms)


@pytest.mark.parametrize("efficiency", [1.0, 0.9])
def test_two_parameters_with_known_inversion(rng: np.random.Generator, efficiency: float) -> None:
    times = np.array([50.0, 300, 800, 1500, 3000, np.inf])
    t1 = rng.uniform(200, 2500, 200)
    signal = 5 * (1 - 2 * efficiency * np.exp(-times / t1[:, None]))
    fit = fit_inversion_recovery(np.abs(signal), times, look_locker=False, efficiency=efficiency)
    assert np.allclose(fit.t1_ms, t1, rtol=1e-6)
    assert np.allclose(fit.a, 5, rtol=1e-6)
    assert np.allclose(fit.b, 10 * efficiency, rtol=1e-6)
    assert np.array_equal(fit.n_inverted, (signal < 0).sum(axis=1))


@pytest.mark.parametrize("efficiency", [None, 1.0, 0.95])
def test_saturation_recovery_with_anchor_is_exact(rng: np.random.Generator, efficiency: float | None) -> None:
    times = np.array([np.inf, 100.0, 180, 260, 340, 420, 500, 580, 660, 740])
    t1 = rng.uniform(200, 2500, 300)
    true = 0.97 if efficiency is None else efficiency
    fit = fit_saturation_recovery(40 * (1 - true * np.exp(-times / t1[:, None])), times, efficiency=efficiency)
    assert (fit.status == FitStatus.OK).all()
    assert np.allclose(fit.t1_ms, t1, rtol=1e-6)
    assert np.allclose(fit.m0, 40, rtol=1e-6)
    assert np.allclose(fit.efficiency, true, rtol=1e-6)


def test_two_unknowns_are_more_certain_than_three(rng: np.random.Generator) -> None:
    times = np.array([np.inf, 100.0, 180, 260, 340, 420, 500, 580, 660, 740])
    signal = 1 - np.exp(-times / 1200) + rng.normal(0, 0.01, (2000, 10))
    three, two = fit_saturation_recovery(signal, times), fit_saturation_recovery(signal, times, efficiency=1.0)
    for fit in (three, two):
        assert np.std(fit.t1_ms) == pytest.approx(np.sqrt(np.mean(fit.t1_sd_ms**2)), rel=0.06)
    assert np.std(two.t1_ms) < 0.8 * np.std(three.t1_ms)


def test_short_t2_star_and_the_noise_floor(rng: np.random.Generator) -> None:
    """At T2* = 5 ms and 17 noise SDs at time 0, magnitudes alone read 12 % too long, truncated or subtracted ones less."""
    times = np.array([2.0, 4, 6, 8, 10, 14, 18, 22])
    noise = rng.normal(0, 0.06, (4000, 8)) + 1j * rng.normal(0, 0.06, (4000, 8))
    signal = np.abs(np.exp(-times / 5.0) + noise)
    plain = fit_decay(signal, times)
    truncated = fit_decay(signal, times, noise_sd=0.06, noise_floor="truncate")
    subtracted = fit_decay(signal, times, noise_sd=0.06, noise_floor="subtract")
    bias = [float(np.nanmedian(fit.t_ms)) / 5 - 1 for fit in (plain, truncated, subtracted)]
    assert bias[0] > 0.09
    assert abs(bias[1]) < 0.04
    assert abs(bias[2]) < bias[0]
    assert 3 <= np.median(truncated.n_samples) < 8
    assert (plain.n_samples == 8).all()


def test_noise_floor_leaves_strong_signals_alone() -> None:
    times = np.array([0.0, 25, 55])
    signal = 100 * np.exp(-times / np.array([[45.0], [60.0]]))
    fit = fit_decay(signal, times, noise_sd=0.5, noise_floor="truncate")
    assert np.allclose(fit.t_ms, [45, 60], rtol=1e-6)
    nothing = fit_decay(signal, times, noise_sd=90.0, noise_floor="truncate")
    assert (nothing.status == FitStatus.TOO_FEW_SAMPLES).all()
    assert np.isnan(nothing.t_ms).all()


def test_phase_restores_the_sign(rng: np.random.Generator) -> None:
    signal = recovery(rng.uniform(300, 2000, (6, 7)), MOLLI_MS)
    order = rng.permutation(8)
    phase = np.exp(1j * rng.uniform(-np.pi, np.pi, (6, 7, 1)))
    assert np.allclose(restore_sign((signal * phase)[..., order], MOLLI_MS[order]), signal[..., order])
    with pytest.raises(MeasurementFailed, match="only complex images"):
        restore_sign(np.abs(signal), MOLLI_MS)
    with pytest.raises(MeasurementFailed, match="one time a sample"):
        restore_sign(signal * phase, MOLLI_MS[:3])


def test_phase_beats_magnitudes_near_the_null(rng: np.random.Generator) -> None:
    clean = recovery(np.full(1500, 1500.0), MOLLI_MS)
    noisy = clean + 0.05 * (rng.standard_normal(clean.shape) + 1j * rng.standard_normal(clean.shape))
    signed = fit_inversion_recovery(restore_sign(noisy, MOLLI_MS), MOLLI_MS, signed=True)
    lost = fit_inversion_recovery(np.abs(noisy), MOLLI_MS, polarities="all")
    assert np.nanmedian(np.abs(signed.t1_ms - 1500)) < 0.8 * np.nanmedian(np.abs(lost.t1_ms - 1500))


@pytest.mark.parametrize("offset", [False, True])
def test_noise_free_decay_is_exact(rng: np.random.Generator, offset: bool) -> None:
    t2 = rng.uniform(20, 300, 400)
    level = 7.0 if offset else 0.0
    fit = fit_decay(100 * np.exp(-T2_MS / t2[:, None]) + level, T2_MS, offset=offset)
    assert (fit.status == FitStatus.OK).all()
    assert np.allclose(fit.t_ms, t2, rtol=1e-5)
    assert np.allclose(fit.amplitude, 100, rtol=1e-5)
    assert np.allclose(fit.offset, level, atol=1e-3)


def test_two_times_give_the_logarithm_of_their_ratio() -> None:
    assert fit_decay(np.array([100.0, 60.0]), [10.0, 40.0]).t_ms == pytest.approx(30 / np.log(100 / 60), rel=1e-8)


def test_stated_uncertainty_is_the_scatter(rng: np.random.Generator) -> None:
    """Over many noise draws the estimates scatter as the fit says (signed, so that no polarity is lost)."""
    signal = recovery(np.full(4000, 1200.0), MOLLI_MS) + rng.normal(0, 0.01, (4000, 8))
    fit = fit_inversion_recovery(signal, MOLLI_MS, signed=True)
    assert np.std(fit.t1_ms) == pytest.approx(np.sqrt(np.mean(fit.t1_sd_ms**2)), rel=0.05)
    assert np.sqrt(np.mean(fit.residual_sd**2)) == pytest.approx(0.01, rel=0.03)
    for offset in (False, True):
        times = np.array([0.0, 20, 40, 60, 80, 100])
        decay = fit_decay(np.exp(-times / 50) + rng.normal(0, 0.003, (4000, 6)), times, offset=offset)
        assert np.std(decay.t_ms) == pytest.approx(np.sqrt(np.mean(decay.t_sd_ms**2)), rel=0.06)


# --- oracles ---------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")  # scipy's own overflows on the wrong polarities
def test_scipy_over_all_polarities_finds_the_same(rng: np.random.Generator) -> None:
    def model(t: np.ndarray, t_star: float, a: float, b: float) -> np.ndarray:
        return a - b * np.exp(-t / t_star)

    t1 = rng.uniform(500, 1900, 25)
    signal = np.abs(recovery(t1, MOLLI_MS) + rng.normal(0, 1 / 60, (25, 8)))
    fit = fit_inversion_recovery(signal, MOLLI_MS)
    for pixel, samples in enumerate(signal):
        best = (np.inf, np.zeros(3))
        for n in range(9):
            y = np.where(np.arange(8) < n, -samples, samples)
            for start in (300.0, 1000.0, 2000.0):
                try:
                    found, _ = curve_fit(model, MOLLI_MS, y, p0=(start, 1, 2), maxfev=2000)
                except RuntimeError:
                    continue
                cost = float(np.sum((model(MOLLI_MS, *found) - y) ** 2))
                if cost < best[0] and found[0] > 0 and found[2] > found[1] > 0:
                    best = (cost, found)
        t_star, a, b = best[1]
        assert fit.t1_ms[pixel] == pytest.approx(t_star * (b / a - 1), rel=1e-4)


def test_scipy_covariance_is_the_same() -> None:
    y = np.array([-0.61, -0.43, 0.41, 0.44, 0.72, 0.74, 0.89, 0.94])
    fit = fit_inversion_recovery(y, MOLLI_MS, signed=True, look_locker=False)
    _, covariance = curve_fit(lambda t, T, a, b: a - b * np.exp(-t / T), MOLLI_MS, y, p0=(1000, 1, 2))
    assert fit.t1_sd_ms == pytest.approx(np.sqrt(covariance[0, 0]), rel=1e-4)


def test_noise_free_reference(shared_data: Path) -> None:
    data = np.load(shared_data / "reference/t1_fit_noise_free.npz")
    fit = fit_inversion_recovery(data["T1_5_3__y"], data["T1_5_3__TI"])
    expected = data["T1_5_3__scipy_T1_Tstar_A_B_npol"]
    assert np.allclose(fit.t1_ms, expected[..., 0], rtol=1e-6)
    assert np.allclose(fit.t1_ms, data["T1_5_3__T1_true"], rtol=1e-6)
    assert np.allclose(fit.t1_star_ms, expected[..., 1], rtol=1e-6)
    assert np.array_equal(fit.n_inverted, expected[..., 4])


@pytest.mark.parametrize("name", ["T1_blood", "T1_myocardium"])
def test_measured_curves_of_tomato(shared_data: Path, name: str) -> None:
    """Single pixels with the [A, B, T1*] that the tomato package expects, to 1 % (T1_ice repeats the myocardium's)."""
    curve = yaml.safe_load((shared_data / f"t1_phantom/{name}.yaml").read_text())
    expected = curve["resultsMolli"]
    signs = np.array(curve["signs"])
    fit = fit_inversion_recovery(
        signs * np.array(curve["signalMag"]), curve["invTimes"], signed=True, look_locker=False
    )
    got = np.array([fit.a, fit.b, fit.t1_ms])
    assert np.allclose(got, expected, rtol=0.01), (got, expected)


@pytest.mark.parametrize(
    ("name", "offset"),
    [
        ("T2_blood", True),
        ("T2_myocardium", True),
        ("T2_blood_3samples", False),
    ],
)
def test_decays_of_tomato(shared_data: Path, name: str, offset: bool) -> None:
    curve = yaml.safe_load((shared_data / f"t1_phantom/{name}.yaml").read_text())
    fit = fit_decay(np.array(curve["signalMag"], float), curve["echoTimes"], offset=offset)
    assert fit.t_ms == pytest.approx(curve["resultsThreeParam"][2], rel=0.01)
    assert fit.amplitude == pytest.approx(curve["resultsThreeParam"][1], rel=0.01)


@pytest.mark.parametrize("times_ms", [[100.0, 400, 900, 1600, 3000]])
@pytest.mark.parametrize("efficiency", [None, 1.0])
def test_scipy_fits_recoveries_alike(times_ms: list[float], efficiency: float | None, rng: np.random.Generator) -> None:
    times = np.array(times_ms)

    def model(t: np.ndarray, t1: float, m0: float, c: float = 1.0) -> np.ndarray:
        return m0 * (1 - c * np.exp(-t / t1))

    for y in 1 - np.exp(-times / 1100) + rng.normal(0, 0.02, (5, 5)):
        start = (1000.0, 1.0, 1.0) if efficiency is None else (1000.0, 1.0)
        found, covariance = curve_fit(model, times, y, p0=start)
        fit = fit_saturation_recovery(y, times, efficiency=efficiency)
        assert fit.t1_ms == pytest.approx(found[0], rel=1e-4)
        assert fit.m0 == pytest.approx(found[1], rel=1e-4)
        assert fit.t1_sd_ms == pytest.approx(np.sqrt(covariance[0, 0]), rel=1e-3)


@pytest.mark.parametrize("offset", [False, True])
def test_scipy_fits_decays_alike(offset: bool, rng: np.random.Generator) -> None:
    times = np.array([0.0, 10, 20, 35, 50, 80])

    def model(t: np.ndarray, t2: float, a: float, c: float = 0.0) -> np.ndarray:
        return a * np.exp(-t / t2) + c

    for y in np.exp(-times / 45) + 0.1 + rng.normal(0, 0.01, (5, 6)):
        found, covariance = curve_fit(model, times, y, p0=(40.0, 1.0, 0.1) if offset else (40.0, 1.0))
        fit = fit_decay(y, times, offset=offset)
        assert fit.t_ms == pytest.approx(found[0], rel=1e-4)
        assert fit.t_sd_ms == pytest.approx(np.sqrt(covariance[0, 0]), rel=1e-3)


def test_saturation_recovery_of_tomato(shared_data: Path) -> None:
    """M0, T1 (and B) that the tomato package expects; its late image at 10 s is an ordinary sample."""
    curve = yaml.safe_load((shared_data / "t1_phantom/T1_saturation_recovery.yaml").read_text())
    signal, times = np.array(curve["signalMag"], float), curve["invTimes"]
    three, two = fit_saturation_recovery(signal, times), fit_saturation_recovery(signal, times, efficiency=1.0)
    assert three.t1_ms == pytest.approx(curve["resultsThreeParam"][2], rel=1e-3)
    assert three.m0 == pytest.approx(curve["resultsThreeParam"][0], rel=1e-3)
    assert two.t1_ms == pytest.approx(curve["resultsTwoParam"][1], rel=1e-3)


@pytest.mark.parametrize("polarities", ["near", "all"])
def test_torch_runs_the_same_fit(rng: np.random.Generator, polarities: Literal["near", "all"]) -> None:
    signal = np.abs(recovery(rng.uniform(300, 2000, (20, 20)), MOLLI_MS) + rng.normal(0, 0.03, (20, 20, 8)))
    signal[0, 0] = 0
    one = fit_inversion_recovery(signal, MOLLI_MS, polarities=polarities)
    other = fit_inversion_recovery(signal, MOLLI_MS, polarities=polarities, device="cpu")
    assert np.array_equal(one.status, other.status)
    assert np.array_equal(one.n_inverted, other.n_inverted)
    for name in ("t1_ms", "t1_star_ms", "a", "b", "residual_sd", "t1_sd_ms", "r2"):
        assert np.allclose(getattr(one, name), getattr(other, name), rtol=1e-6, equal_nan=True), name


def test_torch_runs_the_same_decay(rng: np.random.Generator) -> None:
    times = np.array([2.0, 4, 6, 8, 10, 14, 18, 22])
    signal = np.abs(np.exp(-times / rng.uniform(4, 40, (300, 1))) + rng.normal(0, 0.03, (300, 8)))
    for floor in (None, "truncate", "subtract"):
        one = fit_decay(signal, times, noise_sd=0.03, noise_floor=floor)
        other = fit_decay(signal, times, noise_sd=0.03, noise_floor=floor, device="cpu")
        assert np.array_equal(one.n_samples, other.n_samples)
        assert np.allclose(one.t_ms, other.t_ms, rtol=1e-6, equal_nan=True)
    saturated = 1 - np.exp(-100 * times / 1200)
    assert fit_saturation_recovery(saturated, 100 * times, device="cpu").t1_ms == pytest.approx(1200, rel=1e-6)


# --- contract --------------------------------------------------------------------------------------------------------


def test_failed_pixels_are_nan_with_a_status() -> None:
    good = np.abs(recovery(np.array(1000.0), MOLLI_MS))
    signal = np.stack([good, np.zeros(8), np.full(8, 3.0), np.where(np.arange(8) == 2, np.nan, good), MOLLI_MS])
    fit = fit_inversion_recovery(signal, MOLLI_MS, signed=False)
    assert fit.status[:4].tolist() == [FitStatus.OK, FitStatus.NO_SIGNAL, FitStatus.NO_SIGNAL, FitStatus.NOT_FINITE]
    assert fit.status[4] in (FitStatus.AT_BOUND, FitStatus.IMPLAUSIBLE)
    assert np.isfinite(fit.t1_ms[0])
    for values in (fit.t1_ms, fit.t1_star_ms, fit.a, fit.b, fit.residual_sd, fit.t1_sd_ms):
        assert np.isnan(values[1:]).all()


def test_decay_that_grows_fails() -> None:
    fit = fit_decay(np.array([[1.0, 2.0, 3.0, 4.0], [0.0] * 4, [4.0, 3.0, 2.0, 1.0], [2.0] * 4]), T2_MS)
    assert fit.status[[0, 3]].tolist() == [FitStatus.AT_BOUND] * 2
    assert fit.status[1:3].tolist() == [FitStatus.NO_SIGNAL, FitStatus.OK]
    assert np.isnan(fit.t_ms[[0, 1, 3]]).all()


@pytest.mark.parametrize(
    ("signal", "times", "match"),
    [
        (np.ones((4, 3)), [1.0, 2.0], "one time a sample"),
        (np.ones((4, 2)), [100.0, 200.0], "3 or more different times"),
        (np.ones((4, 3)), [100.0, 100.0, 300.0], "3 or more different times"),
        (np.ones((4, 3)), [100.0, np.nan, 300.0], "3 or more different times"),
        (np.ones((4, 3), complex), [100.0, 200.0, 300.0], "real signals"),
    ],
)
def test_wrong_calls_say_what_is_expected(signal: np.ndarray, times: list[float], match: str) -> None:
    with pytest.raises(MeasurementFailed, match=match):
        fit_inversion_recovery(signal, times)


def test_options_that_contradict_one_another() -> None:
    with pytest.raises(MeasurementFailed, match="look_locker=False"):
        fit_inversion_recovery(np.ones(8), MOLLI_MS, efficiency=1.0)
    with pytest.raises(MeasurementFailed, match="needs noise_sd above 0, got None"):
        fit_decay(np.ones(4), T2_MS, noise_floor="truncate")
    with pytest.raises(MeasurementFailed, match="no sample at infinite time"):
        fit_decay(np.ones(3), [0.0, 30.0, np.inf])
    with pytest.raises(MeasurementFailed, match="3 or more different times"):
        fit_saturation_recovery(np.ones(3), [100.0, 100.0, np.inf])


def test_nothing_to_fit_gives_nothing() -> None:
    assert fit_inversion_recovery(np.ones((0, 8)), MOLLI_MS).t1_ms.shape == (0,)
    assert fit_decay(np.ones((3, 0, 4)), T2_MS).t_ms.shape == (3, 0)


def test_offset_needs_four_times() -> None:
    with pytest.raises(MeasurementFailed, match="4 or more different times"):
        fit_decay(np.ones((2, 3)), [0.0, 35.0, 55.0], offset=True)
