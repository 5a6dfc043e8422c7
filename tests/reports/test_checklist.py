"""Does the page carry every item that the checklists claim, and is every other item owned up to?"""

import json
from pathlib import Path
from typing import Any

import yaml

from reports.checklist import (
    AUTHORS,
    NOT_APPLICABLE,
    ON_PAGE,
    PARTLY,
    answer,
    checklist,
    checklists,
    read_rules,
    traceability,
)
from reports.render import HERE
from reports.sections import APPENDIX, SECTIONS

Written = tuple[dict[str, Any], Path, Path]
ROOT = Path(__file__).parents[2]
SPEAKING = {"blocks": [{"kind": "text", "text": "something"}], "title": "A title"}
SILENT = {"blocks": [{"kind": "text", "text": "nothing", "absent": True}], "title": "A title"}


def section_ids() -> list[str]:
    known = yaml.safe_load((HERE / "sections.yaml").read_text(encoding="utf-8"))
    return [s["id"] for s in known["sections"]]


def items_of(content: dict[str, Any]) -> list[dict[str, Any]]:
    return [item for guideline in content["guidelines"] for item in guideline["items"]]


def test_every_section_has_a_function_and_a_place() -> None:
    assert sorted(section_ids()) == sorted([*SECTIONS, *APPENDIX])


def test_every_item_of_both_guidelines_is_there_once_with_its_source() -> None:
    found = {g["id"]: [i["number"] for i in g["items"]] for g in read_rules()["guidelines"]}
    assert found == {"grras": list(range(1, 16)), "claim": list(range(1, 45))}
    sources = [g["source"] for g in read_rules()["guidelines"]]
    assert "doi 10.1016/j.jclinepi.2010.03.002" in sources[0]
    assert "doi 10.1148/ryai.240300" in sources[1]


def test_rules_name_sections_and_tests_that_exist() -> None:
    rules = read_rules()
    named = {name for g in rules["guidelines"] for i in g["items"] for name in i.get("where") or []}
    assert named | {r["where"] for r in rules["requirements"]} <= set(section_ids())
    assert [r["test"] for r in rules["requirements"] if not (ROOT / r["test"]).is_file()] == []


def test_the_page_carries_every_item_that_is_claimed(written: Written) -> None:
    page = written[1].read_text(encoding="utf-8")
    content = json.loads((written[1].parent / "checklist.json").read_text(encoding="utf-8"))
    claimed = [item for item in items_of(content) if item["status"] in (ON_PAGE, PARTLY)]
    assert len(claimed) > 30
    for item in claimed:
        assert item["anchors"]
        for place in item["anchors"]:
            start = page.index(f'<section id="{place["anchor"][1:]}"')
            body = page[start : page.index("</section>", start)]
            assert any(tag in body for tag in ("<table", "<li>", "<dt>", "<img", "<p>", "<figure"))


def test_the_page_says_the_same_as_the_file(written: Written) -> None:
    page = written[1].read_text(encoding="utf-8")
    content = json.loads((written[1].parent / "checklist.json").read_text(encoding="utf-8"))
    assert content["page"] == written[1].name
    for guideline in content["guidelines"]:
        for item in guideline["items"]:
            row = page[page.index(f'id="{guideline["id"]}-{item["number"]}"') :].split("</tr>")[0]
            for place in item["anchors"]:
                assert f'href="{place["anchor"]}"' in row


def test_nothing_is_claimed_for_sections_that_have_nothing_to_say() -> None:
    silent = [{"id": name} | SILENT for name in section_ids()]
    assert {i["status"] for i in items_of(checklist(silent, header={}))} == {AUTHORS, NOT_APPLICABLE}
    (table,) = traceability(silent)
    assert {row["cells"][3]["href"] for row in table["rows"]} == {None}
    assert {row["cells"][3]["text"] for row in table["rows"]} == {"nothing on this page"}
    loud = [{"id": name} | SPEAKING for name in section_ids()]
    assert {i["status"] for i in items_of(checklist(loud, header={}))} == {ON_PAGE, PARTLY, AUTHORS, NOT_APPLICABLE}


def test_an_item_names_only_the_sections_that_speak() -> None:
    item = {"number": 9, "title": "t", "where": ["truth", "limits"]}
    assert [a["anchor"] for a in answer(item, {"limits": "Limits"})["anchors"]] == ["#limits"]
    assert answer(item | {"absent": "nobody drew"}, {})["note"] == "Not applicable, because nobody drew"
    assert answer(item, {})["note"] == "By the authors: this page has nothing on it"
    partly = answer(item | {"still": "the rest"}, {"truth": "Truth"})
    assert (partly["status"], partly["note"]) == (PARTLY, "By the authors: the rest")


def test_items_left_to_the_authors_have_a_word_of_their_own() -> None:
    blocks = checklists([{"id": name} | SILENT for name in section_ids()])
    states = {item["state"] for block in blocks[:2] for item in block["items"]}
    assert states == {"to be stated", "not applicable"}
    assert "checklist.json" in blocks[2]["text"]
