"""How fast is CardioMM at its released size, and how near is half precision to single? Writes cardiomm_speed.json.

    python benchmarks/cardiomm_speed.py [--frames 12] [--coils 10] [--readout 256] [--phases 204] [--threads 2]
                                        [--device auto] [--weights FILE] [--out FILE]

One slice of a beating object in smooth coils with noise, 8x ktUniform with 20 calibration lines, random weights of the
released size (68.4 M; speed does not depend on their values) or those of a checkpoint. Each way runs in a process of its
own, whose peak memory the system (GPU: torch) reports, on the same arrays, one after the other:

- plain: the network as written, frame by frame, in single precision, channels in torch's default order;
- ours: `recon.inference.reconstruct`, in fp32 and bf16, maps in every frame as in the plain loop, and with shared maps;
- on a GPU also the network part alone, from k-space on the GPU to images on the GPU.

A way's time is the median over --repeats of whole slices after one frame to warm up. PSNR is that of its magnitude
images against the plain ones, peak of the plain image, mean over frames.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from run_facts import run_facts  # noqa: E402

from recon.cardiomm.checkpoint import load_cardiomm, save_cardiomm  # noqa: E402
from recon.cardiomm.memory import frames_at_once  # noqa: E402
from recon.cardiomm.network import CardioMM, CardioMMSize  # noqa: E402
from recon.cardiomm.prompts import HashedNgramEncoder, metadata_text, undersampling_text  # noqa: E402
from recon.cardiomm.run import as_rows, engine_of, pick_precision  # noqa: E402
from recon.fourier import fft2c  # noqa: E402
from recon.inference import pick_device, reconstruct  # noqa: E402
from recon.sampling import undersampling_mask  # noqa: E402

N_CALIBRATION, ACCELERATION, NOISE, SEED = 20, 8, 0.01, 11
METADATA: dict[str, Any] = {"field_t": 3.0, "vendor": "Siemens", "scanner": "Vida", "modality": "cine"}
METADATA |= {"view": "short-axis", "pattern": "ktUniform", "acceleration": ACCELERATION, "n_calibration": N_CALIBRATION}
WAYS = ("plain", "fp32", "fp32 shared maps", "bf16", "bf16 shared maps")
GPU_WAYS = ("fp32 on device", "bf16 on device", "bf16 shared maps on device")


def beating_slice(n_frames: int, n_coils: int, ny: int, nx: int) -> tuple[np.ndarray, np.ndarray]:
    """k-space (frames, 1, coils, ky, kx), zero where not sampled, and its mask."""
    rng = np.random.default_rng(SEED)
    y, x = np.linspace(-1, 1, ny)[:, None], np.linspace(-1, 1, nx)
    angles = 2 * np.pi * np.arange(n_coils)[:, None, None] / n_coils
    maps = np.exp(-0.8 * ((x - np.cos(angles)) ** 2 + (y - np.sin(angles)) ** 2) + 1j * angles)
    kspace = np.empty((n_frames, 1, n_coils, ny, nx), np.complex64)
    for frame in range(n_frames):
        radius = 0.3 + 0.05 * np.sin(2 * np.pi * frame / n_frames)
        image = 0.5 * (x**2 / 0.7 + y**2 / 0.5 < 1) + ((x - 0.1) ** 2 + y**2 < radius**2)
        noise = rng.standard_normal((2, n_coils, ny, nx))
        kspace[frame, 0] = fft2c((image * maps).astype(np.complex64)) + NOISE * (noise[0] + 1j * noise[1])
    mask = undersampling_mask(
        "ktUniform", nx=nx, ny=ny, n_frames=n_frames, acceleration=ACCELERATION, n_calibration=N_CALIBRATION
    )
    return np.where(mask[:, None, None], kspace, np.complex64(0)), mask


def random_weights(path: Path) -> None:
    """The released size; gates open, so that every block takes part."""
    torch.manual_seed(SEED)
    network = CardioMM(CardioMMSize())
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if name.endswith((".gamma", ".beta")):
                torch.nn.init.normal_(weight, std=0.3)
    save_cardiomm(path, network, notes={"random": SEED})


@torch.inference_mode()
def plain_loop(
    kspace: np.ndarray, mask: np.ndarray, weights: Path, device: torch.device
) -> Callable[[int], np.ndarray]:
    """The network as written: one frame at a time, single precision, default layout."""
    network = load_cardiomm(weights).to(memory_format=torch.contiguous_format).to(device)  # type: ignore[call-overload]
    texts = [metadata_text(METADATA), undersampling_text(METADATA["pattern"], ACCELERATION)]
    embeddings = torch.from_numpy(HashedNgramEncoder()(texts)).to(device)

    @torch.inference_mode()
    def run(n: int) -> np.ndarray:
        images = []
        for frame in range(n):
            image = network(
                as_rows(kspace[frame], device),
                as_rows(mask[frame : frame + 1], device),
                metadata_embedding=embeddings[:1],
                undersampling_embedding=embeddings[1:],
                n_calibration=N_CALIBRATION,
                family="uniform",
            )
            images.append(image[0].T.cpu().numpy())
        return np.stack(images)

    return run


@torch.inference_mode()
def on_device(
    kspace: np.ndarray, mask: np.ndarray, weights: Path, device: torch.device, way: str, batch_size: int | None
) -> Callable[[int], np.ndarray]:
    """The network part alone: k-space and texts are on the GPU, images stay there until the clock has stopped."""
    precision = "bf16" if "bf16" in way else "fp32"
    engine = engine_of(weights, device=device, precision=precision)  # type: ignore[arg-type]
    texts = [metadata_text(METADATA), undersampling_text(METADATA["pattern"], ACCELERATION)]
    embeddings = torch.from_numpy(HashedNgramEncoder()(texts)).to(device)
    steered = engine.steer(embeddings[:1], embeddings[1:])
    series, sampled = as_rows(kspace[:, :1], device), as_rows(mask[:, None], device)
    n_coils, n_pixels = kspace.shape[2], mask[0].size
    batch = frames_at_once(
        engine.size, n_coils=n_coils, n_pixels=n_pixels, dtype=engine.dtype, device=device, batch_size=batch_size
    )
    options: dict[str, Any] = {"n_calibration": N_CALIBRATION, "family": "uniform", "coil_images": 2 * batch}

    @torch.inference_mode()
    def run(n: int) -> np.ndarray:
        shared = steered.maps(series.mean(dim=0), **options)[None] if "shared" in way else None
        images = []
        for start in range(0, n, batch):
            part = slice(start, min(start + batch, n))
            maps = steered.maps(series[part, 0], **options)[:, None] if shared is None else shared
            maps = maps.expand(part.stop - start, -1, -1, -1, -1)
            images.append(steered.magnitude(steered.last_kspace(series[part], sampled[part], maps)))
        torch.cuda.synchronize(device)
        return torch.cat(images)  # type: ignore[return-value]

    return run


def work(folder: Path, way: str, options: argparse.Namespace) -> dict[str, Any]:
    """Time one way in this process; its images go to a file."""
    torch.set_num_threads(options.threads)
    device = pick_device(options.device)
    kspace, mask = (np.load(folder / f"{name}.npy") for name in ("kspace", "mask"))
    weights = options.weights or folder / "random.ckpt"
    if way == "plain":
        run = plain_loop(kspace, mask, weights, device)
    elif way.endswith("on device"):
        run = on_device(kspace, mask, weights, device, way, options.batch_size)
    else:
        given: dict[str, Any] = {"method": "cardiomm", "metadata": METADATA, "weights": weights}
        given |= {"device": str(device), "precision": way.split()[0], "shared_maps": "shared" in way}
        given |= {"batch_size": options.batch_size}

        def run(n: int) -> np.ndarray:
            return np.asarray(reconstruct(kspace[:n], mask[:n], **given))[:, 0]

    before = peak_mib(torch.device("cpu"))
    run(1)
    # a GPU's libraries choose their algorithms by the shape of a batch
    run(len(kspace) if device.type == "cuda" else 1)
    seconds, cpu_seconds = [], []
    for _ in range(options.repeats):
        started, cpu_started = time.perf_counter(), time.process_time()
        images = run(len(kspace))
        seconds.append(time.perf_counter() - started)
        cpu_seconds.append(time.process_time() - cpu_started)
    if isinstance(images, torch.Tensor):
        images = images.transpose(-1, -2).cpu().numpy()
    np.save(folder / f"{way}.npy", images)
    return {
        "s_per_frame": float(np.median(seconds)) / len(kspace),
        "cpu_s_per_frame": float(np.median(cpu_seconds)) / len(kspace),
        "peak_mib": round(peak_mib(device), 1),
        "peak_mib_before": round(before, 1),
    }


def peak_mib(device: torch.device) -> float:
    """Largest memory so far: of torch on a GPU, resident of the process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)  # bytes there, KiB here


def decibels(reference: np.ndarray, images: np.ndarray) -> float:
    """Peak over root mean square difference, mean over frames."""
    errors = np.sqrt(np.mean((images - reference) ** 2, axis=(-2, -1), dtype=np.float64))
    return float(np.mean(20 * np.log10(reference.max(axis=(-2, -1)) / np.maximum(errors, 1e-30))))


def machine(device: torch.device) -> dict[str, Any]:
    """Which processor, and what it can do in half precision."""
    found: dict[str, Any] = {"device": str(device)}
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = dict(line.split(":", 1) for line in info.read_text().split("\n\n")[0].splitlines() if ":" in line)
        facts = {key.strip(): value.strip() for key, value in lines.items()}
        flags = set(facts.get("flags", "").split())
        found |= {"cpu": facts.get("model name", ""), "cpu_bf16": sorted(flags & {"amx_bf16", "avx512_bf16"})}
    if device.type == "cuda":
        found |= {"gpu": torch.cuda.get_device_name(device), "cudnn": torch.backends.cudnn.version()}
        found["tf32_in_plain_convolutions"] = torch.backends.cudnn.allow_tf32
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--coils", type=int, default=10)
    parser.add_argument("--readout", type=int, default=256)
    parser.add_argument("--phases", type=int, default=204)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--batch-size", type=int, help="frames at once; by free memory if left out")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--ways", nargs="*")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        print(json.dumps(work(options.folder, options.work, options)))
        return
    device = pick_device(options.device)
    ways = list(dict.fromkeys(["plain", *(options.ways or WAYS + (GPU_WAYS if device.type == "cuda" else ()))]))
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        kspace, mask = beating_slice(options.frames, options.coils, options.phases, options.readout)
        np.save(folder / "kspace.npy", kspace)
        np.save(folder / "mask.npy", mask)
        if options.weights is None:
            random_weights(folder / "random.ckpt")
        size = load_cardiomm(options.weights or folder / "random.ckpt").size
        found = {}
        for way in ways:
            command = [sys.executable, __file__, *sys.argv[1:], "--work", way, "--folder", str(folder)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"{way}: {done.stderr.strip()}")
            found[way] = json.loads(done.stdout.splitlines()[-1])
            plain, images = (np.load(folder / f"{name}.npy") for name in ("plain", way))
            found[way] |= {
                "times_plain": round(found["plain"]["s_per_frame"] / found[way]["s_per_frame"], 2),
                "psnr_to_plain_db": None if way == "plain" else round(decibels(plain, images), 1),
            }
            print(way, found[way], flush=True)
    result = {
        "run": run_facts("benchmarks/cardiomm_speed.py"),
        "machine": machine(device),
        "matrix": {"frames": options.frames, "coils": options.coils, "nx": options.readout, "ny": options.phases},
        "weights": "random" if options.weights is None else options.weights.name,
        "size": asdict(size),
        "automatic_frames_at_once": {
            name: frames_at_once(
                size,
                n_coils=options.coils,
                n_pixels=options.readout * options.phases,
                dtype=pick_precision(name, device=device),  # type: ignore[arg-type]
                device=device,
            )
            for name in ("fp32", "bf16")
        },
        "ways": found,
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
