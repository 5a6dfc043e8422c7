"""Which items of the guidelines does this page answer? The sections checklists and traceability, and checklist.json.

An item is claimed only where a section that answers it has something to say on this page; see reports/checklists.yaml.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from reports.document import Block, checklist_block, table_block, text_block
from reports.render import HERE
from reports.selection import says_something
from reports.tables import Row, make_table, text

Sections = Sequence[Mapping[str, Any]]
ON_PAGE, PARTLY, AUTHORS, NOT_APPLICABLE = "on the page", "partly", "to be stated by the authors", "not applicable"
STATES = {ON_PAGE: "met", PARTLY: "partly", AUTHORS: "to be stated", NOT_APPLICABLE: "not applicable"}


def checklist(sections: Sections, *, header: Mapping[str, Any]) -> dict[str, Any]:
    """Content of checklist.json: every item with its status, the anchors that answer it, and a note.

    Parameters
    ----------
    sections
        Of the document, with ``id``, ``title`` and ``blocks``.
    header
        Of the document.
    """
    speaking = {s["id"]: s["title"] for s in sections if says_something(s["blocks"])}
    guidelines = [
        {k: g[k] for k in ("id", "name", "title", "source")} | {"items": [answer(i, speaking) for i in g["items"]]}
        for g in read_rules()["guidelines"]
    ]
    about = {k: header.get(k) for k in ("run", "created_utc", "version")}
    return {"schema": 1, "page": "index.html"} | about | {"guidelines": guidelines}


def answer(item: Mapping[str, Any], speaking: Mapping[str, str]) -> dict[str, Any]:
    """Status of one item, given the sections that have something to say (id -> title)."""
    found = [name for name in item.get("where") or [] if name in speaking]
    if found:
        status, note = (
            (PARTLY, f"By the authors: {item['still']}") if item.get("still") else (ON_PAGE, item.get("note") or "")
        )
    elif item.get("not_applicable") or item.get("absent"):
        status, note = NOT_APPLICABLE, f"Not applicable, because {item.get('not_applicable') or item['absent']}"
    else:
        missing = "this page has nothing on it" if item.get("where") else ""
        status, note = AUTHORS, f"By the authors: {item.get('authors') or item.get('still') or missing}"
    anchors = [{"anchor": f"#{name}", "title": speaking[name]} for name in found]
    return {"number": item["number"], "title": item["title"], "status": status, "anchors": anchors, "note": note}


def checklists(sections: Sections) -> list[Block]:
    """The two guidelines as tables."""
    blocks: list[Block] = []
    for guideline in checklist(sections, header={})["guidelines"]:
        items = [
            {
                "number": item["number"],
                "text": item["title"],
                "state": STATES[item["status"]],
                "where": [(place["anchor"], place["title"]) for place in item["anchors"]],
                "note": item["note"],
            }
            for item in guideline["items"]
        ]
        caption = f"{guideline['name']}: {guideline['title']}. {guideline['source']}"
        blocks.append(checklist_block(guideline["id"], caption, items))
    return [*blocks, text_block("The same as a file beside this page: checklist.json.")]


def traceability(sections: Sections) -> list[Block]:
    """Requirement, what answers it, which test of the program checks that, and where the result is."""
    speaking = {s["id"]: s["title"] for s in sections if says_something(s["blocks"])}
    rows = []
    for entry in read_rules()["requirements"]:
        there = entry["where"] in speaking
        result = text(speaking[entry["where"]], href=f"#{entry['where']}") if there else text("nothing on this page")
        rows.append(Row((*(text(entry[k]) for k in ("what", "by", "test")), result)))
    columns = ["Requirement", "Answered by", "Program checked by", "Result"]
    return [table_block("traceability-table", make_table("From requirement to result", columns, rows))]


def read_rules() -> dict[str, Any]:
    """reports/checklists.yaml."""
    rules: dict[str, Any] = yaml.safe_load((HERE / "checklists.yaml").read_text(encoding="utf-8"))
    return rules
