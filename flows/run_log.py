"""What happened in a run, scan by scan, for machines to read? ``log.jsonl`` in the run's folder: a JSON object a line.

Lines are appended whole, by whatever thread or process, and a resumed run goes on in the same file. They name scans by
center, pseudonym and file, and files relative to the cohort or the run: other folders and secrets are left out.
"""

import contextlib
import fcntl
import json
import logging
import os
import re
import secrets
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from flows.resources import running, usage_in, usage_of_failure
from flows.secrets_guard import redacted

LOG_FILE = "log.jsonl"
FIELDS = ("run", "event", "stage", "scan")
KEPT_USAGE = ("seconds", "cpu_seconds", "peak_mb", "gpu_peak_mb", "at_once")
MOST_CHARACTERS = 2000
OnFailure = Callable[[str, str, str], None]
"""Told of every failure: stage, scan and reason."""
# libraries whose warnings may quote values of a header, and so a name
QUOTING = ("pydicom", "highdicom")
FOLDERS = re.compile(r"(?<![\w.:/~])~?/(?:[^\s/'\"<>:,;]+/)+(?=[^\s/]|$|\s)")


class RunLog:
    """The log of one attempt at a run; made by :func:`run_log`."""

    def __init__(self, folder: Path, *, cohort: Path, on_failure: OnFailure = lambda stage, scan, reason: None) -> None:
        self.on_failure = on_failure
        self.run = secrets.token_hex(4)
        self.roots = (folder, cohort)
        self.begun = time.monotonic()
        self.begun_utc = _now()
        self.n_warnings = 0
        self.n_failed = 0
        self.logger = logging.Logger(
            f"cardioval.run.{self.run}", logging.INFO
        )  # not in the tree: only this file gets it
        self.handler = WholeLines(folder / LOG_FILE)
        self.handler.setFormatter(JsonFormatter())
        self.logger.addHandler(self.handler)

    def write(self, event: str, *, level: int = logging.INFO, **facts: Any) -> None:
        """A line; texts are cleaned of folders and secrets, what is None is left out."""
        told = {key: self._cleaned(value) for key, value in facts.items() if value is not None}
        self.logger.log(level, event, extra={"facts": {"run": self.run, "event": event, **told}})

    def stage(self, stage: str, scan: str, outcome: object, *, reason: str = "") -> None:
        """What became of a stage of a scan: its manifest's path, or the error that was in its way."""
        if isinstance(outcome, str | Path):
            self.stage_done(stage, scan, Path(outcome))
        else:
            self.stage_failed(stage, scan, reason, outcome if isinstance(outcome, BaseException) else None)

    def stage_done(self, stage: str, scan: str, manifest: Path) -> None:
        """A stage of a scan is complete, now or since an earlier attempt."""
        usage = usage_in(manifest)
        finished = str(usage.get("finished_utc", ""))
        reused = bool(finished) and datetime.fromisoformat(finished) < datetime.fromisoformat(self.begun_utc)
        self.write("stage_done", stage=stage, scan=scan, **_kept(usage), reused=reused or None)

    def stage_failed(self, stage: str, scan: str, reason: str, problem: BaseException | None = None) -> None:
        """A stage could not do a scan."""
        self.n_failed += 1
        usage = _kept(usage_of_failure(problem)) if problem is not None else {}
        self.write("stage_failed", level=logging.ERROR, stage=stage, scan=scan, reason=reason, **usage)
        self.on_failure(stage, scan, self._cleaned(reason))

    def warn(self, reason: str) -> None:
        """Something to look at, in the stage and scan of this thread."""
        self.n_warnings += 1
        stage, scan = running()
        self.write("warning", level=logging.WARNING, stage=stage or None, scan=scan or None, reason=reason)

    def close(self) -> None:
        """Let go of the file."""
        self.handler.close()

    def _cleaned(self, value: Any) -> Any:
        return cleaned(value, roots=self.roots) if isinstance(value, str) else value


@contextmanager
def run_log(
    folder: Path, *, cohort: Path, on_failure: OnFailure = lambda stage, scan, reason: None, **facts: Any
) -> Iterator[RunLog]:
    """Log a run: its begin with `facts`, every warning of its block, and its end or the error that ended it."""
    log = RunLog(folder, cohort=cohort, on_failure=on_failure)
    log.write("run_begin", **facts)
    try:
        with _captured(log):
            yield log
    except BaseException as problem:
        reason = f"{type(problem).__name__}: {problem}"
        log.write("run_failed", level=logging.ERROR, reason=reason, seconds=log_seconds(log))
        raise
    else:
        counts = {"n_failed": log.n_failed, "n_warnings": log.n_warnings}
        log.write("run_end", seconds=log_seconds(log), **counts)
    finally:
        log.close()


def log_seconds(log: RunLog) -> float:
    """Seconds since the attempt began."""
    return round(time.monotonic() - log.begun, 3)


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a log; one that a power failure cut is left out."""
    lines = []
    for line in path.read_bytes().splitlines():
        with contextlib.suppress(ValueError):
            content = json.loads(line)
            if isinstance(content, dict):
                lines.append(content)
    return lines


def cleaned(text: str, *, roots: tuple[Path, ...] = ()) -> str:
    """A text in one line, with files relative to their root, without other folders and without secrets.

    >>> cleaned("cannot read /data/study/P1/cine.mat: password=abc", roots=(Path("/data/study"),))
    'cannot read P1/cine.mat: password=***'
    """
    words = " ".join(text.split())
    for root in sorted(roots, key=lambda path: -len(str(path))):
        for name in {str(root), str(root.resolve())} - {"/", "."}:
            words = words.replace(f"{name}/", "").replace(name, root.name)
    words = redacted(words)
    words = FOLDERS.sub("", words)
    return words if len(words) <= MOST_CHARACTERS else words[: MOST_CHARACTERS - 3] + "..."


class JsonFormatter(logging.Formatter):
    """Time in UTC, level, and the facts of a record, as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        facts: Mapping[str, Any] = getattr(record, "facts", {})
        first = {key: facts[key] for key in FIELDS if key in facts}
        line = {"time": moment, "level": record.levelname, **first, **facts}
        return json.dumps(line, ensure_ascii=False, default=str)


class WholeLines(logging.Handler):
    """Append each record as one whole line, safe against other threads and processes.

    A disk that is full or gone costs lines, never the run, and never leaves half a line.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            self._append(self.format(record).encode("utf-8") + b"\n")
        except OSError:
            self.lost += 1

    def _append(self, line: bytes) -> None:
        descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                line = b"\n" + line  # what a power failure cut stays a line of its own
            try:
                written = os.write(descriptor, line)
                if written < len(line):
                    raise OSError("short write")
            except OSError:
                os.ftruncate(descriptor, size)
                raise
        finally:
            os.close(descriptor)  # and the lock with it


_capturing = threading.Lock()


@contextmanager
def _captured(log: RunLog) -> Iterator[None]:
    """Send warnings to the log instead of the screen; where two runs share a process, each gets those it can see."""
    with _capturing:
        before = warnings.showwarning

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            del lineno, file, line
            quoting = any(f"/{name}/" in filename for name in QUOTING)
            words = "(its text may quote a header, and is left out)" if quoting else str(message)
            log.warn(f"{category.__name__}: {words}")

        warnings.showwarning = show
    try:
        yield
    finally:
        with _capturing:
            if warnings.showwarning is show:
                warnings.showwarning = before


def _kept(usage: Mapping[str, Any]) -> dict[str, Any]:
    return {key: usage[key] for key in KEPT_USAGE if usage.get(key) is not None}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
