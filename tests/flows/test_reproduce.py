"""Is a run repeated from its folder alone, and is it noticed when something is not what it was?"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from cohort.cmrxrecon import read_info, read_kspace, write_kspace
from cohort.records import ConfigProblem, MissingFile, UnreadableFile
from flows.analysis_plan import freeze, plan_of
from flows.cli import app
from flows.config import Reconstruction, Running, Selection, Undersampling, ValidationConfig
from flows.outcome import write_run_record
from flows.provenance import provenance
from flows.reproduce import (
    carried_out,
    chosen_scans,
    inputs_hash,
    job_of,
    name_of,
    of_scans,
    reproduce,
    spread,
    table_of,
)
from flows.reproduce_record import NotRepeatable, basis_of, differences, on_cpu, read_run

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Place:
    """A finished run and its cohort, both to be damaged."""

    run: Path
    cohort: Path
    out: Path

    def again(self, **options: Any) -> Any:
        return reproduce(self.run, out=self.out, cohort=self.cohort, **options)


def run_of(cohort: Path, out: Path) -> ValidationConfig:
    """What a run leaves that a repetition needs, made without Prefect."""
    config = ValidationConfig(
        name="tiny",
        cohort=cohort,
        out=out,
        select=Selection(modality=("T1 mapping",)),
        undersampling=Undersampling(patterns=(("Uniform", 2.0),), n_calibration=16),
        reconstruction=Reconstruction(methods=("zero_filled",), reliability=False),
        running=Running(device="cpu", workers=2, threads=1, retries=0),
    )
    table = chosen_scans(config)
    jobs = [job_of(r, config) for r in table.to_dict("records")]
    frozen = freeze(plan_of(config), out)
    facts = provenance(config, inputs_sha256=inputs_hash(table, jobs, []), device="CPU (x86_64)")
    measured, failed = carried_out(jobs, config, workers=2, threads=1, advance=lambda *told: None)
    table_of(measured, failed, config).to_parquet(out / "measurements.parquet", index=False)
    write_run_record(config, facts | {"plan_sha256": frozen["sha256"]})
    return config


@pytest.fixture(scope="session")
def finished(simulated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("finished") / "run"
    out.mkdir()
    run_of(simulated, out)
    return out


@pytest.fixture
def place(finished: Path, cohort_copy: Path, tmp_path: Path) -> Place:
    return Place(Path(shutil.copytree(finished, tmp_path / "run")), cohort_copy, tmp_path / "again")


def rewrite(path: Path, change: Callable[[str], str]) -> None:
    before = path.read_text(encoding="utf-8")
    after = change(before)
    assert after != before
    path.write_text(after, encoding="utf-8")


def test_a_run_is_repeated_bit_for_bit_from_its_folder(place: Place) -> None:
    told: list[tuple[Any, ...]] = []
    made = place.again(advance=lambda *said: told.append(said))
    content = json.loads((place.out / "reproduce.json").read_text())
    assert made.exit_status == 0
    assert made.reproduced
    assert content["basis"] == "identical", content["basis_why"]
    assert content["same_content"] is True
    assert content["altered_rows"] == 0
    assert content["counts"]["different"] == content["counts"]["within tolerance"] == 0
    assert content["counts"]["identical"] > 10
    assert content["scans"] == {"repeated": 2, "of": 2, "failed": 0}
    assert content["verdicts"]["note"].startswith("verdicts not compared"), "there were no results"
    assert [(t[0], t[1], t[2]) for t in told] == [("repeat", 1, 2), ("repeat", 2, 2)]
    assert str(place.run.parent) not in json.dumps(content), "no folder of the machine"
    pd.testing.assert_frame_equal(
        pd.read_parquet(place.out / "measurements.parquet"), pd.read_parquet(place.run / "measurements.parquet")
    )
    with pytest.raises(ConfigProblem, match="not a new or empty folder"):
        place.again()


def test_a_changed_result_is_found_and_said_to_be_changed(place: Place) -> None:
    path = place.run / "measurements.parquet"
    table = pd.read_parquet(path)
    at = table.index[(table["phenotype"] == "t1_ms") & (table["method"] == "zero_filled")][0]
    table.loc[at, "value"] += 25.0
    table.to_parquet(path, index=False)
    made = place.again(n_scans=2)
    assert made.exit_status == 3
    assert made.content["altered_rows"] >= 1
    assert made.content["counts"]["different"] == 1
    (worst,) = made.content["worst"]
    assert (worst["phenotype"], worst["why"], round(worst["difference"], 6)) == ("t1_ms", "value", 25.0)
    assert "verdicts" not in made.content


def test_one_scan_of_many(place: Place) -> None:
    made = place.again(n_scans=1)
    assert made.reproduced
    assert made.content["scans"] == {"repeated": 1, "of": 2, "failed": 0}
    assert {row["center"] for row in made.content["worst"]} == set()
    for number in (0, -1):
        with pytest.raises(ConfigProblem, match="at least 1"):
            reproduce(place.run, out=place.out / "more", n_scans=number)


def test_inputs_that_changed_are_named_before_anything_is_computed(place: Place) -> None:
    path = next(place.cohort.rglob("P001/T1map.mat"))
    kspace, info = read_kspace(path), read_info(path)
    kspace[0, 0, 0, 0, 0] *= 2
    write_kspace(path, kspace, info=info)
    with pytest.raises(NotRepeatable, match=r"inputs: .*P001/T1map\.mat: not the file that the run read; restore"):
        place.again()
    assert list(place.out.rglob("*.nii.gz")) == []


def test_times_beside_a_scan_count_as_input(place: Place) -> None:
    path = next(place.cohort.rglob("P001/T1map.csv"))
    rewrite(path, lambda text: text.replace("1", "2", 1))
    with pytest.raises(NotRepeatable, match=r"P001/T1map\.csv: not the file"):
        place.again()


def test_a_missing_scan_and_a_missing_cohort(place: Place) -> None:
    next(place.cohort.rglob("P001/T1map.mat")).unlink()
    with pytest.raises(NotRepeatable, match="a file came, went or changed"):
        place.again()
    shutil.rmtree(place.cohort)
    with pytest.raises(NotRepeatable, match="is not there; give its folder with --cohort"):
        reproduce(place.run, out=place.out / "b", cohort=place.cohort)


def test_other_weights_are_named(place: Place) -> None:
    rewrite(
        place.run / "run.toml",
        lambda text: text.replace('name = "shipped nnU-Net"\nsha256 = "', 'name = "shipped nnU-Net"\nsha256 = "00'),
    )
    with pytest.raises(NotRepeatable, match=r"weights: shipped nnU-Net was 00\w{10} .* and is \w{12} here; restore"):
        place.again()


def test_weights_that_are_gone(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    from cohort.records import WeightsProblem
    from flows import reproduce_record

    def gone(config: ValidationConfig) -> list[dict[str, str]]:
        raise WeightsProblem(config.out / "plans.json", "no such file")

    monkeypatch.setattr(reproduce_record, "weights", gone)
    with pytest.raises(NotRepeatable, match=r"weights: .*plans\.json: no such file"):
        place.again()


def test_a_changed_record_is_refused(place: Place) -> None:
    record = place.run / "run.toml"
    whole = record.read_text()
    rewrite(record, lambda text: text.replace("n_calibration = 16", "n_calibration = 18"))
    with pytest.raises(ConfigProblem, match="its settings are not those that the run had"):
        place.again()
    record.write_text(whole)
    rewrite(place.run / "plan.json", lambda text: text.replace('"alpha": 0.05', '"alpha": 0.5'))
    with pytest.raises(UnreadableFile, match="was changed after it was frozen"):
        place.again()
    other = freeze(replace_alpha(place), place.out.parent / "other")
    (place.run / "plan.json").write_text(json.dumps(other))
    with pytest.raises(ConfigProblem, match="the plan of another run"):
        place.again()


def replace_alpha(place: Place) -> Any:
    from flows.config import Statistics

    config = ValidationConfig("x", place.cohort, place.out, statistics=Statistics(alpha=0.01))
    return plan_of(config)


def test_no_run_and_half_a_run(place: Place, tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match="no record of a run"):
        reproduce(tmp_path / "nothing", out=place.out)
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "run.toml").write_text('[study]\nname = "x"\ncohort = "."\nout = "."\n')
    with pytest.raises(UnreadableFile, match="a configuration is no run"):
        reproduce(tmp_path / "config", out=place.out)
    table = place.run / "measurements.parquet"
    table.write_bytes(table.read_bytes()[:100])
    with pytest.raises(UnreadableFile, match="no table of measurements"):
        place.again()
    table.unlink()
    with pytest.raises(MissingFile, match="was it finished"):
        place.again()


def test_what_the_numbers_are_held_to(place: Place) -> None:
    record = read_run(place.run, out=place.out)
    same = differences(record, threads=1)
    assert [n.what for n in same if n.what != "commit"] == []
    assert basis_of(record, same, device="CPU (x86_64)")[0] == "identical"
    assert basis_of(record, differences(record, threads=2), device="CPU (x86_64)")[0] == "other_cpu"
    assert basis_of(record, same, device="NVIDIA H100")[0] == "gpu"
    older = replace(record, provenance={**record.provenance, "packages": {"numpy": "1.26.0", "typst": "0.1"}})
    notices = differences(older, threads=1)
    assert {"numpy", "typst"} <= {n.what for n in notices}
    basis, why = basis_of(older, notices, device="CPU (x86_64)")
    assert basis == "other_cpu"
    assert "numpy 1.26.0" in why
    assert "typst" not in why, "it makes no numbers"
    early = replace(record, provenance={k: v for k, v in record.provenance.items() if k != "machine"})
    assert basis_of(early, differences(early, threads=1), device="CPU (x86_64)")[0] == "other_cpu"


@pytest.mark.parametrize(
    ("device", "cpu"),
    [("CPU (x86_64)", True), ("Dask: CPU (x86_64)", True), ("Dask: CPU (x86_64), NVIDIA H100", False), ("", False)],
)
def test_devices(device: str, cpu: bool) -> None:
    assert on_cpu(device) is cpu


def test_scans_are_spread_and_those_of_one_name_stay_together() -> None:
    rows = [
        {"modality": m, "center": c, "patient": "P1", "stem": "x", "file": f"{s}/{m}/{c}", "path": "x.mat"}
        for m in ("T1", "cine")
        for c in ("A", "B")
        for s in ("set1", "set2")
    ]
    catalogue = pd.DataFrame(rows)
    catalogue["stem"] = catalogue["modality"]
    assert len(spread(catalogue, None)) == len(spread(catalogue, 99)) == 8
    two = spread(catalogue, 2)
    assert len(two) == 4, "each name is in two sets"
    assert set(two["modality"]) == {"T1", "cine"}
    table = pd.DataFrame([{"center": c, "patient": "P1", "scan": m} for m in ("T1", "cine") for c in ("A", "B")])
    assert len(of_scans(table, two, whole=False)) == len({name_of(r) for r in two.to_dict("records")})
    assert of_scans(table, two, whole=True) is table


def test_command(place: Place) -> None:
    runner = CliRunner()
    words = ["reproduce", str(place.run), "--cohort", str(place.cohort), "--scans", "1", "--out", str(place.out)]
    first = runner.invoke(app, words)
    assert first.exit_code == 0, first.output
    assert "Reproduced: 1 of 2 scans" in first.output
    assert "Bit for bit" in first.output
    table = pd.read_parquet(place.run / "measurements.parquet")
    table["value"] += 1.0
    table.to_parquet(place.run / "measurements.parquet", index=False)
    words[-1] = str(place.out.with_name("more"))
    second = runner.invoke(app, words)
    assert second.exit_code == 3
    assert "NOT reproduced" in second.output
    assert "the table was changed after the run" in second.output
