"""How well does a segmentation model label patients that it has not seen? Writes segmentation_dice.json and .md.

    python benchmarks/segmentation_dice.py --acdc DIR [--model DIR] [--phantoms 12] [--out FILE.json]

ACDC: the 20 held patients of `cohort.acdc.split`, on the native grid, at end diastole (ED) and end systole (ES): Dice,
95th percentile of the surface distance (HD95) and mean surface distance (ASSD), all in 3-D with the voxels' own size
(`phenotyping.overlap`), so that a slice too many or too few counts with the slice pitch of 5 to 10 mm. "ED and ES" is the
mean of both of each patient, then over patients. Intervals: 95 % percentile bootstrap over patients. Phantoms: newly
drawn synthetic patients with a seed that no training uses, Dice by kind of image (cine phases, mapping images).
"""

import argparse
import json
import sys
import time
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.run_facts import run_facts  # noqa: E402
from cohort.acdc import read_patient, split  # noqa: E402
from phenotyping.nnunet import model_identity, segment  # noqa: E402
from phenotyping.nnunet_phantoms import CINE_PHASES, MAPPING_KINDS, phantom_cases  # noqa: E402
from phenotyping.overlap import compare_masks, dice  # noqa: E402

STRUCTURES = {"LV cavity": 1, "myocardium": 2, "RV cavity": 3}
PHASES = ("ED", "ES")
BOTH = "ED and ES"
METRICS = {"dice": "Dice", "hd95_mm": "HD95, mm", "assd_mm": "ASSD, mm"}
HIGHER_IS_BETTER = {"dice"}
TARGETS = {"LV cavity": 0.94, "myocardium": 0.88, "RV cavity": 0.89}
PHANTOM_KINDS = (*CINE_PHASES, *sorted({kind for pair in MAPPING_KINDS for kind in pair}))
BOOTSTRAP_SEED, PHANTOM_SEED, N_RESAMPLES, ALL = 7, 990_001, 2000, "all"

Row = dict[str, Any]


def held_acdc(folder: Path, model: Path | None, mirroring: bool) -> tuple[list[Row], float]:
    """A row a patient, phase and structure, and the seconds that the segmentation took."""
    rows: list[Row] = []
    seconds = 0.0
    for name in split()["validation"]:
        patient = read_patient(folder / name)
        start = time.perf_counter()
        found = segment(patient.image, spacing_mm=patient.spacing_mm, model_folder=model, mirroring=mirroring)
        seconds += time.perf_counter() - start
        for index, phase in enumerate(PHASES):
            for structure, code in STRUCTURES.items():
                scores = compare_masks(
                    patient.labels[index] == code, found[index] == code, spacing_mm=patient.spacing_mm
                )
                rows.append(
                    {"patient": name, "group": patient.group, "phase": phase, "structure": structure}
                    | {metric: getattr(scores, metric) for metric in METRICS}
                    | ({"reason": scores.reason} if scores.reason else {})
                )
        print(name, *(f"{row['structure']} {row['phase']} {row['dice']}" for row in rows[-6:]), sep="; ", flush=True)
    return rows, seconds


def new_phantoms(n_patients: int, model: Path | None, mirroring: bool) -> dict[str, dict[str, Any]]:
    """Dice of newly drawn synthetic patients, by kind of image and structure."""
    table: dict[str, dict[str, list[float | None]]] = {}
    rng = np.random.default_rng(PHANTOM_SEED)
    for case in phantom_cases(n_patients, rng=rng, report=lambda *_: None, kinds=PHANTOM_KINDS):
        found = segment(case.image[None], spacing_mm=case.spacing_mm, model_folder=model, mirroring=mirroring)[0]
        of_kind = table.setdefault(case.name.rsplit("_", 1)[-1], {name: [] for name in STRUCTURES})
        for structure, code in STRUCTURES.items():
            of_kind[structure].append(dice(case.labels == code, found == code))
    return {kind: {name: summary(values, "dice") for name, values in rows.items()} for kind, rows in table.items()}


def summaries(rows: list[Row]) -> list[Row]:
    """Every group, phase, structure and metric."""
    groups = [ALL, *sorted({row["group"] for row in rows})]
    return [
        {"group": group, "phase": phase, "structure": structure, "metric": metric}
        | summary(by_patient(rows, group, phase, structure, metric), metric)
        for metric in METRICS
        for group in groups
        for phase in (BOTH, *PHASES)
        for structure in STRUCTURES
    ]


def by_patient(rows: Iterable[Row], group: str, phase: str, structure: str, metric: str) -> list[float | None]:
    """One number a patient: of the phase, or the mean of both; None where it is not defined."""
    of_patient: dict[str, list[float | None]] = {}
    for row in rows:
        if row["structure"] == structure and group in (ALL, row["group"]) and phase in (BOTH, row["phase"]):
            of_patient.setdefault(row["patient"], []).append(row[metric])
    return [None if None in values else float(np.mean(values)) for values in of_patient.values()]  # type: ignore[arg-type]


def summary(given: Iterable[float | None], metric: str) -> dict[str, Any]:
    """Mean over patients with a 95 % percentile bootstrap interval; how many had no value is told, too."""
    every = list(given)
    values = np.array([value for value in every if value is not None], dtype=np.float64)
    missing = {"n": len(values), "n_undefined": len(every) - len(values)}
    if not len(values):
        return missing
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    means = rng.choice(values, (N_RESAMPLES, len(values))).mean(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    worst = values.min() if metric in HIGHER_IS_BETTER else values.max()
    spread = {"sd": float(values.std(ddof=1)) if len(values) > 1 else None, "worst": float(worst)}
    return {"mean": float(values.mean()), "low": float(low), "high": float(high)} | spread | missing


def markdown(result: Mapping[str, Any]) -> str:
    """The tables of the page."""
    model = result["model"]
    lines = [
        f"Segmentation of the 20 held ACDC patients by {model['name']} (`{model['sha256'][:12]}`), commit `{result['commit'][:12]}`.",
        "Made by `" + result["command"] + "`. In 3-D with the voxels' own size; 95 % bootstrap interval over patients.",
        "",
    ]
    for metric, title in METRICS.items():
        lines += [f"**{title}**", "", f"| patients | phase | {' | '.join(STRUCTURES)} |", "|---|---|---|---|---|"]
        chosen = [row for row in result["summaries"] if row["metric"] == metric]
        for group, phase in dict.fromkeys((row["group"], row["phase"]) for row in chosen):
            cells = [cell(row, metric) for row in chosen if (row["group"], row["phase"]) == (group, phase)]
            n = max(row["n"] + row["n_undefined"] for row in chosen if row["group"] == group)
            lines.append(f"| {group} (n = {n}) | {phase} | {' | '.join(cells)} |")
        lines.append("")
    reached = [
        f"{row['structure']} {row['mean']:.3f} against {TARGETS[row['structure']]:.2f}: "
        + ("reached" if row["mean"] >= TARGETS[row["structure"]] else "missed")
        for row in result["summaries"]
        if (row["group"], row["phase"], row["metric"]) == (ALL, BOTH, "dice")
    ]
    return "\n".join([*lines, f"Mean Dice against its target: {'; '.join(reached)}.", ""])


def cell(row: Row, metric: str) -> str:
    """Mean (interval), worst."""
    digits = 3 if metric in HIGHER_IS_BETTER else 2
    if not row["n"]:
        return "none defined"
    undefined = f", {row['n_undefined']} undefined" if row["n_undefined"] else ""
    mean, low, high, worst = (f"{row[key]:.{digits}f}" for key in ("mean", "low", "high", "worst"))
    return f"{mean} ({low} to {high}), worst {worst}{undefined}"


def main() -> None:
    """Compute and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--acdc", type=Path, required=True)
    parser.add_argument("--model", type=Path, help="nnU-Net v2 result folder; the shipped one by default")
    parser.add_argument("--phantoms", type=int, default=12)
    parser.add_argument("--mirroring", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows, seconds = held_acdc(options.acdc, options.model, options.mirroring)
    phantoms = new_phantoms(options.phantoms, options.model, options.mirroring) if options.phantoms else {}
    facts = run_facts("benchmarks/segmentation_dice.py")
    facts["versions"] |= {name: metadata.version(name) for name in ("nnunetv2", "scikit-image")}
    result = {
        "model": model_identity(options.model),
        "summaries": summaries(rows),
        "phantoms": phantoms,
        "seconds_for_held_acdc": round(seconds, 1),
        "cases": rows,
        **facts,
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    page = markdown(result)
    options.out.with_suffix(".md").write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
