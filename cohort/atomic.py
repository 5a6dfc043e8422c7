"""How is a file written so that nobody ever sees half of it?"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path


@contextmanager
def replacing(path: str | PathLike[str]) -> Iterator[Path]:
    """Give a temporary file beside `path`; when the block ends well it becomes `path`, else it vanishes.

    It lies in the same folder, which is made where missing, ends in `.part` so that no catalogue takes it for a scan,
    and is flushed to the disk before it is renamed: a crash leaves the old file or the new one.

    Parameters
    ----------
    path
        The file to write or to replace.

    Yields
    ------
    Path
        An existing empty file, to be overwritten.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f".writing-{secrets.token_hex(4)}-{target.name}.part"
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    try:
        yield temporary
        _flush(temporary)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _flush(target.parent)


def write_text(path: str | PathLike[str], text: str) -> None:
    """Write `text` as UTF-8 with the line ends it has, all of it or nothing."""
    with replacing(path) as temporary:
        temporary.write_bytes(text.encode("utf-8"))


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
