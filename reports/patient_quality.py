"""Can this patient's numbers be relied on, and how were they made? Checks, flags, failures, reporting items, origin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from reports import tables
from reports.document import Block
from reports.patient_blocks import CINE, IMAGE_GROUPS, REFERENCE, PatientContext, definitions, points, table, text
from reports.patient_sections import scanner, value_tables

NOT_RECORDED: Final = "not recorded"
CONFIDENCE: Final = {
    "stated": "stated by the header",
    "table": "from the table of scanners",
    "assumed": "ASSUMED: volumes, mass and thickness scale with it",
}
#: SCMR's items for the ventricles: which of our values they ask for
VENTRICLES: Final = {
    "LV volumes": ("lv_edv_ml", "lv_edvi_ml_m2", "lv_esv_ml", "lv_esvi_ml_m2", "lv_sv_ml", "lv_svi_ml_m2"),
    "LV ejection fraction": ("lv_ef_percent",),
    "Cardiac output, index": ("lv_co_l_min", "lv_ci_l_min_m2"),
    "LV mass": ("lv_mass_g", "lv_massi_g_m2"),
    "Wall thickness at end-diastole": ("max_wall_thickness_mm", "mean_wall_thickness_mm"),
    "RV volumes": ("rv_edv_ml", "rv_edvi_ml_m2", "rv_esv_ml", "rv_esvi_ml_m2", "rv_sv_ml", "rv_svi_ml_m2"),
    "RV ejection fraction": ("rv_ef_percent",),
    "T1, T2, T1ρ": ("t1_ms", "t2_ms", "t1rho_ms"),
}
Values = Mapping[str, Any]


def quality(context: PatientContext) -> list[Block]:
    """Voxel size and its trust, checks that object, reliability of each reconstruction."""
    blocks: list[Block] = []
    geometry = [(scan["scan"], _geometry(scan)) for scan in context.scans() if scan["geometry"]["spacing_mm"]]
    if geometry:
        blocks.append(definitions([(f"Voxels, {name}", words) for name, words in geometry]))
    lost = [scan["scan"] for scan in context.scans() if scan["folder"] is None]
    if lost:
        words = "the run's folder of the scan was not found, so that voxels, checks, curves and pictures are not known"
        blocks.append(text(f"{', '.join(lost)}: {words}."))
    for scan in context.scans():
        blocks += _checks(context, scan)
        blocks += _reliability(context, scan)
        for group, title in IMAGE_GROUPS.items():
            blocks += value_tables(context, scan, group, title)
        repaired = [
            f"{context.label(arm)}: labels repaired: {one['repaired']}"
            for arm, one in scan["arms"].items()
            if one["repaired"]
        ]
        noted = [f"{context.label(arm)}: {note}" for arm, one in scan["arms"].items() for note in one["notes"]]
        blocks += points(f"Notes, {scan['scan']}", [*repaired, *dict.fromkeys(noted)])
    return blocks


def _geometry(scan: Values) -> str:
    found = scan["geometry"]
    size = " × ".join(tables.number(mm, 2) for mm in found["spacing_mm"])
    thick = "" if not found.get("slice_thickness_mm") else f", slices {found['slice_thickness_mm']:g} mm thick"
    note = f" ({found['note']})" if found.get("note") else ""
    return f"{size} mm (slice distance, y, x){thick}; {CONFIDENCE.get(found['confidence'], found['confidence'])}{note}"


def _checks(context: PatientContext, scan: Values) -> list[Block]:
    """A row for each check that objects anywhere; how many pass stands in the caption."""
    arms = [arm for arm in context.arms if (scan["arms"].get(arm["arm"]) or {}).get("checks")]
    if not arms:
        return []
    found = {arm["arm"]: {c["check"]: c for c in scan["arms"][arm["arm"]]["checks"]} for arm in arms}
    names = list(dict.fromkeys(name for one in found.values() for name in one))
    objecting = [n for n in names if any(one.get(n, {"status": "pass"})["status"] != "pass" for one in found.values())]
    total = f"Quality control of the labels, {scan['scan']}: {len(names) - len(objecting)} of {len(names)} checks pass in every reconstruction"
    if not objecting:
        return [text(f"{total}.")]
    rows = [[tables.text(name), *(_check(found[arm["arm"]].get(name)) for arm in arms)] for name in objecting]
    return [table(f"{total}; the others", ["Check", *(context.label(arm["arm"]) for arm in arms)], rows)]


def _check(check: Values | None) -> tables.Cell:
    if check is None:
        return tables.text(None)
    return tables.text("pass" if check["status"] == "pass" else f"{check['status']}: {check['reason']}")


def _reliability(context: PatientContext, scan: Values) -> list[Block]:
    rows = []
    for arm in context.arms:
        found = (scan["arms"].get(arm["arm"]) or {"reliability": {}})["reliability"]
        if arm["arm"] == REFERENCE or not found.get("status"):
            continue
        scored = found["status"] == "ok"
        words = ("FLAGGED" if found["flagged"] else "not flagged") if scored else found["status"].replace("_", " ")
        why = "; ".join(found.get("reasons") or []) or found.get("reason") or ""
        rows.append(
            [
                tables.text(context.label(arm["arm"])),
                tables.text(words),
                tables.numeric(found.get("expected_nmse"), 4),
                tables.text(why),
            ]
        )
    if not rows:
        return []
    caption = (
        f"Reliability of the reconstructions, {scan['scan']}: expected error without looking at the fully sampled scan"
    )
    return [table(caption, ["Reconstruction", "Flag", "Expected NMSE", "Why"], rows)]


def failures(context: PatientContext) -> list[Block]:
    """What was planned of this patient and could not be made."""
    found = context.record["failures"]
    if not found:
        return [text("None: everything that was planned for this patient was measured.")]
    rows = [
        [
            tables.text(one["scan"]),
            tables.text(_stage(context, one["stage"])),
            tables.numeric(one["n_measurements"], 0),
            tables.text(one["reason"]),
        ]
        for one in found
    ]
    return [table(f"{len(found)} failures", ["Scan", "Where", "Values lost", "Reason"], rows)]


def _stage(context: PatientContext, stage: str) -> str:
    """The stage, with the reconstruction's name for readers where it names one."""
    what, _, arm = stage.partition(", ")
    return f"{what}, {context.label(arm)}" if arm else stage


def reporting_items(context: PatientContext) -> list[Block]:
    """The items that SCMR recommends for a report; what the run does not know is said so."""
    record = context.record
    scans = context.scans()
    cines = context.scans(CINE)
    first = cines[0] if cines else None
    body = next((s for s in scans if s["height_cm"] and s["weight_kg"]), None)
    surface = next((a["body_surface_m2"] for s in scans for a in s["arms"].values() if a["body_surface_m2"]), None)
    rate = next((s["heart_rate_bpm"] for s in scans if s["heart_rate_bpm"]), None)
    size = (
        None if body is None else f"{tables.number(body['height_cm'], 1)} cm, {tables.number(body['weight_kg'], 1)} kg"
    )
    items = [
        ("Site", record["center"]),
        ("Scanner, field", "; ".join(dict.fromkeys(filter(None, map(scanner, scans)))) or None),
        ("Patient identification", f"{record['patient']} (pseudonym)"),
        ("Date of birth, age", None),
        ("Sex", record.get("sex") or None),
        ("Indication", None),
        ("Date of the examination", None),
        ("Sequences", ", ".join(dict.fromkeys(s["modality"] for s in scans)) or None),
        ("Contrast agent", None),
        ("Height, weight", size),
        ("Body surface", None if surface is None else f"{tables.number(surface, 2)} m²"),
        ("Heart rate", None if rate is None else f"{tables.number(rate, 0)} 1/min (header)"),
        ("Rhythm", None),
        ("Blood pressure", None),
        ("Method of analysis", _method(first)),
        *((name, _of_reference(scans, wanted)) for name, wanted in VENTRICLES.items()),
        ("Wall motion", "not assessed"),
        ("Limitations", "see the warnings on top, quality and failures"),
        ("Comparison with earlier examinations", "none"),
        ("Interpretation, signature", "none: no physician has read or signed this"),
    ]
    words = (
        "Items that the Society for Cardiovascular Magnetic Resonance recommends for a report (Hundley et al. 2022). Values are those "
        "of the fully sampled scan. This is no clinical report."
    )
    return [text(words), definitions([(name, said or NOT_RECORDED) for name, said in items])]


def _method(cine: Values | None) -> str | None:
    used = None if cine is None else next((a["conventions"] for a in cine["arms"].values() if a["conventions"]), None)
    if not used:
        return None
    words = ", ".join(f"{key.replace('_', ' ')}: {str(value).replace('_', ' ')}" for key, value in used.items())
    return f"short-axis stack, labels of a neural network, disks over all slices; {words}"


def _of_reference(scans: list[Values], wanted: tuple[str, ...]) -> str | None:
    found = []
    for name in wanted:
        for scan in scans:
            row = next((r for r in scan["values"] if r["phenotype"] == name), None)
            value = (row or {"cells": {}})["cells"].get(REFERENCE, {}).get("value")
            if value is not None:
                unit = tables.phenotype_unit(name)
                found.append(f"{tables.symbol(name)} {tables.number(value, tables.decimals(name))} {unit}".strip())
    return ", ".join(found) or None


def origin(context: PatientContext) -> list[Block]:
    """Definitions, versions and hashes."""
    plan, provenance, study = (context.record[key] for key in ("plan", "provenance", "study"))
    weights = "; ".join(f"{w['name']}: {w['sha256']}" for w in provenance.get("weights") or [])
    items = [
        ("Difference", "accelerated minus fully sampled, same scan; positive: the accelerated one reads higher"),
        ("Individual margin", f"from the study's plan ({plan.get('margins_origin') or 'origin not stated'})"),
        ("Plan (SHA-256)", plan.get("sha256")),
        ("Margins (SHA-256)", plan.get("margins_sha256")),
        ("Study, run", f"{study['name']}, {study['run']}"),
        (
            "Software",
            f"CardioVal {provenance.get('cardioval_version') or ''}, commit {provenance.get('commit') or 'unknown'}",
        ),
        ("Command", provenance.get("command")),
        ("Started", provenance.get("started_utc")),
        ("Configuration (SHA-256)", provenance.get("config_sha256")),
        ("Inputs (SHA-256)", provenance.get("inputs_sha256")),
        ("Weights (SHA-256)", weights),
    ]
    return [definitions([(name, str(said)) for name, said in items if said])]
