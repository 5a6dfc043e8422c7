"""How is a file that somebody else made opened without believing it?

Its size is looked at before it is read, what it says that it unpacks to is set against what it takes on the disk, a link
that leads out of the cohort is seen, and brackets in brackets end in an error of ours. Readers call this before they
trust a length; nothing here knows what a file means.
"""

from __future__ import annotations

import json
import math
import os
import tomllib
import zipfile
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cohort.records import CardioValError, ConfigProblem, MissingFile, UnreadableFile, WeightsProblem

if TYPE_CHECKING:
    import pandas as pd

Pathish = str | PathLike[str]

#: no text beside a scan is as large as this
TEXT_BYTES = 2**26
#: of a configuration; the time to parse a name of many parts grows with the square of their number
TOML_BYTES, TOML_DOTS = 2**20, 300
#: up to this much, content may be packed as tightly as can be
SMALL_BYTES = 2**26
#: beyond it, at most this many times the packed size; gzip reaches 1032, images and k-space stay below 50
MOST_PACKED = 200
#: a cell of a table takes about this much in memory
CELL_BYTES = 8


def read_content(path: Pathish, *, missing: str = "missing: no such file", limit: int = TEXT_BYTES) -> bytes:
    """Read a small file whole.

    Parameters
    ----------
    path
        The file. Pipes, devices and folders are not opened.
    missing
        The reason where it is not there.
    limit
        Bytes; a larger file is refused unread.

    Raises
    ------
    MissingFile, UnreadableFile
        Not there; no plain file, too large, or not to be read.
    """
    path = Path(path)
    if not os.path.lexists(path):
        raise MissingFile(path, missing)
    if not is_file(path):
        raise UnreadableFile(path, "not a plain file; expected a text")
    try:
        with path.open("rb") as stream:  # Python takes as much memory as it is asked to read
            n_bytes = os.fstat(stream.fileno()).st_size
            content = stream.read(n_bytes + 1) if n_bytes <= limit else b""
    except FileNotFoundError as error:
        raise MissingFile(path, missing) from error
    except OSError as error:
        raise UnreadableFile(path, f"cannot be read: {error.strerror}") from error
    if max(n_bytes, len(content)) > limit:
        raise UnreadableFile(path, f"larger than {limit >> 20} MiB; expected a text of some kilobytes")
    return content


def parse_json(content: bytes | str, path: Pathish, *, unknown_as_none: bool = False) -> Any:
    """Parse JSON that can be written again: no NaN or infinity, no half characters, no depth without end.

    Parameters
    ----------
    content, path
        The text and the file it is from, for the error.
    unknown_as_none
        Read NaN and infinity, which are no JSON but written by many programs, as null.

    Raises
    ------
    UnreadableFile
        Not such JSON.
    """

    def constant(word: str) -> None:
        if not unknown_as_none:
            raise ValueError(f"{word} is no JSON")

    def number(digits: str) -> float | None:
        value = float(digits)
        if not math.isfinite(value):
            constant(digits[:20])
            return None
        return value

    try:
        parsed = json.loads(content, parse_constant=constant, parse_float=number)
        marks = b"\\ud" if isinstance(content, bytes) else "\\ud"
        if marks in content.lower():  # type: ignore[operator]  # of the same kind
            json.dumps(parsed, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        reason = "brackets in brackets" if isinstance(error, RecursionError) else str(error)[:160]
        raise UnreadableFile(path, f"not JSON: {reason}") from error
    return parsed


def read_json(path: Pathish, *, limit: int = TEXT_BYTES, unknown_as_none: bool = False) -> Any:
    """Read a JSON file; errors as `read_content` and `parse_json`."""
    return parse_json(read_content(path, limit=limit), path, unknown_as_none=unknown_as_none)


def parse_toml(content: bytes, path: Pathish) -> dict[str, Any]:
    """Parse a TOML file's content.

    Raises
    ------
    ConfigProblem
        Not TOML in UTF-8, deeper than any configuration, or a number that no machine holds.
    """
    if len(content) > TOML_BYTES or any(line.count(b".") > TOML_DOTS for line in content.splitlines()):
        raise ConfigProblem(
            f"{path}: not a configuration: larger than {TOML_BYTES >> 20} MiB, or names of endless parts"
        )
    try:
        return tomllib.loads(content.decode("utf-8"))
    except RecursionError as error:
        raise ConfigProblem(f"{path}: not a TOML file: brackets in brackets") from error
    except ValueError as error:  # of tomllib and of the encoding, and Python's on numbers of thousands of digits
        raise ConfigProblem(f"{path}: not a TOML file: {str(error)[:200]}") from error


def read_parquet(path: Pathish) -> pd.DataFrame:
    """Read a Parquet table whose rows are not many more than its file can mean.

    Raises
    ------
    MissingFile, UnreadableFile
        Not there; no such table, damaged, or packed so that it would fill the memory.
    """
    import pandas as pd
    import pyarrow.parquet as pq

    path = Path(path)
    if not is_file(path):
        raise MissingFile(path, "missing: no such table")
    try:
        facts = pq.read_metadata(path)
        cells = facts.num_rows * max(facts.num_columns, 1)
        check_unpacked(path, cells * CELL_BYTES, packed_bytes=path.stat().st_size * 5)
        return pd.read_parquet(path)
    except CardioValError:
        raise
    except Exception as error:  # pyarrow raises whatever damaged bytes lead it to
        raise UnreadableFile(path, f"not a readable Parquet table ({type(error).__name__})") from error


def check_unpacked(path: Pathish, n_bytes: int, *, packed_bytes: int) -> None:
    """Refuse what would unpack to many times its size, before it is unpacked.

    Raises
    ------
    UnreadableFile
        More than `SMALL_BYTES` and more than `MOST_PACKED` times the packed size, or a negative size.
    """
    if n_bytes < 0:
        raise UnreadableFile(path, f"says that it holds {n_bytes} bytes; damaged")
    if n_bytes > max(SMALL_BYTES, MOST_PACKED * packed_bytes):
        raise UnreadableFile(
            path,
            f"says that it unpacks to {n_bytes / 2**20:,.0f} MiB, from {packed_bytes / 2**20:,.2f} MiB: "
            "damaged, or made to fill the memory; export it again",
        )


def check_memory(path: Pathish, n_bytes: int) -> None:
    """Refuse to read at once what this machine cannot hold.

    Raises
    ------
    UnreadableFile
        More bytes than the machine has memory.
    """
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if n_bytes > there:
        raise UnreadableFile(
            path, f"needs {n_bytes / 2**30:,.1f} GiB at once, this machine has {there / 2**30:,.1f}; use a larger one"
        )


def check_weights(path: Pathish) -> None:
    """Check that weights are torch's zip file and that nothing in it is packed or larger than the file.

    Raises
    ------
    WeightsProblem
        Torch's old format, a bare pickle, another file, or a bomb.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise WeightsProblem(
            path, "not a checkpoint of tensors and plain values: no zip file as torch writes since 1.6; save it anew"
        ) from error
    stored = all(member.compress_type == zipfile.ZIP_STORED for member in members)
    if not stored or sum(member.file_size for member in members) > path.stat().st_size:
        raise WeightsProblem(
            path,
            "not a checkpoint of tensors and plain values: torch packs nothing, and this unpacks to more than it is",
        )


def is_file(path: Pathish) -> bool:
    """Whether there is a plain file; False also for names that the system takes for none, such as too long ones."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


def is_link(path: Pathish) -> bool:
    """Whether there is a symbolic link; False also for names that the system takes for none."""
    try:
        return Path(path).is_symlink()
    except (OSError, ValueError):
        return False


def leads_out(path: Pathish, top: Pathish) -> bool:
    """Whether a path is, by links, outside of a folder; links to themselves are, too."""
    try:
        return not Path(path).resolve().is_relative_to(Path(top).resolve())
    except (OSError, RuntimeError):  # a link to itself
        return True
