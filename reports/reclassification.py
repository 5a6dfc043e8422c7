"""How many patients change the class of their ejection fraction? The section reclassification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reports import tables
from reports.descriptive import percent
from reports.document import Block, Context, matrix_block, table_block, tabs_block
from reports.selection import absent_block
from reports.tables import Cell, Row

Entry = Mapping[str, Any]
MOST_MATRICES_IN_PDF = 12


def reclassification(context: Context) -> list[Block]:
    """Who moves, in words; the cross tables; the statistics."""
    named = {a["arm"]: a for a in context.arms}
    stored = [r for r in context.results.get("reclassification") or [] if r["arm"] in named and r["n"]]
    stored = [r for r in stored if r.get("against", "fully_sampled") == "fully_sampled"]
    if not stored:
        return [absent_block("No ejection fraction was compared with that of the fully sampled scan.")]
    order = {name: i for i, name in enumerate(named)}
    stored.sort(key=lambda r: order[r["arm"]])
    said: Block = {
        "kind": "list",
        "title": "Patients who change class",
        "items": [_sentence(r, named[r["arm"]]) for r in stored],
        "folded": False,
    }
    panels = [(tables.arm_label(named[r["arm"]]), [_matrix(r, named[r["arm"]])]) for r in stored]
    switch = tabs_block("classes", "Classes before and after", panels, pdf=len(panels) <= MOST_MATRICES_IN_PDF)
    return [said, switch, table_block("classes-table", _statistics(context, stored, named))]


def _sentence(entry: Entry, arm: Mapping[str, Any]) -> str:
    near, head = entry.get("near") or {}, f"{tables.arm_label(arm)}: "
    if not entry["moved"]:
        return f"{head}none of {entry['n']} patients changes class."
    change = "patient changes" if entry["n"] == 1 else "patients change" if entry["moved"] != 1 else "patients changes"
    words = f"{head}{entry['moved']} of {entry['n']} {change} class, {entry['moved_up']} to a higher and {entry['moved_down']} to a lower one."
    if near.get("n"):
        verb = "changes" if near["moved"] == 1 else "change"
        words += f" Of the {near['n']} within {near['cut_off_distance']:g} points of a limit, {near['moved']} {verb}."
    return words


def _matrix(entry: Entry, arm: Mapping[str, Any]) -> Block:
    return matrix_block(
        f"classes-{entry['arm']}",
        f"Ejection fraction class of {entry['n']} patients",
        rows=entry["classes"],
        columns=entry["classes"],
        counts=entry["table"],
        row_title="Fully sampled",
        column_title=tables.arm_label(arm),
        note="Patients on the diagonal keep their class",
    )


def _statistics(context: Context, stored: Sequence[Entry], named: Mapping[str, Mapping[str, Any]]) -> tables.Table:
    cut_offs = list(dict.fromkeys(m["cut_off"] for r in stored for m in r.get("mcnemar") or []))
    rows = []
    for entry in stored:
        near = entry.get("near") or {}
        share = percent(entry.get("share_moved"))
        changes = {m["cut_off"]: m for m in entry.get("mcnemar") or []}
        cells = [
            tables.text(tables.arm_label(named[entry["arm"]])),
            Cell(f"{entry['moved']}/{entry['n']}", entry["moved"] / entry["n"]),
            tables.estimate(share, 0),
            Cell(f"{near.get('moved', 0)}/{near.get('n', 0)}", near.get("moved", 0)),
            tables.estimate(entry.get("kappa"), 2),
            *(_change(changes.get(c)) for c in cut_offs),
            Cell(tables.p_value(entry.get("symmetry_p")), entry.get("symmetry_p")),
        ]
        rows.append(Row(tuple(cells), named[entry["arm"]]["method"]))
    columns = ["Arm", "Changed", "Changed (%)", "Of those near a limit", "Kappa"]
    columns += [f"{c:g} %" for c in cut_offs] + ["Symmetry, p"]
    return tables.make_table(
        f"Changes of class, with {context.level} intervals; kappa with quadratic weights; at each limit, patients newly above / "
        "below it with McNemar's p; symmetry by Bowker's test",
        columns,
        rows,
    )


def _change(entry: Entry | None) -> Cell:
    """Patients below the cut-off only in the reference have moved above it, and the reverse."""
    if entry is None:
        return tables.text(None)
    return Cell(f"{entry['only_reference_below']} / {entry['only_test_below']} ({tables.p_value(entry.get('p'))})")
