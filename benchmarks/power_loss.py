"""Does a run survive a power loss at every step that it takes on the disk, and a disk that fills at any point?

The test of tests/flows, at all steps. Each is tried three times: the disk keeps the names that no flush made sure of, it
loses them, or those of every other file. With ``--small-disk`` the run is also made on a real file system that is full
after a given number of bytes; it must be empty, and hold some more than the run (`mount -t tmpfs -o size=1200k`).

    python benchmarks/power_loss.py --out benchmarks/power_loss.json
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cohort.records import RunStopped
from flows.terminal import console
from flows.validate import validate
from tests.flows.power import disk
from tests.flows.small_run import Done, fresh, small_cohort, small_config, small_flow, state
from tests.flows.test_power_loss import NAMES, check_resumed, cut_off

FILL_STEP_BYTES = 45_000


def main() -> None:
    """Cut the run off at every step, resume it, and count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/power_loss.json"))
    parser.add_argument("--every", type=int, default=1, help="Only every so many steps.")
    parser.add_argument("--small-disk", type=Path, help="An empty folder on a file system of about a megabyte.")
    options = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, small_flow() as done:
        cohort, out = small_cohort(Path(folder) / "cohort"), Path(folder) / "run"
        console.quiet = True
        with disk(out, lasts=None) as watched:
            validate(small_config(cohort, out))
        expected, steps = state(out), watched.steps
        n_cut = 0
        for names in NAMES:
            for after in range(0, len(steps), options.every):
                fresh(out)
                n_cut += cut_off(cohort, out, after=after, names=names)
                check_resumed(cohort, out, done, expected)
        n_full = on_small_disk(options.small_disk, cohort, done, expected) if options.small_disk else None
    result = {
        "steps": len(steps),
        "files": len(expected),
        "power_losses_resumed_to_the_same_end": n_cut,
        "full_disks_resumed_to_the_same_end": n_full,
        "seconds": round(time.monotonic() - started, 1),
        "python": platform.python_version(),
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


def on_small_disk(folder: Path, cohort: Path, done: Done, expected: dict[str, object]) -> int:
    """Run with more and more room until it is enough; how often it was not."""
    filler, out, n_full = folder / "filler", folder / "run", 0
    while True:
        fresh(out)
        facts = os.statvfs(folder)
        filler.write_bytes(bytes(max(0, facts.f_bavail * facts.f_frsize - FILL_STEP_BYTES * (n_full + 1))))
        try:
            validate(small_config(cohort, out))
            return n_full
        except RunStopped:
            n_full += 1
        finally:
            filler.unlink()
        check_resumed(cohort, out, done, expected)


if __name__ == "__main__":
    main()
