"""Does a run survive a power loss at every step that it takes on the disk? The test of tests/flows, at all steps.

Each step is tried three times: the disk keeps the names that no flush made sure of, it loses them, or some of them.

    python benchmarks/power_loss.py --out benchmarks/power_loss.json
"""

import argparse
import json
import platform
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from flows.terminal import console
from flows.validate import validate
from tests.flows.power import disk
from tests.flows.small_run import fresh, small_cohort, small_config, small_flow, state
from tests.flows.test_power_loss import NAMES, check_resumed, cut_off


def main() -> None:
    """Cut the run off at every step, resume it, and count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/power_loss.json"))
    parser.add_argument("--every", type=int, default=1, help="Only every so many steps.")
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
    result = {
        "steps": len(steps),
        "files": len(expected),
        "interruptions": n_cut,
        "resumed_to_the_same_end": n_cut,
        "seconds": round(time.monotonic() - started, 1),
        "python": platform.python_version(),
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
