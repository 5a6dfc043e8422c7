"""How much memory does a scan take that is larger than memory, and how does the cost grow? Writes memory_streaming.json.

    python benchmarks/memory_streaming.py DIR [--size 25,12,34,246,512] [--growth] [--out benchmarks/memory_streaming]

DIR gets a scan of the wanted size, (frames, slices, coils, ky, kx) with twofold readout oversampling (10.3 GB by
default; it is left there and used again). The whole reconstruction stage (`flows.stages.reconstruct_scan`: reading,
detection of the acquired region, oversampling, the reference and one 8x uniform arm, writing NIfTI) runs in a process of
its own, whose peak resident memory the system reports. CardioMM runs on a scan of the same size with fewer slices
(--cardiomm-slices): its memory does not depend on their number, only its time does. --layout points stores the scan as
some files of 2025 are, in gzip chunks of two points of all frames, slices and coils, which are unpacked once.

--growth measures small scans, each method in a process of its own: processor seconds of the stage (which other work on
the machine changes little) against frames, slices and coils, the exponent of the growth (1 is linear), and draws them.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from run_facts import run_facts  # noqa: E402

from cohort.cmrxrecon import write_info  # noqa: E402
from cohort.matfile import COMPLEX, USERBLOCK_BYTES  # noqa: E402
from recon.fourier import fft2c  # noqa: E402

LIMIT_GIB = 4.0
NOISE = 0.01
BASE = {"frames": 6, "slices": 2, "coils": 8}
STEPS = {"frames": (3, 6, 12, 24), "slices": (1, 2, 4, 8), "coils": (4, 8, 16, 32)}
PLANE = (128, 256)
AXES = ("frames", "slices", "coils")
Size = tuple[int, int, int, int, int]


def write_scan(path: Path, size: Size, *, layout: str) -> None:
    """A heart-like object in smooth coils with noise, written slice by slice."""
    frames, slices, coils, ny, nx = size
    write_info(
        path,
        {"FOVx(mm)": 360.0, "FOVy(mm)": 340.0, "ReadOutOversample": 2, "SlicePitch(mm)": 10.0, "TR(ms)": 40.0},
    )
    storage: dict[str, Any] = {"chunks": (1, 1, coils, ny, nx)}
    if layout == "points":
        storage = {"chunks": (frames, slices, coils, 2, 1), "compression": "gzip", "compression_opts": 1}
    temporary = path.with_suffix(".writing")
    with h5py.File(temporary, "w", userblock_size=USERBLOCK_BYTES) as file:
        data = file.create_dataset("kspace", shape=size, dtype=COMPLEX, **storage)
        if layout == "points":  # by lines, as its chunks lie: each slice of them would be packed again
            whole = np.stack([slice_kspace(size, z) for z in range(slices)], axis=1)
            for line in range(0, ny, 2):
                data[..., line : line + 2, :] = whole[..., line : line + 2, :].view(COMPLEX)
        else:
            for z in range(slices):
                for frame, part in enumerate(slice_kspace(size, z)):
                    data[frame, z] = part.view(COMPLEX)
    with temporary.open("r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    temporary.rename(path)


def slice_kspace(size: Size, z: int) -> np.ndarray:
    """complex64 (frames, coils, ky, kx) of one slice."""
    frames, _, coils, ny, nx = size
    rng = np.random.default_rng((5, z))
    y, x = np.linspace(-1, 1, ny, dtype=np.float32)[:, None], np.linspace(-2, 2, nx, dtype=np.float32)
    angles = 2 * np.pi * np.arange(coils, dtype=np.float32)[:, None, None] / coils
    maps = np.exp(-0.8 * ((x - np.cos(angles)) ** 2 + (y - np.sin(angles)) ** 2) + 1j * angles)
    out = np.empty((frames, coils, ny, nx), np.complex64)
    for frame in range(frames):
        radius = 0.3 + 0.05 * np.sin(2 * np.pi * frame / frames) + 0.01 * z
        image = 0.5 * (x**2 / 0.7 + y**2 / 0.5 < 1) + ((x - 0.1) ** 2 + y**2 < radius**2)
        out[frame] = fft2c((image * maps).astype(np.complex64))
        out[frame].real += NOISE * rng.standard_normal(out[frame].shape, dtype=np.float32)
        out[frame].imag += NOISE * rng.standard_normal(out[frame].shape, dtype=np.float32)
    return out


def work(path: Path, methods: list[str]) -> dict[str, Any]:
    """Run the stage in this process and tell what it took."""
    import torch

    from flows.caching import read_manifest
    from flows.config import Reconstruction, Running, Undersampling, ValidationConfig
    from flows.stages import ScanJob, reconstruct_scan

    torch.set_num_threads(1)
    names = ("study", "center", "vendor", "scanner", "disease", "patient", "modality", "view", "stem")
    values = ("memory", "Center001", "Siemens", "Siemens_30T_Vida", "", "P001", "cine", "short-axis", path.stem)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        job = ScanJob(**dict(zip(names, values, strict=True)), field_t=3.0, path=path, folder=Path(folder))
        config = ValidationConfig(
            name="memory",
            cohort=path.parent,
            out=path.parent,
            undersampling=Undersampling(patterns=(("Uniform", 8.0),)),
            reconstruction=Reconstruction(methods=tuple(methods)),
            running=Running(device="cpu"),
        )
        before = peak_gib()
        started, started_cpu = time.perf_counter(), time.process_time()
        arms = read_manifest(reconstruct_scan(job, config))["arms"]
    failed = [arm["reason"] for arm in arms.values() if arm["status"] != "ok"]
    if failed:
        raise SystemExit(f"an arm failed: {failed}")
    return {
        "wall_s": round(time.perf_counter() - started, 2),
        "cpu_s": round(time.process_time() - started_cpu, 2),
        "arm_s": {arm["method"]: arm["seconds"] for arm in arms.values()},
        "peak_gib": round(peak_gib(), 3),
        "peak_of_imports_gib": round(before, 3),
    }


def peak_gib() -> float:
    """Largest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2 ** (30 if sys.platform == "darwin" else 20)  # bytes there, KiB here


def measured(folder: Path, size: Size, methods: list[str], *, layout: str) -> dict[str, Any]:
    """Reconstruct a scan, written if it is not there, in a process of its own."""
    path = folder / ("x".join(map(str, size)) + f"_{layout}") / "cine_sax.mat"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_scan(path, size, layout=layout)
    command = [sys.executable, __file__, "--work", str(path), "--methods", *methods]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{path.parent.name}: {done.stderr.strip() or done.stdout.strip()}")
    entry: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    kspace_gib = round(float(np.prod(size, dtype=float)) * COMPLEX.itemsize / 2**30, 3)
    return {"size": list(size), "layout": layout, "kspace_gib": kspace_gib, "methods": methods, **entry}


def growth(folder: Path, methods: list[str]) -> list[dict[str, Any]]:
    """One axis at a time, the others at their base."""
    runs = []
    for axis in AXES:
        for n in STEPS[axis]:
            counts = {**BASE, axis: n}
            size = (counts["frames"], counts["slices"], counts["coils"], *PLANE)
            for method in methods:
                entry = measured(folder, size, [method], layout="slices")
                runs.append({"axis": axis, "n": n, "method": method} | {k: entry[k] for k in ("cpu_s", "peak_gib")})
                print(json.dumps(runs[-1]), flush=True)
    return runs


def series(runs: list[dict[str, Any]], axis: str, method: str) -> tuple[list[int], list[float]]:
    """Steps of an axis and the seconds of a method there."""
    chosen = [run for run in runs if (run["axis"], run["method"]) == (axis, method)]
    return [run["n"] for run in chosen], [run["cpu_s"] for run in chosen]


def exponents(runs: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Slope of log seconds over log n between the last two steps, where fixed costs count least: 1 is linear."""
    found: dict[str, dict[str, float]] = {axis: {} for axis in AXES}
    for axis in AXES:
        for method in dict.fromkeys(run["method"] for run in runs):
            n, seconds = series(runs, axis, method)
            found[axis][method] = round(float(np.log(seconds[-1] / seconds[-2]) / np.log(n[-1] / n[-2])), 2)
    return found


def draw(runs: list[dict[str, Any]], target: Path) -> None:
    """Seconds against each axis, with the straight line through the first and the last point."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(AXES), figsize=(11, 3.6), layout="constrained")
    for panel, axis in zip(panels, AXES, strict=True):
        for color, method in enumerate(dict.fromkeys(run["method"] for run in runs)):
            n, seconds = series(runs, axis, method)
            panel.plot(n, seconds, "o", color=f"C{color}", label=method.replace("_", " "))
            panel.plot([n[0], n[-1]], [seconds[0], seconds[-1]], ":", color=f"C{color}", linewidth=1)
        others = ", ".join(f"{count} {name}" for name, count in BASE.items() if name != axis)
        panel.set(xlabel=axis, ylabel="processor seconds", xlim=(0, None), ylim=(0, None))
        panel.set_title(others, fontsize=9)
    panels[0].legend(fontsize=8, title="dotted: straight line", title_fontsize=8)
    figure.savefig(target, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="where the scans are written; needs 11 GB")
    parser.add_argument("--size", default="25,12,34,246,512", help="frames,slices,coils,ky,kx")
    parser.add_argument("--methods", nargs="*", default=["zero_filled", "sense"])
    parser.add_argument("--cardiomm-slices", type=int, default=1, help="0 leaves CardioMM out")
    parser.add_argument("--layout", choices=["slices", "points"], default="slices")
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "memory_streaming")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work is not None:
        print(json.dumps(work(options.work, options.methods)))
        return
    if options.folder is None:
        parser.error("expected a folder for the scans")
    frames, slices, coils, ny, nx = (int(n) for n in options.size.split(","))
    result: dict[str, Any] = {"run": run_facts("benchmarks/memory_streaming.py"), "limit_gib": LIMIT_GIB, "scans": []}
    wanted: list[tuple[Size, list[str]]] = [((frames, slices, coils, ny, nx), options.methods)]
    if options.cardiomm_slices:
        wanted.append(((frames, options.cardiomm_slices, coils, ny, nx), ["cardiomm"]))
    for size, methods in wanted:
        entry = measured(options.folder, size, methods, layout=options.layout)
        entry["within_limit"] = entry["peak_gib"] <= LIMIT_GIB
        print(json.dumps(entry), flush=True)
        result["scans"].append(entry)
    if options.growth:
        result["growth"] = growth(options.folder, [*options.methods, "cardiomm"])
        result["growth_exponents"] = exponents(result["growth"])
        draw(result["growth"], options.out.with_suffix(".png"))
    options.out.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
