"""The power goes between any two steps on the disk, or the disk is full from then on: --resume finishes the run, does
again only what was not complete, and the end is that of a run that was never cut off."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from cohort.records import ConfigProblem, RunStopped
from flows.resources import MANIFESTS
from flows.resume import held
from flows.validate import validate
from tests.flows.power import Names, PowerLoss, disk
from tests.flows.small_run import Done, fresh, small_cohort, small_config, small_flow, state

pytestmark = pytest.mark.slow
SAMPLE = 11
N_SCANS = 2
NAMES: tuple[Names, ...] = get_args(Names)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_cohort(tmp_path_factory.mktemp("power") / "cohort")


@pytest.fixture(scope="module")
def done() -> Iterator[Done]:
    with small_flow() as noted:
        yield noted


@pytest.fixture(scope="module")
def whole(cohort: Path, done: Done, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], int]:
    """What an uninterrupted run leaves, and how many steps it takes."""
    del done
    out = tmp_path_factory.mktemp("whole") / "run"
    with disk(out, lasts=None) as watched:
        assert validate(small_config(cohort, out)).exit_status == 0
    return state(out), len(watched.steps)


def cut_off(cohort: Path, out: Path, *, after: int, names: Names) -> bool:
    """Run until the power goes; whether it went."""
    resume = out.exists() and any(out.iterdir())
    with disk(out, lasts=after) as watched:
        try:
            validate(small_config(cohort, out), resume=resume)
        except PowerLoss:
            watched.forget(names)
            return True
    return False


def complete_manifests(out: Path) -> set[Path]:
    return {path for name in MANIFESTS.values() for path in out.rglob(name)}


def check_resumed(cohort: Path, out: Path, done: Done, expected: dict[str, Any]) -> None:
    """Resume, and hold it to what an uninterrupted run gives and to doing nothing twice."""
    there = complete_manifests(out)
    done.manifests.clear()
    summary = validate(small_config(cohort, out), resume=True)
    assert summary.exit_status == 0
    assert len(done.manifests) == len(set(done.manifests)) == len(MANIFESTS) * N_SCANS - len(there)
    assert not there & set(done.manifests), "a complete stage was done again"
    left = state(out)
    assert list(left) == list(expected)
    for name, content in expected.items():
        assert left[name] == content, name


def test_a_run_takes_many_steps(whole: tuple[dict[str, Any], int]) -> None:
    assert whole[1] > 4 * len(whole[0]) > 100
    assert not any(name.endswith(".part") for name in whole[0])


@pytest.mark.parametrize("nth", range(SAMPLE))
def test_power_loss(cohort: Path, done: Done, whole: tuple[dict[str, Any], int], tmp_path: Path, nth: int) -> None:
    """A sample of the steps, from the first to the last; ``benchmarks/power_loss.py`` takes all of them."""
    expected, n_steps = whole
    after = round(nth * (n_steps - 1) / (SAMPLE - 1))
    out = tmp_path / "run"
    assert cut_off(cohort, out, after=after, names=NAMES[nth % 3])
    check_resumed(cohort, out, done, expected)


@pytest.mark.parametrize(("first", "second"), [(40, 31), (100, 9), (170, 30)])
def test_the_power_goes_again_while_the_run_is_resumed(
    cohort: Path, done: Done, whole: tuple[dict[str, Any], int], tmp_path: Path, first: int, second: int
) -> None:
    out = tmp_path / "run"
    assert cut_off(cohort, out, after=first, names="kept")
    assert cut_off(cohort, out, after=second, names="lost")
    check_resumed(cohort, out, done, whole[0])


@pytest.mark.parametrize("after", [3, 60, 133, 150])
def test_full_disk(cohort: Path, done: Done, whole: tuple[dict[str, Any], int], tmp_path: Path, after: int) -> None:
    """One line says so, nothing half written is left, and with room the run goes on."""
    out = tmp_path / "run"

    def full() -> OSError:
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with (
        disk(out, lasts=after, fails_with=full),
        pytest.raises(RunStopped, match=r"the disk is full.*--resume") as error,
    ):
        validate(small_config(cohort, out))
    assert "\n" not in str(error.value)
    check_resumed(cohort, out, done, whole[0])


def test_results_never_stand_over_tables_of_another_attempt(cohort: Path, done: Done, tmp_path: Path) -> None:
    """A resumed run with another result: at every step, results.json belongs to the tables beside it, or is not there."""
    del done
    out, other = tmp_path / "run", tmp_path / "other"
    tables = ("measurements.parquet", "segments.parquet", "agreement.csv", "agreement.parquet", "failures.csv")
    validate(small_config(cohort, out))
    old = state(out)
    victim = min(cohort.rglob("cine_sax_info.csv"))
    header = victim.read_text()
    try:
        victim.write_text(of_a_larger_view(header))
        validate(small_config(cohort, other))
        new = state(other)
        assert old["measurements.parquet"] != new["measurements.parquet"]
        with disk(out, lasts=None) as watched:
            validate(small_config(cohort, out), resume=True)
        assert state(out)["measurements.parquet"] == new["measurements.parquet"]
        steps = watched.steps
        withdrawn, written = steps.index("remove results.json"), steps.index("rename results.json")
        replaced = [steps.index(f"rename {name}") for name in tables]
        assert withdrawn < min(replaced) <= max(replaced) < written
        assert steps[withdrawn + 1] == f"flush {out.name}", "the disk knows before a table changes"
    finally:
        victim.write_text(header)


def of_a_larger_view(header: str) -> str:
    """Another field of view, so that volumes change."""
    lines = header.splitlines(keepends=True)
    changed = [line.replace("340", "360") if line.startswith("FOVx") else line for line in lines]
    assert changed != lines
    return "".join(changed)


def test_read_only_folder(cohort: Path, done: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused by the system, whoever the user is: one line with the file."""
    del done
    out = tmp_path / "run"
    really = os.open

    def read_only(path: Any, flags: int, *rest: Any, **options: Any) -> int:
        if flags & os.O_CREAT and Path(path).is_relative_to(out):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return really(path, flags, *rest, **options)

    monkeypatch.setattr(os, "open", read_only)
    with pytest.raises(RunStopped, match=r"the disk can only be read \(.*plan\.json"):
        validate(small_config(cohort, out))


def test_two_runs_in_one_folder(cohort: Path, done: Done, tmp_path: Path) -> None:
    del done
    out = tmp_path / "run"
    with held(out), pytest.raises(ConfigProblem, match="another run is going on"):
        validate(small_config(cohort, out), resume=True)
    assert list(out.iterdir()) == [], "a lock leaves nothing behind"
    assert validate(small_config(cohort, fresh(out))).exit_status == 0
