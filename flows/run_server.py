"""Which Prefect server does one run use, and what if it goes away in the middle?

Without a server of the user's, Prefect embeds one into the run: a process of its own, which it stops at the end, and which
would stay behind if the run were killed. Ours watches a pipe to the run, and ends when that closes, however the run ended.
Prefect's server keeps order and a record; the results are in the run's folder. So a server that is lost costs the record
only, and the run goes on.
"""

import contextlib
import logging
import os
import queue
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from cohort.records import CardioValError, RunStopped
from flows.config import prepare_environment
from flows.resume import STOPS, tell

if TYPE_CHECKING:
    from prefect.server.api.server import SubprocessASGIServer

Result = TypeVar("Result", covariant=True)
# begun by the run with a pipe as its standard input, on which nothing ever comes but the end
PROGRAM = """
import os, signal, sys, threading, time

def watch():
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(10)
    os._exit(1)

threading.Thread(target=watch, daemon=True).start()
import uvicorn
uvicorn.run(
    "prefect.server.api.server:create_app",
    factory=True, host="127.0.0.1", port=int(sys.argv[1]), log_level="error", lifespan="on",
)
"""
LOGGERS = ("", "prefect", "prefect.flow_runs", "prefect.task_runs", "prefect._internal")


@contextmanager
def server_of_run() -> Iterator[None]:
    """Let what Prefect embeds into this process be a server that ends with it; without effect if the user has one.

    It starts when Prefect first asks for it, and is stopped at the end of the process.

    Raises
    ------
    RunStopped
        From within the block: the server does not start, or does not answer.
    """
    prepare_environment()
    from prefect.server.api.server import SubprocessASGIServer
    from prefect.settings import PREFECT_API_URL

    known = SubprocessASGIServer._instances
    # one that is there already belongs to someone else in this process
    if not PREFECT_API_URL.value() and None not in known:
        known[None] = own_server()
    with quiet():
        try:
            yield
        except Exception as problem:
            if not of_server(problem):
                raise
            raise RunStopped(
                f"Prefect's server: {one_line(problem)}; what is complete stays. See to the server, or unset "
                "PREFECT_API_URL for one of the run's own, and go on with --resume"
            ) from problem


def own_server() -> "SubprocessASGIServer":
    """A server that ends with this process, not yet started."""
    from prefect.server.api.server import SubprocessASGIServer
    from prefect.settings import get_current_settings

    class OwnServer(SubprocessASGIServer):
        def __new__(cls, *_: Any, **__: Any) -> "OwnServer":
            return object.__new__(cls)

        def _run_uvicorn_command(self) -> subprocess.Popen[Any]:
            settings = get_current_settings().to_environment_variables(exclude_unset=True)
            kind = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
            return subprocess.Popen(
                [sys.executable, "-c", PROGRAM, str(self.port)],
                stdin=subprocess.PIPE,
                env={**os.environ, **kind, **settings},
                # Ctrl-C is for the run, which then still has something to say to the server
                start_new_session=True,
            )

        def stop(self) -> None:
            process = self.server_process
            super().stop()
            if process is not None and process.stdin is not None:
                process.stdin.close()

    return OwnServer()


class Outcome(Protocol[Result]):
    """Where a flow leaves what it came to, before Prefect hears of it."""

    @property
    def outcome(self) -> Result | None:
        """Nothing before the end of the flow."""

    @property
    def problem(self) -> Exception | None:
        """What ended the flow; nothing where that was not the flow itself."""


def through_prefect(run: Callable[[], Result], work: Outcome[Result]) -> Result:
    """Call a flow, and keep what it came to also if Prefect's server has gone.

    Parameters
    ----------
    run
        Calls the flow.
    work
        Where the flow itself leaves its result, or its error: Prefect would keep that as a pickle, outside the run.
    """
    try:
        return run()
    except Exception as problem:
        if work.problem is not None:
            raise work.problem from None
        if isinstance(problem, CardioValError):
            raise
        if work.outcome is not None:
            tell(
                f"Prefect's server has gone, and its record of this run has no end ({one_line(problem)}); the results are whole"
            )
            forget_events()
            return work.outcome
        raise


def forget_events() -> None:
    """Let go of what Prefect still has to tell its server: at the end of the process it waits until all of it was sent, ten
    seconds for every event, and to a server that has gone none will be."""
    from prefect.events.worker import EventsWorker

    with contextlib.suppress(AttributeError):  # of another version of Prefect, which then waits
        for service in tuple(EventsWorker._instances.values()):  # type: ignore[misc]
            with contextlib.suppress(queue.Empty):
                while True:
                    service._queue.get_nowait()
                    service._queue.task_done()


def of_server(problem: object) -> bool:
    """Whether an error says that Prefect's server does not answer, answers with an error, or does not start."""
    import httpx
    from prefect.exceptions import ObjectNotFound

    words = ("Failed to reach API", "Timed out while attempting to connect to ephemeral", "available port")
    return isinstance(problem, httpx.HTTPError | ObjectNotFound) or (
        isinstance(problem, RuntimeError) and str(problem).startswith(words)
    )


def one_line(problem: BaseException) -> str:
    """An error's first words, without httpx's advice to read about status codes."""
    words = " ".join(str(problem).split()).replace("For more information check:", "\0").partition("\0")[0]
    return words.rstrip(" -'")[:200] or type(problem).__name__


@contextmanager
def quiet() -> Iterator[None]:
    """Leave out of Prefect's logs what is told in one line elsewhere: pages of traces of a lost server or a full disk."""
    handlers = {handler for name in LOGGERS for handler in logging.getLogger(name).handlers}
    for handler in handlers:
        handler.addFilter(worth_logging)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(worth_logging)


def hushed() -> None:
    """Until this process ends, leave the trace of a flow that failed in a line of its own out of Prefect's logs."""
    for handler in {handler for name in LOGGERS for handler in logging.getLogger(name).handlers}:
        handler.addFilter(_no_failed_run)


def _no_failed_run(record: logging.LogRecord) -> bool:
    from prefect.exceptions import FailedRun

    return not (record.exc_info and isinstance(record.exc_info[1], FailedRun))


def worth_logging(record: logging.LogRecord) -> bool:
    """Whether a record is of something that nobody else tells."""
    import httpx

    problem = record.exc_info[1] if record.exc_info else None
    # tasks that failed are told as scans that failed; those under way when a run stopped are done when it goes on
    said = record.getMessage()
    of_task = "Task run cancelled by the task runner" in said or "Finished in state Failed('Task run enc" in said
    told = of_task or isinstance(problem, httpx.HTTPError | ConnectionError | RunStopped)
    return not told and getattr(problem, "errno", None) not in STOPS
