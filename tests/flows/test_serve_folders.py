"""Folders of scheduled runs: names, going on with what did not end, and never two at once."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from cohort.records import ConfigProblem
from flows.config import Reconstruction, Running, Selection, Statistics, ValidationConfig
from flows.run_folders import MOST_ATTEMPTS, RECORD_FILE, ended, folders, last_ended, next_folder, only_run

NIGHT = datetime(2026, 3, 1, 2, 0, 0, tzinfo=UTC)


@pytest.fixture
def config(tmp_path: Path) -> ValidationConfig:
    return ValidationConfig(name="Study", cohort=tmp_path / "cohort", out=tmp_path / "runs")


def test_a_folder_is_named_by_its_start_in_utc_and_no_two_share_one(config: ValidationConfig) -> None:
    in_zone = NIGHT.astimezone(timezone(timedelta(hours=11)))
    first = ended(next_folder(config, now=in_zone), now=NIGHT)
    second = next_folder(config, now=NIGHT)
    assert [first.path.name, second.path.name] == ["2026-03-01T020000", "2026-03-01T020001"]
    assert [folder.path for folder in folders(config.out)] == [first.path, second.path]
    assert last_ended(first) is None
    assert last_ended(second) == first


def test_what_did_not_end_is_gone_on_with_and_what_ended_is_not(config: ValidationConfig) -> None:
    first = next_folder(config, now=NIGHT)
    again = next_folder(config, now=NIGHT + timedelta(days=1))
    assert (again.path, again.attempts, again.begun_utc) == (first.path, 2, first.begun_utc)
    ended(again, now=NIGHT)
    third = next_folder(config, now=NIGHT + timedelta(days=2))
    assert (third.path.name, third.attempts) == ("2026-03-03T020000", 1)
    assert next_folder(config, now=NIGHT + timedelta(days=3), fresh=True).path.name == "2026-03-04T020000"


@pytest.mark.parametrize(
    "other",
    [
        {"name": "Other"},
        {"cohort": Path("/other")},
        {"select": Selection(center=("Center001",))},
        {"reconstruction": Reconstruction(methods=("sense",))},
        {"statistics": Statistics(alpha=0.01)},
    ],
    ids=lambda other: next(iter(other)),
)
def test_another_question_is_another_run(config: ValidationConfig, other: dict[str, object]) -> None:
    first = next_folder(config, now=NIGHT)
    assert next_folder(replace(config, **other), now=NIGHT + timedelta(days=1)).path != first.path  # type: ignore[arg-type]
    assert next_folder(config, now=NIGHT + timedelta(days=2)).path == first.path, "the first can still be gone on with"


def test_how_it_is_computed_is_the_same_run(config: ValidationConfig) -> None:
    first = next_folder(config, now=NIGHT)
    how = replace(config, running=Running(device="cpu", workers=3, keep_images=False))
    assert next_folder(how, now=NIGHT + timedelta(days=1)).path == first.path


def test_a_run_that_never_ends_does_not_stand_in_the_way_forever(config: ValidationConfig) -> None:
    names = [next_folder(config, now=NIGHT + timedelta(days=day)).path.name for day in range(MOST_ATTEMPTS + 1)]
    assert names == ["2026-03-01T020000"] * MOST_ATTEMPTS + [f"2026-03-0{MOST_ATTEMPTS + 1}T020000"]


@pytest.mark.parametrize("record", ["", "{", "[]", '{"schema": 9}', '{"schema": 1, "study": "Study"}', None])
def test_a_record_that_cannot_be_read_is_no_run(config: ValidationConfig, record: str | None) -> None:
    path = next_folder(config, now=NIGHT).path / RECORD_FILE
    path.unlink()
    if record is not None:
        path.write_text(record)
    (config.out / "by hand").mkdir()
    assert folders(config.out) == []
    assert next_folder(config, now=NIGHT).path.name == "2026-03-01T020001"


def test_the_lock_keeps_a_second_run_out_and_dies_with_its_process(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from flows.run_folders import only_run\n"
        "with only_run(Path(sys.argv[1]), study='S'):\n print('held', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with (
            pytest.raises(ConfigProblem, match=rf"another run of S is going on .*process {process.pid} since"),
            only_run(tmp_path, study="S"),
        ):
            pass
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    with only_run(tmp_path, study="S"):
        assert str(os.getpid()) in (tmp_path / "scheduled.lock").read_text()
    with only_run(tmp_path, study="S"):
        pass
