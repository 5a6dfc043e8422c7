"""What does a fake study say beyond bias and limits? The keys that results.json has from schema 2 on; numbers are decoration."""

from collections.abc import Iterable, Mapping
from typing import Any

Row = dict[str, Any]
CUT_OFFS = (35.0, 40.0, 50.0)
EF = "lv_ef_percent"


def interval(estimate: float | None, half: float = 0.0) -> dict[str, float | None]:
    """An interval of results.json."""
    ends = (None, None) if estimate is None else (estimate - half, estimate + half)
    return {"estimate": estimate, "low": ends[0], "high": ends[1]}


def add_statements(results: dict[str, Any]) -> dict[str, Any]:
    """The same results with everything of schema 2."""
    accelerated = {a["arm"]: a for a in results["arms"] if a["arm"] != "fully_sampled"}
    rows = [r for r in results["agreement"] if r["against"] == "fully_sampled"]
    margins = results["plan"]["margins"]
    for row in results["agreement"]:
        row |= described(row, margins.get(row["phenotype"])) | {"claimed": False}
    results |= {"schema": 2, "decision": decisions(rows, accelerated, margins)}
    steps = list(dict.fromkeys((a["pattern"], a["acceleration"]) for a in accelerated.values()))
    results["plan"] |= {
        "ladder": [{"pattern": p, "acceleration": a} for p, a in steps],
        "primary": [p for p in (EF, "lv_edv_ml") if any(r["phenotype"] == p for r in rows)],
        "margins_sha256": "aa" * 32,
        "frozen_utc": "2026-01-02T02:59:00+00:00",
        "file": "plan.json",
    }
    results["cohort"]["sexes"] = {"F": 9, "M": 11}
    ef = [r for r in rows if r["phenotype"] == EF]
    results["reclassification"] = [reclassified(r) for r in ef]
    results["diagnosis"] = [diagnosed(r) for r in ef]
    results["subgroups"] = [g for r in rows for g in subgroups(r, results["cohort"]["centers"])]
    results["trend"] = trends(rows, accelerated)
    results["bias_profile"] = [profile(r) for r in rows]
    results["outliers"] = outliers(rows, margins)
    card = "# Model card: CardioMM, small\n\nA *small* network.\n\n## Limits\n- Untested at 7 T.\n\n| Dice | LV |\n|---|---|\n| held | 0.949 |\n\n```\ncardioval train\n```\n"
    results["model_cards"] = [{"name": "shipped CardioMM", "text": card, "sha256": "cd" * 32}]
    return results


def described(row: Row, margin: Mapping[str, Any] | None) -> Row:
    """Descriptive statistics, Shieh's test, centers and the tipping point of one comparison."""
    bias, sd, n = row["bias"]["estimate"], row["sd"], row["n"]
    icc, limit = row["icc"], (margin or {}).get("limits") or 1.0
    differences = sorted(p["test"] - p["reference"] for p in row["pairs"])
    inside = sum(abs(d) < limit for d in differences)
    names = list(dict.fromkeys(p["center"] for p in row["pairs"]))
    shown = row["verdict"] == "shown"
    return {
        "descriptive": {
            "pearson": interval(0.95, 0.03),
            "icc": icc,
            "icc_consistency": interval(0.94, 0.03),
            "ccc": interval(0.92, 0.04),
            "slope": interval(0.01, 0.05),
            "heteroscedasticity_p": 0.41,
            "median_difference": differences[n // 2],
            "nonparametric_lower": interval(differences[0], 0.2 * sd),
            "nonparametric_upper": interval(differences[-1], 0.2 * sd),
            "percent_bias": interval(1.2, 0.4),
            "percent_lower": interval(-6.3, 1.1),
            "percent_upper": interval(8.7, 1.1),
            "tdi95": interval(1.96 * sd + abs(bias), 0.3 * sd),
            "within_share": interval(inside / n, 0.1),
        },
        "agreement_test": {"p": 0.004 if shown else 0.31, "shown": shown},
        "center_consistency": {
            "n_centers": len(names),
            "n_judged": len(names),
            "inside": names[:-1],
            "outside": names[-1:],
            "interval_outside": names[-2:],
            "leave_one_out": [{"center": c} | interval(bias + 0.01 * i, 0.2 * sd) for i, c in enumerate(names)],
            "statement": f"the bias lies inside its margin in {len(names) - 1} of {len(names)} centers",
        },
        "sensitivity": {
            "inside": inside,
            "attempted": row["attempted"],
            "share": interval(inside / row["attempted"], 0.1),
            "statement": None,
            "tipping_point": 1 if shown else None,
        },
    }


def decisions(rows: Iterable[Row], arms: Mapping[str, Row], margins: Mapping[str, Any]) -> list[Row]:
    """The ladder of each phenotype and method; sets ``claimed`` in the rows."""
    ladders: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row["phenotype"] in margins:
            ladders.setdefault((row["phenotype"], arms[row["arm"]]["method"]), []).append(row)
    made = []
    for (phenotype, method), steps in ladders.items():
        claimed, stopped = None, None
        for row in sorted(steps, key=lambda r: arms[r["arm"]]["acceleration"]):
            if stopped is None and row["verdict"] == "shown":
                row["claimed"], claimed = True, row["arm"]
            else:
                stopped = stopped or row["arm"]
        levels = [
            {"arms": [r["arm"]], "acceleration": arms[r["arm"]]["acceleration"], "verdict": r["verdict"]} for r in steps
        ]
        ends = {"claimed_up_to": claimed, "first_not_shown": stopped, "levels": levels}
        words = f"{phenotype} with {method}: " + (
            f"claimed up to {claimed}." if claimed else f"not shown at {stopped}."
        )
        made.append({"phenotype": phenotype, "method": method} | ends | {"sentence": words})
    return made


def class_of(value: float) -> int:
    """0 up to 35 %, 1 up to 40 %, 2 below 50 %, 3 from 50 %."""
    return 0 if value <= CUT_OFFS[0] else 1 if value <= CUT_OFFS[1] else 2 if value < CUT_OFFS[2] else 3


def reclassified(row: Row) -> Row:
    """Classes of the ejection fraction, as the pairs have them."""
    table = [[0] * 4 for _ in range(4)]
    for pair in row["pairs"]:
        table[class_of(pair["reference"])][class_of(pair["test"])] += 1
    up = sum(table[i][j] for i in range(4) for j in range(4) if j > i)
    down = sum(table[i][j] for i in range(4) for j in range(4) if j < i)
    near = [p for p in row["pairs"] if min(abs(p["reference"] - c) for c in CUT_OFFS) <= 3]
    return {
        "phenotype": EF,
        "arm": row["arm"],
        "against": "fully_sampled",
        "cut_offs": list(CUT_OFFS),
        "classes": ["≤ 35 %", "35 to 40 %", "40 to 50 %", "≥ 50 %"],
        "table": table,
        "n": row["n"],
        "moved": up + down,
        "moved_up": up,
        "moved_down": down,
        "share_moved": interval((up + down) / row["n"], 0.1),
        "kappa": interval(0.81, 0.12),
        "mcnemar": [{"cut_off": c, "only_reference_below": 1, "only_test_below": 2, "p": 0.625} for c in CUT_OFFS],
        "symmetry_p": 0.52,
        "near": {"cut_off_distance": 3.0, "n": len(near), "moved": min(1, len(near))},
    }


def diagnosed(row: Row) -> Row:
    """A curve of a low ejection fraction for dilated hearts."""
    cases = sum(p["disease"] == "dilated" for p in row["pairs"])
    return {
        "phenotype": EF,
        "disease": "dilated",
        "positive_when": "low",
        "arm": row["arm"],
        "n_cases": cases,
        "n_controls": row["n"] - cases,
        "auc_reference": interval(0.86, 0.1),
        "auc_test": interval(0.84, 0.1),
        "difference": interval(-0.02, 0.03),
        "p": 0.19,
        "roc_reference": [[0.0, 0.0], [0.0, 0.5], [0.2, 0.75], [0.4, 1.0], [1.0, 1.0]],
        "roc_test": [[0.0, 0.0], [0.1, 0.5], [0.3, 0.75], [0.5, 1.0], [1.0, 1.0]],
        "note": "few cases",
    }


def subgroups(row: Row, centers: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Vendors and sexes of one comparison; a level of two patients has no limits."""
    head = {"phenotype": row["phenotype"], "arm": row["arm"]}
    bias, sd = row["bias"]["estimate"], row["sd"]
    levels = [("vendor", c["vendor"], 5) for c in centers] + [("sex", "F", 9), ("sex", "M", 2)]
    return [
        {"by": by, "level": level, "n": n, "bias": interval(bias, 0.5 * sd), "bias_inside": n > 2 and level != "GE"}
        | {"lower_limit": interval(bias - 1.96 * sd, sd) if n > 2 else None}
        | {"upper_limit": interval(bias + 1.96 * sd, sd) if n > 2 else None}
        | head
        for by, level, n in levels
    ]


def trends(rows: Iterable[Row], arms: Mapping[str, Row]) -> list[Row]:
    """A slope for each phenotype and method."""
    keys = dict.fromkeys((r["phenotype"], arms[r["arm"]]["method"]) for r in rows)
    made = {
        "n_patients": 19,
        "slope_per_doubling": interval(-0.4, 0.25),
        "slope_abs_log": interval(0.3, 0.2),
        "p": 0.02,
    }
    words = "mixed model on log2(acceleration), random intercept of the patient"
    return [{"phenotype": p, "method": m} | made | {"method_text": words} for p, m in keys]


def profile(row: Row) -> Row:
    """Thirds of the reference."""
    values = sorted(p["reference"] for p in row["pairs"])
    third = len(values) // 3
    bins = [values[:third], values[third : 2 * third], values[2 * third :]]
    made = [
        {"low": b[0], "high": b[-1], "n": len(b), "bias": interval(row["bias"]["estimate"], row["sd"])} for b in bins
    ]
    return {"phenotype": row["phenotype"], "arm": row["arm"], "bins": made}


def outliers(rows: Iterable[Row], margins: Mapping[str, Any]) -> list[Row]:
    """Pairs beyond the margin of individuals, the most extreme first."""
    found = []
    for row in rows:
        limit = (margins.get(row["phenotype"]) or {}).get("limits")
        for pair in row["pairs"]:
            difference = pair["test"] - pair["reference"]
            if limit and abs(difference) > limit:
                about = {k: pair[k] for k in ("center", "patient", "reference", "test")}
                where = {"phenotype": row["phenotype"], "arm": row["arm"], "outside": "margin", "scan": "cine_sax"}
                found.append((abs(difference) / limit, about | where | {"difference": difference}))
    return [entry for _, entry in sorted(found, key=lambda f: -f[0])][:200]
