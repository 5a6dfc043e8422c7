"""How does a page that is not a run's report become HTML and PDF? The same templates, other sections."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from cohort.atomic import replacing, write_text
from reports.document import Block, Context, Pictures
from reports.render import HERE, finite, parse_utc, render_html, render_pdf

Section = Callable[[Context], list[Block]]


def write_pages(
    folder: Path, results: Mapping[str, Any], *, texts: str, sections: Mapping[str, Section], what: str
) -> tuple[Path, Path]:
    """Write ``index.html`` and ``report.pdf`` into a folder.

    Parameters
    ----------
    folder
        Where to; made where missing.
    results
        Content of the JSON that the page shows.
    texts
        File of reports/ with ``sections`` (id, title, audience, intro) and other fixed texts.
    sections
        By id, from a context to blocks; one without blocks is left out of the page.
    what
        One line under the title.

    Returns
    -------
    tuple of Path
        The page and the PDF.
    """
    document, pictures = pages_document(folder, results, texts=texts, sections=sections, what=what)
    page, pdf = folder / "index.html", folder / "report.pdf"
    write_text(page, render_html(document, pictures=pictures))
    content = render_pdf(document, pictures=pictures)
    with replacing(pdf) as temporary:
        temporary.write_bytes(content)
    return page, pdf


def pages_document(
    folder: Path, results: Mapping[str, Any], *, texts: str, sections: Mapping[str, Section], what: str
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Header and sections of blocks, and the pictures; what both templates lay out."""
    words = yaml.safe_load((HERE / texts).read_text(encoding="utf-8"))
    context = Context(results=finite(results), texts=words, run_dir=folder, pictures=Pictures())
    made = [
        {key: about[key] for key in ("id", "title", "audience", "intro")} | {"blocks": blocks}
        for about in words["sections"]
        if (blocks := sections[about["id"]](context))
    ]
    study, provenance = context.results["study"], context.results["provenance"]
    created, commit = str(study.get("created_utc") or ""), provenance.get("commit")
    header = {
        "title": study.get("title") or study["name"],
        "name": study["name"],
        "run": (folder.resolve().parent if folder.name == "report" else folder.resolve()).name,
        "created_utc": created,
        "created": f"{parse_utc(created):%Y-%m-%d %H:%M} UTC" if created else "",
        "version": f"CardioVal {provenance.get('cardioval_version', '')}"
        + (f" ({str(commit)[:12]})" if commit else ""),
        "what": what,
        "banners": [words["simulated"].format(kind=kind) for kind in study.get("simulated") or []],
        "warnings": list(words["warnings"]),
        "methods": [],
    }
    return {"header": header, "sections": made}, context.pictures.files
