"""How long does the report of a very large study take, how large is it, how fast does it open? Writes report_scale.json and .md.

    python benchmarks/report_scale.py [--patients 1500] [--centers 13] [--methods 3] [--accelerations 4] [--repeats 3] [--out FILE]

The table is drawn (benchmarks/report_cohort.py), analyzed, and given a gallery of drawn pictures: three slices, all arms.
The report (page and PDF) is built in a process of its own: seconds by the clock and of all cores, and the largest memory
of that process, Python and libraries included. Seconds by the clock mean little on a machine with other work, so the load is
stated too. The page is opened in Chromium, a new profile each time; "load" is from the
start of the navigation to the end of the load event, "idle" until the first moment that nothing is left to do, "open a
folded plot" from the click to the next frame. Of several openings the median is given. Nothing here is evidence about a method.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from benchmarks.report_cohort import large_table  # noqa: E402
from benchmarks.run_facts import run_facts  # noqa: E402

WANTED = {"build_s": 120.0, "build_peak_mib": 2048.0, "page_mb": 30.0, "load_s": 3.0}
BUILD = """
import json, resource, sys, time
from pathlib import Path
start = time.perf_counter()
from reports.study import write_study_report
folder = Path(sys.argv[1])
results = json.loads((folder / "results.json").read_text())
read = time.perf_counter()
write_study_report(folder, results)
use = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({"build_s": time.perf_counter() - start, "of_which_reading_s": read - start,
    "build_core_s": use.ru_utime + use.ru_stime, "build_peak_mib": use.ru_maxrss / 1024}))
"""


def write_results(folder: Path, *, patients: int, centers: int, methods: int, accelerations: int) -> dict[str, Any]:
    """results.json of a drawn study, with a gallery; what it took."""
    from flows.analysis import analyse
    from flows.margins import load_margins

    table = large_table(patients, centers, methods, accelerations)
    start = time.perf_counter()
    results = analyse(table, margins=load_margins())
    seconds = time.perf_counter() - start
    results["gallery"] = draw_gallery(folder, results["arms"])
    results["provenance"] = {"cardioval_version": metadata.version("cardioval"), "commit": None}
    (folder / "results.json").write_text(json.dumps(results, allow_nan=False), encoding="utf-8")
    return {
        "rows": len(table),
        "comparisons": len(results["agreement"]),
        "pairs": sum(len(r.get("pairs") or []) for r in results["agreement"]),
        "analysis_s": seconds,
        "results_mb": (folder / "results.json").stat().st_size / 1e6,
    }


def draw_gallery(folder: Path, arms: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rings with noise for every accelerated arm."""
    rng = np.random.default_rng(5)
    (folder / "gallery").mkdir()
    y, x = np.mgrid[:192, :192]
    entries = []
    for phase, radius in (("ED", 30.0), ("ES", 20.0), ("map", 28.0)):
        r = np.hypot(y - 96, x - 100)
        labels = np.select([r < radius, r < radius + 14], [1, 2], 0).astype(np.uint8)
        clean = np.choose(labels, (300, 1500, 1150) if phase == "map" else (0.2, 1.0, 0.45)).astype(np.float32)
        for arm in (a for a in arms if a["arm"] != "fully_sampled"):
            path = f"gallery/{phase}_{arm['arm']}.npz"
            noisy = clean * (1 + 0.05 * rng.standard_normal(clean.shape)).astype(np.float32)
            np.savez(folder / path, reference=clean, image=noisy, labels_reference=labels, labels_image=labels,
                     spacing_mm=np.array([8.0, 1.6, 1.6]))  # fmt: skip
            about = {"path": path, "center": "Center001", "patient": "P0001", "phase": phase, "slice": 3}
            about["modality"] = "T1map" if phase == "map" else "Cine"
            entries.append(about | {k: arm[k] for k in ("arm", "method", "pattern", "acceleration")})
    return entries


def build(folder: Path) -> dict[str, float]:
    """The report in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    arguments = [sys.executable, "-c", BUILD, str(folder)]
    done = subprocess.run(arguments, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the report could not be built:\n{done.stderr[-3000:]}")
    facts: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    sizes = {"page_mb": "index.html", "pdf_mb": "report.pdf"}
    return facts | {k: (folder / "report" / name).stat().st_size / 1e6 for k, name in sizes.items()}


def open_page(path: Path, repeats: int) -> dict[str, float]:
    """Medians over several openings in Chromium."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("no Chromium on the path: expected chromium, chromium-browser or google-chrome")
    runs = []
    with sync_playwright() as driver:
        for _ in range(repeats):
            browser = driver.chromium.launch(
                executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
            )
            runs.append(visit(browser.new_page(viewport={"width": 1440, "height": 900}), path))
            browser.close()
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def visit(page: Any, path: Path) -> dict[str, float]:
    """One opening."""
    page.goto(path.as_uri(), wait_until="load")
    page.evaluate("() => new Promise(done => requestIdleCallback(done))")
    facts: dict[str, float] = page.evaluate(
        """() => {
          const idle = performance.now(), n = performance.getEntriesByType('navigation')[0];
          const paint = performance.getEntriesByName('first-contentful-paint')[0];
          return { load_s: n.loadEventEnd / 1000, first_paint_s: paint ? paint.startTime / 1000 : null, idle_s: idle / 1000,
                   elements: document.querySelectorAll('*').length };
        }"""
    )
    facts["open_a_folded_plot_s"] = page.evaluate(
        """async () => {
          const folded = document.querySelector('details.plots:not([open])');
          if (!folded) return 0;
          const start = performance.now();
          folded.open = true; folded.scrollIntoView();
          const read = Promise.all([...folded.querySelectorAll('img')].map(i => i.decode()));
          await Promise.race([read, new Promise((_, no) => setTimeout(() => no(new Error('not read in 30 s')), 30000))]);
          await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
          return (performance.now() - start) / 1000;
        }"""
    )
    return facts


def markdown(case: dict[str, Any], measured: dict[str, Any]) -> str:
    """The table that is committed beside the numbers."""
    names = {
        "analysis_s": ("analysis (s, one core)", ".1f"),
        "results_mb": ("results.json (MB)", ".1f"),
        "build_s": ("build of page and PDF (s)", ".1f"),
        "build_core_s": ("the same, of all cores (s)", ".1f"),
        "build_peak_mib": ("largest memory (MiB)", ".0f"),
        "page_mb": ("page (MB)", ".1f"),
        "pdf_mb": ("PDF (MB)", ".1f"),
        "first_paint_s": ("first paint (s)", ".2f"),
        "load_s": ("load event (s)", ".2f"),
        "idle_s": ("nothing left to do (s)", ".2f"),
        "open_a_folded_plot_s": ("open a folded plot (s)", ".2f"),
        "elements": ("elements on the page", ".0f"),
    }
    lines = [
        f"# Report of {case['patients']} patients, {case['methods']} methods, {case['accelerations']} accelerations, "
        f"{case['centers']} centers",
        "",
        f"{measured['comparisons']} comparisons, {measured['pairs']} pairs, {measured['rows']} rows of measurements. Drawn data: "
        "nothing here is evidence about a method.",
        "",
        "| what | measured | wanted at most |",
        "|---|---|---|",
    ]
    for key, (label, form) in names.items():
        value = "–" if measured[key] is None else format(measured[key], form)
        lines.append(f"| {label} | {value} | {WANTED.get(key, '')} |")
    load = case["load_average"]
    shared = (
        f"{case['cores']} cores, with a load average of {load['before_build']:.1f} before the build and {load['after_opening']:.1f} "
        "after the page was opened: what is above the number of cores is other work, and seconds by the clock grow with it; "
        "those of all cores do not count waiting."
    )
    return "\n".join([*lines, "", shared, "", f"Call: `{case['command']}`", ""])


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("patients", 1500), ("centers", 13), ("methods", 3), ("accelerations", 4), ("repeats", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--keep", type=Path, help="leave the run folder here")
    options = parser.parse_args()
    case = {k: getattr(options, k) for k in ("patients", "centers", "methods", "accelerations")}
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        measured: dict[str, Any] = write_results(folder, **case)
        print(f"analyzed: {measured}", flush=True)
        load_before = os.getloadavg()[0]
        measured |= build(folder)
        print(f"built: {measured}", flush=True)
        measured |= open_page(folder / "report" / "index.html", options.repeats)
    facts = run_facts("benchmarks/report_scale.py")
    facts["versions"] |= {name: metadata.version(name) for name in ("matplotlib", "typst", "jinja2", "playwright")}
    facts["machine"] |= {"load_average": {"before_build": load_before, "after_opening": os.getloadavg()[0]}}
    facts["own_peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    kept = {"case": case, "wanted_at_most": WANTED, "measured": measured, **facts}
    options.out.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    table = markdown(case | {"command": facts["command"]} | facts["machine"], measured)
    options.out.with_suffix(".md").write_text(table, encoding="utf-8")
    print(table)


if __name__ == "__main__":
    main()
