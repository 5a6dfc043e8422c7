"""On what does a run rest? Versions, hashes, weights, seeds, machine and command, for the report and for repeating
it."""

import hashlib
import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
import torch

from cohort.fingerprint import file_sha256
from flows.config import ValidationConfig
from flows.running import Running, thread_count, worker_count
from flows.secrets_guard import redacted
from phenotyping.nnunet import model_identity
from recon.cardiomm.checkpoint import SHIPPED_WEIGHTS, weights_sha256
from recon.reliability_model import SHIPPED_MODELS
from recon.training_cohort import SHIPPED_COHORT

PACKAGES = [
    "numpy",
    "scipy",
    "torch",
    "h5py",
    "nibabel",
    "pandas",
    "pyarrow",
    "scikit-image",
    "opencv-python-headless",
    "nnunetv2",
    "prefect",
    "fastapi",
    "matplotlib",
    "typst",
]
ROOT = Path(__file__).resolve().parents[1]


def provenance(config: ValidationConfig, *, inputs_sha256: str, device: str) -> dict[str, Any]:
    """Everything known before the first scan is read; the wall time is added at the end."""
    return {
        "cardioval_version": version("cardioval"),
        "commit": commit(),
        "python": python_version(),
        "platform": platform.platform(),
        "machine": machine(threads=threads_of(config.running, device=device)),
        "packages": {name: version(name) for name in PACKAGES},
        "weights": weights(config),
        "seeds": {"masks": config.undersampling.seed},
        "command": command(),
        "started_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": device,
        "config_sha256": hashlib.sha256(json.dumps(config.science(), sort_keys=True).encode()).hexdigest(),
        "inputs_sha256": inputs_sha256,
    }


def weights(config: ValidationConfig) -> list[dict[str, str]]:
    """Name and hash of every network that the run uses."""
    used = [model_identity(config.segmentation.model_folder or None)]
    if "cardiomm" in config.reconstruction.methods:
        path = Path(config.reconstruction.weights or SHIPPED_WEIGHTS)
        name = "shipped CardioMM" if path == SHIPPED_WEIGHTS else path.name
        used.insert(0, {"name": name, "sha256": weights_sha256(path)})
    if config.reconstruction.reliability:
        used.append({"name": "reliability score", "sha256": file_sha256(SHIPPED_MODELS)})
        used.append({"name": "summary of the training cohort", "sha256": file_sha256(SHIPPED_COHORT)})
    return used


def python_version() -> str:
    """Version of Python."""
    return platform.python_version()


def machine(*, threads: int) -> dict[str, Any]:
    """What of this machine may change the bits of a number, and what it is.

    Parameters
    ----------
    threads
        Threads of torch for each scan.
    """
    return {
        "architecture": platform.machine(),
        "processor": processor(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": threads,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
    }


def threads_of(running: Running, *, device: str) -> int:
    """Threads of torch for each scan, where this machine computes."""
    return thread_count(running, workers=worker_count(running, on_gpu=not device.startswith("CPU")))


def processor() -> str:
    """Name of the CPU's model; what the platform says where Linux does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def version(package: str) -> str:
    """Installed version of a distribution."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def commit() -> str:
    """Commit of the checkout the code runs from, with a mark where files differ from it."""
    try:
        head = git("rev-parse", "HEAD")
        return head + ("-modified" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def git(*arguments: str) -> str:
    """Output of a git command in the project's folder."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True, timeout=20)
    return done.stdout.strip()


def command() -> str:
    """The command line, the program by its name alone, without secrets."""
    return redacted(" ".join([Path(sys.argv[0]).name, *sys.argv[1:]]))


def device_name(device: str) -> str:
    """What computes: the GPU's name, or the CPU and its threads."""
    if device != "cpu" and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"CPU ({platform.machine()})"
