"""Where did patients and measurements get lost on the way? The sections flow and failures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from reports import tables
from reports.document import Block, Context, table_block, text_block
from reports.gallery import gallery_blocks
from reports.outliers import patient_href
from reports.selection import absent_block
from reports.tables import Cell, Row

MOST_SCANS_PICTURED = 6
MOST_ROWS_IN_PDF = 60
PHASES = ("ED", "ES", "map")


def flow(context: Context) -> list[Block]:
    """Scans found and used, then pairs attempted, evaluated and failed in each arm."""
    about, failed = context.results["cohort"], context.results["failures"]
    stages = Counter(str(f.get("stage") or "not stated") for f in failed)
    items = []
    if about.get("n_scans_found") is not None:
        items.append(["Scans found", str(about["n_scans_found"])])
    items += [["Scans in the table of measurements", str(about["n_scans"])], ["Patients", str(about["n_patients"])]]
    items += [[f"Failures at the stage “{stage}”", str(n)] for stage, n in stages.most_common()]
    rows = context.agreement("fully_sampled")
    if not rows:
        return [{"kind": "definitions", "items": items}, absent_block("No pairs could be formed.")]
    lines = []
    for arm in context.arms:
        mine = [r for (_, name), r in rows.items() if name == arm["arm"]]
        attempted, evaluated, most = (sum(r["attempted"] for r in mine), sum(r["n"] for r in mine), _most_lost(mine))
        cells = (
            tables.text(tables.arm_label(arm)),
            tables.numeric(len(mine), 0),
            tables.numeric(attempted, 0),
            tables.numeric(evaluated, 0),
            tables.numeric(attempted - evaluated, 0),
            tables.text(most or "none"),
        )
        lines.append(Row(cells, arm["method"]))
    columns = ["Arm", "Measurements", "Pairs attempted", "Evaluated", "Failed", "Most lost in one measurement"]
    caption = "Pairs with the fully sampled scan: a pair is one measurement of one patient in both"
    return [
        {"kind": "definitions", "items": items},
        table_block("flow-table", tables.make_table(caption, columns, lines)),
    ]


def _most_lost(rows: list[Mapping[str, Any]]) -> str:
    worst = max(rows, key=lambda r: r["attempted"] - r["n"], default=None)
    if worst is None or worst["attempted"] == worst["n"]:
        return ""
    return f"{tables.symbol(worst['phenotype'])}: {worst['attempted'] - worst['n']} of {worst['attempted']} patients"


def failures(context: Context) -> list[Block]:
    """What could not be measured and why, with pictures of the scan where some were made."""
    stored = context.results["failures"]
    if not stored:
        return [text_block("None: every planned measurement was made.")]
    rows = []
    for entry in stored:
        href = patient_href(context, str(entry.get("center")), str(entry.get("patient")))
        named = [tables.text(entry.get("center")), tables.text(entry.get("patient"), href=href)]
        named += [tables.text(entry.get(n)) for n in ("scan", "file", "stage", "reason")]
        rows.append(Row((*named, tables.numeric(entry.get("n_measurements"), 0))))
    columns = ["Center", "Patient", "Scan", "File", "Stage", "Reason", "Measurements lost"]
    whole = tables.make_table(f"{len(stored)} failures", columns, rows)
    blocks: list[Block] = [table_block("failures-table", whole, pdf=len(rows) <= MOST_ROWS_IN_PDF)]
    if len(rows) > MOST_ROWS_IN_PDF:
        kinds = Counter((str(e.get("stage")), str(e.get("reason"))) for e in stored).most_common(MOST_ROWS_IN_PDF)
        lines = [Row((tables.text(stage), tables.text(reason), Cell(str(n), n))) for (stage, reason), n in kinds]
        short = tables.make_table(
            f"{len(stored)} failures by reason; the page has all", ["Stage", "Reason", "Scans"], lines
        )
        blocks.append(table_block("failures-table-pdf", short, page=False))
    return [*blocks, *_pictures(context, stored)]


def _pictures(context: Context, stored: list[Mapping[str, Any]]) -> list[Block]:
    """The gallery of scans that failed late enough to have pictures."""
    entries: list[dict[str, Any]] = []
    pictured = 0
    for failure in stored:
        found = _pictures_of(context, failure)
        pictured += bool(found)
        if pictured > MOST_SCANS_PICTURED:
            break
        entries += found
    if not entries:
        return [text_block("These scans did not get far enough to have pictures.")]
    results = {"gallery": entries, "arms": context.results["arms"]}
    blocks = gallery_blocks(results, run_dir=context.run_dir, add=context.pictures.add, anchors=False)
    return [text_block("Pictures of the failed scans, as far as they were made:"), *blocks[1:]]


def _pictures_of(context: Context, failure: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Entries of one phase of the failed scan, for every arm; files lie beside its results, ``ARM_PHASE.npz``."""
    file = PurePosixPath(str(failure.get("file") or ""))
    if not file.name or file.is_absolute() or ".." in file.parts:
        return []
    folder = context.run_dir / "scans" / Path(*file.with_suffix("").parts) / "pictures"
    arms = {a["arm"]: a for a in context.arms}
    for phase in PHASES:
        paths = {name: folder / f"{name}_{phase}.npz" for name in arms}
        there = {name: path for name, path in paths.items() if path.is_file()}
        if there:
            place = {k: str(failure.get(k) or "") for k in ("center", "patient")}
            about = place | {"modality": str(failure.get("scan") or ""), "phase": phase, "slice": "shown"}
            kept = ("arm", "method", "pattern", "acceleration")
            return [
                about | {k: arms[name][k] for k in kept} | {"path": path.relative_to(context.run_dir).as_posix()}
                for name, path in there.items()
            ]
    return []
