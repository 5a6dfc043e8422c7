"""How fast is SENSE with its maps, beside sigpy and bart, on the same slice and cores? Writes sense_speed.json.

    python benchmarks/sense_speed.py [--threads 2] [--repeats 3] [--frames-of-others 2] [--sigpy-python PYTHON] [--out FILE]

One slice of a phantom (256 x 204, 10 coils, 12 frames, Uniform 4x with 20 calibration lines). Ours: maps once a slice,
all frames. sigpy: EspiritCalib and SenseRecon, a frame at a time. bart: ecalib and pics, a frame at a time, files written
before the clock starts. Seconds are medians of whole runs divided by frames; the PSNR is against the fully sampled root
sum of squares, over the frames that all three reconstructed.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402

from cohort.synthetic.acquisition import Receiver, acquire  # noqa: E402
from cohort.synthetic.population import draw_patient  # noqa: E402
from cohort.synthetic.render import fine_grid, render_cine  # noqa: E402
from recon.baselines import fully_sampled, sense  # noqa: E402
from recon.fourier import remove_readout_oversampling  # noqa: E402
from recon.metrics import official_scores  # noqa: E402
from recon.sampling import undersampling_mask  # noqa: E402

NY, NX, FRAMES, COILS, CALIBRATION, SEED = 204, 256, 12, 10, 20, 7
LAMBDA = 0.005
FOV_MM = (320.0, 400.0)
TARGETS = {"sigpy": 20, "bart": 8}
SIGPY = """
import sys, time, numpy as np, sigpy.mri.app as mri
kspace = np.load(sys.argv[1])
start, images = time.perf_counter(), []
for frame in kspace:
    maps = mri.EspiritCalib(frame, calib_width={calibration}, crop=0, show_pbar=False).run()
    images.append(mri.SenseRecon(frame, maps, lamda={weight}, max_iter=30, show_pbar=False).run())
print(time.perf_counter() - start)
np.save(sys.argv[2], np.stack(images))
"""


def phantom_slice() -> np.ndarray:
    """K-space (frames, 1, coils, ky, kx) of a newly drawn synthetic patient."""
    rng = np.random.default_rng(SEED)
    patient = draw_patient("normal", rng=rng, field_t=1.5)
    cine = render_cine(patient, n_frames=FRAMES, n_slices=3, matrix=(NX, NY), fov_mm=FOV_MM[::-1], rng=rng)
    level = float(cine.images[0][cine.label_fractions[0, :, 2] > 0.9].mean())
    kspace = acquire(
        cine.images.swapaxes(-1, -2)[:, 1:2],
        fine_spacing_mm=fine_grid((NY, NX), FOV_MM).spacing_mm,
        matrix=(NY, NX),
        fov_mm=FOV_MM,
        receiver=Receiver(n_coils=COILS),
        signal_level=level,
        rng=rng,
    )
    return remove_readout_oversampling(kspace, 2)


def timed(run: Callable[[], np.ndarray], repeats: int) -> tuple[list[float], np.ndarray]:
    """Seconds of each run after one that is not counted, and the image."""
    run()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        image = run()
        seconds.append(time.perf_counter() - start)
    return seconds, image


def by_sigpy(measured: np.ndarray, python: str, threads: int, folder: Path) -> tuple[float, np.ndarray]:
    """Seconds without imports, and images (frames, y, x), of measured k-space (frames, coils, ky, kx)."""
    np.save(folder / "kspace.npy", measured)
    script = SIGPY.format(calibration=CALIBRATION, weight=LAMBDA)
    done = subprocess.run(
        [python, "-c", script, str(folder / "kspace.npy"), str(folder / "image.npy")],
        check=True,
        capture_output=True,
        text=True,
        env=limited(threads),
    )
    return float(done.stdout.split()[-1]), np.load(folder / "image.npy")


def by_bart(measured: np.ndarray, threads: int, folder: Path) -> tuple[float, np.ndarray]:
    """Seconds of the commands, and images (frames, y, x)."""
    for t, frame in enumerate(measured):
        sizes = [NX, NY, 1, COILS] + [1] * 12
        (folder / f"kspace{t}.hdr").write_text("# Dimensions\n" + " ".join(map(str, sizes)) + "\n")
        frame.astype("<c8").tofile(folder / f"kspace{t}.cfl")
    start = time.perf_counter()
    for t in range(len(measured)):
        for command in (
            f"ecalib -m 1 -c 0 -r {CALIBRATION} kspace{t} maps",
            f"pics -l2 -r {LAMBDA} -i 30 -w 1 kspace{t} maps image{t}",
        ):
            subprocess.run(
                ["bart", *command.split()], cwd=folder, check=True, capture_output=True, env=limited(threads)
            )
    seconds = time.perf_counter() - start
    images = [np.fromfile(folder / f"image{t}.cfl", "<c8").reshape(NY, NX) for t in range(len(measured))]
    return seconds, np.stack(images)


def limited(threads: int) -> dict[str, str]:
    """The environment with this number of threads for every library."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    return {**os.environ, **dict.fromkeys(names, str(threads))}


def psnr(reference: np.ndarray, image: np.ndarray) -> float:
    """Of magnitudes (frames, y, x)."""
    return official_scores(reference[:, None], np.abs(image)[:, None].astype(np.float32))["psnr"]


def circumstances(threads: int, python: str | None) -> dict[str, object]:
    """Versions, commit and machine."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    versions = {"python": platform.python_version(), "torch": metadata.version("torch"), "numpy": np.__version__}
    if python:
        asked = [python, "-c", "import sigpy; print(sigpy.__version__)"]
        versions["sigpy"] = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    if shutil.which("bart"):
        asked = ["bart", "version"]
        versions["bart"] = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    model = [line.split(":")[1].strip() for line in cpu_lines() if line.startswith("model name")]
    return {
        "commit": commit.stdout.strip(),
        "versions": versions,
        "machine": {"processor": model[0] if model else platform.machine(), "cores": os.cpu_count()},
        "threads": threads,
        "load_average_before": os.getloadavg()[0],
    }


def cpu_lines() -> list[str]:
    """Lines of /proc/cpuinfo, none where there is no such file."""
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def sigpy_python(given: str | None) -> str | None:
    """A Python that can import sigpy: the one given, else this one if it can."""
    if given:
        return given
    try:
        metadata.version("sigpy")
    except metadata.PackageNotFoundError:
        return None
    return sys.executable


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--frames-of-others", type=int, default=FRAMES)
    parser.add_argument("--sigpy-python")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    python, n = sigpy_python(options.sigpy_python), options.frames_of_others
    result: dict[str, Any] = circumstances(options.threads, python)
    kspace = phantom_slice()
    mask = undersampling_mask("Uniform", nx=NX, ny=NY, n_frames=FRAMES, acceleration=4, n_calibration=CALIBRATION)
    measured = np.where(mask[:n, None], kspace[:n, 0], 0).astype(np.complex64)
    reference = fully_sampled(kspace)[:, 0]
    rows: dict[str, dict[str, Any]] = {}
    for name, prior in (("ours", "signal"), ("ours, plain Tikhonov", "flat")):
        seconds, image = timed(lambda p=prior: sense(kspace, mask, prior=p, regularization=LAMBDA), options.repeats)
        rows[name] = {
            "seconds_a_frame": statistics.median(seconds) / FRAMES,
            "psnr_db": psnr(reference[:n], image[:n, 0]),
        }
    with tempfile.TemporaryDirectory() as folder:
        if python:
            seconds, image = by_sigpy(measured, python, options.threads, Path(folder))
            rows["sigpy"] = {"seconds_a_frame": seconds / n, "psnr_db": psnr(reference[:n], image)}
        if shutil.which("bart"):
            seconds, image = by_bart(measured, options.threads, Path(folder))
            rows["bart"] = {"seconds_a_frame": seconds / n, "psnr_db": psnr(reference[:n], image)}
    for name, target in TARGETS.items():
        if name in rows:
            times = rows[name]["seconds_a_frame"] / rows["ours"]["seconds_a_frame"]
            rows[name] |= {"times_slower_than_ours": times, "target": target, "reached": times >= target}
    result["rows"] = rows
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
