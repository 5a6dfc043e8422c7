"""What does each section of the study report say? One function a section, from results.json to blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from reports import figures, tables
from reports.acceptance import acceptance, plan
from reports.by_center import centers
from reports.checklist import Sections, checklists, traceability
from reports.comparisons import agreement, truth, verdict
from reports.decision import decision, limits
from reports.diagnosis import diagnosis
from reports.document import Block, Context, in_order, plots_block, table_block
from reports.gallery import gallery_blocks
from reports.label_quality import quality_control
from reports.losses import failures, flow
from reports.model_cards import model_cards
from reports.outliers import outliers
from reports.reclassification import reclassification
from reports.segments import segments
from reports.selection import absent_block
from reports.subgroups import subgroups
from reports.tables import Cell, Row, Table
from reports.timing import timing
from reports.tissue import tissue
from reports.trends import bias_profile, trend
from reports.trust import reliability, shift


def image_quality(context: Context) -> list[Block]:
    """Plot and table of image quality."""
    stored = context.results["image_quality"]
    if not stored:
        return [absent_block("No image quality was measured.")]
    named = {a["arm"]: a for a in context.arms}
    shown = [r for r in stored if r["arm"] in named]
    steps = list(dict.fromkeys(tables.arm_short(a) for a in context.arms))
    panels = []
    for modality, metric in dict.fromkeys((r["modality"], r["metric"]) for r in shown):
        points = [
            {
                "position": steps.index(tables.arm_short(named[r["arm"]])),
                "method": named[r["arm"]]["method"],
                "label": tables.method_label(named[r["arm"]]["method"]),
                "mean": r["mean"],
                "low": r.get("low"),
                "high": r.get("high"),
            }
            for r in shown
            if (r["modality"], r["metric"]) == (modality, metric) and r["mean"] is not None
        ]
        if points:
            title = f"{modality}: {tables.with_unit(metric, short=True)}"
            panels.append({"title": title, "note": tables.direction(metric), "positions": steps, "points": points})
    blocks: list[Block] = []
    if panels:
        item = {
            "name": context.pictures.add(figures.quality(panels), suffix=".svg"),
            "caption": f"Mean and {context.level} interval of the mean.",
            "alt": "Image quality by acceleration, a mark a method; the numbers are in the table below",
        }
        blocks.append(plots_block("Image quality by acceleration", [item]))
    return [*blocks, table_block("quality-table", _quality_table(shown, named))]


def overlap(context: Context) -> list[Block]:
    """Dice of each structure and arm."""
    named = {a["arm"]: a for a in context.results["arms"]}
    stored = [r for r in context.results["overlap"] if r["arm"] in named or r["arm"] == "fully_sampled"]
    if not stored:
        return [absent_block("No true contours are known for these scans.")]
    structures = in_order([r["phenotype"] for r in stored])
    by_key = {(r["arm"], r["phenotype"]): r for r in stored}
    rows = []
    for arm in dict.fromkeys(r["arm"] for r in stored):
        about = named.get(arm, {"arm": arm, "method": arm, "pattern": "none", "acceleration": 1})
        cells = [tables.text(tables.arm_label(about))]
        for structure in structures:
            cells += _mean_sd_n(by_key.get((arm, structure)), 3)
        rows.append(Row(tuple(cells), about["method"]))
    columns = ["Arm"] + [t for s in structures for t in (f"{tables.symbol(s)}: mean (SD)", "n")]
    table = tables.make_table("Dice coefficient against the true contours (higher is better)", columns, rows)
    return [table_block("overlap-table", table)]


def arms(context: Context) -> list[Block]:
    """Nominal and effective accelerations."""
    rows = []
    for arm in [*[a for a in context.results["arms"] if a["arm"] == "fully_sampled"], *context.arms]:
        spread = arm.get("effective_acceleration") or {}
        cells = (
            tables.text(tables.method_label(arm["method"])),
            tables.text(tables.pattern_label(arm["pattern"])),
            Cell(tables.acceleration(arm["acceleration"]), arm["acceleration"]),
            Cell(tables.effective(arm), spread.get("mean")),
            tables.text(f"{tables.number(spread.get('min'), 1)} to {tables.number(spread.get('max'), 1)}"),
            tables.text(arm["arm"]),
        )
        rows.append(Row(cells, arm["method"]))
    columns = ["Method", "Pattern", "Nominal", "Effective (mean)", "Effective (range over scans)", "Name in the tables"]
    return [table_block("arms-table", tables.make_table("Reconstructions compared", columns, rows))]


def cohort(context: Context) -> list[Block]:
    """Centers and diseases."""
    about = context.results["cohort"]
    rows = [
        Row(
            (
                tables.text(c["center"]),
                tables.text(c["vendor"]),
                Cell(_field(c["field_t"]), c["field_t"]),
                tables.numeric(c["n_patients"], 0),
                tables.numeric(c["n_scans"], 0),
            )
        )
        for c in about["centers"]
    ]
    total = f"{about['n_patients']} patients, {about['n_scans']} scans"
    table = tables.make_table(f"Centers: {total}", ["Center", "Vendor", "Field", "Patients", "Scans"], rows)
    sick = [Row((tables.text(name), tables.numeric(n, 0))) for name, n in (about.get("diseases") or {}).items()]
    blocks: list[Block] = [table_block("cohort-table", table)]
    if sick:
        diseases = tables.make_table("Diagnoses", ["Diagnosis", "Patients"], sick)
        blocks.append(table_block("disease-table", diseases))
    return blocks


def methods(context: Context) -> list[Block]:
    """Definitions, from sections.yaml."""
    return [{"kind": "definitions", "items": [list(pair) for pair in context.texts["methods"]]}]


def provenance(context: Context) -> list[Block]:
    """Versions, hashes, seeds, weights, command, device."""
    about = context.results["provenance"]
    labels = {
        "cardioval_version": "CardioVal version",
        "commit": "Source commit",
        "command": "Run command",
        "started_utc": "Started (UTC)",
        "device": "Device",
        "python": "Python",
        "platform": "Platform",
        "config_sha256": "Hash of the configuration (SHA-256)",
        "inputs_sha256": "Hash of the inputs (SHA-256)",
    }
    items = [[label, str(about[k])] for k, label in labels.items() if about.get(k) not in (None, "")]
    if about.get("wall_s") is not None:
        items.append(["Duration", f"{tables.number(about['wall_s'], 0)} s"])
    items += [[f"Seed: {k}", str(v)] for k, v in (about.get("seeds") or {}).items()]
    weights = [Row((tables.text(w["name"]), tables.text(w["sha256"]))) for w in about.get("weights") or []]
    packages = [Row((tables.text(k), tables.text(v))) for k, v in sorted((about.get("packages") or {}).items())]
    blocks: list[Block] = [{"kind": "definitions", "items": items, "code": True}]
    for identifier, table in (
        ("weights-table", tables.make_table("Weights", ["Name", "SHA-256"], weights)),
        ("packages-table", tables.make_table("Packages", ["Package", "Version"], packages)),
    ):
        if table.rows:
            blocks.append(table_block(identifier, table))
    return blocks


def gallery(context: Context) -> list[Block]:
    """Pictures of the reconstructions."""
    return gallery_blocks(context.results, run_dir=context.run_dir, add=context.pictures.add)


SECTIONS: dict[str, Callable[[Context], list[Block]]] = {
    f.__name__: f
    for f in (
        decision,
        verdict,
        reclassification,
        limits,
        gallery,
        agreement,
        tissue,
        trend,
        bias_profile,
        diagnosis,
        subgroups,
        outliers,
        truth,
        centers,
        segments,
        image_quality,
        reliability,
        shift,
        quality_control,
        overlap,
        arms,
        flow,
        failures,
        cohort,
        plan,
        acceptance,
        model_cards,
        methods,
        timing,
        provenance,
    )
}
APPENDIX: dict[str, Callable[[Sections], list[Block]]] = {f.__name__: f for f in (traceability, checklists)}
"""Sections about the other sections."""


def _field(field_t: float | None) -> str:
    return tables.MISSING if field_t is None else f"{field_t:g} T"


def _mean_sd_n(row: Mapping[str, Any] | None, digits: int) -> list[Cell]:
    if row is None or row.get("mean") is None:
        return [Cell(tables.MISSING), Cell("0", 0)]
    return [
        Cell(f"{tables.number(row['mean'], digits)} ({tables.number(row.get('sd'), digits)})", row["mean"]),
        tables.numeric(row["n"], 0),
    ]


def _quality_table(shown: Sequence[Mapping[str, Any]], named: Mapping[str, Mapping[str, Any]]) -> Table:
    by_key = {(r["arm"], r["modality"], r["metric"]): r for r in shown}
    metrics = in_order([r["metric"] for r in shown])
    rows = []
    for modality in dict.fromkeys(r["modality"] for r in shown):
        for arm in named.values():
            found = [by_key.get((arm["arm"], modality, m)) for m in metrics]
            if not any(found):
                continue
            cells = [tables.text(modality), tables.text(tables.arm_label(arm))]
            cells += [_mean_sd_n(r, tables.decimals(m))[0] for r, m in zip(found, metrics, strict=True)]
            cells.append(tables.numeric(max(r["n"] for r in found if r), 0))
            rows.append(Row(tuple(cells), arm["method"]))
    headings = [", ".join(filter(None, (tables.with_unit(m, short=True), tables.direction(m)))) for m in metrics]
    return tables.make_table("Image quality: mean (SD) over patients", ["Scan", "Arm", *headings, "n"], rows)
