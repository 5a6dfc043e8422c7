"""Pooling equals the analysis of all rows, gives no patient away, and refuses what must not be pooled."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pypdf import PdfReader
from typer.testing import CliRunner

from cohort.records import ConfigProblem, MissingFile, UnreadableFile
from flows.analysis import analyse
from flows.analysis_options import Statistics
from flows.analysis_plan import AnalysisPlan, Rung, plan_facts
from flows.cli import app
from flows.export import export_run, write_export
from flows.margins import Margin, Margins
from flows.pool import check_exports, plan_of_facts, pool, pooled_results, read_export
from stats.nested import nested_limits
from tests.flows.tables import REFERENCE, study

EF, EDV, ESV, SV = "lv_ef_percent", "lv_edv_ml", "lv_esv_ml", "lv_sv_ml"
MARGINS = Margins({EF: Margin(3.0, 8.0, "points", bias_lower=-2.0, bias_upper=3.0)}, origin="test", sha256="ab")
LADDER = (Rung("Uniform", 4.0), Rung("Uniform", 8.0))
PLAN = AnalysisPlan(MARGINS, Statistics(), ladder=LADDER, methods=("cardiomm",))
ARMS = [("cardiomm", "Uniform", 4.0), ("cardiomm", "Uniform", 8.0)]
PROVENANCE = {"cardioval_version": "1", "commit": "c", "weights": [{"name": "net", "sha256": "aa"}], "packages": {}}


def center(
    name: str, n: int, *, shift: float = 0.0, sd: float = 1.0, seed: int = 0, phenotypes: Sequence[str] = (EF,)
) -> pd.DataFrame:
    """A center whose 8x arm is 1.3 times as noisy as its 4x arm; patients have telling names."""
    rng = np.random.default_rng([seed, n])
    parts = []
    for phenotype in phenotypes:
        base = rng.normal(55, 8, n)
        columns = {REFERENCE: base} | {
            arm: base + shift + k * rng.normal(0, sd, n) for arm, k in zip(ARMS, (1, 1.3), strict=True)
        }
        parts.append(study(columns, phenotype=phenotype, centers=[name] * n))
    table = pd.concat(parts, ignore_index=True)
    table["patient"] = [f"secret-{name}-{p}" for p in table["patient"]]
    return table


FIVE = [
    center(name, n, shift=s, seed=i)
    for i, (name, n, s) in enumerate(zip("ABCDE", (12, 20, 15, 30, 11), (0.1, -0.2, 0.3, 0.0, 0.2), strict=True))
]


def run(folder: Path, table: pd.DataFrame, plan: AnalysisPlan = PLAN, **more: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    results = analyse(table, plan=plan) | {"provenance": PROVENANCE | more}
    (folder / "results.json").write_text(json.dumps(results))
    table.to_parquet(folder / "measurements.parquet")
    return folder


def exports(folder: Path, tables: Sequence[pd.DataFrame], **more: Any) -> list[dict[str, Any]]:
    return [export_run(run(folder / f"r{i}", table, **more)) for i, table in enumerate(tables)]


def rows(results: Mapping[str, Any]) -> dict[str, Any]:
    return {row["arm"]: row for row in results["agreement"]}


# ---- laws ------------------------------------------------------------------------------------------------------------


def test_summaries_say_what_all_rows_together_say(tmp_path: Path) -> None:
    pooled = rows(pooled_results(exports(tmp_path, FIVE)))
    together = rows(analyse(pd.concat(FIVE, ignore_index=True), plan=PLAN))
    for arm, row in together.items():
        mine = pooled[arm]
        one = mine["as_one_sample"]
        for name in ("bias", "lower_limit", "upper_limit"):
            assert one[name] == pytest.approx(row[name])
        assert one["sd"] == pytest.approx(row["sd"])
        for key in ("estimate", "low", "high", "tau", "i2_percent"):
            assert mine["center_level"][key] == pytest.approx(row["center_level"][key], abs=1e-6)
        assert mine["center_level"]["prediction"] == pytest.approx(row["center_level"]["prediction"])
        for key in ("inside", "outside", "interval_outside", "consistent", "statement"):
            assert mine["center_consistency"][key] == row["center_consistency"][key]
        assert mine["sensitivity"] == row["sensitivity"]
        difference = [pair["test"] - pair["reference"] for pair in row["pairs"]]
        names = [pair["center"] for pair in row["pairs"]]
        known = nested_limits(difference, names, np.arange(len(names)))
        assert mine["upper_limit"]["high"] == pytest.approx(known.upper_limit.high, rel=1e-4)
        assert mine["sd"] == pytest.approx(known.sd.estimate, rel=1e-4)


def test_balanced_centers_have_one_mean_however_it_is_weighed(tmp_path: Path) -> None:
    shifts = (1.0, -1.2, 0.9, -0.8)
    tables = [center(name, 12, shift=s, sd=0.5, seed=i) for i, (name, s) in enumerate(zip("ABCD", shifts, strict=True))]
    row = rows(pooled_results(exports(tmp_path, tables)))["cardiomm_Uniform4"]
    assert row["bias"]["estimate"] == pytest.approx(row["as_one_sample"]["bias"]["estimate"])
    # closed form: the t interval of the four means
    means = np.array([c["mean"] for e in exports(tmp_path, tables) for c in e["cells"] if c["arm"] == row["arm"]])
    half = 3.182446 * means.std(ddof=1) / 2
    assert row["bias"]["high"] - row["bias"]["estimate"] == pytest.approx(half, rel=1e-5)
    assert row["nested"]["bias"] == pytest.approx(row["bias"], rel=1e-4)


def test_the_order_of_the_exports_does_not_matter(tmp_path: Path) -> None:
    made = exports(tmp_path, FIVE)
    there, back = (rows(pooled_results(order)) for order in (made, made[::-1]))
    for arm in there:
        assert there[arm]["bias"] == pytest.approx(back[arm]["bias"])
        assert there[arm]["verdict"] == back[arm]["verdict"]


def test_one_export_with_all_centers_equals_one_from_each(tmp_path: Path) -> None:
    whole = export_run(run(tmp_path / "all", pd.concat(FIVE[:4], ignore_index=True)))
    mixed = rows(pooled_results([whole, *exports(tmp_path, FIVE[4:])]))
    apart = rows(pooled_results(exports(tmp_path, FIVE)))
    assert {a: r["bias"] for a, r in mixed.items()} == {a: pytest.approx(r["bias"]) for a, r in apart.items()}


def test_the_plan_of_an_export_decides_as_the_plan_did() -> None:
    facts = json.loads(json.dumps(plan_facts(PLAN)))
    again = plan_facts(plan_of_facts(facts))
    kept = set(facts) - {"sha256", "diagnosis", "reclassification", "bootstrap"}
    assert {key: again[key] for key in kept} == {key: facts[key] for key in kept}


# ---- the verdict -----------------------------------------------------------------------------------------------------


def test_the_ladder_is_climbed_over_centers(tmp_path: Path) -> None:
    results = pooled_results(exports(tmp_path, FIVE))
    (decision,) = results["decision"]
    assert decision["claimed_up_to"] == "cardiomm_Uniform8"
    assert "valid up to 8× uniform, the highest acceleration tested" in decision["sentence"]
    assert all(row["claimed"] for row in results["agreement"])


def test_centers_that_differ_are_not_hidden_by_many_patients(tmp_path: Path) -> None:
    shifts = (3.0, -3.0, 3.2, -2.8)
    tables = [center(name, 60, shift=s, sd=0.5, seed=i) for i, (name, s) in enumerate(zip("ABCD", shifts, strict=True))]
    row = rows(pooled_results(exports(tmp_path, tables)))["cardiomm_Uniform4"]
    assert -2 < row["as_one_sample"]["bias"]["low"] < row["as_one_sample"]["bias"]["high"] < 3
    assert row["verdict"] == "not shown"
    assert row["tost"]["p"] > 0.05
    assert row["center_level"]["i2_percent"] > 90


def test_two_centers_describe_and_claim_nothing(tmp_path: Path) -> None:
    results = pooled_results(exports(tmp_path, FIVE[:2]))
    for row in results["agreement"]:
        assert (row["verdict"], row["claimed"], row["lower_limit"]) == ("too few", False, None)
        assert row["bias"] == row["as_one_sample"]["bias"]
    assert "2 centers; over fewer than three centers nothing can be claimed" in results["decision"][0]["sentence"]


def test_each_center_is_left_out_from_four_on(tmp_path: Path) -> None:
    odd = center("Z", 40, shift=2.9, sd=0.3, seed=9)
    tables = [*(center(name, 40, sd=0.3, seed=i) for i, name in enumerate("ABC")), odd]
    row = rows(pooled_results(exports(tmp_path, tables)))["cardiomm_Uniform4"]
    verdicts = {other["center"]: other["verdict"] for other in row["leave_one_out"]}
    assert row["verdict"] != "shown"
    assert verdicts == {"A": "not shown", "B": "not shown", "C": "not shown", "Z": "shown"}
    assert rows(pooled_results(exports(tmp_path, FIVE[:3])))["cardiomm_Uniform4"]["leave_one_out"] == []


def test_no_spread_within_centers_is_said(tmp_path: Path) -> None:
    tables = [center(name, 12, shift=0.5, sd=0.0, seed=3) for name in "ABC"]
    for table in tables:  # exactly equal differences
        wide = table.pivot(index="patient", columns="acceleration", values="value").round()
        for acceleration in (1.0, 4.0, 8.0):
            own = table["acceleration"] == acceleration
            table.loc[own, "value"] = table.loc[own, "patient"].map(wide[1.0]) + (acceleration > 1)
    row = rows(pooled_results(exports(tmp_path, tables)))["cardiomm_Uniform4"]
    assert (row["verdict"], row["bias"]["estimate"]) == ("too few", 1.0)
    assert "no verdict over centers" in row["reason"]


# ---- what leaves a center --------------------------------------------------------------------------------------------


def test_no_patient_leaves_a_center(tmp_path: Path) -> None:
    text = json.dumps(exports(tmp_path, FIVE))
    assert "secret" not in text
    assert "patient" not in {key for export in json.loads(text) for cell in export["cells"] for key in cell}


def test_small_cells_are_withheld_with_all_that_would_tell_them(tmp_path: Path) -> None:
    table = pd.concat([FIVE[0], FIVE[1], center("tiny", 9)], ignore_index=True)
    lost = (
        (table["center"] == "A")
        & (table["acceleration"] == 8)
        & table["patient"].isin([f"secret-A-P00{i}" for i in (1, 2, 3)])
    )
    table.loc[lost, ["value", "status"]] = [np.nan, "failed"]
    export = export_run(run(tmp_path / "r", table))
    cells = {(cell["center"], cell["arm"]): cell for cell in export["cells"]}
    assert cells["tiny", "cardiomm_Uniform4"]["suppressed"] == "fewer than 10 patients"
    assert set(cells["tiny", "cardiomm_Uniform4"]) == {"phenotype", "arm", "against", "center", "suppressed"}
    assert cells["A", "cardiomm_Uniform8"]["suppressed"]
    assert cells["A", "cardiomm_Uniform4"]["suppressed"] is None
    assert export["totals"] == []
    assert export["centers"] == ["A", "B"]
    two = export_run(run(tmp_path / "two", table[table["center"] != "tiny"]))
    (total,) = two["totals"]
    assert (total["arm"], total["n"]) == ("cardiomm_Uniform4", 32)


def test_failures_are_counted_by_center(tmp_path: Path) -> None:
    table = pd.concat(FIVE[:2], ignore_index=True)
    lost = (table["acceleration"] == 8) & (table["patient"] == "secret-B-P001")
    table.loc[lost, ["value", "status"]] = [np.nan, "failed"]
    cells = {(c["center"], c["arm"]): c for c in export_run(run(tmp_path / "r", table))["cells"]}
    counts = [cells["B", "cardiomm_Uniform8"][key] for key in ("n", "attempted", "failed")]
    assert counts == [19, 20, 1]
    assert cells["A", "cardiomm_Uniform8"]["failed"] == 0


def test_stroke_volumes_do_not_tell_the_patient_that_lacks_one(tmp_path: Path) -> None:
    table = center("A", 12, phenotypes=(EF, EDV, ESV, SV))
    whole = {c["phenotype"]: c["suppressed"] for c in export_run(run(tmp_path / "a", table))["cells"]}
    assert set(whole.values()) == {None}
    lost = table["phenotype"].isin([ESV, SV]) & (table["patient"] == "secret-A-P001") & (table["acceleration"] == 4)
    table.loc[lost, ["value", "status"]] = [np.nan, "failed"]
    cells = {(c["phenotype"], c["arm"]): c["suppressed"] for c in export_run(run(tmp_path / "b", table))["cells"]}
    assert "would give single ones away" in cells[SV, "cardiomm_Uniform4"]
    assert cells[SV, "cardiomm_Uniform8"] is None
    assert cells[EDV, "cardiomm_Uniform4"] is None


def test_comparisons_with_the_truth_stay(tmp_path: Path) -> None:
    table = FIVE[0]
    true = table[table["method"] == "fully_sampled"].assign(method="truth", pattern="none", acceleration=1.0)
    export = export_run(run(tmp_path / "r", pd.concat([table, true], ignore_index=True)))
    assert {cell["against"] for cell in export["cells"]} == {"fully_sampled"}


def test_what_may_not_be_exported_is_said(tmp_path: Path) -> None:
    folder = run(tmp_path / "r", center("A", 9))
    with pytest.raises(ConfigProblem, match="no measurement has 10 patients in a center"):
        export_run(folder)
    assert export_run(folder, minimum=5)["centers"] == ["A"]
    with pytest.raises(ConfigProblem, match="at least 5, got 4"):
        export_run(folder, minimum=4)
    with pytest.raises(MissingFile):
        export_run(tmp_path)
    results = json.loads((folder / "results.json").read_text())
    results["plan"]["alpha"] = 0.2
    (folder / "results.json").write_text(json.dumps(results))
    with pytest.raises(UnreadableFile, match="the file was changed"):
        export_run(folder)
    (folder / "results.json").write_text(json.dumps({"schema": 1}))
    with pytest.raises(UnreadableFile, match="expected schema 2, got 1"):
        export_run(folder)


# ---- what is refused -------------------------------------------------------------------------------------------------


def test_other_plans_weights_or_a_center_twice_are_refused(tmp_path: Path) -> None:
    first = export_run(run(tmp_path / "a", FIVE[0]))
    other = AnalysisPlan(MARGINS, Statistics(alpha=0.1), ladder=LADDER, methods=("cardiomm",))
    with pytest.raises(ConfigProblem, match=r"a and b follow different plans \(alpha differ\)"):
        check_exports([first, export_run(run(tmp_path / "b", FIVE[1], other))], ["a", "b"])
    weights = export_run(run(tmp_path / "c", FIVE[1], weights=[{"name": "net", "sha256": "bb"}]))
    with pytest.raises(ConfigProblem, match="different weights"):
        check_exports([first, weights], ["a", "b"])
    with pytest.raises(ConfigProblem, match=r"twice.*A in a and b"):
        check_exports([first, first], ["a", "b"])
    with pytest.raises(ConfigProblem, match="at least two centers"):
        check_exports([first], ["a"])
    with pytest.raises(ConfigProblem, match="different kinds of study"):
        check_exports([first, export_run(run(tmp_path / "d", FIVE[1])) | {"of": "agreement"}], ["a", "b"])


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    content = write_export(run(tmp_path / "r", FIVE[0]), path)
    assert read_export(path) == content
    for change, message in (
        ({"minimum": 3}, "was changed after it was exported"),
        ({"schema": 9}, "expected schema 1, got 9"),
        ({"kind": "x"}, "expected an export"),
    ):
        path.write_text(json.dumps(content | change))
        with pytest.raises(UnreadableFile, match=message):
            read_export(path)
    path.write_text("no")
    with pytest.raises(UnreadableFile, match="not JSON"):
        read_export(path)
    with pytest.raises(MissingFile):
        read_export(tmp_path / "none.json")


# ---- what is written -------------------------------------------------------------------------------------------------


def test_page_and_file_say_the_verdict(tmp_path: Path) -> None:
    paths = []
    for i, table in enumerate(FIVE):
        paths.append(tmp_path / f"{i}.json")
        write_export(run(tmp_path / str(i), table), paths[-1])
    results = pool(paths, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "pooled.json").read_text()) == results
    page = (tmp_path / "out" / "report" / "index.html").read_text()
    (decision,) = results["decision"]
    assert decision["sentence"] in page
    assert results["exports"][0]["sha256"] in page
    assert len(PdfReader(tmp_path / "out" / "report" / "report.pdf").pages) >= 3


def test_agreement_studies_pool_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    call, files = CliRunner(), []
    margins = tmp_path / "m.toml"
    margins.write_text('origin = "x"\n[margins.q]\nbias = 1.0\nlimits = 5.0\nunit = "u"\n')
    for name in "ABC":
        base = rng.normal(50, 9, 20)
        table = pd.DataFrame(
            {"subject": range(20), "center": name, "measurement": "q", "old": base, "new": base + rng.normal(0, 1, 20)}
        )
        table.to_csv(tmp_path / f"{name}.csv", index=False)
        out, file = tmp_path / name, tmp_path / f"{name}.json"
        made = call.invoke(
            app, ["agree", str(tmp_path / f"{name}.csv"), "--out", str(out), "--margins", str(margins), "--unit", "u"]
        )
        assert made.exit_code == 0, made.output
        assert call.invoke(app, ["export", str(out), "--out", str(file)]).exit_code == 0
        files.append(str(file))
    done = call.invoke(app, ["pool", *files, "--out", str(tmp_path / "pooled")])
    assert done.exit_code == 0, done.output
    assert "q, new against old: agreement shown" in done.output


# ---- what other centers' results must not hide ---------------------------------------------------------------------


def test_a_center_whose_patients_lose_their_values_ends_the_claim(tmp_path: Path) -> None:
    """North measures 20 patients at 4x and 4 of them at 8x: its 8x is withheld, and with it 16 failures."""
    lost = FIVE[1].copy()
    gone = (lost["acceleration"] == 8.0) & ~lost["patient"].isin(lost["patient"].unique()[:4])
    lost.loc[gone, ["value", "status"]] = [np.nan, "failed"]
    results = pooled_results(exports(tmp_path, [FIVE[0], lost, *FIVE[2:]]))
    row, (decision,) = rows(results)["cardiomm_Uniform8"], results["decision"]
    assert (row["verdict"], row["claimed"], row["contradicted_by"]) == ("shown", False, ["withheld"])
    assert decision["claimed_up_to"] == "cardiomm_Uniform4"
    assert (
        "too few patients have a value to be exported from B, which gave results in other arms" in decision["sentence"]
    )
    # a center that is small in every arm hides nothing
    with_small = pd.concat([FIVE[4], center("F", 6, seed=9)], ignore_index=True)
    small = pooled_results(exports(tmp_path / "small", [*FIVE[:4], with_small]))
    assert small["decision"][0]["claimed_up_to"] == "cardiomm_Uniform8"


def test_the_same_patients_under_two_names_are_refused(tmp_path: Path) -> None:
    twin = FIVE[0].assign(center="Elsewhere")
    made = exports(tmp_path, [FIVE[0], twin, FIVE[1]])
    with pytest.raises(ConfigProblem, match="A and Elsewhere have the same mean and variance of lv_ef_percent"):
        check_exports(made, ["a.json", "b.json", "c.json"])
    check_exports([made[0], made[2]], ["a.json", "c.json"])


def test_plans_that_came_after_measurements_pool_to_no_claim(tmp_path: Path) -> None:
    made = exports(tmp_path, FIVE)
    made[2]["plan"] = made[2]["plan"] | {"frozen_before_results": False}
    check_exports(made, list("abcde"))
    results = pooled_results(made)
    assert results["decision"][0]["claimed_up_to"] is None
    assert "so nothing is claimed" in results["decision"][0]["sentence"]
    assert not any(row["claimed"] for row in results["agreement"])
