"""How long do the statistics of a large study take, against a plain loop, and are the numbers the same?

    python benchmarks/statistics_speed.py --threads 1 2 --out benchmarks/statistics_speed.json

1 500 patients of 13 centers, 11 phenotypes x 6 accelerations, 10 000 draws: bias, SD, both limits of agreement and the
share within a margin, BCa with Monte-Carlo errors, for all patients together (centers, then patients) and once more for
each center alone. The plain loop resamples the same draws one by one with numpy on each column; it is timed on some draws
and extrapolated. The trend is the mixed model over the 6 accelerations, against statsmodels' MixedLM of the same model.
Writes JSON and, beside it, a table.
"""

import argparse
import json
import resource
import sys
import time
import warnings
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import scipy.stats as scipy_stats  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from run_facts import run_facts  # noqa: E402
from threadpoolctl import threadpool_limits  # noqa: E402

from stats.clustered_bootstrap import bootstrap_agreement, draw_counts, resampled_statistics  # noqa: E402
from stats.mixed import trend_over_acceleration  # noqa: E402

PATIENTS, CENTERS, PHENOTYPES, DRAWS = 1500, 13, 11, 10_000
LADDER = np.array([4.0, 8.0, 12.0, 16.0, 20.0, 24.0])
MARGIN, FAILED = 2.0, 0.02
PLAIN_DRAWS, REPEATS = 20, 3

Timing = dict[str, float]


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("statistics_speed.json"))
    parser.add_argument("--threads", type=int, nargs="+", default=[1], help="BLAS threads to measure with")
    arguments = parser.parse_args()
    differences, home = study(np.random.default_rng(1))
    names = [f"center {c:02d}" for c in home]
    load = load_average()
    bootstraps = []
    for threads in arguments.threads:
        with threadpool_limits(limits=threads):
            bootstraps.append(measure_bootstrap(differences, names, home, threads))
    report = {
        **run_facts("benchmarks/statistics_speed.py"),
        "statsmodels": metadata.version("statsmodels"),
        "load_average_1_min": load,
        "protocol": {
            "patients": PATIENTS, "centers": CENTERS, "phenotypes": PHENOTYPES, "accelerations": LADDER.tolist(),
            "draws": DRAWS, "failed_share": FAILED, "plain_loop_draws": PLAIN_DRAWS, "repeats": REPEATS,
        },
        "bootstrap": bootstraps,
        "trend": measure_trend(differences, home),
        "peak_memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }  # fmt: skip
    arguments.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    arguments.out.with_suffix(".md").write_text(page(report), encoding="utf-8")
    print(page(report))


def study(rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Differences (patients, phenotypes x accelerations) that grow and spread with the acceleration, and centers."""
    home = rng.integers(0, CENTERS, PATIENTS)
    x = np.log2(LADDER)
    shape = (PATIENTS, PHENOTYPES, 1)
    own = 0.1 + 0.05 * rng.normal(size=(CENTERS, PHENOTYPES, 1))[home] + 0.2 * rng.normal(size=shape)
    values = 0.5 * rng.normal(size=shape) + own * x + 0.2 * x * rng.normal(size=(PATIENTS, PHENOTYPES, x.size))
    values[rng.random(values.shape) < FAILED] = np.nan
    return values.reshape(PATIENTS, -1), home


def measure_bootstrap(
    differences: NDArray[np.float64], names: list[str], home: NDArray[np.int64], threads: int
) -> dict[str, Any]:
    """All patients, then every center alone, then the plain loop on some of the same draws."""
    together = timed(lambda: bootstrap_agreement(differences, names, rng=np.random.default_rng(2), margin=MARGIN))
    label = np.array(names)

    def alone() -> None:
        for name in np.unique(label):
            rows = label == name
            bootstrap_agreement(differences[rows], list(label[rows]), rng=np.random.default_rng(3), margin=MARGIN)

    each = timed(alone)
    counts = draw_counts(home, DRAWS, scheme="centers then patients", rng=np.random.default_rng(2))
    z = float(scipy_stats.norm.ppf(0.975))
    margin = np.full(differences.shape[1], MARGIN)
    only = timed(lambda: resampled_statistics(differences, margin, counts, z=z))
    fast = resampled_statistics(differences, margin, counts[:PLAIN_DRAWS], z=z)
    begin, begin_cpu = time.perf_counter(), time.process_time()
    slow = np.stack([plain_draw(differences, count, z) for count in counts[:PLAIN_DRAWS]], axis=1)
    scale = DRAWS / PLAIN_DRAWS
    plain = {"wall_s": (time.perf_counter() - begin) * scale, "cpu_s": (time.process_time() - begin_cpu) * scale}
    return {
        "threads": threads,
        "all_patients_together": together,
        "each_center_alone": each,
        "resampled_statistics_only": only,
        "plain_loop_extrapolated": plain,
        "times_faster_than_plain_loop": plain["wall_s"] / only["wall_s"],
        "largest_difference_to_plain_loop": float(np.max(np.abs(fast - slow))),
    }


def plain_draw(differences: NDArray[np.float64], count: NDArray[np.uint16], z: float) -> NDArray[np.float64]:
    """One resample, written out and reduced column by column, (5, C)."""
    sample = np.repeat(differences, count, axis=0)
    result = np.empty((5, differences.shape[1]))
    for j in range(differences.shape[1]):
        values = sample[:, j]
        values = values[~np.isnan(values)]
        bias, sd = values.mean(), values.std(ddof=1)
        result[:, j] = bias, sd, bias - z * sd, bias + z * sd, np.mean(np.abs(values) < MARGIN)
    return result


def measure_trend(differences: NDArray[np.float64], home: NDArray[np.int64]) -> dict[str, Any]:
    """Trend of one phenotype, with and by statsmodels, on the slopes that both estimate."""
    from statsmodels.regression.mixed_linear_model import MixedLM

    from stats.random_lines import random_lines

    y = differences[:, : LADDER.size].ravel()
    acceleration, patient, center = np.tile(LADDER, PATIENTS), np.repeat(np.arange(PATIENTS), LADDER.size), home
    center = np.repeat(center, LADDER.size)
    ours = timed(lambda: trend_over_acceleration(y, acceleration, patient, center))
    kept = ~np.isnan(y)
    y, x, patient, center = y[kept], np.log2(acceleration[kept]), patient[kept], center[kept]
    dummies = (center[:, None] == np.arange(CENTERS)).astype(np.float64)
    model = MixedLM(
        y,
        np.hstack([dummies, dummies * x[:, None]]),
        groups=patient,
        exog_re=np.column_stack([np.ones(x.size), x]),
    )
    begin, begin_cpu = time.perf_counter(), time.process_time()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        other = model.fit(reml=True)
    seconds = {"wall_s": time.perf_counter() - begin, "cpu_s": time.process_time() - begin_cpu}
    fit = random_lines(y, x, patient, center)
    slopes, errors = other.fe_params[CENTERS:], other.bse_fe[CENTERS:]
    return {
        "with_growth_of_size": ours,
        "statsmodels_without_growth_of_size": seconds,
        "times_faster": seconds["wall_s"] / ours["wall_s"],
        "statsmodels_converged": bool(other.converged),
        "statsmodels_warnings": len(caught),
        "deviance": fit.deviance,
        "deviance_statsmodels": float(-2 * other.llf),
        "largest_slope_difference_in_errors": float(np.max(np.abs(slopes - fit.slope) / errors)),
        "largest_relative_error_difference": float(np.max(np.abs(errors / np.sqrt(fit.slope_variance) - 1))),
    }


def timed(run: Callable[[], object]) -> Timing:
    """Median seconds, of the clock and of the processor, over some runs."""
    wall, cpu = [], []
    for _ in range(REPEATS):
        begin, begin_cpu = time.perf_counter(), time.process_time()
        run()
        wall.append(time.perf_counter() - begin)
        cpu.append(time.process_time() - begin_cpu)
    return {"wall_s": float(np.median(wall)), "cpu_s": float(np.median(cpu))}


def page(report: dict[str, Any]) -> str:
    """The table, as Markdown."""
    lines = [
        "# Speed of the statistics of a large study\n",
        f"{PATIENTS} patients of {CENTERS} centers, {PHENOTYPES} phenotypes x {LADDER.size} accelerations, {DRAWS} draws:"
        " bias, SD, limits of agreement and share within a margin, BCa with Monte-Carlo errors.",
        "Seconds of the clock; the plain loop does the resampled statistics only and is extrapolated from"
        f" {PLAIN_DRAWS} draws.\n",
        "| BLAS threads | all patients | each of 13 centers alone | resampled statistics only | plain loop | ratio | largest difference |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in report["bootstrap"]:
        times = [row[k]["wall_s"] for k in ("all_patients_together", "each_center_alone", "resampled_statistics_only")]
        lines.append(
            f"| {row['threads']} | {' | '.join(f'{t:.2f}' for t in times)} | {row['plain_loop_extrapolated']['wall_s']:.0f}"
            f" | {row['times_faster_than_plain_loop']:.0f} | {row['largest_difference_to_plain_loop']:.1e} |"
        )
    trend = report["trend"]
    lines += [
        "\nTrend over acceleration of one phenotype (mixed model, with the growth of the size), against MixedLM of"
        f" statsmodels {report['statsmodels']}:\n",
        "| ours | statsmodels | ratio | -2 restricted log-likelihood, ours | statsmodels | largest difference of slopes, in standard errors |",
        "|---|---|---|---|---|---|",
        f"| {trend['with_growth_of_size']['wall_s']:.2f} | {trend['statsmodels_without_growth_of_size']['wall_s']:.2f} | "
        f"{trend['times_faster']:.0f} | {trend['deviance']:.4f} | {trend['deviance_statsmodels']:.4f} | "
        f"{trend['largest_slope_difference_in_errors']:.1e} |",
        f"\nPeak memory {report['peak_memory_gib']:.2f} GiB. Load of the machine before: {report['load_average_1_min']}."
        f" `{report['command']}`, commit {report['commit'][:12]}, {report['machine']}, {report['versions']}.",
    ]
    return "\n".join(lines) + "\n"


def load_average() -> float | None:
    """Other work on the machine while timing."""
    try:
        return float(Path("/proc/loadavg").read_text(encoding="utf-8").split()[0])
    except OSError:
        return None


if __name__ == "__main__":
    main()
