"""What do several centers say together, on one page and in one PDF? Computes no statistic."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reports import tables
from reports.agreement_blocks import (
    Names,
    agreement_table,
    centers_table,
    compared_arms,
    forest_blocks,
    methods_block,
    nested_table,
    plan_blocks,
    verdict_grid,
    verdict_key,
)
from reports.document import Block, Context, table_block
from reports.small_pages import Section, write_pages
from reports.tables import Cell, Row

FEWEST_CENTERS, FEW_CENTERS = 3, 5


def write_pooled_report(folder: Path, results: Mapping[str, Any]) -> tuple[Path, Path]:
    """Write ``report/index.html`` and ``report/report.pdf`` into the folder of a pooling."""
    n = len(results["cohort"]["centers"])
    people = [center["n_patients"] for center in results["cohort"]["centers"]]
    known = sum(number for number in people if number)
    what = f"{n} centers, {len(results['exports'])} exports; up to {known} patients in the centers that may be shown."
    return write_pages(Path(folder) / "report", results, texts="pooled.yaml", sections=SECTIONS, what=what)


def verdict(context: Context) -> list[Block]:
    """In words, the grid with its key, and what to read with it."""
    study = context.results["study"]
    said: Block = {"kind": "list", "title": "In words", "items": study["verdict_sentences"], "folded": False}
    caption = "Verdict over centers for each measurement"
    grid = verdict_grid(context, Names(context.results), caption=caption)
    notes: Block = {"kind": "list", "title": "To read with it", "items": study["notes"], "folded": False}
    return [said, verdict_key(context), grid, notes]


def limits(context: Context) -> list[Block]:
    """What must be known before the answer is used."""
    texts, results = context.texts["limits"], context.results
    n = len(context.centers)
    items = [texts["few"]] if any(row["n_centers"] < FEWEST_CENTERS for row in results["agreement"]) else []
    items += [texts["under five"].format(n=n)] if FEWEST_CENTERS <= n < FEW_CENTERS else []
    items += [texts["withheld"].format(n=len(results["withheld"]))] if results["withheld"] else []
    items += [texts["same"], texts["rest"]]
    return [{"kind": "list", "title": "Limits", "items": items, "folded": False}]


def centers(context: Context) -> list[Block]:
    """Forest plots, and the centers' own numbers."""
    names = Names(context.results)
    return [*forest_blocks(context, names), centers_table(context, names)]


def between(context: Context) -> list[Block]:
    """Heterogeneity, prediction, limits for a new center, and one center left out."""
    names, rows = Names(context.results), context.results["agreement"]
    lines, left_out = [], []
    for row in rows:
        digits = names.digits(row["phenotype"])
        head = [tables.text(names.with_unit(row["phenotype"], short=True)), tables.text(_label(context, row["arm"]))]
        found = row["center_level"] or {}
        ends = [tables.number((found.get("prediction") or {}).get(k), digits) for k in ("low", "high")]
        cells = [*head, tables.numeric(row["n_centers"], 0), tables.estimate(row["bias"], digits, signed=True)]
        cells.append(tables.text(" to ".join(ends) if found.get("prediction") else None))
        cells += [tables.numeric(found.get("tau"), digits), tables.estimate(row["i2_interval"], 0)]
        p = row["heterogeneity_p"]
        lines.append(Row((*cells, Cell(tables.p_value(p), p), tables.text(row["center_consistency"]["statement"]))))
        for other in row["leave_one_out"]:
            cells = [*head, tables.text(other["center"]), tables.estimate(other, digits, signed=True)]
            cells += [tables.estimate(other[side], digits) for side in ("lower_limit", "upper_limit")]
            left_out.append(Row((*cells, tables.text(tables.VERDICT_LABELS[other["verdict"]]))))
    columns = ["Measurement", "Compared", "Centers", "Bias", "Prediction for a new center", "SD between centers (tau)"]
    columns += ["I² (%)", "Equal centers, p", "Consistency"]
    caption = f"Random effects over centers, with {context.level} intervals"
    blocks = [table_block("between-table", tables.make_table(caption, columns, lines))]
    stored = [row["nested"] | {"measurement": row["phenotype"], "arm": row["arm"]} for row in rows if row["nested"]]
    if stored:
        blocks.append(nested_table(context, names, stored))
    if left_out:
        heads = [
            "Measurement",
            "Compared",
            "Without center",
            "Bias of the others",
            "Lower limit",
            "Upper limit",
            "Verdict",
        ]
        title = f"One center left out, with {context.level} intervals"
        blocks.append(table_block("leave-one-out-table", tables.make_table(title, heads, left_out)))
    return blocks


def agreement(context: Context) -> list[Block]:
    """Every comparison, over centers and as one sample."""
    names, lines = Names(context.results), []
    for row in context.results["agreement"]:
        digits, one = names.digits(row["phenotype"]), row["as_one_sample"]
        cells = [tables.text(names.with_unit(row["phenotype"], short=True)), tables.text(_label(context, row["arm"]))]
        cells += [tables.numeric(row["n"], 0), tables.estimate(one["bias"], digits, signed=True)]
        cells += [tables.estimate(one[side], digits) for side in ("lower_limit", "upper_limit")]
        lines.append(Row(tuple(cells)))
    columns = ["Measurement", "Compared", "Pairs", "Bias", "Lower limit", "Upper limit"]
    caption = f"All patients as one sample, with {context.level} intervals"
    second = table_block("one-sample-table", tables.make_table(caption, columns, lines))
    return [agreement_table(context, names), second]


def flow(context: Context) -> list[Block]:
    """Exports, and what was withheld."""
    rows = [
        Row(
            (
                tables.text(export["file"]),
                tables.text(", ".join(export["centers"])),
                tables.numeric(export["minimum"], 0),
                tables.text(export["versions"].get("cardioval")),
                tables.text(export["created_utc"]),
                tables.text(export["sha256"]),
            )
        )
        for export in context.results["exports"]
    ]
    columns = ["File", "Centers", "Fewest patients of a cell", "CardioVal", "Written (UTC)", "SHA-256 of the content"]
    blocks = [table_block("exports-table", tables.make_table("Exports", columns, rows))]
    names = Names(context.results)
    withheld = [
        Row(
            (
                tables.text(names.with_unit(cell["phenotype"], short=True)),
                tables.text(_label(context, cell["arm"])),
                tables.text(cell["center"]),
                tables.text(cell["suppressed"]),
            )
        )
        for cell in context.results["withheld"]
    ]
    if withheld:
        heads = ["Measurement", "Compared", "Center", "Withheld because"]
        blocks.append(table_block("withheld-table", tables.make_table("Withheld by the centers", heads, withheld)))
    return blocks


def plan(context: Context) -> list[Block]:
    """Margins, levels and hashes."""
    steps = [
        f"{tables.acceleration(step['acceleration'])} {tables.pattern_label(step['pattern'])}"
        for step in context.results["plan"].get("ladder") or []
    ]
    more = [("Accelerations in the order tested", ", ".join(steps))] if steps else []
    return plan_blocks(context, Names(context.results), more)


def provenance(context: Context) -> list[Block]:
    """Versions, weights and command."""
    about = context.results["provenance"]
    labels = {"cardioval_version": "CardioVal version", "commit": "Source commit", "command": "Command"}
    items = [[label, str(about[key])] for key, label in labels.items() if about.get(key)]
    items += [[f"Weights: {w['name']}", w["sha256"]] for w in about.get("weights") or []]
    return [{"kind": "definitions", "items": items, "code": True}]


SECTIONS: Mapping[str, Section] = {
    made.__name__: made for made in (verdict, limits, centers, between, agreement, flow, plan, provenance)
} | {"methods": methods_block}


def _label(context: Context, arm: str) -> str:
    return next((tables.arm_label(a) for a in compared_arms(context) if a["arm"] == arm), arm)
