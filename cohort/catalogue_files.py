"""Which files of a cohort may be scans, and in what state is each of them on the disk?

One walk with `os.scandir`, which says of most entries what they are without asking for each: half a million files take
some seconds.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cohort.foreign import leads_out
from cohort.mrd import MRD_SUFFIXES
from cohort.records import printable

UNPRINTABLE = "its name or folder holds what is no printable text in UTF-8; rename it"
#: a file must have rested so long for its state to tell of every later change
SETTLED_NS = 2 * 10**9
SUFFIXES = (".mat", *MRD_SUFFIXES)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that may be a scan.

    Attributes
    ----------
    problem
        Why it must not be opened; empty for what may be.
    state
        Sizes and times of change of the file and of the headers beside it, for `cohort.catalogue_index`; empty where
        they do not tell all, because one is a link.
    size_bytes
        Of the file, through links; 0 for what is no plain file.
    """

    problem: str = ""
    state: str = ""
    size_bytes: int = 0


def find_candidates(top: Path) -> dict[str, Candidate]:
    """Every `.mat` and MRD file below the `FullSample` folders of a cohort, and every link to a folder.

    Parameters
    ----------
    top
        The cohort's folder, resolved.

    Returns
    -------
    dict
        Path relative to `top`, with slashes, to what is known of the file. Hidden files and folders are left out.
    """
    found: dict[str, Candidate] = {}
    before_ns = time.time_ns() - SETTLED_NS
    folders = [("", False)]
    while folders:
        here, within = folders.pop()
        files: dict[str, os.DirEntry[str]] = {}
        for entry in _entries(top / here):
            name = f"{here}{entry.name}"
            if not _is_folder(entry):
                files[entry.name] = entry
            elif entry.is_symlink():
                found[name] = Candidate("symbolic link to a folder; not followed, copy its content here")
            elif not entry.name.startswith("."):
                folders.append((f"{name}/", within or is_full(entry.name)))
        if within:
            scans = (name for name in files if name.lower().endswith(SUFFIXES) and not name.startswith("."))
            found.update((here + name, _candidate(top, here, name, files, before_ns=before_ns)) for name in scans)
    return found


def is_full(folder: str) -> bool:
    """Whether a folder holds fully sampled scans."""
    return folder == "FullSample" or folder.startswith("FullSample_")


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Entries of a folder; none where it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError:
        return


def _candidate(top: Path, here: str, name: str, files: Mapping[str, os.DirEntry[str]], *, before_ns: int) -> Candidate:
    """What is known of a file of k-space from the folder that it lies in."""
    size_bytes = _size(files[name])
    if printable(here + name) != here + name:
        return Candidate(UNPRINTABLE, size_bytes=size_bytes)
    stem, _, suffix = name.rpartition(".")
    if suffix.lower() != "mat":
        # results of a scan lie in a folder named by its stem: two of them would be mixed
        twins = sorted(n for n in files if n.lower().endswith(SUFFIXES) and n.rpartition(".")[0] == stem and n != name)
        if twins:
            return Candidate(f"has the name of {twins[-1]} beside it; keep one of them", size_bytes=size_bytes)
    stems = dict.fromkeys((stem, re.sub(r"_kus(_.*)?$", "", stem)))  # as `cohort.headers.info_path` looks for headers
    headers = [header for s in stems for header in (f"{s}_info.csv", f"{s}.csv")]
    beside = [files[header] for header in headers if header in files]
    linked = [entry for entry in (files[name], *beside) if entry.is_symlink()]
    for entry in linked:
        if leads_out(entry.path, top):
            what = "" if entry.name == name else f"{entry.name}: "
            return Candidate(f"{what}symbolic link out of the cohort; not followed", size_bytes=size_bytes)
    states = [] if linked else [_state(entry, before_ns=before_ns) for entry in (files[name], *beside)]
    return Candidate(state=" ".join(states) if all(states) else "", size_bytes=size_bytes)


def _state(entry: os.DirEntry[str], *, before_ns: int) -> str:
    """Name, size and times of a plain file: what changes when it is written, replaced, or given an old date again.

    Empty for others, and for a file that changed so lately that it may change again within a tick of the disk's clock.
    """
    try:
        stat = entry.stat()
    except OSError:
        return ""
    if not entry.is_file() or max(stat.st_mtime_ns, stat.st_ctime_ns) > before_ns:
        return ""
    return f"{entry.name}:{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ctime_ns}"


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _size(entry: os.DirEntry[str]) -> int:
    """Bytes of a plain file, through links."""
    try:
        return entry.stat().st_size if entry.is_file() else 0
    except OSError:
        return 0
