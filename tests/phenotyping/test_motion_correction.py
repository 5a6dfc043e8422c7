"""Is known motion found and taken back, and does a heart at rest stay at rest?"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from cohort.records import MeasurementFailed
from phenotyping.motion_correction import MotionOptions, correct_motion
from phenotyping.motion_rigid import inversion_efficiency
from phenotyping.relaxometry import fit_decay, fit_inversion_recovery

TIMES_MS = np.array([100.0, 180, 1000, 1080, 1900, 1980, 2900, 3800])
T2_MS = np.array([0.0, 25, 40, 55])
N, PIXEL = 72, (2.0, 2.0)
RIGID = MotionOptions(deformable=False)
Y, X = np.mgrid[:N, :N] - (N - 1) / 2
HEART = (np.hypot(Y, X) < 18) | (np.hypot(Y, X + 20) < 12)
WALL = (np.hypot(Y, X) < 15) & (np.hypot(Y, X) > 12.5)


def tissue(shift: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """T1, T2 and density on a grid three times finer: LV, wall and RV in lung, moved by (y, x) pixels and scaled."""
    axis = (np.arange(3 * N) - (3 * N - 1) / 2) / 3
    y, x = axis[:, None] - shift[0], axis - shift[1]
    t1, t2, density = np.full((3 * N, 3 * N), 1100.0), np.full((3 * N, 3 * N), 40.0), np.full((3 * N, 3 * N), 0.3)
    for inside, values in (
        (np.hypot(y, x + 20) < 12 * scale, (1800.0, 200.0, 1.0)),
        (np.hypot(y, x) < 17 * scale, (1200.0, 48.0, 0.9)),
        (np.hypot(y, x) < 11 * scale, (1800.0, 200.0, 1.0)),
    ):
        for array, value in zip((t1, t2, density), values, strict=True):
            array[inside] = value
    return t1, t2, density


def acquired(curve: str, shifts: np.ndarray, scales: np.ndarray, *, snr: float, rng: np.random.Generator) -> np.ndarray:
    images = []
    for time, shift, scale in zip(TIMES_MS if curve == "recovery" else T2_MS, shifts, scales, strict=True):
        t1, t2, density = tissue(shift, scale)
        signal = density * (1 - 1.9 * np.exp(-0.9 * time / t1) if curve == "recovery" else np.exp(-time / t2))
        images.append(signal.reshape(N, 3, N, 3).mean(axis=(1, 3)))
    return np.abs(np.stack(images) + rng.normal(0, 1 / snr, (len(images), N, N)))


def wall_t1(series: np.ndarray) -> np.ndarray:
    return fit_inversion_recovery(np.moveaxis(series, 0, -1)[WALL], TIMES_MS).t1_ms


# --- laws ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [RIGID, MotionOptions()], ids=["rigid", "deformable"])
def test_heart_at_rest_stays_at_rest(rng: np.random.Generator, options: MotionOptions) -> None:
    series = acquired("recovery", np.zeros((8, 2)), np.ones(8), snr=40, rng=rng)
    found = correct_motion(series, TIMES_MS, curve="recovery", region=HEART, spacing_mm=PIXEL, options=options)
    assert not found.kept
    assert "needed is a fall by 5 %" in found.reason
    assert np.array_equal(found.series, series)
    assert np.nanmedian(wall_t1(found.series)) == pytest.approx(np.nanmedian(wall_t1(series)), rel=0.005)
    assert np.abs(found.shift_mm).max() < 0.5


def test_same_input_same_output(rng: np.random.Generator) -> None:
    series = acquired("recovery", rng.uniform(-2, 2, (8, 2)), np.ones(8), snr=40, rng=rng)
    options = MotionOptions(deformable_rounds=1)
    arguments = {"curve": "recovery", "region": HEART, "spacing_mm": PIXEL, "options": options}
    one, other = (correct_motion(series, TIMES_MS, **arguments) for _ in range(2))  # type: ignore[arg-type]
    assert one.kept
    assert np.array_equal(one.series, other.series)


@pytest.mark.parametrize("ratio", [1.7, 2.0, 2.45])
def test_one_ratio_for_all_pixels(rng: np.random.Generator, ratio: float) -> None:
    signal = np.abs(1 - ratio * np.exp(-TIMES_MS / rng.uniform(400, 1800, (300, 1))) + rng.normal(0, 0.01, (300, 8)))
    assert 2 * inversion_efficiency(signal, TIMES_MS) == pytest.approx(ratio, rel=0.02)


# --- closed form: known motion -----------------------------------------------------------------------------------


@pytest.mark.parametrize("largest_px", [1.5, 4.0])
def test_known_shifts_are_found_within_half_a_pixel(rng: np.random.Generator, largest_px: float) -> None:
    shifts = rng.uniform(-largest_px, largest_px, (8, 2))
    series = acquired("recovery", shifts, np.ones(8), snr=40, rng=rng)
    found = correct_motion(series, TIMES_MS, curve="recovery", region=HEART, spacing_mm=PIXEL, options=RIGID)
    assert found.kept
    assert np.abs(found.shift_mm / 2 - (shifts - shifts.mean(axis=0))).max() < 0.5
    assert found.residual_after < 0.9 * found.residual_before
    before, after = wall_t1(series), wall_t1(found.series)
    assert abs(np.nanmedian(after) - 1200) < 20
    assert np.nanstd(after) < np.nanstd(before)
    length = 2 * np.linalg.norm(shifts - shifts.mean(axis=0), axis=1)
    assert found.displacement_mean_mm == pytest.approx(length.mean(), abs=0.8)
    assert found.displacement_mean_mm <= found.displacement_p95_mm <= found.displacement_max_mm


def test_known_shifts_of_a_decay(rng: np.random.Generator) -> None:
    shifts = rng.uniform(-2, 2, (4, 2))
    series = acquired("decay", shifts, np.ones(4), snr=50, rng=rng)
    found = correct_motion(series, T2_MS, curve="decay", region=HEART, spacing_mm=PIXEL, options=RIGID)
    assert found.kept
    assert np.abs(found.shift_mm / 2 - (shifts - shifts.mean(axis=0))).max() < 0.5
    t2 = fit_decay(np.moveaxis(found.series, 0, -1)[WALL], T2_MS).t_ms
    assert np.nanmedian(t2) == pytest.approx(48, rel=0.03)


def test_deformation_takes_back_what_rigid_motion_cannot(rng: np.random.Generator) -> None:
    scales = np.array([0.91, 1.08, 1.0, 1.1, 0.9, 1.05, 0.93, 1.0])
    series = acquired("recovery", np.zeros((8, 2)), scales, snr=50, rng=rng)
    rigid, bent = (
        correct_motion(series, TIMES_MS, curve="recovery", region=HEART, spacing_mm=PIXEL, options=options)
        for options in (RIGID, MotionOptions())
    )
    assert bent.kept
    assert bent.deformed
    assert not rigid.deformed
    assert bent.residual_after < 0.5 * rigid.residual_after
    rim = (np.hypot(Y, X) < 16) & (np.hypot(Y, X) > 12)
    error = [
        np.nanpercentile(np.abs(fit_inversion_recovery(np.moveaxis(values, 0, -1)[rim], TIMES_MS).t1_ms - 1200), 75)
        for values in (series, bent.series)
    ]
    assert error[1] < error[0]
    assert np.nanmedian(wall_t1(bent.series)) == pytest.approx(1200, rel=0.01)


# --- contract --------------------------------------------------------------------------------------------------------


def test_threads_do_not_disturb_each_other(rng: np.random.Generator) -> None:
    """Scans are measured in threads; an optimizer with shared state gave other transforms there."""
    series = [
        acquired("decay", rng.normal(0, 0.4, (4, 2)), 1 + rng.uniform(-0.12, 0.12, 4), snr=60, rng=rng)
        for _ in range(2)
    ]

    def corrected(images: np.ndarray) -> np.ndarray:
        return correct_motion(images, T2_MS, curve="decay", region=HEART, spacing_mm=PIXEL).series

    alone = [corrected(images) for images in series]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(corrected, series * 2))
    assert all(np.array_equal(one, other) for one, other in zip(together, alone * 2, strict=True))


def test_wrong_calls_say_what_is_expected() -> None:
    series = np.ones((8, N, N))
    with pytest.raises(MeasurementFailed, match="leaves no residual"):
        correct_motion(series[:3], TIMES_MS[:3], curve="recovery", region=HEART, spacing_mm=PIXEL)
    with pytest.raises(MeasurementFailed, match="expected images"):
        correct_motion(series, TIMES_MS[:3], curve="recovery", region=HEART, spacing_mm=PIXEL)
    with pytest.raises(MeasurementFailed, match="50 pixels or more"):
        correct_motion(series, TIMES_MS, curve="recovery", region=HEART & (X > 16), spacing_mm=PIXEL)
    with pytest.raises(MeasurementFailed, match="takes magnitudes"):
        correct_motion(series.astype(complex), TIMES_MS, curve="recovery", region=HEART, spacing_mm=PIXEL)
