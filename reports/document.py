"""What is a report made of? Blocks, pictures by name, and what a section may read.

A block is a plain dictionary with a ``kind``; its values are formatted text, or names of pictures in
:class:`Pictures`. Both templates lay out the same blocks, so nothing here is HTML or Typst. A template that does not know
a kind leaves it out.

====================  ===============================================================================================
kind                  made by; what it holds
====================  ===============================================================================================
``text``              :func:`text_block`
``list``              ``title``, ``items`` (texts), ``folded``
``definitions``       ``items`` (pairs term, words), perhaps ``code``
``verdict_key``       ``items`` (verdict, label, words)
``grid``              the grid phenotype x arm of reports.comparisons
``table``             :func:`table_block`: sorted and filtered on the page, with all its rows as CSV
``plot_key``          ``name``, ``alt``
``plots``             :func:`plots_block`; an item may carry ``live`` (reports.live): what its points say when pointed at
``gallery``           reports.gallery
``tabs``              :func:`tabs_block`: panels of blocks, one seen at a time; all of them in print and without scripts
``matrix``            :func:`matrix_block`: a cross table of counts
``links``             :func:`links_block`: anchors of this page
``badges``            :func:`badges_block`: short facts, each with a state
``checklist``         :func:`checklist_block`: items of a guideline, each with a state and where it is answered
``downloads``         :func:`downloads_block`: small files inside the page
====================  ===============================================================================================

Figures are in reports.figures (Bland-Altman, centers, truth, quality) and reports.decision_figures (margins' summary,
trend, subgroups, bias profile, ROC, classes). A state (badges, checklists) is one of :data:`STATES`; it is told by sign, word and color. Anchors are written with their
``#``. ``table``, ``plots`` and ``tabs`` say where they appear (``page``, ``pdf``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cohort.phenotypes import VOCABULARY
from reports.tables import Table, first_rows, table_csv

Block = dict[str, Any]
Results = Mapping[str, Any]
STATES = {"met": "shown", "partly": "bias only", "not met": "not shown", "not applicable": "too few"}
"""State of a badge or of an item of a checklist, and the verdict whose sign and color it takes."""
ROWS_ON_PAGE = 1200  # of one table: a browser lays out so many at once without a pause; the CSV holds all
ROWS_IN_PDF = 250
LARGEST_FILE = 1_500_000  # bytes of a file inside the page


@dataclass
class Pictures:
    """Pictures by name (``picture-0003.svg``), in the order they were made."""

    files: dict[str, bytes] = field(default_factory=dict)

    def add(self, content: bytes, *, suffix: str) -> str:
        """Keep a picture and return the name blocks refer to it by."""
        name = f"picture-{len(self.files):04d}{suffix}"
        self.files[name] = content
        return name


@dataclass(frozen=True)
class Context:
    """What a section may read: the results, sections.yaml, the run folder (for the gallery), and where pictures go."""

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
    def all_arms(self) -> list[Mapping[str, Any]]:
        """The fully sampled arm, where there is one, and the accelerated ones."""
        return [*(a for a in self.results["arms"] if a["arm"] == "fully_sampled"), *self.arms]

    @property
    def centers(self) -> list[str]:
        """Centers in the order that fixes their color and mark."""
        return list(dict.fromkeys(str(c["center"]) for c in self.results["cohort"]["centers"]))

    @property
    def level(self) -> str:
        """Confidence level in words, ``95 %``."""
        return f"{100 * self.results['plan']['confidence']:g} %"

    def margins(self, phenotype: str) -> Mapping[str, Any] | None:
        """Planned margins of a phenotype, if any."""
        found: Mapping[str, Any] | None = self.results["plan"]["margins"].get(phenotype)
        return found

    def judged(self, phenotypes: Sequence[str]) -> list[str]:
        """Those that the plan gave margins, in order; all where it gave none: what else is measured stands in tables only."""
        ordered = in_order(phenotypes)
        return [p for p in ordered if self.margins(p)] or ordered

    def agreement(self, against: str) -> dict[tuple[str, str], Mapping[str, Any]]:
        """Entries of ``agreement`` by phenotype and arm."""
        return {(r["phenotype"], r["arm"]): r for r in self.results["agreement"] if r["against"] == against}


def in_order(phenotypes: Sequence[str]) -> list[str]:
    """Distinct phenotypes in the order of the vocabulary, unknown ones last."""
    order = {name: i for i, name in enumerate(VOCABULARY)}
    return sorted(dict.fromkeys(phenotypes), key=lambda p: order.get(p, len(order)))


def by_method(arms: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """Arms grouped by method, in their order."""
    names = dict.fromkeys(a["method"] for a in arms)
    return [(m, [a for a in arms if a["method"] == m]) for m in names]


def in_parts(arms: Sequence[Mapping[str, Any]], *, most: int = 8) -> Iterator[list[Mapping[str, Any]]]:
    """So many arms as a page is wide; the first one, fully sampled, in each part."""
    first, rest = arms[0], arms[1:]
    for start in range(0, max(len(rest), 1), most - 1):
        yield [first, *rest[start : start + most - 1]]


def text_block(words: str) -> Block:
    """A paragraph."""
    return {"kind": "text", "text": words}


def table_block(identifier: str, table: Table, *, page: bool = True, pdf: bool = True) -> Block:
    """A table, on the page sortable, with a box to filter its rows, and with a CSV of all of them.

    Of very long tables the page lays out the first :data:`ROWS_ON_PAGE` rows (so order them by importance), the PDF the
    first :data:`ROWS_IN_PDF`; ``left_out`` and ``pdf_rows`` say so. The CSV has the unrounded numbers beside the text.
    """
    block: Block = {"kind": "table", "id": identifier, "page": page, "pdf": pdf, "csv": None}
    block |= {"left_out": max(len(table.rows) - ROWS_ON_PAGE, 0), "pdf_rows": ROWS_IN_PDF}
    if page and table.rows:
        content = table_csv(table)
        block["csv"] = download(f"{identifier}.csv", content) if len(content) <= LARGEST_FILE else None
    return block | asdict(first_rows(table, ROWS_ON_PAGE))


def plots_block(
    title: str, items: list[dict[str, Any]], *, folded: bool = False, pdf: bool = True, anchor: str = ""
) -> Block:
    """Plots under one heading; ``items`` have ``name``, ``caption``, ``alt`` and perhaps ``method``; ``colored`` where colors
    stand for numbers; ``live`` where points say their values (reports.live)."""
    return {"kind": "plots", "title": title, "plots": items, "folded": folded, "pdf": pdf, "anchor": anchor}


def tabs_block(
    identifier: str, title: str, panels: Sequence[tuple[str, Sequence[Block]]], *, page: bool = True, pdf: bool = True
) -> Block:
    """A switch between panels (label, blocks), for instance one an acceleration or a method.

    Without scripts and in print all panels stand below each other, each under its label.
    """
    shown = [{"id": f"{identifier}-{i}", "label": label, "blocks": list(b)} for i, (label, b) in enumerate(panels)]
    return {"kind": "tabs", "id": identifier, "title": title, "panels": shown, "page": page, "pdf": pdf}


def matrix_block(
    identifier: str,
    caption: str,
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    counts: Sequence[Sequence[int]],
    row_title: str,
    column_title: str,
    note: str = "",
) -> Block:
    """A cross table of counts, for instance of EF classes: reference down, test across; the diagonal is agreement.

    Each cell has ``text``, ``same`` (on the diagonal of a square table), ``side`` (``above`` or ``below`` the diagonal)
    and ``shade``, 0 to 4, its share of the row: only that decides how dark it is.

    Raises
    ------
    ValueError
        When ``counts`` does not have a row for each of ``rows`` and a number for each of ``columns``.
    """
    if len(counts) != len(rows) or any(len(line) != len(columns) for line in counts):
        raise ValueError(f"{identifier}: expected {len(rows)} x {len(columns)} counts, got {[len(r) for r in counts]}")
    square = len(rows) == len(columns)
    lines = []
    for i, (label, line) in enumerate(zip(rows, counts, strict=True)):
        cells = [
            {
                "text": str(n),
                "same": square and i == j,
                "side": "" if not square or i == j else "above" if j > i else "below",
                "shade": -(-4 * n // sum(line)) if n else 0,
            }
            for j, n in enumerate(line)
        ]
        lines.append({"label": label, "cells": cells, "total": str(sum(line))})
    totals = [str(sum(line[j] for line in counts)) for j in range(len(columns))]
    titles = {"row_title": row_title, "column_title": column_title, "note": note}
    whole = {"rows": lines, "columns": list(columns), "totals": totals, "total": str(sum(map(sum, counts)))}
    return {"kind": "matrix", "id": identifier, "caption": caption} | titles | whole


def links_block(title: str, items: Sequence[tuple[str, str] | tuple[str, str, str]]) -> Block:
    """Places of this page: (anchor with ``#``, text) or (anchor, text, what is there)."""
    known = [{"href": i[0], "text": i[1], "note": i[2] if len(i) > 2 else ""} for i in items]
    return {"kind": "links", "title": title, "items": known}


def badges_block(items: Sequence[tuple[str, str, str | None]], *, title: str = "") -> Block:
    """Short facts: (label, value, state or None)."""
    return {"kind": "badges", "title": title, "items": [{"label": a, "value": b} | _state(c) for a, b, c in items]}


def checklist_block(identifier: str, caption: str, items: Sequence[Mapping[str, Any]]) -> Block:
    """Items of a guideline.

    Each item has ``number``, ``text``, ``state`` (of :data:`STATES`), and perhaps ``where`` (pairs anchor, text) and
    ``note``. Its own anchor is ``#identifier-number``.
    """
    known = [
        {
            "id": f"{identifier}-{item['number']}",
            "number": str(item["number"]),
            "text": str(item["text"]),
            "where": [{"href": a, "text": t} for a, t in item.get("where") or ()],
            "note": str(item.get("note") or ""),
        }
        | _state(item["state"])
        for item in items
    ]
    return {"kind": "checklist", "id": identifier, "caption": caption, "items": known}


def downloads_block(title: str, files: Sequence[Mapping[str, Any]]) -> Block:
    """Files inside the page, made by :func:`download`."""
    return {"kind": "downloads", "title": title, "files": list(files)}


def download(name: str, content: str, *, note: str = "") -> dict[str, Any]:
    """A small text file (``.csv``, ``.json``, ``.txt``) that the page carries inside itself.

    Raises
    ------
    ValueError
        When it is larger than :data:`LARGEST_FILE`; write it beside the page instead and name it in a text.
    """
    if len(content) > LARGEST_FILE:
        raise ValueError(f"{name}: expected at most {LARGEST_FILE} characters inside a page, got {len(content)}")
    return {"name": name, "content": content, "note": note}


def _state(state: str | None) -> dict[str, str]:
    """A state with the sign it takes; an unknown one is an error of ours and stays visible as a word."""
    return {"state": state or "", "sign": STATES.get(state or "", "")}
