"""Is the log whole, readable and free of what it must not hold?"""

import errno
import json
import multiprocessing
import threading
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohort.records import MeasurementFailed
from flows import run_log as module
from flows.resources import USAGE, metering
from flows.run_log import LOG_FILE, WholeLines, cleaned, read_log, run_log

ROOTS = (Path("/data/heart study/out"), Path("/data/heart study"))


def manifest(path: Path, *, finished: datetime | None = None) -> Path:
    moment = (finished or datetime.now(UTC) + timedelta(seconds=5)).isoformat()
    usage = {"seconds": 1.5, "cpu_seconds": 1.0, "cpu_of": "process", "peak_mb": 800.0, "gpu_peak_mb": None}
    path.write_text(json.dumps({"key": "k", "files": {}, USAGE: {**usage, "at_once": 2, "finished_utc": moment}}))
    return path


def test_a_run_from_begin_to_end(tmp_path: Path) -> None:
    early = datetime.now(UTC) - timedelta(hours=1)
    with run_log(tmp_path, cohort=tmp_path / "cohort", study="night", n_scans=2) as log:
        log.stage_done("reconstruct", "C1 P001 cine_sax", manifest(tmp_path / "a.json"))
        log.stage_done("segment", "C1 P001 cine_sax", manifest(tmp_path / "b.json", finished=early))
        log.stage_failed("measure", "C1 P002 T1map", "no myocardium", MeasurementFailed("no myocardium"))
    lines = read_log(tmp_path / LOG_FILE)
    assert [line["event"] for line in lines] == ["run_begin", "stage_done", "stage_done", "stage_failed", "run_end"]
    begin, first, second, failed, end = lines
    assert (begin["study"], begin["n_scans"]) == ("night", 2)
    assert {key: first[key] for key in ("level", "stage", "scan", "seconds", "peak_mb", "at_once")} == {
        "level": "INFO",
        "stage": "reconstruct",
        "scan": "C1 P001 cine_sax",
        "seconds": 1.5,
        "peak_mb": 800.0,
        "at_once": 2,
    }
    assert "reused" not in first
    assert second["reused"] is True
    assert (failed["level"], failed["reason"]) == ("ERROR", "no myocardium")
    assert (end["n_failed"], end["n_warnings"]) == (1, 0)
    assert len({line["run"] for line in lines}) == 1
    assert all(datetime.fromisoformat(line["time"]).utcoffset() == timedelta(0) for line in lines)


def test_a_failure_tells_what_it_had_needed(tmp_path: Path) -> None:
    with run_log(tmp_path, cohort=tmp_path) as log:
        with pytest.raises(ValueError, match="x") as caught, metering("measure", scan="s"):
            raise ValueError("x")
        log.stage_failed("measure", "s", "x", caught.value)
    (failed,) = [line for line in read_log(tmp_path / LOG_FILE) if line["event"] == "stage_failed"]
    assert failed["seconds"] >= 0
    assert failed["peak_mb"] > 0


def test_a_resumed_run_appends_and_a_cut_line_stays_alone(tmp_path: Path) -> None:
    with run_log(tmp_path, cohort=tmp_path):
        pass
    path = tmp_path / LOG_FILE
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"time": "2026-0')  # the power failed here
    with run_log(tmp_path, cohort=tmp_path):
        pass
    lines = read_log(path)
    assert [line["event"] for line in lines] == ["run_begin", "run_end"] * 2
    assert lines[0]["run"] != lines[2]["run"]
    assert path.read_bytes().startswith(whole)


def test_what_ended_a_run_is_told_and_goes_on(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), run_log(tmp_path, cohort=tmp_path):
        raise KeyboardInterrupt
    with pytest.raises(ValueError, match="disk"), run_log(tmp_path, cohort=tmp_path):
        raise ValueError(f"no disk at {tmp_path}/scans/x and /etc/secret/place/key.pem")
    lines = read_log(tmp_path / LOG_FILE)
    assert [line["event"] for line in lines] == ["run_begin", "run_failed"] * 2
    assert lines[1]["reason"].startswith("KeyboardInterrupt")
    assert lines[3]["reason"] == "ValueError: no disk at scans/x and key.pem"


def test_warnings_are_lines_of_their_stage_and_scan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        before = warnings.showwarning
        with run_log(tmp_path, cohort=tmp_path):
            with metering("segment", scan="C1 P001 cine_sax"):
                warnings.warn(f"odd values in {tmp_path}/P001/cine.mat", RuntimeWarning, stacklevel=1)
            warnings.warn("outside of a stage", UserWarning, stacklevel=1)
            warnings.warn_explicit("Invalid name: 'Doe^Jane'", UserWarning, "/x/pydicom/valuerep.py", 1)
        assert warnings.showwarning is before
    _, first, second, third, end = read_log(tmp_path / LOG_FILE)
    assert (first["level"], first["stage"], first["scan"]) == ("WARNING", "segment", "C1 P001 cine_sax")
    assert first["reason"] == "RuntimeWarning: odd values in P001/cine.mat"
    assert second["reason"] == "UserWarning: outside of a stage"
    assert "stage" not in second
    assert "Doe" not in third["reason"]
    assert end["n_warnings"] == 3
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/data/heart study/C1/P1/cine.mat: truncated", "C1/P1/cine.mat: truncated"),
        ("/data/heart study/out/scans/a.json gone", "scans/a.json gone"),
        ("in /data/heart study: nothing", "in heart study: nothing"),
        ("'/home/jane.doe/models/net.ckpt' missing", "'net.ckpt' missing"),
        ("see ~/private/notes.txt", "see notes.txt"),
        ("postgresql://eve:pa$$w@db:5432/runs is away", "postgresql://eve:***@db:5432/runs is away"),
        ("PGPASSWORD=hush and api_key: 'abc', user=eve", "PGPASSWORD=*** and api_key: ***, user=eve"),
        ('{"token": "abc"}', '{"token": ***}'),
        ("two\n  lines", "two lines"),
        ("T1 300/400 ms, 1/2 of and/or", "T1 300/400 ms, 1/2 of and/or"),
        ("http://127.0.0.1:4200/api answers", "http://127.0.0.1:4200/api answers"),
    ],
)
def test_folders_and_secrets_are_left_out(text: str, expected: str) -> None:
    assert cleaned(text, roots=ROOTS) == expected


def test_long_texts_are_cut() -> None:
    assert len(cleaned("x" * 10_000)) == module.MOST_CHARACTERS


@given(st.text(max_size=60), st.from_regex(r"[A-Za-z0-9]{4,12}", fullmatch=True))
def test_whatever_stands_around_a_secret_it_is_gone(text: str, secret: str) -> None:
    told = cleaned(f"{text} password={secret} {text} sql://u:{secret}@h/", roots=ROOTS)
    assert "\n" not in told
    assert f"password={secret}" not in told
    assert f":{secret}@" not in told


@given(st.dictionaries(st.sampled_from(["reason", "scan", "stage"]), st.text(max_size=80), max_size=3))
def test_any_text_is_one_line_of_json(facts: dict[str, str]) -> None:
    record = module.logging.LogRecord("x", 20, "", 0, "", None, None)
    record.facts = {"run": "r", "event": "e", **facts}
    line = module.JsonFormatter().format(record)
    assert "\n" not in line
    assert "\r" not in line
    assert json.loads(line)["event"] == "e"


def append(path: Path, name: str, n: int) -> None:
    handler = WholeLines(path)
    for i in range(n):
        handler._append(json.dumps({"who": name, "i": i, "pad": "x" * 3000}).encode() + b"\n")


def test_threads_and_processes_write_whole_lines(tmp_path: Path) -> None:
    path, n = tmp_path / LOG_FILE, 40
    threads = [threading.Thread(target=append, args=(path, f"t{i}", n)) for i in range(3)]
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=append, args=(path, f"p{i}", n)) for i in range(2)]
    workers: list[Any] = [*processes, *threads]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert sorted((line["who"], line["i"]) for line in lines) == sorted(
        (name, i) for name in ("p0", "p1", "t0", "t1", "t2") for i in range(n)
    )


def test_a_full_disk_costs_lines_and_not_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / LOG_FILE
    with run_log(tmp_path, cohort=tmp_path) as log:
        before = path.read_bytes()
        write = module.os.write

        def half(descriptor: int, line: bytes) -> int:
            write(descriptor, line[: len(line) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(module.os, "write", half)
        log.warn("lost")
        assert path.read_bytes() == before, "half a line is taken back"
        monkeypatch.setattr(module.os, "write", lambda descriptor, line: write(descriptor, line[:5]))
        log.warn("lost as well")
        monkeypatch.undo()
        log.warn("kept")
    assert log.handler.lost == 2
    assert [line.get("reason") for line in read_log(path)] == [None, "kept", None]


def test_a_folder_that_vanishes_is_no_error(tmp_path: Path) -> None:
    gone: Any = tmp_path / "run"
    gone.mkdir()
    with run_log(gone, cohort=tmp_path) as log:
        (gone / LOG_FILE).unlink()
        gone.rmdir()
        log.warn("nobody hears it")
    assert log.handler.lost == 2
