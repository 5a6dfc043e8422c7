"""Time and memory of stages: what is measured, what is shared, what a failure carries, the summary and its section."""

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cohort.records import MeasurementFailed
from flows import resources
from flows.resources import (
    MANIFESTS,
    USAGE,
    metered,
    metering,
    running,
    timing_rows,
    usage_in,
    usage_of_failure,
    used,
)
from reports.document import Context, Pictures
from reports.sections import SECTIONS

STARTED = "2026-05-01T10:00:00+00:00"


class Job:
    label = "Center001 P001 cine_sax"


def test_a_stage_knows_itself_and_what_it_needed() -> None:
    @metered("measure")
    def stage(job: Job, megabytes: int) -> tuple[dict[str, Any], tuple[str, str]]:
        """Its words stay."""
        del job
        held = np.ones(megabytes * 1_000_000, np.uint8)
        usage = used()
        del held
        return usage, running()

    before = resources._sampler.process.memory_info().rss / 1e6
    usage, (name, scan) = stage(Job(), megabytes=200)
    assert (name, scan) == ("measure", Job.label)
    assert stage.__doc__ == "Its words stay."
    assert usage["peak_mb"] >= before + 150
    assert usage["seconds"] > 0
    assert usage["cpu_seconds"] > 0
    assert (usage["at_once"], usage["cpu_of"]) == (1, "process")
    assert used() == {}
    assert running() == ("", "")


def test_memory_between_two_looks_is_seen_by_the_sampler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "SAMPLING_S", 0.001)
    looked = threading.Event()
    with metering("measure", scan="x") as meter:
        base = meter.peak_bytes
        held = np.ones(150_000_000, np.uint8)
        while meter.peak_bytes < base + 100_000_000 and not looked.wait(0.01):
            pass  # nobody but the thread looks here
        del held
    assert meter.peak_bytes >= base + 100_000_000


def test_scans_in_one_process_at_once_are_said_to_share_it() -> None:
    both = threading.Barrier(2, timeout=60)
    found: list[dict[str, Any]] = []

    @metered("segment")
    def stage(job: Job) -> None:
        del job
        both.wait()
        found.append(used())
        both.wait()

    threads = [threading.Thread(target=stage, args=(Job(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(u["at_once"], u["cpu_of"]) for u in found] == [(2, "thread")] * 2
    assert resources._sampler.meters == []
    assert resources._sampler.thread is None


def test_an_error_carries_what_was_needed_and_leaves_nothing_behind() -> None:
    @metered("measure")
    def stage(job: Job) -> None:
        del job
        raise MeasurementFailed("no myocardium")

    with pytest.raises(MeasurementFailed, match="no myocardium") as caught:
        stage(Job())
    assert usage_of_failure(caught.value)["seconds"] >= 0
    assert usage_of_failure(ValueError("from elsewhere")) == {}
    assert resources._sampler.meters == []


def usage(seconds: float, peak: float, *, at_once: int = 1, finished: str = "2026-05-01T10:05:00.000+00:00") -> dict:
    return {
        "seconds": seconds,
        "cpu_seconds": seconds / 2,
        "cpu_of": "process",
        "peak_mb": peak,
        "gpu_peak_mb": None,
        "at_once": at_once,
        "finished_utc": finished,
    }


def manifests_with(folder: Path, usages: list[dict[str, dict]]) -> list[Path]:
    paths = []
    for number, of_stage in enumerate(usages):
        scan = folder / str(number)
        scan.mkdir()
        for stage, name in MANIFESTS.items():
            content = {"key": "k", "files": {}} | ({USAGE: of_stage[stage]} if stage in of_stage else {})
            (scan / name).write_text(json.dumps(content))
        paths.append(scan / "measurements.json")
    return paths


def test_summary_of_the_stages(tmp_path: Path) -> None:
    early = "2026-05-01T09:00:00.000+00:00"
    paths = manifests_with(
        tmp_path,
        [
            {"reconstruct": usage(1, 100), "measure": usage(4, 300)},
            {"reconstruct": usage(2, 500, at_once=2), "measure": usage(5, 200)},
            {"reconstruct": usage(9, 400, finished=early), "measure": usage(6, 100)},
        ],
    )
    first, second = timing_rows(paths, started_utc=STARTED)
    assert first == {
        "stage": "reconstruct",
        "n": 3,
        "seconds_median": 2,
        "seconds_max": 9,
        "seconds_total": 12,
        "cpu_seconds_total": 6,
        "peak_mb": 500,
        "gpu_peak_mb": None,
        "at_once": 2,
        "n_earlier": 1,
    }
    assert (second["stage"], second["seconds_median"], second["n_earlier"]) == ("measure", 5, 0)


def test_manifests_without_usage_say_nothing(tmp_path: Path) -> None:
    paths = manifests_with(tmp_path, [{}])
    assert timing_rows(paths) == []
    assert usage_in(tmp_path / "absent.json") == {}
    (tmp_path / "half.json").write_text('{"resources": ')
    assert usage_in(tmp_path / "half.json") == {}


def section(results: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    return SECTIONS["timing"](Context(results=results, texts={}, run_dir=folder, pictures=Pictures()))


def test_section_of_the_report(tmp_path: Path) -> None:
    paths = manifests_with(tmp_path, [{"reconstruct": usage(1.25, 1234.4, at_once=2, finished=STARTED)}])
    blocks = section({"timing": timing_rows(paths, started_utc="2026-05-01T11:00:00+00:00")}, tmp_path)
    assert [b["kind"] for b in blocks] == ["table", "text", "text"]
    assert "2 scans were in work at once" in str(blocks[1])
    assert "resumed" in str(blocks[2])
    shown = str(blocks[0])
    for text in ("Reconstruct", "1.25", "1234"):
        assert text in shown
    assert "GPU" not in shown


def test_section_of_a_run_without_timing(tmp_path: Path) -> None:
    assert section({}, tmp_path)[0]["absent"] is True
