"""How far from the truth are the phenotypes of fully sampled scans? Writes phenotype_proof.json and phenotype_proof.md.

    python benchmarks/phenotype_proof.py DIR [--per-center 10] [--model DIR] [--out benchmarks/phenotype_proof]

DIR gets the cohort (about 0.1 GB a patient; kept and used again): synthetic patients of every disease in four centers of
0.55 to 5 T, with a short-axis cine, T1 and T2 mapping each, from seeds that no training draws. The stages of a validation
reconstruct them fully sampled, segment and measure them, and the values are compared with the truth in closed form. A second
arm measures the true labels (the rasterized truth) instead of the network's, to tell what the measurement does wrong from
what the segmentation does wrong; each with whole basal slices (the default) and with the base fitted to the beat
(`lv_base = "fitted"`, `rv_base = "fitted"`). Percent are of the true value.
"""

import argparse
import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track
from run_facts import run_facts

from cohort.images import read_labels, write_labels
from cohort.synthetic.acquisition import Receiver
from cohort.synthetic.study import Center, ScanPlan, simulate_cohort
from flows.caching import read_manifest, write_manifest
from flows.config import REFERENCE, Phenotyping, Segmentation, ValidationConfig
from flows.measure import TRUTH, measure_scan
from flows.stages import ScanJob, reconstruct_scan, segment_scan
from flows.validate import chosen_scans, job_of
from phenotyping.basal_apical import LvBase
from phenotyping.nnunet import model_identity
from stats.bland_altman import bland_altman

SEED = 4242
FOV_MM = (312.0, 352.0)
CENTERS = (
    Center("Center201", "Siemens", "Freemax", 0.55, (156, 176), FOV_MM, Receiver(n_coils=6, snr=20.0)),
    Center("Center202", "Siemens", "Aera", 1.5, (174, 196), FOV_MM, Receiver(n_coils=8, snr=35.0)),
    Center(
        "Center203", "GE", "Premier", 3.0, (196, 220), FOV_MM, Receiver(n_coils=8, snr=45.0, prescan_normalized=True)
    ),
    Center("Center204", "UIH", "umr890", 5.0, (208, 234), FOV_MM, Receiver(n_coils=8, snr=50.0)),
)
PLAN = ScanPlan(n_frames=12, n_slices=13)  # 8 mm apart: the stack covers the heart and more, as a scan should
ARMS = ("network labels", "network labels, base fitted", "true labels", "true labels, base fitted")


@dataclass(frozen=True)
class Target:
    """Largest bias, and half-width of the limits where asked for; in percent of the truth, or as they are."""

    bias: float
    percent: bool
    limits: float | None = None


TARGETS = {
    "lv_ef_percent": Target(1.0, percent=False, limits=4.0),
    "rv_ef_percent": Target(1.0, percent=False, limits=4.0),
    "lv_edv_ml": Target(3.0, percent=True),
    "lv_esv_ml": Target(3.0, percent=True),
    "lv_sv_ml": Target(3.0, percent=True),
    "rv_edv_ml": Target(3.0, percent=True),
    "rv_esv_ml": Target(3.0, percent=True),
    "rv_sv_ml": Target(3.0, percent=True),
    "lv_mass_g": Target(5.0, percent=True),
    "max_wall_thickness_mm": Target(0.7, percent=False),
    "mean_wall_thickness_mm": Target(0.7, percent=False),
    "t1_ms": Target(1.0, percent=True),
    "t2_ms": Target(2.0, percent=True),
}


class FullySampledOnly(ValidationConfig):
    """A validation without accelerated arms: the reference itself is on trial."""

    def __post_init__(self) -> None:
        """Nothing to compare is what is wanted."""

    def arms(self) -> tuple[Any, ...]:
        """None but the reference, which every scan has."""
        return ()


def main() -> None:
    """Simulate, measure, compare."""
    given = arguments()
    torch.set_num_threads(given.threads)
    cohort = given.folder / "cohort"
    if not (cohort / "complete").exists():
        shutil.rmtree(cohort, ignore_errors=True)
        simulate_cohort(
            cohort, centers=CENTERS, patients_per_center=given.per_center, plan=PLAN, seed=SEED, workers=given.workers,
            progress=lambda scan: print(scan, flush=True),
        )  # fmt: skip
        (cohort / "complete").touch()
    rows: list[dict[str, Any]] = []
    for arm in ARMS:
        base: LvBase = "fitted" if "fitted" in arm else "slices"
        config = FullySampledOnly(
            name="proof",
            cohort=cohort,
            out=given.folder / "run",  # one for all arms: images are made once, labels and measurements anew
            segmentation=Segmentation(model_folder=str(given.model or "")),
            phenotypes=Phenotyping(lv_base=base, rv_base=base),
        )
        table = chosen_scans(config)
        for row in track(list(table.to_dict("records")), description=arm):
            rows += [{"arm": arm, **found} for found in measured(job_of(row, config), config, arm=arm)]
    content = {
        "facts": run_facts("benchmarks/phenotype_proof.py"),
        "segmentation": model_identity(given.model),
        "n_patients": len({(row["center"], row["patient"]) for row in rows}),
        "summary": summary(rows),
        "rows": rows,
    }
    given.out.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    given.out.with_suffix(".md").write_text(table_of(content), encoding="utf-8")


def arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="for the cohort and the results of the stages")
    parser.add_argument("--per-center", type=int, default=10)
    parser.add_argument("--model", type=Path, help="nnU-Net result folder; default: the shipped one")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/phenotype_proof"))
    parser.add_argument("--workers", type=int, default=1, help="processes that simulate")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def measured(job: ScanJob, config: ValidationConfig, *, arm: str) -> list[dict[str, Any]]:
    """Value and truth of every phenotype of one scan."""
    reconstruction = reconstruct_scan(job, config)
    segmentation = segment_scan(job, reconstruction, config) if arm.startswith("network") else true_segmentation(job)
    rows = read_manifest(measure_scan(job, reconstruction, segmentation, config))["rows"]
    truth = {row["phenotype"]: row["value"] for row in rows if row["method"] == TRUTH}
    found = {row["phenotype"]: row for row in rows if row["method"] == REFERENCE.method}
    return [
        {
            **{
                key: found[name][key]
                for key in ("center", "patient", "disease", "phenotype", "value", "status", "reason")
            },
            "truth": true,
        }
        for name, true in truth.items()
        if name in found
    ]


def true_segmentation(job: ScanJob) -> Path:
    """The segmentation stage's manifest with the true labels in place of a network's."""
    labels, spacing, _ = read_labels(job.path.with_name(f"{job.stem}_truth_labels.nii.gz"))
    path = job.folder / f"{REFERENCE.name}_labels.nii.gz"
    write_labels(path, labels, spacing_mm=spacing, sidecar={"scan": job.label, "arm": REFERENCE.name})
    arms = {REFERENCE.name: {"status": "ok", "reason": "", "labels": path.name}}
    return write_manifest(job.segmentation, key="true labels", files=[path], content={"arms": arms})


def summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Bias with its interval, limits, and whether the targets are met; over all patients and by disease."""
    out = []
    for arm in ARMS:
        for name, target in TARGETS.items():
            mine = [row for row in rows if (row["arm"], row["phenotype"]) == (arm, name)]
            for group in ("all", *sorted({row["disease"] for row in mine})):
                some = [row for row in mine if group in ("all", row["disease"])]
                pairs = [(row["truth"], row["value"]) for row in some if row["value"] is not None]
                entry = {
                    "arm": arm,
                    "phenotype": name,
                    "group": group,
                    "n": len(pairs),
                    "failed": len(some) - len(pairs),
                }
                out.append(entry | agreement(pairs, target))
    return out


def agreement(pairs: Sequence[tuple[float, float]], target: Target) -> dict[str, Any]:
    """Bland-Altman of value minus truth, in percent of the truth where the target is."""
    if len(pairs) < 3:
        return {"bias": None}
    truth, value = (np.array(column) for column in zip(*pairs, strict=True))
    scale = 100 / truth if target.percent else np.ones(len(truth))
    found = bland_altman(np.zeros(len(truth)), (value - truth) * scale)
    bias, low, high = found.bias.estimate, found.lower_limit.estimate, found.upper_limit.estimate
    half = (high - low) / 2
    return {
        "unit": "% of truth" if target.percent else "as measured",
        "bias": bias,
        "bias_interval": [found.bias.low, found.bias.high],
        "limits": [low, high],
        "mean_absolute_error": float(np.abs((value - truth) * scale).mean()),
        "target_bias": target.bias,
        "target_limits": target.limits,
        "met": bool(abs(bias) <= target.bias and (target.limits is None or half <= target.limits)),
    }


def table_of(content: dict[str, Any]) -> str:
    """Markdown: one table an arm over all patients, one by disease."""
    facts = content["facts"]
    lines = [
        "# Phenotypes of fully sampled phantoms against the truth",
        "",
        f"{content['n_patients']} synthetic patients over all diseases, 0.55 to 5 T. Difference = measured - true in closed form. Limits:",
        "95 % limits of agreement; half-width of the limits is compared with the target where there is one. Made by",
        "",
        f"    {facts['command']}",
        "",
        f"at commit {facts['commit']} with {facts['versions']} on {facts['machine']}; segmentation {content['segmentation']['sha256'][:12]}.",
    ]
    for arm in ARMS:
        lines += ["", f"## {arm[0].upper()}{arm[1:]}", ""]
        lines += [
            "| phenotype | n (failed) | bias (95 %) | limits | mean absolute | target | |",
            "|---|---|---|---|---|---|---|",
        ]
        lines += [
            line_of(e) for e in content["summary"] if (e["arm"], e["group"]) == (arm, "all") and e["n"] + e["failed"]
        ]
    lines += ["", "## Bias by disease, network labels", ""]
    groups = sorted({e["group"] for e in content["summary"]} - {"all"})
    lines += [f"| phenotype | {' | '.join(groups)} |", f"|{'---|' * (len(groups) + 1)}"]
    for name in TARGETS:
        cells = {e["group"]: e["bias"] for e in content["summary"] if (e["arm"], e["phenotype"]) == (ARMS[0], name)}
        shown = ["" if cells.get(g) is None else f"{cells[g]:+.1f}" for g in groups]
        lines.append(f"| {name}{' (%)' if TARGETS[name].percent else ''} | {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


def line_of(entry: dict[str, Any]) -> str:
    """One phenotype of one arm."""
    name, count = entry["phenotype"], f"{entry['n']} ({entry['failed']})"
    if entry["bias"] is None or not math.isfinite(entry["bias"]):
        return f"| {name} | {count} | too few | | | | |"
    unit = " %" if entry["unit"].startswith("%") else ""
    low, high = entry["bias_interval"]
    target = f"{entry['target_bias']:g}{unit}" + (
        f", limits {entry['target_limits']:g}" if entry["target_limits"] else ""
    )
    cells = [
        name, count, f"{entry['bias']:+.2f}{unit} ({low:+.2f} to {high:+.2f})",
        f"{entry['limits'][0]:+.1f} to {entry['limits'][1]:+.1f}", f"{entry['mean_absolute_error']:.2f}", target,
        "met" if entry["met"] else "**missed**",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
