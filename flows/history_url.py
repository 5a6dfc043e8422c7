"""Where is the history? A file or a server by its URL; passwords are never shown and never in a file of ours."""

from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from cohort.records import ConfigProblem

FILE_NAME = "cardioval-history.sqlite"
ENVIRONMENT = "CARDIOVAL_HISTORY_URL"
DRIVER = "postgresql+psycopg"
SERVERS = ("postgresql", "postgres", DRIVER)
EXAMPLE = "postgresql://user@host:5432/database"
SECRET_KEYS = ("password", "sslpassword")


def parse(target: str) -> URL:
    """A file's path or a URL, as SQLAlchemy wants it.

    Raises
    ------
    ConfigProblem
        If it is no URL, or of another kind of database; the text is not repeated, as it may hold a password.
    """
    if "://" not in target:
        return URL.create("sqlite", database=str(Path(target).expanduser().resolve()))
    try:
        url = make_url(target)
    except (ArgumentError, ValueError):
        # `from None`: the error of the parser repeats the text
        raise ConfigProblem(
            f"the history's database is no URL like {EXAMPLE}; write signs such as @ : / # % in a password as %40 %3A %2F "
            "%23 %25"
        ) from None
    if url.drivername == "sqlite":
        return url.set(database=str(Path(url.database or FILE_NAME).expanduser().resolve()))
    if url.drivername in SERVERS:
        return url.set(drivername=DRIVER)
    raise ConfigProblem(
        f"the history can be kept in SQLite (a file's path) or PostgreSQL ({EXAMPLE}), not in {url.drivername}"
    )


def refuse_password(target: str, *, where: str) -> None:
    """Refuse a URL with a password in a place that others can read.

    Raises
    ------
    ConfigProblem
        It has one; or as :func:`parse`.
    """
    url = parse(target)
    if url.password is not None or any(key in url.query for key in SECRET_KEYS):
        raise ConfigProblem(
            f"{where}: a URL with a password is refused here, where others can read it. Leave the password out of it and "
            f"set PGPASSWORD or ~/.pgpass, or put the whole URL into the environment variable {ENVIRONMENT}"
        )


def shown(url: URL) -> str:
    """For people and for files of ours: a file's path, or a URL that lost its password and is one still."""
    if url.drivername == "sqlite":
        return str(url.database)
    query = {key: value for key, value in url.query.items() if key not in SECRET_KEYS}
    made = URL.create(
        "postgresql", username=url.username, host=url.host, port=url.port, database=url.database, query=query
    )
    return made.render_as_string(hide_password=False)
