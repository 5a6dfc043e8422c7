"""A PostgreSQL server for tests: a cluster in a temporary folder, on a socket inside it, stopped and removed at the end."""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

PASSWORD = "not a secret: p@ss/word"
ENCODED = "not%20a%20secret%3A%20p%40ss%2Fword"


@dataclass(frozen=True)
class Server:
    """Where it listens; the user is `tester` with :data:`PASSWORD`."""

    folder: Path

    def url(self, database: str = "postgres", *, password: bool = True) -> str:
        """As SQLAlchemy wants it."""
        user = f"tester:{ENCODED}" if password else "tester"
        return f"postgresql://{user}@/{database}?host={self.folder}"

    def connect(self, database: str = "postgres"):  # type: ignore[no-untyped-def]
        """A connection of psycopg that commits by itself."""
        import psycopg

        return psycopg.connect(
            host=str(self.folder), user="tester", password=PASSWORD, dbname=database, autocommit=True
        )

    def new_database(self, name: str) -> str:
        """Make an empty database and return its URL."""
        with self.connect() as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return self.url(name)

    def new_schema(self) -> str:
        """Make an empty schema, which is quicker than a database, and return the URL that works in it alone."""
        name = f"s{secrets.token_hex(6)}"
        with self.connect() as connection:
            connection.execute(f"CREATE SCHEMA {name}")
        return f"{self.url()}&options=-csearch_path%3D{name}"


def program(name: str) -> str:
    """A program of PostgreSQL, on the path or where Debian puts it; the test is skipped where there is none."""
    found = shutil.which(name) or next(
        (str(path) for path in sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)), None
    )
    if found is None:
        pytest.skip(f"needs a PostgreSQL server (no program {name}; Debian's package is postgresql)")
    return found


@contextmanager
def running_server() -> Iterator[Server]:
    """Start one; as another user where this one is root, which PostgreSQL refuses."""
    initdb, postgres = program("initdb"), program("postgres")
    # not pytest's folder: its name is too long for a socket, and it is closed to other users
    folder = Path(tempfile.mkdtemp(prefix="cv-pg-", dir="/tmp"))
    account: dict[str, object] = {}
    if os.geteuid() == 0:
        try:
            user = pwd.getpwnam("postgres")
        except KeyError:
            shutil.rmtree(folder)
            pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
        os.chown(folder, user.pw_uid, user.pw_gid)
        account = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    try:
        secret, data, log = folder / "password", folder / "data", folder / "log"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        make = [initdb, "--pgdata", data, "--username", "tester", "--auth", "scram-sha-256", "--pwfile", secret]
        made = subprocess.run(
            [*make, "--no-sync", "--encoding", "UTF8", "--no-locale"],
            capture_output=True, text=True, cwd=folder, check=False, timeout=120, **account,
        )  # type: ignore[call-overload]  # fmt: skip
        assert made.returncode == 0, made.stderr
        options = {"listen_addresses": "", "unix_socket_directories": folder, "fsync": "off", "max_connections": 40}
        words = [word for key, value in options.items() for word in ("-c", f"{key}={value}")]
        with log.open("w") as stream:
            process = subprocess.Popen(
                [postgres, "-D", data, *words], stdout=stream, stderr=stream, cwd=folder, **account
            )  # type: ignore[call-overload]
        try:
            server = Server(folder)
            wait_for(server, process, log)
            yield server
        finally:
            # at once, without a last checkpoint: nothing is kept; it takes its own children with it
            process.send_signal(signal.SIGQUIT)
            process.wait(timeout=30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def wait_for(server: Server, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Until it answers."""
    import psycopg

    deadline = time.monotonic() + 60
    while True:
        assert process.poll() is None, log.read_text()
        try:
            server.connect().close()
        except psycopg.OperationalError:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        else:
            return
