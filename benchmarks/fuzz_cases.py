"""What does a reader do with one damaged case? Judged under limits of memory and time, and by what is left on the disk."""

import os
import resource
import shutil
import signal
import sys
import time
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.fuzz_corpus import TARGETS, Target
from benchmarks.fuzz_hostile import Hostile
from benchmarks.fuzz_mutations import mutated
from cohort.records import CardioValError

READ, REFUSED = "read", "refused"
FOREIGN, GREEDY, HANG, CRASH, ESCAPE = "foreign error", "too much memory", "hang", "crash", "escape"
FINE = (READ, REFUSED)
#: room above what the process has; a case is of some kilobytes
HEADROOM_BYTES = 2**30
#: resident memory that one reader may take for such a case
RESIDENT_BYTES = 400 * 2**20
SECONDS = 20.0
#: what a reader says where memory was refused; for a case of kilobytes, asking for it at all is the fault
NO_ROOM = "does not fit into memory"
#: opening these is no escape: the interpreter, its packages and the system's facts
SYSTEM_PREFIXES = (
    "/proc/",
    "/sys/",
    "/dev/null",
    "/dev/urandom",
    "/etc/localtime",
    "/usr/share/zoneinfo",
    "/usr/lib",
    "/usr/local/lib",
)
FORBIDDEN_EVENTS = (
    "os.system",
    "subprocess.Popen",
    "os.exec",
    "os.posix_spawn",
    "socket.connect",
    "os.remove",
    "os.rename",
    "shutil.rmtree",
    "ctypes.dlopen",
)


@dataclass(frozen=True)
class Outcome:
    """What came of one case: one of the words above, the words of the error, memory taken (MiB) and time (s)."""

    kind: str
    detail: str = ""
    grown_mib: float = 0.0
    seconds: float = 0.0

    @property
    def fine(self) -> bool:
        """Whether the promise was kept."""
        return self.kind in FINE


class OutOfTime(BaseException):
    """Not an Exception, so that no reader takes it for damage."""


def generator_of(seed: int, target: Target, index: int) -> np.random.Generator:
    """One for each case, so that any case can be made again alone."""
    return np.random.default_rng([seed, zlib.crc32(target.name.encode()), index])


def write_case(target: Target, folder: Path, template: Path, *, seed: int, index: int) -> str:
    """Copy a valid case and damage one of its files.

    Returns
    -------
    The damaged file, relative to the folder.
    """
    rng = generator_of(seed, target, index)
    variant = int(rng.integers(target.variants))
    source = template / str(variant)
    if not source.is_dir():
        source.mkdir(parents=True)
        target.write(source, variant)
    shutil.copytree(source, folder, dirs_exist_ok=True)
    victims = sorted({path for pattern in target.victims for path in folder.glob(pattern)})
    victim = victims[int(rng.integers(len(victims)))]
    packed = target.packed if target.packed != "gzip" or victim.suffix == ".gz" else ""
    text = (target.text and victim.suffix != ".parquet") or victim.suffix in (".json", ".toml", ".csv")
    victim.write_bytes(mutated(victim.read_bytes(), rng, text=text, packed=packed))
    return victim.relative_to(folder).as_posix()


def judge(target: Target, folder: Path, *, seconds: float = SECONDS) -> Outcome:
    """Read a case by every reader of its target; the worst outcome counts."""
    before = listing(folder)
    every = [judged(partial(read, folder), folder, seconds=seconds) for read in target.read]
    worst = max(every, key=lambda one: (not one.fine, one.kind == REFUSED))
    changed = sorted(before ^ listing(folder))
    if changed and worst.fine:
        worst = Outcome(ESCAPE, f"the reader changed files: {changed[:3]}")
    return replace(worst, grown_mib=max(one.grown_mib for one in every), seconds=max(one.seconds for one in every))


def judge_hostile(case: Hostile, home: Path, *, seconds: float = SECONDS) -> Outcome:
    """Make a hostile case below `home` and read it; it must be refused, and nothing may be left behind."""
    folder, outside = home / "case", home / "outside"
    folder.mkdir(parents=True, exist_ok=True)
    outside.mkdir()
    case.write(folder, outside)
    before = listing(folder)
    outcome = judged(lambda: case.read(folder), folder, seconds=seconds)
    changed = sorted(before ^ listing(folder))
    if changed or (outside / "ran").exists():
        return replace(outcome, kind=ESCAPE, detail=f"{case.name}: files were made or changed: {changed[:3]}")
    kind = ESCAPE if outcome.kind == READ else outcome.kind
    return replace(outcome, kind=kind, detail=f"{case.name}: {outcome.detail or 'was read'}")


def warm(folder: Path, targets: Sequence[Target] = TARGETS) -> None:
    """Read valid cases of all targets once, so that what is imported and kept for good is not counted.

    Raises
    ------
    Exception
        Whatever a reader raises over a valid case.
    """
    for target in targets:
        for variant in range(target.variants):
            case = folder / f"{target.name}_{variant}"
            case.mkdir(parents=True)
            target.write(case, variant)
            for read in target.read:
                read(case)
    shutil.rmtree(folder)


def judged(read: Callable[[], object], folder: Path, *, seconds: float = SECONDS) -> Outcome:
    """What one call does, under the limits."""
    WATCH.begin(folder)
    reset_peak()
    start, began = resident_bytes(), time.monotonic()
    try:
        with limited(seconds), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read()
        outcome = Outcome(READ)
    except CardioValError as error:
        outcome = Outcome(GREEDY if NO_ROOM in str(error) else REFUSED, one_line(error))
    except OutOfTime:
        outcome = Outcome(HANG, f"more than {seconds:g} s")
    except MemoryError as error:
        outcome = Outcome(GREEDY, one_line(error))
    except Exception as error:
        outcome = Outcome(FOREIGN, one_line(error))
    finally:
        events = WATCH.end()
    grown = peak_bytes() - start
    if outcome.fine and grown > RESIDENT_BYTES:
        outcome = Outcome(GREEDY, f"{grown / 2**20:.0f} MiB resident")
    elif outcome.fine and events:
        outcome = Outcome(ESCAPE, "; ".join(sorted(set(events))[:3]))
    return replace(outcome, grown_mib=max(0.0, grown / 2**20), seconds=time.monotonic() - began)


def one_line(error: BaseException) -> str:
    """Kind and message, short."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """No more memory than the headroom, no more time than given."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    with_time = hasattr(signal, "setitimer")
    before = signal.signal(signal.SIGALRM, _out_of_time) if with_time else None
    signal.setitimer(signal.ITIMER_REAL, seconds)
    resource.setrlimit(resource.RLIMIT_AS, (virtual_bytes() + HEADROOM_BYTES, hard))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.signal(signal.SIGALRM, before)


def _out_of_time(*_: object) -> None:
    raise OutOfTime


def listing(folder: Path) -> set[tuple[str, int]]:
    """Names and sizes of all files beside and below the case."""
    return {(str(path), path.lstat().st_size) for path in folder.parent.rglob("*") if not path.is_dir()}


class Watch:
    """Notes what a reader opens or starts that is none of its business.

    Only what goes through Python is seen; what libraries in C open is looked for by the hostile cases with targets of
    their own.
    """

    def __init__(self) -> None:
        self.folder: str | None = None
        self.events: list[str] = []
        self.installed = False

    def begin(self, folder: Path) -> None:
        """From now on, for this folder."""
        if not self.installed:
            sys.addaudithook(self.note)
            self.installed = True
        self.events, self.folder = [], str(folder)

    def end(self) -> list[str]:
        """What was seen."""
        self.folder = None
        return self.events

    def note(self, event: str, arguments: tuple[object, ...]) -> None:
        """Called by the interpreter for everything that may matter."""
        if self.folder is None:
            return
        if event == "open":
            name = arguments[0]
            path = str(Path.cwd() / os.fsdecode(name)) if isinstance(name, str | bytes) else ""
            if path and not path.startswith((self.folder, *SYSTEM_PREFIXES, sys.prefix, sys.base_prefix, str(ROOT))):
                self.events.append(f"opened {path}")
        elif event.startswith(FORBIDDEN_EVENTS):
            self.events.append(f"{event} {str(arguments)[:80]}")


ROOT = Path(__file__).resolve().parents[1]
WATCH = Watch()
BY_NAME = {target.name: target for target in TARGETS}


def _status(key: str) -> int:
    with Path("/proc/self/status").open(encoding="ascii") as stream:
        return next(int(line.split()[1]) * 1024 for line in stream if line.startswith(key))


def resident_bytes() -> int:
    """Memory of this process now."""
    return _status("VmRSS:")


def peak_bytes() -> int:
    """The most it had since `reset_peak`."""
    return _status("VmHWM:")


def virtual_bytes() -> int:
    """Addresses in use."""
    return _status("VmSize:")


def reset_peak() -> None:
    """Begin to look for the most memory anew; where the system does not let us, the peak is that of all time."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return
