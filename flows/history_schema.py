"""Which form has the history's database, and how does it get the newest? Alembic, inside one transaction under a lock."""

import threading
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, text

from cohort.records import CardioValError

MIGRATIONS = Path(__file__).parent / "migrations"
VERSION_TABLE = "cardioval_history_version"
# of pg_advisory_xact_lock: any number that nobody else takes
LOCK = 0x43415244494F56
# Alembic's context is a global of the process
_one_at_a_time = threading.Lock()


class HistoryProblem(CardioValError):
    """The history's database cannot be used: what is wrong, and what to do."""


def upgrade(connection: Connection, *, revision: str = "head") -> tuple[str | None, str]:
    """Bring the tables to a revision, all steps or none; two that try at once do it once.

    Parameters
    ----------
    connection
        In a transaction that its caller commits; on SQLite one that holds the write lock (``BEGIN IMMEDIATE``).
    revision
        Where to stop.

    Returns
    -------
    tuple
        The revision found, None for an empty database, and the one reached.

    Raises
    ------
    HistoryProblem
        If the tables are of a newer version of this program.
    """
    from alembic import command

    with _one_at_a_time:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
        found = known_revision(connection)
        command.upgrade(configuration(connection), revision)
        reached = current_revision(connection)
    return found, str(reached)


def current_revision(connection: Connection) -> str | None:
    """What the database says of itself; None without tables of ours."""
    from sqlalchemy import inspect

    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
    return None if found is None else str(found)


def known_revision(connection: Connection) -> str | None:
    """The current revision, refused where this version does not know it."""
    found = current_revision(connection)
    if found is not None and found not in revisions():
        raise HistoryProblem(
            f"the history's database has tables of revision {found}, this version of CardioVal knows up to {head()}: it "
            "was written by a newer one; update CardioVal here, or give another database"
        )
    return found


def head() -> str:
    """The newest revision."""
    return str(_scripts().get_current_head())


def revisions() -> list[str]:
    """All revisions, the first one first."""
    return [step.revision for step in reversed(list(_scripts().walk_revisions()))]


def configuration(connection: Connection | None = None) -> Any:
    """Alembic's configuration, made here: there is no alembic.ini."""
    from alembic.config import Config

    made = Config()
    # ConfigParser would read a percent sign in a folder's name
    made.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    made.set_main_option("path_separator", "os")
    if connection is not None:
        made.attributes["connection"] = connection
    return made


def _scripts() -> Any:
    from alembic.script import ScriptDirectory

    return ScriptDirectory.from_config(configuration())
