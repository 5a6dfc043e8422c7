"""What do the comparisons say? The sections verdict, agreement and truth, from results.json to blocks.

No statistic is computed here; numbers are chosen, formatted by reports.tables and drawn by reports.figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from reports import figures, tables
from reports.descriptive import descriptive_blocks, percent
from reports.document import Block, Context, by_method, in_order, plots_block
from reports.live import live_pairs
from reports.selection import absent_block, bias_margin_text, grid_legend, long_table
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
NOT_CLAIMED = "Shown, not claimed"


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
        return [*([said] if sentences else []), absent_block(NO_COMPARISON)]
    claims = any(r.get("claimed") is not None for r in rows.values())
    caption = "Verdict for each measurement and accelerated reconstruction"
    grid = _grid(context, rows, context.arms, caption=caption, claims=claims)
    key = [[v, _label(v, claimed=True if claims else None), words] for v, words in context.texts["verdicts"].items()]
    if claims:
        key.insert(1, ["shown", NOT_CLAIMED, context.texts["not_claimed"]])
    notes: Block = {"kind": "list", "title": "To read with it", "items": _notes(context, rows), "folded": False}
    return [said, {"kind": "verdict_key", "items": key}, grid, notes]


def agreement(context: Context) -> list[Block]:
    """Bland-Altman plots of each phenotype and the complete table."""
    rows = context.agreement("fully_sampled")
    if not rows:
        return [absent_block(NO_COMPARISON)]
    legend = context.pictures.add(figures.key(context.centers), suffix=".svg")
    alt = "Key: a color and a shape for each center; the lines and bands of the plots"
    blocks: list[Block] = [{"kind": "plot_key", "name": legend, "alt": alt}]
    blocks += [_bland_altman_block(context, phenotype, rows) for phenotype in context.judged([p for p, _ in rows])]
    make, printed = (partial(_agreement_table, context, rows, reasons=r) for r in (True, False))
    names = [p for p, _ in rows]
    blocks += long_table("agreement-table", make, context=context, phenotypes=names, make_printed=printed)
    return [*blocks, *descriptive_blocks(context, rows)]


def truth(context: Context) -> list[Block]:
    """Both arms against the truth: grid and plot."""
    rows = context.agreement("truth")
    if not rows:
        return [absent_block("The truth is not known for these patients (real scans without expert measurements).")]
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


def _notes(context: Context, rows: Entries) -> list[str]:
    notes = [str(note) for note in context.results["study"].get("notes") or []]
    measured = in_order([p for p, _ in rows])
    described = [p for p in measured if p not in context.judged(measured)]
    if described:
        names = ", ".join(tables.symbol(p) for p in described)
        notes.append(f"Without margins in the plan, so without a verdict, but in the table of agreement: {names}.")
    return notes


def _grid(
    context: Context, rows: Entries, arms: Sequence[Mapping[str, Any]], *, caption: str, claims: bool = False
) -> Block:
    """The grid phenotype x arm; absent combinations stay empty. Claims are made against the fully sampled scan only."""
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
                "note": f"margins {bias_margin_text(margins)} / {tables.plus_minus(margins['limits'])}"
                if known
                else "no margins",
                "cells": [_grid_cell(rows.get((phenotype, a["arm"])), phenotype, a["method"], claims) for a in shown],
            }
        )
    legend = grid_legend(context)
    return {"kind": "grid", "caption": caption, "legend": legend, "groups": groups, "rows": lines}


def _grid_column(arm: Mapping[str, Any]) -> dict[str, Any]:
    known = tables.effective(arm) != tables.MISSING
    return {
        "method": arm["method"],
        "label": tables.arm_short(arm),
        "note": f"effective {tables.effective(arm)}" if known and arm["method"] != "fully_sampled" else "",
    }


def _grid_cell(row: Mapping[str, Any] | None, phenotype: str, method: str, claims: bool) -> dict[str, Any]:
    if row is None:
        return {"method": method, "verdict": None}
    digits = tables.decimals(phenotype)
    known = str(row.get("verdict") or "not shown")
    return {
        "method": method,
        "verdict": known,
        "claimed": row.get("claimed") if claims else None,
        "label": _label(known, claimed=row.get("claimed") if claims else None),
        "reason": str(row.get("reason") or ""),
        "bias": tables.interval(row.get("bias"), digits, signed=True),
        "limits": tables.limits(row, digits),
        "n": tables.counts(row),
    }


def _label(verdict: str, *, claimed: bool | None) -> str:
    """Whether what is shown is also claimed, where that was decided."""
    if verdict != "shown" or claimed is None:
        return tables.VERDICT_LABELS.get(verdict, verdict)
    return "Claimed" if claimed else NOT_CLAIMED


def _bland_altman_block(context: Context, phenotype: str, rows: Entries) -> Block:
    margins, digits = context.margins(phenotype), tables.decimals(phenotype)
    half_range = figures.difference_range([r for (p, _), r in rows.items() if p == phenotype], margins)
    items = []
    for method, arms in by_method(context.arms):
        shown = [(a, rows[phenotype, a["arm"]]) for a in arms if (phenotype, a["arm"]) in rows]
        if not shown:
            continue
        unit = tables.phenotype_unit(phenotype)
        drawn = figures.bland_altman_drawn(
            [r for _, r in shown],
            titles=[_panel_title(a, r, digits) for a, r in shown],
            unit=unit,
            margins=margins,
            centers=context.centers,
            half_range=half_range,
        )
        names = [tables.arm_short(a) for a, _ in shown]
        live = live_pairs(drawn, [r for _, r in shown], titles=names, digits=digits, unit=unit)
        said = "; ".join(
            f"{tables.arm_short(a)} bias {tables.interval(r.get('bias'), digits, signed=True)}, "
            f"limits {tables.limits(r, digits)}"
            for a, r in shown
        )
        label = tables.method_label(method)
        alt = f"Bland-Altman plots of {tables.phenotype_label(phenotype)}, {label} against fully sampled: {said}"
        name = context.pictures.add(drawn.svg, suffix=".svg")
        items.append({"name": name, "caption": label, "alt": alt, "method": method, "live": live})
    pdf = phenotype in context.texts["pdf_plots"]
    return plots_block(tables.with_unit(phenotype), items, pdf=pdf, anchor=f"plots-{phenotype}")


def _panel_title(arm: Mapping[str, Any], row: Mapping[str, Any], digits: int) -> str:
    bias = tables.number((row.get("bias") or {}).get("estimate"), digits, signed=True)
    return (
        f"{tables.arm_short(arm)} (effective {tables.effective(arm)})\nbias {bias}, limits {tables.limits(row, digits)}"
    )


def _agreement_table(context: Context, rows: Entries, phenotypes: Sequence[str], *, reasons: bool) -> Table:
    """Every number of a comparison that the verdict rests on; the reasons, long sentences, on the page only."""
    lines = []
    for phenotype in phenotypes:
        digits = tables.decimals(phenotype)
        for arm in (a for a in context.arms if (phenotype, a["arm"]) in rows):
            row = rows[phenotype, arm["arm"]]
            tost = row.get("tost") or {}
            cells = (
                tables.text(tables.with_unit(phenotype, short=True)),
                tables.text(tables.arm_label(arm)),
                tables.text(_label(row["verdict"], claimed=row.get("claimed"))),
                Cell(tables.counts(row), row["n"]),
                tables.numeric(row.get("failed"), 0),
                tables.estimate(row.get("bias"), digits, signed=True),
                tables.numeric(row.get("sd"), digits),
                tables.estimate(row.get("lower_limit"), digits),
                tables.estimate(row.get("upper_limit"), digits),
                Cell(tables.p_value(tost.get("p")), tost.get("p")),
                tables.estimate(percent((row.get("sensitivity") or {}).get("share")), 0),
                tables.numeric((row.get("sensitivity") or {}).get("tipping_point"), 0),
                *([tables.text(row.get("reason"))] if reasons else []),
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
        "Inside, failures out (%)",
        "Tipping point",
        *(["Reason"] if reasons else []),
    ]
    return tables.make_table(
        f"All comparisons with the fully sampled scan, with {context.level} intervals. Inside, failures out: patients within the margin of "
        "individuals, with all failures counted as outside; tipping point: failed patients at that margin that a shown verdict would bear",
        columns,
        lines,
    )
