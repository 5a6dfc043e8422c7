"""Do the fits find the relaxation times that made the signal, and do they agree with scipy and published fits?"""

from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import curve_fit

from cohort.records import MeasurementFailed
from phenotyping.relaxometry import FitStatus, fit_decay, fit_inversion_recovery

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


def test_offset_needs_four_times() -> None:
    with pytest.raises(MeasurementFailed, match="4 or more different times"):
        fit_decay(np.ones((2, 3)), [0.0, 35.0, 55.0], offset=True)
