"""How is a file written so that nobody ever sees half of it?"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

#: what a temporary file is called, so that one whose writer was killed can be found
UNFINISHED = ".writing-*.part"


@contextmanager
def replacing(path: str | PathLike[str], *, mode: int = 0o666) -> Iterator[Path]:
    """Give a temporary file beside `path`; when the block ends well it becomes `path`, else it vanishes.

    It lies in the same folder, which is made where missing, ends in `.part` so that no catalogue takes it for a scan,
    and is flushed to the disk before it is renamed, as the folder is after: a crash, of the process or of the machine,
    leaves the old file or the new one.

    Parameters
    ----------
    path
        The file to write or to replace.
    mode
        Permissions, of which the user's mask takes away.

    Yields
    ------
    Path
        An existing empty file, to be overwritten.
    """
    target = Path(path)
    make_folder(target.parent)
    temporary = target.parent / f".writing-{secrets.token_hex(4)}-{target.name}.part"
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
    try:
        yield temporary
        _flush(temporary)
        temporary.replace(target)
    except BaseException:
        # on a disk that fails nothing more can be done, and the first error is the one that says why
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    _flush_folder(target.parent)


def write_text(path: str | PathLike[str], text: str, *, mode: int = 0o666) -> None:
    """Write `text` as UTF-8 with the line ends it has, all of it or nothing."""
    write_bytes(path, text.encode("utf-8"), mode=mode)


def write_bytes(path: str | PathLike[str], content: bytes, *, mode: int = 0o666) -> None:
    """Write all of `content` or nothing."""
    with replacing(path, mode=mode) as temporary:
        temporary.write_bytes(content)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, each of them on the disk before what will lie in it."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    _flush_folder(path.parent)


def remove(path: Path) -> None:
    """Take a file away, if it is there, and do not come back before the disk knows."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
        _flush_folder(path.parent)


def remove_unfinished(folder: Path) -> int:
    """Take away the temporary files of writers that were killed; only for who alone writes in the folder.

    Returns
    -------
    int
        How many there were.
    """
    found = [path for path in folder.rglob(UNFINISHED) if path.is_file()]
    for path in found:
        path.unlink(missing_ok=True)
    return len(found)


def _flush_folder(path: Path) -> None:
    try:
        _flush(path)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network disks know it for files only
            raise


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
