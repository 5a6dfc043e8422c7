"""What do the headers of a cohort say, or what did they say when they were last read?

Opening a header takes a millisecond, looking at a file's size and times takes microseconds. The index keeps what was
found in good files, with the state they were in; whatever is not in that state any more, and whatever was bad, is read
again. It carries the hash of its own content, and one that is damaged, of another version or of another cohort counts as
none.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from functools import partial
from multiprocessing import get_context
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from cohort.atomic import replacing
from cohort.catalogue_files import Candidate
from cohort.cmrxrecon import read_header, read_info
from cohort.foreign import is_file
from cohort.records import CardioValError, FileProblem

#: raise it when the readers of headers find another shape in the same file, or no longer take it for good
INDEX_VERSION = 1
COLUMNS = {"file": pa.string(), "state": pa.string(), "shape": pa.list_(pa.int64())}


Head = tuple[tuple[int, ...], str]
#: fewer headers than these are opened before another process has started
WORTH_PROCESSES = 4000
#: fewer headers than these are opened in a second, and need no index
WORTH_INDEX = 500


class Indexed(NamedTuple):
    """The state of a good file, as `cohort.catalogue_files` tells it, and its shape (frames, slices, coils, ky, kx)."""

    state: str
    shape: tuple[int, ...]


def heads_of(
    top: Path, files: Mapping[str, Candidate], *, index: str | PathLike[str] | None, processes: int
) -> dict[str, Head]:
    """Shape of every file, and the reason if it is bad; from the index, or by opening it.

    Parameters
    ----------
    top
        The cohort's folder, resolved.
    files
        Relative path to what is known of a file that may be opened.
    index
        Where the index is and will be; None for none.
    processes
        That open headers at once, where there are thousands to open.
    """
    kept = {} if index is None else read_index(index, root=top)
    known = {
        file: kept[file] for file, now in files.items() if now.state and file in kept and kept[file].state == now.state
    }
    heads: dict[str, Head] = {file: (entry.shape, "") for file, entry in known.items()}
    unread = [file for file in files if file not in known]
    if processes > 1 and len(unread) >= WORTH_PROCESSES:
        # spawned: the copy of a process that has threads may hang
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            heads |= zip(unread, pool.map(partial(_head, top), unread, chunksize=256), strict=True)
    else:
        heads |= {file: _head(top, file) for file in unread}
    learned = {f: Indexed(files[f].state, heads[f][0]) for f in unread if files[f].state and not heads[f][1]}
    if index is not None and len(files) >= WORTH_INDEX and (learned or len(known) < len(kept)):
        with suppress(OSError):
            write_index(index, known | learned, root=top)
    return heads


def _head(top: Path, file: str) -> Head:
    """Shape of a file by its header, and why it cannot be used, if so."""
    path = top / file
    shape: tuple[int, ...] = ()
    try:
        shape = read_header(path)
        read_info(path)
    except CardioValError as error:
        return shape, _reason(error, path)
    return shape, ""


def _reason(error: CardioValError, path: Path) -> str:
    """Reason without the path of the scan itself, which stands in the same row."""
    if not isinstance(error, FileProblem):
        return str(error)
    return error.reason if error.path == path else f"{error.path.name}: {error.reason}"


def read_index(path: str | PathLike[str], *, root: Path) -> dict[str, Indexed]:
    """Read an index.

    Parameters
    ----------
    path
        The index, which need not be there.
    root
        The cohort's folder, resolved.

    Returns
    -------
    dict
        Relative path to what was found there; empty where there is no index that can be trusted.
    """
    if not is_file(path):
        return {}
    try:
        first, _, content = Path(path).read_bytes().partition(b"\n")
        if first != _first_line(content, root):
            return {}
        columns = pq.read_table(io.BytesIO(content)).to_pydict()
    except (OSError, MemoryError, pa.ArrowException):
        return {}
    shapes: dict[tuple[int, ...], tuple[int, ...]] = {}  # thousands of scans have few shapes
    rows = zip(*(columns[name] for name in COLUMNS), strict=True)
    return {file: Indexed(state, shapes.setdefault(tuple(shape), tuple(shape))) for file, state, shape in rows}


def write_index(path: str | PathLike[str], known: Mapping[str, Indexed], *, root: Path) -> None:
    """Write an index, all of it or nothing.

    Raises
    ------
    OSError
        The disk is full, or the folder cannot be written.
    """
    columns = [list(known), *([row[i] for row in known.values()] for i in range(len(Indexed._fields)))]
    table = pa.table(
        {name: pa.array(values, kind) for (name, kind), values in zip(COLUMNS.items(), columns, strict=True)}
    )
    stream = io.BytesIO()
    pq.write_table(table, stream, compression="zstd")
    content = stream.getvalue()
    with replacing(path) as temporary:
        temporary.write_bytes(_first_line(content, root) + b"\n" + content)


def _first_line(content: bytes, root: Path) -> bytes:
    """What an index of this cohort and version with this content begins with."""
    place = hashlib.sha256(os.fsencode(root)).hexdigest()
    return f"cardioval catalogue {INDEX_VERSION} {place} {hashlib.sha256(content).hexdigest()}".encode()
