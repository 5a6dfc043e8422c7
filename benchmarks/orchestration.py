"""What does it cost to have Prefect, and Dask, order the work of 60 scans? Writes orchestration.json and .md.

    python benchmarks/orchestration.py [--scans 60] [--repeats 3] [--run DIR] [--out FILE.json]

The flow of a validation runs with stand-ins for its stages, which compute for a known time of a core and do nothing else; the plain loop
calls them in a pool of as many threads. Every run is a process of its own with all that it starts (Prefect's embedded server, Dask's workers),
and all their time of cores is counted, which other work on the machine changes little. Runs of 4 and of all scans tell what is paid once
and what for each scan: `overhead = time of cores - time of the stand-ins`. Shares are of what the stages of the demo took
for each scan on this machine, from the manifests of a finished `cardioval demo`, or of another run with one scan in work at once.
"""

import argparse
import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

WORKERS = 2
FEW = 4
STAND_IN_S = {"reconstruct": 0.3, "segment": 0.1, "measure": 0.1}
CONTENT = bytes(2**21)
KINDS = ("plain loop", "threads", "dask")
WANTED_SHARE = 0.05


def stand_in(stage: str) -> str:
    """Compute for a known time of a core; like the libraries of the stages, without Python's lock."""
    end = time.thread_time() + STAND_IN_S[stage]
    while time.thread_time() < end:
        hashlib.sha256(CONTENT)
    return stage


def run_plain(n_scans: int) -> float:
    """All scans in a pool of threads, their stages one after the other; seconds by the clock."""
    start = time.perf_counter()
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(lambda _: [stand_in(stage) for stage in STAND_IN_S], range(n_scans)))
    return time.perf_counter() - start


def run_flow(n_scans: int, runner: str, folder: Path) -> float:
    """All scans through the flow of a validation; seconds by the clock, without the start of servers and workers."""
    from prefect import task

    from flows import validate as flow
    from flows.config import ValidationConfig
    from flows.run_server import server_of_run
    from flows.runners import settle, shared_server, task_runner
    from flows.running import Running
    from flows.stages import ScanJob

    @task(name="reconstruct", **flow.STAGE)
    def reconstruct(job: ScanJob, config: ValidationConfig, threads: int, summarized: object) -> str:
        del job, config, summarized
        settle(threads)
        return stand_in("reconstruct")

    @task(name="segment", **flow.STAGE)
    def segment(job: ScanJob, reconstruction: str, config: ValidationConfig, threads: int) -> str:
        del job, reconstruction, config
        settle(threads)
        return stand_in("segment")

    @task(name="measure", **flow.STAGE)
    def measure(job: ScanJob, reconstruction: str, segmentation: str, config: ValidationConfig, threads: int) -> str:
        del job, reconstruction, segmentation, config
        settle(threads)
        return stand_in("measure")

    flow.TASKS = {"reconstruct": reconstruct, "segment": segment, "measure": measure}
    config = ValidationConfig(
        name="trial", cohort=folder, out=folder, running=Running(device="cpu", workers=WORKERS, runner=runner)
    )
    jobs = [job_of(number, folder) for number in range(n_scans)]
    first = 0.0

    def advance(*_: Any) -> None:
        nonlocal first
        first = first or time.perf_counter()

    with server_of_run(), shared_server(config.running):
        run = flow.validate_scans.with_options(task_runner=task_runner(config.running, workers=WORKERS))
        measured, failed = run(config.name, n_scans, flow.Work(jobs, config, 1, advance))
        seconds = time.perf_counter() - first
    if failed or len(measured) != n_scans:
        raise SystemExit(f"{len(failed)} of {n_scans} failed: {failed[:1]}")
    return seconds


def job_of(number: int, folder: Path) -> Any:
    """A scan that is not there."""
    from flows.stages import ScanJob

    texts = {"study": "trial", "center": "Center001", "vendor": "Siemens", "scanner": "Vida", "disease": "normal"}
    texts |= {"modality": "cine", "view": "short-axis", "stem": "cine_sax", "patient": f"P{number:03d}"}
    return ScanJob(**texts, field_t=3.0, path=folder / f"{number}.mat", folder=folder / f"P{number:03d}")


def measured_run(kind: str, n_scans: int) -> dict[str, float]:
    """A run in a process of its own, with everything that it starts."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"PREFECT_HOME": f"{folder}/prefect", "OMP_NUM_THREADS": "1"}
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        arguments = [sys.executable, __file__, "--one", kind, "--scans", str(n_scans), "--folder", folder]
        done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)
        wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{kind}, {n_scans} scans:\n{done.stderr[-3000:]}")
    cores = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    found = {"wall_s": wall, "inner_wall_s": json.loads(done.stdout.splitlines()[-1]), "core_s": cores}
    print(kind, n_scans, found, f"load {os.getloadavg()[0]:.1f}", flush=True)
    return found | {"load": os.getloadavg()[0]}


def overheads(few: dict[str, float], all_scans: dict[str, float], *, n_scans: int) -> dict[str, float]:
    """Time of cores paid for each scan and once, beyond the stand-ins."""
    of_stages = sum(STAND_IN_S.values())
    per_scan = (all_scans["core_s"] - few["core_s"]) / (n_scans - FEW) - of_stages
    return {"per_scan_s": per_scan, "once_s": all_scans["core_s"] - n_scans * (per_scan + of_stages)}


def compute_of_run(run: Path) -> dict[str, Any]:
    """Time of cores that the stages of a finished run took for a scan, of how many scans that is the mean, and by megapixel."""
    from flows.resources import MANIFESTS, usage_in

    scans = [path.parent for path in run.rglob(MANIFESTS["measure"])]
    stages = {stage: [usage_in(scan / name)["cpu_seconds"] for scan in scans] for stage, name in MANIFESTS.items()}
    images, megapixels = [], 0.0
    for scan in scans:
        made = json.loads((scan / MANIFESTS["reconstruct"]).read_text(encoding="utf-8"))
        images.append(len(made["arms"]))
        frames, slices, _, ky, kx = made["shape"]
        megapixels += len(made["arms"]) * frames * slices * ky * kx / 1e6
    return {
        "scan_s": sum(map(sum, stages.values())) / len(scans),
        "scans": len(scans),
        "images": statistics.fmean(images),
        "megapixels": megapixels,
        "stage_s": {stage: sum(seconds) for stage, seconds in stages.items()},
    }


def as_page(result: dict[str, Any]) -> str:
    """The results as a page."""
    scans, compute = result["scans"], result["compute"]
    rows = []
    for kind in KINDS:
        cost = result["overhead"][kind]
        whole = cost["once_s"] + scans * cost["per_scan_s"]
        rows.append(
            f"| {kind} | {cost['once_s']:.1f} | {cost['per_scan_s']:.3f} | {whole:.1f} | {whole / (scans * compute['scan_s']):.2%} "
            f"| {cost['per_scan_s'] / compute['scan_s']:.2%} | {cost['wall_s']:.1f} | {cost['ideal_wall_s']:.1f} | {cost['load']:.1f} |"
        )
    return f"""# Cost of orchestration, {scans} scans on {WORKERS} cores

| runner | once, core s | for each scan, core s | {scans} scans in all, core s | share of the demo's compute | without what is paid once | {scans} scans, s by the clock | of stand-ins alone | load average |
|---|---|---|---|---|---|---|---|---|
{chr(10).join(rows)}

Medians of {result["repeats"]} runs. "Once" holds the start of Python and its libraries, of Prefect's embedded server, of Dask's workers, and in each process the
import of nnU-Net. The measure of compute: a scan of the demo, {compute["images"]:.0f} images of it, takes {compute["scan_s"]:.1f} s of a core in its three stages (mean of {compute["scans"]}); it is
small, and scans of hospitals take minutes, so that the shares there are smaller still. Wanted: below {WANTED_SHARE:.0%} of compute for {scans} scans. Seconds by the clock are
from the first finished stage to the last; they hold waiting for cores that other work on the machine had, of which the load average tells (above {WORKERS}).

Call: `{result["command"]}`
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scans", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--run", type=Path, default=ROOT / "demo" / "run", help="finished run whose compute is the measure"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "orchestration.json")
    parser.add_argument("--one", choices=KINDS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        seconds = run_plain(asked.scans) if asked.one == KINDS[0] else run_flow(asked.scans, asked.one, asked.folder)
        print(json.dumps(seconds))
        return
    from benchmarks.run_facts import run_facts

    result: dict[str, Any] = {
        **run_facts("benchmarks/orchestration.py"),
        "scans": asked.scans,
        "repeats": asked.repeats,
    }
    result |= {
        "workers": WORKERS,
        "stand_in_s": STAND_IN_S,
        "compute": compute_of_run(asked.run),
        "runs": {},
        "overhead": {},
    }
    for kind in KINDS:
        runs = [{n: measured_run(kind, n) for n in (FEW, asked.scans)} for _ in range(asked.repeats)]
        costs = [overheads(run[FEW], run[asked.scans], n_scans=asked.scans) for run in runs]
        result["runs"][kind] = runs
        result["overhead"][kind] = {name: statistics.median(cost[name] for cost in costs) for name in costs[0]} | {
            "wall_s": statistics.median(run[asked.scans]["inner_wall_s"] for run in runs),
            "ideal_wall_s": asked.scans * sum(STAND_IN_S.values()) / WORKERS,
            "load": max(run[asked.scans]["load"] for run in runs),
        }
    asked.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    asked.out.with_suffix(".md").write_text(as_page(result), encoding="utf-8")


if __name__ == "__main__":
    main()
