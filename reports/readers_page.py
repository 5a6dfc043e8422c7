"""What does a reader see? One self-contained page that plays series and takes scores, and says nothing of their origin.

The page carries its pictures inside itself and forbids itself, by a content security policy, to load, send or run
anything else. Series are known on it by random codes only.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import jinja2
import yaml

from reports.render import TEMPLATES


@dataclass(frozen=True)
class Kind:
    """A kind of series: its name, how readers know it, which words it is asked by, and its color scale, if it has one.

    ``scale`` has ``src`` (a picture as data URI), ``low`` and ``high`` (text at its ends).
    """

    name: str
    title: str
    words: str
    scale: Mapping[str, str] | None = None


@dataclass(frozen=True)
class ScoringPage:
    """What one reader's page is made of.

    Attributes
    ----------
    items
        (code, kind, payload) in the order of this reader; the payload's name may come twice.
    payloads
        JSON of each series: ``panels`` (``src``, ``width``, ``height``, ``columns``, ``aspect``), ``frames``, ``frame_s``.
    """

    title: str
    kit: str
    reader: str
    criteria: Sequence[str]
    kinds: Sequence[Kind]
    items: Sequence[tuple[str, str, str]]
    payloads: Mapping[str, str]


def scoring_page(page: ScoringPage) -> str:
    """The page as HTML; the same text for the same content.

    Raises
    ------
    ValueError
        A criterion that readers.yaml does not define.
    """
    texts = reader_texts()
    unknown = [name for name in page.criteria if name not in texts["criteria"]]
    if unknown:
        raise ValueError(f"no criterion {unknown[0]!r}; there are {', '.join(texts['criteria'])}")
    kinds = {kind.name: _asked(kind, page.criteria, texts) for kind in page.kinds}
    # names of series follow this reader's order, so that they tell nothing either
    order = {name: f"d{i}" for i, name in enumerate(dict.fromkeys(data for _, _, data in page.items))}
    study = {
        "kit": page.kit,
        "reader": page.reader,
        "scale": texts["scale"],
        "kinds": kinds,
        "items": [{"code": code, "kind": kind, "data": order[data]} for code, kind, data in page.items],
    }
    payload = "\n".join(
        f'<script type="application/json" id="{there}">{_inert(page.payloads[name])}</script>'
        for name, there in order.items()
    )
    style, script = (TEMPLATES / name for name in ("readers.css", "readers.js"))
    css, js = style.read_text(encoding="utf-8"), script.read_text(encoding="utf-8")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("readers.html.j2").render(
        title=page.title,
        reader=page.reader,
        n_series=len(page.items),
        scale=texts["scale"],
        instructions=texts["instructions"],
        kinds=_instructed(page.kinds, kinds),
        study=_inert(json.dumps(study, ensure_ascii=False)),
        payload=payload,
        style=css,
        style_hash=_csp_hash(css),
        script=js,
        script_hash=_csp_hash(js),
    )


def reader_texts() -> dict[str, Any]:
    """Scale, criteria and instructions in words."""
    texts: dict[str, Any] = yaml.safe_load((TEMPLATES / "readers.yaml").read_text(encoding="utf-8"))
    return texts


def _asked(kind: Kind, criteria: Sequence[str], texts: Mapping[str, Any]) -> dict[str, Any]:
    """What is asked of a kind of series."""
    asked = [
        {"name": name, "title": texts["criteria"][name]["title"], **texts["criteria"][name][kind.words]}
        for name in criteria
    ]
    return {"title": kind.title, "criteria": asked, "scale": dict(kind.scale) if kind.scale else None}


def _instructed(kinds: Sequence[Kind], asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the instructions explain: kinds that are asked by the same words together."""
    titles: dict[str, list[str]] = {}
    for kind in kinds:
        titles.setdefault(kind.words, []).append(kind.name)
    return [
        {"title": ", ".join(asked[n]["title"] for n in names), "criteria": asked[names[0]]["criteria"]}
        for names in titles.values()
    ]


def _inert(text: str) -> str:
    """JSON that cannot end the script element it stands in."""
    return text.replace("<", "\\u003c")


def _csp_hash(text: str) -> str:
    return b64encode(sha256(text.encode()).digest()).decode()
