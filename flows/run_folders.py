"""Into which folder does a scheduled run write, and how do two runs never meet there?

A run has a folder named by its start in UTC. A record in it says what was asked for and whether the run ended; what did
not end is gone on with by the next run that asks for the same. The lock belongs to the process: however that ends, the
lock ends with it.
"""

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cohort.atomic import write_text
from cohort.records import ConfigProblem
from flows.analysis_plan import plan_facts, plan_of
from flows.config import ValidationConfig

RECORD_FILE = "scheduled.json"
LOCK_FILE = "scheduled.lock"
RECORD_SCHEMA = 1
STAMP = "%Y-%m-%dT%H%M%S"
NAME = re.compile(r"\d{4}-\d\d-\d\dT\d{6}")
# a run that fails this often in one folder starts anew: what lies there may be the reason
MOST_ATTEMPTS = 5


@dataclass(frozen=True)
class RunFolder:
    """A scheduled run's folder and how far it is.

    Attributes
    ----------
    path
        The folder.
    study
        Name of the study.
    asked_sha256
        Hash of what was asked for, see `asked_hash`.
    begun_utc, ended_utc
        When the first attempt began and the last ended; empty while it has not.
    attempts
        How often it was begun.
    """

    path: Path
    study: str
    asked_sha256: str
    begun_utc: str
    ended_utc: str = ""
    attempts: int = 1

    def write(self) -> None:
        """Keep the record in the folder."""
        facts = {key: value for key, value in asdict(self).items() if key != "path"}
        write_text(self.path / RECORD_FILE, json.dumps({"schema": RECORD_SCHEMA, **facts}, indent=1) + "\n")


@contextmanager
def only_run(out: Path, *, study: str) -> Iterator[None]:
    """Hold the study's lock.

    Raises
    ------
    ConfigProblem
        Another run of the study is going on.
    """
    out.mkdir(parents=True, exist_ok=True)
    # the lock is on the file that is open: nothing is left to clean up after a power loss
    with (out / LOCK_FILE).open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise ConfigProblem(
                f"another run of {study} is going on in {out} ({file.read().strip() or 'not known which'}); "
                "let it end, or cancel it first"
            ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()} since {datetime.now(UTC).isoformat(timespec='seconds')}\n")
        file.flush()
        yield


def next_folder(config: ValidationConfig, *, now: datetime, fresh: bool = False) -> RunFolder:
    """The newest folder of the same study and questions that did not end, else a new one; call it under `only_run`.

    Parameters
    ----------
    config
        Its `out` is the folder of run folders.
    now
        With a time zone.
    fresh
        Begin a new one in any case.
    """
    asked = asked_hash(config)
    same = [folder for folder in folders(config.out) if (folder.study, folder.asked_sha256) == (config.name, asked)]
    if same and not fresh and not same[-1].ended_utc and same[-1].attempts < MOST_ATTEMPTS:
        chosen = replace(same[-1], attempts=same[-1].attempts + 1)
    else:
        path, begun = _new_folder(config.out, now.astimezone(UTC))
        chosen = RunFolder(path, config.name, asked, begun.isoformat(timespec="seconds"))
    chosen.write()
    return chosen


def ended(folder: RunFolder, *, now: datetime) -> RunFolder:
    """Note that a run ended; its folder is not gone on with."""
    done = replace(folder, ended_utc=now.astimezone(UTC).isoformat(timespec="seconds"))
    done.write()
    return done


def last_ended(folder: RunFolder) -> RunFolder | None:
    """The study's run before this one."""
    earlier = [
        other
        for other in folders(folder.path.parent)
        if other.study == folder.study and other.ended_utc and other.path.name < folder.path.name
    ]
    return earlier[-1] if earlier else None


def folders(out: Path) -> list[RunFolder]:
    """Folders of scheduled runs, oldest first; what has another name or no record is none."""
    if not out.is_dir():
        return []
    found = (_read(path) for path in sorted(out.iterdir()) if NAME.fullmatch(path.name))
    return [folder for folder in found if folder is not None]


def asked_hash(config: ValidationConfig) -> str:
    """Hash of cohort, configuration and plan: what decides the numbers, and nothing of how they are computed."""
    plan = plan_facts(plan_of(config))["sha256"]
    asked = {"cohort": str(config.cohort), "science": config.science(), "plan": plan}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _new_folder(out: Path, now: datetime) -> tuple[Path, datetime]:
    """Two runs that begin in one second get two seconds."""
    while True:
        path = out / now.strftime(STAMP)
        try:
            path.mkdir(parents=True)
            return path, now
        except FileExistsError:
            now += timedelta(seconds=1)


def _read(path: Path) -> RunFolder | None:
    """The record in a folder; None where it is missing or not to be read."""
    try:
        facts = json.loads((path / RECORD_FILE).read_text(encoding="utf-8"))
        if facts.pop("schema") != RECORD_SCHEMA:
            return None
        folder = RunFolder(path=path, **facts)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return folder if isinstance(folder.ended_utc, str) and isinstance(folder.attempts, int) else None
