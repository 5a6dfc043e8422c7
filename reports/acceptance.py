"""Was each criterion that was fixed beforehand met? The sections plan and acceptance."""

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
    """Criterion, result and outcome of every primary measurement and acceleration."""
    rows = {k: r for k, r in context.agreement("fully_sampled").items() if context.margins(k[0])}
    if not rows:
        return [absent_block("No criterion could be judged: no measurement with margins was compared.")]
    lines: list[Row] = []
    outcomes: list[str] = []
    for phenotype in primary_of(context, [p for p, _ in rows]):
        for arm in (a for a in context.arms if (phenotype, a["arm"]) in rows):
            named = [tables.text(tables.with_unit(phenotype, short=True)), tables.text(tables.arm_label(arm))]
            for criterion, result, outcome in _criteria(context, phenotype, rows[phenotype, arm["arm"]]):
                outcomes.append(outcome)
                cells = (*named, tables.text(criterion), tables.text(result), tables.text(outcome))
                lines.append(Row(cells, arm["method"]))
    counts = [(MET, "met"), (NOT_MET, "not met"), (NOT_JUDGED, "not applicable")]
    badges = badges_block([(name, str(outcomes.count(name)), state) for name, state in counts])
    columns = ["Measurement", "Arm", "Criterion fixed beforehand", "Result", "Outcome"]
    return [badges, table_block("acceptance-table", tables.make_table("Criteria of acceptance", columns, lines))]


def _criteria(context: Context, phenotype: str, row: Entry) -> list[tuple[str, str, str]]:
    """Criterion, result and outcome: the average, single patients, and the ladder."""
    margins, digits = context.margins(phenotype) or {}, tables.decimals(phenotype)
    few, tost = row.get("verdict") == "too few", row.get("tost") or {}
    ends = [tables.number(tost.get(k), digits) for k in ("low", "high")]
    level = 100 * (1 - 2 * (tost.get("alpha") or context.results["plan"]["alpha"]))
    outer = [(row.get("lower_limit") or {}).get("low"), (row.get("upper_limit") or {}).get("high")]
    made = [
        (
            f"{level:g} % interval of the bias inside {bias_margin_text(margins)}",
            f"{' to '.join(ends)}, p {tables.p_value(tost.get('p'))}" if tost else "",
            outcome(None if few else tost.get("equivalent")),
        ),
        (
            f"Outer {context.level} limits of agreement inside {tables.plus_minus(margins.get('limits'))}",
            " to ".join(tables.number(v, digits) for v in outer) if None not in outer else "",
            outcome(None if few else row.get("limits_within_margin")),
        ),
    ]
    if row.get("claimed") is not None:
        stands = "claimed" if row["claimed"] else "shown here, but a lower acceleration failed"
        said = (
            stands if row.get("verdict") == "shown" else tables.VERDICT_LABELS.get(str(row.get("verdict")), "").lower()
        )
        made.append(("Both, and at every lower acceleration", said, outcome(None if few else row["claimed"])))
    return made


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
    bootstrap = about.get("bootstrap") or {}
    items: list[tuple[str, str | None]] = [
        ("Confidence level of intervals", context.level),
        ("Level of each one-sided test (alpha)", f"{about['alpha']:g}"),
        ("Fewest pairs for a verdict", str(about.get("minimum_patients") or tables.MISSING)),
        ("Measurements that carry the claim", ", ".join(primary) or None),
        ("Accelerations in the order tested", ", ".join(steps) or None),
        ("Bootstrap", f"{bootstrap['n_resamples']} resamples, seed {bootstrap['seed']}" if bootstrap else None),
        ("Origin of the margins", str(about.get("margins_origin") or tables.MISSING)),
        ("Frozen (UTC)", about.get("frozen_utc")),
        ("Plan as a file", about.get("file")),
        ("Hash of the margins file (SHA-256)", about.get("margins_sha256")),
        ("Hash of the plan (SHA-256)", str(about.get("sha256") or tables.MISSING)),
    ]
    return [[term, str(words)] for term, words in items if words is not None]
