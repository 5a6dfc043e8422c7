"""When is a stage's earlier result still right? Keys of content, and manifests that are checked before they are
believed.

A stage writes its files, then a manifest with its key and the hash of every file. A manifest whose key is the wanted
one and whose files
are all there unchanged is a finished stage; anything else is done again. The key holds the hashes of the input, the
options, the weights
and a version of the stage that is raised by hand when its code changes what comes out.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cohort.atomic import write_text
from cohort.fingerprint import file_sha256
from cohort.foreign import leads_out


def stage_key(stage: str, version: int, **parts: Any) -> str:
    """Hash of everything that decides a stage's result; ``parts`` are plain types."""
    text = json.dumps({"stage": stage, "version": version, **parts}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def write_manifest(path: Path, *, key: str, files: list[Path], content: Mapping[str, Any]) -> Path:
    """Write a stage's manifest after its files; ``content`` is what the next stage needs to know."""
    hashes = {file.relative_to(path.parent).as_posix(): file_sha256(file) for file in files}
    write_text(path, json.dumps({"key": key, "files": hashes, **content}, indent=1, allow_nan=False) + "\n")
    return path


def read_manifest(path: Path) -> dict[str, Any]:
    """A manifest as written."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def is_complete(path: Path, *, key: str) -> bool:
    """Whether the stage was finished with this key and none of its files has changed since."""
    try:
        manifest = read_manifest(path)
        return manifest["key"] == key and all(
            not leads_out(path.parent / name, path.parent) and file_sha256(path.parent / name) == sha
            for name, sha in manifest["files"].items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False
