"""Does the doctor notice schedules that nobody serves, and studies whose runs stay away?"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flows.config import ValidationConfig
from flows.doctor_findings import Answer, Patient
from flows.doctor_schedule import folder, judged, server
from flows.run_folders import ended, next_folder

NOW = datetime.now(UTC)
NIGHTLY = {"name": "nightly", "paused": False, "status": "READY", "schedules": [{"active": True}]}


def only(answers: Iterable[Answer]) -> Answer:
    (answer,) = answers
    return answer


def run(state: str, days: float = 1) -> dict[str, Any]:
    at = (NOW - timedelta(days=days)).isoformat().replace("+00:00", "Z")
    return {"state_name": state, "expected_start_time": at, "end_time": None if state == "Late" else at}


@pytest.mark.parametrize(
    ("changes", "runs", "status", "words"),
    [
        ({}, [run("Completed")], "ok", "nightly: scheduled; the last run: Completed 20"),
        ({}, [], "ok", "no run has ended yet"),
        ({}, [run("Running", 0), run("Completed")], "ok", "the last run: Completed"),
        ({}, [run("Late", 0.5), run("Late", 1.5), run("Completed", 2.5)], "problem", "2 runs are late, since 20"),
        ({}, [*map(run, ["Cancelled"] * 3), run("Running", 4)], "problem", "3 runs were canceled since 20"),
        ({}, [run("Cancelled"), run("Completed"), run("Cancelled"), run("Cancelled")], "ok", "scheduled"),
        ({"paused": True}, [run("Completed", 5)], "warning", "its schedule is paused"),
        ({"status": "NOT_READY"}, [run("Completed")], "problem", "nobody is there to begin its runs"),
        ({}, [run("Crashed"), run("Completed", 2)], "warning", "the last run: Crashed 20"),
        ({"schedules": []}, [run("Completed")], "ok", "nightly: by hand"),
        ({"schedules": [], "paused": True, "status": "NOT_READY"}, [], "ok", "by hand"),
    ],
)
def test_a_scheduled_study(changes: dict[str, Any], runs: list[dict[str, Any]], status: str, words: str) -> None:
    found = judged({**NIGHTLY, **changes}, runs)
    assert (found[0], words in found[1]) == (status, True), found
    assert bool(found[2]) == (status != "ok")


def test_what_the_server_says(tmp_path: Path, prefect_server: None) -> None:  # noqa: ARG001
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.objects import StateType
    from prefect.states import State

    from flows.serve import ServeOptions, deployment_of

    path = tmp_path / "study.toml"
    path.write_text('[study]\nname = "S"\ncohort = "cohort"\nout = "runs"\n')
    config = ValidationConfig(name="S", cohort=tmp_path, out=tmp_path / "runs")
    identity = deployment_of(path, config, ServeOptions(name="night-of-the-doctor")).apply()
    with get_client(sync_client=True) as client:
        made = client.create_flow_run_from_deployment(identity)
        due = State(type=StateType.SCHEDULED, name="Late", state_details={"scheduled_time": NOW - timedelta(hours=1)})
        client.set_flow_run_state(made.id, due, force=True)
        found = [answer for answer in server(Patient(tmp_path)) if "night-of-the-doctor" in answer[1]]
        assert [answer[0] for answer in found] == ["problem"]
        assert "1 run is late, since" in found[0][1]
        client.pause_deployment(identity)
        client.delete_flow_run(made.id)
        found = [answer for answer in server(Patient(tmp_path)) if "night-of-the-doctor" in answer[1]]
        assert [answer[0] for answer in found] == ["warning"]


@pytest.mark.usefixtures("prefect_server")
def test_no_server_is_no_fault(tmp_path: Path) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        assert only(server(Patient(tmp_path)))[:2] == (
            "ok",
            "no Prefect server answers here; no schedule is looked at",
        )


def made(out: Path, name: str, days: Iterable[float]) -> None:
    config = ValidationConfig(name=name, cohort=out, out=out)
    for day in days:
        ended(next_folder(config, now=NOW - timedelta(days=day), fresh=True), now=NOW - timedelta(days=day - 0.1))


def test_runs_that_stay_away(tmp_path: Path) -> None:
    assert list(folder(Patient(tmp_path / "none"))) == []
    made(tmp_path, "dead", (6, 5, 4, 3))
    made(tmp_path, "alive", (2.5, 1.5, 0.5))
    made(tmp_path, "young", (20, 19))  # two runs are no habit
    found = {answer[1].partition(":")[0]: answer for answer in folder(Patient(tmp_path))}
    assert {name: answer[0] for name, answer in found.items()} == {"dead": "problem", "alive": "ok", "young": "ok"}
    assert "before, one began every 24 h, now none for 3 days" in found["dead"][1]
    assert "cardioval serve" in found["dead"][2]


def test_a_run_that_did_not_end_is_named(tmp_path: Path) -> None:
    next_folder(ValidationConfig(name="S", cohort=tmp_path, out=tmp_path), now=NOW)
    assert "has not ended (attempt 1)" in only(folder(Patient(tmp_path)))[1]
