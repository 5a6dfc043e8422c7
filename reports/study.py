"""What does a validation study say, on one page and in one PDF? Computes no statistic."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from cohort.atomic import write_bytes, write_text
from reports import tables
from reports.checklist import checklist
from reports.decision import banner
from reports.document import Context, Pictures
from reports.render import HERE, finite, parse_utc, render_html, render_pdf
from reports.sections import APPENDIX, SECTIONS


def write_study_report(run_dir: Path, results: Mapping[str, Any]) -> tuple[Path, Path]:
    """Write ``report/index.html``, ``report/report.pdf`` and ``report/checklist.json`` into a run folder.

    Parameters
    ----------
    run_dir
        Folder of the run; gallery paths in ``results`` are relative to it.
    results
        Content of results.json (schema 1 or 2). Missing values are ``None``.

    Returns
    -------
    tuple of Path
        The page and the PDF.
    """
    document, pictures = study_document(run_dir, results)
    folder = run_dir / "report"
    page, pdf = folder / "index.html", folder / "report.pdf"
    write_text(page, render_html(document, pictures=pictures))
    write_bytes(pdf, render_pdf(document, pictures=pictures))
    items = checklist(document["sections"], header=document["header"])
    write_text(folder / "checklist.json", json.dumps(items, indent=1, ensure_ascii=False) + "\n")
    return page, pdf


def study_document(run_dir: Path, results: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The report as data (header, sections of blocks) and its pictures; what both templates lay out."""
    texts = yaml.safe_load((HERE / "sections.yaml").read_text(encoding="utf-8"))
    context = Context(results=finite(results), texts=texts, run_dir=Path(run_dir), pictures=Pictures())
    sections = [
        {k: s[k] for k in ("id", "title", "audience", "intro")}
        | {"blocks": SECTIONS[s["id"]](context) if s["id"] in SECTIONS else []}
        for s in texts["sections"]
    ]
    described = [s for s in sections if s["id"] in SECTIONS]
    for section in sections:
        if section["id"] in APPENDIX:
            section["blocks"] = APPENDIX[section["id"]](described)
    return {
        "header": header(context, run_name=Path(run_dir).resolve().name),
        "sections": sections,
    }, context.pictures.files


def header(context: Context, *, run_name: str) -> dict[str, Any]:
    """Title, what was validated, warnings, and what the page needs for its filter and its foot."""
    study, cohort = context.results["study"], context.results["cohort"]
    methods = list(dict.fromkeys(a["method"] for a in context.arms))
    patterns = list(dict.fromkeys(tables.arm_short(a) for a in context.arms))
    n = len(context.centers)
    centers = "1 center" if n == 1 else f"{n} centers"
    names = ", ".join(tables.method_label(m) for m in methods) or "no reconstruction"
    what = (
        f"Validated: {names}; undersampling {', '.join(patterns) or 'none'}. "
        f"Data: {cohort['n_patients']} patients, {cohort['n_scans']} scans, {centers}."
    )
    banners = [banner(context, kind) for kind in study.get("simulated") or []]
    created = str(study.get("created_utc") or "")
    commit = context.results["provenance"].get("commit")
    return {
        "title": study.get("title") or study["name"],
        "name": study["name"],
        "run": run_name,
        "created_utc": created,
        "created": f"{parse_utc(created):%Y-%m-%d %H:%M} UTC" if created else "",
        "version": f"CardioVal {context.results['provenance'].get('cardioval_version', '')}"
        + (f" ({str(commit)[:12]})" if commit else ""),
        "what": what,
        "banners": banners,
        "warnings": [context.texts["retrospective"], context.texts["research"]],
        "methods": [{"id": m, "label": tables.method_label(m)} for m in methods],
    }
