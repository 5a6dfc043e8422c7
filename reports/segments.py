"""Where in the wall does its thickness differ from the fully sampled scan? The section segments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from reports import tables
from reports.document import Block, Context, in_parts, table_block, text_block
from reports.tables import Cell, Row, Table

QUANTITIES: Final = {"wall_thickness_mean": "Mean wall thickness", "wall_thickness_max": "Maximum wall thickness"}
#: Cerqueira et al. 2002, doi 10.1161/hc0402.102975
SEGMENT_NAMES: Final = (
    *("basal anterior", "basal anteroseptal", "basal inferoseptal"),
    *("basal inferior", "basal inferolateral", "basal anterolateral"),
    *("mid anterior", "mid anteroseptal", "mid inferoseptal", "mid inferior", "mid inferolateral", "mid anterolateral"),
    *("apical anterior", "apical septal", "apical inferior", "apical lateral", "apex"),
)
Values = Mapping[str, Any]


def segments(context: Context) -> list[Block]:
    """Fully sampled means and differences of each arm, by AHA segment."""
    stored = context.results.get("segments") or []
    measured = {r["arm"] for r in stored}
    arms = [a for a in context.all_arms if a["arm"] in measured]
    if not arms:
        return [text_block("The wall's thickness was not measured by segment.")]
    blocks: list[Block] = []
    for quantity, label in QUANTITIES.items():
        mine = {(r["arm"], r["segment"]): r for r in stored if r["quantity"] == quantity}
        for number, part in enumerate(in_parts(arms) if mine else ()):
            blocks.append(table_block(f"{quantity}-table-{number + 1}", _table(label, mine, part)))
    return blocks


def _table(label: str, stored: Mapping[tuple[str, int], Values], arms: Sequence[Mapping[str, Any]]) -> Table:
    rows = []
    for segment in sorted({segment for _, segment in stored}):
        named = [Cell(str(segment), segment), tables.text(SEGMENT_NAMES[segment - 1])]
        rows.append(Row((*named, *(_cell(stored.get((a["arm"], segment))) for a in arms))))
    units = {r["unit"] for r in stored.values()}
    caption = (
        f"{label} ({', '.join(sorted(units))}) by AHA segment: mean ± SD of the fully sampled scans, mean difference ± SD of "
        "each arm from them; in brackets the patients"
    )
    return tables.make_table(caption, ["No.", "Segment", *(tables.arm_label(a) for a in arms)], rows)


def _cell(row: Values | None) -> Cell:
    if row is None:
        return tables.text(None)
    key = "mean" if "mean" in row else "difference"
    digits = tables.DECIMALS_BY_UNIT.get(row["unit"], tables.DECIMALS_WITHOUT_UNIT)
    middle = tables.number(row[key], digits, signed=key == "difference")
    spread = "" if row["sd"] is None else f" ± {tables.number(row['sd'], digits)}"
    return Cell(f"{middle}{spread} ({row['n']})", row[key])
