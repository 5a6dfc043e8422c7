"""Does a measurement from the accelerated scan tell the sick from the healthy as well? The section diagnosis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reports import decision_figures, tables
from reports.document import Block, Context, in_order, plots_block, table_block
from reports.selection import absent_block
from reports.tables import Cell, Row, Table

Entry = Mapping[str, Any]
MOST_PANELS_IN_PLOT = 12


def diagnosis(context: Context) -> list[Block]:
    """ROC curves of reference and test for each measurement, disease and arm, and their areas compared."""
    named = {a["arm"]: a for a in context.arms}
    stored = [d for d in context.results.get("diagnosis") or [] if d["arm"] in named]
    if not stored:
        return [absent_block("No curve: the diagnoses are not known, or too few patients have one.")]
    order = {name: i for i, name in enumerate(named)}
    phenotypes = in_order([d["phenotype"] for d in stored])
    stored.sort(key=lambda d: (phenotypes.index(d["phenotype"]), str(d["disease"]), order[d["arm"]]))
    blocks = [
        _curves(context, p, disease, [d for d in stored if (d["phenotype"], d["disease"]) == (p, disease)], named)
        for p, disease in dict.fromkeys((d["phenotype"], d["disease"]) for d in stored)
    ]
    return [*(b for b in blocks if b["plots"]), table_block("diagnosis-table", _table(context, stored, named))]


def _curves(
    context: Context, phenotype: str, disease: str, entries: Sequence[Entry], named: Mapping[str, Entry]
) -> Block:
    drawn = [d for d in entries if d.get("roc_reference") and d.get("roc_test")][:MOST_PANELS_IN_PLOT]
    items = []
    if drawn:
        plot = decision_figures.roc(
            drawn,
            titles=[tables.arm_label(named[d["arm"]]) for d in drawn],
            reference_label="fully sampled",
            test_label="accelerated",
        )
        name = context.pictures.add(plot, suffix=".svg")
        alt = (
            f"ROC curves of {tables.phenotype_label(phenotype)} for {disease}, a panel an arm; areas in the table below"
        )
        direction = f"{entries[0]['positive_when']} values point to the disease"
        items.append({"name": name, "caption": direction, "alt": alt})
    return plots_block(f"{tables.symbol(phenotype)} for {disease.replace('_', ' ')}", items)


def _table(context: Context, stored: Sequence[Entry], named: Mapping[str, Entry]) -> Table:
    rows = []
    for entry in stored:
        cells = (
            tables.text(tables.symbol(entry["phenotype"])),
            tables.text(f"{entry['disease'].replace('_', ' ')} ({entry['positive_when']})"),
            tables.text(tables.arm_label(named[entry["arm"]])),
            Cell(f"{entry['n_cases']} / {entry['n_controls']}", entry["n_cases"]),
            tables.estimate(entry.get("auc_reference"), 3),
            tables.estimate(entry.get("auc_test"), 3),
            tables.estimate(entry.get("difference"), 3, signed=True),
            Cell(tables.p_value(entry.get("p")), entry.get("p")),
            Cell(str(entry.get("note") or "")),
        )
        rows.append(Row(cells, named[entry["arm"]]["method"]))
    columns = [
        "Measurement",
        "Disease (values that point to it)",
        "Arm",
        "Patients with / without",
        "Area, fully sampled",
    ]
    columns += ["Area, accelerated", "Difference of areas", "DeLong p (paired)", "Note"]
    return tables.make_table(f"Areas under the ROC curves, with {context.level} intervals", columns, rows)
