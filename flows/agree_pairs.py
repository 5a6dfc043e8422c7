"""Which readings of two methods belong together, and which subjects have no pair?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cohort.records import ConfigProblem
from flows.agree_table import Readings
from flows.pairing import Pairs

Values = NDArray[np.float64]
SUBJECT = ["center", "subject"]


@dataclass(frozen=True)
class Replicated:
    """Readings of subjects that have pairs: a row a replicate; with constant truth NaN where one method has no such."""

    reference: Values
    test: Values
    subject: NDArray[np.intp]
    center: NDArray[np.object_]


@dataclass(frozen=True)
class Comparison:
    """Two methods, one measurement and one condition.

    Attributes
    ----------
    pairs
        Subjects' means; who lacks a value of either was attempted and failed.
    replicates
        None where every subject has one reading of each.
    failures
        (center, subject, reason) of those without a pair.
    unpaired_readings
        Readings that had no partner and were left out although their subject has others.
    """

    measurement: str
    arm: str
    method: str
    condition: str
    reference: str
    pairs: Pairs
    replicates: Replicated | None
    failures: tuple[tuple[str, str, str], ...]
    unpaired_readings: int


def comparisons_of(readings: Readings, *, reference: str, tests: Sequence[str], truth: str) -> list[Comparison]:
    """Every test method against the reference, in the order of measurements, methods and conditions.

    Readings are paired within a condition. A reference that was read under one condition only stands for all of them.

    Raises
    ------
    ConfigProblem
        If subjects have replicates and `truth` is empty, or nothing can be compared.
    """
    found = []
    for measurement in readings.measurements:
        rows = readings.rows[readings.rows["measurement"] == measurement]
        mine = rows[rows["method"] == reference]
        one_for_all = mine["condition"].nunique() == 1
        for method in tests:
            others = rows[rows["method"] == method]
            for condition in (c for c in readings.conditions if (others["condition"] == c).any()):
                here = mine if one_for_all else mine[mine["condition"] == condition]
                if here.empty:
                    continue
                there = others[others["condition"] == condition]
                names = {"measurement": measurement, "method": method, "condition": condition, "reference": reference}
                found.append(_compared(here, there, names, truth))
    if not found:
        raise ConfigProblem(f"no measurement was made by both {reference!r} and {' or '.join(map(repr, tests))}")
    return found


def arm_of(method: str, condition: str) -> str:
    """Name of what is compared: the method, and the condition where there is one."""
    return f"{method}, {condition}" if condition else method


def _compared(reference: pd.DataFrame, test: pd.DataFrame, names: Mapping[str, str], truth: str) -> Comparison:
    has_replicates = any(rows.duplicated(SUBJECT).any() for rows in (reference, test))
    if has_replicates and not truth:
        row = next(
            rows[rows.duplicated(SUBJECT)].iloc[0] for rows in (reference, test) if rows.duplicated(SUBJECT).any()
        )
        raise ConfigProblem(
            f"subject {row['subject']!r} has several readings by {row['method']} of {row['measurement']}: say by --truth "
            "constant or varying whether what is measured stays the same between them"
        )
    keys = [*SUBJECT, "replicate"] if has_replicates else SUBJECT
    x, y = (rows.set_index(keys)["value"] for rows in (reference, test))
    both = pd.concat({"x": x, "y": y}, axis=1).reset_index().sort_values(keys, kind="stable")
    attempted = both[SUBJECT].drop_duplicates()
    if has_replicates and truth == "constant":
        counts = both.groupby(SUBJECT)[["x", "y"]].count()
        whole = counts[(counts > 0).all(axis=1)].index
        kept = both[both.set_index(SUBJECT).index.isin(whole) & both[["x", "y"]].notna().any(axis=1)]
        unpaired = 0
    else:
        kept = both[both[["x", "y"]].notna().all(axis=1)]
        some = both.set_index(SUBJECT).index.isin(kept.set_index(SUBJECT).index)
        unpaired = int(both.loc[some, ["x", "y"]].count().sum()) - 2 * len(kept)
    means = kept.groupby(SUBJECT, sort=False)[["x", "y"]].mean()
    centers, subjects = ([str(key[i]) for key in means.index] for i in (0, 1))
    pairs = Pairs(
        attempted=len(attempted),
        center=centers,
        patient=subjects,
        reference=means["x"].to_numpy(np.float64),
        test=means["y"].to_numpy(np.float64),
        averaged=has_replicates,
    )
    replicates = None
    if has_replicates and len(kept) and kept.duplicated(SUBJECT).any():
        replicates = Replicated(
            kept["x"].to_numpy(np.float64),
            kept["y"].to_numpy(np.float64),
            kept.groupby(SUBJECT, sort=False).ngroup().to_numpy().astype(np.intp),
            kept["center"].to_numpy(object),
        )
    arm = arm_of(names["method"], names["condition"])
    failures = _failures(both, set(zip(centers, subjects, strict=True)), names)
    return Comparison(
        **names, arm=arm, pairs=pairs, replicates=replicates, failures=failures, unpaired_readings=unpaired
    )


def _failures(
    both: pd.DataFrame, paired: set[tuple[str, str]], names: Mapping[str, str]
) -> tuple[tuple[str, str, str], ...]:
    found = []
    for key, rows in both.groupby(SUBJECT, sort=False):
        center, subject = (str(part) for part in key)
        if (center, subject) in paired:
            continue
        lacking = [names[who] for who, column in (("reference", "x"), ("method", "y")) if rows[column].isna().all()]
        reason = f"no value by {' and '.join(lacking)}" if lacking else "no replicate was read by both"
        found.append((center, subject, reason))
    return tuple(found)


def complete_matrix(readings: Readings, measurement: str, condition: str, methods: Sequence[str]) -> dict[str, Any]:
    """Subjects with a value by every method, means of replicates; and how many there are in all."""
    rows = readings.rows
    rows = rows[
        (rows["measurement"] == measurement) & rows["condition"].isin([condition, ""]) & rows["method"].isin(methods)
    ]
    wide = rows.pivot_table(index=SUBJECT, columns="method", values="value", aggfunc="mean", dropna=False)
    attempted = len(rows[SUBJECT].drop_duplicates())
    present = [name for name in methods if name in wide.columns]
    values = wide.reindex(columns=present).dropna().to_numpy(np.float64)
    averaged = bool(rows.dropna(subset=["value"]).duplicated([*SUBJECT, "method"]).any())
    return {"methods": present, "values": values, "attempted": attempted, "averaged": averaged}
