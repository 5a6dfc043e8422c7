"""Every number of the verdict grid and of the table of agreement is results.json's, rounded here by another way."""

import re
from decimal import ROUND_HALF_EVEN, Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from reports import tables

Written = tuple[dict[str, Any], Path, Path]


class Tables(HTMLParser):
    """Tables of a page by class or identifier: rows of (text, unrounded number or None)."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: dict[str, list[list[tuple[str, str | None]]]] = {}
        self.rows: list[list[tuple[str, str | None]]] | None = None
        self.words: list[str] | None = None
        self.sort: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        if tag == "table":
            name = known.get("id") or known.get("class") or ""
            self.rows = self.found.setdefault(name, [])
        elif tag == "tr" and self.rows is not None:
            self.rows.append([])
        elif tag in ("td", "th") and self.rows is not None:
            self.words, self.sort = [], known.get("data-sort")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th") and self.rows is not None and self.words is not None:
            self.rows[-1].append((" ".join("".join(self.words).split()), self.sort))
            self.words = None
        elif tag == "table":
            self.rows = None

    def handle_data(self, data: str) -> None:
        if self.words is not None:
            self.words.append(data + " ")


@pytest.fixture(scope="module")
def page(written: Written) -> dict[str, list[list[tuple[str, str | None]]]]:
    return Tables(written[1].read_text(encoding="utf-8")).found


def written_as(value: float, digits: int, *, signed: bool = False) -> str:
    """Rounded from the exact value of the number, not by Python's own formatting."""
    text = str(Decimal(value).quantize(Decimal(1).scaleb(-digits), rounding=ROUND_HALF_EVEN))
    if Decimal(text) == 0:
        text = text.lstrip("-")
    elif signed and not text.startswith("-"):
        text = f"+{text}"
    return text.replace("-", tables.MINUS)


def with_ends(value: dict[str, float], digits: int, *, signed: bool = False) -> str:
    low, high = (written_as(value[k], digits) for k in ("low", "high"))
    return f"{written_as(value['estimate'], digits, signed=signed)} [{low}, {high}]"


def by_measurement_and_arm(rows: list[list[tuple[str, str | None]]]) -> dict[tuple[str, str], dict[str, Any]]:
    """Rows of a table by their first two cells, each with its cells by heading."""
    head, *lines = rows
    assert [label for label, _ in head[:2]] == ["Measurement", "Arm"]
    found = {(line[0][0], line[1][0]): {h[0]: c for h, c in zip(head, line, strict=True)} for line in lines}
    assert len(found) == len(lines) > 10
    return found


def compared(results: dict[str, Any]) -> list[tuple[dict[str, Any], tuple[str, str]]]:
    """Comparisons with the fully sampled scan, each with the name its rows have."""
    labels = {a["arm"]: tables.arm_label(a) for a in results["arms"]}
    return [
        (r, (tables.with_unit(r["phenotype"], short=True), labels[r["arm"]]))
        for r in results["agreement"]
        if r["against"] == "fully_sampled"
    ]


def test_the_table_of_agreement_says_what_the_results_say(written: Written, page: dict[str, Any]) -> None:
    shown = by_measurement_and_arm(page["agreement-table"])
    wanted = compared(written[0])
    assert {name for _, name in wanted} == set(shown)
    for entry, name in wanted:
        digits, cell = tables.decimals(entry["phenotype"]), shown[name]
        assert cell["Bias"] == (with_ends(entry["bias"], digits, signed=True), str(entry["bias"]["estimate"]))
        assert cell["SD"] == (written_as(entry["sd"], digits), str(entry["sd"]))
        for label, key in (("Lower limit", "lower_limit"), ("Upper limit", "upper_limit")):
            assert cell[label] == (with_ends(entry[key], digits), str(entry[key]["estimate"]))
        assert cell["Pairs"] == (f"{entry['n']}/{entry['attempted']}", str(entry["n"]))
        assert cell["Failed"][0] == str(entry["failed"])
        assert cell["TOST p"] == (written_as(entry["tost"]["p"], 3), str(entry["tost"]["p"]))


def test_the_coefficients_are_those_of_the_results(written: Written, page: dict[str, Any]) -> None:
    shown = by_measurement_and_arm(page["coefficients-table"])
    for entry, name in compared(written[0]):
        icc = entry["descriptive"]["icc"]
        assert shown[name]["ICC(A,1)"] == (with_ends(icc, 3), str(icc["estimate"]))


def test_the_verdict_grid_says_what_the_results_say(written: Written, page: dict[str, Any]) -> None:
    rows = [row for row in page["grid"] if row and any(re.search(r"n \d+/\d+$", text) for text, _ in row[1:])]
    entries = [entry for entry, _ in compared(written[0])]
    for phenotype in {e["phenotype"] for e in entries}:
        found = next(r for r in rows if r[0][0].startswith(tables.phenotype_label(phenotype)))
        digits, texts = tables.decimals(phenotype), [text for text, _ in found[1:]]
        wanted = []
        for entry in (e for e in entries if e["phenotype"] == phenotype):
            low, high = (written_as(entry[k]["estimate"], digits) for k in ("lower_limit", "upper_limit"))
            label = tables.VERDICT_LABELS[entry["verdict"]]
            if entry["verdict"] == "shown" and entry.get("claimed") is not None:
                label = "Claimed" if entry["claimed"] else "Shown, not claimed"
            bias, pairs = with_ends(entry["bias"], digits, signed=True), f"n {entry['n']}/{entry['attempted']}"
            wanted.append(f"{label} {bias} {low} to {high} {pairs}")
        assert sorted(texts) == sorted(wanted)
        assert len(texts) > 3
