"""What did a stage cost on this machine? Wall time, CPU time and peak memory, measured while it runs.

Memory is that of the whole process, sampled by a light thread, and scans that are in work at once share it: `at_once`
says how many did. CPU time is the process's where the stage was alone in it all the time, and else that of its own
thread, without the helping threads of libraries. None of it is part of a stage's key or of what a repetition compares.
"""

import functools
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import psutil

from flows.caching import read_manifest

STAGES = ("reconstruct", "segment", "measure")
MANIFESTS = {"reconstruct": "reconstruction.json", "segment": "segmentation.json", "measure": "measurements.json"}
SAMPLING_S = 0.1
MEGABYTE = 1e6
USAGE = "resources"
P = ParamSpec("P")
Job = TypeVar("Job")
Result = TypeVar("Result")


def metered(stage: str) -> Callable[[Callable[Concatenate[Job, P], Result]], Callable[Concatenate[Job, P], Result]]:
    """Measure every call of a stage's function, whose first argument is the scan's job.

    Inside it :func:`used` tells what was needed so far; an error that leaves it carries that along, see
    :func:`usage_of_failure`.
    """

    def wrap(function: Callable[Concatenate[Job, P], Result]) -> Callable[Concatenate[Job, P], Result]:
        @functools.wraps(function)
        def run(job: Job, /, *args: P.args, **kwargs: P.kwargs) -> Result:
            with metering(stage, scan=str(getattr(job, "label", ""))):
                return function(job, *args, **kwargs)

        return run

    return wrap


@dataclass
class Meter:
    """One stage of one scan, while it runs."""

    stage: str
    scan: str
    wall_s: float = field(default_factory=time.perf_counter)
    process_s: float = field(default_factory=time.process_time)
    thread_s: float = field(default_factory=time.thread_time)
    peak_bytes: int = 0
    at_once: int = 1

    def usage(self) -> dict[str, Any]:
        """What was needed so far, as plain types for a manifest; to be called from the stage's own thread."""
        _sampler.sample()
        alone = self.at_once == 1
        cpu_s = time.process_time() - self.process_s if alone else time.thread_time() - self.thread_s
        return {
            "seconds": round(time.perf_counter() - self.wall_s, 4),
            "cpu_seconds": round(cpu_s, 4),
            "cpu_of": "process" if alone else "thread",
            "peak_mb": round(self.peak_bytes / MEGABYTE, 1),
            "gpu_peak_mb": _gpu_peak_mb(),
            "at_once": self.at_once,
            "finished_utc": datetime.now(UTC).isoformat(timespec="milliseconds"),
        }


_current: ContextVar[Meter | None] = ContextVar("cardioval_meter", default=None)


@contextmanager
def metering(stage: str, *, scan: str) -> Iterator[Meter]:
    """Measure a block; an error that leaves it carries the usage."""
    meter = Meter(stage, scan)
    token = _current.set(meter)
    _sampler.add(meter)
    try:
        yield meter
    except Exception as problem:
        setattr(problem, USAGE, meter.usage())
        raise
    finally:
        _sampler.remove(meter)
        _current.reset(token)


def used() -> dict[str, Any]:
    """What the running stage needed so far; empty outside of one."""
    meter = _current.get()
    return meter.usage() if meter else {}


def running() -> tuple[str, str]:
    """Stage and scan that this thread works on; empty outside of one."""
    meter = _current.get()
    return (meter.stage, meter.scan) if meter else ("", "")


def usage_of_failure(problem: BaseException) -> dict[str, Any]:
    """What a stage had needed when it failed; empty where the error does not tell."""
    usage = getattr(problem, USAGE, None)
    return dict(usage) if isinstance(usage, Mapping) else {}


def timing_rows(manifests: Iterable[Path], *, started_utc: str = "") -> list[dict[str, Any]]:
    """Summarize what the stages of the measured scans needed.

    Parameters
    ----------
    manifests
        Of the measurement stage; those of the other stages lie beside them.
    started_utc
        Begin of the run (ISO 8601); what was finished earlier is counted in ``n_earlier``.

    Returns
    -------
    list of dict
        For every stage ``stage n seconds_median seconds_max seconds_total cpu_seconds_total peak_mb gpu_peak_mb at_once
        n_earlier``; nothing for stages of earlier versions, which did not measure it.
    """
    folders = [path.parent for path in manifests]
    rows = []
    for stage in STAGES:
        paths = [folder / MANIFESTS[stage] for folder in folders]
        found = [usage for path in paths if (usage := usage_in(path))]
        if found:
            rows.append({"stage": stage, **_summary(found, started_utc)})
    return rows


def usage_in(manifest: Path) -> dict[str, Any]:
    """What a manifest says of the stage's cost; empty where it says nothing or cannot be read."""
    try:
        usage = read_manifest(manifest).get(USAGE)
    except (OSError, ValueError, AttributeError):
        return {}
    return dict(usage) if isinstance(usage, Mapping) else {}


def _summary(found: list[dict[str, Any]], started_utc: str) -> dict[str, Any]:
    seconds = [float(usage["seconds"]) for usage in found]
    on_gpu = [float(usage["gpu_peak_mb"]) for usage in found if usage.get("gpu_peak_mb") is not None]
    return {
        "n": len(found),
        "seconds_median": statistics.median(seconds),
        "seconds_max": max(seconds),
        "seconds_total": sum(seconds),
        "cpu_seconds_total": sum(float(usage["cpu_seconds"]) for usage in found),
        "peak_mb": max(float(usage["peak_mb"]) for usage in found),
        "gpu_peak_mb": max(on_gpu, default=None),
        "at_once": max(int(usage["at_once"]) for usage in found),
        "n_earlier": sum(_earlier(str(usage["finished_utc"]), started_utc) for usage in found),
    }


def _earlier(moment: str, started_utc: str) -> bool:
    return bool(started_utc) and datetime.fromisoformat(moment) < datetime.fromisoformat(started_utc)


def _gpu_peak_mb() -> float | None:
    """Peak of the process's memory on the GPU since it began; None without one, and never a reason to load torch."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    return round(torch.cuda.max_memory_allocated() / MEGABYTE, 1)


class _Sampler:
    """One thread of the process that looks at its memory while any stage runs, and ends with the last."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.meters: list[Meter] = []
        self.process = psutil.Process()
        self.wake = threading.Event()
        self.thread: threading.Thread | None = None

    def add(self, meter: Meter) -> None:
        with self.lock:
            self.meters.append(meter)
            for other in self.meters:
                other.at_once = max(other.at_once, len(self.meters))
            if self.thread is None:
                self.wake = threading.Event()
                self.thread = threading.Thread(target=self._watch, args=(self.wake,), daemon=True, name="memory")
                self.thread.start()
        self.sample()

    def remove(self, meter: Meter) -> None:
        with self.lock:
            self.meters.remove(meter)
            if not self.meters:
                self.wake.set()
                self.thread = None

    def sample(self) -> None:
        now = self.process.memory_info().rss
        with self.lock:
            for meter in self.meters:
                meter.peak_bytes = max(meter.peak_bytes, now)

    def _watch(self, wake: threading.Event) -> None:
        while not wake.wait(SAMPLING_S):
            self.sample()


_sampler = _Sampler()


def _after_fork() -> None:
    """A forked process has neither the thread nor the stages of its parent."""
    global _sampler
    _sampler = _Sampler()


os.register_at_fork(after_in_child=_after_fork)
