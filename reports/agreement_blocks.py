"""How are comparisons of any measurement laid out, also of those that the project has no name for?

The sections of a run's report speak of accelerations and take units from the vocabulary; these take label and unit from
``measurements`` of the results, where they stand there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from cohort.phenotypes import VOCABULARY
from reports import figures, tables
from reports.descriptive import percent
from reports.document import Block, Context, in_order, plots_block, table_block
from reports.live import live_pairs
from reports.selection import bias_margin_text, grid_legend
from reports.tables import Cell, Row

Entry = Mapping[str, Any]
Entries = Mapping[tuple[str, str], Entry]
MOST_DIGITS = 4
PANELS_IN_A_ROW = 4


class Names:
    """Label, unit and digits of each measurement of some results."""

    def __init__(self, results: Mapping[str, Any]) -> None:
        self.known: Mapping[str, Any] = results.get("measurements") or {}
        spreads: dict[str, list[float]] = {}
        for row in results["agreement"]:
            if row.get("sd"):
                spreads.setdefault(row["phenotype"], []).append(row["sd"])
        self.spreads = spreads

    def label(self, name: str) -> str:
        """In words."""
        return str((self.known.get(name) or {}).get("label") or tables.phenotype_label(name))

    def unit(self, name: str) -> str:
        """As the table states it, else as the vocabulary does."""
        return str(self.known[name].get("unit") or "") if name in self.known else tables.phenotype_unit(name)

    def with_unit(self, name: str, *, short: bool = False) -> str:
        """``label (unit)``."""
        words = tables.symbol(name) if short and name in VOCABULARY else self.label(name)
        return f"{words} ({self.unit(name)})" if self.unit(name) else words

    def digits(self, name: str) -> int:
        """Those of the vocabulary; for other measurements two that count of the standard deviation of differences."""
        if name in VOCABULARY and self.unit(name) == tables.phenotype_unit(name):
            return tables.decimals(name)
        spread = self.spreads.get(name)
        if not spread:
            return tables.DECIMALS_WITHOUT_UNIT
        return min(max(1 - math.floor(math.log10(median(spread))), 0), MOST_DIGITS)


def entries(context: Context) -> dict[tuple[str, str], Entry]:
    """Rows of ``agreement`` by measurement and arm."""
    return {(row["phenotype"], row["arm"]): row for row in context.results["agreement"]}


def compared_arms(context: Context) -> list[Entry]:
    """Arms that were compared with the reference."""
    used = {row["arm"] for row in context.results["agreement"]}
    return [arm for arm in context.results["arms"] if arm["arm"] in used and not arm.get("reference")]


def verdict_grid(context: Context, names: Names, *, caption: str) -> Block:
    """The grid measurement x arm: verdict, bias, limits and pairs."""
    rows, arms = entries(context), compared_arms(context)
    lines = []
    for name in in_order([p for p, _ in rows]):
        margins = context.margins(name) or {}
        note = (
            f"margins {bias_margin_text(margins)} / {tables.plus_minus(margins['limits'])}" if margins else "no margins"
        )
        cells = [_cell(context, rows.get((name, arm["arm"])), names.digits(name)) for arm in arms]
        lines.append(
            {"phenotype": name, "label": names.label(name), "unit": names.unit(name), "note": note, "cells": cells}
        )
    columns = [{"method": None, "label": tables.arm_label(arm), "note": _against(context, arm)} for arm in arms]
    legend = grid_legend(context)
    groups = [{"method": None, "label": context.texts["compared"], "columns": columns}]
    return {"kind": "grid", "caption": caption, "legend": legend, "groups": groups, "rows": lines}


def _against(context: Context, arm: Entry) -> str:
    found = dict.fromkeys(row["against"] for row in context.results["agreement"] if row["arm"] == arm["arm"])
    return "against " + ", ".join(tables.REFERENCE_LABELS.get(name, name) for name in found)


def _cell(context: Context, row: Entry | None, digits: int) -> dict[str, Any]:
    if row is None:
        return {"method": None, "verdict": None}
    described = not context.margins(row["phenotype"]) and row["verdict"] == "not shown"
    shown = str(row["verdict"])
    label = "Described" if described else tables.VERDICT_LABELS.get(shown, shown)
    if shown == "shown":
        label = "Claimed" if row.get("claimed") else "Shown, not claimed"
    return {
        "method": None,
        "verdict": "too few" if described else shown,  # the neutral sign: nothing was asked
        "claimed": row.get("claimed"),
        "label": label,
        "reason": str(row.get("reason") or ""),
        "bias": tables.interval(row.get("bias"), digits, signed=True),
        "limits": tables.limits(row, digits),
        "n": tables.counts(row),
    }


def verdict_key(context: Context) -> Block:
    """What the signs mean."""
    items = [[v, tables.VERDICT_LABELS[v], words] for v, words in context.texts["verdicts"].items()]
    return {"kind": "verdict_key", "items": items}


def bland_altman_blocks(context: Context, names: Names) -> list[Block]:
    """A plot for each comparison that has pairs, those of a measurement on one scale."""
    rows, arms = entries(context), compared_arms(context)
    drawn_centers = context.centers
    shown_centers = drawn_centers if len(drawn_centers) > 1 else []
    key = context.pictures.add(figures.key(shown_centers), suffix=".svg")
    blocks: list[Block] = [
        {"kind": "plot_key", "name": key, "alt": "Key: centers, and the lines and bands of the plots"}
    ]
    for name in in_order([p for p, _ in rows]):
        unit, digits, margins = names.unit(name), names.digits(name), context.margins(name)
        mine = [(arm, rows[name, arm["arm"]]) for arm in arms if rows.get((name, arm["arm"]), {}).get("pairs")]
        half = figures.difference_range([row for _, row in mine], margins)
        items = []
        for start in range(0, len(mine), PANELS_IN_A_ROW):
            part = mine[start : start + PANELS_IN_A_ROW]
            labels = [tables.arm_label(arm) for arm, _ in part]
            drawn = figures.bland_altman_drawn(
                [row for _, row in part],
                titles=[_title(label, row, digits) for label, (_, row) in zip(labels, part, strict=True)],
                unit=unit,
                margins=margins,
                centers=drawn_centers,
                half_range=half,
            )
            live = live_pairs(drawn, [row for _, row in part], titles=labels, digits=digits, unit=unit)
            live["labels"] = [text.replace("accelerated", "test") for text in live["labels"]]
            said = "; ".join(f"{label}: {_said(row, digits)}" for label, (_, row) in zip(labels, part, strict=True))
            against = ", ".join(dict.fromkeys(row["against"] for _, row in part))
            item = {"name": context.pictures.add(drawn.svg, suffix=".svg"), "caption": f"against {against}"}
            items.append(
                item | {"alt": f"Bland-Altman plots of {names.label(name)} against {against}: {said}", "live": live}
            )
        if items:
            blocks.append(plots_block(names.with_unit(name), items, anchor=f"plots-{name}"))
    return blocks


def _title(label: str, row: Entry, digits: int) -> str:
    bias = tables.number((row.get("bias") or {}).get("estimate"), digits, signed=True)
    return f"{label}\nbias {bias}, limits {tables.limits(row, digits)}"


def _said(row: Entry, digits: int) -> str:
    return f"bias {tables.interval(row.get('bias'), digits, signed=True)}, limits {tables.limits(row, digits)}"


def agreement_table(context: Context, names: Names) -> Block:
    """Every comparison with its numbers and its verdict."""
    lines = []
    for row in context.results["agreement"]:
        digits, tost = names.digits(row["phenotype"]), row.get("tost") or {}
        cells = (
            tables.text(names.with_unit(row["phenotype"], short=True)),
            tables.text(row["arm"] if context.results.get("kind") == "agreement" else _arm_label(context, row["arm"])),
            tables.text(
                "Described" if not context.margins(row["phenotype"]) else tables.VERDICT_LABELS[row["verdict"]]
            ),
            Cell(tables.counts(row), row["n"]),
            tables.numeric(row.get("failed"), 0),
            tables.estimate(row.get("bias"), digits, signed=True),
            tables.numeric(row.get("sd"), digits),
            tables.estimate(row.get("lower_limit"), digits),
            tables.estimate(row.get("upper_limit"), digits),
            Cell(tables.p_value(tost.get("p")), tost.get("p")),
            tables.estimate(percent((row.get("sensitivity") or {}).get("share")), 0),
        )
        lines.append(Row(cells))
    columns = [
        "Measurement",
        "Compared",
        "Verdict",
        "Pairs",
        "Failed",
        "Bias",
        "SD",
        "Lower limit",
        "Upper limit",
        "TOST p",
    ]
    columns += ["Inside the margin, failures as outside (%)"]
    caption = f"All comparisons with the reference, with {context.level} intervals"
    return table_block("agreement-table", tables.make_table(caption, columns, lines))


def forest_blocks(context: Context, names: Names) -> list[Block]:
    """Bias of every center, a plot a measurement."""
    rows, arms = entries(context), compared_arms(context)
    blocks: list[Block] = []
    for name in in_order([p for p, _ in rows]):
        mine = [(arm, rows[name, arm["arm"]]) for arm in arms if (rows.get((name, arm["arm"])) or {}).get("bias")]
        stored = [row for row in context.results["centers"] if row["phenotype"] == name]
        items = []
        for start in range(0, len(mine), PANELS_IN_A_ROW):
            part = mine[start : start + PANELS_IN_A_ROW]
            plot = figures.forest(
                stored,
                # over centers, the line of all patients is that of them as one sample
                [dict(row) | {"bias": (row.get("as_one_sample") or row)["bias"]} for _, row in part],
                titles=[tables.arm_label(arm) for arm, _ in part],
                unit=names.unit(name),
                margins=context.margins(name),
                centers=context.centers,
            )
            alt = f"Bias of {names.label(name)} by center; the numbers are in the table of centers"
            items.append({"name": context.pictures.add(plot, suffix=".svg"), "caption": "by center", "alt": alt})
        if items:
            blocks.append(plots_block(names.with_unit(name), items))
    return blocks


def centers_table(context: Context, names: Names) -> Block:
    """Bias and limits of every center."""
    lines = []
    for row in context.results["centers"]:
        digits = names.digits(row["phenotype"])
        cells = (
            tables.text(names.with_unit(row["phenotype"], short=True)),
            tables.text(_arm_label(context, row["arm"])),
            tables.text(row["center"]),
            tables.numeric(row["n"], 0),
            tables.estimate(row.get("bias"), digits, signed=True),
            tables.estimate(row.get("lower_limit"), digits),
            tables.estimate(row.get("upper_limit"), digits),
        )
        lines.append(Row(cells))
    columns = ["Measurement", "Compared", "Center", "n", "Bias", "Lower limit", "Upper limit"]
    caption = f"Bias and limits of agreement by center, with {context.level} intervals"
    return table_block("centers-table", tables.make_table(caption, columns, lines))


def nested_table(context: Context, names: Names, stored: Sequence[Entry]) -> Block:
    """Limits for a new subject of a new center, and what the spread is made of."""
    lines = []
    for row in stored:
        digits = names.digits(row["measurement"])
        spreads = [_root(row.get(key)) for key in ("center_variance", "subject_variance", "replicate_variance")]
        cells = (
            tables.text(names.with_unit(row["measurement"], short=True)),
            tables.text(_arm_label(context, row["arm"])),
            tables.numeric(row["n_centers"], 0),
            tables.numeric(row["n_subjects"], 0),
            tables.estimate(row["bias"], digits, signed=True),
            tables.estimate(row["lower_limit"], digits),
            tables.estimate(row["upper_limit"], digits),
            *(tables.estimate(spread, digits) for spread in spreads),
        )
        lines.append(Row(cells))
    columns = ["Measurement", "Compared", "Centers", "Patients", "Bias", "Lower limit", "Upper limit"]
    columns += ["SD between centers", "SD between patients", "SD between replicates"]
    caption = f"Limits for a new patient of a new center (variance components, REML), with {context.level} intervals"
    return table_block("nested-table", tables.make_table(caption, columns, lines))


def plan_blocks(context: Context, names: Names, more: Sequence[tuple[str, str]] = ()) -> list[Block]:
    """Margins, levels, and the hashes that fix them."""
    about, rows = context.results["plan"], []
    for name, margins in about["margins"].items():
        cells = [tables.text(names.label(name)), tables.text(margins.get("unit"))]
        cells.append(Cell(bias_margin_text(margins), margins.get("bias")))
        cells.append(Cell(tables.plus_minus(margins.get("limits")), margins.get("limits")))
        rows.append(Row((*cells, tables.text(margins.get("evidence")))))
    items = [
        ("Confidence level of intervals", context.level),
        ("Level of each one-sided test (alpha)", f"{about['alpha']:g}"),
        ("Fewest pairs for a verdict", str(about.get("minimum_patients") or tables.MISSING)),
        ("Origin of the margins", str(about.get("margins_origin") or tables.MISSING)),
        ("Rule of the verdict", str((about.get("rules") or {}).get("verdict") or tables.MISSING)),
        ("Rule for centers", str((about.get("centers") or {}).get("rule_text") or tables.MISSING)),
        ("Hash of the margins file (SHA-256)", str(about.get("margins_sha256") or tables.MISSING)),
        ("Hash of the plan (SHA-256)", str(about.get("sha256") or tables.MISSING)),
        *([("Frozen (UTC)", str(about["frozen_utc"]))] if about.get("frozen_utc") else []),
        *more,
    ]
    blocks: list[Block] = [{"kind": "definitions", "items": [list(item) for item in items]}]
    if rows:
        columns = ["Measurement", "Unit", "Margin of the bias", "Margin of the limits (individuals)", "Evidence"]
        blocks.append(table_block("plan-table", tables.make_table("Margins", columns, rows)))
    return blocks


def methods_block(context: Context) -> list[Block]:
    """Definitions, from the texts."""
    return [{"kind": "definitions", "items": [list(pair) for pair in context.texts["methods"]]}]


def _arm_label(context: Context, arm: str) -> str:
    found = next((a for a in context.results["arms"] if a["arm"] == arm), None)
    return tables.arm_label(found) if found else arm


def _root(variance: Entry | None) -> dict[str, Any] | None:
    """A standard deviation is easier to read than a variance."""
    if variance is None:
        return None
    return {
        k: None if variance.get(k) is None else math.sqrt(max(variance[k], 0.0)) for k in ("estimate", "low", "high")
    }
