"""The flat table says what results.json says; sexes are found where a cohort states them; the large table is as promised."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.report_cohort import large_table
from flows.agreement_table import agreement_table, write_agreement
from flows.analysis import analyse
from flows.margins import load_margins
from flows.outcome import write_failures
from flows.patient_sex import sexes_of


def test_the_table_is_the_results(tmp_path: Path) -> None:
    results = analyse(large_table(60, 3, 1, 2, seed=1), margins=load_margins())
    write_agreement(tmp_path, results)
    table = pd.read_parquet(tmp_path / "agreement.parquet")
    assert len(table) == len(results["agreement"])
    for line, row in zip(table.to_dict("records"), results["agreement"], strict=True):
        assert (line["phenotype"], line["arm"], line["against"]) == (row["phenotype"], row["arm"], row["against"])
        assert line["bias.low"] == row["bias"]["low"]
        assert (line["verdict"], line["claimed"]) == (row["verdict"], row["claimed"])
        assert line["acceleration"] in (4, 8)
        assert line["center_consistency.inside"] == " ".join(row["center_consistency"]["inside"])
    assert not {"tost", "icc", "sensitivity", "descriptive.pearson"} & set(table.columns)
    lines = pd.read_csv(tmp_path / "agreement.csv")
    assert list(lines.columns) == list(table.columns)
    np.testing.assert_array_equal(lines["upper_limit.high"], table["upper_limit.high"].astype(float))
    assert agreement_table(results | {"agreement": []}).empty


def test_no_text_of_a_csv_is_a_formula_and_numbers_stay_numbers(tmp_path: Path) -> None:
    results = analyse(large_table(60, 3, 1, 2, seed=1), margins=load_margins())
    for row in results["agreement"]:
        row["against"], row["center_consistency"]["inside"] = "=HYPERLINK(1)", ["-1+cmd|' /C calc'!A0"]
    write_agreement(tmp_path, results)
    lines = pd.read_csv(tmp_path / "agreement.csv")
    assert set(lines["against"]) == {"'=HYPERLINK(1)"}
    assert set(lines["center_consistency.inside"]) == {"'-1+cmd|' /C calc'!A0"}
    assert (lines["lower_limit.low"] < 0).all()
    whole = pd.read_parquet(tmp_path / "agreement.parquet")
    assert set(whole["against"]) == {"=HYPERLINK(1)"}  # nothing runs a Parquet file
    write_failures(tmp_path / "failures.csv", [{"center": "@x", "patient": "-7", "reason": "+cmd"}])
    line = pd.read_csv(tmp_path / "failures.csv").iloc[0]
    assert (line["center"], line["patient"], line["reason"]) == ("'@x", -7, "'+cmd")


def test_a_large_table_is_repeatable_and_has_failures() -> None:
    table = large_table(200, 13, 2, 3, seed=5)
    pd.testing.assert_frame_equal(table, large_table(200, 13, 2, 3, seed=5))
    assert table["center"].nunique() <= 13
    assert set(table["method"]) == {"fully_sampled", "zero_filled", "sense"}
    assert (table["status"] == "failed").any()
    assert table.loc[table["status"] == "failed", "value"].isna().all()
    assert (
        table.loc[(table["method"] == "fully_sampled") & (table["phenotype"] == "rv_ef_percent"), "value"]
        .between(5, 85)
        .all()
    )
    with pytest.raises(ValueError, match="at most 4 methods and 6"):
        large_table(10, 2, 5, 1)


def cohort(tmp_path: Path, headers: dict[str, str]) -> pd.DataFrame:
    rows = []
    for name, text in headers.items():
        patient, stem = name.split("/")
        folder = tmp_path / patient
        folder.mkdir(exist_ok=True)
        (folder / f"{stem}_info.csv").write_text("Parameter,Value\nTR,40\n" + text)
        rows.append({"center": "Center001", "patient": patient, "status": "ok", "path": str(folder / f"{stem}.mat")})
    return pd.DataFrame(rows)


def test_sexes_of_headers_and_of_the_table(tmp_path: Path) -> None:
    table = cohort(
        tmp_path,
        {
            "P001/cine_sax": "Sex,F\n",
            "P002/cine_sax": "Gender,male\n",
            "P003/cine_sax": "",
            "P004/cine_sax": "Sex,M\n",
            "P004/T1map": "Sex,F\n",
            "P005/cine_sax": "Sex,unknown\n",
            "P006/cine_sax": "Sex,F\n",
        },
    )
    table.loc[len(table)] = {
        "center": "Center001",
        "patient": "P007",
        "status": "ok",
        "path": str(tmp_path / "none.mat"),
    }
    found = sexes_of(table, tmp_path)
    assert found == {("Center001", p): s for p, s in (("P001", "female"), ("P002", "male"), ("P006", "female"))}
    (tmp_path / "diseases.csv").write_text(
        "center,patient,disease,sex\nCenter001,P003,normal,w\nCenter001,P006,normal,M\nCenter001,P001,normal,\n"
    )
    found = sexes_of(table, tmp_path)
    assert found["Center001", "P003"] == "female"
    assert found["Center001", "P006"] == "male"
    assert found["Center001", "P001"] == "female"
