"""Given the numbers of one comparison, what may be claimed, and why, in plain words?"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from flows.margins import Margin
from reports import tables
from stats.intervals import proportion

Verdict = Literal["shown", "bias only", "not shown", "too few"]
# with 5 patients the exact outer confidence limit lies 6.0 standard deviations from the bias, with 6 it is 5.1
MINIMUM_PATIENTS = 6
Row = Mapping[str, Any]


def decide(row: Row, margin: Margin | None, *, minimum_patients: int = MINIMUM_PATIENTS) -> tuple[Verdict, str]:
    """Verdict of one phenotype and arm, and the reason.

    `shown`: the mean difference is shown to lie inside +-bias, and the outer confidence limits of the limits of
    agreement lie inside +-limits. `bias only`: the first but not the second. `too few`: fewer than `minimum_patients`
    pairs. `not shown`: anything else, and also where no margin was fixed beforehand.

    Parameters
    ----------
    row : mapping
        ``n attempted bias tost lower_limit upper_limit limits_within_margin sensitivity`` of results.json.
    margin : Margin or None
        What was fixed beforehand.
    """
    failures = (row.get("sensitivity") or {}).get("statement")
    tail = f"; {failures}" if failures else ""
    if row["n"] < minimum_patients:
        patients = "patient" if row["n"] == 1 else "patients"
        return "too few", (
            f"{row['n']} {patients} with both values; at least {minimum_patients} are needed, because with fewer the "
            f"confidence limits of the limits of agreement lie more than 5 standard deviations from the bias{tail}"
        )
    if margin is None:
        return "not shown", f"no margin was fixed beforehand for this phenotype, so that nothing can be shown{tail}"
    if row["tost"]["equivalent"] and row["limits_within_margin"]:
        inside = f"{_bias_text(row, margin)} lies inside ±{margin.bias:g}"
        return "shown", f"{inside}, and {_limits_text(row, margin)} inside ±{margin.limits:g}{tail}"
    if row["tost"]["equivalent"]:
        inside = f"{_bias_text(row, margin)} lies inside ±{margin.bias:g}"
        return "bias only", f"{inside}, but {_limits_text(row, margin)} exceed ±{margin.limits:g}{tail}"
    return "not shown", f"{shortfall(row, margin)}{tail}"


def shortfall(row: Row, margin: Margin) -> str:
    """What kept a comparison from being shown, with its numbers."""
    parts = []
    if not row["tost"]["equivalent"]:
        parts.append(f"{_bias_text(row, margin)} exceeds ±{margin.bias:g}")
    if not row["limits_within_margin"]:
        parts.append(f"{_limits_text(row, margin)} exceed ±{margin.limits:g}")
    return " and ".join(parts)


def sensitivity(inside: int, attempted: int, failed: int, margin: Margin, *, confidence: float) -> dict[str, Any]:
    """Share of the attempted patients whose difference is inside the limits margin, failures counted as outside.

    Parameters
    ----------
    inside, attempted, failed : int
        Patients; attempted >= 1.
    """
    share = proportion(inside, attempted, confidence=confidence)
    statement = None
    if failed:
        percent, low, high, level = (f"{100 * v:.0f}" for v in (share.estimate, share.low, share.high, confidence))
        statement = (
            f"{failed} of {attempted} failed: counted as outside, {inside} of {attempted} ({percent} %, "
            f"{level} % interval {low} to {high} %) differ by less than {margin.limits:g} {margin.unit}"
        )
    interval = {"estimate": share.estimate, "low": share.low, "high": share.high}
    return {"inside": inside, "attempted": attempted, "share": interval, "statement": statement}


def ladder_sentence(symbol: str, method: str, rows: Sequence[Row], arms: Mapping[str, Row], margin: Margin) -> str:
    """How far up the ladder of accelerations a phenotype is shown with one method, in a fixed sequence.

    Testing starts at the lowest nominal acceleration and stops at the first level where not every arm is shown; the
    type I error of the whole sequence is then that of one test. What lies above the stop is not claimed.

    Parameters
    ----------
    symbol, method : str
        As readers know them.
    rows : sequence
        Comparisons with the fully sampled images of this phenotype and method, at least one, in any order.
    arms : mapping
        Arms of results.json by their id.
    margin : Margin
        Of this phenotype.
    """
    levels = sorted({float(arms[row["arm"]]["acceleration"]) for row in rows})
    head, passed = f"{symbol} with {method}: ", None
    for position, level in enumerate(levels):
        here = [row for row in rows if float(arms[row["arm"]]["acceleration"]) == level]
        short = [row for row in here if row["verdict"] != "shown"]
        if short:
            start = f"shown up to {passed}; " if passed else ""
            above = _claimed_by_itself(rows, arms, levels[position + 1 :])
            return f"{head}{start}{'; '.join(_stop_text(row, arms, margin) for row in short)}.{above}{_failures(here)}"
        passed = _level_text(here, arms)
    return f"{head}shown up to {passed}, the highest acceleration tested.{_failures(rows)}"


def _stop_text(row: Row, arms: Mapping[str, Row], margin: Margin) -> str:
    where = tables.arm_short(arms[row["arm"]])
    if row["verdict"] == "too few":
        return f"no verdict at {where}: {row['n']} of {row['attempted']} patients have both values, too few"
    if row["verdict"] == "bias only":
        return f"at {where} only the bias is shown, because {shortfall(row, margin)}"
    return f"not shown at {where}, because {shortfall(row, margin)}"


def _claimed_by_itself(rows: Sequence[Row], arms: Mapping[str, Row], levels: Sequence[float]) -> str:
    """Say which arms above the stop would have passed, so that nobody claims them."""
    above = [r for r in rows if float(arms[r["arm"]]["acceleration"]) in levels and r["verdict"] == "shown"]
    if not above:
        return ""
    return f" {_level_text(above, arms)} would pass alone but is not claimed: the sequence stops at the first failure."


def _failures(rows: Iterable[Row]) -> str:
    failed = [row for row in rows if row["failed"]]
    if not failed:
        return ""
    worst = max(failed, key=lambda row: row["failed"])
    return f" Up to {worst['failed']} of {worst['attempted']} patients had no value at one acceleration."


def _level_text(rows: Iterable[Row], arms: Mapping[str, Row]) -> str:
    return " and ".join(tables.arm_short(arms[row["arm"]]) for row in rows)


def _bias_text(row: Row, margin: Margin) -> str:
    tost = row["tost"]
    digits = _digits(margin.bias, (tost["low"], tost["high"]))
    low, high = (tables.number(tost[end], digits) for end in ("low", "high"))
    return f"the {100 * (1 - 2 * tost['alpha']):.0f} % interval of the bias, {low} to {high} {margin.unit},"


def _limits_text(row: Row, margin: Margin) -> str:
    low, high = row["lower_limit"]["low"], row["upper_limit"]["high"]
    digits = _digits(margin.limits, (low, high))
    return f"the limits {tables.number(low, digits)} to {tables.number(high, digits)} {margin.unit}"


def _digits(margin: float, values: Iterable[float]) -> int:
    """Digits after the point that suit the margin, and more where rounding would touch it."""
    digits = max(1, 1 - math.floor(math.log10(margin)))
    while digits < 6 and any(round(abs(value), digits) == margin for value in values):
        digits += 1
    return digits
