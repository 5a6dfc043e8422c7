"""A real run through Prefect: its log, its times and memory, and its repetition with the verdicts."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from flows.config import Reconstruction, Running, Selection, Undersampling, ValidationConfig
from flows.run_log import LOG_FILE, read_log

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_server")]


def test_a_run_is_logged_measured_and_reproduced(cohort_copy: Path, tmp_path: Path) -> None:
    from flows.reproduce import reproduce
    from flows.validate import validate

    empty = next(cohort_copy.rglob("P002/T1map.mat"))
    with h5py.File(empty, "r+") as file:  # our own writer would refuse
        file["kspace"][...] = np.zeros(file["kspace"].shape, file["kspace"].dtype)
    config = ValidationConfig(
        name="observed",
        cohort=cohort_copy,
        out=tmp_path / "run",
        select=Selection(modality=("T1 mapping",)),
        undersampling=Undersampling(patterns=(("Uniform", 2.0),), n_calibration=16),
        reconstruction=Reconstruction(methods=("zero_filled",), reliability=False),
        running=Running(device="cpu", workers=2, threads=1, retries=0),
    )
    told: list[tuple[Any, ...]] = []
    failures: list[tuple[Any, ...]] = []
    summary = validate(config, advance=lambda *said: told.append(said), on_failure=lambda *said: failures.append(said))
    assert summary.exit_status == 3
    ((stage, scan, reason),) = failures
    assert (stage, scan) == ("reconstruct", "Center001 P002 T1map")
    assert "zero" in reason
    assert {said[0] for said in told} == {"reconstruct", "segment", "measure"}

    lines = read_log(config.out / LOG_FILE)
    assert [lines[0]["event"], lines[-1]["event"]] == ["run_begin", "run_end"]
    assert (lines[0]["study"], lines[0]["n_scans"], lines[-1]["n_failed"]) == ("observed", 2, 1)
    done = {line["stage"]: line for line in lines if line["event"] == "stage_done"}
    assert set(done) == {"reconstruct", "segment", "measure"}
    for line in done.values():
        assert line["scan"] == "Center001 P001 T1map"
        assert line["seconds"] > 0
        assert line["peak_mb"] > 50
    (failed,) = [line for line in lines if line["event"] == "stage_failed"]
    assert (failed["level"], failed["reason"]) == ("ERROR", reason)
    assert failed["seconds"] > 0, "also what failed took time"
    text = (config.out / LOG_FILE).read_text()
    assert str(tmp_path) not in text

    timing = {row["stage"]: row for row in summary.results["timing"]}
    assert {name: row["n"] for name, row in timing.items()} == {"reconstruct": 1, "segment": 1, "measure": 1}
    assert timing["segment"]["seconds_max"] == done["segment"]["seconds"]
    assert all(row["n_earlier"] == 0 for row in timing.values())
    assert "Time and memory" in (config.out / "report" / "index.html").read_text()

    again = validate(config, resume=True)
    assert all(row["n_earlier"] == 1 for row in again.results["timing"]), "kept, with the time it took then"
    resumed = read_log(config.out / LOG_FILE)[len(lines) :]
    assert [line.get("reused") for line in resumed if line["event"] == "stage_done"] == [True] * 3
    assert {line["run"] for line in resumed} != {lines[0]["run"]}

    made = reproduce(config.out, out=tmp_path / "again")
    assert made.reproduced, json.dumps(made.content["worst"])
    assert made.content["basis"] == "identical", made.content["basis_why"]
    assert made.content["scans"] == {"repeated": 2, "of": 2, "failed": 1}
    assert made.content["verdicts"]["compared"] > 0
    assert made.content["verdicts"]["changed"] == []
