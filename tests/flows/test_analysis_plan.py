"""The plan: one hash for one content, written before results, never changed afterwards."""

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cohort.records import ConfigProblem, MissingFile, UnreadableFile
from flows.analysis_options import Statistics
from flows.analysis_plan import PLAN_FILE, AnalysisPlan, Rung, freeze, plan_facts, plan_of, read_plan, rungs_of
from flows.cli import app
from flows.config import Reconstruction, Undersampling, ValidationConfig, load_config
from flows.diagnosis_rules import load_diagnosis
from flows.margins import Margin, Margins, load_margins

MARGINS = Margins({"lv_ef_percent": Margin(3.0, 8.0, "points")}, origin="test", sha256="f" * 64)


def config_of(tmp_path: Path, **changes: object) -> ValidationConfig:
    return ValidationConfig(
        name="study",
        cohort=tmp_path / "cohort",
        out=tmp_path / "run",
        undersampling=Undersampling(patterns=(("ktRadial", 24.0), ("Uniform", 4.0), ("Uniform", 8.0))),
        reconstruction=Reconstruction(methods=("sense",)),
        statistics=Statistics(**changes),  # type: ignore[arg-type]
    )


def test_the_hash_is_that_of_the_canonical_json() -> None:
    facts = plan_facts(AnalysisPlan(MARGINS))
    fixed = {key: value for key, value in facts.items() if key != "sha256"}
    text = json.dumps(fixed, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert facts["sha256"] == hashlib.sha256(text.encode()).hexdigest()
    assert json.loads(json.dumps(facts)) == facts


def test_every_choice_changes_the_hash() -> None:
    plan = AnalysisPlan(MARGINS, ladder=(Rung("Uniform", 4.0),), methods=("sense",))
    rules = plan.diagnosis
    others = [
        replace(plan, margins=replace(MARGINS, origin="another")),
        replace(plan, margins=replace(MARGINS, by_phenotype={"lv_ef_percent": Margin(3.0, 8.1, "points")})),
        replace(plan, ladder=(Rung("Uniform", 8.0),)),
        replace(plan, methods=("cardiomm",)),
        replace(plan, diagnosis=replace(rules, minimum_cases=rules.minimum_cases + 1)),
    ]
    others += [
        replace(plan, options=Statistics(**change))  # type: ignore[arg-type]
        for change in (
            {"confidence": 0.9}, {"alpha": 0.025}, {"primary": ("lv_ef_percent",)}, {"minimum_patients": 7},
            {"minimum_in_center": 4}, {"minimum_centers": 6}, {"center_rule": "mean"}, {"ef_cut_offs": (40.0,)},
            {"ef_near": 2.0}, {"n_resamples": 3000}, {"seed": 1},
        )
    ]  # fmt: skip
    hashes = [plan_facts(p)["sha256"] for p in (plan, *others)]
    assert len(set(hashes)) == len(hashes)
    # where the files lie is no choice of the analysis
    assert plan_facts(replace(plan, options=Statistics(margins="/x", plan="/y", diagnosis="/z")))["sha256"] == hashes[0]


def test_a_configuration_gives_its_ladder_from_the_lowest_acceleration(tmp_path: Path) -> None:
    plan = plan_of(config_of(tmp_path))
    assert plan.ladder == (Rung("Uniform", 4.0), Rung("Uniform", 8.0), Rung("ktRadial", 24.0))
    assert plan.primary == tuple(load_margins().by_phenotype)
    assert not plan.primary_stated
    assert plan_of(config_of(tmp_path, primary=("lv_ef_percent",))).primary == ("lv_ef_percent",)
    arms = [{"method": "fully_sampled", "pattern": "none", "acceleration": 1.0}]
    assert rungs_of([*arms, {"method": "sense", "pattern": "Uniform", "acceleration": 4}]) == (Rung("Uniform", 4.0),)


def test_frozen_once_and_kept(tmp_path: Path) -> None:
    plan, first = AnalysisPlan(MARGINS), datetime(2026, 11, 1, tzinfo=UTC)
    frozen = freeze(plan, tmp_path, now=first)
    assert frozen["frozen_utc"] == "2026-11-01T00:00:00+00:00"
    assert frozen["frozen_before_results"] is True
    content = (tmp_path / PLAN_FILE).read_bytes()
    assert freeze(plan, tmp_path) == frozen == read_plan(tmp_path / PLAN_FILE)
    assert (tmp_path / PLAN_FILE).read_bytes() == content
    other = replace(plan, options=Statistics(alpha=0.025, seed=4))
    with pytest.raises(ConfigProblem, match=r"fixes another plan .*: alpha, bootstrap differ\. A plan is not changed"):
        freeze(other, tmp_path)
    assert (tmp_path / PLAN_FILE).read_bytes() == content


@pytest.mark.parametrize("there", ["measurements.parquet", "results.json", "scans/P001/measurements.json"])
def test_a_plan_that_came_after_the_results_says_so(tmp_path: Path, there: str) -> None:
    file = tmp_path / there
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    assert freeze(AnalysisPlan(MARGINS), tmp_path)["frozen_before_results"] is False


def test_a_plan_made_beforehand_binds_the_run(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    registered = tmp_path / "registered"
    freeze(plan_of(config), registered)
    bound = replace(config, statistics=replace(config.statistics, plan=str(registered / PLAN_FILE)))
    assert plan_facts(plan_of(bound)) == plan_facts(plan_of(config))
    with pytest.raises(ConfigProblem, match="fixes another plan"):
        plan_of(replace(bound, reconstruction=Reconstruction(methods=("cardiomm",))))


def test_the_command_writes_what_a_run_would_freeze(tmp_path: Path) -> None:
    study, out = tmp_path / "study.toml", tmp_path / "plan"
    study.write_text('[study]\nname = "a"\ncohort = "c"\nout = "r"\n')
    done = CliRunner().invoke(app, ["plan", str(study), "--out", str(out)])
    assert done.exit_code == 0, done.output
    frozen = read_plan(out / PLAN_FILE)
    assert frozen["sha256"] == plan_facts(plan_of(load_config(study)))["sha256"]
    assert frozen["sha256"] in done.output
    again = CliRunner().invoke(app, ["plan", str(study), "--out", str(out)])
    assert (again.exit_code, read_plan(out / PLAN_FILE)) == (0, frozen)
    file = CliRunner().invoke(app, ["plan", str(study), "--out", str(study)])
    assert isinstance(file.exception, ConfigProblem)


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match="no such plan"):
        plan_of(config_of(tmp_path, plan=str(tmp_path / "none.json")))
    with pytest.raises(ConfigProblem, match="mean_wall_thickness_mm has no margins"):
        plan_of(config_of(tmp_path, primary=("mean_wall_thickness_mm",)))
    path = tmp_path / PLAN_FILE
    freeze(AnalysisPlan(MARGINS), tmp_path)
    path.write_text(path.read_text().replace('"alpha": 0.05', '"alpha": 0.10'))
    with pytest.raises(UnreadableFile, match="was changed after it was frozen"):
        read_plan(path)
    for text, message in (("{", "not JSON"), ("[1]", "expected a plan")):
        path.write_text(text)
        with pytest.raises(UnreadableFile, match=message):
            read_plan(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"center_rule": "vote"}, "expected interval, mean, described, got 'vote'"),
        ({"confidence": 1.0}, "confidence must lie between 0.5 and 1"),
        ({"minimum_in_center": 1}, "minimum_in_center must be at least 2, got 1"),
        ({"ef_cut_offs": (50.0, 40.0)}, "expected rising numbers"),
        ({"ef_cut_offs": ()}, "expected rising numbers"),
        ({"ef_near": 0.0}, "ef_near must be above 0"),
        ({"primary": ("lvef",)}, "no phenotype is called lvef"),
    ],
)
def test_senseless_options(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigProblem, match=message):
        Statistics(**change)  # type: ignore[arg-type]


def test_rules_of_diagnosis_sort_patients() -> None:
    rules = load_diagnosis()
    dilated, thick = rules.rules
    assert (dilated.phenotype, dilated.positive_when) == ("lv_ef_percent", "low")
    assert (thick.phenotype, thick.positive_when) == ("max_wall_thickness_mm", "high")
    words = ["DCM", "dilated", "NOR", "hypertrophic", "unknown", "", None]
    expected = ["case", "case", "healthy", "other", "unknown", "unknown", "unknown"]
    assert [rules.group(word, dilated) for word in words] == expected


RULES = """healthy = ["nor"]
unknown = [""]
minimum_cases = 5
[[rule]]
phenotype = "lv_ef_percent"
disease = "DCM"
labels = ["dcm"]
positive_when = "low"
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"lv_ef_percent"', '"lvef"', "no phenotype is called 'lvef'"),
        ('"low"', '"below"', 'expected "low" or "high"'),
        ('["dcm"]', "[]", "needs labels"),
        ('["dcm"]', "[1]", "labels must be a list of words"),
        ('disease = "DCM"\n', "", "must name its disease"),
        ("minimum_cases = 5", "minimum_cases = 1", "minimum_cases of at least 2"),
        ("healthy", "healthy =", "not a TOML file"),
    ],
)
def test_mistakes_in_rules_of_diagnosis(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(RULES)
    assert len(load_diagnosis(path).rules) == 1
    path.write_text(RULES.replace(old, new))
    with pytest.raises(ConfigProblem, match=message):
        load_diagnosis(path)
    with pytest.raises(MissingFile, match="no such file of diagnoses"):
        load_diagnosis(tmp_path / "none.toml")
