"""Which Prefect server takes part: the user's, or one of our own that lives and dies with us?

A schedule needs a server that runs all the time; the one that Prefect embeds into a single run schedules nothing.
"""

import ipaddress
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from cohort.records import ConfigProblem
from flows.config import prepare_environment

PORT = 4200
LOOPBACK = "127.0.0.1"
EVERYWHERE = ("0.0.0.0", "::")
START_S, STOP_S = 180, 30
LOG_FILE = "cardioval-server.log"
# the server ends with us, whatever ends us: the kernel tells it
PROGRAM = (
    "import ctypes, runpy, signal, sys; ctypes.CDLL(None).prctl(1, signal.SIGTERM); "
    "sys.argv[0] = 'prefect'; runpy.run_module('prefect', run_name='__main__', alter_sys=True)"
)


@dataclass(frozen=True)
class Api:
    """Where Prefect's server is.

    Attributes
    ----------
    url
        Of its interface.
    page
        For a browser.
    process
        Of our own server, None for the user's.
    log
        What our own server says.
    """

    url: str
    page: str
    process: subprocess.Popen[bytes] | None = None
    log: Path | None = None


@contextmanager
def prefect_api(*, host: str = LOOPBACK, port: int = PORT) -> Iterator[Api]:
    """The server that Prefect's settings name (``PREFECT_API_URL``, or a profile), else one of our own.

    Our own keeps its data where Prefect's settings say: in a file of SQLite, or in PostgreSQL by
    ``PREFECT_SERVER_DATABASE_CONNECTION_URL``. It is stopped at the end of the block.

    Parameters
    ----------
    host, port
        Where our own listens; not used with the user's.

    Raises
    ------
    ConfigProblem
        The user's does not answer or refuses us, the port is taken, or our own does not start.
    """
    prepare_environment()
    from prefect.settings import PREFECT_API_URL, get_current_settings, temporary_settings

    settings = get_current_settings()
    if settings.api.url:
        if not _healthy():
            raise ConfigProblem(
                f"no Prefect server answers at {settings.api.url}, which PREFECT_API_URL names; start it first"
            )
        _admitted(settings.api.url)
        yield Api(settings.api.url, settings.api.url.removesuffix("/api"))
        return
    _schedules()
    _free(host, port)
    reached = LOOPBACK if host in EVERYWHERE else host
    page = f"http://{f'[{reached}]' if ':' in reached else reached}:{port}"
    log = Path(settings.home) / LOG_FILE
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, "server", "start", "--host", host, "--port", str(port)],
            env={**_settings(host, port, page), **os.environ},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Ctrl-C is for us: the server is needed until the run has said how it ended
            start_new_session=True,
        )
    try:
        with temporary_settings({PREFECT_API_URL: f"{page}/api"}):
            _wait(process, log)
            _admitted(f"{page}/api")
            yield Api(f"{page}/api", page, process, log)
    finally:
        _stop(process)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _settings(host: str, port: int, page: str) -> dict[str, str]:
    """What our own server is told where the user has not: the command line's address is not enough for its page, and
    other pages in the same browser shall not start runs."""
    here = page if host not in EVERYWHERE else f"http://{socket.getfqdn()}:{port}"
    return {
        "PREFECT_UI_API_URL": f"{here}/api",
        "PREFECT_UI_URL": here,  # of links in notifications
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": here,
        "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    }


def _schedules() -> None:
    """Prefect 3.8 with SQLAlchemy 2.1 starts, but its scheduler fails each time: no run would ever begin."""
    prefect, sqlalchemy = (version(name).split(".")[:2] for name in ("prefect", "sqlalchemy"))
    if prefect == ["3", "8"] and [int(part) for part in sqlalchemy] >= [2, 1]:
        raise ConfigProblem(
            f"Prefect 3.8 schedules nothing with SQLAlchemy {'.'.join(sqlalchemy)}; install sqlalchemy<2.1, as "
            "constraints.txt has it"
        )


def _healthy() -> bool:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        return client.api_healthcheck() is None


def _admitted(url: str) -> None:
    """A server says that it is well to everybody, and nothing else to those it does not know."""
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectHTTPStatusError

    with get_client(sync_client=True) as client:
        try:
            client.request("GET", "/admin/version")
        except PrefectHTTPStatusError as error:
            raise ConfigProblem(
                f"the Prefect server at {url} refuses us ({error.response.status_code}); where it asks for a password, "
                "set PREFECT_API_AUTH_STRING to the one in its PREFECT_SERVER_API_AUTH_STRING"
            ) from error


def _free(host: str, port: int) -> None:
    try:
        family, kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with closing(socket.socket(family, kind)) as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind(address)
    except (OSError, OverflowError) as error:
        raise ConfigProblem(
            f"port {port} of {host} cannot be used: {error}. If a Prefect server is there, name it by PREFECT_API_URL; "
            "else give another --port"
        ) from error


def _wait(process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < end:
        if _healthy():
            return
        time.sleep(0.2)
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").split("\n") if line.strip()]
    # Prefect ends with words that say nothing, after the line that says what is wrong
    said = next(
        (line for line in reversed(lines) if re.search("error", line, re.IGNORECASE)), (lines or ["nothing"])[-1]
    )
    what = "did not answer in time" if process.poll() is None else f"ended with status {process.returncode}"
    raise ConfigProblem(f"Prefect's server {what}; it says in {log}: {said}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.kill(process.pid, signal.SIGTERM)
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
