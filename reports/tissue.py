"""What are T1, T2 and T1rho on each scanner, and what do published studies of healthy people say? The section tissue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from reports import tables
from reports.document import Block, Context, table_block
from reports.selection import absent_block
from reports.tables import Cell, Row

#: quantity: phenotype of the whole wall, phenotype of the septum
QUANTITIES: Final = {
    "t1": ("t1_ms", "septal_t1_ms"),
    "t2": ("t2_ms", "septal_t2_ms"),
    "t1rho": ("t1rho_ms", "septal_t1rho_ms"),
}
COLUMNS: Final = (
    *("Center and scanner", "Field", "Values of", "Wall: mean ± SD", "median", "n", "Septum: mean ± SD", "median", "n"),
    "95 % of healthy",
)
MOST_ROWS_IN_PDF: Final = 60
Values = Mapping[str, Any]


def tissue(context: Context) -> list[Block]:
    """A table for each quantity: every scanner for itself, its arms, and below them the published values of its field."""
    stored = context.results.get("tissue_values") or []
    blocks = []
    for name, phenotypes in QUANTITIES.items():
        rows = _rows(context, [r for r in stored if r["phenotype"] in phenotypes], phenotypes)
        if rows:
            label = f"{tables.phenotype_label(phenotypes[0])} ({tables.phenotype_unit(phenotypes[0])}), by scanner and field"
            table = tables.make_table(label, COLUMNS, rows)
            blocks.append(table_block(f"tissue-{name}-table", table, pdf=len(rows) <= MOST_ROWS_IN_PDF))
    return blocks or [absent_block("No mapping series was measured.")]


def _rows(context: Context, stored: Sequence[Values], phenotypes: Sequence[str]) -> list[Row]:
    places = sorted({_place(r) for r in stored}, key=lambda place: tuple(str(part) for part in place))
    by_key = {(_place(r), r["arm"], r["phenotype"]): r for r in stored}
    rows = []
    for place in places:
        for arm in context.all_arms:
            cells = [_cells(by_key.get((place, arm["arm"], name))) for name in phenotypes]
            if any((place, arm["arm"], name) in by_key for name in phenotypes):
                named = [*_place_cells(place), tables.text(tables.arm_label(arm))]
                rows.append(Row((*named, *cells[0], *cells[1], *_blank(1)), arm["method"]))
        rows += _published(context, place, phenotypes)
    return rows


def _published(context: Context, place: tuple[Any, ...], phenotypes: Sequence[str]) -> list[Row]:
    """A row for each study that fits, and one that says why there is none, or why none can be compared."""
    ranges = context.results.get("normal_ranges") or []
    # values of the septum and of the wall have the same studies
    found = next((r for r in ranges if r["field_t"] == place[-1] and r["phenotype"] in phenotypes), None)
    if found is None:
        return []
    rows = []
    if found["reason"]:
        rows.append(Row((*_place_cells(place), tables.text(f"Published: {found['reason']}"), *_blank(7))))
    for normal in found["values"]:
        made = ", ".join(filter(None, (f"{normal['sequence']} {normal['scheme']}".strip(), normal["vendor"])))
        cells = (
            tables.text(f"Published: {made}; {normal['source']}"),
            Cell(f"{normal['mean']:g} ± {normal['sd']:g}", normal["mean"]),
            *_blank(1),
            tables.numeric(normal["n"], 0),
            *_blank(3),
            Cell(f"{tables.number(normal['low'], 0)} to {tables.number(normal['high'], 0)}", normal["low"]),
        )
        rows.append(Row((*_place_cells(place), *cells)))
    return rows


def _place(row: Values) -> tuple[Any, ...]:
    return row["center"], row["vendor"], row["scanner"], row["field_t"]


def _place_cells(place: tuple[Any, ...]) -> list[Cell]:
    center, vendor, scanner, field_t = place
    field = tables.MISSING if field_t is None else f"{field_t:g} T"
    return [tables.text(f"{center}: {vendor} {scanner}".strip()), Cell(field, field_t)]


def _cells(row: Values | None) -> list[Cell]:
    """Mean with SD, median, and how many patients of those attempted."""
    if row is None:
        return _blank(3)
    digits = tables.decimals(row["phenotype"])
    mean = tables.number(row["mean"], digits)
    words = mean if row["sd"] is None else f"{mean} ± {tables.number(row['sd'], digits)}"
    return [Cell(words, row["mean"]), tables.numeric(row["median"], digits), Cell(tables.counts(row), row["n"])]


def _blank(n: int) -> list[Cell]:
    return [Cell("")] * n
