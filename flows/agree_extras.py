"""Beside limits of agreement: lines through two methods, repeatability, new centers, and several readers at once."""

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any, TypeVar, get_args

import numpy as np

from flows.agree_pairs import Comparison, Replicated, arm_of, complete_matrix
from flows.agree_table import Readings
from flows.descriptive import as_dict
from stats.bland_altman import Truth, repeated
from stats.icc import Form, concordance, icc, rater_bias
from stats.intervals import Interval
from stats.nested import nested_limits
from stats.regression import Line, deming, passing_bablok
from stats.repeatability import repeatability

Row = dict[str, Any]
T = TypeVar("T")
FEWEST_FOR_LIMITS = 3
MOST_FOR_LINES = 3000  # Passing-Bablok takes all pairs of subjects


def replicate_limits(found: Replicated, truth: Truth, confidence: float, only: str | None = None) -> Row | None:
    """Limits for single readings, from replicates, of all subjects or of one center; None where they cannot be had."""
    kept = slice(None) if only is None else found.center == only
    try:
        limits = repeated(
            found.reference[kept], found.test[kept], found.subject[kept], truth=truth, confidence=confidence
        )
    except ValueError:
        return None
    return {"sd": limits.sd.estimate} | {
        name: as_dict(getattr(limits, name)) for name in ("lower_limit", "upper_limit")
    }


def regression(comparison: Comparison, *, truth: str, error_ratio: float | None, confidence: float) -> Row | None:
    """Deming and Passing-Bablok lines of the test on the reference, of subjects' means."""
    x, y = comparison.pairs.reference, comparison.pairs.test
    if x.size > MOST_FOR_LINES:
        return None
    ratio, origin = _error_ratio(comparison.replicates, truth, error_ratio)
    lines = {
        "deming": _reason(lambda: deming(x, y, error_ratio=ratio, confidence=confidence)),
        "passing_bablok": _reason(lambda: passing_bablok(x, y, confidence=confidence)),
    }
    row: Row = {"measurement": comparison.measurement, "arm": comparison.arm, "against": comparison.reference}
    row |= {"n": x.size, "error_ratio": ratio, "error_ratio_origin": origin}
    for name, line in lines.items():
        row[name] = _line(line) if isinstance(line, Line) else None
        row[f"{name}_reason"] = line if isinstance(line, str) else None
    return row


def repeatability_rows(readings: Readings, truth: str, confidence: float) -> list[Row]:
    """Within-subject spread of every method that has replicates of a constant truth."""
    if truth != "constant":
        return []
    rows = []
    groups = readings.rows.dropna(subset=["value"]).groupby(["measurement", "method", "condition"], sort=False)
    for key, part in groups:
        measurement, method, condition = (str(name) for name in key)
        subject = part.groupby(["center", "subject"], sort=False).ngroup().to_numpy()
        values = part["value"].to_numpy(np.float64)
        found = _or_none(lambda v=values, s=subject: repeatability(v, s, confidence=confidence))  # type: ignore[misc]
        if found is None:
            continue
        rows.append(
            {
                "measurement": measurement,
                "arm": arm_of(method, condition),
                "n_subjects": found.n_subjects,
                "n_readings": found.n_readings,
                "within_sd": as_dict(found.within_sd),
                "coefficient": as_dict(found.coefficient),
                "cv": as_dict(found.cv_log) if found.cv_log else None,
            }
        )
    return rows


def nested(comparison: Comparison, confidence: float) -> Row | None:
    """Limits for a new subject in a new center, with the share of centers, subjects and replicates; from two centers on.

    Replicates enter as differences of readings that have a partner; without them subjects' differences are used.
    """
    pairs, found = comparison.pairs, comparison.replicates
    if len(set(pairs.center)) < 2:
        return None
    difference, center = pairs.test - pairs.reference, np.array(pairs.center, dtype=object)
    subject = np.arange(difference.size)
    if found is not None:
        whole = np.isfinite(found.reference) & np.isfinite(found.test)
        difference, center = (found.test - found.reference)[whole], found.center[whole]
        subject = found.subject[whole]
    limits = _or_none(lambda: nested_limits(difference, center.astype(str), subject, confidence=confidence))
    if limits is None:
        return None
    parts = ("bias", "sd", "lower_limit", "upper_limit", "center_variance", "subject_variance", "replicate_variance")
    row: Row = {"measurement": comparison.measurement, "arm": comparison.arm, "against": comparison.reference}
    row |= {"n_centers": limits.n_centers, "n_subjects": limits.n_subjects, "n_readings": limits.n_readings}
    for name in (*parts, "icc_center"):
        value: Interval | None = getattr(limits, name)
        row[name] = as_dict(value) if value else None
    return row


def readers_at_once(readings: Readings, methods: Sequence[str], confidence: float) -> list[Row]:
    """The ICC family over all methods, the test that they read alike, and the concordance of every two."""
    rows = []
    for measurement in readings.measurements:
        for condition in readings.conditions:
            matrix = complete_matrix(readings, measurement, condition, methods)
            values, present = matrix["values"], matrix["methods"]
            if len(present) < 2 or not len(values):
                continue
            forms: dict[str, Row | None] = {}
            for form in get_args(Form):
                made = _or_none(lambda v=values, f=form: icc(v, form=f, confidence=confidence))  # type: ignore[misc]
                forms[form] = as_dict(made) if made else None
            shift = _or_none(lambda v=values: rater_bias(v))  # type: ignore[misc]
            couples = []
            for i, j in combinations(range(len(present)), 2):
                pair = _or_none(lambda v=values, a=i, b=j: concordance(v[:, a], v[:, b], confidence=confidence))  # type: ignore[misc]
                couples.append(
                    {"first": present[i], "second": present[j], "n": len(values)}
                    | {"ccc": as_dict(pair) if pair else None}
                    | {"precision": pair.pearson if pair else None, "accuracy": pair.bias_correction if pair else None}
                )
            rows.append(
                {"measurement": measurement, "condition": condition, "methods": present, "n": len(values)}
                | {"attempted": matrix["attempted"], "averaged": matrix["averaged"], "icc": forms}
                | {"means": [float(v) for v in values.mean(axis=0)]}
                | {"rater_bias": {"f": shift.f, "p": shift.p} if shift else None, "pairs": couples}
            )
    return rows


def _error_ratio(found: Replicated | None, truth: str, given: float | None) -> tuple[float, str]:
    """Variance of the test's errors over that of the reference's, and where it comes from."""
    if given is not None:
        return given, "given"
    if found is None or truth != "constant":
        return 1.0, "assumed"
    spreads = []
    for values in (found.reference, found.test):
        kept = np.isfinite(values)
        made = _or_none(lambda v=values, k=kept: repeatability(v[k], found.subject[k]))  # type: ignore[misc]
        spreads.append(made.within_sd.estimate if made else 0.0)
    if min(spreads) <= 0:
        return 1.0, "assumed"
    return (spreads[1] / spreads[0]) ** 2, "from the replicates"


def _line(line: Line) -> Row:
    return {"slope": as_dict(line.slope), "intercept": as_dict(line.intercept)}


def _or_none(number: Callable[[], T]) -> T | None:
    """The number, None where the data do not allow it (``stats`` says so by ValueError)."""
    try:
        return number()
    except ValueError:
        return None


def _reason(number: Callable[[], T]) -> T | str:
    try:
        return number()
    except ValueError as error:
        return str(error)
