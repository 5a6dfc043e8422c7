"""Runs are kept whole and once, whoever writes at the same time, in SQLite and in PostgreSQL; migrations keep what was there."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from cohort.records import ConfigProblem, MissingFile
from flows import history_store
from flows.history_models import Base
from flows.history_schema import VERSION_TABLE, HistoryProblem, configuration, head, revisions
from flows.history_store import History
from tests.flows.history_records import record
from tests.flows.postgres_server import ENCODED, Server, running_server

ROOT = Path(__file__).resolve().parents[2]
WRITER = """
import json, sys, time
from pathlib import Path
from flows.history_store import History
target, file, go = sys.argv[1:]
history = History(target, create=True)
Path(go + sys.argv[2].rpartition("/")[2]).touch()
while not Path(go).exists():
    time.sleep(0.005)
for one in json.loads(Path(file).read_text()):
    history.record(one)
"""
HALF = """
import json, sys, time
from pathlib import Path
from flows import history_store
def stop(*words):
    print("half", flush=True)
    time.sleep(600)
history_store.delete = stop
history_store.History(sys.argv[1], create=True).record(json.loads(Path(sys.argv[2]).read_text()))
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_server() as started:
        yield started


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database: a file that is not there yet, or a schema of a server."""
    if request.param == "sqlite":
        return str(tmp_path / "folder" / "history.sqlite")
    server: Server = request.getfixturevalue("server")
    return server.new_schema()


@pytest.fixture
def target(empty: str) -> str:
    """A database with tables."""
    History(empty, create=True).upgrade()
    return empty


def start(code: str, *words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", code, *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def everything(history: History) -> dict[str, list[tuple[object, ...]]]:
    with history.engine.connect() as connection:
        return {
            name: sorted(tuple(map(str, row)) for row in connection.execute(table.select()))
            for name, table in Base.metadata.tables.items()
        }


# ---- one run ----------------------------------------------------------------------------------------------------------


def test_a_run_is_kept_as_it_was(target: str) -> None:
    history, made = History(target), record()
    assert history.record(made)
    run = history.run("1111")
    assert run["started_utc"].isoformat() == "2026-01-01T02:00:00+00:00"
    assert (run["study"], run["wall_s"], run["n_patients"], run["n_failures"]) == ("nightly", 12.5, 12, 0)
    assert run["weights"] == made["run"]["weights"]
    assert run["primary_phenotypes"] == ["lv_ef_percent"]
    (row,) = history.comparisons(phenotypes=["lv_ef_percent"])
    for key, value in made["comparisons"][0].items():
        assert row[key] == value, key
    assert (row["margin_lower"], row["margin_upper"], row["claimed"]) == (-3.0, 2.0, True)
    quality = {entry["metric"]: entry for entry in history.details(run["run_id"])["quality"]}
    assert quality["psnr_db"]["mean"] == 33.0
    assert quality["dice_lv"]["sd"] is None, "NaN is no number of a database"
    assert history.verdicts() == {run["run_id"]: {"shown": 2}}


def test_numbers_come_back_to_the_last_bit(target: str) -> None:
    history = History(target)
    values = [0.1 + 0.2, 1e-300, -1.7976931348623157e308, 5e-324, 49.93944533926543]
    for number, value in enumerate(values):
        made = record(run_id=f"{number:032x}", day=number + 1)
        made["comparisons"][0]["bias"] = value
        history.record(made)
    assert [row["bias"] for row in history.comparisons(phenotypes=["lv_ef_percent"])] == values


def test_a_run_recorded_again_is_replaced(target: str) -> None:
    history = History(target)
    assert history.record(record())
    first = everything(history)
    assert history.record(record())
    assert everything(history) == first
    later = record(bias=0.9)
    later["comparisons"] = later["comparisons"][:1]
    assert history.record(later)
    assert [row["bias"] for row in history.comparisons()] == [0.9]
    assert len(history.runs()) == 1


def test_an_older_result_of_the_same_run_does_not_replace_a_newer(target: str) -> None:
    history = History(target)
    history.record(record(day=2, bias=0.2))
    kept = everything(history)
    assert not history.record(record(day=1, bias=0.1))
    assert everything(history) == kept


def test_a_run_that_breaks_a_rule_leaves_nothing(target: str) -> None:
    history = History(target)
    history.record(record())
    kept = everything(history)
    bad = record(run_id="2" * 32)
    bad["comparisons"].append(bad["comparisons"][0])
    with pytest.raises(HistoryProblem, match="cannot be used"):
        history.record(bad)
    again = record(bias=7.0)
    again["quality"].append(again["quality"][0])
    with pytest.raises(HistoryProblem):
        history.record(again)
    assert everything(history) == kept


def test_runs_are_found(target: str) -> None:
    history = History(target)
    with pytest.raises(HistoryProblem, match="no run"):
        history.run("latest")
    for day, study in enumerate(("a", "b", "a"), start=1):
        history.record(record(run_id=f"ab{day:030d}", day=day, study=study))
    assert history.studies() == ["a", "b"]
    assert [run["run_id"][-1] for run in history.runs(study="a")] == ["1", "3"]
    newest = history.run("latest")
    assert newest["run_id"][-1] == "3"
    before = history.before(newest)
    assert before is not None
    assert before["run_id"][-1] == "1"
    assert history.before(before) is None
    with pytest.raises(HistoryProblem, match="several runs"):
        history.run("ab")
    with pytest.raises(HistoryProblem, match="no run"):
        history.run("%")


# ---- several at once --------------------------------------------------------------------------------------------------


def test_writers_at_once_lose_nothing(empty: str, tmp_path: Path) -> None:
    """Three processes, in SQLite also the first ones to use it; each records two runs of its own and one of all."""
    history = History(empty, create=True)
    if not history.is_file:
        history.upgrade()
    go, writers = tmp_path / "go", []
    for number in range(3):
        records = [record(run_id=f"{number}{part}" * 16, day=1 + number * 2 + part) for part in range(2)]
        file = tmp_path / f"w{number}"
        file.write_text(json.dumps([*records, record(run_id="f" * 32, day=20 + number, bias=float(number))]))
        writers.append(start(WRITER, empty, str(file), str(go)))
    until(lambda: all((tmp_path / f"gow{number}").exists() for number in range(3)))
    go.touch()
    for writer in writers:
        _, errors = writer.communicate(timeout=120)
        assert writer.returncode == 0, errors
    runs = history.runs()
    assert len(runs) == 7
    for run in runs:
        assert len(history.comparisons(run_id=run["run_id"])) == 2
        assert len(history.details(run["run_id"])["quality"]) == 2
    assert history.comparisons(run_id="f" * 32)[0]["bias"] == 2.0, "the latest result of a run stays"


def test_a_writer_that_is_killed_leaves_nothing(target: str, tmp_path: Path) -> None:
    file = tmp_path / "record"
    file.write_text(json.dumps(record(run_id="2" * 32)))
    history = History(target)
    history.record(record())
    kept = everything(history)
    writer = start(HALF, target, str(file))
    assert writer.stdout is not None
    assert writer.stdout.readline() == "half\n"
    os.kill(writer.pid, signal.SIGKILL)
    writer.communicate(timeout=60)
    assert everything(history) == kept
    assert history.record(record(run_id="2" * 32))
    assert len(history.runs()) == 2


@pytest.mark.parametrize("what", ["serialization", "connection"])
def test_what_the_server_breaks_off_is_tried_again(server: Server, tmp_path: Path, what: str) -> None:
    name = tmp_path.name
    target = server.new_database(name)
    if what == "serialization":
        with server.connect() as admin:
            admin.execute(f"ALTER DATABASE \"{name}\" SET default_transaction_isolation = 'serializable'")
    waits: list[float] = []
    history = History(target, wait=waits.append)
    history.upgrade()
    history.record(record(day=1))
    waiting = "SELECT pid FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'"
    with server.connect(name) as holder, server.connect() as admin:
        holder.execute("BEGIN")
        holder.execute("UPDATE cardioval_runs SET device = 'held'")
        done: list[bool] = []
        thread = threading.Thread(target=lambda: done.append(history.record(record(day=2))))
        thread.start()
        until(lambda: admin.execute(waiting, [name]).fetchone() is not None)
        if what == "connection":
            pid = admin.execute(waiting, [name]).fetchone()[0]
            admin.execute("SELECT pg_terminate_backend(%s)", [pid])
            until(lambda: len(waits) > 0)
        holder.execute("COMMIT")
        thread.join(timeout=60)
    assert done == [True]
    assert waits, "it was not tried again"
    assert history.runs()[0]["device"] == "CPU"


# ---- form of the database ---------------------------------------------------------------------------------------------


def test_models_and_migrations_agree(target: str) -> None:
    history = History(target)
    with history.engine.connect() as connection:
        options = {"version_table": VERSION_TABLE, "compare_type": True}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata) == []
        connection.execute(text("ALTER TABLE cardioval_comparisons DROP COLUMN margin_limits"))
        found = compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata)
        assert [entry[0] for entry in found] == ["add_column"], "the comparison sees nothing"


def test_data_of_the_first_revision_survive_the_upgrade(empty: str) -> None:
    history = History(empty, create=True)
    assert history.upgrade(revision=revisions()[0]) == (None, "0001")
    made = record()
    first = {
        "cardioval_runs": [made["run"] | {"recorded_utc": "2026-01-01 04:00:00.000000"}],
        "cardioval_comparisons": made["comparisons"],
        "cardioval_center_comparisons": made["centers"],
    }
    with history.engine.execution_options(cardioval_writing=True).begin() as connection:
        for table, rows in first.items():
            for row in rows:
                values = {key: value for key, value in row.items() if not key.startswith("margin_")}
                values |= {key: json.dumps(value) for key, value in values.items() if isinstance(value, list | dict)}
                # SQLite has no times; SQLAlchemy writes them so
                values |= {
                    key: value[:19].replace("T", " ") + ".000000"
                    for key, value in values.items()
                    if key.endswith("_utc")
                }
                if table != "cardioval_runs":
                    values["run_id"] = made["run"]["run_id"]
                names = ", ".join(values)
                marks = ", ".join(f":{key}" for key in values)
                connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({marks})"), values)
    later = History(empty)
    if not later.is_file:
        with pytest.raises(HistoryProblem, match=r"tables of revision 0001.*`cardioval history upgrade`"):
            later.runs()
        assert later.upgrade() == ("0001", head())
    (run,) = later.runs()
    assert run["device"] == "CPU"
    row = later.comparisons(phenotypes=["lv_ef_percent"])[0]
    assert (row["bias"], row["verdict"], row["margin_lower"]) == (0.5, "shown", None)
    assert later.details(run["run_id"])["quality"] == []
    assert later.upgrade() == (head(), head())
    assert later.record(made)
    assert later.comparisons(phenotypes=["lv_ef_percent"])[0]["margin_lower"] == -3.0


def test_every_step_goes_back(target: str) -> None:
    history = History(target)
    history.record(record())
    with history.engine.execution_options(cardioval_writing=True).begin() as connection:
        command.downgrade(configuration(connection), "0001")
    assert [row["bias"] for row in (history.upgrade(), history.comparisons())[1]] == [0.5, 0.5]
    with history.engine.execution_options(cardioval_writing=True).begin() as connection:
        command.downgrade(configuration(connection), "base")
    assert history.upgrade() == (None, head())
    assert history.runs() == []


def test_a_step_that_fails_leaves_the_form_as_it_was(empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from alembic import op

    history = History(empty, create=True)
    history.upgrade(revision="0001")
    before = everything_named(history)

    def fail(*_: object, **__: object) -> None:
        raise OSError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(op, "create_table", fail)
        with pytest.raises(HistoryProblem, match="the disk is full"):
            history.upgrade()
    assert everything_named(history) == before
    assert history.upgrade() == ("0001", head())


def everything_named(history: History) -> list[str]:
    from sqlalchemy import inspect

    found = inspect(history.engine)
    return sorted(
        f"{table}.{column['name']}" for table in found.get_table_names() for column in found.get_columns(table)
    )


def test_tables_of_a_newer_version_are_left_alone(target: str) -> None:
    history = History(target)
    with history.engine.execution_options(cardioval_writing=True).begin() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    for use in (History(target).runs, lambda: History(target).record(record()), History(target).upgrade):
        with pytest.raises(HistoryProblem, match=r"revision 9999.*written by a newer one"):
            use()


def test_other_tables_of_a_shared_database_are_left_alone(empty: str) -> None:
    history = History(empty, create=True)
    with history.engine.execution_options(cardioval_writing=True).begin() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32))"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('of Prefect')"))
    history.upgrade()
    history.record(record())
    with history.engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == "of Prefect"


def test_a_server_without_tables_says_what_to_do(server: Server, tmp_path: Path) -> None:
    history = History(server.new_database(tmp_path.name))
    with pytest.raises(HistoryProblem, match="has no tables yet; run `cardioval history upgrade`"):
        history.record(record())


# ---- what cannot be used ----------------------------------------------------------------------------------------------


def test_a_password_is_in_no_message(server: Server, tmp_path: Path) -> None:
    wrong = server.url().replace(ENCODED, "wrong%40secret")
    absent = f"postgresql://tester:wrong%40secret@/none?host={tmp_path}"
    for url in (wrong, absent):
        history = History(url, wait=lambda seconds: None)
        with pytest.raises(HistoryProblem, match="cannot be used") as caught:
            history.record(record())
        assert "secret" not in str(caught.value)
        assert "secret" not in history.name
    assert History(server.url(password=False)).name == server.url(password=False).replace("/cv", "%2Fcv").replace(
        "=/tmp", "=%2Ftmp"
    )


def test_files_that_are_no_history(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match="no history here"):
        History(str(tmp_path / "typo.sqlite"))
    assert list(tmp_path.iterdir()) == []
    text_file = tmp_path / "text.sqlite"
    text_file.write_text(
        "a text that is longer than the header of a database of SQLite, which is hundred bytes long" * 9
    )
    with pytest.raises(HistoryProblem, match="not a database"):
        History(str(text_file), create=True).record(record())
    assert text_file.read_text().startswith("a text")
    with pytest.raises(HistoryProblem, match="cannot be used"):
        History(str(text_file / "below.sqlite"), create=True)


def test_a_file_that_another_holds_for_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_store, "BUSY_TIMEOUT_S", 0.01)
    waits: list[float] = []
    history = History(str(tmp_path / "h.sqlite"), create=True, wait=waits.append)
    history.upgrade()
    with history.engine.execution_options(cardioval_writing=True).begin():
        with pytest.raises(HistoryProblem, match="locked"):
            history.record(record())
        assert history.runs() == [], "readers do not wait for a writer"
    assert len(waits) == history_store.ATTEMPTS - 1
    assert history.record(record())


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://user@host/db", "not in mysql"),
        ("postgresql://user:p@ss:w@rd@host:port/db", "no URL like"),
        ("://", "no URL like"),
    ],
)
def test_urls_that_cannot_be_used(url: str, message: str) -> None:
    with pytest.raises(ConfigProblem, match=message) as caught:
        History(url)
    assert "p@ss" not in str(caught.value)


def test_a_record_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HistoryProblem, match="schema 1, got 2"):
        History(str(tmp_path / "h.sqlite"), create=True).record(record() | {"schema": 2})
