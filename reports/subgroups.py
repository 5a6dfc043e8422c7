"""Does the result hold for every vendor, field, disease and sex? The section subgroups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from reports import decision_figures, tables
from reports.document import Block, Context, by_method, plots_block, text_block
from reports.selection import absent_block, long_table
from reports.tables import Cell, Row, Table

BY_LABELS = {"vendor": "Vendor", "field_t": "Field strength (T)", "disease": "Diagnosis", "sex": "Sex"}
INSIDE = {True: "inside", False: "outside", None: tables.MISSING}


def subgroups(context: Context) -> list[Block]:
    """A table for each way to divide the patients, and a word on what was not known."""
    named = {a["arm"]: a for a in context.arms}
    stored = [g for g in context.results.get("subgroups") or [] if g["arm"] in named]
    if not stored:
        return [absent_block("No subgroups: vendor, field, diagnosis and sex are not known or the same for all.")]
    kinds = [*BY_LABELS, *dict.fromkeys(str(g["by"]) for g in stored if g["by"] not in BY_LABELS)]
    stored.sort(key=lambda g: kinds.index(g["by"]))
    blocks = [_forest(context, p, stored) for p in context.judged([g["phenotype"] for g in stored])]
    for by in kinds:
        mine = [g for g in stored if g["by"] == by]
        if mine:
            make = partial(_table, context, mine, named)
            identifier = f"subgroups-{str(by).replace('_', '-')}-table"
            blocks += long_table(identifier, make, context=context, phenotypes=[g["phenotype"] for g in mine])
    unknown = [BY_LABELS[by].lower() for by in BY_LABELS if not any(g["by"] == by for g in stored)]
    if unknown:
        blocks.append(text_block(f"Not divided by {', '.join(unknown)}: not known, or the same for all patients."))
    return blocks


def _forest(context: Context, phenotype: str, stored: Sequence[Mapping[str, Any]]) -> Block:
    """Bias and limits of every subgroup, a plot a method."""
    mine = [g for g in stored if g["phenotype"] == phenotype]
    pooled = context.agreement("fully_sampled")
    items = []
    for method, arms in by_method(context.arms):
        shown = [a for a in arms if (phenotype, a["arm"]) in pooled and any(g["arm"] == a["arm"] for g in mine)]
        if not shown:
            continue
        plot = decision_figures.subgroup_forest(
            mine,
            [pooled[phenotype, a["arm"]] for a in shown],
            titles=[tables.arm_short(a) for a in shown],
            unit=tables.phenotype_unit(phenotype),
            margins=context.margins(phenotype),
            groups=list(dict.fromkeys((g["by"], str(g["level"])) for g in mine)),
        )
        label = tables.method_label(method)
        alt = f"Differences of {tables.phenotype_label(phenotype)} by subgroup, {label}; numbers in the tables below"
        name = context.pictures.add(plot, suffix=".svg")
        items.append({"name": name, "caption": label, "alt": alt, "method": method})
    chosen = phenotype in context.texts["pdf_forest"]
    return plots_block(tables.with_unit(phenotype), items, folded=not chosen, pdf=chosen)


def _table(
    context: Context,
    stored: Sequence[Mapping[str, Any]],
    named: Mapping[str, Mapping[str, Any]],
    phenotypes: Sequence[str],
) -> Table:
    known: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in stored:
        known.setdefault((row["phenotype"], row["arm"]), []).append(row)
    by = str(stored[0]["by"])
    rows = []
    for phenotype in phenotypes:
        digits = tables.decimals(phenotype)
        for name, arm in named.items():
            for row in known.get((phenotype, name), []):
                level = row["level"]
                cells = (
                    tables.text(tables.with_unit(phenotype, short=True)),
                    tables.text(tables.arm_label(arm)),
                    Cell(f"{level:g}", level) if isinstance(level, float) else tables.text(level),
                    tables.numeric(row["n"], 0),
                    tables.estimate(row.get("bias"), digits, signed=True),
                    tables.estimate(row.get("lower_limit"), digits),
                    tables.estimate(row.get("upper_limit"), digits),
                    tables.text(INSIDE[row.get("bias_inside")]),
                )
                rows.append(Row(cells, arm["method"]))
    label = BY_LABELS.get(by, by)
    columns = ["Measurement", "Arm", label, "n", "Bias", "Lower limit", "Upper limit", "Bias and margin"]
    return tables.make_table(f"By {label.lower()}: bias and limits, with {context.level} intervals", columns, rows)
