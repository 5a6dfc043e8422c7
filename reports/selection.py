"""What does a section show where there is much, and what where there is nothing?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from reports import tables
from reports.document import Block, Context, in_order, table_block, text_block
from reports.figures import bias_margin
from reports.tables import Table

Make = Callable[[Sequence[str]], Table]
MOST_ROWS_IN_PDF = 60
MOST_ROWS_OF_PRIMARY_IN_PDF = 150


def primary_of(context: Context, phenotypes: Sequence[str]) -> list[str]:
    """Those that carry the claim by the plan; all that have margins where the plan names none of them."""
    named = context.results["plan"].get("primary") or []
    return [p for p in in_order(phenotypes) if p in named] or context.judged(phenotypes)


def bias_margin_text(margins: Mapping[str, Any] | None) -> str:
    """``±3``, or ``−2 to 3`` where one direction is worse than the other; as planned, not rounded."""
    ends = bias_margin(margins or {})
    if ends is None:
        return tables.MISSING
    return (
        tables.plus_minus(ends[1])
        if -ends[0] == ends[1]
        else " to ".join(f"{v:g}" for v in ends).replace("-", tables.MINUS)
    )


def grid_legend(context: Context) -> str:
    """How to read a cell of a grid of verdicts, and why limits inside the margin may still not do."""
    level = f"{100 * (1 - 2 * context.results['plan']['alpha']):g} %"
    return (
        f"In each cell: bias [{context.level} interval]; limits of agreement; pairs evaluated/planned. "
        "Below each measurement: margin of the bias / of the limits. "
        f"The verdict looks at the {level} interval of the bias and at the outer ends of the limits' {context.level} intervals, "
        "which reach further than the limits in the cell; the table of agreement lists them."
    )


def absent_block(words: str) -> Block:
    """The paragraph of a section that has nothing to show; a checklist then claims nothing for it."""
    return text_block(words) | {"absent": True}


def says_something(blocks: Sequence[Block]) -> bool:
    """Whether a section holds more than the word that there is nothing."""
    return any(not b.get("absent") for b in blocks)


def long_table(
    identifier: str,
    make: Make,
    *,
    context: Context,
    phenotypes: Sequence[str],
    make_printed: Make | None = None,
) -> list[Block]:
    """A table of all phenotypes on the page, and where it is long only of the main ones in print.

    ``make`` gets the phenotypes to show, in order; ``make_printed`` makes the printed one, where it has other columns.
    """
    whole = make(in_order(phenotypes))
    if not whole.rows:
        return []
    short = (make_printed or make)(in_order(phenotypes))
    if len(short.rows) > MOST_ROWS_IN_PDF:
        short = _printed(make_printed or make, context, phenotypes)
    if make_printed is None and len(short.rows) == len(whole.rows):
        return [table_block(identifier, whole)]
    if len(short.rows) < len(whole.rows):
        said = f"Printed: {len(short.rows)} of {len(whole.rows)} rows, of main measurements; the page has all"
        short = replace(short, caption=f"{short.caption}. {said}")
    return [table_block(identifier, whole, pdf=False), table_block(f"{identifier}-pdf", short, page=False)]


def _printed(make: Make, context: Context, phenotypes: Sequence[str]) -> Table:
    """Rows of what the plan states as primary, or of the usual main measurements, of so many as print well."""
    about, texts = context.results["plan"], context.texts
    primary = primary_of(context, phenotypes)
    if about.get("primary_stated", bool(about.get("primary"))):
        stated = make(primary)
        if len(stated.rows) <= MOST_ROWS_OF_PRIMARY_IN_PDF:
            return stated
    usual = make([p for p in primary if p in (texts.get("pdf_plots") or [])])
    few = make([p for p in primary if p in (texts.get("pdf_forest") or [])])
    fitting = [t for t in (usual, few) if 0 < len(t.rows) <= MOST_ROWS_IN_PDF]
    return fitting[0] if fitting else few if few.rows else make(primary[:1])
