"""How well does a segmentation model label patients that it has not seen? Writes segmentation_dice.json.

    python benchmarks/segmentation_dice.py --acdc DIR [--model DIR] [--phantoms 12] [--out FILE]

ACDC: the 20 held patients of `cohort.acdc.split`, Dice in 3-D on the native grid, mean over end diastole and end
systole of each patient, then over patients; interval: percentile bootstrap over patients. Phantoms: newly drawn
synthetic patients with a seed that no training uses, by kind of image (cine phases, mapping images).
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from cohort.acdc import read_patient, split  # noqa: E402
from phenotyping.nnunet import model_identity, segment  # noqa: E402
from phenotyping.nnunet_phantoms import TRAINED_KINDS, phantom_cases  # noqa: E402

STRUCTURES = {"LV cavity": 1, "myocardium": 2, "RV cavity": 3}
PHANTOM_KINDS = (*TRAINED_KINDS, "T1sd", "T2mean", "T2last")
BOOTSTRAP_SEED, PHANTOM_SEED, N_RESAMPLES = 7, 990_001, 2000


def dice(reference: np.ndarray, found: np.ndarray, code: int) -> float:
    """2 |A and B| / (|A| + |B|); NaN where neither has the structure."""
    a, b = reference == code, found == code
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / total if total else float("nan")


def held_acdc(folder: Path, model: Path | None, mirroring: bool) -> tuple[dict[str, dict[str, float]], float]:
    """Dice of each held patient, mean over both phases, and the seconds that the segmentation took."""
    table, seconds = {}, 0.0
    for name in split()["validation"]:
        patient = read_patient(folder / name)
        start = time.perf_counter()
        found = segment(patient.image, spacing_mm=patient.spacing_mm, model_folder=model, mirroring=mirroring)
        seconds += time.perf_counter() - start
        table[name] = {
            structure: float(np.mean([dice(patient.labels[phase], found[phase], code) for phase in (0, 1)]))
            for structure, code in STRUCTURES.items()
        } | {"group": patient.group}
        print(name, table[name], flush=True)
    return table, seconds


def new_phantoms(n_patients: int, model: Path | None, mirroring: bool) -> dict[str, dict[str, dict[str, float]]]:
    """Dice of newly drawn synthetic patients, by kind of image."""
    table: dict[str, dict[str, dict[str, float]]] = {}
    rng = np.random.default_rng(PHANTOM_SEED)
    for case in phantom_cases(n_patients, rng=rng, report=lambda *_: None, kinds=PHANTOM_KINDS):
        found = segment(case.image[None], spacing_mm=case.spacing_mm, model_folder=model, mirroring=mirroring)[0]
        kind = case.name.rsplit("_", 1)[-1]
        table.setdefault(kind, {})[case.name] = {name: dice(case.labels, found, n) for name, n in STRUCTURES.items()}
    return table


def summary(rows: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Mean over patients with a 95 % percentile bootstrap interval."""
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    result = {}
    for structure in STRUCTURES:
        values = np.array([row[structure] for row in rows])
        values = values[np.isfinite(values)]
        if not len(values):
            continue
        means = rng.choice(values, (N_RESAMPLES, len(values))).mean(axis=1)
        low, high = np.percentile(means, (2.5, 97.5))
        result[structure] = {
            "mean": float(values.mean()),
            "low": float(low),
            "high": float(high),
            "sd": float(values.std(ddof=1)) if len(values) > 1 else None,
            "worst": float(values.min()),
            "n": len(values),
        }
    return result


def circumstances() -> dict[str, object]:
    """Versions, commit and machine."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    packages = ("nnunetv2", "torch", "numpy", "scipy", "scikit-image")
    return {
        "command": "python " + " ".join(["benchmarks/segmentation_dice.py", *_without_folders(sys.argv[1:])]),
        "commit": commit.stdout.strip(),
        "versions": {"python": platform.python_version()} | {name: metadata.version(name) for name in packages},
        "machine": {"system": platform.system(), "processor": platform.machine(), "cores": os.cpu_count()},
        "torch_threads": torch.get_num_threads(),
    }


def _without_folders(arguments: list[str]) -> list[str]:
    """The call without the paths of one machine."""
    return ["DIR" if "/" in argument else argument for argument in arguments]


def main() -> None:
    """Compute and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--acdc", type=Path, required=True)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--phantoms", type=int, default=12)
    parser.add_argument("--mirroring", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    patients, seconds = held_acdc(options.acdc, options.model, options.mirroring)
    phantoms = new_phantoms(options.phantoms, options.model, options.mirroring) if options.phantoms else {}
    groups = sorted({row["group"] for row in patients.values()})
    result = {
        "model": model_identity(options.model),
        "held_acdc": summary(list(patients.values())),
        "held_acdc_by_group": {g: summary([r for r in patients.values() if r["group"] == g]) for g in groups},
        "phantoms": {kind: summary(list(rows.values())) for kind, rows in phantoms.items()},
        "seconds_for_held_acdc": round(seconds, 1),
        "patients": patients,
        **circumstances(),
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for where in ("held_acdc", "phantoms"):
        print(json.dumps(result[where], indent=1))


if __name__ == "__main__":
    main()
