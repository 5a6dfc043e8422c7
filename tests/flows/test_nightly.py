"""What a scheduled run does: the flow with the validation stood in for, what Prefect's page shows, and who is told."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import flows.schedule as schedule
from cohort.records import ConfigProblem
from flows.analysis import analyse
from flows.analysis_options import Statistics
from flows.analysis_plan import AnalysisPlan, Rung
from flows.config import ValidationConfig
from flows.history import Recorded
from flows.history_drift import Finding
from flows.margins import Margin, Margins
from flows.notifications import EVENT, announce, automations, key_of, notify_through, report_link, worse_verdicts
from flows.run_folders import folders, only_run
from flows.schedule import How, Part, nightly
from flows.serve import NEVER, ServeOptions, deployment_of
from flows.validate import RunSummary
from tests.flows.tables import REFERENCE, study

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

EF, N = "lv_ef_percent", 20
ARM = ("cardiomm", "Uniform", 4.0)
BASE = np.linspace(35, 70, N)
NOISE = np.tile([-0.6, 0.4, 0.2, -0.3], N // 4)
PLAN = AnalysisPlan(
    Margins({EF: Margin(3.0, 8.0, "points")}, origin="test"),
    Statistics(),
    ladder=(Rung("Uniform", 4.0),),
    methods=("cardiomm",),
)


def results(name: str, *, bias: float = 0.0) -> dict[str, Any]:
    found = analyse(study({REFERENCE: BASE, ARM: BASE + NOISE + bias}), plan=PLAN)
    found["study"] |= {"name": name}
    return found | {"provenance": {}}


Stand = Callable[..., list[ValidationConfig]]


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Stand:
    """Put something in the place of the validation; returns what it was asked for."""

    def place(*, bias: float = 0.0, problem: Exception | None = None, n_failed: int = 0) -> list[ValidationConfig]:
        asked: list[ValidationConfig] = []

        def validate(config: ValidationConfig, *, resume: bool, advance: Any, on_failure: Any) -> RunSummary:
            assert resume, "the record in the folder is there before"
            asked.append(config)
            advance("reconstruct", 1, 1, "scan")
            for number in range(n_failed):
                on_failure("segment", f"scan {number}", "no heart")
            if problem:
                raise problem
            made = results(config.name, bias=bias)
            (config.out / "results.json").write_text(json.dumps(made))
            return RunSummary(config.out, made, n_failed=n_failed)

        monkeypatch.setattr(schedule, "validate", validate)
        return asked

    return place


# ---- a run ------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("prefect_server")
def test_a_run_that_fails_is_gone_on_with_and_the_next_is_new(study_file: Path, stand_in: Stand) -> None:
    from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, temporary_settings

    storage = study_file.parent / "storage"
    asked = stand_in(problem=RuntimeError("power loss"))
    with temporary_settings({PREFECT_LOCAL_STORAGE_PATH: storage}):
        assert nightly(str(study_file), return_state=True).is_failed()  # type: ignore[call-overload]
    assert not list(storage.glob("*")), "Prefect keeps no pickle, of errors neither"
    (first,) = folders(study_file.parent / "runs")
    assert (asked[0].out, first.ended_utc, first.attempts) == (first.path, "", 1)
    asked = stand_in()
    state = nightly(str(study_file), return_state=True)  # type: ignore[call-overload]
    assert state.is_completed()
    assert state.message == f"{N} patients in {first.path}"
    assert asked[0].out == first.path
    (first,) = folders(study_file.parent / "runs")
    assert first.ended_utc
    assert first.attempts == 2
    asked = stand_in()
    assert nightly(str(study_file), return_state=True).is_completed()  # type: ignore[call-overload]
    assert asked[0].out != first.path
    assert asked[0].out.parent == study_file.parent / "runs"


@pytest.mark.usefixtures("prefect_server")
def test_failed_scans_are_named_while_they_are_few(study_file: Path, stand_in: Stand) -> None:
    stand_in(n_failed=25)
    warned: list[str] = []
    schedule.scheduled_run(study_file, part=Part(), how=How(), warn=warned.append)
    assert warned[0] == "segment: scan 0 failed: no heart"
    assert [line for line in warned if line.startswith("segment")][-1] == "segment: more failures are only counted"
    stand_in(n_failed=1)
    state = nightly(str(study_file), return_state=True)  # type: ignore[call-overload]
    assert ", 1 failure" in state.message
    assert "failures" not in state.message


@pytest.mark.usefixtures("prefect_server")
def test_a_second_run_at_the_same_time_fails_in_one_line(study_file: Path, stand_in: Stand) -> None:
    asked = stand_in()
    with only_run(study_file.parent / "runs", study="Night Study"):
        state = nightly(str(study_file), return_state=True)  # type: ignore[call-overload]
    assert state.is_failed()
    assert state.message.startswith("another run of Night Study is going on")
    assert not asked
    assert folders(study_file.parent / "runs") == []


def test_a_worse_verdict_is_on_the_page_and_told_of_once(
    study_file: Path, stand_in: Stand, client: "SyncPrefectClient", monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[dict[str, Any]] = []
    from prefect.events import emit_event

    def recording(**event: Any) -> Any:
        told.append(event)
        return emit_event(**event)

    monkeypatch.setattr("flows.notifications.emit_event", recording)
    how = How(report_url="https://results/study")
    stand_in()
    nightly(str(study_file), how=how)
    assert told == []
    first = {a.key: a for a in client.read_latest_artifacts()}["verdicts-night-study"].description
    assert str(first).endswith("No run before it to compare with.")
    stand_in(bias=6.0)
    state = nightly(str(study_file), how=how, return_state=True)  # type: ignore[call-overload]
    assert "1 verdict worse than in the run before" in state.message
    (event,) = told
    assert event["event"] == EVENT == "cardioval.verdict.worsened"
    assert event["resource"]["prefect.resource.id"] == "cardioval.study.night-study"
    newest = folders(study_file.parent / "runs")[-1].path
    link = f"https://results/study/{newest.name}/report/index.html"
    assert event["payload"]["report"] == link
    assert event["payload"]["n_worse"] == 1
    assert "LV ejection fraction, CardioMM 4× uniform: the verdict worsened from" in event["payload"]["worse"][0]
    assert event["payload"]["text"].endswith(link)
    assert "P0" not in json.dumps(event), "no patient is named"
    seen = {a.key: a for a in client.read_latest_artifacts()}
    table, report = seen["verdicts-night-study"], seen["report-night-study"]
    assert report.data == f"[Report of Night Study]({link})"
    assert table.description is not None
    assert event["payload"]["worse"][0] in table.description
    (row,) = json.loads(str(table.data))
    assert (row["measurement"], row["arm"], row["patients"]) == ("LV ejection fraction", "CardioMM 4× uniform", N)
    assert (row["verdict"], row["bias"][:4]) == ("not shown", "+5.9")
    stand_in(bias=6.0)
    nightly(str(study_file), how=how)
    assert len(told) == 1, "as bad as the night before is not worse"
    for _ in range(100):  # the server keeps events by itself, some moments later
        kept = client.request("POST", "/events/filter", json={"filter": {"event": {"name": [EVENT]}}}).json()["events"]
        if kept:
            break
        time.sleep(0.1)
    assert [one["payload"]["n_worse"] for one in kept] == [1]
    roles = {related["prefect.resource.role"] for related in kept[0]["related"]}
    assert "flow-run" in roles, "the event leads to the run"


def test_the_history_knows_better_than_the_folder_before(tmp_path: Path) -> None:
    finding = Finding("S", EF, "a", "r", datetime.now(UTC), "verdict worsened", "it worsened")
    warned: list[str] = []
    sent = Recorded("r", "database", sent=True, worsened=(finding,))
    summary = RunSummary(tmp_path, results("S"), 0, recorded=sent)
    assert worse_verdicts(summary, before=tmp_path / "none", warn=warned.append) == ["it worsened"]
    waits = replace(summary, recorded=replace(sent, sent=False))
    assert worse_verdicts(waits, before=None, warn=warned.append) == []
    assert worse_verdicts(waits, before=tmp_path / "none", warn=warned.append) == []
    assert len(warned) == 1
    assert "cannot be compared with the run in" in warned[0]


def test_nobody_to_tell_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.notifications.emit_event", lambda **event: None)
    warned: list[str] = []
    announce(RunSummary(tmp_path, results("S"), 0), ["worse"], report_url="", warn=warned.append)
    assert warned == [f"the event {EVENT} could not be sent"]


def test_the_report_is_a_file_or_at_an_address(tmp_path: Path) -> None:
    assert report_link(tmp_path / "a b", "") == f"{tmp_path.as_uri()}/a%20b/report/index.html"
    assert report_link(tmp_path / "x", "https://h/s/") == "https://h/s/x/report/index.html"
    assert [key_of(name) for name in ("Night Study", "3 T, Köln!", "---")] == ["night-study", "3-t-k-ln", "study"]


def test_an_automation_is_made_once_and_holds_no_secret(client: "SyncPrefectClient") -> None:
    from prefect.blocks.notifications import CustomWebhookNotificationBlock

    with pytest.raises(ConfigProblem, match="--notify: Prefect has no block custom-webhook/ward"):
        notify_through("custom-webhook/ward", study="S")
    with pytest.raises(ConfigProblem, match="--notify: expected TYPE/NAME"):
        notify_through("ward", study="S")
    block = CustomWebhookNotificationBlock(name="ward", url="https://ward/hook?token=hidden", method="POST")
    identity = block.save("ward")
    names = {tuple(notify_through("custom-webhook/ward", study="S")) for _ in range(2)}
    ((name, broken),) = names
    (kept,) = client.read_automations_by_name(name)
    wanted = automations("S", block_id=identity)
    assert kept.actions == wanted[0].actions
    assert kept.trigger.expect == {EVENT}  # type: ignore[union-attr]
    assert kept.trigger.match.model_dump() == {"prefect.resource.id": "cardioval.study.s"}  # type: ignore[union-attr]
    (other,) = client.read_automations_by_name(broken)
    assert other.trigger.expect >= {"prefect.flow-run.Failed", "prefect.flow-run.Crashed"}  # type: ignore[union-attr]
    assert "hidden" not in kept.model_dump_json() + other.model_dump_json()
    # switched off on the page: a new start leaves it off, and writes nothing that is there already
    client.pause_automation(kept.id)
    paused = client.read_automations_by_name(name)[0]
    notify_through("custom-webhook/ward", study="S")
    assert client.read_automations_by_name(name) == [paused]
    client.update_automation(kept.id, wanted[0].model_copy(update={"enabled": False, "actions": []}))
    notify_through("custom-webhook/ward", study="S")
    (renewed,) = client.read_automations_by_name(name)
    assert (renewed.enabled, renewed.actions) == (False, wanted[0].actions)


def test_a_run_that_does_not_end_well_is_told_of(study_file: Path, client: "SyncPrefectClient") -> None:
    """Prefect's server itself, to a web server of ours: a broken run of this study, and of no other."""
    from prefect.blocks.notifications import CustomWebhookNotificationBlock
    from prefect.states import Crashed, Failed

    config = ValidationConfig(name="Broken Night", cohort=study_file.parent, out=study_file.parent / "runs")
    with listening() as (address, heard):
        CustomWebhookNotificationBlock(
            name="nurse", url=address, method="POST", json_data={"subject": "{{subject}}", "body": "{{body}}"}
        ).save("nurse")
        notify_through("custom-webhook/nurse", study=config.name)
        other = replace(config, name="Other")
        runs = [
            client.create_flow_run_from_deployment(deployment_of(study_file, one, ServeOptions(cron=NEVER)).apply())
            for one in (other, config, config)
        ]
        for run, state in zip(runs, (Failed(), Failed(message="P0 of the cohort"), Crashed()), strict=True):
            client.set_flow_run_state(run.id, state, force=True)
        for _ in range(300):
            if len(heard) == 2:
                break
            time.sleep(0.1)
    assert sorted(told["subject"] for told in heard) == [
        "CardioVal: a run of broken-night is Crashed",
        "CardioVal: a run of broken-night is Failed",
    ]
    assert runs[1].name in "".join(told["body"] for told in heard)
    assert "stands at Prefect's page." in heard[0]["body"], "of a server that does not know its page's address"
    assert "P0" not in str(heard), "why stands on the page only"


@contextmanager
def listening() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A web server on loopback, and what was posted to it."""
    heard: list[dict[str, str]] = []

    class Ward(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *words: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Ward) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/", heard
        finally:
            server.shutdown()
            thread.join()
