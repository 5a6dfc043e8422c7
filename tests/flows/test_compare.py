"""Two runs of one cohort: what differs, which verdicts got worse, by how much each patient moved."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from cohort.records import ConfigProblem, UnreadableFile
from flows.analysis import analyse
from flows.analysis_options import Statistics
from flows.analysis_plan import AnalysisPlan, Rung
from flows.cli import app
from flows.compare import RANKS, compare_runs
from flows.margins import Margin, Margins
from stats.intervals import mean_interval
from tests.flows.tables import REFERENCE, study

EF = "lv_ef_percent"
MARGINS = Margins({EF: Margin(3.0, 8.0, "points")}, origin="test")
ARM = ("cardiomm", "Uniform", 4.0)
N = 20
BASE = np.linspace(35, 70, N)
NOISE = np.tile([-0.6, 0.4, 0.2, -0.3], 5)
PROVENANCE: dict[str, Any] = {
    "cardioval_version": "1", "commit": "c", "inputs_sha256": "i", "packages": {"numpy": "2.0"},
    "weights": [{"name": "net", "sha256": "aa"}],
}  # fmt: skip


def run(folder: Path, extra: np.ndarray | float = 0.0, *, alpha: float = 0.05, prefix: str = "P", **more: Any) -> Path:
    table = study({REFERENCE: BASE, ARM: BASE + NOISE + extra})
    table["patient"] = table["patient"].str.replace("P", prefix)
    plan = AnalysisPlan(MARGINS, Statistics(alpha=alpha), ladder=(Rung("Uniform", 4.0),), methods=("cardiomm",))
    folder.mkdir()
    results = analyse(table, plan=plan) | {"provenance": PROVENANCE | more}
    (folder / "results.json").write_text(json.dumps(results))
    return folder


def test_a_run_does_not_differ_from_itself(tmp_path: Path) -> None:
    folder = run(tmp_path / "a")
    found = compare_runs(folder, folder)
    assert (found["worsened"], found["improved"], found["changes"], found["moved"]) == (0, 0, [], [])
    assert found["failures"] == {"new": [], "gone": []}
    (shift,) = found["shifts"]
    assert (shift["moved"], shift["n"], shift["change"]) == (0, N, {"estimate": 0.0, "low": 0.0, "high": 0.0})


def test_the_change_is_the_paired_interval_over_common_patients(tmp_path: Path) -> None:
    extra = np.random.default_rng(2).normal(0.5, 1, N)
    extra[3] = np.nan
    found = compare_runs(run(tmp_path / "a"), run(tmp_path / "b", extra))
    (shift,) = found["shifts"]
    known = mean_interval(extra[np.isfinite(extra)])
    assert shift["n"] == N - 1
    assert shift["change"] == pytest.approx({"estimate": known.estimate, "low": known.low, "high": known.high})
    assert shift["test_change"] == pytest.approx(known.estimate)
    assert shift["reference_change"] == 0
    assert found["cohort"]["only_before"] == [["A", "P004"]]
    assert [row["patient"] for row in found["failures"]["new"]] == ["P004"]
    most = found["moved"][0]
    worst = int(np.nanargmax(np.abs(extra)))
    assert (most["patient"], most["size"]) == (f"P{worst + 1:03d}", pytest.approx(abs(extra[worst]) / 8))


def test_there_and_back_are_mirrored(tmp_path: Path) -> None:
    a, b = run(tmp_path / "a"), run(tmp_path / "b", np.where(np.arange(N) % 2, 5.0, -5.0))
    there, back = compare_runs(a, b), compare_runs(b, a)
    assert (there["worsened"], there["improved"]) == (back["improved"], back["worsened"]) == (1, 0)
    assert there["verdicts"][0]["before"] == back["verdicts"][0]["after"] == "claimed"
    assert there["shifts"][0]["change"]["low"] == pytest.approx(-back["shifts"][0]["change"]["high"])
    assert RANKS.index(there["verdicts"][0]["after"]) < RANKS.index("claimed")


def test_versions_weights_plan_and_configuration_that_differ(tmp_path: Path) -> None:
    a = run(tmp_path / "a")
    b = run(tmp_path / "b", alpha=0.1, packages={"numpy": "2.1"}, weights=[{"name": "net", "sha256": "bb"}])
    for folder, sense in ((a, 30), (b, 50)):
        text = f'[study]\nname = "s"\nout = "{folder.name}"\n[reconstruction]\niterations = {sense}\n[provenance]\nx = {sense}\n'
        (folder / "run.toml").write_text(text)
    found = {(row["kind"], row["name"]): (row["before"], row["after"]) for row in compare_runs(a, b)["changes"]}
    assert found == {
        ("package", "numpy"): ("2.0", "2.1"),
        ("weights", "net"): ("aa", "bb"),
        ("plan", "alpha"): ("0.05", "0.1"),
        ("configuration", "reconstruction.iterations"): ("30", "50"),
    }


def test_runs_that_cannot_be_compared(tmp_path: Path) -> None:
    a = run(tmp_path / "a")
    with pytest.raises(ConfigProblem, match="no patient with values in common"):
        compare_runs(a, run(tmp_path / "b", prefix="Q"))
    other = tmp_path / "c"
    other.mkdir()
    results = json.loads((a / "results.json").read_text())
    (other / "results.json").write_text(json.dumps(results | {"kind": "agreement"}))
    with pytest.raises(ConfigProblem, match="they cannot be compared"):
        compare_runs(a, other)
    (other / "results.json").write_text("{}")
    with pytest.raises(UnreadableFile, match="expected schema 2"):
        compare_runs(a, other)


@pytest.mark.parametrize(("extra", "status"), [(0.1, 0), (9.0, 3)])
def test_the_exit_status_says_whether_a_verdict_got_worse(tmp_path: Path, extra: float, status: int) -> None:
    a, b = run(tmp_path / "a"), run(tmp_path / "b", extra)
    call = CliRunner().invoke(app, ["compare", str(a), str(b), "--out", str(tmp_path / "out")])
    assert call.exit_code == status, call.output
    assert f"{int(status == 3)} verdicts worse" in call.output
    assert CliRunner().invoke(app, ["compare", str(b), str(a)]).exit_code == 0
    found = json.loads((tmp_path / "out" / "comparison.json").read_text())
    page = (tmp_path / "out" / "report" / "index.html").read_text()
    change = found["shifts"][0]["change"]
    assert change["estimate"] == pytest.approx(extra)
    assert f"+{extra:.2f} [{change['low']:.2f}, {change['high']:.2f}]" in page
    assert (tmp_path / "out" / "report" / "report.pdf").read_bytes().startswith(b"%PDF")


def test_a_comparison_that_only_one_run_has_counts_as_no_change(tmp_path: Path) -> None:
    a, b = run(tmp_path / "a"), run(tmp_path / "b")
    results = json.loads((b / "results.json").read_text())
    row = results["agreement"][0]
    results["agreement"].append(row | {"arm": "cardiomm_Uniform8", "verdict": "not shown"})
    (b / "results.json").write_text(json.dumps(results))
    found = compare_runs(a, b)
    assert found["only_after"] == [[EF, "cardiomm_Uniform8", "fully_sampled"]]
    assert (found["worsened"], len(found["verdicts"])) == (0, 1)


def test_missing_patients_do_not_count_as_moved(tmp_path: Path) -> None:
    extra = pd.Series(0.0, index=range(N))
    extra[0] = np.nan
    found = compare_runs(run(tmp_path / "a", extra.to_numpy()), run(tmp_path / "b"))
    assert found["moved"] == []
    assert [row["patient"] for row in found["failures"]["gone"]] == ["P001"]
