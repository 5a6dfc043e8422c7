"""A run records itself, never fails for it, and nothing of a patient goes along; drift is found in what was recorded."""

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cohort.records import CardioValError, ConfigProblem
from flows import history as module
from flows.cli import app
from flows.config import HistoryOptions, ValidationConfig, config_from_table, history_target, load_config
from flows.history import IDENTITY_FILE, PENDING_FILE, identity, record_run, sync, waiting
from flows.history_drift import ChartOptions, arm_text, drift, worsened
from flows.history_record import reason_class, record_of
from flows.history_store import History, _write
from flows.history_url import ENVIRONMENT, FILE_NAME, parse, shown
from tests.flows.history_records import record, results

AWAY = "postgresql://nobody@127.0.0.1:1/none"


def config(folder: Path, **options: object) -> ValidationConfig:
    folder.mkdir(parents=True, exist_ok=True)
    return ValidationConfig(
        name="nightly", cohort=folder, out=folder, history=HistoryOptions(**options)  # type: ignore[arg-type]
    )  # fmt: skip


def nights(path: Path, biases: list[float], **last: object) -> History:
    """A history of one run a day, written in one transaction, which is quicker."""
    history = History(str(path), create=True)
    history.upgrade()
    with history.engine.execution_options(cardioval_writing=True).begin() as connection:
        for day, bias in enumerate(biases, start=1):
            options = last if day == len(biases) else {}
            _write(connection, record(run_id=f"{day:032x}", day=day, bias=bias, **options))
    return history


def quiet(n: int = 20) -> list[float]:
    return [0.5 + 0.1 * (-1) ** i for i in range(n)]


# ---- recording --------------------------------------------------------------------------------------------------------


def test_a_run_is_recorded_beside_its_folder_and_again_as_the_same(tmp_path: Path) -> None:
    lines: list[str] = []
    first = record_run(config(tmp_path / "runs" / "one"), results(), warn=lines.append)
    assert first is not None
    assert first.sent
    assert first.database == str(tmp_path / "runs" / FILE_NAME)
    again = record_run(config(tmp_path / "runs" / "one"), results(bias=0.7), warn=lines.append)
    assert again is not None
    assert again.run_id == first.run_id
    other = record_run(config(tmp_path / "runs" / "two"), results(day=2), warn=lines.append)
    assert other is not None
    history = History(first.database)
    assert [run["run_id"] for run in history.runs()] == [first.run_id, other.run_id]
    assert history.comparisons(run_id=first.run_id)[0]["bias"] == 0.7
    assert lines == []
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"one", "two", FILE_NAME}


def test_nothing_of_a_patient_is_kept(tmp_path: Path) -> None:
    failures = [
        {"center": "Center001", "patient": "P-SECRET-7", "scan": "cine_secret", "file": "P-SECRET-7/x.mat",
         "stage": "catalogue", "reason": "P-SECRET-7/x.mat: truncated"},
        {"center": "Center001", "patient": "P-SECRET-7", "scan": "cine_secret", "file": None,
         "stage": "measurement, sense_Uniform8", "reason": "P-SECRET-7: no left ventricle found at end-diastole"},
        {"center": "Center001", "patient": "P-SECRET-8", "scan": "cine_secret", "file": None,
         "stage": "measurement, sense_Uniform4", "reason": "P-SECRET-8: no left ventricle found in any frame"},
    ]  # fmt: skip
    made = record_of(results(failures=failures), run_id="1" * 32, folder=tmp_path)
    assert "secret" not in json.dumps(made).lower()
    assert made["failures"] == [
        {"stage": "catalogue", "reason_class": "unreadable file", "n": 1},
        {"stage": "measurement", "reason_class": "not found in the labels", "n": 2},
    ]
    done = record_run(config(tmp_path / "run"), results(failures=failures))
    assert done is not None
    assert b"secret" not in Path(done.database).read_bytes().lower()


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("no such file", "missing file"),
        ("expected finite k-space, got NaN or infinity", "not finite"),
        ("segmentation: frame 3 is empty (all zero)", "empty image"),
        ("image expects axes (frames, slices, y, x)", "wrong shape"),
        ("OSError: [Errno 28] No space left on device", "OSError"),
        ("x.mat: MemoryError: ", "MemoryError"),
        ("the header states FOVx as 'abc', expected a number", "header"),
        ("Mr. Smith moved", "other"),
        ("", "other"),
    ],
)
def test_reasons_become_classes(reason: str, expected: str) -> None:
    assert reason_class(reason) == expected


def test_results_of_the_first_schema_are_recorded(tmp_path: Path) -> None:
    old = results()
    old["schema"] = 1
    del old["plan"]["primary"]
    for row in old["agreement"]:
        del row["claimed"]
    old["plan"]["margins"]["lv_ef_percent"] = {"bias": 3.0, "limits": 8.0}
    made = record_of(old, run_id="1" * 32, folder=tmp_path)
    assert made["run"]["primary_phenotypes"] == ["lv_ef_percent"]
    assert (made["comparisons"][0]["margin_lower"], made["comparisons"][0]["claimed"]) == (-3.0, None)
    assert History(str(tmp_path / "h.sqlite"), create=True).record(made)


def test_a_run_can_stay_out(tmp_path: Path) -> None:
    assert record_run(config(tmp_path / "run", record=False), results()) is None
    assert [path.name for path in tmp_path.rglob("*")] == ["run"]


# ---- the database is away ---------------------------------------------------------------------------------------------


def test_a_record_waits_while_the_database_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.history_store.ATTEMPTS", 1)
    lines: list[str] = []
    one = config(tmp_path / "one", database=AWAY)
    done = record_run(one, results(), warn=lines.append)
    assert done is not None
    assert not done.sent
    assert "its record waits in" in lines[0]
    assert "cardioval history sync" in lines[0]
    content = json.loads((tmp_path / "one" / PENDING_FILE).read_text())
    assert content["database"] == AWAY
    assert waiting([tmp_path]) == waiting([tmp_path / "one"]) == [tmp_path / "one" / PENDING_FILE]
    sent, problems = sync(waiting([tmp_path]))
    assert sent == 0
    assert "stays: the history in" in problems[0]
    history = History(str(tmp_path / "h.sqlite"), create=True)
    assert sync(waiting([tmp_path]), history=history) == (1, [])
    assert waiting([tmp_path]) == []
    assert [run["run_id"] for run in history.runs()] == [done.run_id]


def test_what_waits_beside_is_sent_with_the_next_run(tmp_path: Path) -> None:
    database = tmp_path / "runs" / FILE_NAME
    database.mkdir(parents=True)  # in the way of the file
    lines: list[str] = []
    for name, day in (("one", 1), ("two", 2)):
        done = record_run(config(tmp_path / "runs" / name), results(day=day), warn=lines.append)
        assert done is not None
        assert not done.sent
    elsewhere = tmp_path / "runs" / "else"
    elsewhere.mkdir()
    (elsewhere / PENDING_FILE).write_text(json.dumps({"schema": 1, "database": AWAY, "record": record()}))
    (tmp_path / "runs" / "bad").mkdir()
    (tmp_path / "runs" / "bad" / PENDING_FILE).write_text("{half")
    database.rmdir()
    # the first run is finished by --resume: its newer record goes, not the one that waits
    done = record_run(config(tmp_path / "runs" / "one"), results(day=1, bias=0.9), warn=lines.append)
    assert done is not None
    assert done.sent
    history = History(str(database))
    assert [row["bias"] for row in history.comparisons(phenotypes=["lv_ef_percent"])] == [0.9, 0.5]
    assert waiting([tmp_path / "runs"]) == [tmp_path / "runs" / name / PENDING_FILE for name in ("bad", "else")]
    assert len(lines) == 2


def test_records_that_cannot_be_sent_stay(tmp_path: Path) -> None:
    texts = {
        "half": "{", "other": "[]", "newer": json.dumps({"schema": 2}),
        "lacks": json.dumps({"schema": 1, "database": "x", "record": {"schema": 1, "run": {}}}),
    }  # fmt: skip
    for name, words in texts.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / PENDING_FILE).write_text(words)
    history = History(str(tmp_path / "h.sqlite"), create=True)
    sent, problems = sync(waiting([tmp_path]), history=history)
    assert sent == 0
    assert len(problems) == 4
    assert all(name in " ".join(problems) for name in texts)
    assert history.runs() == []
    assert len(waiting([tmp_path])) == 4


def test_a_run_never_fails_for_its_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    assert record_run(config(tmp_path / "run"), {"study": {}}, warn=lines.append) is None
    assert "could not be recorded: KeyError" in lines[0]

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_text", full)
    assert record_run(config(tmp_path / "full"), results(), warn=lines.append) is None
    assert "No space left" in lines[1]


def test_the_identity_of_a_run_stays(tmp_path: Path) -> None:
    first = identity(tmp_path)
    assert identity(tmp_path) == first
    for damage in ("", "{", "[]", '{"run_id": "../../x"}', '{"run_id": 7}'):
        (tmp_path / IDENTITY_FILE).write_text(damage)
        made = identity(tmp_path)
        assert made != first
        assert identity(tmp_path) == made


# ---- where ------------------------------------------------------------------------------------------------------------


def test_where_the_history_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = config(tmp_path / "runs" / "one")
    assert history_target() == ""
    assert history_target(here) == str(tmp_path / "runs" / FILE_NAME)
    monkeypatch.setenv(ENVIRONMENT, "postgresql://me:word@host/db")
    assert history_target() == history_target(here) == "postgresql://me:word@host/db"
    assert history_target(replace(here, history=HistoryOptions(database="own.sqlite"))) == "own.sqlite"


def test_a_file_is_found_from_the_configuration_and_a_url_is_left(tmp_path: Path) -> None:
    study = {"name": "a", "cohort": "c", "out": "o"}
    for said, meant in (("kept/h.sqlite", str(tmp_path / "kept" / "h.sqlite")), (AWAY, AWAY)):
        table = {"study": study, "history": {"database": said}}
        assert config_from_table(table, base=tmp_path, origin="here").history.database == meant


@pytest.mark.parametrize(
    "url",
    ["postgresql://me:pa55word@host/db", "postgresql://host/db?password=pa55word", "postgres://me:pa55word@host/db",
     "postgresql://me:@host/db"],
)  # fmt: skip
def test_a_password_in_a_file_or_a_command_is_refused(tmp_path: Path, url: str) -> None:
    path = tmp_path / "study.toml"
    path.write_text(f'[study]\nname = "a"\ncohort = "c"\nout = "o"\n[history]\ndatabase = "{url}"\n')
    with pytest.raises(ConfigProblem, match="environment variable") as caught:
        load_config(path)
    assert "pa55word" not in str(caught.value)
    with pytest.raises(ConfigProblem, match=r"\[history\] database: a URL with a password is refused") as caught:
        HistoryOptions(database=url)
    assert "pa55word" not in str(caught.value)
    answer = CliRunner().invoke(app, ["history", "list", "--database", url])
    assert isinstance(answer.exception, ConfigProblem)
    assert "pa55word" not in str(answer.exception) + answer.output
    assert "pa55word" not in shown(parse(url))


# ---- drift ------------------------------------------------------------------------------------------------------------


def test_drift_is_found_and_says_what_changed(tmp_path: Path) -> None:
    history = nights(tmp_path / "h", [*quiet(), 0.5, 1.5], commit="b" * 40)
    findings, series = drift(history, options=ChartOptions())
    assert [one.phenotype for one in series] == ["lv_ef_percent"], "only what carries the claim"
    (finding,) = findings
    assert finding.rule == "beyond limits"
    assert finding.run_id == f"{22:032x}"
    # moving ranges are all 0.2: limits 0.5 -+ 3 * 0.2 / 1.128
    assert finding.text == (
        "LVEF, CardioMM 8× uniform: the bias lies beyond its control limits; +1.5, limits 0.0 to +1.0 %; changed since the "
        "run before: code"
    )
    assert drift(history, options=ChartOptions(), phenotype="lv_mass_g")[1][0].phenotype == "lv_mass_g"


def test_the_same_numbers_every_night_and_then_the_smallest_other(tmp_path: Path) -> None:
    assert drift(nights(tmp_path / "same", [0.5] * 25), options=ChartOptions())[0] == []
    changed = drift(nights(tmp_path / "other", [*[0.5] * 24, 0.5 + 1e-9]), options=ChartOptions())[0]
    assert [finding.rule for finding in changed] == ["beyond limits"]
    assert "+0.500000001, limits +0.500000000 to +0.500000000 %" in changed[0].text


def test_small_lasting_shifts_and_trends(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    base = list(rng.normal(0.5, 0.1, 30))
    shift = [*base, *(0.65 + 0.02 * (-1) ** i for i in range(12))]
    rules = {f.rule for f in drift(nights(tmp_path / "shift", shift), options=ChartOptions(baseline=30))[0]}
    assert rules == {"one side"}
    ewma = drift(nights(tmp_path / "ewma", shift), options=ChartOptions(baseline=30, kind="ewma"))[0]
    assert {f.rule for f in ewma} == {"ewma beyond limits"}
    trend = [*base, *(0.42 + 0.03 * i for i in range(6))]
    rules = {f.rule for f in drift(nights(tmp_path / "trend", trend), options=ChartOptions(baseline=30))[0]}
    assert rules == {"trend"}


def test_no_limits_before_the_baseline_is_full(tmp_path: Path) -> None:
    findings, series = drift(nights(tmp_path / "h", [*quiet(18), 9.0]), options=ChartOptions())
    assert findings == []
    assert series[0].chart is None
    history = nights(tmp_path / "gap", quiet(19))
    history.record(record(run_id="e" * 32, day=20, bias=None))
    assert drift(history, options=ChartOptions())[1][0].n_without == 1
    assert drift(history, options=ChartOptions())[1][0].chart is None


def test_worse_verdicts_and_lost_claims(tmp_path: Path) -> None:
    history = nights(tmp_path / "worse", [0.5, 0.5], verdict="bias only", claimed=False)
    (finding,) = drift(history, options=ChartOptions())[0]
    assert finding.rule == "verdict worsened"
    assert "from 'shown' to 'bias only'" in finding.text
    found = worsened(history, f"{2:032x}")
    assert {one.phenotype for one in found} == {"lv_ef_percent", "lv_mass_g"}
    assert worsened(history, f"{1:032x}") == ()
    lost = nights(tmp_path / "lost", [0.5, 0.5], claimed=False)
    assert [one.rule for one in drift(lost, options=ChartOptions())[0]] == ["claim lost"]
    better = nights(tmp_path / "better", [0.5], verdict="not shown", claimed=False)
    better.record(record(run_id="c" * 32, day=2))
    assert drift(better, options=ChartOptions())[0] == []
    assert worsened(better, "c" * 32) == ()
    lines: list[str] = []
    database = str(tmp_path / "worse")
    done = record_run(
        config(tmp_path / "run", database=database),
        results(day=3, verdict="not shown", claimed=False),
        warn=lines.append,
    )
    assert done is not None
    assert len(done.worsened) == len(lines) == 2


def test_studies_do_not_mix(tmp_path: Path) -> None:
    history = nights(tmp_path / "h", quiet(20))
    with history.engine.execution_options(cardioval_writing=True).begin() as connection:
        for day in range(1, 21):
            _write(connection, record(run_id=f"{day:032b}", day=day, bias=50.0, study="other"))
    findings, series = drift(history, options=ChartOptions())
    assert findings == []
    assert [one.study for one in series] == ["nightly", "other"]
    assert len(drift(history, study="other", options=ChartOptions())[1]) == 1


@pytest.mark.parametrize(
    "options", [{"kind": "cusum"}, {"baseline": 1}, {"n_sigma": 0.0}, {"weight": 0.0}, {"weight": 1.5}]
)
def test_charts_that_cannot_be(options: dict[str, object]) -> None:
    with pytest.raises(ConfigProblem, match="chart"):
        ChartOptions(**options)  # type: ignore[arg-type]


def test_arms_in_words() -> None:
    assert arm_text("low_rank_sparse_ktRadial2.5") == "Low rank plus sparse 2.5× k-t radial"
    assert arm_text("fully_sampled") == "Fully sampled"
    assert arm_text("of another program") == "of another program"


# ---- commands ---------------------------------------------------------------------------------------------------------


def call(*words: str, status: int = 0) -> str:
    answer = CliRunner().invoke(app, ["history", *words])
    assert answer.exit_code == status, answer.output
    return answer.output


def test_commands_tell_what_was_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    failures = [{"stage": "catalogue", "reason": "no such file"}]
    nights(tmp_path / FILE_NAME, [*quiet(), 0.5, 1.5, 0.5], failures=failures)
    listed = call("list")
    assert "23 runs" in listed
    assert "2 shown" in listed
    assert "missing file" in call("show")
    assert "+1.5" in call("show", f"{22:032x}")
    assert "LVM" in call("show", "--all")
    assert "LVM" not in call("show")
    assert "+1.5" in call("drift", status=3)
    assert "No drift" in call("drift", "--newest")
    assert "No drift" in call("drift", "--sigma", "20")
    for suffix, start in ((".svg", b"<?xml"), (".png", b"\x89PNG"), (".pdf", b"%PDF"), (".html", b"<!DOCTYPE html>")):
        call("plot", "--phenotype", "lv_ef_percent", "--out", f"p{suffix}")
        content = (tmp_path / f"p{suffix}").read_bytes()
        assert content.lstrip().startswith(start)
    page = (tmp_path / "p.html").read_text()
    assert "the bias lies beyond its control limits" in page
    assert "Control chart of LVEF, CardioMM 8× uniform: bias in 23 runs" in page
    call("plot", "--arm", "cardiomm_Uniform8", "--chart", "ewma", "--last", "5", "--out", "p.svg")


def test_the_same_history_gives_the_same_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    nights(tmp_path / FILE_NAME, quiet(3))
    for name in ("a.svg", "b.svg", "a.png", "b.png"):
        call("plot", "--out", name)
    for suffix in (".svg", ".png"):
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_runs_of_earlier_days_can_be_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for day, name in enumerate(("one", "two"), start=1):
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(json.dumps(results(day=day)))
    call("record", "one", "two")
    call("record", "two")
    assert "2 runs" in call("list")
    (tmp_path / "three").mkdir()
    (tmp_path / "three" / "results.json").write_text("{}")
    answer = CliRunner().invoke(app, ["history", "record", "three"])
    assert "no results of a validation" in str(answer.exception)


def test_commands_sync_and_upgrade(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "made" in call("upgrade")
    assert "already there" in call("upgrade")
    (tmp_path / "run").mkdir()
    content = {"schema": 1, "database": str(tmp_path / FILE_NAME), "record": record()}
    (tmp_path / "run" / PENDING_FILE).write_text(json.dumps(content))
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / PENDING_FILE).write_text("{")
    assert "1 of 2 records sent" in call("sync", status=3)
    assert "1 runs" in call("list")
    (tmp_path / "bad" / PENDING_FILE).unlink()
    assert "0 of 0 records sent" in call("sync")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("list",), "no history here"),
        (("plot", "--database", "h", "--study", "x"), "no study 'x'"),
        (("plot", "--database", "h"), "give --study"),
        (
            ("plot", "--database", "h", "--study", "nightly", "--phenotype", "x"),
            r"no bias of x was recorded; recorded are (?!none)\w+",
        ),
        (("list", "--database", "h", "--study", "x"), "no study 'x' in .*; there are nightly, other"),
        (("plot", "--database", "h", "--out", "x.gif"), r"ends in \.svg"),
        (("drift", "--database", "h", "--study", "x"), "no run of x"),
        (("show", "zz", "--database", "h"), "no run in"),
    ],
)
def test_calls_that_mean_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    history = nights(tmp_path / "h", [0.5])
    history.record(record(run_id="d" * 32, study="other"))
    answer = CliRunner().invoke(app, ["history", *words])
    assert isinstance(answer.exception, CardioValError), answer.output
    assert re.search(message, str(answer.exception))


def test_a_history_in_a_folder_below_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs").mkdir()
    nights(tmp_path / "runs" / FILE_NAME, [0.5])
    monkeypatch.chdir(tmp_path)
    answer = CliRunner().invoke(app, ["history", "list"])
    assert f"for instance {os.path.join('runs', FILE_NAME)}" in str(answer.exception)  # noqa: PTH118
