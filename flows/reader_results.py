"""What do the scores say? By arm against fully sampled, with agreement within and between readers.

Differences are taken within a reader and a scan, then averaged over readers and scans to one value a patient: patients are the independent units, and
the readers are those who took part. Beside it stands the variance in which readers are a sample too. First showings count; second ones serve the
agreement of readers with themselves.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cohort.atomic import replacing, write_text
from flows.reader_images import REFERENCE_ARM
from flows.reader_scores import OpenKit, Scores, open_kit, read_scores
from reports.readers_results import write_reader_report
from stats.equivalence import non_inferiority
from stats.intervals import Interval, mean_interval, proportion
from stats.krippendorff import krippendorff_alpha
from stats.ordinal import friedman_with_holm, gwet_ac2, weighted_kappa
from stats.paired_tests import wilcoxon
from stats.readers_and_cases import crossed_mean

CATEGORIES: Final = (1, 2, 3, 4, 5)
WORST: Final = 1.0  # what a missing image is worth in the sensitivity analysis
DIAGNOSTIC: Final = 3  # acceptable and better
CONFIDENCE: Final = 0.95
ALPHA: Final = 0.025  # one-sided
MINIMUM_PATIENTS: Final = 6
CINE: Final = "cine"
TIE_DIGITS: Final = 9
SHOWN, NOT_SHOWN, TOO_FEW = "not inferior", "not shown", "too few"


def analyse_kit(
    folder: Path, files: Sequence[Path], out: Path, *, margin: float | None = None
) -> tuple[dict[str, Any], Path]:
    """Check, unblind and analyse; write ``scores.parquet``, ``reader_results.json`` and ``index.html``.

    Raises
    ------
    ConfigProblem, MissingFile, UnreadableFile
        As `open_kit` and `read_scores`.
    """
    kit = open_kit(folder)
    scores = read_scores(kit, files)
    results = reader_results(kit, scores, margin=margin)
    out.mkdir(parents=True, exist_ok=True)
    with replacing(out / "scores.parquet") as temporary:
        scores.table.to_parquet(temporary, index=False)
    write_text(out / "reader_results.json", json.dumps(results, indent=1, allow_nan=False) + "\n")
    return results, write_reader_report(out, results, version=_program())


def reader_results(kit: OpenKit, scores: Scores, *, margin: float | None = None) -> dict[str, Any]:
    """All results as plain data, unrounded; ``None`` where something cannot be computed, with the reason beside it.

    Parameters
    ----------
    margin
        Another one than was sealed in the key; it is then named exploratory.
    """
    sealed = float(kit.plan["margin"])
    used = sealed if margin is None else margin
    table = scores.table
    first = table[~table["repeat"]]
    arms = _arms(kit)
    seed = int(kit.name, 16)  # of the bootstrap of alpha: the same kit and scores give the same results
    parts = [
        (kind, criterion)
        for kind in sorted({str(s["kind"]) for s in kit.key["series"]}, key=lambda name: (name != CINE, name))
        for criterion in kit.plan["criteria"]
    ]
    kinds = {part: first[(first["kind"] == part[0]) & (first["criterion"] == part[1])] for part in parts}
    return {
        "schema": 1,
        "kit": kit.name,
        "run": kit.key["run"],
        "simulated": list(kit.key["simulated"]),
        "created_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "plan": dict(kit.plan)
        | {"margin": used, "margin_sealed": sealed, "confidence": CONFIDENCE, "alpha": ALPHA}
        | {"minimum_patients": MINIMUM_PATIENTS, "readers": list(kit.key["shown"])},
        "readers": [dict(f) | {"median_seconds": _median_seconds(table, f["reader"])} for f in scores.files],
        "arms": arms,
        "scores": [
            _arm_row(rows, arm, margin=used, missing=_missing(kit, kind, arm["arm"])) | {"kind": kind, "criterion": c}
            for (kind, c), rows in kinds.items()
            for arm in arms
        ],
        "tests": [_tests(rows, arms) | {"kind": kind, "criterion": c} for (kind, c), rows in kinds.items()],
        "inter": [
            _inter(rows, rng=np.random.default_rng(seed)) | {"kind": kind, "criterion": c}
            for (kind, c), rows in kinds.items()
        ],
        "intra": [
            _intra(table, kind, c, reader) | {"kind": kind, "criterion": c, "reader": reader}
            for kind, c in parts
            for reader in (f["reader"] for f in scores.files)
        ],
        "notes": _notes(kit, scores, used, sealed),
    }


def _arms(kit: OpenKit) -> list[dict[str, Any]]:
    """Arms of the kit, fully sampled first, then by method and acceleration."""
    facts = ("arm", "method", "pattern", "acceleration")
    # missing entries know less of an arm than series do, so they come first and are overwritten
    found = {s["arm"]: {f: s[f] for f in facts} for s in (*kit.key["missing"], *kit.key["series"])}
    return sorted(
        found.values(), key=lambda a: (a["arm"] != REFERENCE_ARM, str(a["method"]), a["acceleration"] or 0.0, a["arm"])
    )


def _missing(kit: OpenKit, kind: str, arm: str) -> list[Mapping[str, Any]]:
    return [m for m in kit.key["missing"] if m["kind"] == kind and m["arm"] == arm]


def _arm_row(
    rows: pd.DataFrame, arm: Mapping[str, Any], *, margin: float, missing: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Scores of one arm, and its difference from fully sampled."""
    own = rows[rows["arm"] == arm["arm"]]
    values = own["score"].dropna()
    row: dict[str, Any] = {
        "arm": arm["arm"],
        "n_series": int(own["series"].nunique()),
        "n_scores": len(values),
        "n_open": int(own["score"].isna().sum()),
        "n_missing_images": len(missing),
        "counts": [int((values == c).sum()) for c in CATEGORIES],
        "median": _number(values.median()),
        "quartiles": [_number(values.quantile(q)) for q in (0.25, 0.75)],
        "mean": _interval(lambda: mean_interval(_by_patient(own.dropna(subset="score"), "score"))),
        "diagnostic_share": _number((values >= DIAGNOSTIC).mean()) if len(values) else None,
    }
    if arm["arm"] == REFERENCE_ARM:
        return row
    return row | _compared(rows, str(arm["arm"]), margin=margin, missing=missing)


def _compared(rows: pd.DataFrame, arm: str, *, margin: float, missing: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean difference to fully sampled, by patients; with readers random too; with missing images as worst."""
    pairs = paired(rows, arm)
    d = _by_patient(pairs, "difference")
    crossed = pairs.pivot_table(index="reader", columns=["center", "patient"], values="difference", aggfunc="mean")
    complete = crossed.dropna(axis=1).to_numpy()
    worst = paired(_with_worst(rows, arm, missing), arm)
    row: dict[str, Any] = {
        "n_patients": len(d),
        "difference": _interval(lambda: mean_interval(d, confidence=CONFIDENCE)),
        "difference_readers_random": _interval(lambda: crossed_mean(complete, confidence=CONFIDENCE)),
        "n_patients_crossed": int(complete.shape[1]),
        "n_readers_crossed": int(complete.shape[0]),
        "difference_missing_as_worst": _interval(lambda: mean_interval(_by_patient(worst, "difference"))),
        "margin": margin,
        "bound": None,
        "p": None,
    }
    row["readers_random_above_margin"] = _above(row["difference_readers_random"], margin)
    row["missing_as_worst_above_margin"] = _above(row["difference_missing_as_worst"], margin)
    if len(d) < MINIMUM_PATIENTS:
        return row | {"verdict": TOO_FEW, "reason": f"{len(d)} patients, at least {MINIMUM_PATIENTS} are needed"}
    found = non_inferiority(d, margin=margin, worse="lower", alpha=ALPHA)
    row |= {"bound": found.bound, "p": found.p, "verdict": SHOWN if found.non_inferior else NOT_SHOWN}
    side = "above" if found.non_inferior else "not above"
    return row | {"reason": f"one-sided 97.5 % bound {found.bound:.2f}, {side} -{margin:g}"}


def paired(rows: pd.DataFrame, arm: str) -> pd.DataFrame:
    """Differences arm minus fully sampled, within reader and scan; where either was not scored there is none."""
    same = ["reader", "center", "patient", "scan"]
    scored = rows.dropna(subset="score")
    test = scored[scored["arm"] == arm][[*same, "score"]]
    reference = scored[scored["arm"] == REFERENCE_ARM][[*same, "score"]]
    both = test.merge(reference, on=same, suffixes=("_test", "_reference"), validate="one_to_one")
    return both.assign(difference=both["score_test"] - both["score_reference"])


def _with_worst(rows: pd.DataFrame, arm: str, missing: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The scores with the worst for every image that the arm could not give, by every reader."""
    added = [
        {"reader": r, "arm": arm, "score": WORST} | {f: m[f] for f in ("center", "patient", "scan")}
        for m in missing
        for r in rows["reader"].unique()
    ]
    return pd.concat([rows, pd.DataFrame(added)], ignore_index=True) if added else rows


def _by_patient(rows: pd.DataFrame, name: str) -> NDArray[np.float64]:
    """One value a patient: the mean over readers of each scan, then over scans."""
    if rows.empty:
        return np.empty(0)
    scans = rows.groupby(["center", "patient", "scan"])[name].mean()
    return scans.groupby(level=["center", "patient"]).mean().to_numpy(dtype=np.float64)


def _tests(rows: pd.DataFrame, arms: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Friedman over the arms on patients' means, then Wilcoxon of each arm against fully sampled, by Holm."""
    means = rows.dropna(subset="score").pivot_table(
        index=["center", "patient"], columns="arm", values="score", aggfunc="mean"
    )
    names = [a["arm"] for a in arms if a["arm"] in means.columns]
    complete = means.reindex(columns=names).dropna()
    row: dict[str, Any] = {"n_patients": len(complete), "arms": names, "friedman": None, "pairs": [], "reason": ""}
    # means of a third and of two sixths must tie
    values = complete.to_numpy().round(TIE_DIGITS)
    try:
        if len(names) == 2:  # Friedman's test needs three
            only = wilcoxon(values[:, 1] - values[:, 0])
            return row | {"reason": "one arm", "pairs": [{"arm": names[1], "p": only.p, "p_holm": only.p}]}
        found = friedman_with_holm(values, conditions=names, reference=REFERENCE_ARM)
    except ValueError as problem:
        return row | {"reason": str(problem)}
    friedman = {"statistic": found.statistic, "freedom": found.freedom, "p": found.p, "kendalls_w": found.kendalls_w}
    pairs = [{"arm": one.condition, "p": one.test.p, "p_holm": one.p_holm} for one in found.post_hoc]
    return row | {"friedman": friedman, "pairs": pairs}


def _inter(rows: pd.DataFrame, *, rng: np.random.Generator) -> dict[str, Any]:
    """Agreement between readers on first showings."""
    ratings = rows.pivot(index="series", columns="reader", values="score")
    readers = list(ratings.columns)
    row: dict[str, Any] = {"n_series": len(ratings), "n_readers": len(readers), "pairs": []}
    if len(readers) < 2:
        return row | {"ac2": None, "alpha": None, "reason": "one reader"}
    for one, other in combinations(readers, 2):
        both = ratings[[one, other]].dropna().to_numpy()
        row["pairs"].append({"readers": [one, other], **_pair_agreement(both)})
    values = ratings.to_numpy()
    row["ac2"] = _interval(lambda: gwet_ac2(values, categories=CATEGORIES))
    row["alpha"] = _interval(lambda: krippendorff_alpha(values, level="ordinal", rng=rng))
    return row | {"reason": ""}


def _intra(table: pd.DataFrame, kind: str, criterion: str, reader: str) -> dict[str, Any]:
    """Agreement of a reader with their own second look."""
    own = table[(table["kind"] == kind) & (table["criterion"] == criterion) & (table["reader"] == reader)]
    looks = own.pivot(index="series", columns="repeat", values="score")
    if True not in looks.columns:
        return _pair_agreement(np.empty((0, 2)))
    return _pair_agreement(looks.reindex(columns=[False, True]).dropna().to_numpy())


def _pair_agreement(both: NDArray[np.float64]) -> dict[str, Any]:
    """Shares of equal and neighboring scores, and kappa with quadratic weights, of two columns."""
    n, apart = len(both), np.abs(both[:, 0] - both[:, 1]) if len(both) else np.empty(0)
    return {
        "n": n,
        "equal": _interval(lambda: proportion(int((apart == 0).sum()), n)),
        "within_one": _interval(lambda: proportion(int((apart <= 1).sum()), n)),
        "mean_difference": _number((both[:, 1] - both[:, 0]).mean()) if n else None,
        "kappa": _interval(lambda: weighted_kappa(both[:, 0], both[:, 1], weights="quadratic", categories=CATEGORIES)),
    }


def _notes(kit: OpenKit, scores: Scores, used: float, sealed: float) -> list[str]:
    """What somebody who reads the results must know."""
    notes = list(kit.notes)
    handed_in = [f["reader"] for f in scores.files]
    absent = [name for name in kit.key["shown"] if name not in handed_in]
    if absent:
        notes.append(f"No scores of {', '.join(absent)}: the results are those of {', '.join(handed_in)}.")
    notes += [f"Reader {f['reader']} left {f['open']} of {f['shown']} series open." for f in scores.files if f["open"]]
    if used != sealed:
        notes.append(
            f"The margin {used:g} was given when the scores were analysed; sealed was {sealed:g}. Verdicts are exploratory."
        )
    if kit.key["missing"]:
        notes.append(
            f"{len(kit.key['missing'])} images could not be shown: nothing was reconstructed or kept. They count as 1 in the sensitivity analysis."
        )
    notes += [f"Not shown: {scan}: {reason}." for scan, reason in kit.key["skipped"].items()]
    return notes


def _program() -> str:
    """Name and version of what analysed."""
    try:
        return f"cardioval {version('cardioval')}"
    except PackageNotFoundError:
        return "cardioval, not installed"


def _interval(compute: Callable[[], Interval]) -> dict[str, float] | None:
    """An interval as results hold it; None where the data do not give one."""
    try:
        found = compute()
    except ValueError:
        return None
    ends = (found.estimate, found.low, found.high)
    if not np.isfinite(ends[0]):
        return None
    low, high = (_number(end) for end in ends[1:])
    return {"estimate": float(found.estimate), "low": low, "high": high}  # type: ignore[dict-item]


def _above(interval: Mapping[str, Any] | None, margin: float) -> bool | None:
    return None if interval is None else bool(interval["low"] > -margin)


def _median_seconds(table: pd.DataFrame, reader: str) -> float | None:
    own = table[table["reader"] == reader].drop_duplicates("code")["seconds"]
    return _number(own.median())


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
