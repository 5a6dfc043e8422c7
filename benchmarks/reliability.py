"""Does the reliability score order scans by their true error? Fits it on other patients (--fit), then tests it.

    python benchmarks/reliability.py --acdc DIR [--fit] [--weights FILE] [--out FILE]

Fit: the five ACDC patients of the training split that only watched the training, and new phantoms. Test: the 20 held ACDC
patients and other new phantoms, of which nothing entered the fit. Half of the cases are spoiled on purpose (motion between
lines, spikes, dead coils, wrong calibration) or show a contrast that no training image has; noise, coils, pixels and masks
are drawn. True error: log10 NMSE against the fully sampled image without the fault, of the whole frame and of the heart.
Rank correlations with intervals from resampled patients, over all and within each mask and acceleration; risk-coverage
curves. Writes reliability.json and reliability.png.
"""

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from reliability_cases import ARMS, FAULTS, OTHER_ARMS, Case, Subject, acdc_subject, cases_of, phantom_subject  # noqa: E402
from run_facts import run_facts  # noqa: E402

from cohort.acdc import split  # noqa: E402
from flows.train import training_and_monitor_patients  # noqa: E402
from recon.cardiomm.checkpoint import SHIPPED_WEIGHTS, weights_sha256  # noqa: E402
from recon.held_back import held_back_points  # noqa: E402
from recon.metrics import heart_scores, official_scores  # noqa: E402
from recon.predicted_kspace import predicted_kspace  # noqa: E402
from recon.reliability import held_back_features  # noqa: E402
from recon.reliability_model import (  # noqa: E402
    SHIPPED_MODELS,
    ReliabilityModel,
    fit_reliability,
    load_reliability_model,
    save_reliability_models,
)
from stats.rank_correlation import spearman  # noqa: E402
from stats.risk_coverage import RiskCoverage, risk_coverage  # noqa: E402

METHODS = ("cardiomm", "sense")
FIT_SEED, TEST_SEED, BOOTSTRAP_SEED, N_RESAMPLES = 71_001, 72_001, 7, 500
FIT_PHANTOMS, TEST_PHANTOMS, N_OTHER_ARMS = 8, 4, 1
FEATURES = (
    "residual",
    "residual_low",
    "residual_high",
    "residual_to_noise",
    "estimated_nmse",
    "worst_coil",
    "tail",
    "misfit_calibration",
    "misfit_outer",
    "noise",
    "acceleration",
    "change",
    "change_center",
    "misfit_tail",
    "weakest_coil",
)
LIMIT_OF_LOG_NMSE = -1.5
SENSITIVITY = 0.9
COVERAGES = (0.5, 0.7, 0.8, 0.9, 1.0)
Row = dict[str, Any]


def fitting_subjects(acdc: Path, rng: np.random.Generator) -> list[Subject]:
    """Patients that watched the training, and phantoms; none is tested on."""
    watched = [acdc_subject(acdc, name, rng=rng) for name in training_and_monitor_patients()[1]]
    return watched + [phantom_subject(i, seed=FIT_SEED) for i in range(FIT_PHANTOMS)]


def test_subjects(acdc: Path, rng: np.random.Generator) -> list[Subject]:
    """The held patients, and other phantoms."""
    held = [acdc_subject(acdc, name, rng=rng) for name in split()["validation"]]
    return held + [phantom_subject(i, seed=TEST_SEED) for i in range(TEST_PHANTOMS)]


def fitting_cases(subject: Subject, rng: np.random.Generator) -> list[Case]:
    """The four arms of the test and another one; more sound cases of the few patients."""
    others = tuple(OTHER_ARMS[i] for i in rng.choice(len(OTHER_ARMS), N_OTHER_ARMS, replace=False))
    n_sound = 2 if subject.source == "ACDC" else 1
    return list(cases_of(subject, arms=ARMS + others, n_sound=n_sound, n_spoiled=1, rng=rng))


def test_cases(subject: Subject, rng: np.random.Generator) -> list[Case]:
    """One sound and one spoiled case in each arm."""
    return list(cases_of(subject, arms=ARMS, n_sound=1, n_spoiled=1, rng=rng))


def measure(case: Case, *, methods: tuple[str, ...], weights: Path | None, rng: np.random.Generator) -> list[Row]:
    """Features and true errors of one case, a row a method."""
    kspace, reference = case.kspace[:, 0], case.reference[:, 0]
    held = held_back_points(case.mask, rng=rng, n_calibration=case.metadata["n_calibration"])
    rows = []
    for method in methods:
        options = {"method": method, "metadata": case.metadata, "device": "cpu", "weights": weights}
        image, _ = predicted_kspace(kspace, case.mask, **options)
        features = held_back_features(kspace, case.mask, held, image=image, **options)
        scores, heart = official_scores(reference, image), heart_scores(reference, image, region=case.heart)
        known = {name: getattr(case, name) for name in ("subject", "source", "arm", "fault", "snr")}
        errors = {"log_nmse": float(np.log10(scores["nmse"])), "log_nmse_heart": float(np.log10(heart["nmse"]))}
        rows.append({**known, "method": method, **errors, "psnr": scores["psnr"], "features": features})
    return rows


def collect(
    subjects: list[Subject], cases: Any, *, methods: tuple[str, ...], weights: Path | None, seed: int, file: Path | None
) -> list[Row]:
    """Rows of all cases of all subjects; what ``file`` already holds is not computed again."""
    rows: list[Row] = json.loads(file.read_text(encoding="utf-8")) if file is not None and file.is_file() else []
    done = {row["subject"] for row in rows}
    for number, subject in enumerate(subjects):
        if subject.name in done:
            continue
        start, rng = time.perf_counter(), np.random.default_rng((seed, number))
        for case in cases(subject, rng):
            rows += measure(case, methods=methods, weights=weights, rng=rng)
        if file is not None:
            file.write_text(json.dumps(rows), encoding="utf-8")
        print(f"{subject.name}: {len(rows)} rows, {time.perf_counter() - start:.1f} s", flush=True)
    return rows


def fit(rows: list[Row], method: str, *, weights: Path | None) -> ReliabilityModel:
    """The score of one method."""
    mine = [row for row in rows if row["method"] == method]
    return fit_reliability(
        [row["features"] for row in mine],
        [row["log_nmse"] for row in mine],
        [row["subject"] for row in mine],
        features=FEATURES,
        limit_of_error=LIMIT_OF_LOG_NMSE,
        sensitivity=SENSITIVITY,
        name=f"{method}, fitted on {len({row['subject'] for row in mine})} patients",
        notes={
            "cases": dict(Counter(row["source"] for row in mine)),
            "faults": dict(Counter(row["fault"] for row in mine)),
            "arms": dict(Counter(row["arm"] for row in mine)),
            "reconstruction_weights_sha256": weights_sha256(weights or SHIPPED_WEIGHTS) if method == "cardiomm" else "",
            "target": "log10 NMSE of the whole frame, official definition",
        },
    )


def judge(rows: list[Row], model: ReliabilityModel) -> dict[str, Any]:
    """All numbers of one method on the test."""
    score = np.array([model.predict(row["features"]) for row in rows])
    flagged = np.array([bool(model.objections(row["features"])) for row in rows])
    sound = np.array([row["fault"] == "none" for row in rows])
    error = np.array([row["log_nmse"] for row in rows])
    unreliable = error > LIMIT_OF_LOG_NMSE
    # what a single feature orders as well as the fit does needs no fit
    single = {name: np.array([row["features"][name] for row in rows]) for name in ("residual", "estimated_nmse")}
    result: dict[str, Any] = {"n_cases": len(rows), "n_patients": len({row["subject"] for row in rows})}
    for target in ("log_nmse", "log_nmse_heart"):
        result[f"spearman_{target}"] = correlations(rows, score, target)
        result[f"spearman_{target}_sound_only"] = correlations(
            [r for r, s in zip(rows, sound, strict=True) if s], score[sound], target
        )
    result["spearman_of_single_features"] = {
        name: correlations(rows, values, "log_nmse") for name, values in single.items()
    }
    residual = error - score
    result["calibration"] = {
        "mean_error_of_log10_nmse": float(residual.mean()),
        "rms_error_of_log10_nmse": float(np.sqrt((residual**2).mean())),
        "sd_of_log10_nmse": float(error.std()),
    }
    result["flags"] = {
        "unreliable": int(unreliable.sum()),
        "caught": int((flagged & unreliable).sum()),
        "sensitivity": float(flagged[unreliable].mean()) if unreliable.any() else None,
        "specificity": float((~flagged[~unreliable]).mean()) if not unreliable.all() else None,
        "flagged_by_fault": {
            fault: [int(flagged[i].sum()), int(i.sum())]
            for fault in ("none", *FAULTS)
            if (i := np.array([row["fault"] == fault for row in rows])).any()
        },
        "unreliable_by_fault": {
            fault: int(unreliable[np.array([row["fault"] == fault for row in rows])].sum())
            for fault in ("none", *FAULTS)
        },
    }
    result["risk_coverage"] = {"all": curve_numbers(curve(rows, score))}
    for arm in dict.fromkeys(row["arm"] for row in rows):
        inside = np.array([row["arm"] == arm for row in rows])
        members = [row for row in rows if row["arm"] == arm]
        result["risk_coverage"][arm] = curve_numbers(curve(members, score[inside]))
    return result


def correlations(rows: list[Row], score: np.ndarray, target: str) -> dict[str, list[float]]:
    """Spearman [estimate, low, high]: over all, within arms, and in each arm."""
    error = np.array([row[target] for row in rows])
    subjects, arms = [row["subject"] for row in rows], [row["arm"] for row in rows]
    found = {}

    def add(name: str, inside: np.ndarray, strata: list[str] | None) -> None:
        interval = spearman(
            score[inside],
            error[inside],
            subjects=[s for s, i in zip(subjects, inside, strict=True) if i],
            strata=strata,
            rng=np.random.default_rng(BOOTSTRAP_SEED),
            n_resamples=N_RESAMPLES,
        )
        found[name] = [round(value, 3) for value in (interval.estimate, interval.low, interval.high)]

    everything = np.ones(len(rows), bool)
    add("pooled", everything, None)
    add("within_arms", everything, arms)
    for arm in dict.fromkeys(arms):
        add(arm, np.array([a == arm for a in arms]), None)
    for source in dict.fromkeys(row["source"] for row in rows):
        inside = np.array([row["source"] == source for row in rows])
        add(f"within_arms_{source}", inside, [a for a, i in zip(arms, inside, strict=True) if i])
    return found


def curve(rows: list[Row], score: np.ndarray) -> RiskCoverage:
    """Risk is the mean NMSE."""
    return risk_coverage([10 ** row["log_nmse"] for row in rows], score)


def curve_numbers(found: RiskCoverage) -> dict[str, Any]:
    """Areas and the mean NMSE of what is kept."""
    areas = {"area": found.area, "oracle_area": found.oracle_area, "random": found.random, "gain": found.gain}
    kept = {f"{coverage:g}": round(found.at(coverage), 5) for coverage in COVERAGES}
    return {name: round(value, 5) for name, value in areas.items()} | {"n": found.n, "mean_nmse_kept": kept}


def draw(rows: list[Row], models: dict[str, ReliabilityModel], path: Path) -> None:
    """Score against error, and the risk-coverage curves of each method."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(len(models), 2, figsize=(10, 4.2 * len(models)), squeeze=False, layout="constrained")
    for (method, model), (left, right) in zip(models.items(), panels, strict=True):
        mine = [row for row in rows if row["method"] == method]
        score = np.array([model.predict(row["features"]) for row in mine])
        error = np.array([row["log_nmse"] for row in mine])
        for arm in dict.fromkeys(row["arm"] for row in mine):
            for sound, marker in ((True, "o"), (False, "x")):
                i = np.array([row["arm"] == arm and (row["fault"] == "none") == sound for row in mine])
                color = f"C{[f'{p}{a}' for p, a in ARMS].index(arm)}"
                left.plot(score[i], error[i], marker, color=color, ms=4, label=arm if sound else None)
        ends = [min(score.min(), error.min()), max(score.max(), error.max())]
        left.plot(ends, ends, color="0.6", lw=0.8)
        left.axvline(model.limit, color="0.6", ls=":")
        left.axhline(LIMIT_OF_LOG_NMSE, color="0.6", ls=":")
        left.set(xlabel="score: expected log10 NMSE", ylabel="true log10 NMSE", title=f"{method} (o sound, x spoiled)")
        left.legend(fontsize=8)
        found = curve(mine, score)
        right.plot(found.coverage, found.risk, label=f"score, AURC {found.area:.4f}")
        right.plot(found.coverage, found.oracle, "--", label=f"oracle, AURC {found.oracle_area:.4f}")
        right.axhline(found.random, color="0.5", ls=":", label=f"random, {found.random:.4f}")
        right.set(xlabel="share of cases kept", ylabel="mean NMSE of kept cases", title=f"{method}: risk and coverage")
        right.legend(fontsize=8)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Fit if asked, test, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--acdc", type=Path, required=True)
    parser.add_argument("--weights", type=Path, help="CardioMM checkpoint; without it the shipped one")
    parser.add_argument("--fit", action="store_true", help="fit the scores anew and write them, then stop")
    parser.add_argument("--model", type=Path, default=SHIPPED_MODELS)
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument(
        "--rows", type=Path, help="file of the cases' features and errors, from which an interrupted run goes on"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    methods = tuple(options.methods)
    start = time.perf_counter()
    seed = FIT_SEED if options.fit else TEST_SEED
    subjects = (fitting_subjects if options.fit else test_subjects)(options.acdc, np.random.default_rng(seed))
    cases = fitting_cases if options.fit else test_cases
    rows = collect(subjects, cases, methods=methods, weights=options.weights, seed=seed, file=options.rows)
    if options.fit:
        models = {method: fit(rows, method, weights=options.weights) for method in methods}
        save_reliability_models(options.model, models)
        print(json.dumps({method: model.notes for method, model in models.items()}, indent=1))
        return
    models = {method: load_reliability_model(method, options.model) for method in methods}
    of_method = {method: [row for row in rows if row["method"] == method] for method in methods}
    result = {
        "methods": {method: judge(of_method[method], model) for method, model in models.items()},
        "limit_of_log10_nmse": LIMIT_OF_LOG_NMSE,
        "weights_sha256": weights_sha256(options.weights or SHIPPED_WEIGHTS),
        "seconds": round(time.perf_counter() - start),
        **run_facts("benchmarks/reliability.py"),
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    draw(rows, models, options.out.with_suffix(".png"))
    for method in methods:
        print(method, json.dumps(result["methods"][method], indent=1))


if __name__ == "__main__":
    main()
