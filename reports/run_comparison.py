"""What changed between two runs, on one page and in one PDF? Computes no statistic."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reports import figures, tables
from reports.agreement_blocks import Names
from reports.document import Block, Context, badges_block, in_order, plots_block, table_block, text_block
from reports.small_pages import Section, write_pages
from reports.tables import Cell, Row

RATHER_MORE = 1  # digit more than a measurement has: changes are small
WORDS = {"run": "Run", "package": "Package", "weights": "Weights", "plan": "Plan", "configuration": "Configuration"}


def write_comparison_report(folder: Path, comparison: Mapping[str, Any]) -> tuple[Path, Path]:
    """Write ``report/index.html`` and ``report/report.pdf`` into a folder."""
    first, second = comparison["runs"]
    cohort = comparison["cohort"]
    what = f"Before: {first['folder']}; after: {second['folder']}. {cohort['n_common']} patients in both."
    return write_pages(Path(folder) / "report", comparison, texts="run_comparison.yaml", sections=SECTIONS, what=what)


def verdict(context: Context) -> list[Block]:
    """Counts, and every verdict that changed."""
    found, names = context.results, Names(context.results)
    rows = found["verdicts"]
    counts = [(word, sum(row["change"] == kind for row in rows)) for kind, word in _kinds()]
    blocks = [badges_block([(word, str(n), None) for word, n in counts])]
    cohort = found["cohort"]
    facts = [
        f"Patients with values: {cohort['n_before']} before, {cohort['n_after']} after, {cohort['n_common']} in both."
    ]
    inputs = {True: "The inputs are the same files.", False: "The inputs are not the same files.", None: ""}
    facts += [inputs[cohort["same_inputs"]]] if cohort["same_inputs"] is not None else []
    for key, when in (("only_before", "before"), ("only_after", "after")):
        if found[key]:
            facts.append(f"{len(found[key])} comparisons exist only {when}; they count as no change.")
    if any(change["kind"] == "plan" for change in found["changes"]):
        facts.append("The plans differ, so a verdict may have changed because the question did.")
    blocks.append({"kind": "list", "title": "To read with it", "items": facts, "folded": False})
    changed = sorted((row for row in rows if row["change"] != "same"), key=lambda row: row["change"] != "worse")
    if not changed:
        return [*blocks, text_block("No verdict changed.")]
    lines = []
    for row in changed:
        digits = names.digits(row["phenotype"])
        cells = [*_named(context, names, row), tables.text(row["change"])]
        cells += [tables.text(row["before"]), tables.text(row["after"])]
        cells += [tables.estimate(row[f"bias_{when}"], digits, signed=True) for when in ("before", "after")]
        cells += [tables.numeric(row[f"n_{when}"], 0) for when in ("before", "after")]
        lines.append(Row((*cells, tables.text(row["reason_after"]))))
    columns = [
        "Measurement",
        "Arm",
        "Change",
        "Before",
        "After",
        "Bias before",
        "Bias after",
        "Pairs before",
        "Pairs after",
    ]
    table = tables.make_table("Verdicts that changed", [*columns, "Reason after"], lines)
    return [*blocks, table_block("verdicts-table", table)]


def causes(context: Context) -> list[Block]:
    """What of the runs differs."""
    lines = [
        Row(tuple(tables.text(text) for text in (WORDS[row["kind"]], row["name"], row["before"], row["after"])))
        for row in context.results["changes"]
    ]
    if not lines:
        return [text_block("Versions, weights, plan and configuration are the same.")]
    table = tables.make_table("What differs between the runs", ["Of the", "What", "Before", "After"], lines)
    return [table_block("causes-table", table)]


def shifts(context: Context) -> list[Block]:
    """A panel a measurement, and the numbers."""
    names, stored = Names(context.results), context.results["shifts"]
    arms = {arm["arm"]: arm for arm in context.results["arms"]}
    used = [arm for arm in arms if any(row["arm"] == arm and row["change"] for row in stored)]
    panels, lines = [], []
    for name in context.judged([row["phenotype"] for row in stored if row["change"]]):
        mine = {row["arm"]: {"bias": row["change"]} for row in stored if row["phenotype"] == name and row["change"]}
        panels.append({"title": names.with_unit(name, short=True), "rows": mine, "margins": None})
    for name in in_order([row["phenotype"] for row in stored]):
        for row in (r for r in stored if r["phenotype"] == name):
            digits = names.digits(name) + RATHER_MORE
            cells = [*_named(context, names, row), tables.numeric(row["n"], 0), tables.numeric(row["moved"], 0)]
            cells += [tables.estimate(row["change"], digits, signed=True), tables.numeric(row["sd"], digits)]
            cells += [tables.numeric(row["largest"], digits)]
            cells += [tables.numeric(row[k], digits, signed=True) for k in ("reference_change", "test_change")]
            margin = (context.margins(name) or {}).get("bias")
            lines.append(Row((*cells, Cell(tables.plus_minus(margin), margin))))
    blocks: list[Block] = []
    if panels:
        labels = [tables.arm_label(arms[arm]) for arm in used]
        plot = figures.against_truth(panels, arms=used, labels=labels, methods=[arms[arm]["method"] for arm in used])
        item = {
            "name": context.pictures.add(plot, suffix=".svg"),
            "caption": f"Mean change (after minus before) with its paired {context.level} interval.",
            "alt": "Mean change of the difference, a panel a measurement, a line an arm; the numbers are in the table below",
        }
        blocks.append(plots_block("Change of the difference", [item]))
    columns = ["Measurement", "Arm", "Patients in both", "Changed", "Mean change", "SD", "Largest"]
    columns += ["of the reference", "of the test", "Margin of the bias"]
    caption = f"Change of the difference, after minus before, with paired {context.level} intervals"
    return [*blocks, table_block("shifts-table", tables.make_table(caption, columns, lines))]


def moved(context: Context) -> list[Block]:
    """Patients, the most moved first."""
    names, lines = Names(context.results), []
    for row in context.results["moved"]:
        digits = names.digits(row["phenotype"]) + RATHER_MORE
        cells = [*_named(context, names, row), tables.text(row["center"]), tables.text(row["patient"])]
        cells += [tables.numeric(row[k], digits, signed=True) for k in ("before", "after", "change")]
        lines.append(
            Row((*cells, tables.numeric(row["size"], 2), tables.text("margin" if row["in_margins"] else "SD")))
        )
    if not lines:
        return [text_block("No value changed.")]
    columns = [
        "Measurement",
        "Arm",
        "Center",
        "Patient",
        "Difference before",
        "Difference after",
        "Change",
        "Size",
        "in units of",
    ]
    return [table_block("moved-table", tables.make_table("Most moved first", columns, lines))]


def failures(context: Context) -> list[Block]:
    """New ones and those that are gone."""
    blocks: list[Block] = []
    for key, caption in (("new", "New failures"), ("gone", "Failures that are gone")):
        stored = context.results["failures"][key]
        rows = [
            Row(tuple(tables.text(row[k]) for k in ("center", "patient", "scan", "stage", "reason"))) for row in stored
        ]
        if rows:
            columns = ["Center", "Patient", "Scan", "Stage", "Reason"]
            blocks.append(table_block(f"failures-{key}-table", tables.make_table(caption, columns, rows)))
    return blocks or [text_block("The same measurements failed in both, or none did.")]


def provenance(context: Context) -> list[Block]:
    """Runs, version and command."""
    about, runs = context.results["provenance"], context.results["runs"]
    items = [
        [when, f"{run['folder']}, {run['created_utc'] or 'date not stated'}"]
        for when, run in zip(("Before", "After"), runs, strict=True)
    ]
    items += [["CardioVal version", str(about["cardioval_version"])], ["Source commit", str(about["commit"])]]
    return [{"kind": "definitions", "items": [*items, ["Command", str(about["command"])]], "code": True}]


SECTIONS: Mapping[str, Section] = {
    made.__name__: made for made in (verdict, causes, shifts, moved, failures, provenance)
}


def _kinds() -> tuple[tuple[str, str], ...]:
    return (("worse", "Verdicts worse"), ("better", "Verdicts better"), ("same", "Verdicts unchanged"))


def _named(context: Context, names: Names, row: Mapping[str, Any]) -> list[Cell]:
    arm = next((a for a in context.results["arms"] if a["arm"] == row["arm"]), None)
    label = tables.arm_label(arm) if arm else row["arm"]
    return [tables.text(names.with_unit(row["phenotype"], short=True)), tables.text(label)]
