"""What was run, by which versions, on which machine? Written beside every measured number."""

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("torch", "numpy", "scipy")


def run_facts(script: str) -> dict[str, Any]:
    """Command without the paths of one machine, commit, versions, machine, threads."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    arguments = ["DIR" if "/" in argument else argument for argument in sys.argv[1:]]
    return {
        "command": " ".join(["python", script, *arguments]),
        "commit": commit.stdout.strip(),
        "versions": {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES},
        "machine": {"system": platform.system(), "processor": platform.machine(), "cores": os.cpu_count()},
        "torch_threads": torch.get_num_threads(),
    }
