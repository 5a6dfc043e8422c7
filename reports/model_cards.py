"""What do the makers of the networks say of them? The section model_cards, from the cards' own text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from reports import tables
from reports.document import Block, Context, table_block, tabs_block, text_block
from reports.selection import absent_block
from reports.tables import Row

LONGEST_CODE = 600  # characters of a piece of code shown; the card itself lies beside the weights


def model_cards(context: Context) -> list[Block]:
    """Each card as plain text, lists and tables, with its hash."""
    stored = context.results.get("model_cards") or []
    if not stored:
        return [absent_block("No card: no trained network took part, or its card was not passed on.")]
    panels = [
        (str(card["name"]), [_hash(card), *card_blocks(str(card["text"]), f"card-{i}")])
        for i, card in enumerate(stored)
    ]
    return [tabs_block("model-cards", "Networks", panels)]


def card_blocks(words: str, identifier: str) -> list[Block]:
    """Markdown of a card as blocks: paragraphs, lists, tables; headings become short paragraphs, code is kept as text.

    Only what cards use is understood; whatever else is there stays as it is written.
    """
    blocks: list[Block] = []
    for kind, lines in _pieces(words):
        if kind == "table":
            blocks.append(table_block(f"{identifier}-table-{len(blocks)}", _table(lines)))
        elif kind == "list":
            blocks.append({"kind": "list", "title": "", "items": [plain(line) for line in lines], "folded": False})
        elif kind == "code":
            blocks.append(
                {"kind": "definitions", "items": [["Command", "\n".join(lines)[:LONGEST_CODE]]], "code": True}
            )
        elif kind == "heading":
            blocks.append(text_block(plain(lines[0]).upper()))
        else:
            blocks.append(text_block(plain(" ".join(lines))))
    return blocks


def plain(line: str) -> str:
    """A line without the signs of markup: emphasis, code, links."""
    line = re.sub(r"\[([^\]]+)\]\(([^)]+)\)", r"\1 (\2)", line)
    return re.sub(r"(\*\*|`|(?<!\w)\*(?=\S)|(?<=\S)\*(?!\w))", "", line).strip()


def _hash(card: Mapping[str, str]) -> Block:
    return {"kind": "definitions", "items": [["Hash of the weights (SHA-256)", str(card["sha256"])]], "code": True}


def _pieces(words: str) -> Iterator[tuple[str, list[str]]]:
    """Neighboring lines of one kind."""
    kind, lines, in_code = "", [], False  # type: tuple[str, list[str], bool]
    for line in [*words.splitlines(), ""]:
        if line.startswith("```"):
            if lines:
                yield kind, lines
            kind, lines, in_code = "code", [], not in_code
            continue
        found = "code" if in_code else _kind(line, kind)
        if found == "list" and not in_code and kind == "list" and not _bullet(line):
            lines[-1] += f" {line.strip()}"
            continue
        if lines and (found != kind or found == "heading"):
            yield kind, lines
            lines = []
        kind = found
        if found:
            lines.append(_bullet(line) or line.strip() if found in ("list", "heading") else line)


def _kind(line: str, before: str) -> str:
    if not line.strip():
        return ""
    if line.startswith("#"):
        return "heading"
    if line.startswith("|"):
        return "table"
    if _bullet(line) or (before == "list" and line.startswith("  ")):
        return "list"
    return "text"


def _bullet(line: str) -> str:
    """What stands behind the sign of a list or heading; nothing where there is none."""
    found = re.match(r"\s*(?:[-*+]|\d+\.|#{1,6})\s+(.*)", line)
    return found[1] if found else ""


def _table(lines: list[str]) -> tables.Table:
    rows = [[plain(cell) for cell in line.strip().strip("|").split("|")] for line in lines]
    rows = [r for r in rows if not all(re.fullmatch(r":?-{2,}:?", cell) for cell in r)]
    width = max(len(r) for r in rows)
    padded = [[*r, *[""] * (width - len(r))] for r in rows]
    head, *body = padded
    columns = [h or " " for h in head]
    return tables.make_table("", columns, [Row(tuple(tables.Cell(c) for c in r)) for r in body])
