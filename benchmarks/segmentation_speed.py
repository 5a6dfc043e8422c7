"""How fast is the segmentation in memory, beside nnU-Net's command on files? Writes segmentation_speed.json.

    python benchmarks/segmentation_speed.py [--frames 10] [--slices 8] [--repeats 3] [--out FILE]

A cine of a newly drawn synthetic patient. nnU-Net: ``nnUNetv2_predict`` on a folder with one NIfTI file for each frame
and slice, once for all files, writing them included; with its usual processes, and without any (the fastest on one
core). Ours: one call with the same cases, each slice of each frame normalized by itself, so that the labels can be the
same; and the call as the pipeline makes it (frames as volumes, searched around the heart only). No mirroring anywhere.
Every run is a process of its own, and starting it counts; the arms take turns on the same cores, with a thread a core.
Seconds are of the clock and of all cores used; "labeling" is our call alone, as in a process that runs anyway, such as
the pipeline's. Ratios above 1 say that ours is faster.
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

import nibabel as nib  # noqa: E402
import numpy as np  # noqa: E402

from benchmarks.run_facts import run_facts  # noqa: E402
from cohort.synthetic.population import draw_patient  # noqa: E402
from cohort.synthetic.render import render_cine  # noqa: E402
from phenotyping.nnunet import SHIPPED_MODEL  # noqa: E402

MATRIX, FOV_MM, PITCH_MM, SEED, NOISE = (234, 198), (325.0, 275.0), 8.0, 11, 0.03
SPACING_MM = (PITCH_MM, FOV_MM[0] / MATRIX[0], FOV_MM[1] / MATRIX[1])
DATASET = "Dataset001_CardioVal"
N_CORES = len(os.sched_getaffinity(0))
# the command counts the cores of the machine, also where it may use fewer; with more threads than cores it crawls
COMMAND = (
    f"import multiprocessing; multiprocessing.cpu_count = lambda: {N_CORES}; "
    "from nnunetv2.inference.predict_from_raw_data import predict_entry_point; predict_entry_point()"
)
OURS = """
import sys, time, numpy as np, torch
torch.set_num_threads({threads})
start = time.perf_counter()
from phenotyping.nnunet import segment
image = np.load(sys.argv[1])
segment(image[:1, :1], spacing_mm={spacing}, device="cpu")  # loads the model
loaded, worked = time.perf_counter(), time.process_time()
labels = segment({call}, spacing_mm={spacing}, device="cpu", {options})
print(time.perf_counter() - loaded, time.process_time() - worked)
np.save(sys.argv[2], labels)
"""
ARMS = {
    "nnU-Net's command": ["-npp", "3", "-nps", "3"],
    "nnU-Net's command, one process": ["-npp", "0", "-nps", "0"],
    "ours, the same cases": ("image.reshape(-1, 1, *image.shape[2:])", "whole_field=True, largest_only=False"),
    "ours, as in the pipeline": ("image", ""),
}


def cine(n_frames: int, n_slices: int) -> np.ndarray:
    """Magnitude (frames, slices, y, x) with noise."""
    rng = np.random.default_rng(SEED)
    patient = draw_patient("normal", rng=rng, field_t=1.5)
    coarse = (MATRIX[0] * 2 // 3, MATRIX[1] * 2 // 3)  # phantoms are drawn 1.5 times as finely as they are scanned
    drawn = render_cine(patient, n_frames=n_frames, n_slices=n_slices, matrix=coarse, fov_mm=FOV_MM, rng=rng)
    images = drawn.images.astype(np.float32)
    if images.shape[2:] != MATRIX:
        raise SystemExit(f"expected images of {MATRIX} pixels, got {images.shape[2:]}")
    noise = NOISE * images.max() * rng.standard_normal((2, *images.shape))
    return np.hypot(images + noise[0], noise[1]).astype(np.float32)


def timed(arguments: list[str], environment: dict[str, str]) -> tuple[float, float, str]:
    """Seconds by the clock, seconds of all cores, and what was printed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    done = subprocess.run(arguments, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    wall = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{arguments[:3]} failed:\n{done.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def run_command(image: np.ndarray, options: list[str], folder: Path) -> tuple[dict[str, float], np.ndarray]:
    """The command on a file for each frame and slice: seconds, and labels (frames * slices, 1, y, x)."""
    inputs, outputs = folder / "in", folder / "out"
    for part in (inputs, outputs):
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
    start = time.perf_counter()
    affine = np.diag([*SPACING_MM[:0:-1], SPACING_MM[0], 1.0])
    planes = image.reshape(-1, *image.shape[2:])
    for index, plane in enumerate(planes):
        nib.save(nib.Nifti1Image(plane.T[:, :, None], affine), inputs / f"slice{index:04d}_0000.nii.gz")
    written = time.perf_counter() - start
    paths = {f"nnUNet_{part}": str(folder / part) for part in ("raw", "preprocessed", "results")}
    environment = os.environ | paths | {"nnUNet_compile": "f", "OMP_NUM_THREADS": str(N_CORES)}
    call = ["-i", str(inputs), "-o", str(outputs), "-d", DATASET, "-c", "2d", "-f", "0", "--disable_tta"]
    call += ["-device", "cpu", "--disable_progress_bar", *options]
    wall, cores, _ = timed([sys.executable, "-c", COMMAND, *call], environment)
    start = time.perf_counter()
    labels = np.stack([np.asarray(nib.load(path).dataobj).T for path in sorted(outputs.glob("*.nii.gz"))])
    files = written + time.perf_counter() - start
    return {"seconds": wall + files, "core_seconds": cores + files}, labels.astype(np.uint8)


def run_ours(image: np.ndarray, call: str, options: str, folder: Path) -> tuple[dict[str, float], np.ndarray]:
    """Our call in a process of its own; handing arrays over as files counts as well."""
    start = time.perf_counter()
    np.save(folder / "image.npy", image)
    script = OURS.format(threads=N_CORES, call=call, options=options, spacing=SPACING_MM)
    paths = [str(folder / "image.npy"), str(folder / "labels.npy")]
    environment = os.environ | {"OMP_NUM_THREADS": str(N_CORES), "PYTHONPATH": str(ROOT)}
    wall, cores, said = timed([sys.executable, "-c", script, *paths], environment)
    labels = np.load(paths[1])
    total = time.perf_counter() - start
    labeling, labeling_cores = map(float, said.split())
    seconds = {"seconds": total, "core_seconds": cores + total - wall}
    return seconds | {"labeling_seconds": labeling, "labeling_core_seconds": labeling_cores}, labels


def compare(image: np.ndarray, repeats: int, folder: Path) -> dict[str, Any]:
    """All arms in turn, several times."""
    model = folder / "results" / DATASET / "nnUNetTrainer__nnUNetPlans__2d"
    shutil.copytree(SHIPPED_MODEL, model)
    seconds: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
    labels: dict[str, np.ndarray] = {}
    for turn in range(repeats):
        for arm, how in ARMS.items():
            run = run_command(image, how, folder) if isinstance(how, list) else run_ours(image, *how, folder)
            seconds[arm].append(run[0])
            labels[arm] = run[1].reshape(image.shape)
            print(f"turn {turn + 1}, {arm}: {run[0]}", flush=True)
    medians = {
        arm: {name: round(statistics.median(run[name] for run in runs), 2) for name in runs[0]}
        for arm, runs in seconds.items()
    }
    command, single, same, usual = ARMS
    n_different = int((labels[command] != labels[same]).sum())
    return {
        "arms": medians,
        "runs": seconds,
        "speed_up": {
            f"{slow} / {fast}": ratio(medians, slow, fast) for slow in (command, single) for fast in (same, usual)
        },
        "identical_voxels": 1 - n_different / image.size,
        "different_voxels": n_different,
        "heart_voxels": int((labels[command] > 0).sum()),
        "both_commands_agree": bool((labels[command] == labels[single]).all()),
    }


def ratio(medians: dict[str, dict[str, float]], slow: str, fast: str) -> dict[str, float]:
    """By the clock and by the cores; also against our call alone, in a process that runs anyway."""
    pairs = [(name, name) for name in ("seconds", "core_seconds")]
    pairs += [(name, f"labeling_{name}") for name in ("seconds", "core_seconds")]
    return {ours: round(medians[slow][theirs] / medians[fast][ours], 2) for theirs, ours in pairs}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=10)
    parser.add_argument("--slices", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    image = cine(options.frames, options.slices)
    with tempfile.TemporaryDirectory() as folder:
        result = compare(image, options.repeats, Path(folder))
    facts = run_facts("benchmarks/segmentation_speed.py")
    facts["versions"] |= {name: metadata.version(name) for name in ("nnunetv2", "scikit-image")}
    facts["machine"] |= {"cores_used": N_CORES}
    case = {"shape": image.shape, "spacing_mm": SPACING_MM, "mirroring": False, "threads": N_CORES}
    options.out.write_text(json.dumps({"case": case, **result, **facts}, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({key: result[key] for key in ("arms", "speed_up", "identical_voxels")}, indent=1))


if __name__ == "__main__":
    main()
