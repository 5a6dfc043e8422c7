"""Where in the wall does its thickness differ from the fully sampled scan? The section segments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import ceil, floor
from typing import Any, Final

from reports import tables
from reports.bullseye import NAMES, bullseye_svg
from reports.document import Block, Context, in_parts, plots_block, table_block
from reports.selection import absent_block
from reports.tables import Cell, Row, Table

QUANTITIES: Final = {
    "wall_thickness_mean": "Mean wall thickness",
    "wall_thickness_max": "Maximum wall thickness",
    "circumferential_strain_peak": "Peak circumferential strain",
    "radial_strain_peak": "Peak radial strain",
}
DRAWN: Final = "wall_thickness_mean"
MOST_DRAWN_IN_PDF: Final = 12
#: ends of the scale of differences, mm: at least, and at most (beyond, the bar has an arrow)
LEAST_SCALE_MM, WIDEST_SCALE_MM = 1.0, 4.0
Values = Mapping[str, Any]


def segments(context: Context) -> list[Block]:
    """Fully sampled means and differences of each arm, by AHA segment."""
    stored = context.results.get("segments") or []
    measured = {r["arm"] for r in stored}
    arms = [a for a in context.all_arms if a["arm"] in measured]
    if not arms:
        return [absent_block("The wall's thickness was not measured by segment.")]
    blocks: list[Block] = _drawn(context, [r for r in stored if r["quantity"] == DRAWN], arms)
    for quantity, label in QUANTITIES.items():
        mine = {(r["arm"], r["segment"]): r for r in stored if r["quantity"] == quantity}
        for number, part in enumerate(in_parts(arms) if mine else ()):
            table = _table(label, mine, part)
            blocks.append(table_block(f"{quantity}-table-{number + 1}", table, pdf=quantity == DRAWN))
    return blocks


def _drawn(context: Context, stored: Sequence[Values], arms: Sequence[Mapping[str, Any]]) -> list[Block]:
    """A bull's-eye of the fully sampled means, and one of the differences of each arm on one scale."""
    scales = {key: _scale([r[key] for r in stored if r.get(key) is not None], key) for key in ("mean", "difference")}
    items = []
    for arm in arms:
        key = "mean" if arm["arm"] == "fully_sampled" else "difference"
        values = {r["segment"]: r[key] for r in stored if r["arm"] == arm["arm"] and r.get(key) is not None}
        if not values:
            continue
        what = "mean thickness" if key == "mean" else "difference from fully sampled"
        svg = bullseye_svg(values, title=what, unit="mm", limits=scales[key], digits=1)
        items.append(
            {
                "name": context.pictures.add(svg, suffix=".svg"),
                "caption": tables.arm_label(arm),
                "alt": f"Bull's-eye of the AHA segments, {tables.arm_label(arm)}, {what}; the numbers are in the table below",
                "method": arm["method"],
                "colored": True,
            }
        )
    title = "Mean wall thickness at end diastole"
    return [plots_block(title, items, pdf=len(items) <= MOST_DRAWN_IN_PDF)] if items else []


def _scale(values: Iterable[float], key: str) -> tuple[float, float]:
    """Ends of a color scale: whole millimeters around means, the same to both sides of zero for differences."""
    known = list(values)
    if key == "difference":
        widest = max((abs(v) for v in known), default=LEAST_SCALE_MM)
        end = min(max(ceil(2 * widest) / 2, LEAST_SCALE_MM), WIDEST_SCALE_MM)
        return -end, end
    low, high = floor(min(known, default=0.0)), ceil(max(known, default=1.0))
    return float(low), float(max(high, low + 1))


def _table(label: str, stored: Mapping[tuple[str, int], Values], arms: Sequence[Mapping[str, Any]]) -> Table:
    rows = []
    for segment in sorted({segment for _, segment in stored}):
        named = [Cell(str(segment), segment), tables.text(NAMES[segment])]
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
