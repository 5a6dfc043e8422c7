"""Where do the tasks of a run compute: in threads of this process, or on the workers of a Dask cluster?

Prefect orders the tasks in both; the stages themselves do not know. On Dask a stage that needs a GPU goes to workers that
declare the resource ``GPU``, and a worker that dies loses its task only, which Dask gives to another. prefect-dask and
Dask are imported where they are asked for.
"""

import contextlib
import hashlib
import importlib.util
import logging
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import urlsplit

import torch

from cohort.records import ConfigProblem
from flows.config import prepare_environment, visible_gpus
from flows.provenance import ROOT, device_name
from flows.running import Running, n_cores, one_blas_thread
from phenotyping.nnunet import nnunet_library
from recon.inference import pick_device

if TYPE_CHECKING:
    from distributed import Client, SpecCluster
    from prefect.futures import PrefectFuture
    from prefect.task_runners import TaskRunner

#: what a worker with a graphics card declares: ``dask worker --resources "GPU=1"``
GPU = "GPU"
ON_GPU = frozenset({"reconstruct", "segment"})
#: later stages first, so that scans are finished one after the other and not all at the end
PRIORITY = {"reconstruct": 0, "segment": 1, "measure": 2}
PACKAGES = ("cohort", "recon", "phenotyping", "stats", "reports", "flows")
CONNECT_S = 30
#: of a worker's process before it starts
QUIET = {"DASK_LOGGING__DISTRIBUTED": "warning"}
LOOPBACK = ("127.0.0.1", "localhost", "::1")

Label = TypeVar("Label")


def task_runner(running: Running, *, workers: int) -> "TaskRunner[PrefectFuture[Any]]":
    """Prefect's task runner for the options of a run.

    Parameters
    ----------
    running
        Its ``runner`` and ``dask_address`` decide.
    workers
        Scans in work at once; of no effect on a cluster that is already there.

    Raises
    ------
    ConfigProblem
        Dask is asked for and not installed.
    """
    from prefect.task_runners import ThreadPoolTaskRunner

    if running.runner == "threads":
        return ThreadPoolTaskRunner(max_workers=workers)  # type: ignore[return-value]
    require_dask()
    from prefect_dask import DaskTaskRunner

    if running.dask_address:
        return DaskTaskRunner(address=running.dask_address)  # type: ignore[return-value]
    gpus = local_gpus(running)
    kwargs = {"n_workers": max(workers, len(gpus)), "gpus": gpus}
    return DaskTaskRunner(cluster_class=local_cluster, cluster_kwargs=kwargs)  # type: ignore[arg-type,return-value]


def require_dask() -> None:
    """Say now, and not when the first scan is sent away, that Dask is not installed."""
    missing = [name for name in ("dask", "distributed", "prefect_dask") if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigProblem(
            f"running.runner = \"dask\" needs {', '.join(missing)}; install it with: pip install 'cardioval[dask]'"
        )


def local_gpus(running: Running) -> tuple[str, ...]:
    """The GPUs of this machine that a local cluster uses, one worker each; none if the run is on the CPU."""
    if pick_device(running.device).type == "cpu":
        return ()
    # a card that is named by its number keeps it: the worker sees all of them
    return visible_gpus(torch.cuda.device_count()) if running.device in ("auto", "cuda") else ("",)


def local_cluster(*, n_workers: int, gpus: tuple[str, ...] = ()) -> "SpecCluster":
    """A Dask cluster of processes on this machine, a task at a time in each.

    It listens on loopback only and speaks TLS with keys made for it, because whoever may talk to a Dask scheduler can run
    code. Workers that die are started again. There is no limit of memory: a scan needs what it needs, as with threads.

    Parameters
    ----------
    n_workers
        Processes.
    gpus
        ``CUDA_VISIBLE_DEVICES`` of the workers that declare a GPU, one each, empty to leave it; the others see none.
    """
    import dask
    from distributed import Nanny, Scheduler, Security, SpecCluster

    logging.getLogger("distributed").setLevel(logging.WARNING)
    logging.getLogger("distributed.nanny").addFilter(is_news)
    security = Security.temporary()
    common: dict[str, Any] = {"host": "127.0.0.1", "protocol": "tls://", "security": security, "dashboard": False}
    common["dashboard_address"] = "127.0.0.1:0"  # of the page of numbers that Dask always serves
    workers = {}
    for index in range(n_workers):
        options: dict[str, Any] = {**common, "nthreads": 1, "memory_limit": 0}
        if gpus:
            card = gpus[index] if index < len(gpus) else None
            options["resources"] = {} if card is None else {GPU: 1}
            options["env"] = {} if card == "" else {"CUDA_VISIBLE_DEVICES": card or ""}
        workers[index] = {"cls": Nanny, "options": options}
    scheduler = {"cls": Scheduler, "options": {**common, "port": 0}}
    environment = {**dask.config.get("distributed.nanny.pre-spawn-environ"), **QUIET}
    with dask.config.set({"distributed.nanny.pre-spawn-environ": environment}):
        return SpecCluster(workers=workers, scheduler=scheduler, security=security, silence_logs=False)


def is_news(record: logging.LogRecord) -> bool:
    """Drop the warning that torch, which takes its time to leave memory, makes of every worker's end."""
    return "still alive after" not in record.getMessage()


# ---- before the run -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WorkerFacts:
    """What a worker says of itself."""

    code_sha256: str
    device: str
    sees: tuple[bool, ...]


def check_cluster(running: Running, *, paths: tuple[Path, ...]) -> str:
    """Look at a cluster that is already there, before hours are spent on it.

    Parameters
    ----------
    running
        With ``dask_address``.
    paths
        Folders that every worker must see under the same name.

    Returns
    -------
    str
        What computes, for the record of the run: the workers' devices, each once.

    Raises
    ------
    ConfigProblem
        No scheduler there, a worker has other code than this process or lacks the project, or does not see a folder; or
        the workers could not report to Prefect.
    """
    require_dask()
    check_prefect_reachable(running.dask_address)
    from distributed import Client

    try:
        client = Client(running.dask_address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, TimeoutError) as problem:
        raise ConfigProblem(
            f"running.dask_address: no Dask scheduler answers at {running.dask_address} ({problem}); start one with: dask scheduler"
        ) from problem
    with client:
        found = answers(client, device=running.device, paths=paths)
    own = code_sha256()
    for worker, facts in found.items():
        if facts.code_sha256 != own:
            raise ConfigProblem(
                f"Dask worker {worker} runs other code than this process; install the same version there"
            )
        unseen = [str(path) for path, seen in zip(paths, facts.sees, strict=True) if not seen]
        if unseen:
            raise ConfigProblem(f"Dask worker {worker} does not see {unseen[0]}; mount it there under the same name")
    devices = sorted({facts.device for facts in found.values()})
    return f"Dask: {', '.join(devices) if devices else 'workers that came later'}"


def answers(client: "Client", *, device: str, paths: tuple[Path, ...]) -> Mapping[str, WorkerFacts]:
    """What every worker that is there now says of itself.

    Raises
    ------
    ConfigProblem
        A worker could not answer: it lacks the project, or has not the device.
    """
    names = [str(path) for path in paths]
    found: dict[str, Any] = client.run(look_around, device, names, on_error="return")
    for worker, answer in found.items():
        if isinstance(answer, ConfigProblem):
            raise ConfigProblem(f"Dask worker {worker}: {answer}")
        if not isinstance(answer, WorkerFacts):
            raise ConfigProblem(
                f"Dask worker {worker} cannot run the project ({type(answer).__name__}: {answer}); install cardioval there"
            )
    return found


def look_around(device: str, paths: list[str]) -> WorkerFacts:
    """Run on a worker: its code, its device, and which of the folders it sees."""
    there = tuple(Path(path).is_dir() for path in paths)
    return WorkerFacts(code_sha256(), device_name(str(pick_device(device))), there)


@cache
def code_sha256() -> str:
    """Hash of the project's Python files, so that two machines can tell whether they run the same."""
    digest = hashlib.sha256()
    for file in sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py")):
        digest.update(file.relative_to(ROOT).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def check_prefect_reachable(address: str) -> None:
    """Refuse workers on other machines while Prefect's server is the embedded one, which listens on loopback only."""
    from prefect.settings import PREFECT_API_URL

    if urlsplit(address).hostname not in LOOPBACK and not PREFECT_API_URL.value():
        raise ConfigProblem(
            "workers on other machines need a Prefect server that they can reach: start one with prefect server start, "
            "and set PREFECT_API_URL here; see docs/scale.md"
        )


@contextlib.contextmanager
def shared_server(running: Running) -> Iterator[None]:
    """Let the workers' processes report to the Prefect server of this one, instead of each starting its own."""
    if running.runner == "threads":
        yield
        return
    from prefect.server.api.server import SubprocessASGIServer
    from prefect.settings import PREFECT_API_URL, temporary_settings

    if PREFECT_API_URL.value():
        yield
        return
    server = SubprocessASGIServer()  # the one that Prefect would start itself, and ends with this process
    server.start()
    with temporary_settings({PREFECT_API_URL: server.api_url}):
        yield


# ---- during the run -----------------------------------------------------------------------------------------------------


def pins_gpus(running: Running) -> bool:
    """Whether the GPU's stages must go to workers that declare one; asked within the flow.

    They must where a worker declares it. While a cluster has no worker yet, the device decides: ``cuda`` means that those
    which will come do.
    """
    if running.runner == "threads":
        return False
    from prefect.context import FlowRunContext

    context = FlowRunContext.get()
    if context is None:
        return False
    workers = context.task_runner.client.scheduler_info()["workers"].values()  # type: ignore[attr-defined]
    if not workers:
        return running.device.startswith("cuda")
    return any(worker["resources"].get(GPU) for worker in workers)


@contextlib.contextmanager
def placed(stage: str, running: Running, *, pinned: bool) -> Iterator[None]:
    """Tasks submitted within go to fitting workers, and before those of earlier stages."""
    if running.runner == "threads":
        yield
        return
    import dask

    resources = {"resources": {GPU: 1}} if pinned and stage in ON_GPU else {}
    with dask.annotate(priority=PRIORITY[stage], **resources):
        yield


class Awaited(Generic[Label]):
    """Tasks that were submitted, given back with their results in the order in which they end; more may be added."""

    def __init__(self) -> None:
        self._ended: SimpleQueue[PrefectFuture[Any]] = SimpleQueue()
        self._labels: dict[Any, Label] = {}

    def add(self, label: Label, future: "PrefectFuture[Any]") -> None:
        """Await one more."""
        self._labels[future.task_run_id] = label
        future.add_done_callback(self._ended.put)

    def __iter__(self) -> Iterator[tuple[Label, Any]]:
        """Label and result, or the error as an exception; the future is let go, so that its worker need not keep it."""
        while self._labels:
            future = self._ended.get()
            yield self._labels.pop(future.task_run_id), outcome_of(future)


def outcome_of(future: "PrefectFuture[Any]") -> Any:
    """The result of a task, or an exception."""
    try:
        return future.result(raise_on_failure=False)
    except Exception as problem:  # whatever a cluster has to say of a task that it gave up
        if type(problem).__name__ == "KilledWorker":
            return RuntimeError("every worker that took this task died; most often it needs more memory than they have")
        return problem


_SETTLED = threading.Lock()


def settle(threads: int) -> None:
    """Called by every task first: make this process, whichever it is, compute as all others do.

    Parameters
    ----------
    threads
        Of torch; 0 divides the cores that this process may use by the tasks that its Dask worker runs at once.
    """
    with _SETTLED:  # two threads that import nnU-Net at the same time get in each other's way
        settled()
    torch.set_num_threads(threads or max(1, n_cores() // tasks_at_once()))


@cache
def settled() -> None:
    """What is set once in a process."""
    prepare_environment()
    nnunet_library()
    one_blas_thread()


def tasks_at_once() -> int:
    """Tasks that this process runs at once, if it is a Dask worker."""
    from distributed import get_worker

    try:
        return int(get_worker().state.nthreads)
    except ValueError:
        return 1
