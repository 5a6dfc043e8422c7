"""Serving a study: its schedule, the form, what the server makes of it, and whose turn the machine is."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from rich.console import Console

import flows.schedule as schedule
from cohort.records import ConfigProblem
from flows.config import Running, ValidationConfig
from flows.dead_runs import let_go
from flows.prefect_server import _schedules, is_loopback, prefect_api
from flows.run_folders import only_run
from flows.schedule import How, Mask, Part, gpu_turn, in_tenths, nightly, requested
from flows.serve import NEVER, ServeOptions, deployment_of, ensure_gpu_limit, next_runs

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

ROOT = Path(__file__).resolve().parents[2]


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
    bad: dict[str, Any], study_file: Path, client: "SyncPrefectClient"
) -> None:
    config = ValidationConfig(name="S", cohort=study_file.parent, out=study_file.parent / "runs")
    identity = deployment_of(study_file, config, ServeOptions(cron=NEVER, name="form")).apply()
    from prefect.exceptions import PrefectHTTPStatusError

    right = {"config": str(study_file.resolve())}
    with pytest.raises(PrefectHTTPStatusError, match="Validation failed for field"):
        client.create_flow_run_from_deployment(identity, parameters={**right, **bad})
    made = client.create_flow_run_from_deployment(identity, parameters={**right, "part": {"methods": ["sense"]}})
    client.delete_flow_run(made.id)


def test_a_deployment_runs_once_at_a_time_and_turns_others_away(study_file: Path, client: "SyncPrefectClient") -> None:
    config = ValidationConfig(name="Night Study", cohort=study_file.parent, out=study_file.parent / "runs")
    options = ServeOptions(timezone="Europe/Berlin", report_url="https://results/study")
    made = client.read_deployment(deployment_of(study_file, config, options).apply())
    assert (made.name, made.entrypoint) == ("night-study", "flows.schedule.nightly")
    assert made.global_concurrency_limit is not None
    assert made.global_concurrency_limit.limit == 1
    assert made.concurrency_options is not None
    assert made.concurrency_options.collision_strategy == "CANCEL_NEW"
    assert [(s.active, s.schedule.cron, s.schedule.timezone) for s in made.schedules] == [  # type: ignore[union-attr]
        (True, "0 2 * * *", "Europe/Berlin")
    ]
    assert made.parameters == {"config": str(study_file.resolve()), "how": {"report_url": "https://results/study"}}
    with pytest.raises(ConfigProblem, match="--name: expected a name without"):
        deployment_of(study_file, config, ServeOptions(name="a/b"))


def test_runs_whose_process_is_gone_do_not_turn_later_nights_away(
    study_file: Path, client: "SyncPrefectClient"
) -> None:
    """As a power loss leaves them: running for the server, with the study's only slot, and nobody there."""
    from prefect.states import Pending, Running

    config = ValidationConfig(name="Dead", cohort=study_file.parent, out=study_file.parent / "runs")
    identity = deployment_of(study_file, config, ServeOptions(cron=NEVER, name="dead")).apply()

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


def test_slots_that_nobody_can_hold_are_freed(study_file: Path, client: "SyncPrefectClient") -> None:
    """Those of a server that was killed with its runs: it has forgotten their leases."""
    from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate

    config = ValidationConfig(name="Dead", cohort=study_file.parent, out=study_file.parent / "runs")
    identity = deployment_of(study_file, config, ServeOptions(cron=NEVER, name="forgotten")).apply()
    ensure_gpu_limit("forgotten-gpu")
    slot = client.read_deployment(identity).global_concurrency_limit
    assert slot
    names = (slot.name, "forgotten-gpu")
    for name in names:
        client.update_global_concurrency_limit(name, GlobalConcurrencyLimitUpdate(active_slots=1))
    assert let_go(identity, out=config.out, study="Dead", limits=("forgotten-gpu", "no-such-limit")) == 0
    assert [client.read_global_concurrency_limit_by_name(name).active_slots for name in names] == [0, 0]


def test_the_server_makes_runs_of_the_schedule(study_file: Path, client: "SyncPrefectClient") -> None:
    try:
        _schedules()
    except ConfigProblem as problem:
        pytest.skip(str(problem))
    config = ValidationConfig(name="S", cohort=study_file.parent, out=study_file.parent / "runs")
    identity = deployment_of(study_file, config, ServeOptions(name="scheduled")).apply()
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
def test_the_command_serves_until_it_is_told_to_end(study_file: Path, client: "SyncPrefectClient") -> None:
    code = "from flows.cli import main; import sys; sys.argv = ['cardioval', *sys.argv[1:]]; main()"
    call = ["serve", str(study_file), "--name", "told", "--cron", "0 3 1 1 *", "--timezone", "Europe/Berlin"]
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
