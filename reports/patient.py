"""What does a run say about one patient, on one page and in one PDF? Computes nothing: every number comes from the record."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cohort.atomic import replacing, write_text
from reports import patient_quality, patient_sections, patient_shown, tables
from reports.document import Pictures
from reports.patient_blocks import PatientContext
from reports.patient_pictures import Images
from reports.render import HERE, parse_utc, render_html, render_pdf

PAGE, PAPER = "patient.html.j2", "patient.typ"
#: identifier of a section, its title, and what makes its blocks
SECTIONS = (
    ("summary", "At a glance", patient_sections.summary),
    ("values", "Values", patient_sections.values),
    ("ranges", "Published values of healthy people", patient_sections.ranges),
    ("curves", "Over the beat", patient_shown.curves),
    ("cine", "Cine", patient_shown.cine),
    ("maps", "Maps", patient_shown.maps),
    ("wall", "Wall by segment", patient_shown.wall),
    ("quality", "Quality and reliability", patient_quality.quality),
    ("failures", "Failures", patient_quality.failures),
    ("items", "Reporting items", patient_quality.reporting_items),
    ("origin", "How these numbers were made", patient_quality.origin),
)


@dataclass(frozen=True)
class PatientFiles:
    """What was written for a patient."""

    page: Path
    pdf: Path
    record: Path


def file_stem(center: str, patient: str) -> str:
    """``CENTER_PATIENT``: the name of a patient's files, without what would lead out of their folder."""
    return re.sub(r"[/\\:\x00-\x1f]", "_", f"{center}_{patient}").lstrip(".") or "_"


def write_patient_report(folder: Path, record: Mapping[str, Any], images: Images) -> PatientFiles:
    """Write ``CENTER_PATIENT.html``, ``.pdf`` and ``.json`` (the record).

    Parameters
    ----------
    folder
        Where the files go; made where missing.
    record
        As `flows.patient_record.patient_record` makes it.
    images
        The pictures found for the patient; may be empty.
    """
    document, pictures = patient_document(record, images)
    stem = file_stem(record["center"], record["patient"])
    files = PatientFiles(*(folder / f"{stem}{suffix}" for suffix in (".html", ".pdf", ".json")))
    write_text(files.record, json.dumps(record, indent=1, allow_nan=False, ensure_ascii=False) + "\n")
    write_text(files.page, render_html(document, pictures=pictures, template=PAGE))
    with replacing(files.pdf) as temporary:
        temporary.write_bytes(render_pdf(document, pictures=pictures, template=PAPER))
    return files


def patient_document(record: Mapping[str, Any], images: Images) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The report as data (header, sections of blocks) and its pictures; what both templates lay out."""
    texts = yaml.safe_load((HERE / "sections.yaml").read_text(encoding="utf-8"))
    context = PatientContext(record, images, Pictures())
    sections = [{"id": name, "title": title, "blocks": make(context)} for name, title, make in SECTIONS]
    shown = [section for section in sections if section["blocks"]]
    return {"header": header(record, texts), "sections": shown}, context.pictures.files


def header(record: Mapping[str, Any], texts: Mapping[str, Any]) -> dict[str, Any]:
    """Who, where, and the warnings that stand first."""
    study, provenance = record["study"], record["provenance"]
    scanners = dict.fromkeys(patient_sections.scanner(scan) for scan in record["scans"])
    known = texts["banners"]
    banners = [known.get(kind) or known["other"].format(kind=kind) for kind in study["simulated"]]
    arms = [tables.arm_label(arm) for arm in record["arms"]]
    commit = str(provenance.get("commit") or "")[:12]
    version = f"CardioVal {provenance.get('cardioval_version') or ''}".strip() + (f" ({commit})" if commit else "")
    facts = [
        ("Pseudonym", record["patient"]),
        ("Center", record["center"]),
        ("Scanner", "; ".join(filter(None, scanners)) or tables.MISSING),
        ("Group in the cohort", record["disease"] or "not stated"),
        ("Scans", ", ".join(f"{s['scan']} ({s['modality']})" for s in record["scans"]) or "none was measured"),
        ("Reconstructions", "; ".join(arms) or "none"),
    ]
    created = study["created_utc"]
    return {
        "title": f"Patient {record['patient']}, {record['center']}",
        "pseudonym": f"{record['center']} {record['patient']}",
        "study": study["title"] or study["name"],
        "run": study["run"],
        "created_utc": created,
        "created": f"{parse_utc(created):%Y-%m-%d %H:%M} UTC" if created else "",
        "version": version,
        "facts": facts,
        "banners": banners,
        "simulated": bool(banners),
        "warnings": [texts["research"], texts["retrospective"]],
    }
