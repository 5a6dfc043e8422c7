"""What did the readers score? Files of scores checked against the kit's key, and unblinded.

A file that is not of this kit and this reader, or that says two things of one series, is refused: nothing is guessed. What was left open is
counted and stated.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import pandas as pd

from cohort.fingerprint import file_sha256
from cohort.foreign import read_content
from cohort.records import ConfigProblem, MissingFile, UnreadableFile
from flows.readers import KEY_FILE, MANIFEST_FILE, SCHEMA, kit_id

COLUMNS: Final = ("kit", "reader", "position", "code", "criterion", "score", "seconds")
SCORES: Final = ("1", "2", "3", "4", "5")
SERIES_FACTS: Final = ("series", "kind", "center", "patient", "scan", "arm", "method", "pattern", "acceleration")


@dataclass(frozen=True)
class OpenKit:
    """A kit whose key fits its manifest."""

    folder: Path
    name: str
    key: Mapping[str, Any]
    notes: tuple[str, ...]

    @property
    def plan(self) -> Mapping[str, Any]:
        """Margin, criteria and the primary one, as sealed."""
        plan: Mapping[str, Any] = self.key["plan"]
        return plan


@dataclass(frozen=True)
class Scores:
    """All readers' scores, unblinded.

    Attributes
    ----------
    table
        A row for every showing and criterion of every reader who handed in: ``reader, position, code, criterion, score`` (NaN where open),
        ``seconds, repeat`` and the facts of the series.
    files
        For each reader: file, sha256, series shown, scored, open.
    """

    table: pd.DataFrame
    files: tuple[dict[str, Any], ...]


def open_kit(folder: Path) -> OpenKit:
    """Read a kit's key.

    Raises
    ------
    MissingFile
        No key or no manifest.
    UnreadableFile
        The key is not the one that the manifest sealed, or a page was changed since.
    """
    for name in (KEY_FILE, MANIFEST_FILE):
        if not (folder / name).is_file():
            raise MissingFile(folder / name, "missing; expected the folder that `cardioval readers export` wrote")
    text = (folder / KEY_FILE).read_bytes().decode("utf-8", errors="replace")
    try:
        manifest, key = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8")), json.loads(text)
        sealed, pages = manifest["key_sha256"], manifest["pages"]
        versions = {manifest["schema"], key["schema"]}
    except (ValueError, KeyError, TypeError, RecursionError) as problem:
        raise UnreadableFile(folder / KEY_FILE, f"key or manifest is not of a kit ({problem})") from problem
    if sha256(text.encode("utf-8")).hexdigest() != sealed or manifest["kit"] != kit_id(text):
        raise UnreadableFile(
            folder / KEY_FILE,
            f"this is not the key that was sealed with the kit: its hash begins {kit_id(text)}, the manifest's {sealed[:16]}; "
            "put back the key that was written with these pages",
        )
    if versions != {SCHEMA}:
        raise UnreadableFile(folder / KEY_FILE, f"expected schema {SCHEMA}, got {sorted(versions)}")
    notes = []
    for page, expected in pages.items():
        if not (folder / page).is_file():
            notes.append(f"{page} is not in the kit any more, so it could not be checked.")
        elif file_sha256(folder / page) != expected:
            raise UnreadableFile(folder / page, "this page was changed after the kit was made; its scores mean nothing")
    return OpenKit(folder, kit_id(text), key, tuple(notes))


def read_scores(kit: OpenKit, paths: Sequence[Path]) -> Scores:
    """Read the files of all readers and unblind them.

    Raises
    ------
    ConfigProblem
        No file, or two of one reader.
    MissingFile, UnreadableFile
        A file that is not there, is no file of scores, or is not of this kit and one of its readers.
    """
    if not paths:
        raise ConfigProblem("no files of scores; give one for each reader")
    facts = {s["series"]: {name: s[name] for name in SERIES_FACTS} for s in kit.key["series"]}
    rows: list[dict[str, Any]] = []
    files: dict[str, dict[str, Any]] = {}
    for path in paths:
        reader, given, seconds = _read_file(kit, path)
        if reader in files:
            raise ConfigProblem(f"{path}: reader {reader} has handed in {files[reader]['file']} already; give one file")
        n_open = 0
        for position, shown in enumerate(kit.key["shown"][reader], start=1):
            scores = {c: given.get((shown["code"], c)) for c in kit.plan["criteria"]}
            n_open += any(value is None for value in scores.values())
            common = {"reader": reader, "position": position, "code": shown["code"], "repeat": bool(shown["repeat"])}
            common |= {"seconds": seconds.get(shown["code"]), **facts[shown["series"]]}
            rows += [{**common, "criterion": c, "score": value} for c, value in scores.items()]
        n_shown = len(kit.key["shown"][reader])
        files[reader] = {"reader": reader, "file": path.name, "sha256": file_sha256(path)}
        files[reader] |= {"shown": n_shown, "scored": n_shown - n_open, "open": n_open}
    table = pd.DataFrame(rows).astype({"score": "float64", "seconds": "float64"})
    if table["score"].isna().all():
        raise ConfigProblem("the files hold no score at all")
    return Scores(table, tuple(files[name] for name in kit.key["shown"] if name in files))


def _read_file(kit: OpenKit, path: Path) -> tuple[str, dict[tuple[str, str], int], dict[str, float]]:
    """Reader, scores by code and criterion, and seconds by code, of one file; every line is checked."""
    if not path.is_file():
        raise MissingFile(path, "missing: no such file of scores")
    lines = _lines(path)
    readers = {row["reader"] for _, row in lines}
    if len(readers) != 1:
        raise UnreadableFile(path, f"expected the scores of one reader, got {sorted(readers) or 'none'}")
    reader = readers.pop()
    of = {one["code"]: name for name, showings in kit.key["shown"].items() for one in showings}
    given: dict[tuple[str, str], int] = {}
    seen: dict[tuple[str, str], int] = {}
    seconds: dict[str, float] = {}
    for number, row in lines:
        place, code, criterion = f"line {number}", row["code"], row["criterion"]
        if row["kit"] != kit.name:
            raise UnreadableFile(path, f"{place}: scores of kit {row['kit']!r}, this key is of kit {kit.name!r}")
        if reader not in kit.key["shown"]:
            raise UnreadableFile(
                path, f"{place}: the kit has no reader {reader!r}; it has {', '.join(kit.key['shown'])}"
            )
        if of.get(code) != reader:
            owner = f"it was shown to reader {of[code]}" if code in of else "nobody was shown it"
            raise UnreadableFile(path, f"{place}: code {code!r} is unknown for reader {reader}: {owner}")
        if criterion not in kit.plan["criteria"]:
            raise UnreadableFile(
                path, f"{place}: no criterion {criterion!r}; the kit asks {', '.join(kit.plan['criteria'])}"
            )
        if (code, criterion) in seen:
            first = seen[code, criterion]
            raise UnreadableFile(path, f"{place}: {code} {criterion} stands on line {first} already; keep one of them")
        seen[code, criterion] = number
        if row["score"] not in ("", *SCORES):
            raise UnreadableFile(path, f"{place}: expected a score 1 to 5 or nothing, got {row['score']!r}")
        if row["score"]:
            given[code, criterion] = int(row["score"])
        if row["seconds"].replace(".", "", 1).isdigit():
            seconds[code] = float(row["seconds"])
    return reader, given, seconds


def _lines(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Numbered rows as text; a table program may have put semicolons and a byte order mark into the file."""
    try:
        text = read_content(path).decode("utf-8-sig")
        head = text.splitlines()[0] if text.strip() else ""
        table = list(csv.reader(text.splitlines(), delimiter=";" if ";" in head else ","))
    except (UnicodeDecodeError, csv.Error) as problem:
        raise UnreadableFile(path, f"not a text file ({problem})") from problem
    names = [name.strip() for name in table[0]] if table else []
    if sorted(names) != sorted(COLUMNS):
        raise UnreadableFile(path, f"expected the columns {', '.join(COLUMNS)}, got {', '.join(names) or 'nothing'}")
    rows = []
    for number, cells in enumerate(table[1:], start=2):
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(names):
            raise UnreadableFile(path, f"line {number}: expected {len(names)} cells, got {len(cells)}")
        rows.append((number, dict(zip(names, (cell.strip() for cell in cells), strict=True))))
    return rows
