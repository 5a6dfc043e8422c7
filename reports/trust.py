"""Which scans and centers are unlike what the methods were made for? The sections reliability and shift."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any

from reports import tables
from reports.document import Block, Context, table_block, text_block
from reports.selection import absent_block
from reports.tables import Cell, Row

MEASURE_LABELS = {
    "radial_energy": "Radial energy of k-space (divergence, bits)",
    "coil_correlation": "Correlation of the coils",
    "noise": "Noise over signal (log10)",
    "mask_overlap": "Overlap of the masks",
    "text_novelty": "Novelty of the metadata sentence",
}


def reliability(context: Context) -> list[Block]:
    """How many scans of each arm are flagged, and which."""
    stored = context.results.get("reliability") or []
    scored = [r for r in stored if r["status"] == "ok"]
    if not scored:
        return [
            absent_block(
                "No score: it is switched off, or no arm was reconstructed with a method that predicts k-space."
            )
        ]
    rows = []
    for arm in context.arms:
        mine = [r for r in scored if r["arm"] == arm["arm"]]
        if not mine:
            continue
        expected = [r["expected_nmse"] for r in mine if r["expected_nmse"] is not None]
        unscored = sum(r["arm"] == arm["arm"] and r["status"] == "failed" for r in stored)
        cells = (
            tables.text(tables.arm_label(arm)),
            tables.numeric(len(mine), 0),
            tables.numeric(sum(bool(r["flagged"]) for r in mine), 0),
            tables.numeric(unscored, 0),
            tables.numeric(median(expected) if expected else None, 4),
            tables.numeric(max(expected) if expected else None, 4),
        )
        rows.append(Row(cells, arm["method"]))
    columns = ["Arm", "Scans scored", "Flagged", "Not scored", "Expected NMSE (median)", "Expected NMSE (highest)"]
    blocks = [
        table_block("reliability-table", tables.make_table("Reliability of the accelerated scans", columns, rows))
    ]
    named = {a["arm"]: a for a in context.arms}
    flagged = [r for r in scored if r["flagged"] and r["arm"] in named]
    if not flagged:
        return [*blocks, text_block("No scan is flagged.")]
    lines = [
        Row(
            (
                *(tables.text(r[name]) for name in ("center", "patient", "scan")),
                tables.text(tables.arm_label(named[r["arm"]])),
                tables.numeric(r["expected_nmse"], 4),
                tables.text("; ".join(r["reasons"])),
            ),
            named[r["arm"]]["method"],
        )
        for r in sorted(flagged, key=lambda r: -(r["expected_nmse"] or 0))
    ]
    columns = ["Center", "Patient", "Scan", "Arm", "Expected NMSE", "Why"]
    table = tables.make_table(f"{len(flagged)} flagged reconstructions", columns, lines)
    return [*blocks, table_block("flagged-table", table, pdf=len(flagged) <= MOST_ROWS_IN_PDF)]


MOST_ROWS_IN_PDF = 40


def shift(context: Context) -> list[Block]:
    """Every measure of every center beside the usual range of the training."""
    stored = context.results.get("shift") or []
    if not stored:
        return [absent_block("Not measured: no arm was reconstructed by a trained network.")]
    rows = [
        Row(
            (
                tables.text(r["center"]),
                tables.text(MEASURE_LABELS.get(r["measure"], r["measure"])),
                tables.numeric(r["value"], 3),
                Cell(usual_range(r)),
                tables.numeric(r["n_scans"], 0),
                tables.text("unlike the training" if r["flagged"] else ""),
                tables.text(r["note"]),
            )
        )
        for r in stored
    ]
    columns = ["Center", "Measure", "Median", "Usual range in training", "Scans", "Flag", "Note"]
    return [table_block("shift-table", tables.make_table("Distance of each center from the training", columns, rows))]


def usual_range(row: Mapping[str, Any]) -> str:
    """``low to high``, or the one side that is bounded."""
    low, high = row.get("low"), row.get("high")
    if low is None and high is None:
        return tables.MISSING
    if low is None:
        return f"up to {tables.number(high, 3)}"
    if high is None:
        return f"from {tables.number(low, 3)}"
    return f"{tables.number(low, 3)} to {tables.number(high, 3)}"
