"""How is a run kept so that nothing is lost? One transaction a run, tried again where the database asks for it."""

import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, delete, event, func, insert, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from cohort.records import MissingFile
from flows.history_models import CHILDREN, RECORD_SCHEMA, Comparison, FailureCount, Quality, Run
from flows.history_schema import HistoryProblem, current_revision, head, known_revision, upgrade
from flows.history_url import parse, shown

ATTEMPTS = 8
# after so long nothing is tried again: a run waits for its history, and need not for ever
PATIENCE_S = 60.0
FIRST_WAIT_S = 0.05
BUSY_TIMEOUT_S = 30
CONNECT_TIMEOUT_S = 10
# serialization failure, deadlock, lock not available; shutdown and crash of the server, cannot connect now
TRY_AGAIN = ("40001", "40P01", "55P03", "57P01", "57P02", "57P03")
TIMES = ("started_utc", "created_utc")
OF_RUN = (
    "study",
    "started_utc",
    "commit_sha",
    "version",
    "weights",
    "plan_sha256",
    "config_sha256",
    "inputs_sha256",
    "device",
)
Result = TypeVar("Result")
Row = dict[str, Any]


class History:
    """The history in one database.

    Parameters
    ----------
    target
        A file's path, or a URL of SQLite or PostgreSQL.
    create
        Make the file, its folder and its tables where missing; without it a missing file is an error.
    wait
        Between attempts, for tests.

    Raises
    ------
    ConfigProblem
        The target is no URL that can be used.
    HistoryProblem
        The driver of PostgreSQL is not installed, or the folder of the file cannot be made.
    MissingFile
        There is no such file and `create` is not asked for.
    """

    def __init__(self, target: str, *, create: bool = False, wait: Callable[[float], None] = time.sleep) -> None:
        self.url = parse(target)
        self.name = shown(self.url)
        self.is_file = self.url.drivername == "sqlite"
        self.wait = wait
        if self.is_file and not create and not Path(self.name).is_file():
            raise MissingFile(self.name, "no history here; give --database, or run `cardioval validate` first")
        self.engine = self._engine(create=create)
        self._checked = False

    def upgrade(self, *, revision: str = "head") -> tuple[str | None, str]:
        """Bring the tables to the newest form; see :func:`flows.history_schema.upgrade`."""
        return self._work(lambda connection: upgrade(connection, revision=revision), writing=True, checked=True)

    def record(self, record: Mapping[str, Any]) -> bool:
        """Keep a run (``flows.history_record.record_of``), or replace what was kept of it; all of it or nothing.

        Returns
        -------
        bool
            False where a later result of the same run is kept already; it stays.

        Raises
        ------
        HistoryProblem
            The database cannot be reached or used, or the record is of a newer version.
        """
        if record.get("schema") != RECORD_SCHEMA:
            raise HistoryProblem(
                f"expected a record of schema {RECORD_SCHEMA}, got {record.get('schema')!r}; update CardioVal to send it"
            )
        return self._work(lambda connection: _write(connection, record), writing=True)

    def studies(self) -> list[str]:
        """Names of all studies."""
        query = select(Run.study).distinct().order_by(Run.study)
        return self._work(lambda connection: list(connection.execute(query).scalars()))

    def runs(self, *, study: str = "") -> list[Row]:
        """All runs as rows of their columns, oldest first."""
        query = select(Run.__table__).order_by(Run.started_utc, Run.run_id)
        if study:
            query = query.where(Run.study == study)
        return self._work(lambda connection: _rows(connection, query))

    def run(self, name: str) -> Row:
        """A run by its identity, or the first signs of it; "latest" is the newest.

        Raises
        ------
        HistoryProblem
            None or several are meant.
        """
        if name == "latest":
            query = select(Run.__table__).order_by(Run.started_utc.desc(), Run.run_id.desc()).limit(1)
        else:
            query = select(Run.__table__).where(Run.run_id.startswith(name, autoescape=True)).limit(2)
        found = self._work(lambda connection: _rows(connection, query)) if name else []
        if len(found) != 1:
            what = "no run" if not found else "several runs"
            raise HistoryProblem(
                f"{what} in {self.name} with an identity that begins with {name!r}; see `history list`"
            )
        return found[0]

    def before(self, run: Mapping[str, Any]) -> Row | None:
        """The run of the same study before a run."""
        query = (
            select(Run.__table__)
            .where(Run.study == run["study"], Run.started_utc < run["started_utc"])
            .order_by(Run.started_utc.desc(), Run.run_id.desc())
            .limit(1)
        )
        return next(iter(self._work(lambda connection: _rows(connection, query))), None)

    def verdicts(self) -> dict[str, dict[str, int]]:
        """Number of comparisons of each verdict, by run."""
        query = select(Comparison.run_id, Comparison.verdict, func.count().label("n")).group_by(
            Comparison.run_id, Comparison.verdict
        )
        counts: dict[str, dict[str, int]] = {}
        for row in self._work(lambda connection: _rows(connection, query)):
            counts.setdefault(row["run_id"], {})[row["verdict"]] = row["n"]
        return counts

    def comparisons(
        self, *, study: str = "", run_id: str = "", phenotypes: Sequence[str] = (), arm: str = "", against: str = ""
    ) -> list[Row]:
        """Comparisons with what their run rests on (:data:`OF_RUN`), by time of the run; empty means all."""
        query = select(Comparison.__table__).order_by(Comparison.phenotype, Comparison.arm, Comparison.against)
        if study:
            query = query.where(Comparison.run_id.in_(select(Run.run_id).where(Run.study == study)))
        if phenotypes:
            query = query.where(Comparison.phenotype.in_(list(phenotypes)))
        for column, value in {Comparison.run_id: run_id, Comparison.arm: arm, Comparison.against: against}.items():
            if value:
                query = query.where(column == value)
        about = select(Run.run_id, *(getattr(Run, name) for name in OF_RUN)).order_by(Run.started_utc, Run.run_id)
        if run_id:
            about = about.where(Run.run_id == run_id)

        def work(connection: Connection) -> list[Row]:
            # what a run rests on is read once a run, not once a row; a run that is recorded in between is left out
            runs = {row["run_id"]: (place, row) for place, row in enumerate(_rows(connection, about))}
            found = [row for row in connection.execute(query).mappings() if row["run_id"] in runs]
            found.sort(key=lambda row: runs[row["run_id"]][0])
            return [{**row, **runs[row["run_id"]][1]} for row in found]

        return self._work(work)

    def details(self, run_id: str) -> dict[str, list[Row]]:
        """Failures and image quality of a run."""
        queries = {
            "failures": select(FailureCount.__table__).where(FailureCount.run_id == run_id),
            "quality": select(Quality.__table__).where(Quality.run_id == run_id),
        }
        return self._work(lambda connection: {name: _rows(connection, query) for name, query in queries.items()})

    def close(self) -> None:
        """Let go of the database."""
        self.engine.dispose()

    # ---- how ----------------------------------------------------------------------------------------------------------

    def _engine(self, *, create: bool) -> Engine:
        if self.is_file:
            if create:
                try:
                    Path(self.name).parent.mkdir(parents=True, exist_ok=True)
                except OSError as error:
                    raise HistoryProblem(f"the history in {self.name} cannot be used: {error}") from error
            made = create_engine(
                self.url, poolclass=NullPool, hide_parameters=True, connect_args={"timeout": BUSY_TIMEOUT_S}
            )
            event.listen(made, "connect", _sqlite_connect)
            event.listen(made, "begin", _sqlite_begin)
            return made
        try:
            given = {} if "connect_timeout" in self.url.query else {"connect_timeout": CONNECT_TIMEOUT_S}
            return create_engine(self.url, poolclass=NullPool, hide_parameters=True, connect_args=given)
        except ModuleNotFoundError as error:
            raise HistoryProblem(
                f"the history in PostgreSQL needs the package {error.name}; install cardioval[postgres]"
            ) from error

    def _work(self, action: Callable[[Connection], Result], *, writing: bool = False, checked: bool = False) -> Result:
        """An action in a transaction of its own, again where the database says that it would work the next time."""
        started, attempt = time.monotonic(), 0
        while True:
            attempt += 1
            try:
                if not checked:
                    self._check()
                with self._transaction(writing=writing) as connection:
                    return action(connection)
            except DBAPIError as error:
                if attempt == ATTEMPTS or time.monotonic() - started > PATIENCE_S or not _transient(error):
                    raise HistoryProblem(f"the history in {self.name} cannot be used: {_first_line(error)}") from error
                # full jitter: two that met once shall not meet again
                self.wait(FIRST_WAIT_S * 2**attempt * (secrets.randbelow(1000) + 1) / 1000)
            except (SQLAlchemyError, OSError) as error:
                raise HistoryProblem(f"the history in {self.name} cannot be used: {_first_line(error)}") from error

    def _check(self) -> None:
        """Tables in the newest form: brought there in a file, asked for on a server."""
        if self._checked:
            return
        with self._transaction(writing=False) as connection:
            found = known_revision(connection)
        if found != head():
            if not self.is_file:
                what = "has no tables yet" if found is None else f"has tables of revision {found}, needed is {head()}"
                raise HistoryProblem(f"{self.name} {what}; run `cardioval history upgrade`")
            with self._transaction(writing=True) as connection:
                if current_revision(connection) != head():
                    upgrade(connection)
        self._checked = True

    @contextmanager
    def _transaction(self, *, writing: bool) -> Iterator[Connection]:
        with self.engine.execution_options(cardioval_writing=writing).begin() as connection:
            yield connection


def _write(connection: Connection, record: Mapping[str, Any]) -> bool:
    run = {**record["run"], "recorded_utc": datetime.now(UTC)}
    run |= {key: datetime.fromisoformat(run[key]) for key in TIMES}
    new = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(Run).values(run)
    changed = {name: new.excluded[name] for name in run if name not in ("run_id", "recorded_utc")}
    # locks the run's row: whoever else writes this run waits here
    statement = new.on_conflict_do_update(
        index_elements=[Run.run_id], set_=changed, where=Run.created_utc <= new.excluded.created_utc
    ).returning(Run.run_id)
    if connection.execute(statement).first() is None:
        return False
    for name, table in CHILDREN.items():
        connection.execute(delete(table).where(table.__table__.c.run_id == run["run_id"]))
        rows: Sequence[Mapping[str, Any]] = record.get(name) or []
        if rows:
            connection.execute(insert(table), [{**row, "run_id": run["run_id"]} for row in rows])
    return True


def _rows(connection: Connection, query: Any) -> list[Row]:
    return [dict(row) for row in connection.execute(query).mappings()]


def _sqlite_connect(connection: Any, record: Any) -> None:
    """SQLAlchemy begins transactions here, not the driver; references are held; a commit reaches the disk.

    The journal stays SQLite's rollback journal: its write-ahead log does not work on network drives, and a history of one
    file can be copied. Writers wait for each other up to the timeout.
    """
    del record
    connection.isolation_level = None
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")


def _sqlite_begin(connection: Connection) -> None:
    """A writer takes the lock at once: one that reads first and then writes could not wait for another."""
    writing = connection.get_execution_options().get("cardioval_writing", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def _transient(error: DBAPIError) -> bool:
    code = getattr(error.orig, "sqlstate", None)
    busy = "locked" in str(error.orig) or "busy" in str(error.orig)
    return code in TRY_AGAIN or busy or error.connection_invalidated


def _first_line(error: Exception) -> str:
    origin = getattr(error, "orig", None) or error
    return next((line.strip() for line in str(origin).splitlines() if line.strip()), type(origin).__name__)
