"""Agreement from a table alone: laws, published numbers, how tables are understood, and what is refused."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pypdf import PdfReader
from typer.testing import CliRunner

from cohort.records import ConfigProblem, MissingFile, UnreadableFile
from flows.agree import agree, agreement_results
from flows.agree_plan import AgreementOptions, agreement_margins, agreement_plan
from flows.agree_table import Readings, TableOptions, read_readings
from flows.analysis import analyse
from flows.cli import app
from stats.bland_altman import repeated
from stats.nested import nested_limits
from tests.flows.tables import REFERENCE, study

ROOT = Path(__file__).resolve().parents[2]
PEAK_FLOW = ROOT / "docs" / "examples" / "peak_flow_1986.csv"
READERS = ROOT / "docs" / "examples" / "readers_simulated.csv"
MARGINS = ROOT / "docs" / "examples" / "agreement_margins.toml"
N = 24
X = np.linspace(40, 70, N)
NOISE = np.tile([-0.6, 0.4, 0.2, -0.3, 0.5, -0.1, 0.3, -0.4], 3)


def wide(path: Path, columns: dict[str, Sequence[object]], *, separator: str = ",") -> Path:
    lines = [separator.join(columns), *(separator.join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def two(path: Path, **more: Sequence[object]) -> Path:
    return wide(path, {"subject": [f"S{i}" for i in range(N)], "A": list(X), "B": list(X + NOISE), **more})


def analyzed(path: Path, options: AgreementOptions | None = None) -> dict[str, Any]:
    options = options or AgreementOptions()
    return agreement_results(read_readings(path, options.table), agreement_plan(options), options)


def read(path: Path, **options: Any) -> Readings:
    return read_readings(path, TableOptions(**options))


# ---- laws ------------------------------------------------------------------------------------------------------------


def test_a_table_says_what_the_same_values_say_in_a_run(tmp_path: Path) -> None:
    margins = tmp_path / "m.toml"
    margins.write_text('origin = "x"\n[margins.lv_ef_percent]\nbias = 3.0\nlimits = 8.0\nunit = "points"\n')
    test = (X + NOISE).tolist()
    test[5] = float("nan")
    centers = ["North"] * 10 + ["South"] * 14
    run = analyse(
        study({REFERENCE: X, ("cardiomm", "Uniform", 4.0): test}, centers=centers), margins=agreement_margins(margins)
    )
    path = wide(
        tmp_path / "t.csv",
        {
            "patient": [f"P{i + 1:03d}" for i in range(N)],
            "center": centers,
            "phenotype": ["lv_ef_percent"] * N,
            "A": list(X),
            "B": ["" if v != v else v for v in test],
        },
    )
    (mine,) = analyzed(path, AgreementOptions(margins=margins))["agreement"]
    (theirs,) = run["agreement"]
    same = set(theirs) - {"arm", "against", "claimed", "robustness", "pairs"}
    assert {key: mine[key] for key in same} == {key: theirs[key] for key in same}
    assert mine["claimed"] is theirs["claimed"] is True


def test_swapping_the_methods_mirrors_bias_and_limits(tmp_path: Path) -> None:
    path = two(tmp_path / "t.csv")
    (there,) = analyzed(path, AgreementOptions(reference="A"))["agreement"]
    (back,) = analyzed(path, AgreementOptions(reference="B"))["agreement"]
    assert back["bias"]["estimate"] == pytest.approx(-there["bias"]["estimate"])
    assert back["lower_limit"]["low"] == pytest.approx(-there["upper_limit"]["high"])
    assert (there["arm"], back["arm"]) == ("B", "A")


def test_long_wide_parquet_and_row_order_say_the_same(tmp_path: Path) -> None:
    first = two(tmp_path / "wide.csv")
    table = pd.read_csv(first)
    long = table.melt("subject", var_name="reader", value_name="value").sample(frac=1, random_state=1)
    long = pd.concat([long[long["reader"] == "A"], long[long["reader"] == "B"]])
    long.to_csv(tmp_path / "long.tsv", sep="\t", index=False)
    table.to_parquet(tmp_path / "wide.parquet", index=False)
    rows = [analyzed(path)["agreement"][0] for path in (first, tmp_path / "long.tsv", tmp_path / "wide.parquet")]
    for row in rows[1:]:
        assert row["pairs"] == rows[0]["pairs"]
        assert row["bias"] == rows[0]["bias"]


def test_several_conditions_are_paired_within_themselves(tmp_path: Path) -> None:
    parts = []
    for condition, shift in (("4x", 0.0), ("8x", 2.0)):
        for reader, extra in (("R1", 0.0), ("R2", shift)):
            values = X + extra + (NOISE if reader == "R2" else 0)
            part = pd.DataFrame({"subject": [f"S{i}" for i in range(N)], "value": values})
            parts.append(part.assign(reader=reader, condition=condition))
    pd.concat(parts).to_csv(tmp_path / "t.csv", index=False)
    results = analyzed(tmp_path / "t.csv")
    found = {row["arm"]: row["bias"]["estimate"] for row in results["agreement"]}
    assert found == pytest.approx({"R2, 4x": NOISE.mean(), "R2, 8x": 2 + NOISE.mean()})
    assert [row["condition"] for row in results["readers"]] == ["4x", "8x"]


def test_limits_of_replicates_are_those_of_single_readings() -> None:
    table = pd.read_csv(PEAK_FLOW).pivot(index=["subject", "replicate"], columns="method", values="value").reset_index()
    for truth in ("constant", "varying"):
        (row,) = analyzed(PEAK_FLOW, AgreementOptions(truth=truth))["agreement"]  # type: ignore[arg-type]
        known = repeated(table["wright"], table["mini"], table["subject"], truth=truth)  # type: ignore[arg-type]
        for side in ("lower_limit", "upper_limit"):
            end = getattr(known, side)
            assert row[side] == pytest.approx({"estimate": end.estimate, "low": end.low, "high": end.high})
        assert row["descriptive"]["icc"] is None
        assert row["descriptive"]["pearson"] is not None


def test_limits_for_a_new_center_are_those_of_the_components() -> None:
    results = analyzed(READERS)
    entry = next(row for row in results["nested"] if (row["measurement"], row["arm"]) == ("ef", "network"))
    table = pd.read_csv(READERS)
    table = table[(table["measurement"] == "ef") & table["network"].notna()]
    known = nested_limits(table["network"] - table["expert"], table["center"], np.arange(len(table)))
    assert entry["upper_limit"]["high"] == pytest.approx(known.upper_limit.high, rel=1e-6)
    assert entry["n_centers"] == 5


# ---- published numbers -----------------------------------------------------------------------------------------------


def test_peak_flow_of_bland_and_altman_1986(tmp_path: Path) -> None:
    # Lancet 1986;i:307-310, first readings: mean difference (Wright - mini) -2.1 L/min, SD 38.8; repeatability: SD of
    # differences of two readings 21.6 (Wright) and 28.2 (mini); differences of single readings from the means: SD 37.7
    table = pd.read_csv(PEAK_FLOW)
    table[table["replicate"] == 1].to_csv(tmp_path / "first.csv", index=False)
    (first,) = analyzed(tmp_path / "first.csv")["agreement"]
    assert first["bias"]["estimate"] == pytest.approx(2.1, abs=0.05)
    assert first["sd"] == pytest.approx(38.8, abs=0.05)
    results = analyzed(PEAK_FLOW, AgreementOptions(truth="constant"))
    spread = {row["arm"]: row["within_sd"]["estimate"] * np.sqrt(2) for row in results["repeatability"]}
    assert spread == pytest.approx({"wright": 21.6, "mini": 28.2}, abs=0.06)
    assert results["agreement"][0]["sd"] == pytest.approx(37.7, abs=0.06)


def test_icc_family_of_shrout_and_fleiss_1979(tmp_path: Path) -> None:
    # Psychol Bull 1979;86:420-428, table 4: ICC(1,1) .17, (2,1) .29, (3,1) .71, (1,4) .44, (2,4) .62, (3,4) .91
    judges = [[9, 6, 8, 7, 10, 6], [2, 1, 4, 1, 5, 2], [5, 3, 6, 2, 6, 4], [8, 2, 8, 6, 9, 7]]
    path = wide(tmp_path / "t.csv", {"subject": list("abcdef")} | {f"J{i}": v for i, v in enumerate(judges)})
    (row,) = analyzed(path)["readers"]
    found = [round(row["icc"][form]["estimate"], 2) for form in ("1,1", "A,1", "C,1", "1,k", "A,k", "C,k")]
    assert found == [0.17, 0.29, 0.71, 0.44, 0.62, 0.91]
    assert row["rater_bias"]["f"] == pytest.approx(31.87, abs=0.01)
    assert len(row["pairs"]) == 6


# ---- verdicts and missing values -------------------------------------------------------------------------------------


def test_without_margins_nothing_is_shown(tmp_path: Path) -> None:
    results = analyzed(two(tmp_path / "t.csv"))
    assert [row["verdict"] for row in results["agreement"]] == ["not shown"]
    assert not any(row["claimed"] for row in results["agreement"])
    assert "described only, because nothing was fixed beforehand" in results["study"]["verdict_sentences"][0]


def test_missing_values_are_counted_and_named(tmp_path: Path) -> None:
    b = [*(X + NOISE)]
    path = two(tmp_path / "t.csv", C=["", "NA", *b[2:]])
    results = analyzed(path)
    row = next(row for row in results["agreement"] if row["arm"] == "C")
    assert (row["attempted"], row["n"], row["failed"]) == (N, N - 2, 2)
    assert [(f["patient"], f["reason"]) for f in results["failures"]] == [
        ("S0", "no value by C"),
        ("S1", "no value by C"),
    ]
    assert results["readers"][0]["n"] == N - 2


def test_a_center_that_contradicts_keeps_the_claim_away(tmp_path: Path) -> None:
    margins = tmp_path / "m.toml"
    margins.write_text('origin = "x"\n[margins.q]\nbias = 1.0\nlimits = 9.0\nunit = "u"\n')
    shift = np.where(np.arange(N) < 18, -0.3, 2.0)
    path = two(tmp_path / "t.csv", center=["a"] * 18 + ["b"] * 6, measurement=["q"] * N)
    table = pd.read_csv(path)
    table["B"] += shift
    table.to_csv(path, index=False)
    results = analyzed(path, AgreementOptions(margins=margins))
    (row,) = results["agreement"]
    assert (row["verdict"], row["claimed"]) == ("shown", False)
    assert (
        "not claimed, because the whole interval of the bias lies outside ±1 in b" in results["decision"][0]["sentence"]
    )


@pytest.mark.parametrize("n", [1, 2, 3])
def test_few_subjects_have_a_stated_result(tmp_path: Path, n: int) -> None:
    path = wide(tmp_path / "t.csv", {"subject": range(n), "A": range(n), "B": range(1, n + 1)})
    results = analyzed(path, AgreementOptions())
    (row,) = results["agreement"]
    assert row["verdict"] == "too few"
    assert (row["lower_limit"] is None) == (n < 3)
    assert results["regression"][0]["deming_reason"]
    assert json.dumps(results, allow_nan=False)


def test_equal_methods_differ_by_nothing(tmp_path: Path) -> None:
    path = wide(tmp_path / "t.csv", {"subject": range(8), "A": range(8), "B": range(8)})
    (row,) = analyzed(path)["agreement"]
    assert row["bias"] == {"estimate": 0.0, "low": 0.0, "high": 0.0}
    assert row["sd"] == 0.0


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"), st.sampled_from(["", "1", "2.5", "-3e1"])), min_size=1
    )
)
def test_any_long_table_is_read_or_refused_in_words(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    path = tmp_path_factory.mktemp("t") / "t.csv"
    path.write_text("method,subject,value\n" + "".join(f"{m},{s},{v}\n" for m, s, v in rows))
    options = TableOptions(replicate_rows=True)
    if len({method for method, _, _ in rows}) < 2:
        with pytest.raises(ConfigProblem, match="agreement needs two methods"):
            read_readings(path, options)
        return
    found = read_readings(path, options)
    assert len(found.rows) == len(rows)
    assert int(found.rows["value"].isna().sum()) == sum(v == "" for _, _, v in rows)


# ---- how tables are understood ---------------------------------------------------------------------------------------


def test_names_stay_text_and_the_same_name_in_two_centers_is_two_subjects(tmp_path: Path) -> None:
    columns = {"id": ["007", "7", "007"], "site": ["a", "a", "b"], "A": [1, 2, 3], "B": [1, 2, 4]}
    results = analyzed(wide(tmp_path / "t.csv", columns))
    assert {(p["center"], p["patient"]) for p in results["agreement"][0]["pairs"]} == {
        ("a", "007"),
        ("a", "7"),
        ("b", "007"),
    }
    assert results["cohort"]["n_patients"] == 3


def test_decimal_commas_where_semicolons_part_columns(tmp_path: Path) -> None:
    path = wide(
        tmp_path / "t.csv", {"subject": "abc", "A": ["1,5", "2,5", "3"], "B": ["1,0", "−2,0", "3,25"]}, separator=";"
    )
    assert read(path).rows["value"].tolist() == [1.5, 2.5, 3.0, 1.0, -2.0, 3.25]


def test_columns_can_be_named_and_others_are_listed(tmp_path: Path) -> None:
    columns = {"who": "abc", "age": [50, 60, 70], "sex": "mfm", "old": [1, 2, 3], "new": [1, 2, 4]}
    path = wide(tmp_path / "t.csv", columns)
    results = agree(
        path, tmp_path / "out", AgreementOptions(TableOptions(subject="who"), reference="old", tests=("new",))
    )
    assert results["table"]["ignored"] == ["age", "sex"]
    assert results["table"]["columns"] == {"subject": "who"}


def test_rows_without_a_replicate_column_are_numbered_where_asked(tmp_path: Path) -> None:
    path = wide(tmp_path / "t.csv", {"subject": "aabb", "A": [1, 2, 3, 4], "B": [1, 2, 3, 5]})
    assert read(path, replicate_rows=True).rows["replicate"].tolist() == ["1", "2"] * 4


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("a,b\n1,2\n", {}, "no column holds the subject; name it by --subject"),
        ("subject,A\nx,1\n", {}, "two columns of numbers, one a method"),
        ("subject,method\nx,A\n", {}, "none holds the value; name it by --value"),
        ("subject,patient,A,B\nx,y,1,2\n", {}, "'subject' and 'patient' could both be the subject"),
        ("subject,A,B\nx,1,2\ny,2,two\n", {}, r"line 3 \(B: 'two'\) hold no number"),
        ("subject,A,B\nx,1,inf\n", {}, "two columns of numbers"),
        ("subject,A,B\nx,1,2\nx,1,3\n", {}, "4 readings are given more than once.*lines 2, 3.*--replicate"),
        ("subject,A,B\n,1,2\n", {}, r"the subject \('subject'\) is empty in line 2"),
        ("subject,A,B\nx,1\n", {}, "line 2 do not have the 3 columns"),
        ("subject,A,A\nx,1,2\n", {}, "two columns are named 'A'"),
        ("subject,A,B\n", {}, "the table has no rows"),
        ("", {}, "the table is empty"),
        ('subject,A,B\nx,"1,5","2,5"\n', {}, "hold a comma; write 3.5"),
        ("subject,method,value\nx,A,1\n", {}, "found only A"),
        ("subject,A,B\nx,1,2\n", {"center": "site"}, "no column is called 'site'"),
        ("subject,measurement,unit,A,B\nx,m,mL,1,2\ny,m,L,1,2\n", {}, "m comes in the units mL, L"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(tmp_path: Path, text: str, options: dict[str, str], message: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(ConfigProblem, match=message):
        read(path, **options)


def test_files_that_are_no_tables(tmp_path: Path) -> None:
    with pytest.raises(MissingFile):
        read(tmp_path / "none.csv")
    (tmp_path / "t.xlsx").write_bytes(b"PK")
    with pytest.raises(UnreadableFile, match="save one as CSV"):
        read(tmp_path / "t.xlsx")
    (tmp_path / "t.parquet").write_bytes(b"no")
    with pytest.raises(UnreadableFile):
        read(tmp_path / "t.parquet")


def test_what_the_study_asks_for_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigProblem, match=r"several readings by wright.*--truth"):
        analyzed(PEAK_FLOW)
    with pytest.raises(ConfigProblem, match="no method is called 'C'; the table has A, B"):
        analyzed(two(tmp_path / "t.csv"), AgreementOptions(reference="C"))
    with pytest.raises(ConfigProblem, match="no margin fits the table"):
        analyzed(two(tmp_path / "t.csv"), AgreementOptions(margins=MARGINS))
    path = two(tmp_path / "u.csv", measurement=["edv"] * N, unit=["L"] * N)
    with pytest.raises(ConfigProblem, match="edv is in 'L' in the table and in 'mL' in the margins"):
        analyzed(path, AgreementOptions(margins=MARGINS))
    with pytest.raises(ConfigProblem, match="expected constant or varying"):
        AgreementOptions(truth="maybe")  # type: ignore[arg-type]


# ---- what is written -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("study") / "out"
    table = out.parent / "t.csv"
    text = READERS.read_text().replace("trainee", "<script>alert(1)</script>", 1)
    table.write_text(text)
    agree(table, out, AgreementOptions(margins=MARGINS, title="Readers & <b>network</b>"))
    return out


def test_page_table_and_results_hold_the_same_numbers(written: Path) -> None:
    results = json.loads((written / "results.json").read_text())
    page = (written / "report" / "index.html").read_text()
    table = pd.read_csv(written / "agreement.csv")
    assert results["schema"] == 2
    for row in results["agreement"]:
        digits = 1 if row["phenotype"] == "ef" or row["sd"] < 9 else 0
        assert f"{row['upper_limit']['estimate']:.{digits}f}" in page
        line = table[(table["phenotype"] == row["phenotype"]) & (table["arm"] == row["arm"])]
        assert line["bias.estimate"].item() == row["bias"]["estimate"]
    assert "<script>alert(1)</script>" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert len(PdfReader(written / "report" / "report.pdf").pages) >= 4


def test_the_plan_lies_beside_and_is_not_changed_once_data_were_seen(written: Path, tmp_path: Path) -> None:
    results, plan = (json.loads((written / name).read_text()) for name in ("results.json", "plan.json"))
    assert results["plan"] == plan
    with pytest.raises(ConfigProblem, match=r"fixes another plan \(alpha differ"):
        agree(READERS, written, AgreementOptions(margins=MARGINS, alpha=0.1))
    (tmp_path / "something").write_text("")
    with pytest.raises(ConfigProblem, match="holds something else"):
        agree(READERS, tmp_path, AgreementOptions())


def test_a_call_that_fails_leaves_no_plan_behind(tmp_path: Path) -> None:
    with pytest.raises(ConfigProblem, match="--truth"):
        agree(PEAK_FLOW, tmp_path / "out", AgreementOptions())
    assert not (tmp_path / "out" / "plan.json").exists()


def test_the_command_says_the_verdicts(tmp_path: Path) -> None:
    path = two(tmp_path / "t.csv", measurement=["ef"] * N)
    call = ["agree", str(path), "--margins", str(MARGINS), "--out", str(tmp_path / "out"), "--unit", "%"]
    done = CliRunner().invoke(app, call)
    assert done.exit_code == 0, done.output
    assert "ef, B against A: agreement shown" in done.output
    assert (tmp_path / "out" / "agreement.parquet").exists()


def test_subjects_without_a_value_can_keep_agreement_from_being_claimed(tmp_path: Path) -> None:
    margins = tmp_path / "m.toml"
    margins.write_text('origin = "x"\n[margins.value]\nbias = 3.0\nlimits = 8.0\nunit = "points"\n')
    columns = {"patient": [f"P{i}" for i in range(N)], "A": list(X), "B": list(X + NOISE)}
    columns["B"][8:] = [""] * (N - 8)
    found = analyzed(wide(tmp_path / "t.csv", columns), AgreementOptions(margins=margins))
    (row,), (decision,) = found["agreement"], found["decision"]
    assert (row["verdict"], row["claimed"], row["contradicted_by"]) == ("shown", False, ["failures"])
    assert f"agreement not claimed, because only 8 of {N} patients differ by less than 8 points" in decision["sentence"]


def test_with_replicates_a_new_center_is_judged_by_single_readings(tmp_path: Path) -> None:
    margins = tmp_path / "m.toml"
    margins.write_text('origin = "x"\n[margins.value]\nbias = 3.0\nlimits = 8.0\nunit = "points"\n')
    swing = np.tile([1.5, -1.5], N)  # two readings of a subject err in opposite directions
    columns = {
        "patient": [f"P{i}" for i in range(N) for _ in range(2)],
        "center": [f"C{i % 6}" for i in range(N) for _ in range(2)],
        "replicate": [1, 2] * N,
        "A": list(np.repeat(X, 2)),
        "B": list(np.repeat(X + NOISE, 2) + swing),
    }
    found = analyzed(wide(tmp_path / "t.csv", columns), AgreementOptions(margins=margins, truth="varying"))
    (row,), (nested,) = found["agreement"], found["nested"]
    of_new_center = row["center_consistency"]["new_center"]
    assert of_new_center["upper_limit"] == nested["upper_limit"]
    assert of_new_center["sd"] == nested["sd"]["estimate"] > 1.5  # of means it would be that of NOISE, 0.4
