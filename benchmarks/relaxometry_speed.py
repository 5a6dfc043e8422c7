"""How long does a T1 map take, against scipy's curve_fit pixel by pixel, and is the residual the same?

    python benchmarks/relaxometry_speed.py --out benchmarks/relaxometry_speed.json

Seconds of wall time depend on other work (the load is recorded), processor seconds do not.

A map of 128 x 128 pixels with 11 inversion times, magnitudes at several noise levels. curve_fit tries all 12 polarities
of a pixel and keeps the best; it is timed on a sample of pixels, and the time for the map is extrapolated from them.
With `--device cuda` the torch path is timed as well.
"""

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from run_facts import run_facts  # noqa: E402
from scipy.optimize import curve_fit  # noqa: E402

from phenotyping.relaxometry import FitStatus, InversionRecoveryFit, fit_inversion_recovery  # noqa: E402

TIMES_MS = np.array([100.0, 180, 260, 1000, 1080, 1160, 1900, 1980, 2060, 2800, 3700])
MATRIX = 128
SNRS = (20.0, 60.0, 200.0)
SAMPLE = 60
REPEATS = 5


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("relaxometry_speed.json"))
    parser.add_argument("--device", default=None, help="a torch device to time as well, such as cuda")
    arguments = parser.parse_args()
    rng = np.random.default_rng(1)
    levels = [measure(snr, rng, device=arguments.device) for snr in SNRS]
    facts = run_facts("benchmarks/relaxometry_speed.py")
    load = {"load_average_1_min": load_average()}
    protocol = {
        "matrix": MATRIX,
        "times_ms": TIMES_MS.tolist(),
        "curve_fit_pixels": SAMPLE,
        "curve_fit_extrapolated": True,
        "repeats": REPEATS,
    }
    report = {**facts, **load, "protocol": protocol, "levels": levels}
    arguments.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(levels, indent=1))


def measure(snr: float, rng: np.random.Generator, *, device: str | None) -> dict[str, Any]:
    """Both ways on one noise level."""
    t1 = rng.uniform(400, 1900, (MATRIX, MATRIX))
    clean = 1 - 1.9 * np.exp(-TIMES_MS * 0.9 / t1[..., None])
    signal = np.abs(clean + rng.normal(0, 1 / snr, clean.shape))
    near, fit = timed(lambda: fit_inversion_recovery(signal, TIMES_MS))
    every, all_fit = timed(lambda: fit_inversion_recovery(signal, TIMES_MS, polarities="all"))
    pixels = rng.choice(MATRIX**2, SAMPLE, replace=False)
    flat = signal.reshape(-1, TIMES_MS.size)
    begin, begin_cpu = time.perf_counter(), time.process_time()
    slow = np.array([all_polarities(flat[pixel]) for pixel in pixels])
    seconds, cpu = (
        (end - start) / SAMPLE * MATRIX**2
        for end, start in ((time.perf_counter(), begin), (time.process_time(), begin_cpu))
    )
    result = {
        "snr": snr,
        "four_polarities": near,
        "all_polarities": every,
        "curve_fit_all_polarities_extrapolated": {"wall_s": seconds, "cpu_s": cpu},
        "times_faster_four": {"wall": seconds / near["wall_s"], "cpu": cpu / near["cpu_s"]},
        "times_faster_all": {"wall": seconds / every["wall_s"], "cpu": cpu / every["cpu_s"]},
        "four": agreement(fit, pixels, slow, t1),
        "all": agreement(all_fit, pixels, slow, t1),
    }
    if device is not None:
        moved, _ = timed(lambda: fit_inversion_recovery(signal, TIMES_MS, polarities="all", device=device))
        result[f"all_polarities_{device}"] = moved
    return result


def timed(run: Callable[[], InversionRecoveryFit]) -> tuple[dict[str, float], InversionRecoveryFit]:
    """Median seconds, of the clock and of the processor, of some runs after a first one; and the result."""
    found = run()
    wall, cpu = [], []
    for _ in range(REPEATS):
        begin, begin_cpu = time.perf_counter(), time.process_time()
        run()
        wall.append(time.perf_counter() - begin)
        cpu.append(time.process_time() - begin_cpu)
    return {"wall_s": float(np.median(wall)), "cpu_s": float(np.median(cpu))}, found


def all_polarities(samples: NDArray[np.float64]) -> tuple[float, float]:
    """(T1, residual sum of squares) of the best of all polarities that is a recovery, by Levenberg-Marquardt."""
    best = (np.nan, np.inf)
    for count in range(samples.size + 1):
        y = np.where(np.arange(samples.size) < count, -samples, samples)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                (t_star, a, b), _ = curve_fit(recovery, TIMES_MS, y, p0=(1000.0, 1.0, 2.0), maxfev=2000)
        except RuntimeError:
            continue
        rss = float(np.sum((recovery(TIMES_MS, t_star, a, b) - y) ** 2))
        if rss < best[1] and t_star > 0 and b > a > 0:
            best = (t_star * (b / a - 1), rss)
    return best


def recovery(t: NDArray[np.float64], t_star: float, a: float, b: float) -> NDArray[np.float64]:
    """Signed Look-Locker signal."""
    with np.errstate(all="ignore"):
        return np.asarray(a - b * np.exp(-t / t_star))


def agreement(
    fit: InversionRecoveryFit, pixels: NDArray[np.int64], slow: NDArray[np.float64], t1: NDArray[np.float64]
) -> dict[str, Any]:
    """Residuals and T1 against curve_fit on the sampled pixels, and against the truth on all."""
    rss = fit.residual_sd.ravel()[pixels] ** 2 * (TIMES_MS.size - 3)
    value = fit.t1_ms.ravel()[pixels]
    with np.errstate(invalid="ignore"):
        excess = rss / slow[:, 1] - 1
    return {
        "largest_excess_of_residual": float(np.nanmax(excess)),
        "largest_saving_of_residual": float(-np.nanmin(excess)),
        "largest_relative_t1_difference": float(np.nanmax(np.abs(value / slow[:, 0] - 1))),
        "pixels_with_t1_within_1e-4": int(np.sum(np.abs(value / slow[:, 0] - 1) < 1e-4)),
        "pixels_compared": int(np.isfinite(value / slow[:, 0]).sum()),
        "failed_of_all_pixels": int(np.sum(fit.status != FitStatus.OK)),
        "median_relative_error": float(np.nanmedian(np.abs(fit.t1_ms / t1 - 1))),
    }


def load_average() -> float | None:
    """Other work on the machine while timing."""
    try:
        return float(Path("/proc/loadavg").read_text(encoding="utf-8").split()[0])
    except OSError:
        return None


if __name__ == "__main__":
    main()
