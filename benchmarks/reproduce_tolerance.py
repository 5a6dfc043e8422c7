"""How far do measurements move on another processor, with other threads, or in bf16? Writes reproduce_tolerance.json and .md.

    python benchmarks/reproduce_tolerance.py DIR [--out benchmarks/reproduce_tolerance]

DIR gets six synthetic scans (two centers; cine, T1, T2) and the results of each variant. Every variant runs in a process
of its own, since libraries choose their instructions when they are loaded:

base        the processor's own instructions, one thread
avx2        torch, oneDNN, MKL and OpenBLAS held to AVX2: another class of processor
threads2    two threads of torch
bf16        CardioMM in bf16 and the segmentation under autocast to bf16: coarser than what a graphics card does
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

AVX2 = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
}


@dataclass(frozen=True)
class Variant:
    """Another way to compute the same."""

    name: str
    environment: dict[str, str] = field(default_factory=dict)
    threads: int = 1
    bf16: bool = False


VARIANTS = (
    Variant("base"),
    Variant("avx2", AVX2),
    Variant("threads2", threads=2),
    Variant("bf16", bf16=True),
)
HEADINGS = {"avx2": "AVX2", "threads2": "two threads", "bf16": "bf16"}


def main() -> None:
    """Run the variants and compare them with the first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "reproduce_tolerance")
    parser.add_argument("--variant", choices=[v.name for v in VARIANTS], help=argparse.SUPPRESS)
    given = parser.parse_args()
    cohort = given.folder / "cohort"
    if given.variant:
        run(next(v for v in VARIANTS if v.name == given.variant), cohort, given.folder / given.variant)
        return
    if not cohort.exists():
        simulate(cohort)
    for variant in VARIANTS:
        words = [sys.executable, __file__, str(given.folder), "--variant", variant.name]
        subprocess.run(words, env=os.environ | variant.environment, check=True)
    report(given.folder, given.out)


def simulate(cohort: Path) -> None:
    """Two centers, a patient each: cine, T1 and T2 mapping."""
    from cohort.synthetic.acquisition import Receiver
    from cohort.synthetic.study import Center, ScanPlan, simulate_cohort

    receiver = Receiver(n_coils=6, snr=40.0)
    centers = [
        Center("Center001", "Siemens", "Aera", 1.5, (88, 104), (300.0, 340.0), receiver),
        Center("Center002", "GE", "Voyager", 1.5, (96, 104), (300.0, 340.0), receiver),
    ]
    simulate_cohort(cohort, centers=centers, patients_per_center=1, plan=ScanPlan(n_frames=5, n_slices=6), seed=3)


def run(variant: Variant, cohort: Path, out: Path) -> None:
    """All scans of the cohort in one variant; the table is ``table.parquet``."""
    import torch

    from flows.caching import read_manifest
    from flows.config import Reconstruction, Undersampling, ValidationConfig
    from flows.measure import measure_scan
    from flows.outcome import measurement_table
    from flows.running import Running, one_blas_thread
    from flows.stages import reconstruct_scan, segment_scan
    from flows.validate import chosen_scans, job_of

    torch.set_num_threads(variant.threads)
    one_blas_thread()
    config = ValidationConfig(
        name="tolerance",
        cohort=cohort.resolve(),
        out=out.resolve(),
        undersampling=Undersampling(patterns=(("Uniform", 8.0),)),
        reconstruction=Reconstruction(
            methods=("sense", "cardiomm"), precision="bf16" if variant.bf16 else "fp32", reliability=False
        ),
        running=Running(device="cpu"),
    )
    rows: list[dict[str, Any]] = []
    for row in chosen_scans(config).to_dict("records"):
        job = job_of(row, config)
        images = reconstruct_scan(job, config)
        with torch.autocast("cpu", torch.bfloat16) if variant.bf16 else contextlib.nullcontext():
            labels = segment_scan(job, images, config)
        rows += read_manifest(measure_scan(job, images, labels, config))["rows"]
    measurement_table(rows).to_parquet(out / "table.parquet", index=False)
    print(f"{variant.name}: {len(rows)} rows, {torch.backends.cpu.get_cpu_capability()}", flush=True)


def report(folder: Path, out: Path) -> None:
    """Largest difference of every phenotype and variant, beside the stated tolerances."""
    import pandas as pd
    from run_facts import run_facts

    from flows.reproduce_compare import compare_tables, tolerances

    tables = {v.name: pd.read_parquet(folder / v.name / "table.parquet") for v in VARIANTS}
    tables = {name: table[table["method"] != "truth"] for name, table in tables.items()}
    found = {n: compare_tables(tables["base"], tables[n], basis="gpu") for n in HEADINGS}
    limits = {"other_cpu": tolerances("other_cpu"), "gpu": tolerances("gpu")}
    content = {
        "facts": run_facts("benchmarks/reproduce_tolerance.py"),
        "variants": [asdict(v) for v in VARIANTS],
        "counts": {name: dict(comparison.counts) for name, comparison in found.items()},
        "phenotypes": {name: [dict(line) for line in c.phenotypes] for name, c in found.items()},
    }
    out.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    largest = {name: {line["phenotype"]: line["largest"] for line in c.phenotypes} for name, c in found.items()}
    lines = [
        "# How far measurements move when they are computed otherwise",
        "",
        "`python benchmarks/reproduce_tolerance.py DIR`: six synthetic scans, fully sampled, SENSE and CardioMM at 8x.",
        "Largest absolute difference from one thread with the processor's own instructions, in the phenotype's unit,",
        "beside the tolerances of `flows/configs/reproduce.toml`. bf16 stands for a graphics card, and is coarser.",
        "",
        f"| | {' | '.join(HEADINGS.values())} | other_cpu | gpu |",
        "|---|" + "---|" * (len(HEADINGS) + 2),
    ]
    for name in largest["bf16"]:
        seen = " | ".join(f"{largest[v][name]:.2g}" for v in HEADINGS)
        lines.append(f"| `{name}` | {seen} | {limits['other_cpu'][name]:g} | {limits['gpu'][name]:g} |")
    identical = ", ".join(
        f"{HEADINGS[n]} {c.counts['identical']} of {sum(c.counts.values())}" for n, c in found.items()
    )
    lines += ["", f"Rows with the same bits: {identical}. No status changed.", ""]
    if any(c.counts["different"] for c in found.values()):
        raise SystemExit("a row is outside of the tolerance for a graphics card; see the json")
    out.with_suffix(".md").write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
