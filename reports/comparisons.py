"""What do the comparisons say? The sections verdict, agreement, truth and centers, from results.json to blocks.

No statistic is computed here; numbers are chosen, formatted by reports.tables and drawn by reports.figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reports import figures, tables
from reports.document import Block, Context, by_method, in_order, plots_block, table_block, text_block
from reports.tables import Cell, Row, Table

Entries = Mapping[tuple[str, str], Mapping[str, Any]]
NO_COMPARISON = "No comparison with the fully sampled scan was possible."
REFERENCE_ARM: Mapping[str, Any] = {
    "arm": "fully_sampled",
    "method": "fully_sampled",
    "pattern": "none",
    "acceleration": 1,
}
SENTENCES_UNFOLDED = 8  # more would push the grid out of sight


def verdict(context: Context) -> list[Block]:
    """Grid phenotype x arm with its key, and the same in sentences."""
    sentences = [str(s) for s in context.results["study"].get("verdict_sentences") or []]
    said: Block = {
        "kind": "list",
        "title": f"In words ({len(sentences)})",
        "items": sentences,
        "folded": len(sentences) > SENTENCES_UNFOLDED,
    }
    rows = context.agreement("fully_sampled")
    if not rows:
        return [said, text_block(NO_COMPARISON)]
    grid = _grid(context, rows, context.arms, caption="Verdict for each measurement and accelerated reconstruction")
    key = [[v, tables.VERDICT_LABELS[v], words] for v, words in context.texts["verdicts"].items()]
    notes: Block = {"kind": "list", "title": "To read with it", "items": _notes(context, rows), "folded": False}
    return [said, {"kind": "verdict_key", "items": key}, grid, notes]


def agreement(context: Context) -> list[Block]:
    """Bland-Altman plots of each phenotype and the complete table."""
    rows = context.agreement("fully_sampled")
    if not rows:
        return [text_block(NO_COMPARISON)]
    legend = context.pictures.add(figures.key(context.centers), suffix=".svg")
    alt = "Key: a color and a shape for each center; the lines and bands of the plots"
    blocks: list[Block] = [{"kind": "plot_key", "name": legend, "alt": alt}]
    blocks += [_bland_altman_block(context, phenotype, rows) for phenotype in context.judged([p for p, _ in rows])]
    return [*blocks, table_block("agreement-table", _agreement_table(context, rows), pdf=False)]


def truth(context: Context) -> list[Block]:
    """Both arms against the truth: grid and plot."""
    rows = context.agreement("truth")
    if not rows:
        return [text_block("The truth is not known for these patients (real scans without expert measurements).")]
    reference = next((a for a in context.results["arms"] if a["arm"] == "fully_sampled"), REFERENCE_ARM)
    arms = [reference, *context.arms]
    panels = [
        {
            "title": tables.with_unit(p, short=True),
            "margins": context.margins(p),
            "rows": {a["arm"]: rows[p, a["arm"]] for a in arms if (p, a["arm"]) in rows},
        }
        for p in context.judged([p for p, _ in rows])
    ]
    labels, methods = [tables.arm_label(a) for a in arms], [a["method"] for a in arms]
    plot = figures.against_truth(panels, arms=[a["arm"] for a in arms], labels=labels, methods=methods)
    item = {
        "name": context.pictures.add(plot, suffix=".svg"),
        "caption": f"Mark: bias; thick line: its {context.level} interval; thin line: limits of agreement; "
        "shaded: margin of the bias; dash-dotted: margins of the limits.",
        "alt": "Bias and limits of every arm against the truth, a panel a measurement; numbers in the table above",
    }
    caption = "Each arm against the truth (fully sampled first: what the scan itself and the segmentation cost)"
    return [_grid(context, rows, arms, caption=caption), plots_block("Difference from the truth", [item])]


def centers(context: Context) -> list[Block]:
    """Forest plots, centers as the unit, and the table of bias and limits by center."""
    stored = [r for r in context.results["centers"] if r["against"] == "fully_sampled"]
    if not stored:
        return [text_block("No results by center.")]
    pooled = context.agreement("fully_sampled")
    blocks = [_forest_block(context, p, stored, pooled) for p in context.judged([r["phenotype"] for r in stored])]
    between = _between_table(context, pooled)
    if between.rows:
        blocks.append(table_block("between-table", between, pdf=False))
    chosen = [r for r in stored if r["phenotype"] in context.texts["pdf_forest"]]
    blocks.append(table_block("centers-table", _centers_table(context, stored), pdf=False))
    blocks.append(table_block("centers-table-pdf", _centers_table(context, chosen), page=False))
    return blocks


def _notes(context: Context, rows: Entries) -> list[str]:
    notes = [str(note) for note in context.results["study"].get("notes") or []]
    measured = in_order([p for p, _ in rows])
    described = [p for p in measured if p not in context.judged(measured)]
    if described:
        names = ", ".join(tables.symbol(p) for p in described)
        notes.append(f"Without margins in the plan, so without a verdict, but in the table of agreement: {names}.")
    return notes


def _grid(context: Context, rows: Entries, arms: Sequence[Mapping[str, Any]], *, caption: str) -> Block:
    """The grid phenotype x arm; absent combinations stay empty."""
    groups = [
        {"method": m, "label": tables.method_label(m), "columns": [_grid_column(a) for a in group]}
        for m, group in by_method(arms)
    ]
    shown = [a for _, group in by_method(arms) for a in group]
    lines = []
    for phenotype in context.judged([p for p, _ in rows]):
        margins = context.margins(phenotype) or {}
        known = margins.get("bias") and margins.get("limits")
        lines.append(
            {
                "phenotype": phenotype,
                "label": tables.phenotype_label(phenotype),
                "unit": tables.phenotype_unit(phenotype),
                "note": f"margins {tables.plus_minus(margins['bias'])} / {tables.plus_minus(margins['limits'])}"
                if known
                else "no margins",
                "cells": [_grid_cell(rows.get((phenotype, a["arm"])), phenotype, a["method"]) for a in shown],
            }
        )
    legend = (
        f"In each cell: bias [{context.level} interval]; limits of agreement; pairs evaluated/planned. "
        "Below each measurement: margin of the bias / of the limits."
    )
    return {"kind": "grid", "caption": caption, "legend": legend, "groups": groups, "rows": lines}


def _grid_column(arm: Mapping[str, Any]) -> dict[str, Any]:
    known = tables.effective(arm) != tables.MISSING
    return {
        "method": arm["method"],
        "label": tables.arm_short(arm),
        "note": f"effective {tables.effective(arm)}" if known and arm["method"] != "fully_sampled" else "",
    }


def _grid_cell(row: Mapping[str, Any] | None, phenotype: str, method: str) -> dict[str, Any]:
    if row is None:
        return {"method": method, "verdict": None}
    digits = tables.decimals(phenotype)
    known = str(row.get("verdict") or "not shown")
    return {
        "method": method,
        "verdict": known,
        "label": tables.VERDICT_LABELS.get(known, known),
        "reason": str(row.get("reason") or ""),
        "bias": tables.interval(row.get("bias"), digits, signed=True),
        "limits": tables.limits(row, digits),
        "n": tables.counts(row),
    }


def _bland_altman_block(context: Context, phenotype: str, rows: Entries) -> Block:
    margins, digits = context.margins(phenotype), tables.decimals(phenotype)
    half_range = figures.difference_range([r for (p, _), r in rows.items() if p == phenotype], margins)
    items = []
    for method, arms in by_method(context.arms):
        shown = [(a, rows[phenotype, a["arm"]]) for a in arms if (phenotype, a["arm"]) in rows]
        if not shown:
            continue
        plot = figures.bland_altman(
            [r for _, r in shown],
            titles=[_panel_title(a, r, digits) for a, r in shown],
            unit=tables.phenotype_unit(phenotype),
            margins=margins,
            centers=context.centers,
            half_range=half_range,
        )
        said = "; ".join(
            f"{tables.arm_short(a)} bias {tables.interval(r.get('bias'), digits, signed=True)}, "
            f"limits {tables.limits(r, digits)}"
            for a, r in shown
        )
        label = tables.method_label(method)
        alt = f"Bland-Altman plots of {tables.phenotype_label(phenotype)}, {label} against fully sampled: {said}"
        items.append(
            {"name": context.pictures.add(plot, suffix=".svg"), "caption": label, "alt": alt, "method": method}
        )
    pdf = phenotype in context.texts["pdf_plots"]
    return plots_block(tables.with_unit(phenotype), items, pdf=pdf, anchor=f"plots-{phenotype}")


def _panel_title(arm: Mapping[str, Any], row: Mapping[str, Any], digits: int) -> str:
    bias = tables.number((row.get("bias") or {}).get("estimate"), digits, signed=True)
    return (
        f"{tables.arm_short(arm)} (effective {tables.effective(arm)})\nbias {bias}, limits {tables.limits(row, digits)}"
    )


def _forest_block(context: Context, phenotype: str, stored: Sequence[Mapping[str, Any]], pooled: Entries) -> Block:
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
        items.append(
            {"name": context.pictures.add(plot, suffix=".svg"), "caption": label, "alt": alt, "method": method}
        )
    chosen = phenotype in context.texts["pdf_forest"]
    return plots_block(tables.with_unit(phenotype), items, folded=not chosen, pdf=chosen)


def _agreement_table(context: Context, rows: Entries) -> Table:
    lines = []
    for phenotype in in_order([p for p, _ in rows]):
        digits = tables.decimals(phenotype)
        for arm in (a for a in context.arms if (phenotype, a["arm"]) in rows):
            row = rows[phenotype, arm["arm"]]
            tost = row.get("tost") or {}
            cells = (
                tables.text(tables.with_unit(phenotype, short=True)),
                tables.text(tables.arm_label(arm)),
                tables.text(tables.VERDICT_LABELS.get(row["verdict"], row["verdict"])),
                Cell(tables.counts(row), row["n"]),
                tables.numeric(row.get("failed"), 0),
                tables.estimate(row.get("bias"), digits, signed=True),
                tables.numeric(row.get("sd"), digits),
                tables.estimate(row.get("lower_limit"), digits),
                tables.estimate(row.get("upper_limit"), digits),
                Cell(tables.p_value(tost.get("p")), tost.get("p")),
                tables.estimate(row.get("icc"), 3),
                tables.text(row.get("reason")),
            )
            lines.append(Row(cells, arm["method"]))
    columns = [
        "Measurement",
        "Arm",
        "Verdict",
        "Pairs",
        "Failed",
        "Bias",
        "SD",
        "Lower limit",
        "Upper limit",
        "TOST p",
        "ICC(A,1)",
        "Reason",
    ]
    return tables.make_table(
        f"All comparisons with the fully sampled scan, with {context.level} intervals", columns, lines
    )


def _centers_table(context: Context, stored: Sequence[Mapping[str, Any]]) -> Table:
    lines = []
    for phenotype in in_order([r["phenotype"] for r in stored]):
        digits = tables.decimals(phenotype)
        for arm in context.arms:
            for row in (r for r in stored if (r["phenotype"], r["arm"]) == (phenotype, arm["arm"])):
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


def _between_table(context: Context, pooled: Entries) -> Table:
    """Centers as the unit: what an average center, and a new one, may show."""
    lines = []
    for phenotype in in_order([p for p, _ in pooled]):
        digits = tables.decimals(phenotype)
        for arm in context.arms:
            found = (pooled.get((phenotype, arm["arm"])) or {}).get("center_level")
            if not found:
                continue
            prediction = found.get("prediction") or {}
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
