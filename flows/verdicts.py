"""Given the numbers of one comparison, what may be claimed, and why, in plain words?"""

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from flows.margins import Margin
from reports import tables
from stats.equivalence import has_no_spread
from stats.intervals import proportion

Verdict = Literal["shown", "bias only", "not shown", "too few"]
# with 5 patients the exact outer confidence limit lies 6.0 standard deviations from the bias, with 6 it is 5.1
MINIMUM_PATIENTS = 6
INSIDE_SHARE = 0.95  # what the limits of agreement hold
Row = Mapping[str, Any]


def decide(row: Row, margin: Margin | None, *, minimum_patients: int = MINIMUM_PATIENTS) -> tuple[Verdict, str]:
    """Verdict of one phenotype and arm, and the reason.

    `shown`: the mean difference is shown to lie inside +-bias, and the outer confidence limits of the limits of
    agreement lie inside +-limits. `bias only`: the first but not the second. `too few`: fewer than `minimum_patients`
    pairs. `not shown`: anything else, and also where no margin was fixed beforehand, or where all differences are the
    same: limits that rest on no spread say nothing of the next patient.

    Parameters
    ----------
    row : mapping
        ``n attempted bias sd tost lower_limit upper_limit limits_within_margin sensitivity`` of results.json.
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
    if has_no_spread(row.get("sd"), margin.limits):
        return "not shown", f"{shortfall(row, margin)}{tail}"
    if row["tost"]["equivalent"] and row["limits_within_margin"]:
        inside = f"{_bias_text(row, margin)} lies inside {margin.bias_text}"
        return "shown", f"{inside}, and {_limits_text(row, margin)} inside ±{margin.limits:g}{tail}"
    if row["tost"]["equivalent"]:
        inside = f"{_bias_text(row, margin)} lies inside {margin.bias_text}"
        return "bias only", f"{inside}, but {_limits_text(row, margin)} exceed ±{margin.limits:g}{tail}"
    return "not shown", f"{shortfall(row, margin)}{tail}"


def shortfall(row: Row, margin: Margin) -> str:
    """What kept a comparison from being shown, with its numbers."""
    if has_no_spread(row.get("sd"), margin.limits):
        value = row["bias"]["estimate"]
        shown = tables.number(value, _digits(margin.limits, (value,)))
        return (
            f"all {row['n']} differences are the same, {shown} {margin.unit}, which leaves no spread to judge individuals "
            "by (were the two really measured independently?)"
        )
    parts = []
    if not row["tost"]["equivalent"]:
        parts.append(f"{_bias_text(row, margin)} exceeds {margin.bias_text}")
    if not row["limits_within_margin"]:
        parts.append(f"{_limits_text(row, margin)} exceed ±{margin.limits:g}")
    return " and ".join(parts)


def too_few_inside(row: Row, margin: Margin) -> str | None:
    """Why the patients attempted contradict a verdict that rests on pairs, None where they do not.

    They do where, with failures counted as outside, even the upper end of the exact interval of the share inside the
    limits margin lies below the 95 % that the limits are to hold.
    """
    counts = row.get("sensitivity")
    if not counts or counts["share"]["high"] >= INSIDE_SHARE:
        return None
    low, high = (f"{100 * counts['share'][end]:.0f}" for end in ("low", "high"))
    failures = f" ({row['failed']} of {row['attempted']} failed)" if row["failed"] else ""
    return (
        f"only {counts['inside']} of {counts['attempted']} patients differ by less than {margin.limits:g} {margin.unit} "
        f"with failures counted as outside{failures}, {low} to {high} % where {100 * INSIDE_SHARE:.0f} % are claimed"
    )


def sensitivity(
    inside: int, attempted: int, failed: int, margin: Margin, *, confidence: float, tipping: int | None = None
) -> dict[str, Any]:
    """Share of the attempted patients whose difference is inside the limits margin, failures counted as outside.

    Parameters
    ----------
    inside, attempted, failed : int
        Patients; attempted >= 1.
    tipping : int or None
        How many patients at the margin the verdict "shown" would bear (``stats.tipping_point``); None without it.
    """
    share = proportion(inside, attempted, confidence=confidence)
    statement = None
    if failed:
        percent, low, high, level = (f"{100 * v:.0f}" for v in (share.estimate, share.low, share.high, confidence))
        statement = (
            f"{failed} of {attempted} failed: counted as outside, {inside} of {attempted} ({percent} %, "
            f"{level} % interval {low} to {high} %) differ by less than {margin.limits:g} {margin.unit}"
        )
        if tipping is not None:
            all_of_them = "it" if failed == 1 else f"all {failed} of them"
            borne = all_of_them if tipping >= failed else f"{tipping} of them"
            statement += f"; the verdict would bear {borne} at that margin"
    interval = {"estimate": share.estimate, "low": share.low, "high": share.high}
    counts = {"inside": inside, "attempted": attempted, "share": interval}
    return counts | {"statement": statement, "tipping_point": tipping}


def interval_text(low: float, high: float, margin: Margin) -> str:
    """Ends of an interval of the bias, with as many digits as the margin asks for."""
    digits = max(_digits(side, (low, high)) for side in (-margin.lower, margin.upper))
    return f"{tables.number(low, digits)} to {tables.number(high, digits)} {margin.unit}"


def limits_text(low: float, high: float, margin: Margin) -> str:
    """Outer ends of limits of agreement, with as many digits as the margin asks for."""
    digits = _digits(margin.limits, (low, high))
    return f"{tables.number(low, digits)} to {tables.number(high, digits)} {margin.unit}"


def _bias_text(row: Row, margin: Margin) -> str:
    tost = row["tost"]
    ends = interval_text(tost["low"], tost["high"], margin)
    return f"the {100 * (1 - 2 * tost['alpha']):.0f} % interval of the bias, {ends},"


def _limits_text(row: Row, margin: Margin) -> str:
    return f"the limits {limits_text(row['lower_limit']['low'], row['upper_limit']['high'], margin)}"


def _digits(margin: float, values: Iterable[float]) -> int:
    """Digits after the point that suit the margin, and more where rounding would touch it."""
    digits = max(1, 1 - math.floor(math.log10(margin)))
    while digits < 6 and any(round(abs(value), digits) == margin for value in values):
        digits += 1
    return digits
