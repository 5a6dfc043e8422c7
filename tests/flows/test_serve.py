"""Scheduled runs: the form, the flow with the validation stood in for, what Prefect's page shows, and who is told."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from rich.console import Console

import flows.schedule as schedule
from cohort.records import ConfigProblem
from flows.analysis import analyse
from flows.analysis_options import Statistics
from flows.analysis_plan import AnalysisPlan, Rung
from flows.config import Running, ValidationConfig
from flows.dead_runs import let_go
from flows.history import Recorded
from flows.history_drift import Finding
from flows.margins import Margin, Margins
from flows.notifications import EVENT, announce, automations, key_of, notify_through, report_link, worse_verdicts
from flows.prefect_server import _schedules, is_loopback, prefect_api
from flows.run_folders import folders, only_run
from flows.schedule import How, Mask, Part, gpu_turn, in_tenths, nightly, requested
from flows.serve import NEVER, ServeOptions, deployment_of, ensure_gpu_limit, next_runs
from flows.validate import RunSummary
from tests.flows.tables import REFERENCE, study

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

ROOT = Path(__file__).resolve().parents[2]
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


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "study.toml"
    path.write_text(
        '[study]\nname = "Night Study"\ncohort = "cohort"\nout = "runs"\n[running]\ndevice = "cpu"\n'
        '[reconstruction]\nmethods = ["sense", "zero_filled"]\n[undersampling]\npatterns = [["Uniform", 4]]\n'
    )
    return path


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


@pytest.fixture
def client(prefect_server: None) -> "Iterator[SyncPrefectClient]":  # noqa: ARG001
    # Prefect is imported in functions: at the top it would be before its settings are made
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as one:
        yield one


# ---- when -------------------------------------------------------------------------------------------------------------


def test_the_schedule_is_cron_in_a_time_zone() -> None:
    options = ServeOptions(cron="30 2 * * 1", timezone="Europe/Berlin")
    days = next_runs(options, n=2, start=datetime(2026, 3, 24, tzinfo=UTC))
    # the clocks go forward on 29 March 2026: half past two is one hour earlier in UTC after it
    assert [day.astimezone(UTC).isoformat() for day in days] == [
        "2026-03-30T00:30:00+00:00",
        "2026-04-06T00:30:00+00:00",
    ]
    assert next_runs(ServeOptions(cron=NEVER)) == []


@pytest.mark.parametrize(
    "cron", ["", "nonsense", "61 2 * * *", "0 0 2 * * *", "0 2 30 2 *", "0 2 * * * # x", "H 2 * * *"]
)
def test_a_schedule_that_is_none_is_refused_in_one_line(cron: str) -> None:
    with pytest.raises(
        ConfigProblem, match=r'^--cron: expected five fields such as "0 2 \* \* \*", or never, got'
    ) as caught:
        next_runs(ServeOptions(cron=cron))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../etc/passwd", "/etc/localtime"])
def test_an_unknown_time_zone_is_refused(zone: str) -> None:
    with pytest.raises(ConfigProblem, match="--timezone: expected a name such as Europe/Berlin"):
        next_runs(ServeOptions(timezone=zone))


# ---- what -------------------------------------------------------------------------------------------------------------


def test_the_form_leaves_the_configuration_as_it_is_or_makes_a_study_of_its_own(tmp_path: Path) -> None:
    config = ValidationConfig(name="S", cohort=tmp_path, out=tmp_path / "runs")
    assert requested(config, part=Part(), how=How()) == config
    how = requested(config, part=Part(), how=How(keep_images="no", device="cpu"))
    assert (how.name, how.running) == ("S", Running(device="cpu", keep_images=False))
    part = Part(centers=["B", "A"], methods=["sense"], masks=[Mask(pattern="ktRadial", acceleration=24)])
    asked = requested(config, part=part, how=How())
    assert asked.name == "S (B, A; sense; ktRadial 24)"
    assert (asked.select.center, asked.reconstruction.methods) == (("B", "A"), ("sense",))
    assert asked.undersampling.patterns == (("ktRadial", 24.0),)
    assert asked.statistics == config.statistics


BAD = [
    {"part": {"methods": ["nonsense"]}},
    {"part": {"masks": [{"pattern": "Uniform", "acceleration": 1}]}},
    {"part": {"masks": [{"pattern": "Spiral", "acceleration": 8}]}},
    {"part": {"patients": ["P001"]}},
    {"how": {"device": "tpu"}},
    {"how": {"report_url": "file:///etc"}},
    {"config": "/another.toml"},
]


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_the_server_refuses_what_does_not_fit_the_form(
    bad: dict[str, Any], written: Path, client: "SyncPrefectClient"
) -> None:
    config = ValidationConfig(name="S", cohort=written.parent, out=written.parent / "runs")
    identity = deployment_of(written, config, ServeOptions(cron=NEVER, name="form")).apply()
    from prefect.exceptions import PrefectHTTPStatusError

    right = {"config": str(written.resolve())}
    with pytest.raises(PrefectHTTPStatusError, match="Validation failed for field"):
        client.create_flow_run_from_deployment(identity, parameters={**right, **bad})
    made = client.create_flow_run_from_deployment(identity, parameters={**right, "part": {"methods": ["sense"]}})
    client.delete_flow_run(made.id)


def test_a_deployment_runs_once_at_a_time_and_turns_others_away(written: Path, client: "SyncPrefectClient") -> None:
    config = ValidationConfig(name="Night Study", cohort=written.parent, out=written.parent / "runs")
    options = ServeOptions(timezone="Europe/Berlin", report_url="https://results/study")
    made = client.read_deployment(deployment_of(written, config, options).apply())
    assert (made.name, made.entrypoint) == ("night-study", "flows.schedule.nightly")
    assert made.global_concurrency_limit is not None
    assert made.global_concurrency_limit.limit == 1
    assert made.concurrency_options is not None
    assert made.concurrency_options.collision_strategy == "CANCEL_NEW"
    assert [(s.active, s.schedule.cron, s.schedule.timezone) for s in made.schedules] == [  # type: ignore[union-attr]
        (True, "0 2 * * *", "Europe/Berlin")
    ]
    assert made.parameters == {"config": str(written.resolve()), "how": {"report_url": "https://results/study"}}
    with pytest.raises(ConfigProblem, match="--name: expected a name without"):
        deployment_of(written, config, ServeOptions(name="a/b"))


def test_runs_whose_process_is_gone_do_not_turn_later_nights_away(written: Path, client: "SyncPrefectClient") -> None:
    """As a power loss leaves them: running for the server, with the study's only slot, and nobody there."""
    from prefect.states import Pending, Running

    config = ValidationConfig(name="Dead", cohort=written.parent, out=written.parent / "runs")
    identity = deployment_of(written, config, ServeOptions(cron=NEVER, name="dead")).apply()

    def begun() -> Any:
        run = client.create_flow_run_from_deployment(identity)
        client.set_flow_run_state(run.id, Pending())
        return client.read_flow_run(run.id)

    dead = begun()
    client.set_flow_run_state(dead.id, Running())
    assert begun().state_name == "Cancelled", "turned away"
    with only_run(config.out, study="Dead"):
        assert let_go(identity, out=config.out, study="Dead") == 0, "it lives: somebody holds the lock"
    assert client.read_flow_run(dead.id).state_name == "Running"
    assert let_go(identity, out=config.out, study="Dead") == 1
    found = client.read_flow_run(dead.id)
    assert (found.state_name, "its process is gone" in str(found.state and found.state.message)) == ("Crashed", True)
    assert begun().state_name == "Pending"
    assert let_go(identity, out=config.out, study="Dead") == 1
    assert let_go(identity, out=config.out, study="Dead") == 0


def test_slots_that_nobody_can_hold_are_freed(written: Path, client: "SyncPrefectClient") -> None:
    """Those of a server that was killed with its runs: it has forgotten their leases."""
    from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate

    config = ValidationConfig(name="Dead", cohort=written.parent, out=written.parent / "runs")
    identity = deployment_of(written, config, ServeOptions(cron=NEVER, name="forgotten")).apply()
    ensure_gpu_limit("forgotten-gpu")
    slot = client.read_deployment(identity).global_concurrency_limit
    assert slot
    names = (slot.name, "forgotten-gpu")
    for name in names:
        client.update_global_concurrency_limit(name, GlobalConcurrencyLimitUpdate(active_slots=1))
    assert let_go(identity, out=config.out, study="Dead", limits=("forgotten-gpu", "no-such-limit")) == 0
    assert [client.read_global_concurrency_limit_by_name(name).active_slots for name in names] == [0, 0]


def test_the_server_makes_runs_of_the_schedule(written: Path, client: "SyncPrefectClient") -> None:
    try:
        _schedules()
    except ConfigProblem as problem:
        pytest.skip(str(problem))
    config = ValidationConfig(name="S", cohort=written.parent, out=written.parent / "runs")
    identity = deployment_of(written, config, ServeOptions(name="scheduled")).apply()
    client.request("POST", "/deployments/{id}/schedule", path_params={"id": identity}, json={"min_runs": 5})
    runs = client.request("POST", "/flow_runs/filter", json={"deployments": {"id": {"any_": [str(identity)]}}}).json()
    assert len(runs) == 5
    assert all(run["expected_start_time"].startswith("20") and "T02:00" in run["expected_start_time"] for run in runs)
    client.pause_deployment(identity)


def test_prefect_yaml_is_what_prefect_accepts() -> None:
    from prefect.cli.deploy._config import _load_deploy_configs_and_actions
    from prefect.cli.deploy._models import PrefectYamlModel
    from prefect.flows import load_flow_from_entrypoint
    from prefect.utilities.callables import parameter_schema
    from prefect.utilities.schema_tools.validation import validate as fits

    console = Console(record=True)
    deployments, actions = _load_deploy_configs_and_actions(ROOT / "prefect.yaml", console=console)
    assert console.export_text() == "", "Prefect says in words what it leaves out"
    assert actions == {"build": [], "push": [], "pull": []}
    (one,) = deployments
    flow = load_flow_from_entrypoint(one["entrypoint"], use_placeholder_flow=False)
    assert flow is nightly
    schema = parameter_schema(flow).model_dump(exclude_unset=True)
    fits(one["parameters"], schema, raise_on_error=True)
    assert Part(**one["parameters"]["part"]) == Part()
    assert How(**one["parameters"]["how"]) == How()
    assert one["work_pool"]["name"] == "cardioval"
    assert one["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}
    assert next_runs(
        replace(ServeOptions(), cron=one["schedules"][0]["cron"], timezone=one["schedules"][0]["timezone"])
    )
    import yaml

    raw = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    known = set(PrefectYamlModel.model_fields) | {"prefect-version"}
    assert set(raw) <= known, "Prefect ignores other keys without a word"


# ---- a run ------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("prefect_server")
def test_a_run_that_fails_is_gone_on_with_and_the_next_is_new(written: Path, stand_in: Stand) -> None:
    from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, temporary_settings

    storage = written.parent / "storage"
    asked = stand_in(problem=RuntimeError("power loss"))
    with temporary_settings({PREFECT_LOCAL_STORAGE_PATH: storage}):
        assert nightly(str(written), return_state=True).is_failed()  # type: ignore[call-overload]
    assert not list(storage.glob("*")), "Prefect keeps no pickle, of errors neither"
    (first,) = folders(written.parent / "runs")
    assert (asked[0].out, first.ended_utc, first.attempts) == (first.path, "", 1)
    asked = stand_in()
    state = nightly(str(written), return_state=True)  # type: ignore[call-overload]
    assert state.is_completed()
    assert state.message == f"{N} patients in {first.path}"
    assert asked[0].out == first.path
    (first,) = folders(written.parent / "runs")
    assert first.ended_utc
    assert first.attempts == 2
    asked = stand_in()
    assert nightly(str(written), return_state=True).is_completed()  # type: ignore[call-overload]
    assert asked[0].out != first.path
    assert asked[0].out.parent == written.parent / "runs"


@pytest.mark.usefixtures("prefect_server")
def test_failed_scans_are_named_while_they_are_few(written: Path, stand_in: Stand) -> None:
    stand_in(n_failed=25)
    warned: list[str] = []
    schedule.scheduled_run(written, part=Part(), how=How(), warn=warned.append)
    assert warned[0] == "segment: scan 0 failed: no heart"
    assert [line for line in warned if line.startswith("segment")][-1] == "segment: more failures are only counted"
    stand_in(n_failed=1)
    state = nightly(str(written), return_state=True)  # type: ignore[call-overload]
    assert ", 1 failure" in state.message
    assert "failures" not in state.message


@pytest.mark.usefixtures("prefect_server")
def test_a_second_run_at_the_same_time_fails_in_one_line(written: Path, stand_in: Stand) -> None:
    asked = stand_in()
    with only_run(written.parent / "runs", study="Night Study"):
        state = nightly(str(written), return_state=True)  # type: ignore[call-overload]
    assert state.is_failed()
    assert state.message.startswith("another run of Night Study is going on")
    assert not asked
    assert folders(written.parent / "runs") == []


def test_a_worse_verdict_is_on_the_page_and_told_of_once(
    written: Path, stand_in: Stand, client: "SyncPrefectClient", monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[dict[str, Any]] = []
    from prefect.events import emit_event

    def recording(**event: Any) -> Any:
        told.append(event)
        return emit_event(**event)

    monkeypatch.setattr("flows.notifications.emit_event", recording)
    how = How(report_url="https://results/study")
    stand_in()
    nightly(str(written), how=how)
    assert told == []
    first = {a.key: a for a in client.read_latest_artifacts()}["verdicts-night-study"].description
    assert str(first).endswith("No run before it to compare with.")
    stand_in(bias=6.0)
    state = nightly(str(written), how=how, return_state=True)  # type: ignore[call-overload]
    assert "1 verdict worse than in the run before" in state.message
    (event,) = told
    assert event["event"] == EVENT == "cardioval.verdict.worsened"
    assert event["resource"]["prefect.resource.id"] == "cardioval.study.night-study"
    newest = folders(written.parent / "runs")[-1].path
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
    nightly(str(written), how=how)
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


def test_a_run_that_does_not_end_well_is_told_of(written: Path, client: "SyncPrefectClient") -> None:
    """Prefect's server itself, to a web server of ours: a broken run of this study, and of no other."""
    from prefect.blocks.notifications import CustomWebhookNotificationBlock
    from prefect.states import Crashed, Failed

    config = ValidationConfig(name="Broken Night", cohort=written.parent, out=written.parent / "runs")
    with listening() as (address, heard):
        CustomWebhookNotificationBlock(
            name="nurse", url=address, method="POST", json_data={"subject": "{{subject}}", "body": "{{body}}"}
        ).save("nurse")
        notify_through("custom-webhook/nurse", study=config.name)
        other = replace(config, name="Other")
        runs = [
            client.create_flow_run_from_deployment(deployment_of(written, one, ServeOptions(cron=NEVER)).apply())
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


# ---- the machine ------------------------------------------------------------------------------------------------------


def test_runs_on_a_gpu_wait_for_it_and_runs_on_the_cpu_do_not(
    client: "SyncPrefectClient", monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = ValidationConfig(name="S", cohort=tmp_path, out=tmp_path)
    ensure_gpu_limit("test-gpu")
    ensure_gpu_limit("test-gpu")

    def taken() -> int:
        limit = client.read_global_concurrency_limit_by_name("test-gpu")
        assert limit.limit == 1
        return limit.active_slots

    with gpu_turn(replace(config, running=Running(device="cpu")), limit="test-gpu"):
        assert taken() == 0
    monkeypatch.setattr(schedule, "pick_device", lambda name: torch.device("cuda"))
    with gpu_turn(config, limit="test-gpu"):
        assert taken() == 1
    assert taken() == 0


def test_progress_is_a_line_a_tenth() -> None:
    lines: list[str] = []
    advance = in_tenths(lines.append)
    for done in range(1, 101):
        advance("reconstruct", done, 100, f"P{done}")
    advance("segment", 0, 0, "")
    assert lines == [f"reconstruct: {10 * tenth} of 100 scans" for tenth in range(1, 11)]


@pytest.mark.usefixtures("prefect_server")
def test_a_server_that_does_not_answer_is_named() -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}),
        pytest.raises(ConfigProblem, match=r"no Prefect server answers at .*:9/api, which PREFECT_API_URL names"),
        prefect_api(),
    ):
        pass
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "10.0.0.1", "ward")] == (
        [True] * 3 + [False] * 3
    )


def test_a_server_that_wants_a_password_says_so_in_one_line(
    client: "SyncPrefectClient", monkeypatch: pytest.MonkeyPatch
) -> None:
    import httpx
    from prefect.exceptions import PrefectHTTPStatusError

    def refused(*call: Any, **more: Any) -> Any:
        del call, more
        asked = httpx.Request("GET", str(client.api_url))
        raise PrefectHTTPStatusError("no", request=asked, response=httpx.Response(401, request=asked))

    monkeypatch.setattr(type(client), "request", refused)
    with pytest.raises(ConfigProblem, match=r"refuses us \(401\).* set PREFECT_API_AUTH_STRING"), prefect_api():
        pass


@pytest.mark.slow
def test_the_command_serves_until_it_is_told_to_end(written: Path, client: "SyncPrefectClient") -> None:
    code = "from flows.cli import main; import sys; sys.argv = ['cardioval', *sys.argv[1:]]; main()"
    call = ["serve", str(written), "--name", "told", "--cron", "0 3 1 1 *", "--timezone", "Europe/Berlin"]
    environment = {**os.environ, "PREFECT_API_URL": str(client.api_url).rstrip("/"), "COLUMNS": "200"}
    with subprocess.Popen(
        [sys.executable, "-c", code, *call], env=environment, stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if "serving cardioval-validation/told" in line:
                break
        else:
            pytest.fail("".join(lines))
        made = client.read_deployment_by_name("cardioval-validation/told")
        assert not made.paused
        process.send_signal(signal.SIGTERM)
        rest = process.stderr.read()
        assert process.wait(60) == 0, rest
    assert "next run:" in "".join(lines)
    assert "stopping; a run that is going on is stopped" in rest
    assert client.read_deployment(made.id).paused, "nights that nobody serves do not pile up"


def test_a_day_is_no_hour() -> None:
    first, second = next_runs(ServeOptions(), n=2)
    assert second - first == timedelta(days=1)
