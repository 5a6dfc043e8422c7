"""What would the measurements of a very large study look like? A drawn table, for timing the analysis and the report.

    python benchmarks/report_cohort.py            # times the analysis of 1 500 patients, and its memory

Volumes, mass, walls and relaxation times of each patient are drawn by disease, those of an accelerated arm are the fully
sampled ones with an error that grows with acceleration and differs between methods and centers. Some measurements fail.
Nothing here is evidence about a method.
"""

import argparse
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

METHODS = ("zero_filled", "sense", "cardiomm", "compressed_sensing")
RUNGS = (
    ("Uniform", 4.0),
    ("Uniform", 8.0),
    ("ktGaussian", 16.0),
    ("ktRadial", 24.0),
    ("ktUniform", 4.0),
    ("ktUniform", 8.0),
)
SCANNERS = (("Siemens", 1.5), ("Siemens", 3.0), ("UIH", 3.0), ("GE", 1.5), ("Philips", 3.0))
# mean and SD of end-diastolic volume, ejection fraction (%), mass and maximum wall thickness
HEARTS = {
    "normal": ((150, 28), (60, 5), (95, 20), (9.5, 1.2)),
    "dilated": ((260, 45), (28, 7), (150, 28), (9.0, 1.3)),
    "hypertrophic": ((140, 25), (66, 6), (180, 35), (19.0, 3.0)),
    "infarct": ((190, 36), (38, 7), (115, 22), (10.0, 1.6)),
    "unknown": ((165, 40), (55, 10), (110, 28), (10.5, 2.2)),
}
SHARES = (0.35, 0.2, 0.2, 0.15, 0.1)
# SD of the error at 8x with the best method, in the unit of the phenotype
ERRORS = {
    "lv_edv_ml": 3.0,
    "lv_esv_ml": 2.5,
    "lv_mass_g": 3.5,
    "rv_edv_ml": 4.0,
    "rv_esv_ml": 4.0,
    "max_wall_thickness_mm": 0.45,
    "mean_wall_thickness_mm": 0.25,
    "t1_ms": 11.0,
    "t2_ms": 0.9,
}
UNITS = {
    "lv_edv_ml": "mL", "lv_esv_ml": "mL", "lv_sv_ml": "mL", "lv_ef_percent": "%", "lv_co_l_min": "L/min",
    "lv_mass_g": "g", "rv_edv_ml": "mL", "rv_esv_ml": "mL", "rv_sv_ml": "mL", "rv_ef_percent": "%",
    "max_wall_thickness_mm": "mm", "mean_wall_thickness_mm": "mm", "t1_ms": "ms", "t2_ms": "ms",
    "psnr_db": "dB", "ssim": "", "nmse": "", "dice_lv": "", "dice_myocardium": "", "dice_rv": "",
}  # fmt: skip
MODALITY = {"t1_ms": ("T1 mapping", "T1map"), "t2_ms": ("T2 mapping", "T2map")}
Values = dict[str, NDArray[np.float64]]


def large_table(
    n_patients: int = 1500,
    n_centers: int = 13,
    methods: int = 3,
    accelerations: int = 4,
    *,
    seed: int = 20251221,
    failed: float = 0.01,
    quality: bool = True,
) -> pd.DataFrame:
    """Measurements as in measurements.parquet, with the patients' sex as one column more.

    Parameters
    ----------
    n_patients, n_centers
        Patients are dealt out over the centers unevenly, the first ones being the largest.
    methods, accelerations
        At most 4 and 6.
    seed
        The same seed gives the same table.
    failed
        Share of scans of an accelerated arm whose measurements fail; three times that at the highest acceleration.
    quality
        With image quality and overlap.
    """
    if not (1 <= methods <= len(METHODS) and 1 <= accelerations <= len(RUNGS)):
        raise ValueError(
            f"at most {len(METHODS)} methods and {len(RUNGS)} accelerations, got {methods}, {accelerations}"
        )
    rng = np.random.default_rng(seed)
    people = _people(n_patients, n_centers, rng)
    reference = _reference(people, rng)
    parts = _rows(people, reference, ("fully_sampled", "none", 1.0), np.zeros(n_patients, bool))
    effect = rng.normal(0.0, 0.25, (n_centers, len(ERRORS)))
    for m, method in enumerate(METHODS[:methods]):
        factor = (2.2, 1.6, 1.0, 1.3)[m]
        for pattern, acceleration in RUNGS[:accelerations]:
            scale = factor * np.log2(acceleration) / 3.0
            values = _accelerated(reference, people["center_index"].to_numpy(), effect, scale, rng)
            if quality:
                values |= _quality(n_patients, scale, rng)
            share = failed * (3 if acceleration == max(a for _, a in RUNGS[:accelerations]) else 1)
            parts += _rows(people, values, (method, pattern, acceleration), rng.random(n_patients) < share)
    return pd.concat(parts, ignore_index=True)


def _people(n: int, n_centers: int, rng: np.random.Generator) -> pd.DataFrame:
    weight = 1 / np.arange(2, n_centers + 2)
    index = np.sort(rng.choice(n_centers, size=n, p=weight / weight.sum()))
    scanner = [SCANNERS[c % len(SCANNERS)] for c in index]
    return pd.DataFrame(
        {
            "center_index": index,
            "center": [f"Center{c + 1:03d}" for c in index],
            "vendor": [vendor for vendor, _ in scanner],
            "field_t": [field for _, field in scanner],
            "patient": [f"P{i + 1:04d}" for i in range(n)],
            "disease": rng.choice(list(HEARTS), size=n, p=SHARES),
            "sex": rng.choice(["female", "male"], size=n, p=[0.45, 0.55]),
            "rate": np.clip(rng.normal(70, 10, n), 45, 110),
        }
    )


def _reference(people: pd.DataFrame, rng: np.random.Generator) -> Values:
    n = len(people)
    table = np.array([[HEARTS[d][k] for k in range(4)] for d in people["disease"]], dtype=np.float64)
    drawn = table[:, :, 0] + table[:, :, 1] * np.clip(rng.standard_normal((n, 4)), -2.3, 2.3)
    edv, ef = np.maximum(drawn[:, 0], 70.0), np.clip(drawn[:, 1], 12, 82)
    stroke = edv * ef / 100
    rv_edv = np.maximum(stroke / np.clip(rng.normal(0.55, 0.05, n), 0.35, 0.7), 90.0)
    field = people["field_t"].to_numpy()
    base = {
        "lv_edv_ml": edv,
        "lv_esv_ml": edv - stroke,
        "lv_mass_g": drawn[:, 2],
        "rv_edv_ml": rv_edv,
        "rv_esv_ml": rv_edv - stroke,
        "max_wall_thickness_mm": drawn[:, 3],
        "mean_wall_thickness_mm": 0.8 * drawn[:, 3],
        "t1_ms": np.where(field > 2, 1200.0, 1000.0) + rng.normal(0, 35, n),
        "t2_ms": np.where(field > 2, 40.0, 50.0) + rng.normal(0, 2, n),
    }
    return _derived(base, people["rate"].to_numpy())


def _derived(base: Values, rate: NDArray[np.float64]) -> Values:
    left, right = base["lv_edv_ml"] - base["lv_esv_ml"], base["rv_edv_ml"] - base["rv_esv_ml"]
    return base | {
        "lv_sv_ml": left,
        "lv_ef_percent": 100 * left / base["lv_edv_ml"],
        "lv_co_l_min": left * rate / 1000,
        "rv_sv_ml": right,
        "rv_ef_percent": 100 * right / base["rv_edv_ml"],
        "rate": rate,
    }


def _accelerated(
    reference: Values,
    center: NDArray[np.intp],
    effect: NDArray[np.float64],
    scale: float,
    rng: np.random.Generator,
) -> Values:
    base = {}
    for k, (name, sd) in enumerate(ERRORS.items()):
        error = rng.standard_normal(center.size) + 0.2 + effect[center, k]
        base[name] = reference[name] + sd * scale * error
    return _derived(base, reference["rate"])


def _quality(n: int, scale: float, rng: np.random.Generator) -> Values:
    nmse = 0.02 * scale * np.exp(rng.normal(0, 0.3, n))
    overlap = {
        name: 1 - 0.03 * scale * np.exp(rng.normal(0, 0.4, n)) for name in ("dice_lv", "dice_myocardium", "dice_rv")
    }
    return {"psnr_db": 24 - 10 * np.log10(nmse), "ssim": 1 - 3 * nmse, "nmse": nmse} | overlap


def _rows(
    people: pd.DataFrame, values: Values, arm: tuple[str, str, float], lost: NDArray[np.bool_]
) -> list[pd.DataFrame]:
    method, pattern, acceleration = arm
    parts = []
    for name, value in values.items():
        if name == "rate":
            continue
        modality, scan = MODALITY.get(name, ("cine", "cine_sax"))
        here = people.loc[:, ["center", "vendor", "field_t", "disease", "patient", "sex"]].assign(
            study="large", scan=scan, modality=modality, method=method, pattern=pattern, acceleration=acceleration,
            effective_acceleration=1.0 if acceleration == 1 else 0.7 * acceleration + 0.5, phenotype=name,
            unit=UNITS[name], value=np.where(lost, np.nan, value), status=np.where(lost, "failed", "ok"),
            reason=np.where(lost, "no left ventricle found", ""), geometry="stated",
        )  # fmt: skip
        parts.append(here)
    return parts


def main() -> None:
    """Time the analysis once and say what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patients", type=int, default=1500)
    parser.add_argument("--centers", type=int, default=13)
    parser.add_argument("--profile", action="store_true", help="print the functions that take most")
    parser.add_argument("--results", type=Path, help="also write results.json here")
    options = parser.parse_args()
    from flows.analysis import analyse
    from flows.margins import load_margins

    table = large_table(options.patients, options.centers)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    def timed() -> tuple[dict[str, Any], float]:
        started = time.process_time()
        return analyse(table, margins=load_margins()), time.process_time() - started

    if options.profile:
        import cProfile
        import pstats

        with cProfile.Profile() as profile:
            results, seconds = timed()
        pstats.Stats(profile).sort_stats("cumulative").print_stats(45)
    else:
        results, seconds = timed()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{len(table)} rows, {len(results['agreement'])} comparisons: {seconds:.1f} s of one core")
    print(f"memory {before:.0f} MiB before the analysis, {peak:.0f} MiB at its peak")
    if options.results:
        options.results.write_text(json.dumps(results, allow_nan=False))


if __name__ == "__main__":
    main()
