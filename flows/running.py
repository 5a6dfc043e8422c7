"""How is a run carried out? Device, workers, threads and where tasks compute; nothing here changes a number by more than
the rounding of single precision."""

import os
import re
from dataclasses import dataclass
from typing import Literal, get_args

from threadpoolctl import threadpool_limits

from cohort.records import ConfigProblem

Runner = Literal["threads", "dask"]


@dataclass(frozen=True)
class Running:
    """How, not what.

    Attributes
    ----------
    device
        ``auto``, ``cpu`` or ``cuda``.
    runner
        ``threads`` of this process, or the workers of a ``dask`` cluster; see ``flows.runners``.
    dask_address
        Scheduler of a cluster that is already there, such as ``tcp://10.0.0.5:8786``; empty for one on this machine.
    workers
        Scans in work at once; 0 for one a core (one on a GPU). A cluster that is already there decides it itself.
    threads
        Threads of torch for each scan in work. They add up the parts of a sum in another order, which the last digits of
        SENSE show (1e-5 of an NMSE, 1e-7 of a PSNR), so that equal numbers need equal threads. 0 divides the cores by the
        scans in work, and those digits then depend on the machine.
    retries
        Times a stage is tried again after a failure of the machine (never after bad input).
    batch_size
        Frames that go through CardioMM at once; 0 for as many as memory allows.
    keep_images
        Keep reconstructed images of all arms; False removes them once they are measured.
    """

    device: str = "auto"
    runner: Runner = "threads"
    dask_address: str = ""
    workers: int = 0
    threads: int = 1
    retries: int = 2
    batch_size: int = 0
    keep_images: bool = True

    def __post_init__(self) -> None:
        if min(self.workers, self.threads, self.retries, self.batch_size) < 0:
            raise ConfigProblem("running: workers, threads, retries and batch_size cannot be negative")
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device):
            raise ConfigProblem(f"running.device: expected auto, cpu or cuda, got {self.device!r}")
        if self.runner not in get_args(Runner):
            raise ConfigProblem(f"running.runner: expected {', '.join(get_args(Runner))}, got {self.runner!r}")
        if self.dask_address and self.runner != "dask":
            raise ConfigProblem('running.dask_address is only used with runner = "dask"; set that or leave it out')
        if self.dask_address and not re.fullmatch(r"(tcp|tls|ucx|ws|wss)://\S+:\d+", self.dask_address):
            raise ConfigProblem(
                f'running.dask_address: expected a scheduler such as "tcp://10.0.0.5:8786", got {self.dask_address!r}'
            )


def worker_count(running: Running, *, on_gpu: bool) -> int:
    """Scans in work at once."""
    if running.workers > 0:
        return running.workers
    return 1 if on_gpu else n_cores()


def thread_count(running: Running, *, workers: int) -> int:
    """Threads of torch for each scan, so that all of them together are no more than the cores."""
    return running.threads or max(1, n_cores() // workers)


def n_cores() -> int:
    """Cores that this process may use."""
    return max(1, len(os.sched_getaffinity(0)))


def one_blas_thread() -> None:
    """Give numpy's linear algebra one thread: its many small products gain nothing from more, and waiting threads burn
    the cores that other scans need."""
    threadpool_limits(limits=1, user_api="blas")
