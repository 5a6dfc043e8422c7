"""How does a command show what it is doing?"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

BAD_CALL = 2
SOME_FAILED = 3

console = Console(stderr=True)


@contextmanager
def bars() -> Iterator[Callable[[str, int, int, str], None]]:
    """Progress bars, one a stage, made when a stage first reports; plain without a terminal."""
    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, TextColumn("{task.fields[scan]}"), console=console, transient=False) as progress:
        tasks: dict[str, Any] = {}

        def advance(stage: str, done: int, total: int, scan: str) -> None:
            if stage not in tasks:
                tasks[stage] = progress.add_task(stage, total=total, scan="")
            progress.update(tasks[stage], completed=done, total=total, scan=scan)

        yield advance


def counted(advance: Callable[[str, int, int, str], None], stage: str, total: int) -> Callable[[str], None]:
    """A callback that counts its calls on one bar."""
    done = 0

    def progress(scan: str) -> None:
        nonlocal done
        done += 1
        advance(stage, done, total, scan)

    return progress
