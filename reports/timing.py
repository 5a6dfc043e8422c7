"""What did the run cost? The section timing: time and memory of each stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from reports import tables
from reports.document import Block, Context, table_block, text_block
from reports.selection import absent_block
from reports.tables import Cell, Row

STAGES: Final = {"reconstruct": "Reconstruct", "segment": "Segment", "measure": "Measure"}
SHARED: Final = (
    "Up to {n} scans were in work at once in one process. Peak memory is that of the whole process, so it holds for all of "
    "them together, and processor time is each scan's own thread without the helping threads of libraries."
)
EARLIER: Final = "The run was resumed: what an earlier attempt had completed is counted with the time it took then."


def timing(context: Context) -> list[Block]:
    """A row a stage: scans, wall time, processor time, peak memory."""
    stored = context.results.get("timing") or []
    if not stored:
        return [absent_block("Time and memory of the stages were not recorded.")]
    graphics = any(r.get("gpu_peak_mb") is not None for r in stored)
    columns = ["Stage", "Scans", "Median s", "Longest s", "Sum s", "Processor s", "Peak MB"]
    columns += ["GPU peak MB"] if graphics else []
    columns += ["Completed earlier"]
    rows = [Row(_cells(row, graphics=graphics)) for row in stored]
    blocks = [
        table_block("timing-table", tables.make_table("Time and memory, of scans with all stages", columns, rows))
    ]
    at_once = max(r["at_once"] for r in stored)
    if at_once > 1:
        blocks.append(text_block(SHARED.format(n=at_once)))
    if any(r["n_earlier"] for r in stored):
        blocks.append(text_block(EARLIER))
    return blocks


def _cells(row: Mapping[str, Any], *, graphics: bool) -> tuple[Cell, ...]:
    cells = [
        tables.text(STAGES.get(row["stage"], row["stage"])),
        tables.numeric(row["n"], 0),
        *(tables.numeric(row[f"seconds_{what}"], 2) for what in ("median", "max", "total")),
        tables.numeric(row["cpu_seconds_total"], 2),
        tables.numeric(row["peak_mb"], 0),
    ]
    if graphics:
        cells.append(tables.numeric(row.get("gpu_peak_mb"), 0))
    return (*cells, tables.numeric(row["n_earlier"], 0))
