"""Is something installed that is known to break us? Named in one line at start-up."""

from importlib import metadata
from pathlib import Path

FASTAPI_NEWEST = (0, 150)


def problems() -> list[str]:
    """One line for each known clash in this environment, with what to do about it."""
    found = []
    if backport_distribution():
        found.append(argparse_problem())
    fastapi = installed("fastapi")
    if fastapi and tuple(int(part) for part in fastapi.split(".")[:2]) > FASTAPI_NEWEST:
        found.append(
            f"fastapi {fastapi} is too new for Prefect's server; pip install 'fastapi<=0.150.0' (constraints.txt pins it)"
        )
    return found


def argparse_problem() -> str:
    """What the old argparse package does, and the remedy."""
    return (
        "the argparse backport (needed by no one since Python 2.7, drawn in by nnunetv2) hides Python's own from Prefect's server; "
        "pip uninstall argparse"
    )


def backport_distribution() -> bool:
    """Whether the backport's module lies in site-packages, where Prefect's server would find it first."""
    try:
        files = metadata.files("argparse") or []
    except metadata.PackageNotFoundError:
        return False
    return any(Path(str(file.locate())).name == "argparse.py" and Path(str(file.locate())).exists() for file in files)


def installed(package: str) -> str | None:
    """Version of an installed distribution."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
