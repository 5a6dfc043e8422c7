"""Of which blocks is a patient's report made, and what may a section read?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from reports import tables
from reports.document import Block, Pictures
from reports.patient_pictures import Images
from reports.tables import Cell, Row, Table

REFERENCE: Final = "fully_sampled"
CINE: Final = "cine"
#: groups of the vocabulary in the order of the page
GROUPS: Final = {
    "left ventricle": "Left ventricle",
    "right ventricle": "Right ventricle",
    "wall": "Wall",
    "tissue": "Tissue",
}
#: and of what describes images
IMAGE_GROUPS: Final = {
    "image quality": "Likeness to the fully sampled images",
    "overlap": "Overlap with the true contours",
}


@dataclass(frozen=True)
class PatientContext:
    """The record, the pictures found, and where made pictures go."""

    record: Mapping[str, Any]
    images: Images
    pictures: Pictures

    @property
    def arms(self) -> list[Mapping[str, Any]]:
        """Arms of the patient, fully sampled first."""
        return sorted(self.record["arms"], key=lambda arm: arm["arm"] != REFERENCE)

    def label(self, arm: str) -> str:
        """An arm's name for readers."""
        return next((tables.arm_label(a) for a in self.record["arms"] if a["arm"] == arm), arm)

    def scans(self, modality: str | None = None) -> list[Mapping[str, Any]]:
        """Scans of the patient, of one modality if wanted; cines first."""
        wanted = [s for s in self.record["scans"] if modality in (None, s["modality"])]
        return sorted(wanted, key=lambda scan: scan["modality"] != CINE)


def text(words: str) -> Block:
    """A paragraph."""
    return {"kind": "text", "text": words}


def points(title: str, items: Sequence[str]) -> list[Block]:
    """A list under a heading, or nothing."""
    return [{"kind": "points", "title": title, "items": list(items)}] if items else []


def definitions(items: Sequence[tuple[str, str]]) -> Block:
    """Terms and what they are."""
    return {"kind": "definitions", "items": [list(item) for item in items]}


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> Block:
    """A table with a caption."""
    made: Table = tables.make_table(title, columns, [Row(tuple(cells)) for cells in rows])
    return {"kind": "table"} | asdict(made)


def plots(title: str, items: Sequence[Mapping[str, Any]]) -> list[Block]:
    """Plots under a heading, or nothing; an item has ``name``, ``caption``, ``alt`` and ``colored``."""
    return [{"kind": "plots", "title": title, "items": list(items)}] if items else []
