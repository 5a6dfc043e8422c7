"""What changed between two runs of the same cohort, and did a verdict get worse?"""

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from cohort.atomic import write_text
from cohort.records import ConfigProblem
from flows.analysis import plain
from flows.analysis_plan import NOT_HASHED
from flows.decision import ORDER
from flows.descriptions import TRUTH
from flows.descriptive import as_dict
from flows.export import read_results
from flows.provenance import command, commit, version
from reports.run_comparison import write_comparison_report
from stats.intervals import mean_interval

Row = dict[str, Any]
CLAIMED = "claimed"
RANKS = (*ORDER, CLAIMED)
MOST_MOVED = 50
WORSE = 3  # exit status
# what differs by nature, or is told in words elsewhere
NOT_COMPARED = ("provenance", "study.out", "study.title", "study.name")
FACTS = ("cardioval_version", "commit", "python", "platform", "device", "inputs_sha256", "config_sha256", "seeds")


def compare_runs(before: Path, after: Path, out: Path | None = None) -> dict[str, Any]:
    """Compare two finished runs; with `out`, write ``comparison.json`` and ``report/`` there.

    Verdicts are compared by measurement and arm; what only one run has is listed and counts as no change. A change of the
    difference (accelerated - fully sampled) is taken patient by patient, over those whom both runs could measure.

    Raises
    ------
    MissingFile, UnreadableFile
        If a folder is no finished run of this schema.
    ConfigProblem
        If the runs have no patient in common, or are of different kinds.
    """
    runs = [read_results(Path(folder)) for folder in (before, after)]
    kinds = [run.get("kind", "validation") for run in runs]
    if kinds[0] != kinds[1]:
        raise ConfigProblem(f"{before} is a {kinds[0]} and {after} a {kinds[1]}: they cannot be compared")
    comparison = compared(runs[0], runs[1])
    if not comparison["cohort"]["n_common"]:
        raise ConfigProblem(f"{before} and {after} have no patient with values in common: are they of the same cohort?")
    comparison["changes"] += configuration_changes(Path(before), Path(after))
    comparison["study"] |= {
        "title": f"Comparison: {Path(before).resolve().name} and {Path(after).resolve().name}",
        "created_utc": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    comparison["runs"] = [
        {"folder": Path(folder).resolve().name, "created_utc": run["study"].get("created_utc")}
        for folder, run in zip((before, after), runs, strict=True)
    ]
    comparison["provenance"] = {
        "cardioval_version": version("cardioval"),
        "commit": commit(),
        "command": command(),
    }
    if out is not None:
        text = json.dumps(comparison, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        write_text(Path(out) / "comparison.json", text)
        write_comparison_report(Path(out), comparison)
    return comparison


def compared(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """The statements of comparison.json that follow from two results.json."""
    rows = [
        {(row["phenotype"], row["arm"], row["against"]): row for row in run["agreement"] if row["against"] != TRUTH}
        for run in (before, after)
    ]
    common = [key for key in rows[0] if key in rows[1]]
    verdicts = [_verdict(key, rows[0][key], rows[1][key]) for key in common]
    moved: list[Row] = []
    shifts = []
    for key in common:
        margin = before["plan"]["margins"].get(key[0])
        shift, people = _shift(key, rows[0][key], rows[1][key], margin, before["plan"]["confidence"])
        shifts.append(shift)
        moved += people
    moved.sort(key=lambda row: -row["size"])
    people_of = [{(pair["center"], pair["patient"]) for row in one.values() for pair in row["pairs"]} for one in rows]
    found = {
        "schema": 1,
        "kind": "comparison",
        "study": {
            "name": str(after["study"]["name"]),
            "simulated": sorted({kind for run in (before, after) for kind in run["study"].get("simulated") or []}),
        },
        "plan": after["plan"],
        "arms": list({arm["arm"]: arm for run in (before, after) for arm in run["arms"]}.values()),
        "measurements": after.get("measurements") or {},
        "changes": _fact_changes(before, after),
        "cohort": {
            "n_before": len(people_of[0]),
            "n_after": len(people_of[1]),
            "n_common": len(people_of[0] & people_of[1]),
            "only_before": sorted(map(list, people_of[0] - people_of[1])),
            "only_after": sorted(map(list, people_of[1] - people_of[0])),
            "same_inputs": _same(before, after, "inputs_sha256"),
        },
        "verdicts": verdicts,
        "worsened": sum(row["change"] == "worse" for row in verdicts),
        "improved": sum(row["change"] == "better" for row in verdicts),
        "only_before": [list(key) for key in rows[0] if key not in rows[1]],
        "only_after": [list(key) for key in rows[1] if key not in rows[0]],
        "shifts": shifts,
        "moved": moved[:MOST_MOVED],
        "failures": _failures(before, after),
        "agreement": [],
    }
    made: dict[str, Any] = plain(found)
    return made


def _verdict(key: tuple[str, str, str], before: Row, after: Row) -> Row:
    states = [CLAIMED if row.get("claimed") else str(row["verdict"]) for row in (before, after)]
    ranks = [RANKS.index(state) for state in states]
    change = "same" if ranks[0] == ranks[1] else "worse" if ranks[1] < ranks[0] else "better"
    phenotype, arm, against = key
    row: Row = {"phenotype": phenotype, "arm": arm, "against": against, "before": states[0], "after": states[1]}
    row |= {"change": change, "reason_before": before.get("reason"), "reason_after": after.get("reason")}
    for name, one in (("before", before), ("after", after)):
        row |= {f"n_{name}": one["n"], f"bias_{name}": one["bias"]}
    return row


def _shift(
    key: tuple[str, str, str], before: Row, after: Row, margin: Mapping[str, Any] | None, confidence: float
) -> tuple[Row, list[Row]]:
    """Change of the difference over common patients, and each of them that moved."""
    values = [
        {(p["center"], p["patient"]): (p["reference"], p["test"]) for p in row["pairs"]} for row in (before, after)
    ]
    common = [who for who in values[0] if who in values[1]]
    row: Row = dict(zip(("phenotype", "arm", "against"), key, strict=True)) | {"n": len(common)}
    empty = {"change": None, "sd": None, "largest": None, "moved": 0, "reference_change": None, "test_change": None}
    if not common:
        return row | empty, []
    table = np.array([[*values[0][who], *values[1][who]] for who in common], dtype=np.float64)
    old, new = table[:, 1] - table[:, 0], table[:, 3] - table[:, 2]
    change = new - old
    row |= {"change": _interval(change, confidence), "sd": float(change.std(ddof=1)) if change.size > 1 else None}
    row |= {"largest": float(np.abs(change).max()), "moved": int(np.count_nonzero(change))}
    row |= {
        "reference_change": float((table[:, 2] - table[:, 0]).mean()),
        "test_change": float((table[:, 3] - table[:, 1]).mean()),
    }
    # one scale for all measurements: the margin of individuals, else the spread of the differences there were
    unit = (margin or {}).get("limits") or before.get("sd") or 1.0
    people = [
        dict(zip(("phenotype", "arm", "against"), key, strict=True))
        | {"center": who[0], "patient": who[1], "before": float(old[i]), "after": float(new[i])}
        | {"change": float(change[i]), "size": float(abs(change[i]) / unit), "in_margins": margin is not None}
        for i, who in enumerate(common)
        if change[i] != 0
    ]
    return row, people


def _interval(change: np.ndarray, confidence: float) -> Row:
    if change.size < 2:
        return {"estimate": float(change[0]), "low": None, "high": None}
    return as_dict(mean_interval(change, confidence=confidence))


def _fact_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Row]:
    old, new = before["provenance"], after["provenance"]
    changes = [_change("run", key, old.get(key), new.get(key)) for key in FACTS]
    packages = [one.get("packages") or {} for one in (old, new)]
    changes += [
        _change("package", k, packages[0].get(k), packages[1].get(k)) for k in sorted({*packages[0], *packages[1]})
    ]
    weights = [{w["name"]: w["sha256"] for w in one.get("weights") or []} for one in (old, new)]
    changes += [_change("weights", k, weights[0].get(k), weights[1].get(k)) for k in sorted({*weights[0], *weights[1]})]
    plans = [dict(_flat({k: v for k, v in run["plan"].items() if k not in NOT_HASHED})) for run in (before, after)]
    changes += [_change("plan", k, plans[0].get(k), plans[1].get(k)) for k in sorted({*plans[0], *plans[1]})]
    return [change for change in changes if change["before"] != change["after"]]


def configuration_changes(before: Path, after: Path) -> list[Row]:
    """Options of run.toml that differ, where both folders have one."""
    paths = [folder / "run.toml" for folder in (before, after)]
    if not all(path.is_file() for path in paths):
        return []
    tables = [dict(_flat(tomllib.loads(path.read_text(encoding="utf-8")))) for path in paths]
    keys = [k for k in sorted({*tables[0], *tables[1]}) if not k.startswith(NOT_COMPARED)]
    changes = [_change("configuration", key, tables[0].get(key), tables[1].get(key)) for key in keys]
    return [change for change in changes if change["before"] != change["after"]]


def _change(kind: str, name: str, before: object, after: object) -> Row:
    old, new = (None if value is None else str(value) for value in (before, after))
    return {"kind": kind, "name": name, "before": old, "after": new}


def _flat(part: Mapping[str, Any], head: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in part.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{head}{key}.")
        else:
            yield f"{head}{key}", value


def _same(before: Mapping[str, Any], after: Mapping[str, Any], key: str) -> bool | None:
    old, new = (run["provenance"].get(key) for run in (before, after))
    return None if old is None or new is None else bool(old == new)


def _failures(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, list[Row]]:
    """Failures that are new, and those that are gone; a failure with another reason is the same one."""
    keys = ("center", "patient", "scan", "stage")
    old, new = ({tuple(str(row.get(k) or "") for k in keys): row for row in run["failures"]} for run in (before, after))
    return {"new": _named(new, old), "gone": _named(old, new)}


def _named(mine: Mapping[tuple[str, ...], Row], others: Mapping[tuple[str, ...], Row]) -> list[Row]:
    rows: Sequence[Row] = [row for key, row in mine.items() if key not in others]
    return [{k: str(row.get(k) or "") for k in ("center", "patient", "scan", "stage", "reason")} for row in rows]
