"""What is a report made of? Blocks, pictures by name, and what a section may read.

A block is a plain dictionary with a ``kind`` (``text``, ``list``, ``definitions``, ``verdict_key``, ``grid``,
``table``, ``plot_key``, ``plots``, ``gallery``); its values are formatted text, or names of pictures in
:class:`Pictures`. Tables and plots say where they appear (``page``, ``pdf``). Both templates lay out the same
blocks, so nothing here is HTML or Typst.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cohort.phenotypes import VOCABULARY
from reports.tables import Table

Block = dict[str, Any]
Results = Mapping[str, Any]


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
    """A table, sortable on the page."""
    return {"kind": "table", "id": identifier, "page": page, "pdf": pdf} | asdict(table)


def plots_block(
    title: str, items: list[dict[str, Any]], *, folded: bool = False, pdf: bool = True, anchor: str = ""
) -> Block:
    """Plots under one heading; ``items`` have ``name``, ``caption``, ``alt`` and perhaps ``method``; ``colored`` where colors
    stand for numbers."""
    return {"kind": "plots", "title": title, "plots": items, "folded": folded, "pdf": pdf, "anchor": anchor}
