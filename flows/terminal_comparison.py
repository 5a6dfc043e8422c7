"""What does the terminal show of two runs? What differs, verdicts that changed, and how the differences moved."""

import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from reports import tables
from reports.agreement_blocks import Names

LONGEST = 40


def print_comparison(comparison: Mapping[str, Any]) -> None:
    """Three tables; a table without rows is left out."""
    names = Names(comparison)
    wide = Console() if sys.stdout.isatty() else Console(width=170)
    labels = {arm["arm"]: tables.arm_label(arm) for arm in comparison["arms"]}

    def named(row: Mapping[str, Any]) -> tuple[str, str]:
        return escape(names.with_unit(row["phenotype"], short=True)), escape(labels.get(row["arm"], row["arm"]))

    causes = Table("of the", "what", "before", "after", title="What differs")
    for change in comparison["changes"]:
        values = [escape(_short(change[when])) for when in ("before", "after")]
        causes.add_row(change["kind"], escape(change["name"]), *values)
    verdicts = Table("measurement", "arm", "change", "before", "after", title="Verdicts that changed")
    for row in comparison["verdicts"]:
        if row["change"] != "same":
            verdicts.add_row(*named(row), row["change"], row["before"], row["after"])
    shifts = Table("measurement", "arm", "patients", "change of the difference", "largest", title="After minus before")
    for row in comparison["shifts"]:
        if row["moved"]:
            digits = names.digits(row["phenotype"]) + 1
            change = tables.interval(row["change"], digits, signed=True)
            shifts.add_row(*named(row), str(row["n"]), change, tables.number(row["largest"], digits))
    for table in (causes, verdicts, shifts):
        if table.row_count:
            wide.print(table)
    failures = comparison["failures"]
    wide.print(
        f"{comparison['worsened']} verdicts worse, {comparison['improved']} better; "
        f"{len(failures['new'])} failures new, {len(failures['gone'])} gone; "
        f"{comparison['cohort']['n_common']} patients in both runs",
        highlight=False,
    )


def _short(text: str | None) -> str:
    if text is None:
        return tables.MISSING
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
