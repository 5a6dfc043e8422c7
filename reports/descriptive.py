"""Which numbers describe a comparison without deciding it? Tables for the section agreement."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from reports import tables
from reports.document import Block, Context, text_block
from reports.selection import long_table
from reports.tables import Cell, Row

Entries = Mapping[tuple[str, str], Mapping[str, Any]]
Make = Callable[[Mapping[str, Any], Mapping[str, Any], int], list[Cell]]
WORDS = (
    "The next tables describe; no verdict rests on them, but on the equivalence test and the limits above. Correlation and intraclass "
    "correlation grow with the spread of the patients, whatever the agreement."
)
COEFFICIENTS = (
    "Pearson (association, not agreement)",
    "ICC(A,1)",
    "ICC(C,1)",
    "CCC (Lin)",
    "Slope",
    "Even spread, p",
)
SPREAD = (
    "Median difference",
    "2.5 % quantile",
    "97.5 % quantile",
    "Bias (%)",
    "Lower limit (%)",
    "Upper limit (%)",
    "TDI 95 %",
    "Inside (%)",
    "Exact test, p",
)
ROBUSTNESS = ("Bias", "Lower limit", "Upper limit", "Inside (%)", "Monte Carlo error")


def descriptive_blocks(context: Context, rows: Entries) -> list[Block]:
    """Coefficients, and the spread in other terms, of every measurement and arm; nothing where none is known."""
    if not any(r.get("descriptive") for r in rows.values()):
        return []
    blocks: list[Block] = [text_block(WORDS)]
    phenotypes = [p for p, _ in rows]
    for identifier, caption, columns, make in (
        (
            "coefficients-table",
            "Descriptive coefficients; slope: of the difference on the mean",
            COEFFICIENTS,
            coefficients,
        ),
        ("spread-table", "Spread in other terms; inside: pairs within the margin of individuals", SPREAD, spread),
    ):
        title = f"{caption}, with {context.level} intervals"
        table = partial(_table, context, rows, title, columns, make)
        blocks += long_table(identifier, table, context=context, phenotypes=phenotypes)
    return [*blocks, *_robustness_blocks(context, rows)]


def _robustness_blocks(context: Context, rows: Entries) -> list[Block]:
    """Bias and limits again, from draws of the patients, without any assumption on the distribution."""
    if not any(r.get("robustness") for r in rows.values()):
        return []
    about = context.results.get("resampling") or {}
    title = (
        f"Bias and limits by bootstrap ({about.get('scheme') or 'scheme not stated'}), with {context.level} intervals"
    )
    table = partial(_table, context, rows, title, ROBUSTNESS, _robustness)
    blocks = long_table("robustness-table", table, context=context, phenotypes=[p for p, _ in rows])
    return [*blocks, *(text_block(f"{str(n)[:1].upper()}{str(n)[1:]}.") for n in about.get("notes") or [])]


def _table(
    context: Context, rows: Entries, caption: str, columns: tuple[str, ...], make: Make, phenotypes: Sequence[str]
) -> tables.Table:
    lines = []
    for phenotype in phenotypes:
        digits = tables.decimals(phenotype)
        for arm in (a for a in context.arms if (phenotype, a["arm"]) in rows):
            row = rows[phenotype, arm["arm"]]
            named = [tables.text(tables.with_unit(phenotype, short=True)), tables.text(tables.arm_label(arm))]
            lines.append(Row((*named, *make(row.get("descriptive") or {}, row, digits)), arm["method"]))
    return tables.make_table(caption, ["Measurement", "Arm", *columns], lines)


def coefficients(found: Mapping[str, Any], row: Mapping[str, Any], _digits: int) -> list[Cell]:
    """Cells for COEFFICIENTS; they describe and decide nothing."""
    p = found.get("heteroscedasticity_p")
    return [
        tables.estimate(found.get("pearson"), 3),
        tables.estimate(found.get("icc") or row.get("icc"), 3),
        tables.estimate(found.get("icc_consistency"), 3),
        tables.estimate(found.get("ccc"), 3),
        tables.estimate(found.get("slope"), 3, signed=True),
        Cell(tables.p_value(p), p),
    ]


def spread(found: Mapping[str, Any], row: Mapping[str, Any], digits: int) -> list[Cell]:
    """Cells for SPREAD: limits without a distribution, in percent, and the share inside."""
    test = row.get("agreement_test") or {}
    return [
        tables.numeric(found.get("median_difference"), digits, signed=True),
        _either(found.get("nonparametric_lower"), digits),
        _either(found.get("nonparametric_upper"), digits),
        *(tables.estimate(found.get(k), 1, signed=True) for k in ("percent_bias", "percent_lower", "percent_upper")),
        _either(found.get("tdi95"), digits),
        tables.estimate(percent(found.get("within_share")), 0),
        Cell(tables.p_value(test.get("p")), test.get("p")),
    ]


def percent(share: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A share with its interval, in percent."""
    if share is None:
        return None
    return {k: None if share.get(k) is None else 100 * share[k] for k in ("estimate", "low", "high")}


def _robustness(_: Mapping[str, Any], row: Mapping[str, Any], digits: int) -> list[Cell]:
    found = row.get("robustness") or {}
    error = [(found.get(k) or {}).get(e) for k in ("lower_limit", "upper_limit") for e in ("low_error", "high_error")]
    known = [e for e in error if e is not None]
    return [
        tables.estimate(found.get("bias"), digits, signed=True),
        tables.estimate(found.get("lower_limit"), digits),
        tables.estimate(found.get("upper_limit"), digits),
        tables.estimate(percent(found.get("within_share")), 0),
        tables.numeric(max(known) if known else None, digits + 1),
    ]


def _either(value: Any, digits: int) -> Cell:
    """An interval, or a number where no interval is known."""
    return tables.estimate(value, digits) if isinstance(value, Mapping) else tables.numeric(value, digits)
