"""Was each criterion of the plan met? The sections plan and acceptance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reports import tables
from reports.document import Block, Context, badges_block, in_order, table_block
from reports.selection import absent_block, bias_margin_text, primary_of
from reports.tables import Cell, Row

MET, NOT_MET, NOT_JUDGED = "met", "not met", "not judged"
Entry = Mapping[str, Any]


def acceptance(context: Context) -> list[Block]:
    """Criteria, results and outcomes of every primary measurement and acceleration."""
    rows = {k: r for k, r in context.agreement("fully_sampled").items() if context.margins(k[0])}
    if not rows:
        return [absent_block("No criterion could be judged: no measurement with margins was compared.")]
    lines: list[Row] = []
    outcomes: list[str] = []
    for phenotype in primary_of(context, [p for p, _ in rows]):
        for arm in (a for a in context.arms if (phenotype, a["arm"]) in rows):
            row = rows[phenotype, arm["arm"]]
            criteria = [_average(context, phenotype, row), _single(context, phenotype, row), _ladder(row)]
            outcomes += [c[-1] for c in criteria]
            named = [tables.text(tables.with_unit(phenotype, short=True)), tables.text(tables.arm_label(arm))]
            lines.append(Row((*named, *(tables.text(word) for c in criteria for word in c)), arm["method"]))
    counts = [(MET, "met"), (NOT_MET, "not met"), (NOT_JUDGED, None)]
    badges = badges_block([(f"Criteria {name}", str(outcomes.count(name)), state) for name, state in counts])
    level = f"{100 * (1 - 2 * context.results['plan']['alpha']):g} %"
    columns = ["Measurement", "Arm"]
    columns += [f"Average: {level} interval of the bias inside", "Found", "Outcome"]
    columns += [f"Single patients: outer {context.level} limits inside", "Found ", "Outcome "]
    columns += ["Claimed: both, here and at every lower acceleration, and neither centers nor failures contradict"]
    is_late = context.results["plan"].get("frozen_before_results") is False
    fixed = "of a plan written when measurements were there, so nothing is claimed" if is_late else "of the plan"
    table = tables.make_table(f"Criteria of acceptance {fixed}, for the main measurements", columns, lines)
    return [badges, table_block("acceptance-table", table)]


def _average(context: Context, phenotype: str, row: Entry) -> tuple[str, str, str]:
    """Criterion, result and outcome of the test of the bias."""
    tost, digits = row.get("tost") or {}, tables.decimals(phenotype)
    ends = " to ".join(tables.number(tost.get(k), digits) for k in ("low", "high"))
    found = f"{ends}, p {tables.p_value(tost.get('p'))}" if tost else ""
    return bias_margin_text(context.margins(phenotype)), found, outcome(_judged(row, tost.get("equivalent")))


def _single(context: Context, phenotype: str, row: Entry) -> tuple[str, str, str]:
    """Criterion, result and outcome of the limits of agreement."""
    outer = [(row.get("lower_limit") or {}).get("low"), (row.get("upper_limit") or {}).get("high")]
    found = "" if None in outer else " to ".join(tables.number(v, tables.decimals(phenotype)) for v in outer)
    margin = tables.plus_minus((context.margins(phenotype) or {}).get("limits"))
    return margin, found, outcome(_judged(row, row.get("limits_within_margin")))


def _ladder(row: Entry) -> tuple[str]:
    """Outcome of the fixed sequence."""
    return (outcome(_judged(row, row.get("claimed"))),)


def _judged(row: Entry, passed: bool | None) -> bool | None:
    """Too few pairs pass and fail nothing."""
    return None if row.get("verdict") == "too few" else passed


def outcome(passed: bool | None) -> str:
    """In words; a criterion without a result was not judged."""
    return NOT_JUDGED if passed is None else MET if passed else NOT_MET


def plan(context: Context) -> list[Block]:
    """Margins, levels, ladder, primary measurements, and the hashes that fix them."""
    about = context.results["plan"]
    rows = []
    for name in in_order(list(about["margins"])):
        margins = about["margins"][name]
        unit = margins.get("unit") or tables.phenotype_unit(name)
        cells = [tables.text(tables.phenotype_label(name)), tables.text(unit)]
        cells.append(Cell(bias_margin_text(margins), margins.get("bias")))
        cells.append(Cell(tables.plus_minus(margins.get("limits")), margins.get("limits")))
        cells.append(tables.text(margins.get("evidence")))
        rows.append(Row(tuple(cells)))
    columns = ["Measurement", "Unit", "Margin of the bias", "Margin of the limits (individuals)", "Evidence"]
    origin = about.get("margins_origin") or "origin not stated"
    table = tables.make_table(f"Margins ({origin})", columns, rows)
    return [{"kind": "definitions", "items": _facts(context, about)}, table_block("plan-table", table)]


def _facts(context: Context, about: Mapping[str, Any]) -> list[list[str]]:
    steps = [
        f"{tables.acceleration(s['acceleration'])} {tables.pattern_label(s['pattern'])}"
        for s in about.get("ladder") or []
    ]
    primary = [tables.symbol(p) for p in in_order(about.get("primary") or [])]
    bootstrap, rules = about.get("bootstrap") or {}, about.get("rules") or {}
    items: list[tuple[str, str | None]] = [
        ("Confidence level of intervals", context.level),
        ("Level of each one-sided test (alpha)", f"{about['alpha']:g}"),
        ("Fewest pairs for a verdict", str(about.get("minimum_patients") or tables.MISSING)),
        ("Measurements that carry the claim", ", ".join(primary) or None),
        ("Accelerations in the order tested", ", ".join(steps) or None),
        ("Verdict", rules.get("verdict")),
        ("Ladder", rules.get("ladder")),
        ("Centers", (about.get("centers") or {}).get("rule_text")),
        ("Failures", rules.get("failures")),
        *(("Classes of " + tables.symbol(p), _classes(c)) for p, c in (about.get("reclassification") or {}).items()),
        *(("Diagnosis", _diagnosis(r)) for r in (about.get("diagnosis") or {}).get("rules") or []),
        ("Bootstrap", f"{bootstrap['n_resamples']} resamples, seed {bootstrap['seed']}" if bootstrap else None),
        ("Origin of the margins", str(about.get("margins_origin") or tables.MISSING)),
        ("Written before the measurements", _when(about.get("frozen_before_results"))),
        ("Frozen (UTC)", about.get("frozen_utc")),
        ("Plan as a file", about.get("file")),
        ("Hash of the margins file (SHA-256)", about.get("margins_sha256")),
        ("Hash of the plan (SHA-256)", str(about.get("sha256") or tables.MISSING)),
    ]
    return [[term, str(words)] for term, words in items if words is not None]


def _when(is_before: bool | None) -> str:
    """Whether the plan may carry a claim; a run that does not say so is not believed."""
    if is_before is None:
        return "not recorded"
    return "yes" if is_before else "NO: measurements were there already, so nothing is claimed"


def _classes(rule: Mapping[str, Any]) -> str:
    cut_offs = ", ".join(f"{c:g}" for c in rule["cut_offs"])
    return f"cut-offs {cut_offs}; {rule.get('rule') or 'rule not stated'}; near means within {rule['near']:g}"


def _diagnosis(rule: Mapping[str, Any]) -> str:
    return f"{tables.symbol(rule['phenotype'])} for {rule['disease']}; {rule['positive_when']} values point to it"
