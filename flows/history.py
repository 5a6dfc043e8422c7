"""How does a run get into the history, and what if the database is away? Recorded at the end, or kept beside the run and
sent later.

A run has an identity of its own, made when it is first recorded and kept in its folder: a run that is resumed replaces
what was recorded of it.
"""

import json
import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cohort.atomic import write_text
from cohort.records import CardioValError, MissingFile, UnreadableFile
from flows.config import ValidationConfig, history_target
from flows.history_drift import Finding, worsened
from flows.history_record import record_of
from flows.history_store import History
from flows.history_url import parse, shown
from flows.terminal import console

IDENTITY_FILE = "history.json"
PENDING_FILE = "history-pending.json"
PENDING_SCHEMA = 1
MOST_WARNINGS = 5


@dataclass(frozen=True)
class Recorded:
    """What became of a run's record.

    Attributes
    ----------
    run_id
        Of the run.
    database
        Where it is kept or shall be, without a password.
    sent
        False where it waits in the run's folder.
    worsened
        Verdicts that are worse than in the study's run before.
    """

    run_id: str
    database: str
    sent: bool
    worsened: tuple[Finding, ...] = ()


def say(line: str) -> None:
    """A warning on the terminal."""
    console.print(f"cardioval: history: {line}", style="bold yellow", markup=False, highlight=False, soft_wrap=True)


def record_run(
    config: ValidationConfig, results: Mapping[str, Any], *, warn: Callable[[str], None] = say
) -> Recorded | None:
    """Keep a finished run in the history; a run never fails for its history.

    Where the database cannot be used, the record is written to ``history-pending.json`` in the run's folder, and sent
    when another run beside it is recorded, or by ``cardioval history sync``.

    Parameters
    ----------
    config
        Of the run; ``[history] record = false`` records nothing.
    results
        Content of results.json.
    warn
        Told in one line what went wrong, and which verdicts are worse than in the run before.

    Returns
    -------
    Recorded or None
        None where nothing was recorded or could be kept.
    """
    if not config.history.record:
        return None
    pending = config.out / PENDING_FILE
    try:
        target = history_target(config)
        record = record_of(results, run_id=identity(config.out), folder=config.out)
        run_id, place = record["run"]["run_id"], shown(parse(target))
        try:
            history = History(target, create=True)
            history.record(record)
        except CardioValError as problem:
            content = {"schema": PENDING_SCHEMA, "database": place, "record": record}
            write_text(pending, json.dumps(content, allow_nan=False) + "\n")
            warn(
                f"{problem}. The run is complete; its record waits in {pending}, send it with `cardioval history sync`"
            )
            return Recorded(run_id, place, sent=False)
        pending.unlink(missing_ok=True)
        for line in sync(_waiting_beside(config.out, place), history=history)[1]:
            warn(line)
        found = worsened(history, run_id)
        for finding in found[:MOST_WARNINGS]:
            warn(finding.text)
        if len(found) > MOST_WARNINGS:
            warn(f"and {len(found) - MOST_WARNINGS} more; `cardioval history drift` lists them")
        return Recorded(run_id, place, sent=True, worsened=found)
    except Exception as problem:  # the results are written; whatever is wrong here must not hide them
        warn(f"this run could not be recorded: {type(problem).__name__}: {problem}")
        return None


def record_folder(folder: Path, history: History) -> bool:
    """Keep a finished run of an earlier day, from its results.json.

    Raises
    ------
    MissingFile, UnreadableFile
        The folder holds no results, or none that can be read.
    HistoryProblem
        As :meth:`flows.history_store.History.record`.
    """
    path = folder / "results.json"
    if not path.is_file():
        raise MissingFile(path, "no results; is this the folder of a finished run?")
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        record = record_of(results, run_id=identity(folder), folder=folder.resolve())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnreadableFile(path, f"no results of a validation: {type(error).__name__}: {error}") from error
    kept = history.record(record)
    (folder / PENDING_FILE).unlink(missing_ok=True)
    return kept


def identity(folder: Path) -> str:
    """The run's own identity, made and written where there is none yet."""
    path = folder / IDENTITY_FILE
    try:
        known = json.loads(path.read_text(encoding="utf-8"))["run_id"]
        if re.fullmatch(r"[0-9a-f]{32}", known):
            return str(known)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    made = uuid.uuid4().hex
    content = {"run_id": made, "made_utc": datetime.now(UTC).isoformat(timespec="seconds")}
    write_text(path, json.dumps(content) + "\n")
    return made


def sync(files: Iterable[Path], *, history: History | None = None) -> tuple[int, list[str]]:
    """Send records that wait, each into `history`, or without it into the database it was meant for.

    Returns
    -------
    tuple
        How many were sent, and in one line each what could not be.
    """
    sent, problems = 0, []
    for path in files:
        try:
            text = path.read_text(encoding="utf-8")
            content = json.loads(text)
            if content["schema"] != PENDING_SCHEMA:
                raise UnreadableFile(path, f"expected schema {PENDING_SCHEMA}, got {content['schema']!r}")
            place = history or History(history_target() or content["database"], create=True)
            place.record(content["record"])
            if path.read_text(encoding="utf-8") == text:
                path.unlink()
            sent += 1
        except FileNotFoundError:
            continue  # another run sent it meanwhile
        except (CardioValError, OSError) as problem:
            problems.append(f"{path} stays: {problem}")
        except (ValueError, KeyError, TypeError) as problem:
            problems.append(f"{path} stays: not a record that waits: {type(problem).__name__}: {problem}")
    return sent, problems


def waiting(folders: Iterable[Path]) -> list[Path]:
    """Records that wait in run folders, or in folders of run folders."""
    return sorted({path for folder in folders for depth in ("", "*/") for path in folder.glob(depth + PENDING_FILE)})


def _waiting_beside(folder: Path, place: str) -> list[Path]:
    """Those of runs beside this one that were meant for the same database."""
    found = []
    for path in folder.parent.glob(f"*/{PENDING_FILE}"):
        try:
            if json.loads(path.read_text(encoding="utf-8"))["database"] == place:
                found.append(path)
        except (OSError, ValueError, KeyError, TypeError):
            continue  # `cardioval history sync` says what is wrong with it
    return sorted(found)
