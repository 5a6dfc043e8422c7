"""Does the machine allow a run? Disk, memory, cores, clock, locale, the history's database."""

import locale
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psutil

from cohort.atomic import replacing
from flows.doctor_findings import Answer, Check, Patient, ok, problem, warning

GIGABYTE = 1e9
# measured: demo of 60 scans 1.3 GB; one scan of full size and one arm some 100 MB
LEAST_DISK_GB, ENOUGH_DISK_GB = 2.0, 20.0
# measured: the stages of a full-size scan peak at 3 GB (docs/validate.md), nnU-Net and Prefect's server beside them
LEAST_MEMORY_GB, ENOUGH_MEMORY_GB = 3.0, 6.0
SLOW_FSYNC_S = 1.0
BUSY = 1.5
CONNECT_TIMEOUT_S = 3
CGROUP = Path("/sys/fs/cgroup")


def disk(patient: Patient) -> Iterator[Answer]:
    """Free space where results will lie."""
    folder = existing(patient.out)
    usage = shutil.disk_usage(folder)
    free = usage.free / GIGABYTE
    found = f"{free:.1f} GB free of {usage.total / GIGABYTE:.0f} GB at {folder}"
    advice = "free some space, give another --out, or set keep_images = false in [running]"
    if free < LEAST_DISK_GB:
        yield problem(found, advice)
    elif free < ENOUGH_DISK_GB:
        yield warning(f"{found}; a large cohort needs more", advice)
    else:
        yield ok(found)
    nodes = os.statvfs(folder)
    if nodes.f_files and nodes.f_favail < 10_000:
        yield problem(f"only {nodes.f_favail} more files can be made at {folder}", advice)


def writing(patient: Patient) -> Iterator[Answer]:
    """Whether a file can be written, flushed and renamed in one step, as every result is."""
    folder = existing(patient.out)
    if patient.out.exists() and not patient.out.is_dir():
        yield problem(f"{patient.out} is a file", "give a folder for the results")
        return
    started = time.perf_counter()
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".cardioval-doctor-") as temporary:
            trial = Path(temporary) / "trial"
            for text in ("first", "second"):
                with replacing(trial) as part:
                    part.write_text(text, encoding="utf-8")
            content, left = trial.read_text(encoding="utf-8"), [path.name for path in Path(temporary).iterdir()]
    except OSError as error:
        reason = error.strerror or type(error).__name__
        yield problem(
            f"cannot write in {folder}: {reason}", "give --out a folder that you may write in, on a local disk"
        )
        return
    seconds = (time.perf_counter() - started) / 2
    if content != "second" or left != ["trial"]:
        yield problem(f"renaming does not replace a file in {folder}", "give --out a folder on another file system")
    elif seconds > SLOW_FSYNC_S:
        yield warning(
            f"writing, flushing and renaming one file took {seconds:.1f} s in {folder}",
            "a local disk is faster; network folders make each of the run's many files slow",
        )
    else:
        yield ok(f"files are replaced in one step in {folder} ({1000 * seconds:.0f} ms with flush)")


def memory(patient: Patient) -> Iterator[Answer]:
    """Memory that is left, also within the limits of a container."""
    del patient
    total, free = memory_bytes()
    found = f"{free / GIGABYTE:.1f} GB free of {total / GIGABYTE:.1f} GB"
    advice = "end other programs, or set workers = 1 in [running]: each scan in work needs up to 3 GB"
    if free < LEAST_MEMORY_GB * GIGABYTE:
        yield problem(found, advice)
    elif free < ENOUGH_MEMORY_GB * GIGABYTE:
        yield warning(found, advice)
    else:
        yield ok(found)


def memory_bytes() -> tuple[int, int]:
    """Total and free memory: the machine's, or the container's where that is less."""
    machine = psutil.virtual_memory()
    total, free = machine.total, machine.available
    limit = cgroup_value("memory.max")
    if limit is not None and limit < total:
        # what files occupy is given back when needed
        taken = max(0, (cgroup_value("memory.current") or 0) - cgroup_stat("file"))
        total, free = limit, min(free, limit - taken)
    return total, max(0, free)


def cgroup_value(name: str) -> int | None:
    """A number of the container's limits; None without one."""
    try:
        return int((CGROUP / name).read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return None


def cgroup_stat(name: str) -> int:
    """A line of the container's memory.stat, 0 without one."""
    try:
        rows = (line.split() for line in (CGROUP / "memory.stat").read_text(encoding="ascii").splitlines())
        return next((int(row[1]) for row in rows if row[0] == name), 0)
    except (OSError, ValueError, IndexError):
        return 0


def cores(patient: Patient) -> Iterator[Answer]:
    """Cores that may be used, and whether something else uses them."""
    del patient
    count = len(os.sched_getaffinity(0))
    quota = cpu_quota()
    load = os.getloadavg()[0]
    found = f"{count} cores, load {load:.1f}"
    if quota is not None and quota < count:
        yield warning(
            f"{found}, but the container gets only {quota:g} of them",
            f"set workers = {max(1, int(quota))} and threads = 1 in [running]; more threads than cores are slower",
        )
    elif load > BUSY * count:
        yield warning(
            f"{found}: other programs are at work", "wait, or set fewer workers in [running]; times will be longer"
        )
    else:
        yield ok(found)


def cpu_quota() -> float | None:
    """Cores that a container gets; None without a limit."""
    try:
        limit, period = (CGROUP / "cpu.max").read_text(encoding="ascii").split()
        return None if limit == "max" else int(limit) / int(period)
    except (OSError, ValueError):
        return None


def clock(patient: Patient) -> Iterator[Answer]:
    """Whether the clock can be right: it cannot be before this program's files."""
    del patient
    now, written = time.time(), Path(__file__).stat().st_mtime
    stamp = datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")
    zone = time.strftime("%Z")
    if now < written - 86_400:
        yield problem(
            f"the clock says {stamp}, before this program was installed",
            "set the clock (NTP): records, schedules and certificates go by it",
        )
    else:
        yield ok(f"{stamp}, local time zone {zone}; records are in UTC")


def encoding(patient: Patient) -> Iterator[Answer]:
    """Whether texts and file names can hold every letter."""
    del patient
    found = {"locale": locale.getpreferredencoding(False), "file names": sys.getfilesystemencoding()}
    other = [f"{what} {name}" for what, name in found.items() if name.replace("-", "").lower() != "utf8"]
    if other:
        yield warning(f"not UTF-8: {', '.join(other)}", "set LC_ALL=C.UTF-8 or PYTHONUTF8=1")
    else:
        yield ok("UTF-8")


def history(patient: Patient) -> Iterator[Answer]:
    """Whether the database of runs that the environment names can be reached."""
    del patient
    from flows.config import history_target

    target = history_target()
    if not target:
        yield ok("a file beside the run folders (CARDIOVAL_HISTORY_URL is not set)")
        return
    yield from database(target)


def database(target: str) -> Iterator[Answer]:
    """Whether a history's database can be reached and has tables that this version knows."""
    from sqlalchemy import create_engine
    from sqlalchemy.exc import SQLAlchemyError
    from sqlalchemy.pool import NullPool

    from cohort.records import CardioValError
    from flows.history_schema import head, known_revision
    from flows.history_url import ENVIRONMENT, parse, shown

    try:
        url = parse(target)
    except CardioValError as error:
        yield problem(str(error), f"set {ENVIRONMENT} to a file or a URL")
        return
    name, is_file = shown(url), url.drivername == "sqlite"
    if is_file and not Path(name).exists():
        parent = existing(Path(name).parent)
        if os.access(parent, os.W_OK):
            yield ok(f"{name} will be made by the first run")
        else:
            yield problem(f"{name} cannot be made: {parent} is not writable", f"set {ENVIRONMENT} to another file")
        return
    advice = "check the file" if is_file else "check that the server runs, its address, user, PGPASSWORD and network"
    timeout = {"timeout" if is_file else "connect_timeout": CONNECT_TIMEOUT_S}
    try:
        engine = create_engine(url, poolclass=NullPool, hide_parameters=True, connect_args=timeout)
        with engine.connect() as connection:
            found = known_revision(connection)
    except ModuleNotFoundError as error:
        yield problem(f"{name} needs the package {error.name}", "pip install 'cardioval[postgres]'")
    except CardioValError as error:
        yield problem(str(error), "update CardioVal, or name another database")
    except (SQLAlchemyError, OSError) as error:
        first = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        yield problem(f"{name} cannot be used: {first}", f"{advice}; runs keep their records until it is back")
    else:
        if found is None:
            yield ok(f"{name} is reachable and empty")
        elif found != head():
            yield warning(f"{name} has tables of revision {found}, newest is {head()}", "the next run updates them")
        else:
            yield ok(f"{name} is reachable")


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next((p for p in (folder, *folder.parents) if p.is_dir()), Path("/"))


MACHINE = (
    Check("disk", disk),
    Check("writing", writing),
    Check("memory", memory),
    Check("cores", cores),
    Check("clock", clock),
    Check("encoding", encoding),
    Check("history", history),
)
