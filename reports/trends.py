"""How does the difference change with acceleration, and over the range of the measurement? The sections trend and bias_profile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reports import decision_figures, tables
from reports.document import Block, Context, by_method, in_order, plots_block, text_block
from reports.selection import absent_block, bias_margin_text, long_table
from reports.tables import Cell, Row, Table


def trend(context: Context) -> list[Block]:
    """Slope of the difference, and of its size, for each doubling of the acceleration."""
    stored = [t for t in context.results.get("trend") or [] if t.get("slope_per_doubling")]
    if not stored:
        return [absent_block("No trend: it needs several accelerations of one method and enough patients in each.")]
    missing = [t for t in context.results["trend"] if not t.get("slope_per_doubling") and t.get("method_text")]
    gone = [
        text_block(
            f"No trend of {tables.symbol(t['phenotype'])} with {tables.method_label(t['method'])}: {t['method_text']}."
        )
        for t in missing
    ]
    keys = {(t["phenotype"], t["method"]): t for t in stored}

    def make(phenotypes: Sequence[str]) -> Table:
        lines = []
        for phenotype in phenotypes:
            for entry in (t for (p, _), t in keys.items() if p == phenotype):
                cells = (
                    tables.text(tables.with_unit(phenotype, short=True)),
                    tables.text(tables.method_label(entry["method"])),
                    tables.numeric(entry.get("n_patients"), 0),
                    tables.estimate(entry["slope_per_doubling"], tables.decimals(phenotype) + 1, signed=True),
                    Cell(tables.p_value(entry.get("p")), entry.get("p")),
                    tables.estimate(entry.get("slope_abs_log"), 2, signed=True),
                )
                lines.append(Row(cells, entry["method"]))
        columns = ["Measurement", "Method", "Patients", "Change of the difference per doubling", "p"]
        columns.append("Change of log size per doubling")
        return tables.make_table(f"Trend over acceleration, with {context.level} intervals", columns, lines)

    names = [p for p, _ in keys]
    words = list(dict.fromkeys(str(t["method_text"]) for t in stored if t.get("method_text")))
    notes = [text_block(f"{w[:1].upper()}{w[1:]}.".replace("..", ".")) for w in words]
    plots = [_trend_plot(context, p) for p in context.judged(names)]
    return [
        *(p for p in plots if p["plots"]),
        *long_table("trend-table", make, context=context, phenotypes=names),
        *notes,
        *gone,
    ]


def _trend_plot(context: Context, phenotype: str) -> Block:
    """Bias and limits over the accelerations, a panel a method."""
    rows = context.agreement("fully_sampled")
    columns = []
    for index, (method, arms) in enumerate(by_method(context.arms)):
        steps = sorted(arms, key=lambda a: a["acceleration"])
        shown = [(tables.arm_short(a), rows.get((phenotype, a["arm"]))) for a in steps]
        if any(row for _, row in shown):
            columns.append({"title": tables.method_label(method), "method_index": index, "steps": shown})
    items = []
    if columns:
        margins = context.margins(phenotype)
        plot = decision_figures.trend(columns, unit=tables.phenotype_unit(phenotype), margins=margins)
        item = {
            "name": context.pictures.add(plot, suffix=".svg"),
            "caption": "Bias with its interval; dashed: limits of agreement; shaded and dash-dotted: margins",
            "alt": f"Bias and limits of {tables.phenotype_label(phenotype)} over the acceleration; numbers in the table of agreement",
        }
        items.append(item)
    chosen = phenotype in context.texts["pdf_forest"]
    return plots_block(tables.with_unit(phenotype), items, folded=not chosen, pdf=chosen)


def bias_profile(context: Context) -> list[Block]:
    """Bias in the lower, middle and upper part of the reference's range."""
    named = {a["arm"]: a for a in context.arms}
    stored = [b for b in context.results.get("bias_profile") or [] if b["arm"] in named and b.get("bins")]
    if not stored:
        return [absent_block("No profile: too few patients to split the range.")]
    order = {name: i for i, name in enumerate(named)}
    stored.sort(key=lambda b: order[b["arm"]])

    def make(phenotypes: Sequence[str]) -> Table:
        lines = []
        for phenotype in phenotypes:
            digits = tables.decimals(phenotype)
            margins = context.margins(phenotype)
            for entry in (b for b in stored if b["phenotype"] == phenotype):
                for part in entry["bins"]:
                    ends = " to ".join(tables.number(part[k], digits) for k in ("low", "high"))
                    cells = (
                        tables.text(tables.with_unit(phenotype, short=True)),
                        tables.text(tables.arm_label(named[entry["arm"]])),
                        Cell(ends, part["low"]),
                        tables.numeric(part["n"], 0),
                        tables.estimate(part.get("bias"), digits, signed=True),
                        Cell(bias_margin_text(margins), (margins or {}).get("bias")),
                    )
                    lines.append(Row(cells, named[entry["arm"]]["method"]))
        columns = ["Measurement", "Arm", "Fully sampled value from", "n", "Bias", "Margin"]
        return tables.make_table(f"Bias over the range, with {context.level} intervals", columns, lines)

    names = in_order([b["phenotype"] for b in stored])
    plots = [_profile_plot(context, p, [b for b in stored if b["phenotype"] == p]) for p in context.judged(names)]
    return [*plots, *long_table("bias-profile-table", make, context=context, phenotypes=names)]


def _profile_plot(context: Context, phenotype: str, entries: Sequence[Mapping[str, Any]]) -> Block:
    """Bias in each part of the range, a plot a method."""
    items = []
    for method, arms in by_method(context.arms):
        named = {a["arm"]: a for a in arms}
        mine = [b for b in entries if b["arm"] in named]
        if not mine:
            continue
        plot = decision_figures.bias_profile(
            mine,
            titles=[tables.arm_short(named[b["arm"]]) for b in mine],
            unit=tables.phenotype_unit(phenotype),
            margins=context.margins(phenotype),
        )
        label = tables.method_label(method)
        alt = f"Bias of {tables.phenotype_label(phenotype)} over its range, {label}; numbers in the table below"
        name = context.pictures.add(plot, suffix=".svg")
        items.append({"name": name, "caption": label, "alt": alt, "method": method})
    chosen = phenotype in context.texts["pdf_forest"]
    return plots_block(tables.with_unit(phenotype), items, folded=not chosen, pdf=chosen)
