"""A real run is killed, and resumed while its Prefect server dies: the end is that of a run that was never cut off, and no
process stays behind."""

import errno
import json
import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import tomli_w
from rich.console import Console

from cohort.records import ConfigProblem, RunStopped
from flows.run_server import of_server, one_line, through_prefect, worth_logging
from flows.validate import validate
from tests.flows.power import disk
from tests.flows.small_run import small_cohort, small_config, small_flow, timeless
from tests.flows.test_power_loss import complete_manifests

ROOT = Path(__file__).resolve().parents[2]
WAIT_S = 300
TABLES = ("measurements.parquet", "segments.parquet", "agreement.csv", "failures.csv")


def start(what: str, sign: Path, home: Path, *command: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    # as few tries as can be: the test is not of Prefect's patience
    environment |= {"PREFECT_HOME": str(home), "PREFECT_CLIENT_MAX_RETRIES": "0", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.flows.interrupted_child", what, str(sign), *command],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )


def wait_for(sign: Path, child: subprocess.Popen[str]) -> None:
    end = time.monotonic() + WAIT_S
    while not sign.exists():
        assert child.poll() is None, child.communicate()[1]
        assert time.monotonic() < end, "the run did not come to its second scan"
        time.sleep(0.05)


@pytest.mark.slow
def test_killed_resumed_and_left_alone_by_its_server(tmp_path: Path) -> None:
    cohort, out, sign = small_cohort(tmp_path / "cohort"), tmp_path / "run", tmp_path / "sign"
    config = tmp_path / "study.toml"
    config.write_text(
        tomli_w.dumps(
            {
                "study": {"name": "small", "cohort": str(cohort), "out": str(out)},
                "undersampling": {"patterns": [["Uniform", 2]], "n_calibration": 8},
                "reconstruction": {"methods": ["zero_filled"], "reliability": False},
                "running": {"device": "cpu", "workers": 1, "retries": 0},
                "history": {"record": False},
            }
        )
    )
    with small_flow():
        expected = validate(small_config(cohort, tmp_path / "whole")).results

    child = start("hang", sign, tmp_path / "prefect", "validate", str(config))
    wait_for(sign, child)
    others = psutil.Process(child.pid).children(recursive=True)
    assert [process for process in others if "uvicorn" in " ".join(process.cmdline())], "it has a server of its own"
    child.send_signal(signal.SIGKILL)
    child.communicate()
    left = psutil.wait_procs(others, timeout=60)[1]
    assert not left, f"stayed behind: {left}"
    measured = sorted(out.rglob("measurements.json"))
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*.json") if "scans" in path.parts}
    assert len(stamps) < 2 * 9

    sign.unlink()
    child = start("server", sign, tmp_path / "prefect", "validate", str(config), "--resume")
    said = child.communicate(timeout=WAIT_S)[1]
    assert child.returncode == 0, said
    assert not psutil.pid_exists(int(sign.read_text()))
    ours = [line for line in said.splitlines() if line.startswith("cardioval:")]
    assert "going on: of 2 scans" in ours[0]
    assert "Prefect's server has gone" in ours[1]
    assert "Traceback" not in said
    assert "httpx" not in said
    assert all(
        path.stat().st_mtime_ns == stamp
        for path, stamp in stamps.items()
        if path.parent in {m.parent for m in measured}
    )
    for name in TABLES:
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    results = timeless(json.loads((out / "results.json").read_text()))
    assert results | {"provenance": None} == timeless(expected) | {"provenance": None}


@pytest.mark.slow
def test_a_server_that_is_away_is_told_in_one_line(tmp_path: Path) -> None:
    cohort, config = small_cohort(tmp_path / "cohort"), tmp_path / "study.toml"
    config.write_text(tomli_w.dumps({"study": {"name": "small", "cohort": str(cohort), "out": str(tmp_path / "run")}}))
    environment = {**os.environ, "PREFECT_API_URL": "http://127.0.0.1:9/api", "PREFECT_HOME": str(tmp_path / "prefect")}
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "validate", str(config)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 4
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert lines == [line for line in lines if line.startswith("cardioval: Prefect's server: Failed to reach API")]
    assert len(lines) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server")
def test_a_full_disk_stops_the_flow_in_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Within Prefect: no scan is blamed, no further scan is begun, and the run goes on when there is room."""
    cohort, out = small_cohort(tmp_path / "cohort"), tmp_path / "run"

    def full() -> OSError:
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, temporary_settings

    with small_flow(prefect=True) as done, temporary_settings({PREFECT_LOCAL_STORAGE_PATH: tmp_path / "storage"}):
        with disk(out, lasts=75, fails_with=full), pytest.raises(RunStopped, match=r"the disk is full.*--resume"):
            validate(small_config(cohort, out))
        assert len(done.manifests) == len(complete_manifests(out)) > 0
        assert not (out / "measurements.parquet").exists()
        said = capfd.readouterr().err
        assert "Traceback" not in said, said
        assert "Crash detected" not in said, said
        assert not list((tmp_path / "storage").glob("*")), "Prefect keeps no pickle"
        assert validate(small_config(cohort, out), resume=True).exit_status == 0
        assert len(done.manifests) == len(set(done.manifests)) == len(complete_manifests(out)) == 6


@dataclass
class Work:
    outcome: int | None
    problem: Exception | None = None


def fails() -> int:
    raise RuntimeError("Failed to reach API at http://127.0.0.1:9/api/")


def test_what_a_flow_came_to_outlives_the_server(capsys: pytest.CaptureFixture[str]) -> None:
    assert through_prefect(fails, Work(7)) == 7
    assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(RuntimeError, match="Failed to reach"):
        through_prefect(fails, Work(None))
    with pytest.raises(ConfigProblem, match="what ended it"):
        through_prefect(fails, Work(7, ConfigProblem("what ended it")))


def test_errors_of_the_server_and_others() -> None:
    import httpx

    assert of_server(httpx.ConnectError("refused"))
    assert of_server(RuntimeError("Failed to reach API at x"))
    assert not of_server(RuntimeError("something else"))
    assert not of_server(ValueError("Failed to reach API"))


@pytest.mark.parametrize(
    ("end", "status", "words"),
    [
        (ConfigProblem("no such study"), 2, "cardioval: no such study"),
        (RunStopped("the disk is full"), 4, "cardioval: the disk is full"),
        (
            PermissionError(13, "Permission denied", "/srv/x.csv"),
            2,
            "cardioval: /srv/x.csv: Permission denied; look at",
        ),
        (KeyboardInterrupt(), 130, "cardioval: interrupted; what is complete stays"),
    ],
)
def test_a_command_ends_in_one_line(
    end: BaseException, status: int, words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows import cli

    def ends(_: object) -> None:
        raise end

    monkeypatch.setattr("flows.cli.console", Console(stderr=True))
    monkeypatch.setattr("flows.installation.problems", list)
    monkeypatch.setattr("flows.config.load_config", ends)
    monkeypatch.setattr("sys.argv", ["cardioval", "validate", "study.toml"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == status
    said = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert len(said) == 1
    assert said[0].startswith(words)


def test_what_the_server_answers_is_short() -> None:
    asked = (
        "Server error '500' for url 'http://127.0.0.1:1/api/' For more information check: https://developer.mozilla.org"
    )
    assert one_line(RuntimeError(asked)) == "Server error '500' for url 'http://127.0.0.1:1/api/"


@pytest.mark.parametrize(
    ("message", "worth"),
    [
        ("Finished in state Failed('Task run encountered an exception UnreadableFile: cine.mat: zeros')", False),
        ("Crash detected! Task run cancelled by the task runner", False),
        ("Finished in state Failed('Flow run encountered an exception KeyError')", True),
        ("Crash detected! Execution was aborted by a termination signal.", True),
    ],
)
def test_what_is_told_in_a_line_of_ours_is_not_told_twice(message: str, worth: bool) -> None:
    record = logging.LogRecord("prefect.task_runs", logging.ERROR, "x", 1, "%s", (message,), None)
    assert worth_logging(record) is worth
