"""What does an agreement study without images say, on one page and in one PDF? Computes no statistic."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reports import tables
from reports.agreement_blocks import (
    PANELS_IN_A_ROW,
    Names,
    agreement_table,
    bland_altman_blocks,
    centers_table,
    entries,
    forest_blocks,
    methods_block,
    nested_table,
    plan_blocks,
    verdict_grid,
    verdict_key,
)
from reports.descriptive import COEFFICIENTS, SPREAD, coefficients, spread
from reports.document import Block, Context, in_order, plots_block, table_block, text_block
from reports.regression_figure import regression_panels
from reports.small_pages import Section, write_pages
from reports.tables import Cell, Row

FEW_CENTERS = 5
ICC_FORMS = ("1,1", "A,1", "C,1", "1,k", "A,k", "C,k")


def write_agreement_report(folder: Path, results: Mapping[str, Any]) -> tuple[Path, Path]:
    """Write ``report/index.html`` and ``report/report.pdf`` into the folder of a study."""
    cohort, arms = results["cohort"], [arm["label"] for arm in results["arms"]]
    n = len(cohort["centers"])
    where = f", {n} centers" if n > 1 else ""
    what = f"Compared: {', '.join(arms[1:])} with {arms[0]}. Data: {cohort['n_patients']} subjects, {cohort['n_scans']} readings{where}."
    return write_pages(Path(folder) / "report", results, texts="agreement_study.yaml", sections=SECTIONS, what=what)


def verdict(context: Context) -> list[Block]:
    """In words, the grid with its key, and what to read with it."""
    study = context.results["study"]
    said: Block = {"kind": "list", "title": "In words", "items": study["verdict_sentences"], "folded": False}
    grid = verdict_grid(context, Names(context.results), caption="Verdict for each measurement and method")
    notes: Block = {"kind": "list", "title": "To read with it", "items": study["notes"], "folded": False}
    return [said, verdict_key(context), grid, notes]


def limits(context: Context) -> list[Block]:
    """What must be known before the answer is used."""
    texts, results = context.texts["limits"], context.results
    n, missing = len(context.centers), len(results["failures"])
    items = [] if results["plan"]["margins"] else [texts["no margins"]]
    if n < FEW_CENTERS:
        items.append(texts["one center"] if n == 1 else texts["few centers"].format(n=n))
    items += [texts["missing"].format(n=missing)] if missing else []
    items += [texts["reference"], texts["range"]]
    return [{"kind": "list", "title": "Limits", "items": items, "folded": False}]


def agreement(context: Context) -> list[Block]:
    """Plots and the complete table."""
    names = Names(context.results)
    return [*bland_altman_blocks(context, names), agreement_table(context, names)]


def descriptive(context: Context) -> list[Block]:
    """Coefficients, and the spread in other terms."""
    names, blocks = Names(context.results), []
    for identifier, caption, columns, make in (
        ("coefficients-table", "Coefficients", COEFFICIENTS, coefficients),
        ("spread-table", "Spread in other terms", SPREAD, spread),
    ):
        lines = [
            Row((*_named(names, row), *make(row["descriptive"], row, names.digits(row["phenotype"]))))
            for row in context.results["agreement"]
        ]
        title = f"{caption}, with {context.level} intervals"
        blocks.append(table_block(identifier, tables.make_table(title, ["Measurement", "Compared", *columns], lines)))
    return blocks


def regression(context: Context) -> list[Block]:
    """Plots with the lines, and the lines' numbers."""
    names, rows = Names(context.results), entries(context)
    stored = [line for line in context.results["regression"] if rows[line["measurement"], line["arm"]]["pairs"]]
    blocks: list[Block] = []
    lines = []
    for name in in_order([line["measurement"] for line in stored]):
        mine, items = [line for line in stored if line["measurement"] == name], []
        for start in range(0, len(mine), PANELS_IN_A_ROW):
            part = mine[start : start + PANELS_IN_A_ROW]
            plot = regression_panels(
                [rows[name, line["arm"]] for line in part],
                part,
                titles=[line["arm"] for line in part],
                unit=names.unit(name),
            )
            alt = f"Test against reference of {names.label(name)} with lines; their numbers are in the table below"
            items.append(
                {"name": context.pictures.add(plot, suffix=".svg"), "caption": "test on reference", "alt": alt}
            )
        blocks.append(plots_block(names.with_unit(name), items))
        for line in mine:
            for kind, label in (("deming", "Deming"), ("passing_bablok", "Passing-Bablok")):
                known = line[kind] or {}
                ratio = line["error_ratio"] if kind == "deming" else None
                cells = (
                    *_named(names, {"phenotype": name, "arm": line["arm"]}),
                    tables.text(label),
                    tables.numeric(line["n"], 0),
                    tables.estimate(known.get("slope"), 3),
                    tables.estimate(known.get("intercept"), names.digits(name) + 1),
                    Cell(f"{ratio:.2f} ({line['error_ratio_origin']})" if ratio else tables.MISSING, ratio),
                    tables.text(line.get(f"{kind}_reason")),
                )
                lines.append(Row(cells))
    if not lines:
        return []
    columns = ["Measurement", "Compared", "Line", "n", "Slope", "Intercept", "Ratio of error variances", "Why not"]
    table = tables.make_table(f"Lines of the test on the reference, with {context.level} intervals", columns, lines)
    return [*blocks, table_block("regression-table", table)]


def readers(context: Context) -> list[Block]:
    """ICC family, test of a shift between methods, and the concordance of every two."""
    names, stored = Names(context.results), context.results["readers"]
    if not stored:
        return []
    lines, couples = [], []
    for row in stored:
        head = [tables.text(names.with_unit(row["measurement"])), tables.text(row["condition"])]
        shift = row["rater_bias"] or {}
        cells = [*head, tables.numeric(len(row["methods"]), 0), Cell(f"{row['n']}/{row['attempted']}", row["n"])]
        cells += [tables.estimate(row["icc"].get(form), 3) for form in ICC_FORMS]
        lines.append(Row((*cells, Cell(tables.p_value(shift.get("p")), shift.get("p")))))
        for pair in row["pairs"]:
            cells = [*head, tables.text(pair["first"]), tables.text(pair["second"]), tables.numeric(pair["n"], 0)]
            cells += [tables.estimate(pair["ccc"], 3), *(tables.numeric(pair[k], 3) for k in ("precision", "accuracy"))]
            couples.append(Row(tuple(cells)))
    columns = ["Measurement", "Condition", "Methods", "Complete subjects", *(f"ICC({form})" for form in ICC_FORMS)]
    columns.append("Equal means, p")
    table = tables.make_table(f"Intraclass correlation, with {context.level} intervals", columns, lines)
    heads = ["Measurement", "Condition", "Method", "and", "n", "CCC", "Precision (Pearson)", "Accuracy"]
    second = tables.make_table(f"Concordance of every two, with {context.level} intervals", heads, couples)
    blocks = [table_block("icc-table", table), table_block("ccc-table", second)]
    if any(row["averaged"] for row in stored):
        blocks.insert(0, text_block("Replicates are averaged here: the coefficients are those of such means."))
    return blocks


def repeatability(context: Context) -> list[Block]:
    """Within-subject spread of each method."""
    names, stored = Names(context.results), context.results["repeatability"]
    lines = [
        Row(
            (
                tables.text(names.with_unit(row["measurement"])),
                tables.text(row["arm"]),
                tables.numeric(row["n_subjects"], 0),
                tables.numeric(row["n_readings"], 0),
                tables.estimate(row["within_sd"], names.digits(row["measurement"])),
                tables.estimate(row["coefficient"], names.digits(row["measurement"])),
                tables.estimate(_percent(row["cv"]), 1),
            )
        )
        for row in stored
    ]
    columns = [
        "Measurement",
        "Method",
        "Subjects",
        "Readings",
        "Within-subject SD",
        "Repeatability coefficient",
        "CV (%)",
    ]
    caption = f"Repeated readings of one subject, with {context.level} intervals"
    return [table_block("repeatability-table", tables.make_table(caption, columns, lines))] if lines else []


def bias_profile(context: Context) -> list[Block]:
    """Bias in thirds of the reference."""
    names, lines = Names(context.results), []
    for row in context.results["bias_profile"]:
        digits = names.digits(row["phenotype"])
        for part in row["bins"]:
            ends = f"{tables.number(part['low'], digits)} to {tables.number(part['high'], digits)}"
            cells = [*_named(names, row), Cell(ends, part["low"]), tables.numeric(part["n"], 0)]
            lines.append(Row((*cells, tables.estimate(part["bias"], digits, signed=True))))
    columns = ["Measurement", "Compared", "Reference", "n", "Bias"]
    caption = f"Bias in thirds of the reference, with {context.level} intervals"
    return [table_block("profile-table", tables.make_table(caption, columns, lines))] if lines else []


def centers(context: Context) -> list[Block]:
    """Forest plots, limits for a new center, each center; nothing for one center."""
    if len(context.centers) < 2:
        return []
    names, stored = Names(context.results), context.results["nested"]
    blocks = forest_blocks(context, names)
    said = [
        f"{names.label(row['phenotype'])}, {row['arm']}: {row['center_consistency']['statement']}."
        for row in context.results["agreement"]
        if row.get("center_consistency")
    ]
    blocks.append({"kind": "list", "title": "Consistency", "items": said, "folded": False})
    return [*blocks, *([nested_table(context, names, stored)] if stored else []), centers_table(context, names)]


def outliers(context: Context) -> list[Block]:
    """Subjects far off, the most extreme first."""
    names, stored = Names(context.results), context.results["outliers"]
    lines = []
    for row in stored:
        digits = names.digits(row["phenotype"])
        cells = [*_named(names, row), tables.text(row["center"]), tables.text(row["patient"])]
        cells += [tables.numeric(row[k], digits) for k in ("reference", "test")]
        lines.append(Row((*cells, tables.numeric(row["difference"], digits, signed=True), tables.text(row["outside"]))))
    if not lines:
        return [text_block("No subject lies outside.")]
    columns = ["Measurement", "Compared", "Center", "Subject", "Reference", "Test", "Difference", "Outside the"]
    return [table_block("outliers-table", tables.make_table("Most extreme first", columns, lines))]


def flow(context: Context) -> list[Block]:
    """Counts, and who lacks a value."""
    names, lines = Names(context.results), []
    for row in context.results["agreement"]:
        found = row.get("replicates") or {}
        cells = [*_named(names, row), tables.text(row["against"])]
        cells += [tables.numeric(row[k], 0) for k in ("attempted", "n", "failed")]
        cells += [tables.numeric(found.get(k), 0) for k in ("readings_reference", "readings_test", "unpaired_readings")]
        lines.append(Row(tuple(cells)))
    columns = ["Measurement", "Compared", "With", "Planned", "Both values", "Missing"]
    columns += ["Readings of the reference", "Readings of the test", "Readings without a partner"]
    blocks = [table_block("flow-table", tables.make_table("Subjects by comparison", columns, lines))]
    missing = [
        Row(tuple(tables.text(row[k]) for k in ("stage", "center", "patient", "reason")))
        for row in context.results["failures"]
    ]
    if missing:
        heads = ["Comparison", "Center", "Subject", "Reason"]
        blocks.append(table_block("failures-table", tables.make_table("Subjects without a pair", heads, missing)))
    return blocks


def plan(context: Context) -> list[Block]:
    """Margins, levels, reference, replicates and hashes."""
    about = context.results["plan"].get("agreement") or {}
    more = [("Reference named beforehand", str(about.get("reference") or "no: the first of the table"))]
    more.append(("Truth between replicates", str(about.get("truth") or "not stated: no replicates")))
    return plan_blocks(context, Names(context.results), more)


def cohort(context: Context) -> list[Block]:
    """Centers, and how the table was understood."""
    about, table = context.results["cohort"], context.results["table"]
    items = [["Layout", f"{table['layout']} table"]]
    items += [[f"Column of the {role}", name] for role, name in table["columns"].items()]
    items += [["Readings", f"{table['n_readings']}, and {table['n_missing']} missing"]]
    items += [["Columns not used", ", ".join(table["ignored"]) or "none"]]
    rows = [
        Row((tables.text(c["center"]), tables.numeric(c["n_patients"], 0), tables.numeric(c["n_scans"], 0)))
        for c in about["centers"]
    ]
    counted = tables.make_table("Subjects and readings", ["Center", "Subjects", "Readings"], rows)
    return [{"kind": "definitions", "items": items}, table_block("cohort-table", counted)]


def provenance(context: Context) -> list[Block]:
    """Versions, hashes and command."""
    about = context.results["provenance"]
    labels = {
        "cardioval_version": "CardioVal version",
        "commit": "Source commit",
        "command": "Command",
        "inputs_sha256": "Hash of the table (SHA-256)",
    }
    items = [[label, str(about[key])] for key, label in labels.items() if about.get(key)]
    items += [[name, str(number)] for name, number in sorted((about.get("packages") or {}).items())]
    return [{"kind": "definitions", "items": items, "code": True}]


SECTIONS: Mapping[str, Section] = {
    made.__name__: made
    for made in (
        verdict,
        limits,
        agreement,
        descriptive,
        regression,
        readers,
        repeatability,
        bias_profile,
        centers,
        outliers,
        flow,
        plan,
        cohort,
        provenance,
    )
} | {"methods": methods_block}


def _named(names: Names, row: Mapping[str, Any]) -> list[Cell]:
    return [tables.text(names.with_unit(row["phenotype"])), tables.text(row["arm"])]


def _percent(value: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if value is None else {k: 100 * value[k] for k in ("estimate", "low", "high")}
