"""How does a document become one HTML file and one PDF? Jinja2 for the page, Typst's own compiler for the PDF.

Both take the same document: ``header`` texts and ``sections`` of blocks (see reports.document), and the pictures by
name. The page carries everything inside itself and forbids itself, by a content security policy, to load or run
anything else. User text reaches Typst only as JSON data, never as markup, so it needs no escaping there; in HTML,
Jinja2 escapes it.
"""

from __future__ import annotations

import json
import re
import tempfile
import zlib
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from math import isfinite
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
import typst

HERE = Path(__file__).parent
TEMPLATES = HERE / "templates"
MEDIA_TYPES = {".svg": "image/svg+xml", ".png": "image/png", ".csv": "text/csv", ".json": "application/json"} | {
    ".txt": "text/plain"
}
PIXELS_PER_POINT = 4 / 3
ONLY_ON_SCREEN = frozenset({"csv", "live"})
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def render_html(
    document: Mapping[str, Any],
    *,
    pictures: Mapping[str, bytes],
    template: str = "study.html.j2",
    script: str = "page.js",
) -> str:
    """One self-contained page; pictures and files become data URIs.

    The template gets ``style``, ``script`` (a file of reports/templates) and ``script_hash``: the policy of the page must
    allow exactly that script by its hash.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["picture"] = lambda name: data_uri(name, pictures[name])
    environment.globals["size"] = lambda name: picture_size(pictures[name])
    environment.globals["packed"] = packed
    environment.globals["text_file"] = lambda name, content: data_uri(name, content.encode("utf-8"))
    words = (TEMPLATES / script).read_text(encoding="utf-8")
    style = (HERE / "style.css").read_text(encoding="utf-8")
    return environment.get_template(template).render(
        **document, style=style, script=words, script_hash=b64encode(sha256(words.encode()).digest()).decode()
    )


def render_pdf(document: Mapping[str, Any], *, pictures: Mapping[str, bytes], template: str = "study.typ") -> bytes:
    """The PDF, the same bytes for the same document: the date inside is the run's, and no system font is used."""
    created = parse_utc(document["header"].get("created_utc"))
    date = [created.year, created.month, created.day, created.hour, created.minute, created.second]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "main.typ").write_bytes((TEMPLATES / template).read_bytes())
        data = printed(finite(dict(document))) | {
            "date": date,
            "widths_pt": {n: svg_width_pt(c) for n, c in pictures.items()},
        }
        (root / "document.json").write_text(json.dumps(data, allow_nan=False), encoding="utf-8")
        for name, content in pictures.items():
            (root / name).write_bytes(content)
        fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
        made: bytes = typst.compile(
            root / "main.typ",
            root=root,
            font_paths=[fonts],
            ignore_system_fonts=True,
            format="pdf",
            timestamp=int(created.timestamp()),
        )
    return made


def printed(value: Any) -> Any:
    """The document without what only a screen can use: the files of tables, and what points say."""
    if isinstance(value, dict):
        return {k: printed(v) for k, v in value.items() if k not in ONLY_ON_SCREEN}
    return [printed(v) for v in value] if isinstance(value, list) else value


def svg_width_pt(content: bytes) -> float | None:
    """Natural width of an SVG in points, so that text in plots is printed at its own size; None for other pictures."""
    found = re.search(rb'<svg [^>]*?width="([0-9.]+)pt"', content[:2000])
    return float(found.group(1)) if found else None


def packed(value: Any) -> str:
    """Data for the page's script: JSON, raw deflate, base64. Points of plots take a third of the room that way."""
    text = json.dumps(finite(value), separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode("utf-8")
    squeezer = zlib.compressobj(level=9, wbits=-zlib.MAX_WBITS)
    return b64encode(squeezer.compress(text) + squeezer.flush()).decode("ascii")


def picture_size(content: bytes) -> tuple[int, int] | None:
    """Width and height in pixels of a page, so that room is kept for a picture that is loaded later; None if not known."""
    found = re.search(rb'<svg [^>]*?width="([0-9.]+)pt" height="([0-9.]+)pt"', content[:2000])
    if found:
        return round(float(found[1]) * PIXELS_PER_POINT), round(float(found[2]) * PIXELS_PER_POINT)
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")
    return None


def data_uri(name: str, content: bytes) -> str:
    """A picture or file as text that can stand in an attribute."""
    return f"data:{MEDIA_TYPES[Path(name).suffix]};base64,{b64encode(content).decode('ascii')}"


def parse_utc(text: object) -> datetime:
    """The moment of an ISO text; the epoch where it is no date, so that a report never depends on the clock."""
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return EPOCH
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def finite(value: Any) -> Any:
    """The same data with tuples as lists and non-finite numbers as None, as JSON wants it."""
    if isinstance(value, Mapping):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not isfinite(value) else value
