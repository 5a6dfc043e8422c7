"""Which content does a file have? Its SHA-256, computed once per process while the file stays as it is."""

import hashlib
from os import PathLike
from pathlib import Path

_HASHES: dict[tuple[str, int, int], str] = {}


def file_sha256(path: str | PathLike[str]) -> str:
    """Hash of a file's content; read again only when its size or modification time has changed."""
    file = Path(path)
    state = file.stat()
    key = (str(file), state.st_size, state.st_mtime_ns)
    if key not in _HASHES:
        with file.open("rb") as stream:
            _HASHES[key] = hashlib.file_digest(stream, "sha256").hexdigest()
    return _HASHES[key]
