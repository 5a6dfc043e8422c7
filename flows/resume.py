"""Who may work in a run's folder, what did an interrupted run leave there, and what stops a run so that it can go on?

A run holds its folder as long as it lives: the lock is on the folder itself, and ends with the process, however that
ends. What an earlier run left counts only after its hashes were checked, see ``flows.caching``; here it is only named.
"""

import errno
import fcntl
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cohort.atomic import make_folder, remove_unfinished
from cohort.records import ConfigProblem, RunStopped
from flows.resources import MANIFESTS, STAGES
from flows.terminal import console

DONE = {"reconstruct": "reconstructed", "segment": "labeled", "measure": "measured"}
# what no scan is to blame for, and what ends no run for good
STOPS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota of the disk is used up",
    errno.EROFS: "the disk can only be read",
}
RESUME = "go on with --resume"
REFUSED = (errno.EACCES, errno.EPERM)


@contextmanager
def held(folder: Path, *, how: str = RESUME) -> Iterator[None]:
    """Make a run's folder, hold it for this run alone, and clear away what killed writers left half written.

    A disk error that stops the run comes out of the block as :class:`RunStopped`. Network disks without locks are used
    without; then nothing is cleared away.

    Parameters
    ----------
    folder
        Of the run.
    how
        In words, how a run that was stopped goes on.

    Raises
    ------
    ConfigProblem
        Another process works in the folder.
    RunStopped
        The folder cannot be made or written, or the disk is full.
    """
    with stopping_clearly(folder, how=how):
        make_folder(folder)
        # of the folder, so that nothing is left to clean up
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            if locked(descriptor, folder):
                remove_unfinished(folder)
            yield
        finally:
            os.close(descriptor)


def locked(descriptor: int, folder: Path) -> bool:
    """Lock an open folder; False where its disk has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ConfigProblem(f"another run is going on in {folder}; let it end, or give another folder") from error
    except OSError:
        return False
    return True


@contextmanager
def stopping_clearly(folder: Path, *, how: str = RESUME) -> Iterator[None]:
    """Turn an error of the disk that stops a run into one line that says so."""
    try:
        yield
    except OSError as error:
        reason = stop_reason(error, folder)
        if not reason:
            raise
        raise stopped(folder, reason, how=how) from error


def stopped(folder: Path, reason: str, *, how: str = RESUME) -> RunStopped:
    """The error of a run that can go on."""
    return RunStopped(f"{folder}: {reason}; what is complete stays, mend it and {how}")


def stop_reason(problem: object, folder: Path) -> str:
    """Why a run cannot go on, whatever the scan: a full or read-only disk, a folder that is not ours; empty for the rest."""
    if not isinstance(problem, OSError):
        return ""
    name = str(problem.filename or "")
    if problem.errno in STOPS:
        return STOPS[problem.errno] + (f" ({name})" if name else "")
    if problem.errno in REFUSED and name and Path(name).is_relative_to(folder):
        return f"this user may not write there ({name})"
    return ""


def found_line(folders: Sequence[Path]) -> str:
    """What an earlier run left of the scans with these folders, in one line; empty where it left nothing."""
    furthest = [_furthest(folder) for folder in folders]
    if not any(furthest):
        return ""
    counts = [f"{furthest.count(stage)} {DONE[stage]}" for stage in reversed(STAGES) if stage in furthest]
    nothing = furthest.count("")
    counts += [f"{nothing} not begun"] if nothing else []
    return (
        f"going on: of {len(folders)} scans {', '.join(counts)}; what has the same inputs, options and version, and files "
        "that are unchanged, is kept, the rest is done"
    )


def _furthest(folder: Path) -> str:
    """The last stage that left a manifest beside those of the stages before it."""
    furthest = ""
    for stage in STAGES:
        if not (folder / MANIFESTS[stage]).is_file():
            break
        furthest = stage
    return furthest


def kept_line(timing: Iterable[Mapping[str, Any]]) -> str:
    """What was kept of an earlier run and what was done now, in one line; empty where nothing was kept.

    Parameters
    ----------
    timing
        Rows of ``flows.resources.timing_rows``.
    """
    rows = [row for row in timing if row["n"]]
    if not any(row["n_earlier"] for row in rows):
        return ""
    parts = [f"{DONE[row['stage']]} {row['n_earlier']} of {row['n']}" for row in rows]
    again = [f"{row['n'] - row['n_earlier']} {DONE[row['stage']]}" for row in rows if row["n"] > row["n_earlier"]]
    return f"kept: {', '.join(parts)}; done now: {', '.join(again) or 'nothing but the statistics and the report'}"


def tell(line: str) -> None:
    """A line on the terminal; nothing if it is empty."""
    if line:
        console.print(f"cardioval: {line}", markup=False, highlight=False, soft_wrap=True)
