"""Results of runs as tests record them: two phenotypes, one arm, values that a test chooses."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flows.history_record import record_of

SHA = "0123456789abcdef" * 4


def interval(estimate: float, half: float = 1.0) -> dict[str, float]:
    return {"estimate": estimate, "low": estimate - half, "high": estimate + half}


def results(
    bias: float | None = 0.5,
    *,
    study: str = "nightly",
    day: int = 1,
    verdict: str = "shown",
    claimed: bool | None = True,
    commit: str = "a" * 40,
    inputs: str = SHA,
    failures: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """results.json of a run on a day of January 2026 (from 1 on, later months too)."""
    month, date = divmod(day - 1, 28)
    started = f"2026-{month + 1:02d}-{date + 1:02d}T02:00:00+00:00"
    row = {
        "arm": "cardiomm_Uniform8", "against": "fully_sampled", "attempted": 12, "n": 11, "failed": 1,
        "bias": None if bias is None else interval(bias), "sd": 1.5, "lower_limit": interval(-3.0),
        "upper_limit": interval(3.0), "verdict": verdict, "claimed": claimed, "reason": "the interval lies inside",
        "pairs": [{"center": "Center001", "patient": "P-SECRET-7", "disease": None, "reference": 50.0, "test": 51.0}],
    }  # fmt: skip
    return {
        "schema": 2,
        "study": {"name": study, "title": "Title", "created_utc": started.replace("T02", "T03")},
        "cohort": {"n_patients": 12, "n_scans": 24, "centers": [{"center": "Center001"}]},
        "plan": {
            "sha256": SHA,
            "primary": ["lv_ef_percent"],
            "margins": {"lv_ef_percent": {"bias": 3.0, "bias_lower": -3.0, "bias_upper": 2.0, "limits": 8.0}},
        },
        "agreement": [{"phenotype": name, **row} for name in ("lv_ef_percent", "lv_mass_g")],
        "centers": [
            {"phenotype": "lv_ef_percent", "arm": row["arm"], "against": "fully_sampled", "center": "Center001", "n": 11}
            | {key: row[key] for key in ("bias", "lower_limit", "upper_limit")}
        ],
        "failures": list(failures),
        "image_quality": [
            {"metric": "psnr_db", "arm": row["arm"], "modality": "cine", "n": 12, "mean": 33.0, "sd": 1.0, "low": 32.0,
             "high": 34.0}
        ],
        "overlap": [
            {"phenotype": "dice_lv", "arm": row["arm"], "n": 12, "mean": 0.9, "sd": float("nan"), "low": None, "high": None}
        ],
        "outliers": [{"center": "Center001", "patient": "P-SECRET-7", "scan": "cine_secret"}],
        "provenance": {
            "cardioval_version": "0.1.0", "commit": commit, "python": "3.11", "packages": {"numpy": "2"},
            "weights": [{"name": "shipped CardioMM", "sha256": SHA}], "command": "cardioval validate secret.toml",
            "started_utc": started, "device": "CPU", "config_sha256": SHA, "inputs_sha256": inputs, "wall_s": 12.5,
        },
    }  # fmt: skip


def record(run_id: str = "1" * 32, **options: Any) -> dict[str, Any]:
    """The same as a record."""
    return record_of(results(**options), run_id=run_id, folder=Path("runs/one"))
