"""Where tasks compute: options, what is said before a run, and that Dask gives the numbers that threads give."""

import importlib.util
import json
import os
import pickle
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest

from cohort.records import ConfigProblem
from cohort.synthetic.acquisition import Receiver
from cohort.synthetic.study import Center, ScanPlan, simulate_cohort
from flows import runners
from flows.config import Reconstruction, Undersampling, ValidationConfig, visible_gpus
from flows.resources import USAGE
from flows.running import Running, n_cores, thread_count, worker_count

CENTER = Center("Center001", "Siemens", "Aera", 1.5, (88, 104), (300.0, 340.0), Receiver(n_coils=4, snr=40.0))
DASK = Running(device="cpu", runner="dask", workers=2)
HAS_DASK = all(importlib.util.find_spec(name) for name in ("dask", "distributed", "prefect_dask"))
needs_dask = pytest.mark.skipif(not HAS_DASK, reason="needs the extra cardioval[dask]")


def test_options_are_checked() -> None:
    for wrong, message in (
        ({"runner": "slurm"}, "expected threads, dask, got 'slurm'"),
        ({"dask_address": "tcp://10.0.0.5:8786"}, 'only used with runner = "dask"'),
        ({"runner": "dask", "dask_address": "10.0.0.5"}, 'such as "tcp://10.0.0.5:8786"'),
        ({"threads": -1}, "cannot be negative"),
        ({"device": "tpu"}, "expected auto, cpu or cuda"),
    ):
        with pytest.raises(ConfigProblem, match=message):
            Running(**wrong)


def test_threads_do_not_depend_on_the_machine_unless_asked_to() -> None:
    assert thread_count(Running(), workers=1) == thread_count(Running(workers=7), workers=7) == 1
    assert thread_count(Running(threads=0), workers=1) == n_cores()
    assert thread_count(Running(threads=0), workers=10 * n_cores()) == 1
    assert worker_count(Running(), on_gpu=True) == 1
    assert worker_count(Running(workers=5), on_gpu=True) == 5


def test_without_dask_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigProblem, match=r"needs dask, distributed, prefect_dask; .*'cardioval\[dask\]'"):
        runners.task_runner(DASK, workers=2)


def test_cards_of_a_local_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_gpus(2) == ("0", "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, GPU-5a,7")
    assert visible_gpus(3) == ("3", "GPU-5a", "7")
    assert visible_gpus(1) == ("3",)
    assert runners.local_gpus(Running(device="cpu")) == ()


def test_workers_elsewhere_need_a_prefect_server_that_they_reach() -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        runners.check_prefect_reachable("tcp://127.0.0.1:8786")
        with pytest.raises(ConfigProblem, match="set PREFECT_API_URL"):
            runners.check_prefect_reachable("tcp://10.0.0.5:8786")
    with temporary_settings({PREFECT_API_URL: "http://10.0.0.2:4200/api"}):
        runners.check_prefect_reachable("tcp://10.0.0.5:8786")


@needs_dask
def test_no_scheduler_is_said_before_anything_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runners, "CONNECT_S", 1)
    with pytest.raises(ConfigProblem, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9 .*dask scheduler"):
        runners.check_cluster(replace(DASK, dask_address="tcp://127.0.0.1:9"), paths=())


def test_a_flow_sends_nothing_of_the_work_along() -> None:
    from flows.validate import Work

    work = Work([object()] * 1000, None, 1, print)  # type: ignore[list-item]
    sent = pickle.dumps(work)
    assert len(sent) < 100
    assert pickle.loads(sent).jobs == []


class Given:
    """A future that is at its end when told so."""

    def __init__(self, task_run_id: int) -> None:
        self.task_run_id = task_run_id
        self.inner: Future[Any] = Future()

    def add_done_callback(self, call: Any) -> None:
        self.inner.add_done_callback(lambda _: call(self))

    def result(self, *, raise_on_failure: bool) -> Any:
        assert not raise_on_failure
        return self.inner.result()


def test_results_come_as_they_end_and_more_may_be_added() -> None:
    class KilledWorker(Exception):
        pass

    first, second, third = Given(1), Given(2), Given(3)
    awaited: runners.Awaited[str] = runners.Awaited()
    awaited.add("first", first)  # type: ignore[arg-type]
    awaited.add("second", second)  # type: ignore[arg-type]
    second.inner.set_result("b")
    threading.Timer(0.05, lambda: first.inner.set_exception(KilledWorker("task-3a", 4))).start()
    found = []
    for label, outcome in awaited:
        found.append((label, outcome))
        if label == "second":
            awaited.add("third", third)  # type: ignore[arg-type]
        if label == "first":
            third.inner.set_result("c")
    assert [label for label, _ in found] == ["second", "first", "third"]
    assert "every worker that took this task died" in str(found[1][1])


@needs_dask
def test_where_a_stage_may_go() -> None:
    import dask

    with runners.placed("reconstruct", DASK, pinned=True):
        assert dask.get_annotations() == {"priority": 0, "resources": {"GPU": 1}}
    with runners.placed("measure", DASK, pinned=True):
        assert dask.get_annotations() == {"priority": 2}
    with runners.placed("segment", DASK, pinned=False):
        assert dask.get_annotations() == {"priority": 1}
    with runners.placed("segment", Running(), pinned=True):
        assert dask.get_annotations() == {}


# ---- clusters -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mixed_cluster() -> Iterator[str]:
    """Address of a cluster with two workers, in threads of this process; one declares a GPU."""
    from distributed import Scheduler, SpecCluster, Worker

    common = {"host": "127.0.0.1", "dashboard": False, "dashboard_address": "127.0.0.1:0"}
    workers = {
        name: {"cls": Worker, "options": {**common, "nthreads": 1, "memory_limit": 0, "resources": resources}}
        for name, resources in (("card", {"GPU": 1}), ("plain", {}))
    }
    scheduler = {"cls": Scheduler, "options": {**common, "port": 0}}
    with SpecCluster(workers=workers, scheduler=scheduler, silence_logs=False) as cluster:
        yield cluster.scheduler_address


@needs_dask
@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server")
def test_stages_of_the_gpu_run_where_one_is_declared(mixed_cluster: str) -> None:
    from prefect import flow, task

    @task
    def place(index: int) -> str:
        from distributed import get_worker

        time.sleep(0.1)  # so that a second worker has its turn
        return f"{get_worker().name} {index}"

    @flow
    def places() -> list[tuple[str, str]]:
        assert runners.pins_gpus(running)
        awaited: runners.Awaited[str] = runners.Awaited()
        for stage in ("reconstruct", "segment", "measure"):
            for index in range(4):
                with runners.placed(stage, running, pinned=True):
                    awaited.add(stage, place.submit(index))
        return [(stage, name.split()[0]) for stage, name in awaited]

    running = replace(DASK, dask_address=mixed_cluster)
    found = places.with_options(task_runner=runners.task_runner(running, workers=2))()
    assert len(found) == 12
    assert {name for stage, name in found if stage != "measure"} == {"card"}
    assert "plain" in {name for stage, name in found if stage == "measure"}


@needs_dask
@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server")
def test_a_cluster_is_looked_at_before_the_run(mixed_cluster: str, tmp_path: Path, monkeypatch: Any) -> None:
    running = replace(DASK, dask_address=mixed_cluster)
    assert runners.check_cluster(running, paths=(tmp_path,)).startswith("Dask: CPU (")
    with pytest.raises(ConfigProblem, match=r"does not see .*/elsewhere; mount it there"):
        runners.check_cluster(running, paths=(tmp_path, tmp_path / "elsewhere"))
    with pytest.raises(ConfigProblem, match=r"Dask worker tcp://.*torch sees no GPU"):
        runners.check_cluster(replace(running, device="cuda:99"), paths=())
    monkeypatch.setattr(runners, "code_sha256", lambda: threading.current_thread().name)
    with pytest.raises(ConfigProblem, match="runs other code than this process"):
        runners.check_cluster(running, paths=())


@needs_dask
@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server")
def test_dask_gives_the_numbers_of_threads_also_when_a_worker_is_killed(tmp_path: Path) -> None:
    """The same files bit for bit, and of all that was complete when the worker died nothing is made again."""
    from flows.validate import validate

    cohort = tmp_path / "cohort"
    plan = ScanPlan(n_frames=2, n_slices=3, mapping=())
    simulate_cohort(cohort, centers=[CENTER], patients_per_center=2, plan=plan, seed=3)
    config = ValidationConfig(
        name="small",
        cohort=cohort,
        out=tmp_path / "threads",
        undersampling=Undersampling(patterns=(("Uniform", 2.0),), n_calibration=16),
        reconstruction=Reconstruction(methods=("zero_filled", "sense"), reliability=False),
        running=Running(device="cpu", workers=2),
    )
    expected = validate(config)
    out = tmp_path / "dask"
    complete: dict[Path, int] = {}

    def kill_one(*_: Any) -> None:
        if not complete:
            complete.update({path: path.stat().st_mtime_ns for path in out.rglob("*.json")})
            os.kill(dask_workers()[0].pid, signal.SIGKILL)

    found = validate(replace(config, out=out, running=DASK), advance=kill_one)
    assert any(path.name == "reconstruction.json" for path in complete)
    assert {path: path.stat().st_mtime_ns for path in complete} == complete
    assert content(found.folder) == content(expected.folder)
    first, second = (pd.read_parquet(run.folder / "measurements.parquet") for run in (expected, found))
    pd.testing.assert_frame_equal(first, second, check_exact=True)
    for key in ("agreement", "failures", "image_quality", "reliability", "shift"):
        assert found.results[key] == expected.results[key], key
    hashes = [run.results["provenance"]["inputs_sha256"] for run in (expected, found)]
    assert hashes[0] == hashes[1]


def dask_workers() -> list[psutil.Process]:
    """Processes of the local cluster of this one."""
    children = psutil.Process().children(recursive=True)
    return [child for child in children if "multiprocessing.spawn" in " ".join(child.cmdline())]


def content(folder: Path) -> dict[str, Any]:
    """Every file of the scans: bytes, and of manifests what does not tell of time and machine."""
    found: dict[str, Any] = {}
    for path in sorted((folder / "scans").rglob("*")):
        if path.suffix == ".json" and path.name.removesuffix(".json") in (
            "reconstruction",
            "segmentation",
            "measurements",
        ):
            found[path.relative_to(folder).as_posix()] = without_time(json.loads(path.read_text()))
        elif path.is_file():
            found[path.relative_to(folder).as_posix()] = path.read_bytes()
    return found


def without_time(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_time(item) for key, item in value.items() if key not in ("seconds", USAGE)}
    return [without_time(item) for item in value] if isinstance(value, list) else value
