"""Who was measured, what failed, how good were the images, and what must a reader know?"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from stats.resampling import bootstrap_mean

IMAGE_QUALITY = ("psnr_db", "ssim", "nmse", "heart_psnr_db", "heart_ssim", "heart_nmse")
OVERLAP = ("dice_lv", "dice_myocardium", "dice_rv")
FIELD_DEPENDENT = ("t1_ms", "t2_ms", "t1rho_ms", "septal_t1_ms", "septal_t2_ms", "septal_t1rho_ms")
FULLY_SAMPLED, TRUTH = "fully_sampled", "truth"
UNKNOWN = ("unknown", "not stated")
SCAN_KEY = ["center", "patient", "scan", "modality"]

NOTE_DIRECTION = "Differences are accelerated minus fully sampled reconstruction of the same scan."
NOTE_CENTERS = (
    "Intervals and tests treat patients as independent. With three or more centers the bias is also given with centers "
    "as the unit (random effects, t with K - 1 degrees of freedom); where centers differ, that is the one to read."
)
NOTE_LADDER = (
    "Within a phenotype and method, accelerations are tested in a fixed order from the lowest nominal one, and the "
    "sequence stops at the first failure; no correction is needed there. Phenotypes are not corrected for each other: a "
    "claim for all primary ones at once needs each of them shown, which keeps the error rate of one test. Stroke volume, "
    "ejection fraction and cardiac output are functions of the volumes and are no independent evidence."
)
NOTE_DESCRIPTIVE = (
    "Correlation, intraclass correlation and concordance are descriptive: they grow with the variety of the cohort and "
    "decide nothing. Subgroups, trends, classes of ejection fraction and ROC curves are described as well; their p-values "
    "are not corrected and carry no claim."
)
NOTE_TRUTH = (
    "Both arms go through the same measuring, whose errors can cancel in their difference. Where truth is known, each "
    "arm, the fully sampled one too, is therefore also compared with it, by the same rule."
)
NOTE_FIELDS = (
    "Relaxation times depend on field strength: only differences within a scan are pooled over fields, absolute values "
    "never; no intraclass correlation is given for them, as the spread between fields would inflate it."
)
NOTE_AVERAGED = (
    "Some patients have several scans of a kind. Each patient counts once, by the mean of its scans; limits of agreement "
    "are for a single scan (replicates, varying truth, Zou 2013), and what cannot be had from means is left out."
)


@dataclass(frozen=True)
class Bootstrap:
    """How bootstrap intervals are drawn."""

    n_resamples: int
    rng: np.random.Generator
    confidence: float


def arm_names(table: pd.DataFrame) -> list[str]:
    """Name of the arm of each row, as results.json has it: method, pattern and nominal acceleration."""
    parts = table[["method", "pattern", "acceleration"]]
    index = parts.groupby(["method", "pattern", "acceleration"], sort=False, dropna=False).ngroup().to_numpy()
    kinds = parts.iloc[np.unique(index, return_index=True)[1]]
    names = [
        m if m in (FULLY_SAMPLED, TRUTH) else f"{m}_{pattern}{float(acceleration):g}"
        for m, pattern, acceleration in kinds.itertuples(index=False, name=None)
    ]
    return np.array(names, dtype=object)[index].tolist()


def cohort(table: pd.DataFrame) -> dict[str, Any]:
    """Patients, scans, centers and diseases of the table."""
    table = table.drop_duplicates([*SCAN_KEY, "vendor", "field_t", "disease"])
    named = [disease or "not stated" for disease in diseases(table).values()]
    centers = [
        {
            "center": str(center),
            "vendor": str(rows["vendor"].iloc[0]),
            "field_t": float(rows["field_t"].iloc[0]),
            "n_patients": int(rows["patient"].nunique()),
            "n_scans": len(rows.drop_duplicates(SCAN_KEY)),
        }
        for (center, _, _), rows in table.groupby(["center", "vendor", "field_t"], dropna=False)
    ]
    return {
        "n_patients": len(named),
        "n_scans": len(table.drop_duplicates(SCAN_KEY)),
        "centers": centers,
        "diseases": dict(Counter(named).most_common()),
    }


def diseases(table: pd.DataFrame) -> dict[tuple[str, str], str | None]:
    """Disease of each (center, patient), None where it is not stated."""
    rows = table.drop_duplicates(["center", "patient", "disease"])
    rows = rows.sort_values("disease", kind="stable", na_position="last").drop_duplicates(["center", "patient"])
    names = [name if isinstance(name, str) and name else None for name in rows["disease"].tolist()]
    return dict(zip(zip(rows["center"].tolist(), rows["patient"].tolist(), strict=True), names, strict=True))


def patient_facts(table: pd.DataFrame) -> dict[str, dict[tuple[str, str], object]]:
    """Vendor, field strength and disease of each (center, patient), None where not stated."""
    rows = table.drop_duplicates(["center", "patient"])
    keys = list(zip(rows["center"].tolist(), rows["patient"].tolist(), strict=True))
    field = [None if value != value else float(value) for value in rows["field_t"].astype("float64").tolist()]
    vendors = [name if isinstance(name, str) and name else None for name in rows["vendor"].tolist()]
    known: dict[tuple[str, str], object] = {
        key: None if name is None or name.lower() in UNKNOWN else name for key, name in diseases(table).items()
    }
    return {
        "vendor": dict(zip(keys, vendors, strict=True)),
        "field_t": dict(zip(keys, field, strict=True)),
        "disease": known,
    }


def summaries(
    table: pd.DataFrame, names: tuple[str, ...], keys: list[str], bootstrap: Bootstrap
) -> list[dict[str, Any]]:
    """Mean, spread and bootstrap interval over patients of `names`, for each combination of `keys`."""
    rows = table[table["phenotype"].isin(names) & table["value"].notna()]
    rows = rows.assign(metric=rows["phenotype"])
    found = []
    for key, group in rows.groupby(keys, sort=False):
        patients = group.groupby(["center", "patient"])["value"].mean().to_numpy(np.float64)
        n, mean = patients.size, float(patients.mean())
        entry: dict[str, Any] = dict(zip(keys, key, strict=True))
        entry |= {"mean": mean, "sd": None, "n": n, "low": None, "high": None}
        if n >= 2:
            drawn = bootstrap_mean(
                patients, rng=bootstrap.rng, confidence=bootstrap.confidence, n_resamples=bootstrap.n_resamples
            )
            entry |= {"sd": float(patients.std(ddof=1)), "low": drawn.low, "high": drawn.high}
        found.append(entry)
    return found


def failures(table: pd.DataFrame) -> list[dict[str, Any]]:
    """One line a scan, arm and reason, however many phenotypes it cost."""
    failed = table[(table["status"] == "failed") & (table["arm"] != TRUTH)]
    keys = ["center", "patient", "scan", "arm", "reason"]
    return [
        {"center": center, "patient": patient, "scan": scan, "file": None}
        | {"stage": f"measurement, {arm}", "reason": str(reason or "not recorded"), "n_measurements": len(rows)}
        for (center, patient, scan, arm, reason), rows in failed.groupby(keys, sort=False, dropna=False)
    ]


def notes(table: pd.DataFrame, agreement: list[dict[str, Any]], *, averaged: bool) -> list[str]:
    """What a reader must know to read the numbers."""
    texts = [NOTE_DIRECTION, NOTE_CENTERS, NOTE_LADDER, NOTE_DESCRIPTIVE]
    if any(row["against"] == TRUTH for row in agreement):
        texts.append(NOTE_TRUTH)
    if {row["phenotype"] for row in agreement} & set(FIELD_DEPENDENT) and table["field_t"].nunique() > 1:
        texts.append(NOTE_FIELDS)
    return [*texts, NOTE_AVERAGED] if averaged else texts
