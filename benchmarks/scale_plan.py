"""What would the 6,120 scans of MMCMR-427K take on 1, 8 and 64 GPUs? Arithmetic on measured costs; writes scale_plan.json and .md.

    python benchmarks/scale_plan.py [--out FILE.json]

Costs are read from the results of the other benchmarks, measured on two cores without a GPU; the rate of hashing is measured here.
What nobody measured here, the speed of GPUs and prices above all, stands in ASSUMED and is marked in the page. A plan, no measurement.
"""

import argparse
import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.run_facts import run_facts  # noqa: E402

HERE = ROOT / "benchmarks"
N_SCANS = 6120
GPUS = (1, 8, 64)
#: a short-axis cine of the releases of 2023 and 2024; every scan is planned as if it were one, mapping series are smaller
SCAN = {"frames": 12, "slices": 10, "coils": 10, "ky": 204, "readout": 512, "oversampling": 2}
METHODS, PATTERNS = 3, 3
ASSUMED = {
    "gflop_per_frame": 814.0,  # of CardioMM at the released size, 10 coils, 256 x 204; counted, not timed
    "gpu_tflop_per_s": 15.0,  # what an RTX A6000 may keep up of the 38.7 of its data sheet in single precision
    "paper_s_per_volume": 0.2,  # doi 10.48550/arXiv.2512.21652, one GPU; a volume is taken for one frame of all slices
    "speed_up": 10.0,  # of a GPU over one core, for SENSE, zero-filled and labels
    "price_per_gpu_hour": 2.0,  # euro, rented, its share of cores and memory included
    "price_per_core_hour": 0.05,  # euro
}


def costs() -> dict[str, float]:
    """Seconds of a core for a scan, by step; CardioMM also of a GPU."""
    streaming = read("memory_streaming")["scans"][0]
    gib = size_bytes() / 2**30
    share = gib / streaming["kspace_gib"]
    arms = streaming["arm_s"]
    label = read("segmentation_speed")
    labeled = label["case"]["shape"][0] * label["case"]["shape"][1]
    compute = read("orchestration")["compute"]
    images, megapixels = n_images(), n_images() * SCAN["ky"] * SCAN["readout"] / SCAN["oversampling"] / 1e6
    frames = SCAN["frames"] * SCAN["slices"] * PATTERNS
    return {
        "hash k-space": size_bytes() / 1e9 / hash_rate(),
        "read, look at every slice, write images": (streaming["cpu_s"] - sum(arms.values())) * share,
        "fully sampled and zero-filled": (arms["fully_sampled"] + PATTERNS * arms["zero_filled"]) * share,
        "SENSE": PATTERNS * arms["sense"] * share,
        "CardioMM, one core, single precision": frames * read("cardiomm_speed")["ways"]["fp32"]["cpu_s_per_frame"],
        "labels": images * label["arms"]["ours, as in the pipeline"]["core_seconds"] / labeled,
        "measurements": megapixels * compute["stage_s"]["measure"] / compute["megapixels"],
        "CardioMM, GPU by its arithmetic": frames * ASSUMED["gflop_per_frame"] / 1e3 / ASSUMED["gpu_tflop_per_s"],
        "CardioMM, GPU by the paper": SCAN["frames"] * PATTERNS * ASSUMED["paper_s_per_volume"],
    }


def scenarios(cost: dict[str, float]) -> dict[str, dict[str, float]]:
    """Seconds for which a scan holds a GPU, and a core beside it, in the cautious and in the hopeful reading."""
    plain = cost["hash k-space"] + cost["read, look at every slice, write images"]
    classical = cost["fully sampled and zero-filled"] + cost["SENSE"] + cost["labels"]
    return {
        "cautious": {
            "gpu_s": plain + classical + cost["CardioMM, GPU by its arithmetic"],
            "core_s": cost["measurements"],
        },
        "hopeful": {
            "gpu_s": plain + classical / ASSUMED["speed_up"] + cost["CardioMM, GPU by the paper"],
            "core_s": cost["measurements"],
        },
    }


def fleet(per_scan: dict[str, float], gpus: int) -> dict[str, float]:
    """Time, money and rates of all scans on so many GPUs, one scan at a time on each."""
    hours = N_SCANS * per_scan["gpu_s"] / gpus / 3600
    rate = gpus / per_scan["gpu_s"]
    euro = (
        N_SCANS
        / 3600
        * (per_scan["gpu_s"] * ASSUMED["price_per_gpu_hour"] + per_scan["core_s"] * ASSUMED["price_per_core_hour"])
    )
    return {
        "hours": hours,
        "euro": euro,
        "scans_per_s": rate,
        "read_gb_per_s": rate * size_bytes() / 1e9,
        "written_gb_per_s": rate * written_bytes() / 1e9,
        "cores_for_measuring": rate * per_scan["core_s"],
        "cores_for_ordering": rate * read("orchestration")["overhead"]["dask"]["per_scan_s"],
    }


def size_bytes() -> float:
    """k-space of a scan, complex single precision."""
    return 8.0 * SCAN["frames"] * SCAN["slices"] * SCAN["coils"] * SCAN["ky"] * SCAN["readout"]


def written_bytes() -> float:
    """Images of all arms in single precision; packing saves little of noise, and labels are small."""
    return 4.0 * n_images() * SCAN["ky"] * SCAN["readout"] / SCAN["oversampling"]


def n_images() -> int:
    """Two-dimensional images of a scan in all arms, the reference included."""
    return SCAN["frames"] * SCAN["slices"] * (METHODS * PATTERNS + 1)


def hash_rate() -> float:
    """GB that a core hashes in a second (SHA-256)."""
    content = bytes(2**28)
    start = time.process_time()
    hashlib.sha256(content).hexdigest()
    return len(content) / 1e9 / (time.process_time() - start)


def read(name: str) -> dict[str, Any]:
    """The results of another benchmark."""
    found: dict[str, Any] = json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))
    return found


def as_page(result: dict[str, Any]) -> str:
    """The plan as a page."""
    steps = "\n".join(
        f"| {name}{' (not measured here)' if 'GPU' in name else ''} | {seconds:.1f} |"
        for name, seconds in result["costs"].items()
    )
    rows = "\n".join(
        f"| {name} | {gpus} | {case['hours']:.1f} | {case['euro']:.0f} | {case['scans_per_s']:.3f} | {case['read_gb_per_s']:.2f} | {case['written_gb_per_s']:.2f} "
        f"| {case['cores_for_measuring']:.1f} | {case['cores_for_ordering']:.2f} |"
        for name, fleets in result["fleets"].items()
        for gpus, case in fleets.items()
    )
    size, assumed = SCAN, ASSUMED
    return f"""# Plan for the {N_SCANS:,} scans of MMCMR-427K

Arithmetic, no measurement. Every scan is planned as a short-axis cine of {size["frames"]} frames, {size["slices"]} slices and {size["coils"]} coils at {size["ky"]} x {size["readout"]} ({size_bytes() / 1e9:.2f} GB),
{METHODS} methods, {PATTERNS} patterns: {N_SCANS * size_bytes() / 1e12:.1f} TB are read, {N_SCANS * written_bytes() / 1e12:.1f} TB of images written.

| step of one scan | seconds |
|---|---|
{steps}

Measured on one core each (`memory_streaming.json`, `segmentation_speed.json`, `cardiomm_speed.json`, `orchestration.json`; hashing by this script), scaled by bytes, images or pixels.
Not measured here: {assumed["gflop_per_frame"]:.0f} GFLOP a frame at {assumed["gpu_tflop_per_s"]:.0f} TFLOP/s; the {assumed["paper_s_per_volume"]} s a volume of the paper; {assumed["speed_up"]:.0f} times the speed of a core for SENSE, zero-filled and
labels on a GPU (hopeful; cautious: the speed of the core); {assumed["price_per_gpu_hour"]:.2f} euro an hour for a GPU, {assumed["price_per_core_hour"]:.2f} for a core.

| case | GPUs | hours | euro | scans/s | read, GB/s | written, GB/s | cores for measuring | cores for ordering |
|---|---|---|---|---|---|---|---|---|
{rows}

Call: `{result["command"]}`
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=HERE / "scale_plan.json")
    asked = parser.parse_args()
    cost = costs()
    cases = scenarios(cost)
    result = {
        **run_facts("benchmarks/scale_plan.py"),
        "scan": SCAN,
        "assumed": ASSUMED,
        "costs": cost,
        "scenarios": cases,
    }
    result["fleets"] = {name: {gpus: fleet(case, gpus) for gpus in GPUS} for name, case in cases.items()}
    asked.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    asked.out.with_suffix(".md").write_text(as_page(result), encoding="utf-8")
    print(as_page(result))


if __name__ == "__main__":
    main()
