"""Do damaged and hostile files bring out anything but the project's own errors? Writes fuzz_readers.json and .md.

    nice -n 10 python benchmarks/fuzz_readers.py [--count 600] [--seed 1] [--workers 2] [--out benchmarks/fuzz_readers]

Every case is made from a valid one (`fuzz_corpus`) by one to three mutations (`fuzz_mutations`) of a generator of its own,
so `--only TARGET --case N` makes it again alone. A process that may take 1 GiB more than it has, and 20 s a case, reads it
(`fuzz_cases`); where it dies or hangs, it is counted and another one is started. The hostile cases by hand (`fuzz_hostile`)
come last.
"""

import argparse
import json
import logging
import multiprocessing
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from run_facts import run_facts  # noqa: E402

from benchmarks.fuzz_cases import (  # noqa: E402
    BY_NAME,
    CRASH,
    ESCAPE,
    FOREIGN,
    GREEDY,
    HANG,
    READ,
    REFUSED,
    SECONDS,
    Outcome,
    judge,
    judge_hostile,
    warm,
    write_case,
)
from benchmarks.fuzz_corpus import TARGETS  # noqa: E402
from benchmarks.fuzz_hostile import HOSTILE  # noqa: E402

HOSTILE_ROW = "hostile, by hand"
KINDS = (READ, REFUSED, FOREIGN, GREEDY, HANG, CRASH, ESCAPE)
PATIENCE_S = 3 * SECONDS + 60.0
MOST_TOLD = 20


@dataclass(frozen=True)
class Case:
    """Which case of which target; of the hostile ones, the index is the place in the list."""

    target: str
    index: int
    seed: int


def main() -> int:
    """Run, write, and fail where a promise was broken."""
    options = arguments()
    if options.case is not None:
        print(one_case(Case(options.only, options.case, options.seed), Path(tempfile.mkdtemp())))
        return 0
    started = time.monotonic()
    chosen = [t.name for t in TARGETS if options.only in ("", t.name)]
    cases = [Case(name, i, options.seed) for name in chosen for i in range(options.count)]
    cases += (
        [Case(HOSTILE_ROW, i, options.seed) for i in range(len(HOSTILE))] if options.only in ("", HOSTILE_ROW) else []
    )
    folder = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=folder) as top, ThreadPoolExecutor(options.workers) as pool:
        parts = [cases[k :: options.workers] for k in range(options.workers)]
        found = [
            x
            for part in pool.map(lambda k: list(answers(parts[k], Path(top) / str(k))), range(options.workers))
            for x in part
        ]
    results = summary(found) | {"wall_s": round(time.monotonic() - started, 1), "seed": options.seed}
    results |= run_facts("benchmarks/fuzz_readers.py")
    if options.out:
        options.out.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        options.out.with_suffix(".md").write_text(page(results), encoding="utf-8")
    print(page(results))
    return 1 if results["broken"] else 0


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=600, help="damaged cases of each target")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", default="", help="one target")
    parser.add_argument("--case", type=int, default=None, help="one case of it, in this process, told")
    parser.add_argument("--out", type=Path, default=None, help="where the results go, without ending")
    return parser.parse_args()


def answers(cases: list[Case], folder: Path) -> Iterator[tuple[Case, Outcome]]:
    """Outcomes of cases, each read in a child that is replaced where it dies or hangs."""
    child: tuple[Any, Connection] | None = None
    for case in cases:
        child = child or start(folder)
        process, line = child
        line.send(asdict(case))
        outcome = None
        if line.poll(PATIENCE_S):
            try:
                outcome = Outcome(**line.recv())
            except EOFError:
                process.join(10)
                outcome = Outcome(CRASH, f"the interpreter died with {process.exitcode}")
        yield case, outcome or Outcome(HANG, f"no answer in {PATIENCE_S:g} s")
        if outcome is None or outcome.kind == CRASH:
            process.kill()
            child = None
    if child is not None:
        child[1].send(None)
        child[0].join(30)


def start(folder: Path) -> tuple[Any, Connection]:
    """A child that waits for cases."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, str(folder)), daemon=True)
    process.start()
    theirs.close()
    return process, ours


def serve(line: Connection, folder: str) -> None:
    """Read cases until there are no more."""
    logging.disable(logging.CRITICAL)
    warm(Path(folder) / "warm")
    while (request := line.recv()) is not None:
        line.send(asdict(one_case(Case(**request), Path(folder))))


def one_case(case: Case, folder: Path) -> Outcome:
    """Make a case and judge it."""
    home = folder / "work"
    shutil.rmtree(home, ignore_errors=True)
    (home / "case").mkdir(parents=True)
    if case.target == HOSTILE_ROW:
        return judge_hostile(HOSTILE[case.index], home)
    target = BY_NAME[case.target]
    damaged = write_case(target, home / "case", folder / "valid" / target.name, seed=case.seed, index=case.index)
    outcome = judge(target, home / "case")
    return (
        outcome
        if outcome.fine
        else Outcome(outcome.kind, f"{damaged}: {outcome.detail}", outcome.grown_mib, outcome.seconds)
    )


def summary(found: list[tuple[Case, Outcome]]) -> dict[str, Any]:
    """Counts by target, and what was not as promised."""
    rows = []
    for name in dict.fromkeys(case.target for case, _ in found):
        outcomes = [outcome for case, outcome in found if case.target == name]
        counts = Counter(outcome.kind for outcome in outcomes)
        row: dict[str, Any] = {"target": name, "files": len(outcomes), **{kind: counts[kind] for kind in KINDS}}
        row["most_memory_mib"] = round(max(o.grown_mib for o in outcomes), 1)
        row["longest_s"] = round(max(o.seconds for o in outcomes), 2)
        rows.append(row)
    broken = [{"case": asdict(case), **asdict(outcome)} for case, outcome in found if not outcome.fine]
    return {"files": len(found), "targets": rows, "broken": broken}


def page(results: dict[str, Any]) -> str:
    """The table as Markdown."""
    lines = [
        "# Damaged and hostile files",
        "",
        f"{results['files']} files, each a valid one with one to three mutations (bits, lengths, splices, words, encodings, damage inside gzip, zip and "
        "MATLAB's packing), read in a process that may take 1 GiB more memory than it has and 20 s; and hostile cases made by hand.",
        "Refused: one of the project's own errors. Everything right of it breaks a promise: another error, memory (over 400 MiB for a case of kilobytes), "
        "time, the interpreter's death, or a file opened, written or run outside of the case.",
        "",
        "| input | files | " + " | ".join(KINDS) + " | most memory, MiB | longest, s |",
        "|---|" + "---|" * (len(KINDS) + 3),
    ]
    for row in results["targets"]:
        lines.append(
            f"| {row['target']} | {row['files']} | "
            + " | ".join(str(row[kind]) for kind in KINDS)
            + f" | {row['most_memory_mib']} | {row['longest_s']} |"
        )
    total = {kind: sum(row[kind] for row in results["targets"]) for kind in KINDS}
    lines.append(f"| **all** | {results['files']} | " + " | ".join(str(total[kind]) for kind in KINDS) + " | | |")
    lines += [""] + [
        f"- {one['case']['target']} {one['case']['index']}: {one['kind']}: {one['detail']}"
        for one in results["broken"][:MOST_TOLD]
    ]
    lines.append(
        f"`{results['command']}` at commit {results['commit'][:12]}, {results['wall_s']:.0f} s on {results['machine']}, Python {results['versions']['python']}."
    )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
