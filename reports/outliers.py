"""Which patients differ most between accelerated and fully sampled, and where can they be looked at? The section outliers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from reports import tables
from reports.document import Block, Context, table_block, text_block
from reports.gallery import gallery_anchor
from reports.patient import file_stem
from reports.selection import absent_block
from reports.tables import Cell, Row, make_table

OUTSIDE = {"margin": "margin of individuals", "limits": "limits of agreement"}
MOST_IN_PDF = 40
MOST_STORED = 200


def outliers(context: Context) -> list[Block]:
    """The pairs outside the margin or the limits, most extreme first, each with the way to its pictures."""
    named = {a["arm"]: a for a in context.arms}
    stored = [o for o in context.results.get("outliers") or [] if o["arm"] in named]
    if not stored:
        return [
            absent_block("None: every difference lies inside the margin of individuals, or no pairs could be compared.")
        ]
    rows = [_row(context, entry, named[entry["arm"]]) for entry in stored]
    columns = ["Center", "Patient", "Measurement", "Arm", "Fully sampled", "Accelerated", "Difference", "Outside"]
    caption = f"{len(rows)} values that differ most, the most extreme first"
    blocks: list[Block] = [table_block("outliers-table", make_table(caption, columns, rows), pdf=False)]
    shown = rows[:MOST_IN_PDF]
    words = (
        caption
        if len(shown) == len(rows)
        else f"The {len(shown)} values that differ most; the page has all {len(rows)}"
    )
    blocks.append(table_block("outliers-table-pdf", make_table(words, columns, shown), page=False))
    if len(stored) >= MOST_STORED:
        blocks.append(
            text_block(f"Only the {MOST_STORED} most extreme values are kept; measurements.parquet holds all.")
        )
    return blocks


def patient_href(context: Context, center: str, patient: str) -> str | None:
    """The patient's own page where the run has one beside this page, else the patient's pictures, else nothing."""
    name = f"{file_stem(center, patient)}.html"
    if (context.run_dir / "report" / "patients" / name).is_file():
        return f"patients/{quote(name)}"
    pictured = {(str(e["center"]), str(e["patient"])) for e in context.results.get("gallery") or []}
    return f"#{gallery_anchor(center, patient)}" if (center, patient) in pictured else None


def _row(context: Context, entry: Mapping[str, Any], arm: Mapping[str, Any]) -> Row:
    digits = tables.decimals(entry["phenotype"])
    center, patient = str(entry["center"]), str(entry["patient"])
    scan = entry.get("scan")
    cells = (
        tables.text(center),
        tables.text(patient + (f" ({scan})" if scan else ""), href=patient_href(context, center, patient)),
        tables.text(tables.with_unit(entry["phenotype"], short=True)),
        tables.text(tables.arm_label(arm)),
        tables.numeric(entry["reference"], digits),
        tables.numeric(entry["test"], digits),
        Cell(tables.number(entry["difference"], digits, signed=True), entry["difference"]),
        tables.text(OUTSIDE.get(entry["outside"], entry["outside"])),
    )
    return Row(cells, arm["method"])
