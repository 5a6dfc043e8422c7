"""A whole run on a small cohort: results, resuming, damaged files, exit statuses."""

import csv
import json
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from cohort.cmrxrecon import read_info, read_kspace, write_kspace
from cohort.records import ConfigProblem
from flows.cli import app
from flows.config import Reconstruction, Running, Statistics, Undersampling, ValidationConfig

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_server")]


def small_config(cohort: Path, out: Path) -> ValidationConfig:
    return ValidationConfig(
        name="small",
        cohort=cohort,
        out=out,
        undersampling=Undersampling(patterns=(("Uniform", 2.0),), n_calibration=16),
        reconstruction=Reconstruction(methods=("zero_filled", "sense")),
        running=Running(device="cpu", workers=2, retries=0),
    )


def test_run_resume_and_recompute(simulated: Path, tmp_path: Path) -> None:
    from flows.validate import validate

    config = small_config(simulated, tmp_path / "run")
    summary = validate(config)
    assert summary.exit_status == 0, summary.results["failures"]
    for name in (
        "run.toml",
        "plan.json",
        "agreement.csv",
        "agreement.parquet",
        "measurements.parquet",
        "results.json",
        "failures.csv",
        "report/index.html",
        "report/report.pdf",
    ):
        assert (config.out / name).stat().st_size > 0, name
    record = tomllib.loads((config.out / "run.toml").read_text())
    assert record["provenance"]["weights"][0]["sha256"]
    plan = json.loads((config.out / "plan.json").read_text())
    assert record["provenance"]["plan_sha256"] == plan["sha256"] == summary.results["plan"]["sha256"]
    assert plan["frozen_before_results"] is True
    assert plan["frozen_utc"] <= record["provenance"]["started_utc"]
    table = pd.read_parquet(config.out / "measurements.parquet")
    assert set(table["method"]) == {"fully_sampled", "zero_filled", "sense", "truth"}
    quality = table[table["phenotype"] == "psnr_db"]
    assert set(quality["method"]) == {"zero_filled", "sense"}, "the reference is not compared with itself"
    accelerated = table[table["method"] == "sense"]
    assert (accelerated["acceleration"] == 2).all()
    assert accelerated["effective_acceleration"].between(1.3, 2.0).all()
    results = json.loads((config.out / "results.json").read_text())
    assert results["study"]["simulated"] == ["synthetic phantom"]
    assert {row["verdict"] for row in results["agreement"]} == {"too few"}

    with pytest.raises(ConfigProblem, match="not empty"):
        validate(config)
    with pytest.raises(ConfigProblem, match=r"fixes another plan .*: alpha differ"):
        validate(replace(config, statistics=Statistics(alpha=0.01)), resume=True)
    stamps = {path: path.stat().st_mtime_ns for path in (config.out / "scans").rglob("*") if path.is_file()}
    again = validate(config, resume=True)
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps, "a complete stage was computed again"
    assert again.results["agreement"] == summary.results["agreement"]
    assert again.results["plan"] == plan

    victim = next((config.out / "scans").rglob("sense_Uniform2.nii.gz"))
    victim.write_bytes(victim.read_bytes()[:100])
    third = validate(config, resume=True)
    assert third.results["agreement"] == summary.results["agreement"]
    changed = {path for path in stamps if path.stat().st_mtime_ns != stamps[path]}
    assert victim in changed
    assert all(victim.parent in path.parents for path in changed), "only the damaged scan is computed again"


def test_damaged_files_are_named_and_the_rest_is_measured(cohort_copy: Path, tmp_path: Path) -> None:
    """Truncated, wrong shape, NaN and missing: one line each, the others measured, the report lists them."""
    from flows.validate import validate

    cines = sorted(cohort_copy.rglob("cine_sax.mat"))
    maps = sorted(cohort_copy.rglob("T1map.mat"))
    listed = [path.relative_to(cohort_copy).as_posix() for path in (*cines, *maps)]
    gone = listed[0].replace("P001", "P009")
    (cohort_copy / "cohort.csv").write_text("path,sha256\n" + "".join(f"{p},\n" for p in [*listed, gone]))
    cines[0].write_bytes(cines[0].read_bytes()[:200_000])
    kspace, info = read_kspace(maps[0]), read_info(maps[0])
    kspace[0, 0, 0, 0, 0] = np.nan
    write_damaged(maps[0], kspace, info)
    wrong = read_kspace(maps[1])
    write_damaged(maps[1], wrong[0, 0, 0], read_info(maps[1]))

    config = small_config(cohort_copy, tmp_path / "run")
    summary = validate(config)
    assert summary.exit_status == 3
    with (config.out / "failures.csv").open() as file:
        rows = list(csv.DictReader(file))
    by_file = {row["file"]: row["reason"] for row in rows}
    assert len(rows) == 4, rows
    reasons = {"truncated": listed[0], "NaN": maps[0].name, "axes": listed[3], "not": gone}
    for word, name in reasons.items():
        matching = [reason for file, reason in by_file.items() if file.endswith(name) or name.endswith(file)]
        assert any(word in reason for reason in matching), (word, name, by_file)
        assert all("\n" not in reason for reason in matching)
    table = pd.read_parquet(config.out / "measurements.parquet")
    good = table[(table["patient"] == "P002") & (table["scan"] == "cine_sax") & (table["phenotype"] == "lv_edv_ml")]
    assert good[good["method"] != "truth"]["value"].gt(20).all()
    bad = table[(table["patient"] == "P001") & (table["scan"] == "cine_sax") & (table["phenotype"] == "lv_edv_ml")]
    assert (bad["status"] == "failed").all()
    assert set(bad["method"]) == {"fully_sampled", "zero_filled", "sense"}
    page = (config.out / "report" / "index.html").read_text()
    for name in (gone, listed[0]):
        assert name in page


def write_damaged(path: Path, data: np.ndarray, info: dict) -> None:
    """Put arrays into a file that our own writer would refuse."""
    import h5py

    write_kspace(path, np.ones((1, 1, 1, 4, 4), np.complex64), info=info)
    with h5py.File(path, "r+") as file:
        kind = file["kspace"].dtype
        del file["kspace"]
        stored = np.empty(data.shape, kind)
        stored["real"], stored["imag"] = data.real, data.imag
        file.create_dataset("kspace", data=stored)


def test_command_line(cohort_copy: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    listing = runner.invoke(app, ["catalogue", str(cohort_copy), "--csv", str(tmp_path / "scans.csv")])
    assert listing.exit_code == 0, listing.output
    assert len(pd.read_csv(tmp_path / "scans.csv")) == 4
    next(cohort_copy.rglob("T1map.mat")).write_bytes(b"nothing")
    assert runner.invoke(app, ["catalogue", str(cohort_copy)]).exit_code == 3


def test_smoke_demo(tmp_path: Path) -> None:
    runner = CliRunner()
    first = runner.invoke(app, ["demo", "--smoke", "--out", str(tmp_path / "demo"), "--device", "cpu"])
    assert first.exit_code in (0, 3), first.output
    assert "LV ejection fraction" in first.output
    results = json.loads((tmp_path / "demo" / "run" / "results.json").read_text())
    assert {arm["method"] for arm in results["arms"]} == {"fully_sampled", "zero_filled", "sense", "cardiomm"}
    quality = {
        (row["arm"], row["modality"]): row["mean"] for row in results["image_quality"] if row["metric"] == "psnr_db"
    }
    assert quality["cardiomm_Uniform8", "cine"] > quality["zero_filled_Uniform8", "cine"]
    assert quality["cardiomm_Uniform8", "cine"] > quality["sense_Uniform8", "cine"]
    assert (tmp_path / "demo" / "run" / "report" / "report.pdf").read_bytes().startswith(b"%PDF")
