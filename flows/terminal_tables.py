"""What does the terminal show of a result? Tables of scans, of series and of verdicts."""

import sys
from collections.abc import Mapping
from typing import Any

import pandas as pd
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cohort.phenotypes import VOCABULARY
from reports.document import in_order
from reports.tables import arm_label, limits, number, phenotype_label

MAIN_NUMBERS = ("lv_edv_ml", "lv_esv_ml", "lv_ef_percent", "lv_mass_g", "rv_ef_percent", "t1_ms", "t2_ms")
# of a cohort of hundreds of thousands of scans nobody reads a table on a terminal
MOST_LISTED = 500
SCAN_COLUMNS = ("center", "patient", "scanner", "scan", "view", "disease", "shape", "status")


def print_catalogue(table: pd.DataFrame, *, root: str) -> None:
    """A line for every scan, and below in one line each the files that cannot be used, with the reason.

    Of a large cohort the bad ones, which somebody must see to, go before the good ones.
    """
    bad = table["status"] != "ok"
    listed = table if len(table) <= MOST_LISTED else pd.concat([table[bad], table[~bad]]).head(MOST_LISTED)
    more = "" if len(listed) == len(table) else f"{len(table) - len(listed)} more; --csv FILE has all of them"
    title = escape(f"{len(table)} scans in {root}, {bad.sum()} of them bad")
    shown = Table(*SCAN_COLUMNS, title=title, caption=more, box=SIMPLE, pad_edge=False)
    for row in listed.to_dict("records"):
        field = f"{row['field_t']:g} T" if row["field_t"] > 0 else ""
        scanner = " ".join(str(word) for word in (row["vendor"], row["scanner"], field) if word)
        shape = "x".join(str(n) for n in row["shape"])
        cells = [row["center"], row["patient"], scanner, row["stem"], row["view"], row["disease"], shape, row["status"]]
        shown.add_row(*(escape(str(cell or "")) for cell in cells))
    wide = Console() if sys.stdout.isatty() else Console(width=160)
    wide.print(shown)
    for row in listed[listed["status"] != "ok"].to_dict("records"):
        wide.print(f"bad: {row['file']}: {row['reason']}", markup=False, highlight=False, soft_wrap=True)


def print_series(summary: Any) -> None:
    """A line for every series: what it is, what was done, and its main numbers."""
    shown = Table("series", "modality", "status", "measured, or why not", title=f"{len(summary.series)} series")
    for row in summary.series.to_dict("records"):
        made = summary.measurements[summary.measurements["scan"] == row["series"]]
        values = [
            f"{VOCABULARY[m['phenotype']].symbol} {m['value']:.0f} {VOCABULARY[m['phenotype']].unit}"
            for m in made.to_dict("records")
            if m["phenotype"] in MAIN_NUMBERS and m["status"] != "failed"
        ]
        shown.add_row(row["series"], row["modality"], row["status"], ", ".join(values) or row["reason"])
    wide = Console() if sys.stdout.isatty() else Console(width=160)
    wide.print(shown)


def print_verdicts(results: Mapping[str, Any]) -> None:
    """Phenotypes by arm: bias and limits of the difference from fully sampled, with the verdict."""
    arms = [arm for arm in results["arms"] if arm["method"] != "fully_sampled"]
    rows = {(row["phenotype"], row["arm"]): row for row in results["agreement"] if row["against"] == "fully_sampled"}
    table = Table(title="Accelerated minus fully sampled: verdict, bias, limits of agreement")
    table.add_column("")
    for arm in arms:
        table.add_column(arm_label(arm))
    measured = in_order(list(dict.fromkeys(phenotype for phenotype, _ in rows)))
    for name in [name for name in measured if name in results["plan"]["margins"]] or measured:
        cells = []
        for arm in arms:
            row = rows.get((name, arm["arm"]))
            if row is None or row["bias"] is None:
                cells.append("-")
                continue
            bias = number(row["bias"]["estimate"], 1, signed=True)
            within = limits(row, 1) if row["lower_limit"] else ""
            cells.append(f"{row['verdict']}\n{bias} {within}".strip())
        table.add_row(phenotype_label(name), *cells)
    # a terminal's width wraps the table; a file or a pipe gets it whole
    wide = Console() if sys.stdout.isatty() else Console(width=max(80, 30 + 26 * len(arms)))
    wide.print(table)
    if all(row["verdict"] == "too few" for row in rows.values()):
        Console().print("No verdicts: too few patients for statistics.")
        return
    for sentence in results["study"]["verdict_sentences"]:
        Console().print(f"- {sentence}", markup=False, highlight=False, soft_wrap=True)
