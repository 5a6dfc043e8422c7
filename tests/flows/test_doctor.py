"""Does the doctor see faults that are put in front of it, and say what to do?"""

import builtins
import errno
import hashlib
import json
import sqlite3
import sys
import threading
from collections import namedtuple
from collections.abc import Iterable
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from flows import commands_doctor, doctor_machine, doctor_software, installation
from flows.cli import app
from flows.doctor import Diagnosis, examine
from flows.doctor_findings import Answer, Check, Finding, Patient, ok, problem, warning

Usage = namedtuple("Usage", "total used free")
GB = 10**9


def only(answers: Iterable[Answer]) -> Answer:
    (answer,) = answers
    return answer


def here(folder: Path) -> Patient:
    return Patient(out=folder)


# ---- the frame ----


def test_a_check_that_breaks_is_a_problem_and_the_others_go_on(tmp_path: Path) -> None:
    def broken(patient: Patient) -> Iterable[Answer]:
        del patient
        raise ImportError("libfoo.so.1:\n cannot open")

    def fine(patient: Patient) -> Iterable[Answer]:
        return [ok(str(patient.out)), warning("old", "renew it")]

    asked: list[str] = []
    checks = [Check("one", broken), Check("two", fine), Check("three", broken, deep=True)]
    diagnosis = examine(tmp_path / "new", checks=checks, progress=asked.append)
    assert asked == ["one", "two"]
    assert [(f.check, f.status) for f in diagnosis.findings] == [("one", "problem"), ("two", "ok"), ("two", "warning")]
    assert "ImportError: libfoo.so.1: cannot open" in diagnosis.findings[0].found
    assert diagnosis.exit_status == 3
    assert diagnosis.summary == "1 ok, 1 warning, 1 problem"
    assert not (tmp_path / "new").exists(), "looking makes nothing"
    assert len(examine(tmp_path, checks=checks, deep=True).findings) == 4


def test_warnings_do_not_change_the_exit_status() -> None:
    assert Diagnosis((Finding("x", "warning", "", ""),)).exit_status == 0


def test_every_finding_that_is_not_ok_has_advice_in_one_line(tmp_path: Path) -> None:
    """This installation, quickly: sound apart from what the machine is busy with."""
    diagnosis = examine(tmp_path)
    for found in diagnosis.findings:
        assert (found.status == "ok") == (not found.advice), found
        assert "\n" not in found.found + found.advice
    broken = [f for f in diagnosis.findings if f.status == "problem"]
    assert [f for f in broken if f.check not in ("disk", "memory")] == []


# ---- the machine ----


@pytest.mark.parametrize(("free", "status"), [(0.5, "problem"), (5, "warning"), (100, "ok")])
def test_disk(free: float, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_machine.shutil, "disk_usage", lambda folder: Usage(200 * GB, 0, int(free * GB)))
    answer = only(doctor_machine.disk(here(tmp_path / "not" / "there")))
    assert answer[0] == status
    assert f"{free:.1f} GB free" in answer[1]
    assert ("keep_images" in answer[2]) == (status != "ok")


def test_no_more_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_machine.shutil, "disk_usage", lambda folder: Usage(200 * GB, 0, 100 * GB))
    monkeypatch.setattr(doctor_machine.os, "statvfs", lambda folder: SimpleNamespace(f_files=1_000_000, f_favail=3))
    assert [a[0] for a in doctor_machine.disk(here(tmp_path))][-1] == "problem"


def test_writing(tmp_path: Path) -> None:
    assert only(doctor_machine.writing(here(tmp_path / "new")))[0] == "ok"
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    assert "is a file" in only(doctor_machine.writing(here(tmp_path / "file")))[1]


def test_read_only_and_full_disks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, words in ((errno.EROFS, "Read-only file system"), (errno.ENOSPC, "No space left on device")):

        @contextmanager
        def refused(path: Path, number: int = number) -> Any:
            raise OSError(number, doctor_machine.os.strerror(number), str(path))
            yield path

        monkeypatch.setattr(doctor_machine, "replacing", refused)
        answer = only(doctor_machine.writing(here(tmp_path)))
        assert answer[0] == "problem"
        assert words in answer[1]
    assert list(tmp_path.iterdir()) == []


def test_slow_disk_and_disk_that_does_not_replace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_machine, "SLOW_FSYNC_S", -1.0)
    assert only(doctor_machine.writing(here(tmp_path)))[0] == "warning"

    @contextmanager
    def beside(path: Path) -> Any:
        other = path.with_name("other")
        yield other
        if not path.exists():
            other.rename(path)

    monkeypatch.setattr(doctor_machine, "replacing", beside)
    assert "does not replace" in only(doctor_machine.writing(here(tmp_path)))[1]


@pytest.mark.parametrize(("free", "status"), [(1, "problem"), (4, "warning"), (16, "ok")])
def test_memory(free: int, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = SimpleNamespace(total=32 * GB, available=free * GB)
    monkeypatch.setattr(doctor_machine.psutil, "virtual_memory", lambda: machine)
    monkeypatch.setattr(doctor_machine, "CGROUP", tmp_path)
    assert only(doctor_machine.memory(here(tmp_path)))[0] == status


def test_limits_of_a_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_machine, "CGROUP", tmp_path)
    monkeypatch.setattr(
        doctor_machine.psutil, "virtual_memory", lambda: SimpleNamespace(total=64 * GB, available=60 * GB)
    )
    (tmp_path / "memory.max").write_text(f"{4 * GB}\n")
    (tmp_path / "memory.current").write_text(f"{3 * GB}\n")
    (tmp_path / "memory.stat").write_text(f"anon 5\nfile {1 * GB}\n")
    assert doctor_machine.memory_bytes() == (4 * GB, 2 * GB), "what files occupy is given back"
    (tmp_path / "memory.max").write_text("max\n")
    assert doctor_machine.memory_bytes() == (64 * GB, 60 * GB)
    monkeypatch.setattr(doctor_machine.os, "sched_getaffinity", lambda pid: {0, 1, 2, 3})
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    answer = only(doctor_machine.cores(here(tmp_path)))
    assert (answer[0], "only 1.5" in answer[1], "workers = 1" in answer[2]) == ("warning", True, True)
    (tmp_path / "cpu.max").write_text("max 100000\n")
    monkeypatch.setattr(doctor_machine.os, "getloadavg", lambda: (9.0, 9.0, 9.0))
    assert "other programs" in only(doctor_machine.cores(here(tmp_path)))[1]
    monkeypatch.setattr(doctor_machine.os, "getloadavg", lambda: (1.0, 1.0, 1.0))
    assert only(doctor_machine.cores(here(tmp_path)))[0] == "ok"


def test_a_clock_before_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert only(doctor_machine.clock(here(tmp_path)))[0] == "ok"
    monkeypatch.setattr(doctor_machine.time, "time", lambda: 0.0)
    assert "1970" in only(doctor_machine.clock(here(tmp_path)))[1]


def test_a_locale_without_all_letters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_machine.locale, "getpreferredencoding", lambda do_setlocale: "ANSI_X3.4-1968")
    answer = only(doctor_machine.encoding(here(tmp_path)))
    assert (answer[0], "ANSI_X3.4-1968" in answer[1], "C.UTF-8" in answer[2]) == ("warning", True, True)


def test_the_history_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    assert "will be made" in only(doctor_machine.database(str(path)))[1]
    sqlite3.connect(path).close()
    assert only(doctor_machine.database(str(path)))[0] == "ok"
    path.write_bytes(b"no database at all, but long enough to be looked at" * 100)
    answer = only(doctor_machine.database(str(path)))
    assert answer[0] == "problem"
    assert "file is not a database" in answer[1]
    assert only(doctor_machine.database("mysql://host/x"))[0] == "problem"


def test_the_history_of_a_newer_version(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE cardioval_history_version (version_num TEXT)")
        connection.execute("INSERT INTO cardioval_history_version VALUES ('9999')")
    connection.close()
    answer = only(doctor_machine.database(str(path)))
    assert (answer[0], "9999" in answer[1]) == ("problem", True)


def test_a_history_server_that_is_away_and_its_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("psycopg", reason="the extra postgres is not installed")
    monkeypatch.setenv("CARDIOVAL_HISTORY_URL", "postgresql://eve:geheim@127.0.0.1:9/runs")
    answer = only(doctor_machine.history(here(tmp_path)))
    assert answer[0] == "problem"
    assert "geheim" not in "".join(answer)
    assert "127.0.0.1:9" in answer[1]
    monkeypatch.delenv("CARDIOVAL_HISTORY_URL")
    assert only(doctor_machine.history(here(tmp_path)))[0] == "ok"


# ---- the software ----


def test_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for version, status in (((3, 10, 4), "problem"), ((3, 99, 0), "warning"), ((3, 12, 1), "ok")):
        monkeypatch.setattr(doctor_software.sys, "version_info", version)
        monkeypatch.setattr(doctor_software.sys, "base_prefix", "elsewhere")
        assert only(doctor_software.python(here(tmp_path)))[0] == status
    monkeypatch.setattr(doctor_software.sys, "base_prefix", sys.prefix)
    assert "the system's own" in only(doctor_software.python(here(tmp_path)))[1]


def test_clashing_missing_and_other_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs = ["alpha>=2", "beta", "gamma>=1; extra == 'dev'", "numpy>=1.26"]
    monkeypatch.setattr(doctor_software.metadata, "requires", lambda name: needs)
    found = {"alpha": "1.5", "numpy": "2.4.6", "fastapi": "0.165.0"}
    monkeypatch.setattr(installation, "installed", found.get)
    monkeypatch.setattr(installation, "backport_distribution", lambda: False)
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("# alpha==9\nalpha==2.0\nnumpy==2.4.6\ndelta==1\n")
    monkeypatch.setattr(doctor_software, "CONSTRAINTS", constraints)
    clash, wrong, other = doctor_software.packages(here(tmp_path))
    assert (clash[0], "fastapi 0.165.0 is too new" in clash[1], "pip install" in clash[2]) == ("problem", True, True)
    assert wrong[:2] == ("problem", "alpha 1.5 is installed, >=2 is needed; beta is not installed")
    assert (other[0], other[1].endswith(": alpha 1.5")) == ("warning", True)


def test_a_build_mark_is_no_other_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "installed", lambda name: "2.13.0+cpu")
    (tmp_path / "c.txt").write_text("torch==2.13.0\n")
    assert doctor_software.not_as_tried(tmp_path / "c.txt") == []
    assert doctor_software.not_as_tried(tmp_path / "absent.txt") == []


def failing_import(monkeypatch: pytest.MonkeyPatch, module: str, error: Exception) -> None:
    original = builtins.__import__

    def fake(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == module:
            raise error
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", fake)


def test_torch_that_cannot_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing_import(monkeypatch, "torch", OSError("libcudart.so.13: cannot open shared object file"))
    assert only(doctor_software.torch_and_gpu(here(tmp_path)))[0] == "problem"


def test_torchvision_of_another_build_is_only_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_software.util, "find_spec", lambda name: object())
    failing_import(monkeypatch, "torchvision", RuntimeError("operator torchvision::nms does not exist"))
    answer = only(doctor_software.torchvision(here(tmp_path)))
    assert (answer[0], "torchvision::nms" in answer[1]) == ("warning", True)
    monkeypatch.setattr(doctor_software.util, "find_spec", lambda name: None)
    assert only(doctor_software.torchvision(here(tmp_path)))[0] == "ok"


class Card:
    """A card as torch.cuda shows it."""

    def __init__(self, *, free_gb: float = 70, bf16: bool = True, error: str = "") -> None:
        self.free_gb, self.bf16, self.error = free_gb, bf16, error

    def get_device_name(self) -> str:
        return "Card 9000"

    def mem_get_info(self) -> tuple[float, float]:
        if self.error:
            raise RuntimeError(self.error)
        return self.free_gb * GB, 80 * GB

    def is_bf16_supported(self) -> bool:
        return self.bf16


@pytest.mark.parametrize(
    ("card", "status", "words"),
    [
        (Card(), "ok", "70.0 GB free of 80.0 GB, bf16"),
        (Card(bf16=False), "ok", "no bf16"),
        (Card(free_gb=2), "warning", "2.0 GB free"),
        (Card(error="CUDA error: all devices are busy"), "problem", "all devices are busy"),
    ],
)
def test_graphics_cards(card: Card, status: str, words: str) -> None:
    one = SimpleNamespace(sum=lambda: SimpleNamespace(item=lambda: 8.0))
    torch = SimpleNamespace(
        cuda=card, version=SimpleNamespace(cuda="13.0"), ones=lambda size, device: one, __version__="2.13"
    )
    answer = only(doctor_software.graphics(torch, "torch 2.13"))
    assert (answer[0], words in answer[1]) == (status, True)


def test_missing_nnunet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "installed", lambda name: None)
    assert only(doctor_software.nnunet(here(tmp_path)))[0] == "problem"


def test_shipped_weights_are_those_of_the_list_and_of_the_cards() -> None:
    """After training: sha256sum FILES > flows/configs/weights.sha256, and the hash in the model card."""
    listing = doctor_software.WEIGHTS_LIST
    (answer,) = doctor_software.listed_files(listing, doctor_software.ROOT)
    assert answer[0] == "ok"
    lines = {line.partition("  ")[2]: line.partition("  ")[0] for line in listing.read_text().splitlines()}
    for folder, file in (
        ("recon/cardiomm/weights", "cardiomm_small.ckpt"),
        ("phenotyping/weights", "fold_0/checkpoint_final.pth"),
    ):
        card = (doctor_software.ROOT / folder / "MODEL_CARD.md").read_text()
        assert lines[f"{folder}/{file}"] in card, f"the card of {folder} has another hash"


def test_damaged_and_missing_weights(tmp_path: Path) -> None:
    good, bad, pointer = (tmp_path / name for name in ("good", "bad", "pointer"))
    good.write_bytes(b"right")
    listing = tmp_path / "list"
    sha = hashlib.sha256(b"right").hexdigest()
    listing.write_text("".join(f"{sha}  {name}\n" for name in ("good", "bad", "pointer", "gone")))
    bad.write_bytes(b"wrong")
    pointer.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n")
    answers = list(doctor_software.listed_files(listing, tmp_path))
    assert [a[0] for a in answers] == ["problem", "problem", "problem", "ok"]
    assert "bad is not the shipped file" in answers[0][1]
    assert "git lfs pull" in answers[1][2]
    assert "gone is missing" in answers[2][1]


def settings(monkeypatch: pytest.MonkeyPatch, *, url: str | None, home: Path, analytics: bool = False) -> None:
    import prefect.settings

    made = SimpleNamespace(server=SimpleNamespace(analytics_enabled=analytics), api=SimpleNamespace(url=url), home=home)
    monkeypatch.setattr(prefect.settings, "get_current_settings", lambda: made)


def test_prefect_with_telemetry_and_a_server_that_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings(monkeypatch, url="http://eve:geheim@127.0.0.1:9/api", home=tmp_path, analytics=True)
    reports, away = doctor_software.prefect(here(tmp_path))
    assert (reports[0], "ANALYTICS" in reports[2]) == ("warning", True)
    assert (away[0], "http://127.0.0.1:9/api" in away[1]) == ("problem", True)
    assert "geheim" not in "".join(away)
    settings(monkeypatch, url=None, home=tmp_path)
    assert only(doctor_software.prefect(here(tmp_path)))[0] == "ok"
    settings(monkeypatch, url=None, home=tmp_path / "gone")
    assert "PREFECT_HOME" in only(doctor_software.prefect(here(tmp_path)))[2]


@pytest.mark.parametrize(("code", "status"), [(200, "ok"), (401, "warning")])
def test_prefect_server_that_answers(code: int, status: str) -> None:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.path == "/api/health"
            self.send_response(code)
            self.end_headers()
            self.wfile.write(b"true")

        def log_message(self, format: str, *args: object) -> None:
            del format, args

    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        answer = only(doctor_software.reached(f"http://127.0.0.1:{server.server_port}/api", "Prefect"))
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert answer[0] == status


def test_prefect_server_that_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = "ImportError: cannot import name 'BooleanOptionalAction'"
    monkeypatch.setattr(doctor_software, "TRIAL_FLOW", f"import sys; sys.exit({words!r})")
    answer = only(doctor_software.prefect_server(here(tmp_path)))
    assert (answer[0], words in answer[1]) == ("problem", True)


def test_no_pdf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import typst

    assert only(doctor_software.pages(here(tmp_path)))[0] == "ok"
    monkeypatch.setattr(typst, "compile", lambda *args, **kwargs: b"%PDF without the fonts")
    assert only(doctor_software.pages(here(tmp_path)))[0] == "problem"


def test_optional_parts_are_never_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_software.util, "find_spec", lambda name: None)
    monkeypatch.setattr(doctor_software.shutil, "which", lambda name: None)
    answer = only(doctor_software.optional(here(tmp_path)))
    assert (answer[0], answer[1].startswith("there: none")) == ("ok", True)


# ---- the command ----


def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows import doctor

    found = (Finding("disk", "ok", "much", ""), Finding("memory", "problem", "none left", "set [running] workers"))
    monkeypatch.setattr(doctor, "examine", lambda out, deep: Diagnosis(found[: 1 if deep else 2]))
    runner = CliRunner()
    plain = runner.invoke(app, ["doctor", "--out", str(tmp_path)])
    assert plain.exit_code == 3
    assert plain.stdout.splitlines()[:2] == [
        "ok       disk: much",
        "problem  memory: none left -> set [running] workers",
    ]
    assert runner.invoke(app, ["doctor", "--deep"]).exit_code == 0
    printed = runner.invoke(app, ["doctor", "--json"])
    content = json.loads(printed.stdout)
    assert printed.exit_code == 3
    assert content["counts"] == {"ok": 1, "warning": 0, "problem": 1}
    assert content["findings"][1]["advice"] == "set [running] workers"


def test_table_keeps_brackets() -> None:
    from rich.text import Text

    assert Text.from_markup(commands_doctor._plain("set workers in [running]")).plain == "set workers in [running]"


def test_answers_have_their_status() -> None:
    assert [ok("x")[0], warning("x", "y")[0], problem("x", "y")[0]] == ["ok", "warning", "problem"]
