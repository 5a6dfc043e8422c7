"""How does a command show what it is doing? One progress view, on a terminal and without one."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as Remaining

BAD_CALL = 2
SOME_FAILED = 3
STOPPED = 4
# by Ctrl-C, as shells have it
INTERRUPTED = 130
# without a terminal: a line each tenth of a stage, and one in between where a tenth takes long
TENTHS = 10
QUIET_S = 300.0
MOST_FAILURES_NAMED = 20

console = Console(stderr=True)


class View(Protocol):
    """Shows how far each stage is: called with stage, scans done, scans in all, and the scan."""

    def __call__(self, stage: str, done: int, total: int, scan: str, /) -> None:
        """Note progress of a stage."""

    def failed(self, stage: str, scan: str, reason: str = "") -> None:
        """Count a failure of a stage, and name it."""


@contextmanager
def bars(screen: Console | None = None) -> Iterator[View]:
    """The progress view: bars on a terminal, a stage each; now and then a line where there is none."""
    shown = screen or console
    if not shown.is_terminal:
        yield PlainView(lambda line: shown.print(line, markup=False, highlight=False, soft_wrap=True))
        return
    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("[bold red]{task.fields[failures]}[/]"),
        TimeElapsedColumn(),
        Remaining(),
        TextColumn("{task.fields[scan]}"),
    )
    with Progress(*columns, console=shown, transient=False) as progress:
        yield BarsView(progress)


class BarsView:
    """Bars, one a stage, made when a stage first reports."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.tasks: dict[str, TaskID] = {}
        self.failures: dict[str, int] = {}

    def __call__(self, stage: str, done: int, total: int, scan: str, /) -> None:
        """Move the bar; the total may change."""
        self.progress.update(self._task(stage), completed=done, total=total, scan=escape(scan))

    def failed(self, stage: str, scan: str, reason: str = "") -> None:
        """Count it beside the bar and name it above the bars."""
        count = self.failures[stage] = self.failures.get(stage, 0) + 1
        self.progress.update(self._task(stage), failures=f"{count} failed")
        line = failure_line(stage, scan, reason, count)
        if line:
            self.progress.console.print(line, style="red", markup=False, highlight=False)

    def _task(self, stage: str) -> TaskID:
        if stage not in self.tasks:
            self.tasks[stage] = self.progress.add_task(stage, total=None, scan="", failures="")
        return self.tasks[stage]


@dataclass
class _Stage:
    """What was told of a stage so far."""

    began: float
    first_done: int
    spoke: float = 0.0
    tenths: int = -1
    done: int = -1


class PlainView:
    """Lines for a log: when a stage begins, at each tenth, in between where that takes long, and at its end.

    Parameters
    ----------
    write
        Prints a line.
    clock
        Seconds that only grow.
    """

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self.write, self.clock = write, clock
        self.stages: dict[str, _Stage] = {}
        self.failures: dict[str, int] = {}

    def __call__(self, stage: str, done: int, total: int, scan: str, /) -> None:
        """Say it where it is time to."""
        now = self.clock()
        about = self.stages.setdefault(stage, _Stage(began=now, first_done=done, spoke=now))
        tenths = TENTHS * done // total if total > 0 else 0
        if done == about.done or (tenths <= about.tenths and now - about.spoke < QUIET_S):
            return
        words = [f"{stage}: {done} of {total}"]
        count = self.failures.get(stage, 0)
        words += [f"{count} failed"] if count else []
        elapsed = now - about.began
        if elapsed > 0:
            words.append(duration(elapsed))
        if elapsed > 0 and about.first_done < done < total:
            words.append(f"about {duration(elapsed / (done - about.first_done) * (total - done))} left")
        self.write(", ".join(words) + (f" ({scan})" if scan and done < total else ""))
        about.spoke, about.tenths, about.done = now, max(tenths, about.tenths), done

    def failed(self, stage: str, scan: str, reason: str = "") -> None:
        """Count and name it."""
        count = self.failures[stage] = self.failures.get(stage, 0) + 1
        line = failure_line(stage, scan, reason, count)
        if line:
            self.write(line)


def failure_line(stage: str, scan: str, reason: str, count: int) -> str:
    """A failure in one line; after many only that there are more, and then nothing."""
    if count > MOST_FAILURES_NAMED:
        return f"{stage}: more failures are only counted" if count == MOST_FAILURES_NAMED + 1 else ""
    return f"{stage}: {scan} failed" + (f": {reason}" if reason else "")


def duration(seconds: float) -> str:
    """Seconds for people: ``8 s``, ``3 min 20 s``, ``2 h 05 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def counted(advance: Callable[[str, int, int, str], None], stage: str, total: int) -> Callable[[str], None]:
    """A callback that counts its calls on one bar."""
    done = 0

    def progress(scan: str) -> None:
        nonlocal done
        done += 1
        advance(stage, done, total, scan)

    return progress
