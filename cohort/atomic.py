"""How is a file written so that nobody ever sees half of it?"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path


@contextmanager
def replacing(path: str | PathLike[str]) -> Iterator[Path]:
    """Give a temporary file beside `path`; when the block ends well it becomes `path`, else it vanishes.

    The temporary file ends as `path` does (`.nii.gz`, `.mat`), lies in the same folder, which is made where missing,
    and is flushed to the disk before it is renamed, so that a crash leaves the old file or the new one.

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
    suffix = "".join(target.suffixes[-2:]) if target.suffix == ".gz" else target.suffix
    handle, name = tempfile.mkstemp(prefix=".writing-", suffix=suffix + ".part", dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
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


def _umask() -> int:
    """The permissions that the user takes from new files; it can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
