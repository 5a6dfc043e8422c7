"""A fake study by the schema of results.json: 4 centers x 5 patients, failures, pictures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.reports.fake_statements import add_statements, interval

NAMES = {"zero_filled": "Zero-filled", "sense": "SENSE", "cardiomm": "CardioMM"}
METHODS = ("zero_filled", "sense", "cardiomm")
STEPS = (("Uniform", 4.0, 3.1), ("ktGaussian", 8.0, 5.0), ("ktRadial", 16.0, 9.4))
CENTERS = (
    ("Center001", "UIH", 3.0),
    ("Center002", "Siemens", 1.5),
    ("Center003", "GE", 5.0),
    ("Center004", "Philips", 0.55),
)
DISEASES = ("normal", "dilated", "hypertrophic", "infarct", "RV overload")
# phenotype: (mean, SD of patients, margin of the bias, margin of the limits, unit)
PHENOTYPES = {
    "lv_edv_ml": (150, 30, 8, 20, "mL"),
    "lv_ef_percent": (55, 8, 3, 8, "%"),
    "t1_ms": (1150, 80, 15, 45, "ms"),
}
SPREAD = {"zero_filled": 1.6, "sense": 0.6, "cardiomm": 0.25}
T_975_19, K_OUTER = (
    2.093,
    2.75,
)  # Student's t; factor of the outer exact limit for n = 20, both rounded: the numbers are decoration here


def agreement_row(
    phenotype: str, arm: str, against: str, pairs: list[dict[str, Any]], attempted: int
) -> dict[str, Any]:
    """One entry of ``agreement``; its statistics are only roughly right."""
    margin, wide = PHENOTYPES[phenotype][2:4]
    d = np.array([p["test"] - p["reference"] for p in pairs])
    n, bias, sd = len(d), float(d.mean()), float(d.std(ddof=1))
    half, se = T_975_19 * sd / n**0.5, sd / n**0.5
    equivalent, inside = abs(bias) + 1.73 * se < margin, abs(bias) + K_OUTER * sd < wide
    verdict = "shown" if equivalent and inside else "bias only" if equivalent else "not shown"
    return {
        "phenotype": phenotype,
        "arm": arm,
        "against": against,
        "attempted": attempted,
        "n": n,
        "failed": attempted - n,
        "bias": interval(bias, half),
        "sd": sd,
        "lower_limit": interval(bias - 1.96 * sd, 0.4 * sd),
        "upper_limit": interval(bias + 1.96 * sd, 0.4 * sd),
        "tost": {
            "p_lower": 0.0004,
            "p_upper": 0.012,
            "p": 0.012,
            "low": bias - se,
            "high": bias + se,
            "equivalent": equivalent,
            "margin": margin,
        },
        "icc": interval(0.93, 0.04),
        "limits_within_margin": inside,
        "verdict": verdict,
        "reason": f"bias {bias:.2f} against ±{margin}",
        "pairs": pairs,
    }


def gallery(folder: Path, rng: np.random.Generator, arms: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rings with noise: a heart at ED and ES, and a T1 map, for every arm."""
    (folder / "gallery").mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[:96, :110]
    entries = []
    for phase, radius in (("ED", 14.0), ("ES", 9.0), ("map", 13.0)):
        r, right = np.hypot(y - 48, x - 60), np.hypot(y - 46, (x - 38) / 0.7)
        labels = np.select([r < radius, r < 22, right < 16], [1, 2, 3], 0).astype(np.uint8)
        levels = (300, 1500, 1150, 1500) if phase == "map" else (0.2, 1.0, 0.45, 0.95)
        reference = np.choose(labels, levels).astype(np.float32) * (1 + 0.15 * np.sin(x / 3) * np.cos(y / 4))
        for arm in arms:
            noise = 0.06 * SPREAD[arm["method"]] * arm["acceleration"] ** 0.5 * levels[1]
            image = (
                reference
                + noise * rng.standard_normal(reference.shape) * 0.5
                + noise * np.roll(reference, 30, axis=0) / levels[1]
            )
            path = f"gallery/{phase}_{arm['arm']}.npz"
            np.savez_compressed(
                folder / path,
                reference=reference,
                image=image.astype(np.float32),
                labels_reference=labels,
                labels_image=np.roll(labels, int(SPREAD[arm["method"]] * 2), axis=1),
                spacing_mm=np.array([8.0, 1.6, 1.6]),
            )
            entries.append(
                {
                    "path": path,
                    "center": "Center001",
                    "patient": "P001",
                    "modality": "T1map" if phase == "map" else "Cine",
                    "phase": phase,
                    "slice": 3,
                }
                | {k: arm[k] for k in ("arm", "method", "pattern", "acceleration")}
            )
    return entries


def described(arms: list[dict[str, Any]]) -> dict[str, Any]:
    """Tissue values with published ranges (one scanner has none), quality control, and segments of the wall."""
    names = ["fully_sampled", *(a["arm"] for a in arms)]
    tissue = [
        {"phenotype": p, "center": c, "vendor": v, "scanner": "Model", "field_t": f, "arm": arm, "unit": "ms"}
        | {"n": 4, "attempted": 5, "mean": 1000 + 100 * f, "sd": 33.3, "median": 1001 + 100 * f}
        for p in ("t1_ms", "septal_t1_ms")
        for c, v, f in CENTERS
        for arm in names
    ]
    study = {"phenotype": "t1_ms", "field_t": 3.0, "sequence": "MOLLI", "scheme": "3(3)3(3)5", "vendor": "Philips"}
    study |= {
        "mean": 1052,
        "sd": 23,
        "unit": "ms",
        "n": 102,
        "source": "Dabir et al. 2014, doi 10.1186/s12968-014-0069-x",
    }
    ranges = [
        {"phenotype": p, "field_t": f, "sequence": "MOLLI"}
        | {"values": [study | {"low": 1007.0, "high": 1097.0}] if f == 3.0 else []}
        | {"reason": "" if f == 3.0 else f"no verified normal values of T1 at {f:g} T"}
        for p in ("t1_ms", "septal_t1_ms")
        for _, _, f in CENTERS
    ]
    checks = [
        {"check": check, "arm": arm, "pass": 18 - i, "warn": i, "fail": 1}
        for check in ("closed ring", "one part")
        for i, arm in enumerate(names)
    ]
    failed = {"center": "Center001", "patient": "P003", "scan": "cine_sax", "check": "closed ring"}
    segments = [
        {"quantity": "wall_thickness_mean", "unit": "mm", "arm": arm, "segment": segment, "sd": 0.5, "n": 20}
        | ({"mean": 6 + 0.25 * segment} if arm == "fully_sampled" else {"difference": 0.05 * (segment - 8)})
        for arm in names
        for segment in range(1, 17)
    ]
    return {
        "tissue_values": tissue,
        "normal_ranges": ranges,
        "quality_control": {
            "arms": [{"arm": arm, "judged": 19, "not_judged": 1} for arm in names],
            "checks": checks,
            "failed": [failed | {"arm": names[1], "reason": "frame 0 slice 3: border without myocardium"}],
        },
        "segments": segments,
    }


def fake_results(
    folder: Path, *, methods: tuple[str, ...] = METHODS, phenotypes: tuple[str, ...] = tuple(PHENOTYPES)
) -> dict[str, Any]:
    """A complete results dict of schema 2; writes the gallery into ``folder``."""
    rng = np.random.default_rng(7)
    arms = [
        {
            "arm": f"{m}_{p}{a:g}",
            "method": m,
            "pattern": p,
            "acceleration": a,
            "effective_acceleration": {"mean": e, "min": e - 0.3, "max": e + 0.4},
            "label": "",
        }
        for m in methods
        for p, a, e in STEPS
    ]
    for arm in arms:
        arm["label"] = f"{NAMES[arm['method']]} {arm['acceleration']:g}× {arm['pattern']}"
    patients = [(c[0], f"P{i:03d}", DISEASES[i - 1]) for c in CENTERS for i in range(1, 6)]
    agreement, by_center = [], []
    for name in phenotypes:
        mean, sd, margin = PHENOTYPES[name][:3]
        truth = mean + sd * rng.standard_normal(len(patients))
        full = truth + 0.3 * margin * rng.standard_normal(len(patients)) + 0.2 * margin
        whole = [
            {"center": c, "patient": p, "disease": d, "reference": float(t), "test": float(f)}
            for (c, p, d), t, f in zip(patients, truth, full, strict=True)
        ]
        agreement.append(agreement_row(name, "fully_sampled", "truth", whole, len(patients)))
        for arm in arms:
            spread = SPREAD[arm["method"]] * arm["acceleration"] ** 0.5 * margin * 0.35
            test = full - 0.5 * spread + spread * rng.standard_normal(len(patients))
            for against, reference in (("fully_sampled", full), ("truth", truth)):
                pairs = [
                    {"center": c, "patient": p, "disease": d, "reference": float(a), "test": float(b)}
                    for (c, p, d), a, b in zip(patients, reference, test, strict=True)
                ][1:]
                agreement.append(agreement_row(name, arm["arm"], against, pairs, len(patients)))
                for center, *_ in CENTERS:
                    d = np.array([p["test"] - p["reference"] for p in pairs if p["center"] == center])
                    half = 2.776 * float(d.std(ddof=1)) / len(d) ** 0.5
                    by_center.append(
                        {
                            "phenotype": name,
                            "arm": arm["arm"],
                            "against": against,
                            "center": center,
                            "n": len(d),
                            "bias": interval(float(d.mean()), half),
                            "lower_limit": None,
                            "upper_limit": None,
                        }
                    )
    quality = [
        {
            "arm": a["arm"],
            "modality": modality,
            "metric": metric,
            "mean": best / (1 + SPREAD[a["method"]] * a["acceleration"] / 20),
            "sd": best / 30,
            "n": 19,
            "low": best / (1 + SPREAD[a["method"]] * a["acceleration"] / 20) - best / 60,
            "high": best / (1 + SPREAD[a["method"]] * a["acceleration"] / 20) + best / 60,
        }
        for modality in ("Cine", "T1map")
        for metric, best in (("psnr_db", 42.0), ("ssim", 0.99), ("nmse", 0.01), ("heart_ssim", 0.97))
        for a in arms
    ]
    overlap = [
        {"arm": a, "phenotype": p, "mean": 0.93 - 0.01 * i, "sd": 0.02, "n": 20}
        for i, a in enumerate(["fully_sampled", *[a["arm"] for a in arms]])
        for p in ("dice_lv", "dice_myocardium", "dice_rv")
    ]
    results: dict[str, Any] = {
        "study": {
            "name": "fake",
            "title": "Validation of accelerated cardiac MRI: a fake study",
            "created_utc": "2026-01-02T03:04:05+00:00",
            "simulated": ["synthetic phantom"],
            "notes": ["One mapping slice a patient."],
            "verdict_sentences": [
                "LV ejection fraction: CardioMM valid up to 8× (k-t Gaussian); not shown at 16×.",
                "T1: SENSE valid up to 4×.",
            ],
        },
        "cohort": {
            "n_patients": 20,
            "n_scans": 60,
            "diseases": dict.fromkeys(DISEASES, 4),
            "centers": [
                {"center": c, "vendor": v, "field_t": f, "n_patients": 5, "n_scans": 15} for c, v, f in CENTERS
            ],
        },
        "plan": {
            "confidence": 0.95,
            "alpha": 0.05,
            "margins": {k: {"bias": v[2], "limits": v[3], "unit": v[4]} for k, v in PHENOTYPES.items()},
            "margins_origin": "proposals from published scan-rescan studies",
            "sha256": "ab" * 32,
        },
        "arms": [
            {
                "arm": "fully_sampled",
                "method": "fully_sampled",
                "pattern": "none",
                "acceleration": 1.0,
                "effective_acceleration": {"mean": 1.0, "min": 1.0, "max": 1.0},
                "label": "Fully sampled",
            },
            *arms,
        ],
        "agreement": agreement,
        "centers": by_center,
        "image_quality": quality,
        "overlap": overlap,
        "gallery": gallery(folder, rng, arms),
        "reliability": [
            {
                "center": "Center001",
                "patient": f"P{number:03d}",
                "scan": "cine_sax",
                "arm": arm["arm"],
                "status": "ok" if number < 3 else "failed",
                "reason": "" if number < 3 else "only 1 line outside the calibration region",
                "expected_nmse": 0.01 * (number + 1) if number < 3 else None,
                "flagged": number == 2,
                "reasons": ["a dead coil"] if number == 2 else [],
            }
            for arm in arms
            for number in range(4)
        ],
        "shift": [
            {
                "center": center,
                "measure": measure,
                "value": 0.123,
                "low": low,
                "high": high,
                "share_outside": 0.0,
                "n_scans": 3,
                "flagged": measure == "noise",
                "note": "",
            }
            for center in ("Center001", "Center002")
            for measure, low, high in (("noise", -3.5, -1.5), ("mask_overlap", 0.8, None), ("text_novelty", None, 0.0))
        ],
        **described(arms),
        "failures": [
            {
                "center": "Center002",
                "patient": "P001",
                "scan": "cine_sax",
                "file": "MultiCoil/Cine/TestSet/cine_sax.mat",
                "stage": "read",
                "reason": "truncated: 1024 bytes",
            },
            {
                "center": "Center003",
                "patient": "P004",
                "scan": "T1map",
                "file": "T1map.mat",
                "stage": "measure",
                "reason": "no left ventricle found",
            },
        ],
        "provenance": {
            "cardioval_version": "0.1.0",
            "commit": "0123456789abcdef",
            "python": "3.11.2",
            "platform": "Linux",
            "packages": {"numpy": "2.0", "torch": "2.5"},
            "weights": [{"name": "cardiomm_small", "sha256": "cd" * 32}],
            "seeds": {"simulation": 7},
            "command": "cardioval demo --out runs/demo",
            "started_utc": "2026-01-02T03:00:00+00:00",
            "wall_s": 245.2,
            "device": "cpu",
            "config_sha256": "ef" * 32,
            "inputs_sha256": "01" * 32,
        },
    }
    return add_statements(results)


@pytest.fixture
def build_results() -> Callable[..., dict[str, Any]]:
    """The builder of fake results, for tests that change them."""
    return fake_results


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path, Path]:
    """Results, page and PDF of the fake study, written once (two methods: enough for every kind of block)."""
    from reports.study import write_study_report

    folder = tmp_path_factory.mktemp("fake-run")
    results = fake_results(folder, methods=("sense", "zero_filled"), phenotypes=("lv_ef_percent", "t1_ms"))
    return results, *write_study_report(folder, results)
