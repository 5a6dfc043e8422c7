"""Which numbers stand on a patient's page? Summary, values beside fully sampled, and published ranges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from reports import tables
from reports.document import Block
from reports.patient_blocks import GROUPS, IMAGE_GROUPS, REFERENCE, PatientContext, points, table, text
from reports.tables import Cell

MOST_ARMS: Final = 8  # side by side on a page
WARNED: Final = "†"
STATES: Final = {True: "inside", False: "outside", None: ""}
FORMULAS: Final = {
    "mosteller": "Mosteller 1987, √(height in cm × weight in kg / 3600), doi 10.1056/NEJM198710223171717",
    "dubois": (
        "Du Bois 1916, 0.007184 × (height in cm)^0.725 × (weight in kg)^0.425, doi 10.1001/archinte.1916.00080130010002"
    ),
}
Values = Mapping[str, Any]


def scanner(scan: Values) -> str:
    """``GE Premier, 3 T``."""
    field = "" if scan["field_t"] is None else f"{scan['field_t']:g} T"
    return ", ".join(filter(None, (f"{scan['vendor']} {scan['scanner']}".strip(), field)))


def summary(context: PatientContext) -> list[Block]:
    """A row for each reconstruction: measured, warned, outside the margin, flagged."""
    rows = []
    for entry in context.record["summary"]:
        if entry["arm"] == REFERENCE:
            outside = flagged = tables.text("reference")
        else:
            outside = _share(entry["outside"], entry["judged"], none="no margins")
            flagged = _share(entry["flagged"], entry["scored"], none="not scored")
        cells = (
            tables.text(context.label(entry["arm"])),
            tables.text(f"{entry['measured']} of {entry['planned']}"),
            tables.numeric(entry["warned"], 0),
            outside,
            flagged,
        )
        rows.append(cells)
    if not rows:
        return [text("Nothing was measured of this patient; the failures below say why.")]
    columns = [
        "Reconstruction",
        "Values measured",
        "With a warning",
        "Outside the individual margin",
        "Scans flagged as unreliable",
    ]
    words = (
        "A value is outside when it differs from the fully sampled one of the same scan by the individual margin of the plan or "
        "more. One patient inside the margins proves nothing about a method: that is decided over all patients, in the study's "
        "report."
    )
    return [text(words), table("This patient's values by reconstruction", columns, rows)]


def _share(part: int, whole: int, *, none: str) -> Cell:
    return Cell(f"{part} of {whole}", part) if whole else tables.text(none)


def values(context: PatientContext) -> list[Block]:
    """A table for each scan and group: fully sampled, and every reconstruction with its difference."""
    blocks: list[Block] = []
    for scan in context.scans():
        others = dict.fromkeys(row["group"] for row in scan["values"] if row["group"] not in (*GROUPS, *IMAGE_GROUPS))
        for group, title in {**GROUPS, **dict.fromkeys(others, "Other")}.items():
            blocks += value_tables(context, scan, group, title)
        blocks += [text(words) for words in _indexed_by(scan)]
        blocks += points(f"{WARNED} Warnings and reasons, {scan['scan']}", _said(context, scan))
    return blocks or [text("No values.")]


def value_tables(context: PatientContext, scan: Values, group: str, title: str) -> list[Block]:
    """The values of one group of the vocabulary; several tables where there are many reconstructions."""
    rows = [row for row in scan["values"] if row["group"] == group]
    arms = [arm for arm in context.arms if arm["arm"] in scan["arms"]]
    return [
        _value_table(context, scan, f"{title}: {scan['scan']}", rows, part) for part in _parts(arms if rows else [])
    ]


def _parts(arms: Sequence[Values]) -> Iterator[list[Values]]:
    """So many arms as fit, the fully sampled one in each part."""
    first = [arm for arm in arms if arm["arm"] == REFERENCE]
    rest = [arm for arm in arms if arm["arm"] != REFERENCE]
    size = MOST_ARMS - len(first)
    for start in range(0, max(len(rest), 1 if arms else 0), size):
        yield [*first, *rest[start : start + size]]


def _value_table(
    context: PatientContext, scan: Values, caption: str, rows: Sequence[Values], arms: Sequence[Values]
) -> Block:
    columns = []
    for arm in arms:
        made = scan["arms"][arm["arm"]]["effective_acceleration"]
        note = "" if arm["arm"] == REFERENCE or made is None else f"effective {tables.number(made, 1)}×"
        columns.append({"label": context.label(arm["arm"]), "note": note})
    truth = any(row["truth"] is not None for row in rows)
    lines = []
    for row in rows:
        digits = tables.decimals(row["phenotype"])
        lines.append(
            {
                "label": tables.phenotype_label(row["phenotype"]),
                "unit": tables.phenotype_unit(row["phenotype"]) or row["unit"],
                "margin": tables.plus_minus((row["margin"] or {}).get("limits")),
                "truth": tables.number(row["truth"], digits) if truth else None,
                "cells": [_cell(row["cells"].get(arm["arm"]), digits) for arm in arms],
            }
        )
    return {
        "kind": "values",
        "caption": caption,
        "truth": truth,
        "margins": any(line["margin"] != tables.MISSING for line in lines),
        "columns": columns,
        "rows": lines,
    }


def _cell(cell: Values | None, digits: int) -> dict[str, str]:
    """Value, signed difference, whether inside, and the mark of a warning."""
    if cell is None:
        return {"value": tables.MISSING, "difference": "", "state": "", "mark": ""}
    failed = cell["value"] is None
    return {
        "value": "failed" if failed else tables.number(cell["value"], digits),
        "difference": "" if cell["difference"] is None else tables.number(cell["difference"], digits, signed=True),
        "state": STATES[cell["inside"]],
        "mark": WARNED if cell["reason"] else "",
    }


def _indexed_by(scan: Values) -> Iterator[str]:
    """The body surface and its formula, or that there is none."""
    surface = next((a for a in scan["arms"].values() if a["body_surface_m2"]), None)
    if surface:
        yield (
            f"Indexed values ({scan['scan']}) are divided by the body surface of {tables.number(surface['body_surface_m2'], 2)} m²: "
            f"{FORMULAS.get(surface['body_surface_formula'], surface['body_surface_formula'])}; height "
            f"{tables.number(scan['height_cm'], 1)} cm, weight {tables.number(scan['weight_kg'], 1)} kg."
        )
    elif scan["modality"] == "cine":
        yield f"Indexed values ({scan['scan']}): none, because height and weight are not recorded."


def _said(context: PatientContext, scan: Values) -> list[str]:
    """Every reason once, with the arms and the values that it is of."""
    found: dict[str, dict[str, list[str]]] = {}
    for row in scan["values"]:
        for arm, cell in row["cells"].items():
            if cell["reason"]:
                found.setdefault(cell["reason"], {}).setdefault(arm, []).append(tables.symbol(row["phenotype"]))
    lines = []
    for reason, arms in found.items():
        by_names: dict[tuple[str, ...], list[str]] = {}
        for arm, names in arms.items():
            by_names.setdefault(tuple(names), []).append(context.label(arm))
        places = "; ".join(f"{', '.join(labels)}: {', '.join(names)}" for names, labels in by_names.items())
        lines.append(f"{reason} ({places})")
    return lines


def ranges(context: PatientContext) -> list[Block]:
    """Published means, SDs and ranges beside the fully sampled value, each study for itself."""
    found = context.record["ranges"]
    rows = []
    for entry in found:
        digits = tables.decimals(entry["phenotype"])
        for row in entry["rows"]:
            rows.append(
                (
                    tables.text(f"{tables.phenotype_label(entry['phenotype'])} ({entry['unit']})"),
                    tables.numeric(entry["value"], digits),
                    Cell(f"{row['mean']:g} ± {row['sd']:g}", row["mean"]),
                    Cell(f"{tables.number(row['low'], 0)} to {tables.number(row['high'], 0)}", row["low"]),
                    tables.text(row["who"]),
                    tables.text(row["source"]),
                )
            )
    words = (
        "Mean ± SD and mean ± 1.96 SD (95 % of healthy people, if normally distributed) of single published studies, for orientation. "
        "They do not replace a local reference range; nothing here is called normal or abnormal."
    )
    columns = ["Measurement", "Fully sampled", "Published", "95 % of healthy", "Of whom", "Source"]
    blocks = [text(words), table("Beside published studies", columns, rows)] if rows else []
    reasons: dict[str, list[str]] = {}
    for entry in found:
        if entry["reason"]:
            reasons.setdefault(entry["reason"], []).append(tables.symbol(entry["phenotype"]))
    return [*blocks, *points("Missing or not comparable", [f"{', '.join(n)}: {r}" for r, n in reasons.items()])]
