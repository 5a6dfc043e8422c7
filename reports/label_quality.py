"""Can the labels be trusted? The section quality_control."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from reports import tables
from reports.document import Block, Context, in_parts, table_block, text_block
from reports.selection import absent_block
from reports.tables import Cell, Row

MOST_FAILED_IN_PDF: Final = 40
OUTCOMES: Final = ("pass", "warn", "fail")
Arm = Mapping[str, Any]


def quality_control(context: Context) -> list[Block]:
    """Outcomes of every check for each arm, and who failed."""
    stored = context.results.get("quality_control") or {"arms": [], "checks": [], "failed": []}
    about = {a["arm"]: a for a in stored["arms"]}
    arms = [a for a in context.all_arms if a["arm"] in about]
    if not arms:
        return [absent_block("No labels of a cine were judged.")]
    counts = {(r["check"], r["arm"]): r for r in stored["checks"]}
    checks = list(dict.fromkeys(r["check"] for r in stored["checks"]))
    blocks: list[Block] = []
    for number, part in enumerate(in_parts(arms)):
        rows = [Row((tables.text("Scans judged"), *(_judged(about[a["arm"]]) for a in part)))]
        rows += [Row((tables.text(c), *(_outcomes(counts.get((c, a["arm"]))) for a in part))) for c in checks]
        columns = ["Check", *(tables.arm_label(a) for a in part)]
        caption = (
            "Scans that passed / have a warning / failed, by check and arm; what is not in the table was passed by all"
        )
        blocks.append(table_block(f"quality-control-table-{number + 1}", tables.make_table(caption, columns, rows)))
    failed = [r for r in stored["failed"] if r["arm"] in about]
    if not failed:
        return [*blocks, text_block("No scan failed a check.")]
    return [*blocks, _failed_table(failed, {a["arm"]: a for a in arms})]


def _failed_table(failed: Sequence[Mapping[str, Any]], arms: Mapping[str, Arm]) -> Block:
    rows = [
        Row(
            (
                *(tables.text(r[name]) for name in ("center", "patient", "scan")),
                tables.text(tables.arm_label(arms[r["arm"]])),
                *(tables.text(r[name]) for name in ("check", "reason")),
            ),
            arms[r["arm"]]["method"],
        )
        for r in failed
    ]
    columns = ["Center", "Patient", "Scan", "Arm", "Check", "Why"]
    table = tables.make_table(f"{len(rows)} failed checks; the values stay in all tables", columns, rows)
    return table_block("quality-control-failed-table", table, pdf=len(rows) <= MOST_FAILED_IN_PDF)


def _judged(about: Mapping[str, Any]) -> Cell:
    missing = about["not_judged"]
    return Cell(f"{about['judged']} of {about['judged'] + missing}", about["judged"])


def _outcomes(row: Mapping[str, Any] | None) -> Cell:
    if row is None:
        return tables.text(None)
    return Cell(" / ".join(str(row[outcome]) for outcome in OUTCOMES), -(row["warn"] + row["fail"]))
