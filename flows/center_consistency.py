"""Does what is shown over all patients hold from center to center, by a rule fixed beforehand?"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.analysis_options import Statistics
from flows.descriptive import as_dict
from flows.margins import Margin
from flows.verdicts import interval_text, limits_text
from stats.centers import Center, center_mean, leave_one_out, summarize
from stats.intervals import mean_interval
from stats.nested import nested_limits

FEWEST_TO_POOL = 3
Row = Mapping[str, Any]
Readings = tuple[NDArray[np.float64], Sequence[str], Sequence[int]]


def center_consistency(
    difference: NDArray[np.float64],
    names: Sequence[str],
    by_center: Sequence[Row],
    margin: Margin | None,
    options: Statistics,
    *,
    readings: Readings | None = None,
) -> dict[str, Any] | None:
    """What each center says about the bias, and whether the claim may stand.

    A center with ``minimum_in_center`` pairs is judged: by its mean difference and by the interval of it. From
    ``minimum_centers`` on, patients of a center are no longer taken as independent of each other: the ``1 - 2 alpha``
    interval of the random-effects mean (REML, Knapp and Hartung, t(K - 1)) must lie inside the margin of the bias as
    well, and the outer confidence limits of the limits for a new patient of a new center inside that of the limits. With
    fewer the spread between centers can hardly be estimated, and the claim is one for these centers; the limits for a
    new center are shown from 3 centers on.

    Parameters
    ----------
    difference, names
        One entry a patient.
    by_center
        Entries ``center n bias`` of the same comparison.
    margin
        None gives a description without any judgement.
    options
        The rule.
    readings
        Difference, center and subject of every reading, where subjects have several.

    Returns
    -------
    dict or None
        ``n_centers n_judged inside outside interval_outside leave_one_out random_effects new_center consistent
        statement``; None where there are no patients.
    """
    if not by_center:
        return None
    groups = summarize(difference, list(names))
    judged = [row for row in by_center if row["n"] >= options.minimum_in_center]
    found: dict[str, Any] = {
        "n_centers": len(by_center),
        "n_judged": len(judged),
        "inside": [],
        "outside": [],
        "interval_outside": [],
        "leave_one_out": without_each(groups, options.confidence),
        "random_effects": None,
        "new_center": _new_center(*(readings or (difference, names, range(len(names)))), margin, options),
        "consistent": None,
    }
    if margin is None:
        return found | {"statement": f"{_centers(len(by_center))}, without a margin to hold them against"}
    for row in judged:
        side = "inside" if margin.lower < row["bias"]["estimate"] < margin.upper else "outside"
        found[side].append(row["center"])
        low, high = row["bias"]["low"], row["bias"]["high"]
        if low is not None and (low >= margin.upper or high <= margin.lower):
            found["interval_outside"].append(row["center"])
    found["random_effects"] = _random_effects(difference, names, groups, margin, options)
    found["consistent"] = _consistent(found, options)
    return found | {"statement": _statement(found, margin, options)}


def without_each(groups: Sequence[Center], confidence: float) -> list[dict[str, Any]]:
    """The random-effects mean without each center in turn, from 4 centers on, by the variance within all of them."""
    freedom = sum(group.n - 1 for group in groups)
    squares = sum((group.n - 1) * group.sd**2 for group in groups if group.sd)
    if len(groups) <= FEWEST_TO_POOL or squares == 0.0:
        return []
    variances = [squares / freedom / group.n for group in groups]
    left_out = leave_one_out([g.mean for g in groups], variances, [g.name for g in groups], confidence=confidence)
    estimates = [(entry.name, entry.effects.estimate) for entry in left_out]
    return [{"center": name, "estimate": e.estimate, "low": e.low, "high": e.high} for name, e in estimates]


def objection(found: Row | None, margin: Margin, options: Statistics) -> str | None:
    """Why centers keep a comparison from being claimed, None where they do not."""
    if found is None or found["consistent"] is not False:
        return None
    parts = []
    effects = found["random_effects"]
    if effects and not effects["inside"]:
        ends = interval_text(effects["low"], effects["high"], margin)
        level = 100 * (1 - 2 * options.alpha)
        parts.append(
            f"with centers as the unit the {level:.0f} % interval of the bias, {ends}, exceeds {margin.bias_text}"
        )
    if _contradicts(found["new_center"], found, options):
        parts.append(f"{_new_center_text(found['new_center'], margin)}, exceed ±{margin.limits:g}")
    against = centers_against(found, options)
    if against:
        what = "the whole interval of the bias" if options.center_rule == "interval" else "the bias"
        parts.append(f"{what} lies outside {margin.bias_text} in {', '.join(against)}")
    return " and ".join(parts)


def centers_against(found: Row, options: Statistics) -> list[str]:
    """Centers that contradict a claim by the rule of the plan."""
    if options.center_rule == "described":
        return []
    return list(found["interval_outside" if options.center_rule == "interval" else "outside"])


def _consistent(found: Row, options: Statistics) -> bool:
    if options.center_rule == "described":
        return True
    if found["random_effects"] is not None and not found["random_effects"]["inside"]:
        return False
    if _contradicts(found["new_center"], found, options):
        return False
    return not centers_against(found, options)


def _random_effects(
    difference: NDArray[np.float64], names: Sequence[str], groups: Sequence[Center], margin: Margin, options: Statistics
) -> dict[str, Any] | None:
    if len(groups) < options.minimum_centers:
        return None
    level = 1 - 2 * options.alpha
    if any(group.sd for group in groups):
        mean = center_mean(difference, list(names), confidence=level).estimate
    else:  # nothing to weigh the centers by, as where each has one patient
        mean = mean_interval([group.mean for group in groups], confidence=level)
    inside = margin.lower < mean.low and mean.high < margin.upper
    return {"estimate": mean.estimate, "low": mean.low, "high": mean.high, "inside": inside}


def _statement(found: Row, margin: Margin, options: Statistics) -> str:
    if not found["n_judged"]:
        return f"{_centers(found['n_centers'])}, none with the {options.minimum_in_center} patients needed to judge it"
    text = f"mean difference inside {margin.bias_text} {margin.unit} in {len(found['inside'])} of {found['n_judged']}"
    text += " judged center" if found["n_judged"] == 1 else " judged centers"
    if found["outside"]:
        text += f", outside in {', '.join(found['outside'])}"
    effects = found["random_effects"]
    if effects:
        side = "inside" if effects["inside"] else "not inside"
        text += f"; with centers as the unit {interval_text(effects['low'], effects['high'], margin)}, {side}"
    if found["new_center"]:
        side = "inside" if found["new_center"]["inside"] else "not inside"
        text += f"; {_new_center_text(found['new_center'], margin)}, {side} ±{margin.limits:g}"
    if 1 < found["n_centers"] < options.minimum_centers:
        text += (
            f"; the spread between {found['n_centers']} centers cannot be estimated: a claim is one for these centers"
        )
    return text


def _new_center(
    difference: NDArray[np.float64],
    names: Sequence[str],
    subject: Sequence[int],
    margin: Margin | None,
    options: Statistics,
) -> dict[str, Any] | None:
    """Limits for a new patient of a new center, from 3 centers on; None where they cannot be had."""
    if len(set(names)) < FEWEST_TO_POOL:
        return None
    try:
        limits = nested_limits(
            difference, np.array(names, dtype=str), np.asarray(subject), confidence=options.confidence
        )
    except ValueError:  # one patient a center, or no spread
        return None
    ends = (limits.lower_limit, limits.upper_limit)
    found: dict[str, Any] = {"lower_limit": as_dict(ends[0]), "upper_limit": as_dict(ends[1]), "sd": limits.sd.estimate}
    found["icc_center"] = as_dict(limits.icc_center) if limits.icc_center else None
    inside = margin is not None and -margin.limits < ends[0].low and ends[1].high < margin.limits
    return found | {"inside": None if margin is None else bool(inside)}


def _contradicts(new_center: Row | None, found: Row, options: Statistics) -> bool:
    if new_center is None or found["n_centers"] < options.minimum_centers:
        return False
    return new_center["inside"] is False


def _new_center_text(new_center: Row, margin: Margin) -> str:
    ends = limits_text(new_center["lower_limit"]["low"], new_center["upper_limit"]["high"], margin)
    return f"the limits for a new patient of a new center, {ends}"


def _centers(n: int) -> str:
    return "1 center" if n == 1 else f"{n} centers"
