"""Up to which acceleration is a measurement valid, why not further, and what is claimed at all?"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cohort.phenotypes import VOCABULARY
from flows.analysis_options import Statistics
from flows.analysis_plan import AnalysisPlan, Rung, rungs_of
from flows.center_consistency import centers_against, objection
from flows.descriptions import FULLY_SAMPLED
from flows.margins import Margin
from flows.verdicts import shortfall, too_few_inside
from reports import tables
from stats.multiplicity import fixed_sequence

Row = dict[str, Any]
Arms = Mapping[str, Mapping[str, Any]]
# from the least to the best that may be said of an acceleration with several arms
ORDER = ("not measured", "too few", "not shown", "bias only", "shown")


def decide_ladders(
    agreement: Sequence[Row],
    arms: Sequence[Row],
    plan: AnalysisPlan,
    *,
    planned_after: bool = False,
    scope: bool = True,
) -> list[Row]:
    """Climb each phenotype's ladder of accelerations with each method; marks the rows of `agreement` as ``claimed``.

    Testing begins at the lowest nominal acceleration and ends at the first where an arm is not shown, or its centers or
    failures contradict it; the type I error of the sequence is then that of one test. What lies above is not claimed,
    nor what the plan does not name as primary, nor anything under a plan that was made when measurements were there.

    Parameters
    ----------
    planned_after
        The plan was written when there were measurements already.
    scope
        Whether sentences say for which centers a claim is.

    Returns
    -------
    list of dict
        ``phenotype method primary planned_after claimed_up_to first_not_shown levels sentence``; each level has ``arms
        acceleration verdict passed claimed reason``. Rows of `agreement` get ``claimed`` and ``contradicted_by``, a list
        as `contradictions` gives.
    """
    for row in agreement:
        row["claimed"], row["contradicted_by"] = False, []
    by_id = {arm["arm"]: arm for arm in arms}
    ladder = plan.ladder or rungs_of(arms)
    decisions = []
    for (phenotype, method), rows in _ladders(agreement, by_id, plan).items():
        margin = plan.margins.by_phenotype[phenotype]
        primary = phenotype in plan.primary
        levels = _levels(rows, by_id, ladder, margin, plan)
        sequence = fixed_sequence([level["passed"] for level in levels])
        for level, claimed in zip(levels, sequence.claimed, strict=True):
            level["claimed"] = claimed and primary and not planned_after
            for row in level["rows"]:
                row["claimed"] = level["claimed"]
        centers = plan.options.minimum_centers if scope else 0
        decisions.append(
            _decision(phenotype, method, levels, primary=primary, planned_after=planned_after, centers=centers)
        )
    return decisions


def decide_together(decisions: Sequence[Row], plan: AnalysisPlan) -> list[Row]:
    """What holds for all primary phenotypes of a method at once: an intersection-union test, which needs no correction.

    Nothing is said of a single primary phenotype, whose own sentence says it, nor where the plan came after measurements.

    Returns
    -------
    list of dict
        ``method phenotypes missing claimed_up_to first_not_shown sentence``, a row a method.
    """
    together = []
    for method in dict.fromkeys(d["method"] for d in decisions):
        mine = [d for d in decisions if d["method"] == method and d["primary"] and not d["planned_after"]]
        if not mine:
            continue
        measured = [d["phenotype"] for d in mine]
        missing = [name for name in plan.primary if name not in measured] if plan.primary_stated else []
        if len(mine) == 1 and not missing:
            continue
        passed: Row | None = None
        stopped: Row | None = None
        for step in zip(*(d["levels"] for d in mine), strict=True):
            if missing or not all(level["claimed"] for level in step):
                stopped = {
                    "levels": step,
                    "names": _short([d for d, lv in zip(mine, step, strict=True) if not lv["claimed"]]),
                }
                break
            passed = {"levels": step}
        together.append(_joint(method, measured, missing, passed, stopped))
    return together


def _ladders(agreement: Iterable[Row], by_id: Arms, plan: AnalysisPlan) -> dict[tuple[str, str], list[Row]]:
    ladders: dict[tuple[str, str], list[Row]] = {}
    for row in agreement:
        method = by_id[row["arm"]]["method"]
        planned = not plan.methods or method in plan.methods
        if row["against"] == FULLY_SAMPLED and row["phenotype"] in plan.margins.by_phenotype and planned:
            ladders.setdefault((row["phenotype"], method), []).append(row)
    return ladders


def _levels(rows: Sequence[Row], by_id: Arms, ladder: Sequence[Rung], margin: Margin, plan: AnalysisPlan) -> list[Row]:
    """One level a nominal acceleration, with all of its planned arms."""
    found = {(by_id[row["arm"]]["pattern"], float(by_id[row["arm"]]["acceleration"])): row for row in rows}
    levels = []
    for acceleration in sorted({rung.acceleration for rung in ladder}):
        rungs = [rung for rung in ladder if rung.acceleration == acceleration]
        here = [found.get((rung.pattern, acceleration)) for rung in rungs]
        reasons = [_reason(rung, row, margin, plan) for rung, row in zip(rungs, here, strict=True)]
        verdicts = [row["verdict"] if row else ORDER[0] for row in here]
        levels.append(
            {
                "arms": [row["arm"] for row in here if row],
                "acceleration": acceleration,
                "verdict": min(verdicts, key=ORDER.index),
                "passed": not any(reasons),
                "reason": "; ".join(reason for reason in reasons if reason) or None,
                "rows": [row for row in here if row],
                "label": " and ".join(_rung_text(rung) for rung in rungs),
            }
        )
    return levels


def _reason(rung: Rung, row: Row | None, margin: Margin, plan: AnalysisPlan) -> str | None:
    """Why a rung is not passed, None where it is."""
    where = _rung_text(rung)
    if row is None:
        return f"not measured at {where}"
    if row["verdict"] == "too few":
        return f"no verdict at {where}: {row['n']} of {row['attempted']} patients have both values, too few"
    if row["verdict"] == "bias only":
        return f"at {where} only the bias is shown, because {shortfall(row, margin)}"
    if row["verdict"] != "shown":
        return f"not shown at {where}, because {shortfall(row, margin)}"
    row["contradicted_by"], reasons = contradictions(row, margin, plan.options)
    return f"not claimed at {where}, because {reasons}" if reasons else None


def contradictions(row: Row, margin: Margin | None, options: Statistics) -> tuple[list[str], str | None]:
    """What keeps a comparison that is shown from being claimed, as names and in words.

    The names are "centers" (single ones), "spread" (between centers), "failures" and "withheld".
    """
    if margin is None:
        return [], None
    found = row.get("center_consistency")
    against = {
        "centers" if found and centers_against(found, options) else "spread": objection(found, margin, options),
        "failures": too_few_inside(row, margin),
        "withheld": row.get("withheld"),
    }
    return [who for who, why in against.items() if why], " and ".join(why for why in against.values() if why) or None


def _decision(
    phenotype: str, method: str, levels: Sequence[Row], *, primary: bool, planned_after: bool, centers: int
) -> Row:
    passed, stop = _climbed(levels)
    sentence = _sentence(phenotype, method, levels, primary=primary, planned_after=planned_after)
    entry = {
        "phenotype": phenotype,
        "method": method,
        "primary": primary,
        "planned_after": planned_after,
        "claimed_up_to": passed["arms"][-1] if passed and primary and not planned_after else None,
        "first_not_shown": stop["arms"][0] if stop and stop["arms"] else None,
        "sentence": sentence + (_scope(passed, centers) if passed else ""),
    }
    public = ("arms", "acceleration", "verdict", "passed", "claimed", "reason")
    return entry | {"levels": [{key: level[key] for key in public} | {"label": level["label"]} for level in levels]}


def _climbed(levels: Sequence[Row]) -> tuple[Row | None, Row | None]:
    """The last level before the first that is not passed, and that one."""
    passed = None
    for level in levels:
        if not level["passed"]:
            return passed, level
        passed = level
    return passed, None


def _scope(passed: Row, minimum: int) -> str:
    """For which centers a claim is, where they are too few to speak for others."""
    n = min(
        (row["center_consistency"]["n_centers"] for row in passed["rows"] if row.get("center_consistency")), default=0
    )
    if not 0 < n < minimum:
        return ""
    return f" {n} {'center was' if n == 1 else 'centers were'} studied, too few to speak for others."


def _sentence(phenotype: str, method: str, levels: Sequence[Row], *, primary: bool, planned_after: bool) -> str:
    passed, stop = _climbed(levels)
    head = f"{_symbol(phenotype)} with {tables.method_label(method)}: "
    start = f"valid up to {passed['label']}" if passed else ""
    if planned_after:
        head += "the plan was written when measurements were there, so nothing is claimed; "
        start = start.replace("valid", "would be valid")
    elif not primary:
        head += "not among the primary measurements, so nothing is claimed; "
        start = start.replace("valid", "would be valid")
    if stop is None:
        rows = [row for level in levels for row in level["rows"]]
        return f"{head}{start}, the highest acceleration tested.{_failures(rows)}"
    above = [level for level in levels if level["acceleration"] > stop["acceleration"] and level["passed"]]
    rest = ""
    if above:
        names = " and ".join(level["label"] for level in above)
        verb = "is" if " and " not in names else "are"
        rest = f" {names} would pass alone but {verb} not claimed: the sequence stops at the first failure."
    return f"{head}{start}{'; ' if start else ''}{stop['reason']}.{rest}{_failures(stop['rows'])}"


def _failures(rows: Iterable[Row]) -> str:
    failed = [row for row in rows if row["failed"]]
    if not failed:
        return ""
    worst = max(failed, key=lambda row: row["failed"])
    return f" Up to {worst['failed']} of {worst['attempted']} patients had no value at one acceleration."


def _joint(method: str, measured: list[str], missing: list[str], passed: Row | None, stopped: Row | None) -> Row:
    n, label = len(measured), tables.method_label(method)
    up_to = passed["levels"][0] if passed else None
    first = stopped["levels"][0] if stopped else None
    head = f"The primary measurement with {label}" if n == 1 else f"All {n} primary measurements with {label}"
    if missing:
        words = f"no joint claim: {', '.join(_symbol(name) for name in missing)} was planned and never measured"
    elif first is None:
        words = f"valid up to {_level_label(up_to)}, the highest acceleration tested"
    else:
        start = f"valid up to {_level_label(up_to)}; " if up_to else ""
        words = (
            f"{start}not claimed at {_level_label(first)} because of {', '.join(stopped['names'] if stopped else [])}"
        )
    return {
        "method": method,
        "phenotypes": measured,
        "missing": missing,
        "claimed_up_to": up_to["arms"][-1] if up_to else None,
        "first_not_shown": first["arms"][0] if first and first["arms"] else None,
        "sentence": f"{head}: {words}.",
    }


def _level_label(level: Row | None) -> str:
    return str(level["label"]) if level else ""


def _short(decisions: Iterable[Row]) -> list[str]:
    return [_symbol(d["phenotype"]) for d in decisions]


def _symbol(phenotype: str) -> str:
    return VOCABULARY[phenotype].symbol if phenotype in VOCABULARY else phenotype


def _rung_text(rung: Rung) -> str:
    return tables.arm_short({"method": "", "pattern": rung.pattern, "acceleration": rung.acceleration})
