"""Is what a run needs installed, in versions that work together, and are the networks those that were shipped?"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib import metadata, util
from pathlib import Path
from typing import Any

from flows import installation
from flows.doctor_findings import Answer, Check, Patient, ok, problem, warning

PROJECT = "cardioval"
ROOT = Path(__file__).resolve().parents[1]
WEIGHTS_LIST = Path(__file__).parent / "configs" / "weights.sha256"
CONSTRAINTS = ROOT / "constraints.txt"
OLDEST_PYTHON, NEWEST_PYTHON = (3, 11), (3, 13)
SMALL_GPU_GB = 8.0
SERVER_TIMEOUT_S = 180
REACH_TIMEOUT_S = 3
OPTIONAL_PACKAGES = {
    "prefect_dask": "several machines (runner = \"dask\"); pip install 'cardioval[dask]'",
    "psycopg": "a history in PostgreSQL; pip install 'cardioval[postgres]'",
    "transformers": "CLIP's texts (clip_folder); pip install 'cardioval[clip]'",
    "sigpy": "a comparison among the benchmarks",
}
OPTIONAL_PROGRAMS = {"chromium": "tests of the pages", "bart": "a comparison among the benchmarks"}
# what the user has set must not reach the trial: it shall use no server of theirs
TRIAL_FLOW = """
import os, sys
for name in [key for key in os.environ if key.startswith("PREFECT_")]:
    del os.environ[name]
os.environ |= {"PREFECT_HOME": sys.argv[1], "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PREFECT_LOGGING_LEVEL": "ERROR",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "150"}
from prefect import flow
@flow
def trial():
    return 42
sys.exit(0 if trial() == 42 else 1)
"""


def python(patient: Patient) -> Iterator[Answer]:
    """The version, and whether the environment is its own."""
    del patient
    found = f"Python {platform.python_version()} ({sys.executable})"
    version = sys.version_info[:2]
    if version < OLDEST_PYTHON:
        yield problem(found, f"Python {OLDEST_PYTHON[0]}.{OLDEST_PYTHON[1]} or newer is needed")
    elif version > NEWEST_PYTHON:
        yield warning(found, f"tried up to {NEWEST_PYTHON[0]}.{NEWEST_PYTHON[1]}; use that if something fails")
    elif sys.prefix == sys.base_prefix:
        yield warning(f"{found} is the system's own", "install into an environment of its own: `make env`")
    else:
        yield ok(found)


def packages(patient: Patient) -> Iterator[Answer]:
    """What the project requires, what is known to clash, and what differs from the versions tried together."""
    del patient
    wrong = missing_or_wrong()
    clashes = installation.problems()
    for line in clashes:
        found, _, advice = line.rpartition("; ")
        yield problem(found, advice)
    if wrong:
        yield problem("; ".join(wrong), "`make env`, or pip install -c constraints.txt with these requirements")
    other = not_as_tried(CONSTRAINTS)
    if other:
        named = ", ".join(other[:4]) + (f" and {len(other) - 4} more" if len(other) > 4 else "")
        yield warning(
            f"other versions than those tried together: {named}", "pip install -c constraints.txt, if something fails"
        )
    if not (wrong or clashes or other):
        yield ok("all required packages, in versions that work together")


def missing_or_wrong() -> list[str]:
    """Requirements of the project that the environment does not meet."""
    from packaging.requirements import Requirement

    try:
        lines = metadata.requires(PROJECT) or []
    except metadata.PackageNotFoundError:
        return [f"{PROJECT} itself is not installed"]
    wrong = []
    for need in map(Requirement, lines):
        if need.marker is not None and not need.marker.evaluate({"extra": ""}):
            continue
        found = installation.installed(need.name)
        if found is None:
            wrong.append(f"{need.name} is not installed")
        elif not need.specifier.contains(found, prereleases=True):
            wrong.append(f"{need.name} {found} is installed, {need.specifier} is needed")
    return wrong


def not_as_tried(constraints: Path) -> list[str]:
    """Installed packages whose version is not that of constraints.txt; a build mark such as +cpu does not count."""
    if not constraints.is_file():
        return []
    other = []
    for line in constraints.read_text(encoding="utf-8").splitlines():
        name, equal, wanted = line.partition("==")
        found = installation.installed(name.strip()) if equal and not line.startswith("#") else None
        if found is not None and found.partition("+")[0] != wanted.strip().partition("+")[0]:
            other.append(f"{name} {found}")
    return other


def torch_and_gpu(patient: Patient) -> Iterator[Answer]:
    """Whether torch computes, and on what."""
    del patient
    try:
        import torch

        works = torch.equal(torch.ones(2, 2) @ torch.ones(2, 2), torch.full((2, 2), 2.0))
        works = works and bool((torch.ones(2).numpy() == 1).all())
    except Exception as error:  # broken libraries raise anything
        yield problem(f"torch cannot be used: {one_line(error)}", "install torch again, for your machine: `make env`")
        return
    build = f"torch {torch.__version__}"
    if not works:
        yield problem(f"{build} computes wrong numbers", "install torch again: `make env`")
        return
    if torch.cuda.is_available():
        yield from graphics(torch, build)
    elif Path("/dev/nvidia0").exists():
        built = torch.version.cuda
        yield warning(
            f"{build}: there is an NVIDIA card, but torch does not see it"
            + ("; it is built without CUDA" if built is None else f"; it is built for CUDA {built}"),
            "install torch's default build, and a driver that fits it; on the CPU CardioMM takes many times as long",
        )
    else:
        capability = torch.backends.cpu.get_cpu_capability()
        yield ok(f"{build}, CPU only ({capability})")


def graphics(torch: Any, build: str) -> Iterator[Answer]:
    """A card's memory, and whether it computes in bf16."""
    name = torch.cuda.get_device_name()
    try:
        free, total = (n / 1e9 for n in torch.cuda.mem_get_info())
        torch.ones(8, device="cuda").sum().item()
    except RuntimeError as error:
        yield problem(
            f"{name} cannot be used: {one_line(error)}", 'check nvidia-smi; or set device = "cpu" in [running]'
        )
        return
    kind = "bf16" if torch.cuda.is_bf16_supported() else "no bf16, so CardioMM computes in fp32"
    found = f"{build}, CUDA {torch.version.cuda}, {name}, {free:.1f} GB free of {total:.1f} GB, {kind}"
    if free < SMALL_GPU_GB:
        yield warning(found, "end what else uses the card, or set a small batch_size in [running]")
    else:
        yield ok(found)


def torchvision(patient: Patient) -> Iterator[Answer]:
    """It is not needed by us, but comes with nnU-Net, and fails with another build of torch."""
    del patient
    if util.find_spec("torchvision") is None:
        yield ok("not installed; nothing here needs it")
        return
    try:
        import torchvision as found  # type: ignore[import-untyped]

        yield ok(f"torchvision {found.__version__}")
    except Exception as error:  # its own checks raise RuntimeError, a missing library OSError
        yield warning(
            f"cannot be imported ({one_line(error)}): another build than torch's",
            "nothing to do for runs and training; to mend it, install the default builds of both",
        )


def nnunet(patient: Patient) -> Iterator[Answer]:
    """Version; with --deep also the import, which takes seconds."""
    found = installation.installed("nnunetv2")
    if found is None:
        yield problem("nnunetv2 is not installed", "`make env`")
    elif patient.deep:
        from phenotyping.nnunet import nnunet_library

        try:
            nnunet_library()
        except Exception as error:
            yield problem(f"nnunetv2 {found} cannot be imported: {one_line(error)}", "`make env`")
        else:
            yield ok(f"nnunetv2 {found}, all that is used of it can be imported")
    else:
        yield ok(f"nnunetv2 {found} (imported with --deep)")


def weights(patient: Patient) -> Iterator[Answer]:
    """Whether the shipped networks are those that were shipped; with --deep, whether they load without code."""
    yield from listed_files(WEIGHTS_LIST, ROOT)
    if patient.deep:
        yield from loaded()


def listed_files(listing: Path, root: Path) -> Iterator[Answer]:
    """Compare files with a list as `sha256sum` writes it."""
    advice = "restore it from the release: git checkout, or install again; its results would not be those of the card"
    good = 0
    for line in listing.read_text(encoding="utf-8").splitlines():
        wanted, _, name = line.partition("  ")
        path = root / name
        if not path.is_file():
            yield problem(f"{name} is missing", advice)
            continue
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != wanted:
            pointer = path.stat().st_size < 1000 and path.read_bytes().startswith(b"version https://git-lfs")
            yield problem(
                f"{name} is not the shipped file (SHA-256 {found[:12]}, expected {wanted[:12]})",
                "it is a pointer of git LFS: git lfs pull" if pointer else advice,
            )
        else:
            good += 1
    if good:
        yield ok(f"{good} shipped files have the hashes of their release")


def loaded() -> Iterator[Answer]:
    """Load both networks as tensors and plain values, without executing what a file may hold."""
    from cohort.records import CardioValError
    from phenotyping.nnunet import SHIPPED_MODEL, load_checkpoint_safely
    from recon.cardiomm.checkpoint import SHIPPED_WEIGHTS, load_cardiomm

    try:
        load_cardiomm(SHIPPED_WEIGHTS)
        for path in sorted(SHIPPED_MODEL.glob("fold_*/checkpoint_final.pth")):
            load_checkpoint_safely(path)
    except CardioValError as error:
        yield problem(str(error), "restore it from the release")
    else:
        yield ok("both networks load, without executing code")


def prefect(patient: Patient) -> Iterator[Answer]:
    """Version, where its server is, whether that answers, and that it reports to nobody."""
    del patient
    from flows.config import prepare_environment

    prepare_environment()
    try:
        import prefect as library
        from prefect.settings import get_current_settings

        settings = get_current_settings()
    except Exception as error:
        yield problem(f"Prefect cannot be imported: {one_line(error)}", "`make env`")
        return
    if settings.server.analytics_enabled:
        yield warning("Prefect's server reports its use to its makers", "set PREFECT_SERVER_ANALYTICS_ENABLED=false")
    url = settings.api.url
    if url:
        yield from reached(str(url), f"Prefect {library.__version__}")
        return
    home = Path(settings.home)
    if not os.access(home, os.W_OK):
        yield problem(f"Prefect's folder {home} is not writable", "set PREFECT_HOME to a folder that is")
    else:
        yield ok(f"Prefect {library.__version__}, its embedded server (started with --deep)")


def reached(url: str, name: str) -> Iterator[Answer]:
    """Whether the server of a URL answers; user and password in it are not shown."""
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    shown = f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path}"
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=REACH_TIMEOUT_S) as answer:
            answer.read()
    except urllib.error.HTTPError as error:
        yield warning(f"{name}: {shown} answers {error.code}", "check PREFECT_API_URL and PREFECT_API_KEY")
    except (OSError, ValueError) as error:
        yield problem(
            f"{name}: no server at {shown} ({one_line(error)})",
            "start it (prefect server start), or unset PREFECT_API_URL to use the embedded one",
        )
    else:
        yield ok(f"{name}, server at {shown}")


def prefect_server(patient: Patient) -> Iterator[Answer]:
    """Whether the embedded server starts and runs a flow, in a folder that is thrown away."""
    del patient
    with tempfile.TemporaryDirectory(prefix="cardioval-doctor-") as home:
        try:
            done = subprocess.run(
                [sys.executable, "-c", TRIAL_FLOW, home], capture_output=True, text=True, timeout=SERVER_TIMEOUT_S
            )
        except subprocess.TimeoutExpired:
            yield problem(f"Prefect's embedded server did not start within {SERVER_TIMEOUT_S} s", "see docs/doctor.md")
            return
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        yield problem(f"Prefect's embedded server does not run a flow: {last}", "see docs/doctor.md")
    else:
        yield ok("the embedded server starts and runs a flow")


def pages(patient: Patient) -> Iterator[Answer]:
    """Whether a PDF can be made, with the fonts that reports use."""
    del patient
    try:
        import matplotlib
        import typst

        fonts: Any = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
        source = b'#set text(font: "DejaVu Sans")\nT1\xcf\x81 \xe2\x89\xa4 1'
        made: bytes = typst.compile(source, font_paths=[fonts], ignore_system_fonts=True, format="pdf")
    except Exception as error:
        yield problem(f"typst makes no PDF: {one_line(error)}", "`make env`; reports need it")
        return
    if not made or not made.startswith(b"%PDF") or b"DejaVu" not in made:
        yield problem("typst made no PDF with the fonts of the reports", "install matplotlib again; its fonts are used")
    else:
        yield ok(f"typst {metadata.version('typst')} makes PDFs with the fonts of matplotlib")


def optional(patient: Patient) -> Iterator[Answer]:
    """What only some uses need."""
    del patient
    there = [name for name in OPTIONAL_PACKAGES if util.find_spec(name)]
    there += [name for name in OPTIONAL_PROGRAMS if shutil.which(name)]
    absent = [f"{n} (for {use})" for n, use in {**OPTIONAL_PACKAGES, **OPTIONAL_PROGRAMS}.items() if n not in there]
    yield ok(f"there: {', '.join(there) or 'none'}; not there: {', '.join(absent) or 'none'}")


def one_line(error: BaseException) -> str:
    """An error in one short line."""
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= 160 else words[:157] + "..."


SOFTWARE = (
    Check("python", python),
    Check("packages", packages),
    Check("torch", torch_and_gpu),
    Check("torchvision", torchvision),
    Check("nnU-Net", nnunet),
    Check("weights", weights),
    Check("prefect", prefect),
    Check("prefect server", prefect_server, deep=True),
    Check("pages", pages),
    Check("optional", optional),
)
