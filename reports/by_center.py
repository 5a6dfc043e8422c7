"""Does the result hold in each center? The section centers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from reports import figures, tables
from reports.document import Block, Context, by_method, plots_block
from reports.selection import absent_block, bias_margin_text, long_table
from reports.tables import Cell, Row, Table

Entries = Mapping[tuple[str, str], Mapping[str, Any]]
Stored = Sequence[Mapping[str, Any]]


def centers(context: Context) -> list[Block]:
    """Forest plots, centers as the unit, consistency, one center left out, and bias and limits by center."""
    stored = [r for r in context.results["centers"] if r["against"] == "fully_sampled"]
    if not stored:
        return [absent_block("No results by center.")]
    pooled = context.agreement("fully_sampled")
    blocks = [_forest_block(context, p, stored, pooled) for p in context.judged([r["phenotype"] for r in stored])]
    phenotypes = [r["phenotype"] for r in stored]
    for identifier, make in (
        ("between-table", partial(_between_table, context, pooled)),
        ("consistency-table", partial(_consistency_table, context, pooled)),
        ("leave-one-out-table", partial(_leave_one_out_table, context, pooled)),
        ("centers-table", partial(_centers_table, context, stored)),
    ):
        blocks += long_table(identifier, make, context=context, phenotypes=phenotypes)
    return blocks


def _forest_block(context: Context, phenotype: str, stored: Stored, pooled: Entries) -> Block:
    items = []
    for method, arms in by_method(context.arms):
        shown = [a for a in arms if (phenotype, a["arm"]) in pooled]
        if not shown:
            continue
        plot = figures.forest(
            [r for r in stored if r["phenotype"] == phenotype],
            [pooled[phenotype, a["arm"]] for a in shown],
            titles=[tables.arm_short(a) for a in shown],
            unit=tables.phenotype_unit(phenotype),
            margins=context.margins(phenotype),
            centers=context.centers,
        )
        label = tables.method_label(method)
        alt = f"Bias of {tables.phenotype_label(phenotype)} by center, {label}; numbers in the table of centers"
        name = context.pictures.add(plot, suffix=".svg")
        items.append({"name": name, "caption": label, "alt": alt, "method": method})
    chosen = phenotype in context.texts["pdf_forest"]
    return plots_block(tables.with_unit(phenotype), items, folded=not chosen, pdf=chosen)


def _compared(context: Context, pooled: Entries, phenotypes: Sequence[str], key: str) -> list[tuple[str, Any, Any]]:
    """Phenotype, arm, and what ``key`` holds of their comparison, where it holds something."""
    found = []
    for phenotype in phenotypes:
        for arm in context.arms:
            value = (pooled.get((phenotype, arm["arm"])) or {}).get(key)
            if value:
                found.append((phenotype, arm, value))
    return found


def _between_table(context: Context, pooled: Entries, phenotypes: Sequence[str]) -> Table:
    """Centers as the unit: what an average center, and a new one, may show."""
    lines = []
    for phenotype, arm, found in _compared(context, pooled, phenotypes, "center_level"):
        digits, prediction = tables.decimals(phenotype), found.get("prediction") or {}
        ends = [tables.number(prediction.get(k), digits) for k in ("low", "high")]
        cells = (
            tables.text(tables.with_unit(phenotype, short=True)),
            tables.text(tables.arm_label(arm)),
            tables.numeric(found.get("n_centers"), 0),
            tables.estimate(found, digits, signed=True),
            tables.text(" to ".join(ends) if prediction else None),
            tables.numeric(found.get("tau"), digits),
            tables.numeric(found.get("i2_percent"), 0),
        )
        lines.append(Row(cells, arm["method"]))
    columns = [
        "Measurement",
        "Arm",
        "Centers",
        "Bias",
        "Prediction for a new center",
        "SD between centers (tau)",
        "I² (%)",
    ]
    return tables.make_table(
        f"Bias with centers as the unit (random effects), with {context.level} intervals", columns, lines
    )


def _consistency_table(context: Context, pooled: Entries, phenotypes: Sequence[str]) -> Table:
    """In how many centers the bias, and its interval, lies inside the margin."""
    lines = []
    for phenotype, arm, found in _compared(context, pooled, phenotypes, "center_consistency"):
        inside, beyond = found.get("inside") or [], found.get("outside") or []
        judged = found.get("n_judged")
        cells = (
            tables.text(tables.with_unit(phenotype, short=True)),
            tables.text(tables.arm_label(arm)),
            Cell(f"{judged} of {found.get('n_centers')}", judged),
            Cell(f"{len(inside)} of {judged}", len(inside)),
            tables.text(", ".join(map(str, beyond)) or "none"),
            tables.text(", ".join(map(str, found.get("interval_outside") or [])) or "none"),
        )
        lines.append(Row(cells, arm["method"]))
    columns = [
        "Measurement",
        "Arm",
        "Centers judged",
        "Bias inside",
        "Bias outside in",
        "Whole interval outside in",
    ]
    return tables.make_table("Consistency of the centers with the margin of the bias", columns, lines)


def _leave_one_out_table(context: Context, pooled: Entries, phenotypes: Sequence[str]) -> Table:
    """The mean of the centers without each of them."""
    lines = []
    for phenotype, arm, found in _compared(context, pooled, phenotypes, "center_consistency"):
        margins = context.margins(phenotype)
        for left in found.get("leave_one_out") or []:
            cells = (
                tables.text(tables.with_unit(phenotype, short=True)),
                tables.text(tables.arm_label(arm)),
                tables.text(left["center"]),
                tables.estimate(left, tables.decimals(phenotype), signed=True),
                Cell(bias_margin_text(margins), (margins or {}).get("bias")),
            )
            lines.append(Row(cells, arm["method"]))
    columns = ["Measurement", "Arm", "Without center", "Bias of the others", "Margin"]
    return tables.make_table(f"One center left out, with {context.level} intervals", columns, lines)


def _centers_table(context: Context, stored: Stored, phenotypes: Sequence[str]) -> Table:
    known: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in stored:
        known.setdefault((row["phenotype"], row["arm"]), []).append(row)
    lines = []
    for phenotype in phenotypes:
        digits = tables.decimals(phenotype)
        for arm in context.arms:
            for row in known.get((phenotype, arm["arm"]), []):
                cells = (
                    tables.text(tables.with_unit(phenotype, short=True)),
                    tables.text(tables.arm_label(arm)),
                    tables.text(row["center"]),
                    tables.numeric(row["n"], 0),
                    tables.estimate(row.get("bias"), digits, signed=True),
                    tables.estimate(row.get("lower_limit"), digits),
                    tables.estimate(row.get("upper_limit"), digits),
                )
                lines.append(Row(cells, arm["method"]))
    columns = ["Measurement", "Arm", "Center", "n", "Bias", "Lower limit", "Upper limit"]
    return tables.make_table(
        f"Bias and limits of agreement by center, against fully sampled, with {context.level} intervals", columns, lines
    )
