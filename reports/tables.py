"""How is a number written? The only place of the project where anything is rounded.

Every function takes parts of ``results.json`` and returns text ready to be laid out: a :class:`Table`, or one formatted
value. A value that could not be computed (``None``) is written as an en dash, never as a number.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import StringIO
from math import isfinite
from typing import Any

from cohort.phenotypes import VOCABULARY

MISSING = "–"
MINUS = "−"
FORMULA_STARTS = frozenset("=+-@\t\r\n")
# a number, or numbers with an interval: without a letter, a quote or a second sign nothing can be called
NUMBERS = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+|[\d.,; \[\]()%±–−]*)")
METHOD_LABELS = {
    "fully_sampled": "Fully sampled",
    "zero_filled": "Zero-filled",
    "sense": "SENSE",
    "grappa": "GRAPPA",
    "compressed_sensing": "Compressed sensing",
    "low_rank_sparse": "Low rank plus sparse",
    "cardiomm": "CardioMM",
    "truth": "Truth",
}
PATTERN_LABELS = {
    "none": "none",
    "Uniform": "uniform",
    "ktUniform": "k-t uniform",
    "ktGaussian": "k-t Gaussian",
    "ktRadial": "k-t radial",
}
VERDICT_LABELS = {"shown": "Shown", "bias only": "Bias only", "not shown": "Not shown", "too few": "Too few"}
REFERENCE_LABELS = {"fully_sampled": "fully sampled", "truth": "truth"}
# digits after the point, chosen so that the last one is well below the margins proposed for the unit
DECIMALS_BY_UNIT = {"mL": 1, "ml": 1, "%": 1, "points": 1, "L/min": 2, "g": 1, "mm": 2, "ms": 1, "dB": 2} | {
    "mL/m²": 1,
    "g/m²": 1,
    "L/min/m²": 2,
    "mL/s": 0,
    "1/min": 0,
    "m²": 2,
}
DECIMALS_WITHOUT_UNIT = 3
DECIMALS_BY_NAME = {"nmse": 4, "heart_nmse": 4}
SMALLEST_P = 0.001


@dataclass(frozen=True)
class Column:
    """A heading; numeric columns are set flush right."""

    label: str
    numeric: bool = False


@dataclass(frozen=True)
class Cell:
    """Text as shown, the unrounded number to sort by (None: sort by the text), and an anchor (``#...``) it leads to."""

    text: str
    sort: float | None = None
    href: str | None = None


@dataclass(frozen=True)
class Row:
    """Cells in the order of the columns; ``method`` lets the reader filter, ``anchor`` is where links to the row lead."""

    cells: tuple[Cell, ...]
    method: str | None = None
    anchor: str | None = None


@dataclass(frozen=True)
class Table:
    """A captioned table, laid out by the HTML and the PDF template alike."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...] = field(default=())


def decimals(phenotype: str) -> int:
    """Digits after the point for a phenotype or an image quality metric."""
    if phenotype in DECIMALS_BY_NAME:
        return DECIMALS_BY_NAME[phenotype]
    return DECIMALS_BY_UNIT.get(phenotype_unit(phenotype), DECIMALS_WITHOUT_UNIT)


def phenotype_label(phenotype: str) -> str:
    """Name for readers; an unknown one is shown as it is stored."""
    known = VOCABULARY.get(phenotype)
    label = known.label if known else phenotype.replace("_", " ")
    return label[:1].upper() + label[1:]


def symbol(phenotype: str) -> str:
    """Short name, ``LVEF``; an unknown phenotype is shown as it is stored."""
    known = VOCABULARY.get(phenotype)
    return known.symbol if known else phenotype


def phenotype_unit(phenotype: str) -> str:
    """Unit as written, empty where there is none."""
    known = VOCABULARY.get(phenotype)
    unit = known.unit if known else ""
    return "" if unit in {"1", "-"} else unit


def with_unit(phenotype: str, *, short: bool = False) -> str:
    """``label (unit)``, or with the short name."""
    unit, name = phenotype_unit(phenotype), symbol(phenotype) if short else phenotype_label(phenotype)
    return f"{name} ({unit})" if unit else name


def direction(phenotype: str) -> str:
    """Whether more is better, in words; empty where neither is."""
    known = VOCABULARY.get(phenotype)
    if known is None or known.higher_is_better is None:
        return ""
    return "higher is better" if known.higher_is_better else "lower is better"


def method_label(method: str) -> str:
    """Name of a reconstruction for readers."""
    return METHOD_LABELS.get(method, method)


def pattern_label(pattern: str) -> str:
    """Name of an undersampling pattern for readers."""
    return PATTERN_LABELS.get(pattern, pattern)


def number(value: float | None, digits: int, *, signed: bool = False) -> str:
    """A number with a true minus sign; ``None`` and non-finite values become an en dash."""
    if value is None or not isfinite(value):
        return MISSING
    text = f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("+-")
    return text.replace("-", MINUS)


def interval(value: Mapping[str, Any] | None, digits: int, *, signed: bool = False) -> str:
    """``estimate [low, high]`` of an interval in results.json."""
    if value is None or value.get("estimate") is None:
        return MISSING
    estimate = number(value["estimate"], digits, signed=signed)
    if value.get("low") is None or value.get("high") is None:
        return estimate
    return f"{estimate} [{number(value['low'], digits)}, {number(value['high'], digits)}]"


def plus_minus(margin: float | None) -> str:
    """``±8``: a margin as planned, not rounded."""
    return MISSING if margin is None else f"±{margin:g}"


def limits(row: Mapping[str, Any], digits: int) -> str:
    """``lower to upper`` limits of agreement, without their intervals."""
    ends = [(row.get(side) or {}).get("estimate") for side in ("lower_limit", "upper_limit")]
    return MISSING if None in ends else f"{number(ends[0], digits)} to {number(ends[1], digits)}"


def p_value(p: float | None) -> str:
    """A p-value to three digits, never 0."""
    if p is None or not isfinite(p):
        return MISSING
    return f"<{SMALLEST_P}" if p < SMALLEST_P else f"{p:.3f}"


def acceleration(value: float | None) -> str:
    """``8×``; nominal accelerations are whole numbers in practice, but need not be."""
    return MISSING if value is None else f"{value:g}×"


def effective(arm: Mapping[str, Any]) -> str:
    """Mean effective acceleration of an arm, ``6.2×``."""
    mean = (arm.get("effective_acceleration") or {}).get("mean")
    return MISSING if mean is None else f"{number(mean, 1)}×"


def counts(row: Mapping[str, Any]) -> str:
    """``19/20``: pairs evaluated of pairs attempted."""
    return f"{row.get('n', 0)}/{row.get('attempted', row.get('n', 0))}"


def arm_short(arm: Mapping[str, Any]) -> str:
    """Pattern and nominal acceleration: ``16× k-t Gaussian``."""
    if arm.get("pattern") in (None, "none"):
        return "reference"
    return f"{acceleration(arm['acceleration'])} {pattern_label(arm['pattern'])}"


def arm_label(arm: Mapping[str, Any]) -> str:
    """Method, pattern and nominal acceleration."""
    if arm.get("label"):
        return str(arm["label"])
    return (
        method_label(arm["method"])
        if arm_short(arm) == "reference"
        else f"{method_label(arm['method'])} {arm_short(arm)}"
    )


def text(value: object, *, href: str | None = None) -> Cell:
    """A cell of plain text, perhaps leading to an anchor of the page."""
    return Cell(MISSING if value is None or value == "" else str(value), href=href)


def numeric(value: float | None, digits: int, *, signed: bool = False) -> Cell:
    """A cell of one number, sorted by its unrounded value."""
    return Cell(number(value, digits, signed=signed), value)


def estimate(value: Mapping[str, Any] | None, digits: int, *, signed: bool = False) -> Cell:
    """A cell of an estimate with its interval, sorted by the estimate."""
    return Cell(interval(value, digits, signed=signed), None if value is None else value.get("estimate"))


def make_table(caption: str, columns: Iterable[str], rows: Sequence[Row]) -> Table:
    """Columns are flush right where their first filled cell carries a number."""
    names = tuple(columns)
    flags = [any(r.cells[i].sort is not None for r in rows) for i in range(len(names))]
    return Table(caption, tuple(Column(n, f) for n, f in zip(names, flags, strict=True)), tuple(rows))


def first_rows(table: Table, most: int) -> Table:
    """The table, or of a longer one its first rows."""
    return table if len(table.rows) <= most else replace(table, rows=table.rows[:most])


def table_csv(table: Table) -> str:
    """All rows as CSV: texts as shown, and after each numeric column one with the unrounded numbers."""
    heads = [[c.label, f"{c.label} (unrounded)"] if c.numeric else [c.label] for c in table.columns]
    lines: list[list[Any]] = [[name for names in heads for name in names]]
    for row in table.rows:
        line: list[Any] = []
        for cell, column in zip(row.cells, table.columns, strict=True):
            line += [inert(cell.text), cell.sort] if column.numeric else [inert(cell.text)]
        lines.append(line)
    stream = StringIO()
    csv.writer(stream, lineterminator="\n").writerows(lines)
    return stream.getvalue()


def inert(words: str) -> str:
    """A text as it may stand in a CSV: with an apostrophe before it where a spreadsheet would run it as a formula.

    Names come from the files of others. Numbers stay numbers; ``-1+cmd|...`` is none.
    """
    is_formula = words.lstrip(" ")[:1] in FORMULA_STARTS and not NUMBERS.fullmatch(words.strip(" "))
    return f"'{words}" if is_formula else words
