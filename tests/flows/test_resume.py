"""What an earlier run left counts only if its key and every byte of it are right; what is said of it; who may go on."""

import errno
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cohort.records import ConfigProblem, RunStopped
from flows.config import Reconstruction
from flows.resources import MANIFESTS
from flows.resume import found_line, held, kept_line, stop_reason, stopping_clearly
from flows.validate import validate
from tests.flows.small_run import Done, small_cohort, small_config, small_flow, state

FIRST, SECOND = "P001", "P002"


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_cohort(tmp_path_factory.mktemp("resume") / "cohort")


@pytest.fixture(scope="module")
def done() -> Iterator[Done]:
    with small_flow() as noted:
        yield noted


@pytest.fixture(scope="module")
def finished(cohort: Path, done: Done, tmp_path_factory: pytest.TempPathFactory) -> Path:
    del done
    out = tmp_path_factory.mktemp("finished") / "run"
    validate(small_config(cohort, out))
    return out


@pytest.fixture
def run(finished: Path, done: Done, tmp_path: Path) -> Path:
    """A finished run that a test may damage; a run may be moved, and is still known."""
    done.manifests.clear()
    return Path(shutil.copytree(finished, tmp_path / "run"))


def scan(out: Path, patient: str) -> Path:
    return next(path.parent for path in out.rglob("reconstruction.json") if patient in path.parts)


# ---- damage --------------------------------------------------------------------------------------------------------------


def truncated(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])


def empty(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"")


def one_bit(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)


def of_another_scan(folder: Path, name: str) -> None:
    other = Path(str(folder).replace(FIRST, SECOND))
    (folder / name).write_bytes((other / name).read_bytes())


def gone(folder: Path, name: str) -> None:
    (folder / name).unlink()


def of_another_version(folder: Path, name: str) -> None:
    """As a version of the stage with another number would have written it: only the key differs."""
    content = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(content | {"key": "0" * 64}))


def of_no_files(folder: Path, name: str) -> None:
    """A manifest that promises less than its stage makes is not one of ours; its key alone says nothing."""
    content = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({key: value for key, value in content.items() if key != "files"}))


FILES = [
    "fully_sampled.nii.gz",
    "fully_sampled.json",
    "zero_filled_Uniform2.nii.gz",
    "fully_sampled_labels.nii.gz",
    "zero_filled_Uniform2_labels.json",
    "pictures/zero_filled_Uniform2_ED.npz",
]
STAGE_OF = dict(zip(FILES, ["reconstruct", "reconstruct", "reconstruct", "segment", "segment", "measure"], strict=True))
DAMAGE = [truncated, one_bit, of_another_scan, gone]


@pytest.mark.parametrize(
    ("name", "damage"),
    [(FILES[0], damage) for damage in DAMAGE] + list(zip(FILES[1:], [*DAMAGE[:2], *DAMAGE[1:]], strict=True)),
)
def test_a_damaged_file_is_made_again_and_nothing_else(
    cohort: Path, done: Done, run: Path, damage: Callable[[Path, str], None], name: str
) -> None:
    expected, folder = state(run), scan(run, FIRST)
    before = (folder / name).read_bytes()
    damage(folder, name)
    assert not (folder / name).exists() or (folder / name).read_bytes() != before
    validate(small_config(cohort, run), resume=True)
    assert state(run) == expected
    assert [path.name for path in done.manifests] == [MANIFESTS[STAGE_OF[name]]]
    assert {path.parent for path in done.manifests} == {folder}, "the other scan was complete"


WRONG = [truncated, empty, one_bit, of_another_scan, gone, of_another_version, of_no_files]


@pytest.mark.parametrize(
    ("name", "damage"),
    [("reconstruction.json", damage) for damage in WRONG]
    + [("segmentation.json", of_another_scan), ("segmentation.json", truncated)]
    + [("measurements.json", of_another_version), ("measurements.json", of_another_scan)],
)
def test_a_damaged_manifest_is_no_result(
    cohort: Path, done: Done, run: Path, damage: Callable[[Path, str], None], name: str
) -> None:
    expected, folder = state(run), scan(run, FIRST)
    damage(folder, name)
    validate(small_config(cohort, run), resume=True)
    assert state(run) == expected
    if damage is not one_bit or done.manifests:  # a bit within white space or within a time is harmless
        assert [path.name for path in done.manifests] == [name]
        assert {path.parent for path in done.manifests} == {folder}


def test_two_outputs_exchanged(cohort: Path, done: Done, run: Path) -> None:
    """Each is whole, and each is the other: the hashes know."""
    expected, folder = state(run), scan(run, FIRST)
    one, other = folder / FILES[0], folder / FILES[2]
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    validate(small_config(cohort, run), resume=True)
    assert state(run) == expected
    assert [path.name for path in done.manifests] == [MANIFESTS["reconstruct"]]


def test_another_version_of_a_stage_does_it_again(
    cohort: Path, done: Done, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Later stages follow only where what they read has changed."""
    import flows.stages

    monkeypatch.setattr(flows.stages, "SEGMENTATION_VERSION", flows.stages.SEGMENTATION_VERSION + 1)
    validate(small_config(cohort, run), resume=True)
    assert [path.name for path in done.manifests] == [MANIFESTS["segment"]] * 2


def test_a_changed_option_repeats_what_it_touches(cohort: Path, done: Done, run: Path) -> None:
    changed = small_config(
        cohort, run, reconstruction=Reconstruction(methods=("zero_filled", "sense"), reliability=False)
    )
    with pytest.raises(ConfigProblem, match="fixes another plan"):
        validate(changed, resume=True)
    assert done.manifests == [], "refused before anything was computed"


def test_what_killed_writers_left_is_cleared_away(cohort: Path, done: Done, run: Path) -> None:
    expected = state(run)
    left = [run / ".writing-00aa11bb-results.json.part", scan(run, FIRST) / ".writing-00aa11bb-a.nii.gz.part"]
    for path in left:
        path.write_bytes(b"half of it")
    validate(small_config(cohort, run), resume=True)
    assert state(run) == expected
    assert done.manifests == []


# ---- what is said --------------------------------------------------------------------------------------------------------


def test_what_was_found_and_what_was_done_is_told(cohort: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truncated(scan(run, FIRST), "reconstruction.json")
    (scan(run, SECOND) / "measurements.json").unlink()
    time.sleep(1.1)  # what was made in the second in which a run began counts as made by it
    validate(small_config(cohort, run), resume=True)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("cardioval:")]
    assert lines == [
        "cardioval: going on: of 2 scans 1 measured, 1 labeled; what has the same inputs, options and version, and files that "
        "are unchanged, is kept, the rest is done",
        "cardioval: kept: reconstructed 1 of 2, labeled 2 of 2, measured 1 of 2; done now: 1 reconstructed, 1 measured",
    ]


def test_a_first_run_has_nothing_to_tell(
    cohort: Path, done: Done, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del done
    validate(small_config(cohort, tmp_path / "run"))
    assert "cardioval:" not in capsys.readouterr().err
    assert found_line([tmp_path]) == ""
    assert kept_line([]) == ""


# ---- who may go on, and what stops ---------------------------------------------------------------------------------------


def test_a_folder_is_let_go_when_the_block_ends(tmp_path: Path) -> None:
    for _ in range(2):
        with held(tmp_path / "run"):
            pass
    with pytest.raises(KeyError), held(tmp_path / "run"):
        raise KeyError
    with held(tmp_path / "run"):
        pass


def test_a_disk_without_locks_is_used_without_and_not_cleared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    def unknown(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", unknown)
    other = tmp_path / ".writing-00aa11bb-x.part"
    other.write_bytes(b"perhaps of a run that is going on")
    with held(tmp_path):
        assert other.exists()


def test_what_stops_a_run_and_what_only_fails_a_scan(tmp_path: Path) -> None:
    inside, outside = str(tmp_path / "a"), "/elsewhere/scan.mat"
    assert stop_reason(OSError(errno.ENOSPC, "", inside), tmp_path) == f"the disk is full ({inside})"
    assert stop_reason(OSError(errno.EDQUOT, ""), tmp_path) == "the quota of the disk is used up"
    assert "read" in stop_reason(OSError(errno.EROFS, ""), tmp_path)
    assert "may not write" in stop_reason(PermissionError(errno.EACCES, "", inside), tmp_path)
    for problem in (PermissionError(errno.EACCES, "", outside), OSError(errno.EIO, ""), ValueError(), "text", None):
        assert stop_reason(problem, tmp_path) == ""


def test_a_disk_that_fails_is_no_note_on_a_series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What DICOM SEG cannot hold is a note; a full disk must not become one, or the series would count as complete."""
    from types import SimpleNamespace

    import flows.phenotype_series as series
    from flows.phenotype_options import PhenotypeOptions

    loaded: Any = SimpleNamespace(stack=SimpleNamespace(frames=[]), stored=lambda labels: labels)
    options = PhenotypeOptions(study="s", center="c", model_folder=None, label_map={}, device="cpu")

    def failing(problem: Exception) -> Callable[..., None]:
        def fail(*_: object, **__: object) -> None:
            raise problem

        return fail

    labels = np.zeros((0, 1, 1, 1), np.uint8)
    monkeypatch.setattr(series, "write_segmentations", failing(ValueError("no UID")))
    assert series.write_dicom_segmentations(loaded, labels, tmp_path, options) == ([], "no DICOM SEG: no UID")
    monkeypatch.setattr(series, "write_segmentations", failing(OSError(errno.ENOSPC, "full")))
    with pytest.raises(OSError, match="full"):
        series.write_dicom_segmentations(loaded, labels, tmp_path, options)


def test_other_errors_pass_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), stopping_clearly(tmp_path):
        (tmp_path / "not there").read_bytes()
    with pytest.raises(RunStopped, match="may not write"), stopping_clearly(tmp_path):
        raise PermissionError(errno.EACCES, "", str(tmp_path / "a"))


def test_a_folder_that_is_a_file(tmp_path: Path, cohort: Path, done: Done) -> None:
    del done
    (tmp_path / "run").write_text("mine")
    with pytest.raises(ConfigProblem, match="is a file"):
        validate(small_config(cohort, tmp_path / "run"), resume=True)
    assert (tmp_path / "run").read_text() == "mine"
