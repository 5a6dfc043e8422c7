"""What does each section of the study report say? One function a section, from results.json to blocks that both templates lay out.

A block is a plain dictionary with a ``kind`` (``text``, ``banner``, ``list``, ``definitions``, ``grid``, ``table``, ``plots``, ``gallery``); its
values are formatted text, or names of pictures in :class:`Pictures`. Nothing here is HTML or Typst, and no statistic is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cohort.phenotypes import VOCABULARY
from reports import figures, tables
from reports.gallery import gallery_blocks
from reports.tables import Cell, Row, Table

Block = dict[str, Any]
Results = Mapping[str, Any]


@dataclass
class Pictures:
    """Pictures by name (``plot-3.svg``), in the order they were made."""

    files: dict[str, bytes] = field(default_factory=dict)

    def add(self, content: bytes, *, suffix: str) -> str:
        """Keep a picture and return the name blocks refer to it by."""
        name = f"picture-{len(self.files):04d}{suffix}"
        self.files[name] = content
        return name


@dataclass(frozen=True)
class Context:
    """What a section may read: the results, the texts of sections.yaml, the run folder (for the gallery), and where pictures go."""

    results: Results
    texts: Mapping[str, Any]
    run_dir: Path
    pictures: Pictures

    @property
    def arms(self) -> list[Mapping[str, Any]]:
        """Accelerated arms, those of one method side by side."""
        known = [a for a in self.results["arms"] if a["arm"] != "fully_sampled"]
        methods = list(dict.fromkeys(a["method"] for a in known))
        return sorted(known, key=lambda a: methods.index(a["method"]))

    @property
    def centers(self) -> list[str]:
        """Centers in the order that fixes their color and mark."""
        return [str(c["center"]) for c in self.results["cohort"]["centers"]]

    @property
    def level(self) -> str:
        """Confidence level in words, ``95 %``."""
        return f"{100 * self.results['plan']['confidence']:g} %"

    def margins(self, phenotype: str) -> Mapping[str, Any] | None:
        """Planned margins of a phenotype, if any."""
        found: Mapping[str, Any] | None = self.results["plan"]["margins"].get(phenotype)
        return found

    def agreement(self, against: str) -> dict[tuple[str, str], Mapping[str, Any]]:
        """Entries of ``agreement`` by phenotype and arm."""
        return {(r["phenotype"], r["arm"]): r for r in self.results["agreement"] if r["against"] == against}


def in_order(phenotypes: Sequence[str]) -> list[str]:
    """Distinct phenotypes in the order of the vocabulary, unknown ones last."""
    order = {name: i for i, name in enumerate(VOCABULARY)}
    return sorted(dict.fromkeys(phenotypes), key=lambda p: order.get(p, len(order)))


def verdict(context: Context) -> list[Block]:
    """Sentences, the key and the grid phenotype x arm."""
    sentences = context.results["study"].get("verdict_sentences") or []
    rows = context.agreement("fully_sampled")
    if not rows:
        return [{"kind": "list", "items": list(sentences)}, _text("No comparison with the fully sampled scan was possible.")]
    return [
        {"kind": "list", "items": list(sentences), "emphasis": True},
        {"kind": "verdict_key", "items": [[v, tables.VERDICT_LABELS[v], t] for v, t in context.texts["verdicts"].items()]},
        _grid(context, rows, context.arms, caption="Verdict for each measurement and each accelerated reconstruction, against fully sampled"),
    ]


def agreement(context: Context) -> list[Block]:
    """Bland-Altman plots of each phenotype and the complete table."""
    rows = context.agreement("fully_sampled")
    if not rows:
        return [_text("No comparison with the fully sampled scan was possible.")]
    legend = context.pictures.add(figures.key(context.centers), suffix=".svg")
    blocks: list[Block] = [{"kind": "plot_key", "name": legend, "alt": "Key: a color and a shape for each center; lines of the plots"}]
    for phenotype in in_order([p for p, _ in rows]):
        blocks.append(_bland_altman_block(context, phenotype, rows))
    blocks.append({"kind": "table", "id": "agreement-table", "pdf": False} | asdict(_agreement_table(context, rows)))
    return blocks


def truth(context: Context) -> list[Block]:
    """Both arms against the truth: grid and plot."""
    rows = context.agreement("truth")
    if not rows:
        return [_text("The truth is not known for these patients (real scans without expert measurements).")]
    named = {a["arm"]: a for a in context.results["arms"]}
    reference = named.get("fully_sampled", {"arm": "fully_sampled", "method": "fully_sampled", "pattern": "none", "acceleration": 1})
    arms = [reference, *context.arms]
    phenotypes = in_order([p for p, _ in rows])
    panels = [
        {"title": tables.with_unit(p), "margins": context.margins(p), "rows": {a["arm"]: rows[p, a["arm"]] for a in arms if (p, a["arm"]) in rows}}
        for p in phenotypes
    ]
    plot = figures.against_truth(
        panels, arms=[a["arm"] for a in arms], labels=[tables.arm_label(a) for a in arms], methods=[a["method"] for a in arms]
    )
    caption = (
        f"Difference from the truth: mark, bias; thick line, its {context.level} interval; thin line, limits of agreement; "
        "shaded, margin of the bias; dash-dotted, margin of the limits."
    )
    return [
        _grid(context, rows, arms, caption="Each arm against the truth (fully sampled first: what the scan itself and the segmentation cost)"),
        _plots("Difference from the truth", [{"name": context.pictures.add(plot, suffix=".svg"), "caption": caption,
               "alt": "Bias and limits of every arm against the truth, a panel a measurement; the numbers are in the table above"}]),
    ]  # fmt: skip


def centers(context: Context) -> list[Block]:
    """Forest plots and the table of bias and limits by center."""
    stored = [r for r in context.results["centers"] if r["against"] == "fully_sampled"]
    if not stored:
        return [_text("No results by center.")]
    pooled = context.agreement("fully_sampled")
    blocks: list[Block] = []
    for phenotype in in_order([r["phenotype"] for r in stored]):
        items = []
        for method, arms in _by_method(context.arms):
            shown = [pooled[phenotype, a["arm"]] for a in arms if (phenotype, a["arm"]) in pooled]
            if not shown:
                continue
            titles = [tables.arm_short(a) for a in arms if (phenotype, a["arm"]) in pooled]
            plot = figures.forest(
                [r for r in stored if r["phenotype"] == phenotype], shown, titles=titles, centers=context.centers,
                unit=tables.phenotype_unit(phenotype), margins=context.margins(phenotype),
            )  # fmt: skip
            label = tables.method_label(method)
            alt = f"Bias of {tables.phenotype_label(phenotype)} by center, {label}; numbers in the table of centers"
            items.append({"name": context.pictures.add(plot, suffix=".svg"), "caption": label, "alt": alt, "method": method})
        pdf = phenotype in context.texts["pdf_forest"]
        blocks.append(_plots(tables.with_unit(phenotype), items, folded=not pdf, pdf=pdf))
    blocks.append({"kind": "table", "id": "centers-table", "pdf": True} | asdict(_centers_table(context, stored)))
    return blocks


def image_quality(context: Context) -> list[Block]:
    """Plot and table of image quality."""
    stored = context.results["image_quality"]
    if not stored:
        return [_text("No image quality was measured.")]
    named = {a["arm"]: a for a in context.arms}
    shown = [r for r in stored if r["arm"] in named]
    steps = list(dict.fromkeys(tables.arm_short(a) for a in context.arms))
    panels = []
    for modality, metric in dict.fromkeys((r["modality"], r["metric"]) for r in shown):
        points = [
            {"position": steps.index(tables.arm_short(named[r["arm"]])), "method": named[r["arm"]]["method"],
             "label": tables.method_label(named[r["arm"]]["method"]), "mean": r["mean"], "low": r.get("low"), "high": r.get("high")}
            for r in shown
            if (r["modality"], r["metric"]) == (modality, metric) and r["mean"] is not None
        ]  # fmt: skip
        if points:
            title = f"{modality}: {tables.with_unit(metric)}"
            panels.append({"title": title, "note": tables.direction(metric), "positions": steps, "points": points})
    blocks: list[Block] = []
    if panels:
        item = {"name": context.pictures.add(figures.quality(panels), suffix=".svg"), "caption": f"Mean and {context.level} interval of the mean.",
                "alt": "Image quality by acceleration, a mark a method; the numbers are in the table below"}  # fmt: skip
        blocks.append(_plots("Image quality by acceleration", [item]))
    return [*blocks, {"kind": "table", "id": "quality-table", "pdf": True} | asdict(_quality_table(context, shown, named))]


def overlap(context: Context) -> list[Block]:
    """Dice of each structure and arm."""
    named = {a["arm"]: a for a in context.results["arms"]}
    stored = [r for r in context.results["overlap"] if r["arm"] in named or r["arm"] == "fully_sampled"]
    if not stored:
        return [_text("No true contours are known for these scans.")]
    structures = in_order([r["phenotype"] for r in stored])
    by_key = {(r["arm"], r["phenotype"]): r for r in stored}
    rows = []
    for arm in dict.fromkeys(r["arm"] for r in stored):
        about = named.get(arm, {"arm": arm, "method": arm, "pattern": "none", "acceleration": 1})
        cells = [tables.text(tables.arm_label(about))]
        for structure in structures:
            cells += _mean_sd_n(by_key.get((arm, structure)), 3)
        rows.append(Row(tuple(cells), about["method"]))
    columns = ["Arm"] + [t for s in structures for t in (f"{tables.phenotype_label(s)}: mean (SD)", "n")]
    table = tables.make_table("Dice coefficient against the true contours (higher is better)", columns, rows)
    return [{"kind": "table", "id": "overlap-table", "pdf": True} | asdict(table)]


def arms(context: Context) -> list[Block]:
    """Nominal and effective accelerations."""
    rows = []
    for arm in [*[a for a in context.results["arms"] if a["arm"] == "fully_sampled"], *context.arms]:
        spread = arm.get("effective_acceleration") or {}
        cells = (
            tables.text(tables.method_label(arm["method"])), tables.text(tables.pattern_label(arm["pattern"])),
            Cell(tables.acceleration(arm["acceleration"]), arm["acceleration"]), Cell(tables.effective(arm), spread.get("mean")),
            tables.text(f"{tables.number(spread.get('min'), 1)} to {tables.number(spread.get('max'), 1)}"), tables.text(arm["arm"]),
        )  # fmt: skip
        rows.append(Row(cells, arm["method"]))
    columns = ["Method", "Pattern", "Nominal", "Effective (mean)", "Effective (range over scans)", "Name in the tables"]
    return [{"kind": "table", "id": "arms-table", "pdf": True} | asdict(tables.make_table("Reconstructions compared", columns, rows))]


def cohort(context: Context) -> list[Block]:
    """Centers and diseases."""
    about = context.results["cohort"]
    rows = [
        Row((tables.text(c["center"]), tables.text(c["vendor"]), Cell(_field(c["field_t"]), c["field_t"]),
             tables.numeric(c["n_patients"], 0), tables.numeric(c["n_scans"], 0)))
        for c in about["centers"]
    ]  # fmt: skip
    total = f"{about['n_patients']} patients, {about['n_scans']} scans"
    table = tables.make_table(f"Centers: {total}", ["Center", "Vendor", "Field", "Patients", "Scans"], rows)
    sick = [Row((tables.text(name), tables.numeric(n, 0))) for name, n in (about.get("diseases") or {}).items()]
    blocks: list[Block] = [{"kind": "table", "id": "cohort-table", "pdf": True} | asdict(table)]
    if sick:
        diseases = tables.make_table("Diagnoses", ["Diagnosis", "Patients"], sick)
        blocks.append({"kind": "table", "id": "disease-table", "pdf": True} | asdict(diseases))
    return blocks


def failures(context: Context) -> list[Block]:
    """What could not be measured and why."""
    stored = context.results["failures"]
    if not stored:
        return [_text("None: every planned measurement was made.")]
    names = ("center", "patient", "scan", "file", "stage", "reason")
    rows = [Row(tuple(tables.text(f.get(n)) for n in names)) for f in stored]
    table = tables.make_table(f"{len(stored)} failures", [n.capitalize() for n in names], rows)
    return [{"kind": "table", "id": "failures-table", "pdf": True} | asdict(table)]


def plan(context: Context) -> list[Block]:
    """Margins, level and hash of the plan."""
    about = context.results["plan"]
    rows = []
    for name in in_order(list(about["margins"])):
        margins = about["margins"][name]
        unit = margins.get("unit") or tables.phenotype_unit(name)
        cells = [tables.text(tables.phenotype_label(name)), tables.text(unit)]
        cells += [Cell("–" if margins.get(k) is None else f"±{margins[k]:g}", margins.get(k)) for k in ("bias", "limits")]
        rows.append(Row(tuple(cells)))
    table = tables.make_table(
        "Margins (proposals, to be confirmed)", ["Measurement", "Unit", "Margin of the bias", "Margin of the limits (individuals)"], rows
    )
    items = [
        ["Confidence level of intervals", context.level],
        ["Level of each one-sided test (alpha)", f"{about['alpha']:g}"],
        ["Origin of the margins", str(about.get("margins_origin") or tables.MISSING)],
        ["Hash of the plan (SHA-256)", str(about.get("sha256") or tables.MISSING)],
    ]
    return [{"kind": "definitions", "items": items}, {"kind": "table", "id": "plan-table", "pdf": True} | asdict(table)]


def methods(context: Context) -> list[Block]:
    """Definitions, from sections.yaml."""
    return [{"kind": "definitions", "items": [list(pair) for pair in context.texts["methods"]]}]


def provenance(context: Context) -> list[Block]:
    """Versions, hashes, seeds, weights, command, device."""
    about = context.results["provenance"]
    labels = {
        "cardioval_version": "CardioVal version", "commit": "Source commit", "command": "Run command", "started_utc": "Started (UTC)",
        "device": "Device", "python": "Python", "platform": "Platform", "config_sha256": "Hash of the configuration (SHA-256)",
        "inputs_sha256": "Hash of the inputs (SHA-256)",
    }  # fmt: skip
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
            blocks.append({"kind": "table", "id": identifier, "pdf": True} | asdict(table))
    return blocks


def gallery(context: Context) -> list[Block]:
    """Pictures of the reconstructions."""
    return gallery_blocks(context.results, run_dir=context.run_dir, add=context.pictures.add)


SECTIONS: dict[str, Callable[[Context], list[Block]]] = {
    f.__name__: f
    for f in (verdict, agreement, gallery, truth, centers, image_quality, overlap, arms, cohort, failures, plan, methods, provenance)
}


def _text(words: str) -> Block:
    return {"kind": "text", "text": words}


def _plots(title: str, items: list[dict[str, Any]], *, folded: bool = False, pdf: bool = True, anchor: str = "") -> Block:
    return {"kind": "plots", "title": title, "plots": items, "folded": folded, "pdf": pdf, "anchor": anchor}


def _by_method(arms: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[Mapping[str, Any]]]]:
    names = dict.fromkeys(a["method"] for a in arms)
    return [(m, [a for a in arms if a["method"] == m]) for m in names]


def _field(field_t: float | None) -> str:
    return tables.MISSING if field_t is None else f"{field_t:g} T"


def _mean_sd_n(row: Mapping[str, Any] | None, digits: int) -> list[Cell]:
    if row is None or row.get("mean") is None:
        return [Cell(tables.MISSING), Cell("0", 0)]
    return [Cell(f"{tables.number(row['mean'], digits)} ({tables.number(row.get('sd'), digits)})", row["mean"]), tables.numeric(row["n"], 0)]


def _grid(
    context: Context, rows: Mapping[tuple[str, str], Mapping[str, Any]], arms: Sequence[Mapping[str, Any]], *, caption: str
) -> Block:
    """The grid phenotype x arm; absent combinations stay empty."""
    groups = [
        {"method": m, "label": tables.method_label(m),
         "columns": [{"arm": a["arm"], "method": m, "label": tables.arm_short(a), "effective": tables.effective(a)} for a in group]}
        for m, group in _by_method(arms)
    ]  # fmt: skip
    lines = []
    for phenotype in in_order([p for p, _ in rows]):
        cells = [_grid_cell(rows.get((phenotype, c["arm"])), phenotype, c["method"]) for g in groups for c in g["columns"]]
        margins = context.margins(phenotype) or {}
        note = f"margins ±{margins['bias']:g} / ±{margins['limits']:g}" if margins.get("bias") and margins.get("limits") else "no margins"
        lines.append(
            {"phenotype": phenotype, "label": tables.phenotype_label(phenotype), "unit": tables.phenotype_unit(phenotype), "note": note, "cells": cells}
        )
    legend = f"In each cell: bias [{context.level} interval]; limits of agreement; pairs evaluated/planned."
    return {"kind": "grid", "caption": caption, "legend": legend, "groups": groups, "rows": lines}


def _grid_cell(row: Mapping[str, Any] | None, phenotype: str, method: str) -> dict[str, Any]:
    if row is None:
        return {"method": method, "verdict": None}
    digits = tables.decimals(phenotype)
    known = str(row.get("verdict") or "not shown")
    return {
        "method": method, "verdict": known, "label": tables.VERDICT_LABELS.get(known, known), "reason": str(row.get("reason") or ""),
        "bias": tables.interval(row.get("bias"), digits, signed=True), "limits": tables.limits(row, digits), "n": tables.counts(row),
    }  # fmt: skip


def _bland_altman_block(context: Context, phenotype: str, rows: Mapping[tuple[str, str], Mapping[str, Any]]) -> Block:
    margins = context.margins(phenotype)
    all_rows = [r for (p, _), r in rows.items() if p == phenotype]
    half_range = figures.difference_range(all_rows, margins)
    digits = tables.decimals(phenotype)
    items = []
    for method, arms in _by_method(context.arms):
        shown = [(a, rows[phenotype, a["arm"]]) for a in arms if (phenotype, a["arm"]) in rows]
        if not shown:
            continue
        titles = [
            f"{tables.arm_short(a)} (effective {tables.effective(a)})\n"
            f"bias {tables.number((r.get('bias') or {}).get('estimate'), digits, signed=True)}, limits {tables.limits(r, digits)}"
            for a, r in shown
        ]
        plot = figures.bland_altman(
            [r for _, r in shown], titles=titles, unit=tables.phenotype_unit(phenotype), margins=margins,
            centers=context.centers, half_range=half_range,
        )  # fmt: skip
        label = tables.method_label(method)
        alt = f"Bland-Altman plots of {tables.phenotype_label(phenotype)}, {label} against fully sampled: " + "; ".join(
            f"{tables.arm_short(a)} bias {tables.interval(r.get('bias'), digits, signed=True)}, limits {tables.limits(r, digits)}" for a, r in shown
        )
        items.append({"name": context.pictures.add(plot, suffix=".svg"), "caption": label, "alt": alt, "method": method})
    pdf = phenotype in context.texts["pdf_plots"]
    return _plots(tables.with_unit(phenotype), items, pdf=pdf, anchor=f"plots-{phenotype}")


def _agreement_table(context: Context, rows: Mapping[tuple[str, str], Mapping[str, Any]]) -> Table:
    lines = []
    for phenotype in in_order([p for p, _ in rows]):
        digits = tables.decimals(phenotype)
        for arm in context.arms:
            row = rows.get((phenotype, arm["arm"]))
            if row is None:
                continue
            tost = row.get("tost") or {}
            cells = (
                tables.text(tables.with_unit(phenotype)), tables.text(tables.arm_label(arm)),
                tables.text(tables.VERDICT_LABELS.get(row["verdict"], row["verdict"])),
                Cell(tables.counts(row), row["n"]), tables.numeric(row.get("failed"), 0),
                tables.estimate(row.get("bias"), digits, signed=True), tables.numeric(row.get("sd"), digits),
                tables.estimate(row.get("lower_limit"), digits), tables.estimate(row.get("upper_limit"), digits),
                Cell(tables.p_value(tost.get("p")), tost.get("p")), tables.estimate(row.get("icc"), 3), tables.text(row.get("reason")),
            )  # fmt: skip
            lines.append(Row(cells, arm["method"]))
    columns = ["Measurement", "Arm", "Verdict", "Pairs", "Failed", "Bias", "SD", "Lower limit", "Upper limit", "TOST p", "ICC(A,1)", "Reason"]
    return tables.make_table(f"All comparisons with the fully sampled scan, with {context.level} intervals", columns, lines)


def _centers_table(context: Context, stored: Sequence[Mapping[str, Any]]) -> Table:
    named = {a["arm"]: a for a in context.arms}
    order = {p: i for i, p in enumerate(in_order([r["phenotype"] for r in stored]))}
    arm_order = {a: i for i, a in enumerate(named)}
    lines = []
    for row in sorted((r for r in stored if r["arm"] in named), key=lambda r: (order[r["phenotype"]], arm_order[r["arm"]])):
        digits = tables.decimals(row["phenotype"])
        cells = (
            tables.text(tables.with_unit(row["phenotype"])), tables.text(tables.arm_label(named[row["arm"]])), tables.text(row["center"]),
            tables.numeric(row["n"], 0), tables.estimate(row.get("bias"), digits, signed=True),
            tables.estimate(row.get("lower_limit"), digits), tables.estimate(row.get("upper_limit"), digits),
        )  # fmt: skip
        lines.append(Row(cells, named[row["arm"]]["method"]))
    columns = ["Measurement", "Arm", "Center", "n", "Bias", "Lower limit", "Upper limit"]
    return tables.make_table(f"Bias and limits of agreement by center, against fully sampled, with {context.level} intervals", columns, lines)


def _quality_table(context: Context, shown: Sequence[Mapping[str, Any]], named: Mapping[str, Mapping[str, Any]]) -> Table:
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
    headings = [f"{tables.with_unit(m)}, {tables.direction(m)}" if tables.direction(m) else tables.with_unit(m) for m in metrics]
    return tables.make_table("Image quality: mean (SD) over scans", ["Scan", "Arm", *headings, "n"], rows)
